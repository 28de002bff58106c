"""The demo's engine and `vscan bench serving` in front of a real server."""

from __future__ import annotations

from contextlib import closing

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from app.session.remote import RemoteEngine
from tests.vllm.asking import TOKENS, expected, mini, opened, questions
from tests.vllm.serving import server
from vscan_core import Done, InputError, Prefilled, Token
from vscan_core.bench.record import rows_of
from vscan_core.chat_server import find_chat_server
from vscan_core.cli.main import main

COUNT = 5
SHARES = {"vscan": 1 / 6, "divprune": 1 / 4}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with server(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(scope="module")
def engine(address) -> RemoteEngine:
    return RemoteEngine(find_chat_server(address), patience_s=120)


def asked(engine: RemoteEngine, place: int, name: str | None) -> list:
    lvlm, item = mini(), questions(COUNT)[place]
    inputs = engine.inputs(lvlm, opened(item), item.question)
    reducer = None if name is None else engine.reducer(lvlm, name, SHARES[name])
    with closing(engine.run(lvlm, inputs, engine.encode(lvlm, inputs), reducer, 32)) as events:
        return list(events)


@pytest.mark.parametrize("name", [None, *SHARES])
def test_answers_counts_and_map_agree_with_the_library(engine, name) -> None:
    settings = None if name is None else {"method": name, "retention": SHARES[name]}
    known = expected(settings, questions(COUNT))
    for place in range(COUNT):
        first, *tokens, last = asked(engine, place, name)
        assert isinstance(first, Prefilled) and tokens and all(isinstance(one, Token) for one in tokens)
        assert isinstance(last, Done) and last.answer.text == known[place] and last.answer.finished
        counts, kept = set(last.answer.trace.visual_tokens_per_layer), len(last.answer.trace.images[0].kept)
        assert counts == {kept} == {TOKENS if name is None else round(TOKENS * SHARES[name])}
        assert not any("counted" in sentence or "cache" in sentence for sentence in last.answer.server)


def test_the_same_question_again_is_work_again(engine) -> None:
    for _ in range(2):
        *_, last = asked(engine, 0, None)
        assert not any("cache" in sentence for sentence in last.answer.server)


def test_its_refusal_is_repeated_and_it_goes_on(engine) -> None:
    lvlm, item = mini(), questions(COUNT)[0]
    inputs = engine.inputs(lvlm, opened(item), item.question)
    fastv = engine.reducer(lvlm, "fastv", 0.7)
    with pytest.raises(InputError, match=r"^The server refused: .*FastV cuts inside the language model"):
        list(engine.run(lvlm, inputs, engine.encode(lvlm, inputs), fastv, 8))
    assert len(asked(engine, 0, "divprune")) > 2


def test_the_load_curve(address, tmp_path) -> None:
    record = tmp_path / "serving.jsonl"
    options = ["--methods", "vscan,trim", "--retentions", "0.25", "--concurrency", "1,2", "--rounds", "1"]
    given = ["bench", "serving", "--url", address, "--out", str(record), "--requests", "2", "--max-tokens", "4"]
    assert main([*given, *options]) == 0
    rows = rows_of(record)
    measured = [row for row in rows if row["status"] == "ok"]
    assert {(row["run"], row["concurrency"]) for row in measured} == {
        (run, at_once) for run in ("dense", "vscan 0.250") for at_once in (1, 2)
    }
    assert all(row["visual_tokens"] == (TOKENS if row["run"] == "dense" else 144) for row in measured)
    assert all(row["completion_tokens"] == 4 and row["cached_tokens"] == 0 for row in measured)
    assert [row["status"] for row in rows if row["run"] == "trim 0.250"] == ["unsupported"]
