"""Load a model and its processor from a folder or the Hub, only if it is complete and needs no code of its own.

transformers initialises missing weights at random with at most a warning, after which a run looks like any other. It
also asks whether to run code from a checkpoint; here such code never runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import accelerate
import torch
import transformers
from huggingface_hub import constants, try_to_load_from_cache
from transformers.utils import logging

from vscan_core.checkpoints.attention import attention_by_part, usable
from vscan_core.checkpoints.folder import (
    AGAIN,
    CONFIG,
    UNPICKLED,
    check_texts,
    check_weights,
    config_of,
    in_words,
    refusal,
)
from vscan_core.checkpoints.processor import check_processor, processor_of
from vscan_core.errors import InputError, first_line
from vscan_core.families import FAMILIES
from vscan_core.measure import ran_out

DECODER_LAYER = re.compile(r"(language|text)_model\.(model\.)?layers\.\d+\..*weight$")
ENDINGS = (".safetensors", ".safetensors.index.json")


def pretrained(name: str, source: str, place: Any, dtype: torch.dtype, attn: str) -> tuple[Any, Any]:
    """(model, processor) from `source`, a folder or a Hub id; `place` is a device or a device_map.

    Raises InputError if the model is damaged, incomplete or not supported, or cannot be downloaded.
    """
    folder = Path(source) if Path(source).is_dir() else None
    held = None if folder is None else _check_folder(name, folder)
    subject = CONFIG  # of the sentence, if loading fails
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(source, trust_remote_code=False)
            cls = _planned(name, config, held, place, dtype, attn)
            subject = "what makes its tokenizer and processor"
            processor = processor_of(name, source, config)
            check_processor(_place(source), processor, config)
            subject = "what makes its model"
            model, info = cls.from_pretrained(
                source,
                dtype=dtype,
                attn_implementation=attention_by_part(config, attn),
                device_map=place,
                trust_remote_code=False,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # reported below, in one sentence
                output_loading_info=True,
            )
        _check_tensors(_place(source), info)
        check_texts(_place(source))  # also for the Hub, because transformers ignores a damaged generation_config.json
        return model, processor
    except InputError:
        raise
    except Exception as error:  # tokenizers raises Exception, and settings of a wrong type raise any type
        if ran_out(error):
            raise MemoryError(str(error)) from error
        raise _why(name, source, folder, subject, error) from error


def _planned(name: str, config: Any, held: int | None, place: Any, dtype: torch.dtype, attn: str) -> Any:
    """The class of the model, after all checks that need no weights, before any are downloaded or allocated.

    held: the number of parameters in the files; None if unknown. place: a device or a device_map.
    """
    _check_family(name, {"model_type": config.model_type})
    cls = transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    if config.architectures and cls.__name__ not in config.architectures:
        raise InputError(
            f"{name} was saved from the class {config.architectures[0]}, and of this type only {cls.__name__} of "
            "transformers is supported; choose a checkpoint in that format"
        )
    if not str(getattr(config, "transformers_weights", None) or ".safetensors").endswith(ENDINGS):
        raise InputError(f"{name} could not be loaded: {UNPICKLED}")
    with torch.device("meta"):
        plan = cls._from_config(config, dtype=dtype, attn_implementation="eager")
        with usable(attn, dtype):
            cls._from_config(config, dtype=dtype, attn_implementation=attention_by_part(config, attn))
    wanted = sum(weight.numel() for weight in plan.parameters())
    if held is not None and wanted > 2 * held and not hasattr(config, "quantization_config"):
        raise InputError(
            f"{name} could not be loaded: its files hold {held:,} parameters, but {CONFIG} asks for {wanted:,}; "
            "take both from the same model"
        )
    if isinstance(place, dict):
        try:
            accelerate.utils.check_device_map(plan, place)
        except ValueError as error:
            raise InputError(f"device_map does not fit {name}: {first_line(error)}") from error
    return cls


def _check_folder(name: str, folder: Path) -> int:
    _check_family(name, config_of(folder))
    check_texts(folder)
    return check_weights(folder)


def _check_family(name: str, config: Mapping[str, Any]) -> None:
    kind = config.get("model_type")
    if isinstance(kind, str) and kind in FAMILIES:
        return
    if config.get("auto_map"):
        raise _own_code(name)
    raise InputError(f"{name} is a {kind!r} model; supported are: {', '.join(FAMILIES)}")


def _own_code(name: str) -> InputError:
    return InputError(
        f"{name} needs Python code from the checkpoint, which is never run; choose a model that "
        f"transformers loads without it, of these types: {', '.join(FAMILIES)}"
    )


def _check_tensors(folder: Path, info: Mapping[str, Any]) -> None:
    """Raise InputError unless all tensors of the model were read and no decoder layer in the files is unused.

    Tied tensors, which share memory with another one, count as read.
    """
    if missing := info["missing_keys"]:
        raise refusal(folder, f"its weights lack {in_words(missing)}; {AGAIN}")
    if mismatched := sorted(info["mismatched_keys"]):
        tensor, found, wanted = mismatched[0]
        reason = f"the tensor {tensor} has shape {tuple(found)}, where {CONFIG} asks for {tuple(wanted)}; {AGAIN}"
        raise refusal(folder, reason)
    if left := [name for name in info["unexpected_keys"] if DECODER_LAYER.search(name)]:
        raise refusal(folder, f"its weights hold more layers than {CONFIG} asks for ({in_words(left)}); {AGAIN}")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' warnings, so that an error is one sentence. More verbose settings are kept."""
    before = logging.get_verbosity()
    if before == logging.WARNING:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _place(source: str) -> Path:
    """The local folder of a model, which may be in the Hub's cache."""
    if Path(source).is_dir():
        return Path(source)
    try:
        config = try_to_load_from_cache(source, CONFIG)
    except ValueError:  # not a valid Hub id
        config = None
    return Path(config).parent if isinstance(config, str) else Path(source)


def _why(name: str, source: str, folder: Path | None, subject: str, error: Exception) -> InputError:
    """The InputError for an exception of transformers."""
    if isinstance(error, ValueError) and "trust_remote_code=True" in str(error):
        return _own_code(name)
    if isinstance(error, ImportError):
        return InputError(f"{name} could not be loaded: {first_line(error)}; install what is missing")
    if folder is not None:
        reason = f"{subject} cannot be used ({first_line(error)}); if it is damaged, {AGAIN}"
        return InputError(f"the folder {folder} could not be loaded: {reason}")
    if "file named model.safetensors" in str(error):
        return InputError(f"{name} could not be loaded: {UNPICKLED}")
    if (cached := _place(source)).is_dir():
        try:
            _check_folder(name, cached)
        except InputError as found:
            return found
        return InputError(f"{name} could not be loaded: {first_line(error)}")
    if constants.HF_HUB_OFFLINE:
        return InputError(
            f"{name} is not in the local cache, and HF_HUB_OFFLINE prevents downloading it; unset that variable, "
            f"or download the model beforehand with `hf download {source}`"
        )
    return InputError(
        f"{name} is not in the local cache and could not be downloaded from the Hugging Face Hub; "
        "check the name, the network and whether the model needs a login"
    )
