"""The token view without its widgets: what is drawn for which switch, with its legend and its sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from vscan_core.draw import overlay
from vscan_core.trace import Cut, ImageTrace, Trace

from .. import formatting
from ..session.clip import Clip, laid_out
from ..session.session import Preview, Session
from . import html

TOKENS, HEAT, PICTURE = "Tokens", "Heat map", "Picture"
FATES = {
    overlay.Fate.GLOBAL: "kept, it stands out in the whole picture",
    overlay.Fate.LOCAL: "kept, it stands out in its neighbourhood",
    overlay.Fate.KEPT: "kept",
    overlay.Fate.MERGED: "merged into",
    overlay.Fate.DROPPED: "dropped before the language model",
    overlay.Fate.PRUNED: "dropped inside the language model",
}
SCORES = {"global": "Whole picture", "local": "Neighbourhood", "text": "Question"}


@dataclass(frozen=True)
class TokenView:
    """What one visitor's token view shows: a few kilobytes, on the CPU."""

    path: str | Clip
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


def of_preview(path: str | Clip, preview: Preview, retention: float) -> TokenView:
    """The view of a first cut that has not been run."""
    return TokenView(path, _on_cpu(preview.trace), preview.boxes.cpu(), retention, False)


def of_run(path: str | Clip, trace: Trace, retention: float) -> TokenView:
    """The view of a run; one picture or video per question, so image 0."""
    return TokenView(path, _on_cpu(trace.images[0]), trace.boxes(0).cpu(), retention, True)


def _on_cpu(image: ImageTrace) -> ImageTrace:
    """A copy without tensors of the model's device."""
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


def drawn(session: Session, view: TokenView, mode: str, score: str | None, cut: int | None) -> Drawn:
    """Draw one state; a switch that is not there (any more) falls back to the nearest one that is."""
    source = session.picture(view.path)
    scores = _scores(view.trace)
    names = [(label, name) for name, label in SCORES.items() if name in scores]
    chosen = score if score in scores else next((name for _, name in names), None)
    cuts = _cuts(view.trace)
    applied = cut if cut in [number for _, number in cuts] else cuts[-1][1]
    fates = overlay.fates(view.trace, applied)
    legend = html.legend(fates, view.trace.tokens, _unseen(view, source.image.size))
    source, view, strip = laid_out(source, view)
    picture = source.canvas
    if mode == HEAT and chosen:
        picture = overlay.heat(source.canvas, view.boxes, scores[chosen], source.image.size)
        seen = ~view.boxes[:, 0].isnan()  # newlines have no score, and no place either
        legend = html.scale(not bool(torch.isfinite(scores[chosen][seen]).all()))
    elif mode != PICTURE:
        picture = overlay.draw(source.canvas, view.boxes, fates, source.image.size)
    if strip is not None:
        picture = strip.captioned(picture, fates if mode == TOKENS else None)
    kind = "picture" if strip is None else "video"
    alt = f"The {kind} with {fates.kept} of {formatting.tokens(view.trace.tokens)} marked as kept"
    return Drawn(picture, legend, _note(view), alt, names, chosen, cuts, applied)


def _scores(image: ImageTrace) -> dict[str, Tensor]:
    """Every score of every cut by name; tokens that were gone are NaN."""
    found: dict[str, Tensor] = {}
    for cut in image.cuts:
        for name, score in cut.scores.items():
            if len(score) == image.tokens and bool(torch.isfinite(score).any()):
                found.setdefault(name, score)
    return found


def _cuts(image: ImageTrace) -> list[tuple[str, int]]:
    """The moments that can be looked at: after each cut, or the untouched picture if there is none."""
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
    return max(left, size[0] - right) > 0.02 * size[0] or max(top, size[1] - bottom) > 0.02 * size[1]


def _note(view: TokenView) -> str:
    share = formatting.percent(view.retention)
    text = (
        f"Preview of the first cut at {share}. Press **Run** to see what the question keeps inside the language model."
    )
    if view.ran:
        text = f"Recorded while VScan answered with {share} of the tokens."
    if view.trace.frames:
        frames = view.trace.frames_of(0)
        each = "frame" if len(frames) == 1 else f"{len(frames)} frames together"
        text += f" Every {each} keeps as many at first; the question then chooses from the whole video."
    elif view.trace.tiles > 1:
        text += f" The picture is seen in {view.trace.tiles} tiles; the one that shows all of it lies under the others."
    return text


def at(session: Session, view: TokenView, cut: int | None, x: float, y: float) -> str:
    """The token under a point of the drawing (in its pixels), in words: fate, what absorbed it, ranks."""
    source, view, _ = laid_out(session.picture(view.path), view)
    scale = source.image.width / source.canvas.width
    px, py = x * scale, y * scale
    left, top, right, bottom = view.boxes.unbind(1)
    hits = ((left <= px) & (px < right) & (top <= py) & (py < bottom)).nonzero().flatten().tolist()
    if not hits:
        return "The model did not see this part of the picture."
    token = next(token for token in reversed(overlay.coarse_first(view.boxes)) if token in hits)  # what is on top
    fate = overlay.Fate(int(overlay.fates(view.trace, cut).codes[token]))
    text = f"{_place(view.trace, token)}: {FATES[fate]}"
    target = next((int(c.merged_into[token]) for c in view.trace.cuts if c.layer == 0), -1)
    if fate is overlay.Fate.MERGED and target >= 0:
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
