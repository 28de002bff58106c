"""The vocabulary of the drawn world: what can be in a picture and what it is called."""

from __future__ import annotations

from dataclasses import dataclass

GROUPS: dict[str, tuple[str, ...]] = {
    "animal": (
        *("cat", "dog", "pig", "frog", "penguin", "fish", "elephant", "octopus", "cow"),
        *("monkey", "panda", "tiger", "rabbit", "turtle", "whale", "snail", "bee"),
    ),
    "fruit": ("apple", "banana", "pear", "lemon", "pineapple", "watermelon", "peach"),
    "food": ("pizza", "burger", "cake", "donut", "mushroom", "tomato"),
    "vehicle": ("car", "bus", "bicycle", "plane", "boat", "rocket", "tractor", "truck", "helicopter", "train"),
    "thing": (
        *("tree", "house", "flower", "umbrella", "clock", "key", "hat", "bell", "crown"),
        *("guitar", "balloon", "camera", "cloud", "moon", "snowman", "cactus"),
    ),
    "shape": ("ball", "square", "triangle", "star", "heart", "cross", "diamond", "ring"),
    "sign": ("sign",),
}
THING_KINDS: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)
GROUP_OF: dict[str, str] = {name: group for group, names in GROUPS.items() for name in names}
SHAPE_NAMES = GROUPS["shape"]
ARTWORK_KINDS = tuple(name for name in THING_KINDS if GROUP_OF[name] not in ("shape", "sign"))

COLOUR_VALUES: dict[str, tuple[int, int, int]] = {
    "red": (218, 36, 40),
    "orange": (246, 140, 28),
    "yellow": (250, 214, 40),
    "green": (44, 160, 66),
    "blue": (40, 92, 214),
    "purple": (132, 56, 176),
    "pink": (246, 132, 182),
    "black": (34, 34, 40),
}
COLOUR_NAMES = tuple(COLOUR_VALUES)
# Shapes never shown in these colours outside the split "combos": does a model know red and star, or red stars?
HELD_OUT_PAIRS = frozenset(
    {("star", "red"), ("ball", "blue"), ("heart", "green"), ("square", "pink"), ("ring", "black"), ("cross", "yellow")}
)
SIGN_WORDS = ("stop", "open", "exit", "sale", "taxi", "zoo", "shop", "hello", "park", "cafe", "bank", "music")
SIGN_NUMBERS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "20", "25", "50", "75", "99")
SIGN_TEXTS = SIGN_WORDS + SIGN_NUMBERS
COUNT_WORDS = ("none", "one", "two", "three", "four", "five", "six")
BACKGROUNDS = ("plain", "grass", "sand", "water", "floor", "stripes", "hills")

ROW_NAMES = ("top", "center", "bottom")
COLUMN_NAMES = ("left", "center", "right")

TRAINED_STYLES = ("noto", "twemoji", "fluent-emoji-flat", "emojione")
HELD_OUT_STYLE = "fxemoji"


@dataclass(frozen=True)
class PictureCell:
    """One of the nine places of a picture; row and column count from the top left."""

    row: int
    column: int

    @property
    def name(self) -> str:
        """ "top left", "center", ...: the middle place is not called "center center"."""
        if self.row == 1 and self.column == 1:
            return "center"
        return f"{ROW_NAMES[self.row]} {COLUMN_NAMES[self.column]}"


CELLS = tuple(PictureCell(row, column) for row in range(3) for column in range(3))


def with_article(noun: str) -> str:
    """ "a cat", "an apple", "an orange ball"."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def plural(noun: str) -> str:
    """Regular English plurals; the catalog holds no other kind but "fish"."""
    if noun == "fish":
        return noun
    return noun + ("es" if noun.endswith(("s", "x", "ch", "to")) else "s")
