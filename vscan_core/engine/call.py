"""One forward through the decoder: where every image's tokens are while the sequence shrinks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vscan_core.engine.encoded import Encoded
from vscan_core.engine.segments import PADDED_TURN, Segment, Segments, moved, right_align
from vscan_core.errors import InputError
from vscan_core.geometry import take
from vscan_core.selection import Selection
from vscan_core.trace import Cut, ImageTrace


@dataclass
class Span:
    """The visual tokens of one image in one row of the batch, as they are at this layer."""

    row: int
    image: ImageTrace
    recorded: bool  # False for the copies that beam search makes of a row
    columns: Tensor  # (left,) where they are in the sequence
    kept: Tensor  # (left,) which of the image's unreduced tokens they are
    text_columns: Tensor | None = None  # (text,) where the prompt's text behind it is; None: no one asks
    query_tokens: Tensor | None = None  # (n,) columns of the text tokens that score it; None: the last one
    holds_last_token: bool = False  # its last token is the last of the prompt, so the answer is read from it
    budgets: dict[int, int] = field(default_factory=dict)  # {later cut: tokens that it leaves}

    def record(self, layer: int, chosen: Selection) -> Cut:
        """The later cut `chosen`, in indices of the image's unreduced tokens; scores of tokens gone before are NaN."""
        tokens, device = self.image.tokens, self.kept.device
        scores = {
            name: values.new_full((tokens,), torch.nan).index_copy_(0, self.kept, values)
            for name, values in chosen.scores.items()
        }
        labels = {name: self.kept[index] for name, index in chosen.labels.items()}
        merged = torch.full((tokens,), -1, device=device)
        if chosen.merged_into is not None:
            target = self.kept[chosen.merged_into.clamp(min=0)].where(chosen.merged_into >= 0, -1)
            merged = merged.index_copy(0, self.kept, target)
        return Cut(layer, self.kept[chosen.kept], labels, merged, scores)


