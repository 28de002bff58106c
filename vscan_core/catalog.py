"""The models on offer: the embedded one, ids on the Hugging Face Hub, and random weights for speed and memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

ASSETS = Path(__file__).resolve().parent.parent / "assets"


@dataclass(frozen=True)
class ModelCard:
    """One entry of the model menu."""

    name: str  # what load_model takes
    title: str
    description: str
    source: str  # folder or Hub id the weights come from; "" for random weights
    memory_gb: float  # weights in memory, in the precision that load_model chooses
    licence: str
    needs_gpu: bool = False


MODELS: dict[str, ModelCard] = {
    card.name: card
    for card in (
        ModelCard(
            name="mini",
            title="VScan-Mini (embedded)",
            description="A 10M-parameter LLaVA, trained by this project on drawn scenes; answers on any computer",
            source=str(ASSETS / "mini"),
            memory_gb=0.05,
            licence="Apache-2.0",
        ),
        ModelCard(
            name="llava-hf/llava-1.5-7b-hf",
            title="LLaVA-1.5 7B",
            description="LLaVA-1.5 with Vicuna 7B, from the Hugging Face Hub",
            source="llava-hf/llava-1.5-7b-hf",
            memory_gb=14.1,
            licence="Llama 2",
            needs_gpu=True,
        ),
        ModelCard(
            name="llava-hf/llava-1.5-13b-hf",
            title="LLaVA-1.5 13B",
            description="LLaVA-1.5 with Vicuna 13B, from the Hugging Face Hub",
            source="llava-hf/llava-1.5-13b-hf",
            memory_gb=26.7,
            licence="Llama 2",
            needs_gpu=True,
        ),
        ModelCard(
            name="dummy:llava-1.5-7b",
            title="LLaVA-1.5 7B, random weights",
            description="The real architecture, for speed and memory only; its text means nothing",
            source="",
            memory_gb=14.1,
            licence="none",
            needs_gpu=True,
        ),
        ModelCard(
            name="dummy:llava-small",
            title="LLaVA, 114M random weights",
            description="A mid-size architecture, for speed on a CPU; its text means nothing",
            source="",
            memory_gb=0.6,
            licence="none",
        ),
    )
}


def unavailable(name: str) -> str | None:
    """Why a catalogued model cannot run on this machine, as one sentence; None if it can be tried."""
    card = MODELS.get(name)
    if card is None or not card.needs_gpu:
        return None
    if not torch.cuda.is_available():
        return f"{card.title} needs a GPU with about {card.memory_gb:.0f} GB of memory, and this machine has none."
    total = torch.cuda.get_device_properties(0).total_memory / 1e9
    if total < card.memory_gb:
        return f"{card.title} needs about {card.memory_gb:.0f} GB of GPU memory; this GPU has {total:.0f} GB."
    return None
