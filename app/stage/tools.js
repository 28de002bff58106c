// The visitor's hand on the map: pointer, keys, marks, exports and the table.
function connectPointer(stage) {
  const { frame } = stage;
  let start = null;
  const under = (event) => {
    const box = frame.getBoundingClientRect(), [w, h] = stage.map.data.size;
    return [(event.clientX - box.left) / box.width * w, (event.clientY - box.top) / box.height * h];
  };
  frame.addEventListener("pointerdown", (event) => {
    if (!stage.map) return;
    start = under(event);
    if (stage.brush) { frame.setPointerCapture(event.pointerId); event.preventDefault(); }
  });
  frame.addEventListener("pointermove", (event) => {
    if (!stage.map) return;
    const here = under(event), token = stage.map.at(...here);
    if (stage.brush && start) drawRubber(stage, start, here);
    else if (!stage.pinned) stage.look(token, token < 0);
  });
  frame.addEventListener("pointerup", (event) => {
    if (!stage.map || !start) return;
    const here = under(event), token = stage.map.at(...here);
    if (stage.brush) markBetween(stage, start, here);
    else if (stage.pinned && token === stage.token) stage.pin(false);
    else { stage.pinned = false; stage.look(token, token < 0); stage.pin(true); }
    start = null;
  });
  frame.addEventListener("pointercancel", () => { start = null; if (stage.map) stage.point(); });
  frame.addEventListener("pointerleave", () => { if (!stage.pinned && document.activeElement !== frame) stage.look(-1); });
  frame.addEventListener("blur", () => { if (!stage.pinned) stage.look(-1); });
}

function connectKeys(stage) {
  stage.frame.addEventListener("keydown", (event) => {
    const side = { ArrowLeft: 0, ArrowUp: 1, ArrowRight: 2, ArrowDown: 3 }[event.key];
    if (!stage.map || (side === undefined && !["Enter", " ", "Escape"].includes(event.key))) return;
    event.preventDefault();
    if (event.key === "Escape") { stage.pin(false); return stage.look(-1); }
    if (side === undefined) {
      if (stage.brush && stage.token >= 0) return mark(stage, [stage.token]);
      return stage.pin(!stage.pinned);
    }
    stage.pinned = false;
    stage.look(stage.token < 0 ? firstToken(stage) : stepFrom(stage, side));
  });
}

function firstToken({ map, codes }) { // one that is kept, if any
  const kept = map.drawn.find((token) => codes[token] <= LOCAL);
  return kept ?? map.drawn[0] ?? -1;
}

function stepFrom(stage, side) { // the neighbour, or the nearest token on that side (another frame, another tile)
  const { map, token } = stage, near = map.near[4 * token + side];
  if (near >= 0) return near;
  const [x, y] = map.centre(token), along = side % 2, sign = side < 2 ? -1 : 1;
  let best = token, least = Infinity;
  for (const other of map.drawn) {
    const delta = map.centre(other).map((value, axis) => value - [x, y][axis]), ahead = delta[along] * sign;
    const far = ahead + 3 * Math.abs(delta[1 - along]);
    if (ahead > 1 && far < least) { best = other; least = far; }
  }
  return best;
}

function drawRubber(stage, [x0, y0], [x1, y1]) {
  const pen = stage.hand.getContext("2d"), [w, h] = stage.map.data.size;
  const [sx, sy] = [stage.hand.width / w, stage.hand.height / h];
  stage.point();
  pen.setLineDash([6, 4]); pen.lineWidth = 2; pen.strokeStyle = "#ffffff";
  pen.strokeRect(x0 * sx, y0 * sy, (x1 - x0) * sx, (y1 - y0) * sy);
  pen.setLineDash([]);
}

function markBetween(stage, [x0, y0], [x1, y1]) { // all tokens whose centre is inside; a click marks the one under it
  const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)], [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)];
  const inside = stage.map.drawn.filter((token) => {
    const [x, y] = stage.map.centre(token);
    return left <= x && x <= right && top <= y && y <= bottom;
  });
  const one = stage.map.at(x1, y1);
  mark(stage, inside.length ? inside : one < 0 ? [] : [one]);
}

function mark(stage, tokens) { // marks, or takes the marks away if all of them are there already
  const all = tokens.every((token) => stage.forced.get(token) === stage.brush);
  for (const token of tokens) { if (all) stage.forced.delete(token); else stage.forced.set(token, stage.brush); }
  marksChanged(stage);
}

function marksOf(stage) {
  const of = (kind) => [...stage.forced].filter(([, mark]) => mark === kind).map(([token]) => token).sort((a, b) => a - b);
  return { keep: of("keep"), drop: of("drop") };
}

