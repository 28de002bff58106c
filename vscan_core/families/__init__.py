"""Every model family on offer. A new one is one new file and one name in this tuple."""

from typing import Any

from vscan_core.errors import InputError
from vscan_core.families.base import Family
from vscan_core.families.idefics3 import Idefics3, SmolVLM
from vscan_core.families.internvl import InternVL
from vscan_core.families.llava import Llava
from vscan_core.families.llava_next import LlavaNext
from vscan_core.families.llava_onevision import LlavaOnevision
from vscan_core.families.qwen2_5_vl import Qwen25VL
from vscan_core.families.qwen3_vl import Qwen3VL
from vscan_core.families.video_llava import VideoLlava

_CLASSES = (Llava, LlavaNext, LlavaOnevision, Qwen25VL, Qwen3VL, InternVL, Idefics3, SmolVLM, VideoLlava)
FAMILIES: dict[str, Family] = {cls.model_type: cls() for cls in _CLASSES}


def family_of(model: Any) -> Family:
    """The family of a transformers model, by its config's model_type."""
    model_type = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if model_type not in FAMILIES:
        raise InputError(f"models of type {model_type!r} are not supported; supported are: {', '.join(FAMILIES)}")
    return FAMILIES[model_type]


__all__ = ["FAMILIES", "Family", "family_of"]
