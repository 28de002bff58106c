"""A model folder that is damaged or incomplete: one sentence that names the file, before anything runs."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import vscan_core as vc
from tests.folders import INDEX, LOADED, MINI, POINTER, SHARDS, change, linked, put, refused, retensor
from vscan_core.ood import OODReference


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The embedded model's files, ready to be damaged."""
    return linked(tmp_path / "mine")


READ = [name for name in LOADED if not name.startswith("text_half/")]  # which is read when a method needs it
DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "half": (lambda content: content[: len(content) // 2], "cut short"),
    "all but the end": (lambda content: content[:-7], "cut short"),
    "noise": (lambda content: b"\xff\xfe" + bytes(range(256)) * 9, "damaged"),
    "a web page": (lambda content: b"<!DOCTYPE html><html>Not found</html>", "damaged"),
    "LFS": (lambda content: POINTER, "Git LFS pointer.*git lfs pull"),
    "empty": (lambda content: b"", "is empty"),
    "blank": (lambda content: b" \n", "is empty"),
    "null": (lambda content: b"null", "damaged"),
    "a list": (lambda content: b"[]", "damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [name for name in READ if not name.endswith(".jinja")])
def test_a_damaged_file_is_named(folder, name, damage) -> None:
    make, said = DAMAGES[damage]
    put(folder / name, make((MINI / name).read_bytes()))
    with pytest.raises(vc.InputError, match=f"{name}.*{said}.*again"):
        vc.load_model(str(folder), device="cpu")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "processor_config.json", *SHARDS])
def test_a_missing_file_is_named(folder, name) -> None:
    (folder / name).unlink()
    assert f"{name} is missing; download" in refused(folder)
    (folder / name).mkdir()
    assert f"{name} cannot be read" in refused(folder)


def test_a_missing_index_is_named(folder) -> None:
    (folder / INDEX).unlink()
    assert f"{INDEX} is missing" in refused(folder)


@pytest.mark.parametrize("template", [None, b"{% for x in", b"{{ 1 / 0 }}", b"no place for a picture", POINTER])
def test_a_chat_template_that_cannot_ask_about_a_picture(folder, template) -> None:
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        put(folder / "chat_template.jinja", template)
    assert "chat" in refused(folder)


def test_a_header_that_promises_too_much(folder) -> None:
    content = (MINI / SHARDS[0]).read_bytes()
    for damaged in (struct.pack("<Q", 1 << 60) + content[8:], content + b"more", content[:8] + b"[" + content[9:]):
        put(folder / SHARDS[0], damaged)
        assert "model-00001" in refused(folder)


def test_absent_tensors_are_never_drawn_at_random(folder) -> None:
    whole = load_file(MINI / SHARDS[1])
    name = min(whole)
    retensor(folder / SHARDS[1], lambda found: found.pop(name))
    assert f"{SHARDS[1]} lacks the tensor {name}" in refused(folder)
    change(folder / INDEX, lambda found: found["weight_map"].pop(name))
    assert "its weights lack the tensor" in refused(folder)


def test_tensors_of_other_shapes_or_names(folder) -> None:
    name = min(load_file(MINI / SHARDS[0]))
    retensor(folder / SHARDS[0], lambda found: found.update({name: torch.zeros(3, 5)}))
    assert "has shape (3, 5), where config.json asks for (768, 256)" in refused(folder)
    put(folder / SHARDS[0], (MINI / SHARDS[0]).read_bytes())
    retensor(folder / SHARDS[0], lambda found: found.update(other=found.pop(name)))
    change(folder / INDEX, lambda found: found["weight_map"].update(other=found["weight_map"].pop(name)))
    assert "its weights lack" in refused(folder)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda found: found.pop("weight_map"), "does not list"),
        (lambda found: found.pop("metadata"), "does not list"),
        (lambda found: found.update(weight_map={"a": 1}), "lists 1"),
        (lambda found: found["weight_map"].update(a="../other.safetensors"), "in this folder"),
        (lambda found: found["weight_map"].update(a="pytorch_model.bin"), "in this folder"),
    ],
)
def test_an_index_of_something_else(folder, edit, said) -> None:
    change(folder / INDEX, edit)
    assert said in refused(folder)


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        ("config.json", lambda found: found["text_config"].update(num_hidden_layers="six"), "config.json"),
        ("config.json", lambda found: found["text_config"].update(num_attention_heads=0), "config.json"),
        ("config.json", lambda found: found["text_config"].update(num_hidden_layers=3), "more layers than config.json"),
        ("config.json", lambda found: found["text_config"].update(num_hidden_layers=9), "its weights lack 27 tensors"),
        ("config.json", lambda found: found.pop("text_config"), "config.json asks for"),  # 7 billion by default
        ("config.json", lambda found: found["vision_config"].update(model_type="nonsense"), "config.json"),
        ("config.json", lambda found: found.update(image_token_id=7, image_token_index=7), "its tokenizer has <image>"),
        ("config.json", lambda found: found.update(architectures=["LlavaLlamaForCausalLM"]), "LlavaLlamaForCausalLM"),
        ("config.json", lambda found: found.update(transformers_weights="adapter_model.bin"), "pickled"),
        ("tokenizer.json", lambda found: found.pop("model"), "tokenizer"),
        ("tokenizer.json", lambda found: found.clear(), "tokenizer"),
        ("processor_config.json", lambda found: found.clear(), "processor"),
        ("processor_config.json", lambda found: found.update(patch_size=0), "picture preparation"),
        ("processor_config.json", lambda found: found["image_processor"].update(image_mean=[0.5]), "preparation"),
        ("processor_config.json", lambda found: found["image_processor"].update(do_center_crop=False), "336 x 336"),
    ],
)
def test_settings_that_do_not_make_a_model(folder, name, edit, said) -> None:
    change(folder / name, edit)
    assert said in refused(folder)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda found: found.pop("centre"), "lacks the tensor centre"),
        (lambda found: found.update(centre=torch.zeros(7)), "do not belong together"),
        (lambda found: found.update(landmarks=torch.zeros(256)), "do not belong together"),
        (lambda found: found.update(landmarks=torch.zeros(0, 256)), "do not belong together"),
        (lambda found: found.update(limit=torch.zeros(2)), "do not belong together"),
        (lambda found: found.update(scale=found["scale"] * torch.nan), "do not belong together"),
    ],
)
def test_a_damaged_domain(folder, edit, said) -> None:
    retensor(folder / "ood.safetensors", edit)
    with pytest.raises(vc.InputError, match=said):
        OODReference.load(folder)
    assert said in refused(folder)


def test_a_domain_of_another_model(folder) -> None:
    OODReference(torch.zeros(2, 7), torch.zeros(7), torch.ones(7), 1.0).save(folder.parent)
    shutil.move(folder.parent / "ood.safetensors", folder / "ood.safetensors")
    assert "features of 7 numbers, the vision tower has 256" in refused(folder)


def test_a_damaged_copy_of_the_hub_is_named_too(tmp_path) -> None:
    """In a fresh process, because the Hub's client reads its settings when it is imported."""
    home = tmp_path / "hub" / "models--some-owner--some-model"
    snapshot = home / "snapshots" / "abc"
    shutil.copytree(MINI, snapshot)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    code = f"""
import vscan_core as vc
from pathlib import Path
for name in {READ}:
    file = Path({str(snapshot)!r}) / name
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    try:
        vc.load_model("some-owner/some-model", device="cpu")
    except vc.InputError as error:
        print(name, name in str(error) or "template" in str(error))
    file.write_bytes(whole)
"""
    settings = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"{name} True" for name in READ if name != "ood.safetensors"], done.stderr
