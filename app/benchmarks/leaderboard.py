"""All methods at one retention, on the questions that a smaller picture no longer answers and on the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import formatting
from ..ui.dataframe import Cell, dataframe_value, text_cell
from .accuracy import FILTER_NOTE, LEVEL_TITLES, written
from .records import ALL, FAILS, LOCATION_KIND, SOLVES, AccuracyRecord, Row, Score, measured_later

MEASURED_KINDS = (ALL, FAILS, SOLVES, LOCATION_KIND)
EMPTY_CELL: Cell = (None, formatting.NOTHING)
LEADERBOARD_HEADERS = (
    *("Method", "Visual tokens", *MEASURED_KINDS),
    *("Only this method", "Only Downsample", "p, against Downsample", "Command"),
)
LOCATION_NOTE = (
    f'"{LOCATION_KIND}" has only the questions about places: where a thing is, what is at a place, what is on a side. '
    "Places are words here: the embedded model prints no boxes. What real models lose on boxes is under Papers."
)
NO_FILTER = "This record was made without Downsample, so the questions cannot be divided."


@dataclass(frozen=True)
class LeaderboardView:
    """What of a record is shown."""

    record: AccuracyRecord
    retention: float
    titles: Mapping[str, str]  # of methods

    @property
    def rows(self) -> list[Row]:
        """Best first: on the questions that Downsample fails, or on all where these are too few."""
        known = [row for row in self.record.rows if row.retention == self.retention and ALL in row.scores]
        measure = FAILS if any(FAILS in row.scores for row in known) else ALL

        def reached(row: Row) -> list[float]:
            return [row.scores[kind].accuracy if kind in row.scores else -1.0 for kind in (measure, ALL)]

        return sorted(known, key=reached, reverse=True)


def leaderboard_table(view: LeaderboardView) -> dict[str, Any]:
    """The model with all tokens, then one row per method, as a value of a Dataframe."""
    dense = view.record.levels.get("dense")
    cells: list[list[Cell]] = []
    if dense is not None:
        title, command = text_cell(LEVEL_TITLES["dense"]), text_cell(view.record.again.get("dense", ""))
        groups = [_score_cell(dense, kind) for kind in MEASURED_KINDS]
        cells.append([title, EMPTY_CELL, *groups, *[EMPTY_CELL] * 3, command])
    for row in view.rows:
        title = text_cell(view.titles.get(row.method, row.method))
        kept = (row.kept, formatting.NOTHING if row.kept is None else formatting.count(row.kept))
        groups = [_score_cell(row.scores, kind) for kind in MEASURED_KINDS]
        cells.append([title, kept, *groups, *_paired_cells(row), text_cell(row.command)])
    return dataframe_value(LEADERBOARD_HEADERS, cells)


def _score_cell(scores: Mapping[str, Score], kind: str) -> Cell:
    return (scores[kind].accuracy, written(scores[kind])) if kind in scores else EMPTY_CELL


def _paired_cells(row: Row) -> list[Cell]:
    pair = row.paired
    if pair is None:
        return [EMPTY_CELL] * 3
    counts: list[Cell] = [(number, formatting.count(number)) for number in (pair.only_method, pair.only_downsample)]
    return [*counts, (pair.p_value, f"{pair.p_value:.2g}")]


def leaderboard_notes(view: LeaderboardView) -> str:
    """How to read the table, and which cells are empty for which reason, as Markdown."""
    found = ["Accuracy in %, with 95 % intervals. The dots beside a heading sort the table."]
    if any(LOCATION_KIND in row.scores for row in view.rows):
        found.append(LOCATION_NOTE)
    measured = {row.method for row in view.record.rows}
    if newer := [title for name, title in view.titles.items() if name not in measured]:
        found.append(f"Not in this record: {', '.join(newer)}.")
    found += measured_later(view.rows, view.titles)
    groups = next((row.filtered for row in view.rows if row.filtered), None)
    if groups is None:
        return " ".join([*found, NO_FILTER])
    fails, solves = groups[FAILS], groups[SOLVES]
    found += [
        FILTER_NOTE,
        f"With all tokens the model answers {fails.n + solves.n:,} of the questions: "
        f"Downsample fails on {fails.n:,} of them and is right on {solves.n:,}.",
        *(f"{formatting.NOTHING} too few: {group.too_few}." for group in groups.values() if group.too_few),
        '"Only" counts questions that one of the two answers and the other does not.',
        "The command in a row makes the row again.",
    ]
    refused = [row for row in view.record.rows if row.retention == view.retention and row.refused]
    if refused:
        names = ", ".join(view.titles.get(row.method, row.method) for row in refused)
        found.append(f"Out of reach on this model: {names}.")
    return " ".join(found)
