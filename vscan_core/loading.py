"""`load_model`: a name becomes a model, its processor and its family, ready to answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from vscan_core.catalog import MODELS, unavailable
from vscan_core.errors import InputError
from vscan_core.families import FAMILIES, family_of
from vscan_core.lvlm import LVLM
from vscan_core.measure import memory_guard

SIZES = {  # (vision width, depth, heads), (text width, depth, heads, MLP width)
    "llava-1.5-7b": ((1024, 24, 16), (4096, 32, 32, 11008)),
    "llava-small": ((512, 12, 8), (768, 12, 12, 2048)),
}


def load_model(
    name: str,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    attn_implementation: str = "sdpa",
) -> LVLM:
    """Load "mini" (embedded), a Hub id, a local folder, or "dummy:NAME" (random weights, for speed only).

    device: default the GPU if there is one. dtype: default bfloat16 on a GPU, float32 on a CPU.
    Raises InputError, one sentence, for an unknown name, an unreachable Hub or a missing GPU.
    """
    if device is None and (reason := unavailable(name)) is not None:
        raise InputError(reason)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    kind = dtype or (torch.bfloat16 if where.type == "cuda" else torch.float32)
    with memory_guard(where):
        if name.startswith("dummy:"):
            model, processor = _dummy(name.removeprefix("dummy:"), where, kind, attn_implementation)
        else:
            source = MODELS[name].source if name in MODELS else name
            model, processor = _pretrained(name, source, where, kind, attn_implementation)
    return LVLM(model=model.eval(), processor=processor, family=family_of(model), name=name)


def _pretrained(name: str, source: str, device: torch.device, dtype: torch.dtype, attn: str) -> tuple[Any, Any]:
    if name not in MODELS and not Path(source).is_dir() and source.count("/") != 1:
        raise InputError(
            f"there is no model {name!r}; choose {', '.join(MODELS)}, a local folder, or a Hub id such as owner/name"
        )
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        if config.model_type not in FAMILIES:
            raise InputError(f"{name} is a {config.model_type!r} model; supported are: {', '.join(FAMILIES)}")
        cls = getattr(transformers, config.architectures[0])
        model = cls.from_pretrained(source, dtype=dtype, attn_implementation=attn, device_map=device)
        return model, transformers.AutoProcessor.from_pretrained(source)
    except ImportError as error:
        raise InputError(f"{name} could not be loaded with attention {attn!r}: {error}") from error
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        if Path(source).is_dir():
            raise InputError(f"the folder {source} does not hold a complete model: {_first_line(error)}") from error
        raise InputError(
            f"{name} is neither in the local cache nor could it be fetched from the Hugging Face Hub; "
            "check the name, the network (or HF_HUB_OFFLINE) and whether the model needs a login"
        ) from error


def _dummy(name: str, device: torch.device, dtype: torch.dtype, attn: str) -> tuple[Any, Any]:
    """The real architecture with random weights, built where it will run; the embedded model's processor."""
    if name not in SIZES:
        raise InputError(f"there is no random-weight model {name!r}; choose {', '.join(SIZES)}")
    (vision_width, vision_depth, vision_heads), (width, depth, heads, mlp) = SIZES[name]
    processor = transformers.AutoProcessor.from_pretrained(MODELS["mini"].source)
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=vision_width,
            intermediate_size=4 * vision_width,
            num_hidden_layers=vision_depth,
            num_attention_heads=vision_heads,
            image_size=336,
            patch_size=14,
        ),
        text_config=transformers.LlamaConfig(
            hidden_size=width,
            intermediate_size=mlp,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            vocab_size=32064,
            bos_token_id=processor.tokenizer.bos_token_id,
            eos_token_id=None,
            pad_token_id=processor.tokenizer.pad_token_id,
        ),
        image_token_index=processor.tokenizer.convert_tokens_to_ids(processor.image_token),
        vision_feature_layer=-2,
    )
    transformers.set_seed(0)
    with torch.device(device):
        model = transformers.LlavaForConditionalGeneration._from_config(config, dtype=dtype, attn_implementation=attn)
    model.generation_config.eos_token_id = None
    return model, processor


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
