"""Processors of every family, made on the spot: the embedded model's tokenizer and the family's own preparation.

Stock classes with the sizes of a Shape; nothing is downloaded. Pictures are prepared with Pillow. Videos need
torchvision, as in transformers itself; without it these processors take pictures only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import transformers

from vscan_core.dummies.configs import Ids
from vscan_core.dummies.shapes import Shape
from vscan_core.errors import InputError

IMAGE, VIDEO = "<image>", "<video>"
START, END = "<|vision_start|>", "<|vision_end|>"
PROMPT = (
    "{{% for message in messages %}}{{{{ message['role'] | upper }}}}: "
    "{{% for part in message['content'] %}}{{% if part['type'] == 'text' %}}{{{{ part['text'] }}}}"
    "{{% elif part['type'] == 'video' %}}{video}\n{{% else %}}{image}\n{{% endif %}}{{% endfor %}} {{% endfor %}}"
    "{{% if add_generation_prompt %}}ASSISTANT:{{% endif %}}"
)


def processor_of(shape: Shape, tokenizer: Any) -> Any:
    """A processor for a model of this shape; `tokenizer` is taken over and learns the family's tokens."""
    return _FAMILIES[shape.family](shape, _taught(tokenizer))


def ids_of(processor: Any) -> Ids:
    """The ids that a model's configuration has to name."""
    tokenizer = processor.tokenizer
    image, video, start, end = tokenizer.convert_tokens_to_ids([IMAGE, VIDEO, START, END])
    return Ids(image, video, start, end, tokenizer.bos_token_id, tokenizer.pad_token_id)


def _taught(tokenizer: Any) -> Any:
    tokenizer.add_tokens([VIDEO, START, END, "<img>", "</img>"], special_tokens=True)
    names = {"video_token": VIDEO, "start_image_token": "<img>", "end_image_token": "</img>"}
    for name, token in {**names, "context_image_token": IMAGE}.items():
        setattr(tokenizer, name, token)
        setattr(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
    return tokenizer


def _prompt(image: str = IMAGE, video: str = VIDEO) -> str:
    return PROMPT.format(image=image, video=video)


class _PicturesOnly:
    """Mixed into a stock processor whose video half needs a package that is not installed."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        """Nothing may stand in for it."""
        if argument is None:
            return None
        return super().check_argument_for_proper_class(argument_name, argument)  # type: ignore[misc]


def _with_videos(name: str, image_processor: Any, video: str, tokenizer: Any, options: Any, **settings: Any) -> Any:
    """The processor class `name` with the video processor class `video`, or without where torchvision is missing."""
    cls = getattr(transformers, name)
    try:
        videos = getattr(transformers, video)(**options)
    except ImportError:
        videos, cls = None, type(name, (_PicturesOnly, cls), {})
    return cls(image_processor=image_processor, tokenizer=tokenizer, video_processor=videos, **settings)


def _square(shape: Shape) -> dict[str, Any]:
    side = shape.tower.image
    return {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}


def _sides(shape: Shape) -> dict[str, int]:
    return {"height": shape.tower.image, "width": shape.tower.image}


def _llava(shape: Shape, tokenizer: Any) -> Any:
    return transformers.LlavaProcessor(
        transformers.CLIPImageProcessorPil(**_square(shape)),
        tokenizer,
        patch_size=shape.tower.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_prompt(),
    )


def _llava_next(shape: Shape, tokenizer: Any) -> Any:
    return transformers.LlavaNextProcessor(
        transformers.LlavaNextImageProcessorPil(**_square(shape), **shape.more),
        tokenizer,
        patch_size=shape.tower.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_prompt(),
    )


def _llava_onevision(shape: Shape, tokenizer: Any) -> Any:
    return _with_videos(
        "LlavaOnevisionProcessor",
        transformers.LlavaOnevisionImageProcessorPil(size=_sides(shape), **shape.more),
        "LlavaOnevisionVideoProcessor",
        tokenizer,
        {"size": _sides(shape)},
        num_image_tokens=(shape.tower.image // shape.tower.patch) ** 2,
        vision_feature_select_strategy="full",
        chat_template=_prompt(),
    )


def _video_llava(shape: Shape, tokenizer: Any) -> Any:
    return _with_videos(
        "VideoLlavaProcessor",
        transformers.VideoLlavaImageProcessor(**_square(shape)),
        "VideoLlavaVideoProcessor",
        tokenizer,
        _square(shape),
        patch_size=shape.tower.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_prompt(),
    )


def _qwen(shape: Shape, tokenizer: Any, name: str, video: str) -> Any:
    edge = 2 * shape.tower.patch  # of a visual token; pictures become 4 to 1280 of them, as in VScan's evaluation
    size = {"shortest_edge": 4 * edge * edge, "longest_edge": 1280 * edge * edge}
    return _with_videos(
        name,
        transformers.Qwen2VLImageProcessorPil(size=size, patch_size=shape.tower.patch),
        video,
        tokenizer,
        {"patch_size": shape.tower.patch},
        chat_template=_prompt(START + IMAGE + END, START + VIDEO + END),
    )


def _internvl(shape: Shape, tokenizer: Any) -> Any:
    side = shape.tower.image // shape.tower.patch // 2
    return _with_videos(
        "InternVLProcessor",
        transformers.GotOcr2ImageProcessorPil(size=_sides(shape), crop_to_patches=True),
        "InternVLVideoProcessor",
        tokenizer,
        {"size": _sides(shape)},
        image_seq_length=side * side,
        chat_template=_prompt(),
    )


def _idefics3(shape: Shape, tokenizer: Any) -> Any:
    """SmolVLM prepares pictures in the same way; its own processor needs torchvision and num2words for videos."""
    side, edge = shape.tower.image, shape.tower.patch * shape.more["scale_factor"]
    sizes = {"size": {"longest_edge": shape.tiles * side}, "max_image_size": {"longest_edge": side}}
    try:
        prepare = transformers.Idefics3ImageProcessorPil(**sizes)
    except ImportError as error:
        raise InputError("pictures for Idefics3 and SmolVLM need torchvision here: pip install torchvision") from error
    return transformers.Idefics3Processor(
        prepare, tokenizer, image_seq_len=(side // edge) ** 2, chat_template=_prompt()
    )


_FAMILIES: dict[str, Callable[[Shape, Any], Any]] = {
    "llava": _llava,
    "llava_next": _llava_next,
    "llava_onevision": _llava_onevision,
    "qwen2_5_vl": partial(_qwen, name="Qwen2_5_VLProcessor", video="Qwen2VLVideoProcessor"),
    "qwen3_vl": partial(_qwen, name="Qwen3VLProcessor", video="Qwen3VLVideoProcessor"),
    "internvl": _internvl,
    "idefics3": _idefics3,
    "smolvlm": _idefics3,
    "video_llava": _video_llava,
}
