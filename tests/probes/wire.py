"""HTTP by hand: requests that no client library would send, and answers read up to a bound."""

from __future__ import annotations

import http.client
import json
import socket
import time
from dataclasses import dataclass

from tests.probes.probe import Request

MOST_READ = 1_000_000  # bytes of an answer
PATIENCE_S = 30.0  # for an answer; what takes longer counts as endless


@dataclass(frozen=True)
class Reply:
    """status 0: the connection was closed without an answer. `seconds` is infinite if the answer did not end."""

    status: int
    head: str
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        """Headers, an empty line, and the body."""
        return self.head + "\n\n" + self.body.decode("utf-8", "replace")


def written(request: Request, host: str) -> bytes:
    """The bytes of a request, without its chunks."""
    if request.raw:
        return request.raw
    lines = [f"{request.method} {request.target} HTTP/1.1"]
    if request.host is not None:
        lines.append(f"Host: {request.host or host}")
    lines += [f"{name}: {value}" for name, value in request.headers]
    if request.chunks:
        lines.append("Transfer-Encoding: chunked")
    elif request.length is not None and (request.body or request.length or request.method == "POST"):
        lines.append(f"Content-Length: {request.length or len(request.body)}")
    lines.append("Connection: close")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + request.body


def exchange(port: int, request: Request, source: str | None = None, patience_s: float = PATIENCE_S) -> Reply:
    """Send a request from an address of this computer and read the answer."""
    start = time.monotonic()
    try:
        connection = socket.create_connection(("127.0.0.1", port), 10, (source, 0) if source else None)
    except OSError:
        return Reply(0, "", b"", time.monotonic() - start)
    with connection:
        connection.settimeout(patience_s)
        try:
            connection.sendall(written(request, f"127.0.0.1:{port}"))
            for chunk in request.chunks:
                connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            if request.chunks:
                connection.sendall(b"0\r\n\r\n")
        except OSError:
            pass  # refused before all was sent: the answer may be there
        return _read(connection, request.method, start, patience_s)


def _read(connection: socket.socket, method: str, start: float, patience_s: float) -> Reply:
    answer = http.client.HTTPResponse(connection, method=method if method in ("HEAD", "GET") else "GET")
    status, head, body = 0, "", bytearray()
    try:
        answer.begin()
        status, head = answer.status, "\n".join(f"{name}: {value}" for name, value in answer.getheaders())
        while len(body) < MOST_READ and time.monotonic() < start + patience_s:
            piece = answer.read1(65_536)
            if not piece:
                break
            body += piece
        else:
            return Reply(status, head, bytes(body), float("inf") if len(body) < MOST_READ else time.monotonic() - start)
    except TimeoutError:
        return Reply(status, head, bytes(body), float("inf"))
    except (OSError, http.client.HTTPException, ValueError):
        pass
    return Reply(status, head, bytes(body), time.monotonic() - start)


def last_event(text: str) -> tuple[str, str]:
    """The kind and the data of the last event of a stream that is a result or an error; ("", "") if there is none."""
    found, kind = ("", ""), ""
    for line in text.splitlines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: ") and kind in ("complete", "error"):
            found = kind, line.removeprefix("data: ")
    return found


def sentence_in(data: str) -> str:
    """What an error event says; "null" if nothing."""
    try:
        said = json.loads(data)
    except ValueError:
        return data
    said = said.get("error") if isinstance(said, dict) else said
    return str(said) if said else "null"
