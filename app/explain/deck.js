// The presentation: the same steps, in a dialog over the whole window. ?present=1 in the address opens it.
const NEXT_KEYS = ["ArrowRight", "ArrowDown", "PageDown", " ", "Enter"], BACK_KEYS = ["ArrowLeft", "ArrowUp", "PageUp", "Backspace"];

function asked() { return new URLSearchParams(location.search).get("present") === "1"; }

function writeAddress(presenting) {
  const url = new URL(location.href);
  if (presenting) url.searchParams.set("present", "1"); else url.searchParams.delete("present");
  history.replaceState(history.state, "", url);
}

class Deck {
  constructor(dialog, section, go) { // go(change) steps on or back; go.to(step) jumps
    this.dialog = dialog; this.screen = dialog.firstElementChild; this.section = section; this.home = section.parentElement;
    this.go = go;
    dialog.addEventListener("close", () => this.closed());
    dialog.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("fullscreenchange", () => { // the browser keeps the Escape that ends full screen
      const full = document.fullscreenElement === this.screen;
      if (this.full && !full && !this.leaving) this.dialog.close();
      this.full = full;
      if (!full) this.leaving = false; // not on entering, of which we may hear when F was pressed again
    });
  }

  get open() { return this.dialog.open; }

  present() {
    if (this.open) return;
    this.screen.append(this.section);
    this.dialog.showModal();
    this.screen.focus();
    writeAddress(true);
  }

  closed() {
    this.home.insertBefore(this.section, this.dialog);
    this.full = false;
    if (document.fullscreenElement === this.screen) document.exitFullscreen();
    writeAddress(false);
    document.querySelector("#present")?.focus();
  }

  toggleFull() {
    if (document.fullscreenElement) { this.leaving = true; document.exitFullscreen(); } else this.screen.requestFullscreen();
  }

  key(event) {
    const on = event.target, typing = on.tagName === "INPUT", pressing = on.tagName === "BUTTON" && [" ", "Enter"].includes(event.key);
    if (event.ctrlKey || event.metaKey || event.altKey || pressing) return;
    if (typing && !event.key.startsWith("Page")) return;
    const key = event.key;
    if (NEXT_KEYS.includes(key)) this.go(1);
    else if (BACK_KEYS.includes(key)) this.go(-1);
    else if (key === "Home") this.go.to(0);
    else if (key === "End") this.go.to(Infinity);
    else if (key === "f" || key === "F") this.toggleFull();
    else return;
    event.preventDefault();
  }
}
