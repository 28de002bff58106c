"""Where this project's data files are: beside the code in an installed package, at the top of a checkout."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def asset(*path: str) -> Path:
    """The path of a data file or folder, as `assets/` has it: asset("mini"), asset("examples", "examples.json")."""
    package = Path(str(files("vscan_core")))
    packaged = package / "assets"
    folder = packaged if packaged.is_dir() else package.parent / "assets"
    return folder.joinpath(*path)
