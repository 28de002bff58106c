"""FlashAttention-2 glue without a GPU: transformers' own code path, only the two kernels replaced by plain attention.

What is checked is what differs from sdpa in transformers: 2-D masks, unpadding, packed-sequence detection.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import modeling_flash_attention_utils as flash

from tests.conftest import prompt, tiny_llava
from tests.engine.test_reduced import CUTS, check, generate, reducer


def attend(query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float | None) -> Tensor:
    """(length, heads, dim) each; keys may be longer: the last query sees all of them."""
    group = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(group, dim=1) for part in (key, value))
    weights = torch.einsum("qhd,khd->hqk", query, key) * (scale or query.shape[-1] ** -0.5)
    if causal:
        seen = torch.ones(weights.shape[1:], dtype=torch.bool).tril(weights.shape[2] - weights.shape[1])
        weights = weights.masked_fill(~seen, -torch.inf)
    return torch.einsum("hqk,khd->qhd", weights.softmax(-1), value)


def dense(query, key, value, dropout_p=0.0, softmax_scale=None, causal=False, **_):
    return torch.stack([attend(*row, causal, softmax_scale) for row in zip(query, key, value, strict=True)])


def ragged(q, k, v, cu_seqlens_q, cu_seqlens_k, dropout_p=0.0, softmax_scale=None, causal=False, **_):
    out = torch.zeros_like(q)
    queries, keys = cu_seqlens_q.tolist(), cu_seqlens_k.tolist()
    for i in range(len(queries) - 1):
        rows, cols = slice(*queries[i : i + 2]), slice(*keys[i : i + 2])
        if rows.stop > rows.start:
            out[rows] = attend(q[rows], k[cols], v[cols], causal, softmax_scale)
    return out


@pytest.fixture
def flash_llava(monkeypatch):
    kernels = {
        "_loaded_implementation": "flash_attention_2",
        "_flash_fn": dense,
        "_flash_varlen_fn": ragged,
        "_flash_with_kvcache_fn": None,
        "_pad_fn": flash._pad_input,
        "_unpad_fn": flash._unpad_input,
        "_process_flash_kwargs_fn": flash._lazy_define_process_function(ragged),
        "_process_with_kvcache_kwargs_fn": dict,
    }
    for name, kernel in kernels.items():
        monkeypatch.setattr(flash, name, kernel, raising=False)
    model = tiny_llava()
    for part in (model, model.model, model.model.vision_tower, model.model.language_model):
        part.config._attn_implementation = "flash_attention_2"
    return model


@pytest.mark.parametrize("positions", ["renumbered", "original"])
@pytest.mark.parametrize("images", [[1], [2], [1, 1, 1], [0, 2, 1]], ids=str)
@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_generate_equals_masked_recompute(flash_llava, cuts, images, positions) -> None:
    inputs = prompt(images)
    out, trace = generate(flash_llava, inputs, reducer(**cuts, positions=positions))
    for part in (flash_llava.model.vision_tower, flash_llava.model.language_model):
        assert part.config._attn_implementation == "flash_attention_2"
        part.config._attn_implementation = "eager"  # the slow recompute hands its own 4-D masks to the layers
    check(flash_llava, inputs, out, trace, cuts, positions)
