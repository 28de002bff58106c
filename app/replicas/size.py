"""How many replicas an operator asks for."""

from __future__ import annotations

from dataclasses import dataclass

MOST_REPLICAS = 1000


@dataclass(frozen=True)
class ReplicaRange:
    """How many replicas there are at least and at most."""

    least: int
    most: int

    @classmethod
    def read(cls, text: str) -> ReplicaRange:
        """ "2" or "1-4". Raises ValueError, one sentence."""
        least, dash, most = text.partition("-")
        if not all(part.strip().isdecimal() for part in (least, most or ("" if dash else least))):
            raise ValueError("give a number of replicas such as 2, or a range such as 1-4")
        found = cls(int(least), int(most or least))
        if not 1 <= found.least <= found.most <= MOST_REPLICAS:
            raise ValueError(f"give 1 to {MOST_REPLICAS} replicas, in a range the least first")
        return found
