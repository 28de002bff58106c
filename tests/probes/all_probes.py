"""Every probe, in the order in which they are sent; those that fill the server come last."""

from __future__ import annotations

from tests.probes import (
    closed_routes,
    crowding,
    foreign_addresses,
    headers,
    joins,
    picture_probes,
    programs,
    traversals,
    uploads,
    values,
)
from tests.probes.probe import Probe

KINDS = (
    foreign_addresses,
    closed_routes,
    traversals,
    headers,
    uploads,
    joins,
    programs,
    values,
    picture_probes,
    crowding,
)


def all_probes() -> list[Probe]:
    """All of them."""
    return [probe for kind in KINDS for probe in kind.probes()]
