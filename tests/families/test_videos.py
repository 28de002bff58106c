"""Videos through the contract: from frames and a question to inputs, a trace and boxes, in every family with videos."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

import vscan_core as vc
from tests.families import lvlms, tiny
from vscan_core.catalog import SHAPES
from vscan_core.dummies.processors import add_vision_tokens
from vscan_core.families import FAMILIES, family_of
from vscan_core.reducers import FastV, Forced
from vscan_core.reducers.evs import EVS
from vscan_core.reducers.vidcom2 import VidCom2
from vscan_core.resources import asset

SIZE = (168, 112)
SQUARE = (112, 28, 140, 56)  # a bright place in pixels of the frame
EACH = {"video_llava": 1, "qwen2_5_vl": 2, "qwen3_vl": 2, "qwen3_5": 2}  # frames per tile
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
    makers = {"qwen2_5_vl": lvlms.qwen, "qwen3_vl": lvlms.qwen3, "qwen3_5": lvlms.qwen35, "video_llava": video_llava}
    model, processor = makers[name]()
    processor.video_token = "<video>"
    placeholder = "<video>" if name == "video_llava" else "<|vision_start|><video><|vision_end|>"
    processor.chat_template = TEMPLATE.replace("VIDEO", placeholder).replace("PICTURE", processor.image_token)
    return vc.LVLM(model=model.eval(), processor=processor, family=family_of(model), name=name)


def dark(frames: int, bright: int | None = None) -> vc.Video:
    """Dark frames, of which one may have a bright square."""
    pictures = [Image.new("RGB", SIZE, (20, 20, 20)) for _ in range(frames)]
    if bright is not None:
        pictures[bright].paste((250, 250, 250), SQUARE)
    return vc.Video(pictures, [i / 2 for i in range(frames)])


def answered(name: str, video: vc.Video, reducer: vc.Reducer | None) -> vc.Answer:
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


def difference(name: str, one: Any, other: Any) -> torch.Tensor:
    """(tiles, tokens): how much the pixels of each token differ."""
    change = (one["pixel_values_videos"] - other["pixel_values_videos"]).abs()
    if name == "video_llava":  # (1, frames, 3, height, width), patches of 14
        return change[0].sum(1).unfold(1, 14, 14).unfold(2, 14, 14).sum((-1, -2)).flatten(1)
    return change.sum(1).view(one["video_grid_thw"][0, 0], -1, 4).sum(-1)  # four patches make a token


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("bright", [0, 3])
def test_the_token_that_lights_up_is_of_that_frame_and_covers_that_place(name: str, bright: int) -> None:
    changed = difference(name, *(lvlm(name).inputs(video, "word4") for video in (dark(4), dark(4, bright))))
    tile, token = divmod(int(changed.argmax()), changed.shape[1])
    assert tile == bright // EACH[name]
    trace = answered(name, dark(4, bright), None).trace
    image = trace.images[0]
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
    if name == "video_llava":
        frames = [frame.resize((84, 84)) for frame in frames]
        stock = transformers.VideoLlavaVideoProcessor(size={"shortest_edge": 84}, crop_size={"height": 84, "width": 84})
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
    torch.testing.assert_close(got["pixel_values_videos"], expected["pixel_values_videos"], atol=1e-4, rtol=0)
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
