// What a visitor has asked goes along from tab to tab, and is in the page's address. links.py says who calls this.
window.address = (() => {
  const SKIP = { __type__: "update" }, UPLOAD = "vscan-upload";
  let examples = null; // {file: name}; null until the address has been read
  let visited = []; // pages, the latest first
  let waiting = {}, timer = 0;

  function write(values, push) {
    const url = new URL(location.href);
    for (const [key, value] of Object.entries(values)) {
      if (value === null) url.searchParams.delete(key); else url.searchParams.set(key, value);
    }
    if (url.href !== location.href) history[push ? "pushState" : "replaceState"](history.state, "", url);
  }
  function flush() { clearTimeout(timer); write(waiting, false); waiting = {}; }

  function remember(upload) { // for a reload in this window only; the address of a picture is not to be passed on
    try { upload ? sessionStorage.setItem(UPLOAD, JSON.stringify(upload)) : sessionStorage.removeItem(UPLOAD); } catch { /* forgotten */ }
  }
  function remembered() { try { return JSON.parse(sessionStorage.getItem(UPLOAD)); } catch { return null; } }

  function text(key, value) {
    if (key !== "picture") return value === null ? null : String(value);
    const name = examples[value?.path] ?? null;
    remember(name === null ? value : null);
    return name;
  }
  const same = (a, b) => a === b || JSON.stringify(a?.path ?? a) === JSON.stringify(b?.path ?? b);

  return {
    // a setting has changed, on the page that is open
    noted(page, key, value) {
      if (examples === null || page !== visited[0]) return;
      waiting[key] = text(key, value);
      clearTimeout(timer);
      timer = setTimeout(flush, 250);
    },
    // a tab is opened: its widgets take what was last set on another page. `places` names the page and key of each value
    opened(tab, target, places, values) {
      const at = (page, key) => places.findIndex((place) => place[0] === page && place[1] === key);
      const updates = places.filter((place) => place[0] === target).map(([, key]) => {
        const from = visited.find((page) => at(page, key) >= 0);
        const value = from === undefined ? undefined : values[at(from, key)];
        return value === undefined || same(value, values[at(target, key)]) ? SKIP : value;
      });
      visited = [tab, ...visited.filter((page) => page !== tab)];
      if (examples !== null) { flush(); write({ tab }, true); }
      return updates.length === 1 ? updates[0] : updates;
    },
    asked: () => [location.search.slice(1), remembered()],
    read(names) {
      examples = names;
      addEventListener("popstate", () => document.querySelector("#address-again")?.click());
    },
  };
})();
