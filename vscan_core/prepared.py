"""PreparedInputs: the arguments of a call, and the view of each picture (where its pixels lie in the original).

Stock `generate` has no argument for views and refuses unknown ones outside `reduced(...)`. So views are noted for the
pixel tensors themselves, and looked up when a call passes these:

- they are found as long as the tensor is the same: `**inputs`, `dict(inputs)`, under another key or in another mapping,
  and after `.to()` or a copy of the PreparedInputs itself;
- they are not found for a new tensor: `clone()`, slices, casts; then pass `reduced(..., views=inputs.views)`.

Without views, boxes are in the pixels that the model saw, unless the model is told the size of the original
(`image_sizes` of LLaVA-NeXT and LLaVA-OneVision). Only boxes and a video's number of frames depend on them: which
tiles belong to one picture is read from the prompt, so every method keeps the same tokens either way.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import BatchFeature

from vscan_core.trace import View

PIXELS = ("pixel_values", "pixel_values_images", "pixel_values_videos")  # the second: Video-LLaVA's processor
TEXT_INPUTS = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids", "second_per_grid_ts")

_views: MutableMapping[Tensor, tuple[View, ...]] = WeakTensorKeyDictionary()


class PreparedInputs(BatchFeature):  # type: ignore[misc]  # transformers is not type-checked here
    """Keyword arguments of `generate` or a forward. Made by `LVLM.inputs` and `LVLM.prepare`.

    views: one per picture or video, in the order of the pixels.
    """

    def __init__(self, data: Mapping[str, Any], views: Sequence[View]) -> None:
        super().__init__(dict(data))
        self.views = tuple(views)
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
        return {"data": self.data, "views": self.views}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.data, self.views = state["data"], state["views"]
        self._note()

    def _note(self) -> None:
        for name in PIXELS:
            if isinstance(pixels := self.data.get(name), Tensor):
                _views[pixels] = self.views


def views_in(inputs: Mapping[str, Any]) -> tuple[View, ...] | None:
    """The views of the pixel tensors among a call's arguments; None if no PreparedInputs made them."""
    found = (_views.get(inputs[name]) for name in PIXELS if isinstance(inputs.get(name), Tensor))
    return next((views for views in found if views is not None), None)


def shapes_of(inputs: Mapping[str, Any]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The names and shapes of the tensors among a model's inputs."""
    return tuple((name, tuple(value.shape)) for name, value in inputs.items() if isinstance(value, Tensor))
