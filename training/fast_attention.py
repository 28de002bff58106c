"""Attention for training on a CPU: matrix products in bfloat16, 1.3 to 7 times as fast as the fused kernel.

Packed questions (`training.packing`) attend to the picture and to themselves; masked entries are not computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

LONG = 256  # tokens; beyond that the fused kernel, which skips masked blocks, is faster
HIDDEN = -1e4
TOWER, PACKED = "training_tower", "training_packed"


@dataclass(frozen=True)
class Blocks:
    """Where the tokens of a packed batch go once every question is padded to the same length."""

    front: int  # tokens before the text: prefix and picture, which every question attends to
    length: int  # of the longest question
    slots: Tensor  # (batch, questions * length): the text token in each slot
    filled: Tensor  # (batch, questions * length): False for padding
    home: Tensor  # (batch, text): the slot of each text token
    real: Tensor  # (batch, text): False for padding

    @staticmethod
    def of(block: Tensor, offset: Tensor, front: int) -> Blocks:
        """From question number (-1 is padding) and place in the question, (batch, text) each."""
        real = block >= 0
        questions, length = int(block.max()) + 1, int(offset.max()) + 1
        home = torch.where(real, block * length + offset, 0)
        slots = block.new_zeros(len(block), questions * length)
        filled = torch.zeros(slots.shape, dtype=torch.bool)
        rows = torch.arange(len(block))[:, None].expand_as(block)
        slots[rows[real], home[real]] = torch.arange(block.shape[1]).expand_as(block)[real]
        filled[rows[real], home[real]] = True
        return Blocks(front, length, slots, filled, home, real)


def use_fast_attention(model: LlavaForConditionalGeneration) -> LlavaForConditionalGeneration:
    """Make tower and language model use the attention of this file; the language model then needs `blocks=Blocks`."""
    ALL_ATTENTION_FUNCTIONS.register(TOWER, _tower)
    ALL_ATTENTION_FUNCTIONS.register(PACKED, _packed)
    model.model.vision_tower.config._attn_implementation = TOWER
    model.model.language_model.config._attn_implementation = PACKED
    return model


def _tower(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: None, **_: object
) -> tuple[Tensor, None]:
    half = (part.bfloat16() for part in (query, key, value))
    return _FullAttention.apply(*half, None).transpose(1, 2).to(query.dtype), None


def _packed(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: None, *, blocks: Blocks, **_: object
) -> tuple[Tensor, None]:
    return packed_attention(query.bfloat16(), key.bfloat16(), value.bfloat16(), blocks).to(query.dtype), None


def packed_attention(query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
    """Attention of a packed sequence; (batch, heads, tokens, width) each -> (batch, tokens, heads, width)."""
    front = [part[:, :, : blocks.front] for part in (query, key, value)]
    if blocks.front > LONG:
        prefix_output = F.scaled_dot_product_attention(*front, is_causal=True)
    else:
        prefix_output = _FullAttention.apply(*front, _ahead(blocks.front, query.dtype))
    text_output = _TextAttention.apply(query[:, :, blocks.front :], key, value, blocks)
    return torch.cat([prefix_output.transpose(1, 2), text_output], dim=1)


def _ahead(size: int, dtype: torch.dtype) -> Tensor:
    """(size, size): causal mask, to be added to the scores."""
    return torch.full((size, size), HIDDEN, dtype=dtype).triu(1)


class _FullAttention(torch.autograd.Function):
    """softmax(query key^T / sqrt(width) + mask) value over (batch, heads, tokens, width)."""

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        query = query * query.shape[-1] ** -0.5
        scores = query @ key.transpose(2, 3)
        weights = (scores if mask is None else scores.add_(mask)).softmax(-1, torch.float32)
        ctx.save_for_backward(query, key, value, weights)
        return weights.to(value.dtype) @ value

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights = ctx.saved_tensors
        scores = _through_softmax(grad @ value.transpose(2, 3), weights)
        to_query = scores @ key * query.shape[-1] ** -0.5
        return to_query, scores.transpose(2, 3) @ query, weights.to(grad.dtype).transpose(2, 3) @ grad, None


def _through_softmax(grad: Tensor, weights: Tensor) -> Tensor:
    """In float32: rounded weights do not sum to one, and that error alone would give the keys a gradient."""
    return torch._softmax_backward_data(grad.float(), weights, -1, torch.float32).to(grad.dtype)


class _TextAttention(torch.autograd.Function):
    """Attention of the text: to the whole front, and to its own question up to itself.

    query (batch, heads, text, width), key and value (batch, heads, front + text, width) -> (batch, text, heads, width).
    """

    @staticmethod
    def forward(ctx, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        front, length = blocks.front, blocks.length
        query = _to_slots(query, blocks.slots) * query.shape[-1] ** -0.5
        own_key, own_value = _to_slots(key[:, :, front:], blocks.slots), _to_slots(value[:, :, front:], blocks.slots)
        far_key, far_value = key[:, :, :front], value[:, :, :front]
        own = _split(query, length) @ _split(own_key, length).transpose(3, 4) + _ahead(length, query.dtype)
        scores = torch.cat([query @ far_key.transpose(2, 3), own.flatten(2, 3)], dim=3)
        weights = scores.softmax(-1, torch.float32)
        ctx.save_for_backward(query, own_key, own_value, far_key, far_value, weights)
        ctx.blocks = blocks
        weights = weights.to(value.dtype)
        near = _split(weights[..., front:], length) @ _split(own_value, length)
        return _to_text(weights[..., :front] @ far_value + near.flatten(2, 3), blocks.home)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, own_key, own_value, far_key, far_value, weights = ctx.saved_tensors
        blocks: Blocks = ctx.blocks
        front, length = blocks.front, blocks.length
        grad = _to_slots(grad.transpose(1, 2), blocks.slots) * blocks.filled[:, None, :, None]
        cut = _split(grad, length)
        near = cut @ _split(own_value, length).transpose(3, 4)
        back = torch.cat([grad @ far_value.transpose(2, 3), near.flatten(2, 3)], dim=3)
        scores, weights = _through_softmax(back, weights), weights.to(grad.dtype)
        far, own = scores[..., :front], _split(scores[..., front:], length)
        to_query = (far @ far_key + (own @ _split(own_key, length)).flatten(2, 3)) * query.shape[-1] ** -0.5
        to_key = own.transpose(3, 4) @ _split(query, length)
        to_value = _split(weights[..., front:], length).transpose(3, 4) @ cut
        to_query, to_key, to_value = (
            (_to_text(part, blocks.home) * blocks.real[:, :, None, None]).transpose(1, 2)
            for part in (to_query, to_key.flatten(2, 3), to_value.flatten(2, 3))
        )
        to_key = torch.cat([far.transpose(2, 3) @ query, to_key], dim=2)
        return to_query, to_key, torch.cat([weights[..., :front].transpose(2, 3) @ grad, to_value], dim=2), None


def _split(slots: Tensor, length: int) -> Tensor:
    """(batch, heads, questions * length, n) -> (batch, heads, questions, length, n)."""
    return slots.unflatten(2, (-1, length))


def _to_slots(text: Tensor, slots: Tensor) -> Tensor:
    """(batch, heads, text, width) -> (batch, heads, slots, width)."""
    rows = torch.arange(len(slots))[:, None]
    return text.transpose(1, 2)[rows, slots].transpose(1, 2)


def _to_text(slotted: Tensor, home: Tensor) -> Tensor:
    """(batch, heads, slots, width) -> (batch, text, heads, width)."""
    rows = torch.arange(len(home))[:, None]
    return slotted.transpose(1, 2)[rows, home]
