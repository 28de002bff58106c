"""What the demo asks of the core library, in one small interface, so that tests can put a fake behind the page."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from vscan_core.errors import InputError

if TYPE_CHECKING:
    from vscan_core.events import Event
    from vscan_core.media.videos import Video


class Card(Protocol):
    """What the page shows about a model."""

    name: str
    title: str
    description: str
    needs_gpu: bool


@dataclass(frozen=True)
class Method:
    """What the page shows about a method."""

    title: str  # as the page writes its name
    summary: str


class Engine(Protocol):
    """Models, methods and runs."""

    def models(self) -> Mapping[str, Card]:
        """Models on offer by name."""

    def unavailable(self, name: str) -> str | None:
        """Why a model cannot run here, in one sentence; None if it can."""

    def frames(self, name: str) -> int:
        """How many frames of a video a model looks at; 0: it takes pictures only."""

    def load(self, name: str) -> Any:
        """The loaded model (an LVLM)."""

    def methods(self) -> Mapping[str, Method]:
        """Methods on offer by name."""

    def reducer(self, method: str, retention: float) -> Any:
        """A reducer of REDUCERS at this retention."""

    def compare(
        self, lvlm: Any, image: Image.Image | Video, question: str, reducers: Sequence[Any], max_new_tokens: int
    ) -> Generator[Event, None, None]:
        """Events of the runs, one after the other; nothing is computed between two `next`."""


class CoreEngine:
    """The real thing: vscan_core."""

    def models(self) -> Mapping[str, Card]:
        """See Engine."""
        from vscan_core import catalog

        cards: Mapping[str, Card] = catalog.MODELS
        return cards

    def unavailable(self, name: str) -> str | None:
        """See Engine."""
        from vscan_core import catalog

        return catalog.unavailable(name)

    def frames(self, name: str) -> int:
        """See Engine; known without loading it."""
        from vscan_core.families import FAMILIES

        card: Any = self.models().get(name)
        return FAMILIES[card.family].frames if card else 0

    def load(self, name: str) -> Any:
        """See Engine; only models of the catalog: a visitor must not make the server fetch whatever he names."""
        import vscan_core as vc

        if name not in self.models():
            raise InputError("There is no such model in this demo.")
        if reason := self.unavailable(name):
            raise InputError(reason)
        return vc.load_model(name)

    def methods(self) -> Mapping[str, Method]:
        """See Engine."""
        import vscan_core as vc

        return {name: Method(cls.title, cls.summary) for name, cls in vc.REDUCERS.items()}

    def reducer(self, method: str, retention: float) -> Any:
        """See Engine."""
        import vscan_core as vc

        if method not in vc.REDUCERS:
            raise InputError(f"There is no such method; choose one of: {', '.join(vc.REDUCERS)}.")
        return vc.REDUCERS[method](retention)

    def compare(
        self, lvlm: Any, image: Image.Image | Video, question: str, reducers: Sequence[Any], max_new_tokens: int
    ) -> Generator[Event, None, None]:
        """See Engine."""
        import vscan_core as vc

        return vc.compare(lvlm, image, question, reducers, max_new_tokens=max_new_tokens)
