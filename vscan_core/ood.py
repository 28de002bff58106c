"""Does a picture belong to the drawn world that the embedded model knows?

The confidence of its answer does not show it: a prototype was more confident on noise than on its own world. What
shows it is how far the picture's patches lie from the patches of that world. So a folder may hold, beside its
weights, a `ood.safetensors`: typical patch features ("landmarks") and a distance that hardly any
known picture exceeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vscan_core.checkpoints.folder import AGAIN, in_words, refusal, tensor_shapes
from vscan_core.errors import InputError

FILE = "ood.safetensors"
NAMES = ("landmarks", "centre", "scale", "limit")


@dataclass(frozen=True)
class OODReference:
    """What known pictures look like to the vision tower.

    landmarks: (landmarks, dim), scaled features; centre and scale: (dim,); limit: largest usual ood_distance.
    """

    landmarks: Tensor
    centre: Tensor
    scale: Tensor
    limit: float

    @classmethod
    def load(cls, folder: str | Path) -> OODReference | None:
        """The reference stored beside a model's weights, or None where a model has none.

        Raises InputError, one sentence, if the file is cut short, damaged, or holds something else.
        """
        path = Path(folder) / FILE
        if not path.exists():
            return None
        if absent := set(NAMES) - tensor_shapes(path).keys():
            raise refusal(path.parent, f"{FILE} lacks {in_words(absent)}; {AGAIN}")
        stored = {name: tensor.float() for name, tensor in load_file(path).items()}
        landmarks, centre, scale, limit = (stored[name] for name in NAMES)
        shapes = landmarks.ndim == 2 and len(landmarks) and centre.shape == scale.shape == landmarks.shape[1:]
        if not shapes or limit.numel() != 1 or not all(stored[name].isfinite().all() for name in NAMES):
            raise refusal(path.parent, f"{FILE} is damaged: its tensors do not belong together; {AGAIN}")
        return cls(landmarks, centre, scale, limit=float(limit))

    def save(self, folder: str | Path) -> None:
        """Write the reference beside a model's weights, in half precision but for the limit."""
        half = {name: getattr(self, name).half().contiguous() for name in ("landmarks", "centre", "scale")}
        save_file(half | {"limit": torch.tensor(self.limit)}, Path(folder) / FILE)


def ood_distance(features: Tensor, reference: OODReference) -> float:
    """Mean distance of a picture's patches to their nearest landmark, in scaled units per dimension.

    features: (tokens, dim), the tower's output for one image before the projector, CLS removed. Raises InputError for
    another shape.
    """
    if features.ndim != 2 or features.shape[1] != len(reference.centre):
        raise InputError(
            f"features have shape {tuple(features.shape)}, expected (tokens, {len(reference.centre)}): take the "
            f"{FILE} that belongs to the model"
        )
    scaled = (features.detach().float().cpu() - reference.centre) / reference.scale
    nearest = torch.cdist(scaled, reference.landmarks).min(dim=1).values  # (tokens,)
    return float(nearest.mean() / len(reference.centre) ** 0.5)


def is_out_of_distribution(features: Tensor, reference: OODReference) -> bool:
    """Whether a picture lies further from the known world than nearly all pictures of it.

    features: (tokens, dim), the tower's output for ONE image before the projector, CLS removed.
    """
    return ood_distance(features, reference) > reference.limit
