"""The narrow waist: what a reducer may look at (Signals), what it answers (Selection), what was done (Trace).

Axis words used everywhere: tokens (visual tokens of one image), heads, dim, layers.
A method never sees a model and a model family never sees a method; both see only what is in this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vscan_core import geometry


@dataclass(frozen=True)
class Anatomy:
    """What a reducer may know of a model: plain numbers, and the settings published for its family."""

    vision_layers: int  # depth of the vision encoder
    feature_layer: int  # vision layer whose output the LLM sees (0-based): the "output layer" of VScan
    text_layers: int  # decoder layers of the LLM
    shallow_layer: int  # vision layer of the local scan
    has_cls: bool = True  # False: scores are received attention instead of a CLS row
    positions: str = "renumbered"  # what happens to the position ids of the tokens that stay
    rope_in_scores: bool = True  # whether in-LLM scores apply the rotary embedding


@dataclass(frozen=True)
class Needs:
    """The signals a reducer asks for; only these are recorded."""

    cls_attention: tuple[int, ...] = ()  # vision layers (0-based): CLS row, or received attention where there is no CLS
    projected: bool = False  # features after the projector; dropped tokens are then merged there, otherwise before it
    keys: bool = False  # of the feature layer
    joint: bool = False  # patches and question in the joint space of an image-text encoder such as CLIP

    def __or__(self, other: Needs) -> Needs:
        layers = tuple(sorted({*self.cls_attention, *other.cls_attention}))
        return Needs(layers, self.projected or other.projected, self.keys or other.keys, self.joint or other.joint)


@dataclass(frozen=True)
class Signals:
    """Everything a reducer may look at, for ONE image (at cut 0: one image or tile). Fields not asked for are None.

    At cut 0 `tokens` counts the unreduced visual tokens; at a later cut, those that are still there, and `text`
    is the attention that the last prompt token pays to each of them (head mean, softmax over the whole sequence).
    """

    features: Tensor | None = None  # (tokens, dim) vision features before the projector, no CLS
    projected: Tensor | None = None  # (tokens, dim_llm) after the projector
    cls_attention: Mapping[int, Tensor] = field(default_factory=dict)  # {vision layer: (heads, tokens)}, post-softmax
    received: Mapping[int, Tensor] = field(default_factory=dict)  # {vision layer: (tokens,)} mean over query rows
    keys: Tensor | None = None  # (tokens, head_dim) head-mean keys of the feature layer
    joint_patches: Tensor | None = None  # (tokens, dim_joint) features of the feature layer in the joint space
    joint_text: Tensor | None = None  # (segments, dim_joint) the question there, in one or more pieces
    text: Tensor | None = None  # (tokens,)
    hidden: Tensor | None = None  # (tokens, dim_llm) what enters the layer of a later cut
    grid: tuple[int, int] | None = None  # (rows, cols) of the tokens in the picture

    @property
    def tokens(self) -> int:
        """Number of visual tokens these signals describe."""
        return len(self._any)

    @property
    def device(self) -> torch.device:
        """Where these signals are."""
        return self._any.device

    @property
    def salience(self) -> Tensor:
        """(tokens,) how much each token is attended to at the deepest recorded layer.

        By CLS, head mean; where there is no CLS, by all tokens.
        """
        if self.cls_attention:
            return geometry.precise(self.cls_attention[max(self.cls_attention)]).mean(0)
        if self.received:
            return geometry.precise(self.received[max(self.received)])
        raise ValueError("these signals hold no attention: give cls_attention or received")

    @property
    def _any(self) -> Tensor:
        """Some tensor whose first axis is the tokens."""
        for tensor in (self.projected, self.features, self.text, self.hidden, self.keys, self.joint_patches):
            if tensor is not None:
                return tensor
        for table in (self.cls_attention, self.received):
            for tensor in table.values():
                return tensor.reshape(-1, tensor.shape[-1])[0]
        raise ValueError("these signals are empty: give at least features, an attention or text scores")


@dataclass(frozen=True)
class Selection:
    """Which visual tokens of one image stay. All indices count the tokens of the signals it was made from."""

    kept: Tensor  # (kept,) int64, ascending
    labels: Mapping[str, Tensor] = field(default_factory=dict)  # why: name -> ascending indices, e.g. "local", "global"
    merged_into: Tensor | None = None  # (tokens,) int64: kept token that absorbs this dropped one, -1 if none
    scores: Mapping[str, Tensor] = field(default_factory=dict)  # name -> (tokens,) what the decision was taken from
    mix: Tensor | None = None  # (kept, tokens): what each kept token is made of, where plain averages do not say it

    @classmethod
    def everything(cls, tokens: int, device: torch.device | None = None) -> Selection:
        """Keep all `tokens` tokens."""
        return cls(kept=torch.arange(tokens, device=device))

    @classmethod
    def top(cls, scores: Tensor, keep: int, name: str) -> Selection:
        """Keep the `keep` best of `scores` (tokens,); ties go to the lowest index.

        Scores .1 .4 .2 .4, keep 2 -> kept [1, 3].
        """
        kept = geometry.top(scores, keep).sort().values
        return cls(kept=kept, labels={name: kept}, scores={name: scores})

    def apply(self, features: Tensor) -> Tensor:
        """(tokens, dim) -> (kept, dim): gather the kept rows and average in what they absorb, or follow `mix`."""
        if self.mix is not None:
            rows = geometry.precise(features)
            return (self.mix.to(rows.dtype) @ rows).to(features.dtype)
        if self.merged_into is None:
            return features[self.kept]
        return geometry.merge(features, self.kept, self.merged_into)


@dataclass(frozen=True)
class View:
    """How the pixels that the model saw lie in the original picture: original = seen * scale + offset."""

    scale: tuple[float, float] = (1.0, 1.0)  # original pixels per seen pixel, x and y
    offset: tuple[float, float] = (0.0, 0.0)  # of the seen area's top left corner, original pixels
    size: tuple[int, int] | None = None  # (width, height) of the original picture; None: not known

    def place(self, boxes: Tensor) -> Tensor:
        """(tokens, 4) boxes in seen pixels -> in original pixels."""
        return boxes * torch.tensor(self.scale * 2) + torch.tensor(self.offset * 2)


@dataclass
class Cut:
    """One place where visual tokens of one image were dropped. Indices count the image's unreduced tokens."""

    layer: int  # 0 = entrance of the LLM, k = entrance of decoder layer k
    kept: Tensor  # (kept,) int64, ascending
    labels: dict[str, Tensor]
    merged_into: Tensor  # (tokens,) int64, -1 where nothing was merged
    scores: dict[str, Tensor]  # name -> (tokens,), NaN for tokens that were no longer there


