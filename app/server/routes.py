"""Every route of the app: what it may receive if it is open, and why it is closed if it is not.

Nothing else is served: what is in neither table, in whatever spelling, is not found. A test holds both tables
against the routes of the installed Gradio.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from enum import Enum, auto

from starlette.routing import compile_path

MAX_PATH = 1_000  # characters
MAX_SEGMENT = 250  # characters between two slashes; file systems refuse more than 255 bytes
API = "/gradio_api"
CHAT_PATH, MCP_PATH = "/v1/chat/completions", "/mcp"


class BodyKind(Enum):
    """What a route may receive."""

    NOTHING = auto()
    JSON = auto()
    FORM = auto()  # the two fields of a login
    UPLOAD = auto()
    CHAT = auto()  # JSON with a picture in it


@dataclass(frozen=True)
class OpenRoute:
    """A route that is served; `streams` for as long as the client listens, else within a time limit."""

    path: str  # as in `app.routes`
    method: str = "GET"  # GET includes HEAD
    body: BodyKind = BodyKind.NOTHING
    streams: bool = False
    from_anywhere: bool = False  # whatever the Host header says: a probe calls the machine by its address
    changes: bool = False  # a GET that changes something, so that no other site may cause it
    regex: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the path once."""
        object.__setattr__(self, "regex", compile_path(self.path)[0])


OPEN_ROUTES = (
    *(OpenRoute(path, from_anywhere=True) for path in ("/healthz", "/readyz", "/metrics")),
    # the page and what belongs to it
    *(OpenRoute(path) for path in ("/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json")),
    *(OpenRoute(f"/{folder}/{{path:path}}") for folder in ("static", "assets", "svelte")),
    OpenRoute(f"{API}/theme.css"),
    OpenRoute(f"{API}/info"),
    OpenRoute(f"{API}/app_id"),
    OpenRoute(f"{API}/startup-events"),
    OpenRoute(f"{API}/file={{path_or_url:path}}"),
    OpenRoute(f"{API}/heartbeat/{{session_hash}}", streams=True),
    # questions and answers
    OpenRoute(f"{API}/upload", "POST", BodyKind.UPLOAD),
    OpenRoute(f"{API}/upload_progress", streams=True),
    OpenRoute(f"{API}/queue/join", "POST", BodyKind.JSON),
    OpenRoute(f"{API}/queue/data", streams=True),
    OpenRoute(f"{API}/run/{{api_name}}", "POST", BodyKind.JSON),  # only what the page itself asks past the queue
    OpenRoute(f"{API}/call/{{api_name}}", "POST", BodyKind.JSON),
    OpenRoute(f"{API}/call/{{api_name}}/{{event_id}}", streams=True),
    OpenRoute(f"{API}/call/v2/{{api_name}}", "POST", BodyKind.JSON),
    OpenRoute(f"{API}/call/v2/{{api_name}}/{{event_id}}", streams=True),
    OpenRoute(f"{API}/cancel", "POST", BodyKind.JSON),
    OpenRoute(f"{API}/reset", "POST", BodyKind.JSON),
    # for programs, in the forms of OpenAI and of MCP
    OpenRoute(CHAT_PATH, "POST", BodyKind.CHAT, streams=True),
    OpenRoute("/v1/models"),
    OpenRoute("/v1/models/{model:path}"),
    OpenRoute(MCP_PATH, "POST", BodyKind.CHAT, streams=True),
    # a login, where the operator wants one
    OpenRoute("/login", "POST", BodyKind.FORM),
    OpenRoute("/logout", changes=True),
    OpenRoute(f"{API}/login_check"),
)
CLOSED_ROUTES = {
    f"{API}/api/{{api_name}}": "answers past the queue, and so past every limit on what runs at once",
    f"{API}/proxy={{url_path:path}}": "fetches other servers on behalf of a visitor",
    f"{API}/file/{{path:path}}": "an old spelling of file=",
    f"{API}/component_server": "no widget of the demo asks the server by itself",
    f"{API}/custom_component/{{id}}/{{environment}}/{{type}}/{{file_name}}": "the demo has no custom widgets",
    f"{API}/deep_link": "writes what a visitor sees to the disk; the demo's links have it in their address",
    f"{API}/dev/reload": "for developers; streams for ever",
    f"{API}/openapi.json": "computed anew for each request; the same facts are in info",
    f"{API}/process_recording": "converts videos, outside every limit",
    f"{API}/queue/status": "the page is told its place in the stream",
    f"{API}/runs": "the demo keeps no history on the server",
    f"{API}/run-history/buckets": "the demo keeps no history on the server",
    f"{API}/run-history/connect": "the demo keeps no history on the server",
    f"{API}/run-history/records": "the demo keeps no history on the server",
    f"{API}/run-history/records/{{endpoint}}/{{record_id}}/assets/{{asset_id}}": "the demo keeps no history",
    f"{API}/stream/{{event_id}}": "the demo has no camera or microphone streams",
    f"{API}/stream/{{event_id}}/close": "the demo has no camera or microphone streams",
    f"{API}/stream/{{session_hash}}/{{run}}/{{component_id}}/playlist.m3u8": "the demo streams no media",
    f"{API}/stream/{{session_hash}}/{{run}}/{{component_id}}/playlist-file": "the demo streams no media",
    f"{API}/stream/{{session_hash}}/{{run}}/{{component_id}}/{{segment_id}}.{{ext}}": "the demo streams no media",
    f"{API}/token": "hands out the cookie that logs a visitor in",
    f"{API}/user": "the page is told who is logged in by its config",
    f"{API}/vibe-edit": "lets visitors change the program",
    f"{API}/vibe-code": "lets visitors read the program",
    f"{API}/vibe-starter-queries": "lets visitors change the program",
    f"{API}/undo-vibe-edit": "lets visitors change the program",
    "/monitoring": "figures for the operator are at /metrics",
    "/monitoring/summary": "figures for the operator are at /metrics",
    "/monitoring/{key}": "figures for the operator are at /metrics",
    "/pwa_icon": "the demo has no icon of its own",
    "/pwa_icon/{size}": "the demo has no icon of its own, and draws none of a size that a visitor chooses",
}


def without_root(path: str, root_path: str) -> tuple[str, str]:
    """The prefix under which a proxy serves the app, if the path has it, and the rest."""
    prefix = root_path.rstrip("/")
    if prefix and (path == prefix or path.startswith(f"{prefix}/")):
        return prefix, path[len(prefix) :] or "/"
    return "", path


def normalised(path: str) -> str | None:
    """One spelling of a decoded path; None for what no file system or route can have.

    Double slashes, dot segments and slashes at the end are gone. What is still encoded, the app would not decode.
    """
    if not path.startswith("/") or len(path) > MAX_PATH or any(ord(letter) < 32 or letter == "\x7f" for letter in path):
        return None
    path = posixpath.normpath(f"/{path.lstrip('/')}")
    return path if all(len(part.encode()) <= MAX_SEGMENT for part in path.split("/")) else None


def open_routes(path: str) -> dict[str, OpenRoute]:
    """The open routes at a normalised path, by method; {} for what is not served."""
    return {route.method: route for route in OPEN_ROUTES if route.regex.fullmatch(path)}
