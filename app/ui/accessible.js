// What Gradio's widgets leave out: names and roles for screen readers, and a focus that does not get lost.
(() => {
  const set = (element, name, value) => { if (value && element.getAttribute(name) !== value) element.setAttribute(name, value); };
  const all = (selector) => document.querySelectorAll(selector);
  const title = (group) => group.querySelector("[data-testid=block-info]")?.innerText.trim();

  function mend() {
    for (const each of all("#status, [id$='-status']")) set(each, "role", "status");
    for (const each of all(".thumbnail-item[aria-label^='Thumbnail']")) set(each, "aria-label", each.querySelector("img")?.alt);
    for (const each of all("fieldset:has(input[type=radio])")) { // one name, so that arrow keys move inside the group
      set(each, "role", "radiogroup"); set(each, "aria-label", title(each));
      each.querySelectorAll("input[type=radio]").forEach((radio) => set(radio, "name", each.id || radio.name));
    }
    for (const each of all("fieldset:has(input[type=checkbox])")) set(each, "aria-label", title(each));
  }

  let waiting = false;
  const later = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; mend(); }); } };

  // Run and Stop take turns: the focus goes to the one that can be pressed
  let pressed = null;
  function follow(button) {
    const other = button.parentElement?.querySelector("button:not([disabled])");
    const lost = document.activeElement === button || document.activeElement === document.body;
    if (button === pressed && lost && other) { pressed = other; other.focus({ preventScroll: true }); }
  }
  // the answers are in text areas, whose content is not announced
  function announce(page) {
    const answers = [...all("[id^='answer-'] textarea")].filter((each) => each.offsetParent && each.value);
    spoken.textContent = page ? answers.map((each) => `${each.closest("label")?.innerText || each.ariaLabel}: ${each.value}`).join(". ") : "";
  }
  const spoken = document.createElement("div");
  spoken.id = "spoken"; spoken.translate = false; spoken.className = "unseen-text"; spoken.setAttribute("role", "status");
  spoken.style.cssText = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap";

  addEventListener("focusin", (event) => { if (event.target.closest?.(".buttons")) pressed = event.target; else if (event.target !== document.body) pressed = null; });
  addEventListener("click", (event) => { if (event.target.closest?.("button[id$='run']")) announce(false); });
  function start() {
    document.body.append(spoken);
    new MutationObserver((changes) => {
      for (const { target, attributeName } of changes) {
        if (attributeName !== "disabled" || !target.closest(".buttons")) continue;
        if (target.disabled) setTimeout(follow, 50, target);
        else if (target.id.endsWith("run")) announce(true);
      }
      later();
    }).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["disabled", "alt", "aria-label"] });
    later();
  }
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start); else start();
})();
