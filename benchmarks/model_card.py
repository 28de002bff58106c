"""The figures of the embedded model's card: accuracy on the drawn world, with all visual tokens.

python -m benchmarks.model_card [--out assets/recorded/evaluation_mini.json]

Asks the 2,000 frozen questions, with and without the picture, and the questions of the held-out splits; writes the
record, and fills the tables and the front matter of assets/mini/README.md from it and from the training log. An
interrupted run resumes.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import vscan_core as vc
from benchmarks.accuracy import Bench, Measurement, model_provenance
from benchmarks.derived import rounded
from benchmarks.provenance import write_record
from vscan_core.resources import asset
from vscan_eval.replies import BLIND, DENSE, Condition
from vscan_eval.tasks import TASKS

QUESTIONS = {"world": None, "world-style": None, "world-combos": None, "world-captions": 120}  # None: 2,000
SPLITS_SHOWN = {
    "world": "frozen questions",
    "world-style": "emoji in a style that training never showed",
    "world-combos": "shapes in colours that they never had in training",
    "world-captions": "descriptions, right in every word",
}
RESULT = """\
      - task:
          type: visual-question-answering
          name: Visual question answering
        dataset:
          type: drawn-world
          name: Drawn world, {title}
          split: {name}
        metrics:
          - type: exact_match
            name: Exact match
            value: {value}
            config: assets/recorded/evaluation_mini.json
"""
GATES = (  # stage, score in the training log, what it measures, the least that was required
    ("language", "exist", "existence, on symbolic scenes", 0.95),
    ("vision", "object", "kind of a thing, from its patches", 0.80),
    ("vision", "covered", "things with a patch among the 192 with the most CLS attention", 0.90),
    ("text_half", "all", "patches asked about that are among the 64 of lowest similarity", 0.95),
)


def measure_task(lvlm: vc.LVLM, name: str, limit: int | None) -> dict[str, Any]:
    """The dense model's figures on one task; on the frozen questions also those without the picture."""
    task = TASKS[name]()
    bench = Bench(lvlm, task, task.chosen(limit))
    names = (DENSE, BLIND) if name == "world" else (DENSE,)
    rows = [bench.row(Measurement(each, None, lambda each=each: Condition(each))) for each in names]
    kept = ("n", "pictures", "accuracy", "interval", "majority", "by_type", "figures")
    return {role: {key: row[key] for key in kept} for role, row in zip(("dense", "floor"), rows, strict=False)}


def filled_card(card: str, record: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """The card with its metadata of results and its tables made again."""
    about = f"{record['date']}, {record['hardware']}, {record['dtype']}, torch {record['versions']['torch']}"
    blocks = {
        "accuracy": kinds_table(record["tasks"]["world"]),
        "splits": splits_table(record["tasks"]),
        "gates": gates_table(log),
        "measured": f"`{record['command']}`, {about}, transformers {record['versions']['transformers']}.",
    }
    for name, block in blocks.items():
        marked = f"<!-- {name} -->\n{block}\n<!-- /{name} -->"
        card = re.sub(f"<!-- {name} -->.*<!-- /{name} -->", lambda _, text=marked: text, card, flags=re.DOTALL)
    index = "model-index:\n  - name: VScan-Mini\n    results:\n" + "".join(
        RESULT.format(name=name, title=SPLITS_SHOWN[name], value=found["dense"]["accuracy"])
        for name, found in record["tasks"].items()
    )
    return re.sub(r"^model-index:\n.*?(?=^---$)", index, card, count=1, flags=re.DOTALL | re.MULTILINE)


def training_log() -> list[dict[str, Any]]:
    """The lines of the model's log and of its text half's."""
    files = asset("mini", "training_log.json"), asset("mini", "text_half", "training_log.json")
    return [line for file in files for line in json.loads(file.read_text())]


def kinds_table(world: dict[str, Any]) -> str:
    """Markdown: one row per kind of question, beside guessing and the model without the picture."""
    lines = [
        "| kind | accuracy | 95 % interval | n | majority answer | without the picture |",
        "|---|--:|---|--:|--:|--:|",
    ]
    rows = {**world["dense"]["by_type"], "**all**": world["dense"]}
    floors = {**world["floor"]["by_type"], "**all**": world["floor"]}
    for kind, part in rows.items():
        lines.append(f"| {kind} | {_accuracy(part)} | {part['majority']:.2f} | {floors[kind]['accuracy']:.2f} |")
    return "\n".join(lines)


def splits_table(tasks: dict[str, Any]) -> str:
    """Markdown: one row per task."""
    lines = ["| task | questions | accuracy | 95 % interval | n |", "|---|---|--:|---|--:|"]
    lines += [f"| `{name}` | {SPLITS_SHOWN[name]} | {_accuracy(found['dense'])} |" for name, found in tasks.items()]
    (named,) = tasks["world-captions"]["dense"]["figures"].values()
    return "\n".join([*lines, "", f"The descriptions name {named:.0%} of the things in the pictures, in any order."])


def gates_table(log: list[dict[str, Any]]) -> str:
    """Markdown: the last value of each score that a stage had to reach."""
    lines = ["| stage | measured on held-out scenes | required | reached |", "|---|---|--:|--:|"]
    for stage, score, text, least in GATES:
        reached = [line[score] for line in log if line["stage"] == stage and score in line][-1]
        lines.append(f"| {stage} | {text} | {least:.2f} | {reached:.2f} |")
    return "\n".join(lines)


def _accuracy(part: dict[str, Any]) -> str:
    low, high = part["interval"]
    return f"{part['accuracy']:.3f} | {low:.3f}-{high:.3f} | {part['n']:,}"


def main(argv: list[str] | None = None) -> None:
    """Measure, write the record, fill the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=asset("recorded", "evaluation_mini.json"))
    options = parser.parse_args(argv)
    lvlm = vc.load_model("mini")
    tasks = {name: measure_task(lvlm, name, limit) for name, limit in QUESTIONS.items()}
    about = model_provenance(lvlm, "python -m benchmarks.model_card")
    record = rounded(about | {"metric": "exact match", "tasks": tasks})
    write_record(record, options.out)
    card = asset("mini", "README.md")
    card.write_text(filled_card(card.read_text(), record, training_log()))


if __name__ == "__main__":
    main()
