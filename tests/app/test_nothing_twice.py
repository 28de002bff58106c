"""Nothing is computed twice: one encoding for all runs on a picture, and a baseline that is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import nn

from app.arena.outputs import ARENA_TABLE
from app.arena.settings import arena_settings
from app.charts.first_token import first_token_chart
from app.runs.comparison import comparison_snapshots
from app.runs.export_json import runs_as_json
from app.runs.settings import stream_runs
from app.runs.turn_time import RunTime, turn_in_words, turn_time
from app.session.engine import Engine
from app.session.session import Session
from app.session.turn import KeptDone, OthersWait, Pair, PairStarts, TurnOver
from app.ui import html
from tests.app.conftest import MINI
from tests.app.fake import FakeEngine
from vscan_core.errors import InputError
from vscan_core.events import Done, Prefilled, Token
from vscan_core.multirun import Refused

QUESTION = "What is in the picture?"


@pytest.fixture(scope="module")
def mini_session() -> Session:
    if not (MINI / "config.json").is_file():
        pytest.skip("the embedded model is not in assets/mini")
    return Session(Engine())


@contextmanager
def encoder_runs(session: Session) -> Iterator[list[int]]:
    """One entry for each run of the first block of the vision encoder."""
    lvlm = session.model("mini")
    block = lvlm.family.vision_blocks(lvlm.family.vision_tower(lvlm.model))[0]
    first = next(module for module in block.modules() if isinstance(module, nn.Linear))
    runs: list[int] = []
    handle = first.register_forward_hook(lambda *_: runs.append(1))
    try:
        yield runs
    finally:
        handle.remove()


def shaded(folder: Path, shade: int) -> str:
    path = folder / f"{shade}.png"
    Image.linear_gradient("L").point(lambda value: (value + shade) % 256).convert("RGB").save(path)
    return str(path)


def arena(session: Session, picture: str, question: str = QUESTION, methods: list[str] | None = None) -> Any:
    """The last snapshot, and the settings."""
    settings = arena_settings(
        session, "mini", session.open(picture), question, 0.3, methods or list(session.engine.methods())
    )
    return list(stream_runs(session, session.open(picture), settings))[-1], settings


def test_all_methods_of_the_arena_share_one_run_of_the_encoder(mini_session: Session, tmp_path: Path) -> None:
    picture = shaded(tmp_path, 1)
    sharing = [name for name in mini_session.engine.methods() if name != "tome"]
    with encoder_runs(mini_session) as runs:
        now, _ = arena(mini_session, picture, methods=sharing)
        assert len(runs) == 1 and len([run for run in now.runs if run.answer]) > 10
        now, _ = arena(mini_session, picture, methods=["tome"])
        assert len(runs) == 3  # ToMe changes the encoder: a run to warm up, and its own
        arena(mini_session, picture, methods=["tome"])
        assert len(runs) == 4
    assert now.runs[0].answer["timings"]["vision_shared_ms"] > 0
    assert now.runs[1].answer["timings"]["vision_shared_ms"] == 0


def test_after_a_preview_nothing_encodes_the_picture_again(mini_session: Session, tmp_path: Path) -> None:
    picture = shaded(tmp_path, 2)
    with encoder_runs(mini_session) as runs:
        mini_session.preview("mini", picture, 0.1)
        assert len(runs) == 1
        for retention, method in ((0.3, "vscan"), (0.2, "divprune"), (0.1, "visionzip")):
            mini_session.preview("mini", picture, retention, method)
        for question in (QUESTION, "Is there a cat?"):
            list(mini_session.compare("mini", picture, question, 0.2))
        arena(mini_session, picture, methods=["vscan", "visionzip", "vispruner", "divprune", "random"])
        assert len(runs) == 1


def test_a_first_question_runs_the_encoder_once_because_loading_warms_up(tmp_path: Path) -> None:
    if not (MINI / "config.json").is_file():
        pytest.skip("the embedded model is not in assets/mini")
    session = Session(Engine())
    with encoder_runs(session) as runs:
        calls: list[int] = []
        handle = session.model("mini").model.lm_head.register_forward_hook(lambda *_: calls.append(1))
        answers = [event.answer for event in session.compare("mini", shaded(tmp_path, 3), QUESTION, 0.2)
                   if isinstance(event, Done)]  # fmt: skip
        handle.remove()
    assert len(runs) == 1
    assert len(calls) == sum(len(answer.token_ids) for answer in answers)  # no run to warm up


def test_both_runs_show_the_same_time_of_the_encoder(mini_session: Session, tmp_path: Path) -> None:
    events = list(mini_session.compare("mini", shaded(tmp_path, 4), QUESTION, 0.2))
    baseline, reduced = (event.answer for event in events if isinstance(event, Done))
    assert baseline.timings.vision_shared_ms == reduced.timings.vision_shared_ms > 0
    rows = [html.numbers_table(answer).split("encoded once for all runs")[1][:60] for answer in (baseline, reduced)]
    assert rows[0] == rows[1]


def test_the_baseline_is_kept_for_the_same_question_and_picture(picture: str) -> None:
    engine = FakeEngine()
    session = Session(engine)
    first = list(session.compare("mini", picture, QUESTION, 0.2))
    second = list(session.compare("mini", picture, f" {QUESTION} ", 0.3))
    assert engine.ran == ["baseline", "vscan", "vscan"]
    kept = [event for event in second if isinstance(event, KeptDone)]
    assert [event.run for event in kept] == [0]
    assert kept[0].answer is next(event.answer for event in first if isinstance(event, Done))
    assert [type(event) for event in second[:3]] == [Prefilled, Token, KeptDone]
    list(session.run_each("mini", picture, QUESTION, [lambda: engine.method("vscan")(0.5)]))
    assert engine.ran.count("baseline") == 1  # the pages share it


@pytest.mark.parametrize("change", ["question", "limit", "picture", "load", "forget"])
def test_anything_else_runs_the_baseline_again(picture: str, tmp_path: Path, change: str) -> None:
    class TwoModels(FakeEngine):
        def models(self) -> dict[str, Any]:
            return {**super().models(), "other": super().models()["mini"]}

    engine = TwoModels()
    session = Session(engine)
    list(session.compare("mini", picture, QUESTION, 0.2))
    asked = {"source": picture, "question": QUESTION, "max_new_tokens": 64}
    if change == "load":
        session.model("other")
    elif change == "forget":
        session.forget()
    else:
        other = {"question": "Why?", "limit": 5, "picture": shaded(tmp_path, 9)}[change]
        asked[{"question": "question", "limit": "max_new_tokens", "picture": "source"}[change]] = other
    list(session.compare("mini", retention=0.2, **asked))
    assert engine.ran == ["baseline", "vscan"] * 2


def test_a_baseline_whose_picture_is_encoded_again_is_run_again(picture: str) -> None:
    engine = FakeEngine()
    session = Session(engine)
    for _ in range(2):
        list(session.compare("mini", picture, QUESTION, 0.2))
        engine.encoded.clear()  # there were many other pictures in between
    assert engine.ran == ["baseline", "vscan"] * 2


def test_what_was_stopped_half_way_is_not_kept(picture: str) -> None:
    engine = FakeEngine(answer_words=("w",) * 20)
    session = Session(engine)
    with closing(session.compare("mini", picture, QUESTION, 0.2)) as events:
        for _ in range(8):
            assert not isinstance(next(events), Done)
    assert len(session._baselines) == 0
    list(session.compare("mini", picture, QUESTION, 0.2))
    assert engine.ran == ["baseline", "baseline", "vscan"]


def test_only_so_many_baselines_are_kept(picture: str) -> None:
    session = Session(FakeEngine(answer_words=("w",)))
    for number in range(70):
        list(session.run_each("mini", picture, f"{number}?", []))
    assert len(session._baselines) == 64


def test_a_method_that_is_refused_is_refused_beside_a_kept_baseline(picture: str) -> None:
    session = Session(FakeEngine())
    for _ in range(2):
        events = list(session.run_each("mini", picture, QUESTION, [lambda: session.engine.method("absent")(0.5)]))
        assert isinstance(events[-2], Refused) and isinstance(events[-1], TurnOver)
        with pytest.raises(InputError, match="less than 50"):
            list(session.compare("mini", picture, QUESTION, 0.2, "picky"))


def test_a_kept_baseline_says_so_everywhere(picture: str) -> None:
    session = Session(FakeEngine())
    shown = [list(comparison_snapshots(session.compare("mini", picture, QUESTION, 0.2)))[-1] for _ in range(2)]
    assert [now.kept for now in shown] == [False, True]
    assert ["kept from an earlier run" in now.status for now in shown] == [False, True]
    assert shown[1].status.startswith("The answer with fewer visual tokens took")
    assert "Kept from an earlier run" in html.numbers_table(shown[1].answers[0], kept=True)
    now, settings = arena(session, picture, methods=["vscan", "coarse"])
    names = [ARENA_TABLE.columns[0].shown(run) for run in now.runs]
    assert names[0] == "Baseline, kept from an earlier run" and names[1] == "VScan"
    found = json.loads(json.dumps(runs_as_json(settings, now)))
    assert [run["kept"] for run in found["runs"]] == ["kept from an earlier run", None, None]
    assert {run["vision_encoder"] for run in found["runs"]} == {"encoded once for all runs"}
    assert found["turn"]["shown_ms"] > 0 and found["turn"]["encoded"] is False
    hover = first_token_chart(now.runs).data[0].customdata[0]
    assert "20.0 ms of it encoded once for all runs" in hover


def test_what_a_turn_took_counts_the_encoding_once() -> None:
    runs = [RunTime(170, 70), RunTime(100, 70), RunTime(90, 0)]  # the last one encoded the picture itself
    took = turn_time(runs, TurnOver(310, True))
    assert (took.shown_ms, took.other_ms) == (290, 20)
    before = turn_time(runs, TurnOver(240, False))
    assert (before.shown_ms, before.other_ms) == (290, 20)
    assert turn_in_words("All runs", took) == (
        "All runs took 290 ms, the picture encoded once; other work took 20.0 ms."
    )
    assert "encoded once beforehand;" in turn_in_words("All runs", before)


def test_pairs_share_the_encoding_and_alternate(picture: str) -> None:
    engine = FakeEngine()
    session = Session(engine)
    events = list(session.compare("mini", picture, QUESTION, 0.2, pairs_s=2.0))
    assert sum(isinstance(event, Pair) for event in events) == 7 and isinstance(events[-1], TurnOver)
    assert engine.ran == ["baseline", "vscan", *["vscan", "baseline", "baseline", "vscan"] * 3, "vscan", "baseline"]
    assert engine.limits[2:] == [1] * 14 and len(engine.encoded) == 1
    again = list(session.pairs("mini", picture, QUESTION, 0.2, "vscan", 2.0))
    assert sum(isinstance(event, Pair) for event in again) == 7


def test_pairs_wait_while_others_do(picture: str) -> None:
    engine = FakeEngine()
    session = Session(engine)
    mine, yours = (session.compare("mini", picture, question, 0.2, pairs_s=2.0) for question in ("Mine?", "Yours?"))
    events = [next(mine)]
    assert next(yours) is None
    events += mine
    assert sum(isinstance(event, OthersWait) for event in events) == 1 and isinstance(events[-1], TurnOver)
    assert not any(isinstance(event, PairStarts | Pair) for event in events) and engine.ran == ["baseline", "vscan"]
    after = list(yours)
    assert sum(isinstance(event, Pair) for event in after) == 7 and not any(isinstance(e, OthersWait) for e in after)


def test_pairs_that_would_take_too_long_are_left_out(picture: str) -> None:
    session = Session(FakeEngine())
    events = list(session.compare("mini", picture, QUESTION, 0.2, pairs_s=0.1))  # both prefills: 0.16 s
    assert not any(isinstance(event, Pair) for event in events)
    session = Session(FakeEngine(pause_s=0.05))
    events = list(session.pairs("mini", picture, QUESTION, 0.2, "vscan", 0.25))  # 0.1 s each
    assert 1 <= sum(isinstance(event, Pair) for event in events) <= 2
