// The clock of a page of runs: it ticks while a run goes on, and says so when the server cannot be reached.
const place = props.place, runs = (window.runsOf ||= {});
const mine = (runs[place] ||= { busy: false, runs: 0 });
const text = element.querySelector(".run-clock");
const shown = new Map();  // key of a pane's clock -> when it was seen first
let since = 0, asked = 0;

window.addEventListener("runbegins", (event) => {
    if (event.detail !== place) return;
    since = asked = performance.now();
    shown.clear();
    trigger("submit");  // the status line and the buttons
    const goal = document.querySelector(props.goal);
    if (goal && window.innerWidth < 700) goal.scrollIntoView({ behavior: "smooth", block: "start" });
});

setInterval(() => {
    if (!mine.busy) {
        if (text.textContent) text.textContent = "";
        return;
    }
    const now = performance.now(), seconds = (from) => ((now - from) / 1000).toFixed(1) + " s";
    if (!text.dataset.lost) text.textContent = seconds(since);
    for (const clock of document.querySelectorAll("[data-clock]")) {
        const key = clock.dataset.clock;
        if (!shown.has(key)) shown.set(key, now - 1000 * (parseFloat(clock.textContent) || 0));
        clock.textContent = seconds(shown.get(key));
    }
    if (now - asked > 4000) {
        asked = now;
        fetch("healthz", { cache: "no-store" }).then(() => { delete text.dataset.lost; }, () => {
            text.dataset.lost = "1";
            text.textContent = "The connection to the server is lost; this page reloads by itself once it is back.";
        });
    }
}, 100);
