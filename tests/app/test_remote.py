"""The demo in front of a server: a stock model here for the map, a real HTTP server on loopback for the answers."""

from __future__ import annotations

from typing import Any

import pytest

from app.runs.comparison import comparison_snapshots
from app.server.operations import Operations
from app.server.settings import Settings
from app.session.remote import RemoteEngine, settings_of
from app.session.served import served_name
from app.session.session import Session
from app.session.turn import TurnEvent
from app.ui.faults import SERVER, fault_kind
from tests.app.in_front import QuickEngine, in_front_of, loaded
from tests.app.operating import operating
from tests.chat_stub import REFUSED, VISUAL, chat_stub
from vscan_core import REDUCERS, Done, InputError, Prefilled, Token, VScan
from vscan_core.catalog import MODELS
from vscan_core.chat_server import ChatServer, find_chat_server
from vscan_core.errors import ServerFailure
from vscan_core.multirun import Refused
from vscan_core.reducers import Forced

QUESTION = "What?"


def compared(
    session: Session, picture_file: str, method: str = "vscan", retention: float = 1 / 9
) -> list[TurnEvent | None]:
    return list(session.compare("mini", picture_file, QUESTION, retention, method))


def answers(events: list[TurnEvent | None]) -> list[Any]:
    return [event.answer for event in events if isinstance(event, Done)]


def test_answers_come_from_the_server_and_the_map_from_here(picture_file: str) -> None:
    with in_front_of() as (session, stub):
        events = compared(session, picture_file)
    baseline, reduced = answers(events)
    assert baseline.text == reduced.text == "a red ball" and baseline.finished
    assert [type(event) for event in events[1:5]] == [Token, Token, Token, Done] and isinstance(events[0], Prefilled)
    assert set(baseline.trace.visual_tokens_per_layer) == {VISUAL}
    assert set(reduced.trace.visual_tokens_per_layer) == {64}, "all layers: vLLM cuts at the entrance alone"
    kept = reduced.trace.images[0].kept
    assert len(kept) == 64 and reduced.trace.images[0].cuts[0].labels.keys() == {"local", "global"}
    assert len(reduced.trace.boxes(0)) == VISUAL
    for answer, visual in ((baseline, VISUAL), (reduced, 64)):
        assert set(answer.trace.tokens_per_layer) == {visual + stub.text_tokens}
        assert not answer.timings.staged and 0 < answer.timings.ttft_ms <= answer.timings.total_ms
        assert answer.server[0] == "vLLM 0.32.0, which calls the model mini, answered; times include the network."
    assert [body["mm_processor_kwargs"]["vscan"] for body in stub.bodies[:2]] == [
        None, {"method": "vscan", "retention": 1 / 9, "encoder_keep": 1 / 9, "llm_keep": {}},
    ]  # fmt: skip


def test_the_same_tokens_as_the_library_keeps(picture_file: str) -> None:
    with in_front_of() as (session, _):
        _, reduced = answers(compared(session, picture_file, "visionzip", 0.25))
        opened = session.open(picture_file).image
    library = loaded().preview(opened, REDUCERS["visionzip"](0.25)).trace(REDUCERS["visionzip"](0.25))
    assert reduced.trace.images[0].kept.tolist() == library.kept.tolist() and len(library.kept) == 144


def test_what_the_server_makes_of_a_method_is_said_once(picture_file: str) -> None:
    with in_front_of() as (session, _):
        now = list(comparison_snapshots(iter(compared(session, picture_file))))[-1]
    said = now.notes.split("\n\n")
    assert len(said) == len(set(said)) and any("cuts only at the entrance of the language model" in one for one in said)
    assert not any("counted" in one for one in said), "the counts agree"
    assert "network included" in now.status and now.time is not None and now.time.served


def test_a_server_that_ignores_the_settings_is_told(picture_file: str) -> None:
    with in_front_of(reduces=False) as (session, _):
        _, reduced = answers(compared(session, picture_file))
    assert set(reduced.trace.visual_tokens_per_layer) == {VISUAL}, "what the server counted is shown"
    assert any("counted 576 visual tokens" in one and "64 on the map" in one for one in reduced.server)


def test_counts_without_details_follow_from_the_prompt(picture_file: str) -> None:
    with in_front_of(details=False) as (session, stub):
        lvlm = session.model("mini")
        prompt = session.engine.prompt_tokens(
            lvlm, session.engine.inputs(lvlm, session.open(picture_file).image, QUESTION)
        )
        stub.text_tokens = prompt - VISUAL
        _, reduced = answers(compared(session, picture_file))
    assert set(reduced.trace.visual_tokens_per_layer) == {64} and len(reduced.server) == 2


def test_tokens_from_a_cache_are_told(picture_file: str) -> None:
    with in_front_of(cached=48) as (session, _):
        baseline, _ = answers(compared(session, picture_file))
    assert "baseline: 48 tokens of the prompt came from the server's cache" in baseline.server[-1]


def test_what_the_server_cannot_run_is_refused_in_its_words(picture_file: str) -> None:
    with in_front_of() as (session, _):
        with pytest.raises(InputError, match=f"^The server refused: {REFUSED}$"):
            compared(session, picture_file, "fastv", 0.7)
        makers = [lambda: REDUCERS["fastv"](0.7), lambda: REDUCERS["divprune"](0.25)]
        events = list(session.run_each("mini", picture_file, QUESTION, makers))
    (refused,) = [event for event in events if isinstance(event, Refused)]
    assert refused.run == 1 and REFUSED in str(refused.reason) and len(answers(events)) == 2


