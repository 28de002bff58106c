"""A server on this computer to which nobody may be sent, and a list of everybody whom the demo has contacted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WATCHED = Path(__file__).parent / "watched"  # on the import path of the demo: Python runs its sitecustomize.py first
REPORT = "PROBES_CONTACTS"  # environment variable: the file to which the demo's process writes whom it contacts


@contextmanager
def canary_server(visits: list[str]) -> Iterator[str]:
    """A web server; "host:port" while it runs. Everything that it is asked for is added to `visits`."""

    class Canary(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            visits.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        do_HEAD = do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Canary)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class ContactList:
    """Whom the demo has looked up or connected to since it was last read; a canary's visits count, too."""

    def __init__(self, file: Path, visits: list[str]) -> None:
        self.file, self.visits = file, visits
        self._read_to, self._seen = 0, 0

    def new(self) -> tuple[str, ...]:
        """What has come since the last call."""
        text = self.file.read_text(errors="replace") if self.file.exists() else ""
        lines, visits = text[self._read_to :].splitlines(), self.visits[self._seen :]
        self._read_to, self._seen = len(text), len(self.visits)
        return (*lines, *[f"the canary: {path}" for path in visits])
