"""What is measured: a model, prompts for it, and the ways in which it runs: stock, baseline and methods."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from vscan_core.attach import open_attachment
from vscan_core.bench.suites import Suite
from vscan_core.engine.state import Timed
from vscan_core.errors import InputError
from vscan_core.lvlm import LVLM
from vscan_core.measure import Stopwatch
from vscan_core.media.videos import Video
from vscan_core.prepared import PreparedInputs
from vscan_core.reducers import REDUCERS, Reducer
from vscan_core.trace import Trace

QUESTION = "Is there a cat in the picture?"
STOCK = "stock"  # the model as transformers made it, without a single hook
WATCHED = "baseline"  # with the hooks that fill a trace, but no method


@dataclass(frozen=True)
class Subject:
    """One loaded model and how to measure it."""

    lvlm: LVLM
    suite: Suite
    seed: int

    @property
    def order(self) -> random.Random:
        """A new source of random orders; the same for every test of this subject."""
        return random.Random(self.seed)

    def stopwatch(self) -> Stopwatch:
        """A new one on the model's device."""
        return Stopwatch(self.lvlm.device)

    def picture(self, size: tuple[int, int] | None = None) -> Image.Image:
        """Noise, the same for the same seed."""
        width, height = size or self.suite.size
        return Image.fromarray(np.random.default_rng(self.seed).integers(0, 256, (height, width, 3), np.uint8))

    def inputs(self, pictures: int = 1, size: tuple[int, int] | None = None) -> PreparedInputs:
        """One prompt with `pictures` equal pictures."""
        content: list[dict[str, str]] = [{"type": "image"}] * pictures + [{"type": "text", "text": QUESTION}]
        prompt = self.lvlm.prompt([{"role": "user", "content": content}])
        return self.lvlm.prepare([self.picture(size)] * pictures, [prompt], [QUESTION])

    def video(self, frames: int) -> PreparedInputs:
        """A prompt with one video. Raises InputError if the model takes none."""
        return self.lvlm.inputs(Video([self.picture()] * frames), QUESTION)

    def ways(self) -> dict[str, Reducer | str | None]:
        """{name of a run: STOCK, None for the baseline, or a method}."""
        methods = {
            f"{name} {share:.3f}": REDUCERS[name](share)
            for name in self.suite.methods
            for share in self.suite.retentions
        }
        for method in methods.values():
            if method.unsure_below is not None:
                raise InputError(f"{method.title} may read a prompt twice, and the benchmark measures one prefill")
        return {STOCK: STOCK, WATCHED: None, **methods}

    def at_lowest_retention(self) -> Subject:
        """The same, with each method at one retention."""
        return replace(self, suite=replace(self.suite, retentions=(min(self.suite.retentions),)))


@contextmanager
def running_as(
    lvlm: LVLM, inputs: PreparedInputs, way: Reducer | str | None, timed: Timed = nullcontext
) -> Iterator[Trace | None]:
    """Calls of the model inside this `with` run in one of the ways; the trace is None for the stock model."""
    if isinstance(way, str):
        yield None
        return
    attachment = open_attachment(
        lvlm.model, way, shared=True, timed=timed, views=inputs.views, questions=inputs.questions
    )
    with attachment as attached, attached.here():
        yield attached.trace


def prefill(model: Any, inputs: Mapping[str, Any]) -> Any:
    """The model's output for a prompt, with its cache and the logits of the last token."""
    return model(**inputs, use_cache=True, logits_to_keep=1)


def visual_tokens(lvlm: LVLM, inputs: Mapping[str, Tensor]) -> int:
    """Placeholders for visual tokens in the prompts."""
    ids, known = inputs["input_ids"], lvlm.family.visual_token_ids(lvlm.model)
    return int(sum((ids == token).sum() for token in known))


def token_steps_of(trace: Trace) -> Sequence[int]:
    """Tokens that entered each decoder layer, without repetitions of the same number. 640, 640, 160 -> [640, 160]."""
    steps: list[int] = []
    for count in trace.tokens_per_layer:
        if not steps or steps[-1] != count:
            steps.append(count)
    return steps
