"""Settings of events that pages share: who may call them, what shows progress, how many run at a time."""

from __future__ import annotations

from typing import Any

STOPPED = "Stopped."
# what the browser does at once: a status line, and Run and Stop swap their states
WAIT = """() => ["Waiting for the model \N{HORIZONTAL ELLIPSIS}",
    {__type__: "update", interactive: false}, {__type__: "update", interactive: true}]"""
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
PREVIEW: dict[str, Any] = {
    **PRIVATE, "trigger_mode": "always_last", "concurrency_id": "preview", "concurrency_limit": 2
}  # fmt: skip
RUN: dict[str, Any] = {**PRIVATE, "concurrency_id": "run", "concurrency_limit": 1}
# loading a model may take minutes: it must not keep previews of loaded ones waiting
MODEL_LOADING: dict[str, Any] = {**PREVIEW, "concurrency_id": "models", "concurrency_limit": 4}
