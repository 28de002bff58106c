"""Turns, Stop, caches: the session with a fake engine behind it."""

from __future__ import annotations

import threading
import time
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from app.runs.comparison import ComparisonSnapshot, comparison_snapshots
from app.session.devices import Device
from app.session.lru_cache import LRUCache
from app.session.quotas import FairUse
from app.session.session import Session
from app.ui.inputs import menu
from app.ui.model_loading import describe, loading
from tests.app.fake import FakeEngine, FakeLVLM
from vscan_core.errors import InputError
from vscan_core.events import Done, Prefilled
from vscan_core.reducers.vscan import VScan


def test_both_runs_one_after_the_other(picture: str) -> None:
    events = list(Session(FakeEngine()).compare("mini", picture, "What?", 1 / 9))
    assert [event.run for event in events if isinstance(event, Done)] == [0, 1]
    assert [event.method for event in events if isinstance(event, Prefilled)] == ["baseline", "vscan"]


def test_one_run_by_itself_reduced_or_not(picture: str) -> None:
    engine = FakeEngine()
    session = Session(engine)
    for reducer, method in ((VScan(0.2), "vscan"), (None, "baseline")):
        *_, done = session.run_one("mini", picture, "What?", reducer, 2)
        assert isinstance(done, Done) and (done.answer.method, done.answer.text) == (method, "a red")
    list(session.compare("mini", picture, "What?", 0.2, max_new_tokens=2))
    assert engine.ran == ["vscan", "baseline", "baseline", "vscan"], "nothing is kept of a run by itself"


def test_one_run_by_itself_has_its_limits(picture: str) -> None:
    session = Session(FakeEngine(pause_s=0.02, answer_words=("word",) * 50), fair=FairUse(answer_s=0.05))
    with pytest.raises(InputError, match="took longer"):
        list(session.run_one("mini", picture, "What?", None, 50))
    with pytest.raises(InputError, match="question is empty"):
        session.run_one("mini", picture, " ", None, 50)
    assert not session.device("mini").busy


def test_closing_stops_the_computation_and_gives_the_turn_back(picture: str) -> None:
    engine = FakeEngine(pause_s=0.01, answer_words=("w",) * 500)
    session = Session(engine)
    run = session.compare("mini", picture, "What?", 0.2)
    for _ in range(4):
        next(run)
    assert session.device("mini").busy and engine.alive == 1
    start = time.monotonic()
    run.close()
    assert time.monotonic() - start < 0.5
    steps = engine.steps
    time.sleep(0.05)
    assert engine.steps == steps and engine.alive == 0 and not session.device("mini").busy


def test_an_error_gives_the_turn_back(picture: str) -> None:
    session = Session(FakeEngine(fails_with=RuntimeError("secret")))
    with pytest.raises(RuntimeError):
        list(session.compare("mini", picture, "What?", 0.2))
    assert not session.device("mini").busy


def test_a_run_that_is_never_started_holds_nothing(picture: str) -> None:
    session = Session(FakeEngine())
    session.compare("mini", picture, "What?", 0.2)
    assert not session.device("mini").busy


def test_the_second_visitor_waits_and_may_give_up(picture: str) -> None:
    session = Session(FakeEngine(pause_s=0.05))
    first = session.compare("mini", picture, "What?", 0.2)
    next(first)
    second = session.compare("mini", picture, "What?", 0.2)
    assert next(second) is None
    second.close()
    assert session.device("mini").busy
    first.close()
    assert not session.device("mini").busy


def test_every_step_of_a_run_happens_in_the_same_thread() -> None:
    seen = set()

    def work():
        for step in range(6):
            seen.add(threading.get_ident())
            yield step

    steps, results = Device("test").steps(work), []
    for _ in range(6):  # as the web server does it: each step from another thread
        thread = threading.Thread(target=lambda: results.append(next(steps)))
        thread.start()
        thread.join()
    steps.close()
    assert results == list(range(6)) and len(seen) == 1 and threading.get_ident() not in seen


def test_short_work_is_refused_when_the_device_stays_busy() -> None:
    device = Device("test")
    run = device.steps(lambda: (number for number in range(3)))
    next(run)
    with pytest.raises(InputError, match="busy"):
        device.call(lambda: 1, patience_s=0.05)
    run.close()
    assert device.call(lambda: 1, patience_s=0.05) == 1


def test_a_moved_slider_looks_only_once_and_never_runs_the_model(picture: str) -> None:
    engine = FakeEngine()
    session = Session(engine)
    kept = [len(session.preview("mini", picture, share).trace.kept) for share in (0.1, 0.2, 0.3, 0.1)]
    assert engine.lvlm.looks == 1 and engine.steps == 0
    assert kept[0] == kept[3] < kept[1] < kept[2]


def test_the_cache_knows_pictures_by_their_content(tmp_path: Path, picture: str) -> None:
    engine = FakeEngine()
    session = Session(engine)
    copy = tmp_path / "copy.png"
    copy.write_bytes(Path(picture).read_bytes())
    session.preview("mini", picture, 0.1)
    session.preview("mini", str(copy), 0.1)
    assert engine.lvlm.looks == 1


def test_caches_do_not_grow(tmp_path: Path) -> None:
    session = Session(FakeEngine())
    for shade in range(20):
        path = tmp_path / f"{shade}.png"
        Image.new("RGB", (32, 32), (shade, 0, 0)).save(path)
        session.preview("mini", str(path), 0.1)
    assert len(session._opened) == len(session._vision) == 8


