"""Questions whose answers are known, and the answers of this library, which those of vLLM are compared with."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from functools import cache
from itertools import islice
from typing import Any

from PIL import Image

import vscan_core as vc
from vscan_core.serving import one_stage
from vscan_eval.task import Item
from vscan_eval.tasks.world import frozen_items
from vscan_vllm.settings import method_of

MINI = "assets/mini"
TOKENS = 576
METHODS: dict[str, Mapping[str, Any] | None] = {
    "every token": None,
    "vscan": {"method": "vscan", "retention": 1 / 6},
    "divprune": {"method": "divprune", "retention": 1 / 6},
    "visionzip": {"method": "visionzip", "retention": 1 / 4},
}

_drawn: dict[str, Image.Image] = {}


@cache
def questions(count: int) -> list[Item]:
    """One question about each of the first pictures of the frozen set, of ten kinds in turn."""
    pictures: dict[str, list[Item]] = {}
    for item in frozen_items():
        pictures.setdefault(item.picture, []).append(item)
    return [items[place % len(items)] for place, items in enumerate(islice(pictures.values(), count))]


def opened(item: Item) -> Image.Image:
    """The picture of a question, drawn once."""
    if item.picture not in _drawn:
        _drawn[item.picture] = item.open()
    return _drawn[item.picture]


def data_url(item: Item) -> str:
    """The picture of a question, as chat clients send it."""
    file = io.BytesIO()
    opened(item).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@cache
def mini() -> vc.LVLM:
    """The embedded model on transformers."""
    return vc.load_model("mini", device="cpu")


def running(settings: Mapping[str, Any] | None) -> vc.Reducer | None:
    """The method that vLLM runs for these settings."""
    asked = method_of(settings)
    return None if asked is None else one_stage(asked, mini().anatomy)[0]


def expected(settings: Mapping[str, Any] | None, items: list[Item]) -> list[str]:
    """This library's own answers."""
    pairs = [(opened(item), item.question) for item in items]
    replies = vc.answer_many(mini(), pairs, running(settings), max_new_tokens=32)
    return [reply.text.strip() for reply in replies]
