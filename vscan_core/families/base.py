"""Family: where the parts of one kind of model are, and how to read scores off them. It knows no method."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import pairwise
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.layout import Layout, Tiles
from vscan_core.selection import Anatomy, Needs, View

QUERIES = 1024  # rows of attention that exist at a time
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

    def vision_towers(self, model: nn.Module) -> list[nn.Module]:
        """All of them, where pictures and videos have their own."""
        return [self.vision_tower(model)]

    @abstractmethod
    def projector(self, model: nn.Module) -> nn.Module:
        """The module that maps vision features to the LLM's width, token by token."""

    def encode(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Run the vision side on what the processor's image half made."""
        return model.get_image_features(**batch, return_dict=True)

    @abstractmethod
    def see(self, model: nn.Module, args: Any, kwargs: Any) -> Tiles:
        """The tiles of a call of the vision tower, from its arguments."""

    def see_in(self, tower: nn.Module, model: nn.Module, args: Any, kwargs: Any) -> Tiles:
        """As `see`, for families whose towers differ in what they pass on."""
        return self.see(model, args, kwargs)

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

    def follow(self, kwargs: Mapping[str, Any], keep: Tensor, index: Tensor) -> dict[str, Any]:
        """What cut 0 changes in the decoder stack's arguments beyond those that every model has.

        keep (batch, length) says which columns stay; index (batch, shorter) where each one left came from.
        """
        return {}

    def visual_token_ids(self, model: nn.Module) -> tuple[int, ...]:
        """Every placeholder that stands for visual tokens: of images, and of videos where there are any."""
        return (self.image_token_id(model),)

    def visual_mask(self, model: nn.Module, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor | None:
        """(batch, length) bool: which prompt positions hold visual tokens."""
        tokens = self.visual_token_ids(model)
        if input_ids is not None:
            masks = [input_ids == token for token in tokens]
        elif inputs_embeds is not None:
            table = self.language_model(model).get_input_embeddings().weight
            masks = [(inputs_embeds == table[token].to(inputs_embeds)).all(-1) for token in tokens]
        else:
            return None
        if len(masks) > 1 and masks[0].shape[-1] > 1 and all(bool(mask.any()) for mask in masks):
            raise InputError("images and videos in one call are not supported; ask about them in separate calls")
        return torch.stack(masks).any(0)

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


def tap_pair(
    query: nn.Module, key: nn.Module, keep: Callable[[Tensor, Tensor], None], rows: slice = slice(None)
) -> list[RemovableHandle]:
    """Give `keep` the queries (only these rows) and keys of every call, from the modules that they leave last.

    Queries come first and are held until the keys come; no second pass, no attention map.
    """
    queries: dict[int, Tensor] = {}  # by thread: several may run one model

    def keep_query(module: nn.Module, args: Any, out: Tensor) -> None:
        queries[get_ident()] = out[:, rows]

    def score(module: nn.Module, args: Any, out: Tensor) -> None:
        first = queries.pop(get_ident(), None)
        if first is not None:  # None: another thread's call that was under way when the hooks came
            keep(first, out)

    return [query.register_forward_hook(keep_query), key.register_forward_hook(score)]


def tap_cls(query: nn.Module, key: nn.Module, heads: int, keep: Callable[[Tensor], None]) -> list[RemovableHandle]:
    """Give `keep` the CLS row of every call."""
    return tap_pair(query, key, lambda first, keys: keep(cls_row(first, keys, heads)), slice(1))


def cls_row(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Attention that CLS (row 0) pays to the patches: (images, heads, tokens), not renormalised without CLS.

    query (images, 1, dim) and key (images, 1 + tokens, dim) as they leave the projections.
    """
    query = query.view(*query.shape[:2], heads, -1).transpose(1, 2)  # (images, heads, 1, head_dim)
    key = key.view(*key.shape[:2], heads, -1).transpose(1, 2)
    weights = geometry.precise(query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5
    row: Tensor = weights.softmax(-1)[:, :, 0, 1:]
    return row


def received(query: Tensor, key: Tensor, bounds: list[int], scaling: float) -> Tensor:
    """(patches,): attention that each patch receives, summed over heads, averaged over the queries of its image.

    query, key (patches, heads, head_dim); bounds: where images begin and end. Never a patches x patches map.
    """
    parts = []
    for start, end in pairwise(bounds):
        keys = key[start:end].permute(1, 2, 0)  # (heads, head_dim, patches)
        total = torch.zeros(end - start, device=key.device)
        for rows in torch.split(query[start:end].transpose(0, 1), QUERIES, dim=1):
            total = total + (geometry.precise(rows @ keys) * scaling).softmax(-1).sum((0, 1))
        parts.append(total / (end - start))
    return torch.cat(parts)


def received_by_tile(query: Tensor, key: Tensor, valid: Tensor | None, attn: Any) -> Tensor:
    """query, key (tiles, patches, dim) -> (tiles, patches) attention received inside each tile.

    valid (tiles, rows, cols) is False for padded patches, which neither pay nor receive; None = no padding.
    """
    tiles, patches = query.shape[:2]
    query, key = (rows.view(tiles, patches, attn.num_heads, -1) for rows in (query, key))
    scores = torch.zeros(tiles, patches, device=query.device)
    for i in range(tiles):
        real = torch.arange(patches, device=query.device) if valid is None else valid[i].flatten().nonzero()[:, 0]
        scores[i, real] = received(query[i, real], key[i, real], [0, len(real)], attn.scale)
    return scores
