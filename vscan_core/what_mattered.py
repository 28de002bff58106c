"""What mattered: leave one region of the picture out at a time, and see how much less likely the answer becomes.

No attention is read and nothing is trained: each figure is a run of the model without visual tokens of that region, on
one encoding of the picture. A part of a thing suffices for most answers, and the vision encoder has mixed neighbouring
tokens, so a region is left out together with those around it: otherwise hardly any seems to matter.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vscan_core.attach import open_attachment
from vscan_core.engine.shared_vision import SharedVision
from vscan_core.errors import InputError
from vscan_core.events import Answer, Done
from vscan_core.inference import compare_prepared
from vscan_core.lvlm import LVLM
from vscan_core.measure import memory_guard
from vscan_core.prepared import PreparedInputs
from vscan_core.reducers import Forced, Reducer
from vscan_core.reducers.grid import Grid
from vscan_core.selection import Needs
from vscan_core.trace import ImageTrace

REGIONS, AROUND = (6, 6), 1  # rows and columns; how many regions on each side are left out with one


@dataclass(frozen=True, eq=False)
class WhatMattered:
    """How much the answer depends on each region of a picture."""

    answer: Answer  # with all visual tokens
    logprob: float  # natural logarithm of that answer's probability
    loss: Tensor  # (rows, cols) by how much it falls without a region and its margin; NaN: no token lies there
    changed: Tensor  # (rows, cols) bool: another word would have been chosen somewhere in the answer
    regions: tuple[tuple[tuple[int, ...], ...], ...]  # [row][column]: the region's visual tokens, as in the trace


@dataclass(frozen=True)
class RegionsLeftOut:
    """How far `leave_regions_out` has come."""

    done: int
    total: int
    seconds: float  # that all of them take, estimated from the prefill of the answer


def what_mattered(
    lvlm: LVLM,
    image: Image.Image,
    question: str,
    *,
    regions: tuple[int, int] = REGIONS,
    margin: int = AROUND,
    max_new_tokens: int = 16,
) -> WhatMattered:
    """Answer with all visual tokens, then ask how likely that answer is without each region.

    Args:
        lvlm: The model; one prefill per region, so seconds on a small one.
        image: The picture.
        question: Plain text of at most 1000 characters.
        regions: Rows and columns into which the picture is divided.
        margin: How many neighbouring regions on each side are left out together with one.
        max_new_tokens: The greatest length of the answer.

    Raises:
        InputError: The picture or the question is not accepted, or the regions are too many, or too few for the margin.
        OutOfMemory: Memory ran out.
    """
    steps = leave_regions_out(lvlm, image, question, regions=regions, margin=margin, max_new_tokens=max_new_tokens)
    *_, found = steps
    assert isinstance(found, WhatMattered)
    return found


def leave_regions_out(
    lvlm: LVLM,
    image: Image.Image,
    question: str,
    *,
    regions: tuple[int, int] = REGIONS,
    margin: int = AROUND,
    max_new_tokens: int = 16,
) -> Generator[RegionsLeftOut | WhatMattered, None, None]:
    """`what_mattered` step by step: before each region how far it is, last the result. Close it to stop."""
    if not all(1 <= side <= 32 for side in regions):
        raise InputError(f"regions must be 1 to 32 rows and columns, but are {regions[0]} x {regions[1]}")
    if margin < 0 or max(regions) <= 2 * margin + 1:
        raise InputError(f"a margin of {margin} does not fit {regions[0]} x {regions[1]} regions; take more of them")
    if not isinstance(image, Image.Image):
        raise InputError("what_mattered takes one picture, not a video or several pictures")
    inputs = lvlm.inputs(image, question)
    with memory_guard(lvlm.device):
        shared = lvlm.encode(inputs, Needs())
        *_, done = compare_prepared(lvlm, inputs, [None], max_new_tokens=max_new_tokens, shared=shared)
        assert isinstance(done, Done)
        trace, ids = done.answer.trace, done.answer.token_ids
        parts = tokens_in_regions(trace.images[0], trace.boxes(0), regions)
        teacher = _with_answer(inputs, ids)
        logprob, _ = _likelihood(lvlm, teacher, ids, None, shared)
        loss, changed = torch.full(regions, torch.nan), torch.zeros(regions, dtype=torch.bool)
        total = regions[0] * regions[1]
        seconds = total * done.answer.timings.prefill_ms / 1000
        for number, (row, col) in enumerate(product(range(regions[0]), range(regions[1]))):
            yield RegionsLeftOut(number, total, seconds)
            if parts[row][col]:
                lines = parts[max(row - margin, 0) : row + margin + 1]
                around = [
                    token for line in lines for part in line[max(col - margin, 0) : col + margin + 1] for token in part
                ]
                without = Forced.on(trace.images[0], Grid(1.0), drop=around)
                now, same = _likelihood(lvlm, teacher, ids, without, shared)
                loss[row, col], changed[row, col] = logprob - now, not same
    yield WhatMattered(done.answer, logprob, loss, changed, parts)


def tokens_in_regions(
    image: ImageTrace, boxes: Tensor, regions: tuple[int, int]
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """[row][column] of an even division of what the model sees: the tokens whose centres lie there.

    boxes (tokens, 4) in any pixels; tokens without a place (newlines) are in no region.
    """
    seen = ~boxes.isnan().any(1)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    low, high = boxes[seen, :2].amin(0), boxes[seen, 2:].amax(0)
    cols = ((centre[:, 0] - low[0]) / (high[0] - low[0]) * regions[1]).clamp(0, regions[1] - 1)
    rows = ((centre[:, 1] - low[1]) / (high[1] - low[1]) * regions[0]).clamp(0, regions[0] - 1)
    found: list[list[list[int]]] = [[[] for _ in range(regions[1])] for _ in range(regions[0])]
    for token in seen.nonzero()[:, 0].tolist():
        found[int(rows[token])][int(cols[token])].append(token)
    return tuple(tuple(tuple(tokens) for tokens in line) for line in found)


def _with_answer(inputs: PreparedInputs, answer: Sequence[int]) -> dict[str, Any]:
    """The inputs of a forward over the prompt and all of the answer but its last token."""
    ids: Tensor = inputs["input_ids"]
    more = ids.new_tensor([list(answer[:-1])])
    found = dict(inputs)
    for name, value in inputs.items():
        if isinstance(value, Tensor) and value.shape == ids.shape:
            added = more if name == "input_ids" else more.new_full(more.shape, name == "attention_mask")
            found[name] = torch.cat([value, added.to(value.dtype)], dim=1)
    return found


@torch.inference_mode()
def _likelihood(
    lvlm: LVLM, teacher: dict[str, Any], answer: Sequence[int], reducer: Reducer | None, shared: SharedVision
) -> tuple[float, bool]:
    """The logarithm of an answer's probability, and whether each of its tokens is the likeliest."""
    with open_attachment(lvlm.model, reducer, shared_vision=shared) as attachment, attachment.here():
        logits = lvlm.model(**teacher, use_cache=False, logits_to_keep=len(answer)).logits[0].float()
        attachment.check_ran()
    said = torch.tensor(answer, device=logits.device)
    return float(logits.log_softmax(-1).gather(1, said[:, None]).sum()), bool((logits.argmax(-1) == said).all())
