"""Split a lock file: torch alone, and the rest by hash without CUDA. Needs Python alone; the Dockerfile runs it.

python torch_apart.py requirements.lock packages.lock torch.txt

The lock has the torch of the package index, which on Linux brings CUDA along. An image takes the one of its own
backend instead, and that one names the CUDA libraries that it wants.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

COMES_WITH_TORCH = re.compile(r"(nvidia-|cuda-|triton\b)")


def split_lock(lock: str) -> tuple[str, str]:
    """The lock without torch and all that only torch needs, and the line that pins torch. Raises ValueError."""
    entries = re.split(r"\n(?=\S)", lock.strip())
    rest = [entry for entry in entries if not re.match(r"torch==", entry) and not COMES_WITH_TORCH.match(entry)]
    pins = re.findall(r"^torch==[^\s;\\]+", lock, re.MULTILINE)
    if len(pins) != 1:
        raise ValueError(f"The lock file pins torch {len(pins)} times; it has to do so once.")
    return "\n".join(rest) + "\n", pins[0] + "\n"


def main() -> None:
    """Write the two files."""
    lock, rest, torch = map(Path, sys.argv[1:])
    for file, text in zip((rest, torch), split_lock(lock.read_text()), strict=True):
        file.write_text(text)


if __name__ == "__main__":
    main()
