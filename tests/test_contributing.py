"""The worked example in CONTRIBUTING.md is a working reducer: this very text, registered as it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import vscan_core as vc
from tests.conftest import prompt
from tests.engine.test_reduced import STEPS, generate, rows_of
from tests.reducers import test_examination as examination
from tests.reference.masked import step_logits
from tests.test_architecture import MAY_NOT_REACH, below, imports
from vscan_core import reducers

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
(BLOCK,) = re.findall(r"^```python\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
QUESTIONS = [name for name in vars(examination) if name.startswith("test_")]


def with_line(package: ModuleType, line: str, before: str) -> dict[str, Any]:
    """What `package` would hold if `line` stood in its file, before the line `before`."""
    source = Path(package.__file__).read_text()
    assert source.count(before) == 1
    namespace = {"__name__": package.__name__}
    exec(source.replace(before, f"    {line}\n{before}"), namespace)
    return namespace


@pytest.fixture
def registered(tmp_path, monkeypatch) -> str:
    """The block as a file beside the other methods, and its line in METHODS; the name it got there."""
    (file,) = re.findall(r"`vscan_core/reducers/(\w+\.py)`; `tests", TEXT)
    (line,) = re.findall(r"^The line in `METHODS` of .* is `(.*)`\.$", TEXT, flags=re.MULTILINE)
    (tmp_path / file).write_text(BLOCK)
    monkeypatch.setattr(reducers, "__path__", [*reducers.__path__, str(tmp_path)])
    found = with_line(reducers, line, '    "VisPruner",\n')["REDUCERS"]
    (name,) = found.keys() - vc.REDUCERS.keys()
    monkeypatch.setitem(vc.REDUCERS, name, found[name])
    yield name
    sys.modules.pop(f"vscan_core.reducers.{name}")


def test_keeps_the_rules_it_stands_under(registered) -> None:
    assert not [name for name in imports(BLOCK) if below(name, MAY_NOT_REACH["vscan_core.reducers"])]
    assert vc.REDUCERS[registered].summary.startswith("keep the tokens")


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
