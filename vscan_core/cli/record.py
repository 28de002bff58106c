"""`vscan record`: run several methods and keep everything that is needed to show them without the model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vscan_core.bench.record import provenance
from vscan_core.cli.shared import RETENTION, add_question, command_line, print_result
from vscan_core.errors import InputError
from vscan_core.loading import load_model
from vscan_core.media.images import open_image
from vscan_core.recording import record, save_recording
from vscan_core.recording.recorder import ROUNDS
from vscan_core.reducers import REDUCERS
from vscan_core.report import lines, verdict


def add(commands: Any) -> None:
    """Add `record` to the command line."""
    text = "record a question without reduction and with one or more methods, to be shown later without the model"
    command = add_question(commands, "record", record_methods, text)
    command.add_argument("--methods", default="vscan", metavar="A,B", help="see `methods`; default vscan")
    command.add_argument("--retention", **RETENTION)
    command.add_argument(
        "--rounds", type=int, default=ROUNDS, metavar="N", help="repeated prefills; default %(default)s"
    )
    command.add_argument("--note", default="", metavar="T", help="a sentence for the reader")
    command.add_argument("--out", required=True, metavar="FOLDER", help="folder to write; see docs/recording.md")


def record_methods(options: argparse.Namespace) -> None:
    """Run, write and print. Raises InputError for what does not fit, or if the folder cannot be written."""
    if options.video or len(options.image) > 1:
        raise InputError("Only runs about one picture can be recorded, not about a video or several pictures.")
    reducers = [REDUCERS.named(name.strip())(options.retention) for name in options.methods.split(",")]
    image = open_image(Path(options.image[0]))
    lvlm = load_model(options.model, attn_implementation=options.attention)
    found = record(
        lvlm,
        image,
        options.question,
        reducers,
        rounds=options.rounds,
        max_new_tokens=options.max_new_tokens,
        facts=provenance(command_line(options.typed), lvlm.device),
        note=options.note,
    )
    save_recording(found, Path(options.out))
    baseline, *others = (run.answer for run in found.runs)
    text = [lines(baseline), *(part for other in others for part in (lines(other), verdict(baseline, other)))]
    told = {"folder": options.out, "answers": {run.answer.method: run.answer.text for run in found.runs}}
    print_result(options, told, "\n".join([*text, f"written to {options.out}"]))
