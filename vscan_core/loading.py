"""`load_model`: from a name to a model with its processor and family, ready to answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers

from vscan_core.catalog import DUMMY, EMBEDDED, MODELS, SHAPES, default_dtype, is_random, unavailable
from vscan_core.checkpoints import hashes
from vscan_core.checkpoints.attention import check_attention, usable
from vscan_core.checkpoints.folder import refusal
from vscan_core.checkpoints.pretrained import pretrained
from vscan_core.checkpoints.text_half import RANDOM, choose_text_half, give_text_half
from vscan_core.dummies import model_of
from vscan_core.dummies.processors import add_vision_tokens, ids_of
from vscan_core.engine.wrappers import unwrapped
from vscan_core.errors import InputError, first_line
from vscan_core.families import FAMILIES, family_of
from vscan_core.lvlm import LVLM
from vscan_core.measure import memory_guard
from vscan_core.ood import FILE, OODReference

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
DeviceMap = str | dict[str, int | str | torch.device]


def load_model(
    name: str,
    *,
    device: str | torch.device | None = None,
    device_map: DeviceMap | None = None,
    dtype: torch.dtype | None = None,
    attn_implementation: str = "sdpa",
) -> LVLM:
    """Load a model with its processor.

    The files of the embedded model are compared with their recorded hashes on every call. HF_HUB_OFFLINE=1 in the
    environment prevents downloads.

    Args:
        name: "mini" (the embedded model), a Hub id, a local folder, or "dummy:NAME" (random weights, for measuring
            speed and memory only).
        device: The device for the whole model; by default the GPU if there is one, else the CPU.
        device_map: How to spread the weights over devices, in accelerate's terms: "auto", or {module: device}. "auto"
            is the default for catalogued models that do not fit on one GPU. Excludes `device`.
        dtype: The type of the weights; by default bfloat16 on a GPU and float32 on a CPU. Catalogued models of a
            billion parameters and more are bfloat16 on a CPU, too, if it is fast at that or float32 does not fit.
        attn_implementation: Any attention that transformers knows, except "paged|...", or a kernel on the Hub. All but
            "sdpa" and "eager" need further packages or a GPU.

    Returns:
        The model, its processor and its family, in evaluation mode.

    Raises:
        InputError: The name is unknown, the Hub cannot be reached, there is no such device, the attention cannot be
            used here, a catalogued model needs more memory than there is, or the files are damaged, incomplete,
            pickled or need Python code from the checkpoint.
        OutOfMemory: The model did not fit into memory.
    """
    check_attention(attn_implementation)
    _check_name(name)
    if device is not None and device_map is not None:
        raise InputError("give either a device or a device_map, not both")
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(map(str, DTYPES))}, but is {dtype!r}")
    if device is None and device_map is None and (reason := unavailable(name, dtype=dtype)) is not None:
        raise InputError(reason)
    where = _device(device)
    _check_map(device_map)
    kind = dtype or default_dtype(name, where.type)
    if device is None and device_map is None and _too_large_for_one(name, where, kind):
        device_map = "auto"
    with memory_guard(where):
        if is_random(name):
            model, processor = _random(name, where, device_map, kind, attn_implementation)
        else:
            source = MODELS[name].source if name in MODELS else name
            if name == EMBEDDED:
                hashes.check_hashes(source)
            model, processor = pretrained(name, source, device_map or where, kind, attn_implementation)
            _check_ood(Path(source), model)
    return LVLM(model=model.eval(), processor=processor, family=family_of(model), name=name)


def load_text_half(model: Any, source: str | Path) -> None:
    """Give a model the text half of its CLIP, for the methods that compare the question with the picture.

    Needed only where it is not found: beside the embedded model, and on the Hub for LLaVA-1.5 and LLaVA-NeXT. A warning
    says if the vision tower was trained further since it left CLIP, so that the halves fit only approximately.

    Args:
        model: From `load_model` or transformers; its vision tower is that of a CLIP.
        source: A folder or Hub id with a checkpoint of `CLIPModel` in safetensors, and its tokenizer.

    Raises:
        InputError: The checkpoint cannot be loaded, or is not that of the model's tower.
    """
    give_text_half(unwrapped(model.model if isinstance(model, LVLM) else model), str(source))


def _check_name(name: str) -> None:
    if not isinstance(name, str):
        raise InputError(f"a model's name is a text such as {EMBEDDED!r}, but this is {name!r}")
    hub = name.count("/") == 1 and name[0] not in "./~"
    if name in MODELS or is_random(name) or hub or Path(name).is_dir():
        return
    raise InputError(
        f"there is no model {name!r}; choose one that `python -m vscan_core models` lists, a local folder, "
        "or a Hub id such as owner/name"
    )


def _device(device: Any) -> torch.device:
    """The device, or the default one for None. Raises InputError if PyTorch cannot allocate a tensor on it."""
    try:
        where = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device is None else device)
        if where.type != "cuda":
            torch.empty(0, device=where)
    except (RuntimeError, TypeError, AssertionError) as error:  # AssertionError: PyTorch was built without CUDA
        raise InputError(f"there is no device {device!r} here; choose cpu, cuda or cuda:0") from error
    if where.type == "cuda" and (where.index or 0) >= torch.cuda.device_count():
        raise InputError(f"there is no device {device!r} here, only {torch.cuda.device_count()} GPUs; choose another")
    return where


def _check_map(device_map: Any) -> None:
    if device_map is None or (isinstance(device_map, str) and device_map in MAPS):
        return
    places = device_map if isinstance(device_map, dict) else {"": device_map}
    if not places or not all(isinstance(module, str) for module in places) or None in places.values():
        raise InputError(f"device_map must be {', '.join(MAPS)} or {{module: device}}, but is {device_map!r}")
    for place in places.values():
        if place != "disk":
            _device(place)


def _check_ood(folder: Path, model: Any) -> None:
    """Check the out-of-distribution reference beside the weights now; a run reads it only after its first answer."""
    reference = OODReference.load(folder) if folder.is_dir() else None
    width = getattr(getattr(model.config, "vision_config", None), "hidden_size", None)
    if reference is not None and width and len(reference.centre) % width:  # several layers may feed the projector
        raise refusal(
            folder, f"{FILE} is for features of {len(reference.centre)} numbers, the vision tower has {width}"
        )


def _random(
    name: str, where: torch.device, device_map: DeviceMap | None, dtype: torch.dtype, attn: str
) -> tuple[Any, Any]:
    """(model, processor) with random weights; the tokenizer is that of the embedded model."""
    if name not in SHAPES:
        known = ", ".join(name.removeprefix(DUMMY) for name in SHAPES)
        raise InputError(f"there is no random-weight model {name.removeprefix(DUMMY)!r}; choose {known}")
    family, shape = FAMILIES[MODELS[name].family], SHAPES[name]
    source = MODELS[EMBEDDED].source
    hashes.check_hashes(source, "tokenizer*")
    made = where if device_map is None else torch.device("cpu")
    with usable(attn, dtype):
        tokenizer = add_vision_tokens(transformers.AutoTokenizer.from_pretrained(source))
        processor = family.dummy_processor(shape, tokenizer)
        model = model_of(family.dummy_config(shape, ids_of(processor)), made, dtype, attn)
    if family.clip is not None:
        choose_text_half(model, RANDOM)
    return (model if device_map is None else _spread(model, device_map)), processor


def _too_large_for_one(name: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a catalogued model needs more memory than one GPU has and there are several GPUs."""
    if name not in MODELS or device.type != "cuda" or torch.cuda.device_count() < 2:
        return False
    one = torch.cuda.get_device_properties(device).total_memory / 1e9
    return MODELS[name].needed_gb(dtype) > one


def _spread(model: Any, device_map: DeviceMap) -> Any:
    """Spread a model that is already in memory over devices, as `from_pretrained` does with a device_map."""
    if isinstance(device_map, str):
        together = list(model._no_split_modules or ())
        memory = accelerate.utils.get_balanced_memory(model, no_split_module_classes=together)
        device_map = accelerate.infer_auto_device_map(model, memory, no_split_module_classes=together)
    try:
        return accelerate.dispatch_model(model, device_map)
    except ValueError as error:
        raise InputError(f"device_map does not fit this model: {first_line(error)}") from error
