// Paints one state of a map. Shade says what is gone; thin lines and dots say why the rest stayed.
const SHADE = { [MERGED]: "rgba(38, 52, 48, .74)", [DROPPED]: "rgba(20, 23, 29, .80)", [PRUNED]: "rgba(20, 23, 29, .58)",
  [OPEN]: "rgba(28, 36, 38, .76)" };
const LINE = { [GLOBAL]: "#ff9f1c", [LOCAL]: "#3b9bff" };
const REPLACED = "#cc79a7";
const UNSEEN = "rgba(128, 128, 128, .82)";
const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129],
  [92, 200, 99], [170, 220, 50], [253, 231, 37]];
const RAMP = Array.from({ length: 64 }, (_, step) => {
  const place = step / 63 * (VIRIDIS.length - 1), left = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return `rgb(${VIRIDIS[left].map((c, i) => Math.round(c + (VIRIDIS[left + 1][i] - c) * (place - left))).join()})`;
});

class Painter {
  constructor(map, width, height) { // of the canvas in its own pixels
    const [w, h] = map.data.size;
    this.map = map;
    this.width = width; this.height = height;
    this.edge = Float32Array.from(map.box, (x, i) => Math.round(x * (i % 2 ? height / h : width / w)));
    const first = map.drawn.at(-1) ?? 0;
    this.side = Math.max(Math.min(this.edge[4 * first + 2] - this.edge[4 * first], this.edge[4 * first + 3] - this.edge[4 * first + 1]), 1);
  }

  rect(token) {
    const b = 4 * token, e = this.edge;
    return [e[b], e[b + 1], Math.max(e[b + 2] - e[b], 1), Math.max(e[b + 3] - e[b + 1], 1)];
  }

  // Only what lies outside of all tokens; inside, the picture shows. Painted once.
  ground(pen) {
    pen.clearRect(0, 0, this.width, this.height);
    if (!this.unseen) {
      this.unseen = document.createElement("canvas");
      this.unseen.width = this.width; this.unseen.height = this.height;
      const once = this.unseen.getContext("2d"), { size: [w, h], cells } = this.map.data;
      const [sx, sy] = [this.width / w, this.height / h];
      once.fillStyle = UNSEEN;
      for (const [x0, y0, x1, y1] of cells.length ? cells : [[0, 0, w, h]]) {
        once.fillRect(Math.round(x0 * sx), Math.round(y0 * sy), Math.round((x1 - x0) * sx), Math.round((y1 - y0) * sy));
      }
      for (const token of this.map.painted) once.clearRect(...this.rect(token));
    }
    if (this.width && this.height) pen.drawImage(this.unseen, 0, 0);
  }

  fill(pen, codes, off) {
    const paint = (inside) => {
      for (const [code, shade] of Object.entries(SHADE)) {
        if (off.has(Number(code))) continue;
        pen.fillStyle = shade;
        for (const token of this.map.painted) if (codes[token] == code && inside(token)) pen.fillRect(...this.rect(token));
      }
    };
    if (!this.map.overlap) return paint(() => true);
    const least = this.side * this.side * 1.2, coarse = (token) => { const [, , w, h] = this.rect(token); return w * h >= least; };
    paint(coarse); // then the finest decides
    for (const token of this.map.painted) if (!coarse(token)) pen.clearRect(...this.rect(token));
    paint((token) => !coarse(token));
  }

  fates(pen, codes, off) {
    this.ground(pen);
    this.fill(pen, codes, off);
    if (codes.some((code) => code === PRUNED) && !off.has(PRUNED)) this.hatch(pen, codes);
    const few = this.map.painted.reduce((sum, token) => sum + (codes[token] <= LOCAL), 0) / (this.map.painted.length || 1);
    for (const fate of [LOCAL, GLOBAL]) if (!off.has(fate)) this.outline(pen, (token) => codes[token] === fate, LINE[fate], few, (token) => codes[token] <= KEPT);
    if (!off.has(LOCAL)) this.dots(pen, (token) => codes[token] === LOCAL, LINE[LOCAL], few);
    this.diamonds(pen, (token) => codes[token] === KEPT && this.map.replaced(token, codes));
  }

