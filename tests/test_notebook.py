"""The notebook runs from top to bottom, and is stored without outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from vscan_core.resources import asset

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def run(notebook: Any, folder: Path) -> str:
    """Execute a notebook in `folder`; all that its cells print or show as text."""
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    shown = [part for cell in notebook.cells for part in cell.get("outputs", [])]
    return "\n".join(part.get("text") or part.get("data", {}).get("text/plain", "") for part in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs(path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells and not [cell for cell in cells if cell.outputs or cell.execution_count]


def test_first_steps_answers_draws_and_reduces(tmp_path) -> None:
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    shown = run(notebook, tmp_path)
    example = json.loads(asset("examples", "examples.json").read_text())[3]
    assert example["question"] in shown
    assert shown.count(example["answer"]) >= 3  # all tokens, VScan, and in the comparison
    assert "[96, 96, 96, 32, 32, 32]" in shown
    assert all(name in shown for name in ("baseline", "vscan", "vispruner", "divprune", "random"))
    outputs = [part for cell in notebook.cells for part in cell.get("outputs", [])]
    pictures = [part for part in outputs if "image/png" in part.get("data", {})]
    assert len(pictures) == 3  # the example, and two token maps


def test_an_error_in_a_cell_is_one_here(tmp_path) -> None:
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("raise ValueError('no')")])
    with pytest.raises(CellExecutionError):
        run(broken, tmp_path)
