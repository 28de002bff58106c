"""Connections that stall: uploads, bodies and heads that never end, and connections that say nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tests.probes.next_visitor import still_served
from tests.probes.uploads import FORM, TARGET, part

if TYPE_CHECKING:
    from tests.probes.sending import Sender

STALLED = 60
UNASKED = 800


@contextmanager
def _open_connections(port: int, count: int, first: bytes, source: str | None) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        opened = []
        for _ in range(count):
            try:
                place = (source, 0) if source else None
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10, place))
                connection.sendall(first)
                opened.append(connection)
            except OSError:
                continue
        yield opened


def stalled_uploads(sender: Sender) -> str | None:
    """Uploads that send ten of their megabytes and then nothing."""
    head = f"POST {TARGET} HTTP/1.1\r\nHost: 127.0.0.1:{sender.demo.port}\r\nContent-Length: 9900000\r\n"
    head += f"{FORM[0][0]}: {FORM[0][1]}\r\n\r\n"
    sent = head.encode() + part("a.png", b"")[:-2] + b"\0" * 1_000_000
    with _open_connections(sender.demo.port, STALLED, sent, sender.new_visitor()) as opened:
        problem = still_served(sender)
        until = time.monotonic() + 45
        open_still = len(opened)
        while open_still and time.monotonic() < until:
            time.sleep(1)
            open_still = sum(not _closed(each) for each in opened)
    return problem or (f"{open_still} of {STALLED} stalled uploads are open after 45 s" if open_still else None)


def _closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def slow_body(sender: Sender) -> str | None:
    """A question that arrives one byte a second."""
    head = f"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1:{sender.demo.port}\r\nContent-Length: 5000\r\n"
    head += "Content-Type: application/json\r\n\r\n{"
    with _open_connections(sender.demo.port, 1, head.encode(), sender.new_visitor()) as opened:
        until = time.monotonic() + 45
        while time.monotonic() < until:
            try:
                opened[0].sendall(b" ")
            except OSError:
                return None
            if _closed(opened[0]):
                return None
            opened[0].setblocking(True)
            time.sleep(1)
    return "it is still read after 45 s"


def idle_connections(sender: Sender) -> str | None:
    """Connections that say nothing."""
    return _closed_in_time(sender, b"")


def half_heads(sender: Sender) -> str | None:
    """Connections that never end the head of their request."""
    return _closed_in_time(sender, b"GET / HTTP/1.1\r\nX: ")


def _closed_in_time(sender: Sender, first: bytes) -> str | None:
    with _open_connections(sender.demo.port, UNASKED, first, sender.new_visitor()) as opened:
        problem = still_served(sender)
        until = time.monotonic() + 20
        while (left := sum(not _closed(each) for each in opened)) and time.monotonic() < until:
            time.sleep(0.5)
    return problem or (f"{left} of {UNASKED} connections are open after 20 s" if left else None)
