"""What the app knows about a page. Its name is that of its folder, which is listed in PAGES of main.py."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from ..session.examples import Example
from ..session.session import Session


class Page(ABC):
    """A tab of the app: its widgets, and what happens when they are used."""

    title: ClassVar[str]  # on the tab

    @abstractmethod
    def __init__(self, session: Session, examples: list[Example]) -> None:
        """Build and connect the widgets; called inside the tab."""

    @property
    def asked(self) -> tuple[Any, ...]:
        """Its widgets for model, picture, question and retention in percent, in this order; (): none to share."""
        return ()

    @property
    def shared(self) -> dict[str, Any]:
        """Its widgets for what pages share and the address has, by their keys in `ui.address.ADDRESS_KEYS`."""
        return dict(zip(("model", "picture", "question", "keep"), self.asked, strict=False))

    @property
    def ended(self) -> tuple[Any, Any, Any] | None:
        """The event after a run, the state that it leaves, and what makes a `ui.history.EarlierRun` or None of that."""
        return None

    def goes_on_with(self, asked: tuple[Any, ...]) -> None:  # noqa: B027  (most pages need not override it)
        """Called once, inside the tab: `asked` of the first page that has any, or ()."""

    @property
    def opened(self) -> dict[str, Any]:
        """Settings (fn, inputs, outputs ...) of the event that fills the page when its tab is opened; {}: none."""
        return {}
