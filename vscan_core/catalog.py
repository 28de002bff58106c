"""The models on offer: the embedded one, ids on the Hugging Face Hub, and random weights for speed and memory.

Which of them this machine can run is a question of memory and type. On a GPU weights are bfloat16. On a CPU models
below a billion parameters are float32; larger ones are bfloat16 if the CPU is fast at it, else float32 if that fits,
else bfloat16 all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch

from vscan_core import machine
from vscan_core.dummies.shapes import Ids, Shape, text_config
from vscan_core.families import FAMILIES, Family
from vscan_core.families.entries import Defaults, HubModel, SmallModel
from vscan_core.measure import prefill_tflops
from vscan_core.resources import asset

EMBEDDED = "mini"
DUMMY = "dummy:"  # prefix of the names of models with random weights
MEANINGLESS = "its text means nothing"
WEIGHTS_AND_WORK = 1.15  # memory of a run with one picture (caches, activations), relative to the weights
TYPICAL_TOKENS = 576  # of the prompt for which a time is estimated


@dataclass(frozen=True)
class ModelCard:
    """One entry of the model menu."""

    name: str  # for load_model
    title: str
    description: str
    source: str  # folder or Hub id of the weights; "" for random weights
    billions: float  # of parameters
    licence: str
    family: str = "llava"  # config.model_type
    dummy: str = ""  # the same architecture with random weights, as a name for load_model
    defaults: Defaults | None = None  # of VScan; None for random weights, which use those of the real model

    @property
    def random(self) -> bool:
        """Whether the weights are random, so that answers mean nothing."""
        return not self.source

    @property
    def full_size(self) -> bool:
        """Whether it has a billion parameters or more, so that its weights are bfloat16 where that is no slower."""
        return self.billions >= 1

    def weights_gb(self, dtype: torch.dtype) -> float:
        """Weights in memory in this type, in gigabytes (10^9 bytes)."""
        return self.billions * dtype.itemsize

    def needed_gb(self, dtype: torch.dtype) -> float:
        """Memory of a run with one picture in this type, weights included, in gigabytes (10^9 bytes)."""
        return self.weights_gb(dtype) * WEIGHTS_AND_WORK


def is_random(name: str) -> bool:
    """Whether `name` is that of a model with random weights, whose answers mean nothing."""
    return name.startswith(DUMMY)


def _hub(family: Family, model: HubModel) -> ModelCard:
    return ModelCard(
        name=model.source,
        title=model.title,
        description=f"{model.about}, from the Hugging Face Hub",
        source=model.source,
        billions=model.billions,
        licence=model.licence,
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
        billions=card.billions,
        licence="none",
        family=card.family,
    )


def _small(family: Family, model: SmallModel) -> ModelCard:
    return ModelCard(
        name=DUMMY + model.name,
        title=f"{model.title}, {model.millions}M random weights",
        description=f"A scaled-down architecture, for speed on a CPU; {MEANINGLESS}",
        source="",
        billions=model.millions / 1000,
        licence="none",
        family=family.model_type,
    )


_EMBEDDED = ModelCard(
    name=EMBEDDED,
    title="VScan-Mini (embedded)",
    description="A 10M-parameter LLaVA, trained by this project on drawn scenes; answers on any computer",
    source=str(asset("mini")),
    billions=0.01,
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


def default_dtype(name: str, device_type: str, *, released_gb: float = 0.0) -> torch.dtype:
    """The type of a model's weights if nobody names one; see the top of this module, and `unavailable`."""
    if device_type == "cuda":
        return torch.bfloat16
    card = MODELS.get(name)
    if device_type != "cpu" or card is None or not card.full_size:
        return torch.float32
    roomy = machine.available_gb() + released_gb >= card.needed_gb(torch.float32)
    return torch.float32 if roomy and not machine.bfloat16_is_fast() else torch.bfloat16


def unavailable(name: str, *, dtype: torch.dtype | None = None, released_gb: float = 0.0) -> str | None:
    """Why a catalogued model cannot run on this machine's default device, as one sentence; None if it can be tried.

    The memory of all GPUs counts together, because a model may be spread over them; without a GPU, what is available
    of the main memory counts.

    Args:
        name: As for load_model; other names than catalogued ones can always be tried.
        dtype: Of the weights; None: the smallest that load_model chooses by itself.
        released_gb: Main memory that will be free before the model is loaded, in gigabytes (10^9 bytes).
    """
    card = MODELS.get(name)
    if card is None:
        return None
    gpu = torch.cuda.is_available()
    kind = dtype or (torch.bfloat16 if gpu or card.full_size else torch.float32)
    there = gpu_memory_gb() if gpu else machine.available_gb() + released_gb
    if there >= card.needed_gb(kind):
        return None
    where, free = ("GPU memory", "") if gpu else ("memory", " available")
    return (
        f"{card.title} needs about {card.needed_gb(kind):.1f} GB of {where} in {type_name(kind)}; "
        f"this machine has {there:.1f} GB{free}."
    )


def first_token_s(name: str, dtype: torch.dtype) -> float | None:
    """Estimated seconds of the decoder's prefill of TYPICAL_TOKENS tokens on this CPU; None: sizes are not catalogued.

    Causal FLOPs, by the formula in `measure`, at the measured rate of a matrix product; the vision encoder is left out.
    """
    card = MODELS.get(name)
    shape = SHAPES.get(name) or (None if card is None or name == EMBEDDED else SHAPES.get(card.dummy))
    if shape is None:
        return None
    decoder = SimpleNamespace(**text_config(shape, Ids(0, 0, 0, 0)))
    return prefill_tflops([TYPICAL_TOKENS] * shape.text.depth, decoder) / machine.cpu_tflops_per_s(dtype)


def expected(name: str, *, released_gb: float = 0.0) -> str:
    """How long the first word of a model that fits takes on this machine's CPU, estimated, as one sentence.

    "" where a GPU does the work, and where sizes are not catalogued. released_gb: as for `unavailable`.
    """
    dtype = default_dtype(name, "cpu", released_gb=released_gb)
    seconds = None if torch.cuda.is_available() else first_token_s(name, dtype)
    if seconds is None:
        return ""
    slow = dtype == torch.bfloat16 and not machine.bfloat16_is_fast()
    why = "; this CPU is slow at bfloat16, and float32 does not fit into memory" if slow else ""
    about = f"estimated for {TYPICAL_TOKENS} tokens, without the vision encoder"
    return f"{_duration(seconds)} to the first word on this machine, {about}{why}."


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "Less than a second"
    return f"About {seconds:.0f} s" if seconds < 120 else f"About {seconds / 60:.0f} min"


def type_name(dtype: torch.dtype) -> str:
    """torch.bfloat16 -> "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def gpu_memory_gb() -> float:
    """Memory of all GPUs together, in gigabytes (10^9 bytes)."""
    return sum(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())) / 1e9
