"""Families with tiles, sizes and positions of their own: random weights, but every token and every position counts."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

import vscan_core as vc
from tests.vllm.serving import ENVIRONMENT
from vscan_core.serving import one_stage
from vscan_vllm.settings import method_of

FAMILIES = {
    "llava-next-small": ("VScanLlavaNextForConditionalGeneration", [(672, 672), (900, 300), (640, 480), (300, 900)]),
    "internvl3-small": ("VScanInternVLForConditionalGeneration", [(192, 192), (600, 400)]),
    "qwen2.5-vl-small": ("VScanQwen2_5_VLForConditionalGeneration", [(280, 280), (420, 140), (140, 504)]),
    "qwen3-vl-small": ("VScanQwen3VLForConditionalGeneration", [(288, 288), (416, 160), (160, 512)]),
}
SETTINGS = (
    None,
    {"method": "vscan", "retention": 0.2},
    {"method": "grid", "retention": 0.1},
    {"method": "downsample", "retention": 0.3},
    {"method": "hiprune", "retention": 0.2},
)
STEPS = 12


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module", params=FAMILIES)
def both(request, tmp_path_factory):
    """The same random weights here and in vLLM: (LVLM, LLM, sizes of pictures)."""
    os.environ.update({**ENVIRONMENT, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
    from vllm import LLM

    architecture, sizes = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp("weights")
    lvlm = vc.load_model(f"dummy:{request.param}", device="cpu")
    lvlm.model.save_pretrained(folder)
    lvlm.processor.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    for name in ("video_token", "start_image_token", "end_image_token", "context_image_token"):
        settings["model_specific_special_tokens"][name] = settings[name] = getattr(lvlm.processor.tokenizer, name)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    qwen = architecture.startswith("VScanQwen")
    if qwen:
        from vscan_vllm import qwen_vl

        monkeypatch = request.getfixturevalue("monkeypatch_module")
        monkeypatch.setattr(qwen_vl, "asks_for_positions", lambda: True)
    llm = LLM(str(folder), dtype="float32", max_model_len=4096, max_num_seqs=4, enforce_eager=True,
              distributed_executor_backend="uni", limit_mm_per_prompt={"image": 3, "video": 1},
              max_num_batched_tokens=512, hf_overrides={"architectures": [architecture]})  # fmt: skip
    if qwen:  # what the worker for GPUs does when it has loaded a model, and the one for CPUs does not
        llm.collective_rpc(lambda worker: setattr(worker.model_runner, "is_multimodal_pruning_enabled", True))
    return lvlm, llm, sizes


def drawn(size: tuple[int, int], seed: int) -> Image.Image:
    """A picture of soft random colours."""
    make = np.random.default_rng(seed)
    small = make.integers(0, 255, (size[1] // 20, size[0] // 20, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def reducer_for(lvlm, settings):
    """The method that vLLM runs for these settings."""
    asked = method_of(settings)
    return None if asked is None else one_stage(asked, lvlm.anatomy)[0]


def generated_here(lvlm, pictures, prompt: str, reducer) -> list[int]:
    """The ids of this library's own continuation."""
    inputs = lvlm.prepare(pictures, [prompt])
    with vc.reduced(lvlm.model, reducer) if reducer else nullcontext():
        ids = lvlm.model.generate(**inputs, max_new_tokens=STEPS, do_sample=False)
    return ids[0, inputs["input_ids"].shape[1] :].tolist()


def generated(llm, requests: list[dict]) -> list[list[int]]:
    """vLLM's continuations."""
    from vllm import SamplingParams

    outputs = llm.generate(requests, SamplingParams(temperature=0, max_tokens=STEPS), use_tqdm=False)
    return [list(output.outputs[0].token_ids) for output in outputs]


def test_pictures_of_every_shape_with_several_methods_in_one_batch(both) -> None:
    lvlm, llm, sizes = both
    cases = [(drawn(size, seed), settings) for seed, size in enumerate(sizes) for settings in SETTINGS]
    prompt = lvlm.chat("What?")
    requests = [
        {"prompt": prompt, "multi_modal_data": {"image": picture}, "mm_processor_kwargs": {"vscan": settings}}
        for picture, settings in cases
    ]
    wanted = [generated_here(lvlm, [picture], prompt, reducer_for(lvlm, settings)) for picture, settings in cases]
    assert generated(llm, requests) == wanted


def test_two_pictures_in_one_prompt(both) -> None:
    lvlm, llm, sizes = both
    pictures, settings = [drawn(size, 7) for size in sizes[:2]], SETTINGS[1]
    content = [{"type": "image"}, {"type": "text", "text": "One"}, {"type": "image"}, {"type": "text", "text": "Two?"}]
    prompt = lvlm.prompt([{"role": "user", "content": content}])
    request = {"prompt": prompt, "multi_modal_data": {"image": pictures}, "mm_processor_kwargs": {"vscan": settings}}
    wanted = generated_here(lvlm, pictures, prompt, reducer_for(lvlm, settings))
    assert generated(llm, [request, request]) == [wanted, wanted]  # the second from the prefix cache
