"""VScan's first cut as the browser computes it: the same tokens as in the library, index by index."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vscan_core as vc
from app.session.scan import scan_data
from app.session.sources import OpenedSource
from app.stage.view import StageView, stage_data
from tests.app.conftest import visiting
from tests.app.hall import CONTROLS, FIRST_CUT, TOKEN_MAP, Hall, undecided
from tests.families import lvlms
from vscan_core.draw.fates import Fate, fates
from vscan_core.engine.preview import VisionPreview
from vscan_core.families.tiles import TokenLayout
from vscan_core.selection import Anatomy, Needs, Signals

ANATOMY = Anatomy(vision_layers=8, feature_layer=6, text_layers=6, shallow_layer=2)


def first_cuts(hall: Hall, scan: Any, shares: list[float]) -> list[list[int]]:
    """The codes of every token at each retention, computed by the browser."""
    found: list[list[int]] = hall.page.evaluate(
        f"([scan, shares]) => {{ {FIRST_CUT}; return shares.map(share => [...firstCut(scan, share).codes]) }}",
        [scan, shares],
    )
    return found


def test_the_first_cut_of_a_picture_is_that_of_the_library(hall: Hall, picture_file: str) -> None:
    shares = [percent / 100 for percent in range(1, 101)]
    wanted = [hall.session.preview("mini", picture_file, share) for share in shares]
    assert first_cuts(hall, wanted[0].scan, shares) == [undecided(fates(one.trace).codes) for one in wanted]


@pytest.mark.parametrize("name", ["llava_next", "qwen2_5_vl", "internvl"])
def test_tiles_grids_and_newlines(hall: Hall, name: str) -> None:
    """Padding of tiles is left out; newlines always stay; windows of small grids are uneven."""
    lvlm, picture = lvlms.lvlm(name), Image.effect_noise((200, 90), 60).convert("RGB")
    vision, shares = lvlm.preview(picture, vc.VScan()), [0.1, 0.3, 0.45, 0.8, 1.0]
    scan = scan_data(vision, vc.VScan(), lvlm.anatomy)
    traces = [vision.trace(vc.VScan(share)) for share in shares]
    assert first_cuts(hall, scan, shares) == [undecided(fates(trace).codes) for trace in traces]

    view = StageView(traces[1], vision.boxes, 0.3, False)
    data = stage_data(OpenedSource("digest", picture), view)
    told, counts = hall.page.evaluate(
        f"data => {{ {FIRST_CUT} {TOKEN_MAP}; const map = new TokenMap(data), [w, h] = data.size;"
        " return [map.describe(map.at(w / 2, h / 2), map.stops[1]), map.stops.map(kept)] }",
        data,
    )
    whole = {"llava_next": 1, "internvl": traces[1].tiles}.get(name, 0)  # the tile that lies under the others
    assert ("tile" in told.lower()) == (traces[1].tiles > 1) and f"Tile {whole}," not in told
    assert counts == [traces[1].tokens, len(traces[1].kept)]


@pytest.mark.parametrize("size", [(400, 30), (60, 130), (2000, 8)], ids=str)
def test_tiles_that_are_mostly_padding(hall: Hall, size: tuple[int, int]) -> None:
    lvlm, shares = lvlms.lvlm("llava_next"), [0.1, 0.3, 0.45, 0.8]
    vision = lvlm.preview(Image.effect_noise(size, 60).convert("RGB"), vc.VScan())
    traces = [vision.trace(vc.VScan(share)) for share in shares]
    scan = scan_data(vision, vc.VScan(), lvlm.anatomy)
    assert first_cuts(hall, scan, shares) == [undecided(fates(trace).codes) for trace in traces]


def test_a_place_that_shows_another_token_is_told_from_its_cut_on(browser: Any) -> None:
    cuts = [{"layer": layer, "fates": fates, "merged": [], "labels": labels} for layer, fates, labels in (
        (0, "222", {"basis": [0]}), (3, "225", {"informative": [0], "basis": [1]}))]  # fmt: skip
    data = {"size": [30, 10], "tokens": 3, "boxes": [0, 0, 10, 10, 10, 0, 20, 10, 20, 0, 30, 10], "tiles": 1}
    data |= {"grid": [1, 3], "origin": None, "frames": [], "cells": [], "cuts": cuts, "scores": []}
    with visiting(browser) as page:
        told = page.evaluate(
            f"data => {{ {TOKEN_MAP}; const map = new TokenMap(data);"
            " return map.stops.map((codes) => [0, 1, 2].map((token) => map.describe(token, codes))) }",
            data,
        )
    elsewhere = [["from elsewhere" in sentence for sentence in sentences] for sentences in told]
    assert elsewhere == [[False] * 3, [True, False, False], [True, True, False]]
    told_rows = "keptRows({ map, codes }, counted(codes)[KEPT]).map((row) => [row[1], row[3]])"
    with visiting(browser) as page:
        rows = page.evaluate(
            f"data => {{ {TOKEN_MAP} {CONTROLS}; const map = new TokenMap(data);"
            f" return map.stops.map((codes) => {told_rows}) }}",
            data,
        )
    assert rows == [[["Kept", 3]], [["Kept", 2], ["Another token", 1]], [["Another token", 2]]]
    assert (
        told[2][1] == "Row 1, column 2: kept as a place where the model sees a basis token, usually one from elsewhere."
    )


@pytest.mark.parametrize("capped", [False, True])
def test_the_first_cut_follows_the_rule_where_scores_tie(hall: Hall, capped: bool) -> None:
    """Also where windows are uneven and where the remainder is refilled; two tiles of 7 x 13 tokens."""
    torch.manual_seed(5)
    tiles = []
    for _ in range(2):
        low, high = (torch.rand(1, 91).mul(20).round() / 20 for _ in range(2))
        attention = {"received": {2: low[0], 6: high[0]}} if capped else {"cls_attention": {2: low, 6: high}}
        tiles.append(Signals(torch.ones(91, 1), torch.ones(91, 1), grid=(7, 13), **attention))
    shares = np.linspace(0.02, 1, 50).tolist()
    wanted = []
    for share in shares:
        reducer = vc.VScan(share)
        codes = np.full((2, 91), 6)
        for row, tile in zip(codes, tiles, strict=True):
            chosen = reducer.select(tile, reducer.schedule(91, ANATOMY, 2).get(0, 91))
            row[chosen.kept] = Fate.KEPT
            for fate in (Fate.LOCAL, Fate.GLOBAL):
                row[chosen.labels.get(fate.name.lower(), [])] = fate
        wanted.append(codes.flatten().tolist())
    vision = VisionPreview(SimpleNamespace(), Needs(), tiles, TokenLayout(2, None, torch.zeros(182, 4)))
    assert first_cuts(hall, scan_data(vision, vc.VScan(), ANATOMY), shares) == wanted


def test_only_the_plain_method_is_repeated_in_the_browser(hall: Hall, picture_file: str) -> None:
    for method in ("grid", "fastv"):
        assert hall.session.preview("mini", picture_file, 0.5, method).scan is None
    assert hall.session.preview("mini", picture_file, 1.0).scan is not None  # nothing is cut, but the slider may move
