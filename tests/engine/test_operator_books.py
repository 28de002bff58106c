"""The books of `timed` sections, in counts instead of times: what a run does outside them, the plain model does too.

Operators are counted where they are dispatched. What makes the host wait for a device (a number read from a tensor, a
size that only the data tell) is counted on the CPU as well, where nothing waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import vscan_core as vc
from tests.families import lvlms
from vscan_core.attach import open_attachment
from vscan_core.versions import cache_out, with_cache

WAITS = {"_local_scalar_dense", "is_nonzero", "nonzero", "bincount", "masked_select", "equal"}
INDEXING = {"index", "index_put", "index_put_"}  # by a mask: its sum decides the size
READS = {torch.Tensor.tolist, torch.Tensor.numpy}
# operators more: positions come from the hooks, and are converted again
HANDED_IN = dict.fromkeys(("qwen2_5_vl", "qwen3_vl", "qwen3_5", "glm4v"), 1)


class Limits(NamedTuple):
    """At most so many operators inside sections, and waits in them."""

    baseline: int
    baseline_waits: int
    method: int
    method_waits: int


PREFILL = {
    "llava": Limits(28, 1, 264, 2),
    "llava padded": Limits(28, 1, 264, 2),
    "llava_next": Limits(31, 2, 370, 6),  # tiles with padding are chosen from separately
    "llava_onevision": Limits(38, 3, 462, 7),
    "qwen2_5_vl": Limits(35, 3, 333, 6),
    "qwen3_vl": Limits(35, 3, 359, 8),
    "qwen3_5": Limits(35, 3, 359, 8),
    "glm4v": Limits(35, 3, 333, 6),
    "gemma4": Limits(36, 3, 571, 6),
    "internvl": Limits(30, 2, 290, 3),
    "idefics3": Limits(30, 2, 381, 5),
    "smolvlm": Limits(30, 2, 381, 5),
    "video_llava": Limits(35, 2, 271, 3),
}
STEP = dict.fromkeys(HANDED_IN, Limits(3, 0, 5, 0))  # one decoding step
STEP["gemma4"] = Limits(3, 0, 85, 0)  # masks and angles for two kinds of layers
STEP_OF_OTHERS = Limits(3, 0, 20, 0)


class Books(TorchDispatchMode):
    """Counts of operators by name, outside and inside sections, and of waits."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.outside: Counter[str] = Counter()
        self.inside: Counter[str] = Counter()
        self.waits_outside, self.waits_inside = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        (self.inside if self.depth else self.outside)[name] += 1
        self.wait(name in WAITS or (name in INDEXING and any(_is_mask(part) for part in args[1])))
        return func(*args, **(kwargs or {}))

    def wait(self, waits: bool) -> None:
        if self.depth:
            self.waits_inside += waits
        else:
            self.waits_outside += waits

    @contextmanager
    def section(self) -> Iterator[None]:
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1


def _is_mask(index: Any) -> bool:
    return index is not None and index.dtype == torch.bool


class Reads(TorchFunctionMode):
    """Adds reads of whole tensors, which are not dispatched."""

    def __init__(self, books: Books) -> None:
        super().__init__()
        self.books = books

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.books.wait(func in READS)
        return func(*args, **(kwargs or {}))


class Run(NamedTuple):
    prefill: Books
    step: Books


@contextmanager
def counting(books: Books) -> Iterator[None]:
    with Reads(books), books:
        yield


def forwards(model: Any, inputs: Any, prefill: Books, step: Books) -> Run:
    """A prefill and the second of two decoding steps, as `generate` calls the model."""
    with counting(prefill):
        out = model(**inputs, use_cache=True, logits_to_keep=1)
    for books in (Books(), step):
        with counting(books):
            model(**with_cache({"input_ids": torch.tensor([[5]]), "use_cache": True}, cache_out(out)))
    return Run(prefill, step)


@torch.inference_mode()
def counted(name: str, *reducer: vc.Reducer | None) -> Run:
    """One family's tiny model: plain, or under the hooks for a reducer."""
    lvlm = lvlms.lvlm(name)
    noise = np.random.default_rng(0).integers(0, 255, (160, 240, 3), dtype=np.uint8)
    inputs = lvlm.inputs(Image.fromarray(noise), "word5 word6 word7")
    prefill, step = Books(), Books()
    if not reducer:
        return forwards(lvlm.model, inputs, prefill, step)

    @contextmanager
    def section() -> Iterator[None]:
        with prefill.section(), step.section():
            yield

    attached = open_attachment(lvlm.model, reducer[0], timed=section, views=inputs.views)
    with attached as attachment, attachment.here():
        lvlm.model(**inputs)  # tables that depend on sizes alone are made once
        return forwards(lvlm.model, inputs, prefill, step)


@pytest.fixture(scope="module", params=lvlms.MAKERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def plain(name: str) -> Run:
    return counted(name)


def check(run: Books, plain: Books, limit: int, waits: int) -> None:
    assert run.waits_outside <= plain.waits_outside
    assert (run.inside.total() <= limit, run.waits_inside <= waits) == (True, True), (run.inside, run.waits_inside)


def test_the_baseline_does_outside_sections_what_the_plain_model_does(name, plain) -> None:
    limits, steps = PREFILL[name], STEP.get(name, STEP_OF_OTHERS)
    for run, alone, limit in zip(counted(name, None), plain, (limits, steps), strict=True):
        if name in HANDED_IN:
            assert run.outside.total() <= alone.outside.total() + HANDED_IN[name]
        else:
            assert run.outside == alone.outside
        check(run, alone, limit.baseline, limit.baseline_waits)


def test_a_method_does_no_more_than_that_outside_sections(name, plain) -> None:
    limits, steps = PREFILL[name], STEP.get(name, STEP_OF_OTHERS)
    for run, alone, limit in zip(counted(name, vc.VScan(1 / 2)), plain, (limits, steps), strict=True):
        assert run.outside.total() <= alone.outside.total()
        check(run, alone, limit.method, limit.method_waits)
