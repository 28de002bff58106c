"""The published tables: complete, sourced, and their averages follow from their rows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from app import formatting
from app.benchmarks.released import CODE_NOTE, STATUSES, release_of, released_code
from app.benchmarks.reported import (
    CODE_HEAD,
    DENSE_ROW,
    ReportedTable,
    ReportedView,
    reported_cells,
    reported_curves,
    reported_levels,
    reported_lines,
    reported_tables,
    source_note,
)
from vscan_core import REDUCERS
from vscan_core.measure import prefill_tflops

TABLES = [(model, table) for model, tables in reported_tables().items() for table in tables.values()]
ODD = {("Grounding: RefCOCO, RefCOCO+, RefCOCOg", "25 %", "VisionZip")}  # its table says so
# averages of ratios to a known row of the unreduced model can be recomputed
AVERAGED = [
    (model, table)
    for model, table in TABLES
    if "Average" in table.columns and table.dense is not None and "mean of the" in table.unit
]


def find(model: str, title: str) -> ReportedTable:
    return reported_tables()[model][title]


def test_the_models_of_the_paper_are_there() -> None:
    models = {"LLaVA-1.5-7B", "LLaVA-NeXT-7B", "Qwen2.5-VL-3B", "Qwen2.5-VL-7B", "Qwen2.5-VL-32B", "Video-LLaVA-7B"}
    assert models <= set(reported_tables()) and next(iter(reported_tables())) == "LLaVA-1.5-7B"
    assert next(iter(reported_tables()["LLaVA-1.5-7B"].values())).source.startswith("VScan paper")


@pytest.mark.parametrize(("model", "table"), TABLES, ids=lambda each: getattr(each, "title", each))
def test_a_table_is_whole_and_names_its_source(model: str, table: ReportedTable) -> None:
    assert table.source and table.unit and table.groups
    assert table.dense is None or len(table.dense) == len(table.columns)
    for group in table.groups:
        assert group.retention is None or 0 < group.retention < 1
        assert len(group.facts) == len(table.facts)
        for method, values in group.rows.items():
            assert len(values) == len(table.columns), (group.kept, method)
    shown = reported_cells(table)
    assert len(shown["data"]) == bool(table.dense) + sum(len(group.rows) for group in table.groups)
    assert table.source in source_note(table) and all(note in source_note(table) for note in table.notes)


DECODERS = {  # the language models of these tables: width, layers, MLP width
    "LLaVA-1.5-7B": (4096, 32, 11008),
    "LLaVA-NeXT-7B": (4096, 32, 11008),
    "LLaVA-NeXT-13B": (5120, 40, 13824),
}


@pytest.mark.parametrize(
    ("model", "title", "tokens", "operations"),  # operations that a multiply-add counts as
    [
        ("LLaVA-1.5-7B", "Cost on POPE, the whole benchmark", 576, 1),
        ("LLaVA-NeXT-7B", "Cost on POPE, the whole benchmark", 2880, 1),
        ("LLaVA-NeXT-7B", "Cost of several methods at the same FLOPs", 2880, 2),
        ("LLaVA-NeXT-13B", "Cost of several methods at the same FLOPs", 2880, 2),
    ],
)
def test_papers_count_attention_in_full(model: str, title: str, tokens: int, operations: int) -> None:
    table = find(model, title)
    width, layers, mlp = DECODERS[model]
    config = SimpleNamespace(hidden_size=width, num_attention_heads=layers, intermediate_size=mlp)  # heads of 128
    counts = [tokens] * layers
    full, causal = (prefill_tflops(counts, config, causal=each) * operations / 2 for each in (False, True))
    assert table.dense is not None
    printed = table.dense[table.columns.index("FLOPs (T)")]
    assert printed == pytest.approx(full, rel=2e-3) and printed != pytest.approx(causal, rel=2e-3)
    assert "attention in full" in source_note(table)


@pytest.mark.parametrize(("model", "table"), AVERAGED, ids=lambda each: getattr(each, "title", each))
def test_averages_follow_from_their_rows(model: str, table: ReportedTable) -> None:
    """A wrong digit in a row moves its average; printed values are rounded, and ratios of rounded values differ."""
    place = table.columns.index("Average")
    for group in table.groups:
        for method, values in group.rows.items():
            pairs = zip(values, table.dense, strict=True)
            ratios = [a / b for column, (a, b) in enumerate(pairs) if column != place and a is not None and b]
            if ratios:
                follows = 100 * sum(ratios) / len(ratios) == pytest.approx(values[place], abs=0.12)
                assert follows != ((table.title, group.kept, method) in ODD), (group.kept, method)


def test_known_numbers_are_where_they_belong() -> None:
    table = find("LLaVA-1.5-7B", "VScan and others on nine benchmarks")
    by_share = {
        point.retention: point.value for line in reported_lines(table, "Average") if line.ours for point in line.points
    }
    assert by_share == {0.3333: 99.0, 0.2222: 98.8, 0.1111: 96.7}
    assert reported_levels(table, "POPE")[0].value == 85.9
    qwen = find("Qwen2.5-VL-7B", "VScan, FastV and PyramidDrop")
    assert [point.value for line in reported_lines(qwen, "MMB") if line.ours for point in line.points] == [
        82.56, 80.67, 80.50, 76.89
    ]  # fmt: skip


def test_a_curve_needs_two_budgets() -> None:
    assert find("LLaVA-1.5-7B", "VScan and others on nine benchmarks").drawable
    assert not find("Video-LLaVA-7B", "VScan and others on four video benchmarks").drawable
    assert not find("LLaVA-1.5-7B", "Ablation: the layer of the second cut").drawable


def test_missing_values_are_dashes_and_leave_gaps() -> None:
    table = find("LLaVA-1.5-7B", "VScan and others on nine benchmarks")
    tome = reported_cells(table)["metadata"]["display_value"][1]
    assert tome[:3] == ["192 of 576", "ToMe", "not run"] and tome[5] == formatting.NOTHING and tome[10] == "52.1"
    assert "ToMe" not in {line.name for line in reported_lines(table, "VizWiz")}
    figure = reported_curves(ReportedView(table, "Average"))
    assert figure.data[-1].name == "VScan" and figure.data[-1].error_y.array is None


def test_the_survey_lists_trained_models_by_language_model_data_and_tokens() -> None:
    table = find("Models trained with fewer tokens", "Trained models by language model, data and visual tokens")
    shown = reported_cells(table)
    rows = shown["metadata"]["display_value"]
    assert shown["headers"][:5] == ["Visual tokens", "Method", *table.facts] and CODE_HEAD not in shown["headers"]
    assert [row[1] for row in (rows[0], rows[-1])] == ["MobileVLM V2", "LLaVA-Meteor"] and len(rows) == 20
    assert rows[-1][:5] == ["about 56", "LLaVA-Meteor", "Vicuna-13B", "595K / 665K", "Survey"]
    assert all(row[4].startswith("Survey") for row in rows) and CODE_NOTE not in source_note(table)
    for group in table.groups:  # a wrong digit in a whole row moves its average
        for values in group.rows.values():
            *given, average = values
            if None not in given:
                assert sum(value or 0 for value in given) / len(given) == pytest.approx(average, abs=0.07)


@pytest.mark.parametrize(("model", "table"), TABLES, ids=lambda each: getattr(each, "title", each))
def test_a_table_of_methods_says_of_each_whether_its_released_code_runs(model: str, table: ReportedTable) -> None:
    names = {name for group in table.groups for name in group.rows}
    shown = reported_cells(table)
    assert (CODE_HEAD in shown["headers"]) == (CODE_NOTE in source_note(table)) == any(map(release_of, names))
    if any(map(release_of, names)):
        assert all(map(release_of, names)), names
        found = {row[1]: row[2] for row in shown["metadata"]["display_value"]}
        assert found.pop(DENSE_ROW, formatting.NOTHING) == formatting.NOTHING and set(found.values()) <= set(STATUSES)
    else:
        assert "Ablation" in table.title or model.startswith("Models trained")


def test_released_code_has_a_status_and_a_sentence_for_every_method() -> None:
    assert {cls.title for cls in REDUCERS.own.values() if cls.paper} <= set(released_code())
    for each in released_code().values():
        assert each.status in STATUSES and each.found[0].isupper() and not each.found.endswith(".")
        assert each.where or each.status in ("none", "not run")
    plus, only_llm = release_of("PruMerge+"), release_of("PIO-FVLM, only in the LLM")
    assert plus == released_code()["PruMerge"] and only_llm and only_llm.told.startswith("none: The README")
    assert release_of("layer 12") is None
