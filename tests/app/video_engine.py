"""An engine with one tiny model that takes videos, beside one that does not. Real models, random weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from app.session.engine import Engine
from tests.families import lvlms, test_videos


class VideoEngine(Engine):
    """A tiny LLaVA under the name "mini" and a tiny Video-LLaVA under the name "video-llava"."""

    def models(self) -> dict[str, Any]:
        return {
            name: SimpleNamespace(name=name, title=title, description="Tiny.", family=family)
            for name, title, family in (
                ("mini", "Tiny LLaVA", "llava"),
                ("video-llava", "Tiny Video-LLaVA", "video_llava"),
            )
        }

    def unavailable(self, name: str, released_gb: float = 0.0) -> str | None:
        return None

    def load(self, name: str) -> Any:
        return test_videos.lvlm("video_llava") if name == "video-llava" else lvlms.lvlm("llava")
