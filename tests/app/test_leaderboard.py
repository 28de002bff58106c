"""The Leaderboard: all methods at one retention, where Downsample fails and where it does not."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app import formatting
from app.benchmarks import accuracy
from app.benchmarks.ablations import AblationView, ablation_table
from app.benchmarks.accuracy_tab import AccuracyTab
from app.benchmarks.leaderboard import (
    LEADERBOARD_HEADERS,
    LOCATION_NOTE,
    NO_FILTER,
    LeaderboardView,
    leaderboard_notes,
    leaderboard_table,
)
from app.benchmarks.leaderboard_tab import LeaderboardTab, telling
from app.benchmarks.records import ALL, FAILS, LOCATION_KIND, SOLVES, AccuracyRecord, accuracy_records, read_record
from tests.app import recorded

TITLES = {"vscan": "VScan", "fastv": "FastV", "visionzip": "VisionZip", "downsample": "Downsample"}
FEW = 0.3  # from this retention on, Downsample fails too rarely


def part(value: float | None, n: int) -> dict[str, Any]:
    few = None if value is not None else f"{n} of at least 20 questions, 9 of at least 10 pictures"
    interval = None if value is None else [value - 0.1, value + 0.1]
    return {"n": n, "pictures": 9, "accuracy": value, "interval": interval, "too_few": few}


def with_filter() -> dict[str, Any]:
    """The record of the other tests, with what `benchmarks.derived` adds."""
    record = recorded.accuracy()
    for row in record["rows"]:
        if "refused" in row:
            continue
        row["command"] = f"vscan eval --task world --method {row['method']}"
        few = row["retention"] > FEW
        hard = None if few else 1 - 3 * recorded.STRENGTH[row["method"]]
        against = {"both": 200, "only_method": 40, "only_downsample": 7, "neither": 53, "p_value": 0.0002}
        found = {
            "difficult": part(hard, 15 if few else 60),
            "simple": part(row["accuracy"], 200),
            "dense_wrong": 30,
            "against_downsample": against,
        }
        row["downsampling_filter"] = None if row["method"] == "downsample" else found
    for row in (record["dense"], *record["rows"]):
        if "refused" not in row:
            row["by_group"] = {"location": {"n": 30, "accuracy": 0.4, "interval": [0.3, 0.5]}}
    record["dense"]["command"] = "vscan eval --task world --method baseline"
    return record


@pytest.fixture
def found(tmp_path: Path) -> AccuracyRecord:
    (tmp_path / "accuracy_mini.json").write_text(json.dumps(with_filter()))
    return read_record(tmp_path / "accuracy_mini.json")


def cells(view: LeaderboardView) -> dict[str, list[str]]:
    """What is shown, by method."""
    return {row[0]: row for row in leaderboard_table(view)["metadata"]["display_value"]}


def test_a_row_shows_both_groups_and_its_command(found: AccuracyRecord) -> None:
    view = LeaderboardView(found, 0.1111, TITLES)
    table, rows = leaderboard_table(view), cells(view)
    assert table["headers"] == list(LEADERBOARD_HEADERS) and all(
        len(row) == len(LEADERBOARD_HEADERS) for row in table["data"]
    )
    kept, everything, fails, solves, where, only, other, p_value, command = rows["VScan"][1:]
    assert (kept, fails) == ("64", "70.0 (60.0 to 80.0)") and everything == "83.0 (80.0 to 86.0)"
    assert solves.startswith("83.0") and (only, other, p_value) == ("40", "7", "0.0002")
    assert where == rows["all tokens"][5] == rows["Downsample"][5] == "40.0 (30.0 to 50.0)"
    assert command == "vscan eval --task world --method vscan"
    assert rows["all tokens"][2].startswith("90.0") and rows["all tokens"][-1].endswith("--method baseline")
    nothing = [formatting.NOTHING]
    assert rows["Downsample"][3:5] == nothing * 2 and rows["Downsample"][6:9] == nothing * 3  # it decides the groups
    assert table["data"][1][3] == pytest.approx(0.7)  # plain numbers, so that columns sort


def test_the_best_where_downsample_fails_comes_first(found: AccuracyRecord) -> None:
    names = list(cells(LeaderboardView(found, 0.1111, TITLES)))
    assert names[:5] == ["all tokens", "VScan", "divprune", "VisionZip", "prumerge"] and names[-1] == "Downsample"
    values = [row.scores[ALL].accuracy for row in LeaderboardView(found, 0.5, TITLES).rows]
    assert values == sorted(values, reverse=True)  # too few questions there: by all of them


def test_too_few_questions_are_a_dash_with_its_reason(found: AccuracyRecord) -> None:
    view = LeaderboardView(found, 0.5, TITLES)
    assert cells(view)["VScan"][3] == formatting.NOTHING and cells(view)["VScan"][6] == "40"
    notes = leaderboard_notes(view)
    assert f"{formatting.NOTHING} too few: 15 of at least 20 questions, 9 of at least 10 pictures." in notes
    assert "Downsample fails on 15 of them and is right on 200" in notes
    assert "too few" not in leaderboard_notes(LeaderboardView(found, 0.1111, TITLES))
    assert "Out of reach on this model: FastV." in leaderboard_notes(LeaderboardView(found, 0.0278, TITLES))
    assert "Not in this record" not in leaderboard_notes(LeaderboardView(found, 0.0278, TITLES))
    newer = LeaderboardView(found, 0.0278, TITLES | {"scope": "SCOPE"})
    assert "Not in this record: SCOPE." in leaderboard_notes(newer)


def test_rows_that_joined_later_say_when(tmp_path: Path) -> None:
    path = recorded.write(tmp_path) / "accuracy_mini.json"
    data = json.loads(path.read_text())
    place = {"date": "2026-12-24", "hardware": "CPU Z, 2 cores", "commit": "0123456789abcdef"}
    data["rows"] = [row | {"measured": place} if row["method"] == "fastv" else row for row in data["rows"]]
    path.write_text(json.dumps(data))
    sentence = "Measured later (2026-12-24, CPU Z, 2 cores, commit 0123456789): FastV."
    found = read_record(path)
    assert sentence in accuracy.table_notes(found, ALL, TITLES)
    assert sentence in leaderboard_notes(LeaderboardView(found, found.retentions[0], TITLES))


def test_a_record_without_a_filter_says_so(tmp_path: Path) -> None:
    found = accuracy_records("accuracy", recorded.write(tmp_path))[0]
    view = LeaderboardView(found, telling(found), TITLES)
    assert NO_FILTER in leaderboard_notes(view) and cells(view)["VScan"][3:] == [formatting.NOTHING] * 6 + [""]
    assert LOCATION_NOTE not in leaderboard_notes(view)  # nor are there groups of types
    assert telling(found) == 0.1111 and FAILS not in found.kinds


def test_the_groups_are_also_kinds_of_questions_of_the_curves(found: AccuracyRecord) -> None:
    assert found.kinds == [ALL, FAILS, SOLVES, LOCATION_KIND, "count", "colour"]
    lines = accuracy.accuracy_lines(accuracy.AccuracyView(found, FAILS, ["vscan"], TITLES))
    vscan = next(line for line in lines if line.name == "VScan")
    assert [point.retention for point in vscan.points] == [0.2222, 0.1111, 0.0556, 0.0278]
    table = accuracy.accuracy_table(found, FAILS, TITLES)["metadata"]["display_value"]
    assert table[0][:2] == ["VScan", formatting.NOTHING] and table[0][5] == "70.0 (60.0 to 80.0)"
    notes = accuracy.table_notes(found, FAILS, TITLES)
    assert "Questions: 15 at 100 % (too few), 15 at 50 % (too few)" in notes and "60 at 11.1 %," in notes
    assert accuracy.FILTER_NOTE in notes and accuracy.FILTER_NOTE not in accuracy.table_notes(found, ALL, TITLES)
    lines_of = list(csv.DictReader(io.StringIO(accuracy.record_as_csv(found).decode())))
    assert [line["n"] for line in lines_of if line["questions"] == FAILS and line["method"] == "vscan"] == ["60"] * 4
    whole = next(line for line in lines_of if line["method"] == "vscan" and line["questions"] == ALL)
    assert (whole["only_method"], whole["p_against_downsample"]) == ("40", "0.0002")
    assert whole["command"].endswith("--method vscan")


def test_the_tab_follows_its_menus(found: AccuracyRecord, tmp_path: Path) -> None:
    with gr.Blocks():
        section, curves = LeaderboardTab(TITLES, tmp_path), AccuracyTab(TITLES, tmp_path)
    table, notes = section.on_share("mini, world", "0.5")
    assert table["value"]["metadata"]["display_value"][1][3] == formatting.NOTHING and "too few" in notes
    menu, source, table, notes = section.on_leaderboard("mini, world")
    assert menu["value"] == "0.1111" and "`mini`" in source and "too few" not in notes
    assert len(table["value"]["data"]) == 1 + len(recorded.STRENGTH)
    _, update, _ = curves.on_change("mini, world", FAILS, ["vscan"])
    assert update["value"]["metadata"]["display_value"][0][5].startswith("70.0")


def test_what_is_shipped_has_both_groups_and_a_command_in_every_row() -> None:
    for found in accuracy_records("accuracy"):
        rows = LeaderboardView(found, telling(found), TITLES).rows
        assert all(row.command for row in rows) and found.again["dense"] and found.again["floor"]
        assert all(FAILS in row.scores and SOLVES in row.scores for row in rows if row.method != "downsample")
        assert all(LOCATION_KIND in row.scores for row in rows) and LOCATION_KIND in found.levels["dense"]
    for found in accuracy_records("ablations"):
        assert found.kinds[:4] == [ALL, FAILS, SOLVES, LOCATION_KIND]
        shown = ablation_table(AblationView(found, FAILS, 0.1111))["metadata"]["display_value"]
        assert len(shown) == len(found.rows) and all(row[-1].startswith("vscan eval ") for row in shown)
