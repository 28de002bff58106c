"""The pictures as probes: uploaded, then looked at by /overlay."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.probes.pictures.damaged import DAMAGED, MAY_BE_READ, MIS_SHAPED
from tests.probes.pictures.enormous import HEAVY, TOO_LARGE
from tests.probes.pictures.readable import READABLE
from tests.probes.probe import Picture, Probe

KIND = "pictures"


def probes() -> list[Probe]:
    """All of them."""

    def each(group: Mapping[str, Callable[[], bytes]], harmless: bool) -> list[Probe]:
        return [
            Probe(KIND, name, Picture(name, make), harmless=harmless or name in MAY_BE_READ)
            for name, make in group.items()
        ]

    return (
        each(READABLE, True)
        + each(DAMAGED, False)
        + each(MIS_SHAPED, False)
        + each(TOO_LARGE, False)
        + each(HEAVY, True)
    )
