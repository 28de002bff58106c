"""Pages that do not lie in docs/: those made from the code, and files from elsewhere in the repository.

MkDocs runs this at every build. Nothing that is made here is committed, so no page can fall behind the code.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import family_pages
import method_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {  # file of the repository -> page of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "training/README.md": "training.md",
    "assets/mini/README.md": "mini.md",
    "assets/world/README.md": "world.md",
    "assets/reported/README.md": "reported.md",
    "assets/LICENSES.md": "licences.md",
    "assets/mini/learning_curve.png": "learning_curve.png",
}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
CARD = re.compile(r"\A---\n.*?\n---\n", flags=re.DOTALL)  # the metadata of a model or dataset card


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """One entry of the navigation per method and per family."""
    entries = {"Methods": method_pages.titles(), "Families": family_pages.titles()}
    for section in config.nav or []:
        for name, pages in section.items():
            if name in entries:
                pages += [{title: path} for path, title in entries[name].items()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and those from elsewhere."""
    for path, text in {**method_pages.pages(), **family_pages.pages()}.items():
        files.append(File.generated(config, path, content=text))
    for source, path in ELSEWHERE.items():
        if files.get_file_from_path(path) is None and (ROOT / source).exists():
            files.append(File.generated(config, path, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    source = next((name for name, path in ELSEWHERE.items() if path == page.file.src_uri and name != "README.md"), None)
    here = posixpath.dirname(source or f"docs/{page.file.src_uri}")

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(here, match[1]))
        path = ELSEWHERE.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(path, posixpath.dirname(page.file.src_uri) or ".")

    return LINK.sub(moved, CARD.sub("", markdown))
