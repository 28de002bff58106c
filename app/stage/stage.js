// The stage: what a visitor does to the map, and what the map then shows. Text goes in by textContent only.
const HINT = "Point at the map, or use the arrow keys, to ask about one token.";
const CALM = window.matchMedia("(prefers-reduced-motion: reduce)");
const STEP_MS = 1400, NARROW = 560, WIDE = 640; // milliseconds per cut; pixels

class Stage {
  constructor(root, options, send) {
    this.root = root; this.options = options; this.send = send;
    this.view = options.view || "tokens"; this.off = new Set(); this.token = -1; this.pinned = false; this.depth = 0;
    this.pace = STEP_MS; this.live = null; this.map = null; this.scan = null; this.forced = new Map(); this.brush = null;
    this.frame = this.find(".stage-view");
    this.image = null;
    [this.layer, this.ghost, this.hand] = ["layer", "ghost", "hand"].map((name) => {
      const canvas = document.createElement("canvas");
      canvas.className = `stage-${name}`; canvas.setAttribute("aria-hidden", "true");
      this.frame.append(canvas);
      return canvas;
    });
    this.told = this.find(".stage-told");
    this.say(HINT);
    connectPointer(this); connectKeys(this); connectDivider(this); connectDepth(this); connectTools(this);
    new ResizeObserver(() => this.resize()).observe(this.frame);
    new ResizeObserver(() => this.fit()).observe(root);
  }

  find(selector) { return this.root.querySelector(selector); }

  get codes() { return this.live || this.map.stops[this.depth]; }

  // Other data: a preview, a run, another picture. What the visitor had chosen stays where it can.
  show(data) {
    if (!data || !data.tokens) return this.empty();
    const before = this.map && this.map.data;
    const same = before && before.picture.path === data.picture.path && before.tokens === data.tokens;
    const last = !same || this.live || before.cuts.length !== data.cuts.length || this.depth === before.cuts.length;
    if (!same) { this.token = -1; this.pinned = false; this.live = null; clearMarks(this); this.scan = null; }
    this.map = new TokenMap(data, same ? this.map : null);
    this.scan = data.scan || this.scan;
    this.depth = last ? data.cuts.length : Math.min(this.depth, data.cuts.length);
    this.live = null;
    const score = before && before.scores[this.view], open = (found) => String(data.scores.findIndex(found));
    if (score) this.view = open(({ name, layer }) => name === score.name && layer === score.layer);
    if (data.opens) this.view = open(({ name }) => name === data.opens);
    if (this.view === "both" ? !data.other : this.view !== "tokens" && !data.scores[Number(this.view)]) this.view = "tokens";
    if (!before || !this.image || before.picture.url !== data.picture.url) this.place(data);
    this.root.classList.remove("stage-empty");
    fillViews(this); fillDepth(this); fillTable(this);
    this.resize();
    if (!data.ran && this.slider && Math.abs(this.slider - 100 * data.retention) > 0.001) this.drag(this.slider);
  }

  empty() {
    this.map = null; this.image?.remove(); this.image = null; this.token = -1; this.live = null;
    this.root.classList.add("stage-empty");
    for (const canvas of [this.layer, this.ghost, this.hand]) canvas.width = canvas.height = 0;
    this.say("");
  }

  place(data) { // the picture itself, under the canvases
    const image = document.createElement("img");
    image.decoding = "async"; image.draggable = false; image.src = data.picture.url;
    this.image?.remove();
    this.frame.prepend(image);
    this.image = image;
    this.root.style.setProperty("--ratio", data.size[0] / data.size[1]);
    this.fit();
  }

  fit() { // beside the picture or under it, and how much is said
    const { clientWidth: width } = this.root, [w, h] = this.map ? this.map.data.size : [1, 1];
    this.root.classList.toggle("stage-narrow", width < NARROW);
    this.root.classList.toggle("stage-wide", width >= WIDE && w / h < 1.3);
  }

  resize() {
    if (!this.map || !this.frame.clientWidth) return;
    const sharp = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [this.frame.clientWidth, this.frame.clientHeight].map((x) => Math.round(x * sharp));
    for (const canvas of [this.layer, this.ghost, this.hand]) {
      if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    }
    this.painter = new Painter(this.map, width, height);
    this.draw();
  }

