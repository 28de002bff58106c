"""What charts of several runs need to know about a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class RunResult(Protocol):
    """One of several runs; its numbers are there once it has ended."""

    @property
    def title(self) -> str:
        """As the page names the run."""

    @property
    def answer(self) -> Mapping[str, Any] | None:
        """`vscan_core.report.as_dict` of the run, once it has ended."""

    @property
    def agrees(self) -> bool | None:
        """Whether it gives the baseline's answer; None if unknown, or if its text means nothing."""
