"""Choose the example pictures of the demonstration by what the embedded model answers to them.

python -m benchmarks.choose_examples --measure runs/examples.jsonl [--scenes 112]    # ask, minutes on a CPU
python -m benchmarks.choose_examples --choose runs/examples.jsonl      # write assets/examples and a record

Questions about held-out drawn scenes are asked without reduction; those that the model answers are asked again with
every method of PEERS at every retention of BUDGETS. `--choose` is a pure function of these answers: no example is
picked by hand but the two of QUOTED, which documentation and tests show.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import vscan_core as vc
from benchmarks.provenance import write_record
from vscan_core.bench.record import provenance
from vscan_eval.metrics import exact_match
from vscan_eval.task import Item
from vscan_eval.tasks.world import World, picture
from vscan_eval.tasks.world import item as world_item
from vscan_eval.world import Question, sample_scene

FIRST_EXAMPLE_SEED = 60_000  # below the scenes of evaluation and of training
PEERS = ("vscan", "random", "grid")
BLIND_PEERS = ("random", "grid")  # never look at the picture: what every method has to beat
BUDGETS = (0.111, 0.056, 0.028)  # as the slider gives them: 96, 48 and 24 of 576 tokens into the language model
QUOTED = (  # scene, and a question about it with its answer
    (60059, Question("colour", "What colour is the heart?", "blue")),
    (60003, Question("which", "Which vehicle is there?", "a rocket")),
)
STORY_KINDS = ("where", "count", "sign", "colour", "what_at", "beside", "which", "biggest", "relation")
MOST_OBJECTS = 5  # a picture with more is hard to take in
OUT = Path("assets/examples")


@dataclass(frozen=True)
class ExampleAnswers:
    """One question and all answers to it."""

    seed: int
    kind: str
    question: str
    truth: str
    things: int  # in the picture
    answers: dict[str, dict[str, str]]  # {retention as text: {method: answer}}

    def right(self, retention: float, method: str) -> bool:
        """Whether a method answered correctly."""
        return exact_match(self.answers[str(retention)][method], [self.truth])

    def lost(self, retention: float) -> list[str]:
        """The methods that are wrong."""
        return [method for method in PEERS if not self.right(retention, method)]


@dataclass(frozen=True)
class Chosen:
    """One example: a question, the retention that it is shown at, and the part that it plays."""

    asked: ExampleAnswers
    retention: float
    part: str  # "opens", "wins", "fails" or "quoted"


def ask_about(seeds: Sequence[int], at_once: int = 8) -> Iterator[ExampleAnswers]:
    """Ask about these scenes, `at_once` in a batch; questions that the model cannot answer are left out."""
    lvlm = vc.load_model("mini", device="cpu")
    for start in range(0, len(seeds), at_once):
        items = [item for seed in seeds[start : start + at_once] for item in _questions(seed)]
        drawn = {item.picture: item.open() for item in items}

        def ask(some: Sequence[Item], reducer: vc.Reducer | None, drawn: dict[str, Any] = drawn) -> list[str]:
            pairs = [(drawn[item.picture], item.question) for item in some]
            return [one.text for one in vc.answer_many(lvlm, pairs, reducer, batch_size=16, max_new_tokens=12)]

        able = [item for item, said in zip(items, ask(items, None), strict=True) if exact_match(said, item.answers)]
        said = {(r, method): ask(able, vc.REDUCERS[method](r)) for r in BUDGETS for method in PEERS}
        for place, item in enumerate(able):
            answers = {str(r): {method: said[r, method][place] for method in PEERS} for r in BUDGETS}
            seed = int(item.picture)
            yield ExampleAnswers(
                seed, item.kind, item.question, item.answers[0], len(sample_scene(seed).things), answers
            )


def _questions(seed: int) -> list[Item]:
    items = takewhile(lambda item: item.picture == str(seed), World(seed=seed).items())
    quoted = [question for scene, question in QUOTED if scene == seed]
    return [world_item(seed, 99, question, "standard") for question in quoted] + [
        item for item in items if item.kind in STORY_KINDS and item.question not in [one.text for one in quoted]
    ]


def choose(rows: Sequence[ExampleAnswers]) -> list[Chosen]:
    """The examples in the order of the page, each about another picture; the same rows always give the same ones."""
    quoted = [Chosen(_found(rows, seed, question.text), BUDGETS[0], "quoted") for seed, question in QUOTED]
    taken = {one.asked.seed for one in quoted}
    wins: list[Chosen] = []
    for kind in STORY_KINDS:
        best = _best_win([row for row in rows if row.kind == kind and row.seed not in taken])
        if best is not None:
            wins.append(best)
            taken.add(best.asked.seed)
    wins.sort(key=lambda one: (-one.retention, STORY_KINDS.index(one.asked.kind)))
    failures = [
        Chosen(row, BUDGETS[0], "fails")
        for row in sorted(rows, key=lambda row: (len(row.lost(BUDGETS[0])), row.things, row.seed, row.question))
        if "vscan" in row.lost(BUDGETS[0]) and row.things <= MOST_OBJECTS and row.seed not in taken
    ]
    others = [one for one in failures if one.asked.kind != failures[0].asked.kind]
    opener = Chosen(wins[0].asked, wins[0].retention, "opens")
    return [opener, *wins[1:2], *quoted, *failures[:1], *wins[2:], *others[:1]]


def _found(rows: Sequence[ExampleAnswers], seed: int, question: str) -> ExampleAnswers:
    return next(row for row in rows if (row.seed, row.question) == (seed, question))


def _best_win(rows: Sequence[ExampleAnswers]) -> Chosen | None:
    """Where VScan is right and both blind methods are wrong: the highest retention, most other methods wrong."""
    found = [
        (-retention, -len(row.lost(retention)), abs(row.things - 3), row.seed, row.question, row)
        for row in rows
        for retention in BUDGETS
        if row.things <= MOST_OBJECTS and row.right(retention, "vscan")
        if not any(row.right(retention, blind) for blind in BLIND_PEERS)
    ]
    if not found:
        return None
    retention, *_, row = min(found, key=lambda entry: entry[:-1])
    return Chosen(row, -retention, "wins")


def note(one: Chosen) -> str:
    """Why it is an example, in a sentence or two, from the measured answers alone."""
    said, share = one.asked.answers[str(one.retention)], f"{100 * one.retention:g} %"
    if one.part == "fails":
        right = [_title(method) for method in PEERS if one.asked.right(one.retention, method)]
        others = f"{_listed(right)} {'is' if len(right) == 1 else 'are'} right" if right else "so does every method"
        return f"Here VScan fails: at {share} it says {said['vscan']!r}; {others}."
    lost = [_title(method) for method in one.asked.lost(one.retention)]
    wrong = list(dict.fromkeys(said[method] for method in one.asked.lost(one.retention)))
    if not lost:
        return f"An easy one: at {share} every method is right."
    if len(wrong) == 1 and len(lost) > 1:
        return f"At {share} VScan is right; {_listed(lost)} say {wrong[0]!r}."
    lost = [f"{_title(method)} says {said[method]!r}" for method in one.asked.lost(one.retention)]
    return f"At {share} VScan is right; {_listed(lost)}."


def _title(method: str) -> str:
    return vc.REDUCERS[method].title


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def entry(one: Chosen) -> dict[str, Any]:
    """An example as it stands in examples.json."""
    asked = one.asked
    return {
        "image": f"scene_{asked.seed}.png",
        "question": asked.question,
        "answer": asked.truth,
        "retention": one.retention,
        "kind": asked.kind,
        "part": one.part,
        "note": note(one),
        "measured": {**asked.answers[str(one.retention)]},
    }


def counts(rows: Sequence[ExampleAnswers]) -> dict[str, dict[str, int]]:
    """How many of the questions that the model can answer each method gets right: what the examples were taken from."""
    right = {str(r): {method: sum(row.right(r, method) for row in rows) for method in PEERS} for r in BUDGETS}
    return {"asked": {"questions": len(rows)}, **right}


def main(argv: list[str] | None = None) -> None:
    """Ask, or choose and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    step = parser.add_mutually_exclusive_group(required=True)
    step.add_argument("--measure", type=Path, metavar="F", help="write the answers here, one question per line")
    step.add_argument("--choose", type=Path, metavar="F", help="read them and write the examples")
    parser.add_argument("--scenes", type=int, default=112)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--record", type=Path, default=Path("assets/recorded/examples_mini.json"))
    options = parser.parse_args(argv)
    if options.measure:
        options.measure.parent.mkdir(parents=True, exist_ok=True)
        with options.measure.open("w") as file:
            for row in ask_about(range(FIRST_EXAMPLE_SEED, FIRST_EXAMPLE_SEED + options.scenes)):
                file.write(json.dumps(asdict(row)) + "\n")
                file.flush()
        return
    rows = [ExampleAnswers(**json.loads(line)) for line in options.choose.read_text().splitlines()]
    chosen = choose(rows)
    for old in options.out.glob("scene_*.png"):
        old.unlink()
    options.out.mkdir(parents=True, exist_ok=True)
    for one in chosen:
        picture(one.asked.seed, "standard").save(options.out / f"scene_{one.asked.seed}.png", optimize=True)
    text = json.dumps([entry(one) for one in chosen], indent=2, ensure_ascii=False)
    (options.out / "examples.json").write_text(text + "\n", encoding="utf-8")
    command = f"python -m benchmarks.choose_examples --measure F --scenes {options.scenes}, then --choose F"
    record = {**provenance(command), "right": counts(rows), "examples": [entry(one) for one in chosen]}
    write_record(record, options.record)
    print(json.dumps(record["right"], indent=1))


if __name__ == "__main__":
    main()
