"""SmolVLM: Idefics3 under another name, with smaller models and with videos."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import transformers
from PIL import Image
from transformers.models.smolvlm import processing_smolvlm

from vscan_core.dummies.processors import VIDEO
from vscan_core.dummies.shapes import SMALL_TEXT, Decoder, Ids, Shape, Tower, small_tower
from vscan_core.families.entries import Defaults, HubModel, SmallModel
from vscan_core.families.idefics3 import Idefics3

SIGLIP_384 = Tower(384, 14, 1152, 27, 16, 4304)
SIGLIP_BASE = Tower(512, 16, 768, 12, 12, 3072)


class SmolVLM(Idefics3):
    """`SmolVLMForConditionalGeneration`: the same architecture under another name, trained on videos, too.

    Every frame of a video is a tile. Prompts do not show which frames are of one video: only `LVLM.inputs` tells, and
    in other inputs each is a picture of its own.
    """

    model_type = "smolvlm"
    title = "SmolVLM"
    hub_models = (
        HubModel("HuggingFaceTB/SmolVLM2-256M-Video-Instruct", "SmolVLM2 0.26B", "SmolVLM2 0.26B", 0.26, "Apache-2.0",
                 "smolvlm2-0.26b", Shape(SIGLIP_BASE, Decoder(576, 30, 9, 3, 1536, 49280), {"scale_factor": 4}),
                 Defaults(3, 11, 15, "renumbered", "ours")),
        HubModel("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "SmolVLM2 0.5B", "SmolVLM2 0.5B", 0.51, "Apache-2.0",
                 "smolvlm2-0.5b", Shape(SIGLIP_BASE, Decoder(960, 32, 15, 5, 2560, 49280), {"scale_factor": 4}),
                 Defaults(3, 11, 16, "renumbered", "ours")),
        HubModel("HuggingFaceTB/SmolVLM2-2.2B-Instruct", "SmolVLM2 2.2B", "SmolVLM2 2.2B", 2.25, "Apache-2.0",
                 "smolvlm2-2.2b", Shape(SIGLIP_384, Decoder(2048, 24, 32, 32, 8192, 49280), {"scale_factor": 3}),
                 Defaults(6, 26, 12, "renumbered", "ours")),
    )  # fmt: skip
    small_models = (
        SmallModel(
            "smolvlm2-small", "SmolVLM2", 62, Shape(small_tower(512, 16, 192), SMALL_TEXT, {"scale_factor": 4}, 2)
        ),
    )

    frames = 16  # set by this project; the reference code takes one per second, up to 64

    def visual_token_ids(self, model: Any) -> tuple[int, ...]:
        """That of pictures: frames are written with it, too."""
        return (self.image_token_id(model),)

    def video_inputs(
        self, processor: Any, prompt: str, frames: Sequence[Image.Image], times: Sequence[float]
    ) -> dict[str, Any]:
        """Every frame is one square tile after its time, as the stock processor writes it.

        The duration that the prompt tells is the time of the last frame.
        """
        prepare, mark = processor.image_processor, processor.fake_image_token
        side = {"longest_edge": prepare.max_image_size["longest_edge"]}
        made = prepare([list(frames)], size=side, do_image_splitting=False, return_tensors="pt")
        # the stock processor spells numbers with a package that it needs; other processors do without it
        spelled = (processing_smolvlm.num2words or str)(len(frames))
        told = processing_smolvlm.DEFAULT_VIDEO_INTRO.format(
            frame_count=spelled, video_duration=str(timedelta(seconds=int(times[-1])))
        )
        tile = f"{mark}<global-img>{processor.image_token * processor.image_seq_len}{mark}"
        for time in times:
            stamp = f"{int(time // 60):02d}:{int(time % 60):02d}"
            told += processing_smolvlm.FRAME_TIMESTAMP_MESSAGE.format(timestamp=stamp) + tile
        prompt = prompt.replace(VIDEO, told + processing_smolvlm.DEFAULT_MEDIA_OUTTRO)
        text = processor.tokenizer([prompt], return_tensors="pt", return_token_type_ids=False)
        return {**text, **{name: made[name] for name in ("pixel_values", "pixel_attention_mask")}}

    def dummy_config(self, shape: Shape, ids: Ids) -> Any:
        """That of Idefics3, as SmolVLMConfig."""
        return transformers.SmolVLMConfig(**self.config_settings(shape, ids))
