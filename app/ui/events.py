"""Settings of events that pages share: who may call them, what shows progress, how many run at a time."""

from __future__ import annotations

from typing import Any

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
PREVIEW: dict[str, Any] = {
    **PRIVATE, "trigger_mode": "always_last", "concurrency_id": "preview", "concurrency_limit": 2
}  # fmt: skip
# runs wait for their device (see session/devices.py), where they can be stopped, and not in the queue
RUN: dict[str, Any] = {**PRIVATE, "concurrency_id": "runs of pages", "concurrency_limit": 24}
# loading a model may take minutes: it must not keep previews of loaded ones waiting
MODEL_LOADING: dict[str, Any] = {**PREVIEW, "concurrency_id": "models", "concurrency_limit": 4}
