"""What must hold for any method in a running model: tiny ones, with random weights."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from vscan_core.attach import reduced
from vscan_core.budget import average
from vscan_core.conformance.hidden import hidden_logits
from vscan_core.conformance.made_up import within_reach
from vscan_core.conformance.test_choices import ascends
from vscan_core.conformance.tiny import IMAGE_ID, TINY_MODELS, TinyModel, llava_inputs, tiny_llava
from vscan_core.errors import InputError
from vscan_core.families import family_of
from vscan_core.reducers import REDUCERS, Reducer
from vscan_core.trace import Trace

USUAL = 0.7  # retention within reach of most methods on six layers
GENERATED = 4  # tokens behind the prompt
TINY_QUESTION = "What is this?"  # for methods that compare it with the picture


def hooks_of(model: Any) -> int:
    """How many hooks lie on its modules."""
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())


def kept_by(trace: Trace) -> list[list[list[int]]]:
    """Kept tokens of every cut of every image."""
    return [[cut.kept.tolist() for cut in image.cuts] for image in trace.images]


def check_images(model: Any, trace: Trace, reducer: Reducer) -> None:
    """Every cut keeps fewer of what the one before it kept, and as many as the schedule says."""
    anatomy = family_of(model).anatomy(model)
    for image in trace.images:
        assert image.cuts, "nothing was cut"
        now = torch.arange(image.tokens)
        for cut in image.cuts:
            assert ascends(cut.kept) and torch.isin(cut.kept, now).all()
            assert len(cut.kept) < len(now)
            now = cut.kept
        tokens, tiles = image.budget
        schedule = reducer.schedule(tokens, anatomy, tiles)
        later = {cut.layer: len(cut.kept) for cut in image.cuts if cut.layer > 0}
        assert later == {layer: keep for layer, keep in schedule.items() if layer > 0}
        if tiles == 1 and image.tokens == tokens:
            spent = average({cut.layer: len(cut.kept) for cut in image.cuts}, tokens, anatomy.text_layers)
            assert abs(spent - reducer.retention * tokens) <= 1


class TestOnEveryModel:
    """Every test gets the method's name and a tiny model; a method may refuse a model in one sentence."""

    def refusal(self, tiny: TinyModel, reducer: Reducer) -> str | None:
        """A pattern of the sentence that refuses; "" if the method may refuse or run, None if it must run."""
        return ""

    def refused(self, sentence: str) -> None:
        """What happens with such a test."""
        pytest.skip(sentence)

    def run(self, tiny: TinyModel, method: str, inputs: dict[str, Any]) -> tuple[Tensor, Trace] | str:
        """Logits and trace, or the sentence that refuses."""
        reducer = REDUCERS[method](retention=USUAL)
        expected = self.refusal(tiny, reducer)
        try:
            with torch.no_grad(), reduced(tiny.model, reducer, question=TINY_QUESTION) as trace:
                logits = tiny.model(**inputs).logits
        except InputError as error:
            assert expected is not None and re.search(expected, str(error)) and "\n" not in str(error), str(error)
            return f"{tiny.name}: {error}"
        assert not expected, f"{method} should have been refused on {tiny.name}"
        return logits, trace

    @torch.no_grad()
    def test_budget_order_text_identity_and_the_model_as_found(self, tiny: TinyModel, method: str) -> None:
        model, inputs, unreduced, hooks = tiny.model, tiny.inputs([tiny.prompt]), tiny.unreduced, hooks_of(tiny.model)
        attributes = set(vars(model.model))
        visual = int((inputs["input_ids"] == tiny.placeholder).sum())
        text = inputs["input_ids"].shape[1] - visual
        found = self.run(tiny, method, inputs)
        if not isinstance(found, str):
            logits, trace = found
            again = self.run(tiny, method, inputs)
            assert not isinstance(again, str) and torch.equal(again[0], logits), "it answers differently each time"
            assert kept_by(again[1]) == kept_by(trace)
            with reduced(model, REDUCERS[method](retention=1), question=TINY_QUESTION):
                assert torch.equal(model(**inputs).logits, unreduced)
            assert logits.isfinite().all()
            pairs = zip(trace.tokens_per_layer, trace.visual_tokens_per_layer, strict=True)
            assert all(entered - seen == text for entered, seen in pairs)
            check_images(model, trace, REDUCERS[method](retention=USUAL))
        assert hooks_of(model) == hooks and set(vars(model.model)) == attributes
        assert torch.equal(model(**inputs).logits, unreduced)
        if isinstance(found, str):
            self.refused(found)

    @torch.no_grad()
    def test_a_batch_equals_its_rows_alone(self, tiny: TinyModel, method: str) -> None:
        together, alone = tiny.inputs([tiny.prompt] * 2), tiny.inputs([tiny.prompt])
        first = {key: value[: len(alone[key])] if torch.is_tensor(value) else value for key, value in together.items()}
        rows = ("input_ids", "attention_mask", "mm_token_type_ids")
        first |= {key: together[key][:1] for key in rows if key in together}
        both, one = self.run(tiny, method, together), self.run(tiny, method, first)
        if isinstance(both, str) or isinstance(one, str):
            assert both == one
            return self.refused(str(both))
        assert kept_by(one[1]) == kept_by(both[1])[: len(one[1].images)]
        torch.testing.assert_close(both[0][0, -1], one[0][0, -1], atol=1e-4, rtol=0)


