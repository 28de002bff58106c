"""The interface between methods and models: what a reducer receives (Signals) and returns (Selection).

Names of axes: tokens (visual tokens of one image; at a later cut, those that are left), heads, dim, layers.
A method never sees a model and a model family never sees a method; both see only what is in this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vscan_core import geometry


@dataclass(frozen=True)
class Anatomy:
    """What a reducer may know about a model: its sizes, and the settings published for its family."""

    vision_layers: int  # depth of the vision encoder
    feature_layer: int  # vision layer whose output the LLM sees (0-based): the "output layer" of VScan
    text_layers: int  # decoder layers of the LLM
    shallow_layer: int  # vision layer of the local scan
    has_cls: bool = True  # False: scores are received attention instead of a CLS row
    positions: str = "renumbered"  # what happens to the position ids of the tokens that stay
    rope_in_scores: bool = True  # whether scores of later cuts apply the rotary embedding
    first_cut: int = 1  # lowest decoder layer of a later cut; layers before it add vision features
    last_cut: int | None = None  # deepest one; layers further on reuse keys and values from there; None: any
    middle_layer: int | None = None  # vision layer in the middle of the encoder; None = at a third, as in CLIP


@dataclass(frozen=True)
class Needs:
    """The signals that a reducer needs; only these are recorded."""

    cls_attention: tuple[int, ...] = ()  # vision layers (0-based): CLS row, or received attention if there is no CLS
    received: tuple[int, ...] = ()  # vision layers: received attention, whether or not there is a CLS
    projected: bool = False  # features after the projector; dropped tokens are then merged there, otherwise before it
    keys: bool = False  # head-mean keys of the feature layer
    joint: bool = False  # patches and question in the joint space of an image-text encoder such as CLIP
    blocks: bool = False  # the encoder's blocks, to merge tokens inside them

    def __or__(self, other: Needs) -> Needs:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        both: list[Any] = [tuple(sorted({*a, *b})) if isinstance(a, tuple) else a or b for a, b in pairs]
        return Needs(*both)


@dataclass(frozen=True)
class Signals:
    """Everything a reducer may use, for one image (at cut 0: one image or tile). Signals it does not need are None."""

    features: Tensor | None = None  # (tokens, dim) vision features before the projector, no CLS
    projected: Tensor | None = None  # (tokens, dim_llm) after the projector
    cls_attention: Mapping[int, Tensor] = field(default_factory=dict)  # {vision layer: (heads, tokens)}, post-softmax
    received: Mapping[int, Tensor] = field(default_factory=dict)  # {vision layer: (tokens,)} head sum, mean of queries
    keys: Tensor | None = None  # (tokens, head_dim) head-mean keys of the feature layer
    joint_patches: Tensor | None = None  # (tokens, dim_joint) features of the feature layer in the joint space
    joint_text: Tensor | None = None  # (segments, dim_joint) the question in the joint space, in one or more segments
    text: Tensor | None = None  # (tokens,) attention from the last prompt token: head mean, softmax over the sequence
    hidden: Tensor | None = None  # (tokens, dim_llm) what enters the layer of a later cut
    question: Tensor | None = None  # (dim_llm,) the last prompt token as it enters that layer
    normed: Tensor | None = None  # (tokens, dim_llm) `hidden` after the LLM's final norm
    queries: Tensor | None = None  # (tokens, heads, head_dim) of the layer that scores a later cut, before rotation
    llm_keys: Tensor | None = None  # (tokens, kv_heads, head_dim) its keys, before rotation
    rotated_keys: Tensor | None = None  # (tokens, kv_heads, head_dim) its keys, rotated where scores are
    entered: Tensor | None = None  # (tokens, dim_llm) what entered that layer
    attended: Tensor | None = None  # (tokens, dim_llm) normalised sum of that and the layer's attention
    text_normed: Tensor | None = None  # (text, dim_llm) `normed` of the prompt's text behind the image
    text_rotated_keys: Tensor | None = None  # (text, kv_heads, head_dim) `rotated_keys` of that text
    values: Tensor | None = None  # (tokens, kv_heads, head_dim) values of the layer that scores a later cut
    text_values: Tensor | None = None  # (text, kv_heads, head_dim) `values` of the prompt's text behind the image
    front_values: Tensor | None = None  # (front, kv_heads, head_dim) those of everything in front of the image
    rotary_means: Tensor | None = None  # (tokens, 2) mean cos and sin of the rotary embedding, over head_dim and axes
    indices: Tensor | None = None  # (tokens,) which of the image's unreduced tokens these are; only at later cuts
    places: Tensor | None = None  # (tokens, 2) centres x, y in the picture, whose longer side is 1; NaN for newlines
    grid: tuple[int, int] | None = None  # (rows, cols) of the tokens in the picture
    video: bool = False  # whether the tiles are the frames of one video; only if the reducer sees all tiles

    @property
    def tokens(self) -> int:
        """Number of visual tokens that these signals describe. Raises ValueError if there are no signals."""
        return len(self._any)

    @property
    def device(self) -> torch.device:
        """The device of these signals."""
        return self._any.device

    def as_tiles(self) -> Signals:
        """The same signals with a first axis `tiles`, of length 1."""
        return self.mapped(lambda tensor: tensor[None])

    def each(self) -> list[Signals]:
        """Signals whose first axis is the tiles -> those of each tile."""
        tensors = [*self.cls_attention.values(), *self.received.values(), *filter(torch.is_tensor, vars(self).values())]
        return [self.mapped(partial(torch.select, dim=0, index=i)) for i in range(len(tensors[0]))]

    @classmethod
    def together(cls, tiles: Sequence[Signals]) -> Signals:
        """The signals of tiles of one grid -> those whose first axis is the tiles."""

        def stacked(values: Sequence[Any]) -> Any:
            if isinstance(values[0], Tensor):
                return torch.stack(list(values))
            if isinstance(values[0], Mapping):
                return {layer: stacked([rows[layer] for rows in values]) for layer in values[0]}
            return values[0]

        return cls(**{name: stacked([vars(tile)[name] for tile in tiles]) for name in vars(tiles[0])})

    def seen_by(self, needs: Needs) -> Signals:
        """The same signals, but of no other vision layers than `needs` names: other methods' may be recorded too."""
        wanted = needs.received if self.cls_attention else (*needs.cls_attention, *needs.received)
        received = {layer: rows for layer, rows in self.received.items() if layer in wanted}
        scores = {layer: rows for layer, rows in self.cls_attention.items() if layer in needs.cls_attention}
        return replace(self, cls_attention=scores, received=received)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Signals:
        """The same signals with `change(tensor)` for every tensor."""
        changed: dict[str, Any] = {name: change(one) for name, one in vars(self).items() if isinstance(one, Tensor)}
        tables = {"cls_attention": self.cls_attention, "received": self.received}
        changed |= {name: {layer: change(rows) for layer, rows in table.items()} for name, table in tables.items()}
        return replace(self, **changed)

    @property
    def salience(self) -> Tensor:
        """(tokens,) attention to each token at the deepest recorded layer.

        By CLS, head mean; without CLS, by all tokens. Raises ValueError if no attention was recorded.
        """
        if self.cls_attention:
            return geometry.precise(self.cls_attention[max(self.cls_attention)]).mean(0)
        if self.received:
            return geometry.precise(self.received[max(self.received)])
        raise ValueError("these signals hold no attention: give cls_attention or received")

    @property
    def _any(self) -> Tensor:
        """Some tensor whose first axis is the tokens."""
        for name in ("projected", "features", "text", "hidden", "keys", "joint_patches", "entered", "normed", "values"):
            if isinstance(tensor := getattr(self, name), Tensor):
                return tensor
        for tensor in (*self.cls_attention.values(), *self.received.values()):
            return tensor.reshape(-1, tensor.shape[-1])[0]
        raise ValueError("these signals are empty: give at least features, an attention or text scores")


