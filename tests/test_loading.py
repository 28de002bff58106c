"""`load_model` and the catalog: what loads, and one sentence for what cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
import transformers
from huggingface_hub import constants

import vscan_core as vc
from tests.conftest import GOLDEN, tiny_llava
from vscan_core.catalog import MODELS
from vscan_core.checkpoints.attention import usable


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
    flexible = vc.load_model("mini", device="cpu", attn_implementation="flex_attention")
    assert flexible.model.config._attn_implementation == "flex_attention"


def test_an_attention_that_somebody_registered_is_passed_on(monkeypatch) -> None:
    known = transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS
    monkeypatch.setitem(known._global_mapping, "mine", known["sdpa"])
    assert vc.load_model("mini", device="cpu", attn_implementation="mine").model.config._attn_implementation == "mine"


@pytest.mark.parametrize("model", ["mini", "dummy:llava-small"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("quick", "no attention 'quick'; choose sdpa, eager, flash_attention_2, .*flex_attention.*kernels-community/"),
        ("flash_attention_99", "no attention 'flash_attention_99'; choose sdpa"),
        ("one/two/three", "no attention 'one/two/three'; choose sdpa"),
        ("paged|eager", "paged attention 'paged|eager' keeps a KV cache of its own.*choose sdpa"),
        ("", "no attention ''"),
        (None, "no attention None"),
        ({"text_config": "eager"}, "no attention {'text_config': 'eager'}"),
    ],
)
def test_an_unknown_attention_is_refused_with_the_choices(model, name, said) -> None:
    with pytest.raises(vc.InputError, match=said.replace("|", r"\|")):
        vc.load_model(model, device="cpu", attn_implementation=name)


@pytest.mark.parametrize("name", ["nonsense", "dummy:nonsense", "owner/name/more", "./nowhere", None, 3])
def test_an_unknown_name_is_refused_with_the_choices(name) -> None:
    with pytest.raises(vc.InputError, match="choose|a text such as 'mini'"):
        vc.load_model(name, device="cpu")


def test_an_unreachable_hub_is_one_sentence(monkeypatch) -> None:
    with pytest.raises(vc.InputError, match="HF_HUB_OFFLINE prevents.*hf download some-owner/some-model"):
        vc.load_model("some-owner/some-model", device="cpu")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        transformers.AutoConfig, "from_pretrained", lambda *names, **settings: (_ for _ in ()).throw(OSError())
    )
    with pytest.raises(vc.InputError, match="not in the local cache and could not"):
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="may be installed here")
@pytest.mark.parametrize("model", ["mini", "dummy:llava-small"])
@pytest.mark.parametrize("name", ["flash_attention_2", "flash_attention_3"])
def test_flash_attention_that_is_not_installed_is_one_sentence(model, name) -> None:
    with pytest.raises(vc.InputError, match=f"attention '{name}' cannot be used here: .*; install .*, or choose sdpa"):
        vc.load_model(model, device="cpu", attn_implementation=name)


@pytest.mark.skipif(find_spec("kernels") is not None, reason="kernels is installed here")
def test_a_kernel_of_the_hub_says_which_package_it_takes() -> None:
    with pytest.raises(vc.InputError, match="flash-attn2' is a kernel of the Hub.*pip install kernels"):
        vc.load_model("mini", device="cpu", attn_implementation="kernels-community/flash-attn2")


def test_flash_attention_does_not_take_full_precision() -> None:
    with pytest.raises(vc.InputError, match="half precision"), usable("flash_attention_2", torch.float32):
        pass
    with usable("flash_attention_2", torch.bfloat16), usable("sdpa", torch.float32):
        pass


@pytest.mark.parametrize("model", ["mini", "dummy:llava-small"])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"device": "nonsense"}, "no device 'nonsense'"),
        ({"device": 1.5}, r"no device 1\.5"),
        ({"device": "cuda:99"}, "no device 'cuda:99'"),
        ({"dtype": torch.int8}, "dtype must be one of"),
        ({"dtype": "half"}, "dtype must be one of"),
        ({"device_map": "quick"}, "no device 'quick'"),
        ({"device_map": {}}, "device_map must be auto"),
        ({"device_map": {3: "cpu"}}, "device_map must be auto"),
        ({"device_map": {"": "quick"}}, "no device 'quick'"),
        ({"device_map": {"lm_head": "cpu"}}, "device_map does not fit"),
    ],
)
def test_a_setting_of_the_wrong_shape_is_one_sentence(model, settings, said) -> None:
    with pytest.raises(vc.InputError, match=said):
        vc.load_model(model, **settings)


def test_a_tower_without_cls_or_with_cls_among_the_tokens_is_refused() -> None:
    model = tiny_llava()
    model.config.vision_feature_select_strategy = "full"
    with pytest.raises(vc.InputError, match="default"), vc.reduced(model, vc.VScan()):
        pass
