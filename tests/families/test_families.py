"""What must hold for every family: identity, equality with hiding, the model left as found."""

from __future__ import annotations

from functools import partial

import pytest
import torch

import vscan_core as vc
from tests.families import tiny
from tests.reference import gemma_slow
from vscan_core.conformance.hidden import hidden_logits
from vscan_core.families import family_of

STEPS = 4
GRID_AND_PIXELS = (("image_grid_thw", "pixel_values"), ("video_grid_thw", "pixel_values_videos"))  # of Qwen; video
FAMILIES = {
    "llava_next": (tiny.llava_next, tiny.next_inputs),
    "llava_onevision": (tiny.onevision, tiny.onevision_inputs),
    "qwen2_5_vl": (tiny.qwen, tiny.qwen_inputs),
    "qwen3_vl": (tiny.qwen3, tiny.qwen_inputs),
    "qwen2_5_vl video": (tiny.qwen, tiny.video_inputs),
    "qwen3_vl video": (tiny.qwen3, partial(tiny.video_inputs, apart=True)),
    "qwen3_5": (tiny.qwen35, tiny.qwen_inputs),
    "qwen3_5 video": (tiny.qwen35, partial(tiny.video_inputs, apart=True)),
    "glm4v": (tiny.glm, tiny.qwen_inputs),
    "gemma4": (tiny.gemma, tiny.gemma_inputs),
    "gemma4 large": (tiny.gemma_large, tiny.gemma_inputs),
    "internvl": (tiny.internvl, tiny.tile_inputs),
    "internvl tiled": (tiny.internvl, tiny.tiled_inputs),
    "idefics3": (tiny.idefics3, tiny.row_inputs),
    "idefics3 tiled": (tiny.idefics3, partial(tiny.tiled_inputs, make=tiny.row_inputs)),
    "smolvlm": (tiny.smolvlm, tiny.row_inputs),
    "video_llava": (tiny.video_llava, tiny.picture_inputs),
    "video_llava video": (tiny.video_llava, tiny.frame_inputs),
    "llava_onevision video": (tiny.onevision, partial(tiny.frame_inputs, tokens=28)),
}
BATCHES = {
    "llava_next": [[[(84, 168)]], [[(50, 168)]], [[(168, 168)], [], [(84, 168), (50, 168)]]],
    "llava_onevision": [[[(84, 168)]], [[(168, 168)], [], [(84, 168), (50, 168)]]],
    "qwen2_5_vl": [[[(12, 16)]], [[(10, 14), (8, 8)]], [[(12, 16)], [], [(8, 8), (10, 14)]]],
    "qwen3_vl": [[[(12, 16)]], [[(12, 16)], [], [(8, 8), (10, 14)]]],
    "qwen2_5_vl video": [[[(3, 12, 8)]], [[(2, 10, 14)], [], [(2, 8, 8), (1, 8, 10)]]],
    "qwen3_vl video": [[[(3, 12, 8)]], [[(2, 10, 14)], [], [(2, 8, 8), (1, 8, 10)]]],
    "qwen3_5": [[[(12, 16)]], [[(12, 16)], [], [(8, 8), (10, 14)]]],
    "qwen3_5 video": [[[(3, 12, 8)]], [[(2, 10, 14)], [], [(2, 8, 8), (1, 8, 10)]]],
    "glm4v": [[[(12, 16)]], [[(10, 14), (8, 8)]], [[(12, 16)], [], [(8, 8), (10, 14)]]],
    "gemma4": [[[(4, 6)]], [[(3, 4), (4, 4)]], [[(4, 6)], [], [(2, 3), (4, 5)]]],
    "gemma4 large": [[[(4, 6)]], [[(4, 6)], [], [(2, 3), (4, 5)]]],
    "internvl": [[[1]], [[1], [], [2, 3]]],
    "internvl tiled": [[[(1, 2)]], [[(2, 2)], [], [(1, 1), (1, 2)]]],
    "idefics3": [[[1, 2, 3]], [[1], [], [2, 3]]],
    "idefics3 tiled": [[[(2, 1)]], [[(1, 1)], [], [(1, 2), (2, 1)]]],
    "smolvlm": [[[1]], [[1], [], [2, 3]]],
    "video_llava": [[[1]], [[1], [], [2, 3]]],
    "video_llava video": [[[(1, 2, 3)]], [[(1, 2, 3)], [], [(4, 5, 6), (7, 8, 9)]]],
    "llava_onevision video": [[[(1, 2, 3)]], [[(1, 2, 3)], [], [(4, 5, 6), (7, 8, 9)]]],
}
CASES = [(name, rows) for name, batches in BATCHES.items() for rows in batches]
CUTS = [
    {"encoder_keep": 0.3, "llm_keep": {3: 0.4}},
    {"encoder_keep": 0.3, "llm_keep": {3: 0.4}, "positions": "original"},
    {"encoder_keep": 0.5, "llm_keep": {}},
    {"encoder_keep": 0.5, "llm_keep": {}, "positions": "original"},
    {"llm_keep": {2: 9}},
    {"llm_keep": {2: 9}, "positions": "original"},
]
# M-RoPE positions are original anyway, and cannot be renumbered
CELLS = [
    (name, rows, cuts)
    for name, rows in CASES
    for cuts in CUTS
    if not (name.startswith(tiny.MROPE) and "positions" in cuts)
]


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def models(request):
    return {name: make(request.param) for name, (make, _) in FAMILIES.items()}


