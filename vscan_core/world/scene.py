"""What is in a picture, before anything is drawn: sampled facts from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vscan_core.world.catalog import (
    CELLS,
    CLASSES,
    COLOUR_NAMES,
    GROUPS,
    SHAPES,
    SIGN_WORDS,
    Cell,
    with_article,
)

PIXELS = 336
PATCH = 14
GRID = PIXELS // PATCH
CELL_PIXELS = PIXELS // 3
STYLES = ("noto", "twemoji", "fluent-emoji-flat", "emojione")
BACKGROUNDS = 8


@dataclass(frozen=True)
class Thing:
    """One object: what it is and where; centre and size are in pixels."""

    name: str
    cell: Cell
    centre: tuple[float, float]
    size: int
    colour: str | None = None
    word: str | None = None
    style: str = STYLES[0]
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
    background: int
    seed: int

    def of(self, name: str) -> list[Thing]:
        """All things of one class."""
        return [thing for thing in self.things if thing.name == name]

    def unique(self) -> list[Thing]:
        """Things whose class occurs once, so that "the cat" is unambiguous."""
        return [thing for thing in self.things if len(self.of(thing.name)) == 1]


def sample_scene(seed: int) -> Scene:
    """One scene of 1 to 4 things; the same seed always gives the same scene."""
    rng = np.random.default_rng(seed)
    names = _names(rng)
    cells = [CELLS[i] for i in rng.permutation(len(CELLS))[: len(names)]]
    things: list[Thing] = []
    for name, cell in zip(names, cells, strict=True):
        things.append(_place(rng, name, cell, things))
    things.sort(key=lambda thing: (thing.cell.column, thing.cell.row))
    return Scene(tuple(things), int(rng.integers(BACKGROUNDS)), seed)


def _names(rng: np.random.Generator) -> list[str]:
    """Class names of a scene; a third of the scenes repeat one class, for counting."""
    count = int(rng.choice(4, p=(0.15, 0.25, 0.3, 0.3))) + 1
    groups = [group for group in GROUPS if group != "sign"]
    weights = np.array([len(GROUPS[g]) + (5 if g == "shape" else 0) for g in groups], float)
    names: list[str] = []
    while len(names) < count:
        group = groups[rng.choice(len(groups), p=weights / weights.sum())]
        names.append(str(rng.choice(GROUPS[group])))
    if count > 1 and rng.random() < 0.35:
        copies = int(rng.integers(2, count + 1))
        names[:copies] = [names[0]] * copies
    if rng.random() < 0.25:
        names[-1] = "sign"
    return names


def _place(rng: np.random.Generator, name: str, cell: Cell, others: list[Thing]) -> Thing:
    """Size and centre of one thing: well inside its cell, hardly touching the others."""
    for attempt in range(30):
        size = int(rng.integers(104, 128)) if name == "sign" else int(rng.integers(72, 126 - 2 * attempt // 3))
        jitter = rng.uniform(-24, 24, 2)
        middle = (np.array([cell.column, cell.row]) + 0.5) * CELL_PIXELS + jitter
        x, y = np.clip(middle, size / 2 + 2, PIXELS - size / 2 - 2)
        near = [np.hypot(x - o.centre[0], y - o.centre[1]) < 0.46 * (size + o.size) for o in others]
        if not any(near):
            break
    return Thing(
        name=name,
        cell=cell,
        centre=(float(x), float(y)),
        size=size,
        colour=str(rng.choice(COLOUR_NAMES)) if name in SHAPES else None,
        word=str(rng.choice(SIGN_WORDS)) if name == "sign" else None,
        style=str(rng.choice(STYLES)),
        angle=float(rng.uniform(-10, 10)),
        flipped=bool(name != "sign" and rng.random() < 0.3),
    )


def class_index(name: str) -> int:
    """Place of a class in the catalog; the label tables use it plus one (0 is background)."""
    return CLASSES.index(name)
