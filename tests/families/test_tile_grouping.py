"""What is read off a prompt about the tiles of its pictures is what the stock processor really cut."""

from __future__ import annotations

from functools import cache
from itertools import groupby

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from PIL import Image

from tests.families import lvlms, tiny
from vscan_core.engine.seen_together import of_one_grid, of_one_video
from vscan_core.families.tile_grouping import contiguous, separated
from vscan_core.families.tiles import Tiles, TokenLayout
from vscan_core.trace import View

SIZES = [(200, 90), (60, 300), (90, 90), (240, 160), (600, 60), (60, 130)]
BATCHES = [[1], [3], [2, 1], [1, 0, 2], [0, 1], [1, 1, 1, 1], [6]]
LINES = {"no new lines": [], "new lines": ["\n"], "two new lines as one": ["\n", "\n\n"]}
PIXELS = {"max_image_size": {"longest_edge": lvlms.PIECE}, "size": {"longest_edge": 3 * lvlms.PIECE}}
TOKEN, MARK, WHOLE, LINE, PER_TILE = 99, 98, 97, 96, 2


def tokenizer_with(lines: str):
    of_internvl = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<image>"}
    made = lvlms.tokenizer(**of_internvl)
    made.add_tokens(LINES[lines])
    return made


@cache
def processor(name: str, lines: str, **settings):
    if name == "InternVL":
        square = {"height": lvlms.PIECE, "width": lvlms.PIECE}
        prepare = lvlms.images("GotOcr2ImageProcessor", size=square, max_patches=6)
        return lvlms.processor("InternVLProcessor", (prepare, tokenizer_with(lines), None, 36))
    prepare = lvlms.images(f"{name}ImageProcessor", **PIXELS, **settings)
    components = (
        (prepare, tokenizer_with(lines), 36) if name == "Idefics3" else (prepare, tokenizer_with(lines), None, 36)
    )
    return lvlms.processor(f"{name}Processor", components)


@pytest.fixture(autouse=True)
def numbers_in_words(monkeypatch) -> None:
    """SmolVLM's processor wants a package for the prompts of videos only."""
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", str)


def tiles(cuts: list[tuple[int, int]]) -> int:
    return sum(rows * cols + (rows * cols > 1) for rows, cols in cuts)


def prompts(counts: list[int], between: str) -> tuple[list[list[Image.Image]], list[str]]:
    sizes = iter(SIZES)
    pictures = [[Image.new("RGB", next(sizes), "red") for _ in range(count)] for count in counts]
    text = ["word4 " + between.join(["<image>"] * count) + " word5" * (row + 1) for row, count in enumerate(counts)]
    return pictures, text


@pytest.mark.parametrize("between", ["", " word6 word7 ", "\n"], ids=["adjacent", "words", "a line"])
@pytest.mark.parametrize("counts", BATCHES, ids=str)
@pytest.mark.parametrize("lines", LINES)
@pytest.mark.parametrize("name", ["Idefics3", "SmolVLM"])
def test_separated_tiles(name, lines, counts, between) -> None:
    stock, (pictures, text) = processor(name, lines), prompts(counts, between)
    batch = stock(images=pictures, text=text, return_tensors="pt", padding=True, padding_side="left")
    found = separated(batch["input_ids"], tiny.IMAGE, 36)
    flat = [picture for row in pictures for picture in row]
    cuts = [stock.image_processor.get_number_of_image_patches(one.height, one.width, {})[1:] for one in flat]
    assert found == cuts
    assert tiles(found) == batch["pixel_attention_mask"].flatten(0, 1).any((1, 2)).sum()


@pytest.mark.parametrize("counts", BATCHES, ids=str)
@pytest.mark.parametrize("name", ["Idefics3", "SmolVLM"])
def test_separated_pictures_that_were_not_cut(name, counts) -> None:
    stock, (pictures, text) = processor(name, "new lines", do_image_splitting=False), prompts(counts, "")
    batch = stock(images=pictures, text=text, return_tensors="pt", padding=True, padding_side="left")
    assert separated(batch["input_ids"], tiny.IMAGE, 36) == [(1, 1)] * sum(counts)


@pytest.mark.parametrize("between", ["", " word6 "], ids=["adjacent", "words"])
@pytest.mark.parametrize("counts", BATCHES, ids=str)
def test_contiguous_tiles(counts, between) -> None:
    stock, (pictures, text) = processor("InternVL", "new lines"), prompts(counts, between)
    flat = [picture for row in pictures for picture in row]
    batch = stock(images=flat, text=text, return_tensors="pt", padding=True, padding_side="left")
    found = contiguous(batch["input_ids"], tiny.IMAGE, 36)
    assert found == [len(stock.image_processor(one, crop_to_patches=True)["pixel_values"]) for one in flat]
    assert sum(found) == len(batch["pixel_values"])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", ["internvl", "idefics3"])
def test_prompts_of_this_library(name, size) -> None:
    lvlm = lvlms.lvlm(name)
    ids = lvlm.inputs(Image.new("RGB", size), "word5")["input_ids"]
    cut = lvlm.family.view(lvlm.processor, *size).cut
    if name == "internvl":
        assert contiguous(ids, tiny.IMAGE, 36) == [tiles([cut])]
    else:
        assert separated(ids, tiny.IMAGE, 36) == [cut]


