"""Videos through the contract: from frames and a question to inputs, a trace and boxes, in every family with videos."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

import vscan_core as vc
from tests.families import lvlms, tiny
from tests.families.refused import refusal
from vscan_core.catalog import SHAPES
from vscan_core.dummies.processors import add_vision_tokens
from vscan_core.families import FAMILIES, family_of
from vscan_core.reducers import FastV, Forced
from vscan_core.reducers.evs import EVS
from vscan_core.reducers.vidcom2 import VidCom2
from vscan_core.resources import asset

SIZE = (168, 112)
SQUARE = (112, 28, 140, 56)  # a bright place in pixels of the frame
EACH = {  # frames per tile
    "video_llava": 1, "qwen2_5_vl": 2, "qwen3_vl": 2, "qwen3_5": 2, "internvl": 1, "smolvlm": 1, "llava_onevision": 1,
}  # fmt: skip
PIXELS = {"internvl": "pixel_values", "smolvlm": "pixel_values"}  # of others: "pixel_values_videos"
TEMPLATE = (
    "{% for part in messages[0].content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% elif part.type == 'video' %}VIDEO {% else %}PICTURE {% endif %}"
    "{% endfor %}"
)


def video_llava() -> tuple[Any, Any]:
    sides = {"size": {"shortest_edge": 84}, "crop_size": {"height": 84, "width": 84}}
    prepare = lvlms.images("VideoLlavaImageProcessor", **sides)
    return tiny.video_llava("sdpa"), lvlms.processor(
        "VideoLlavaProcessor", (prepare, None, lvlms.tokenizer()), patch_size=14
    )


@cache
def lvlm(name: str) -> vc.LVLM:
    model, processor = (lvlms.MAKERS | {"video_llava": video_llava})[name]()
    processor.video_token = "<video>"
    around = "<|vision_start|>{}<|vision_end|>" if name.startswith("qwen") else "{}"
    video, picture = around.format("<video>"), around.format(processor.image_token)
    processor.chat_template = TEMPLATE.replace("VIDEO", video).replace("PICTURE", picture)
    return vc.LVLM(model=model.eval(), processor=processor, family=family_of(model), name=name)


def dark(frames: int, bright: int | None = None) -> vc.Video:
    """Dark frames, of which one may have a bright square."""
    pictures = [Image.new("RGB", SIZE, (20, 20, 20)) for _ in range(frames)]
    if bright is not None:
        pictures[bright].paste((250, 250, 250), SQUARE)
    return vc.Video(pictures, [i / 2 for i in range(frames)])


def answered(name: str, video: Any, reducer: vc.Reducer | None) -> vc.Answer:
    *_, done = vc.answer(lvlm(name), video, "word4 word5", reducer, max_new_tokens=2)
    return done.answer


@pytest.mark.parametrize("frames", [1, 4, 5])
@pytest.mark.parametrize("name", EACH)
def test_a_video_is_one_image_of_a_trace_and_its_tiles_are_frames(name: str, frames: int) -> None:
    image = answered(name, dark(frames), None).trace.images[0]
    assert image.frames == frames and image.tiles == -(-frames // EACH[name])
    stands_for = [image.frames_of(tile) for tile in range(image.tiles)]
    assert [frame for part in stands_for for frame in part] == list(range(frames))
    assert max(map(len, stands_for)) <= EACH[name]
    assert image.view.size == SIZE


@pytest.mark.parametrize("name", EACH)
def test_every_frame_keeps_as_much_and_later_cuts_choose_from_the_whole_video(name: str) -> None:
    answer = answered(name, dark(6, bright=3), vc.VScan(encoder_keep=7, llm_keep={3: 10}))
    image = answer.trace.images[0]
    first, later = image.cuts
    tiles = [image.place(token)[0] for token in first.kept.tolist() if image.place(token)]
    assert torch.tensor(tiles).bincount().tolist() == [7] * image.tiles
    assert len(later.kept) == 10 == answer.trace.visual_tokens_per_layer[-1]


def difference(name: str, one: Any, other: Any, grid: tuple[int, int]) -> torch.Tensor:
    """(tiles, tokens): how much the pixels of each token differ."""
    key = PIXELS.get(name, "pixel_values_videos")
    change = (one[key] - other[key]).abs()
    if name.startswith("qwen"):
        return change.sum(1).view(one["video_grid_thw"][0, 0], -1, 4).sum(-1)  # four patches make a token
    down, across = (side // number for side, number in zip(change.shape[-2:], grid, strict=True))
    frames = change.view(-1, *change.shape[-3:]).sum(1)
    return frames.unfold(1, down, down).unfold(2, across, across).sum((-1, -2)).flatten(1)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("bright", [0, 3])
def test_the_token_that_lights_up_is_of_that_frame_and_covers_that_place(name: str, bright: int) -> None:
    trace = answered(name, dark(4, bright), None).trace
    image = trace.images[0]
    changed = difference(name, *(lvlm(name).inputs(video, "word4") for video in (dark(4), dark(4, bright))), image.grid)
    tile, token = divmod(int(changed.argmax()), changed.shape[1])
    assert tile == bright // EACH[name]
    assert changed.shape == (image.tiles, image.tokens_per_tile)
    mine = [i for i in range(image.tokens) if image.place(i) and image.place(i)[0] == tile]
    x0, y0, x1, y1 = trace.boxes(0)[mine[token]].tolist()
    left, top, right, bottom = SQUARE
    assert x0 < right and x1 > left and y0 < bottom and y1 > top


@pytest.mark.parametrize("name", EACH)
def test_a_preview_shows_what_a_run_keeps(name: str) -> None:
    video, reducer = dark(4, bright=1), vc.VScan(retention=0.3)
    cut = answered(name, video, reducer).trace.images[0].cuts[0]
    assert torch.equal(lvlm(name).preview(video, reducer).trace(reducer).kept, cut.kept)


def test_a_model_without_videos_says_which_ones_take_them() -> None:
    with pytest.raises(vc.InputError, match="pictures only") as refusal:
        lvlms.lvlm("llava").inputs(dark(2), "word4")
    taking = [family for family in FAMILIES.values() if family.frames]
    assert len(taking) == len(EACH) and all(family.title in str(refusal.value) for family in taking)


def test_times_reach_the_model() -> None:
    assert lvlm("qwen2_5_vl").inputs(dark(6), "word4")["second_per_grid_ts"].tolist() == [
        1.0
    ]  # two frames, half a second apart
    mini_tokenizer = transformers.AutoTokenizer.from_pretrained(asset("mini"))
    shape = SHAPES["dummy:qwen3-vl-small"]
    processor, video = FAMILIES["qwen3_vl"].dummy_processor(shape, add_vision_tokens(mini_tokenizer)), dark(5)
    made = FAMILIES["qwen3_vl"].video_inputs(processor, processor.video_token, video.frames, video.times)
    text = processor.tokenizer.decode(made["input_ids"][0])
    assert [f"{time} seconds" in text for time in ("0.2", "1.2", "2.0", "2.2")] == [True, True, True, False]


def written(name: str, video: vc.Video) -> str:
    """The prompt around a video that the tokenizer gets, with placeholders as dots."""
    tokenizer, told = add_vision_tokens(transformers.AutoTokenizer.from_pretrained(asset("mini"))), []
    processor = FAMILIES[name].dummy_processor(SHAPES[f"dummy:{SMALL[name]}"], tokenizer)

    def listen(texts: list[str], **more: Any) -> Any:
        told.extend(texts)
        return tokenizer(texts, **more)

    processor.tokenizer = listen
    made = FAMILIES[name].video_inputs(processor, "A<video>B", video.frames, video.times)
    (text,) = told
    dots = text.replace("<image>", ".").replace("<video>", ".")
    token = tokenizer.convert_tokens_to_ids("<video>" if name == "llava_onevision" else "<image>")
    assert dots.count(".") - text.count(".") == int((made["input_ids"] == token).sum())
    return dots


SMALL = {"internvl": "internvl3-small", "smolvlm": "smolvlm2-small", "llava_onevision": "llava-onevision-small"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("internvl", f"AFrame1: <img>{'.' * 256}</img>\nFrame2: <img>{'.' * 256}</img>B"),
        ("llava_onevision", f"A{'.' * (2 * 14 * 14 + 1)}B"),
        (
            "smolvlm",
            "AYou are provided the following series of two frames from a 0:01:15 [H:MM:SS] video.\n\n"
            f"Frame from 00:02:<fake_token_around_image><global-img>{'.' * 64}<fake_token_around_image>\n"
            f"Frame from 01:15:<fake_token_around_image><global-img>{'.' * 64}<fake_token_around_image>\n\nB",
        ),
    ],
)
def test_frames_are_announced_as_the_stock_processor_does(name: str, expected: str) -> None:
    if name == "smolvlm":
        pytest.importorskip("num2words")
    assert expected == written(name, vc.Video([Image.new("RGB", (90, 60))] * 2, [2.4, 75.0]))


@pytest.mark.parametrize("name", EACH)
def test_more_frames_than_fit_are_refused(name: str) -> None:
    known = lvlm(name)
    config = SimpleNamespace(**{**vars(known.model.config), "text_config": SimpleNamespace(max_position_embeddings=40)})
    small = replace(known, model=SimpleNamespace(config=config, dtype=torch.float32, device=torch.device("cpu")))
    with pytest.raises(vc.InputError, match=r"9 frames and the question are \d+ tokens, .* room for 40; take fewer"):
        small.inputs(dark(9), "word4")


@pytest.mark.parametrize("name", EACH)
@torch.no_grad()
def test_all_tokens_of_a_video_give_the_stock_answer(name: str) -> None:
    known, video = lvlm(name), dark(4, bright=2)
    inputs = known.inputs(video, "word4 word5")
    made = known.model.generate(**inputs, max_new_tokens=2, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert list(answered(name, video, None).token_ids) == made.tolist()


@pytest.mark.parametrize("name", ["internvl", "smolvlm"])
@torch.no_grad()
def test_frames_in_inputs_of_others_are_pictures_of_their_own(name: str) -> None:
    """Nothing in the prompt says that they are one video."""
    known, reducer = lvlm(name), vc.VScan(encoder_keep=7, llm_keep={3: 10})
    copied = {key: value.clone() for key, value in known.inputs(dark(4), "word4").items()}
    with vc.reduced(known.model, reducer) as trace:
        known.model(**copied)
    assert [(image.frames, image.tiles) for image in trace.images] == [(0, 1)] * 4
    views = known.inputs(dark(4), "word4").views
    with vc.reduced(known.model, reducer, views=views) as trace:
        known.model.generate(**copied, num_beams=2, max_new_tokens=1, do_sample=False)
    assert [(image.frames, image.tiles) for image in trace.images] == [(4, 4)]


@torch.no_grad()
def test_signals_of_pooled_frames_are_pooled_as_the_model_pools_its_features() -> None:
    known, needs, make = lvlm("llava_onevision"), vc.VScan().needs(lvlm("llava_onevision").anatomy), torch.Generator()
    frames = [Image.fromarray(torch.randint(0, 255, (84, 84, 3), generator=make).byte().numpy()) for _ in range(3)]
    needs |= vc.Needs(projected=True)
    for frame, tile in zip(frames, known.preview(vc.Video(frames), needs).tiles, strict=True):
        whole = known.preview(frame, needs).tiles[0]  # as a picture, of 6 x 6 tokens
        pool = known.model.model.apply_pooling
        assert tile.grid == (3, 3) and whole.grid == (6, 6)
        torch.testing.assert_close(tile.features, pool(whole.features[None])[0])
        torch.testing.assert_close(tile.projected, pool(whole.projected[None])[0])
        assert set(tile.received) == set(whole.received) != set()
        for layer, numbers in tile.received.items():
            torch.testing.assert_close(numbers, pool(whole.received[layer][None, :, None])[0, :, 0])


@pytest.mark.parametrize("method", vc.REDUCERS)
@pytest.mark.parametrize("name", ["internvl", "smolvlm", "llava_onevision"])
def test_every_method_cuts_a_video_or_says_why_not(name: str, method: str) -> None:
    video, reducer = dark(3, bright=1), vc.REDUCERS[method](0.55).first_reading
    reason = None if reducer.sees_all_tiles else refusal(lvlm(name).model, reducer)
    if reason is not None:
        with pytest.raises(vc.InputError, match=reason):
            answered(name, video, reducer)
        return
    trace = answered(name, video, reducer).trace
    (image,) = trace.images
    assert image.frames == 3 and image.cuts and len(image.kept) < image.tokens
    assert trace.visual_tokens_per_layer[-1] == len(image.kept)
    assert sum(trace.visual_tokens_per_layer) / len(trace.visual_tokens_per_layer) < 0.75 * image.tokens


@pytest.mark.parametrize("name", EACH)
def test_an_answer_about_a_video_and_one_about_pictures_take_turns(name: str) -> None:
    """Each says what it says alone, whichever thread advances it, and nothing of it stays in the model."""
    known, reducer, pictures = lvlm(name), vc.VScan(retention=0.4), list(dark(2, bright=1).frames)
    attributes = set(vars(known.family.base(known.model)))
    shown = [dark(4, bright=2), pictures]
    alone = [answered(name, one, reducer) for one in shown]
    runs = [vc.answer(known, one, "word4 word5", reducer, max_new_tokens=2) for one in shown]
    with ThreadPoolExecutor(2) as pool:
        events = [pool.submit(next, run, None).result() for _ in range(5) for run in runs]
    done = sorted(
        (event.answer for event in events if isinstance(event, vc.Done)), key=lambda one: len(one.trace.images)
    )
    for mine, expected in zip(done, alone, strict=True):
        assert mine.token_ids == expected.token_ids
        kept = [image.kept.tolist() for image in mine.trace.images]
        assert kept == [image.kept.tolist() for image in expected.trace.images]
    assert set(vars(known.family.base(known.model))) == attributes


@pytest.mark.parametrize("name", EACH)
def test_a_control_token_for_videos_is_refused(name: str) -> None:
    with pytest.raises(vc.InputError, match="control token"):
        lvlm(name).inputs(dark(1), "what is <video> ?")


@pytest.mark.parametrize("name", EACH)
def test_pixels_are_those_of_the_stock_video_processor(name: str) -> None:
    """Of frames that need no resampling, which torchvision does a little differently."""
    pytest.importorskip("torchvision", exc_type=ImportError)
    frames = [Image.effect_noise(SIZE[::-1], 60 + i).resize((448, 336)).convert("RGB") for i in range(5)]
    made = lvlm(name).processor
    square, edge = {"height": 84, "width": 84}, {"longest_edge": 84}
    of_squares = {
        "video_llava": ("VideoLlavaVideoProcessor", {"size": {"shortest_edge": 84}, "crop_size": square}),
        "internvl": ("InternVLVideoProcessor", {"size": square}),
        "smolvlm": ("SmolVLMVideoProcessor", {"size": edge, "max_image_size": edge}),
        "llava_onevision": ("LlavaOnevisionVideoProcessor", {"size": square}),
    }
    if name in of_squares:
        frames = [frame.resize((84, 84)) for frame in frames]
        kind, settings = of_squares[name]
        stock = getattr(transformers, kind)(**settings)
    else:
        kind = "Qwen2VLVideoProcessor" if name == "qwen2_5_vl" else "Qwen3VLVideoProcessor"
        stock = getattr(transformers, kind)(
            patch_size=14,
            size={"shortest_edge": 128 * 28 * 28, "longest_edge": 5 * 768 * 28 * 28},
            image_mean=made.image_processor.image_mean,
            image_std=made.image_processor.image_std,
        )
    expected = stock([frames], return_tensors="pt", do_sample_frames=False)
    got = lvlm(name).inputs(vc.Video(frames), "word4")
    (wanted,) = (value for key, value in expected.items() if key.startswith("pixel_values"))
    seen = got[PIXELS.get(name, "pixel_values_videos")]
    torch.testing.assert_close(seen, wanted.flatten(0, 1) if name == "internvl" else wanted, atol=1e-4, rtol=0)
    if "video_grid_thw" in expected:
        assert got["video_grid_thw"].tolist() == expected["video_grid_thw"].tolist()


@pytest.mark.parametrize("method", [EVS, VidCom2])
@pytest.mark.parametrize("name", EACH)
def test_one_budget_is_spread_over_the_frames(name: str, method: type[vc.Reducer]) -> None:
    video, retention = dark(6, bright=3), 0.55
    answer = answered(name, video, method(retention=retention))
    image = answer.trace.images[0]
    (cut,) = image.cuts
    places = [place for token in cut.kept.tolist() if (place := image.place(token))]
    counts = torch.tensor([tile for tile, *_ in places]).bincount(minlength=image.tiles)
    per_tile = round(retention * image.tokens_per_tile)
    assert counts.sum() == per_tile * image.tiles and len(set(counts.tolist())) > 1
    if method is EVS:
        assert counts[0] == image.tokens_per_tile
    reducer = method(retention=retention)
    shown = lvlm(name).preview(video, reducer.needs(lvlm(name).anatomy)).trace(reducer)
    assert torch.equal(shown.cuts[0].kept, cut.kept)


@pytest.mark.parametrize("method", [EVS, VidCom2])
@pytest.mark.parametrize("name", EACH)
def test_a_picture_has_no_frames_to_compare(name: str, method: type[vc.Reducer]) -> None:
    with pytest.raises(vc.InputError, match="frames of a video, and this is a picture"):
        answered(name, dark(1).frames[0], method(retention=0.5))
    assert answered(name, dark(2), None).text is not None  # the model is as it was


def test_a_method_for_videos_can_be_followed_by_one_inside_the_llm_and_no_token_can_be_forced() -> None:
    image = answered("qwen2_5_vl", dark(6, bright=3), EVS(retention=0.5).then(FastV(retention=0.7))).trace.images[0]
    first, later = image.cuts
    counts = torch.tensor([image.place(token)[0] for token in first.kept.tolist()]).bincount(minlength=image.tiles)
    assert counts[0] == image.tokens_per_tile > counts[1] and len(later.kept) < len(first.kept)
    with pytest.raises(vc.InputError, match="all frames of a video, so no token can be forced"):
        answered("qwen2_5_vl", dark(6), Forced(EVS(retention=0.5), keep=[1], tiles=image.tiles))
