"""The library from a shell: `vscan ask|compare|sweep|record|bench|eval|methods|models ...`.

`python -m vscan_core ...` is the same. A new command is one file with a function
`add(commands)` and one line in COMMANDS.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from vscan_core.errors import InputError

COMMANDS = (  # modules in the order of the help text; those of packages that are not installed are left out
    "vscan_core.cli.ask",
    "vscan_core.cli.compare",
    "vscan_core.cli.sweep",
    "vscan_core.cli.record",
    "vscan_core.cli.bench",
    "vscan_eval.command",
    "vscan_core.cli.methods",
    "vscan_core.cli.models",
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 on success, 2 for bad input (one sentence on standard error)."""
    typed = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(typed, argparse.Namespace(typed=typed))
    disable_progress_bar()  # only the answer belongs on the terminal
    try:
        options.run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; `run` of what it returns is the command's function."""
    name = "vscan" if Path(sys.argv[0]).stem == "vscan" else "python -m vscan_core"
    parser = argparse.ArgumentParser(prog=name, description="Visual token reduction on stock LVLMs.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for module in COMMANDS:
        if find_spec(module.partition(".")[0]) is not None:
            import_module(module).add(commands)
    return parser
