"""Symbolic scenes: visual tokens made of word embeddings instead of pixels.

A language model trained from random weights does not learn to use vectors that it cannot relate to its words. So each
patch is first shown as the sum of the (tied) word embeddings of what lies there; later the projector is fitted to
produce the same sums from pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from vscan_eval.world.catalog import BACKGROUNDS, COLOUR_NAMES, COLUMN_NAMES, ROW_NAMES, SIGN_TEXTS, THING_KINDS
from vscan_eval.world.scene import GRID_SIDE, PATCH, Scene

ATTRIBUTES = COLOUR_NAMES + SIGN_TEXTS  # a thing has a colour or a word or neither
COLOUR_WEIGHT = 0.8
PLACE_WEIGHT = 0.8
BACKGROUND_WEIGHT = 0.4
STEPS = (34, 52, 72)  # pixels: where one size class ends and the next begins


@dataclass(frozen=True)
class Labels:
    """What lies under each of the 576 patches; integer arrays of shape (..., 576), 0 means nothing."""

    kind: np.ndarray  # class index + 1
    attribute: np.ndarray  # index into ATTRIBUTES + 1
    row: np.ndarray  # row of the thing's place + 1
    column: np.ndarray
    size: np.ndarray  # size class of the thing + 1
    background: np.ndarray  # index of the background + 1 where no thing is
    centre: np.ndarray  # 1 on the patch that holds the thing's centre
    thing: np.ndarray  # index of the thing in the scene + 1
    ordinal: np.ndarray  # on that patch: how many things of its kind have their centre here or before; else 0

    @staticmethod
    def stack(items: list[Labels]) -> Labels:
        """Labels of a batch: every array gains a leading axis."""
        return Labels(*(np.stack([getattr(item, name) for item in items]) for name in Labels.__annotations__))

    def tensors(self) -> dict[str, Tensor]:
        """The same as int64 tensors by name."""
        return {name: torch.from_numpy(getattr(self, name)).long() for name in Labels.__annotations__}


def label(scene: Scene, owner: np.ndarray) -> Labels:
    """Labels from the patch owners, (576,) thing index + 1 or 0."""
    tables = np.zeros((6, len(scene.things) + 1), np.int64)
    tables[5, 0] = scene.background + 1
    centre, ordinal = np.zeros((2, GRID_SIDE * GRID_SIDE), np.int64)
    for index, thing in enumerate(scene.things, 1):
        attribute = thing.colour or thing.word
        tables[0, index] = THING_KINDS.index(thing.name) + 1
        tables[1, index] = ATTRIBUTES.index(attribute) + 1 if attribute else 0
        tables[2, index], tables[3, index] = thing.cell.row + 1, thing.cell.column + 1
        tables[4, index] = np.searchsorted(STEPS, thing.size) + 1
        patch = centre_patch(thing.centre)
        centre[patch] = 1
        owner = owner.copy()
        owner[patch] = index  # a hollow thing still owns its centre
    middles = np.flatnonzero(centre)
    kinds = tables[0, owner[middles]]
    ordinal[middles] = [(kinds[: place + 1] == kind).sum() for place, kind in enumerate(kinds)]
    return Labels(*tables[:, owner], centre=centre, thing=owner, ordinal=ordinal)


def centre_patch(centre: tuple[float, float]) -> int:
    """Index of the patch under a point: (x, y) = (20, 3) -> row 0, column 1 -> 1."""
    return int(centre[1] // PATCH) * GRID_SIDE + int(centre[0] // PATCH)


def symbolic_labels(scene: Scene, rng: np.random.Generator) -> Labels:
    """Labels of a scene that was never drawn: every thing is an ellipse of about its size."""
    middles = (np.arange(GRID_SIDE) + 0.5) * PATCH
    owner = np.zeros((GRID_SIDE, GRID_SIDE), np.int64)
    for index, thing in enumerate(scene.things, 1):
        radius = thing.size / 2 * rng.uniform(0.6, 1.0, 2)
        inside = ((middles[None] - thing.centre[0]) / radius[0]) ** 2 + (
            (middles[:, None] - thing.centre[1]) / radius[1]
        ) ** 2
        owner[inside < 1] = index
    return label(scene, owner.ravel())


class Symbols(nn.Module):
    """Word-embedding sums for labelled patches; the only parameters are the few vectors that are not words."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, dim: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(GRID_SIDE, dim) * 0.15)
        self.columns = nn.Parameter(torch.randn(GRID_SIDE, dim) * 0.15)
        self.sizes = nn.Parameter(torch.randn(len(STEPS) + 2, dim) * 0.2)
        self.flags = nn.Parameter(torch.randn(3, dim) * 0.3)  # background, thing, centre of a thing
        ids = [_ids(tokenizer, names) for names in (THING_KINDS, ATTRIBUTES, ROW_NAMES, COLUMN_NAMES, BACKGROUNDS)]
        for name, value in zip(
            ("kind_ids", "attribute_ids", "row_ids", "column_ids", "background_ids"), ids, strict=True
        ):
            self.register_buffer(name, value, persistent=False)

    def forward(self, labels: dict[str, Tensor], embeddings: Tensor) -> Tensor:
        """Labels (batch, kept) and word embeddings (vocabulary, dim) -> visual tokens (batch, kept, dim).

        With fewer than 576 patches, labels["index"] (batch, kept) says which they are.
        """
        total = _embed(embeddings, self.kind_ids, labels["kind"])
        total = total + COLOUR_WEIGHT * _embed(embeddings, self.attribute_ids, labels["attribute"])
        total = total + PLACE_WEIGHT * _embed(embeddings, self.row_ids, labels["row"])
        total = total + PLACE_WEIGHT * _embed(embeddings, self.column_ids, labels["column"])
        total = total + BACKGROUND_WEIGHT * _embed(embeddings, self.background_ids, labels["background"])
        total = total + self.sizes[labels["size"]]
        total = total + self.flags[(labels["kind"] > 0).long()] + labels["centre"][..., None] * self.flags[2]
        grid = (self.rows[:, None] + self.columns[None]).reshape(GRID_SIDE * GRID_SIDE, -1)
        return total + (grid[labels["index"]] if "index" in labels else grid)


def _ids(tokenizer: PreTrainedTokenizerFast, names: tuple[str, ...]) -> Tensor:
    """One token per word; the leading space is how words look inside a sentence."""
    found = [tokenizer(" " + word, add_special_tokens=False).input_ids for word in names]
    assert all(len(ids) == 1 for ids in found), "a word of the world is split by the tokenizer"
    return torch.tensor([ids[0] for ids in found])


def _embed(embeddings: Tensor, ids: Tensor, labels: Tensor) -> Tensor:
    """Embedding of label - 1, zero for label 0."""
    table = torch.cat([embeddings.new_zeros(1, embeddings.shape[1]), embeddings[ids]])
    return table[labels]
