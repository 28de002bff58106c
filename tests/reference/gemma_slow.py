"""Gemma 4's decoder layers over the full length, in which dropped tokens are hidden: written from its configuration.

A window counts the tokens that are alive, because dropped ones take no place in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def without_placeholders(model: Any, ids: Tensor) -> Tensor:
    """(length,) ids in which padding stands for placeholders, also for those that the model has written."""
    config = model.config
    special = torch.tensor([config.image_token_id, config.video_token_id, config.audio_token_id])
    return ids.where(~torch.isin(ids, special), config.text_config.pad_token_id)


def layers(
    model: Any,
    ids: Tensor,  # (length,)
    embeds: Tensor,  # (length, dim), picture features in place
    columns: Sequence[Tensor],  # per picture
    positions: Callable[[Tensor], Tensor],  # alive (length,) -> position ids
) -> Callable[[int, Tensor, Tensor], Tensor]:
    """Runs one layer: (number, hidden (1, length, dim), alive (length,)) -> its output."""
    llm, length = model.model.language_model, len(ids)
    config, own, shared = llm.config, None, dict[str, Any]()
    if config.hidden_size_per_layer_input:
        own = llm.get_per_layer_inputs(without_placeholders(model, ids)[None], None)
        own = llm.project_per_layer_inputs(embeds[None], own)
    picture = torch.full((length,), -1)
    for number, mine in enumerate(columns):
        picture[mine] = number
    row, column = torch.arange(length)[:, None], torch.arange(length)[None]

    def run(number: int, hidden: Tensor, alive: Tensor) -> Tensor:
        kind, seen = config.layer_types[number], column <= row
        if kind == "sliding_attention":
            if config.use_bidirectional_attention == "vision":
                seen = seen | ((picture[:, None] == picture[None]) & (picture >= 0)[None])
            place = alive.long().cumsum(0)
            seen = seen & (place[:, None] - place[None] < config.sliding_window)
        visible = (seen & alive[None]) | (row == column)
        mask = torch.zeros(length, length).masked_fill(~visible, torch.finfo(torch.float32).min)
        return llm.layers[number](
            hidden,
            None if own is None else own[:, :, number],
            shared_kv_states=shared,
            attention_mask=mask[None, None],
            position_embeddings=llm.rotary_emb(hidden, positions(alive), kind),
        )

    return run
