"""A later cut: score the visual tokens with a few query rows, let the reducer choose, gather the tokens left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vscan_core import geometry
from vscan_core.engine.call import Call, Span
from vscan_core.engine.layer_signals import FROM_WEIGHTS, NEARBY, PROJECTED, layer_signals, rotary_means, rotary_of_axes
from vscan_core.engine.score_layers import score_layers
from vscan_core.engine.state import Current
from vscan_core.families.base import Family
from vscan_core.families.method_hook import Removable
from vscan_core.families.scores import text_scores
from vscan_core.geometry import take
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy, Selection, Signals

Rotary = tuple[Tensor, Tensor]  # cos and sin, (1 or batch, length, head_dim) each
OF_TEXT = frozenset({"text_normed", *(f"text_{name}" for name in PROJECTED)})  # signals of the text behind an image


class LLMCut:
    """The later cuts of one reducer; all state of a run is in its Call."""

    def __init__(self, reducer: Reducer, family: Family, model: nn.Module, anatomy: Anatomy, later: list[int]) -> None:
        self.reducer, self.family, self.anatomy, self.later = reducer, family, anatomy, later
        self.llm = family.language_model(model)
        self.layers, self.norm, self.needs = family.layers(model), family.final_norm(model), reducer.needs_in_llm
        scored = score_layers(reducer, later, family.attending(model))
        # {layer: the later cut that is scored with the weights of this earlier layer}
        self.scored_ahead = {layer: cut for cut, layer in scored.items() if layer < cut}

    def attention_hooks(self, current: Current) -> list[Removable]:
        """Hooks that record the normed sequence after attention in layers that score ahead, if the reducer needs it."""

        def record(cut: int) -> Callable[..., None]:
            def hook(module: nn.Module, args: Any, out: Tensor) -> None:
                if (state := current()) is not None and state.call is not None and state.call.spans:
                    state.call.attended[cut] = out

            return hook

        cuts = self.scored_ahead.items() if "attended" in self.needs else ()
        norm = self.family.norm_after_attention
        return [norm(self.layers[layer]).register_forward_hook(record(cut)) for layer, cut in cuts]

    def begin(self, call: Call, embeds: Tensor) -> None:
        """Ask the reducer, once per prompt, for the budgets of later cuts and for the query tokens that score them.

        embeds (batch, length, dim), after cut 0. Only the device knows how many text and query tokens there are, so a
        reducer that asks for them costs a synchronisation.
        """
        schedules: dict[tuple[int, int], dict[int, int]] = {}
        for span in call.spans:
            size = span.image.budget
            if size not in schedules:
                schedules[size] = self.reducer.schedule(size[0], self.anatomy, size[1])
            span.budgets = schedules[size]
        self._find_text(call, embeds)

    def _find_text(self, call: Call, embeds: Tensor) -> None:
        if call.visual is None or not (self.reducer.scores_with_text or self.needs & OF_TEXT):
            return
        for span in call.spans:
            text = ~call.visual[span.row] if call.valid is None else ~call.visual[span.row] & call.valid[span.row]
            text[: span.columns[-1] + 1] = False
            if call.last_prompt_column is not None:  # drafts follow the prompt
                text[call.last_prompt_column[span.row] + 1 :] = False
            columns = span.text_columns = text.nonzero()[:, 0]
            rows = embeds[span.row]
            if self.reducer.scores_with_text and len(columns):
                span.query_tokens = columns[self.reducer.query_tokens(rows[span.columns], rows[columns])]

    def score_ahead(self, call: Call, layer: int, hidden: Tensor, rotary: Rotary) -> None:
        """If a later layer cuts by the scores of `layer`, score now; hidden (batch, length, dim) is its input."""
        cut = self.scored_ahead.get(layer)
        if cut is not None and any(_budget(span, cut) is not None for span in call.spans):
            if "entered" in self.needs:
                call.entered[cut] = hidden
            self._read(call, cut, layer, hidden, rotary)

    def cut(self, call: Call, layer: int, hidden: Tensor, rotary: Rotary) -> tuple[Tensor, Rotary]:
        """Score, choose and gather; returns the shorter hidden states (batch, length, dim) and (cos, sin)."""
        budgets = [_budget(span, layer) for span in call.spans]
        if not any(budget is not None for budget in budgets):
            return hidden, rotary
        if layer not in self.scored_ahead.values():
            self._read(call, layer, layer, hidden, rotary)
        if self.reducer.merges_in_llm:
            hidden = hidden.clone()
        before = [len(span.kept) for span in call.spans]
        keep = self._choose(call, layer, hidden, budgets)
        for taken in (call.scores, call.projected, call.entered, call.attended):
            taken.pop(layer, None)
        index = call.keep(
            keep, [(span, count - len(span.kept)) for span, count in zip(call.spans, before, strict=True)]
        )
        call.source = index if call.source is None else take(call.source, index)
        return take(hidden, index), (take(rotary[0], index), take(rotary[1], index))

    def _read(self, call: Call, cut: int, layer: int, hidden: Tensor, rotary: Rotary) -> None:
        """Note for the cut at `cut` what the weights of `layer` make of hidden (batch, length, dim), its input."""
        if "text" in self.needs:
            call.scores[cut] = self._score(call, layer, hidden, rotary)
        if self.needs & (FROM_WEIGHTS | {"rotary_means"}):
            call.projected[cut] = [self._project(call, span, layer, hidden, rotary) for span in call.spans]

    def _project(self, call: Call, span: Span, layer: int, hidden: Tensor, rotary: Rotary) -> dict[str, Tensor]:
        """What the weights of `layer` make of a span and of the text around it, and what its positions say."""
        cos, sin = (part[span.row if len(part) > 1 else 0] for part in rotary)
        rope = (cos, sin) if self.reducer.uses_rope(self.anatomy) else None
        columns = {"": span.columns, "text_": span.text_columns}
        if "front_values" in self.needs:
            front = torch.arange(hidden.shape[1], device=hidden.device) < span.columns[0]
            columns["front_"] = (front if call.valid is None else front & call.valid[span.row]).nonzero()[:, 0]
        found = layer_signals(self.layers[layer], hidden[span.row], rope, columns, self.needs)
        if "rotary_means" in self.needs:
            place, own = call.position[span.row, span.columns], (cos[span.columns], sin[span.columns])
            own = own if place.dim() == 1 else rotary_of_axes(self.llm.rotary_emb, hidden[:1, :1], place)
            found["rotary_means"] = rotary_means(*own).to(hidden.device)
        return found

    def _score(self, call: Call, layer: int, hidden: Tensor, rotary: Rotary) -> list[Tensor]:
        """For each span (length,): attention to every token, with the weights of `layer`."""
        rope = rotary if self.reducer.uses_rope(self.anatomy) else None
        block = self.layers[layer]
        if all(span.query_tokens is None for span in call.spans):
            queries = None if call.last_prompt_column is None else call.last_prompt_column[:, None]
            scores = text_scores(block, hidden, rope, call.valid, queries)
            return [scores[span.row] for span in call.spans]
        return [self._score_span(call, span, block, hidden, rope) for span in call.spans]

    def _score_span(self, call: Call, span: Span, block: Any, hidden: Tensor, rope: Rotary | None) -> Tensor:
        def of_row(part: Tensor) -> Tensor:
            return part if len(part) == 1 else part[span.row : span.row + 1]

        valid = None if call.valid is None else of_row(call.valid)
        cos_sin = None if rope is None else (of_row(rope[0]), of_row(rope[1]))
        queries = span.query_tokens
        if queries is None and call.last_prompt_column is not None:
            queries = call.last_prompt_column[span.row : span.row + 1]
        queries = None if queries is None else queries[None]
        return text_scores(block, of_row(hidden), cos_sin, valid, queries)[0]

    def _choose(self, call: Call, layer: int, hidden: Tensor, budgets: list[int | None]) -> Tensor:
        """(batch, length) bool: False for padding and dropped visual tokens; merges are written into `hidden`."""
        keep = hidden.new_ones(hidden.shape[:2], dtype=torch.bool) if call.valid is None else call.valid.clone()
        for number, (span, budget) in enumerate(zip(call.spans, budgets, strict=True)):
            if budget is None:
                continue
            states = hidden[span.row, span.columns] if self.reducer.merges_in_llm else None
            chosen = self._select(call, number, layer, hidden, budget)
            stays = keep[span.row].index_fill_(0, span.columns, False)
            if span.recorded:
                span.image.cuts.append(span.record(layer, chosen))
            span.columns, span.kept = span.columns[chosen.kept], span.kept[chosen.kept]
            stays.index_fill_(0, span.columns, True)
            if states is not None:
                hidden[span.row, span.columns] = chosen.apply(states)
        return keep

    def _select(self, call: Call, number: int, layer: int, hidden: Tensor, budget: int) -> Selection:
        """The reducer's choice; if the answer is read from one of the image's tokens, this token is always kept."""
        span = call.spans[number]
        if not span.holds_last_token:
            signals = self._signals(call, number, layer, hidden)
            with geometry.as_written(hidden.device):
                return self.reducer.select_in_llm(signals, budget)
        last = torch.tensor([len(span.columns) - 1], device=span.columns.device)
        if budget == 1:
            return Selection(kept=last)
        signals = self._signals(call, number, layer, hidden, slice(-1))
        with geometry.as_written(hidden.device):
            chosen = self.reducer.select_in_llm(signals, budget - 1)
        return chosen.with_last(last)

    def _signals(self, call: Call, number: int, layer: int, hidden: Tensor, part: slice = slice(None)) -> Signals:
        """The signals that the reducer needs of span `number` (or of `part` of its tokens), as they enter `layer`."""
        span = call.spans[number]
        columns = span.columns[part]
        at, signals = (span.row, columns), dict[str, Any]()
        if "text" in self.needs:
            signals["text"] = call.scores[layer][number][columns]
        if "question" in self.needs:
            last = -1 if call.last_prompt_column is None else call.last_prompt_column[span.row]
            signals["question"] = hidden[span.row, last]
        if "hidden" in self.needs:
            signals["hidden"] = hidden[at]
        if "normed" in self.needs:
            signals["normed"] = self.norm(hidden[at]).to(hidden.device)  # its weights may be elsewhere
        if "text_normed" in self.needs:
            signals["text_normed"] = self.norm(hidden[span.row, span.text_columns]).to(hidden.device)
        for name, table in (("entered", call.entered), ("attended", call.attended)):
            if name in self.needs:
                signals[name] = table[layer][at]
        for name, rows in call.projected[layer][number].items() if layer in call.projected else ():
            signals[name] = rows if name.startswith(NEARBY) else rows[part]
        if "indices" in self.needs:
            signals["indices"] = span.kept[part]
        if "places" in self.needs and span.image.boxes is not None:
            signals["places"] = centres(span.image.boxes).to(hidden.device)[span.kept[part]]
        return Signals(**{name: value for name, value in signals.items() if name in self.needs})


def _budget(span: Span, layer: int) -> int | None:
    """How many of a span's tokens to keep in the cut at `layer`; None: all of them."""
    keep = span.budgets.get(layer)
    return keep if keep is not None and keep < len(span.kept) else None


def centres(boxes: Tensor) -> Tensor:
    """boxes (tokens, 4) -> their centres (tokens, 2), in units of the picture's longer side."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2 / boxes[:, 2:].nan_to_num().max()
