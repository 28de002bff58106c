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
    def opened(self) -> dict[str, Any]:
        """Settings (fn, inputs, outputs ...) of the event that fills the page when its tab is opened; {}: none."""
        return {}
