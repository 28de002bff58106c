"""The examination of every method on every family: what must hold in a running model, or one sentence of refusal."""

from __future__ import annotations

import pytest
import torch

import vscan_core as vc
from tests.families.refused import refusal
from tests.families.test_families import BATCHES, FAMILIES, token_of
from vscan_core.budget import average
from vscan_core.families import family_of

CASES = [(method, name) for method in vc.REDUCERS for name in FAMILIES]
RETENTION = 0.7  # within reach of every method on six layers


@pytest.fixture(scope="module")
def models():
    return {name: make("sdpa") for name, (make, _) in FAMILIES.items()}


def hooks_of(model) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())


@pytest.mark.parametrize(("method", "name"), CASES)
@torch.no_grad()
def test_budget_order_text_identity_and_the_model_as_found(models, method, name) -> None:
    model, inputs = models[name], FAMILIES[name][1](BATCHES[name][0])
    unreduced, hooks = model(**inputs).logits, hooks_of(model)
    visual = int((inputs["input_ids"] == token_of(name)).sum())
    text = inputs["input_ids"].shape[1] - visual
    reducer = vc.REDUCERS[method](retention=RETENTION)
    if sentence := refusal(model, reducer):
        with pytest.raises(vc.InputError, match=sentence) as error, vc.reduced(model, reducer):
            model(**inputs)
        assert "\n" not in str(error.value)
    else:
        with vc.reduced(model, reducer) as trace:
            logits = model(**inputs).logits
        with vc.reduced(model, vc.REDUCERS[method](retention=1)):
            assert torch.equal(model(**inputs).logits, unreduced)
        assert logits.isfinite().all()
        assert all(
            entered - seen == text
            for entered, seen in zip(trace.tokens_per_layer, trace.visual_tokens_per_layer, strict=True)
        )
        check_images(model, trace, method)
    assert hooks_of(model) == hooks and torch.equal(model(**inputs).logits, unreduced)


def check_images(model, trace, method) -> None:
    anatomy = family_of(model).anatomy(model)
    for image in trace.images:
        assert image.cuts
        now = torch.arange(image.tokens)
        for cut in image.cuts:
            assert torch.equal(cut.kept, cut.kept.unique()) and torch.isin(cut.kept, now).all()
            assert len(cut.kept) < len(now)
            now = cut.kept
        tokens, tiles = image.budget
        schedule = vc.REDUCERS[method](retention=RETENTION).schedule(tokens, anatomy, tiles)
        later = {cut.layer: len(cut.kept) for cut in image.cuts if cut.layer > 0}
        assert later == {layer: keep for layer, keep in schedule.items() if layer > 0}
        if tiles == 1 and image.tokens == tokens:
            spent = average({cut.layer: len(cut.kept) for cut in image.cuts}, tokens, anatomy.text_layers)
            assert abs(spent - RETENTION * tokens) <= 1


@pytest.mark.parametrize(("method", "name"), CASES)
@torch.no_grad()
def test_a_batch_equals_its_rows_alone(models, method, name) -> None:
    model, make = models[name], FAMILIES[name][1]
    rows = [row for row in BATCHES[name][0]] * 2
    reducer = vc.REDUCERS[method](retention=RETENTION)
    together, alone = make(rows), make(BATCHES[name][0])
    first = {key: value[: len(alone[key])] if torch.is_tensor(value) else value for key, value in together.items()}
    first = {**first, "input_ids": together["input_ids"][:1], "attention_mask": together["attention_mask"][:1]}
    if "mm_token_type_ids" in together:
        first["mm_token_type_ids"] = together["mm_token_type_ids"][:1]
    if sentence := refusal(model, reducer):
        with pytest.raises(vc.InputError, match=sentence), vc.reduced(model, reducer):
            model(**together)
        return
    with vc.reduced(model, reducer) as trace:
        both = model(**together).logits
    kept = [[cut.kept.tolist() for cut in image.cuts] for image in trace.images]
    with vc.reduced(model, reducer) as trace:
        one = model(**first).logits
    assert [[cut.kept.tolist() for cut in image.cuts] for image in trace.images] == kept[: len(trace.images)]
    torch.testing.assert_close(both[0, -1], one[0, -1], atol=1e-4, rtol=0)
