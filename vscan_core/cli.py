"""The library from a shell: `python -m vscan_core ask|compare|methods|models ... [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers.utils.logging import disable_progress_bar

from vscan_core.catalog import MODELS, unavailable
from vscan_core.errors import InputError
from vscan_core.events import Answer, Done, Token
from vscan_core.images import open_image
from vscan_core.inference import compare
from vscan_core.loading import load_model
from vscan_core.reducers import REDUCERS, Reducer


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
    for name, run, text in (
        ("ask", _ask, "answer a question about a picture with one method"),
        ("compare", _compare, "the baseline and one method, one after the other"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--image", required=True, metavar="F", help="picture file")
        command.add_argument("--question", required=True, metavar="Q")
        command.add_argument("--model", default="mini", metavar="M", help="see `models`; default mini")
        command.add_argument("--method", default="vscan", help="see `methods`, or baseline; default vscan")
        command.add_argument("--retention", type=float, default=1 / 9, metavar="R", help="0 < R <= 1; default 0.111")
        command.add_argument("--max-new-tokens", type=int, default=64, metavar="N")
        command.add_argument("--json", action="store_true", help="one JSON object instead of text")
        command.set_defaults(run=run)
    for name, run, text in (("methods", _methods, "list the methods"), ("models", _models, "list the models")):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--json", action="store_true", help="JSON instead of text")
        command.set_defaults(run=run)
    return parser


def _ask(options: argparse.Namespace) -> None:
    (answer,) = _answers(options, [_reducer(options)])
    _print(options, as_dict(answer), _summary(answer))


def _compare(options: argparse.Namespace) -> None:
    baseline, reduced = _answers(options, [None, _reducer(options)])
    times, same = ratios(baseline, reduced), baseline.text == reduced.text
    found = {"baseline": as_dict(baseline), "reduced": as_dict(reduced), "ratios": times, "same_answer": same}
    cheaper = ", ".join(f"{name} {value:.2f}x" for name, value in times.items())
    verdict = "the same answer" if same else "a different answer"
    _print(
        options, found, f"{_summary(baseline)}\n{_summary(reduced)}\n{verdict}; baseline / {reduced.method}: {cheaper}"
    )


def _answers(options: argparse.Namespace, reducers: list[Reducer | None]) -> list[Answer]:
    image = open_image(Path(options.image))
    lvlm = load_model(options.model)
    answers: list[Answer] = []
    for event in compare(lvlm, image, options.question, reducers, max_new_tokens=options.max_new_tokens):
        if isinstance(event, Token) and not options.json and sys.stderr.isatty():
            print(f"\r{event.text}", end="", file=sys.stderr, flush=True)
        if isinstance(event, Done):
            answers.append(event.answer)
    return answers


def _reducer(options: argparse.Namespace) -> Reducer | None:
    if options.method == "baseline":
        return None
    if options.method not in REDUCERS:
        raise InputError(f"there is no method {options.method!r}; choose baseline, {', '.join(REDUCERS)}")
    return REDUCERS[options.method](retention=options.retention)


def as_dict(answer: Answer) -> dict[str, Any]:
    """An answer as plain JSON types: text, method, timings, cost and the trace."""
    trace = answer.trace
    images = [
        {
            "tokens": image.tokens,
            "cuts": [
                {
                    "layer": cut.layer,
                    "kept": cut.kept.tolist(),
                    "labels": {name: index.tolist() for name, index in cut.labels.items()},
                    "merged": int((cut.merged_into >= 0).sum()),
                }
                for cut in image.cuts
            ],
        }
        for image in trace.images
    ]
    return {
        "text": answer.text,
        "method": answer.method,
        "finished": answer.finished,
        "hint": answer.hint,
        "timings": asdict(answer.timings),
        "cost": asdict(answer.cost),
        "trace": {
            "images": images,
            "tokens_per_layer": trace.tokens_per_layer,
            "visual_tokens_per_layer": trace.visual_tokens_per_layer,
        },
    }


def ratios(baseline: Answer, reduced: Answer) -> dict[str, float]:
    """How many times cheaper the reduced run was; single runs, not a benchmark."""
    return {
        "ttft": baseline.timings.ttft_ms / reduced.timings.ttft_ms,
        "prefill": baseline.timings.prefill_ms / reduced.timings.prefill_ms,
        "kv_bytes": baseline.cost.kv_bytes / reduced.cost.kv_bytes,
        "tflops": baseline.cost.tflops / reduced.cost.tflops,
    }


def _summary(answer: Answer) -> str:
    timings, cost = answer.timings, answer.cost
    counts = answer.trace.visual_tokens_per_layer
    first, last = counts[0], counts[-1]
    lines = [
        f"{answer.method}: {answer.text}",
        f"  visual tokens: {first} into the language model, {last} in its last layer, mean {cost.visual_tokens:.0f}",
        f"  vision {timings.vision_ms:.0f} ms, selection {timings.reduce_ms:.1f} ms, "
        f"prefill {timings.prefill_ms:.0f} ms, KV cache {cost.kv_bytes / 1e6:.2f} MB (single run)",
    ]
    return "\n".join(lines + ([f"  note: {answer.hint}"] if answer.hint else []))


def _methods(options: argparse.Namespace) -> None:
    found = [{"name": name, "summary": summary(cls)} for name, cls in REDUCERS.items()]
    _print(options, found, "\n".join(f"{entry['name']:14} {entry['summary']}" for entry in found))


def _models(options: argparse.Namespace) -> None:
    found = [{**asdict(card), "unavailable": unavailable(card.name)} for card in MODELS.values()]
    lines = [f"{card['name']:28} {card['unavailable'] or card['description']}" for card in found]
    _print(options, found, "\n".join(lines))


def summary(cls: type[Reducer]) -> str:
    """The first line of a method's own file: name and one-line description."""
    return (sys.modules[cls.__module__].__doc__ or "").splitlines()[0].split(": ", 1)[-1].rstrip(".")


def _print(options: argparse.Namespace, found: Any, text: str) -> None:
    print(json.dumps(found) if options.json else text)