def written(rows: int, cols: int, lines: tuple[int, ...] = (LINE,), ends: tuple[int, ...] = (LINE, LINE)) -> list[int]:
    """One picture as the processors write it; tags from 10 on, six to a row of tiles."""
    run, ids = [TOKEN] * PER_TILE, []
    for row in range(rows if rows * cols > 1 else 0):
        for col in range(cols):
            ids += [MARK, 10 + 6 * row + col, *run]
        ids += lines if row < rows - 1 else ends
    return [*ids, MARK, WHOLE, *run, MARK]


CUTS = st.tuples(st.integers(1, 6), st.integers(1, 6))
WORDS = st.lists(st.integers(50, 60), max_size=3)
WAYS = st.sampled_from([((LINE,), (LINE, LINE)), ((LINE,), (LINE - 1,)), ((7, LINE), (7, LINE, LINE)), ((), ())])


@given(st.lists(st.lists(st.tuples(CUTS, WORDS), max_size=3), min_size=1, max_size=3), WAYS)
def test_what_was_written_is_read(batch, way) -> None:
    rows = [[5, *(id for cut, text in row for id in [*text, *written(*cut, *way)]), 6] for row in batch]
    assert separated(tiny.padded(rows)["input_ids"], TOKEN, PER_TILE) == [cut for row in batch for cut, _ in row]


@given(st.lists(st.lists(st.integers(1, 5), max_size=4), min_size=1, max_size=3), st.integers(1, 3))
def test_runs_are_counted(batch, per_tile) -> None:
    rows = [[5, *(id for tiles in row for id in [6, *[TOKEN] * tiles * per_tile, 7])] for row in batch]
    ids = tiny.padded(rows)["input_ids"]
    assert contiguous(ids, TOKEN, per_tile) == [tiles for row in batch for tiles in row]
    if per_tile > 1:
        longer = torch.cat([ids, torch.tensor([[TOKEN]] * len(ids))], dim=1)
        assert contiguous(longer, TOKEN, per_tile) is None


@given(st.lists(st.sampled_from([10, 11, MARK, WHOLE, LINE, TOKEN, TOKEN, TOKEN]), max_size=40), st.integers(0, 60))
def test_whatever_is_written_no_tile_is_lost(noise, place) -> None:
    """Noise, and noise in a stock prompt: None, or as many tiles as there are runs."""
    whole = [5, *written(2, 2), *written(1, 3), 6]
    for ids in (noise, whole[:place] + noise + whole[place:]):
        found = separated(torch.tensor([ids]), TOKEN, PER_TILE)
        runs = sum(visual for visual, _ in groupby(ids, key=TOKEN.__eq__))
        assert found is None or tiles(found) == runs


@pytest.mark.parametrize(
    "ids",
    [
        [5, *[TOKEN] * PER_TILE, 6],  # nothing around the run
        [TOKEN, TOKEN, 5],
        written(2, 2)[:-1],  # the mark behind is missing
        written(2, 2)[:-3],  # the last run is short
        written(2, 2)[2:],  # the first tag is missing
        written(2, 2)[:16],  # no tile of the whole
        [5, *written(2, 2)[:4], *written(1, 1)],  # one tile and the whole
        written(2, 2, (LINE, 5))[:4] + written(2, 2),  # three tiles in the first row
        [*written(2, 3), *written(3, 2, (LINE, LINE))],  # lines end in two ways
        [*written(1, 1)[:-1], *written(1, 1)],  # one mark for two pictures
        [5, 6, *[TOKEN] * PER_TILE, 5, 7, *[TOKEN] * PER_TILE, 5],  # text that repeats
        [id + (id == 11) for id in written(2, 2)] + written(2, 2),  # tags that differ between pictures
        [10 if id == 11 else id for id in written(2, 2)],  # one tag for two places
    ],
    ids=range(13),
)
def test_prompts_that_no_processor_wrote(ids) -> None:
    assert separated(torch.tensor([ids]), TOKEN, PER_TILE) is None


def test_prompts_without_pictures() -> None:
    nothing = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert separated(nothing, TOKEN, PER_TILE) == contiguous(nothing, TOKEN, PER_TILE) == []


def test_a_method_that_compares_tiles_gets_those_of_each_image_or_video() -> None:
    def layout(tiles: int, frames: int) -> TokenLayout:
        return TokenLayout(tiles, None, torch.zeros(4 * tiles, 4), View(frames=frames))

    grids = [(2, 2)] * 6
    known = Tiles(grids, [layout(2, 4), layout(1, 0), layout(3, 3)])
    assert of_one_video(known) == [([0, 1], True), ([2], False), ([3, 4, 5], True)]
    for layouts in (None, [layout(4, 4)], [layout(4, 4), layout(3, 3)]):  # do not tell, or do not fit
        assert of_one_video(Tiles(grids, layouts)) == [([i], False) for i in range(6)]
    assert of_one_grid(Tiles([(2, 2), (1, 2), (2, 2)], None)) == [([0, 2], False), ([1], False)]
