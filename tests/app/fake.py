"""A fake engine: instant, deterministic, and its signals really depend on the picture. No weights, no torch model."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image

from app.session.engine import Engine
from vscan_core import geometry
from vscan_core.batched import BatchAnswer
from vscan_core.engine.preview import PreparedImage, VisionPreview
from vscan_core.errors import InputError
from vscan_core.events import Answer, Cost, Done, Event, Prefilled, Timings, Token
from vscan_core.families.llava import Llava
from vscan_core.families.tiles import TokenLayout
from vscan_core.reducers.vscan import VScan
from vscan_core.selection import Anatomy, Needs, Signals
from vscan_core.trace import Cut, Trace, View

GRID, LAYERS = 24, 6
TOKENS = GRID * GRID


class FakeLVLM:
    """Sees how much each of 24 x 24 patches differs from the picture's mean colour; counts how often it looks."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(device="cpu")
        self.anatomy = Anatomy(vision_layers=8, feature_layer=6, text_layers=LAYERS, shallow_layer=2)
        self.looks = 0

    def preview(self, image: Image.Image, needs: Any, question: str = "") -> VisionPreview:
        self.looks += 1
        needs = needs if isinstance(needs, Needs) else needs.needs(self.anatomy)
        view = View(size=image.size)
        token_layout = TokenLayout(1, None, geometry.patch_boxes(GRID, GRID, image.height, image.width), view)
        return VisionPreview(
            PreparedImage(None, Llava(), self.anatomy, {}, [view]), needs, [self._signals(image, needs)], token_layout
        )

    def _signals(self, image: Image.Image, needs: Needs) -> Signals:
        pixels = torch.tensor(list(image.convert("RGB").resize((GRID, GRID)).get_flattened_data())).float()
        odd = (pixels - pixels.mean(0)).norm(dim=-1) + torch.arange(TOKENS) * 1e-4
        rows = (odd / odd.sum()).expand(2, TOKENS)
        attention = {layer: rows.roll(layer, dims=-1) for layer in needs.cls_attention}
        received = {layer: rows[0].roll(layer) for layer in needs.received}
        return Signals(features=pixels, projected=pixels, cls_attention=attention, received=received, grid=(GRID, GRID))


class Coarse(VScan):
    """The same as VScan, under another name."""

    title, summary = "Coarse", "The same as VScan, under another name."


class Picky(VScan):
    """Refuses small budgets, as a method that cuts late has to."""

    title, summary = "Picky", "Refuses small budgets."

    def schedule(self, *args: Any) -> dict[int, int]:
        if self.retention < 0.5:
            raise InputError("Picky cannot keep less than 50 %; choose a <b>higher</b> retention.")
        return super().schedule(*args)


class Absent(VScan):
    """Refuses every model."""

    title, summary = "Absent", "Refuses every model."

    def __post_init__(self) -> None:
        raise InputError("This model has no text tower.")


METHODS: dict[str, type[VScan]] = {cls.__name__.lower(): cls for cls in (VScan, Coarse, Picky, Absent)}


