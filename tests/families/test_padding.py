"""Tiles that are partly padding: budgets are spent on the picture, so the size alone says how many tokens enter."""

from __future__ import annotations

import re

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.families import lvlms
from tests.families.refused import refusal
from tests.families.test_preview import noise
from vscan_core import serving
from vscan_core.attach import reduced
from vscan_core.conformance.made_up import changed, made_up_signals
from vscan_core.dummies.shapes import Ids
from vscan_core.families import FAMILIES
from vscan_core.reducers import Forced, Then
from vscan_core.reducers.fastv import FastV
from vscan_core.reducers.vispruner import VisPruner
from vscan_core.regions import Region, chosen_in

PACKED = ("llava_next", "llava_onevision")
SIZES = [
    (200, 90),
    (60, 130),
    (150, 150),
    (400, 30),
    (2000, 8),
]  # (width, height); the last is hardly seen in its tiles
METHODS = {name: cls(retention=0.5) for name, cls in vc.REDUCERS.items()} | {
    "vscan alone": vc.VScan(encoder_keep=0.5, llm_keep={}),
    "a pair": Then(VisPruner(0.5), FastV(0.7)),
    "released": vc.VScan(encoder_keep=0.5, llm_keep={}, refill=False),
}


def cut_of(lvlm: vc.LVLM, reducer: vc.Reducer, picture: Image.Image) -> vc.ImageTrace:
    inputs = lvlm.inputs(picture, "word5 word6")
    with torch.no_grad(), reduced(lvlm.model, reducer) as trace:
        lvlm.model(**inputs)
    (image,) = trace.images
    return image


def catalog_config(name: str):
    """The configuration of a model of the catalog, without its weights."""
    family = FAMILIES["llava_next"]
    (entry,) = (one for one in family.hub_models if one.dummy == name)
    return family.dummy_config(entry.shape, Ids(*range(1, 1 + len(Ids.__dataclass_fields__))))


def expected_count(lvlm: vc.LVLM, reducer: vc.Reducer, size: tuple[int, int]) -> int:
    """What an engine is told beforehand."""
    return serving.entering_tokens(reducer, lvlm.model.config, *size[::-1])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", PACKED)
def test_the_size_alone_decides_how_many_tokens_enter(family, name, size) -> None:
    lvlm, reducer = lvlms.lvlm(family), METHODS[name]
    if (pattern := refusal(lvlm.model, reducer)) is not None:
        with pytest.raises(vc.InputError) as caught:
            cut_of(lvlm, reducer, noise(size))
        assert re.search(pattern, str(caught.value))
        return
    if 0 not in reducer.cut_layers(lvlm.anatomy) or reducer.needs(lvlm.anatomy).blocks or name == "released":
        return
    counts = set()
    for picture in (noise(size), Image.effect_noise(size, 90).convert("RGB"), Image.new("RGB", size, "gray")):
        image = cut_of(lvlm, reducer, picture)
        counts.add(len(image.cuts[0].kept))
        per_tile = torch.bincount(image.tile_of[image.cuts[0].kept] + 1, minlength=image.tiles + 1)[1:]
        assert per_tile.max() == reducer.at_entrance(36, lvlm.anatomy)
        for label in image.cuts[0].labels.values():
            assert torch.isin(label, image.cuts[0].kept).all()
    assert counts == {expected_count(lvlm, reducer, size)}


@pytest.mark.parametrize("family", PACKED)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_layout_is_that_of_the_prompt(family, size) -> None:
    lvlm = lvlms.lvlm(family)
    ids = lvlm.inputs(noise(size), "word5")["input_ids"][0]
    layout = serving.picture_layout(lvlm.model.config, *size[::-1])
    assert int((ids == lvlm.family.image_token_id(lvlm.model)).sum()) == len(layout.origin) == len(layout.boxes)
    inside = sum(36 if one is None else one.tokens for one in layout.regions or [None] * layout.tiles)
    assert inside == int((layout.origin >= 0).sum())


def test_the_released_code_loses_what_it_chooses_in_the_padding() -> None:
    lvlm, size = lvlms.lvlm("llava_next"), (200, 90)
    released, ours = METHODS["released"], METHODS["vscan alone"]
    kept = len(cut_of(lvlm, released, Image.new("RGB", size, "gray")).cuts[0].kept)
    assert kept < expected_count(lvlm, ours, size) == len(cut_of(lvlm, ours, noise(size)).cuts[0].kept)
    assert Then(released, FastV(0.5)).sees_padding and not Then(ours, FastV(0.5)).sees_padding


def test_a_group_merged_in_the_encoder_is_placed_in_the_picture() -> None:
    group = torch.tensor([0, 0, 1, 2, 1, 2])
    chosen = vc.Selection.groups(group, 3, region=torch.tensor([1, 4]))
    assert chosen.kept.tolist() == [1, 3, 4] and chosen.merged_into.tolist() == [1, -1, 4, -1, -1, 3]
    lvlm = lvlms.lvlm("llava_next")
    image = cut_of(lvlm, vc.REDUCERS["tome"](0.5), noise((200, 90)))
    assert len(image.cuts[0].kept) <= expected_count(lvlm, METHODS["vscan alone"], (200, 90))


