"""The token view without its widgets: what each of its switches shows, with legend and note."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from vscan_core.draw.canvas import canvas_of
from vscan_core.draw.fates import Fate, Fates, fates
from vscan_core.draw.token_map import token_map
from vscan_core.media.videos import Video
from vscan_core.trace import Cut, ImageTrace, Trace

from .. import formatting
from ..session.session import FirstCut
from ..session.sources import Clip, OpenedSource
from . import html

TOKENS, HEAT, PICTURE = "Tokens", "Heat map", "Picture"
FATES = {
    Fate.GLOBAL: "kept, because it stands out in the whole picture",
    Fate.LOCAL: "kept, because it stands out in its neighbourhood",
    Fate.KEPT: "kept",
    Fate.MERGED: "merged into",
    Fate.DROPPED: "dropped before the language model",
    Fate.PRUNED: "dropped inside the language model",
}
SCORES = {"global": "Whole picture", "local": "Neighbourhood", "text": "Question"}


@dataclass(frozen=True)
class TokenView:
    """What one visitor's token view shows: a few kilobytes, on the CPU."""

    source: str | Clip  # the file
    trace: ImageTrace
    boxes: Tensor
    retention: float
    ran: bool  # False: a preview of the first cut


@dataclass(frozen=True)
class Drawn:
    """One state of the view."""

    picture: Image.Image
    legend: str  # HTML of numbers and fixed words
    note: str
    alt: str
    scores: list[tuple[str, str]]  # heat maps there are: (label, name)
    score: str | None
    cuts: list[tuple[str, int]]  # (label, number of cuts applied)
    cut: int


def view_of_first_cut(source: str | Clip, first: FirstCut, retention: float) -> TokenView:
    """The view of a first cut that has not been run."""
    return TokenView(source, _on_cpu(first.trace), first.boxes, retention, False)


def view_of_run(source: str | Clip, trace: Trace, retention: float) -> TokenView:
    """The view of a run; one picture or video per question, so image 0."""
    return TokenView(source, _on_cpu(trace.images[0]), trace.boxes(0).cpu(), retention, True)


def _on_cpu(image: ImageTrace) -> ImageTrace:
    cuts = [
        Cut(
            cut.layer,
            cut.kept.cpu(),
            {name: kept.cpu() for name, kept in cut.labels.items()},
            cut.merged_into.cpu(),
            {name: score.float().cpu() for name, score in cut.scores.items()},
        )
        for cut in image.cuts
    ]
    origin = None if image.origin is None else image.origin.cpu()
    return replace(image, boxes=None, cuts=cuts, origin=origin)


def draw_view(opened: OpenedSource, view: TokenView, mode: str, score: str | None, cut: int | None) -> Drawn:
    """Draw one state; a switch that is not there (any more) falls back to the nearest one that is."""
    image = opened.image
    scores = _scores(view.trace)
    names = [(label, name) for name, label in SCORES.items() if name in scores]
    chosen = score if score in scores else next((name for _, name in names), None)
    cuts = _cuts(view.trace)
    applied = cut if cut in [number for _, number in cuts] else cuts[-1][1]
    found = fates(view.trace, applied)
    legend = html.legend(found, view.trace.tokens, _unseen(view, image.size))
    marks: Fates | Tensor | None = found if mode != PICTURE else None
    if mode == HEAT and chosen:
        marks = scores[chosen]
        seen = ~view.boxes[:, 0].isnan()  # newlines have no score, and no place either
        legend = html.scale(not bool(torch.isfinite(scores[chosen][seen]).all()))
    picture = token_map(image, view.trace, view.boxes, marks)
    kind = "video" if isinstance(image, Video) else "picture"
    alt = f"The {kind} with {found.kept} of {formatting.tokens(view.trace.tokens)} marked as kept"
    return Drawn(picture, legend, _note(view), alt, names, chosen, cuts, applied)


