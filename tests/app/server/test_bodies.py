"""What may be sent, how large it is, and how long it may take."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gradio.utils import get_upload_folder

from app.server.limits import MAX_FILE, MAX_JSON, MAX_UPLOAD, DoorLimits
from app.server.uploads import has_name
from tests.app.server.served import Door, door_open, sentence

HEAD = b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
PART = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
QUICK = DoorLimits(idle_seconds=0.3, body_seconds=0.6, upload_seconds=1.0, uploads=1, upload_wait_seconds=0.2,
                   linger_seconds=0.2, requests=6, requests_per_address=6)  # fmt: skip


@pytest.fixture(scope="module")
def quick_door() -> Iterator[Door]:
    with door_open(QUICK) as opened:
        yield opened


STATM = Path("/proc/self/statm")


def resident() -> int:
    """Bytes of memory that this process, the server in it, holds."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def leftovers() -> set[Path]:
    """Files in the folder of uploads that are not under their final name."""
    return {file for file in Path(get_upload_folder()).glob("tmp*") if file.is_file()}


def test_sizes(door: Door) -> None:
    assert door.upload(b" " * MAX_FILE).status_code == 200
    too_large = door.upload(b" " * (MAX_FILE + 1))
    assert too_large.status_code == 413 and "maximum allowed size" in too_large.text
    declared = door.post("/gradio_api/upload", files={"files": ("a.png", b" " * (MAX_UPLOAD + 1))})
    assert declared.status_code == 413 and "at most 10 MB" in sentence(declared)
    head = {"content-type": "application/json"}
    assert door.post("/gradio_api/queue/join", content=b" " * (MAX_JSON + 1), headers=head).status_code == 413
    assert sentence(door.post("/gradio_api/queue/join", content=b" " * MAX_JSON, headers=head)).endswith(
        "JSON in UTF-8."
    )


def test_undeclared_sizes_are_counted_and_leave_nothing_behind(door: Door) -> None:
    before = leftovers()

    def pieces(first: bytes) -> Iterator[bytes]:
        yield first
        yield from (b" " * 100_000 for _ in range(MAX_UPLOAD // 100_000 + 2))

    head = {"content-type": "multipart/form-data; boundary=x"}
    many_lines = door.post("/gradio_api/upload", content=pieces(PART), headers=head)
    assert many_lines.status_code == 413
    assert door.post("/gradio_api/upload", content=pieces(b"--x\r\n"), headers=head).status_code in (400, 413)
    text = door.post("/gradio_api/queue/join", content=pieces(b""), headers={"content-type": "application/json"})
    assert text.status_code == 413 and leftovers() == before and door.failed == []


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "9" * 30])
def test_lengths_that_are_none(door: Door, length: str) -> None:
    text = f"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n"
    assert door.raw(text.encode() + b"x").split(b" ")[1] in (b"400", b"413")


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/..", "\\", "???", "\u200b"])
def test_a_file_needs_a_name(door: Door, name: str) -> None:
    before = leftovers()
    part = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\nabc\r\n--x--\r\n'
    head = {"content-type": "multipart/form-data; boundary=x"}
    answer = door.post("/gradio_api/upload", content=part.encode(), headers=head)
    assert answer.status_code == 400 and "name" in answer.text and leftovers() == before


def test_names_that_are_some() -> None:
    assert has_name("a.png") and has_name("../b") and has_name("C:\\x\\\u56fe.png") and not has_name("a/..")


def test_one_file_per_upload(door: Door) -> None:
    before = leftovers()
    two = door.post("/gradio_api/upload", files=[("files", ("a.png", b"a")), ("files", ("b.png", b"b"))])
    other = door.upload(b"a", field_name="file")
    text = door.post("/gradio_api/upload?upload_id=abc", data={"files": "x"}, files={"files": ("a.png", b"a")})
    cut_off = door.post("/gradio_api/upload", content=PART, headers={"content-type": "multipart/form-data; boundary=x"})
    empty = door.post("/gradio_api/upload", content=b"", headers={"content-type": "multipart/form-data; boundary=x"})
    without = door.post("/gradio_api/upload", content=PART, headers={"content-type": "multipart/form-data"})
    answers = [two, other, text, cut_off, empty, without]
    assert [answer.status_code for answer in answers] == [400] * len(answers)
    assert leftovers() == before and door.failed == []
    assert door.post("/gradio_api/upload", json={}).status_code == 415
    assert door.post(f"/gradio_api/upload?upload_id={'a' * 100}", files={"files": ("a.png", b"a")}).status_code == 400