@lru_cache(maxsize=3)
def llava_of(dtype: torch.dtype) -> Any:
    """One tiny LLaVA-1.5 for all tests."""
    return tiny_llava().to(dtype)


class TestOnOneModel:
    """Every test gets the method's name and runs it on LLaVA-1.5; the sentence of a refusal is enough there, too."""

    def refused(self, sentence: str) -> None:
        """What happens with a test of a method that refuses the model."""
        pytest.skip(sentence)

    def usual(self, method: str) -> Reducer | None:
        """The method with a budget within its reach; None if it refuses the model."""
        model = llava_of(torch.float32)
        reducer = within_reach(method, family_of(model).anatomy(model)).first_reading  # a second one is the baseline
        try:
            with torch.no_grad(), reduced(model, reducer, question=TINY_QUESTION):
                model(**llava_inputs([1]))
        except InputError as error:
            self.refused(str(error))
            return None
        return reducer

    @torch.no_grad()
    def test_dropping_equals_hiding(self, method: str) -> None:
        model, inputs = llava_of(torch.float32), llava_inputs([1])
        reducer = self.usual(method)
        if reducer is None or reducer.merges_in_llm:  # what merges inside the model is nowhere to be hidden
            return
        entered: list[Tensor] = []
        hook = model.model.language_model.layers[0].register_forward_pre_hook(
            lambda module, args, kwargs: entered.append((*args, kwargs.get("hidden_states"))[0]), with_kwargs=True
        )
        more = {"do_sample": False, "output_logits": True, "return_dict_in_generate": True}
        try:
            with reduced(model, reducer, question=TINY_QUESTION) as trace:
                out = model.generate(**inputs, max_new_tokens=GENERATED, **more)
        finally:
            hook.remove()
        (image,), prompt = trace.images, inputs["input_ids"][0]
        (columns,) = (prompt == IMAGE_ID).nonzero(as_tuple=True)
        there = torch.ones(len(prompt), dtype=torch.bool)
        if image.cuts and image.cuts[0].layer == 0:
            there[columns] = False
            there[columns[image.cuts[0].kept]] = True
        embeds = model.get_input_embeddings()(torch.cat([prompt, out.sequences[0, -GENERATED:-1]]))
        embeds[: len(prompt)][~there] = 0.0
        embeds[: len(prompt)][there] = entered[0][0]
        gaps = reducer.position_mode(family_of(model).anatomy(model)) == "original"

        def positions(alive: Tensor) -> Tensor:
            return torch.arange(len(alive))[None] if gaps else alive.long().cumsum(0)[None] - 1

        expected = hidden_logits(model, embeds, [columns], [image], positions)
        torch.testing.assert_close(torch.cat(out.logits), expected[-GENERATED:], atol=1e-5, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    @torch.no_grad()
    def test_runs_in_half_precision(self, method: str, dtype: torch.dtype) -> None:
        reducer, model, inputs = self.usual(method), llava_of(dtype), llava_inputs([1, 2])
        if reducer is not None:
            with reduced(model, reducer, question=TINY_QUESTION) as trace:
                logits = model(**inputs | {"pixel_values": inputs["pixel_values"].to(dtype)}).logits
            assert logits.dtype == dtype and logits.isfinite().all()
            check_images(model, trace, reducer)

    @torch.no_grad()
    def test_a_single_token_or_one_sentence(self, method: str) -> None:
        model = llava_of(torch.float32)
        try:
            with reduced(model, REDUCERS[method](retention=1 / 36), question=TINY_QUESTION) as trace:
                assert model(**llava_inputs([1])).logits.isfinite().all()
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert 1 <= len(trace.images[0].kept) <= 2

    @torch.no_grad()
    def test_runs_on_some_model(self, method: str) -> None:
        reducer, sentences = REDUCERS[method](retention=USUAL), []
        for tiny in TINY_MODELS:
            try:
                with reduced(tiny.model, reducer, question=TINY_QUESTION):
                    tiny.model(**tiny.inputs([tiny.prompt]))
                return
            except InputError as error:
                sentences.append(f"{tiny.name}: {error}")
        raise AssertionError("it refuses every model: " + "; ".join(sentences))
