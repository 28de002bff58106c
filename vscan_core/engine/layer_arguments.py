"""What decoder layers are called with once tokens are gone: masks, rotary embeddings, and their own rows per token.

Layers of one kind (`Family.layer_kinds`) share a mask and a rotary embedding; most models have one kind. A window
counts the tokens that are left: what a cut removes no longer takes a place in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from vscan_core.engine.call import Call
from vscan_core.engine.llm_cut import Rotary
from vscan_core.engine.segments import Segment, moved, padding_mask
from vscan_core.engine.state import State
from vscan_core.errors import InputError
from vscan_core.families.base import Family
from vscan_core.geometry import take
from vscan_core.selection import Anatomy
from vscan_core.versions import causal_mask


def check_cuts(later: Sequence[int], anatomy: Anatomy) -> None:
    """Raise InputError for later cuts, ascending, where this model can have none."""
    if later and later[0] < anatomy.first_cut:
        raise InputError(
            f"this model adds visual features up to decoder layer {anatomy.first_cut - 1}, so its later cuts can "
            f"be at layer {anatomy.first_cut} or deeper, not at layer {later[0]}"
        )
    if later and anatomy.last_cut is not None and later[-1] > anatomy.last_cut:
        raise InputError(
            f"this model's last decoder layers reuse keys and values from layer {anatomy.last_cut} on, so its later "
            f"cuts can be at layer {anatomy.last_cut} or before, not at layer {later[-1]}"
        )


class LayerArguments:
    """Makes the arguments of a decoder's layers; all state of a run is in its Call."""

    def __init__(self, model: nn.Module, family: Family) -> None:
        self.model, self.family, self.config = model, family, family.language_model(model).config
        self.attending, self.kinds = family.attending(model), family.layer_kinds(model)
        self.several = len(set(self.kinds)) > 1
        self.stack_shortens = "logits_to_keep" in signature(type(family.language_model(model)).forward).parameters

    def blocks(self, state: State, past: int, length: int) -> Tensor | None:
        """(batch, length) the picture of each of a call's tokens, where its tokens see each other; None: they do not.

        As in transformers, token kinds are read from the start of the sequence, and where they end there is text.
        """
        found = None if state.token_kinds is None else self.family.picture_blocks(self.model, state.token_kinds)
        if found is None:
            return None
        return pad(found, (0, max(0, past + length - found.shape[1])), value=-1)[:, past : past + length]

    def of_stack(self, call: Call, segment: Segment, hidden: Tensor) -> Any:
        """The mask that the decoder stack is called with: of padding, or one for each kind of layer."""
        if self.several:
            return {kind: self._mask(call, segment, hidden, kind) for kind in sorted(set(self.kinds))}
        return padding_mask(segment, call.cache is not None, call.valid, hidden)

    def _mask(self, call: Call, segment: Segment, hidden: Tensor, kind: str) -> Any:
        """The mask of this segment's layers of a kind, if it has any with attention."""
        layer = next((one for one in self.attending if one >= segment.start and self.kinds[one] == kind), None)
        if layer is None or call.segments.at(layer) is not segment:
            return None
        mask = padding_mask(segment, call.cache is not None, call.valid, hidden)
        return causal_mask(self.config, hidden, mask, call.cache, layer, kind, call.blocks)

    def after_cut(
        self, call: Call, segment: Segment, hidden: Tensor, rotary: Rotary, positions: Tensor | None, masked: bool
    ) -> dict[str, dict[str, Any]]:
        """{kind: arguments} of the layers from a cut on, which hidden (batch, length, dim) enters.

        positions: of the tokens left; None: `rotary`, of these tokens, serves all layers. masked: whether they need a
        mask, if all layers are of one kind.
        """
        found = {}
        for kind in sorted(set(self.kinds[segment.start :])):
            if positions is not None:
                rotary = moved(self.family.rotary(self.model, hidden, positions, kind), hidden.device)
            mask = self._mask(call, segment, hidden, kind) if masked or self.several else None
            found[kind] = {"attention_mask": mask, "position_embeddings": rotary, "position_ids": None}
        return found

    def changed(self, call: Call, layer: int) -> dict[str, Any]:
        """The arguments of a layer that a cut before it has changed."""
        return {} if call.override is None else call.override[self.kinds[layer]]

    def of_layer(self, call: Call, layer: int, hidden: Tensor, more: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """(args, kwargs) of a layer after a cut; `more` are its other positional arguments, rows of all tokens."""
        mine = self.changed(call, layer)
        if layer not in self.attending:
            mine = {**mine, "attention_mask": call.valid}
        last, index = hidden.shape[1], call.source
        if last < call.position.shape[1]:  # a stack whose last layers have no keys runs them on its last tokens alone
            cos, sin = mine["position_embeddings"]
            mask = None if mine["attention_mask"] is None else mine["attention_mask"][:, :, -last:]
            mine = {**mine, "attention_mask": mask, "position_embeddings": (cos[:, -last:], sin[:, -last:])}
        elif index is not None:
            more = [take(rows.to(index.device), index) if isinstance(rows, Tensor) else rows for rows in more]
        return (hidden, *more), {**kwargs, **mine}


def leave_wanted(call: Call, out: Any) -> None:
    """Shorten a decoder's output to the positions whose logits are wanted, if the decoder is one that may do so itself.

    The model that calls such a decoder shortens afterwards only what is as long as the input.
    """
    wanted, rows = call.wanted, out.last_hidden_state
    if wanted is None or rows.shape[1] == call.logical:
        return
    if isinstance(wanted, Tensor):
        out.last_hidden_state = rows[:, wanted.to(rows.device)]
        wanted.copy_(torch.arange(len(wanted)))  # some versions look them up once more
    elif wanted:
        out.last_hidden_state = rows[:, -wanted:]
