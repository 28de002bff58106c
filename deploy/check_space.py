"""The cheap checks of a Space's folder: its card, sizes, Git LFS, requirements, and what must not be in it."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path

from .card import card_faults, split_card

LFS = "filter=lfs diff=lfs merge=lfs -text"
LARGE = 10_000_000  # bytes; the Hub takes larger files through Git LFS only
TOTAL = 1_000_000_000  # bytes of a Space's repository
DOT_FILES = {".gitattributes", ".dockerignore"}  # the only names with a dot in front that are pushed
TEST_TOOLS = re.compile(r"(pytest|hypothesis|playwright|ruff|mypy|coverage|axe-playwright)\b", re.IGNORECASE)


def files_of(folder: Path) -> Iterator[Path]:
    """Every file, with its path within the folder; links are not followed."""
    yield from (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file())


def is_binary(path: Path) -> bool:
    """As git decides it: a zero byte near the beginning."""
    with path.open("rb") as file:
        return b"\0" in file.read(8000)


def binary_suffixes(folder: Path) -> list[str]:
    """ ".png", ".safetensors", ...: the ends of the names of all binary files."""
    return sorted({path.suffix for path in files_of(folder) if is_binary(folder / path)})


def large_files(folder: Path) -> list[tuple[str, int]]:
    """(path, bytes) of the files that need Git LFS for their size alone."""
    sizes = ((path.as_posix(), (folder / path).stat().st_size) for path in files_of(folder))
    return [(path, size) for path, size in sizes if size > LARGE]


def space_faults(folder: Path) -> list[str]:
    """What is wrong with the folder, one sentence each."""
    try:
        card, _ = split_card((folder / "README.md").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [str(error)]
    found = card_faults(card, folder)
    found += [*_strangers(folder), *_outside_lfs(folder), *_syntax(folder)]
    total = sum((folder / path).stat().st_size for path in files_of(folder))
    if total > TOTAL:
        found.append(f"The folder has {total / 1e6:.0f} MB; a Space may have {TOTAL / 1e6:.0f}.")
    requirements = folder / "requirements.txt"
    if not requirements.is_file():
        return [*found, "requirements.txt is missing."]
    return found + requirement_faults(requirements.read_text(encoding="utf-8"), card.get("sdk_version"))


def requirement_faults(text: str, sdk_version: str | None) -> list[str]:
    """What is wrong with requirements; `sdk_version` of the card must be the Gradio that they pin, None: not said."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    pins = dict(line.split("==", 1) for line in lines if "==" in line)
    found = [f"{line} is not pinned to one version." for line in lines if line and "==" not in line]
    found += [f"{name} is a tool for tests." for name in pins if TEST_TOOLS.match(name)]
    if "pydantic" in pins:
        found.append("pydantic is pinned, but the Hub installs gradio[mcp] beside it, which wants its own version.")
    if sdk_version not in (None, pins.get("gradio")):
        found.append(f"sdk_version is {sdk_version}, but requirements.txt pins gradio {pins.get('gradio')}.")
    return found


def report_space(folder: Path) -> list[str]:
    """Print what is in the folder; what is wrong with it, one sentence each."""
    paths = list(files_of(folder))
    total = sum((folder / path).stat().st_size for path in paths)
    print(f"{folder}: {len(paths)} files, {total / 1e6:.1f} MB; in Git LFS: {', '.join(binary_suffixes(folder))}")
    for path, size in large_files(folder):
        print(f"over {LARGE / 1e6:.0f} MB: {path}, {size / 1e6:.1f} MB")
    return space_faults(folder)


def _strangers(folder: Path) -> Iterator[str]:
    for path in files_of(folder):
        hidden = any(part.startswith(".") for part in path.parts) and path.name not in DOT_FILES
        if hidden or "__pycache__" in path.parts:
            yield f"{path.as_posix()} must not be pushed."
        if (folder / path).is_symlink():
            yield f"{path.as_posix()} is a link."


def _outside_lfs(folder: Path) -> Iterator[str]:
    attributes = folder / ".gitattributes"
    lines = attributes.read_text(encoding="utf-8").splitlines() if attributes.is_file() else []
    patterns = [line.split()[0] for line in lines if "filter=lfs" in line]
    large = {path for path, _ in large_files(folder)}
    for path in files_of(folder):
        needs = path.as_posix() in large or is_binary(folder / path)
        if needs and not any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns):
            yield f"{path.as_posix()} needs Git LFS, and .gitattributes does not say so."


def _syntax(folder: Path) -> Iterator[str]:
    for path in files_of(folder):
        if path.suffix == ".py":
            try:
                compile((folder / path).read_text(encoding="utf-8"), path.as_posix(), "exec")
            except (SyntaxError, ValueError) as error:
                yield f"{path.as_posix()} is not Python: {error}."
