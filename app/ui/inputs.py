"""Left side of Compare: picture, question, examples, how many tokens to keep, model, Run and Stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr

from vscan_core.catalog import is_random

from ..session.examples import Example
from ..session.session import Session
from .errors import explained
from .events import MODELS
from .picture import picture_input
from .video import video_input

MAX_QUESTION = 1000
NOT_HERE = "\N{EN DASH} not here"  # style.css greys options that end so
PUBLISHED = (("11.1 %", 11.1), ("22.2 %", 22.2), ("33.3 %", 33.3), ("All", 100))


@dataclass(frozen=True)
class Ask:
    """The widgets that the rest of the page needs."""

    picture: gr.Image
    gallery: gr.Gallery
    question: gr.Textbox
    retention: gr.Slider
    budget: gr.Markdown
    model: gr.Dropdown
    video: gr.Video
    run: gr.Button
    stop: gr.Button


def ask_panel(session: Session, examples: list[Example]) -> Ask:
    """Build the left column."""
    first = examples[0] if examples else Example("", "What is in the picture?")
    picture = ask_about(first)
    gallery = example_gallery(examples)
    question = question_box(first)
    run, stop = run_and_stop()
    retention, budget = retention_slider()
    model = model_picker(session)
    gallery.select(pick(examples), None, [picture, question], api_visibility="private", show_progress="hidden")
    video = video_input(session, model)
    return Ask(picture, gallery, question, retention, budget, model, video, run, stop)


def ask_about(first: Example, place: str = "") -> gr.Image:
    """The picture; `place` goes before the ids of a tab's widgets."""
    return picture_input(
        value=first.image or None,
        sources=["upload", "clipboard", "webcam"],
        label="Picture",
        height=200,
        buttons=["fullscreen"],
        elem_id=f"{place}picture",
        alt_text="The picture that you ask about",
    )


def example_gallery(examples: list[Example], place: str = "") -> gr.Gallery:
    """Pictures to choose from."""
    return gr.Gallery(
        value=[(example.image, example.question) for example in examples],
        label="Examples",
        columns=6,
        height="auto",
        allow_preview=False,
        interactive=False,
        object_fit="cover",
        visible=bool(examples),
        elem_id=f"{place}examples",
        elem_classes="examples",
        buttons=[],
    )


def question_box(first: Example, place: str = "") -> gr.Textbox:
    """What is asked."""
    return gr.Textbox(
        value=first.question,
        label="Question",
        lines=1,
        max_lines=3,
        max_length=MAX_QUESTION,
        placeholder="Ask something about the picture",
        elem_id=f"{place}question",
    )


def run_and_stop(place: str = "") -> tuple[gr.Button, gr.Button]:
    """Both buttons in one row."""
    with gr.Row(elem_classes="buttons"):
        run = gr.Button("Run", variant="primary", elem_id=f"{place}run")
        stop = gr.Button("Stop", variant="stop", interactive=False, elem_id=f"{place}stop")
    return run, stop


def retention_slider(place: str = "") -> tuple[gr.Slider, gr.Markdown]:
    """The slider, its counts in words, and the published settings as buttons."""
    with gr.Column(elem_id=f"{place}keep", elem_classes="keep"):
        retention = gr.Slider(
            minimum=1,
            maximum=100,
            step=0.1,
            value=11.1,
            label="Visual tokens to keep (%)",
            info="Average over all layers of the language model",
            elem_id=f"{place}retention",
        )
        budget = gr.Markdown(elem_id=f"{place}budget", elem_classes="budget")
        with gr.Row(elem_classes="presets"):
            for label, value in PUBLISHED:
                button = gr.Button(label, size="sm", min_width=56)
                button.click(None, None, retention, js=f"() => {value}", api_visibility="private")
    return retention, budget


def model_picker(session: Session, place: str = "") -> gr.Dropdown:
    """The model picker, and what is to be known about the chosen one; choosing loads it."""
    choices = menu(session)
    some_do_not_fit = any(label.endswith(NOT_HERE) for label, _ in choices)
    model = gr.Dropdown(
        choices=choices,
        value=session.default_model,
        label="Model",
        info="Greyed-out ones do not fit this machine; choose one to read why." if some_do_not_fit else None,
        filterable=False,
        elem_id=f"{place}model",
    )
    start = describe(session, session.default_model)
    about = gr.Markdown(start, elem_id=f"{place}about-model", elem_classes="about-model")
    model.change(
        lambda name: (yield from loading(session, name)),
        model,
        about,
        **MODELS,
    )
    return model


def menu(session: Session) -> list[tuple[str, str]]:
    """(label, name): first what runs here, then what does not; random weights that do not fit are left out."""
    cards = session.engine.models()
    fits = {name: session.engine.unavailable(name) is None for name in cards}
    here = [(card.title, name) for name, card in cards.items() if fits[name]]
    rest = [(name, card) for name, card in cards.items() if not fits[name] and not is_random(name)]
    return here + [(f"{card.title} {NOT_HERE}", name) for name, card in rest]


def loading(session: Session, name: str) -> Iterator[str]:
    """The words under the picker while a model is fetched and loaded, and after it."""
    about = describe(session, name)
    if session.engine.unavailable(name) is None and not session.models.ready(name):
        wait = "" if is_random(name) else " The first time its weights are fetched, which may take minutes."
        yield f"{about}\n\n**Loading …**{wait}"
        try:
            session.model(name)
        except Exception as error:
            about = f"{about}\n\n**Not available here:** {explained(error)}"
    yield about


def describe(session: Session, name: str) -> str:
    """A model in words, with the reason if it cannot run here."""
    card = session.engine.models().get(name)
    if card is None:
        return ""
    reason = session.engine.unavailable(name)
    return card.description if reason is None else f"{card.description}\n\n**Not available here:** {reason}"


def pick(examples: list[Example]):
    """Handler: the clicked example fills picture and question."""

    def picked(event: gr.SelectData) -> tuple[str, str]:
        example = examples[int(event.index)]
        return example.image, example.question

    return picked