@dataclass
class ImageTrace:
    """What happened to one image."""

    tokens: int  # visual tokens before any cut, as the LLM would see them
    grid: tuple[int, int] | None = None
    boxes: Tensor | None = None  # (tokens, 4) x0, y0, x1, y1 in seen pixels
    view: View = field(default_factory=View)
    cuts: list[Cut] = field(default_factory=list)
    tiles: int = 1  # pieces in which the vision encoder saw the image
    tokens_per_tile: int = 0  # what budgets are counted in; 0: all of `tokens`

    @property
    def budget(self) -> tuple[int, int]:
        """(visual tokens per tile, tiles): what a schedule is asked for. Newline and padding tokens do not count."""
        return self.tokens_per_tile or self.tokens, self.tiles

    @property
    def kept(self) -> Tensor:
        """Indices that survive the last cut."""
        return self.cuts[-1].kept if self.cuts else torch.arange(self.tokens)


@dataclass
class Trace:
    """What really ran, filled in while the model runs inside `reduced`: read off its tensors, never planned.

    It describes the latest prefill; images are in the order in which the vision encoder saw them.
    """

    images: list[ImageTrace] = field(default_factory=list)
    tokens_per_layer: list[int] = field(default_factory=list)
    _visual: list[Tensor] = field(default_factory=list)

    @property
    def visual_tokens_per_layer(self) -> list[int]:
        """Visual tokens that entered each decoder layer in prefill, over all images of the batch."""
        return [int(count) for count in self._visual]

    def boxes(self, i: int = 0) -> Tensor:
        """(tokens, 4) pixel boxes x0, y0, x1, y1 of every visual token in the original image i.

        NaN for tokens that cover no pixels (newlines). If the inputs were not made by `LVLM.inputs`, the size of
        the original is not known and the boxes are in the pixels that the model saw.
        """
        image = self.images[i]
        if image.boxes is None:
            return torch.full((image.tokens, 4), torch.nan)
        return image.view.place(image.boxes)
