"""Dependencies point one way, transitively and without circles, and importing does nothing. Every rule can fail."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("vscan_core", "vscan_eval", "vscan_vllm", "app")
PAGES = ("app.compare", "app.explain", "app.arena", "app.sweep", "app.benchmarks")
API = ("vscan_core.attach", "vscan_core.inference", "vscan_core.lvlm", "vscan_core.loading", "vscan_core.cli")
EXAMINATION = [f"vscan_core.conformance.{name}" for name in ("__main__", "conftest", "test_choices", "test_running")]
ON_DEMAND = {
    "vscan_core.bench.plots": {"plotly"},  # of `vscan bench --plot`, which imports it last
    **{module: {"pytest"} for module in EXAMINATION},  # which only tests and `python -m` import
}
KIT = "vscan_core.conformance"  # which nothing else in the packages may import
BEFORE_VLLM = ("settings", "servable", "rehearsal", "usage", "middleware", "mrope")  # tested without an engine
WAIST = ("selection", "budget", "trace", "events", "geometry", "measure", "machine", "errors")
MAY_NOT_REACH = {
    "vscan_core": ("app", "vscan_eval", "vscan_vllm", "vllm", "gradio", "plotly", "training", "pytest", "hypothesis"),
    "vscan_core.reducers": ("transformers", "vscan_core.families", "vscan_core.engine", *API),
    "vscan_core.families": ("vscan_core.reducers", "vscan_core.engine", *API),
    "vscan_core.engine": API,
    "vscan_core.checkpoints": ("vscan_core.reducers", "vscan_core.engine", *API),
    "vscan_core.dummies": ("vscan_core.families", "vscan_core.reducers", "vscan_core.engine", *API),
    **{module: ("vscan_core.cli", "vscan_core.bench", KIT) for module in API if module != "vscan_core.cli"},
    "vscan_core.cli": (KIT,),
    "vscan_core.bench": ("vscan_core.cli", KIT),
    "vscan_core.media": ("transformers", "vscan_core.families", "vscan_core.reducers", "vscan_core.engine", *API),
    "vscan_core.draw": ("transformers", "vscan_core.families", "vscan_core.reducers", "vscan_core.engine", *API),
    **{
        f"vscan_core.{name}": ("transformers", "vscan_core.reducers", "vscan_core.families", "vscan_core.engine", *API)
        for name in WAIST
    },
    "vscan_eval": ("app", "vscan_vllm", "vllm", "gradio", "plotly", "pytest", KIT),
    "vscan_eval.task": ("transformers", "vscan_core.reducers", "vscan_core.families", *API),
    "vscan_eval.metrics": ("torch", "transformers", "vscan_eval.task"),
    "vscan_eval.tasks": ("transformers", "vscan_core.reducers", "vscan_core.families", *API),
    "vscan_vllm": ("app", "vscan_eval", "gradio", "plotly", "pytest", KIT),
    **{f"vscan_vllm.{name}": ("vllm",) for name in BEFORE_VLLM},
    "app": ("vscan_vllm", "vllm"),
    "app.formatting": ("gradio", "plotly", "app.session", "app.ui", "app.runs", "app.server", *PAGES),
    "app.words": ("gradio", "plotly", "torch", "vscan_core", "app.session", "app.ui", "app.runs", "app.server", *PAGES),
    "app.session": ("gradio", "plotly", "ray", "app.replicas", "app.ui", "app.stage", "app.runs", "app.server", *PAGES),
    "app.replicas": ("gradio", "plotly", "app.ui", "app.stage", "app.runs", "app.server", *PAGES),
    "app.charts": ("gradio", "app.session", "app.ui", "app.runs", "app.server", *PAGES),
    "app.ui": ("app.replicas", "app.stage", "app.runs", "app.server", *PAGES),
    "app.stage": ("app.runs", "app.server", *PAGES),
    "app.runs": ("app.server", *PAGES),
    "app.server": ("app.main",),
    **{page: ("app.server", *(other for other in PAGES if other != page)) for page in PAGES},
}


def module_of(file: Path) -> str:
    """vscan_core/reducers/base.py -> vscan_core.reducers.base; a package by its own name."""
    path = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(path[:-1] if path[-1] == "__init__" else path)


def imports(source: str, module: str = "", package: bool = False) -> set[str]:
    """Every module that a source text imports, also inside functions; `module` is its own name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: None if package and node.level == 1 else (package - node.level) or None]
                base = ".".join([*parents, *filter(None, [node.module])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def house() -> dict[str, set[str]]:
    """{module: what it imports}; names of ours are modules, names of others their first two parts."""
    files = {module_of(file): file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))}
    graph = {}
    for module, file in files.items():
        found = imports(file.read_text(), module, file.name == "__init__.py")
        ours = {name for name in found if name in files and name != module}
        # `from package import thing` means the thing's own file where there is one
        ours -= {name for name in ours if any(other.startswith(f"{name}.") for other in ours if other in found)}
        others = {name for name in found if name.partition(".")[0] not in PACKAGES}
        graph[module] = ours | {name for name in others if name.partition(".")[0] not in ON_DEMAND.get(module, ())}
    return graph


