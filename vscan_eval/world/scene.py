"""What is in a picture, before anything is drawn: sampled facts from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from vscan_eval.world.catalog import (
    BACKGROUNDS,
    CELLS,
    COLOUR_NAMES,
    GROUPS,
    HELD_OUT_PAIRS,
    HELD_OUT_STYLE,
    SHAPE_NAMES,
    SIGN_NUMBERS,
    SIGN_WORDS,
    TRAINED_STYLES,
    PictureCell,
    with_article,
)

PICTURE_SIDE = 336
PATCH = 14
GRID_SIDE = PICTURE_SIDE // PATCH
CELL_PIXELS = PICTURE_SIDE // 3
MOST_THINGS = 7
MOST_ALIKE = 6
Split = Literal["standard", "style", "combos"]
SPLITS: tuple[Split, ...] = get_args(Split)
SIZES = {"large": (70, 108), "medium": (36, 70), "small": (14, 34)}  # pixels


@dataclass(frozen=True)
class Thing:
    """One object: what it is and where; centre and size are in pixels."""

    name: str
    cell: PictureCell
    centre: tuple[float, float]
    size: int
    colour: str | None = None
    word: str | None = None
    style: str = TRAINED_STYLES[0]
    angle: float = 0.0
    flipped: bool = False

    @property
    def phrase(self) -> str:
        """ "a cat", "a red ball", "a sign"."""
        return with_article(f"{self.colour} {self.name}" if self.colour else self.name)


@dataclass(frozen=True)
class Scene:
    """A picture as facts. `things` is in reading order: by column, then by row."""

    things: tuple[Thing, ...]
    background: int  # index into BACKGROUNDS
    seed: int

    def of(self, name: str) -> list[Thing]:
        """All things of one class."""
        return [thing for thing in self.things if thing.name == name]

    @property
    def most_alike(self) -> int:
        """How often the commonest class occurs."""
        return max(len(self.of(thing.name)) for thing in self.things)

    def unique(self) -> list[Thing]:
        """Things whose class occurs once, so that "the cat" is unambiguous."""
        return [thing for thing in self.things if len(self.of(thing.name)) == 1]


def sample_scene(seed: int, split: Split = "standard") -> Scene:
    """One scene of 1 to 7 things; the same seed and split always give the same scene.

    "standard" is what models are trained on (with other seeds); "style" draws the emoji in a style no model has
    seen; "combos" has at least one shape in a colour that it never has elsewhere.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split)] if split != "standard" else seed)
    names = _names(rng)
    if split == "combos" and not set(names) & {shape for shape, _ in HELD_OUT_PAIRS}:
        names[0] = str(rng.choice(sorted({shape for shape, _ in HELD_OUT_PAIRS})))
    cells = [CELLS[i] for i in rng.permutation(len(CELLS))[: len(names)]]
    things: list[Thing] = []
    for name, cell in zip(names, cells, strict=True):
        things.append(_place(rng, name, cell, things, split))
    things.sort(key=lambda thing: (thing.cell.column, thing.cell.row))
    return Scene(tuple(things), int(rng.integers(len(BACKGROUNDS))), seed)


def _names(rng: np.random.Generator) -> list[str]:
    """Class names of a scene; a third of the scenes repeat one class, for counting; a third hold a sign."""
    count = int(rng.choice(MOST_THINGS, p=(0.1, 0.15, 0.2, 0.2, 0.15, 0.1, 0.1))) + 1
    groups = [group for group in GROUPS if group != "sign"]
    weights = np.array([len(GROUPS[g]) + (8 if g == "shape" else 0) for g in groups], float)
    names: list[str] = []
    while len(names) < count:
        group = groups[rng.choice(len(groups), p=weights / weights.sum())]
        names.append(str(rng.choice(GROUPS[group])))
    if count > 1 and rng.random() < 0.4:
        copies = int(rng.integers(2, count + 1))
        names[:copies] = [names[0]] * copies
    if names.count(names[0]) > MOST_ALIKE:
        names.pop()
    if rng.random() < 0.35:
        names[-1] = "sign"
    return names


def _size(rng: np.random.Generator, name: str) -> int:
    """Signs stay legible; one in eight of the others is small, and small things are mostly shapes."""
    if name in SHAPE_NAMES:
        kind = rng.choice(("large", "medium", "small"), p=(0.4, 0.35, 0.25))
    else:
        kind = rng.choice(("large", "medium", "small"), p=(0.55, 0.37, 0.08))
    return int(rng.integers(*SIZES[kind]))


def _place(rng: np.random.Generator, name: str, cell: PictureCell, others: list[Thing], split: Split) -> Thing:
    """Size and centre of one thing: well inside its cell, barely touching the others."""
    word = colour = None
    if name == "sign":
        word = str(rng.choice(SIGN_WORDS if rng.random() < 0.55 else SIGN_NUMBERS))
        size = int(rng.integers(46 if word.isdigit() else 76, 124))
    else:
        size = _size(rng, name)
    for attempt in range(30):
        if attempt % 5 == 4:
            size = max(min(size, 44), int(size * 0.9))
        jitter = rng.uniform(-26, 26, 2)
        middle = (np.array([cell.column, cell.row]) + 0.5) * CELL_PIXELS + jitter
        x, y = np.clip(middle, size / 2 + 2, PICTURE_SIDE - size / 2 - 2)
        near = [np.hypot(x - o.centre[0], y - o.centre[1]) < 0.47 * (size + o.size) for o in others]
        if not any(near):
            break
    if name in SHAPE_NAMES:
        held = {pair for shape, pair in HELD_OUT_PAIRS if shape == name}
        allowed = [c for c in COLOUR_NAMES if c not in held]
        colour = str(rng.choice(sorted(held) if split == "combos" and held else allowed))
    return Thing(
        name=name,
        cell=cell,
        centre=(float(x), float(y)),
        size=size,
        colour=colour,
        word=word,
        style=HELD_OUT_STYLE if split == "style" else str(rng.choice(TRAINED_STYLES)),
        angle=float(rng.uniform(-10, 10)),
        flipped=bool(name != "sign" and rng.random() < 0.3),
    )
