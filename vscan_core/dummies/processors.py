"""Shared by the processors of random-weight models: the embedded model's tokenizer, a chat template, picture sizes.

Families build stock processors from these; nothing is downloaded. Pictures are prepared with Pillow. Videos need
torchvision, as in transformers itself; without it these processors accept only pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers

from vscan_core.dummies.shapes import Ids, Shape

IMAGE, VIDEO = "<image>", "<video>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
_TEMPLATE = (
    "{{% for message in messages %}}{{{{ message['role'] | upper }}}}: "
    "{{% for part in message['content'] %}}{{% if part['type'] == 'text' %}}{{{{ part['text'] }}}}"
    "{{% elif part['type'] == 'video' %}}{video}\n{{% else %}}{image}\n{{% endif %}}{{% endfor %}} {{% endfor %}}"
    "{{% if add_generation_prompt %}}ASSISTANT:{{% endif %}}"
)


def chat_template(image: str = IMAGE, video: str = VIDEO) -> str:
    """A Jinja template that writes `image` for each picture and `video` for each video."""
    return _TEMPLATE.format(image=image, video=video)


def add_vision_tokens(tokenizer: Any) -> Any:
    """Add to the tokenizer, in place, the special tokens that the families' processors need; returns the tokenizer."""
    tokenizer.add_tokens([VIDEO, VISION_START, VISION_END, "<img>", "</img>"], special_tokens=True)
    names = {"video_token": VIDEO, "start_image_token": "<img>", "end_image_token": "</img>"}
    for name, token in {**names, "context_image_token": IMAGE}.items():
        setattr(tokenizer, name, token)
        setattr(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
    return tokenizer


def ids_of(processor: Any) -> Ids:
    """The token ids that a model's configuration must contain."""
    tokenizer = processor.tokenizer
    image, video, start, end = tokenizer.convert_tokens_to_ids([IMAGE, VIDEO, VISION_START, VISION_END])
    return Ids(image, video, start, end, tokenizer.bos_token_id, tokenizer.pad_token_id)


def cropped(shape: Shape) -> dict[str, Any]:
    """Settings of an image processor that scales the shorter side to the tower's size and crops the centre square."""
    side = shape.tower.image
    return {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}


def sides(shape: Shape) -> dict[str, int]:
    """Height and width of a tile, in pixels."""
    return {"height": shape.tower.image, "width": shape.tower.image}


class _PicturesOnly:
    """Mixed into a stock processor whose video half needs a package that is not installed."""

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        """Accept None instead of a video processor."""
        if argument is None:
            return None
        return super().check_argument_for_proper_class(argument_name, argument)  # type: ignore[misc]


def with_videos(
    name: str, image_processor: Any, video: str, tokenizer: Any, options: Mapping[str, Any], **settings: Any
) -> Any:
    """A processor of class `name` with a video processor of class `video`; without torchvision, for pictures only.

    options: keyword arguments of the video processor; settings: those of the processor.
    """
    cls = getattr(transformers, name)
    try:
        videos = getattr(transformers, video)(**options)
    except ImportError:
        videos, cls = None, type(name, (_PicturesOnly, cls), {})
    return cls(image_processor=image_processor, tokenizer=tokenizer, video_processor=videos, **settings)
