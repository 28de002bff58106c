"""A later cut: score the visual tokens with a few query rows, let the reducer choose, gather what stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vscan_core import geometry
from vscan_core.engine.call import Call, Span
from vscan_core.families.base import Family
from vscan_core.geometry import take
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Selection, Signals


class LLMCut:
    """What one reducer does inside the decoder stack; everything about a run is in its Call."""

    def __init__(
        self, reducer: Reducer, family: Family, anatomy: Anatomy, layers: nn.ModuleList, later: list[int]
    ) -> None:
        self.reducer, self.family, self.anatomy, self.layers, self.later = reducer, family, anatomy, layers, later
        self.wants = reducer.needs_in_llm
        # {layer: the later cut that it scores ahead of time}
        self.ahead = {reducer.score_layer(cut): cut for cut in later if reducer.score_layer(cut) < cut}

    def watch_attention(self, current: Callable[[], Any]) -> list[Any]:
        """Hooks that record what layers before a cut make of the sequence by attention, if the reducer asks for it."""

        def record(cut: int) -> Callable[..., None]:
            def hook(module: nn.Module, args: Any, out: Tensor) -> None:
                if (state := current()) is not None and state.call is not None and state.call.spans:
                    state.call.attended[cut] = out

            return hook

        ahead = self.ahead.items() if "attended" in self.wants else ()
        norm = self.family.norm_after_attention
        return [norm(self.layers[layer]).register_forward_hook(record(cut)) for layer, cut in ahead]

    def find_query_tokens(self, call: Call, embeds: Tensor, timed: Any) -> None:
        """Ask the reducer which text tokens behind an image shall score it; embeds (batch, length, dim).

        Their number is only known on the device, so this waits for it: once per image and prompt.
        """
        if not self.reducer.scores_with_text or call.visual is None:
            return
        with timed():
            for span in call.spans:
                text = ~call.visual[span.row] if call.valid is None else ~call.visual[span.row] & call.valid[span.row]
                text[: span.columns[-1] + 1] = False
                if call.asking is not None:  # behind the prompt: drafts
                    text[call.asking[span.row] + 1 :] = False
                columns = text.nonzero()[:, 0]
                rows = embeds[span.row]
                if len(columns):
                    span.query_tokens = columns[self.reducer.query_tokens(rows[span.columns], rows[columns])]

    def look_ahead(self, call: Call, layer: int, hidden: Tensor, rotary: Any, timed: Any) -> None:
        """Score now, with the weights of `layer`, what the next layer will cut."""
        cut = self.ahead.get(layer)
        if cut is not None and any(self._budget(span, cut) is not None for span in call.spans):
            if "entered" in self.wants:
                call.entered[cut] = hidden
            if "text" in self.wants:
                with timed():
                    call.scores[cut] = self._score(call, layer, hidden, rotary)

    def cut(self, call: Call, layer: int, hidden: Tensor, rotary: Any, timed: Any) -> tuple[Tensor, Any]:
        """Score, choose and gather; returns what is left of hidden states and of (cos, sin)."""
        budgets = [self._budget(span, layer) for span in call.spans]
        if not any(budget is not None for budget in budgets):
            return hidden, rotary
        with timed():
            if "text" in self.wants and layer not in call.scores:
                call.scores[layer] = self._score(call, layer, hidden, rotary)
            if self.reducer.merges_in_llm:
                hidden = hidden.clone()
            keep = self._choose(call, layer, hidden, rotary, budgets)
            for taken in (call.scores, call.entered, call.attended):
                taken.pop(layer, None)
            index = call.keep(keep)
            return take(hidden, index), tuple(take(part, index) for part in rotary)

    def _budget(self, span: Span, layer: int) -> int | None:
        keep = self.reducer.schedule(span.image.budget[0], self.anatomy, span.image.tiles).get(layer)
        return keep if keep is not None and keep < len(span.kept) else None

    def _score(self, call: Call, layer: int, hidden: Tensor, rotary: Any) -> list[Tensor]:
        """For each span (length,): attention to every token, with the weights of `layer`."""
        rope = rotary if self.reducer.uses_rope(self.anatomy) else None
        block = self.layers[layer]
        if all(span.query_tokens is None for span in call.spans):
            asking = None if call.asking is None else call.asking[:, None]
            scores = self.family.text_scores(block, hidden, rope, call.valid, asking)
            return [scores[span.row] for span in call.spans]
        return [self._score_span(call, span, block, hidden, rope) for span in call.spans]

    def _score_span(self, call: Call, span: Span, block: Any, hidden: Tensor, rope: Any) -> Tensor:
        def mine(part: Tensor) -> Tensor:
            return part if len(part) == 1 else part[span.row : span.row + 1]

        valid = None if call.valid is None else mine(call.valid)
        cos_sin = None if rope is None else (mine(rope[0]), mine(rope[1]))
        asking = span.query_tokens
        if asking is None and call.asking is not None:
            asking = call.asking[span.row : span.row + 1]
        return self.family.text_scores(block, mine(hidden), cos_sin, valid, None if asking is None else asking[None])[0]

    def _choose(self, call: Call, layer: int, hidden: Tensor, rotary: Any, budgets: list[int | None]) -> Tensor:
        """(batch, length) bool: everything but the visual tokens that lose; what they lend is written into `hidden`."""
        keep = torch.ones_like(hidden[..., 0], dtype=torch.bool) if call.valid is None else call.valid.clone()
        for number, (span, budget) in enumerate(zip(call.spans, budgets, strict=True)):
            if budget is None:
                continue
            states = hidden[span.row, span.columns] if self.reducer.merges_in_llm else None
            chosen = self._select(call, number, layer, hidden, rotary, budget)
            keep[span.row, span.columns] = False
            if span.recorded:
                span.image.cuts.append(span.record(layer, chosen))
            span.columns, span.kept = span.columns[chosen.kept], span.kept[chosen.kept]
            keep[span.row, span.columns] = True
            if states is not None:
                hidden[span.row, span.columns] = chosen.apply(states)
        return keep

    def _select(self, call: Call, number: int, layer: int, hidden: Tensor, rotary: Any, budget: int) -> Selection:
        """The reducer's choice; the token that the answer is read from, if it is one of the image's, always stays."""
        span = call.spans[number]
        if not span.asks:
            signals = self._signals(call, number, layer, hidden, rotary)
            with geometry.as_written(hidden.device):
                return self.reducer.select_in_llm(signals, budget)
        last = torch.tensor([len(span.columns) - 1], device=span.columns.device)
        if budget == 1:
            return Selection(kept=last)
        signals = self._signals(call, number, layer, hidden, rotary, slice(-1))
        with geometry.as_written(hidden.device):
            chosen = self.reducer.select_in_llm(signals, budget - 1)
        return chosen.with_last(last)

    def _signals(
        self, call: Call, number: int, layer: int, hidden: Tensor, rotary: Any, part: slice = slice(None)
    ) -> Signals:
        """What the reducer asks for of the visual tokens of span `number` (`part` of them), as they enter `layer`."""
        span = call.spans[number]
        columns = span.columns[part]
        at, rows = (span.row, columns), hidden[span.row, columns]
        asking = -1 if call.asking is None else call.asking[span.row]
        signals: dict[str, Any] = {"hidden": rows, "question": hidden[span.row, asking]}
        if "text" in self.wants:
            signals["text"] = call.scores[layer][number][columns]
        for name, table in (("entered", call.entered), ("attended", call.attended)):
            signals[name] = table[layer][at] if name in self.wants else None
        if "queries" in self.wants:
            turns = (turn[span.row if len(turn) > 1 else 0, columns][None] for turn in rotary)
            rope = tuple(turns) if self.reducer.uses_rope(self.anatomy) else None
            names = ("queries", "llm_keys", "rotated_keys")
            signals |= zip(names, self.family.projections(self.layers[layer], rows, rope), strict=True)
        if "places" in self.wants and span.image.boxes is not None:
            signals["places"] = centres(span.image.boxes).to(rows.device)[span.kept[part]]
        return Signals(**{name: value for name, value in signals.items() if name in self.wants})


def centres(boxes: Tensor) -> Tensor:
    """(tokens, 4) boxes -> (tokens, 2) their centres, where the picture's longer side is 1."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2 / boxes[:, 2:].nan_to_num().max()
