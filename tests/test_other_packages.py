"""Methods of other packages: found by their entry points, examined, and never in the way of the built-in ones."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import vscan_core as vc
from vscan_core.cli import methods
from vscan_core.cli.main import main
from vscan_core.conformance import __main__ as conformance
from vscan_core.multirun import needs_of
from vscan_core.reducers import METHODS, MethodTable
from vscan_core.selection import Needs

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/third_party.md").read_text()
FILES = dict(re.findall(r"^`([\w.]+)` .*?^```(?:toml|python)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE))
METHOD = """
from dataclasses import dataclass
from vscan_core.reducers.grid import Grid as Lattice
{before}
@dataclass(frozen=True)
class {name}(Lattice):
    title = {title!r}
    summary = "keep a lattice of tokens"
{body}
"""
IN_A_PROCESS = """
import sys
import vscan_core as vc
from app.session.engine import Engine
assert vc.REDUCERS["fastv"].title == "FastV" and "vscan_contrast" not in sys.modules
assert vc.REDUCERS["contrast"].title == "Contrast" and "vscan_contrast" in sys.modules
assert list(Engine().methods())[-1] == "contrast" and Engine().method("contrast") is vc.REDUCERS["contrast"]
from vscan_core.cli.main import main
picture, question = sys.argv[1:]
sys.exit(main(["compare", "--image", picture, "--question", question, "--method", "contrast,grid", "--json"]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder in which the page's package is installed, with its own tests beside it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name, text in FILES.items():
        (source / name).write_text(text)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True)
    (target / "test_contrast.py").write_text(FILES["test_contrast.py"])
    offer(target, "vendor", "lattice", text="import no_such_module")
    return target


def python(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run of Python to which the package is installed."""
    settings = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(installed)])}
    return subprocess.run([sys.executable, *arguments], cwd=installed, env=settings, capture_output=True, text=True)


def test_the_package_of_the_documentation_is_short() -> None:
    assert set(FILES) == {"pyproject.toml", "vscan_contrast.py", "test_contrast.py"}
    assert sum(len(text.splitlines()) for text in FILES.values()) < 60


def test_it_passes_the_examination_and_its_own_tests(installed) -> None:
    done = python(installed, "-m", "vscan_core.conformance", "contrast", "-v", "test_contrast.py")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    ran = re.findall(r"^(?:.*/)?(test_\w+)\.py::.*\[(\S+)\] (\w+)", done.stdout, flags=re.MULTILINE)
    assert {(file, outcome) for file, _, outcome in ran} == {
        (file, "PASSED") for file in ("test_choices", "test_running", "test_contrast")
    }
    assert all("contrast" in about for _, about, _ in ran) and len(ran) > 30


def test_it_is_listed_looked_up_and_run_like_a_built_in_one(installed, tmp_path) -> None:
    picture = tmp_path / "picture.png"
    Image.effect_noise((64, 64), 80).convert("RGB").save(picture)
    done = python(installed, "-c", IN_A_PROCESS, str(picture), "What is it?")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"the method 'lattice' of vendor 1.5 is left out: .*\n", done.stderr)
    foreign, own = json.loads(done.stdout)["runs"]
    assert foreign["method"] == foreign["reduced"]["method"] == "contrast" and own["method"] == "grid"
    assert foreign["reduced"]["trace"]["visual_tokens_per_layer"][0] == 64


def offer(folder: Path, package: str, name: str, module: str = "", text: str = "", thing: str = "") -> None:
    """Put an installed package into a folder: one module, one entry point."""
    folder.mkdir(exist_ok=True)
    module = module or f"offered_by_{package}"
    (folder / f"{module}.py").write_text(text)
    info = folder / f"{package}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[vscan_core.reducers]\n{name} = {module}:{thing or name.capitalize()}\n")


def method(name: str, title: str = "", before: str = "", body: str = "") -> str:
    """The text of a module with a method in it."""
    return METHOD.format(name=name, title=title or name, before=before, body=body)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder for packages, on the path."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    yield tmp_path / "packages"
    for name in set(sys.modules) - before:
        if name.startswith("offered_by_"):
            del sys.modules[name]


def fresh() -> MethodTable:
    """A table that has not looked at other packages yet."""
    return MethodTable({name.lower(): vc.REDUCERS[name.lower()] for name in METHODS})


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "fails to import": ({"name": "lattice", "text": "import no_such_module"}, "No module named 'no_such_module'"),
    "ends the program": ({"name": "lattice", "text": "raise SystemExit(3)"}, "cannot be imported (SystemExit: 3)"),
    "is not there": ({"name": "lattice", "text": ""}, "cannot be imported (AttributeError: module"),
    "is no class": ({"name": "lattice", "text": "Lattice = 3"}, "is no complete subclass of vscan_core.Reducer"),
    "is unfinished": ({"name": "lattice", "text": "from vscan_core import Reducer as Lattice"}, "no complete subclass"),
    "has a built-in's name": ({"name": "grid", "text": method("Grid")}, "vscan_core itself has a method of that name"),
    "has no good name": ({"name": "my-lattice", "text": method("Mine"), "thing": "Mine"}, "small letters and digits"),
    "means something else": ({"name": "baseline", "text": method("Baseline")}, "is none of baseline, none"),
    "is called otherwise": ({"name": "lattice", "text": method("Other"), "thing": "Other"}, "differ"),
    "has another title": ({"name": "lattice", "text": method("Lattice", "FastV")}, "its title (FastV) differ"),
    "says nothing": (
        {"name": "lattice", "text": method("Lattice", body='    summary = ""')},
        "title, summary and paper",
    ),
    "fails at once": (
        {"name": "lattice", "text": method("Lattice", body="    def needs(self, anatomy):\n        return 1 / 0")},
        "fails before it has seen a picture (ZeroDivisionError",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_one_that_cannot_be_used_is_left_out_in_one_sentence(folder, caplog, case) -> None:
    given, reason = BROKEN[case]
    offer(folder, "vendor", **given)
    offer(folder, "other", "spotted", text=method("Spotted"))
    table, name = fresh(), given["name"]
    with caplog.at_level(logging.WARNING):
        assert list(table) == [*map(str.lower, METHODS), "spotted"] and len(table) == len(METHODS) + 1
        list(table)
    (sentence,) = caplog.messages
    assert sentence == table.left_out[name] and "\n" not in sentence
    assert sentence.startswith(f"the method {name!r} of vendor 1.5 is left out: ") and reason in sentence
    if name in table.own:
        assert table.named(name) is table[name] is vc.REDUCERS[name]
    else:
        assert name not in table and table.get(name) is None
        with pytest.raises(vc.InputError) as error:
            table.named(name)
        assert str(error.value) == sentence


def test_of_two_packages_with_one_name_neither_is_chosen(folder) -> None:
    for package in ("vendor", "other"):
        offer(folder, package, "lattice", text=method("Lattice"))
    table = fresh()
    assert "lattice" not in table and table["grid"] is vc.REDUCERS["grid"]
    assert table.left_out["lattice"].startswith("the method 'lattice' of other 1.5 and vendor 1.5 is left out: ")


def test_only_what_is_looked_up_is_imported(folder) -> None:
    offer(folder, "vendor", "lattice", text=method("Lattice"))
    offer(folder, "other", "spotted", text=method("Spotted"))
    table = fresh()
    assert table["grid"] and "nosuch" not in table and not [name for name in sys.modules if "offered_by" in name]
    assert table["lattice"](0.5).title == "Lattice" and "offered_by_other" not in sys.modules
    with pytest.raises(vc.InputError, match=r"no method 'nosuch'; choose nothing, vscan, .*, lattice, spotted$"):
        table.named("nosuch", "nothing, ")
    assert "offered_by_other" in sys.modules
    table["lattice"] = vc.VScan
    assert table["lattice"] is vc.VScan and list(table).count("lattice") == 1
    del table["lattice"]
    assert table["lattice"].title == "Lattice" and repr(table) == repr(dict(table))


def test_the_command_line_lists_the_others(folder, capsys, monkeypatch) -> None:
    offer(folder, "vendor", "lattice", text=method("Lattice"))
    monkeypatch.setattr(methods, "REDUCERS", fresh())
    assert main(["methods"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*map(str.lower, METHODS), "lattice"]


def test_the_examination_of_no_method_is_an_error(folder, capsys, monkeypatch) -> None:
    offer(folder, "vendor", "lattice", text="import no_such_module")
    monkeypatch.setattr(conformance, "REDUCERS", fresh())
    assert conformance.examine(["nosuch"]) == 2 and "there is no method 'nosuch'" in capsys.readouterr().err
    assert conformance.examine(["lattice"]) == 2
    assert capsys.readouterr().err.startswith("error: the method 'lattice' of vendor 1.5 is left out")
    monkeypatch.setattr(conformance, "find_spec", lambda name: None)
    assert conformance.examine(["grid"]) == 2 and "needs pytest" in capsys.readouterr().err


class Unlucky(vc.VScan):
    """Fails on some models, as a method of another package may."""

    wants: Any = None

    def needs(self, anatomy):
        if self.wants is None:
            raise KeyError("a layer")
        return self.wants


@pytest.mark.parametrize("wants", [None, Needs(cls_attention=(99,)), Needs(received=(-1,))], ids=str)
def test_a_method_that_fails_does_not_spoil_the_picture_for_others(mini, monkeypatch, wants) -> None:
    monkeypatch.setattr(Unlucky, "wants", wants)
    assert needs_of(mini, [vc.VScan, Unlucky]) == needs_of(mini, [vc.VScan])
