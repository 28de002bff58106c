"""Draw the example pictures of the demonstration: python -m training.examples.

PICKS were chosen by hand among held-out scenes: attractive ones that the model answers correctly. Questions and answers
come from the facts of the scene.
`--candidates` prints held-out scenes with how well the model answers them, to choose from.
"""

from __future__ import annotations

import argparse
import json
from itertools import takewhile
from pathlib import Path

import numpy as np
from PIL import Image

import vscan_core as vc
from vscan_eval import runner
from vscan_eval.replies import DENSE, Condition
from vscan_eval.tasks.world import World
from vscan_eval.world.drawing import draw_scene
from vscan_eval.world.questions import make_question
from vscan_eval.world.scene import sample_scene

EXAMPLES_FOLDER = Path("assets/examples")
FIRST_EXAMPLE_SEED = 60_000
PICKS: tuple[tuple[int, str, str], ...] = (  # scene seed, kind of question, question
    (60059, "colour", "What colour is the heart?"),
    (60071, "count", "How many bananas do you see?"),
    (60022, "where", "Where is the bell?"),
    (60003, "which", "Which vehicle is there?"),
    (60067, "exist", "Is there a tractor in the picture?"),
    (60012, "relation", "Is the train below the whale?"),
    (60024, "what_at", "What is at the top right?"),
    (60057, "count", "How many fish are there?"),
    (60069, "what_at", "What is at the center right?"),
    (60013, "beside", "What is left of the cloud?"),
    (60035, "sign", "What does the sign say?"),
    (60019, "count", "How many crowns do you see?"),
    (60054, "colour", "What colour is the ball?"),
    (60066, "side", "What is on the left?"),
)


def truth(seed: int, kind: str, text: str) -> str:
    """The answer to exactly this question, from the facts of the scene. Raises ValueError if there is none."""
    for number in range(3000):
        question = make_question(sample_scene(seed), kind, np.random.default_rng(number))
        if question and question.text == text:
            return question.answer
    raise ValueError(f"scene {seed} has no answer to {text!r}; choose another pick")


def write_examples() -> None:
    """Pictures and examples.json."""
    EXAMPLES_FOLDER.mkdir(parents=True, exist_ok=True)
    listed = []
    for seed, kind, text in PICKS:
        name = f"scene_{seed}.png"
        Image.fromarray(draw_scene(sample_scene(seed)).pixels).save(EXAMPLES_FOLDER / name, optimize=True)
        listed.append({"image": name, "question": text, "answer": truth(seed, kind, text)})
    (EXAMPLES_FOLDER / "examples.json").write_text(json.dumps(listed, indent=2) + "\n")


def print_candidates(model: str, scenes: int) -> None:
    """Print the scenes with three or more things, and how many of their questions the model answers correctly."""
    lvlm, task, method = vc.load_model(model), World(seed=FIRST_EXAMPLE_SEED), Condition(DENSE)
    last = str(FIRST_EXAMPLE_SEED + scenes)
    items = list(takewhile(lambda item: item.picture != last, task.items()))
    records = runner.run_task(lvlm, task, items, method, runner.file_of(lvlm, task, method))
    for seed in range(FIRST_EXAMPLE_SEED, FIRST_EXAMPLE_SEED + scenes):
        mine = [record.score for record in records if record.picture == str(seed)]
        if len(sample_scene(seed).things) >= 3:
            print(f"{seed} {sum(mine):.0f}/{len(mine)}", [t.phrase for t in sample_scene(seed).things])


def main() -> None:
    """Write the examples, or print candidates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=0, metavar="SCENES")
    parser.add_argument("--model", default="assets/mini")
    arguments = parser.parse_args()
    if arguments.candidates:
        print_candidates(arguments.model, arguments.candidates)
    else:
        write_examples()


if __name__ == "__main__":
    main()
