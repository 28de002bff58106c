"""PreparedInputs: the arguments of a call, the view of each picture (where its pixels lie in the original), questions.

Stock `generate` has no argument for these and refuses unknown ones outside `reduced(...)`. So they are noted for the
pixel tensors themselves, and looked up when a call passes these:

- they are found as long as the tensor is the same: `**inputs`, `dict(inputs)`, under another key or in another mapping,
  and after `.to()` or a copy of the PreparedInputs itself;
- they are not found for a new tensor: `clone()`, slices, casts; then pass `reduced(..., views=inputs.views)`.

Without views, boxes are in the pixels that the model saw, unless the model is told the size of the original
(`image_sizes` of LLaVA-NeXT and LLaVA-OneVision). Only boxes and a video's number of frames depend on them: which
tiles belong to one picture is read from the prompt, so every method keeps the same tokens either way. The exception is
a video in InternVL and SmolVLM, whose prompts do not say that it is one: without views, each frame is a picture.
Questions (the plain text of each prompt, without template) are needed only by methods that encode them beside the
picture; they hold only for the prompts that they were made with.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import BatchFeature

from vscan_core.families.base import Family
from vscan_core.media.images import upright_size, working_size
from vscan_core.media.videos import Video
from vscan_core.trace import View

PIXELS = ("pixel_values", "pixel_values_images", "pixel_values_videos")  # the second: Video-LLaVA's processor
TEXT_INPUTS = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids", "second_per_grid_ts")


class Notes(NamedTuple):
    """What is noted for a tensor of pixels."""

    views: tuple[View, ...]  # one per picture or video, in the order of the pixels
    questions: tuple[str, ...] | None  # one per prompt; None: not known
    ids: Tensor | None  # (batch, length) of these prompts


_notes: MutableMapping[Tensor, Notes] = WeakTensorKeyDictionary()


class PreparedInputs(BatchFeature):  # type: ignore[misc]  # transformers is not type-checked here
    """Keyword arguments of `generate` or a forward. Made by `LVLM.inputs` and `LVLM.prepare`.

    views: one per picture or video, in the order of the pixels. questions: one per prompt; None: not known.
    """

    def __init__(self, data: Mapping[str, Any], views: Sequence[View], questions: Sequence[str] | None = None) -> None:
        super().__init__(dict(data))
        self.views = tuple(views)
        self.questions = None if questions is None else tuple(questions)
        self._note()

    @property
    def of_vision(self) -> dict[str, Any]:
        """The inputs of the vision side: pixels and what describes them."""
        return {name: value for name, value in self.items() if name not in TEXT_INPUTS}

    def to(self, *args: Any, **kwargs: Any) -> PreparedInputs:
        """Move or cast in place, like every BatchFeature; the views stay with the new pixels."""
        super().to(*args, **kwargs)
        self._note()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"data": self.data, "views": self.views, "questions": self.questions}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.data, self.views, self.questions = state["data"], state["views"], state.get("questions")
        self._note()

    def _note(self) -> None:
        for name in PIXELS:
            if isinstance(pixels := self.data.get(name), Tensor):
                _notes[pixels] = Notes(self.views, self.questions, self.data.get("input_ids"))


def view_of(family: Family, processor: Any, image: Image.Image | Video) -> View:
    """Where the pixels that a processor makes from a picture or video lie in the original."""
    if isinstance(image, Video):
        return replace(family.view(processor, *image.size), frames=len(image.frames), cut=(1, 1))  # a frame is no tiles
    size = upright_size(image)
    small = working_size(*size)
    view = family.view(processor, *small)
    x, y = size[0] / small[0], size[1] / small[1]  # above 1 if the picture was shrunk first
    scale, offset = (view.scale[0] * x, view.scale[1] * y), (view.offset[0] * x, view.offset[1] * y)
    return replace(view, scale=scale, offset=offset, size=size)


def views_in(inputs: Mapping[str, Any]) -> tuple[View, ...] | None:
    """The views of the pixel tensors among a call's arguments; None if no PreparedInputs made them."""
    found = _notes_in(inputs)
    return None if found is None else found.views


def questions_in(inputs: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The questions of the prompts in a call's arguments; None if these are not as a PreparedInputs made them."""
    found, ids = _notes_in(inputs), inputs.get("input_ids")
    if found is None or found.ids is None or not isinstance(ids, Tensor):
        return None
    return found.questions if ids is found.ids or torch.equal(ids, found.ids.to(ids.device)) else None


def _notes_in(inputs: Mapping[str, Any]) -> Notes | None:
    found = (_notes.get(inputs[name]) for name in PIXELS if isinstance(inputs.get(name), Tensor))
    return next((notes for notes in found if notes is not None), None)


def shapes_of(inputs: Mapping[str, Any]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The names and shapes of the tensors among a model's inputs."""
    return tuple((name, tuple(value.shape)) for name, value in inputs.items() if isinstance(value, Tensor))


def padded_rows(
    beginnings: Sequence[list[int]], ends: Sequence[list[int]], fill: int, device: torch.device
) -> dict[str, Tensor]:
    """Token ids -> `input_ids` and `attention_mask` (rows, length) on `device`.

    Each row is a beginning, padding with `fill`, and an end; all beginnings have the same length, which may be 0.
    """
    longest, pairs = max(map(len, ends)), list(zip(beginnings, ends, strict=True))
    ids = [[*head, *[fill] * (longest - len(tail)), *tail] for head, tail in pairs]
    mask = [[1] * len(head) + [0] * (longest - len(tail)) + [1] * len(tail) for head, tail in pairs]
    return {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}
