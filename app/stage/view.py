"""What one stage shows: the numbers of a trace, and the picture in a file that the browser can fetch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from gradio.data_classes import FileData
from gradio.processing_utils import save_pil_to_cache
from gradio.utils import get_upload_folder
from torch import Tensor

from vscan_core.draw.canvas import Canvas, canvas_of
from vscan_core.draw.map_data import cuts_data, map_data, score_data
from vscan_core.trace import ImageTrace, Trace

from ..session.first_cut import FirstCut
from ..session.lru_cache import LRUCache
from ..session.sources import OpenedSource

VSCAN = "VScan"
MATTERED = "mattered"  # name of its score on the map
_FILES: LRUCache[str] = LRUCache(64)  # paths of pictures at drawing size


@dataclass(frozen=True, eq=False)
class RegionScore:
    """One more heat map: for each token, how much the logarithm of the answer's probability falls without it."""

    values: Tensor  # (tokens,); NaN: no value
    about: str  # a sentence on what it shows; it is never taken for HTML


@dataclass(frozen=True)
class StageView:
    """One state of a stage. Tensors may be on any device."""

    trace: ImageTrace
    boxes: Tensor  # (tokens, 4) in pixels of the original
    retention: float
    ran: bool  # False: a preview of the first cut
    method: str = VSCAN  # title of the method
    scan: dict[str, Any] | None = None  # what the browser needs to repeat the first cut, see `scan_data`
    other: tuple[str, ImageTrace] | None = None  # title and trace of a second method on the same picture
    mattered: RegionScore | None = None
    opens_mattered: bool = False  # whether the map shows it at once


def preview_view(first: FirstCut, retention: float, method: str = VSCAN) -> StageView:
    """The view of a first cut that has not been run."""
    return StageView(first.trace, first.boxes, retention, False, method, first.scan)


def run_view(trace: Trace, retention: float, method: str = VSCAN) -> StageView:
    """The view of a run; one picture or video per question, so image 0."""
    return StageView(trace.images[0], trace.boxes(0), retention, True, method)


def stage_value(opened: OpenedSource, view: StageView) -> dict[str, Any]:
    """The value of a stage: the picture's file, and everything else as one text.

    Gradio copies values for every event and keeps the last ones of each visitor; of thousands of numbers that is slow,
    and leaves the memory in pieces.
    """
    data = stage_data(opened, view)
    return {"picture": data.pop("picture"), "rest": orjson.dumps(data).decode()}


def stage_data(opened: OpenedSource, view: StageView) -> dict[str, Any]:
    """What a stage shows: numbers, fixed words, and the picture's file."""
    canvas = canvas_of(opened.image, view.trace, view.boxes)
    data = map_data(view.trace, canvas)
    if view.mattered is not None:
        data["scores"].append(score_data(MATTERED, 0, view.mattered.values) | {"about": view.mattered.about})
    return data | {
        "picture": FileData(path=_file_of(opened, view.trace, canvas)).model_dump(),
        "retention": view.retention,
        "ran": view.ran,
        "title": view.method,
        "vscan": VSCAN in view.method,
        "scan": view.scan,
        "other": _other(view),
        "opens": MATTERED if view.opens_mattered else None,
    }


def _other(view: StageView) -> dict[str, Any] | None:
    if view.other is None:
        return None
    title, trace = view.other
    cuts = cuts_data(trace)
    return {"title": title, "fates": cuts[-1]["fates"] if cuts else "2" * trace.tokens}


def _file_of(opened: OpenedSource, trace: ImageTrace, canvas: Canvas) -> str:
    """The picture at drawing size, written once; again after the file has been cleaned away."""
    key = (opened.digest, trace.frames, trace.tiles if trace.frames else 1)
    path = _FILES.find(key)
    if path is None or not Path(path).is_file():
        path = save_pil_to_cache(canvas.picture, get_upload_folder(), "stage", "jpeg")
        _FILES.put(key, path)
    return path