def method(cuts, **settings) -> vc.VScan:
    return vc.VScan(**{"encoder_keep": 1.0, **cuts}, merge=False, **settings)


def generate(model, inputs, reducer):
    with vc.reduced(model, reducer) as trace:
        out = model.generate(
            **inputs, max_new_tokens=STEPS, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    return out, trace


@pytest.mark.parametrize(("name", "rows", "cuts"), CELLS, ids=str)
@torch.no_grad()
def test_dropping_equals_hiding(models, name, rows, cuts) -> None:
    renumbered = not name.startswith(tiny.MROPE) and "positions" not in cuts
    check_hiding(models[name], name, rows, method(cuts), renumbered)


def check_hiding(model, name, rows, reducer, renumbered) -> None:
    """Logits of every step equal those of a full-length pass in which the dropped tokens are only hidden."""
    inputs = FAMILIES[name][1](rows)
    out, trace = generate(model, inputs, reducer)
    images, start = list(trace.images), 0
    for i, row in enumerate(rows):
        mine = images[start : start + len(row)]
        new = out.sequences[i, -STEPS:]
        ids = torch.cat([inputs["input_ids"][i][inputs["attention_mask"][i].bool()], new[:-1]])
        embeds, columns, positions, added = whole_prompt(
            name, model, ids, slice_of(name, inputs, rows, i), [image.tokens for image in mine]
        )
        if positions is None:
            positions = torch.arange(len(ids))[None]
        place = partial(position_ids, None if renumbered else positions)
        run = gemma_slow.layers(model, ids, embeds, columns, place) if name.startswith("gemma4") else None
        llm = family_of(model).language_model(model)
        expected = hidden_logits(model, embeds, columns, mine, place, llm, added, run)
        got = torch.stack([step[i] for step in out.logits])
        torch.testing.assert_close(got, expected[-STEPS:], atol=1e-5, rtol=0)
        start += len(row)
    assert start == len(images) and any(image.cuts for image in images)


def position_ids(original, alive):
    """What the rotary embedding of a layer gets: the prompt's own ids, or a count of what is alive."""
    return alive.long().cumsum(0)[None] - 1 if original is None else original


def slice_of(name, inputs, rows, i):
    """The pixels of row i alone."""
    rows = tiny.tiles_of(rows) if name.endswith(" tiled") else rows
    before, count = sum(len(row) for row in rows[:i]), len(rows[i])
    if not count:
        return {}
    if name.split()[0] in ("idefics3", "smolvlm"):
        return {"pixel_values": inputs["pixel_values"][i : i + 1, :count]}
    if "pixel_values_videos" in inputs and not name.startswith(tiny.MROPE):
        return {"pixel_values_videos": inputs["pixel_values_videos"][before : before + count]}
    if not name.startswith(tiny.MROPE):
        keys = {"pixel_values", "pixel_values_images", "image_sizes", "image_position_ids"} & set(inputs)
        alone = {"batch_num_images": torch.tensor([count])} if "batch_num_images" in inputs else {}
        return {**alone, **{key: inputs[key][before : before + count] for key in keys}}
    grid_name, pixel_name = GRID_AND_PIXELS[name.endswith(" video")]
    grids = inputs[grid_name]
    patches = grids.prod(-1).tolist()
    first = sum(patches[:before])
    pixels = inputs[pixel_name][first : first + sum(patches[before : before + count])]
    return {pixel_name: pixels, grid_name: grids[before : before + count]}


def token_of(name) -> int:
    return tiny.VIDEO if name.endswith(" video") else tiny.IMAGE


def whole_prompt(name, model, ids, pixels, counts):
    """Embeddings with the full image features in place, the columns of every image, M-RoPE ids, deepstack features."""
    gemma = name.startswith("gemma4")  # which reads placeholders as padding, its own ones, too
    embeds = model.get_input_embeddings()(gemma_slow.without_placeholders(model, ids) if gemma else ids)
    columns, positions, added = [], None, []
    places = (ids == token_of(name)).nonzero()[:, 0]
    if pixels:
        seen = family_of(model).encode(model, pixels)
        columns = list(places[: sum(counts)].split(counts))  # the model may write the placeholder itself
        rows = [one.flatten(0, -2) for one in seen.pooler_output]
        if name == "llava_onevision video":  # up to transformers 5.17, the newline comes later
            end = model.model.image_newline[None]
            rows = [
                one if len(one) == count else torch.cat([one, end]) for one, count in zip(rows, counts, strict=True)
            ]
        embeds[torch.cat(columns)] = torch.cat(rows)
        for rows in getattr(seen, "deepstack_features", None) or []:
            rows = rows if torch.is_tensor(rows) else torch.cat(rows)  # one tensor up to transformers 5.17
            added.append(torch.zeros_like(embeds).index_copy_(0, torch.cat(columns), rows))
    if name.startswith(tiny.MROPE):
        kinds = torch.zeros_like(ids[None], dtype=torch.int)
        kinds[0, torch.cat(columns) if columns else []] = 1 + (name.endswith(" video"))
        grid = {key: value for key, value in pixels.items() if "grid" in key}
        positions, _ = model.model.get_rope_index(ids[None], mm_token_type_ids=kinds, **grid)
    return embeds, columns, positions, added


@pytest.mark.parametrize(("name", "rows"), CASES, ids=str)
@torch.no_grad()
def test_keeping_everything_is_bitwise_the_untouched_model_which_is_left_as_found(models, name, rows) -> None:
    model, inputs = models[name], FAMILIES[name][1](rows)
    before = model(**inputs).logits
    attributes = set(vars(model.model))
    for identity in (None, vc.VScan(retention=1)):
        with vc.reduced(model, identity) as trace:
            assert torch.equal(model(**inputs).logits, before)
        assert trace.visual_tokens_per_layer == [int((inputs["input_ids"] == token_of(name)).sum())] * 6
    with pytest.raises(KeyError), vc.reduced(model, method(CUTS[0])):
        model(**inputs)
        raise KeyError
    assert set(vars(model.model)) == attributes
    assert torch.equal(model(**inputs).logits, before)


@torch.no_grad()
def test_retention_on_tiles_follows_the_published_budgets() -> None:
    anatomy = vc.Anatomy(vision_layers=24, feature_layer=22, text_layers=32, shallow_layer=5)
    assert vc.VScan(retention=1 / 9).schedule(576, anatomy, 5) == {0: 96, 16: 160}
    assert vc.VScan(retention=2 / 9).schedule(576, anatomy, 5) == {0: 192, 16: 320}
    # Video-LLaVA at 25 % of 8 x 256: 96 of each frame, then 256 of the whole video, 512 on average
    assert vc.VScan(retention=1 / 4).schedule(256, anatomy, 8) == {0: 96, 16: 256}


@torch.no_grad()
def test_two_sessions_may_hook_one_packing_and_leave_in_any_order() -> None:
    from vscan_core.families.method_hook import MethodHook

    class Thing:
        def method(self, value: int) -> int:
            return value + 1

    thing, heard = Thing(), []
    first = MethodHook(thing, "method", lambda original, value: heard.append(("first", value)))
    second = MethodHook(thing, "method", lambda original, value: heard.append(("second", original(value))))
    assert thing.method(1) == 2 and heard == [("first", 1), ("second", 2)]
    first.remove()
    assert thing.method(5) == 6 and heard[2:] == [("second", 6)]
    second.remove()
    assert not vars(thing) and thing.method(1) == 2


def test_renumbering_is_refused_where_positions_have_several_axes(models) -> None:
    with pytest.raises(vc.InputError, match="M-RoPE"):
        generate(models["qwen2_5_vl"], tiny.qwen_inputs([[(12, 16)]]), method(CUTS[0], positions="renumbered"))


def test_a_later_cut_before_the_last_deepstack_layer_is_refused(models) -> None:
    with pytest.raises(vc.InputError, match="at layer 2 or deeper, not at layer 1"):
        generate(models["qwen3_vl"], tiny.qwen_inputs([[(12, 16)]]), method({"llm_keep": {1: 9}}))


@torch.no_grad()
def test_slices_of_a_video_are_pictures_of_their_own_where_the_model_takes_them_so(models) -> None:
    video = tiny.slice_inputs([[(3, 12, 8)], [(2, 8, 8)]])
    kinds, grids = (video["input_ids"] == tiny.IMAGE).int(), [[1, 12, 8]] * 3 + [[1, 8, 8]] * 2
    pictures = {name: video[name] for name in ("input_ids", "attention_mask")} | {"mm_token_type_ids": kinds}
    pictures |= {"pixel_values": video["pixel_values_videos"], "image_grid_thw": torch.tensor(grids)}
    (of_video, trace), (of_pictures, _) = (generate(models["glm4v"], one, method(CUTS[0])) for one in (video, pictures))
    assert [image.tokens for image in trace.images] == [24] * 3 + [16] * 2
    assert torch.equal(torch.stack(of_video.logits), torch.stack(of_pictures.logits))


def test_images_and_videos_in_one_call_are_refused(models) -> None:
    image, video = tiny.qwen_inputs([[(8, 8)]]), tiny.video_inputs([[(2, 8, 8)]])
    text = ("input_ids", "attention_mask", "mm_token_type_ids")
    both = {**image, **video, **{name: torch.cat([image[name], video[name]], dim=1) for name in text}}
    with pytest.raises(vc.InputError, match="separate calls"):
        generate(models["qwen2_5_vl"], both, method(CUTS[0]))


@torch.no_grad()
def test_every_temporal_slice_of_a_video_is_a_tile(models) -> None:
    _, trace = generate(models["qwen2_5_vl"], tiny.video_inputs([[(3, 12, 8)]]), method({"encoder_keep": 5}))
    video = trace.images[0]
    assert (video.tokens, video.tiles, video.tokens_per_tile) == (72, 3, 24)
    assert (video.cuts[0].kept // 24).bincount().tolist() == [5, 5, 5]
    assert video.frames == 6 and list(video.frames_of(1)) == [2, 3]


@torch.no_grad()
def test_every_frame_of_video_llava_is_a_tile_and_its_cls_a_token_like_others_inside_the_llm(models) -> None:
    reducer = method({"encoder_keep": 5, "llm_keep": {3: 0.4}})
    _, trace = generate(models["video_llava"], tiny.frame_inputs([[(1, 2, 3)], [(4, 5, 6)]]), reducer)
    assert len(trace.images) == 2
    video = trace.images[0]
    assert (video.tokens, video.tiles, video.tokens_per_tile, video.frames) == (111, 3, 36, 3)
    assert list(video.frames_of(2)) == [2] and trace.boxes(0)[::37].isnan().all()
    first, later = video.cuts
    assert {0, 37, 74} <= set(first.kept.tolist()) and (first.kept // 37).bincount().tolist() == [6, 6, 6]
    assert len(later.kept) == 6  # 40 % of 3 x 5, CLS tokens counted from here on
    scores = later.scores["text"]
    assert set(later.kept.tolist()) == set(scores.nan_to_num(-1).topk(6).indices.tolist())
    assert not {0, 37, 74} <= set(later.kept.tolist())


@torch.no_grad()
def test_onevision_drops_tokens_of_a_video_after_it_has_pooled_them(models) -> None:
    model, inputs = models["llava_onevision"], tiny.frame_inputs([[(1, 2, 3)]], tokens=28)
    _, trace = generate(model, inputs, method({"encoder_keep": 5}))
    (video,) = trace.images
    assert (video.tokens, video.tiles, video.tokens_per_tile, video.frames) == (28, 3, 9, 3)
    (first,) = video.cuts
    places = [video.place(token) for token in first.kept.tolist()]
    assert [place and place[0] for place in places] == [0] * 5 + [1] * 5 + [2] * 5 + [None]  # at last the newline
    seen = [(10, 10, 20, 20), (40, 10, 50, 20), (66, 66, 70, 70)]  # in which of 3 x 3 tokens each lies
    for token, (x0, y0, x1, y1) in zip((0, 1, 8), seen, strict=True):
        left, top, right, bottom = trace.boxes(0)[token].tolist()
        assert left <= x0 and top <= y0 and right >= x1 and bottom >= y1


def test_a_picture_of_too_many_tiles_for_onevision_is_refused(models) -> None:
    model = models["llava_onevision"]
    picture = {**tiny.padded([[1, 2, 3]]), "pixel_values": torch.randn(1, 101, 3, 84, 84)}
    with pytest.raises(vc.InputError, match="too many tiles"), vc.reduced(model, method(CUTS[0])):
        model(**picture, image_sizes=torch.tensor([(840, 840)]))