function clearMarks(stage) {
  if (stage.forced.size === 0) return;
  stage.forced.clear();
  marksChanged(stage);
}

function marksChanged(stage) {
  const { keep, drop } = marksOf(stage);
  stage.find(".stage-marked").textContent = stage.forced.size
    ? `${keep.length} put back, ${drop.length} taken out. Ask again below the map.`
    : "Click tokens, or drag over them.";
  stage.send("marked", { keep, drop });
  if (stage.map && stage.painter) stage.point();
}

function connectTools(stage) {
  const toggle = stage.find(".stage-mark"), box = stage.find(".stage-marking");
  const brushes = [stage.find(".stage-keep"), stage.find(".stage-drop")];
  const choose = (brush) => {
    stage.brush = brush;
    brushes.forEach((button, i) => {
      const on = brush === ["keep", "drop"][i];
      button.setAttribute("aria-checked", on); button.tabIndex = on ? 0 : -1;
    });
  };
  toggle.hidden = !stage.options.markable;
  toggle.addEventListener("click", () => {
    box.hidden = !box.hidden;
    toggle.setAttribute("aria-pressed", !box.hidden);
    stage.root.classList.toggle("stage-brushing", !box.hidden);
    choose(box.hidden ? null : "keep");
    if (!box.hidden && !stage.forced.size) stage.find(".stage-marked").textContent = "Click tokens, or drag over them.";
  });
  brushes.forEach((button, i) => button.addEventListener("click", () => choose(["keep", "drop"][i])));
  brushes[0].parentElement.addEventListener("keydown", (event) => roam(event, brushes));
  stage.find(".stage-clear").addEventListener("click", () => clearMarks(stage));
  stage.find(".stage-png").addEventListener("click", () => savePicture(stage));
  stage.find(".stage-json").addEventListener("click", () => saveKept(stage));
  stage.find(".stage-table").addEventListener("toggle", () => fillTable(stage));
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob); link.download = name; link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function savePicture(stage) { // at the size of the data, whatever the size on the page
  if (!stage.map) return;
  const [width, height] = stage.map.data.size, canvas = document.createElement("canvas"), over = document.createElement("canvas");
  [canvas.width, canvas.height, over.width, over.height] = [width, height, width, height];
  const pen = canvas.getContext("2d");
  pen.filter = getComputedStyle(stage.image).filter;
  pen.drawImage(stage.image, 0, 0, width, height);
  pen.filter = "none";
  paintView(stage, new Painter(stage.map, width, height), over.getContext("2d"));
  pen.drawImage(over, 0, 0);
  canvas.toBlob((blob) => download(blob, "vscan-tokens.png"), "image/png");
}

function saveKept(stage) { // after every cut; what a moved slider shows is only the first
  if (!stage.map) return;
  const { data, stops } = stage.map;
  const left = (codes) => [...codes.keys()].filter((token) => codes[token] <= KEPT);
  const cuts = stage.live ? [{ layer: 0, kept: left(stage.live) }]
    : data.cuts.map((cut, i) => ({ layer: cut.layer, kept: left(stops[i + 1]) }));
  const about = { method: data.title, retention: stage.live ? stage.slider / 100 : data.retention, tokens: data.tokens, cuts };
  if (stage.map.other) about.other = { method: data.other.title, kept: left(stage.map.other) };
  download(new Blob([JSON.stringify(about)], { type: "application/json" }), "vscan-kept.json");
}

function fillTable(stage) { // the same facts as words, made only when somebody opens it
  const details = stage.find(".stage-table"), box = details.querySelector("div");
  if (!details.open || !stage.map) return box.replaceChildren();
  const table = made("table"), head = made("tr"), body = made("tbody"), codes = stage.codes;
  const titles = ["Token", "Place", "What became of it", "Attention"];
  if (stage.map.data.scores.some(({ name }) => name === MATTERED)) titles.push("What mattered");
  for (const title of titles) {
    const cell = made("th", "", title); cell.scope = "col"; head.append(cell);
  }
  for (let token = 0; token < stage.map.tokens; token++) {
    const row = made("tr"), texts = [token + 1, stage.map.placeInWords(token), stage.map.fate(token, codes), stage.map.ranks(token, Boolean(stage.live)).join("; "), stage.map.mattered(token)];
    for (const text of texts.slice(0, titles.length)) row.append(made("td", "", String(text)));
    body.append(row);
  }
  table.append(made("caption", "", `${kept(codes)} of ${stage.map.tokens} visual tokens are kept.`), made("thead"), body);
  table.tHead.append(head);
  box.replaceChildren(table);
}
