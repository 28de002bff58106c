"""The names of the installed transformers are known, the declared range is the tested one, and a rename is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import transformers
from packaging.requirements import Requirement
from packaging.version import Version

import vscan_core as vc
from tests.conftest import prompt, tiny_llava
from tests.families.test_families import FAMILIES
from tests.versions import pinned
from vscan_core import versions

ROOT = Path(__file__).parent.parent


def declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return next(need for need in map(Requirement, project["dependencies"]) if need.name == "transformers").specifier


def test_the_declared_range_is_what_was_tested() -> None:
    newest = Version(versions.NEWEST)
    assert versions.OLDEST in declared() and versions.NEWEST in declared() and pinned() in declared()
    assert f"{newest.major}.{newest.minor + 1}.0" not in declared() and "5.16.9" not in declared()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_of_the_installed_version_passes_the_check(name) -> None:
    model = FAMILIES[name][0]("sdpa")
    with pytest.raises(RuntimeError, match="did not run"), vc.reduced(model, vc.VScan()):
        pass  # attached, so known


def test_a_rename_is_refused_before_anything_runs(monkeypatch) -> None:
    model = tiny_llava()
    stack = type(model.model.language_model)

    def forward(self, input_ids=None, mask=None, position_ids=None, memory=None, inputs_embeds=None):
        raise AssertionError

    renamed = type("Renamed", (stack,), {"forward": forward})
    monkeypatch.setattr(model.model.language_model, "__class__", renamed)
    sentence = (
        f"transformers {transformers.__version__} differs .* attention_mask of Renamed, {versions.CACHE} of Renamed"
    )
    with pytest.raises(RuntimeError, match=sentence), vc.reduced(model, vc.VScan()):
        model(**prompt([1]))


def test_a_cache_method_under_another_name_is_refused(monkeypatch) -> None:
    model = tiny_llava()
    versions._differences.cache_clear()
    monkeypatch.delattr(versions.Cache, "get_mask_sizes")
    with pytest.raises(RuntimeError, match=r"it lacks Cache\.get_mask_sizes; install"), vc.reduced(model, vc.VScan()):
        pass
    versions._differences.cache_clear()


def test_callers_may_use_either_name_of_the_cache() -> None:
    cache = object()
    for name in versions.CACHE_NAMES:
        assert versions.cache_in({name: cache, "use_cache": True}) is cache
        assert versions.with_cache({name: cache, "use_cache": True}, 7) == {"use_cache": True, versions.CACHE: 7}
    assert versions.cache_in({"cache": None}) is None
