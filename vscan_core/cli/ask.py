"""`vscan ask`: one answer with one method, or the turns of a conversation; if asked for, with token maps."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from PIL import Image

from vscan_core.cli.shared import RETENTION, add_question, answers, opened, print_result, show_progress
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
    text = "answer a question about a picture or a video with one method; several questions are one conversation"
    command = add_question(commands, "ask", ask, text, several=True)
    command.add_argument("--method", default="vscan", help="see `methods`, or baseline; default vscan")
    command.add_argument("--retention", **RETENTION)
    drawn = "picture file to write: what became of every visual token; of several questions F-1, F-2 and so on"
    command.add_argument("--overlay", metavar="F", help=drawn)


def ask(options: argparse.Namespace) -> None:
    """Answer and print. Raises InputError for what does not fit, or if the token map cannot be written.

    The JSON for one question is flat; for several it has "turns".
    """
    reducer = None if options.method == "baseline" else REDUCERS.named(options.method, "baseline, ")(options.retention)
    if len(options.question) > 1:
        _converse(options, reducer)
        return
    one = argparse.Namespace(**{**vars(options), "question": options.question[0]})
    source, answer, _ = answers(one, [lambda: reducer])
    if options.overlay:
        _draw(source, answer, Path(options.overlay))
    print_result(options, as_dict(answer), lines(answer))


def _converse(options: argparse.Namespace, reducer: Reducer | None) -> None:
    lvlm, source = opened(options)
    questions = [check_question(question, lvlm.processor) for question in options.question]  # before any is answered
    conversation = Conversation(lvlm, source, reducer, max_new_tokens=options.max_new_tokens)
    for number, question in enumerate(questions, 1):
        for event in conversation.events(question):
            show_progress(options, event)
        if options.overlay:
            path = Path(options.overlay)
            _draw(source, conversation.turns[-1].answer, path.with_stem(f"{path.stem}-{number}"))
    found = [
        {"question": turn.question, "prefilled_again": turn.prefilled_again, **as_dict(turn.answer)}
        for turn in conversation.turns
    ]
    print_result(options, {"turns": found}, "\n".join(map(_turn_lines, conversation.turns)))


def _turn_lines(turn: Turn) -> str:
    again = f"  prefilled again: {turn.prefilled_again} of {turn.answer.trace.tokens_per_layer[0]} tokens"
    return "\n".join([f"> {turn.question}", lines(turn.answer), again])


def _draw(source: Image.Image | Video, answer: Answer, path: Path) -> None:
    image = answer.trace.images[0]
    picture = token_map(source, image, answer.trace.boxes(0), fates(image))
    try:
        picture.save(path)
    except (OSError, ValueError) as error:
        raise InputError(f"The picture cannot be written to {path}: {error}.") from None
