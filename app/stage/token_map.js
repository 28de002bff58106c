// What is known about the tokens of one picture, and how it is said in words. No drawing here.
const GLOBAL = 0, LOCAL = 1, KEPT = 2, MERGED = 3, DROPPED = 4, PRUNED = 5, OPEN = 6; // 0 to 5 as `Fate` in Python
const MATTERED = "mattered", TWICE = Math.log(2);
const SCORE_NAMES = { global: "Whole picture", local: "Neighbourhood", text: "Question", [MATTERED]: "What mattered" };

class TokenMap {
  constructor(data, like = null) { // like: a map of the same tokens at the same places
    this.data = data;
    this.tokens = data.tokens;
    this.stops = data.cuts.map((cut) => Uint8Array.from(cut.fates, Number));
    this.stops.unshift(new Uint8Array(this.tokens).fill(KEPT));
    this.forced = new Set(data.cuts.flatMap((cut) => cut.labels.forced || []));
    this.other = data.other ? Uint8Array.from(data.other.fates, Number) : null;
    if (like && like.data.boxes.join() === data.boxes.join()) {
      for (const name of ["box", "drawn", "painted", "overlap", "near", "unseen"]) this[name] = like[name];
      return;
    }
    this.box = new Float32Array(data.boxes.map((x) => (x === null ? NaN : x)));
    this.layers();
    this.near = this.neighbours();
  }

  // drawn: tokens with a place, those with clearly larger boxes first, as they lie under the others. painted: of these,
  // the ones that can be seen. overlap: whether some can be seen only in part.
  layers() {
    const side = (token) => [this.box[4 * token + 2] - this.box[4 * token], this.box[4 * token + 3] - this.box[4 * token + 1]];
    const area = (token) => side(token)[0] * side(token)[1];
    const seen = [];
    for (let token = 0; token < this.tokens; token++) if (!Number.isNaN(this.box[4 * token])) seen.push(token);
    const least = Math.min(...seen.map(area)), fine = seen.filter((token) => area(token) < 1.2 * least);
    const coarse = seen.filter((token) => area(token) >= 1.2 * least);
    this.drawn = fine;
    const open = coarse.filter((token) => {
      const [x, y] = this.centre(token), [w, h] = side(token);
      return [[0, 0], [-1, -1], [1, -1], [-1, 1], [1, 1]].some(([i, j]) => this.at(x + 0.45 * w * i, y + 0.45 * h * j) < 0);
    });
    this.overlap = open.length > 0 && fine.length > 0;
    this.painted = [...open, ...fine];
    this.drawn = [...coarse, ...fine];
    this.unseen = this.outside();
  }

  outside() { // whether more than 2 % of the width or height lies outside of all tokens
    const [w, h] = this.data.size, ends = [Infinity, Infinity, -Infinity, -Infinity];
    const [left, top, right, bottom] = this.data.cells[0] || [0, 0, w, h];
    const [wide, high] = [right - left, bottom - top];
    for (const token of this.drawn) {
      const box = this.box.subarray(4 * token, 4 * token + 4);
      if (this.data.cells.length && (box[0] < left - 1 || box[1] < top - 1 || box[2] > right + 1 || box[3] > bottom + 1)) continue; // another frame
      box.forEach((x, i) => { ends[i] = i < 2 ? Math.min(ends[i], x) : Math.max(ends[i], x); });
    }
    return Math.max(ends[0] - left, right - ends[2]) > 0.02 * wide || Math.max(ends[1] - top, bottom - ends[3]) > 0.02 * high;
  }

  // (4 * tokens): the token at the left, top, right and bottom of each, -1 where there is none.
  neighbours() {
    const sides = new Map(), found = new Int32Array(4 * this.tokens).fill(-1), box = this.box;
    const name = (vertical, line, start, end) => [vertical, Math.round(line), Math.round(start), Math.round(end)].join();
    const edges = (token) => {
      const [x0, y0, x1, y1] = box.subarray(4 * token, 4 * token + 4);
      return [name(1, x0, y0, y1), name(0, y0, x0, x1), name(1, x1, y0, y1), name(0, y1, x0, x1)];
    };
    for (const token of this.drawn) edges(token).slice(2).forEach((edge) => sides.set(edge, token));
    for (const token of this.drawn) {
      edges(token).slice(0, 2).forEach((edge, side) => {
        const before = sides.get(edge);
        if (before !== undefined && before !== token) {
          found[4 * token + side] = before; found[4 * before + side + 2] = token;
        }
      });
    }
    return found;
  }

  at(x, y) { // the token drawn on top at a point of the picture, -1 where the model saw nothing
    for (let i = this.drawn.length - 1; i >= 0; i--) {
      const b = 4 * this.drawn[i];
      if (this.box[b] <= x && x < this.box[b + 2] && this.box[b + 1] <= y && y < this.box[b + 3]) return this.drawn[i];
    }
    return -1;
  }

  centre(token) {
    const b = 4 * token;
    return [(this.box[b] + this.box[b + 2]) / 2, (this.box[b + 1] + this.box[b + 3]) / 2];
  }

  target(token, codes) { // the kept token that absorbed it, -1 if none
    if (codes[token] !== MERGED && codes[token] !== PRUNED) return -1;
    for (const cut of this.data.cuts) if (cut.merged.length && cut.merged[token] >= 0) return cut.merged[token];
    return -1;
  }

  absorbed(token) { // the tokens that it stands for, itself apart
    const found = [];
    for (const { merged } of this.data.cuts) merged.forEach((into, from) => { if (into === token) found.push(from); });
    return found;
  }

