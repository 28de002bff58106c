"""What the demo asks of the core library, in one small class, so that tests can put a fake behind the page."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import cache, cached_property
from typing import Any

from PIL import Image

import vscan_core as vc
from vscan_core import LVLM, Event, InputError, Reducer, catalog
from vscan_core.batched import BatchAnswer, PictureQuestion, answer_many
from vscan_core.bench.record import provenance
from vscan_core.catalog import ModelCard
from vscan_core.families import FAMILIES
from vscan_core.inference import compare_prepared
from vscan_core.measure import prefill_tflops
from vscan_core.media.asked_about import AskedAbout
from vscan_core.multirun import Encoding, encode_for
from vscan_core.prepared import PreparedInputs, shapes_of
from vscan_core.what_mattered import RegionsLeftOut, WhatMattered, leave_regions_out

from .hub import Hub

WARM_UP_QUESTION = "What is in the picture, and how many of them are there?"


class Engine:
    """Models, methods and runs."""

    @cached_property
    def hub(self) -> Hub:
        """Where models are downloaded from."""
        return Hub()

    def models(self) -> Mapping[str, ModelCard]:
        """Models on offer by name."""
        return catalog.MODELS

    def unavailable(self, name: str, released_gb: float = 0.0) -> str | None:
        """Why a model cannot run here, in one sentence; None if it can, once `released_gb` of memory are free."""
        return catalog.unavailable(name, released_gb=released_gb) or self.hub.missing(name)

    def expected(self, name: str, released_gb: float = 0.0) -> str:
        """How long the first word of a model that can run will take, estimated; "" if there is nothing to say."""
        return catalog.expected(name, released_gb=released_gb)

    def weights_gb(self, lvlm: LVLM) -> float:
        """Memory of a loaded model's weights, in gigabytes (10^9 bytes)."""
        return float(sum(part.numel() * part.element_size() for part in lvlm.model.parameters())) / 1e9

    def frames(self, name: str) -> int:
        """How many frames of a video a model takes, known without loading it; 0: it takes pictures only."""
        card = self.models().get(name)
        return FAMILIES[card.family].frames if card else 0

    def load(self, name: str) -> LVLM:
        """Load a model on offer. Raises InputError if that fails."""
        return vc.load_model(name)

    def methods(self) -> Mapping[str, type[Reducer]]:
        """Methods on offer by name; their `title` and `summary` are what the page says about them."""
        return vc.REDUCERS

    def method(self, name: str) -> type[Reducer]:
        """The method of this name. Raises InputError if it is not on offer."""
        known = self.methods()
        if name not in known:
            raise InputError(f"There is no method {str(name)[:40]!r}; choose from: {', '.join(known)}.")
        return known[name]

    @property
    def about(self) -> str:
        """Who answers, in a sentence, if it is not this process."""
        return ""

    def place(self, device: str) -> str:
        """Where answers are made, given the device of the model here."""
        return device

    def hardware(self, device: str) -> str:
        """What makes the answers, in words that begin with "CPU" or "Server", or name the GPU."""
        return _hardware_here(device)

    def provenance(self, command: str, device: str) -> dict[str, Any]:
        """Where figures come from, as `vscan_core.bench.record.provenance` says it."""
        return provenance(command, device) | {"hardware": self.hardware(device)}

    def reducer(self, lvlm: LVLM, name: str, retention: float) -> Reducer:
        """A method on offer, as it runs on this model. Raises InputError if there is none, or none with that budget."""
        return self.method(name)(retention)

    def inputs(self, lvlm: LVLM, image: AskedAbout, question: str) -> PreparedInputs:
        """Prepare a picture, several or a video, and a question, once for all runs. Raises InputError."""
        return lvlm.inputs(image, question)

    def prompt_tokens(self, lvlm: LVLM, inputs: PreparedInputs) -> int:
        """The length of the whole prompt, with all visual tokens."""
        return int(inputs["input_ids"].shape[1])

    def prefill_flops(self, lvlm: LVLM, tokens_per_layer: Sequence[int]) -> float:
        """10^12 floating-point operations of a prefill in which so many tokens enter each layer, by formula."""
        return prefill_tflops(tokens_per_layer, lvlm.model.config.text_config)

    def answers_unasked(self, name: str) -> bool:
        """Whether a run of this model takes about a second, so that an example may be answered before anybody asks."""
        return name == "mini"

    def encode(self, lvlm: LVLM, inputs: PreparedInputs) -> Encoding:
        """Encode a picture or a video with the signals of all methods on offer, unless that has been done."""
        return encode_for(lvlm, inputs, list(self.methods().values()))

    def run(
        self, lvlm: LVLM, inputs: PreparedInputs, encoding: Encoding, reducer: Reducer | None, max_new_tokens: int
    ) -> Generator[Event, None, None]:
        """Events of one run on a picture that has been encoded; nothing is computed between two `next`."""
        shared = encoding.shared
        yield from compare_prepared(lvlm, inputs, [reducer], max_new_tokens=max_new_tokens, shared=shared)

    def answer_many(
        self, lvlm: LVLM, pairs: Sequence[PictureQuestion], reducer: Reducer | None, max_new_tokens: int
    ) -> list[BatchAnswer]:
        """One answer per picture and question, as one batch, with nothing measured. Raises InputError."""
        return answer_many(lvlm, pairs, reducer, batch_size=len(pairs), max_new_tokens=max_new_tokens)

    def leave_regions_out(
        self, lvlm: LVLM, image: Image.Image, question: str
    ) -> Generator[RegionsLeftOut | WhatMattered, None, None]:
        """What mattered for the answer, step by step; the last step is the result. Raises InputError."""
        yield from leave_regions_out(lvlm, image, question)

    def warm_up(self, lvlm: LVLM) -> None:
        """Run the baseline and the default method once, untimed, if all pictures have one shape for this model.

        A visitor's first run then waits for nothing but itself.
        """
        small, wide = (lvlm.inputs(Image.new("RGB", size), WARM_UP_QUESTION) for size in ((64, 64), (640, 360)))
        if shapes_of(small) != shapes_of(wide):
            return
        encoding = self.encode(lvlm, small)
        for reducer in (None, vc.VScan()):
            for _ in self.run(lvlm, small, encoding, reducer, 2):
                pass
        lvlm.vision_cache.clear()


@cache
def _hardware_here(device: str) -> str:
    return str(provenance("", device)["hardware"])
