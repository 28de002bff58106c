"""`vscan ask`: one answer with one method, and if asked for, its token map."""

from __future__ import annotations

import argparse
from typing import Any

from vscan_core.cli.shared import RETENTION, add_question, answers, print_result
from vscan_core.draw.fates import fates
from vscan_core.draw.token_map import token_map
from vscan_core.errors import InputError
from vscan_core.reducers import REDUCERS
from vscan_core.report import as_dict, lines


def add(commands: Any) -> None:
    """Add `ask` to the command line."""
    command = add_question(commands, "ask", ask, "answer a question about a picture or a video with one method")
    command.add_argument("--method", default="vscan", help="see `methods`, or baseline; default vscan")
    command.add_argument("--retention", **RETENTION)
    command.add_argument("--overlay", metavar="F", help="picture file to write: what became of every visual token")


def ask(options: argparse.Namespace) -> None:
    """Answer and print. Raises InputError for what does not fit, or if the token map cannot be written."""
    reducer = None if options.method == "baseline" else REDUCERS.named(options.method, "baseline, ")(options.retention)
    source, answer, _ = answers(options, [lambda: reducer])
    if options.overlay:
        image = answer.trace.images[0]
        picture = token_map(source, image, answer.trace.boxes(0), fates(image))
        try:
            picture.save(options.overlay)
        except (OSError, ValueError) as error:
            raise InputError(f"The picture cannot be written to {options.overlay}: {error}.") from None
    print_result(options, as_dict(answer), lines(answer))
