"""Video-LLaVA: one CLIP-like tower for pictures, one for video frames, a shared projector, a Llama decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vscan_core.families.llava import Llava
from vscan_core.layout import Layout, Tiles


class VideoLlava(Llava):
    """`VideoLlavaForConditionalGeneration`.

    Settings as for LLaVA-1.5, of which it is the video edition; the paper reports it, the released code lacks it.
    Frames bring their CLS token along (257 tokens per frame): cut 0 always keeps it and counts it in no budget;
    later cuts treat it like any other visual token, as they do newlines. The towers are not told which frames make
    one video, so each frame is an image of its own in budgets and traces, and later cuts keep as much of each.
    """

    model_type = "video_llava"
    title = "Video-LLaVA"
    gives_keys = False

    def vision_tower(self, model: nn.Module) -> Any:
        """The tower for pictures."""
        return self.base(model).image_tower

    def vision_towers(self, model: nn.Module) -> list[nn.Module]:
        """Pictures, videos."""
        return [self.base(model).image_tower, self.base(model).video_tower]

    def encode(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Frames of a video or pictures."""
        base = self.base(model)  # the model around it has no get_video_features in transformers 5.17
        run = base.get_video_features if "pixel_values_videos" in batch else base.get_image_features
        return run(**batch, return_dict=True)

    def see_in(self, tower: nn.Module, model: nn.Module, args: Any, kwargs: Any) -> Tiles:
        """Pictures lose their CLS token before the projector, frames do not."""
        tiles = self.see(model, args, kwargs)
        if tower is not self.base(model).video_tower or tiles.layouts is None:
            return tiles
        return replace(tiles, layouts=[_with_cls(layout) for layout in tiles.layouts], lead=1)

    def visual_token_ids(self, model: nn.Module) -> tuple[int, ...]:
        """`<image>` and `<video>`."""
        config: Any = model.config
        return self.image_token_id(model), config.video_token_id


def _with_cls(layout: Layout) -> Layout:
    """The CLS token comes first, is never cut at the entrance and covers no pixels."""
    tokens = len(layout.boxes)
    boxes = torch.cat([torch.full((1, 4), torch.nan), layout.boxes])
    return replace(layout, origin=torch.arange(-1, tokens), boxes=boxes)
