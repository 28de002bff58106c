"""Video-LLaVA: one CLIP-like tower for pictures, one for video frames, a shared projector, a Llama decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor, nn

from vscan_core.dummies.processors import cropped, with_videos
from vscan_core.dummies.shapes import SMALL_TEXT, Ids, Shape, Tower, small_tower
from vscan_core.families.entries import HubModel, SmallModel
from vscan_core.families.llava import DEFAULTS_7B, VICUNA_7B, Llava, clip_and_llama, clip_processor
from vscan_core.families.method_hook import MethodHook
from vscan_core.families.tiles import Arrange, Tiles, TokenLayout
from vscan_core.geometry import patch_boxes
from vscan_core.trace import View

CLIP_224 = Tower(224, 14, 1024, 24, 16, 4096)


class VideoLlava(Llava):
    """`VideoLlavaForConditionalGeneration`.

    Settings as for LLaVA-1.5, of which it is the video version. The VScan paper reports results for it (table 5: 25 %
    of 8 x 256 tokens), but the released code does not include it. Every frame is a tile of its video: cut 0 keeps the
    same number of tokens in each, as all published methods do, and later cuts choose from the whole video, since a
    question may be about one moment.
    Frames keep their CLS token (257 tokens per frame). Cut 0 always keeps it and does not count it in the budget,
    because CLS scores the other tokens and has no score itself. Later cuts count it and may drop it like any other
    visual token, because the decoder treats them alike.
    """

    model_type = "video_llava"
    title = "Video-LLaVA"
    hub_models = (
        HubModel("LanguageBind/Video-LLaVA-7B-hf", "Video-LLaVA 7B", "Video-LLaVA with Vicuna 7B", 7.37, "Llama 2",
                 "video-llava-7b", Shape(CLIP_224, VICUNA_7B), DEFAULTS_7B),
    )  # fmt: skip
    small_models = (SmallModel("video-llava-small", "Video-LLaVA", 73, Shape(small_tower(224, 14), SMALL_TEXT)),)
    has_vision_keys = False
    clip = ""  # the towers are LanguageBind's
    frames = 8  # as in training

    def vision_tower(self, model: nn.Module) -> Any:
        """The tower for pictures."""
        return self.base(model).image_tower

    def vision_towers(self, model: nn.Module) -> list[nn.Module]:
        """The towers for pictures and for videos."""
        return [self.base(model).image_tower, self.base(model).video_tower]

    def encode(self, model: Any, batch: Mapping[str, Any]) -> Any:
        """Frames of a video or pictures."""
        base = self.base(model)  # the outer model has no get_video_features in transformers 5.17
        run = base.get_video_features if "pixel_values_videos" in batch else base.get_image_features
        return run(**batch, return_dict=True)

    def tiles(self, model: nn.Module, tower: Any, args: Any, kwargs: Any) -> Tiles:
        """Pictures lose CLS before the projector, frames do not. `hook_arrangement` groups frames into videos."""
        tiles = super().tiles(model, tower, args, kwargs)
        return tiles if tower is not self.base(model).video_tower else replace(tiles, layouts=None, lead=1)

    def hook_arrangement(self, model: nn.Module, record: Callable[[Arrange], None]) -> list[Any]:
        """Hook the method that calls the tower, because only its arguments show which frames belong to one video."""

        def encoded(call: Any, *args: Any, **kwargs: Any) -> None:
            videos = args[0] if args else kwargs["pixel_values_videos"]  # (videos, frames, 3, height, width)
            patch = self.vision_tower(model).config.patch_size

            def arrange(tiles: Tiles) -> Tiles:
                height, width = videos.shape[-2:]
                boxes = patch_boxes(height // patch, width // patch, height, width)
                return replace(tiles, layouts=[_video_layout(boxes, View(frames=videos.shape[1]))] * len(videos))

            record(arrange)

        return [MethodHook(self.base(model), "get_video_features", encoded)]

    def tiles_in_rows(self, model: nn.Module, ids: Tensor, per_tile: int, image_sizes: Any) -> list[int] | None:
        """One tile per picture or frame; frames have a placeholder for CLS, too."""
        image, video = self.visual_token_ids(model)
        frames = super().tiles_in_rows(model, ids.masked_fill(ids == image, 0), per_tile + 1, None)
        pictures = super().tiles_in_rows(model, ids.masked_fill(ids == video, 0), per_tile, None)
        if frames is None or pictures is None:
            return None
        return [one + other for one, other in zip(frames, pictures, strict=True)]

    def video_inputs(
        self, processor: Any, prompt: str, frames: Sequence[Image.Image], times: Sequence[float]
    ) -> dict[str, Any]:
        """Frames are prepared like pictures."""
        made = processor.image_processor(list(frames), return_tensors="pt")
        pixels: Tensor = made["pixel_values" if "pixel_values" in made else "pixel_values_images"]
        rows, cols = (side // processor.patch_size for side in pixels.shape[-2:])
        tokens = len(frames) * (rows * cols + 1)
        prompt = prompt.replace(processor.video_token, processor.video_token * tokens)
        text = processor.tokenizer([prompt], return_tensors="pt", return_token_type_ids=False)
        return {**text, "pixel_values_videos": pixels[None]}

    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """That of LLaVA-1.5, and a token for videos."""
        return transformers.VideoLlavaConfig(**clip_and_llama(shape, ids), video_token_index=ids.video)

    def dummy_processor(self, shape: Shape, tokenizer: Any) -> Any:
        """Pictures and frames are cropped to a square."""
        return with_videos(
            "VideoLlavaProcessor",
            transformers.VideoLlavaImageProcessor(**cropped(shape)),
            "VideoLlavaVideoProcessor",
            tokenizer,
            cropped(shape),
            **clip_processor(shape),
        )


def _video_layout(boxes: Tensor, view: View) -> TokenLayout:
    """boxes (tokens, 4) of one frame -> the layout of a video, where CLS comes first in every frame and has no box."""
    tokens, frames = len(boxes), view.frames
    numbers = torch.arange(frames * tokens).view(frames, tokens)
    origin = torch.cat([numbers.new_full((frames, 1), -1), numbers], dim=1).flatten()
    with_cls = torch.cat([torch.full((1, 4), torch.nan), boxes])
    return TokenLayout(frames, origin, with_cls.repeat(frames, 1), view)
