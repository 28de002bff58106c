"""A run as Python and as a command, to be repeated outside of the demo."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ..session.session import MAX_NEW_TOKENS
from ..ui.errors import answering
from ..ui.events import PRIVATE

COPY = "(text) => { navigator.clipboard?.writeText(text).catch(() => {}); }"  # where it is refused, the text is shown
PYTHON = """\
from PIL import Image

import vscan_core as vc

lvlm = vc.load_model({model!r})
image = Image.open({picture!r})
reducers = [
    None,  # the baseline
{reducers}
]
for event in vc.compare(lvlm, image, {question!r}, reducers, max_new_tokens={tokens}):
    if isinstance(event, vc.Done):
        answer = event.answer
        print(answer.method, answer.cost.visual_tokens, answer.text, sep=" | ")
"""


@dataclass(frozen=True)
class Recipe:
    """What a run needs: several methods at one retention, or one method at several."""

    model: str
    picture: str  # a path; only its name is shown
    question: str
    methods: tuple[str, ...]
    retentions: tuple[float, ...]

    @property
    def as_python(self) -> str:
        """A script."""
        calls = [
            f"    vc.REDUCERS[{name!r}](retention={share!r})," for name in self.methods for share in self.retentions
        ]
        return PYTHON.format(
            model=self.model, picture=Path(self.picture).name, question=self.question, tokens=MAX_NEW_TOKENS,
            reducers="\n".join(calls),
        )  # fmt: skip

    @property
    def as_command(self) -> str:
        """A line for a shell."""
        if len(self.retentions) == 1:
            plan = ["compare", "--method", ",".join(self.methods), "--retention", repr(self.retentions[0])]
        else:
            plan = ["sweep", "--method", self.methods[0], "--retentions", ",".join(map(repr, self.retentions))]
        asked = ["--model", self.model, "--image", Path(self.picture).name, "--question", self.question]
        return shlex.join(["vscan", *plan, *asked, "--max-new-tokens", str(MAX_NEW_TOKENS)])


def copy_buttons(place: str, inputs: Sequence[Any], recipe: Callable[..., Recipe]) -> None:
    """Two buttons that copy and show the run that `recipe` makes of the values of `inputs`, as they are chosen now."""
    with gr.Row(elem_classes="presets"):
        python = gr.Button("Copy as Python", size="sm", elem_id=f"{place}copy-python")
        command = gr.Button("Copy as command", size="sm", elem_id=f"{place}copy-command")
    code = gr.Textbox(
        visible=False, interactive=False, lines=2, max_lines=24, label="To be copied", show_label=False,
        buttons=["copy"], elem_id=f"{place}code", elem_classes="code-text",
    )  # fmt: skip

    @answering
    def as_python(*values: Any) -> Any:
        return gr.update(value=recipe(*values).as_python, visible=True)

    @answering
    def as_command(*values: Any) -> Any:
        return gr.update(value=recipe(*values).as_command, visible=True)

    for button, handler in ((python, as_python), (command, as_command)):
        button.click(handler, [*inputs], code, **PRIVATE).then(None, code, None, js=COPY, **PRIVATE)
