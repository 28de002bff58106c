"""A later cut: score the visual tokens with a few query rows, let the reducer choose, gather what stays."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vscan_core.books import Call, Span
from vscan_core.families.base import Family
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Signals
from vscan_core.stages import take


class Cutting:
    """What one reducer does inside the decoder stack; everything about a run is in its Call."""

    def __init__(
        self, reducer: Reducer, family: Family, anatomy: Anatomy, layers: nn.ModuleList, later: list[int]
    ) -> None:
        self.reducer, self.family, self.anatomy, self.layers, self.later = reducer, family, anatomy, layers, later
        # {layer: the later cut that it scores ahead of time}
        self.ahead = {reducer.score_layer(cut): cut for cut in later if reducer.score_layer(cut) < cut}

    def find_raters(self, call: Call, embeds: Tensor, timed: Any) -> None:
        """Ask the reducer which text tokens behind an image shall score it; embeds (batch, length, dim).

        Their number is only known on the device, so this waits for it: once per image and prompt.
        """
        if not self.reducer.asks_text or call.visual is None:
            return
        with timed():
            for span in call.spans:
                text = ~call.visual[span.row]
                text[: span.columns[-1] + 1] = False
                columns = text.nonzero()[:, 0]
                rows = embeds[span.row]
                if len(columns):
                    span.raters = columns[self.reducer.raters(rows[span.columns], rows[columns])]

    def look_ahead(self, call: Call, layer: int, hidden: Tensor, rotary: Any, timed: Any) -> None:
        """Score now, with the weights of `layer`, what the next layer will cut."""
        cut = self.ahead.get(layer)
        if cut is not None and any(self._budget(span, cut) is not None for span in call.spans):
            with timed():
                call.scores[cut] = self._score(call, layer, hidden, rotary)

    def cut(self, call: Call, layer: int, hidden: Tensor, rotary: Any, timed: Any) -> tuple[Tensor, Any]:
        """Score, choose and gather; returns what is left of hidden states and of (cos, sin)."""
        budgets = [self._budget(span, layer) for span in call.spans]
        if not any(budget is not None for budget in budgets):
            return hidden, rotary
        with timed():
            scores = call.scores.pop(layer) if layer in call.scores else self._score(call, layer, hidden, rotary)
            if self.reducer.recycles:
                hidden = hidden.clone()
            keep = self._choose(call, layer, hidden, scores, budgets)
            index = call.keep(keep)
            return take(hidden, index), tuple(take(part, index) for part in rotary)

    def _budget(self, span: Span, layer: int) -> int | None:
        keep = self.reducer.schedule(span.image.budget[0], self.anatomy, span.image.tiles).get(layer)
        return keep if keep is not None and keep < len(span.kept) else None

    def _score(self, call: Call, layer: int, hidden: Tensor, rotary: Any) -> list[Tensor]:
        """For each span (length,): attention to every token, with the weights of `layer`."""
        rope = rotary if self.reducer.uses_rope(self.anatomy) else None
        block = self.layers[layer]
        if all(span.raters is None for span in call.spans):
            scores = self.family.text_scores(block, hidden, rope, call.valid)
            return [scores[span.row] for span in call.spans]
        return [self._score_span(call, span, block, hidden, rope) for span in call.spans]

    def _score_span(self, call: Call, span: Span, block: Any, hidden: Tensor, rope: Any) -> Tensor:
        def mine(part: Tensor) -> Tensor:
            return part if len(part) == 1 else part[span.row : span.row + 1]

        valid = None if call.valid is None else mine(call.valid)
        cos_sin = None if rope is None else (mine(rope[0]), mine(rope[1]))
        return self.family.text_scores(block, mine(hidden), cos_sin, valid, span.raters)[0]

    def _choose(
        self, call: Call, layer: int, hidden: Tensor, scores: list[Tensor], budgets: list[int | None]
    ) -> Tensor:
        """(batch, length) bool: everything but the visual tokens that lose; what they lend is written into `hidden`."""
        keep = torch.ones_like(hidden[..., 0], dtype=torch.bool) if call.valid is None else call.valid.clone()
        for span, row, budget in zip(call.spans, scores, budgets, strict=True):
            if budget is None:
                continue
            states = hidden[span.row, span.columns] if self.reducer.recycles else None
            chosen = self.reducer.select_in_llm(Signals(text=row[span.columns], hidden=states), budget)
            keep[span.row, span.columns] = False
            if span.recorded:
                span.image.cuts.append(span.record(layer, chosen))
            span.columns, span.kept = span.columns[chosen.kept], span.kept[chosen.kept]
            keep[span.row, span.columns] = True
            if states is not None:
                hidden[span.row, span.columns] = chosen.apply(states)
        return keep