  diamonds(pen, inside) { // kept places at which the model sees another token
    pen.beginPath();
    for (const token of this.map.painted) {
      if (!inside(token)) continue;
      const [x, y, w, h] = this.rect(token), [mx, my, reach] = [x + w / 2, y + h / 2, 0.38 * Math.min(w, h)];
      pen.moveTo(mx, my - reach); pen.lineTo(mx + reach, my); pen.lineTo(mx, my + reach); pen.lineTo(mx - reach, my); pen.closePath();
    }
    pen.strokeStyle = REPLACED; pen.lineWidth = Math.max(this.side / 11, 1); pen.stroke();
  }

  // Lines around groups of tokens, not around each; where there are many, only towards what is gone, and thinner.
  outline(pen, inside, colour, few, stays = inside) {
    const line = Math.max(this.side / (few < 0.25 ? 11 : 16), 1), half = line / 2, { near } = this.map;
    const group = few < 0.25 ? inside : stays;
    pen.beginPath();
    for (const token of this.map.painted) {
      if (!inside(token)) continue;
      const [x, y, w, h] = this.rect(token), b = 4 * token;
      const out = (side) => near[b + side] < 0 || !group(near[b + side]);
      if (out(0)) { pen.moveTo(x + half, y); pen.lineTo(x + half, y + h); }
      if (out(1)) { pen.moveTo(x, y + half); pen.lineTo(x + w, y + half); }
      if (out(2)) { pen.moveTo(x + w - half, y); pen.lineTo(x + w - half, y + h); }
      if (out(3)) { pen.moveTo(x, y + h - half); pen.lineTo(x + w, y + h - half); }
    }
    pen.globalAlpha = few < 0.6 ? 1 : 0.75;
    pen.strokeStyle = colour; pen.lineWidth = line; pen.stroke();
    pen.globalAlpha = 1;
  }

  dots(pen, inside, colour, few) {
    const radius = this.side * (few < 0.25 ? 0.13 : 0.09);
    pen.beginPath();
    for (const token of this.map.painted) {
      if (!inside(token)) continue;
      const [x, y, w, h] = this.rect(token);
      pen.moveTo(x + w / 2 + radius, y + h / 2);
      pen.arc(x + w / 2, y + h / 2, radius, 0, 2 * Math.PI);
    }
    pen.globalAlpha = few < 0.6 ? 0.95 : 0.7;
    pen.fillStyle = colour; pen.fill();
    pen.globalAlpha = 1;
  }

  hatch(pen, codes) {
    pen.beginPath();
    for (const token of this.map.painted) {
      if (codes[token] !== PRUNED) continue;
      const [x, y, w, h] = this.rect(token);
      pen.moveTo(x, y + h); pen.lineTo(x + w, y);
      pen.moveTo(x, y + h / 2); pen.lineTo(x + w / 2, y);
      pen.moveTo(x + w / 2, y + h); pen.lineTo(x + w, y + h / 2);
    }
    pen.strokeStyle = "rgba(255, 255, 255, .62)"; pen.lineWidth = Math.max(this.side / 20, 0.75); pen.stroke();
  }

  heat(pen, score) { // dark blue (lowest) to yellow (99th percentile and above); shade where there is none
    this.ground(pen);
    const levels = (score.levels ??= levelsOf(score));
    for (const token of this.map.painted) {
      if (this.map.overlap) pen.clearRect(...this.rect(token));
      pen.fillStyle = levels[token] < 0 ? SHADE[DROPPED] : RAMP[levels[token]];
      pen.globalAlpha = levels[token] < 0 ? 1 : 0.74;
      pen.fillRect(...this.rect(token));
    }
    pen.globalAlpha = 1;
  }

  both(pen, codes, other) { // what two methods keep
    this.ground(pen);
    const side = (token) => (codes[token] <= KEPT) + 2 * (other[token] <= KEPT);
    this.fill(pen, codes.map((_, token) => (side(token) ? KEPT : DROPPED)), new Set());
    const few = this.map.painted.reduce((sum, token) => sum + (side(token) > 0), 0) / this.map.painted.length;
    this.outline(pen, (token) => side(token) === 1, LINE[GLOBAL], few);
    this.outline(pen, (token) => side(token) === 2, LINE[LOCAL], few);
    this.dots(pen, (token) => side(token) === 2, LINE[LOCAL], few);
    this.outline(pen, (token) => side(token) === 3, "#ffffff", few);
  }

