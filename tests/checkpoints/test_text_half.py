"""Where a model's text half comes from, and one sentence for what cannot be it."""

from __future__ import annotations

import copy
import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import vscan_core as vc
from tests.checkpoints.clips import clip_of
from tests.conftest import prompt, tiny_llava
from tests.families import tiny
from vscan_core.catalog import MODELS
from vscan_core.checkpoints import text_half
from vscan_core.families import FAMILIES, family_of
from vscan_core.reducers.trim import Trim

QUESTION = "Where is the red cat?"


def run(model) -> list[int]:
    with torch.no_grad(), vc.reduced(model, Trim(0.3), question=QUESTION) as trace:
        model(**prompt([1]))
    return trace.images[0].kept.tolist()


@pytest.fixture
def model():
    """A tiny LLaVA from nowhere, which has no text half yet."""
    return copy.deepcopy(tiny_llava())


def test_without_one_it_says_how_to_give_one(model, tmp_path) -> None:
    hooks = len(model._forward_hooks) + len(model._forward_pre_hooks)
    with pytest.raises(vc.InputError, match=r"none is known for this LLaVA-1.5; give it one with load_text_half"):
        run(model)
    assert len(model._forward_hooks) + len(model._forward_pre_hooks) == hooks
    clip_of(model, tmp_path)
    vc.load_text_half(model, tmp_path)
    assert len(run(model)) == 11


def test_the_folder_inside_the_models_own_folder(model, tmp_path) -> None:
    clip_of(model, tmp_path / "text_half")
    model.config._name_or_path = str(tmp_path)
    found = run(model)
    again = tiny_llava()
    vc.load_text_half(again, str(tmp_path / "text_half"))
    assert run(again) == found
    lvlm = vc.LVLM(model=tiny_llava(), processor=None, family=family_of(again), name="tiny")
    vc.load_text_half(lvlm, tmp_path / "text_half")
    assert run(lvlm.model) == found


def test_the_checkpoint_of_the_catalog_offline(model) -> None:
    model.config._name_or_path = "llava-hf/llava-1.5-7b-hf"
    with pytest.raises(vc.InputError) as caught:
        run(model)
    said = str(caught.value)
    assert "hf download openai/clip-vit-large-patch14-336" in said and "HF_HUB_OFFLINE" in said and "\n" not in said
    assert {name for name, family in FAMILIES.items() if family.clip} == {"llava", "llava_next"}


def test_video_llava_takes_what_it_is_given() -> None:
    model = copy.deepcopy(tiny.video_llava("sdpa"))
    model.config._name_or_path = MODELS["LanguageBind/Video-LLaVA-7B-hf"].source
    with pytest.raises(vc.InputError, match="none is known for this Video-LLaVA"):
        vc.reduced(model, Trim(0.3), question=QUESTION).__enter__()


def test_other_families_are_refused(tmp_path) -> None:
    with pytest.raises(vc.InputError, match=r"Qwen2\.5-VL has no CLIP text encoder.*choose another method"):
        vc.load_text_half(tiny.qwen("sdpa"), tmp_path)


def test_the_wrong_clip(model, tmp_path) -> None:
    clip_of(model, tmp_path / "deeper", num_hidden_layers=7)
    with pytest.raises(vc.InputError, match="does not belong.*its num_hidden_layers is 7, the tower's 5"):
        vc.load_text_half(model, tmp_path / "deeper")
    other = tiny_llava()
    with torch.no_grad():
        for weight in other.model.vision_tower.parameters():
            weight.normal_()
    clip_of(other, tmp_path / "other")
    with pytest.raises(vc.InputError, match="does not belong.*nothing in common"):
        vc.load_text_half(model, tmp_path / "other")


def test_a_tower_that_was_trained_further_is_said(model, tmp_path) -> None:
    clip_of(model, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vc.load_text_half(model, tmp_path)
        vc.load_text_half(copy.deepcopy(model).to(torch.bfloat16), tmp_path)  # rounding is no training
    with torch.no_grad():
        for weight in model.model.vision_tower.parameters():
            weight.mul_(1.1)
    with pytest.warns(UserWarning, match=r"trained further since it left .* \(its weights differ by 10%\)"):
        vc.load_text_half(model, tmp_path)


def test_a_folder_that_holds_no_clip(model, tmp_path) -> None:
    with pytest.raises(vc.InputError, match="holds a 'llava' model, not a CLIP with both halves"):
        vc.load_text_half(model, MODELS["mini"].source)
    with pytest.raises(vc.InputError, match=r"could not be downloaded|HF_HUB_OFFLINE|could not be loaded"):
        vc.load_text_half(model, tmp_path / "nothing")
    clip_of(model, tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors.pop("text_projection.weight")
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(vc.InputError, match=r"lacks the tensor text_projection\.weight; choose a complete one"):
        vc.load_text_half(model, tmp_path)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("vision_model")}
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(vc.InputError, match="lacks"):  # only beside the embedded model is a tower left out
        vc.load_text_half(model, tmp_path)
    file.unlink()
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(vc.InputError, match="pickled ones are not loaded because they can run code"):
        vc.load_text_half(model, tmp_path)


def test_a_damaged_tokenizer_is_one_sentence(model, tmp_path) -> None:
    clip_of(model, tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(vc.InputError) as caught:
        vc.load_text_half(model, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_tower_that_cannot_be_compared_is_said(model, tmp_path) -> None:
    clip_of(model, tmp_path)
    model.model.vision_tower.to("meta")
    with pytest.warns(UserWarning, match="quantised or offloaded, so it was not compared"):
        vc.load_text_half(model, tmp_path)


def test_several_feature_layers_have_no_joint_space(model, tmp_path) -> None:
    clip_of(model, tmp_path)
    model.config.vision_feature_layer = [-3, -2]
    with pytest.raises(vc.InputError, match="several vision layers feed the projector"):
        vc.load_text_half(model, tmp_path)


def test_random_weights_have_a_random_half_in_clips_proportions() -> None:
    lvlm = vc.load_model("dummy:llava-next-small", device="cpu")
    state = torch.random.get_rng_state()
    space = text_half.joint_space_of(lvlm.model, lvlm.family)
    assert torch.equal(torch.random.get_rng_state(), state)
    tower, config = lvlm.model.config.vision_config, space.text_model.config
    assert config.hidden_size == tower.hidden_size * 3 // 4 and config.num_hidden_layers == tower.num_hidden_layers // 2
    patches, text = space(torch.zeros(2, 9, tower.hidden_size), QUESTION)
    assert patches.shape == (2, 9, config.hidden_size) and text.shape == (1, config.hidden_size)


def test_the_embedded_models_half_belongs_to_its_tower() -> None:
    folder = f"{MODELS['mini'].source}/text_half"
    with open(f"{folder}/config.json") as file:
        config = json.load(file)
    mini = vc.load_model("mini", device="cpu")
    tower = mini.model.model.vision_tower.config
    assert all(config["vision_config"][name] == getattr(tower, name) for name in text_half.TOWER_SIZES)
    space = text_half.joint_space_of(mini.model, mini.family)
    assert space.tokenizer.get_vocab() == mini.processor.tokenizer.get_vocab()
    assert [ids[0] for ids in space.segments("is there a cat? " * 40)] == [1] * 3
