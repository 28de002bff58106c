// Everything around the map: views, legend, depth, divider, table. Each function fills or connects one part.
const SIGNS = [ // fate, sign, name, meaning
  [GLOBAL, "global", "Global", "stands out in the whole picture"],
  [LOCAL, "local", "Local", "stands out in its neighbourhood"],
  [KEPT, "kept", "Kept", ""],
  [MERGED, "merged", "Merged", "into a kept token"],
  [DROPPED, "dropped", "Dropped", "before the language model"],
  [OPEN, "merged", "Dropped or merged", ""],
  [PRUNED, "pruned", "Dropped at layer", ""],
];

function made(tag, name, text = "") {
  const found = document.createElement(tag);
  if (name) found.className = name;
  if (text) found.textContent = text;
  return found;
}

function fillViews(stage) {
  const { data } = stage.map, box = stage.find(".stage-views");
  const choices = [["tokens", "Tokens"], ...inOrder(data.scores).map((score) => [String(data.scores.indexOf(score)), scoreLabel(score)])];
  if (data.other) choices.push(["both", `${data.title} and ${data.other.title}`]);
  const known = choices.map(([view, label]) => view + label).join();
  if (box.dataset.known !== known) {
    box.dataset.known = known;
    box.replaceChildren(...choices.map(([view, label]) => {
      const button = made("button", "", label);
      button.type = "button"; button.dataset.view = view; button.setAttribute("role", "radio");
      if (view !== "tokens" && view !== "both") {
        button.title = data.scores[view].about || "Heat map of the attention that the choice is taken from";
      }
      button.addEventListener("click", () => { stage.view = view; checkViews(stage); fillDepth(stage); stage.draw(true); });
      return button;
    }));
    box.onkeydown = (event) => roam(event, [...box.children]);
  }
  box.hidden = choices.length < 2;
  checkViews(stage);
}

function checkViews(stage) {
  for (const button of stage.find(".stage-views").children) {
    const on = button.dataset.view === stage.view;
    button.setAttribute("aria-checked", on); button.tabIndex = on ? 0 : -1;
    if (on) button.parentElement.scrollLeft = button.offsetLeft - button.parentElement.offsetLeft - 60; // where they do not fit
  }
}

function roam(event, buttons) { // arrow keys in a group of radio buttons
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const next = buttons[(buttons.indexOf(event.target) + step + buttons.length) % buttons.length];
  next.click(); next.focus();
}

function fillLegend(stage) {
  const { map, codes } = stage, counts = counted(codes), list = stage.find(".stage-legend"), rows = [];
  const heat = !["tokens", "both"].includes(stage.view);
  stage.find(".stage-scale").hidden = !heat;
  if (heat) fillScale(stage);
  if (stage.view === "both") {
    const sides = [0, 0, 0, 0];
    map.stops.at(-1).forEach((code, token) => { sides[(code <= KEPT) + 2 * (map.other[token] <= KEPT)]++; });
    const { title, other } = map.data;
    rows.push(["both", "Both keep", "", sides[3]], ["global", `Only ${title}`, "", sides[1]],
      ["local", `Only ${other.title}`, "", sides[2]], ["dropped", "Neither", "", sides[0]]);
  } else if (!heat) {
    for (const [code, sign, name, meaning] of SIGNS) {
      if (!counts[code]) continue;
      if (code === KEPT) { rows.push(...keptRows(stage, counts[code])); continue; }
      if (code !== PRUNED) { rows.push([sign, name, meaning, counts[code], code]); continue; }
      for (const [layer, number] of prunedPerLayer(stage)) rows.push([sign, `${name} ${layer}`, meaning, number, code]);
    }
  }
  if (map.unseen && !heat) rows.push(["unseen", "Not seen by the model", "", null]);
  const key = JSON.stringify(rows) + [...stage.off];
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  rows.forEach((row, i) => legendRow(stage, list, i, row));
  while (list.children.length > rows.length) list.lastChild.remove();
}

function fillScale(stage) { // what dark and bright mean
  const score = stage.map.data.scores[stage.view], [low, , high] = stage.find(".stage-scale").children;
  const most = Math.max(...score.values.filter((value) => value !== null), TWICE);
  [low.textContent, high.textContent] = score.name === MATTERED ? ["as likely", likelihood(most)] : ["low attention", "high attention"];
}

function keptRows(stage, count) { // what is kept as itself, and places at which the model sees another token
  const { map, codes } = stage, replaced = codes.reduce((sum, code, token) => sum + (code === KEPT && map.replaced(token, codes)), 0);
  const rows = [["kept", "Kept", keptMeaning(stage), count - replaced, KEPT],
    ["replaced", "Another token", "is seen at this kept place", replaced, undefined]];
  return rows.filter((row) => row[3]);
}

