"""Run the core tests with other versions of transformers, installed beside the environment: `make versions`.

    python -m tests.versions [oldest | pinned | newest | 5.20.0 ...]

newest is whatever the package index has today, also beyond the declared range, so that a rename is found the day it
appears.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from vscan_core.versions import OLDEST

ROOT = Path(__file__).parent.parent
BESIDE = ROOT / ".venv" / "versions"
CORE = (
    "test_versions.py",
    "engine/test_reduced.py",
    "engine/test_left_as_found.py",
    "engine/test_membership.py",
    "engine/test_generate_hook.py",
    "engine/test_wrappers.py",
    "test_parity_vscan.py",
    "test_parity_families.py",
    "families/test_families.py",
    "families/test_interleaved.py",
    "families/test_scores.py",
    "families/test_boxes.py",
)


def pinned() -> str:
    """The version in requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return next(line.removeprefix("transformers==") for line in lines if line.startswith("transformers=="))


def install(folder: Path, *packages: str) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(folder)]
    subprocess.run([*pip, *packages], check=True)


def beside(name: str) -> Path:
    """A folder that holds transformers, and those of its requirements that the environment has in another version."""
    version = {"oldest": OLDEST, "pinned": pinned()}.get(name, name)
    folder = BESIDE / version
    install(folder, "transformers" if version == "newest" else f"transformers=={version}")
    (found,) = metadata.distributions(name="transformers", path=[str(folder)])
    needs = [need for need in map(Requirement, found.requires or ()) if not need.marker or need.marker.evaluate()]
    other = [str(need) for need in needs if metadata.version(need.name) not in need.specifier]
    if other:
        install(folder, *other)
    return folder


def main(names: list[str]) -> int:
    """The number of versions whose tests fail."""
    failed = []
    for name in names or ["oldest", "newest"]:
        folder = beside(name)
        tests = [str(ROOT / "tests" / test) for test in CORE]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(folder)}
        )
        failed += [name] if done.returncode else []
    print(f"transformers versions that fail: {', '.join(failed) or 'none'}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
