"""Settings of events that pages share: who may call them, what shows progress, how many run at a time."""

from __future__ import annotations

from typing import Any

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
# most of them only draw; those of a new picture wait for its device, before all runs, and must not hold up the others
AS_PREVIEW: dict[str, Any] = {"concurrency_id": "preview", "concurrency_limit": 6}
PREVIEW: dict[str, Any] = {**PRIVATE, "trigger_mode": "always_last", **AS_PREVIEW}
# runs wait for their device (see session/line.py), where they are told their place and can be stopped, and not in the
# queue; each keeps a thread of the server
AS_RUN: dict[str, Any] = {"concurrency_id": "runs", "concurrency_limit": 64}
RUN: dict[str, Any] = {**PRIVATE, **AS_RUN}
THREADS = 96  # `max_threads` of the server: all runs, and previews and everything else beside them
# loading a model may take minutes: it must not keep previews of loaded ones waiting
MODEL_LOADING: dict[str, Any] = {**PREVIEW, "concurrency_id": "models", "concurrency_limit": 4}
