"""Which replica a call goes to."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ray.serve.request_router import FIFOMixin, PendingRequest, ReplicaID, RequestRouter, RunningReplica


class LeastLoadedRouter(FIFOMixin, RequestRouter):  # type: ignore[misc]  # Ray is not type-checked here
    """The replica with the fewest calls of this web server under way; among equals, the fewest that Ray knows of.

    Ray Serve's own rule compares two of them at random, and forgets after ten seconds how many calls a replica has: of
    few replicas with one long run each it often finds a busy one while another is free.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._under_way: Counter[ReplicaID] = Counter()

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """All of them, in groups, those with the fewest calls first."""
        groups: dict[int, list[RunningReplica]] = {}
        for replica in candidate_replicas:
            groups.setdefault(self._under_way[replica.replica_id], []).append(replica)
        return [groups[calls] for calls in sorted(groups)]

    def on_send_request(self, replica_id: ReplicaID) -> None:
        """A call has gone to it."""
        super().on_send_request(replica_id)
        self._under_way[replica_id] += 1

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """One of its calls has ended, one way or another."""
        super().on_request_completed(replica_id, internal_request_id)
        self._under_way[replica_id] -= 1
        if self._under_way[replica_id] <= 0:
            del self._under_way[replica_id]
