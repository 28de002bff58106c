// The steps around the scene. Text of visitors and models goes through textContent only.
const section = element.querySelector(".story"), one = (name) => section.querySelector(`.story-${name}`);
const scene = new Scene(section.querySelector("canvas"));
const SECOND_PHASE_MS = 2800;
let story = null, step = 0, phase = 0, pictures = 1000, timer = 0;

const go = (change) => go.to(step + change);
go.to = (number) => {
  if (!story) return;
  const wanted = Math.min(Math.max(number, 0), story.steps.length - 1), forward = wanted > step;
  if (wanted === step) return;
  step = wanted;
  const phases = story.steps[step].phases.length;
  showPhase(forward && !CALM.matches ? 0 : phases - 1);
  if (phase < phases - 1) timer = setTimeout(() => showPhase(phases - 1), SECOND_PHASE_MS);
};

function showPhase(number) {
  clearTimeout(timer);
  phase = number;
  render();
  scene.show(drawnAs());
}

function drawnAs() { // the answers are shown over the last state of the tokens
  const name = story.steps[step].name;
  const asked = story.cuts.some((cut) => cut.layer > 0) ? "question" : "merge";
  return name === "answers" ? asked : name === "merge" && phase > 0 ? asked : name;
}

function render() {
  const now = story.steps[step], last = now.name === "answers";
  Object.assign(section.dataset, { step, name: now.name });
  one("count").textContent = `Step ${step + 1} of ${story.steps.length}${story.recorded ? " \u00b7 a recorded run" : ""}`;
  section.querySelector("h2").textContent = now.title;
  one("question").translate = false;
  one("question").textContent = step === 0 || last ? `\u201c${story.question}\u201d` : "";
  const right = last && story.answers.length ? story.right : "";
  one("sentence").textContent = now.phases.length === 1 ? `${now.phases[0]} ${right}`.trim() : "";
  one("note").textContent = last && story.note ? story.note : story.about;
  one("phases").replaceChildren(...(now.phases.length > 1 ? now.phases : []).map((text, i) => {
    const button = tag("button", "", text);
    button.type = "button"; button.setAttribute("aria-pressed", String(i === phase));
    button.addEventListener("click", () => showPhase(i));
    return button;
  }));
  scene.canvas.setAttribute("aria-label", `${now.title} ${now.phases[phase]}`);
  one("back").disabled = step === 0; one("next").disabled = step === story.steps.length - 1;
  [...one("nav").querySelectorAll("li button")].forEach((dot, i) =>
    i === step ? dot.setAttribute("aria-current", "step") : dot.removeAttribute("aria-current"));
  answers(last);
  if (last) costs(one("costs"), story, pictures, (many) => { pictures = many; });
  else one("costs").replaceChildren();
}

function answers(shown) {
  const place = one("answers");
  place.replaceChildren();
  if (!shown || !story.answers.length) return;
  const cards = place.appendChild(tag("div", "story-cards"));
  story.answers.forEach((each, i) => {
    const card = cards.appendChild(tag("div", i ? "vscan" : "baseline"));
    card.append(tag("small", "", `${i ? "VScan" : "All tokens"}: ${each.tokens}`));
    const said = card.appendChild(tag("p", "", each.text || "(random weights: no answer)"));
    said.translate = !each.text; // what a model said stays as it is
  });
  const figures = place.appendChild(tag("dl", "story-figures"));
  for (const [value, meaning] of story.figures) {
    const figure = figures.appendChild(tag("div"));
    figure.append(tag("dt", "", meaning), tag("dd", "", value));
  }
}

function dots() {
  one("nav").querySelector("ol").replaceChildren(...story.steps.map((each, i) => {
    const item = tag("li"), dot = item.appendChild(tag("button"));
    dot.type = "button";
    dot.append(tag("b", "", each.figure), tag("span", "", each.unit));
    dot.addEventListener("click", () => go.to(i));
    return item;
  }));
}

async function tell() {
  const told = props.value;
  if (!told || !told.steps) return;
  const another = !story || story.picture !== told.picture;
  story = told;
  if (another && !deck.open) { step = 0; phase = 0; }
  phase = Math.min(phase, story.steps[step].phases.length - 1);
  dots();
  render();
  scene.phase = drawnAs();
  await scene.load(told);
}

const deck = new Deck(element.querySelector(".story-deck"), section, go);
one("back").addEventListener("click", () => go(-1));
one("next").addEventListener("click", () => go(1));
section.addEventListener("keydown", (event) => {
  if (deck.open || event.target.tagName === "INPUT") return;
  const change = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (change) { go(change); event.preventDefault(); }
});
window.addEventListener("present", () => deck.present());
watch("value", tell);
tell();
if (asked()) deck.present();
