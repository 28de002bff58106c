"""Left side of Compare: picture, question, examples, how many tokens to keep, model, Run and Stop."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from app.examples import Example
from app.picture_input import picture_input
from app.session import Session

MAX_QUESTION = 1000
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
    run: gr.Button
    stop: gr.Button


def ask_panel(session: Session, examples: list[Example]) -> Ask:
    """Build the left column."""
    first = examples[0] if examples else Example("", "What is in the picture?")
    picture = picture_input(
        value=first.image or None,
        sources=["upload", "clipboard", "webcam"],
        label="Picture",
        height=200,
        buttons=["fullscreen"],
        elem_id="picture",
        alt_text="The picture that you ask about",
    )
    gallery = gr.Gallery(
        value=[(example.image, example.question) for example in examples],
        label="Examples",
        columns=6,
        height="auto",
        allow_preview=False,
        interactive=False,
        object_fit="cover",
        visible=bool(examples),
        elem_id="examples",
        buttons=[],
    )
    question = gr.Textbox(
        value=first.question,
        label="Question",
        lines=1,
        max_lines=3,
        max_length=MAX_QUESTION,
        placeholder="Ask something about the picture",
        elem_id="question",
    )
    with gr.Row(elem_classes="buttons"):
        run = gr.Button("Run", variant="primary", elem_id="run")
        stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop")
    retention, budget = _retention()
    model = _model(session)
    gallery.select(_pick(examples), None, [picture, question], api_visibility="private", show_progress="hidden")
    return Ask(picture, gallery, question, retention, budget, model, run, stop)


def _retention() -> tuple[gr.Slider, gr.Markdown]:
    """The slider, its counts in words, and the published settings as buttons."""
    with gr.Column(elem_id="keep"):
        retention = gr.Slider(
            minimum=1,
            maximum=100,
            step=0.1,
            value=11.1,
            label="Visual tokens to keep (%)",
            info="Average over all layers of the language model",
            elem_id="retention",
        )
        budget = gr.Markdown(elem_id="budget")
        with gr.Row(elem_classes="presets"):
            for label, value in PUBLISHED:
                button = gr.Button(label, size="sm", min_width=56)
                button.click(None, None, retention, js=f"() => {value}", api_visibility="private")
    return retention, budget


def _model(session: Session) -> gr.Dropdown:
    """The model picker, and what is to be known about the chosen one."""
    cards = session.engine.models()
    model = gr.Dropdown(
        choices=[(card.title, name) for name, card in cards.items()],
        value=session.default_model,
        label="Model",
        filterable=False,
        elem_id="model",
    )
    about = gr.Markdown(describe(session, session.default_model), elem_id="about-model")
    model.change(lambda name: describe(session, name), model, about, api_visibility="private", show_progress="hidden")
    return model


def describe(session: Session, name: str) -> str:
    """A model in words, with the reason if it cannot run here."""
    card = session.engine.models().get(name)
    if card is None:
        return ""
    reason = session.engine.unavailable(name)
    return card.description if reason is None else f"{card.description}\n\n**Not available here:** {reason}"


def _pick(examples: list[Example]):
    """Handler: the clicked example fills picture and question."""

    def pick(event: gr.SelectData) -> tuple[str, str]:
        example = examples[int(event.index)]
        return example.image, example.question

    return pick