def test_the_cache_forgets_the_least_recently_used() -> None:
    cache: LRUCache[int] = LRUCache(2)
    for key in (1, 2, 1, 3):
        cache.get(key, lambda key=key: key)
    assert [cache.get(key, lambda: -1) for key in (1, 3, 2)] == [1, 3, -1]


def test_a_model_that_cannot_run_here_says_why(picture: str) -> None:
    with pytest.raises(InputError, match="needs about 16.2 GB"):
        Session(FakeEngine()).preview("big", picture, 0.1)


def test_no_picture_and_a_picture_that_is_gone() -> None:
    session = Session(FakeEngine())
    with pytest.raises(InputError, match="choose a picture"):
        session.preview("mini", None, 0.1)
    with pytest.raises(InputError, match="no longer on the server"):
        session.preview("mini", "/nowhere/picture.png", 0.1)


def test_snapshots_drop_text_between_pauses_but_never_the_end(picture: str) -> None:
    events = list(Session(FakeEngine(answer_words=("w",) * 30)).compare("mini", picture, "End?", 0.2))
    shown = list(comparison_snapshots(events, pause_s=10))
    assert len(shown) == 6  # start, prefilled and done twice each, end of the turn
    assert shown[-1].ended and shown[-1].texts[0].endswith("End?") and shown[-1].trace is not None
    assert not any(now.ended for now in shown[:-1])


def test_snapshots_say_when_they_wait() -> None:
    assert "Waiting" in list(comparison_snapshots([None]))[-1].status
    assert not ComparisonSnapshot().ended


class Several(FakeEngine):
    """Three models that fit, one of which takes a while to load."""

    def models(self) -> dict[str, Any]:
        small = {name: SimpleNamespace(name=name, title=name, description=".") for name in "abc"}
        return {**super().models(), **small}

    def load(self, name: str) -> FakeLVLM:
        super().load(name)
        if name == "c":
            self.loading.set()
            self.go_on.wait(10)
        return FakeLVLM()

    loading, go_on = threading.Event(), threading.Event()


def test_switching_frees_the_old_model_and_what_was_seen_by_it(picture: str) -> None:
    session = Session(Several())
    default = session.model("mini")
    session.preview("a", picture, 0.1)
    old = weakref.ref(session.model("a"))
    assert session.models.ready("a") and len(session._vision) == 1
    session.model("b")
    assert old() is None and not session.models.ready("a") and len(session._vision) == 0
    assert session.model("mini") is default


def test_a_model_that_cannot_be_loaded_costs_nobody_his() -> None:
    session = Session(Several())
    mine = session.model("a")
    for name in ("big", "nonsense"):
        with pytest.raises(InputError):
            session.model(name)
    assert session.model("a") is mine


class Crowded(Several):
    """A machine of 20 GB in which every model takes 12."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: weakref.WeakSet[FakeLVLM] = weakref.WeakSet()

    def unavailable(self, name: str, released_gb: float = 0.0) -> str | None:
        free = 20 - 12 * len(self.loaded) + released_gb
        return None if free >= 12 else f"{name} needs 12 GB; this machine has {free:.0f} GB available."

    def expected(self, name: str, released_gb: float = 0.0) -> str:
        return f"About {20 - 12 * len(self.loaded) + released_gb:.0f} s to the first word, estimated."

    def weights_gb(self, lvlm: FakeLVLM) -> float:
        return 12.0

    def load(self, name: str) -> FakeLVLM:
        loaded = FakeLVLM()
        self.loaded.add(loaded)
        return loaded


def test_memory_of_the_model_that_goes_counts_as_there() -> None:
    session = Session(Crowded())
    assert "20 s to the first word, estimated" in describe(session, "a")
    session.model("a")
    for name in "ab":  # the one that is there, and the one that would take its place
        assert session.models.unavailable(name) is None
        assert "Not available" not in describe(session, name) and "20 s to the first word" in describe(session, name)
    session.model("b")
    assert session.models.ready("b") and not session.models.ready("a")


def test_the_default_model_stays_and_leaves_no_memory_for_others() -> None:
    session = Session(Crowded())
    session.model("mini")
    assert session.models.unavailable("mini") is None
    with pytest.raises(InputError, match="a needs 12 GB; this machine has 8 GB available"):
        session.model("a")
    assert [label.endswith("not here") for label, _ in menu(session)] == [False, True, True, True, True]


def test_others_go_on_while_a_model_is_being_loaded(picture: str) -> None:
    engine = Several()
    session = Session(engine)
    session.model("mini")
    thread = threading.Thread(target=session.model, args=("c",))
    thread.start()
    try:
        assert engine.loading.wait(5)
        assert len(list(session.compare("mini", picture, "What?", 0.2))) > 2
    finally:
        engine.go_on.set()
        thread.join(5)
    assert session.models.ready("c")


def test_the_picker_tells_what_fits_says_that_it_loads_and_why_it_cannot() -> None:
    session = Session(Several())
    assert [name for _, name in menu(session)] == ["mini", "a", "b", "c", "big"]
    assert [label.endswith("not here") for label, _ in menu(session)] == [False, False, False, False, True]
    first, last = loading(session, "a")
    assert "Loading" in first and "Loading" not in last and session.models.ready("a")
    assert list(loading(session, "a")) == [last]
    (told,) = loading(session, "big")
    assert "needs about 16.2 GB" in told
    session.engine.load = lambda name: (_ for _ in ()).throw(InputError("Memory ran out."))
    assert "Memory ran out" in list(loading(session, "b"))[-1]