def test_a_stalled_upload_is_given_up(quick_door: Door) -> None:
    before = leftovers()
    answer = quick_door.raw(HEAD + b"Content-Length: 9000\r\n\r\n" + PART)
    assert b" 408 " in answer and b"took too long" in answer and leftovers() == before


def test_an_upload_that_drips_is_given_up(quick_door: Door) -> None:
    """Each piece arrives in time, the whole does not."""
    with socket.create_connection(("127.0.0.1", quick_door.port), timeout=20) as client:
        client.sendall(HEAD + b"Content-Length: 9000\r\n\r\n" + PART)
        client.settimeout(0.1)
        answer = b""
        for _ in range(100):
            try:
                client.sendall(b".")
                answer += client.recv(65536)
                break
            except TimeoutError:
                continue
    assert b" 408 " in answer


def test_further_uploads_wait_and_are_refused_when_it_takes_too_long(quick_door: Door) -> None:
    with socket.create_connection(("127.0.0.1", quick_door.port), timeout=20) as client:
        client.sendall(HEAD + b"Content-Length: 9000\r\n\r\n" + PART)
        time.sleep(0.05)
        busy = quick_door.upload(b"abc")
        assert busy.status_code in (200, 503)  # 200: the machine is so slow that the first was given up meanwhile
        assert b" 408 " in client.recv(65536)
    assert quick_door.upload(b"abc").status_code == 200


def test_a_stalled_body_is_given_up(quick_door: Door) -> None:
    text = (b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{")  # fmt: skip
    assert b" 408 " in quick_door.raw(text)


def test_requests_at_once_are_limited_and_end_with_the_client(quick_door: Door) -> None:
    streams = [socket.create_connection(("127.0.0.1", quick_door.port), timeout=20) for _ in range(6)]
    for number, stream in enumerate(streams):
        stream.sendall(f"GET /gradio_api/heartbeat/s{number} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        answer = b""
        while b"ALIVE" not in answer:
            piece = stream.recv(65536)
            assert piece
            answer += piece
    busy = quick_door.get("/config")
    assert busy.status_code == 503 and busy.headers["retry-after"] and "too many requests" in sentence(busy)
    for stream in streams:
        stream.close()
    for _ in range(200):
        if quick_door.get("/config").status_code == 200:
            return
        time.sleep(0.05)
    pytest.fail("the places of clients that left are still taken")


def test_uploads_are_not_held_in_memory(door: Door) -> None:
    """Twelve stalled uploads, each 9 MB in: what the process holds stays far below their size."""
    if not STATM.exists():
        pytest.skip("no /proc")
    body, clients = b"." * 1_000_000, []
    before = resident()
    for _ in range(12):
        client = socket.create_connection(("127.0.0.1", door.port), timeout=5)
        client.sendall(HEAD + b"Content-Length: 9500000\r\n\r\n" + PART)
        clients.append(client)

    def fill(client: socket.socket) -> None:
        for _ in range(9):
            client.sendall(body)

    threads = [threading.Thread(target=fill, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    grown = resident() - before
    for client in clients:
        client.close()
    assert grown < 40_000_000, f"{grown / 1e6:.0f} MB for 108 MB of uploads"


def test_a_large_file_s_refusal_can_be_read(door: Door) -> None:
    """The connection is not reset while the client is still sending."""
    for _ in range(3):
        answer = httpx.post(f"{door.url}/gradio_api/upload", files={"files": ("a", b" " * 20_000_000)}, timeout=30)
        assert answer.status_code == 413
