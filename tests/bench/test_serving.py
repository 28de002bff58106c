"""`vscan bench serving` against a server that needs no model: what it asks, what it records, what it refuses."""

from __future__ import annotations

import json

import pytest

from tests.chat_stub import REFUSED, VISUAL, chat_stub
from vscan_core.bench.record import rows_of
from vscan_core.bench.serving import TimedReply, figures_of_batch, percentiles
from vscan_core.cli.main import main
from vscan_core.server_replies import TokenUsage


def bench(stub, record, *options: str) -> int:
    given = ["--url", stub.url, "--out", str(record), "--requests", "3", "--rounds", "2", *options]
    return main(["bench", "serving", *given])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    record = tmp_path_factory.mktemp("serving") / "record.jsonl"
    with chat_stub() as stub:
        options = ("--concurrency", "1,4", "--methods", "vscan,fastv", "--retentions", "0.125", "--max-tokens", "3")
        assert bench(stub, record, *options) == 0
    return rows_of(record), stub


def test_every_batch_is_a_row_with_its_counts(made) -> None:
    rows, _ = made
    measured = [row for row in rows if row["status"] == "ok"]
    assert len(measured) == 2 * 2 * 2, "rounds, concurrencies, and the two runs that the server can do"
    for row in measured:
        reduced = row["run"] == "vscan 0.125"
        assert row["visual_tokens"] == (72 if reduced else VISUAL) and row["completion_tokens"] == 3
        assert row["requests"] == max(3, 2 * row["concurrency"]) and row["requests_per_s"] > 0
        for name in ("ttft_ms", "total_ms"):
            assert 0 < row[name]["p50"] <= row[name]["p95"]
        assert {"hardware", "versions", "commit", "date", "command", "seed", "server", "model"} <= row.keys()
        assert row["versions"]["vllm"] == "0.32.0" and row["cached_tokens"] == 0


def test_what_the_server_cannot_run_is_said_once(made) -> None:
    (refused,) = [row for row in made[0] if row["status"] != "ok"]
    assert refused["run"] == "fastv 0.125" and refused["status"] == "unsupported"
    assert refused["reason"] == f"The server refused: {REFUSED}"


def test_so_many_at_once_and_every_picture_is_new(made) -> None:
    _, stub = made
    assert 1 < stub.most_at_once <= 4
    pictures = [body["messages"][0]["content"][0]["image_url"]["url"] for body in stub.bodies]
    assert len(set(pictures)) == len(pictures) == 2 * 2 * (3 + 8) + 3, "batches and one untimed question of each run"
    assert all(body["ignore_eos"] for body in stub.bodies), "so that every answer is as long"


def test_a_batch_in_which_a_request_fails_has_no_figures(tmp_path, capsys) -> None:
    with chat_stub() as stub:
        stub.fail_after = 4
        assert bench(stub, tmp_path / "r.jsonl", "--concurrency", "2", "--retentions", "0.5") == 0
    rows = rows_of(tmp_path / "r.jsonl")
    assert {row["status"] for row in rows[-2:]} == {"failed"} and "requests_per_s" not in rows[-1]
    assert "HTTP status 500" in rows[-1]["reason"] and "failed: " in capsys.readouterr().out


def test_a_run_that_is_cut_off_keeps_its_rows(tmp_path, monkeypatch) -> None:
    record = tmp_path / "r.jsonl"
    with chat_stub() as stub:
        with pytest.raises(KeyboardInterrupt):
            monkeypatch.setattr("vscan_core.cli.serving._show", _interrupting(2))
            bench(stub, record, "--concurrency", "1", "--retentions", "0.5")
    assert len(record.read_text().splitlines()) == 2 and all(json.loads(line) for line in record.open())


def _interrupting(rows: int):
    shown = []

    def show(row) -> None:
        shown.append(row)
        if len(shown) == rows:
            raise KeyboardInterrupt

    return show


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--concurrency", "0"), "at least 1"),
        (("--concurrency", "many"), "numbers separated by commas"),
        (("--retentions", "7"), "retention must be above 0"),
        (("--size", "big"), "width and height in pixels"),
        (("--requests", "0"), "--requests must be above 0"),
        (("--model", "other"), "the server has no model 'other'; choose one of mini"),
    ],
)
def test_bad_options_are_one_sentence_before_anything_is_asked(tmp_path, capsys, options, sentence) -> None:
    with chat_stub() as stub:
        assert bench(stub, tmp_path / "r.jsonl", *options) == 2
    assert sentence in capsys.readouterr().err and not stub.bodies


def test_hardware_elsewhere_has_to_be_named(capsys) -> None:
    assert main(["bench", "serving", "--url", "http://gpu.example:8000"]) == 2
    assert "say what the server runs on with --hardware" in capsys.readouterr().err


def test_percentiles_and_throughput() -> None:
    assert percentiles([float(n) for n in range(1, 21)]) == {"p50": 10.5, "p95": 19.0}
    replies = [TimedReply(100.0, 200.0, TokenUsage(108, 16, 96)), TimedReply(300.0, 400.0, TokenUsage(107, 16, 96, 5))]
    found = figures_of_batch(replies, 4.0)
    assert found["requests_per_s"] == 0.5 and found["tokens_per_s"] == 8.0
    assert found["visual_tokens"] == 96 and found["prompt_tokens"] == [107, 108] and found["cached_tokens"] == 5
