"""Random-weight models: the catalogued architectures, and small ones that really run."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

import vscan_core as vc
from vscan_core.bench.memory import Tally
from vscan_core.catalog import MODELS, SHAPES, SMALL, is_random
from vscan_core.cli.main import main
from vscan_core.dummies import model_of
from vscan_core.dummies.shapes import Ids
from vscan_core.families import FAMILIES, family_of

IDS = Ids(image=10, video=11, vision_start=12, vision_end=13, start=1, pad=0)
HUB = [card for card in MODELS.values() if "/" in card.name]
SQUARE = Image.effect_noise((120, 120), 80).convert("RGB")


def on_meta(name: str):
    """The architecture without memory for weights."""
    return model_of(
        FAMILIES[MODELS[name].family].dummy_config(SHAPES[name], IDS), torch.device("meta"), torch.bfloat16, "sdpa"
    )


def loaded(name: str) -> vc.LVLM:
    try:
        return vc.load_model(name, device="cpu")
    except vc.InputError as error:
        if "torchvision" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize("card", HUB, ids=lambda card: card.name)
def test_a_catalogued_model_has_its_architecture_as_a_dummy(card) -> None:
    model = on_meta(card.dummy)
    weights = sum(part.numel() for part in {id(part): part for part in model.parameters()}.values())
    assert weights / 1e9 == pytest.approx(card.billions, abs=0.03)
    family = family_of(model)
    assert family.model_type == card.family == MODELS[card.dummy].family
    anatomy, said = family.anatomy(model), card.defaults
    assert (said.local_layer, said.global_layer) == (anatomy.shallow_layer, anatomy.feature_layer)
    assert max(vc.VScan(retention=1 / 9).schedule(256, anatomy)) == said.prune_layer >= anatomy.first_cut
    assert said.positions == anatomy.positions
    unpublished = "no published VScan setting" in str(type(family).__doc__) or card.family == "smolvlm"
    assert (said.source == "published") is not unpublished


def test_every_family_has_a_catalogued_model_and_a_small_one() -> None:
    assert {card.family for card in HUB} == {MODELS[name].family for name in SMALL} == set(FAMILIES)
    assert set(SHAPES) == {name for name, card in MODELS.items() if card.random} == set(filter(is_random, MODELS))
    assert len(MODELS) == 1 + len(HUB) + len(SHAPES)  # no family lists the models of another one


@pytest.mark.parametrize("name", SMALL)
def test_a_small_one_answers_from_a_shell(name, tmp_path, capsys) -> None:
    loaded(name)
    SQUARE.save(tmp_path / "picture.png")
    arguments = ["--image", str(tmp_path / "picture.png"), "--question", "Is there a cat?", "--max-new-tokens", "1"]
    code = main(["ask", "--model", name, *arguments, "--json"])
    out = capsys.readouterr()
    assert code == 0, out.err
    found = json.loads(out.out)["trace"]
    per_layer, unreduced = found["visual_tokens_per_layer"], sum(image["tokens"] for image in found["images"])
    assert unreduced > per_layer[0] > per_layer[-1] > 0


@pytest.mark.parametrize("name", ["video-llava-small", "qwen2.5-vl-small", "qwen3-vl-small"])
def test_vscan_never_needs_more_memory_than_the_baseline(name) -> None:
    lvlm = loaded(f"dummy:{name}")
    peaks = []
    for reducer in (None, vc.VScan(retention=1 / 3), vc.VScan(retention=1 / 9)):
        list(vc.answer(lvlm, SQUARE, "Is there a cat?", reducer, max_new_tokens=1))
        with Tally() as tally:
            list(vc.answer(lvlm, SQUARE, "Is there a cat?", reducer, max_new_tokens=1))
        peaks.append(tally.peak)
    # where the vision tower needs most, what the method records of it (a few bytes per token) comes on top
    assert 0 < max(peaks[1:]) <= 1.001 * peaks[0]
