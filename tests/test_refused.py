"""What a model folder must not do: run code, ask the terminal, use up the memory, fill the terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

import vscan_core as vc
from tests.folders import INDEX, MINI, SHARDS, change, linked, put, refused, retensor
from vscan_core.cli.main import main
from vscan_core.errors import OutOfMemory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The embedded model's files, ready to be damaged."""
    return linked(tmp_path / "mine")


def test_pickled_weights_are_never_opened(folder) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(folder / "sprung"),))

    for name in (INDEX, *SHARDS):
        (folder / name).unlink()
    torch.save({"weight": Trap()}, folder / "pytorch_model.bin")
    assert "pickled ones are not loaded because they can run code; download a version in safetensors" in refused(folder)
    (folder / "pytorch_model.bin").rename(folder / "pytorch_model-00001-of-00001.bin")
    put(
        folder / "pytorch_model.bin.index.json",
        b'{"metadata": {}, "weight_map": {"weight": "pytorch_model-00001.bin"}}',
    )
    assert "pickled" in refused(folder)
    assert not (folder / "sprung").exists()


def own_code(folder: Path, **settings: Any) -> None:
    put(folder / "own.py", f"import os; os.mkdir({str(folder / 'ran')!r})\nA = B = C = object\n".encode())
    names = {"AutoConfig": "own.A", "AutoModel": "own.B", "AutoModelForImageTextToText": "own.B"}
    change(folder / "config.json", lambda found: found.update(auto_map=names, **settings))


def of_its_own(found: dict[str, Any]) -> None:
    """A processor's or tokenizer's settings that name classes of the folder only."""
    found.pop("processor_class")
    found |= {"auto_map": {"AutoProcessor": "own.C", "AutoTokenizer": ["own.C", None]}, "tokenizer_class": "C"}
    if "image_processor" in found:
        found["image_processor"] |= {"image_processor_type": "C", "auto_map": {"AutoImageProcessor": "own.C"}}


def test_no_code_of_a_checkpoint_runs_and_nobody_is_asked(folder, monkeypatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *text: pytest.fail("somebody was asked"))
    own_code(folder)
    assert vc.load_model(str(folder), device="cpu").family.model_type == "llava"  # what transformers itself has
    for name in ("processor_config.json", "tokenizer_config.json"):
        change(folder / name, of_its_own)
    assert "code from the checkpoint, which is never run" in refused(folder)
    for settings in ({"model_type": "own"}, {"model_type": None}, {"model_type": "chameleon"}):
        own_code(folder, **settings)
        assert "code from the checkpoint, which is never run" in refused(folder)
    assert not (folder / "ran").exists()


def test_an_adapter_is_not_a_model(folder) -> None:
    put(folder / "adapter_config.json", b'{"base_model_name_or_path": "some-owner/some-model"}')
    assert "merge" in refused(folder)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA"),
        RuntimeError("can't allocate memory"),
        OSError("Cannot allocate memory"),
    ],
)
def test_memory_that_runs_out_is_no_damage(folder, monkeypatch, error) -> None:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(transformers.LlavaForConditionalGeneration, "from_pretrained", fails)
    with pytest.raises(OutOfMemory, match="Memory ran out"):
        vc.load_model(str(folder), device="cpu")


def test_the_command_line_says_the_sentence_and_nothing_else(folder, capfd) -> None:
    picture = next((MINI.parent / "examples").glob("*.png"))
    arguments = ["ask", "--model", str(folder), "--image", str(picture), "--question", "Is there a cat?"]
    name = min(load_file(MINI / SHARDS[1]))
    retensor(folder / SHARDS[1], lambda found: found.pop(name))
    change(folder / INDEX, lambda found: found["weight_map"].pop(name))
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("error: the folder") and err.count("\n") == 1
