"""Several pictures in one question, on every family: the stock answer, one trace per picture, each cut by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.families import lvlms
from vscan_core.inference import compare_prepared
from vscan_core.media.images import as_rgb
from vscan_core.recording import record
from vscan_core.what_mattered import what_mattered

NAMES = list(lvlms.MAKERS)
SIZES = [(90, 84), (60, 150), (200, 90)]
QUESTION = "word5 word6"
BY_ITSELF = [name for name in NAMES if name != "llava_onevision"]  # which cuts no picture of several into tiles


def pictures(count: int) -> list[Image.Image]:
    make = torch.Generator().manual_seed(0)
    pixels = [torch.randint(0, 255, (height, width, 3), generator=make) for width, height in SIZES[:count]]
    return [Image.fromarray(one.byte().numpy()) for one in pixels]


def answered(lvlm: vc.LVLM, shown, reducer: vc.Reducer | None) -> vc.Answer:
    *_, done = vc.answer(lvlm, shown, QUESTION, reducer, max_new_tokens=4)
    return done.answer


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_all_tokens_of_several_pictures_give_the_stock_answer(name) -> None:
    lvlm, shown = lvlms.lvlm(name), pictures(3)
    content = [*[{"type": "image"}] * 3, {"type": "text", "text": QUESTION}]
    text = lvlm.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [as_rgb(one) for one in shown]
    stock = lvlm.processor(images=[images] if lvlm.family.nested_pictures else images, text=text, return_tensors="pt")
    made = lvlm.model.generate(**stock, max_new_tokens=4, do_sample=False)[0, stock["input_ids"].shape[1] :]
    answer = answered(lvlm, shown, None)
    assert list(answer.token_ids) == made.tolist()
    assert [image.view.size for image in answer.trace.images] == SIZES
    assert sum(image.tokens for image in answer.trace.images) == answer.trace.visual_tokens_per_layer[0]


@pytest.mark.parametrize("name", BY_ITSELF)
def test_each_picture_keeps_at_the_entrance_what_it_keeps_alone(name) -> None:
    lvlm, shown, reducer = lvlms.lvlm(name), pictures(3), vc.VScan(retention=0.4)
    together = answered(lvlm, shown, reducer).trace
    for place, picture in enumerate(shown):
        alone, mine = answered(lvlm, picture, reducer).trace, together.images[place]
        assert torch.equal(mine.cuts[0].kept, alone.images[0].cuts[0].kept)
        assert [len(cut.kept) for cut in mine.cuts] == [len(cut.kept) for cut in alone.images[0].cuts]
        assert torch.equal(together.boxes(place).nan_to_num(-1), alone.boxes(0).nan_to_num(-1))


def test_onevision_sees_each_of_several_pictures_as_one_tile_padded_to_a_square() -> None:
    lvlm, bright = lvlms.lvlm("llava_onevision"), (30, 60, 50, 80)  # a place in pixels of the picture
    dark = [Image.new("RGB", size) for size in SIZES]
    lit = [one.copy() for one in dark]
    for one in lit:
        one.paste((255, 255, 255), bright)
    trace = answered(lvlm, lit, vc.VScan(retention=0.4)).trace
    assert [image.tiles for image in trace.images] == [1, 1, 1]
    assert len({len(image.kept) for image in trace.images}) == 1
    before, after = (lvlm.inputs(shown, QUESTION)["pixel_values"][:, 0] for shown in (dark, lit))
    patches = (after - before).abs().sum(1).unfold(1, 14, 14).unfold(2, 14, 14)
    for place, change in enumerate(patches.sum((-1, -2)).flatten(1)):  # (pictures, tokens)
        x0, y0, x1, y1 = trace.boxes(place)[:-1].unbind(1)  # without the newline
        covers = (x0 < bright[2]) & (x1 > bright[0]) & (y0 < bright[3]) & (y1 > bright[1])
        assert covers[change.argmax()] and not covers[change == 0].any()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_rows_with_different_numbers_of_pictures_are_as_alone(name) -> None:
    lvlm, (one, two, three), reducer = lvlms.lvlm(name), pictures(3), vc.VScan(retention=0.4)
    prompts = [lvlm.chat(QUESTION, pictures=2), lvlm.chat(QUESTION)]
    with vc.reduced(lvlm.model, reducer) as batch:
        lvlm.model(**lvlm.prepare([one, two, three], prompts))
    alone = [image for shown in ([one, two], three) for image in answered(lvlm, shown, reducer).trace.images]
    assert [image.tokens for image in batch.images] == [image.tokens for image in alone]
    for mine, expected in zip(batch.images, alone, strict=True):
        assert torch.equal(mine.cuts[0].kept, expected.cuts[0].kept)
        assert [len(cut.kept) for cut in mine.cuts] == [len(cut.kept) for cut in expected.cuts]


@pytest.mark.parametrize("name", NAMES)
def test_one_encoding_of_several_pictures_serves_all_methods(name) -> None:
    lvlm, reducer = lvlms.lvlm(name), vc.VScan(retention=0.4)
    inputs, lvlm = lvlm.inputs(pictures(2), QUESTION), replace(lvlm, vision_cache=type(lvlm.vision_cache)())
    events = list(compare_prepared(lvlm, inputs, [None, reducer], max_new_tokens=2, share_vision=True))
    shared = [event.answer for event in events if isinstance(event, vc.Done)][1]
    apart = answered(lvlm, pictures(2), reducer)
    assert lvlm.vision_cache.encodings == 1 and len(shared.trace.images) == 2
    for mine, expected in zip(shared.trace.images, apart.trace.images, strict=True):
        assert torch.equal(mine.kept, expected.kept)


@pytest.mark.parametrize("method", ["trim", "cdpruner"])
def test_the_question_is_compared_with_each_picture(method) -> None:
    lvlm, shown, reducer = lvlms.lvlm("llava"), pictures(2), vc.REDUCERS[method](0.3)
    together = answered(lvlm, shown, reducer).trace.images
    for mine, picture in zip(together, shown, strict=True):
        assert torch.equal(mine.kept, answered(lvlm, picture, reducer).trace.images[0].kept)


def test_a_list_of_one_picture_is_that_picture() -> None:
    lvlm, (shown,) = lvlms.lvlm("llava"), pictures(1)
    alone, listed = lvlm.inputs(shown, QUESTION), lvlm.inputs((shown,), QUESTION)
    assert all(torch.equal(alone[key], listed[key]) for key in alone)


@pytest.mark.parametrize(
    ("shown", "sentence"),
    [
        ([], "There are no pictures: pass at least one"),
        ([*pictures(1), vc.Video(pictures(1))], "A video cannot be asked about together with pictures"),
        ([*pictures(1), "b.png"], "make a PIL image of this str first"),
        ("a.png", "make a PIL image of this str first"),
        (iter(pictures(2)), "make a PIL image of this .*iterator first"),
    ],
    ids=["none", "video", "a path among them", "a path", "iterator"],
)
def test_what_is_no_list_of_pictures_is_refused(shown, sentence) -> None:
    with pytest.raises(vc.InputError, match=sentence):
        lvlms.lvlm("llava").inputs(shown, QUESTION)


def test_more_pictures_than_fit_are_refused(mini) -> None:
    with pytest.raises(
        vc.InputError, match=r"2 pictures and the question are 1,\d\d\d tokens, .* room for 1,024; ask about fewer"
    ):
        mini.inputs(pictures(2), "Is there a cat?")
    assert mini.inputs(pictures(1), "Is there a cat?")["input_ids"].shape[1] < 1024


def test_a_chat_template_for_one_picture_is_named(monkeypatch) -> None:
    model, processor = lvlms.llava()
    processor.chat_template = "<image> {{ messages[0].content[-1].text }}"
    lvlm = vc.LVLM(model=model, processor=processor, family=lvlms.family_of(model), name="narrow")
    assert lvlm.inputs(pictures(1), QUESTION)["pixel_values"].shape[0] == 1
    with pytest.raises(vc.InputError, match="The chat template of narrow takes one picture at a time"):
        lvlm.inputs(pictures(2), QUESTION)


@pytest.mark.parametrize(
    "ask",
    [
        lambda lvlm, shown: lvlm.preview(shown, vc.VScan()),
        lambda lvlm, shown: lvlm.boxes(shown),
        lambda lvlm, shown: what_mattered(lvlm, shown, QUESTION),
        lambda lvlm, shown: record(lvlm, shown, QUESTION, []),
        lambda lvlm, shown: vc.answer_many(lvlm, [(shown, QUESTION)], None),
    ],
    ids=["preview", "boxes", "what_mattered", "record", "answer_many"],
)
def test_what_shows_one_picture_says_so(ask) -> None:
    with pytest.raises(vc.InputError, match="one picture"):
        ask(lvlms.lvlm("llava"), pictures(2))
