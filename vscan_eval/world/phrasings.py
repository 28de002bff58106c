"""The wordings of the questions."""

from __future__ import annotations

PHRASINGS: dict[str, tuple[str, ...]] = {
    "exist": ("Is there {a}?", "Is there {a} in the picture?", "Can you see {a}?", "Do you see {a}?"),
    "which": (
        "Which {group} is in the picture?",
        "Which {group} is there?",
        "What {group} is this?",
        "Which {group} do you see?",
    ),
    "colour": (
        "What colour is the {name}?",
        "What color is the {name}?",
        "Which colour is the {name}?",
        "Which color does the {name} have?",
    ),
    "what_at": ("What is at the {place}?", "What is in the {place}?", "What do you see at the {place}?"),
    "side": ("What is on the {place}?", "What do you see on the {place}?"),
    "where": ("Where is the {name}?", "Where in the picture is the {name}?", "Where do you see the {name}?"),
    "beside": ("What is {relation} the {name}?", "What do you see {relation} the {name}?"),
    "relation": ("Is the {name} {relation} the {other}?",),
    "count": ("How many {names} are there?", "How many {names} are in the picture?", "How many {names} do you see?"),
    "biggest": ("What is the biggest thing?", "Which thing is the biggest?", "What is the largest thing?"),
    "sign": ("What does the sign say?", "What is written on the sign?", "Read the sign."),
    "background": ("What is the background?", "What is in the background?", "Which background do you see?"),
    "describe": ("Describe the picture.", "What is in the picture?", "What do you see?", "Describe the image."),
}
RELATIONS: dict[str, tuple[int, int]] = {  # axis (0 column, 1 row) and direction
    **dict.fromkeys(("left of", "to the left of"), (0, -1)),
    **dict.fromkeys(("right of", "to the right of"), (0, 1)),
    "above": (1, -1),
    "below": (1, 1),
}
SIDES = {"left": (0, 0), "right": (0, 2), "top": (1, 0), "bottom": (1, 2)}
