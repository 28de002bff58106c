"""Read the published files of benchmarks, or say in one sentence which file is missing or wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from vscan_core.errors import InputError
from vscan_core.media.images import as_rgb
from vscan_eval.task import Item

ANSWER_SHORT = "Answer the question using a single word or phrase."  # LLaVA-1.5's wording, used across the field
ANSWER_LETTER = "Answer with the option's letter from the given choices directly."
OPTION_LETTERS = "ABCDEFGHIJ"


@contextmanager
def checked_entries(path: Path, what: str) -> Iterator[None]:
    """Turn errors from an entry that lacks something, or has another shape, into an InputError about the file."""
    try:
        yield
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path} holds an entry that cannot be understood ({error!r}); it should be {what}") from None


@contextmanager
def json_entries(path: Path, what: str, lines: bool = False) -> Iterator[Any]:
    """The contents of a JSON file, or with `lines` a list of one JSON value per line; inside, `checked_entries`.

    Raises InputError, with `what` the file should be, if it is missing or not JSON.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing; it should be {what}")
    try:
        text = path.read_text(encoding="utf-8")
        content = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    except ValueError as error:
        kind = "one JSON object per line" if lines else "JSON"
        raise InputError(f"{path} is not {kind} ({error}); it should be {what}") from None
    with checked_entries(path, what):
        yield content


def find_picture(folder: Path, name: str, *subfolders: str) -> Path:
    """The path of picture `name`: in `folder` or a subfolder, with or without the folders in its own name."""
    names = PurePosixPath(name).parts
    tries = [folder.joinpath(sub, *names[first:]) for first in range(len(names)) for sub in (*subfolders, "")]
    return next((path for path in tries if path.is_file()), tries[0])


def opener(path: Path) -> Callable[[], Image.Image]:
    """A function that reads the picture when called, prepared by `as_rgb` like every other, at any size and shape."""
    return partial(_open, path)


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return as_rgb(image)
    except FileNotFoundError:
        raise InputError(f"the picture {path} is missing; put the benchmark's pictures there") from None
    except (OSError, SyntaxError, ValueError):  # InputError, too, is a ValueError
        raise InputError(f"the picture {path} cannot be read; download it again") from None


def grouped_by_picture(items: Iterable[Item]) -> list[Item]:
    """The items of each picture in a row; pictures in the order of their first item."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.picture, []).append(item)
    return [item for group in groups.values() for item in group]


def most_frequent_first(answers: Sequence[str]) -> tuple[str, ...]:
    """The annotators' answers, most frequent first."""
    counts = Counter(answers)
    return tuple(sorted(answers, key=lambda answer: -counts[answer]))


def with_options(question: str, options: Sequence[str]) -> str:
    """The question and its lettered options, one per line."""
    return "\n".join([question, *(f"{mark}. {option}" for mark, option in zip(OPTION_LETTERS, options, strict=False))])
