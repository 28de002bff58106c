"""Which replica a call goes to."""

from __future__ import annotations

from ray.serve.request_router import FIFOMixin, PendingRequest, RequestRouter, RunningReplica


class LeastLoadedRouter(FIFOMixin, RequestRouter):  # type: ignore[misc]  # Ray is not type-checked here
    """The replica with the fewest calls under way.

    Ray Serve's own rule compares two of them at random, which among few replicas of one run each often finds a busy
    one while another is free.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """All of them, as one group, in which the least loaded is taken."""
        return [candidate_replicas]
