// Shows the page in Chinese: text and labels are looked up in the catalogue (zh.json) as they appear.
// A key is English as it stands in the page: {} is any text, **b**, *i*, `code`, [link], <1>other elements</1>, \n a break.
window.words = (() => {
  const asked = new URLSearchParams(location.search).get("lang");
  const kept = () => { try { return localStorage.getItem("vscan-lang"); } catch { return null; } };
  const known = (code) => code && ["zh", "en"].find((each) => code.toLowerCase().startsWith(each));
  const language = [asked, kept(), ...navigator.languages].map(known).find(Boolean) ?? "en";

  function turn() {
    const other = language === "zh" ? "en" : "zh", url = new URL(location.href);
    try { localStorage.setItem("vscan-lang", other); } catch { /* the address says it, too */ }
    url.searchParams.set("lang", other);
    location.replace(url);
  }
  const code = language === "zh" ? "zh-CN" : "en";
  document.documentElement.lang = code;
  // the framework's own texts follow the browser's language, which may be another than the chosen one
  Object.defineProperty(navigator, "language", { get: () => code });
  Object.defineProperty(navigator, "languages", { get: () => [code] });
  if (language !== "zh") return { language, turn, text: (english) => english };

  // In a sentence, an element is two characters that nobody types: its kind's, and that one's plus one to close it.
  const KINDS = { B: "\uE000", STRONG: "\uE000", I: "\uE002", EM: "\uE002", CODE: "\uE004", A: "\uE006" };
  const BREAK = "\uE008", OTHER = 0xE100; // others are numbered: OTHER + 2 n opens, OTHER + 2 n + 1 closes
  const INLINE = new Set([..."B STRONG I EM CODE A SPAN SMALL SUP SUB KBD ABBR BR Q U S MARK VAR SAMP TIME LABEL".split(" ")]);
  const SKIPPED = "script, style, textarea, pre, canvas, [contenteditable=true], [translate=no], .in-english";
  const LABELS = ["aria-label", "aria-valuetext", "aria-roledescription", "title", "placeholder", "alt"];
  const SENTENCES = /(?<=[.?!]\p{Co}?) (?=\S)/u, PARTS = /(?<=[;:]\p{Co}?) | \u00b7 /u, LISTED = /(?<=,\p{Co}?) /u;
  const BORDER = /[.?!;]\p{Co}? (?=\S)/u;
  const FULL = { ".": "。", ",": "，", ";": "；", ":": "：", "?": "？", "!": "！" };
  const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const marked = (text) => text
    .replace(/\*\*([^*]+)\*\*/g, "\uE000$1\uE001").replace(/\*([^*]+)\*/g, "\uE002$1\uE003")
    .replace(/`([^`]+)`/g, "\uE004$1\uE005").replace(/\[([^\]]+)\]/g, "\uE006$1\uE007").replaceAll("\n", BREAK)
    .replace(/<(\/?)(\d)>/g, (_, close, n) => String.fromCharCode(OTHER + 2 * n + (close ? 1 : 0)));

  const exact = new Map(), templates = [], found = new Map();
  for (const [english, chinese] of Object.entries(JSON.parse(document.getElementById("words").textContent))) {
    const key = marked(english), value = marked(chinese);
    if (!key.includes("{}")) { exact.set(key, value); continue; }
    const literal = key.split("{}");
    const longest = literal.reduce((a, b) => (b.length > a.length ? b : a));
    const any = /^[^A-Za-z%:]*[A-Za-z]{0,3}[^A-Za-z%:]*$/.test(literal.join("")) ? "(\\S+?)" : "(.+?)"; // next to nothing is said: single words only
    const lists = literal.map((part) => part.endsWith(": ")); // what follows may be a list of several parts
    templates.push({ longest, lists, weight: key.length, value, shape: new RegExp(`^${literal.map(escaped).join(any)}$`, "su") });
  }
  templates.sort((a, b) => b.weight - a.weight);

  const wordless = (text) => !/[A-Za-z]{2}/.test(text);
  const whole = (part) => [...part.matchAll(/\p{Co}/gu)].reduce((open, [mark]) => open + (mark === BREAK ? 0 : mark.charCodeAt(0) % 2 ? -1 : 1), 0) === 0;
  const filled = (value, parts) => {
    let next = 0;
    return value.replace(/\{(\d?)\}/g, (_, n) => { const part = parts[n ? n - 1 : next++]; return text(part) ?? part; });
  };
  function template(english, wide) {
    for (const { longest, lists, shape, value } of templates) {
      const parts = english.includes(longest) ? english.match(shape)?.slice(1) : null;
      if (parts?.every((part, n) => whole(part) && (wide || !(lists[n] ? SENTENCES : BORDER).test(part)))) return filled(value, parts);
    }
    return null;
  }
  function pieceByPiece(english, border) {
    const pieces = english.split(border), turned = pieces.map((piece) => pieces.length > 1 ? text(piece) : null);
    return turned.some((each) => each !== null) ? joined(pieces.map((piece, n) => turned[n] ?? piece), english) : null;
  }
  function withoutItsEnd(english) {
    const [, core, end, close] = english.match(/^(.+)([.,;:?!])(\p{Co}?)$/su) ?? [], chinese = core && text(core);
    return chinese ? chinese + FULL[end] + close : null;
  }
  function looked(english) {
    return exact.get(english) ?? template(english, false) ?? pieceByPiece(english, SENTENCES) ?? withoutItsEnd(english)
      ?? pieceByPiece(english, PARTS) ?? template(english, true) ?? pieceByPiece(english, LISTED);
  }
  // between Chinese marks no blanks; the sign between two parts stays
  function joined(pieces, english) {
    const dot = english.includes(" \u00b7 ") ? " \u00b7 " : " ";
    return pieces.reduce((a, b) => a + (/[。，：；！？]\p{Co}?$/u.test(a) ? "" : /[.?!;:,]\p{Co}?$/u.test(a) ? " " : dot) + b);
  }
  // the Chinese of a whole text, or null
  function text(english) {
    if (wordless(english)) return exact.get(english) ?? null;
    if (!found.has(english)) { if (found.size > 5000) found.clear(); found.set(english, null); found.set(english, looked(english)); }
    return found.get(english);
  }
  const around = (raw) => { const core = raw.trim(); return [raw.slice(0, raw.indexOf(core)), core.replace(/\s+/g, " "), raw.slice(raw.indexOf(core) + core.length)]; };

  function turnText(node) {
    const [before, core, after] = around(node.data), chinese = core && text(core);
    if (chinese && !/\p{Co}/u.test(chinese)) node.data = before + chinese + after;
  }
  const FIELDS = "input[readonly]"; // what a menu shows as chosen; nobody types there
  function turnField(field) {
    const chinese = text(field.value);
    if (chinese && chinese !== field.value) field.value = chinese;
  }
  function turnLabels(element) {
    for (const name of LABELS) {
      const core = element.getAttribute(name)?.trim().replace(/\s+/g, " "), chinese = core && text(core);
      if (chinese && chinese !== core) element.setAttribute(name, chinese);
    }
  }

  const inline = (element) => INLINE.has(element.tagName) && !element.matches(SKIPPED) && [...element.children].every(inline);
  const sentence = (element) => element.children.length && element.role !== "option" && [...element.children].every(inline)
    && [...element.childNodes].some((node) => node.nodeType === 3 && !wordless(node.data));

  function serialised(element, elements) { // its text with marks; `elements` by mark, in order
    return [...element.childNodes].map((node) => {
      if (node.nodeType === 3) return node.data;
      if (node.nodeType !== 1) return "";
      if (node.tagName === "BR") { (elements[BREAK] ||= []).push(node); return BREAK; }
      const open = KINDS[node.tagName] ?? String.fromCharCode(OTHER + 2 * (elements.others = (elements.others ?? 0) + 1));
      (elements[open] ||= []).push(node);
      return open + serialised(node, elements) + String.fromCharCode(open.charCodeAt(0) + 1);
    }).join("");
  }
  function turnSentence(element) {
    const elements = {}, [before, core, after] = around(serialised(element, elements)), chinese = text(core);
    if (!chinese || chinese === core) return false;
    const open = [[null, [before]]]; // [what is being filled, its nodes], the innermost last
    for (const piece of chinese.split(/(\p{Co})/u)) {
      if (!/\p{Co}/u.test(piece)) { if (piece) open.at(-1)[1].push(piece); continue; }
      const opens = piece === BREAK || piece.charCodeAt(0) % 2 === 0;
      if (opens) {
        const next = elements[piece]?.shift();
        if (!next) return false;
        if (piece === BREAK) open.at(-1)[1].push(next); else open.push([next, []]);
      } else {
        if (open.length < 2) return false;
        const last = open.pop();
        open.at(-1)[1].push(last);
      }
    }
    if (open.length > 1) return false;
    const put = (target, nodes) => target.replaceChildren(...nodes.map((one) => (Array.isArray(one) ? (put(...one), one[0]) : one)));
    put(element, [...open[0][1], after].filter((one) => one !== ""));
    return true;
  }

  function visit(node) {
    if (node.nodeType === 3) turnText(node);
    if (node.nodeType !== 1 || node.matches(SKIPPED)) { if (node.nodeType === 1) turnLabels(node); return; }
    turnLabels(node);
    if (sentence(node) && turnSentence(node)) { node.querySelectorAll("*").forEach(turnLabels); return; }
    node.childNodes.forEach(visit);
  }
  function host(node) { // the block whose sentence a node belongs to
    let found = node.nodeType === 1 ? node : node.parentElement;
    while (found && INLINE.has(found.tagName) && found.parentElement) found = found.parentElement;
    return found;
  }
  function start() {
    const watch = new MutationObserver((changes) => {
      const again = new Set();
      for (const { type, target, addedNodes } of changes) {
        if (!target.isConnected) continue;
        if (type === "attributes") { if (!target.closest("[translate=no]")) turnLabels(target); }
        else if (type === "characterData") again.add(host(target));
        else addedNodes.forEach((node) => again.add(node.nodeType === 1 && !INLINE.has(node.tagName) ? node : host(node)));
      }
      for (const node of again) if (node?.isConnected && !node.closest(SKIPPED)) visit(node);
      document.querySelectorAll(FIELDS).forEach(turnField);
      watch.takeRecords();
    });
    document.title = text(document.title) ?? document.title;
    visit(document.body);
    document.querySelectorAll(FIELDS).forEach(turnField);
    watch.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: LABELS });
  }
  // a report that is saved is in the language of the page
  const click = HTMLAnchorElement.prototype.click;
  HTMLAnchorElement.prototype.click = async function () {
    if (!this.download.endsWith(".html")) { click.call(this); return; }
    const report = new DOMParser().parseFromString(await (await fetch(this.href)).text(), "text/html");
    report.documentElement.lang = code;
    visit(report.body);
    const file = URL.createObjectURL(new Blob([`<!doctype html>\n${report.documentElement.outerHTML}`], { type: "text/html" }));
    click.call(Object.assign(document.createElement("a"), { href: file, download: this.download }));
    setTimeout(() => URL.revokeObjectURL(file), 10000);
  };
  if (document.body) start(); else addEventListener("DOMContentLoaded", start);
  return { language, turn, text: (english) => text(english) ?? english };
})();
