"""Scores and keys from a layer's own projections: rows and column means, never a whole attention map."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core import geometry


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


def cls_row(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Attention from CLS (row 0) to the patches: (images, heads, tokens), not renormalised without CLS.

    query (images, 1, dim) and key (images, 1 + tokens, dim) as they leave the projections.
    """
    query = query.view(*query.shape[:2], heads, -1).transpose(1, 2)  # (images, heads, 1, head_dim)
    key = key.view(*key.shape[:2], heads, -1).transpose(1, 2)
    weights = geometry.precise(query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5
    row: Tensor = weights.softmax(-1)[:, :, 0, 1:]
    return row


def received(query: Tensor, key: Tensor, bounds: list[int], scaling: float) -> Tensor:
    """(patches,): attention that each patch receives, summed over heads, averaged over the queries of its image.

    query, key (patches, heads, head_dim); bounds: where images begin and end. The patches x patches map is never
    complete: head_dim rows of it exist at a time, which take no more memory than the queries.
    """
    means = []
    for start, end in pairwise(bounds):
        keys = key[start:end].permute(1, 2, 0)  # (heads, head_dim, patches)
        total = torch.zeros(end - start, device=key.device)
        for rows in torch.split(query[start:end].transpose(0, 1), query.shape[-1], dim=1):
            total += geometry.precise(rows @ keys).mul_(scaling).softmax(-1).sum((0, 1))
        means.append(total / (end - start))
    return torch.cat(means)


def received_by_tile(query: Tensor, key: Tensor, valid: Tensor | None, attn: Any) -> Tensor:
    """query, key (tiles, patches, dim) -> (tiles, patches) attention received inside each tile.

    valid (tiles, rows, cols) is False for padded patches, which neither attend nor are attended to; None = no padding.
    """
    tiles, patches = query.shape[:2]
    query, key = (rows.view(tiles, patches, attn.num_heads, -1) for rows in (query, key))
    scores = torch.zeros(tiles, patches, device=query.device)
    for i in range(tiles):
        real = torch.arange(patches, device=query.device) if valid is None else valid[i].flatten().nonzero()[:, 0]
        scores[i, real] = received(query[i, real], key[i, real], [0, len(real)], attn.scale)
    return scores


def query_rows(states: Tensor, query_columns: Tensor | None) -> Tensor:
    """(batch or 1, tokens, dim) -> (batch, queries, dim): the rows at query_columns; None: the last one."""
    if query_columns is None:
        return states[:, -1:]
    states = states.expand(len(query_columns), *states.shape[1:])
    return states.gather(1, query_columns[..., None].expand(*query_columns.shape, states.shape[-1]))


def head_rows(attn: Any, name: str, normed: Tensor) -> Tensor:
    """(batch, tokens, dim) -> (batch, heads, tokens, head_dim) through the "q" or "k" projection and any norm."""
    states = getattr(attn, f"{name}_proj")(normed).view(*normed.shape[:2], -1, attn.head_dim)
    norm = getattr(attn, f"{name}_norm", None)
    heads: Tensor = (states if norm is None else norm(states)).transpose(1, 2)
    return heads
