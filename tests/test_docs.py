"""The site builds without warnings and without the network, and the documentation speaks of what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from mkdocs.commands import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

import vscan_core as vc
from vscan_core.catalog import MODELS
from vscan_core.families import FAMILIES

ROOT = Path(__file__).parent.parent
CHANGES = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
NAME = re.compile(r"\b(?:vscan_core|vscan_eval|vscan_vllm|app|benchmarks|training)(?:\.[A-Za-z_]\w*)+")
FOLDERS = "vscan_core|vscan_eval|vscan_vllm|app|assets|benchmarks|docs|notebooks|tests|training"
FILE = re.compile(rf"`((?:{FOLDERS})/[\w./-]*)`")
WRITTEN = ("docs/mutation.md",)  # by a command that the page explains


class Links(HTMLParser):
    """What a page links to, loads, and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {name for name in (found.get("id"), found.get("name")) if name}
        if tag == "a" and (target := found.get("href")):
            self.targets.append(target)
        if tag in ("img", "script", "link") and (target := found.get("src") or found.get("href")):
            self.loaded.append(target)


def built(folder: Path, **changes: Any) -> Path:
    """The site in `folder`; raises Abort where `mkdocs build --strict` fails."""
    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder), **changes)
    config.plugins.on_startup(command="build", dirty=False)
    try:
        build.build(config)
    finally:
        config.plugins.on_shutdown()
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Links]:
    return {path: Links(path.read_text()) for path in site.rglob("*.html")}


def test_a_broken_link_fails_the_build(tmp_path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "index.md").write_text("[nowhere](nowhere.md)\n")
    with pytest.raises(Abort):
        built(tmp_path / "site", docs_dir=str(folder), hooks=[], nav=None)


@pytest.mark.parametrize("name", vc.REDUCERS.own)
def test_every_method_has_a_page_with_its_paper_and_its_budgets(site, name) -> None:
    cls, text = vc.REDUCERS[name], (site / "methods" / name / "index.html").read_text()
    assert f">{cls.title}<" in text and cls.summary.split()[-1] in text
    assert all(f"https://arxiv.org/abs/{number}" in text for number in re.findall(r"\d{4}\.\d{5}", cls.paper))
    assert text.count("<td>50.0%</td>") == text.count("<td>11.1%</td>") == 1
    assert "<code>positions</code>" in text
    assert 'id="source"' in text


def test_budgets_are_those_that_the_method_computes(site) -> None:
    assert "<td>96 (layers 0-15), 32 (layers 16-31)</td>" in (site / "methods/vscan/index.html").read_text()
    assert "refused: retention 0.1111 is out of reach" in (site / "methods/pyramiddrop/index.html").read_text()


def test_the_diagrams_show_what_the_methods_compute() -> None:
    made = run_path(str(ROOT / "docs" / "make_pictures.py"))
    for name, colour in made["SCHEDULES"].items():
        assert (ROOT / f"docs/pictures/schedule_{name}.svg").read_text() == made["diagram"](name, colour)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_a_page_with_its_models(site, name) -> None:
    text = (site / "families" / name / "index.html").read_text()
    assert f">{FAMILIES[name].title}<" in text
    hub = [card.name for card in MODELS.values() if card.family == name and card.defaults is not None]
    assert hub and all(f"<code>{model}</code>" in text for model in hub)


def test_the_reference_documents_everything_at_the_door(pages, site) -> None:
    anchors = pages[site / "api" / "index.html"].anchors
    assert {name for name in vc.__all__ if f"vscan_core.{name}" not in anchors} == {"Event", "REDUCERS"}
    text = (site / "api" / "index.html").read_text()
    assert "<code>REDUCERS</code>" in text and "Event = Prefilled" in text
    assert (
        "<p>Of keys and values (or states, in layers without them) in the KV cache after prefill</p>" in text
    )  # a comment behind a field of Cost


def test_links_lead_somewhere_inside_the_site(pages, site) -> None:
    dead = {str(page.relative_to(site)): [*missing(page, links, pages)] for page, links in pages.items()}
    assert len(pages) > 40 and not {page: targets for page, targets in dead.items() if targets}


def missing(page: Path, links: Links, pages: dict[Path, Links]) -> Iterator[str]:
    """Relative targets of a page without a file or an anchor."""
    for target in {*links.targets, *links.loaded}:
        url = urlsplit(target)
        if url.scheme or url.netloc or url.path.startswith("/") or page.name == "404.html":
            continue
        file = (page.parent / unquote(url.path)).resolve() if url.path else page
        file = file / "index.html" if file.is_dir() else file
        if not file.is_file() or (url.fragment and file in pages and url.fragment not in pages[file].anchors):
            yield target


def test_nothing_is_loaded_from_another_host(pages, site) -> None:
    loaded = {target for links in pages.values() for target in links.loaded}
    assert not [target for target in loaded if urlsplit(target).netloc]
    styles = "".join(file.read_text() for file in site.rglob("*.css"))
    assert not re.findall(r"(?:url\(|@import )['\"]?(?:https?:)?//", styles)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_of_modules_can_be_imported(page) -> None:
    names = set(NAME.findall(page.read_text()))
    assert not [name for name in names if not exists(name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page) -> None:
    text = page.read_text().split("\n## Adding")[0].split("\n## A new")[0]  # what follows names files to be made
    assert not [path for path in FILE.findall(text) if not (ROOT / path).exists() and path not in WRITTEN]


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or something in one. A folder without an __init__.py is none."""
    above, _, last = dotted.rpartition(".")
    if not above:
        return find_spec(last) is not None
    if not exists(above):
        return False
    try:
        spec = find_spec(dotted)
    except ModuleNotFoundError:  # `above` is no package
        spec = None
    if spec is not None:
        return spec.origin is not None
    return hasattr(found_at(above), last)


def found_at(dotted: str) -> Any:
    """The object of a dotted name that exists."""
    try:
        return import_module(dotted)
    except ModuleNotFoundError:
        above, _, last = dotted.rpartition(".")
        return getattr(found_at(above), last)


def test_names_that_are_not_there_are_found() -> None:
    assert exists("vscan_core.reducers.vscan.VScan.schedule") and exists("vscan_core.reduced")
    assert not exists("vscan_core.nothing") and not exists("vscan_core.budget.nothing")


ANSWERS = re.findall(r"^\| (.+\?) \| `(.+)` \| `(.+)` \|$", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize(("question", "path", "text"), ANSWERS, ids=lambda part: part)
def test_a_newcomer_finds_it_there(question, path, text) -> None:
    assert text in (ROOT / path).read_text()


def test_there_are_at_least_ten_such_questions() -> None:
    assert len({question for question, _, _ in ANSWERS}) >= 10


def test_the_changelog_maps_old_module_paths_to_new_ones() -> None:
    rows = re.findall(r"^\| (`[\w.]+`[^|]*) \| ([^|]+) \|$", CHANGES, flags=re.MULTILINE)
    assert CHANGES.startswith(vc.__version__) and len(rows) > 20
    for old, new in rows:
        gone = NAME.findall(old)
        kept = [name for name in gone if exists(name)]  # a module that passes on what is elsewhere now
        assert all("its place is now" in (import_module(name).__doc__ or "") for name in kept), old
        assert all(exists(name) for name in NAME.findall(new)), new
        if new.startswith("the same names in"):
            (package,) = NAME.findall(new)
            assert all(exists(f"{package}.{name.rpartition('.')[2]}") for name in gone), old
