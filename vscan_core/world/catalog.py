"""The vocabulary of the drawn world: what can be in a picture and what it is called."""

from __future__ import annotations

from dataclasses import dataclass

GROUPS: dict[str, tuple[str, ...]] = {
    "animal": ("cat", "dog", "pig", "frog", "penguin", "fish", "elephant", "octopus"),
    "fruit": ("apple", "banana", "pear", "lemon", "pineapple", "watermelon"),
    "vehicle": ("car", "bus", "bicycle", "plane", "boat", "rocket"),
    "thing": ("tree", "house", "flower", "umbrella", "clock", "key", "hat", "bell"),
    "shape": ("ball", "square", "triangle", "star", "heart", "cross"),
    "sign": ("sign",),
}
CLASSES: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)
GROUP_OF: dict[str, str] = {name: group for group, names in GROUPS.items() for name in names}
SHAPES = GROUPS["shape"]
ARTWORK_CLASSES = tuple(name for name in CLASSES if GROUP_OF[name] not in ("shape", "sign"))

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (218, 36, 40),
    "orange": (246, 140, 28),
    "yellow": (250, 214, 40),
    "green": (44, 160, 66),
    "blue": (40, 92, 214),
    "purple": (132, 56, 176),
    "pink": (246, 132, 182),
    "black": (34, 34, 40),
}
COLOUR_NAMES = tuple(COLOURS)
SIGN_WORDS = ("stop", "open", "exit", "sale", "taxi", "zoo", "shop", "hello", "park", "cafe", "pizza", "music")
NUMBERS = ("none", "one", "two", "three", "four")

ROWS = ("top", "center", "bottom")
COLUMNS = ("left", "center", "right")

# Emoji names by artwork set, first match wins; only names that all four sets share in spirit.
EMOJI_NAMES: dict[str, tuple[str, ...]] = {
    "cat": ("cat-face",),
    "dog": ("dog-face",),
    "pig": ("pig-face",),
    "frog": ("frog", "frog-face"),
    "penguin": ("penguin",),
    "fish": ("tropical-fish",),
    "elephant": ("elephant",),
    "octopus": ("octopus",),
    "apple": ("red-apple",),
    "banana": ("banana",),
    "pear": ("pear",),
    "lemon": ("lemon",),
    "pineapple": ("pineapple",),
    "watermelon": ("watermelon",),
    "car": ("automobile",),
    "bus": ("bus",),
    "bicycle": ("bicycle",),
    "plane": ("airplane",),
    "boat": ("sailboat",),
    "rocket": ("rocket",),
    "tree": ("deciduous-tree",),
    "house": ("house",),
    "flower": ("sunflower",),
    "umbrella": ("umbrella", "open-umbrella"),
    "clock": ("alarm-clock",),
    "key": ("key",),
    "hat": ("top-hat",),
    "bell": ("bell",),
}


@dataclass(frozen=True)
class Cell:
    """One of the nine places of a picture; row and column count from the top left."""

    row: int
    column: int

    @property
    def name(self) -> str:
        """ "top left", "center", ...: the middle place is not called "center center"."""
        if self.row == 1 and self.column == 1:
            return "center"
        return f"{ROWS[self.row]} {COLUMNS[self.column]}"


CELLS = tuple(Cell(row, column) for row in range(3) for column in range(3))


def with_article(noun: str) -> str:
    """ "a cat", "an apple", "an orange ball"."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def plural(noun: str) -> str:
    """Regular English plurals; the catalog holds no other kind but "fish"."""
    if noun == "fish":
        return noun
    return noun + ("es" if noun.endswith(("s", "x")) else "s")
