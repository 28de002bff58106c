"""The language model on packed questions: forward pass, loss and exact-match scores."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from training.fast_attention import PACKED, Blocks
from training.model import PREFIX
from training.packing import VISUAL_TOKENS, Packed, positions, prefix_ids


def forward(model: LlavaForConditionalGeneration, packed: Packed, visual: Tensor, kept: Tensor | None = None) -> Tensor:
    """Logits (answer tokens of the batch, vocabulary) for visual tokens (batch, visual, dim).

    `kept` (batch, visual) holds the patch numbers if some of the 576 are left out and the others keep their
    positions; without it the visual tokens take consecutive positions, however many there are.
    """
    language = model.model.language_model
    batch, count = visual.shape[:2]
    embeddings = language.embed_tokens.weight
    prefix = embeddings[torch.tensor(prefix_ids())].expand(batch, -1, -1)
    inputs = torch.cat([prefix, visual, embeddings[packed.ids]], dim=1)
    where, stop = (torch.arange(count).expand(batch, -1), count) if kept is None else (kept, VISUAL_TOKENS)
    place = positions(packed, where + PREFIX, PREFIX + stop)
    assert language.config._attn_implementation == PACKED, "call use_fast_attention(model) first"
    blocks = Blocks.of(packed.block, packed.offset, PREFIX + count)
    hidden = language(inputs_embeds=inputs, position_ids=place, use_cache=False, blocks=blocks).last_hidden_state
    hidden = hidden[:, PREFIX + count :]
    return F.linear(hidden[packed.answer], embeddings)


def targets(packed: Packed) -> Tensor:
    """(answer tokens,): the token after each answer position."""
    following = torch.cat([packed.ids[:, 1:], packed.ids.new_zeros(len(packed.ids), 1)], dim=1)
    return following[packed.answer]


def loss(logits: Tensor, packed: Packed) -> Tensor:
    """Mean cross entropy over answer tokens."""
    return F.cross_entropy(logits.float(), targets(packed))


def exact(logits: Tensor, packed: Packed) -> dict[str, list[bool]]:
    """Exact match of every question by kind; gives what greedy decoding would for these answers."""
    right = (logits.argmax(-1) == targets(packed)).tolist()
    rows, columns = packed.answer.nonzero(as_tuple=True)
    verdict: dict[tuple[int, int], bool] = defaultdict(lambda: True)
    for row, column, hit in zip(rows.tolist(), columns.tolist(), right, strict=True):
        verdict[row, int(packed.block[row, column])] &= hit
    result: dict[str, list[bool]] = defaultdict(list)
    for (row, number), hit in verdict.items():
        result[packed.questions[row][number].kind].append(hit)
    return result
