"""Connections that ask nothing are closed, and those that ask are left alone."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr
import pytest

from app.server.connections import ConnectionWatch, close_idle_connections
from app.server.limits import DoorLimits
from tests.app.conftest import launched

PATIENCE_S = 60.0
LIMITS = DoorLimits(idle_seconds=2.5)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Request:
    """What uvicorn keeps of a request."""

    response_complete: bool = False


class Connection:
    """What uvicorn keeps of a connection."""

    def __init__(self, address: str) -> None:
        self.client, self.transport = (address, 1), self
        self.cycle: Request | None = None
        self.aborted = 0

    def abort(self) -> None:
        self.aborted += 1


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server that closes idle connections soon."""
    with gr.Blocks(analytics_enabled=False) as demo:
        gr.Markdown("Hello")
    with launched(demo) as url:
        close_idle_connections(demo, LIMITS)
        yield int(url.rstrip("/").rpartition(":")[2])


def closed_after(connection: socket.socket) -> float:
    """Seconds until the server closes it."""
    start = time.monotonic()
    connection.settimeout(PATIENCE_S)
    try:
        while connection.recv(65_536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - start


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nX: "])
def test_a_request_that_never_begins_or_whose_head_never_ends_is_not_waited_for(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(sent)
        assert closed_after(connection) > 1


def test_a_head_that_comes_byte_by_byte_is_not_waited_for_either(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection, pytest.raises(OSError):
        for _ in range(int(PATIENCE_S / 0.2)):
            connection.sendall(b"G")
            time.sleep(0.2)


def test_an_address_has_so_many_of_them() -> None:
    watch = ConnectionWatch(DoorLimits(idle_per_address=2), clock := Clock())
    mine = [Connection("mine") for _ in range(4)]
    assert watch.to_close([mine[0], Connection("yours")]) == []
    clock.now = 1.0
    assert mine[0] not in [idle.connection for idle in watch.to_close(mine)]
    assert len(watch.to_close(mine)) == 2
    mine[3].cycle = Request()
    assert len(watch.to_close(mine)) == 1


def test_every_request_counts_anew_and_nothing_is_closed_under_one() -> None:
    watch = ConnectionWatch(DoorLimits(idle_seconds=10), clock := Clock())
    connection = Connection("mine")
    watch.to_close([connection])
    clock.now, connection.cycle = 9.0, Request(response_complete=True)
    assert watch.to_close([connection]) == []
    clock.now = 18.0
    assert watch.to_close([connection]) == []
    clock.now = 19.5
    (idle,) = watch.to_close([connection])
    connection.cycle = Request()
    idle.close()
    assert connection.aborted == 0
    connection.cycle = idle.latest
    idle.close()
    assert connection.aborted == 1


def test_who_asks_again_and_again_is_left_alone(port: int) -> None:
    ask = b"GET /theme.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(PATIENCE_S)
        for _ in range(12):  # longer than an idle one is kept
            connection.sendall(ask)
            assert connection.recv(65_536)
            time.sleep(0.4)
