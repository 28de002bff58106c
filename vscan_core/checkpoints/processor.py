"""The stock processor of a model, tested on one small picture so that errors appear before the first run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from PIL import Image

from vscan_core.checkpoints.folder import AGAIN, CONFIG, refusal
from vscan_core.errors import InputError, first_line
from vscan_core.measure import ran_out

TURN = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "?"}]}


def processor_of(name: str, source: str, config: Any) -> Any:
    """The processor in a folder or Hub repository. Raises InputError if it needs a package that is not installed.

    Does not use AutoProcessor, which in one case ignores trust_remote_code=False and asks on the terminal.
    """
    try:
        return transformers.PROCESSOR_MAPPING[type(config)].from_pretrained(source, trust_remote_code=False)
    except ImportError as error:
        missing = [package for package in ("torchvision", "num2words") if package in str(error).lower()]
        if not missing:
            raise
        packages = " ".join(missing)
        raise InputError(f"{name} prepares its pictures and videos with {packages}: pip install {packages}") from error


def check_processor(folder: Path, processor: Any, config: Any) -> None:
    """Raise InputError unless tokenizer, chat template, image processor and model agree on a picture in a prompt."""
    image = processor.image_token
    token, wanted = processor.tokenizer.convert_tokens_to_ids(image), config.image_token_id
    if token != wanted:
        reason = f"its tokenizer has {image} at {token}, the model at {wanted}; take both from the same model"
        raise refusal(folder, reason)
    prompt = _tried(folder, "chat template", processor.apply_chat_template, [TURN], add_generation_prompt=True)
    if image not in prompt:
        raise refusal(folder, f"its chat template has no place for a picture ({image}); {AGAIN}")
    picture = Image.new("RGB", (64, 48))
    batch = _tried(folder, "picture preparation", processor, images=picture, text=prompt, return_tensors="pt")
    size = config.vision_config.image_size if config.vision_config.model_type == "clip_vision_model" else None
    pixels = next(value for key, value in batch.items() if key.startswith("pixel_values"))
    if size is not None and tuple(pixels.shape[-2:]) != (size, size):  # other towers accept several sizes
        shape = " x ".join(map(str, pixels.shape[-2:]))
        raise refusal(
            folder, f"it prepares pictures of {shape} pixels, where {CONFIG} asks for {size} x {size}; {AGAIN}"
        )


def _tried(folder: Path, subject: str, run: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return run(*args, **kwargs)
    except Exception as error:  # of any type: the template is a sandboxed program, and settings may have wrong types
        if ran_out(error):
            raise MemoryError(str(error)) from error
        raise refusal(folder, f"its {subject} is missing or damaged ({first_line(error)}); {AGAIN}") from error
