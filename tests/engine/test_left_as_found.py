"""The model is left as found, identity is bitwise, threads do not disturb each other, the unsupported is refused."""

from __future__ import annotations

import threading

import pytest
import torch

import vscan_core as vc
from tests.conftest import prompt
from vscan_core.versions import CACHE

HALF = vc.VScan(encoder_keep=12, llm_keep={3: 4}, window=3)


def hooks_of(model) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@torch.no_grad()
def logits(model, inputs, **more) -> torch.Tensor:
    return model(**inputs, **more).logits


@pytest.mark.parametrize("images", [[1], [0, 2, 1]], ids=str)
@pytest.mark.parametrize(
    "identity",
    [None, vc.VScan(retention=1), vc.VScan(encoder_keep=1.0, llm_keep={}), vc.VScan(encoder_keep=99, llm_keep={})],
)
def test_keeping_everything_is_bitwise_the_untouched_model(llava, images, identity) -> None:
    inputs = prompt(images)
    before = logits(llava, inputs)
    with vc.reduced(llava, identity) as trace:
        assert torch.equal(logits(llava, inputs), before)
    assert trace.visual_tokens_per_layer == [36 * sum(images)] * 6
    assert trace.tokens_per_layer == [inputs["input_ids"].shape[1]] * 6
    assert all(not image.cuts and len(image.kept) == 36 for image in trace.images)


def test_after_the_with_the_model_is_as_before(llava) -> None:
    inputs = prompt([1])
    before, hooks, methods = logits(llava, inputs), hooks_of(llava), dict(vars(llava.model.language_model))
    with vc.reduced(llava, HALF):
        assert not torch.equal(logits(llava, inputs)[:, -1], before[:, -1])
    assert hooks_of(llava) == hooks
    assert dict(vars(llava.model.language_model)).keys() == methods.keys()
    assert torch.equal(logits(llava, inputs), before)


def test_after_an_exception_in_the_body(llava) -> None:
    inputs = prompt([1])
    before, hooks = logits(llava, inputs), hooks_of(llava)
    with pytest.raises(KeyError), vc.reduced(llava, HALF):
        raise KeyError
    assert hooks_of(llava) == hooks and torch.equal(logits(llava, inputs), before)


def test_after_an_exception_inside_forward(llava) -> None:
    inputs = prompt([1])
    before, hooks = logits(llava, inputs), hooks_of(llava)

    def fail(module, args):
        raise KeyError

    with pytest.raises(KeyError), vc.reduced(llava, HALF):
        handle = llava.model.language_model.layers[4].register_forward_pre_hook(fail)
        try:
            logits(llava, inputs)
        finally:
            handle.remove()
    assert hooks_of(llava) == hooks and torch.equal(logits(llava, inputs), before)


def test_threads_with_different_reducers_on_one_model(sdpa_llava) -> None:
    methods = [HALF, vc.VScan(encoder_keep=20, llm_keep={}, window=3, merge=False), None]
    inputs, alone, together = prompt([1]), {}, {}
    for i, method in enumerate(methods):
        with vc.reduced(sdpa_llava, method):
            alone[i] = logits(sdpa_llava, inputs)
    start = threading.Barrier(len(methods) + 1)

    def run(i: int) -> None:
        start.wait()
        results = []
        for _ in range(8):
            with vc.reduced(sdpa_llava, methods[i]):
                results.append(logits(sdpa_llava, inputs))
        together[i] = results

    def run_bare() -> None:  # in nobody's `with`: told so while there is one, and never reduced
        start.wait()
        together["bare"] = []
        while len(together["bare"]) < 8:
            try:
                together["bare"].append(logits(sdpa_llava, inputs))
            except RuntimeError as error:
                assert "from outside" in str(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(methods))]
    threads.append(threading.Thread(target=run_bare))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone["bare"] = alone[2]
    for key, expected in alone.items():
        assert len(together[key]) == 8
        for result in together[key]:
            assert torch.equal(result, expected), key


def test_nesting_on_one_thread_is_refused_and_the_outer_lives_on(sdpa_llava) -> None:
    inputs = prompt([1])
    with vc.reduced(sdpa_llava, HALF) as trace:
        with pytest.raises(RuntimeError, match="already inside"), vc.reduced(sdpa_llava, None):
            pass
        logits(sdpa_llava, inputs)
    assert trace.visual_tokens_per_layer == [12] * 3 + [4] * 3


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"labels": True}, "labels"),
        ({"cache_implementation": "offloaded_static"}, "static cache"),
        ({"attention_mask": "4d"}, "ready-made"),
    ],
    ids=str,
)
def test_the_unsupported_is_refused_with_a_sentence(sdpa_llava, more, sentence) -> None:
    inputs = prompt([1])
    with pytest.raises(ValueError, match=sentence), vc.reduced(sdpa_llava, HALF):
        if "labels" in more:
            sdpa_llava(**inputs, labels=inputs["input_ids"])
        elif "cache_implementation" in more:
            sdpa_llava.generate(**inputs, max_new_tokens=2, **more)
        else:
            length = inputs["input_ids"].shape[1]
            sdpa_llava(**{**inputs, "attention_mask": torch.zeros(1, 1, length, length)})


@torch.no_grad()
def test_a_reduced_cache_does_not_work_outside_its_with(sdpa_llava) -> None:
    with vc.reduced(sdpa_llava, HALF):
        cache = sdpa_llava(**prompt([1]), use_cache=True)[CACHE]
    with pytest.raises(RuntimeError, match="has been left"):
        sdpa_llava(input_ids=torch.tensor([[5]]), **{CACHE: cache})


def test_unknown_model_type_is_refused() -> None:
    with pytest.raises(vc.InputError, match="not supported"), vc.reduced(torch.nn.Linear(1, 1), HALF):
        pass


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_half_precision_runs_and_stays_finite(sdpa_llava, dtype) -> None:
    inputs = prompt([1, 2])
    model = type(sdpa_llava)._from_config(sdpa_llava.config, dtype=dtype)
    model.load_state_dict(sdpa_llava.state_dict())
    inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
    with vc.reduced(model.eval(), HALF) as trace:
        assert model(**inputs).logits.isfinite().all()
    assert trace.visual_tokens_per_layer == [36] * 3 + [12] * 3