def test_another_demo_as_the_server_runs_every_cut(picture_file: str) -> None:
    with in_front_of(owned_by="vscan", version=None, details=False) as (session, stub):
        stub.per_layer = True
        _, reduced = answers(compared(session, picture_file))
    assert stub.bodies[1]["vscan"] == {"method": "vscan", "retention": 1 / 9}
    assert [cut.layer > 0 for cut in reduced.trace.images[0].cuts] == [False, True]
    assert list(dict.fromkeys(reduced.trace.visual_tokens_per_layer)) == [96, 32] and len(reduced.server) == 1


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [("cut", "stopped before its answer was complete"), ("status", "failed with HTTP status 500")],
)
def test_a_server_that_fails_is_a_sentence_and_the_next_question_is_answered(picture_file, fault, sentence) -> None:
    with in_front_of() as (session, stub):
        stub.fault = fault
        with pytest.raises(InputError, match=sentence):
            compared(session, picture_file)
        stub.fault = ""
        assert len(answers(compared(session, picture_file))) == 2


def test_a_server_that_is_gone_is_a_sentence(picture_file: str) -> None:
    with in_front_of() as (session, _):
        session.model("mini")
    with pytest.raises(InputError, match=r"^The server at http://127\.0\.0\.1:\d+ cannot be reached \("):
        compared(session, picture_file)


def test_strangers_learn_no_address_and_the_operator_reads_it_in_the_log(picture_file, caplog) -> None:
    with chat_stub(fault="status") as stub:
        session = Session(QuickEngine(find_chat_server(stub.url), public=True))
        with pytest.raises(ServerFailure) as raised:
            compared(session, picture_file)
    assert str(raised.value) == "The server failed with HTTP status 500: EngineDeadError"
    assert stub.url in caplog.text and fault_kind(raised.value) == SERVER


def test_a_server_that_fails_is_no_visitors_fault(picture_file: str) -> None:
    with chat_stub(fault="status") as stub, operating(QuickEngine(find_chat_server(stub.url), patience_s=5)) as service:
        session = service.operations.session
        with pytest.raises(ServerFailure):
            compared(session, picture_file)
        found = service.figures()
        assert found["vscan_errors_total{kind=server}"] >= 1 and found["vscan_runs_total{end=failed,model=mini}"] == 1
        assert service.get("readyz").status_code == 503
        stub.fault = ""
        compared(session, picture_file)
        stages = [name for name in service.figures() if name.startswith("vscan_stage_seconds_count")]
        assert stages == ["vscan_stage_seconds_count{stage=first_token}", "vscan_stage_seconds_count{stage=decode}"]


def test_stop_ends_the_request(picture_file: str) -> None:
    with in_front_of(words=("x",) * 64, fault="slow") as (session, stub):
        stub.slow_after = 2
        steps = session.compare("mini", picture_file, QUESTION, 0.25, "divprune")
        next(step for step in steps if isinstance(step, Token))
        assert stub.under_way == 1
        steps.close()
        stub.release.set()
        for _ in range(500):
            if not stub.under_way:
                break
            stub.pause()
        assert stub.under_way == 0 and len(stub.bodies) == 1


def test_only_models_of_the_server_are_offered() -> None:
    server = ChatServer("http://x", "vllm", "", {"m": "/models/llava-1.5-7b-hf", "other": "other"})
    assert list(RemoteEngine(server).models()) == ["llava-hf/llava-1.5-7b-hf"]
    assert served_name(MODELS["llava-hf/llava-1.5-7b-hf"], server) == "m" and not served_name(MODELS["mini"], server)


def test_the_operator_is_told_what_does_not_fit() -> None:
    with chat_stub(models=("llava-1.5-7b-hf",)) as stub:
        with pytest.raises(ValueError, match=r"runs llava-1\.5-7b-hf and not 'mini', so no token map could be shown"):
            Operations(Settings(engine=stub.url))
    with pytest.raises(ValueError, match="cannot be reached"):
        Operations(Settings(engine=stub.url))


def test_the_page_says_who_answers() -> None:
    with chat_stub(key="word") as stub:
        operations = Operations(Settings(engine=stub.url, engine_key="word", public=False))
        assert operations.session.engine.about == f"Answers come from vLLM 0.32.0 at {stub.url}."
        public = Operations(Settings(engine=stub.url, engine_key="word", public=True))
        assert public.session.engine.about == "Answers come from vLLM 0.32.0."
        assert operations.session.engine.frames("mini") == 0


def test_settings_are_those_that_differ() -> None:
    assert settings_of(None) is None
    assert settings_of(VScan(0.25, merge=False)) == {"method": "vscan", "retention": 0.25, "merge": False}
    with pytest.raises(InputError, match="has no name that the server knows"):
        settings_of(Forced(VScan(0.25), keep=(1,)))


def test_what_needs_the_model_in_this_process_is_refused(picture_file: str) -> None:
    with in_front_of() as (session, _), pytest.raises(InputError, match="comes? from a server, which cannot do this"):
        list(session.leave_regions_out("mini", picture_file, QUESTION))