@dataclass
class Call:
    """One forward through the decoder stack; tensors follow the sequence as it shrinks."""

    cache: Any  # the KV cache of transformers, with logical lengths; None = no cache
    segments: Segments
    logical: int  # tokens that the caller passed
    position: Tensor  # (batch, length) the caller's positions
    lengths: list[int]  # tokens left in each row, without padding
    valid: Tensor | None  # (batch, length) False = padding; None = no padding
    visual: Tensor | None  # (batch, length) bool; None = no visual tokens in this call
    spans: list[Span]
    removed: Tensor | int = 0  # (batch, length) tokens that this call removed before each one
    removed_in_all: Tensor | int = 0  # (batch, 1) tokens that this call removed
    last_prompt_column: Tensor | None = None  # (batch,); None = the last column in every row
    columns: Tensor | None = None  # (batch, length) the caller's column of each token left; None = not needed
    source: Tensor | None = None  # (batch, length) the column of each token left at the entrance; None: nothing is cut
    blocks: Tensor | None = None  # (batch, length) the picture whose tokens see each other, -1 for text; None: none do
    wanted: Any = None  # which positions' logits the decoder was told to keep
    override: dict[str, dict[str, Any]] | None = None  # {kind of layer: arguments} after a cut
    scores: dict[int, list[Tensor]] = field(default_factory=dict)  # {later cut: per span (length,)}, computed before it
    entered: dict[int, Tensor] = field(default_factory=dict)  # {later cut: (batch, length, dim)}, into its score layer
    projected: dict[int, list[dict[str, Tensor]]] = field(default_factory=dict)  # {later cut: per span, by signal}
    attended: dict[int, Tensor] = field(default_factory=dict)  # {later cut: (batch, length, dim)}, after attention
    visual_count: Tensor | int = 0  # visual tokens of all rows, without the copies of beam search
    layers_run: int = 0  # decoder layers that were called
    copies: int = 1  # rows per prompt: beam search repeats every row
    traced: bool = False
    stateful: bool = False  # some decoder layers have no attention, but a state

    def to(self, device: torch.device) -> None:
        """Move everything to the device of the layer that reads it next; for models spread over several."""
        for part in (self, *self.spans):
            for name, value in vars(part).items():
                if name not in ("cache", "segments", "spans", "image", "wanted"):
                    setattr(part, name, moved(value, device))

    def enter(self, layer: int, hidden: Tensor) -> Segment:
        """The segment that begins at `layer`, with the tokens hidden (batch, length, dim) added to it.

        Raises InputError where its layers cannot skip padding.
        """
        segment = self.segments.at(layer)
        if self.stateful and segment.length and self.valid is not None:
            raise InputError(PADDED_TURN)
        segment.extend(hidden.shape[1], self.logical, self.valid, len(hidden), hidden.device)
        if segment.capacity is not None:
            self.segments.fit(self.cache, segment)
        return segment

    def keep(self, keep: Tensor, dropped: Iterable[tuple[Span, int]]) -> Tensor:
        """Drop the columns where keep (batch, length) is False; returns the gather index (batch, shorter).

        dropped: how many of the tokens of each span these are, beside padding.
        """
        for span, count in dropped:
            self.lengths[span.row] -= count
        gone = ~keep if self.valid is None else ~keep & self.valid
        index, valid = right_align(keep, self.lengths)
        self.removed = take(self.removed + gone.cumsum(1), index)
        self.removed_in_all = self.removed_in_all + gone.sum(1, keepdim=True)
        self.position = take(self.position, index)
        if self.blocks is not None:
            self.blocks = take(self.blocks, index)
        if self.visual is not None:
            self.visual = take(self.visual & keep, index)
            self._count()
        if self.columns is not None:
            self.columns = take(self.columns, index)
        self.valid = valid
        # where a surviving column went: rows are right-aligned, so count survivors from the right
        place = keep.cumsum(1) - 1 + (index.shape[1] - keep.sum(1, keepdim=True))
        for span in self.spans:
            span.columns = place[span.row, span.columns]
            if span.text_columns is not None:
                span.text_columns = place[span.row, span.text_columns]
            if span.query_tokens is not None:
                span.query_tokens = place[span.row, span.query_tokens]
        if self.last_prompt_column is not None:
            self.last_prompt_column = place.gather(1, self.last_prompt_column[:, None])[:, 0]
        return index

    def _count(self) -> None:
        assert self.visual is not None
        self.visual_count = self.visual[:: self.copies].sum()

    def find_prompt_end(self, end: int) -> None:
        """Find each row's last prompt column; the call's first `end` columns are the prompt's, drafts may follow."""
        length = self.position.shape[1]
        if self.valid is not None:  # the last prompt column that is not padding
            count = torch.arange(1, end + 1, device=self.valid.device)
            last = (self.valid[:, :end] * count).argmax(1)
            self.last_prompt_column = last if end < length else _unless_last(last, length)
        elif end < length:
            self.last_prompt_column = torch.full((len(self.position),), end - 1, device=self.position.device)

    def find_images(self, visual: Tensor, encoded: Encoded) -> None:
        """Match the placeholders of every row, visual (batch, length), with the images that were encoded, in order.

        Raises InputError unless the placeholders of every row belong to whole images.
        """
        last = self.last_prompt_column
        ends = visual[:, -1] if last is None else visual.gather(1, last[:, None])[:, 0]
        per_row, ends_in_picture = torch.stack([visual.sum(1), ends.long()]).tolist()
        if not any(per_row) or not encoded.images:
            return
        self.visual = visual
        self.copies = max(1, round(sum(per_row) / sum(image.tokens for image in encoded.images)))
        self._count()
        images = list(encoded.images)
        for row in range(0, len(per_row), self.copies):
            columns = visual[row].to(torch.int8).argsort(descending=True, stable=True)[: per_row[row]]
            start = 0
            while start < per_row[row]:
                image = images.pop(0) if images else None
                if image is None or start + image.tokens > per_row[row]:
                    raise InputError(
                        f"the {per_row[row]} image placeholders of prompt {row // self.copies + 1} do not fit whole "
                        "pictures; prepare prompts and pictures together, in one call of the model's own processor"
                    )
                mine = columns[start : start + image.tokens]
                image.cuts = [cut for cut in image.cuts if cut.layer == 0]  # later ones belong to an earlier prefill
                kept = image.kept.to(mine.device)
                for copy in range(self.copies):
                    self.spans.append(Span(row + copy, image, copy == 0, mine[kept], kept))
                start += image.tokens
            for span in self.spans[-self.copies :] if ends_in_picture[row] else ():
                span.holds_last_token = True

    def columns_now(self, positions: Tensor) -> Tensor:
        """Map the caller's columns `positions` (n,) to the present ones (n,). Needs `columns`.

        Raises InputError if one was dropped, or if they differ between the rows of the batch.
        """
        assert self.columns is not None
        found = self.columns[:, None, :] == positions.to(self.columns.device)[None, :, None]  # (batch, n, length)
        if self.valid is not None:
            found = found & self.valid[:, None, :]
        place = found.int().argmax(-1)
        if not bool(found.any(-1).all()):
            raise InputError(
                "logits_to_keep asks for a position whose token was dropped (or is padding); ask for positions of text"
            )
        if not bool((place == place[:1]).all()):
            raise InputError(
                "logits_to_keep names positions that differ between the rows once they are shortened; leave it out, or "
                "pass one row at a time"
            )
        return place[0]


def padding(mask: Tensor | None, batch: int, length: int) -> tuple[Tensor | None, list[int]]:
    """The caller's mask (batch, all tokens) -> (batch, length) bool for the new tokens, and how many in each row.

    None if all of them are real. One synchronisation, if there is a mask and more than one new token.
    """
    if mask is None or length == 1:
        return None, [length] * batch
    new = mask[:, -length:].bool()
    lengths: list[int] = new.sum(1).tolist()
    return None if min(lengths) == length else new, lengths


def _unless_last(column: Tensor, length: int) -> Tensor | None:
    """None if every row's column is the last one, as in a left-padded batch."""
    return None if bool((column == length - 1).all()) else column
