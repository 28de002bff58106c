"""Models with random weights: real architectures for speed and memory, without a download. Their text means nothing."""

from __future__ import annotations

from typing import Any

import torch
import transformers

from vscan_core.dummies.configs import config_of
from vscan_core.dummies.processors import ids_of, processor_of
from vscan_core.dummies.shapes import REAL, SHAPES, SMALL, Shape
from vscan_core.errors import InputError

__all__ = ["REAL", "SHAPES", "SMALL", "Shape", "build", "model_of"]


def build(name: str, device: torch.device, dtype: torch.dtype, attn: str, tokenizer: str) -> tuple[Any, Any]:
    """(model, processor) of the shape `name`, weights made where they will live; `tokenizer` is a folder.

    Raises InputError for an unknown name.
    """
    if name not in SHAPES:
        raise InputError(f"there is no random-weight model {name!r}; choose {', '.join(SHAPES)}")
    processor = processor_of(SHAPES[name], transformers.AutoTokenizer.from_pretrained(tokenizer))
    return model_of(config_of(SHAPES[name], ids_of(processor)), device, dtype, attn), processor


def model_of(config: Any, device: torch.device, dtype: torch.dtype, attn: str) -> Any:
    """The stock model of a configuration, with the same random weights every time."""
    cls = transformers.AutoModelForImageTextToText
    transformers.set_seed(0)
    with torch.device(device):
        model = cls.from_config(config, dtype=dtype, attn_implementation=attn)
    model.generation_config.eos_token_id = None
    return model
