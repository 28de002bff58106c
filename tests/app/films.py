"""An engine with one tiny model that takes videos, beside one that does not. Real models, random weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from app.session.engine import CoreEngine
from tests.families import lvlms
from tests.families import test_videos as test_films


class FilmEngine(CoreEngine):
    """A tiny LLaVA under the name "mini" and a tiny Video-LLaVA under the name "film"."""

    def models(self) -> dict[str, Any]:
        return {
            name: SimpleNamespace(name=name, title=title, description="Tiny.", needs_gpu=False, family=family)
            for name, title, family in (("mini", "Tiny LLaVA", "llava"), ("film", "Tiny Video-LLaVA", "video_llava"))
        }

    def unavailable(self, name: str) -> str | None:
        return None

    def load(self, name: str) -> Any:
        return test_films.lvlm("video_llava") if name == "film" else lvlms.lvlm("llava")
