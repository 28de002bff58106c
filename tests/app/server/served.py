"""A real demo with limits of its own, and what it takes to talk to it roughly."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import gradio as gr
import httpx

from app.__main__ import launch_options
from app.main import build_app
from app.server.guard import app_kwargs
from app.server.limits import DoorLimits
from app.session.session import Session
from tests.app.fake import FakeEngine


@dataclass
class Door:
    """A running demo; `refused` has a word for every refusal, `failed` every error that nobody expected."""

    demo: gr.Blocks
    port: int
    refused: list[str] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20))

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Ask for a path that httpx leaves as it is."""
        return self.client.get(httpx.URL(self.url, raw_path=path.encode()), **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        """Send something."""
        return self.client.post(httpx.URL(self.url, raw_path=path.encode()), **more)

    def join(self, data: Any, **more: Any) -> httpx.Response:
        """Ask a public endpoint through the page's own protocol; by default `/overlay`."""
        body = {"data": data, "session_hash": "abc", "fn_index": self.index("overlay"), **more}
        return self.post("/gradio_api/queue/join", json=body)

    def index(self, name: str) -> int:
        """The number of a named endpoint."""
        return next(number for number, each in self.demo.fns.items() if each.api_name == name)

    def upload(self, content: bytes, name: str = "a.png", field_name: str = "files") -> httpx.Response:
        """Upload a file."""
        return self.post("/gradio_api/upload", files=[(field_name, (name, content, "image/png"))])

    def raw(self, text: bytes, seconds: float = 20) -> bytes:
        """What a client gets that sends these bytes and then waits until the server closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as client:
            client.sendall(text)
            pieces = []
            while piece := client.recv(65536):
                pieces.append(piece)
        return b"".join(pieces)


@contextmanager
def door_open(limits: DoorLimits | None = None) -> Iterator[Door]:
    """A demo on a fake engine, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    door = Door(build_app(Session(FakeEngine()), [], ["compare"]), port)
    options = launch_options("127.0.0.1", port)
    options["app_kwargs"] = app_kwargs(limits, door.refused.append, door.failed.append)
    door.demo.launch(**options, prevent_thread_lock=True, quiet=True)
    try:
        yield door
    finally:
        door.client.close()
        door.demo.close(verbose=False)


@contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """Another server, as address and what it was asked for."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"secret")

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def sentence(response: httpx.Response) -> str:
    """The one sentence of a refusal."""
    found = json.loads(response.text)
    assert found["error"] == found["detail"] and "Traceback" not in response.text and len(response.text) < 1000
    return str(found["error"])
