"""Attention implementations: all that transformers knows, with a clear error for those that cannot be used here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vscan_core.errors import InputError, first_line
from vscan_core.measure import ran_out

BUILT_IN = ("sdpa", "eager")  # need nothing but PyTorch
KERNEL = re.compile(r"[^/:|]+/[^/:|]+(@[^/:|]+)?(:[^/:|]+)?")  # owner/name@revision:function, on the Hub


def attentions() -> tuple[str, ...]:
    """The names that transformers lists, without paged attention, whose KV cache cannot be reduced."""
    others = sorted(name for name in ALL_ATTENTION_FUNCTIONS.valid_keys() if "|" not in name and name not in BUILT_IN)
    return (*BUILT_IN, *others)


def check_attention(name: str) -> None:
    """Raise InputError for an attention that transformers does not know or that needs a missing package."""
    choices = f"choose {', '.join(attentions())}, or a kernel of the Hub such as kernels-community/flash-attn2"
    if isinstance(name, str) and name.startswith("paged|"):
        raise InputError(f"paged attention {name!r} keeps a KV cache of its own, which cannot be reduced; {choices}")
    if not isinstance(name, str) or (name not in attentions() and KERNEL.fullmatch(name) is None):
        raise InputError(f"there is no attention {name!r}; {choices}")
    if KERNEL.fullmatch(name) and find_spec("kernels") is None:
        raise InputError(f"attention {name!r} is a kernel of the Hub, which needs a package: pip install kernels")


def attention_by_part(config: Any, name: str) -> str | dict[str, str]:
    """What to pass to transformers for attention `name`: towers for sound (Gemma 4) have no other one than eager."""
    if getattr(config, "audio_config", None) is None:
        return name
    return {"": name, **dict.fromkeys(config.sub_configs, name), "audio_config": "eager"}


@contextmanager
def usable(name: str, dtype: torch.dtype) -> Iterator[None]:
    """Wrap the construction of a model; raise InputError if the attention cannot be used here.

    Errors with the built-in implementations have other causes and are raised unchanged.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of any package: flash-attn, kernels, the Hub's client
        if name in BUILT_IN or ran_out(error):
            raise
        remedy = f"install what it needs, or choose {' or '.join(BUILT_IN)}"
        raise InputError(f"attention {name!r} cannot be used here: {first_line(error)}; {remedy}") from error
    if name.startswith("flash_attention_") and dtype not in (torch.bfloat16, torch.float16):
        raise InputError(f"attention {name!r} works in half precision only; pass dtype=torch.bfloat16")