@dataclass(frozen=True)
class Selection:
    """Which visual tokens of one image are kept. Indices count the tokens of the signals that it was made from."""

    kept: Tensor  # (kept,) int64, ascending
    labels: Mapping[str, Tensor] = field(default_factory=dict)  # why tokens are kept: name -> ascending indices
    merged_into: Tensor | None = None  # (tokens,) int64: kept token that absorbs this dropped one, -1 if none
    scores: Mapping[str, Tensor] = field(default_factory=dict)  # name -> (tokens,) that the choice is based on
    mix: Tensor | None = None  # (kept, tokens): weights of all tokens in each kept one; None: plain averages

    @classmethod
    def top(cls, scores: Tensor, keep: int, name: str) -> Selection:
        """Keep the `keep` best of `scores` (tokens,); ties go to the lowest index.

        Scores .1 .4 .2 .4, keep 2 -> kept [1, 3].
        """
        kept = geometry.top(scores, keep).sort().values
        return cls(kept=kept, labels={name: kept}, scores={name: scores})

    @classmethod
    def groups(cls, group: Tensor, count: int, region: Tensor | None = None) -> Selection:
        """Average each of `count` groups into its first token; group (tokens,) says which one each token is in.

        Groups 1 0 1 0 -> kept [0, 1], merged_into [-1, -1, 0, 1]. Tokens of `region` (n,) come before all others.
        """
        index = torch.arange(tokens := len(group), device=group.device)
        rank = index if region is None else (index + tokens).index_copy(0, region, region)
        first = rank.new_full((count,), 2 * tokens).scatter_reduce_(0, group, rank, "amin") % tokens
        kept = first.sort().values
        return cls(kept=kept, labels={"merged": kept}, merged_into=first[group].index_fill(0, kept, -1))

    def with_last(self, last: Tensor) -> Selection:
        """The same selection plus one more token after the others, of index `last` (1,), which is kept unchanged."""
        into = None if self.merged_into is None else torch.cat([self.merged_into, torch.full_like(last, -1)])
        scores = {name: torch.cat([rows, rows.new_full((1,), torch.nan)]) for name, rows in self.scores.items()}
        blocks = () if self.mix is None else (self.mix, self.mix.new_ones(1, 1))
        mix = torch.block_diag(*blocks) if blocks else None  # type: ignore[no-untyped-call]
        return Selection(torch.cat([self.kept, last]), self.labels, into, scores, mix)

    def split(self, tiles: int) -> list[Selection]:
        """A choice among the tokens of `tiles` tiles, one after another, as one for each; merges are not kept.

        Of 2 tiles of 3 tokens, kept [1, 3, 4] -> [1] and [0, 1]. Reads the numbers of tokens: it synchronises once.
        """
        scores = {name: rows.view(tiles, -1) for name, rows in self.scores.items()}
        size = next(iter(scores.values())).shape[1]
        parts = [self.kept, *self.labels.values()]
        counts = torch.stack([torch.bincount(part // size, minlength=tiles) for part in parts]).tolist()
        kept, *labels = (torch.split(part % size, count) for part, count in zip(parts, counts, strict=True))
        return [
            Selection(
                kept[tile],
                {name: rows[tile] for name, rows in zip(self.labels, labels, strict=True)},
                scores={name: rows[tile] for name, rows in scores.items()},
            )
            for tile in range(tiles)
        ]

    def apply(self, features: Tensor) -> Tensor:
        """(tokens, dim) -> (kept, dim): the kept rows, averaged with those they absorb, or weighted by `mix`."""
        if self.mix is not None:
            rows = geometry.precise(features)
            return (self.mix.to(rows.dtype) @ rows).to(features.dtype)
        if self.merged_into is None:
            return features[self.kept]
        return geometry.merge(features, self.kept, self.merged_into)
