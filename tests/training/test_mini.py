"""The shipped model: loads as stock LLaVA, answers its examples, notices pictures from outside its world."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from training.calibrate import features
from training.clip_names import INDEX, WITH_LEVEL, WITHOUT_LEVEL, rename_weights, with_vision_level
from training.model import export
from training.out_of_distribution import MADE
from training.reference_model import load, reply
from training.vocabulary import build_tokenizer
from vscan_core.loading import load_model
from vscan_core.ood import OODReference, is_out_of_distribution, ood_distance
from vscan_core.reducers import REDUCERS
from vscan_eval.world import draw_scene, sample_scene

MODEL = Path("assets/mini")
EXAMPLES = Path("assets/examples")
LISTED = json.loads((EXAMPLES / "examples.json").read_text()) if EXAMPLES.exists() else []
pytestmark = pytest.mark.skipif(not (MODEL / "config.json").exists(), reason="no shipped model in this checkout")


@pytest.fixture(scope="module")
def mini():
    """Model and processor, loaded once."""
    return load(MODEL)


def pictures() -> list[Image.Image]:
    """The example pictures, in the order of examples.json."""
    return [Image.open(EXAMPLES / item["image"]).convert("RGB") for item in LISTED]


def test_answers_its_own_examples_and_twice_the_same(mini) -> None:
    questions = [item["question"] for item in LISTED]
    given = reply(*mini, pictures(), questions)
    right = [answer == item["answer"] for answer, item in zip(given, LISTED, strict=True)]
    assert sum(right) >= len(LISTED) - 1, list(zip(questions, given, right, strict=True))
    assert reply(*mini, pictures()[:2], questions[:2]) == given[:2]


def test_its_tokenizer_is_the_one_the_code_builds(mini) -> None:
    assert mini[1].tokenizer.get_vocab() == build_tokenizer().get_vocab()


@pytest.mark.parametrize(("method", "least"), [("trim", 0.9), ("cdpruner", 0.3), ("random", 0.0)])
def test_its_text_half_finds_what_the_question_names(method, least) -> None:
    lvlm, reducer, found = load_model("mini", device="cpu"), REDUCERS[method](retention=1 / 9), []
    for seed in range(900_000, 900_006):
        scene = sample_scene(seed)
        picture = draw_scene(scene)
        for number, thing in enumerate(scene.things, 1):
            (mine,) = np.nonzero(picture.owner == number)
            if thing in scene.unique() and 0 < len(mine) <= 63:
                preview = lvlm.preview(Image.fromarray(picture.pixels), reducer, f"Where is the {thing.name}?")
                found.append(np.isin(mine, preview.trace(reducer).kept.numpy()).mean())
    assert len(found) > 8 and least <= np.mean(found) and (method != "random" or np.mean(found) < 0.25), np.mean(found)


def test_shards_stay_small_and_half_precision() -> None:
    shards = list(MODEL.glob("*.safetensors"))
    assert shards and all(path.stat().st_size < 10_000_000 for path in shards)
    assert json.loads((MODEL / "config.json").read_text())["dtype"] == "float16"


def test_knows_its_world_from_noise_and_screenshots(mini) -> None:
    reference = OODReference.load(MODEL)
    assert reference is not None and OODReference.load("assets") is None
    assert not any(is_out_of_distribution(features(*mini, picture), reference) for picture in pictures()[:4])
    for kind in ("noise", "screenshot"):
        unknown = MADE[kind](np.random.default_rng(3))
        assert is_out_of_distribution(features(*mini, unknown), reference), kind


def test_strangeness_by_hand() -> None:
    reference = OODReference(torch.zeros(1, 4), torch.ones(4), torch.full((4,), 2.0), limit=0.9)
    assert ood_distance(torch.tensor([[1.0, 1, 1, 1], [3, 3, 3, 3]]), reference) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="expected"):
        ood_distance(torch.zeros(3, 5), reference)


def test_stock_vllm_and_every_transformers_read_its_names(mini, tmp_path) -> None:
    index = json.loads((MODEL / INDEX).read_text())
    names = list(index["weight_map"])
    assert not [name for name in names if name.startswith(WITHOUT_LEVEL) and not name.startswith(WITH_LEVEL)]
    assert names == sorted(names) and {name for name in names if name.startswith(WITH_LEVEL)}
    files = [path for path in MODEL.iterdir() if path.is_file()]
    for path in files:  # as transformers itself would write it
        shutil.copyfile(path, tmp_path / path.name)
    rename_weights(
        tmp_path, lambda name: WITHOUT_LEVEL + name.removeprefix(WITH_LEVEL) if name.startswith(WITH_LEVEL) else name
    )
    assert (tmp_path / "model-00003-of-00003.safetensors").stat().st_size < 3_000_000
    short, long = load(tmp_path)[0].state_dict(), mini[0].state_dict()
    assert short.keys() == long.keys() and all(torch.equal(short[name], tensor) for name, tensor in long.items())
    rename_weights(tmp_path, with_vision_level)
    assert all((tmp_path / path.name).read_bytes() == path.read_bytes() for path in files)


def test_what_is_exported_has_these_names(mini, tmp_path) -> None:
    export(mini[0], tmp_path)
    assert json.loads((tmp_path / INDEX).read_text())["weight_map"].keys() == names_of(MODEL)
    written = {path.name: load_file(path) for path in tmp_path.glob("model*.safetensors")}
    for name, tensors in written.items():
        shipped = load_file(MODEL / name)
        assert shipped.keys() == tensors.keys() and all(torch.equal(shipped[key], tensors[key]) for key in shipped)


def names_of(folder: Path) -> set[str]:
    """The names of its tensors."""
    return set(json.loads((folder / INDEX).read_text())["weight_map"])
