"""Hide, layer by layer, what a trace says was dropped; for any family, over the full length, with no cache.

Which tokens are dropped is taken from the trace (other tests hold that against the papers); what is checked here is
that dropping them inside a running model equals hiding them. From a recurrent state or a convolution nothing can be
hidden by a mask, so layers without attention run on the tokens alone that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vscan_core.trace import ImageTrace


def hidden_logits(
    model: Any,
    embeds: Tensor,  # (length, dim) prompt with its full image features, then generated tokens
    columns: Sequence[Tensor],  # per image, where its visual tokens are in the sequence
    images: Sequence[ImageTrace],
    positions: Callable[[Tensor], Tensor],  # alive (length,) -> position ids of the rotary embedding
    llm: Any = None,  # the decoder stack, where it is not `model.model.language_model`
    added: Sequence[Tensor] = (),  # (length, dim) per first decoder layers: what the model adds to their output
    run: Callable[[int, Tensor, Tensor], Tensor] | None = None,  # (number, hidden, alive) -> output of an unusual layer
) -> Tensor:
    """(length, vocab) logits of one prompt without padding."""
    llm = llm or model.model.language_model
    hidden, length = embeds[None], len(embeds)
    alive = torch.ones(length, dtype=torch.bool)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    for number, layer in enumerate(llm.layers):
        for place, image in zip(columns, images, strict=True):
            for cut in image.cuts:
                if cut.layer == number:
                    alive[place] = False
                    alive[place[cut.kept]] = True
        if run is not None:
            hidden = run(number, hidden, alive)
            continue
        visible = (causal & alive[None, :]) | torch.eye(length, dtype=torch.bool)
        mask = torch.zeros(length, length).masked_fill(~visible, torch.finfo(torch.float32).min)
        rotary = llm.rotary_emb(hidden, positions(alive))
        if hasattr(layer, "self_attn"):
            hidden = layer(hidden, attention_mask=mask[None, None], position_embeddings=rotary)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        else:
            left = layer(hidden[:, alive], attention_mask=None, position_embeddings=rotary)
            hidden = hidden.clone()
            hidden[:, alive] = left
        hidden = hidden + added[number] if number < len(added) else hidden
    logits: Tensor = model.lm_head(llm.norm(hidden))[0]
    return logits
