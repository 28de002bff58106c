"""Routes that Gradio brings along and the demo does not need, and routes that do not exist."""

from __future__ import annotations

from tests.probes.probe import SESSION, Probe, Request

KIND = "routes that stay closed"
GETS = (
    "/gradio_api/dev/reload",
    "/dev/reload",
    "/gradio_api/token",
    "/gradio_api/deep_link?session_hash=x",
    "/gradio_api/run-history/buckets",
    "/gradio_api/run-history/records",
    "/gradio_api/vibe-code",
    "/gradio_api/vibe-code/",
    "/gradio_api/profiling/traces",
    "/gradio_api/profiling/summary",
    "/monitoring",
    "/monitoring/summary",
    "/monitoring/x",
    "/gradio_api/mcp",
    "/gradio_api/mcp/sse",
    "/gradio_api/mcp/schema",
    "/gradio_api/custom_component/x/client/component/index.js",
    "/docs",
    "/redoc",
    "/openapi.json",
    "/svelte/../../../pyproject.toml",
    "/.env",
    "/.git/config",
    "/server-status",
    "/wp-login.php",
    "/gradio_api/nothing",
    "/gradio_api/queue/nothing",
    "/gradio_api/stream/x/y/z/playlist.m3u8",
    "/gradio_api/stream/x/y/z/playlist-file",
    "/gradio_api/call/overlay/no-such-event",
    "/gradio_api/call/nothing/no-such-event",
    "/gradio_api/queue/data",
    "/gradio_api/upload_progress?upload_id=nothing",
    "/healthz/../.env",
    "/" + "a" * 8000,
    "/" + "%2e" * 2000,
)
POSTS = (
    "/gradio_api/run/compare",
    "/gradio_api/run/overlay",
    "/gradio_api/run/compare/",
    "/gradio_api/api/compare",
    "/gradio_api/api/compare/",
    "/gradio_api/run/predict",
    "/gradio_api/api/predict",
    "/gradio_api/run/nothing",
    "/gradio_api/call/nothing",
    "/gradio_api/call/v2/nothing",
    "/gradio_api/call/following",
    "/gradio_api/component_server",
    "/gradio_api/component_server/",
    "/gradio_api/process_recording",
    "/gradio_api/vibe-edit",
    "/gradio_api/vibe-edit/",
    "/gradio_api/undo-vibe-edit",
    "/gradio_api/vibe-code",
    "/gradio_api/vibe-starter-queries",
    "/gradio_api/run-history/connect",
    "/gradio_api/profiling/clear",
    "/gradio_api/stream/no-such-event",
    "/gradio_api/stream/no-such-event/close",
    "/gradio_api/mcp/messages",
    "/gradio_api/upload/upload",
    "/gradio_api/run/upload",
    "/gradio_api/api/upload",
    "/upload",
    "/login",
    "/healthz",
    "/metrics",
    "/nothing",
)
METHODS = ("PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "GET\tx", "get", "X" * 300)
ON = ("/", "/gradio_api/queue/join", "/gradio_api/upload", "/healthz")


def probes() -> list[Probe]:
    """All of them."""
    found = [Probe(KIND, f"GET {_short(target)}", Request(target)) for target in GETS]
    body = b'{"data": [], "session_hash": "SESSION"}'.replace(b"SESSION", SESSION.encode())
    json = (("Content-Type", "application/json"),)
    found += [Probe(KIND, f"POST {target}", Request(target, "POST", body, json)) for target in POSTS]
    for method in METHODS:
        found += [Probe(KIND, f"{_short(method)!r} {target}", Request(target, method)) for target in ON]
    return found


def _short(text: str) -> str:
    return text if len(text) < 80 else f"{text[:40]} … ({len(text)} characters)"
