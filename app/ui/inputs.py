"""Inputs that pages share: picture, question, examples, how many tokens to keep, model, Run and Stop.

`prefix` goes before the ids of a page's widgets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from vscan_core.catalog import is_random

from ..session.examples import Example
from ..session.hub import download_gb
from ..session.session import Session
from .events import MODEL_LOADING, PRIVATE
from .model_loading import describe, loading
from .picture import picture_input

MAX_QUESTION = 1000
NOT_HERE = "\N{EN DASH} not here"  # style.css greys options that end so
AT_LEAST, ADVANCED = "\N{GREATER-THAN OR EQUAL TO}", "Advanced:"  # style.css writes headings above such options
DEFAULT_METHOD = "vscan"
PUBLISHED = (("11.1 %", 11.1), ("22.2 %", 22.2), ("33.3 %", 33.3), ("All", 100))


def picture_and_question(examples: list[Example], prefix: str = "") -> tuple[gr.Image, gr.Textbox, gr.Gallery]:
    """The picture, the question, and examples to choose from; a clicked example fills both."""
    first = examples[0] if examples else Example("", "What is in the picture?")
    picture = picture_input(
        value=first.image or None,
        sources=["upload", "clipboard", "webcam"],
        label="Picture",
        height=200,
        buttons=["fullscreen"],
        elem_id=f"{prefix}picture",
        alt_text="The picture that the question is about",
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
        elem_id=f"{prefix}examples",
        elem_classes="examples",
        buttons=[],
    )
    question = question_box(first.question, "Ask something about the picture", prefix)

    def pick(event: gr.SelectData) -> tuple[str, str]:
        example = examples[int(event.index)]
        return example.image, example.question

    gallery.select(pick, None, [picture, question], **PRIVATE)
    return picture, question, gallery


def question_box(question: str, placeholder: str, prefix: str = "") -> gr.Textbox:
    """Where the question is written."""
    return gr.Textbox(
        value=question,
        label="Question",
        lines=1,
        max_lines=3,
        max_length=MAX_QUESTION,
        placeholder=placeholder,
        elem_id=f"{prefix}question",
    )


def method_picker(session: Session, info: str | None = None, prefix: str = "") -> gr.Dropdown:
    """The methods on offer; VScan is chosen."""
    return gr.Dropdown(
        choices=[(method.title, name) for name, method in session.engine.methods().items()],
        value=DEFAULT_METHOD,
        label="Method",
        info=info,
        filterable=False,
        elem_id=f"{prefix}method",
    )


def examples_set(retention: gr.Slider, gallery: gr.Gallery, examples: list[Example]) -> None:
    """A clicked example also sets the retention at which it shows something, if there is one."""

    def pick(event: gr.SelectData) -> Any:
        found = examples[int(event.index)].retention
        return gr.skip() if found is None else round(100 * found, 1)

    gallery.select(pick, None, retention, **PRIVATE)


def run_and_stop(prefix: str = "") -> tuple[gr.Button, gr.Button]:
    """Both buttons in one row."""
    with gr.Row(elem_classes="buttons"):
        run = gr.Button("Run", variant="primary", elem_id=f"{prefix}run")
        stop = gr.Button("Stop", variant="stop", interactive=False, elem_id=f"{prefix}stop")
    return run, stop


def retention_slider(prefix: str = "") -> tuple[gr.Slider, gr.Markdown]:
    """The slider, what it stands for in words, and the published settings as buttons."""
    with gr.Column(elem_id=f"{prefix}keep", elem_classes="keep"):
        retention = gr.Slider(
            minimum=1,
            maximum=100,
            step=0.1,
            value=11.1,
            label="Visual tokens to keep (%)",
            info="Average over all layers of the language model",
            elem_id=f"{prefix}retention",
        )
        budget = gr.Markdown(elem_id=f"{prefix}budget", elem_classes="budget")
        with gr.Row(elem_classes="presets"):
            for label, value in PUBLISHED:
                button = gr.Button(label, size="sm", min_width=56)
                button.click(None, None, retention, js=f"() => {value}", api_visibility="private")
    return retention, budget


def model_picker(session: Session, prefix: str = "") -> gr.Dropdown:
    """The model picker, and a few words about the chosen model; choosing one loads it."""
    choices = menu(session)
    some_do_not_fit = any(label.endswith(NOT_HERE) for label, _ in choices)
    model = gr.Dropdown(
        choices=choices,
        value=session.default_model,
        label="Model",
        info="Models in grey cannot run on this machine; choose one to see why." if some_do_not_fit else None,
        filterable=False,
        elem_id=f"{prefix}model",
    )
    start = describe(session, session.default_model)
    about = gr.Markdown(start, elem_id=f"{prefix}about-model", elem_classes="about-model")

    def load(name: str) -> Iterator[str]:
        yield from loading(session, name)

    model.change(load, model, about, **MODEL_LOADING)
    return model


def menu(session: Session) -> list[tuple[str, str]]:
    """(label, name) in groups: what answers here, what is downloaded first, what does not fit, and random weights.

    The smallest download comes first. Random weights that do not fit are left out. style.css writes a heading above
    each group, which it knows by its labels.
    """
    fits = {name: session.models.unavailable(name) is None for name in session.engine.models()}
    names = sorted(fits, key=lambda name: (is_random(name), not fits[name], download_gb(name) if fits[name] else 0))
    return [(_label(session, name, fits[name]), name) for name in names if fits[name] or not is_random(name)]


def _label(session: Session, name: str, fits: bool) -> str:
    title = session.engine.models()[name].title
    if not fits:
        return f"{title} {NOT_HERE}"
    size, first_word = download_gb(name), session.models.expected(name).partition(" to the first word")[0]
    parts = [f"{ADVANCED} {title}" if is_random(name) else title]
    parts += [f"{AT_LEAST} {size:.1f} GB"] if size else []
    return " \N{MIDDLE DOT} ".join([*parts, *filter(None, [first_word.lower()])])
