"""PreparedInputs: what a model is called with, and how each picture in it lies in its original.

The arguments of a stock `generate` have no place for the second, and an unknown argument is refused outside of
`reduced(...)`. So a PreparedInputs says it of its own pixel tensors, which are what a call is recognised by:

- the note survives what keeps the tensor: `**inputs`, `dict(inputs)`, a tensor moved to another key or mapping, `.to()`
  and copies of the PreparedInputs itself;
- it does not survive what makes another tensor: `clone()`, slices, casts; pass `reduced(..., views=inputs.views)`.

Without a note, boxes are in the pixels that the model saw, except where the model is told the size of the original
(`image_sizes` of LLaVA-NeXT and LLaVA-OneVision). Nothing but boxes and a video's count of frames depends on
it: which tiles make one picture is read from the prompt, so every method keeps the same tokens either way.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import BatchFeature

from vscan_core.trace import View

PIXELS = ("pixel_values", "pixel_values_images", "pixel_values_videos")  # the second: Video-LLaVA's processor

_views: MutableMapping[Tensor, tuple[View, ...]] = WeakTensorKeyDictionary()


class PreparedInputs(BatchFeature):  # type: ignore[misc]  # transformers is not type-checked here
    """Keyword arguments of `generate` or a forward. Made by `LVLM.inputs` and `LVLM.prepare`.

    views: of each picture or video, in the order in which the pixels hold them.
    """

    def __init__(self, data: Mapping[str, Any], views: Sequence[View]) -> None:
        super().__init__(dict(data))
        self.views = tuple(views)
        self._note()

    def to(self, *args: Any, **kwargs: Any) -> PreparedInputs:
        """Move or cast in place, as every BatchFeature; the views stay with the new pixels."""
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
