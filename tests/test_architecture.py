"""Dependencies point one way, and importing does nothing. The rules are shown to be able to fail."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_NOT_IMPORT = {
    "vscan_core": ("app", "gradio", "plotly", "training"),
    "vscan_core/reducers": ("transformers", "vscan_core.families", "vscan_core.attach", "vscan_core.inference"),
    "vscan_core/families": ("vscan_core.reducers", "vscan_core.attach", "vscan_core.inference"),
    "vscan_core/selection.py": ("transformers", "vscan_core.reducers", "vscan_core.families"),
    "vscan_core/evaluation/task.py": ("torch", "transformers", "vscan_core.reducers", "vscan_core.families"),
    "vscan_core/evaluation/metrics.py": ("torch", "transformers", "vscan_core.evaluation.task"),
    "vscan_core/evaluation/tasks": ("transformers", "vscan_core.reducers", "vscan_core.families", "vscan_core.attach"),
    "vscan_core/trace.py": ("transformers", "vscan_core.reducers", "vscan_core.families"),
    "app/charts": ("gradio",),
    "app/session.py": ("gradio",),
}


def imports(source: str) -> set[str]:
    """Every module that a source text imports, by full name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def violations(source: str, forbidden: tuple[str, ...]) -> set[str]:
    return {name for name in imports(source) for bad in forbidden if name == bad or name.startswith(bad + ".")}


@pytest.mark.parametrize("place", MAY_NOT_IMPORT)
def test_dependencies_point_one_way(place) -> None:
    path = ROOT / place
    files = [path] if path.suffix else sorted(path.rglob("*.py"))
    assert files, f"{place} has no Python files"
    for file in files:
        assert not violations(file.read_text(), MAY_NOT_IMPORT[place]), file


def test_the_rule_can_fail() -> None:
    assert violations("from vscan_core.families import Llava", MAY_NOT_IMPORT["vscan_core/reducers"])
    assert violations("import gradio as gr", MAY_NOT_IMPORT["vscan_core"])
    assert not violations("import gradio_client", MAY_NOT_IMPORT["vscan_core"])


def test_importing_the_core_loads_no_ui_and_probes_no_device() -> None:
    code = (
        "import sys, torch, threading; torch.cuda.is_available = None; import vscan_core; "
        "assert not {'gradio', 'plotly', 'app'} & set(sys.modules); assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_files_and_functions_stay_small() -> None:
    for folder in ("vscan_core", "app"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            limit = 260 if file.parent.name == "families" or file.name == "decoding.py" else 220
            source = file.read_text()
            assert len(source.splitlines()) <= limit, file
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.FunctionDef):
                    lines = node.end_lineno - node.lineno - len((ast.get_docstring(node) or "").splitlines())
                    assert lines < 60, f"{file}: {node.name}"
