"""The worked example in CONTRIBUTING.md is a working reducer: this very text, registered as it says."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path

import pytest
import torch

import vscan_core as vc
from tests.conftest import prompt
from tests.engine.test_reduced import STEPS, generate, rows_of
from tests.reducers import test_examination as examination
from tests.reference.masked import step_logits
from tests.test_architecture import MAY_NOT_IMPORT, violations
from vscan_core.cli.main import summary

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
(BLOCK,) = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
QUESTIONS = [name for name in vars(examination) if name.startswith("test_")]


@pytest.fixture
def registered(tmp_path, monkeypatch) -> str:
    """The block as a file, its class in REDUCERS; the name it got there."""
    file = tmp_path / "example.py"
    file.write_text(BLOCK)
    spec = importlib.util.spec_from_file_location("vscan_core.reducers.example", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    (cls,) = (node.name for node in ast.parse(BLOCK).body if isinstance(node, ast.ClassDef))
    assert f"`{cls}," in TEXT  # the line that registers it
    monkeypatch.setitem(vc.REDUCERS, cls.lower(), getattr(module, cls))
    return cls.lower()


def test_keeps_the_rules_it_stands_under(registered) -> None:
    assert not violations(BLOCK, MAY_NOT_IMPORT["vscan_core/reducers"])
    assert summary(vc.REDUCERS[registered]).startswith("keep the tokens")
    assert f"reducers/{registered}.py" in TEXT


@pytest.mark.parametrize("question", QUESTIONS)
def test_passes_the_common_examination(registered, question) -> None:
    getattr(examination, question)(registered)


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
