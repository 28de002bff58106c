"""The models on offer: the embedded one, ids on the Hugging Face Hub, and random weights for speed and memory."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from vscan_core.dummies.shapes import REAL, SMALL
from vscan_core.resources import asset

RANDOM = "its text means nothing"
WEIGHTS_AND_WORK = 1.15  # memory for a run, as a multiple of the weights: caches and activations of one picture
PUBLISHED, CHOSEN = "published", "ours"


@dataclass(frozen=True)
class Defaults:
    """What `VScan()` does on a model when nothing else is said; layers count from 0."""

    local_layer: int  # vision layer of the local scan
    global_layer: int  # and of the global scan
    prune_layer: int  # decoder layer at whose entrance the question chooses
    positions: str  # "renumbered" | "original"
    source: str  # "published" (paper or released code), or "ours": see the family's file


@dataclass(frozen=True)
class ModelCard:
    """One entry of the model menu."""

    name: str  # what load_model takes
    title: str
    description: str
    source: str  # folder or Hub id the weights come from; "" for random weights
    memory_gb: float  # weights in memory: bfloat16 if needs_gpu, else float32
    licence: str
    needs_gpu: bool = False
    family: str = "llava"  # config.model_type
    dummy: str = ""  # the same architecture with random weights, as a name for load_model
    defaults: Defaults | None = None  # of VScan; None: random weights have those of the model they stand in for

    @property
    def random(self) -> bool:
        """Whether its weights are random, so that its answers mean nothing."""
        return not self.source


def _hub(
    source: str, title: str, about: str, shape: str, billions: float, licence: str, defaults: Defaults
) -> ModelCard:
    small = billions < 1
    return ModelCard(
        name=source,
        title=title,
        description=f"{about}, from the Hugging Face Hub",
        source=source,
        memory_gb=round(billions * (4 if small else 2), 1),
        licence=licence,
        needs_gpu=not small,
        family=REAL[shape].family,
        dummy=f"dummy:{shape}",
        defaults=defaults,
    )


def _random(card: ModelCard) -> ModelCard:
    return ModelCard(
        name=card.dummy,
        title=f"{card.title}, random weights",
        description=f"The real architecture, for speed and memory only; {RANDOM}",
        source="",
        memory_gb=card.memory_gb,
        licence="none",
        needs_gpu=card.needs_gpu,
        family=card.family,
    )


def _small(name: str, title: str, millions: int) -> ModelCard:
    return ModelCard(
        name=f"dummy:{name}",
        title=f"{title}, {millions}M random weights",
        description=f"A scaled-down architecture, for speed on a CPU; {RANDOM}",
        source="",
        memory_gb=round(millions * 4 / 1000, 2),
        licence="none",
        family=SMALL[name].family,
    )


_LLAVA_7B = Defaults(5, 22, 16, "renumbered", PUBLISHED)
_LLAVA_13B = Defaults(5, 22, 20, "renumbered", PUBLISHED)
_EMBEDDED = ModelCard(
    name="mini",
    title="VScan-Mini (embedded)",
    description="A 10M-parameter LLaVA, trained by this project on drawn scenes; answers on any computer",
    source=str(asset("mini")),
    memory_gb=0.05,
    licence="Apache-2.0",
    dummy="dummy:llava-small",
)
_HUB = tuple(
    _hub(*row)
    for row in (
        ("llava-hf/llava-1.5-7b-hf", "LLaVA-1.5 7B", "LLaVA-1.5 with Vicuna 7B", "llava-1.5-7b", 7.06, "Llama 2",
         _LLAVA_7B),
        ("llava-hf/llava-1.5-13b-hf", "LLaVA-1.5 13B", "LLaVA-1.5 with Vicuna 13B", "llava-1.5-13b", 13.35, "Llama 2",
         _LLAVA_13B),
        ("llava-hf/llava-v1.6-vicuna-7b-hf", "LLaVA-NeXT 7B (Vicuna)", "LLaVA-NeXT with Vicuna 7B",
         "llava-next-vicuna-7b", 7.06, "Llama 2", _LLAVA_7B),
        ("llava-hf/llava-v1.6-mistral-7b-hf", "LLaVA-NeXT 7B (Mistral)", "LLaVA-NeXT with Mistral 7B",
         "llava-next-mistral-7b", 7.57, "Apache-2.0", _LLAVA_7B),
        ("llava-hf/llava-v1.6-vicuna-13b-hf", "LLaVA-NeXT 13B (Vicuna)", "LLaVA-NeXT with Vicuna 13B",
         "llava-next-vicuna-13b", 13.35, "Llama 2", _LLAVA_13B),
        ("Qwen/Qwen2.5-VL-3B-Instruct", "Qwen2.5-VL 3B", "Qwen2.5-VL 3B", "qwen2.5-vl-3b", 3.75, "Qwen Research",
         Defaults(7, 31, 18, "original", PUBLISHED)),
        ("Qwen/Qwen2.5-VL-7B-Instruct", "Qwen2.5-VL 7B", "Qwen2.5-VL 7B", "qwen2.5-vl-7b", 8.29, "Apache-2.0",
         Defaults(7, 31, 14, "original", PUBLISHED)),
        ("Qwen/Qwen2.5-VL-32B-Instruct", "Qwen2.5-VL 32B", "Qwen2.5-VL 32B", "qwen2.5-vl-32b", 33.45, "Apache-2.0",
         Defaults(7, 31, 32, "original", PUBLISHED)),
        ("LanguageBind/Video-LLaVA-7B-hf", "Video-LLaVA 7B", "Video-LLaVA with Vicuna 7B", "video-llava-7b", 7.37,
         "Llama 2", _LLAVA_7B),
        ("Qwen/Qwen3-VL-2B-Instruct", "Qwen3-VL 2B", "Qwen3-VL 2B", "qwen3-vl-2b", 2.13, "Apache-2.0",
         Defaults(5, 23, 14, "original", CHOSEN)),
        ("Qwen/Qwen3-VL-4B-Instruct", "Qwen3-VL 4B", "Qwen3-VL 4B", "qwen3-vl-4b", 4.44, "Apache-2.0",
         Defaults(5, 23, 18, "original", CHOSEN)),
        ("Qwen/Qwen3-VL-8B-Instruct", "Qwen3-VL 8B", "Qwen3-VL 8B", "qwen3-vl-8b", 8.77, "Apache-2.0",
         Defaults(6, 26, 18, "original", CHOSEN)),
        ("OpenGVLab/InternVL3-1B-hf", "InternVL3 1B", "InternVL3 1B", "internvl3-1b", 0.94, "Qwen",
         Defaults(5, 23, 12, "renumbered", CHOSEN)),
        ("OpenGVLab/InternVL3-2B-hf", "InternVL3 2B", "InternVL3 2B", "internvl3-2b", 2.09, "Qwen",
         Defaults(5, 23, 14, "renumbered", CHOSEN)),
        ("OpenGVLab/InternVL3-8B-hf", "InternVL3 8B", "InternVL3 8B", "internvl3-8b", 7.94, "Qwen",
         Defaults(5, 23, 14, "renumbered", CHOSEN)),
        ("HuggingFaceM4/Idefics3-8B-Llama3", "Idefics3 8B", "Idefics3 with Llama 3 8B", "idefics3-8b", 8.46,
         "Apache-2.0, Llama 3", Defaults(6, 26, 16, "renumbered", CHOSEN)),
        ("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", "SmolVLM2 0.5B", "SmolVLM2 0.5B", "smolvlm2-0.5b", 0.51,
         "Apache-2.0", Defaults(3, 11, 16, "renumbered", CHOSEN)),
        ("HuggingFaceTB/SmolVLM2-2.2B-Instruct", "SmolVLM2 2.2B", "SmolVLM2 2.2B", "smolvlm2-2.2b", 2.25,
         "Apache-2.0", Defaults(6, 26, 12, "renumbered", CHOSEN)),
        ("llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "LLaVA-OneVision 0.5B", "LLaVA-OneVision with Qwen2 0.5B",
         "llava-onevision-0.5b", 0.89, "Apache-2.0", Defaults(6, 25, 12, "renumbered", CHOSEN)),
        ("llava-hf/llava-onevision-qwen2-7b-ov-hf", "LLaVA-OneVision 7B", "LLaVA-OneVision with Qwen2 7B",
         "llava-onevision-7b", 8.03, "Apache-2.0", Defaults(6, 25, 14, "renumbered", CHOSEN)),
    )
)  # fmt: skip
_SMALL = tuple(
    _small(*row)
    for row in (
        ("llava-small", "LLaVA", 174),
        ("llava-next-small", "LLaVA-NeXT", 59),
        ("qwen2.5-vl-small", "Qwen2.5-VL", 66),
        ("video-llava-small", "Video-LLaVA", 73),
        ("qwen3-vl-small", "Qwen3-VL", 82),
        ("internvl3-small", "InternVL3", 60),
        ("idefics3-small", "Idefics3", 59),
        ("smolvlm2-small", "SmolVLM2", 62),
        ("llava-onevision-small", "LLaVA-OneVision", 59),
    )
)

MODELS: dict[str, ModelCard] = {card.name: card for card in (_EMBEDDED, *_HUB, *map(_random, _HUB), *_SMALL)}


def unavailable(name: str) -> str | None:
    """Why a catalogued model cannot run on this machine, as one sentence; None if it can be tried.

    A model may be spread over all GPUs, so it is their memory together that counts.
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
    """Memory of all GPUs together."""
    return sum(torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())) / 1e9


def _main_memory_gb() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):  # this system does not tell: let it be tried
        return float("inf")
