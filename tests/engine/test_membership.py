"""Which calls belong to a `with`: pools, threads, tasks and generators; leaving it, and calls from outside."""

from __future__ import annotations

import asyncio
import copy
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import anyio.to_thread
import pytest
import torch
from transformers import TextIteratorStreamer

import vscan_core as vc
from tests.conftest import prompt
from tests.ways import Digits, run_apart
from vscan_core.engine import membership

BOTH = vc.VScan(encoder_keep=14, llm_keep={3: 5}, window=3)
INSIDE = vc.VScan(encoder_keep=1.0, llm_keep={3: 5})
GREEDY = {"max_new_tokens": 8, "do_sample": False}


@pytest.fixture(scope="module")
def inputs():
    return prompt([1])


@pytest.fixture(scope="module")
def answers(sdpa_llava, inputs):
    """What each method answers alone."""
    said = {}
    for method in (BOTH, INSIDE, None):
        with vc.reduced(sdpa_llava, method):
            said[method] = answer(sdpa_llava, inputs)
    assert len({tuple(ids) for ids in said.values()}) == 3
    return said


def answer(model, inputs, **more) -> list[int]:
    return model.generate(**inputs, **GREEDY, **more)[0, -8:].tolist()


def streamed(streamer) -> list[int]:
    return [int(word) for word in "".join(streamer).split()]


def stream() -> TextIteratorStreamer:
    return TextIteratorStreamer(Digits(), skip_prompt=True, timeout=60)


def test_one_pool_serves_blocks_of_several_threads(sdpa_llava, inputs, answers) -> None:
    said = {method: [] for method in answers}

    def serve(pool, method) -> None:
        for _ in range(3):
            with vc.reduced(sdpa_llava, method):
                said[method].append(pool.submit(answer, sdpa_llava, inputs).result())

    with ThreadPoolExecutor(2) as pool:
        threads = [threading.Thread(target=serve, args=(pool, method)) for method in answers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pool.submit(answer, sdpa_llava, inputs).result() == answers[None]  # the pool's threads keep nothing
    assert said == {method: [ids] * 3 for method, ids in answers.items()}


def test_tasks_on_one_event_loop_are_independent(sdpa_llava, inputs, answers) -> None:
    async def by_asyncio(method) -> list[int]:
        with vc.reduced(sdpa_llava, method):
            return await asyncio.get_running_loop().run_in_executor(None, answer, sdpa_llava, inputs)

    async def by_anyio(method) -> list[int]:  # as FastAPI, Starlette and Gradio do
        with vc.reduced(sdpa_llava, method):
            return await anyio.to_thread.run_sync(answer, sdpa_llava, inputs)

    async def all_at_once() -> list[list[int]]:
        return await asyncio.gather(*(serve(method) for method in answers for serve in (by_asyncio, by_anyio)))

    for _ in range(2):
        assert run_apart(all_at_once) == [ids for ids in answers.values() for _ in range(2)]


def test_a_job_may_open_its_own_block(sdpa_llava, inputs, answers) -> None:
    def job() -> list[int]:
        with vc.reduced(sdpa_llava, INSIDE):
            return answer(sdpa_llava, inputs)

    with ThreadPoolExecutor(1) as pool, vc.reduced(sdpa_llava, BOTH):
        assert pool.submit(job).result() == answers[INSIDE]
        assert answer(sdpa_llava, inputs) == answers[BOTH]


def test_a_streaming_handler_may_be_advanced_by_several_threads(sdpa_llava, inputs, answers) -> None:
    def handler():
        with vc.reduced(sdpa_llava, BOTH):
            streamer = stream()
            worker = threading.Thread(target=answer, args=(sdpa_llava, inputs), kwargs={"streamer": streamer})
            worker.start()
            yield from streamer
            worker.join()

    events, said = handler(), []
    while not said or said[-1] is not None:
        step = threading.Thread(target=lambda: said.append(next(events, None)))
        step.start()
        step.join()
    assert streamed(said[:-1]) == answers[BOTH]


@pytest.mark.parametrize("start", ["at once", "when told", "later", "as a job"])
@pytest.mark.parametrize("ends", [True, False])
def test_leaving_waits_for_what_was_started_inside(sdpa_llava, inputs, answers, start, ends) -> None:
    streamer, go, pool = stream(), threading.Event(), ThreadPoolExecutor(1)

    def work() -> None:
        if start == "when told":
            go.wait()
        answer(sdpa_llava, inputs, streamer=streamer)

    threading.Timer(0.1, go.set).start()
    try:
        with vc.reduced(sdpa_llava, BOTH) as trace:
            if start == "as a job":
                pool.submit(work)
            else:
                (threading.Timer(0.1, work) if start == "later" else threading.Thread(target=work)).start()
            if not ends:
                raise KeyError
    except KeyError:
        assert not ends
    assert streamed(streamer) == answers[BOTH] and trace.visual_tokens_per_layer == [14] * 3 + [5] * 3
    pool.shutdown()


def test_threads_that_wait_for_something_to_do_are_not_waited_for(sdpa_llava, inputs) -> None:
    from tqdm import tqdm

    start = time.monotonic()
    with open(os.devnull, "w") as nowhere, vc.reduced(sdpa_llava, BOTH), ThreadPoolExecutor(1) as pool:
        for _ in tqdm(range(2), file=nowhere, mininterval=0.01):  # has a monitor thread
            pool.submit(answer, sdpa_llava, inputs).result()
    assert time.monotonic() - start < membership.PATIENCE_S


def test_a_thread_that_goes_on_without_the_model_is_named(sdpa_llava, inputs, monkeypatch) -> None:
    monkeypatch.setattr(membership, "PATIENCE_S", 0.2)
    stop = []

    def spin() -> None:
        while not stop:
            time.sleep(0.01)

    with pytest.raises(RuntimeError, match="'spinner' was started inside .* wait for it"), vc.reduced(sdpa_llava, BOTH):
        threading.Thread(target=spin, name="spinner").start()
        answer(sdpa_llava, inputs)
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(RuntimeError, match="a job of a pool was started inside"),
        vc.reduced(sdpa_llava, BOTH),
    ):
        answer(sdpa_llava, inputs)
        pool.submit(spin)
        threading.Timer(1, stop.append, [True]).start()
    assert not sdpa_llava._forward_pre_hooks


