"""A task for lmms-eval that needs no network: the example pictures, their questions, and the YAML that names them."""

from __future__ import annotations

import json
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "assets" / "examples"
YAML = """\
task: drawn_examples
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
test_split: test
output_type: generate_until
doc_to_visual: !function drawn.visual
doc_to_text: "{{{{question}}}}"
doc_to_target: "answer"
process_results: !function drawn.score
generation_kwargs:
  max_new_tokens: 24
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""
FUNCTIONS = """\
from PIL import Image


def visual(doc):
    return [Image.open(doc["picture"])]


def score(doc, results):
    return {"exact_match": float(results[0].lower() == doc["answer"].lower())}
"""


def write(folder: Path) -> list[dict[str, str]]:
    """The task's files under `folder`, to be given to lmms-eval as --include_path; returns its rows."""
    examples = json.loads((EXAMPLES / "examples.json").read_text())
    rows = [
        {"picture": str(EXAMPLES / example["image"]), "question": example["question"], "answer": example["answer"]}
        for example in examples
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "drawn.py").write_text(FUNCTIONS)
    (folder / "drawn_examples.yaml").write_text(YAML.format(rows=folder / "rows.jsonl"))
    return rows
