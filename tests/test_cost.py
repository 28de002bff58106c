"""What a reduction must not cost: no token-by-token map, no host sync per token, no projecting of dropped tokens."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlavaForConditionalGeneration

import vscan_core as vc
from tests.conftest import GOLDEN
from tests.test_parity_vscan import LLAVA, inputs_of

METHOD = vc.VScan(local_layer=5)


class MethodHook(TorchDispatchMode):
    """Largest outputs and host syncs of everything that torch computes."""

    def __init__(self) -> None:
        super().__init__()
        self.square: list[tuple[str, torch.Size]] = []
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.calls[function.overloadpacket.__name__] += 1
        for tensor in out if isinstance(out, tuple) else (out,):
            if isinstance(tensor, torch.Tensor) and sum(side >= 576 for side in tensor.shape) > 1:
                self.square.append((str(function), tensor.shape))
        return out

    @property
    def syncs(self) -> int:
        return sum(self.calls[name] for name in ("_local_scalar_dense", "nonzero", "item", "is_nonzero"))


@pytest.fixture(scope="module")
def model():
    return LlavaForConditionalGeneration.from_pretrained(GOLDEN / "hf_llava15", dtype=torch.float32).eval()


@torch.no_grad()
def watched(model, method) -> MethodHook:
    with vc.reduced(model, method), MethodHook() as method_hook:
        model(**inputs_of(LLAVA["cases"][0]), use_cache=True)
    return method_hook


def test_no_map_of_tokens_by_tokens_is_ever_made(model) -> None:
    assert not watched(model, METHOD).square


def test_the_hook_sees_such_a_map(model) -> None:
    model.set_attn_implementation("eager")
    assert watched(model, None).square
    model.set_attn_implementation("sdpa")


def test_host_syncs_do_not_grow_with_the_tokens(model) -> None:
    few, many = (watched(model, vc.VScan(retention=r, local_layer=5)).syncs for r in (0.02, 0.6))
    assert few <= many <= few + 4
    assert many <= watched(model, None).syncs + 8  # a handful of shapes, read once per prefill


@torch.no_grad()
def test_without_merging_only_kept_tokens_are_projected(model) -> None:
    rows = []
    hook = model.model.multi_modal_projector.linear_1.register_forward_pre_hook(lambda _, args: rows.append(args[0]))
    for merge in (True, False):
        with vc.reduced(model, vc.VScan(local_layer=5, merge=merge)):
            model(**inputs_of(LLAVA["cases"][0]))
    hook.remove()
    assert [row.numel() // row.shape[-1] for row in rows] == [576, 96]
