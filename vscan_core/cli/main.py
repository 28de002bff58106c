"""The library from a shell: `python -m vscan_core ask|compare|sweep|eval|methods|models ... [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image
from transformers.utils.logging import disable_progress_bar

from vscan_core.budget import check_retention
from vscan_core.catalog import MODELS, unavailable
from vscan_core.draw.video import drawn_trace
from vscan_core.errors import InputError
from vscan_core.events import Answer, Done, Token
from vscan_core.inference import compare
from vscan_core.loading import load_model
from vscan_core.media.images import open_image
from vscan_core.media.videos import open_video
from vscan_core.multirun import Make, Refused, run_each
from vscan_core.reducers import REDUCERS, Reducer
from vscan_core.report import as_dict, lines, ratios, same_answer, token_steps, verdict

RETENTIONS = "1,0.5,0.333,0.222,0.111,0.056"
ATTENTION = "sdpa (default), eager, or another that transformers knows, such as flash_attention_2"
PLUGINS = ("vscan_eval.command",)  # commands of other packages, where those are installed
SEVERAL = "see `methods`; several by comma, or give it again; default vscan"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 on success, 2 for bad input (one sentence on standard error)."""
    options = _parser().parse_args(arguments)
    disable_progress_bar()  # the answer is what belongs on the terminal
    try:
        options.run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vscan_core", description="Visual token reduction on stock LVLMs.")
    commands = parser.add_subparsers(required=True, metavar="command")
    ask = _question(commands, "ask", _ask, "answer a question about a picture with one method")
    ask.add_argument("--method", default="vscan", help="see `methods`, or baseline; default vscan")
    ask.add_argument("--overlay", metavar="F", help="picture file to write: what became of every visual token")
    several = _question(commands, "compare", _compare, "the baseline and one or more methods, one after the other")
    several.add_argument("--method", action="append", metavar="NAME", help=SEVERAL)
    for command in (ask, several):
        command.add_argument("--retention", type=float, default=1 / 9, metavar="R", help="0 < R <= 1; default 0.111")
    sweep = _question(commands, "sweep", _sweep, "the baseline and one method at several retentions")
    sweep.add_argument("--method", default="vscan", metavar="NAME", help="see `methods`; default vscan")
    sweep.add_argument("--retentions", default=RETENTIONS, metavar="R,R", help=f"default {RETENTIONS}")
    for plugin in PLUGINS:
        if find_spec(plugin.partition(".")[0]) is not None:
            import_module(plugin).add(commands)
    for name, run, text in (("methods", _methods, "list the methods"), ("models", _models, "list the models")):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="JSON instead of text")
        command.set_defaults(run=run)
    return parser