def below(name: str, places: Iterable[str]) -> bool:
    """Whether a module is one of `places`, or inside one."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def path_to(graph: dict[str, set[str]], start: str, forbidden: tuple[str, ...]) -> list[str]:
    """The shortest chain of imports from `start` to something forbidden; [] if there is none."""
    chains, known = [[start]], {start}
    for chain in chains:
        for name in sorted(graph.get(chain[-1], ())):
            if below(name, forbidden):
                return [*chain, name]
            if name not in known:
                known.add(name)
                chains.append([*chain, name])
    return []


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Chains of our modules that lead back to their first."""
    ours = {module: {name for name in found if name in graph} for module, found in graph.items()}
    return [chain for module in ours for name in ours[module] if (chain := path_to(ours, name, (module,)))
            and chain[-1] == module]  # fmt: skip


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return house()


@pytest.mark.parametrize("place", MAY_NOT_REACH)
def test_dependencies_point_one_way(graph, place) -> None:
    modules = [module for module in graph if below(module, [place])]
    assert modules, f"{place} is no module"
    for module in modules:
        assert not (chain := path_to(graph, module, MAY_NOT_REACH[place])), " -> ".join(chain)


def test_no_file_imports_itself_through_others(graph) -> None:
    assert not (found := circles(graph)), found[:3]


def test_the_rules_can_fail() -> None:
    graph = {"vscan_core.reducers.new": {"vscan_core.a"}, "vscan_core.a": {"vscan_core.b"}, "vscan_core.b": {"gradio"}}
    chain = path_to(graph, "vscan_core.reducers.new", ("gradio",))
    assert chain == ["vscan_core.reducers.new", "vscan_core.a", "vscan_core.b", "gradio"]
    assert not path_to(graph, "vscan_core.a", ("gradio_client",))
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) and not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    assert imports("from ..ui.events import RUN\nfrom . import table", "app.arena.page") == {
        "app.ui.events", "app.ui.events.RUN", "app.arena", "app.arena.table",
    }  # fmt: skip


def test_importing_the_core_loads_no_ui_and_probes_no_device() -> None:
    code = (
        "import sys, torch, threading; torch.cuda.is_available = None; import vscan_core; "
        "assert not {'gradio', 'plotly', 'app', 'vscan_eval', 'pytest'} & set(sys.modules); "
        "assert threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_files_and_functions_stay_small() -> None:
    for folder in PACKAGES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            limit = 260 if file.parent.name == "families" or file.name == "llm_side.py" else 220
            source = file.read_text()
            assert len(source.splitlines()) <= limit, file
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.FunctionDef):
                    lines = node.end_lineno - node.lineno - len((ast.get_docstring(node) or "").splitlines())
                    assert lines < 60, f"{file}: {node.name}"
