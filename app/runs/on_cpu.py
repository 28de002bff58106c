"""An answer as a visitor's state may keep it: nothing in it holds memory of a model's device, or more than it shows."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from vscan_core.events import Answer
from vscan_core.trace import Cut, ImageTrace


def on_cpu(answer: Answer) -> Answer:
    """The same answer with a trace of its own on the CPU: some 20 kB for 576 visual tokens."""
    trace = answer.trace
    images = [_image(image) for image in trace.images]
    return replace(answer, trace=replace(trace, images=images, _visual=list(trace.visual_tokens_per_layer)))


def _image(image: ImageTrace) -> ImageTrace:
    boxes = None if image.boxes is None else _copy(image.boxes)
    origin = None if image.origin is None else _copy(image.origin)
    return replace(image, boxes=boxes, origin=origin, cuts=[_cut(cut) for cut in image.cuts])


def _cut(cut: Cut) -> Cut:
    labels, scores = ({name: _copy(value) for name, value in part.items()} for part in (cut.labels, cut.scores))
    return Cut(cut.layer, _copy(cut.kept), labels, _copy(cut.merged_into), scores)


def _copy(values: Tensor) -> Tensor:
    return values.detach().cpu().clone()  # a view would keep the whole tensor that it looks at
