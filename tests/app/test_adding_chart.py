"""What CONTRIBUTING says about a new chart is true: one file and one line put it on a page."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from app.session.session import Session
from app.sweep import outputs
from app.sweep.page import SweepPage
from app.ui.charts import Chart
from tests.app.fake import FakeEngine

SECTION = re.search(
    r"^## A new chart.*?(?=^## |\Z)", (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(), re.S | re.M
)
assert SECTION
FILE = re.search(r"`app/charts/(?!mychart)(\w+)\.py`", SECTION[0])
CODE = re.search(r"```python\n(.*?)```", SECTION[0], re.S)
LINE = re.search(r"`(Chart\(.*?\)),`", SECTION[0], re.S)


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    """The file, as a module of `app.charts`."""
    assert FILE and CODE
    path = tmp_path / f"{FILE[1]}.py"
    path.write_text(CODE[1])
    name = f"app.charts.{FILE[1]}"
    assert importlib.util.find_spec(name) is None, "the example is there already"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


def test_one_file_and_one_line_put_a_chart_on_the_page(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LINE
    chart: Chart[Any] = eval(LINE[1], {"Chart": Chart, **vars(module)})
    monkeypatch.setattr(outputs, "CHARTS", (*outputs.CHARTS, chart))
    picture = tmp_path / "picture.png"
    Image.radial_gradient("L").convert("RGB").save(picture)
    with gr.Blocks() as blocks:
        page = SweepPage(Session(FakeEngine()), [])
    plot = next(each for each in blocks.blocks.values() if getattr(each, "elem_id", None) == chart.elem_id)
    shown = [each.value for each in blocks.blocks.values() if isinstance(each, gr.Markdown)]
    assert f"## {chart.title}" in shown and chart.note in shown
    last = list(page.on_run("mini", str(picture), "What?", ["0.5", "0.1"], "vscan"))[-1]
    bars = last[plot].data[0]
    assert list(bars.x) == ["Baseline", "50 %", "10 %"] and bars.y[0] > bars.y[1] > bars.y[2] > 0
    assert page.on_picture("mini", str(picture), ["0.5"], "vscan")[plot] is None
