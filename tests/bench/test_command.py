"""`vscan bench` from end to end on the smallest suite: what it records is checked by work, not by time."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import vscan_core as vc
from vscan_core.bench import plots
from vscan_core.bench.record import rows_of
from vscan_core.bench.suites import ALL_TESTS, STATIC, SUITES
from vscan_core.catalog import MODELS
from vscan_core.cli import bench as command
from vscan_core.cli.main import main
from vscan_core.measure import prefill_tflops

KEPT = "vscan 0.111"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The record of one run with a model that exists and one that does not, and the page of its figures."""
    folder = tmp_path_factory.mktemp("bench")
    record, page = folder / "record.jsonl", folder / "figures.html"
    models = "mini,dummy:none"
    assert main(["bench", "--suite", "smoke", "--models", models, "--out", str(record), "--plot", str(page)]) == 0
    return rows_of(record), page.read_text()


@pytest.fixture(scope="module")
def rows(made):
    return made[0]


def row(rows, test: str, run: str, **more):
    wanted = {"test": test, "run": run, **more}
    (found,) = [one for one in rows if wanted.items() <= one.items()]
    return found


def test_every_row_says_where_it_comes_from(rows) -> None:
    assert {one["test"] for one in rows} == {*ALL_TESTS, "ceilings", "load"}
    for one in rows:
        assert {"status", "hardware", "versions", "seed", "commit", "dtype", "date", "command", "suite"} <= one.keys()
        assert one["status"] == "ok" or one["reason"]


def test_every_timed_figure_has_its_quartiles(rows) -> None:
    timed = [value for one in rows for name, value in one.items() if name.endswith("_ms")]
    assert timed and all(value["q1"] <= value["median"] <= value["q3"] and value["n"] == 2 for value in timed)


def test_what_cannot_be_loaded_is_a_row(rows) -> None:
    (missing,) = [one for one in rows if one.get("model") == "dummy:none"]
    assert missing["status"] == "unsupported" and "no random-weight model" in missing["reason"]


def test_the_work_of_a_prefill(rows, mini) -> None:
    found, config = row(rows, "prefill", KEPT), mini.model.config.text_config
    first, second = found["tokens"]
    text = first - 96
    assert second == text + 32 and found["visual_tokens"] == 576
    half = config.num_hidden_layers // 2
    assert found["tflops"] == prefill_tflops([first] * half + [second] * half, config)
    full = prefill_tflops([576 + text] * 2 * half, config)
    assert found["times_fewer_tflops"] == pytest.approx(full / found["tflops"], rel=1e-3)
    assert found["times_fewer_tflops_full"] > found["times_fewer_tflops"] > 6
    assert row(rows, "prefill", "stock")["tflops"] == row(rows, "prefill", "baseline")["tflops"] == full
    assert row(rows, "prefill", f"limit of {KEPT}")["tokens"] == found["tokens"]
    assert found["share_of_limit"]["n"] == found["times_faster"]["n"] == 2


def test_the_work_of_a_step(rows) -> None:
    reduced, as_long = row(rows, "decode", KEPT), row(rows, "decode", f"stock, cache as of {KEPT}")
    assert reduced["rows"] == 2 and reduced["kv_bytes"] == as_long["kv_bytes"]
    assert row(rows, "decode", "stock")["kv_bytes"]["median"] > 6 * reduced["kv_bytes"]["median"]
    stock, mine = row(rows, "counts", "stock"), row(rows, "counts", KEPT)
    assert mine["step_host_reads"] == stock["step_host_reads"]
    assert mine["step_operators"] <= 1.1 * stock["step_operators"]
    assert row(rows, "counts", "baseline")["prefill_operators"] <= 1.1 * stock["prefill_operators"]


def test_a_static_cache_sets_memory_aside_for_what_is_kept_and_for_the_steps(rows) -> None:
    room = {}
    for run in ("stock", "baseline", KEPT):
        growing, static = (row(rows, "modes", run, case=mode)["kv_bytes"]["median"] for mode in SUITES["smoke"].modes)
        assert growing == pytest.approx(row(rows, "memory", run)["kv_bytes"], rel=1e-3)
        room[run] = static - growing
    assert room["stock"] == room["baseline"] == pytest.approx(room[KEPT], rel=0.03)
    assert row(rows, "modes", KEPT, case=STATIC)["of_stock_in_this_mode"]["n"] == 2


def test_the_memory_of_a_prefill(rows) -> None:
    stock, baseline, mine = (row(rows, "memory", run) for run in ("stock", "baseline", KEPT))
    assert stock["kv_bytes"] == baseline["kv_bytes"]
    assert stock["kv_bytes"] / mine["kv_bytes"] == pytest.approx(mine["times_smaller_kv_bytes"], rel=1e-3)
    assert mine["times_smaller_kv_bytes"] > 6 and mine["times_smaller_peak_bytes"] > 1.5
    assert baseline["peak_bytes"] <= 1.05 * stock["peak_bytes"]


def test_cost_grows_with_the_pictures(rows) -> None:
    one, two = (row(rows, "sizes", "stock", case=f"pictures: {count}") for count in (1, 2))
    assert two["visual_tokens"] == 2 * one["visual_tokens"] == 1152 and two["tflops"] > 2 * one["tflops"]


def test_the_page_shows_every_figure(made) -> None:
    for title in (
        "times faster than stock",
        "One decoding step",
        "by cache and code",
        "Most memory held",
        "Operators of a prefill",
    ):
        assert title in made[1]
    assert "http-equiv" not in made[1] and 'src="http' not in made[1]  # no network


def test_nothing_to_draw(tmp_path) -> None:
    with pytest.raises(vc.InputError, match="no row that can be drawn"):
        plots.plot([{"test": "load", "status": "unsupported", "reason": "x"}], tmp_path / "page.html")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--size", "large"), "width and height in pixels"),
        (("--dtype", "int8"), "must be one of bfloat16"),
        (("--device", "nowhere"), "no device 'nowhere'"),
        (("--plot", "page.html"), "name one with --out"),
    ],
)
def test_bad_options_are_one_sentence(capsys, options, sentence) -> None:
    assert main(["bench", "--suite", "smoke", *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and sentence in printed.err and printed.err.count("\n") == 1


def test_the_suites_name_models_that_exist() -> None:
    for suite in SUITES.values():
        assert {*suite.models, *suite.growth} <= MODELS.keys() and hasattr(torch, suite.dtype)
        assert set(suite.tests) <= set(ALL_TESTS)
        assert suite.rounds >= 10 or suite in (SUITES["smoke"], SUITES["full-size"])
    assert SUITES["gpu"].most_tokens >= 20 * 576


@pytest.mark.parametrize(
    ("options", "there", "suite"),
    [([], True, "gpu"), ([], False, "cpu"), (["--device", "cpu"], True, "cpu"), (["--device", "cuda:1"], False, "gpu")],
)
def test_the_suite_follows_the_device(monkeypatch, options, there, suite) -> None:
    ran = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(command, "provenance", lambda *_: {"hardware": "x"})
    monkeypatch.setattr(command.torch, "empty", lambda *_, **__: None)
    monkeypatch.setattr(command, "Benchmark", lambda suite, device, *_: SimpleNamespace(run=lambda: ran.append(suite)))
    assert main(["bench", *options]) == 0
    assert ran == [SUITES[suite]]


def test_the_command_line_loads_no_plotly() -> None:
    code = "import sys, vscan_core.cli.main as m; m.parser(); assert 'plotly' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
