"""The Benchmarks tab: records are read, drawn and written out as they are; what is missing or broken is told."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app import formatting
from app.benchmarks import ablations, accuracy, speed
from app.benchmarks.ablations_tab import AblationsTab
from app.benchmarks.accuracy_tab import AccuracyTab
from app.benchmarks.page import BenchmarksPage
from app.benchmarks.papers_tab import PapersTab
from app.benchmarks.records import ALL, AccuracyRecord, accuracy_records, read_record, source_line
from app.benchmarks.speed_tab import SpeedTab
from app.charts.curves import Level, Line, Point, curve_chart
from app.charts.intervals import Interval, interval_chart
from app.session.session import Session
from tests.app import recorded
from tests.app.fake import FakeEngine
from vscan_core.errors import InputError

TITLES = {"vscan": "VScan", "fastv": "FastV", "visionzip": "VisionZip"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return recorded.write(tmp_path)


@pytest.fixture
def found(folder: Path) -> AccuracyRecord:
    return accuracy_records("accuracy", folder)[0]


def page_text(blocks: gr.Blocks) -> str:
    return " ".join(str(block.value) for block in blocks.blocks.values() if isinstance(block, gr.Markdown))


def test_a_record_is_read_as_it_was_written(found: AccuracyRecord) -> None:
    assert found.methods == list(recorded.STRENGTH) and found.kinds == [ALL, "count", "colour"]
    assert found.retentions == list(recorded.SHARES)
    vscan = next(row for row in found.rows if row.method == "vscan" and row.retention == 0.1111)
    value = 0.9 - 0.1 * (1 - 0.1111) ** 3
    assert vscan.scores[ALL].accuracy == pytest.approx(value) and vscan.scores["count"].accuracy < value
    assert vscan.kept == pytest.approx(64, abs=0.1) and found.levels["majority"]["count"].accuracy == 0.35


def test_the_source_line_says_all_that_was_recorded(found: AccuracyRecord) -> None:
    line = source_line(found.facts)
    pieces = (
        "Measured by this project",
        "`mini`",
        "weights 01234567",
        "300 questions about 30 pictures",
        "seed 7",
        "2 threads",
    )
    for piece in (*pieces, "torch 2.13.0", "2026-11-20", "commit feedface", "`python -m benchmarks.accuracy"):
        assert piece in line
    assert source_line({"hardware": "a laptop"}) == "**Measured by this project** · a laptop"


def test_every_method_is_a_line_and_the_chosen_stand_out(found: AccuracyRecord) -> None:
    lines = accuracy.accuracy_lines(accuracy.AccuracyView(found, ALL, ["vscan", "random"], TITLES))
    assert [line.name for line in lines if line.chosen] == ["VScan", "random"] and len(lines) == len(recorded.STRENGTH)
    figure = curve_chart(lines, accuracy.accuracy_levels(found, ALL), "accuracy (%)")
    vscan = figure.data[-1]
    assert vscan.name == "VScan" and vscan.line.width == max(trace.line.width or 0 for trace in figure.data)
    band = figure.data[-2]
    assert band.fill == "toself" and max(band.y) == pytest.approx(93) and list(vscan.y)[0] == pytest.approx(90)
    random = next(trace for trace in figure.data if trace.name == "random")
    assert random.line.dash and random.error_y.array[0] == pytest.approx(3)
    fastv = next(line for line in lines if line.name == "FastV")
    assert len(fastv.points) == len(recorded.SHARES) - 1  # it does not reach the last budget
    assert not next(trace for trace in figure.data if trace.name == "FastV").showlegend


def test_dense_floor_and_majority_are_drawn_for_each_type(found: AccuracyRecord) -> None:
    levels = {level.name: level for level in accuracy.accuracy_levels(found, "colour")}
    assert levels["all tokens"].value == pytest.approx(93) and levels["commonest answer"].value == pytest.approx(42)
    assert [level.above for level in levels.values()] == [True, False, True]  # the lowest has its name below
    figure = curve_chart([], list(levels.values()), "accuracy (%)")
    assert len(figure.layout.shapes) == 3 and "no picture 48.0" in [each.text for each in figure.layout.annotations]


def test_the_table_has_intervals_marks_and_dashes(found: AccuracyRecord) -> None:
    table = accuracy.accuracy_table(found, ALL, TITLES)
    rows = {row[0]: row for row in table["metadata"]["display_value"]}
    assert table["headers"] == ["Method", "100 %", "50 %", "33.3 %", "22.2 %", "11.1 %", "5.6 %", "2.8 %"]
    assert rows["VScan"][1] == "90.0 (87.0 to 93.0)" and rows["FastV"][7] == formatting.NOTHING
    assert rows["random"][7].endswith("†") and "†" not in rows["VScan"][7]
    assert table["data"][0][1] == pytest.approx(0.9)  # plain numbers, so that columns sort
    notes = accuracy.table_notes(found, ALL, TITLES)
    assert "Out of reach on this model: FastV at 2.8 %." in notes and "commonest answer 40.0" in notes
    assert "†" not in str(accuracy.accuracy_table(found, "count", TITLES))  # the test was made over all questions


def test_the_csv_has_every_number(found: AccuracyRecord) -> None:
    lines = list(csv.DictReader(io.StringIO(accuracy.record_as_csv(found).decode())))
    assert len(lines) == 3 * (len(recorded.STRENGTH) * len(recorded.SHARES) - 1) + 1 + 3 * 3
    refused = [line for line in lines if line["refused"]]
    assert len(refused) == 1 and refused[0]["method"] == "fastv" and refused[0]["accuracy"] == ""
    assert {line["method"] for line in lines} >= {"dense", "floor", "majority"}


def test_sections_follow_their_menus(folder: Path) -> None:
    with gr.Blocks():
        section, ablations = AccuracyTab(TITLES, folder), AblationsTab(folder)
    figure, table, notes = section.on_change("mini, world", "count", ["grid"])
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == ["grid"]
    assert table["value"]["metadata"]["display_value"][0][1].startswith("85.0") and "no picture 40.0" in notes
    assert len(section.on_record("mini, world")) == 8
    figure, table = ablations.on_change(ALL, str(0.1111))
    assert [row[:2] for row in table["value"]["data"]][2] == ["merging", "off"]
    colours = [colour for trace in figure.data for colour in trace.marker.color]
    assert len(colours) == 4 and len(set(colours)) == 2 and len(set(colours[1:])) == 1
    assert figure.layout.shapes[0].x0 == pytest.approx(83)  # the line to compare with


def test_files_that_can_be_saved_are_the_record_and_its_table(folder: Path) -> None:
    with gr.Blocks() as page:
        AccuracyTab(TITLES, folder)
    buttons = [block for block in page.blocks.values() if isinstance(block, gr.DownloadButton)]
    saved = [Path(button.value.path if hasattr(button.value, "path") else button.value["path"]) for button in buttons]
    assert [path.name for path in saved] == ["accuracy_mini.json", "accuracy_mini.csv"]
    assert saved[0].read_bytes() == (folder / "accuracy_mini.json").read_bytes()


def test_ablations_are_grouped_by_part(folder: Path) -> None:
    found = accuracy_records("ablations", folder)[0]
    groups = ablations.ablation_groups(ablations.AblationView(found, ALL, 0.1111))
    assert [(name, [each.name for each in found]) for name, found in groups] == [
        ("VScan as published", ["all parts"]), ("merging", ["on", "off"]), ("layer of the second cut", ["layer 2"])
    ]  # fmt: skip
    figure = interval_chart(groups, "accuracy (%)")
    assert list(figure.layout.yaxis.ticktext)[:2] == ["<b>VScan as published</b>", "all parts"]
    assert list(figure.layout.yaxis.range) == [6.5, -0.5]  # headings have no values, but their room


def test_what_is_not_recorded_is_told_with_its_command(tmp_path: Path) -> None:
    with gr.Blocks() as page:
        BenchmarksPage(Session(FakeEngine()), [], tmp_path)
    text = page_text(page)
    assert "`python -m benchmarks.accuracy`" in text and "assets/recorded/accuracy_mini.json" in text
    assert "`assets/recorded/ablations_mini.json`" in text and "not measured by this project" in text


@pytest.mark.parametrize("content", ["no json", "[]", '{"rows": [{"method": "vscan"}]}', '{"rows": 3}'])
def test_a_broken_record_is_one_sentence_on_the_page(tmp_path: Path, content: str) -> None:
    (tmp_path / "accuracy_mini.json").write_text(content)
    with pytest.raises(InputError, match=r"accuracy_mini.json is damaged"):
        read_record(tmp_path / "accuracy_mini.json")
    with gr.Blocks() as page:
        BenchmarksPage(Session(FakeEngine()), [], tmp_path)
    assert "install this package again" in page_text(page)


def shown(record: speed.SpeedRecord) -> list[list[str]]:
    """The table as it is written."""
    rows: list[list[str]] = record.table["metadata"]["display_value"]
    return rows


def test_the_speed_records_of_this_repository_can_be_shown() -> None:
    found = speed.speed_records(titles=TITLES)
    mini = found["prefill-mini-cpu"]
    assert mini.facts["command"] in source_line(mini.facts) and len(mini.figure.data) == 5  # four curves and a band
    assert shown(mini)[3][:2] == ["11.1 %", "96 → 32"] and mini.table["data"][3][2] > 1
    selection = found["selection-cpu"]
    assert len(selection.figure.data) == 2 and {row[0] for row in shown(selection)} >= {"VScan", "VisionZip"}
    with gr.Blocks():
        section = SpeedTab(found)
    figure, note, source, table = section.on_change("selection-cpu")
    assert figure is selection.figure and "selecting" in note and "benchmarks.selection" in source
    assert selection.facts["flops"] in selection.note and mini.facts["flops"] in mini.note
    assert table["value"]["headers"][0] == "Method"


def test_peak_memory_is_shown_by_model(tmp_path: Path) -> None:
    sizes = {"baseline": (400, 900), "1/3": (250, 700), "1/9": (200, 650)}
    rows = [
        {
            "model": "dummy:x",
            "bytes": {name: {"tensors": a << 20, "process": b << 20} for name, (a, b) in sizes.items()},
        }
    ]
    (tmp_path / "peak-cpu.json").write_text(json.dumps({"command": "python -m benchmarks.peak", "rows": rows}))
    found = speed.speed_records(tmp_path)["peak-cpu"]
    assert shown(found)[0] == ["dummy:x", "baseline", "400.0 MiB", "900.0 MiB"] and shown(found)[2][1] == "11.1 %"
    assert list(found.figure.data[0].x) == [400, 250, 200]


def serving_row(run: str, at_once: int, number: int, rate: float, **more: Any) -> str:
    method, share = (None, 1.0) if run == "dense" else (run.split()[0], float(run.split()[1]))
    times = {name: {"p50": 1000 / rate, "p95": 2000 / rate} for name in ("ttft_ms", "total_ms")}
    row = {"test": "serving", "model": "mini", "server": "vLLM 0.32.0", "run": run, "method": method} | times
    row |= {"retention": share, "round": number, "concurrency": at_once, "status": "ok", "requests_per_s": rate}
    return json.dumps(row | {"visual_tokens": round(576 * share), "command": "vscan bench serving"} | more)


def test_a_load_curve_is_drawn_and_compared_within_each_round(tmp_path: Path) -> None:
    lines = [
        serving_row("dense", 1, 0, 2.0), serving_row("vscan 0.125", 1, 0, 4.0),
        serving_row("dense", 1, 1, 1.0), serving_row("vscan 0.125", 1, 1, 3.0),
        serving_row("dense", 16, 0, 2.0), serving_row("vscan 0.125", 16, 0, 1.0),
        serving_row("fastv 0.500", 1, 0, 9.0, status="unsupported", reason="cannot"),
        '{"test": "serving", "cut off',
    ]  # fmt: skip
    (tmp_path / "serving-cpu.jsonl").write_text("\n".join(lines))
    found = speed.speed_records(tmp_path, TITLES)["serving-cpu"]
    assert found.title == "A server under load: mini on vLLM 0.32.0" and "vscan bench serving" in source_line(
        found.facts
    )
    rows, x = {(row[0], row[1]): row for row in shown(found)}, formatting.TIMES
    assert rows["VScan, 12.5 %", "1"][2:5] == ["72", "3.5 (3 to 4)", f"2.50 {x} (2.00 {x} to 3.00 {x})"]
    assert rows["VScan, 12.5 %", "16"][3:6] == ["1", f"0.50 {x}", "1.00 s"] and rows["dense", "16"][2] == "576"
    assert len(rows) == 4, "what was refused has no figures"
    rate, median, late = (trace for trace in found.figure.data if trace.name == "VScan, 12.5 %")
    assert list(rate.x) == [1, 16] and list(rate.y) == [3.5, 1.0] and list(late.y) == [2 * each for each in median.y]


def test_a_load_curve_without_figures_is_left_out(tmp_path: Path) -> None:
    refused = serving_row("dense", 1, 0, 1.0, status="failed", reason="gone")
    (tmp_path / "serving-cpu.jsonl").write_text(f"{refused}\n")
    assert speed.speed_records(tmp_path) == {}


def test_speed_records_that_are_unknown_or_broken_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "prefill-x.json").write_text("{")
    (tmp_path / "other-x.json").write_text(json.dumps({"rows": []}))
    assert speed.speed_records(tmp_path) == {}
    with gr.Blocks() as page:
        SpeedTab({})
    assert "benchmarks.prefill" in page_text(page)


def test_the_published_tables_follow_their_menus() -> None:
    with gr.Blocks():
        section = PapersTab()
    titles, column, box, figure, source, table = section.on_model("Qwen2.5-VL-7B")
    assert titles["value"] == "VScan, FastV and PyramidDrop" and column["value"] == "MMB" and box["visible"]
    assert "Tables A5 to A7" in source and table["value"]["headers"][0] == "Tokens kept"
    assert figure.data[-1].name == "VScan" and figure.layout.yaxis.title.text == "MMB, as reported"
    flat: Any = section.on_table("LLaVA-1.5-7B", "Ablation: the layer of the second cut")
    assert not flat[0]["visible"] and flat[2] is None and flat[4]["value"]["headers"][0] == "Setting"
    assert section.on_column("LLaVA-1.5-7B", "VScan and others on nine benchmarks", "POPE")[section.plots[0]].data


def test_bars_of_different_methods_stand_apart_and_certain_ones_do_not() -> None:
    sure = [Line("a", [Point(0.5, 1, 1, 1)]), Line("b", [Point(0.5, 1, 1, 1)])]
    unsure = [Line("a", [Point(0.5, 1, 0, 2)]), Line("b", [Point(0.5, 1, 0, 2)])]
    assert [trace.x[0] for trace in curve_chart(sure, [], "y").data] == [0.5, 0.5]
    left, right = (trace.x[0] for trace in curve_chart(unsure, [Level("c", 1.0)], "y").data)
    assert left < 0.5 < right


def test_charts_have_no_colours_that_fight_the_theme() -> None:
    for figure in (curve_chart([], [], "y"), interval_chart([("", [Interval("a", 1, 0, 2)])], "x", log=True)):
        background = json.loads(figure.to_json())["layout"]
        assert background["paper_bgcolor"] == background["plot_bgcolor"] == "rgba(0,0,0,0)"


def test_what_is_shipped_can_be_shown() -> None:
    for prefix in ("accuracy", "ablations"):
        for found in accuracy_records(prefix):
            assert set(found.levels) == {"dense", "floor", "majority"} and found.rows, found.path.name
