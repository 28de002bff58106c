"""The examination of every method on every family: what must hold in a running model, or one sentence of refusal."""

from __future__ import annotations

from functools import partial

import pytest

import vscan_core as vc
from tests.families.refused import refusal
from tests.families.test_families import BATCHES, FAMILIES, token_of
from tests.families.tiny import VIDEO
from vscan_core.conformance import test_running
from vscan_core.conformance.tiny import TinyModel

MODELS = [
    TinyModel(name, partial(make, "sdpa"), inputs, BATCHES[name][0][0], token_of(name))
    for name, (make, inputs) in FAMILIES.items()
]


@pytest.mark.parametrize("tiny", MODELS, ids=lambda tiny: tiny.name)
@pytest.mark.parametrize("method", vc.REDUCERS)
class TestMethod(test_running.TestOnEveryModel):
    """A refusal must be the one that follows from what the method needs."""

    def refusal(self, tiny, reducer):
        compares_frames = reducer.sees_all_tiles and tiny.placeholder == VIDEO
        return None if compares_frames else refusal(tiny.model, reducer)

    def refused(self, sentence: str) -> None:
        """`run` has looked at the sentence."""
