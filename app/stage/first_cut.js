// VScan's first cut in the browser, from ranks that the server sent: the same tokens as VScan.select in Python.
// scan: {capped, window, share, layers, later, grid: [rows, cols], origin: [token, ...] | null,
//        tiles: [{local: [rank, ...], global: [rank, ...], region: [top, bottom, left, right] | undefined}, ...]},
//        ranks from 1, best first; region: the rows and columns of a tile that are no padding, and that ranks are of.

function halfEven(value) { // rounds as Python does
  const floor = Math.floor(value), rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

function entranceBudget(scan, retention) { // tokens per tile that the first cut keeps; 0: less than one token
  const tokens = scan.grid[0] * scan.grid[1], wanted = retention * tokens * scan.layers;
  if (wanted < scan.layers * (1 - 1e-9)) return 0;
  return Math.min(tokens, Math.max(1, halfEven(wanted / (scan.later + (scan.layers - scan.later) * (1 / 3)))));
}

function byRank(ranks) { // [3, 1, 2] -> [1, 2, 0]
  const order = new Int32Array(ranks.length);
  ranks.forEach((rank, token) => { order[rank - 1] = token; });
  return order;
}

function windowsOf([rows, cols], side) { // the window of every token; the last ones take what remains
  const down = Math.max(Math.floor(rows / side), 1), across = Math.max(Math.floor(cols / side), 1);
  const of = new Int32Array(rows * cols);
  for (let token = 0; token < of.length; token++) {
    const row = Math.min(Math.floor(Math.floor(token / cols) / side), down - 1);
    of[token] = row * across + Math.min(Math.floor((token % cols) / side), across - 1);
  }
  return { of, count: down * across };
}

function prepared(scan) { // what does not depend on the retention, made once
  return (scan.ready ??= scan.tiles.map((tile) => {
    const [top, bottom, left, right] = tile.region ?? [0, scan.grid[0], 0, scan.grid[1]], cols = right - left;
    const windows = windowsOf([bottom - top, cols], scan.window), sizes = new Int32Array(windows.count);
    for (const window of windows.of) sizes[window]++;
    const place = windows.of.map((_, token) => (top + Math.floor(token / cols)) * scan.grid[1] + left + (token % cols));
    return { local: byRank(tile.local), global: byRank(tile.global), windows, sizes, place };
  }));
}

function localScan(order, windows, sizes, budget, capped) { // marks tokens of one tile: 1 = picked
  const picked = new Uint8Array(order.length), taken = new Int32Array(windows.count);
  if (capped) {
    const cap = Math.ceil(budget / windows.count);
    let left = budget;
    for (const token of order) {
      if (left > 0 && taken[windows.of[token]] < cap) { picked[token] = 1; taken[windows.of[token]]++; left--; }
    }
    return picked;
  }
  const share = Math.floor(budget / windows.count);
  let left = budget - share * windows.count;
  for (const token of order) {
    if (taken[windows.of[token]] < share) { picked[token] = 1; taken[windows.of[token]]++; }
  }
  const refilled = new Uint8Array(windows.count);
  for (const token of order) { // the remainder: one per window, the best next tokens first
    const window = windows.of[token];
    if (left > 0 && !picked[token] && !refilled[window] && sizes[window] > share) {
      picked[token] = 1; refilled[window] = 1; left--;
    }
  }
  return picked;
}

// {keep, codes}: tokens kept per tile, and what happens to every token: 0 global, 1 local, 2 kept, 6 dropped or merged
function firstCut(scan, retention) {
  const tiles = prepared(scan), perTile = scan.grid[0] * scan.grid[1];
  const keep = entranceBudget(scan, retention), inTiles = new Uint8Array(perTile * tiles.length).fill(6);
  if (keep === 0) return null;
  tiles.forEach(({ local: order, global, windows, sizes, place }, number) => {
    const mark = (token, code) => { inTiles[number * perTile + place[token]] = code; };
    if (keep >= order.length) return order.forEach((token) => mark(token, 2));
    const local = localScan(order, windows, sizes, Math.floor(keep * scan.share), scan.capped);
    let left = keep;
    local.forEach((is, token) => { if (is) { mark(token, 1); left--; } });
    for (const token of global) {
      if (left > 0 && !local[token]) { mark(token, 0); left--; }
    }
  });
  const codes = scan.origin ? Uint8Array.from(scan.origin, (source) => (source < 0 ? 2 : inTiles[source])) : inTiles;
  return { keep, codes };
}
