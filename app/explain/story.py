"""What the six steps show, as numbers and words for the browser: read from a trace and from two answers.

A story is a JSON object: what `map_data` gives, with the picture as a JPEG at drawing size, windows, words and figures.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vscan_core import geometry, report
from vscan_core.draw.canvas import Canvas, canvas_of, coarse_first
from vscan_core.draw.map_data import map_data
from vscan_core.events import Answer
from vscan_core.media.videos import Video
from vscan_core.reducers.vscan import CLS_WINDOW, RECEIVED_WINDOW
from vscan_core.trace import ImageTrace

from .. import formatting
from ..ui.messages import NO_WORDS
from .measured import Pairs, how_measured, is_busy, stage_medians
from .words import Counts, figures, steps

JPEG_QUALITY = 88


@dataclass(frozen=True)
class StorySetting:
    """What a story is about."""

    question: str
    model: str  # its title
    layers: int  # of its language model
    hardware: str  # in words, starting with "CPU" or "Server", or naming the GPU
    readable: bool = True  # False: random weights, whose text means nothing
    right: str = ""  # a sentence with the right answer, or what other methods said, if known
    recorded: str = ""  # the day of a recorded run; "": it ran here, just now

    @property
    def about(self) -> str:
        """Which model, where, and when if it was not now."""
        day = f", recorded on {self.recorded}" if self.recorded else ""
        return f"{self.model} on {self.hardware}{day}"


def story(
    source: Image.Image | Video,
    image: ImageTrace,
    boxes: Tensor,
    setting: StorySetting,
    schedule: Mapping[int, int],
    answers: tuple[Answer, Answer] | None = None,
    pairs: Pairs = (),
) -> dict[str, Any]:
    """The story of one picture.

    Args:
        source: What the model looked at.
        image: The trace of a run, or of its first cut alone.
        boxes: (tokens, 4) boxes of the tokens in pixels of `source`.
        setting: What it is about.
        schedule: {layer: visual tokens that enter from there on}; what is planned where `image` stops early.
        answers: Of the baseline and of VScan; None: not yet.
        pairs: Both measured again, up to the first token.
    """
    canvas = canvas_of(source, image, boxes)
    counts = _counts(image, schedule, setting.layers)
    hint = next((each.hint for each in answers or () if each.hint), "")
    same = report.same_answer(*answers) if answers and setting.readable else None
    return {
        **_scene(canvas, image),
        "question": setting.question,
        "steps": steps(counts, answers is not None, same, hint),
        **(_outcome(answers, pairs, setting) if answers else {"answers": [], "figures": [], "note": ""}),
        "right": setting.right if setting.readable else "",
        "about": setting.about,
        "recorded": bool(setting.recorded),
        "device": next((kind for kind in ("CPU", "Server") if setting.hardware.startswith(kind)), "GPU"),
    }


def _scene(canvas: Canvas, image: ImageTrace) -> dict[str, Any]:
    """Everything that is drawn."""
    first = next((cut for cut in image.cuts if cut.layer == 0), None)
    local = first.labels.get("local") if first else None
    return {
        **map_data(image, canvas),
        "picture": _jpeg(canvas.picture),
        "order": coarse_first(canvas.boxes),
        "windows": _windows(canvas.boxes, image, [] if local is None else local.tolist()),
    }


def _jpeg(picture: Image.Image) -> str:
    """A picture as a data address."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _windows(boxes: Tensor, image: ImageTrace, local: list[int]) -> list[list[int]]:
    """The windows of the local scan as x0, y0, x1, y1, tile by tile; none if nothing was kept by it.

    With a CLS token the scan keeps as many in every window, give or take one; otherwise windows are smaller and have
    only an upper limit. Which of the two happened is read from what was kept.
    """
    chosen = set(local)
    groups = _tokens_of_windows(image, CLS_WINDOW)
    counts = [len(chosen.intersection(tokens)) for tokens in groups]
    if not chosen or not counts:
        return []
    if max(counts) - min(counts) > 1:
        groups = _tokens_of_windows(image, RECEIVED_WINDOW)
    found = []
    for tokens in groups:
        seen = boxes[tokens][boxes[tokens].isfinite().all(1)]
        if len(seen):
            corners = torch.cat([seen[:, :2].amin(0), seen[:, 2:].amax(0)])
            found.append(corners.round().int().tolist())
    return found


def _tokens_of_windows(image: ImageTrace, side: int) -> list[list[int]]:
    if image.grid is None:
        return []
    rows, cols = image.grid
    of_patch = geometry.windows(rows, cols, side).tolist()
    groups: dict[tuple[int, int], list[int]] = {}
    for token in range(image.tokens):
        place = image.place(token)
        if place is not None:
            tile, row, col = place
            groups.setdefault((tile, of_patch[row * cols + col]), []).append(token)
    return list(groups.values())


def _counts(image: ImageTrace, schedule: Mapping[int, int], layers: int) -> Counts:
    first = next((cut for cut in image.cuts if cut.layer == 0), None)
    entered = image.tokens if first is None else len(first.kept)
    local = len(first.labels["local"]) if first and "local" in first.labels else 0
    later = max((layer for layer in schedule if layer > 0), default=0)
    return Counts(
        tokens=image.tokens,
        global_scan=entered - local,
        local_scan=local,
        left=schedule[later] if later else entered,
        layer=later,
        layers=layers,
        merged=int((first.merged_into >= 0).sum()) if first else 0,
    )


def _outcome(answers: tuple[Answer, Answer], pairs: Pairs, setting: StorySetting) -> dict[str, Any]:
    """Both runs: their texts, the exact savings, and the measured figures from which the costs are worked out."""
    baseline, reduced = answers
    counts = [*report.token_steps(baseline), *report.token_steps(reduced)]
    return {
        "answers": [
            {
                "text": (answer.text or NO_WORDS) if setting.readable else "",
                "tokens": formatting.with_arrows(report.token_steps(answer)),
                "ms": stages,
                "kv_bytes": answer.cost.kv_bytes,
            }
            for answer, stages in zip(answers, stage_medians(answers, pairs), strict=True)
        ],
        "figures": figures(
            [now for before, now in zip([None, *counts], counts, strict=False) if now != before],
            (baseline.cost.tflops, reduced.cost.tflops),
            (baseline.cost.kv_bytes, reduced.cost.kv_bytes),
        ),
        "busy": is_busy(pairs),
        "note": f"{setting.about}{'' if setting.recorded else ', just now'}; {how_measured(pairs)}.",
    }
