"""All methods at one retention, on the questions that a smaller picture no longer answers and on the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import formatting
from ..ui.dataframe import Cell, dataframe_value, text_cell
from .accuracy import FILTER_NOTE, LEVEL_TITLES, written
from .records import ALL, FAILS, FILTERED_KINDS, SOLVES, AccuracyRecord, Row

LEADERBOARD_HEADERS = (
    *("Method", "Visual tokens", ALL, FAILS, SOLVES),
    *("Only this method", "Only Downsample", "p, against Downsample", "Command"),
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
        nothing: list[Cell] = [(None, formatting.NOTHING)] * (len(LEADERBOARD_HEADERS) - 4)
        whole = (dense[ALL].accuracy, written(dense[ALL]))
        title, command = text_cell(LEVEL_TITLES["dense"]), text_cell(view.record.again.get("dense", ""))
        cells.append([title, (None, formatting.NOTHING), whole, *nothing, command])
    for row in view.rows:
        title = text_cell(view.titles.get(row.method, row.method))
        kept = (row.kept, formatting.NOTHING if row.kept is None else formatting.count(row.kept))
        groups = [_score_cell(row, kind) for kind in (ALL, *FILTERED_KINDS)]
        cells.append([title, kept, *groups, *_paired_cells(row), text_cell(row.command)])
    return dataframe_value(LEADERBOARD_HEADERS, cells)


def _score_cell(row: Row, kind: str) -> Cell:
    if kind not in row.scores:
        return None, formatting.NOTHING
    return row.scores[kind].accuracy, written(row.scores[kind])


def _paired_cells(row: Row) -> list[Cell]:
    pair = row.paired
    if pair is None:
        return [(None, formatting.NOTHING)] * 3
    counts: list[Cell] = [(number, formatting.count(number)) for number in (pair.only_method, pair.only_downsample)]
    return [*counts, (pair.p_value, f"{pair.p_value:.2g}")]


def leaderboard_notes(view: LeaderboardView) -> str:
    """How to read the table, and which cells are empty for which reason, as Markdown."""
    found = ["Accuracy in %, with 95 % intervals. The dots beside a heading sort the table."]
    measured = {row.method for row in view.record.rows}
    if newer := [title for name, title in view.titles.items() if name not in measured]:
        found.append(f"Not in this record: {', '.join(newer)}.")
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
