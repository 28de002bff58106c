"""`load_model` and the catalog: what loads, and one sentence for what cannot."""

from __future__ import annotations

import shutil

import pytest
import torch

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


@pytest.mark.parametrize("name", ["nonsense", "dummy:nonsense", "owner/name/more"])
def test_an_unknown_name_is_refused_with_the_choices(name) -> None:
    with pytest.raises(vc.InputError, match="choose"):
        vc.load_model(name, device="cpu")


def test_an_unreachable_hub_is_one_sentence() -> None:
    with pytest.raises(vc.InputError, match="neither in the local cache nor"):
        vc.load_model("some-owner/some-model", device="cpu")


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
