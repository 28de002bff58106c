"""The cards of the embedded model and of the drawn world: complete metadata, and no figure that was not recorded.

`python -m tests.eval.test_cards` fills their tables again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, ModelCard

from benchmarks.model_card import filled_card, training_log
from training.artwork import LICENCES, VERSIONS
from vscan_core.resources import asset
from vscan_eval.tasks import TASKS
from vscan_eval.tasks.world import frozen_items
from vscan_eval.world.catalog import HELD_OUT_STYLE, TRAINED_STYLES
from vscan_eval.world.phrasings import PHRASINGS

MODEL, WORLD = asset("mini", "README.md"), asset("world", "README.md")
RECORD = json.loads(asset("recorded", "evaluation_mini.json").read_text())
LOG = training_log()
SPDX = {"apache-2.0", "cc-by-4.0", "mit"}


def test_the_model_card_has_all_metadata() -> None:
    data = ModelCard(MODEL.read_text()).data.to_dict()
    assert (data["license"], data["library_name"]) == ("apache-2.0", "transformers")
    assert data["pipeline_tag"] == "image-text-to-text" and data["language"] == ["en"]
    assert "base_model" not in data, "it was trained from random weights"
    assert data["datasets"] and data["tags"]


def test_the_model_index_holds_the_recorded_accuracies_and_their_source() -> None:
    results = ModelCard(MODEL.read_text()).data.eval_results
    assert {result.dataset_split: result.metric_value for result in results} == {
        name: found["dense"]["accuracy"] for name, found in RECORD["tasks"].items()
    }
    for result in results:
        assert result.metric_type == "exact_match" and result.dataset_split in TASKS
        assert (MODEL.parents[2] / result.metric_config).resolve() == asset(
            "recorded", "evaluation_mini.json"
        ).resolve()


def test_the_tables_of_the_model_card_are_those_of_the_record_and_the_log() -> None:
    text = MODEL.read_text()
    assert filled_card(text, RECORD, LOG) == text, "python -m tests.eval.test_cards"
    assert f"{RECORD['tasks']['world']['dense']['accuracy']:.3f}" in text


def test_a_figure_that_differs_from_the_record_is_noticed() -> None:
    text = MODEL.read_text()
    row = re.search(r"^\| count \| (\d\.\d+) ", text, flags=re.MULTILINE)
    assert row is not None
    forged = text.replace(row[0], row[0].replace(row[1], "0.999"))
    assert forged != text and filled_card(forged, RECORD, LOG) == text


def test_the_record_belongs_to_the_shipped_weights() -> None:
    from vscan_core.loading import load_model
    from vscan_eval.records import weights

    assert RECORD["weights_sha256"] == weights(load_model("mini", device="cpu"))
    world = RECORD["tasks"]["world"]
    assert world["dense"]["n"] == 2000 and world["floor"]["accuracy"] < world["dense"]["majority"] + 0.05


def test_the_dataset_card_has_all_metadata() -> None:
    data = DatasetCard(WORLD.read_text()).data.to_dict()
    assert set(data["license"]) == SPDX and data["language"] == ["en"]
    assert {"visual-question-answering", "image-to-text"} == set(data["task_categories"])
    assert data["size_categories"] == ["1K<n<10K"] and data["tags"] and data["pretty_name"]
    (config,) = data["configs"]
    assert (WORLD.parent / config["data_files"][0]["path"]).is_file()
    row = json.loads((WORLD.parent / "frozen.jsonl").read_text().splitlines()[0])
    assert [feature["name"] for feature in data["dataset_info"]["features"]] == list(row)
    assert data["dataset_info"]["splits"][0]["num_examples"] == len(list(frozen_items()))


def test_the_tables_of_the_dataset_card_are_those_of_the_code() -> None:
    text = WORLD.read_text()
    assert filled_dataset_card(text) == text, "python -m tests.eval.test_cards"


@pytest.mark.parametrize("style", LICENCES)
def test_every_licence_of_the_artwork_is_named_where_it_must_be(style) -> None:
    assert LICENCES[style].lower() in SPDX
    row = next(line for line in asset("LICENSES.md").read_text().splitlines() if f"/{style}` " in line)
    assert LICENCES[style] in row and VERSIONS[style] in row


@pytest.mark.parametrize("card", [MODEL, WORLD], ids=["model", "dataset"])
def test_links_of_the_cards_lead_somewhere(card: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", card.read_text())
    assert targets and all((card.parent / target).exists() for target in targets)


def filled_dataset_card(card: str) -> str:
    """The card of the drawn world with its two tables made anew."""
    counts = Counter(item.kind for item in frozen_items())
    kinds = ["| kind | for example | questions |", "|---|---|--:|"]
    kinds += [f"| `{kind}` | {PHRASINGS[kind][0]} | {counts[kind]} |" for kind in PHRASINGS if counts[kind]]
    sets = ["| style | licence | used for |", "|---|---|---|"]
    sets += [f"| `{style}` | {LICENCES[style]} | training and testing |" for style in TRAINED_STYLES]
    sets += [f"| `{HELD_OUT_STYLE}` | {LICENCES[HELD_OUT_STYLE]} | testing only |"]
    for name, lines in {"kinds": kinds, "licences": sets}.items():
        block = "\n".join([f"<!-- {name} -->", *lines, f"<!-- /{name} -->"])
        card = re.sub(f"<!-- {name} -->.*<!-- /{name} -->", lambda _, text=block: text, card, flags=re.DOTALL)
    return card


if __name__ == "__main__":
    MODEL.write_text(filled_card(MODEL.read_text(), RECORD, LOG))
    WORLD.write_text(filled_dataset_card(WORLD.read_text()))