function keptMeaning({ map, codes }) { // why tokens stay that no scan has chosen
  const all = (is) => codes.every((code, token) => code !== KEPT || is(token));
  if (map.forced.size && all((token) => map.forced.has(token))) return "because they were put back";
  return all((token) => Number.isNaN(map.box[4 * token])) ? "without a place in the picture" : "";
}

function prunedPerLayer(stage) {
  const found = new Map();
  stage.codes.forEach((code, token) => {
    if (code === PRUNED) found.set(stage.map.prunedAt(token), (found.get(stage.map.prunedAt(token)) || 0) + 1);
  });
  return [...found].sort((a, b) => a[0] - b[0]);
}

function legendRow(stage, list, place, [sign, name, meaning, count, code]) {
  let row = list.children[place];
  if (!row) {
    row = made("li");
    const button = made("button");
    button.type = "button";
    button.append(made("i"), made("span"), made("b"));
    button.addEventListener("click", () => {
      const layer = Number(button.dataset.code);
      if (Number.isNaN(layer)) return;
      if (!stage.off.delete(layer)) stage.off.add(layer);
      stage.draw();
    });
    row.append(button);
    list.append(row);
  }
  const button = row.firstChild, [icon, text, number] = button.children;
  icon.className = `stage-sign ${sign}`; text.textContent = name; number.textContent = count === null ? "" : count.toLocaleString("en");
  if (meaning) text.append(made("small", "", ` ${meaning}`));
  button.dataset.code = code ?? "none";
  button.disabled = code === undefined || code === KEPT;
  if (button.disabled) button.removeAttribute("aria-pressed");
  else button.setAttribute("aria-pressed", !stage.off.has(code));
}

function fillDepth(stage) {
  const { data, stops } = stage.map, box = stage.find(".stage-depth"), input = box.querySelector("input");
  box.hidden = data.cuts.length === 0 || stage.view === "both";
  if (box.hidden) return;
  const live = stage.live && kept(stage.live);
  const words = stops.map((codes, i) => {
    if (i === 0) return [data.tokens, "from the encoder"];
    const layer = data.cuts[i - 1].layer;
    return [live && layer === 0 ? live : kept(codes), layer ? `from layer ${layer}` : "into the language model"];
  });
  const shown = live ? Math.min(1, data.cuts.length) : stage.depth;
  if (live) words.length = 2;
  input.max = words.length - 1; input.value = shown;
  input.setAttribute("aria-valuetext", `${words[shown][0]} tokens ${words[shown][1]}`);
  box.querySelector(".stage-stops").replaceChildren(...words.map(([count, where], i) => {
    const stop = made("span", i === shown ? "here" : "");
    stop.style.setProperty("--at", i / Math.max(words.length - 1, 1));
    stop.append(made("b", "", count.toLocaleString("en")), made("small", "", where));
    return stop;
  }));
}

function connectDepth(stage) {
  const button = stage.find(".stage-play"), input = stage.find(".stage-depth input");
  let timer = 0;
  const stop = () => {
    clearInterval(timer); timer = 0;
    button.classList.remove("playing"); button.setAttribute("aria-label", "Play the cuts one after the other");
  };
  input.addEventListener("input", () => { stop(); stage.go(Number(input.value)); });
  button.addEventListener("click", () => {
    if (timer) return stop();
    stage.go(0);
    button.classList.add("playing"); button.setAttribute("aria-label", "Pause");
    timer = setInterval(() => {
      if (!stage.map || stage.depth >= stage.map.data.cuts.length) return stop();
      stage.go(stage.depth + 1);
      if (stage.depth >= stage.map.data.cuts.length) stop();
    }, stage.pace);
  });
}

function connectDivider(stage) {
  const divider = stage.find(".stage-divider"), frame = stage.find(".stage-frame");
  const move = (percent) => {
    const at = Math.min(Math.max(Math.round(percent), 0), 100);
    stage.root.style.setProperty("--divider", at / 100);
    stage.root.classList.toggle("stage-split", at > 0);
    divider.setAttribute("aria-valuenow", at);
    divider.setAttribute("aria-valuetext", at === 0 ? "only the map" : at === 100 ? "only the picture" : `${at} % picture, the rest map`);
  };
  const follow = (event) => {
    const box = frame.getBoundingClientRect();
    move(100 * (event.clientX - box.left) / box.width);
  };
  divider.addEventListener("pointerdown", (event) => { divider.setPointerCapture(event.pointerId); event.preventDefault(); divider.focus(); });
  divider.addEventListener("pointermove", (event) => { if (divider.hasPointerCapture(event.pointerId)) follow(event); });
  divider.addEventListener("dblclick", () => move(0));
  divider.addEventListener("keydown", (event) => {
    const now = Number(divider.getAttribute("aria-valuenow"));
    const to = { ArrowLeft: now - 5, ArrowDown: now - 5, ArrowRight: now + 5, ArrowUp: now + 5, PageDown: now - 25,
      PageUp: now + 25, Home: 0, End: 100 }[event.key];
    if (to !== undefined) { event.preventDefault(); move(to); }
  });
  move(0);
}
