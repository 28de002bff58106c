"""What several commands share: the options of a question, runs, and printing."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from vscan_core.errors import InputError
from vscan_core.events import Answer, Done, Token
from vscan_core.inference import check_limit, compare_prepared
from vscan_core.loading import load_model
from vscan_core.lvlm import LVLM
from vscan_core.media.asked_about import AskedAbout, pictures_of
from vscan_core.media.images import open_image
from vscan_core.media.videos import Video, open_video
from vscan_core.multirun import Make, Refused, encode_for, run_each
from vscan_core.reducers import Reducer
from vscan_core.report import as_dict, ratios, same_answer

Command = Callable[[argparse.Namespace], None]
ATTENTION = "sdpa (default), eager, or another that transformers knows, such as flash_attention_2"
_REPEATED = "may be repeated: each further one continues the conversation"
RETENTION: dict[str, Any] = {"type": float, "default": 1 / 9, "metavar": "R", "help": "0 < R <= 1; default 0.111"}


def add_command(commands: Any, name: str, run: Command, text: str) -> argparse.ArgumentParser:
    """A command that can print JSON instead of text."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    command.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    command.set_defaults(run=run)
    return command


class _Once(argparse.Action):
    """An option that may not be repeated; argparse would take the last and say nothing."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"give {option_string} once; several questions in turn are for `vscan ask`")
        setattr(namespace, self.dest, values)


def add_question(
    commands: Any, name: str, run: Command, text: str, *, several: bool = False
) -> argparse.ArgumentParser:
    """A command about a question and a picture or a video. several: `options.question` is a list of questions."""
    command = add_command(commands, name, run, text)
    source = command.add_mutually_exclusive_group(required=True)
    pictures = "picture file; several, or the option repeated: one question about all of them, in this order"
    source.add_argument("--image", metavar="F", nargs="+", action="extend", help=pictures)
    source.add_argument("--video", metavar="F", help="video file, for a model that takes videos")
    command.add_argument("--frames", type=int, metavar="N", help="frames to take of the video; default by model")
    asked: dict[str, Any] = {"action": "append", "help": _REPEATED} if several else {"action": _Once}
    command.add_argument("--question", required=True, metavar="Q", **asked)
    command.add_argument("--model", default="mini", metavar="M", help="see `models`; default mini")
    command.add_argument("--attention", default="sdpa", metavar="A", help=ATTENTION)
    command.add_argument("--max-new-tokens", type=int, default=64, metavar="N")
    return command


def opened(options: argparse.Namespace) -> tuple[LVLM, AskedAbout]:
    """The model, and the pictures or the video. Raises InputError if there is no such model or file."""
    pictures = _opened(options.image or ())
    lvlm = load_model(options.model, attn_implementation=options.attention)
    frames = lvlm.family.frames or 1 if options.frames is None else options.frames
    return lvlm, pictures or open_video(options.video, frames)


def show_progress(options: argparse.Namespace, event: Any) -> None:
    """Write the answer so far on a terminal, over what is there."""
    if isinstance(event, Token) and not options.json and sys.stderr.isatty():
        print(f"\r{event.text}", end="", file=sys.stderr, flush=True)


def answers(
    options: argparse.Namespace, makers: Sequence[Make]
) -> tuple[list[Image.Image | Video], Answer, list[Answer | InputError]]:
    """Run all methods and return the pictures or the video, the first answer, and the others; some may be refusals.

    makers: functions that return a reducer, or None for the baseline. Raises InputError if the first run is refused.
    """
    lvlm, shown = opened(options)
    inputs = lvlm.inputs(shown, options.question)
    check_limit(options.max_new_tokens)
    shared = encode_for(lvlm, inputs, makers).shared if len(makers) > 1 else None

    def run(reducer: Reducer | None) -> Any:
        return compare_prepared(lvlm, inputs, [reducer], max_new_tokens=options.max_new_tokens, shared=shared)

    found: list[Answer | InputError] = []
    for event in run_each(run, makers):
        show_progress(options, event)
        if isinstance(event, Done):
            found.append(event.answer)
        if isinstance(event, Refused):
            found.append(event.reason)
    first, *others = found
    assert isinstance(first, Answer)
    return sources_of(shown), first, others


def sources_of(shown: AskedAbout) -> list[Image.Image | Video]:
    """What each entry of a trace's `images` shows."""
    return [shown] if isinstance(shown, Video) else [*pictures_of(shown)]


def _opened(paths: Sequence[str]) -> list[Image.Image]:
    """The pictures; of several, a refusal says which one is meant."""
    found = []
    for path in paths:
        try:
            found.append(open_image(Path(path)))
        except InputError as refusal:
            raise InputError(f"{Path(path).name}: {refusal}" if len(paths) > 1 else str(refusal)) from None
    return found


def comparison(baseline: Answer, other: Answer | InputError) -> dict[str, Any]:
    """One method beside the baseline, as plain JSON types."""
    if not isinstance(other, Answer):
        return {"error": str(other)}
    same = same_answer(baseline, other)
    return {"reduced": as_dict(other), "ratios": ratios(baseline, other), "same_answer": same}


def command_line(arguments: list[str]) -> str:
    """The command as it was typed, but without the folders of absolute paths."""
    shown = [Path(word).name or word if Path(word).is_absolute() else word for word in arguments]
    return shlex.join(["vscan", *shown])


def print_result(options: argparse.Namespace, found: Any, text: str) -> None:
    """Print `found` as JSON or `text`, as the options say."""
    print(json.dumps(found) if options.json else text)
