"""A token map as numbers: what a browser gets equals the trace."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from vscan_core import geometry
from vscan_core.draw.canvas import canvas_of
from vscan_core.draw.fates import Fate, fates
from vscan_core.draw.map_data import cuts_data, map_data, ranks_of
from vscan_core.trace import Cut, ImageTrace

NAN = float("nan")


def trace_of_four() -> ImageTrace:
    """Three patches and a newline: 0 global, 1 merged into 0, 2 local and dropped at layer 3, 3 the newline."""
    first = Cut(
        layer=0,
        kept=torch.tensor([0, 2, 3]),
        labels={"global": torch.tensor([0]), "local": torch.tensor([2]), "forced": torch.tensor([2])},
        merged_into=torch.tensor([-1, 0, -1, -1]),
        scores={"global": torch.tensor([0.123456, 0.5, 1e-9, NAN]), "local": torch.tensor([1.0, 2.0, 2.0, NAN])},
    )
    nothing = torch.full((4,), -1)
    second = Cut(3, torch.tensor([0, 3]), {}, nothing, {"text": torch.tensor([0.25, NAN, float("inf"), NAN])})
    return ImageTrace(4, (1, 3), None, cuts=[first, second], tokens_per_tile=3, origin=torch.tensor([0, 1, 2, -1]))


def test_the_numbers_are_those_of_the_trace() -> None:
    trace = trace_of_four()
    boxes = torch.cat([geometry.patch_boxes(1, 3, 100, 300), torch.full((1, 4), NAN)])
    data = json.loads(json.dumps(map_data(trace, canvas_of(Image.new("RGB", (300, 100)), trace, boxes))))
    assert data["size"] == [1008, 336] and data["tokens"] == 4 and data["origin"] == [0, 1, 2, -1]
    assert data["boxes"] == [0, 0, 336, 336, 336, 0, 672, 336, 672, 0, 1008, 336, *[None] * 4]
    assert [cut["layer"] for cut in data["cuts"]] == [0, 3]
    assert [[int(code) for code in cut["fates"]] for cut in data["cuts"]] == [
        [Fate.GLOBAL, Fate.MERGED, Fate.LOCAL, Fate.KEPT],
        [Fate.GLOBAL, Fate.MERGED, Fate.PRUNED, Fate.KEPT],
    ]
    assert data["cuts"][0]["merged"] == [-1, 0, -1, -1] and data["cuts"][1]["merged"] == []
    assert data["cuts"][0]["labels"] == {"forced": [2]}
    assert data["scores"] == [
        {"name": "global", "layer": 0, "values": [0.123, 0.5, 1e-9, None], "ranks": [2, 1, 3, 0]},
        {"name": "local", "layer": 0, "values": [1, 2, 2, None], "ranks": [3, 1, 2, 0]},
        {"name": "text", "layer": 3, "values": [0.25, None, None, None], "ranks": [2, 0, 1, 0]},
    ]


def test_without_cuts_there_is_only_the_picture() -> None:
    trace = ImageTrace(4, (2, 2))
    data = map_data(trace, canvas_of(Image.new("RGB", (8, 8)), trace, geometry.patch_boxes(2, 2, 8, 8)))
    assert data["cuts"] == data["scores"] == data["cells"] == data["frames"] == [] and data["origin"] is None


@pytest.mark.parametrize("number", [1, 2])
def test_fates_are_those_after_each_cut(number: int) -> None:
    trace = trace_of_four()
    assert cuts_data(trace)[number - 1]["fates"] == "".join(map(str, fates(trace, number).codes.tolist()))


def test_ranks_break_ties_as_methods_do() -> None:
    scores = torch.tensor([1.0, 3.0, 1.0, 3.0, -2.0, NAN])
    assert ranks_of(scores) == [3, 1, 4, 2, 5, 0]
    order = sorted(range(5), key=lambda token: ranks_of(scores)[token])
    assert order == geometry.top(scores[:5], 5).tolist()
