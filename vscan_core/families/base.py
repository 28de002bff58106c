"""Family: where the parts of one kind of model are, and how to read scores off them. It knows no method."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.layout import Layout, Tiles
from vscan_core.selection import Anatomy, Needs, View

Record = Callable[[int, Tensor], None]  # (vision layer, scores of all images)


class Family(ABC):
    """One kind of LVLM on unmodified transformers classes. Methods take the model; a family holds no state."""

    model_type: str  # config.model_type it serves
    title: str
    gives_keys = False  # whether `tap_keys` is there

    def base(self, model: nn.Module) -> Any:
        """The model without its language-model head; it joins pixels and text."""
        return model.model

    def language_model(self, model: nn.Module) -> Any:
        """The decoder stack; called with `inputs_embeds` that already hold the visual tokens."""
        return self.base(model).language_model

    def layers(self, model: nn.Module) -> nn.ModuleList:
        """Decoder layers, each called as layer(hidden_states, attention_mask=, position_embeddings=, ...)."""
        layers: nn.ModuleList = self.language_model(model).layers
        return layers

    @abstractmethod
    def vision_tower(self, model: nn.Module) -> nn.Module:
        """The module that turns pixels into vision features."""

    @abstractmethod
    def projector(self, model: nn.Module) -> nn.Module:
        """The module that maps vision features to the LLM's width, token by token."""

    def encode(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Run the vision side on what the processor's image half made."""
        return model.get_image_features(**batch, return_dict=True)

    @abstractmethod
    def see(self, model: nn.Module, args: Any, kwargs: Any) -> Tiles:
        """The tiles of a call of the vision tower, from its arguments."""

    @abstractmethod
    def anatomy(self, model: nn.Module) -> Anatomy:
        """Plain numbers about this model and its family's published settings."""

    @abstractmethod
    def tap(self, model: nn.Module, layer: int, record: Record) -> list[RemovableHandle]:
        """Hook vision layer `layer` so that each encode records its scores.

        With CLS: its row, (tiles, heads, tokens). Without: attention received, one number per projector row.
        """

    def tap_keys(self, model: nn.Module, layer: int, record: Record) -> list[RemovableHandle]:
        """Hook vision layer `layer` so that each encode records its head-mean keys (tiles, tokens, head_dim)."""
        raise NotImplementedError

    def check(self, needs: Needs) -> None:
        """Raise InputError if this kind of model cannot give what is needed."""
        if needs.keys and not self.gives_keys:
            raise InputError(f"{self.title} does not give the vision keys that this method needs; choose another one.")
        if needs.joint:
            raise InputError(
                f"{self.title} comes without the text half of CLIP, which this method needs to compare the question "
                "with the picture; choose another one."
            )

    @abstractmethod
    def image_token_id(self, model: nn.Module) -> int:
        """The placeholder that stands for visual tokens in input_ids."""

    def watch_packing(self, model: nn.Module, record: Callable[[list[Layout]], None]) -> list[Any]:
        """For families that pack: report the layout of every image after each encode. Things with `.remove()`."""
        return []

    def visual_mask(self, model: nn.Module, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor | None:
        """(batch, length) bool: which prompt positions hold visual tokens."""
        token = self.image_token_id(model)
        if input_ids is not None:
            return input_ids == token
        if inputs_embeds is None:
            return None
        embedding = self.language_model(model).get_input_embeddings().weight[token]
        mask: Tensor = (inputs_embeds == embedding.to(inputs_embeds)).all(-1)
        return mask

    @abstractmethod
    def view(self, processor: Any, width: int, height: int) -> View:
        """Where the pixels that `processor` makes of a width x height picture lie in that picture."""

    def text_scores(
        self,
        layer: Any,
        hidden: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        valid: Tensor | None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """(batch, tokens): attention of the last token to every token, with the weights of decoder layer `layer`.

        hidden (batch, tokens, dim) is what enters the layer; rotary is (cos, sin), None for scores without
        position; valid (batch, tokens) masks padding. One query row; softmax over all tokens, then head mean.
        With rows (queries,): the mean over these tokens' attention instead, each to what comes before it.
        """
        attn = layer.self_attn
        normed = layer.input_layernorm(hidden)
        asking = slice(-1, None) if rows is None else rows
        query = _heads(attn, "q", normed[:, asking])  # (batch, heads, queries, head_dim)
        key = _heads(attn, "k", normed)  # (batch, kv_heads, tokens, head_dim)
        if rotary is not None:
            rotate = vars(sys.modules[type(attn).__module__])["apply_rotary_pos_emb"]
            cos, sin = rotary
            query, _ = rotate(query, query, cos[:, asking], sin[:, asking])
            key, _ = rotate(key, key, cos, sin)
        # grouped queries share a key head: fold the group into the query axis instead of repeating keys
        query = query.reshape(key.shape[0], key.shape[1], -1, key.shape[-1])
        weights: Tensor = (
            geometry.precise(query @ key.transpose(-1, -2)) * attn.scaling
        )  # (batch, kv_heads, group, tokens)
        if rows is not None:
            later = torch.arange(hidden.shape[1], device=rows.device)[None, :] > rows[:, None]
            weights = weights.masked_fill(later.repeat(weights.shape[2] // len(rows), 1), -torch.inf)
        if valid is not None:
            weights = weights.masked_fill(~valid[:, None, None, :], -torch.inf)
        return weights.softmax(-1).mean((1, 2))


def _heads(attn: Any, name: str, normed: Tensor) -> Tensor:
    """(batch, tokens, dim) -> (batch, heads, tokens, head_dim) through the q or k projection (and norm, if any)."""
    states = getattr(attn, f"{name}_proj")(normed).view(*normed.shape[:2], -1, attn.head_dim)
    norm = getattr(attn, f"{name}_norm", None)
    heads: Tensor = (states if norm is None else norm(states)).transpose(1, 2)
    return heads


def mean_keys(key: Tensor, heads: int) -> Tensor:
    """Head-mean keys of the patches, (images, tokens, head_dim); key (images, 1 + tokens, dim) with CLS first."""
    return key[:, 1:].view(len(key), key.shape[1] - 1, heads, -1).mean(2)


def cls_row(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Attention that CLS (row 0) pays to the patches: (images, heads, tokens), not renormalised without CLS.

    query (images, 1, dim) and key (images, 1 + tokens, dim) as they leave the projections.
    """
    query = query.view(*query.shape[:2], heads, -1).transpose(1, 2)  # (images, heads, 1, head_dim)
    key = key.view(*key.shape[:2], heads, -1).transpose(1, 2)
    weights = geometry.precise(query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5
    row: Tensor = weights.softmax(-1)[:, :, 0, 1:]
    return row
