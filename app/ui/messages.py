"""Sentences that several pages show."""

from __future__ import annotations

WAITING = "Waiting for the model: it is answering another visitor's question …"
KEPT_EARLIER = "kept from an earlier run"
MEANINGLESS_TEXT = "This model has random weights: only its numbers mean something."
