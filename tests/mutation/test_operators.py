"""The faults that a mutation run makes: each is one change, and it takes effect."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.mutation import operators
from tests.mutation.__main__ import SOURCES, examined_by

SOURCE = '''
def clipped(values: list[int | None], limit: int = 3) -> list[int]:
    """Text with a number: 7."""
    if limit <= 0:
        raise ValueError(f"limit {limit + 1}")
    assert limit > 0
    return values[:limit]
'''
CHANGES = [
    "`3` -> `4`",
    "`if limit <= 0:` -> `pass`",
    "`limit <= 0` -> `limit < 0`",
    "`0` -> `1`",
    "`return values[:limit]` -> `return None`",
    "`_[:limit]` -> `_[:limit + 1]`",
]


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(operators, "ROOT", tmp_path)
    (tmp_path / "module.py").write_text(SOURCE)
    return "module.py"


def test_conditions_bounds_and_results_change_but_no_text_type_or_assert(source) -> None:
    assert sorted(mutant.change for mutant, _ in operators.all_mutants(source)) == sorted(CHANGES)


def test_a_mutant_has_one_change(source) -> None:
    for mutant, tree in operators.all_mutants(source):
        scope: dict[str, object] = {}
        exec(compile(tree, source, "exec"), scope)
        given = ([1, 2, 3, 4, 5],)
        if mutant.change in ("`3` -> `4`", "`_[:limit]` -> `_[:limit + 1]`"):
            assert scope["clipped"](*given) == [1, 2, 3, 4]
        elif mutant.change == "`return values[:limit]` -> `return None`":
            assert scope["clipped"](*given) is None
        else:
            assert scope["clipped"](*given) == [1, 2, 3]


def test_the_sample_is_the_same_every_time(source) -> None:
    chosen = operators.sample(source, 3)
    assert len(chosen) == 3 and chosen == operators.sample(source, 3)
    assert len(operators.sample(source, 99)) == len(CHANGES)


def test_an_installed_mutant_is_what_is_imported() -> None:
    code = (
        "from tests.mutation.__main__ import all_mutants, install\n"
        "found = [m for m, _ in all_mutants('vscan_core/budget.py') if '`keep * tokens` -> ' in m.change]\n"
        "install(found[0])\n"
        "from vscan_core import budget\n"
        "print(budget.whole(0.5, 10))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=operators.ROOT)
    assert done.stdout.split() == ["1"]  # 0.5 / 10, and at least 1; 5 without the fault


def test_every_source_has_tests_that_exist() -> None:
    for pattern in SOURCES:
        for path in operators.ROOT.glob(pattern):
            tests = examined_by(path.relative_to(operators.ROOT).as_posix())
            assert tests and all((operators.ROOT / test).is_file() for test in tests)
