"""The lmms-eval model on tiny random models of other families, saved to a folder and loaded by its name."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from PIL import Image

import vscan_core as vc
from tests.eval import local_task
from tests.eval.test_lmms_eval import needs_lmms, request
from tests.families import tiny

MINI = local_task.EXAMPLES.parent / "mini"
TEMPLATE = (MINI / "chat_template.jinja").read_text()
QWEN = {"image": "<|image_pad|>", "video": "<|video_pad|>", "vision_start": "<|vision_start|>"}
QWEN |= {"vision_end": "<|vision_end|>"}


def worded(model, tokens: int):
    """As many words as the tokeniser has; logits of order one."""
    model.resize_token_embeddings(tokens)
    torch.manual_seed(1)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(0, 0.1)
        model.get_output_embeddings().weight.normal_(0, 0.1)
    return model


def llava_next():
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINI)
    model = worded(tiny.llava_next("sdpa"), len(tokenizer))
    model.config.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    pixels = transformers.LlavaNextImageProcessor(
        size={"shortest_edge": 84},
        crop_size={"height": 84, "width": 84},
        image_grid_pinpoints=model.config.image_grid_pinpoints,
    )
    return model, transformers.LlavaNextProcessor(
        pixels,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )


def qwen2_5_vl():
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINI)
    tokenizer.add_special_tokens({"additional_special_tokens": list(QWEN.values())})
    model = worded(tiny.qwen("sdpa"), len(tokenizer))
    for name, token in QWEN.items():
        setattr(tokenizer, f"{name}_token", token)
        setattr(model.config, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
    pixels = transformers.Qwen2VLImageProcessor(min_pixels=4 * 28 * 28, max_pixels=64 * 28 * 28)
    template = TEMPLATE.replace("<image>", QWEN["vision_start"] + QWEN["image"] + QWEN["vision_end"])
    videos = transformers.Qwen2VLVideoProcessor()
    return model, transformers.Qwen2_5_VLProcessor(pixels, tokenizer, videos, chat_template=template)


@needs_lmms
@pytest.mark.parametrize("make", [llava_next, qwen2_5_vl])
def test_batches_of_tiled_and_packed_pictures_give_this_librarys_answers(make, tmp_path) -> None:
    from lmms_eval.models import get_model

    for part in make():
        part.save_pretrained(tmp_path)
    model = get_model("vscan")(pretrained=str(tmp_path), retention=0.25, batch_size=3, device="cpu")
    rows = json.loads((local_task.EXAMPLES / "examples.json").read_text())
    model.task_dict = {"drawn": {"test": rows}}
    said = model.generate_until([request(number, {"max_new_tokens": 6}) for number in range(4)])
    assert [answer.text for answer in said] == [own(model.lvlm, row) for row in rows[:4]]
    alone, _ = model.generate_until([request(n, {"max_new_tokens": 6}, picture=n == 0) for n in (0, 1)])
    assert alone.text == said[0].text


def own(lvlm, row) -> str:
    image = Image.open(local_task.EXAMPLES / row["image"])
    *_, done = vc.answer(lvlm, image, row["question"], vc.VScan(0.25), max_new_tokens=6)
    return done.answer.text