@dataclass
class FakeEngine(Engine):
    """Answers with fixed words, one per `pause_s`; writes down what it did."""

    pause_s: float = 0.0
    answer_words: tuple[str, ...] = ("a", "red", "ball")
    hint: str | None = None
    unasked: bool = False
    fails_with: Exception | None = None
    alive: int = 0  # runs under way
    steps: int = 0
    ran: list[str] = field(default_factory=list)  # methods of the runs so far
    limits: list[int] = field(default_factory=list)  # their greatest lengths
    batches: list[tuple[str, int, int]] = field(default_factory=list)  # method, length limit, questions
    encoded: set[bytes] = field(default_factory=set)  # pictures that have been encoded
    lvlm: FakeLVLM = field(default_factory=FakeLVLM)

    def models(self) -> dict[str, Any]:
        return {
            "mini": SimpleNamespace(name="mini", title="Fake Mini", description="Made for tests."),
            "big": SimpleNamespace(name="big", title="Big <b>7B</b>", description="Large."),
        }

    def unavailable(self, name: str, released_gb: float = 0.0) -> str | None:
        return "Big 7B needs about 16.2 GB of memory; this machine has 8.0 GB." if name == "big" else None

    def weights_gb(self, lvlm: FakeLVLM) -> float:
        return 0.0

    def frames(self, name: str) -> int:
        return 0

    def load(self, name: str) -> FakeLVLM:
        return self.lvlm

    def methods(self) -> dict[str, type[VScan]]:
        return METHODS

    def prompt_tokens(self, lvlm: FakeLVLM, inputs: Any) -> int:
        return TOKENS + 20

    def prefill_flops(self, lvlm: FakeLVLM, tokens_per_layer: Any) -> float:
        return sum(tokens_per_layer) * 1e-4

    def answers_unasked(self, name: str) -> bool:
        return self.unasked

    def warm_up(self, lvlm: FakeLVLM) -> None:
        pass

    def inputs(self, lvlm: FakeLVLM, image: Image.Image, question: str) -> Any:
        if not question.strip():
            raise InputError("Please ask a question.")
        return SimpleNamespace(image=image, question=question)

    def encode(self, lvlm: FakeLVLM, inputs: Any) -> Any:
        known = inputs.image.tobytes() in self.encoded
        self.encoded.add(inputs.image.tobytes())
        return SimpleNamespace(new=not known)

    def answer_many(self, lvlm: FakeLVLM, pairs: Any, reducer: Any, max_new_tokens: int) -> list[BatchAnswer]:
        method = type(reducer).__name__.lower() if reducer else "baseline"
        self.batches.append((method, max_new_tokens, len(pairs)))
        if any(question == "refuse" for _, question in pairs):
            raise InputError("This question is refused.")
        return [BatchAnswer(f"{method}: {question}", (1,), True, (TOKENS,), 1.0) for _, question in pairs]

    def run(
        self, lvlm: FakeLVLM, inputs: Any, encoding: Any, reducer: Any, max_new_tokens: int
    ) -> Generator[Event, None, None]:
        self.alive += 1
        try:
            yield from self._events(lvlm, inputs.image, inputs.question, reducer, max_new_tokens)
        finally:
            self.alive -= 1

    def _events(
        self, lvlm: FakeLVLM, image: Image.Image, question: str, reducer: Any, limit: int
    ) -> Generator[Event, None, None]:
        trace = fake_trace(lvlm, image, reducer)
        method = type(reducer).__name__.lower() if reducer else "baseline"
        self.ran.append(method)
        self.limits.append(limit)
        yield Prefilled(0, method, trace)
        answer_so_far: list[str] = []
        for word in (*self.answer_words, question[:60])[:limit]:
            self.steps += 1
            time.sleep(self.pause_s)
            if self.fails_with:
                raise self.fails_with
            answer_so_far.append(word)
            yield Token(0, " ".join(answer_so_far))
        yield Done(0, fake_answer(" ".join(answer_so_far), trace, method, self.hint))


def fake_trace(lvlm: FakeLVLM, image: Image.Image, reducer: Any) -> Trace:
    """The trace of a run that a real engine would have recorded."""
    per_layer = [TOKENS] * LAYERS
    preview = lvlm.preview(image, Needs() if reducer is None else reducer)
    picture = preview.token_layout.trace((GRID, GRID), [])
    if reducer is not None:
        picture = preview.trace(reducer)
        kept = picture.kept
        for layer, keep in sorted(reducer.schedule(TOKENS, lvlm.anatomy).items()):
            per_layer[layer:] = [keep] * (LAYERS - layer)
            if layer > 0:
                text = torch.full((TOKENS,), torch.nan)
                text[kept] = torch.linspace(0, 1, len(kept))
                kept = kept[-keep:]
                picture.cuts.append(Cut(layer, kept, {"text": kept}, torch.full((TOKENS,), -1), {"text": text}))
    return Trace([picture], [count + 20 for count in per_layer], [torch.tensor(count) for count in per_layer])


def fake_answer(text: str, trace: Trace, method: str, hint: str | None = None) -> Answer:
    """An answer whose numbers follow from the counts in its trace."""
    mean = sum(trace.visual_tokens_per_layer) / LAYERS
    vision, reduce, prefill = 21.5, 0.0 if method == "baseline" else 1.3, mean / 4
    first = vision + reduce + prefill
    timings = Timings(vision, reduce, prefill, first, 6.25, first + 50, vision_shared_ms=20.0)
    survey = mean / TOKENS, 3 - 4 * (1 - mean / TOKENS)
    cost = Cost(mean, mean * 1e-4, mean * 1.1e-4, int(mean * 6144), 512_000_000 + int(mean) * 1000, *survey)
    return Answer(text, trace, timings, cost, (1, 2, 3), method, True, hint)
