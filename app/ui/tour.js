// Four hints for a visitor's first time; the browser remembers that they were seen. ?tour=1 shows them again.
(() => {
  const HINTS = [
    ["#picture", "Choose an example below, or bring a picture of your own."],
    ["#question", "Ask something about it and press Run: the model answers twice, with all visual tokens and with few."],
    ["#stage, #overlay", "Here you see which parts of the picture were kept, and why."],
    ["#present", "How it works tells the method in six steps. Present shows them on the whole screen."],
  ];
  const MEMORY = "vscan-tour", MARGIN = 12;
  const asked = new URLSearchParams(location.search);
  let card = null, place = 0;

  function wanted() { // a browser that is driven by a program, or cannot remember, is left alone
    if (asked.get("present") === "1") return false;
    if (asked.get("tour") === "1") return true;
    try { return !navigator.webdriver && !localStorage.getItem(MEMORY); } catch { return false; }
  }

  const shown = (selector) => [...document.querySelectorAll(selector)].find((each) => each.getClientRects().length);

  function end() {
    try { localStorage.setItem(MEMORY, "seen"); } catch { /* shown again next time */ }
    document.querySelectorAll(".tour-target").forEach((each) => each.classList.remove("tour-target"));
    removeEventListener("keydown", key); removeEventListener("resize", put); removeEventListener("scroll", put, true);
    card.remove();
  }

  function key(event) { if (event.key === "Escape" && !document.querySelector("dialog[open]")) end(); }

  const cut = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;

  function put() { // beside the target where it fits, and never on Run
    const target = shown(HINTS[place][0]), run = shown("#run")?.getBoundingClientRect(), { width, height } = card.getBoundingClientRect();
    const box = target ? target.getBoundingClientRect() : new DOMRect(), right = innerWidth - width - MARGIN, low = innerHeight - height - MARGIN;
    const inside = (value, most) => Math.max(MARGIN, Math.min(value, most));
    const tries = [[box.right + MARGIN, box.top], [box.left, box.bottom + MARGIN], [box.left, box.top - height - MARGIN],
      [right, low], [right, MARGIN], [MARGIN, low]];
    const places = tries.map(([x, y]) => { const [left, top] = [inside(x, right), inside(y, low)];
      return { left, top, right: left + width, bottom: top + height }; });
    const free = places.filter((each) => !run || !cut(each, run));
    const best = free.find((each) => !cut(each, box)) || free[0] || places[0];
    card.style.left = `${best.left}px`; card.style.top = `${best.top}px`;
  }

  function show(next) {
    place = next;
    document.querySelectorAll(".tour-target").forEach((each) => each.classList.remove("tour-target"));
    while (place < HINTS.length && !shown(HINTS[place][0])) place += 1;
    if (place >= HINTS.length) { end(); return; }
    const target = shown(HINTS[place][0]);
    target.classList.add("tour-target");
    target.scrollIntoView({ block: "nearest" });
    card.querySelector("p").textContent = HINTS[place][1];
    card.querySelector(".tour-next").textContent = place === HINTS.length - 1 ? "Done" : "Next";
    put();
  }

  function start() {
    card = document.createElement("div");
    card.id = "tour";
    card.setAttribute("role", "region"); card.setAttribute("aria-label", "Tour");
    card.innerHTML = '<p aria-live="polite"></p><div><button type="button" class="tour-skip">Skip</button>'
      + '<button type="button" class="tour-next"></button></div>';
    card.querySelector(".tour-skip").addEventListener("click", end);
    card.querySelector(".tour-next").addEventListener("click", () => show(place + 1));
    document.querySelector(".gradio-container").prepend(card); // the first that Tab reaches
    addEventListener("keydown", key); addEventListener("resize", put); addEventListener("scroll", put, true);
    show(0);
  }

  if (!wanted()) return;
  const PATIENCE = 10; // a slow page is built piece by piece: what is hidden here (on a phone) is not waited for longer
  let tries = 0;
  const waiting = setInterval(() => {
    if (!shown("#run") || (!HINTS.every(([target]) => shown(target)) && ++tries < PATIENCE)) return;
    clearInterval(waiting);
    start();
  }, 300);
})();
