"""Tiny real models, built from stock configs, and the golden vectors. Nothing here touches the network."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# one for each worker: a demo that closes removes its files, whose names are hashes of their contents
FILES_OF_DEMOS = tempfile.TemporaryDirectory(prefix="vscan-demo-")
os.environ["GRADIO_TEMP_DIR"] = FILES_OF_DEMOS.name
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores, and so do the processes that they start
    os.environ["OMP_NUM_THREADS"] = "1"

import hypothesis
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

import vscan_core as vc
from tests import skips, tiers
from tests.tiny_llava import IMAGE_TOKEN, tiny_llava
from vscan_core.conformance.tiny import llava_inputs as prompt

hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

__all__ = ["GOLDEN", "IMAGE_TOKEN", "golden", "greedy", "prompt", "tiny_llava"]  # for other tests, beside fixtures

GOLDEN = Path(__file__).parent / "golden"


def pytest_configure(config: pytest.Config) -> None:
    """What this run may skip, and which tests are slow."""
    for plugin in (skips, tiers):
        config.pluginmanager.register(plugin)


def golden(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Cases and tensors of one golden file."""
    return json.loads((GOLDEN / f"{name}.json").read_text()), load_file(GOLDEN / f"{name}.safetensors")


@pytest.fixture(scope="session", params=["sdpa", "eager"])
def llava(request: pytest.FixtureRequest) -> LlavaForConditionalGeneration:
    """The tiny model with either attention."""
    return tiny_llava(request.param)


@pytest.fixture(scope="session")
def sdpa_llava() -> LlavaForConditionalGeneration:
    """The tiny model with the default attention."""
    return tiny_llava()


@pytest.fixture(scope="session")
def mini() -> vc.LVLM:
    """The embedded model."""
    return vc.load_model("mini", device="cpu")


def greedy(model, method, inputs, steps: int = 8):
    """Generate `steps` tokens with a method, keeping every step's logits: (output, trace)."""
    with vc.reduced(model, method) as trace:
        out = model.generate(
            **inputs,
            max_new_tokens=steps,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            pad_token_id=0,
        )
    return out, trace
