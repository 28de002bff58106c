"""`python -m vscan_core.conformance NAME ... [options of pytest]`: examine methods by name, built in or not."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vscan_core.errors import InputError
from vscan_core.reducers import REDUCERS

PACKAGE = "vscan_core.conformance"


class Named:
    """A plugin of pytest that carries the names of the methods to the tests."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def pytest_configure(self, config: Any) -> None:
        """Where conftest.py looks."""
        config.examined_methods = self.names


def examine(arguments: list[str]) -> int:
    """The exit status of pytest; 2 and a sentence on standard error if a method or pytest is missing."""
    parser = argparse.ArgumentParser(prog=f"python -m {PACKAGE}", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="see `vscan methods`")
    given, options = parser.parse_known_args(arguments)
    try:
        for name in given.names:
            REDUCERS.named(name)
        if find_spec("pytest") is None:
            raise InputError("the examination needs pytest; install it with: pip install 'vscan-core[conformance]'")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    import pytest

    return int(pytest.main([str(Path(__file__).parent), "--rootdir=.", *options], plugins=[Named(given.names)]))


if __name__ == "__main__":
    sys.exit(examine(sys.argv[1:]))
