"""The worked examples in CONTRIBUTING.md work: a method and a family, this very text, registered as it says."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.conftest import prompt
from tests.engine.test_reduced import STEPS, generate, rows_of
from tests.families.test_families import position_ids
from tests.reference.masked import step_logits
from tests.test_architecture import MAY_NOT_REACH, below, imports
from vscan_core import catalog, families, reducers
from vscan_core.conformance import test_choices
from vscan_core.conformance.hidden import hidden_logits

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
(METHOD,) = (block for block in BLOCKS if "(AtEntrance):" in block)
(FAMILY,) = (block for block in BLOCKS if "(Llava):" in block)
QUESTIONS = [name for name in vars(test_choices.TestChoices) if name.startswith("test_")]


def run_again(module: ModuleType, line: str = "", before: str = "") -> dict[str, Any]:
    """What `module` holds when its file is run now, with `line` in it before the line `before`."""
    source = Path(module.__file__).read_text()
    if line:
        assert source.count(before) == 1
        source = source.replace(before, f"    {line}\n{before}")
    namespace = {"__name__": module.__name__}
    exec(source, namespace)
    return namespace


def steps_of(folder: str, table: str) -> tuple[str, str]:
    """(file name, line) that the text gives for a method or a family."""
    (file,) = re.findall(rf"^A complete one, `vscan_core/{folder}/(\w+\.py)`;", TEXT, flags=re.MULTILINE)
    (line,) = re.findall(
        rf"^The line in `{table}` of `vscan_core/{folder}/__init__.py` is `(.*)`\.$", TEXT, re.MULTILINE
    )
    return file, line


@pytest.fixture
def registered(tmp_path, monkeypatch) -> Iterator[str]:
    """The block as a file beside the other methods, and its line in METHODS; the name it got there."""
    file, line = steps_of("reducers", "METHODS")
    (tmp_path / file).write_text(METHOD)
    monkeypatch.setattr(reducers, "__path__", [*reducers.__path__, str(tmp_path)])
    found = run_again(reducers, line, '    "VisPruner",\n')["REDUCERS"]
    (name,) = found.keys() - vc.REDUCERS.keys()
    monkeypatch.setitem(vc.REDUCERS, name, found[name])
    yield name
    del sys.modules[f"vscan_core.reducers.{name}"]


@pytest.fixture
def family(tmp_path, monkeypatch) -> Iterator[vc.LVLM]:
    """The block as a file beside the other families, and its line in CLASSES; the small model it adds."""
    file, line = steps_of("families", "CLASSES")
    (tmp_path / file).write_text(FAMILY)
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
    found = run_again(families, line, '    "llava_next.LlavaNext",\n')["FAMILIES"]
    (name,) = found.keys() - families.FAMILIES.keys()
    monkeypatch.setitem(families.FAMILIES, name, found[name])
    extended = run_again(catalog)
    for table in ("MODELS", "SHAPES"):
        here = vars(catalog)[table]
        for entry in [entry for entry in extended[table] if entry not in here]:
            monkeypatch.setitem(here, entry, extended[table][entry])
    (small,) = set(extended["SMALL"]) - set(catalog.SMALL)
    yield vc.load_model(small, device="cpu")
    del sys.modules[f"vscan_core.families.{file.removesuffix('.py')}"]


def test_keeps_the_rules_it_stands_under(registered) -> None:
    assert not [name for name in imports(METHOD) if below(name, MAY_NOT_REACH["vscan_core.reducers"])]
    assert vc.REDUCERS[registered].summary.startswith("keep the tokens")


@pytest.mark.parametrize("question", QUESTIONS)
def test_passes_the_common_examination(registered, question) -> None:
    more = {"dtype": torch.bfloat16} if question.startswith("test_half") else {}
    getattr(test_choices.TestChoices(), question)(registered, **more)


@torch.no_grad()
def test_runs_in_a_model(registered, sdpa_llava) -> None:
    inputs = prompt([0, 2, 1])
    out, trace = generate(sdpa_llava, inputs, vc.REDUCERS[registered](retention=0.3))
    logits, histories = torch.stack(out.logits, dim=1), []
    for i, (row, pixels) in enumerate(rows_of(inputs)):

        def entrance(image, pixels=pixels):
            hidden = sdpa_llava.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
            rows = sdpa_llava.model.multi_modal_projector(hidden)[image]
            kept = sorted(sorted(range(36), key=lambda token: -rows[token].norm().item())[:11])
            return kept, rows[kept]

        new = out.sequences[i, -STEPS:]
        expected, history = step_logits(sdpa_llava, row, pixels, new, entrance=None if pixels is None else entrance)
        torch.testing.assert_close(logits[i], expected, atol=1e-5, rtol=0)
        histories += history
    assert [[cut.kept.tolist() for cut in image.cuts] for image in trace.images] == histories


def test_a_family_brings_its_entries_of_the_catalog(family) -> None:
    cards = [card for card in catalog.MODELS.values() if card.family == family.family.model_type]
    assert [card.random for card in cards] == [False, True, True] and cards[0].dummy == cards[1].name
    millions = sum(weight.numel() for weight in family.model.parameters()) / 1e6
    assert f", {millions:.0f}M random weights" in cards[2].title and cards[2].name == family.name


@torch.no_grad()
def test_a_family_drops_as_if_it_hid(family) -> None:
    inputs = family.inputs(Image.effect_noise((120, 120), 80).convert("RGB"), "Is there a cat?")
    model, reducer = family.model, vc.VScan(encoder_keep=0.3, llm_keep={6: 0.4}, merge=False)
    out, trace = generate(model, inputs, reducer)
    ids = torch.cat([inputs["input_ids"][0], out.sequences[0, -STEPS:-1]])
    (columns,) = (ids == family.family.image_token_id(model)).nonzero(as_tuple=True)
    embeds = model.get_input_embeddings()(ids)
    embeds[columns] = family.family.encode(model, {"pixel_values": inputs["pixel_values"]}).pooler_output[0]
    language_model = family.family.language_model(model)
    expected = hidden_logits(model, embeds, [columns], trace.images, partial(position_ids, None), language_model, [])
    assert [len(cut.kept) for cut in trace.images[0].cuts] == [172, 68]
    torch.testing.assert_close(torch.cat(out.logits), expected[-STEPS:], atol=1e-5, rtol=0)
