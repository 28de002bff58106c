"""`load_model` and the catalog: what loads, and one sentence for what cannot."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
import transformers
from huggingface_hub import constants

import vscan_core as vc
from tests.conftest import GOLDEN, tiny_llava
from vscan_core.catalog import MODELS, unavailable


def test_the_embedded_model_is_a_stock_llava() -> None:
    lvlm = vc.load_model("mini", device="cpu")
    assert type(lvlm.model).__module__ == "transformers.models.llava.modeling_llava"
    assert (lvlm.family.model_type, lvlm.name, lvlm.device.type) == ("llava", "mini", "cpu")
    assert lvlm.model.dtype == torch.float32 and not lvlm.model.training


def test_a_local_folder_loads(tmp_path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(MODELS["mini"].source, folder)
    assert vc.load_model(str(folder), device="cpu").family.title == "LLaVA-1.5"


def test_every_attention_loads_and_other_names_are_refused() -> None:
    assert vc.load_model("mini", device="cpu").model.config._attn_implementation == "sdpa"
    eager = vc.load_model("mini", device="cpu", attn_implementation="eager", dtype=torch.bfloat16)
    assert (eager.model.config._attn_implementation, eager.model.dtype) == ("eager", torch.bfloat16)
    with pytest.raises(vc.InputError, match="no attention 'quick'; choose sdpa"):
        vc.load_model("mini", device="cpu", attn_implementation="quick")


@pytest.mark.parametrize("name", ["nonsense", "dummy:nonsense", "owner/name/more"])
def test_an_unknown_name_is_refused_with_the_choices(name) -> None:
    with pytest.raises(vc.InputError, match="choose"):
        vc.load_model(name, device="cpu")


def test_an_unreachable_hub_is_one_sentence(monkeypatch) -> None:
    with pytest.raises(vc.InputError, match="HF_HUB_OFFLINE forbids.*hf download some-owner/some-model"):
        vc.load_model("some-owner/some-model", device="cpu")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda source: (_ for _ in ()).throw(OSError()))
    with pytest.raises(vc.InputError, match="neither in the local cache nor"):
        vc.load_model("some-owner/some-model", device="cpu")


def test_a_cached_hub_model_loads_offline(tmp_path) -> None:
    """In a fresh process, because the Hub's client reads its settings when it is imported."""
    home = tmp_path / "hub" / "models--some-owner--some-model"
    shutil.copytree(MODELS["mini"].source, home / "snapshots" / "abc")
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    code = "import vscan_core as vc; print(vc.load_model('some-owner/some-model', device='cpu').family.title)"
    settings = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True)
    assert done.stdout == "LLaVA-1.5\n", done.stderr


def test_an_incomplete_folder_is_one_sentence(tmp_path) -> None:
    with pytest.raises(vc.InputError, match="does not hold a complete model"):
        vc.load_model(str(tmp_path), device="cpu")
    shutil.copy(GOLDEN / "hf_llava15" / "config.json", tmp_path)
    with pytest.raises(vc.InputError, match="does not hold a complete model"):
        vc.load_model(str(tmp_path), device="cpu")


def test_an_unsupported_architecture_is_refused(tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}')
    with pytest.raises(vc.InputError, match="'gpt2'.*supported are"):
        vc.load_model(str(tmp_path), device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_gpu_models_are_refused_without_a_gpu() -> None:
    for name, card in MODELS.items():
        assert (unavailable(name) is not None) == card.needs_gpu
        assert not card.needs_gpu or re.search(r"needs a GPU with about \d+ GB", str(unavailable(name)))
    with pytest.raises(vc.InputError, match="needs a GPU"):
        vc.load_model("llava-hf/llava-1.5-7b-hf")


def test_flash_attention_that_is_not_installed_is_one_sentence() -> None:
    pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("may be installed here")
    with pytest.raises(vc.InputError, match="flash_attention_2"):
        vc.load_model("mini", device="cpu", attn_implementation="flash_attention_2")


def test_a_tower_without_cls_or_with_cls_among_the_tokens_is_refused() -> None:
    model = tiny_llava()
    model.config.vision_feature_select_strategy = "full"
    with pytest.raises(vc.InputError, match="default"), vc.reduced(model, vc.VScan()):
        pass
