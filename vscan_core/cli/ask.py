"""`vscan ask`: one answer with one method, or the turns of a conversation; if asked for, with token maps."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from vscan_core.cli.shared import RETENTION, add_question, answers, opened, print_result, show_progress, sources_of
from vscan_core.conversation import Conversation, Turn
from vscan_core.draw.fates import fates
from vscan_core.draw.token_map import token_map
from vscan_core.errors import InputError
from vscan_core.events import Answer
from vscan_core.media.videos import Video
from vscan_core.questions import check_question
from vscan_core.reducers import REDUCERS, Reducer
from vscan_core.report import as_dict, lines


def add(commands: Any) -> None:
    """Add `ask` to the command line."""
    text = "answer a question about pictures or a video with one method; several questions are one conversation"
    command = add_question(commands, "ask", ask, text, several=True)
    command.add_argument("--method", default="vscan", help="see `methods`, or baseline; default vscan")
    command.add_argument("--retention", **RETENTION)
    drawn = (
        "picture file to write: what became of every visual token; of several questions or pictures F-1.png, F-2.png"
    )
    command.add_argument("--overlay", metavar="F.png", help=drawn)


def ask(options: argparse.Namespace) -> None:
    """Answer and print. Raises InputError for what does not fit, or if the token map cannot be written.

    The JSON for one question is flat; for several it has "turns".
    """
    reducer = None if options.method == "baseline" else REDUCERS.named(options.method, "baseline, ")(options.retention)
    if len(options.question) > 1:
        _converse(options, reducer)
        return
    one = argparse.Namespace(**{**vars(options), "question": options.question[0]})
    sources, answer, _ = answers(one, [lambda: reducer])
    if options.overlay:
        _draw(sources, answer, Path(options.overlay))
    print_result(options, as_dict(answer), lines(answer))


def _converse(options: argparse.Namespace, reducer: Reducer | None) -> None:
    lvlm, shown = opened(options)
    questions = [check_question(question, lvlm.processor) for question in options.question]  # before any is answered
    conversation = Conversation(lvlm, shown, reducer, max_new_tokens=options.max_new_tokens)
    for number, question in enumerate(questions):
        for event in conversation.events(question):
            show_progress(options, event)
        if options.overlay:
            _draw(sources_of(shown), conversation.turns[-1].answer, _numbered(Path(options.overlay), number))
    found = [
        {"question": turn.question, "prefilled_again": turn.prefilled_again, **as_dict(turn.answer)}
        for turn in conversation.turns
    ]
    print_result(options, {"turns": found}, "\n".join(map(_turn_lines, conversation.turns)))


def _turn_lines(turn: Turn) -> str:
    again = f"  prefilled again: {turn.prefilled_again} of {turn.answer.trace.tokens_per_layer[0]} tokens"
    return "\n".join([f"> {turn.question}", lines(turn.answer), again])


def _draw(sources: Sequence[Image.Image | Video], answer: Answer, path: Path) -> None:
    for number, source in enumerate(sources):
        image = answer.trace.images[number]
        file = path if len(sources) == 1 else _numbered(path, number)
        try:
            token_map(source, image, answer.trace.boxes(number), fates(image)).save(file)
        except (OSError, ValueError) as error:
            raise InputError(f"The picture cannot be written to {file}: {error}.") from None


def _numbered(path: Path, place: int) -> Path:
    return path.parent / f"{path.stem}-{place + 1}{path.suffix}"
