"""The tab in CONTRIBUTING.md works as it says: this very text, in a folder of the app, listed by its name."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import app
from app.main import PAGES, build_app, page_class
from app.session.session import Session
from tests.app.fake import METHODS, FakeEngine
from tests.test_architecture import MAY_NOT_REACH, ROOT, below, imports

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
(SECTION,) = re.findall(r"^## A new tab.*?(?=^## |\Z)", TEXT, flags=re.DOTALL | re.MULTILINE)
(PAGE,) = re.findall(r"^```py\n(.*?)^```$", SECTION, flags=re.DOTALL | re.MULTILINE)
(FOLDER,) = re.findall(r"A folder `app/(\w+)/`", SECTION)


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page beside the other ones, in a folder of its own."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "__init__.py").touch()
    (tmp_path / FOLDER / "page.py").write_text(PAGE)
    monkeypatch.setattr(app, "__path__", [*app.__path__, str(tmp_path)])
    yield FOLDER
    for name in [name for name in sys.modules if below(name, [f"app.{FOLDER}"])]:
        del sys.modules[name]


def test_a_tab_is_a_folder_and_a_line(added: str) -> None:
    demo = build_app(Session(FakeEngine()), [], [*PAGES, added])
    tabs = {block.id: block.label for block in demo.blocks.values() if block.get_block_name() == "tabitem"}
    assert tabs[added] == "Methods" and set(PAGES) < set(tabs)
    (text,) = [block for block in demo.blocks.values() if block.elem_id == "methods-list"]
    events = [event for event in demo.fns.values() if text in event.outputs]
    assert len(events) == 1 and all(f"**{cls.title}**" in events[0].fn() for cls in METHODS.values())
    assert any(f'"{added}"' in str(event.js) for event in demo.fns.values())  # its address


def test_the_tab_keeps_the_rules_of_pages(added: str) -> None:
    found = imports(PAGE, f"app.{added}.page")
    assert found and not [name for name in found if below(name, MAY_NOT_REACH["app.compare"])]


def test_every_page_is_found_by_the_name_of_its_folder() -> None:
    assert [page_class(name).__module__ for name in PAGES] == [f"app.{name}.page" for name in PAGES]