def test_a_count_that_the_size_does_not_tell_is_refused(mini) -> None:
    config, size = lvlms.lvlm("llava_next").model.config, (90, 200)
    for reducer in (METHODS["released"], vc.REDUCERS["tome"](0.5), Forced(VisPruner(0.5), keep=(1,), tiles=3)):
        with pytest.raises(vc.InputError, match=f"how many tokens {reducer.title} keeps of a picture depends on what"):
            serving.entering_tokens(reducer, config, *size)
    with pytest.raises(vc.InputError, match="in InternVL is known to its processor alone"):
        serving.entering_tokens(VisPruner(0.5), lvlms.lvlm("internvl").model.config, *size)
    assert serving.entering_tokens(vc.REDUCERS["tome"](0.5), mini.model.config, *size) == 288
    assert serving.entering_tokens(FastV(0.5), mini.model.config, *size) == 576
    boxes = mini.preview(noise((336, 336)), vc.Needs()).token_layout.boxes
    assert torch.equal(serving.picture_layout(mini.model.config, *size).boxes, boxes)


def test_the_budget_of_the_real_model_arrives() -> None:
    config = catalog_config("llava-next-vicuna-7b")
    reducer = vc.VScan(encoder_keep=96, llm_keep={})
    assert serving.entering_tokens(reducer, config, 480, 640) == 5 * 96 + 36  # 432 + 36 arrived
    assert serving.entering_tokens(vc.VScan(1.0), config, 480, 640) == 576 + 36 * 48 + 36


@pytest.mark.parametrize("family", PACKED)
def test_padding_changes_nothing_in_what_is_chosen(family) -> None:
    lvlm = lvlms.lvlm(family)
    reducer = METHODS["vscan alone"]
    tiles = lvlm.preview(noise((200, 90)), reducer).tiles
    layout = lvlm.preview(noise((200, 90)), reducer).token_layout
    together = vc.Signals.together(tiles)

    def disturb(name, rows):
        for tile, region in enumerate(layout.regions):
            if region is not None:
                padding = torch.ones(36, dtype=torch.bool).index_fill(0, region.indices(6, rows.device), False)
                part = rows[tile][..., padding] if name in ("cls_attention", "received") else rows[tile][padding]
                part = part + 100
                if name in ("cls_attention", "received"):
                    rows[tile][..., padding] = part
                else:
                    rows[tile][padding] = part
        return rows

    first = reducer.select_in_regions(together, 18, layout.regions)
    second = reducer.select_in_regions(
        changed(together, lambda name, rows: disturb(name, rows.clone())), 18, layout.regions
    )
    assert any(layout.regions)
    for one, other, region in zip(first, second, layout.regions, strict=True):
        assert torch.equal(one.kept, other.kept) and torch.equal(one.merged_into, other.merged_into)
        if region is not None:
            assert torch.isin(one.kept, region.indices(6, one.kept.device)).all()


def test_forcing_a_token_of_a_padded_tile_costs_one_other() -> None:
    lvlm, picture = lvlms.lvlm("llava_next"), noise((200, 90))
    first = cut_of(lvlm, METHODS["vscan alone"], picture)
    kept = set(first.cuts[0].kept.tolist())
    for tile in range(first.tiles):
        mine = (first.tile_of == tile).nonzero()[:, 0].tolist()
        outside = [token for token in mine if token not in kept]
        forced = Forced.on(
            first, METHODS["vscan alone"], keep=outside[:1], drop=[token for token in mine if token in kept][:1]
        )
        again = set(cut_of(lvlm, forced, picture).cuts[0].kept.tolist())
        assert len(again) == len(kept) and set(outside[:1]) <= again and not set(forced.drop) & again
        assert len(again - kept) <= 2


def test_rows_of_padded_tiles_are_those_of_the_hooks() -> None:
    lvlm, picture = lvlms.lvlm("llava_next"), noise((200, 90))
    for reducer in (METHODS["vscan alone"], VisPruner(0.5), vc.REDUCERS["downsample"](0.5)):
        image = cut_of(lvlm, reducer, picture)
        preview = lvlm.preview(picture, reducer)
        regions = preview.token_layout.regions
        with torch.no_grad():
            chosen, rows = serving.reduce_tiles(
                reducer,
                vc.Signals.together(preview.tiles),
                18,
                lvlm.anatomy,
                lvlm.family.projector(lvlm.model),
                regions,
            )
        assert torch.equal(preview.token_layout.trace((6, 6), chosen).cuts[0].kept, image.cuts[0].kept)
        assert [len(one) for one in rows] == [min(18, 36 if one is None else one.tokens) for one in regions]


def test_a_region_is_a_rectangle() -> None:
    assert Region.of(torch.arange(6), (2, 3)) is None
    assert Region.of(torch.tensor([1, 2, 4, 5]), (2, 3)) == Region(0, 2, 1, 3)
    assert Region.of(torch.tensor([], dtype=torch.long), (2, 3)).tokens == 0
    with pytest.raises(ValueError, match="3 tokens do not fill a rectangle in a tile of 2 x 3"):
        Region.of(torch.tensor([0, 1, 5]), (2, 3))


def test_a_tile_that_is_all_padding_keeps_nothing() -> None:
    tiles = vc.Signals.together([made_up_signals(4, seed) for seed in (0, 1)])
    chosen = chosen_in(VisPruner(0.5).select_tiles, tiles, 8, [Region(0, 0, 0, 0), Region(1, 3, 0, 4)])
    assert len(chosen[0].kept) == 0 and chosen[1].kept.tolist() == list(range(4, 12))
    assert chosen[0].labels.keys() == chosen[1].labels.keys() and chosen[0].scores["global"].isnan().all()