  replaced(token, codes) { // whether another token is seen at its place, by the last cut that `codes` knows
    const stop = this.stops.indexOf(codes), cuts = stop < 0 ? this.data.cuts : this.data.cuts.slice(0, stop);
    return cuts.some((cut) => (cut.labels.basis || []).includes(token));
  }

  prunedAt(token) { // the layer at which a token was dropped inside the language model
    for (let cut = 0; cut < this.data.cuts.length; cut++) {
      if (this.data.cuts[cut].layer > 0 && this.stops[cut + 1][token] === PRUNED) return this.data.cuts[cut].layer;
    }
    return 0;
  }

  place(token) { // [tile, row, column] from 0, or null
    const { grid, origin } = this.data, source = origin ? origin[token] : token;
    if (!grid || source < 0) return null;
    const perTile = grid[0] * grid[1], inside = source % perTile;
    return [Math.floor(source / perTile), Math.floor(inside / grid[1]), inside % grid[1]];
  }

  placeInWords(token) {
    const place = this.place(token);
    if (!place || Number.isNaN(this.box[4 * token])) return `token ${token + 1}, which has no place in the picture`;
    const text = `row ${place[1] + 1}, column ${place[2] + 1}`;
    if (this.data.tiles < 2) return text;
    const frames = this.data.frames[place[0]];
    if (!frames) return `tile ${place[0] + 1}, ${text}`;
    return `${frames.length > 1 ? `frames ${frames[0]} and ${frames.at(-1)}` : `frame ${frames[0]}`}, ${text}`;
  }

  fate(token, codes) {
    const method = this.data.vscan;
    if (codes[token] === GLOBAL) return method ? "kept by the global scan: it stands out in the whole picture" : "kept";
    if (codes[token] === LOCAL) return method ? "kept by the local scan: it stands out in its neighbourhood" : "kept";
    if (codes[token] === KEPT && this.replaced(token, codes)) return "kept as a place where the model sees a basis token, usually one from elsewhere";
    if (codes[token] === KEPT) return this.forced.has(token) ? "kept because it was put back" : "kept";
    if (codes[token] === DROPPED) return "dropped before the language model";
    if (codes[token] === OPEN) return "dropped, or merged into a kept token: the server decides when you let go";
    const into = this.target(token, codes);
    const told = into < 0 ? "" : `, averaged into ${this.placeInWords(into)}`;
    if (codes[token] === MERGED) return `merged before the language model${told}`;
    const why = this.data.vscan ? ": attended to least by the last prompt token" : "";
    return `dropped at layer ${this.prunedAt(token)}${why}${told}`;
  }

  ranks(token, live) { // a score in words, for every score that the token has; only those of the first cut while `live`
    const told = [];
    for (const score of inOrder(this.data.scores)) {
      if (score.name === MATTERED || !score.ranks[token] || score.values[token] === null || (live && score.layer)) continue;
      told.push(`${scoreLabel(score)} rank ${score.ranks[token]} of ${summary(score).known}, ${amount(score, token)}`);
    }
    return told;
  }

  mattered(token) { // what its region did for the answer, in words; "" if that has not been asked
    const score = this.data.scores.find(({ name }) => name === MATTERED), loss = score ? score.values[token] : null;
    return loss === null ? "" : `Without its region and those around it, the answer is ${likelihood(loss)}.`;
  }

  describe(token, codes, live = false) { // one or more sentences
    if (token < 0) return "The model did not see this part of the picture.";
    const place = this.placeInWords(token), ranks = this.ranks(token, live);
    const who = this.other ? `. ${this.data.title}` : "";
    let text = `${place[0].toUpperCase()}${place.slice(1)}${who}: ${this.fate(token, codes)}.`;
    if (codes[token] <= KEPT && !live && codes !== this.stops[0]) {
      const more = this.absorbed(token).length;
      if (more) text += ` Stands for ${more + 1} tokens: itself and ${more} merged into it.`;
    }
    if (this.other) text += ` ${this.data.other.title}: ${this.other[token] <= KEPT ? "kept" : "dropped"}.`;
    return [text, ranks.length ? `Attention: ${ranks.join("; ")}.` : "", this.mattered(token)].filter(Boolean).join(" ");
  }
}

function summary(score) { // {known, mean, share}: tokens with a score, its mean, whether it is a share of attention
  if (score.summary) return score.summary;
  const values = score.values.filter((value) => value !== null), sum = values.reduce((a, b) => a + b, 0);
  const share = values.every((value) => value >= 0) && sum > 0;
  return (score.summary = { known: Math.max(...score.ranks), mean: sum / values.length, share });
}

function amount(score, token) {
  const { mean, share } = summary(score), value = score.values[token];
  if (!share) return `score ${value}`;
  const times = value / mean;
  return times < 0.01 ? "less than 0.01 times the average" : `${Number(times.toPrecision(2))} times the average`;
}

function likelihood(loss) { // a fall of the logarithm of a probability, in words
  const times = Math.exp(Math.abs(loss));
  if (times < 1.05) return "about as likely";
  const told = times < 1000 ? Number(times.toPrecision(2)).toLocaleString("en") : "more than 1,000";
  return `${told} times ${loss > 0 ? "less" : "more"} likely`;
}

const inOrder = (scores) => Object.keys(SCORE_NAMES).flatMap((name) => scores.filter((score) => score.name === name))
  .concat(scores.filter((score) => !(score.name in SCORE_NAMES)));

function scoreLabel(score) {
  const name = SCORE_NAMES[score.name] || score.name;
  return score.layer && score.name !== "text" ? `${name}, layer ${score.layer}` : name;
}

function counted(codes) { // [tokens of code 0, of code 1, ...]
  const counts = new Array(7).fill(0);
  for (const code of codes) counts[code]++;
  return counts;
}

const kept = (codes) => codes.reduce((sum, code) => sum + (code <= KEPT), 0);
