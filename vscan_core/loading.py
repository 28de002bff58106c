"""`load_model`: a name becomes a model, its processor and its family, ready to answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers
from huggingface_hub import constants

from vscan_core import dummies
from vscan_core.catalog import MODELS, WEIGHTS_AND_WORK, unavailable
from vscan_core.errors import InputError
from vscan_core.families import FAMILIES, family_of
from vscan_core.lvlm import LVLM
from vscan_core.measure import memory_guard

ATTENTION = ("sdpa", "eager", "flash_attention_2")
DeviceMap = str | dict[str, int | str | torch.device]


def load_model(
    name: str,
    *,
    device: str | torch.device | None = None,
    device_map: DeviceMap | None = None,
    dtype: torch.dtype | None = None,
    attn_implementation: str = "sdpa",
) -> LVLM:
    """Load "mini" (embedded), a Hub id, a local folder, or "dummy:NAME" (random weights, for speed only).

    device: default the GPU if there is one. device_map: spread the weights over devices as accelerate does ("auto",
    or {module: device}); the default for catalogued models that one GPU does not hold. dtype: default bfloat16 on a
    GPU, float32 on a CPU. attn_implementation: "sdpa", "eager" or, where flash-attn is installed,
    "flash_attention_2". HF_HUB_OFFLINE=1 keeps away from the network.
    Raises InputError, one sentence, for an unknown name, an unreachable Hub or a missing GPU.
    """
    if attn_implementation not in ATTENTION:
        raise InputError(f"there is no attention {attn_implementation!r}; choose {', '.join(ATTENTION)}")
    if device is not None and device_map is not None:
        raise InputError("give either a device or a device_map, not both")
    if device is None and device_map is None and (reason := unavailable(name)) is not None:
        raise InputError(reason)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device is None and device_map is None and _too_large_for_one(name, where):
        device_map = "auto"
    kind = dtype or (torch.bfloat16 if where.type == "cuda" else torch.float32)
    with memory_guard(where):
        if name.startswith("dummy:"):
            made = where if device_map is None else torch.device("cpu")
            short, tokenizer = name.removeprefix("dummy:"), MODELS["mini"].source
            model, processor = dummies.build(short, made, kind, attn_implementation, tokenizer)
            if device_map is not None:
                model = _spread(model, device_map)
        else:
            source = MODELS[name].source if name in MODELS else name
            model, processor = _pretrained(name, source, device_map or where, kind, attn_implementation)
    return LVLM(model=model.eval(), processor=processor, family=family_of(model), name=name)


def _too_large_for_one(name: str, device: torch.device) -> bool:
    """Whether a catalogued model needs more than the first GPU."""
    if name not in MODELS or device.type != "cuda" or torch.cuda.device_count() < 2:
        return False
    one = torch.cuda.get_device_properties(device).total_memory / 1e9
    return MODELS[name].memory_gb * WEIGHTS_AND_WORK > one


def _spread(model: Any, device_map: DeviceMap) -> Any:
    """What `from_pretrained` does with a device_map, for a model that is already there."""
    if isinstance(device_map, str):
        together = list(model._no_split_modules or ())
        memory = accelerate.utils.get_balanced_memory(model, no_split_module_classes=together)
        device_map = accelerate.infer_auto_device_map(model, memory, no_split_module_classes=together)
    return accelerate.dispatch_model(model, device_map)


def _pretrained(
    name: str, source: str, place: DeviceMap | torch.device, dtype: torch.dtype, attn: str
) -> tuple[Any, Any]:
    if name not in MODELS and not Path(source).is_dir() and source.count("/") != 1:
        raise InputError(
            f"there is no model {name!r}; choose one that `python -m vscan_core models` lists, a local folder, "
            "or a Hub id such as owner/name"
        )
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        if config.model_type not in FAMILIES:
            raise InputError(f"{name} is a {config.model_type!r} model; supported are: {', '.join(FAMILIES)}")
        cls = getattr(transformers, config.architectures[0])
        processor = _processor(name, source)
        return cls.from_pretrained(source, dtype=dtype, attn_implementation=attn, device_map=place), processor
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"{name} could not be loaded with attention {attn!r}: {_first_line(error)}") from error
    except (OSError, ValueError, KeyError) as error:
        raise InputError(_why_not_there(name, source, error)) from error


def _processor(name: str, source: str) -> Any:
    """The stock processor; that of a model for videos, too, may need packages that the model itself does not."""
    try:
        return transformers.AutoProcessor.from_pretrained(source)
    except ImportError as error:
        missing = [package for package in ("torchvision", "num2words") if package in str(error).lower()]
        wanted = " ".join(missing) or "what the message before this one names"
        raise InputError(f"{name} prepares its pictures and videos with {wanted}: pip install {wanted}") from error


def _why_not_there(name: str, source: str, error: Exception) -> str:
    if Path(source).is_dir():
        return f"the folder {source} does not hold a complete model: {_first_line(error)}"
    if constants.HF_HUB_OFFLINE:
        return (
            f"{name} is not in the local cache, and HF_HUB_OFFLINE forbids to fetch it; unset that variable, "
            f"or fetch the model beforehand with `hf download {source}`"
        )
    return (
        f"{name} is neither in the local cache nor could it be fetched from the Hugging Face Hub; "
        "check the name, the network and whether the model needs a login"
    )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
