"""One name, one meaning: no public class, function or constant is defined in two modules of the repository."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("vscan_core", "vscan_eval", "vscan_vllm", "app", "training", "benchmarks", "deploy", "docs")
PROTOCOLS = {
    "main": "entry point of a script",
    "CHARTS": "the charts of one page or tab; its widgets are built from them",
    "add": "adds one command to the command line",
    "train": "trains one stage; training.train calls it by that name",
    "titles": "navigation entries of generated pages; docs/hooks.py asks each generator for them",
    "pages": "Markdown of generated pages; docs/hooks.py asks each generator for them",
    "ROOT": "the folder of the repository",
    "T": "type variable",
}


def test_every_public_name_is_defined_once() -> None:
    assert repeated(ROOT) == {}


def test_a_name_that_is_defined_twice_is_found(tmp_path) -> None:
    files = {"vscan_core": "class Thing: ...\nLIMIT: int = 3\n", "app": "def Thing(): ...\n_LIMIT = 3\n"}
    for package, text in files.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "module.py").write_text(text)
    assert repeated(tmp_path) == {"Thing": ["vscan_core/module.py", "app/module.py"]}


def repeated(root: Path) -> dict[str, list[str]]:
    """Public names that several modules define, with these modules; what a class defines does not count."""
    found: dict[str, list[str]] = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            for name in set(defined(ast.parse(path.read_text()))):
                found[name].append(str(path.relative_to(root)))
    return {name: files for name, files in sorted(found.items()) if len(files) > 1 and name not in PROTOCOLS}


def defined(module: ast.Module) -> Iterator[str]:
    """Public names that a module's own statements bind, imports aside."""
    for node in module.body:
        names: list[str] = []
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names = [node.name]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        yield from (name for name in names if not name.startswith("_"))