  draw(fade = false) {
    if (!this.painter || !this.map) return;
    if (fade && !CALM.matches) this.fade();
    const pen = this.layer.getContext("2d");
    paintView(this, this.painter, pen);
    this.root.classList.toggle("stage-hot", !["tokens", "both"].includes(this.view));
    fillLegend(this);
    this.point();
    const { data } = this.map, left = kept(this.codes).toLocaleString("en"), all = data.tokens.toLocaleString("en");
    if (this.image) this.image.alt = `The ${data.frames.length ? "video" : "picture"} with ${left} of ${all} visual tokens marked as kept`;
    this.frame.setAttribute("aria-label", `Map of ${all} visual tokens, ${left} kept. Arrow keys move, Enter pins, Escape lets go.`);
  }

  fade() { // what was there before fades out over what is there now
    const pen = this.ghost.getContext("2d");
    pen.clearRect(0, 0, this.ghost.width, this.ghost.height);
    if (this.layer.width) pen.drawImage(this.layer, 0, 0);
    this.ghost.style.transition = "none"; this.ghost.style.opacity = 1;
    void this.ghost.offsetWidth;
    this.ghost.style.transition = ""; this.ghost.style.opacity = 0;
  }

  point() { // the token in the visitor's hand, and the sentence about it
    const { token, map } = this, pen = this.hand.getContext("2d");
    const target = token < 0 ? -1 : map.target(token, this.codes);
    const absorbed = token < 0 || this.live || this.depth === 0 || this.codes[token] > KEPT ? [] : map.absorbed(token);
    this.painter.hand(pen, token, this.codes, target, absorbed);
    this.painter.marks(pen, this.forced);
    this.root.classList.toggle("stage-pinned", this.pinned);
    const about = map.data.scores[this.view]?.about || HINT;
    this.say(token < 0 ? this.missed ? map.describe(-1) : about : map.describe(token, this.codes, Boolean(this.live)) + (this.pinned ? " (pinned)" : ""));
  }

  say(text) { if (this.told.textContent !== text) this.told.textContent = text; }

  look(token, missed = false) {
    if (!this.map || (token === this.token && missed === this.missed)) return;
    this.token = token; this.missed = missed;
    this.point();
  }

  pin(on) { this.pinned = on && this.token >= 0; if (this.map) this.point(); }

  go(depth) {
    this.live = null; this.depth = depth;
    if (this.map) { fillDepth(this); this.draw(true); }
  }

  drag(percent) { // the page's slider moves: the first cut at once, from cached ranks
    this.slider = percent;
    const found = this.map && this.scan && firstCut(this.scan, percent / 100);
    if (!found || found.codes.length !== this.map.tokens) return;
    this.live = found.codes;
    fillDepth(this); this.draw();
  }

  get state() { // what is shown, in numbers
    const { map } = this;
    return map && { tokens: map.tokens, depth: this.depth, view: this.view, live: Boolean(this.live), kept: kept(this.codes),
      counts: counted(this.codes), codes: Array.from(this.codes), token: this.token, pinned: this.pinned,
      marks: marksOf(this) };
  }
}

function paintView(stage, painter, pen) {
  const { map, view, codes } = stage;
  if (view === "both") painter.both(pen, map.stops.at(-1), map.other);
  else if (view !== "tokens") painter.heat(pen, map.data.scores[Number(view)]);
  else painter.fates(pen, codes, stage.off);
  painter.captions(pen, view === "tokens" ? codes : null);
}

const stage = new Stage(element.querySelector(".stage"), props, (name, data) => {
  if (name === "marked") trigger("marked", data);
});
stage.root.stage = stage; // for tests, and for pages that steer it
const receive = () => {
  const { rest, picture } = props.value || {};
  stage.show(rest && { ...JSON.parse(rest), picture });
};
watch("value", receive);
receive();
if (props.slider) {
  const moved = (event) => {
    const percent = Number(event.target.value), inside = event.target.closest && event.target.closest(props.slider);
    if (inside && percent > 0 && percent <= 100) requestAnimationFrame(() => stage.drag(percent));
  };
  document.addEventListener("input", moved, true);
}
