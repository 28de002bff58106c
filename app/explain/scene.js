// Draws a story on a canvas. Every token has a look per phase; between two phases it changes smoothly.
const PHASES = ["picture", "patches", "global", "local", "merge", "question"];
const GLOBAL = 0, LOCAL = 1, KEPT = 2; // fates as digits; what is above has been dropped or merged
const INK = { global: "#ff8c00", local: "#4ea1ff", dark: "#14171c", hatch: "rgba(255,255,255,.55)", thread: "#bcd8c6" };
const CALM = window.matchMedia("(prefers-reduced-motion: reduce)");
const MOVE_MS = 700, FLIGHT_MS = 1500;

// 0 for the lowest score to 1 for the 99th percentile and above; NaN: no score
function levels(story, name) {
  const found = story.scores.find((score) => score.name === name);
  if (!found) return [];
  const known = found.values.filter((value) => value !== null).sort((a, b) => a - b);
  const low = known[0], high = known[Math.floor(0.99 * (known.length - 1))];
  return found.values.map((value) => value === null ? NaN : Math.min((value - low) / Math.max(high - low, 1e-12), 1));
}

// {gap, dim, square, ring, hatch}: each (tokens,) numbers from 0 to 1, for one phase
function look(story, phase) {
  const { tokens, cuts } = story, step = PHASES.indexOf(phase), made = () => new Float32Array(tokens);
  const looks = { gap: made(), dim: made(), square: made(), ring: made(), hatch: made() };
  const first = cuts.find((cut) => cut.layer === 0), last = cuts[cuts.length - 1];
  const fate = (cut, token) => cut ? Number(cut.fates[token]) : KEPT;
  const scores = step === 2 || step === 3 ? levels(story, phase) : [];
  for (let token = 0; token < tokens; token++) {
    const isGlobal = fate(first, token) === GLOBAL, isLocal = fate(first, token) === LOCAL;
    if (step >= 1) looks.gap[token] = 1;
    if (step >= 2 && isGlobal) looks.square[token] = step === 3 ? 0.7 : 1;
    if (step >= 3 && isLocal) looks.ring[token] = 1;
    const stays = isGlobal || (isLocal && step >= 3);
    if (scores[token] >= 0 && !stays) looks.dim[token] = 0.84 * (1 - scores[token]);
    if (step >= 4 && fate(first, token) > KEPT) looks.dim[token] = 0.86;
    else if (step === 5 && fate(last, token) > KEPT) {
      looks.dim[token] = 0.66; looks.hatch[token] = 1; looks.square[token] *= 0.3; looks.ring[token] *= 0.3;
    }
  }
  return looks;
}

class Scene {
  constructor(canvas) {
    this.canvas = canvas; this.pen = canvas.getContext("2d"); this.image = null; this.story = null;
    this.from = this.to = null; this.phase = "picture"; this.frame = 0;
  }

  // Shows another story; the phase stays. Resolves when its picture has been decoded.
  async load(story) {
    const samePicture = this.story && this.story.picture === story.picture;
    this.story = story;
    if (!samePicture) { this.image = new Image(); this.image.src = story.picture; await this.image.decode(); }
    const sharp = Math.min(Math.max(window.devicePixelRatio || 1, 1), 2);
    [this.width, this.height] = story.size;
    this.canvas.width = this.width * sharp; this.canvas.height = this.height * sharp;
    this.pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    this.show(this.phase, true);
  }

  show(phase, atOnce = false) {
    const before = this.phase;
    this.phase = phase;
    if (!this.story || !this.image.complete) return;
    this.from = atOnce || CALM.matches ? null : this.to;
    this.to = look(this.story, phase);
    const flight = this.from && phase === "merge" && before === "local";
    const [start, length] = [performance.now(), flight ? FLIGHT_MS : MOVE_MS];
    cancelAnimationFrame(this.frame);
    const draw = (now) => {
      const part = this.from ? Math.min(Math.max((now - start) / length, 0), 1) : 1;
      this.draw(part * part * (3 - 2 * part), flight);
      if (part < 1) this.frame = requestAnimationFrame(draw);
    };
    draw(start);
  }

