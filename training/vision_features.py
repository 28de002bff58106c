"""The vision tower on any subset of patches, with the CLS attention of its layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vscan_eval.world.scene import GRID_SIDE, PATCH, PICTURE_SIDE

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)  # CLIP's picture normalisation
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclass(frozen=True)
class TowerOutput:
    """The tower's output for a batch of patch subsets."""

    patches: Tensor  # (batch, kept, dim), output of the last layer
    cls: Tensor  # (batch, dim)
    attention: dict[int, Tensor]  # layer -> (batch, kept), CLS attention, mean over heads


def to_patches(pixels: np.ndarray) -> np.ndarray:
    """(336, 336, 3) uint8 -> (576, 588) normalised float32, in the order of the convolution's weights."""
    scaled = (pixels.astype(np.float32) / 255 - MEAN) / DEVIATION
    tiles = scaled.reshape(GRID_SIDE, PATCH, GRID_SIDE, PATCH, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles.reshape(GRID_SIDE * GRID_SIDE, -1))


def run_tower(tower: nn.Module, patches: Tensor, index: Tensor, attention_layers: tuple[int, ...] = ()) -> TowerOutput:
    """Run the tower on patches (batch, kept, 588) that sit at index (batch, kept) of the 24x24 grid."""
    embeddings = tower.embeddings
    filters = embeddings.patch_embedding.weight.flatten(1)  # (dim, 588)
    table = embeddings.position_embedding.weight
    tokens = F.linear(patches, filters) + table[index + 1]
    cls = (embeddings.class_embedding + table[0]).expand(len(patches), 1, -1)
    hidden = tower.pre_layrnorm(torch.cat([cls, tokens], dim=1))
    attention = {}
    for number, layer in enumerate(tower.encoder.layers):
        if number in attention_layers:
            attention[number] = cls_attention(layer, hidden)
        hidden = layer(hidden, attention_mask=None)
    return TowerOutput(hidden[:, 1:], hidden[:, 0], attention)


def cls_attention(layer: nn.Module, hidden: Tensor) -> Tensor:
    """Attention of CLS to the patches (batch, kept), mean over heads, not renormalised."""
    attend = layer.self_attn
    normed = layer.layer_norm1(hidden)
    batch, tokens, dim = normed.shape
    heads, width = attend.num_heads, dim // attend.num_heads
    query = attend.q_proj(normed[:, :1]).view(batch, 1, heads, width).transpose(1, 2)
    key = attend.k_proj(normed).view(batch, tokens, heads, width).transpose(1, 2)
    scores = (query @ key.transpose(2, 3)) * width**-0.5  # (batch, heads, 1, tokens)
    return scores.float().softmax(-1)[:, :, 0, 1:].mean(1)


def pca_filters(pictures: np.ndarray, dim: int) -> Tensor:
    """Patch filters (dim, 3, 14, 14) along the main directions of patches (count, 588), half whitened."""
    covariance = np.cov(pictures.T)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1][:dim], vectors[:, ::-1][:, :dim]
    filters = (vectors / (values + 1e-4 * values[0]) ** 0.25).T
    return torch.from_numpy(np.ascontiguousarray(filters)).float().reshape(dim, 3, PATCH, PATCH) * 0.3


def grid_window(side: int, row: int, column: int) -> np.ndarray:
    """Patch numbers of a square window; side 24 gives all 576."""
    lines = np.arange(row, row + side)[:, None] * GRID_SIDE
    return (lines + np.arange(column, column + side)[None]).ravel()


assert PICTURE_SIDE == GRID_SIDE * PATCH
