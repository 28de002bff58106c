() => {  // both answers again, on one clock, at the speed that was measured for each
    const lanes = [...document.querySelectorAll("#results [data-race]")];
    if (lanes.length < 2 || window.racing) return;
    window.racing = true;
    const runs = lanes.map((lane) => {
        const [first, each, ...lengths] = lane.dataset.race.split(" ").map(Number);
        const pane = lane.closest(".pane"), area = pane.querySelector("textarea");
        return { first, each, lengths, area, text: area.value, line: pane.querySelector(".live"), html: null };
    });
    for (const run of runs) run.html = run.line.innerHTML;
    const start = performance.now();
    const step = () => {
        const now = performance.now() - start;
        let over = true;
        for (const run of runs) {
            const last = run.first + run.each * (run.lengths.length - 1);
            const written = now < run.first ? 0 : Math.min(Math.floor((now - run.first) / (run.each || 1)) + 1, run.lengths.length);
            run.area.value = written ? run.text.slice(0, run.lengths[written - 1]) : "";
            run.line.textContent = `${(Math.min(now, last) / 1000).toFixed(2)} s · ${written} tokens · replayed at the measured speed`;
            over &&= now >= last;
        }
        if (!over) { requestAnimationFrame(step); return; }
        setTimeout(() => {
            for (const run of runs) { run.area.value = run.text; run.line.innerHTML = run.html; }
            window.racing = false;
        }, 1200);
    };
    step();
}
