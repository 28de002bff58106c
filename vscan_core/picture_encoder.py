"""PictureEncoder: pictures go through the vision encoder once, for all questions, batches and methods."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from vscan_core.attach import open_attachment
from vscan_core.engine.shared_vision import SharedVision, encode_pixels
from vscan_core.lvlm import LVLM
from vscan_core.measure import Stopwatch
from vscan_core.media.images import as_rgb
from vscan_core.multirun import needs_of
from vscan_core.reducers import Reducer
from vscan_core.trace import Trace
from vscan_core.vision_cache import LIMIT_BYTES, VisionCache


class PictureEncoder:
    """What one model's vision encoder gives for pictures, with the signals of all of `reducers` (None: the baseline).

    The most recently used pictures are kept, up to `limit` bytes. Times are not measured: shapes are not warmed up.
    """

    def __init__(self, lvlm: LVLM, reducers: Sequence[Reducer | None], limit: int = LIMIT_BYTES) -> None:
        self.lvlm = lvlm
        self.needs = needs_of(lvlm, [partial(_same, reducer) for reducer in reducers])
        self.encoded = 0  # pictures that went through the encoder so far
        self._recent = VisionCache(limit)

    def serves(self, reducer: Reducer | None) -> bool:
        """Whether the method leaves the encoder as it is. Raises InputError if the model lacks what it needs."""
        return reducer is None or not reducer.needs(self.lvlm.anatomy).blocks

    def encode(self, pictures: Sequence[Image.Image]) -> SharedVision:
        """For a batch of these pictures, in order; one may occur several times. Raises InputError if one is damaged."""
        keys = [_digest(picture) for picture in pictures]
        runs = {key: run for key in keys if (run := self._recent.get(key)) is not None}
        new = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in runs}
        # where a picture is several tiles, or of any shape, it fills the encoder by itself
        size = max(1, len(new)) if self.lvlm.family.one_row_per_picture else 1
        for start in range(0, len(new), size):
            some = list(new)[start : start + size]
            for key, run in zip(some, self._run([new[key] for key in some]), strict=True):
                runs[key] = run
                self._recent.put(key, run)
        return _joined([runs[key] for key in keys])

    def _run(self, pictures: Sequence[Image.Image]) -> list[SharedVision]:
        """One run of the encoder -> one result per picture."""
        lvlm = self.lvlm
        inputs = lvlm.prepare(pictures, [lvlm.chat("?")] * len(pictures))
        run = encode_pixels(lvlm.model, lvlm.family, inputs.of_vision, self.needs, Stopwatch(lvlm.device))
        self.encoded += len(pictures)
        return [run] if len(pictures) == 1 else [_row(run, place) for place in range(len(pictures))]


@contextmanager
def reduced_with(lvlm: LVLM, reducer: Reducer | None, shared: SharedVision | None) -> Iterator[Trace]:
    """`reduced`, for calls whose pictures are those of `shared` (None: the encoder runs). Same errors."""
    with open_attachment(lvlm.model, reducer, shared_vision=shared) as attachment, attachment.here():
        yield attachment.trace
        attachment.check_ran()


def _same(reducer: Reducer | None) -> Reducer | None:
    return reducer


def _digest(picture: Image.Image) -> str:
    rgb = as_rgb(picture)
    return hashlib.blake2b(rgb.tobytes(), digest_size=16, salt=b"%dx%d" % rgb.size).hexdigest()


def _row(run: SharedVision, place: int) -> SharedVision:
    """One picture of several in a run, in tensors of its own, so that they are freed with it."""

    def own(rows: Tensor) -> Tensor:
        return rows[place : place + 1].clone()

    outputs = {layer: own(rows) for layer, rows in run.outputs.items()}
    return replace(run, outputs=outputs, signals={name: own(rows) for name, rows in run.signals.items()})


def _joined(runs: Sequence[SharedVision]) -> SharedVision:
    """As if one run of the encoder had seen all these pictures."""
    if len(runs) == 1:
        return runs[0]
    first = runs[0]
    outputs = {layer: torch.cat([run.outputs[layer] for run in runs]) for layer in first.outputs}
    signals = {name: torch.cat([run.signals[name] for run in runs]) for name in first.signals}
    return replace(first, outputs=outputs, signals=signals)
