// What many such pictures cost: only products of a count with what one run measured, and the products are shown.
const MINUS = "\u2212", TIMES = "\u00d7";

function seconds(s, largest = s) { // in the unit that suits the largest time of a row
  const [unit, size] = largest < 1 ? ["ms", 0.001] : largest < 1000 ? ["s", 1] : largest < 60000 ? ["min", 60] : ["h", 3600];
  return `${(s / size).toFixed(s / size < 100 ? 1 : 0)} ${unit}`;
}

function memory(bytes) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (bytes < 1000) return `${unit === "B" || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)} ${unit}`;
    bytes /= 1000;
  }
  return `${bytes.toFixed(1)} TB`;
}

function saved(before, after) {
  const share = Math.round(100 * Math.abs(1 - after / before));
  return share === 0 ? "the same" : `${after < before ? MINUS : "+"}${share} %`;
}

function tag(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function costs(place, story, pictures, onCount) {
  place.replaceChildren();
  if (story.answers.length < 2) return;
  const times = story.answers.map((each) => Object.values(each.ms).reduce((sum, ms) => sum + ms, 0));
  const sizes = story.answers.map((each) => each.kv_bytes);
  const label = tag("label", "story-many", "For ");
  const count = tag("input");
  Object.assign(count, { type: "number", min: 1, max: 1e9, step: "any", value: pictures });
  count.setAttribute("aria-label", "Number of pictures");
  label.append(count, " such pictures");
  const table = tag("table"), formula = tag("p", "story-formula");
  const line = (cells, kind) => {
    const row = table.appendChild(tag("tr"));
    cells.forEach((cell, i) => row.appendChild(tag(i ? kind : "th")).append(cell));
    return row;
  };
  line([label, "all tokens", "VScan", "saved"], "th");
  let rows = [];
  const show = () => {
    const many = Math.max(1, Math.round(Number(count.value) || 1)), shown = many.toLocaleString("en");
    const all = (ms) => seconds(many * ms / 1000, many * Math.max(...times) / 1000);
    onCount(many);
    rows.forEach((row) => row.remove());
    rows = [
      line([`${story.device} time to the first word`, ...times.map(all), story.busy ? "uncertain" : saved(...times)], "td"),
      line(["KV cache, if all are kept", ...sizes.map((size) => memory(many * size)), saved(...sizes)], "td"),
    ];
    const parts = Object.entries(story.answers[1].ms).map(([name, ms]) => `${name} ${ms.toFixed(1)}`).join(" + ");
    formula.textContent = `VScan: ${shown} ${TIMES} (${parts}) ms = ${all(times[1])}; `
      + `${shown} ${TIMES} ${memory(sizes[1])} = ${memory(many * sizes[1])}`;
  };
  count.addEventListener("input", show);
  show();
  place.append(table, formula);
}