def test_a_thread_that_runs_the_model_is_waited_for_as_long_as_it_takes(
    sdpa_llava, inputs, answers, monkeypatch
) -> None:
    monkeypatch.setattr(membership, "PATIENCE_S", 0.02)
    streamer = stream()
    slow = sdpa_llava.model.language_model.register_forward_hook(lambda *_: time.sleep(0.05))
    with vc.reduced(sdpa_llava, BOTH):
        threading.Thread(target=answer, args=(sdpa_llava, inputs), kwargs={"streamer": streamer}).start()
    slow.remove()
    assert streamed(streamer) == answers[BOTH]


def test_threads_and_pools_are_as_before_once_nobody_is_inside(sdpa_llava, inputs) -> None:
    before = threading.Thread.start, ThreadPoolExecutor.submit
    with vc.reduced(sdpa_llava, BOTH):
        assert threading.Thread.start is not before[0]
        answer(sdpa_llava, inputs)
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == before


def test_what_others_wrapped_around_threads_meanwhile_stays(sdpa_llava, inputs) -> None:
    before, started = threading.Thread.start, []
    with vc.reduced(sdpa_llava, BOTH):
        ours = threading.Thread.start

        def start(thread: threading.Thread) -> None:
            started.append(thread)
            ours(thread)

        threading.Thread.start = start  # as tracing libraries do
        answer(sdpa_llava, inputs)
    try:
        assert threading.Thread.start is start
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
        assert started == [thread]
    finally:
        threading.Thread.start = before


def test_a_call_from_outside_is_refused_only_if_it_brings_a_picture(sdpa_llava, inputs) -> None:
    text, said = prompt([0]), []

    def outside() -> None:
        said.append(sdpa_llava.generate(**text, **GREEDY).shape)
        try:
            answer(sdpa_llava, inputs)
        except RuntimeError as error:
            said.append(str(error))

    opened, leave = threading.Event(), threading.Event()
    visitor = threading.Thread(target=lambda: (opened.wait(), outside(), leave.set()))
    visitor.start()
    with vc.reduced(sdpa_llava, BOTH) as trace:
        answer(sdpa_llava, inputs)
        opened.set()
        leave.wait()
    visitor.join()
    assert len(said) == 2 and "comes from outside the `with" in said[1]
    assert trace.visual_tokens_per_layer == [14] * 3 + [5] * 3


def test_a_block_that_changes_nothing_refuses_nobody(sdpa_llava, inputs, answers) -> None:
    said = []
    visitor = threading.Thread(target=lambda: (opened.wait(), said.append(answer(sdpa_llava, inputs)), leave.set()))
    opened, leave = threading.Event(), threading.Event()
    visitor.start()  # outside
    with vc.reduced(sdpa_llava, None):
        assert answer(sdpa_llava, inputs) == answers[None]
        opened.set()
        leave.wait()
    visitor.join()
    assert said == [answers[None]]


def test_what_is_no_call_of_this_model_never_looks_like_success(sdpa_llava, inputs) -> None:
    other = copy.deepcopy(sdpa_llava)
    with pytest.raises(RuntimeError, match="did not run inside"), vc.reduced(sdpa_llava, BOTH):
        other.generate(**inputs, **GREEDY)


def test_a_copy_made_inside_is_free_of_it_afterwards(sdpa_llava, inputs, answers) -> None:
    with vc.reduced(sdpa_llava, BOTH):
        twin = copy.deepcopy(sdpa_llava)
        answer(sdpa_llava, inputs)
    assert answer(twin, inputs) == answers[None]


@torch.no_grad()
def test_features_asked_for_directly_are_whole_and_without_marks(sdpa_llava, inputs) -> None:
    def features() -> torch.Tensor:
        return torch.cat(list(sdpa_llava.get_image_features(inputs["pixel_values"], return_dict=True).pooler_output))

    before = features()
    with vc.reduced(sdpa_llava, BOTH):
        assert torch.equal(features(), before)
        sdpa_llava(**inputs)
        assert torch.equal(features(), before)


def test_a_look_and_an_answer_know_their_own_calls() -> None:
    from PIL import Image

    lvlm, picture = vc.load_model("mini", device="cpu"), Image.new("RGB", (336, 336), "red")
    run = vc.answer(lvlm, picture, "What is this?", None, max_new_tokens=2)
    next(run)  # under way while another block is open: its own calls are not from outside
    with vc.reduced(lvlm.model, vc.VScan()) as trace:
        assert len(lvlm.preview(picture, vc.VScan()).trace(vc.VScan()).kept) == 96
        lvlm.model.generate(**lvlm.inputs(picture, "What is this?"), max_new_tokens=1)
        with pytest.raises(RuntimeError, match="already inside"):
            list(run)
    assert trace.visual_tokens_per_layer[0] == 96
