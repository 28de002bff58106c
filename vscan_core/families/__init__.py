"""All model families. To add one, add a file and one line in this table."""

from importlib import import_module
from typing import Any

from vscan_core.errors import InputError
from vscan_core.families.base import Family

CLASSES = (  # module and class, in the order of the catalog
    "llava.Llava",
    "llava_next.LlavaNext",
    "qwen2_5_vl.Qwen25VL",
    "video_llava.VideoLlava",
    "qwen3_vl.Qwen3VL",
    "internvl.InternVL",
    "idefics3.Idefics3",
    "smolvlm.SmolVLM",
    "llava_onevision.LlavaOnevision",
    "glm4v.Glm4V",
    "qwen3_5.Qwen35",
    "gemma4.Gemma4",
)


def _family(path: str) -> Family:
    module, _, name = path.partition(".")
    family: Family = getattr(import_module(f"{__name__}.{module}"), name)()
    return family


FAMILIES: dict[str, Family] = {family.model_type: family for family in map(_family, CLASSES)}


def family_of(model: Any) -> Family:
    """The family of a transformers model, by its config.model_type. Raises InputError if it is not supported."""
    model_type = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if model_type not in FAMILIES:
        raise InputError(f"models of type {model_type!r} are not supported; supported are: {', '.join(FAMILIES)}")
    return FAMILIES[model_type]


__all__ = ["FAMILIES", "Family", "family_of"]
