"""Models with random weights: real architectures for speed and memory, without a download. Their text means nothing.

This package holds what all families share; the file of each family adds sizes, configuration and processor.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers

from vscan_core.checkpoints.attention import attention_by_part


def model_of(config: Any, device: torch.device, dtype: torch.dtype, attn: str) -> Any:
    """The stock model of a configuration, created on `device` with the same random weights every time."""
    cls = transformers.AutoModelForImageTextToText
    transformers.set_seed(0)
    with torch.device(device):
        model = cls.from_config(config, dtype=dtype, attn_implementation=attention_by_part(config, attn))
    model.generation_config.eos_token_id = None
    return model