def _question(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    """A command about a picture or a video and a question."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--image", metavar="F", help="picture file")
    source.add_argument("--video", metavar="F", help="video file, for a model that takes videos")
    command.add_argument("--frames", type=int, metavar="N", help="frames to take of the video; default by model")
    command.add_argument("--question", required=True, metavar="Q")
    command.add_argument("--model", default="mini", metavar="M", help="see `models`; default mini")
    command.add_argument("--attention", default="sdpa", metavar="A", help=ATTENTION)
    command.add_argument("--max-new-tokens", type=int, default=64, metavar="N")
    command.add_argument("--json", action="store_true", help="one JSON object instead of text")
    command.set_defaults(run=run)
    return command


def _ask(options: argparse.Namespace) -> None:
    reducer = None if options.method == "baseline" else _cls(options.method, "baseline, ")(options.retention)
    (answer,) = _answers(options, [lambda: reducer])
    assert isinstance(answer, Answer)
    _print(options, as_dict(answer), lines(answer))


def _compare(options: argparse.Namespace) -> None:
    """One method: the shape is flat, and a refusal is an error. Several: a refusal is told in its place."""
    names = list(dict.fromkeys(name.strip() for given in options.method or ["vscan"] for name in given.split(",")))
    classes = [_cls(name) for name in names]
    check_retention(options.retention)
    baseline, *others = _answers(options, [lambda: None, *(lambda cls=cls: cls(options.retention) for cls in classes)])
    assert isinstance(baseline, Answer)
    found: dict[str, Any] = {"baseline": as_dict(baseline)}
    text = [lines(baseline)]
    for name, other in zip(names, others, strict=True):
        if isinstance(other, Answer):
            text += [lines(other), verdict(baseline, other)]
        elif len(names) == 1:
            raise other
        else:
            text.append(f"{name}: cannot run here: {other}")
    runs = [{"method": name, **_run(baseline, other)} for name, other in zip(names, others, strict=True)]
    if len(names) == 1:
        found |= {key: value for key, value in runs[0].items() if key != "method"}
    else:
        found["runs"] = runs
    _print(options, found, "\n".join(text))


def _run(baseline: Answer, other: Answer | InputError) -> dict[str, Any]:
    """One entry of the JSON of `compare` and `sweep`."""
    if not isinstance(other, Answer):
        return {"error": str(other)}
    return {
        "reduced": as_dict(other),
        "ratios": ratios(baseline, other),
        "same_answer": same_answer(baseline, other),
    }


def _sweep(options: argparse.Namespace) -> None:
    cls, shares = _cls(options.method), _shares(options.retentions)
    baseline, *others = _answers(options, [lambda: None, *(lambda share=share: cls(share) for share in shares)])
    assert isinstance(baseline, Answer)
    runs = [{"retention": share, **_run(baseline, other)} for share, other in zip(shares, others, strict=True)]
    found = {"method": options.method, "baseline": as_dict(baseline), "runs": runs}
    head = "retention  visual tokens       average  prefill ms  first token ms    KV MB   TFLOPs  same  answer"
    rows = [_row(f"{share:.3g}", baseline, other) for share, other in zip(shares, others, strict=True)]
    _print(options, found, "\n".join([head, _row("baseline", baseline, baseline), *rows, "single runs, no benchmark"]))


def _row(label: str, baseline: Answer, other: Answer | InputError) -> str:
    """One line of the table of `sweep`."""
    if not isinstance(other, Answer):
        return f"{label:9}  cannot run: {other}"
    timings, cost = other.timings, other.cost
    return (
        f"{label:9}  {' -> '.join(map(str, token_steps(other))):18}  {cost.visual_tokens:7.1f}  "
        f"{timings.prefill_ms:10.1f}  {timings.ttft_ms:14.1f}  {cost.kv_bytes / 1e6:7.2f}  {cost.tflops:7.4f}  "
        f"{'yes' if same_answer(baseline, other) else 'no':4}  {other.text}"
    )


def _shares(text: str) -> list[float]:
    try:
        return [check_retention(float(share)) for share in text.split(",")]
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"--retentions takes numbers with commas between them, such as {RETENTIONS}") from None


def _answers(options: argparse.Namespace, makers: Sequence[Make]) -> list[Answer | InputError]:
    """Run all of them; a refusal stands in the place of its answer."""
    image = None if options.image is None else open_image(Path(options.image))
    lvlm = load_model(options.model, attn_implementation=options.attention)
    source = image or open_video(options.video, lvlm.family.frames or 1 if options.frames is None else options.frames)

    def run(reducer: Reducer | None) -> Any:
        return compare(lvlm, source, options.question, [reducer], max_new_tokens=options.max_new_tokens)

    answers: list[Answer | InputError] = []
    for event in run_each(run, makers):
        if isinstance(event, Token) and not options.json and sys.stderr.isatty():
            print(f"\r{event.text}", end="", file=sys.stderr, flush=True)
        if isinstance(event, Done):
            answers.append(event.answer)
            if getattr(options, "overlay", None):
                _save(drawn_trace(source, event.answer.trace), options.overlay)
        if isinstance(event, Refused):
            answers.append(event.reason)
    return answers


def _save(picture: Image.Image, path: str) -> None:
    try:
        picture.save(path)
    except (OSError, ValueError) as error:
        raise InputError(f"The picture cannot be written to {path}: {error}.") from None


def _cls(name: str, also: str = "") -> type[Reducer]:
    if name not in REDUCERS:
        raise InputError(f"there is no method {name!r}; choose {also}{', '.join(REDUCERS)}")
    return REDUCERS[name]


def _methods(options: argparse.Namespace) -> None:
    found = [{"name": name, "summary": cls.summary} for name, cls in REDUCERS.items()]
    _print(options, found, "\n".join(f"{entry['name']:14} {entry['summary']}" for entry in found))


def _models(options: argparse.Namespace) -> None:
    found = [{**asdict(card), "unavailable": unavailable(card.name)} for card in MODELS.values()]
    text = [f"{card['name']:28} {card['unavailable'] or card['description']}" for card in found]
    _print(options, found, "\n".join(text))


def _print(options: argparse.Namespace, found: Any, text: str) -> None:
    print(json.dumps(found) if options.json else text)
