"""The models on offer: the embedded one, ids on the Hugging Face Hub, and random weights for speed and memory."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from vscan_core.dummies.shapes import Shape
from vscan_core.families import FAMILIES, Family
from vscan_core.families.entries import Defaults, HubModel, SmallModel
from vscan_core.resources import asset

EMBEDDED = "mini"
DUMMY = "dummy:"  # prefix of the names of models with random weights
MEANINGLESS = "its text means nothing"
WEIGHTS_AND_WORK = 1.15  # memory of a run with one picture (caches, activations), relative to the weights


@dataclass(frozen=True)
class ModelCard:
    """One entry of the model menu."""

    name: str  # for load_model
    title: str
    description: str
    source: str  # folder or Hub id of the weights; "" for random weights
    memory_gb: float  # weights in memory: bfloat16 if needs_gpu, else float32
    licence: str
    needs_gpu: bool = False
    family: str = "llava"  # config.model_type
    dummy: str = ""  # the same architecture with random weights, as a name for load_model
    defaults: Defaults | None = None  # of VScan; None for random weights, which use those of the real model

    @property
    def random(self) -> bool:
        """Whether the weights are random, so that answers mean nothing."""
        return not self.source


def is_random(name: str) -> bool:
    """Whether `name` is that of a model with random weights, whose answers mean nothing."""
    return name.startswith(DUMMY)


def _hub(family: Family, model: HubModel) -> ModelCard:
    small = model.billions < 1
    return ModelCard(
        name=model.source,
        title=model.title,
        description=f"{model.about}, from the Hugging Face Hub",
        source=model.source,
        memory_gb=round(model.billions * (4 if small else 2), 1),
        licence=model.licence,
        needs_gpu=not small,
        family=family.model_type,
        dummy=DUMMY + model.dummy,
        defaults=model.defaults,
    )


def _random(card: ModelCard) -> ModelCard:
    return ModelCard(
        name=card.dummy,
        title=f"{card.title}, random weights",
        description=f"The real architecture, for speed and memory only; {MEANINGLESS}",
        source="",
        memory_gb=card.memory_gb,
        licence="none",
        needs_gpu=card.needs_gpu,
        family=card.family,
    )


def _small(family: Family, model: SmallModel) -> ModelCard:
    return ModelCard(
        name=DUMMY + model.name,
        title=f"{model.title}, {model.millions}M random weights",
        description=f"A scaled-down architecture, for speed on a CPU; {MEANINGLESS}",
        source="",
        memory_gb=round(model.millions * 4 / 1000, 2),
        licence="none",
        family=family.model_type,
    )


_EMBEDDED = ModelCard(
    name=EMBEDDED,
    title="VScan-Mini (embedded)",
    description="A 10M-parameter LLaVA, trained by this project on drawn scenes; answers on any computer",
    source=str(asset("mini")),
    memory_gb=0.05,
    licence="Apache-2.0",
    dummy=f"{DUMMY}llava-small",
)
_HUB = [_hub(family, model) for family in FAMILIES.values() for model in family.hub_models]
_SMALL = [_small(family, model) for family in FAMILIES.values() for model in family.small_models]

MODELS: dict[str, ModelCard] = {card.name: card for card in (_EMBEDDED, *_HUB, *map(_random, _HUB), *_SMALL)}
SMALL: tuple[str, ...] = tuple(card.name for card in _SMALL)  # models with random weights that run on a CPU
SHAPES: dict[str, Shape] = {  # of every model with random weights, by name
    DUMMY + name: shape
    for family in FAMILIES.values()
    for name, shape in (
        *((model.dummy, model.shape) for model in family.hub_models),
        *((model.name, model.shape) for model in family.small_models),
    )
}


def unavailable(name: str) -> str | None:
    """Why a catalogued model cannot run on this machine, as one sentence; None if it can be tried.

    The memory of all GPUs counts together, because a model may be spread over them.
    """
    card = MODELS.get(name)
    if card is None:
        return None
    need = card.memory_gb * WEIGHTS_AND_WORK
    if torch.cuda.is_available():
        there, where = gpu_memory_gb(), "GPU memory"
    elif card.needs_gpu:
        return f"{card.title} needs a GPU with about {need:.0f} GB of memory, and this machine has none."
    else:
        there, where = _main_memory_gb(), "memory"
    if there < need:
        return f"{card.title} needs about {need:.1f} GB of {where}; this machine has {there:.1f} GB."
    return None


def gpu_memory_gb() -> float:
    """Memory of all GPUs together, in gigabytes (10^9 bytes)."""
    return sum(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())) / 1e9


def _main_memory_gb() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):  # unknown on this system: allow the attempt
        return float("inf")
