"""VScan: scan the picture globally and locally, merge the rest, then let the question decide.

Source: VScan, arXiv 2505.22654; settings and order of operations as in the authors' released code for LLaVA.
Cut 0: the local scan takes the best tokens of every window by the CLS attention of a shallow vision layer; the
global scan takes the best of the others by the CLS attention of the output layer; every dropped token is averaged,
after the projector, into the kept token with the most similar direction.
Cut k: of the tokens left, keep those to which the last prompt token attends most, scored with the weights of layer k.

But:
- if the local budget is not a multiple of the number of windows, the remainder is filled, one token per window, best
  candidates first (`refill=False` loses it as the released code does: 100 -> 98 tokens, and in LLaVA-NeXT also the
  tokens chosen in the padding of tiles, which the model throws away);
- tokens of the local scan are excluded from the global one by a mask, not by a score of zero, which could tie;
- "output layer" is the layer whose output the LLM receives (the second to last of CLIP), as in the released code;
- without a CLS token, scores are received attention, and the local scan is one ranking with a limit per window.

Merging has near ties: on drawn pictures a relative noise of 1e-7 in the signals changes no kept token, but sends 13 of
480 dropped ones to another kept one on average, and up to 70 (`benchmarks/near_ties.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.budget import check_keep, check_layer, two_stage, whole, without_idle_cuts
from vscan_core.errors import InputError
from vscan_core.reducers.base import Reducer
from vscan_core.reducers.settings import check_kind
from vscan_core.selection import Anatomy, Needs, Selection, Signals

CLS_WINDOW, RECEIVED_WINDOW = 6, 4  # published window sides, in tokens


@dataclass(frozen=True)
class VScan(Reducer):
    """VScan on any family. `retention` alone follows the paper's rule; every part of the rule can be set explicitly.

    VScan(retention=1/9) on 576 tokens and 32 layers: 96 tokens into layers 0-15, 32 into layers 16-31, 64 on average.
    """

    title: ClassVar[str] = "VScan"
    summary: ClassVar[str] = "scan the picture globally and locally, merge the rest, then let the question decide"
    paper: ClassVar[str] = "VScan, arXiv 2505.22654"

    _: KW_ONLY
    encoder_keep: int | float | None = None  # int = tokens per image or tile, float = share; None = by retention
    llm_keep: Mapping[int, int | float] | None = None  # {layer: tokens, or share of what is left}; {} = none
    local_share: float = 0.5  # of the budget of cut 0
    window: int | None = None  # side of the local scan's windows, in tokens; None = 6 (4 without CLS)
    local_layer: int | None = None  # vision layers of the two scans, 0-based; None = the family's published ones
    global_layer: int | None = None
    prune_layer: int | None = None  # decoder layer of the later cut; None = the middle one, or the last possible
    merge: bool = True
    refill: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder_keep is not None:
            check_keep(self.encoder_keep, "encoder_keep")
        if not isinstance(self.llm_keep, Mapping | None):
            raise InputError(f"llm_keep must be a dict {{layer: tokens}}, such as {{16: 32}}, but is {self.llm_keep!r}")
        for layer, keep in (self.llm_keep or {}).items():
            check_kind(layer, "each layer of llm_keep", "int")
            check_keep(keep, f"llm_keep[{layer}]")
        if not 0 <= self.local_share <= 1:
            raise InputError(f"local_share must lie between 0 and 1, but is {self.local_share}")
        if self.window is not None and self.window < 1:
            raise InputError(f"window must be at least 1 token, but is {self.window}")

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """The two cuts, or those set explicitly, in whole tokens."""
        layers = anatomy.text_layers
        later = self.later_cut(anatomy)
        first, second = tokens, tokens
        if self.encoder_keep is None or self.llm_keep is None:
            check_layer(later, layers, "prune_layer")
            first, _ = two_stage(self.retention, tokens, layers, later)
            _, second = two_stage(self.retention, tokens * tiles, layers, later)
        if self.encoder_keep is not None:
            first = whole(self.encoder_keep, tokens)
        cuts: dict[int, int] = {0: first}
        if self.llm_keep is None:
            cuts[later] = min(second, first * tiles)
        left = first * tiles
        for layer, keep in sorted((self.llm_keep or {}).items()):
            check_layer(layer, layers, "llm_keep")
            cuts[layer] = left = whole(keep, left)
        return without_idle_cuts(cuts, tokens, tiles)

    def later_cut(self, anatomy: Anatomy) -> int:
        """The decoder layer of the later cut."""
        middle = anatomy.text_layers // 2
        if self.prune_layer is None:
            return middle if anatomy.last_cut is None else min(middle, anatomy.last_cut)
        return self.prune_layer

    def without_later_cuts(self) -> VScan:
        """The two scans alone; the retention becomes `encoder_keep`, unless that is set."""
        return replace(self, encoder_keep=self.encoder_keep or float(self.retention), llm_keep={})

    def needs(self, anatomy: Anatomy) -> Needs:
        """CLS attention of the two scanned layers; projected features if dropped tokens are merged."""
        shallow = anatomy.shallow_layer if self.local_layer is None else self.local_layer
        output = anatomy.feature_layer if self.global_layer is None else self.global_layer
        for layer in (shallow, output):
            if not 0 <= layer < anatomy.vision_layers:
                raise InputError(
                    f"vision layer {layer} does not exist; this model has layers 0 to {anatomy.vision_layers - 1}"
                )
        return Needs(cls_attention=tuple(sorted({shallow, output})), projected=self.merge)

    @property
    def sees_padding(self) -> bool:
        """As in the released code, if `refill` is off."""
        return not self.refill

    def select(self, signals: Signals, keep: int) -> Selection:
        """Local scan, then global scan over the rest, then merging of the dropped tokens.

        A layer left at None is the shallowest (local) or deepest (global) one recorded in `signals`.
        """
        return self.select_tiles(signals.as_tiles(), keep)[0]

    def select_tiles(self, tiles: Signals, keep: int) -> list[Selection]:
        """As `select`, for all tiles at once; a subclass with its own `select` is asked tile by tile."""
        if type(self).select is not VScan.select:
            return super().select_tiles(tiles, keep)
        capped, table = not tiles.cls_attention, tiles.cls_attention or tiles.received
        shallow = table[min(table) if self.local_layer is None else self.local_layer]
        output = table[max(table) if self.global_layer is None else self.global_layer]
        shallow, output = (
            geometry.precise(one) if capped else geometry.precise(one).mean(1) for one in (shallow, output)
        )
        names = ("local", "global")
        scores = [dict(zip(names, rows, strict=True)) for rows in zip(shallow.unbind(), output.unbind(), strict=True)]
        tokens = output.shape[-1]
        if keep >= tokens:
            return [Selection(kept=torch.arange(tokens, device=output.device), scores=rows) for rows in scores]

        local_budget = int(keep * self.local_share)
        side = self.window or (RECEIVED_WINDOW if capped else CLS_WINDOW)
        windows = geometry.Windows.of_grid(*(tiles.grid or _square(tokens)), side, output.device)
        if capped:
            local = capped_scan(shallow, windows, local_budget)
        else:
            local = window_scan(shallow, windows, local_budget, self.refill)
        # without refill, the global scan has only its own share, and what the local scan leaves is lost
        budget = keep - (local.shape[-1] if self.refill else local_budget)
        glob = geometry.top(output.scatter(-1, local, -torch.inf), budget)
        kept = torch.cat([local, glob], dim=-1).sort(-1).values
        merged: list[Tensor] | list[None] = [None] * len(kept)
        if self.merge:
            assert tiles.projected is not None
            merged = list(geometry.nearest_kept(tiles.projected, kept).unbind())
        labels = zip(local.sort(-1).values.unbind(), glob.sort(-1).values.unbind(), strict=True)
        made = zip(kept.unbind(), labels, merged, scores, strict=True)
        return [Selection(rows, dict(zip(names, why, strict=True)), into, from_) for rows, why, into, from_ in made]


def window_scan(scores: Tensor, windows: geometry.Windows, budget: int, refill: bool) -> Tensor:
    """The best budget // windows tokens of every window; the remainder goes to those with the best next token.

    scores (..., tokens) -> (..., picked) indices, window by window, best first, then the remainder. Fewer than `budget`
    are picked if windows run out of tokens, or without `refill` if the budget is not a multiple of the windows.
    """
    share, remainder = divmod(budget, len(windows.sizes))
    order = windows.order(scores)
    picked = order.index_select(-1, windows.ranked(0, share))
    if not refill or not remainder:
        return picked
    following = order.index_select(-1, windows.ranked(share, share + 1))  # of windows that have one more token
    best = geometry.top(_only(scores, following), min(remainder, following.shape[-1]))
    return torch.cat([picked, best], dim=-1)


def capped_scan(scores: Tensor, windows: geometry.Windows, budget: int) -> Tensor:
    """The best `budget` tokens overall, but at most ceil(budget / windows) from one window.

    scores (..., tokens) -> (..., picked) indices, best first.
    """
    cap = -(-budget // len(windows.sizes))
    allowed = windows.order(scores).index_select(-1, windows.ranked(0, cap))
    return geometry.top(_only(scores, allowed), min(budget, allowed.shape[-1]))


def _only(scores: Tensor, index: Tensor) -> Tensor:
    """scores (..., tokens) at `index` (..., n), -inf elsewhere."""
    return torch.full_like(scores, -torch.inf).scatter(-1, index, scores.gather(-1, index))


def _square(tokens: int) -> tuple[int, int]:
    side = round(tokens**0.5)
    if side * side != tokens:
        raise InputError(f"{tokens} tokens do not form a square; set grid=(rows, cols) in the signals")
    return side, side