  captions(pen, codes) { // under the frames of a video: when, and how many of their tokens are left
    const { cells, times, tokens } = this.map.data, scale = this.width / this.map.data.size[0];
    if (!cells.length) return;
    const left = cells.map(() => [0, 0]);
    for (let token = 0; token < tokens; token++) {
      const place = this.map.place(token);
      if (place && left[place[0]]) { left[place[0]][1]++; left[place[0]][0] += !codes || codes[token] <= KEPT; }
    }
    pen.fillStyle = "#1e1e24"; pen.textBaseline = "middle";
    cells.forEach(([x0, , x1, y1], tile) => {
      pen.font = `${Math.max(10, Math.min(22, (x1 - x0) / 13)) * scale}px system-ui, sans-serif`;
      const text = codes ? `${times[tile]}: ${left[tile][0]} of ${left[tile][1]}` : times[tile];
      pen.fillText(window.words?.text(text) ?? text, (x0 + 2) * scale, (y1 + 16) * scale);
    });
  }

  // One token in the visitor's hand, with the token that absorbed it, or with those that it absorbed.
  hand(pen, token, codes, target, absorbed) {
    pen.clearRect(0, 0, this.width, this.height);
    if (token < 0 || Number.isNaN(this.edge[4 * token])) return;
    const middle = (t) => { const [x, y, w, h] = this.rect(t); return [x + w / 2, y + h / 2]; };
    const box = (t, colour, wide) => {
      const [x, y, w, h] = this.rect(t);
      pen.strokeStyle = "rgba(0, 0, 0, .75)"; pen.lineWidth = wide + 2; pen.strokeRect(x, y, w, h);
      pen.strokeStyle = colour; pen.lineWidth = wide; pen.strokeRect(x, y, w, h);
    };
    const line = Math.max(this.side / 12, 1.5);
    pen.fillStyle = "rgba(120, 220, 190, .45)";
    for (const from of absorbed) if (!Number.isNaN(this.edge[4 * from])) pen.fillRect(...this.rect(from));
    if (target >= 0 && !Number.isNaN(this.edge[4 * target])) {
      for (const [colour, wide] of [["rgba(0, 0, 0, .75)", line + 2], ["#7fe3c4", line]]) {
        pen.strokeStyle = colour; pen.lineWidth = wide;
        pen.beginPath(); pen.moveTo(...middle(token)); pen.lineTo(...middle(target)); pen.stroke();
      }
      box(target, "#7fe3c4", line * 1.4);
    }
    box(token, "#ffffff", line * 1.4);
  }

  marks(pen, forced) { // + put back, x taken out; over what `hand` drew
    for (const [token, mark] of forced) {
      const [x, y, w, h] = this.rect(token), r = Math.min(w, h) * 0.24, [cx, cy] = [x + w / 2, y + h / 2];
      pen.fillStyle = mark === "keep" ? "rgba(0, 158, 115, .82)" : "rgba(213, 94, 0, .82)";
      pen.fillRect(x, y, w, h);
      pen.strokeStyle = "#ffffff"; pen.lineWidth = Math.max(this.side / 10, 1.25); pen.beginPath();
      if (mark === "keep") { pen.moveTo(cx - r, cy); pen.lineTo(cx + r, cy); pen.moveTo(cx, cy - r); pen.lineTo(cx, cy + r); }
      else { pen.moveTo(cx - r, cy - r); pen.lineTo(cx + r, cy + r); pen.moveTo(cx + r, cy - r); pen.lineTo(cx - r, cy + r); }
      pen.stroke();
    }
  }
}

// 0 to 63, -1 where there is no score; a few huge values would leave the rest dark. What mattered begins at 0, and is
// bright only where the answer becomes at most half as likely: else nothing mattered.
function levelsOf({ name, values }) {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  const place = 0.99 * (known.length - 1), below = Math.floor(place);
  const high = known[below] + ((known[below + 1] ?? known[below]) - known[below]) * (place - below);
  const low = name === MATTERED ? 0 : known[0], range = Math.max(high - low, name === MATTERED ? TWICE : 1e-12);
  return values.map((value) => (value === null ? -1 : Math.round(63 * Math.min(Math.max((value - low) / range, 0), 1))));
}