def _scores(image: ImageTrace) -> dict[str, Tensor]:
    """Every score of every cut by name; NaN for tokens that had been dropped before."""
    found: dict[str, Tensor] = {}
    for cut in image.cuts:
        for name, score in cut.scores.items():
            if len(score) == image.tokens and bool(torch.isfinite(score).any()):
                found.setdefault(name, score)
    return found


def _cuts(image: ImageTrace) -> list[tuple[str, int]]:
    """The moments that can be shown: after each cut, or the untouched picture if there is none."""
    if not image.cuts:
        return [("Into the language model", 0)]
    moments = []
    for number, cut in enumerate(image.cuts, start=1):
        moments.append(("Into the language model" if cut.layer == 0 else f"From layer {cut.layer} on", number))
    return moments


def _unseen(view: TokenView, size: tuple[int, int]) -> bool:
    """Whether more than 2 % of the picture's width or height lies outside of all tokens."""
    boxes = view.boxes[torch.isfinite(view.boxes).all(1)]
    if len(boxes) == 0:
        return True
    (left, top), (right, bottom) = boxes[:, :2].amin(0).tolist(), boxes[:, 2:].amax(0).tolist()
    unseen: bool = max(left, size[0] - right) > 0.02 * size[0] or max(top, size[1] - bottom) > 0.02 * size[1]
    return unseen


def _note(view: TokenView) -> str:
    share = formatting.percent(view.retention)
    text = (
        f"Preview of the first cut at {share}. Press **Run** to see which tokens are left after the second cut, "
        "which depends on the question."
    )
    if view.ran:
        text = f"Recorded while VScan answered with {share} of the visual tokens."
    if view.trace.frames:
        frames = view.trace.frames_of(0)
        each = "frame" if len(frames) == 1 else f"{len(frames)} frames together"
        text += f" The first cut keeps the same number for every {each}; the second, any of the whole video."
    elif view.trace.tiles > 1:
        text += f" The model sees {view.trace.tiles} tiles; the one of the whole picture lies under the others."
    return text


def describe_token(opened: OpenedSource, view: TokenView, cut: int | None, x: float, y: float) -> str:
    """The token under a point of the drawing (in its pixels), in words: fate, what absorbed it, ranks."""
    token = canvas_of(opened.image, view.trace, view.boxes).token_at(x, y)
    if token is None:
        return "The model did not see this part of the picture."
    fate = Fate(int(fates(view.trace, cut).codes[token]))
    text = f"{_place(view.trace, token)}: {FATES[fate]}"
    target = next((int(c.merged_into[token]) for c in view.trace.cuts if c.layer == 0), -1)
    if fate is Fate.MERGED and target >= 0:
        text += f" {_place(view.trace, target, inside=True)}"
    ranks = []
    for name, score in _scores(view.trace).items():
        known = torch.isfinite(score)
        if known[token]:
            rank = int((score[known] > score[token]).sum()) + 1
            ranks.append(f"{SCORES.get(name, name).lower()} rank {rank} of {int(known.sum())}")
    return f"{text}. Attention: {'; '.join(ranks)}." if ranks else f"{text}."


def _place(image: ImageTrace, token: int, inside: bool = False) -> str:
    """Row and column, counted from 1 at the top left, and the tile if there are several."""
    place = image.place(token)
    if place is None:
        text = f"token {token}"
    else:
        text = f"row {place[1] + 1}, column {place[2] + 1}"
        text = f"{_tile(image, place[0])}, {text}" if image.tiles > 1 else text
    return text if inside else text.capitalize()


def _tile(image: ImageTrace, tile: int) -> str:
    """A tile in words; of a video, the frames that it stands for."""
    frames = image.frames_of(tile)
    if not frames:
        return f"tile {tile + 1}"
    return f"frame {frames[0] + 1}" if len(frames) == 1 else f"frames {frames[0] + 1} and {frames[-1] + 1}"
