"""Find the model inside a wrapper: PEFT, torch.compile, a pipeline, an LVLM."""

from __future__ import annotations

from typing import Any

from torch import nn

from vscan_core.errors import InputError
from vscan_core.families import FAMILIES


def unwrapped(model: Any) -> Any:
    """The transformers model of a known family that `model` is or holds.

    Raises InputError if there is none, if there are several, or if it is a part of one.
    """
    if isinstance(model, nn.DataParallel):
        raise InputError("nn.DataParallel runs copies of the model, which cannot be reduced; pass the model itself")
    if not isinstance(model, nn.Module):  # an LVLM, a pipeline
        model = getattr(model, "model", model)
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model must be a torch module, not a {type(model).__name__}; pass what from_pretrained returns"
        )
    if _whole(model):
        return model
    held = [module for module in model.modules() if _whole(module)]
    if len(held) == 1:
        return held[0]
    if held:
        raise InputError(f"this {type(model).__name__} holds {len(held)} models; pass the one to reduce")
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if kind in FAMILIES:
        raise InputError(
            f"{type(model).__name__} lacks the language-model head; pass the whole model, such as "
            "LlavaForConditionalGeneration"
        )
    raise InputError(f"models of type {kind!r} are not supported; supported are: {', '.join(FAMILIES)}")


def _whole(module: Any) -> bool:
    """Whether this is a transformers model of a known family itself, with its head."""
    kind = getattr(getattr(module, "config", None), "model_type", None)
    inner = "get_output_embeddings" in dir(type(module)) and hasattr(type(module), "base_model_prefix")
    return kind in FAMILIES and inner and module.get_output_embeddings() is not None