  draw(part, flight) {
    const { pen, story, from, to } = this, now = (name, token) =>
      from ? from[name][token] + (to[name][token] - from[name][token]) * part : to[name][token];
    pen.fillStyle = INK.dark; pen.fillRect(0, 0, this.width, this.height);
    if (this.phase === "picture" && part === 1) { pen.drawImage(this.image, 0, 0, this.width, this.height); return; }
    for (const token of story.order) this.patch(token, (name) => now(name, token));
    if (this.phase === "local") this.windows(part);
    if (flight && part < 1) this.flight(part);
    if (this.phase === "merge" && part === 1) this.threads();
  }

  box(token, gap) {
    const [x0, y0, x1, y1] = this.story.boxes.slice(4 * token, 4 * token + 4).map((edge) => edge ?? NaN), by = gap * 0.05 * (x1 - x0);
    return [x0 + by, y0 + by, x1 - x0 - 2 * by, y1 - y0 - 2 * by];
  }

  patch(token, now) {
    const { pen } = this, [x, y, w, h] = this.box(token, now("gap"));
    if (!(w > 0 && h > 0)) return;
    const scale = this.image.naturalWidth / this.width;
    pen.drawImage(this.image, x * scale, y * scale, w * scale, h * scale, x, y, w, h);
    if (now("dim") > 0.01) {
      pen.globalAlpha = now("dim"); pen.fillStyle = INK.dark; pen.fillRect(x, y, w, h); pen.globalAlpha = 1;
    }
    pen.lineWidth = Math.max(w / 11, 1);
    if (now("hatch") > 0.02) this.hatch([x, y, w, h], now("hatch"));
    if (now("square") > 0.02) {
      pen.globalAlpha = now("square"); pen.strokeStyle = INK.global;
      pen.strokeRect(x + pen.lineWidth / 2, y + pen.lineWidth / 2, w - pen.lineWidth, h - pen.lineWidth);
    }
    if (now("ring") > 0.02) {
      pen.globalAlpha = now("ring"); pen.strokeStyle = INK.local;
      pen.beginPath(); pen.ellipse(x + w / 2, y + h / 2, w * 0.42, h * 0.42, 0, 0, 2 * Math.PI); pen.stroke();
    }
    pen.globalAlpha = 1;
  }

  hatch([x, y, w, h], alpha) {
    const { pen } = this;
    pen.globalAlpha = alpha; pen.strokeStyle = INK.hatch; pen.lineWidth = Math.max(w / 22, 1);
    pen.beginPath();
    for (const share of [0.5, 1, 1.5]) {
      pen.moveTo(x + w * Math.max(share - 1, 0), y + h * Math.min(share, 1));
      pen.lineTo(x + w * Math.min(share, 1), y + h * Math.max(share - 1, 0));
    }
    pen.stroke(); pen.globalAlpha = 1; pen.lineWidth = Math.max(w / 11, 1);
  }

  windows(part) {
    const { pen } = this;
    pen.globalAlpha = 0.9 * part; pen.strokeStyle = "#ffffff"; pen.lineWidth = 3;
    for (const [x0, y0, x1, y1] of this.story.windows) pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
    pen.globalAlpha = 1;
  }

  merged(draw) { // calls draw(token, centre of the token, centre of the one that absorbs it)
    const centre = (token) => { const [x, y, w, h] = this.box(token, 0); return [x + w / 2, y + h / 2]; };
    (this.story.cuts.find((cut) => cut.layer === 0)?.merged ?? []).forEach((target, token) => { if (target >= 0) draw(token, centre(token), centre(target)); });
  }

  threads() { // which kept patch stands for which dropped ones
    const { pen } = this;
    pen.globalAlpha = 0.3; pen.strokeStyle = INK.thread; pen.lineWidth = 1.2; pen.beginPath();
    this.merged((_, [x0, y0], [x1, y1]) => { pen.moveTo(x0, y0); pen.lineTo(x1, y1); });
    pen.stroke(); pen.globalAlpha = 1;
  }

  flight(part) { // dropped patches fly into the ones that absorb them
    const { pen } = this, scale = this.image.naturalWidth / this.width;
    pen.globalAlpha = 1 - part * part;
    this.merged((token, [x0, y0], [x1, y1]) => {
      const [x, y, w, h] = this.box(token, 1), side = w * (1 - 0.75 * part);
      const [cx, cy] = [x0 + (x1 - x0) * part, y0 + (y1 - y0) * part];
      if (w > 0) pen.drawImage(this.image, x * scale, y * scale, w * scale, h * scale, cx - side / 2, cy - side / 2, side, side);
    });
    pen.globalAlpha = 1;
  }
}
