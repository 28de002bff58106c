"""Changing a choice of tokens as little as possible, so that some are in it and others are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.selection import Selection

Choose = Callable[[int], Selection]  # a method's choice for a budget


def force(choose: Choose, keep: int, into: Tensor, out: Tensor, rows: Tensor | None) -> Selection:
    """A method's choice of `keep` tokens, changed as little as possible so that `into` is in it and `out` is not.

    into, out (tokens,) bool; rows (tokens, dim) are compared to find new places for merged tokens. Keeps `keep` tokens,
    but all of `into`, and no more than there are beside `out`. What the method gives up first makes room; what it
    would choose next fills it.
    """
    tokens, inside, outside = len(into), int(into.sum()), int(out.sum())
    target = max(inside, min(keep, tokens - outside))
    if target == tokens - outside:  # there is no choice
        labels = {"forced": into.nonzero()[:, 0], "kept": (~out & ~into).nonzero()[:, 0]} if inside else {}
        return Selection((~out).nonzero()[:, 0], labels)
    chosen = choose(target)
    if not inside and not outside:
        return chosen
    stays = _marks(chosen.kept, into) & ~out & ~into
    labels = dict(chosen.labels)
    missing = target - inside - int(stays.sum())
    if missing < 0:
        stays, _ = _first_choices(choose, stays, target - inside, 0, target)
    elif missing > 0:
        others = ~(stays | out | into)
        enough = tokens - int(others.sum()) + missing  # even if it chose all the others first
        more, later = _first_choices(choose, others, missing, target, enough)
        stays = stays | more
        labels |= {name: torch.cat([labels.get(name, index[:0]), index[more[index]]]) for name, index in later.items()}
    labels = {name: index[stays[index]].sort().values for name, index in labels.items()}
    labels |= {"forced": into.nonzero()[:, 0]} if inside else {}
    kept = (stays | into).nonzero()[:, 0]
    made = Selection(kept, labels, _merges(chosen, kept, out, rows), chosen.scores)
    return made if chosen.mix is None else _mixed(made, chosen, chosen.mix, into, out)


def _first_choices(choose: Choose, among: Tensor, count: int, low: int, high: int) -> tuple[Tensor, dict[str, Tensor]]:
    """(tokens,) bool: the `count` tokens of `among` that a method chooses with the smallest budget, and its labels.

    The budget `low` is too small and `high` suffices. Of a method whose choices do not simply grow with the budget,
    tokens that it also chooses with one token less come first.
    """
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if int(among[choose(middle).kept].sum()) >= count else (middle, high)
    found = choose(high)
    picked = found.kept[among[found.kept]]
    if len(picked) > count and low > 0:
        picked = picked[torch.isin(picked, choose(low).kept).long().argsort(descending=True, stable=True)]
    return _marks(picked[:count], among), dict(found.labels)


def _marks(index: Tensor, like: Tensor) -> Tensor:
    """(tokens,) bool: True at `index`."""
    return torch.zeros_like(like).index_fill(0, index, True)


def _merges(chosen: Selection, kept: Tensor, out: Tensor, rows: Tensor | None) -> Tensor | None:
    """Where each dropped token goes once `kept` is what stays; without `rows`, those that lost their place nowhere."""
    if chosen.merged_into is None:
        return None
    into, stays = chosen.merged_into, _marks(kept, out)
    lost = (into >= 0) & ~stays[into.clamp(min=0)] | _marks(chosen.kept, out)  # the latter had no need of one
    place = torch.full_like(into, -1) if rows is None else geometry.nearest_kept(rows, kept)
    return place.where(lost, into).masked_fill(stays | out, -1)


def _mixed(made: Selection, chosen: Selection, mix: Tensor, into: Tensor, out: Tensor) -> Selection:
    """With the method's weights without the tokens forced out; what it had not kept is itself alone.

    So is, at the place of a token that it had replaced by others, what is forced in or all of whose others are gone.
    """
    itself = torch.eye(len(out), device=out.device, dtype=mix.dtype)
    weights = itself.index_copy(0, chosen.kept, mix)
    rest = weights.masked_fill(out, 0)
    alone = (rest.sum(1) == 0) | into & (weights.diagonal() == 0)
    scale = weights.sum(1, keepdim=True) / rest.sum(1, keepdim=True).clamp(min=torch.finfo(rest.dtype).tiny)
    labels = {name: index if name == "forced" else index[~alone[index]] for name, index in made.labels.items()}
    if made.labels and len(again := (alone & _marks(made.kept, out) & ~into).nonzero()[:, 0]):
        labels["kept"] = torch.cat([labels.get("kept", again[:0]), again]).sort().values
    return replace(made, labels=labels, mix=itself.where(alone[:, None], rest * scale)[made.kept])
