"""Scores and keys from a layer's own projections: rows and column means, never a whole attention map."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import cache, lru_cache
from inspect import signature
from itertools import groupby, pairwise
from threading import get_ident
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core import geometry

CPU_BLOCK_BYTES = 1 << 20  # per thread
GPU_BLOCK_BYTES = 1 << 26


def mean_keys(key: Tensor, heads: int, first: int = 1) -> Tensor:
    """key (images, first + tokens, dim) -> (images, tokens, head_dim): mean over heads, without the CLS rows."""
    return key[:, first:].view(len(key), key.shape[1] - first, heads, -1).mean(2)


def hook_query_and_key(
    query: nn.Module, key: nn.Module, record: Callable[[Tensor, Tensor], None]
) -> list[RemovableHandle]:
    """Pass the queries and keys of every call to `record`, as `query` and `key` return them.

    Queries are computed first and held until the keys follow; there is no second pass and no attention map.
    """
    queries: dict[int, Tensor] = {}  # by thread: several may run one model

    def store_query(module: nn.Module, args: Any, out: Tensor) -> None:
        queries[get_ident()] = out

    def score(module: nn.Module, args: Any, out: Tensor) -> None:
        first = queries.pop(get_ident(), None)
        if first is not None:  # None: another thread's call that was under way when the hooks came
            record(first, out)

    return [query.register_forward_hook(store_query), key.register_forward_hook(score)]


def hook_cls_row(
    query: nn.Module, key: nn.Module, heads: int, record: Callable[[Callable[[], Tensor]], None]
) -> list[RemovableHandle]:
    """Pass how to compute the attention of CLS in every call, (images, heads, tokens), to `record`."""
    return hook_query_and_key(query, key, lambda first, keys: record(lambda: cls_row(first[:, :1], keys, heads)))


def hook_received(
    query: nn.Module, key: nn.Module, heads: int, record: Callable[[Callable[[], Tensor]], None]
) -> list[RemovableHandle]:
    """Pass how to compute what each patch receives from CLS and all patches, (images, tokens), to `record`."""

    def score(first: Tensor, keys: Tensor) -> None:
        rows = [part.view(*part.shape[:2], heads, -1) for part in (first, keys)]
        record(lambda: received_in_each(rows[0], rows[1], rows[0].shape[-1] ** -0.5)[:, 1:])

    return hook_query_and_key(query, key, score)


def cls_row(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Attention from CLS (row 0) to the patches: (images, heads, tokens), not renormalised without CLS.

    query (images, 1, dim) and key (images, 1 + tokens, dim) as they leave the projections.
    """
    # one product with the key rows as they lie in memory: dividing those of several images into heads would copy them
    apart = query * _own_columns(heads, query.shape[-1], query.device, query.dtype)  # (images, heads, dim)
    weights = geometry.precise((key @ apart.transpose(1, 2)).transpose(1, 2)) * (query.shape[-1] // heads) ** -0.5
    row: Tensor = weights.softmax(-1)[..., 1:]
    return row


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def _own_columns(heads: int, dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(heads, dim) 1 in the columns of each head, 0 elsewhere."""
    return torch.eye(heads, device=device, dtype=dtype).repeat_interleave(dim // heads, 1)


def received(query: Tensor, key: Tensor, bounds: list[int], scaling: float) -> Tensor:
    """(patches,): attention that each patch receives, summed over heads, averaged over the queries of its image.

    query, key (patches, heads, head_dim); bounds: where images begin and end. Images of one size that follow one
    another (the slices of a video) are computed together.
    """
    means, start = [], 0
    for length, group in groupby(after - before for before, after in pairwise(bounds)):
        images = len(list(group))
        end = start + images * length
        queries, keys = (rows[start:end].view(images, length, *rows.shape[1:]) for rows in (query, key))
        means.append(received_in_each(queries, keys, scaling).flatten())
        start = end
    return torch.cat(means)


def received_by_tile(query: Tensor, key: Tensor, valid: Tensor | None, attn: Any) -> Tensor:
    """query, key (tiles, patches, dim) -> (tiles, patches) attention received inside each tile.

    valid (tiles, rows, cols) is False for padded patches, which neither attend nor are attended to; None = no padding.
    """
    query, key = (rows.view(*rows.shape[:2], attn.num_heads, -1) for rows in (query, key))
    if valid is None or bool(valid.all()):
        return received_in_each(query, key, attn.scale)
    scores = torch.zeros(query.shape[:2], device=query.device)
    for i in range(len(query)):
        real = valid[i].flatten().nonzero()[:, 0]
        scores[i, real] = received_in_each(query[i : i + 1, real], key[i : i + 1, real], attn.scale)[0]
    return scores


def received_in_each(query: Tensor, key: Tensor, scaling: float) -> Tensor:
    """query, key (images, patches, heads, head_dim) -> (images, patches): attention that each patch receives.

    Summed over heads, averaged over the queries of its own image, in float32 at least, without gradients. The maps of
    patches x patches are computed in blocks, in two buffers of at most `block_bytes` each (or of one row).
    """
    query, key = (rows.detach().transpose(1, 2) for rows in (query, key))  # (images, heads, patches, head_dim)
    patches, dtype = query.shape[2], torch.promote_types(query.dtype, torch.float32)
    total = torch.zeros(query.shape[:3], dtype=dtype, device=query.device)
    looped = 0 if len(query) <= query.shape[1] else 1  # the shorter of these axes: joining them would copy
    rows = max(1, block_bytes(query.device) // (patches * dtype.itemsize))
    maps, rows = min(query.shape[1 - looped], max(1, rows // patches)), min(rows, patches)
    buffers = torch.empty(2, maps * rows * patches, dtype=dtype, device=query.device)
    views: dict[torch.Size, tuple[Tensor, ...]] = {}  # of the buffers: most blocks have the same shape
    for parts in zip(*(part.unbind(looped) for part in (query, key.transpose(2, 3), total)), strict=True):
        for queries, keys, sums in zip(*(torch.split(part, maps) for part in parts), strict=True):
            for block in torch.split(queries, rows, 1):
                if block.shape not in views:
                    shape = (*block.shape[:2], patches)
                    views[block.shape] = buffers[:, : math.prod(shape)].view(2, *shape).unbind()
                scores, attention = views[block.shape]
                if block.dtype == dtype:
                    torch.baddbmm(scores, block, keys, beta=0, alpha=scaling, out=scores)
                else:
                    scores.copy_(block @ keys).mul_(scaling)
                torch.softmax(scores, -1, out=attention)
                sums.add_(attention.sum(1))
    return total.sum(1) / patches


def block_bytes(device: torch.device) -> int:
    """How large a block of attention is: it stays in the cache of a CPU, and keeps a GPU busy."""
    return CPU_BLOCK_BYTES * torch.get_num_threads() if device.type == "cpu" else GPU_BLOCK_BYTES


def query_rows(states: Tensor, query_columns: Tensor | None) -> Tensor:
    """(batch or 1, tokens, dim) -> (batch, queries, dim): the rows at query_columns; None: the last one."""
    if query_columns is None:
        return states[:, -1:]
    states = states.expand(len(query_columns), *states.shape[1:])
    return states.gather(1, query_columns[..., None].expand(*query_columns.shape, states.shape[-1]))


def head_rows(attn: Any, name: str, normed: Tensor) -> Tensor:
    """(batch, tokens, dim) -> (batch, heads, tokens, head_dim) through the "q", "k" or "v" projection and any norm.

    Without the gate that Qwen3.5 projects beside each head's query. Where Gemma 4 projects no values, they are its keys
    before the norm.
    """
    project = getattr(attn, f"{name}_proj") or attn.k_proj
    states = project(normed).unflatten(-1, (-1, attn.head_dim))
    if name == "q":
        states = states[..., :: states.shape[-2] // attn.config.num_attention_heads, :]
    norm = getattr(attn, f"{name}_norm", None)
    heads: Tensor = (states if norm is None else norm(states)).transpose(1, 2)
    return heads


def text_scores(
    layer: Any,
    hidden: Tensor,
    rotary: tuple[Tensor, Tensor] | None,
    valid: Tensor | None,
    query_columns: Tensor | None = None,
) -> Tensor:
    """(batch, tokens): attention of the last token to every token, with the weights of decoder layer `layer`.

    hidden (batch, tokens, dim) is what enters the layer; rotary is (cos, sin), None for scores without
    position; valid (batch, tokens) is False for padding. One query row; softmax over all tokens, then head mean.
    query_columns (batch, queries): the tokens whose mean attention is returned instead of the last token's; each
    attends to itself and to what comes before it.
    """
    attn = layer.self_attn
    normed = layer.input_layernorm(hidden)
    query = head_rows(attn, "q", query_rows(normed, query_columns))  # (batch, heads, queries, head_dim)
    key = head_rows(attn, "k", normed)  # (batch, kv_heads, tokens, head_dim)
    if rotary is not None:
        query = rotated(attn, query, *(query_rows(part, query_columns) for part in rotary))
        key = rotated(attn, key, *rotary)
    # grouped queries share a key head: move the group into the query axis instead of repeating keys
    query = query.reshape(key.shape[0], key.shape[1], -1, key.shape[-1])
    product = geometry.precise(query @ key.transpose(-1, -2))  # (batch, kv_heads, group, tokens)
    weights: Tensor = product * attn.scaling
    if query_columns is not None:
        columns = torch.arange(hidden.shape[1], device=query_columns.device)
        later = columns > query_columns[..., None]  # (batch, queries, tokens)
        groups = weights.shape[2] // query_columns.shape[1]
        weights = weights.masked_fill(later.repeat(1, groups, 1)[:, None], -torch.inf)
    if valid is not None:
        weights = weights.masked_fill(~valid[:, None, None, :], -torch.inf)
    return weights.softmax(-1).mean((1, 2))


def projections(
    layer: Any, hidden: Tensor, rotary: tuple[Tensor, Tensor] | None, names: frozenset[str]
) -> dict[str, Tensor]:
    """Those of "queries", "llm_keys", "rotated_keys" and "values" in decoder layer `layer` that are in `names`.

    Each is (tokens, heads, head_dim). hidden (tokens, dim) is what enters the layer; rotary is its (cos, sin),
    (1, tokens, head_dim) each; None leaves keys unrotated.
    """
    attn, found = layer.self_attn, dict[str, Tensor]()
    normed = layer.input_layernorm(hidden[None])
    if "queries" in names:
        found["queries"] = head_rows(attn, "q", normed)
    if "values" in names:
        found["values"] = head_rows(attn, "v", normed)
    if names & {"llm_keys", "rotated_keys"}:
        key = found["llm_keys"] = head_rows(attn, "k", normed)
        found["rotated_keys"] = key if rotary is None else rotated(attn, key, *rotary)
    return {name: rows[0].transpose(0, 1) for name, rows in found.items() if name in names}


def rotated(attn: Any, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Queries or keys (batch, heads, tokens, head_dim) with the rotary embedding of the model of `attn`."""
    rotate = vars(sys.modules[type(attn).__module__])["apply_rotary_pos_emb"]
    if _rotates_one(rotate):
        return cast(Tensor, rotate(states, cos, sin))
    return cast(Tensor, rotate(states, states[:, :0], cos, sin)[0])  # it rotates two tensors: the second has no heads


@cache
def _rotates_one(rotate: Callable[..., Any]) -> bool:
    return "k" not in signature(rotate).parameters
