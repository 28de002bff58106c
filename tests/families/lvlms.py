"""Tiny random models of every family with their real processors: from a PIL picture to a trace, without the network."""

from __future__ import annotations

from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

import vscan_core as vc
from tests.conftest import tiny_llava
from tests.families import tiny
from vscan_core.families import family_of

PIECE = 84  # pixels per side of a tile
PINPOINTS = [[84, 168], [168, 84], [168, 168], [252, 84], [84, 252]]
TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}PICTURE {% else %}{{ part.text }}{% endif %}{% endfor %}"
    "{% if not loop.last %} {% endif %}{% endfor %}"
)


def tokenizer(picture: str = "<image>", **named: str) -> Any:
    """Words 1 to 3 and the families' placeholders at the ids that the tiny configs name."""
    grid = [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    special = {name: 50 + i for i, name in enumerate([*grid, "<fake_token_around_image>", "<global-img>"])}
    special |= {"<end_of_utterance>": 90, "<img>": 91, "</img>": 92, picture: tiny.IMAGE}
    special |= {"<video>": tiny.VIDEO, "<|vision_start|>": 101, "<|vision_end|>": 102}
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3} | {f"word{i}": i for i in range(4, 50)}
    core = Tokenizer(models.WordLevel(vocabulary | special, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"image_token": picture, "video_token": "<video>", **named}
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>", extra_special_tokens=names
    )
    made.add_special_tokens({"additional_special_tokens": list(special)}, replace_extra_special_tokens=False)
    return made


def processor(name: str, components: tuple[Any, ...], picture: str = "<image>", **settings: Any) -> Any:
    """The stock processor; its video half, which needs torchvision, stays away."""
    try:
        cls = getattr(transformers, name)
    except ImportError as error:  # in old versions, the module of Gemma's imports the processor of its videos
        pytest.skip(f"{name} cannot be made here: {error.__cause__ or error}")
    without_video = type(name, (cls,), {"check_argument_for_proper_class": lambda self, name, given: None})
    return without_video(*components, chat_template=TEMPLATE.replace("PICTURE", picture), **settings)


def images(name: str, **settings: Any) -> Any:
    """The stock image processor that needs no torchvision, at the tiny models' sizes."""
    found = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    try:
        return found(**settings)
    except ImportError as error:
        pytest.skip(f"{name} cannot be made here: {str(error).strip().splitlines()[0]}")


def llava(prepare: str = "CLIPImageProcessor", **more: Any) -> tuple[Any, Any]:
    square = {"size": {"shortest_edge": PIECE}, "crop_size": {"height": PIECE, "width": PIECE}}
    prepare = images(prepare, **square, **more)
    settings = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return tiny_llava(), processor("LlavaProcessor", (prepare, tokenizer()), **settings)


def llava_next() -> tuple[Any, Any]:
    model = tiny.llava_next("sdpa")
    model.config.image_grid_pinpoints = PINPOINTS
    prepare = images(
        "LlavaNextImageProcessor",
        size={"shortest_edge": PIECE},
        crop_size={"height": PIECE, "width": PIECE},
        image_grid_pinpoints=PINPOINTS,
    )
    settings = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return model, processor("LlavaNextProcessor", (prepare, tokenizer()), **settings)


def onevision() -> tuple[Any, Any]:
    model = tiny.onevision("sdpa")
    model.config.image_grid_pinpoints = PINPOINTS
    prepare = images(
        "LlavaOnevisionImageProcessor",
        size={"height": PIECE, "width": PIECE},
        image_grid_pinpoints=PINPOINTS,
    )
    settings = {"num_image_tokens": 36, "vision_feature_select_strategy": "full"}
    return model, processor("LlavaOnevisionProcessor", (prepare, tokenizer(), None), **settings)


def qwen(name: str = "Qwen2_5_VLProcessor", make: Any = tiny.qwen) -> tuple[Any, Any]:
    prepare = images("Qwen2VLImageProcessor", patch_size=14, size={"shortest_edge": 56 * 56, "longest_edge": 224 * 224})
    named = {"vision_start_token": "<|vision_start|>", "vision_end_token": "<|vision_end|>"}
    own_tokens = tokenizer("<|image_pad|>", **named)
    return make("sdpa"), processor(name, (prepare, own_tokens, None), "<|vision_start|> <|image_pad|> <|vision_end|>")


def qwen3() -> tuple[Any, Any]:
    return qwen("Qwen3VLProcessor", tiny.qwen3)


def qwen35() -> tuple[Any, Any]:
    return qwen("Qwen3VLProcessor", tiny.qwen35)


def glm() -> tuple[Any, Any]:
    prepare = images("Glm46VImageProcessor", size={"shortest_edge": 2 * 56 * 56, "longest_edge": 2 * 224 * 224})
    own_tokens = tokenizer("<|image|>")
    around = "<|vision_start|> <|image|> <|vision_end|>"
    return tiny.glm("sdpa"), processor("Glm46VProcessor", (prepare, own_tokens, None), around)


def gemma() -> tuple[Any, Any]:
    prepare = images("Gemma4ImageProcessor", patch_size=4, max_soft_tokens=70)
    named = {"boi_token": "<|vision_start|>", "eoi_token": "<|vision_end|>", "audio_token": "<global-img>"}
    named |= {"boa_token": "<row_1_col_1>", "eoa_token": "<row_1_col_2>"}  # any that are no words
    return tiny.gemma("sdpa"), processor("Gemma4Processor", (None, prepare, tokenizer(**named), None))


def internvl() -> tuple[Any, Any]:
    prepare = images("GotOcr2ImageProcessor", size={"height": PIECE, "width": PIECE}, max_patches=6)
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<image>"}
    return tiny.internvl("sdpa"), processor("InternVLProcessor", (prepare, tokenizer(**named), None, 36))


def idefics3() -> tuple[Any, Any]:
    prepare = images("Idefics3ImageProcessor", size={"longest_edge": 3 * PIECE}, max_image_size={"longest_edge": PIECE})
    return tiny.idefics3("sdpa"), processor("Idefics3Processor", (prepare, tokenizer(), 36))


def smolvlm() -> tuple[Any, Any]:
    pytest.importorskip("num2words")
    frames = SimpleNamespace(num_frames=1, fps=1)  # asked for by the chat template, also without videos
    prepare = images("SmolVLMImageProcessor", size={"longest_edge": 3 * PIECE}, max_image_size={"longest_edge": PIECE})
    return tiny.smolvlm("sdpa"), processor("SmolVLMProcessor", (prepare, tokenizer(), frames, 36))


def video_llava() -> tuple[Any, Any]:
    square = {"size": {"shortest_edge": PIECE}, "crop_size": {"height": PIECE, "width": PIECE}}
    settings = {"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    components = (images("VideoLlavaImageProcessor", **square), None, tokenizer())
    return tiny.video_llava("sdpa"), processor("VideoLlavaProcessor", components, **settings)


MAKERS = {
    "llava": llava,
    "llava padded": partial(llava, "LlavaImageProcessor", do_pad=True),
    "llava_next": llava_next,
    "llava_onevision": onevision,
    "qwen2_5_vl": qwen,
    "qwen3_vl": qwen3,
    "qwen3_5": qwen35,
    "glm4v": glm,
    "gemma4": gemma,
    "internvl": internvl,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "video_llava": video_llava,
}


@cache
def lvlm(name: str) -> vc.LVLM:
    """One family's tiny model with its processor."""
    model, prepared = MAKERS[name]()
    return vc.LVLM(model=model.eval(), processor=prepared, family=family_of(model), name=name)
