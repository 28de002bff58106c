"""The examples follow from measured answers, and those on the page are what was chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from app.session.examples import load_examples
from benchmarks.choose_examples import BUDGETS, PEERS, QUOTED, ExampleAnswers, choose, counts, entry, main
from vscan_core.resources import asset
from vscan_eval.tasks.world import picture

EXAMPLES = json.loads(asset("examples", "examples.json").read_text(encoding="utf-8"))
RECORD = json.loads(asset("recorded", "examples_mini.json").read_text(encoding="utf-8"))


def asked(seed: int, kind: str, question: str, wrong: dict[float, tuple[str, ...]] | None = None, things: int = 3):
    """A question whose answer is "yes", with the methods that are wrong at each retention."""
    answers = {str(r): {m: "no" if m in (wrong or {}).get(r, ()) else "yes" for m in PEERS} for r in BUDGETS}
    return ExampleAnswers(seed, kind, question, "yes", things, answers)


HIGH, MIDDLE, LOW = BUDGETS
BLIND = ("random", "grid")
QUOTES = [asked(seed, question.kind, question.text) for seed, question in QUOTED]
ROWS = [
    *QUOTES,
    asked(1, "count", "A?", {LOW: BLIND}),
    asked(2, "count", "B?", {HIGH: BLIND}),
    asked(3, "where", "C?", {MIDDLE: BLIND}),
    asked(4, "colour", "D?", {HIGH: ("random",)}),  # Grid is right: no story
    asked(5, "sign", "E?", {HIGH: PEERS}),  # nobody is right
    asked(6, "sign", "F?", {HIGH: ("vscan",)}),
    asked(7, "which", "G?", {HIGH: BLIND}, things=7),  # too full
]


def test_they_are_chosen_by_what_was_measured() -> None:
    chosen = choose(ROWS)
    assert [(one.asked.question, one.part, one.retention) for one in chosen] == [
        ("B?", "opens", HIGH),
        ("C?", "wins", MIDDLE),
        *((question.text, "quoted", HIGH) for _, question in QUOTED),
        ("F?", "fails", HIGH),
    ]
    assert choose(list(reversed(ROWS))) == chosen
    notes = [entry(one)["note"] for one in chosen]
    assert notes[0] == "At 11.1 % VScan is right; Random and Grid say 'no'."
    assert notes[2] == "An easy one: at 11.1 % every method is right."
    assert notes[4] == "Here VScan fails: at 11.1 % it says 'no'; Random and Grid are right."
    assert counts(ROWS)[str(HIGH)] == {"vscan": 7, "random": 5, "grid": 6}


def test_the_page_opens_on_a_win_and_has_a_failure() -> None:
    assert 10 <= len(EXAMPLES) <= 14 and len({row["image"] for row in EXAMPLES}) == len(EXAMPLES)
    first = EXAMPLES[0]
    assert first["measured"]["vscan"] == first["answer"] and first["retention"] == 0.111
    assert all(first["measured"][blind] != first["answer"] for blind in BLIND)
    failures = [row for row in EXAMPLES if row["measured"]["vscan"] != row["answer"]]
    assert failures and all(row["note"].startswith("Here VScan fails") for row in failures)
    assert len({row["kind"] for row in EXAMPLES}) >= 8
    assert RECORD["examples"] == EXAMPLES


@pytest.mark.parametrize("row", EXAMPLES[:3], ids=lambda row: row["image"])
def test_pictures_are_those_of_the_scenes(row) -> None:
    with Image.open(asset("examples", row["image"])) as shown:
        drawn = picture(int(Path(row["image"]).stem.partition("_")[2]), "standard")
        assert ImageChops.difference(shown.convert("RGB"), drawn).getbbox() is None


def test_the_demo_knows_what_an_example_shows() -> None:
    found = load_examples()
    assert [(one.retention, one.note) for one in found] == [(row["retention"], row["note"]) for row in EXAMPLES]


def test_the_command_writes_examples_and_a_record(tmp_path, capsys) -> None:
    lines = [json.dumps(vars(row)) for row in [*QUOTES, asked(60_001, "count", "B?", {HIGH: BLIND}), *ROWS[2:8]]]
    (tmp_path / "asked.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scene_1.png").write_bytes(b"old")
    main(
        [
            "--choose",
            str(tmp_path / "asked.jsonl"),
            "--out",
            str(tmp_path / "out"),
            "--record",
            str(tmp_path / "r.json"),
        ]
    )
    rows = json.loads((tmp_path / "out" / "examples.json").read_text())
    assert {file.name for file in (tmp_path / "out").glob("*.png")} == {row["image"] for row in rows}
    assert Image.open(tmp_path / "out" / rows[0]["image"]).size == (336, 336)
    assert json.loads((tmp_path / "r.json").read_text())["right"]["asked"]["questions"] == len(lines)
