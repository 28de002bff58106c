"""Every promise about a probe can be broken, and the judge notices; the watchers see what they watch for."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.probes.canary import REPORT, WATCHED, ContactList, canary_server
from tests.probes.judge import fault, outcome
from tests.probes.memory import MemoryWatch
from tests.probes.probe import Found, Probe, Request
from tests.probes.wire import exchange, last_event, sentence_in

HARMFUL = Probe("kind", "name", Request("/"))
HARMLESS = Probe("kind", "name", Request("/"), harmless=True, unseen=("elsewhere",))
GOOD = {"status": 404, "text": "content-type: application/json\n\n{}"}


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (Found(404, contacts=("getaddrinfo 'probe.invalid'",)), "contacted"),
        (Found(404, "root:x:0:0"), "contains"),
        (Found(200, "href=http://elsewhere"), "contains"),
        (Found(404, "Traceback (most recent call last)"), "traceback"),
        (Found(500), "status 500"),
        (Found(200, sentence="Something went wrong on the server (code 1)."), "failure"),
        (Found(200, sentence="null"), "without a sentence"),
        (Found(404, seconds=21), "took"),
        (Found(404, megabytes=501), "memory"),
        (Found(200, "content-type: text/html\n\n<script>uploaded-by-the-probes"), "runs here"),
        (Found(302, "Location: //probe.invalid\n\n"), "redirected"),
        (Found(302, "location: https://probe.invalid\n\n"), "redirected"),
        (Found(404, logged="INFO\nTraceback (most recent call last):\n"), "log"),
        (Found(404, logged="x" * 5000), "log"),
        (Found(200, broken="the next visitor waits"), "waits"),
    ],
)
def test_every_promise_can_be_broken(found: Found, word: str) -> None:
    assert word in str(fault(HARMLESS, found)) and outcome(HARMLESS, found) == "got through"


def test_what_must_be_refused_may_not_be_answered() -> None:
    assert fault(HARMFUL, Found(200)) and fault(HARMFUL, Found(200, answered=True))
    assert fault(HARMLESS, Found(200)) is None and outcome(HARMLESS, Found(200)) == "answered"
    for found in (Found(404), Found(0), Found(200, sentence="Please ask a question.")):
        assert fault(HARMFUL, found) is None and outcome(HARMFUL, found) == "refused"


def test_a_page_that_is_a_download_does_not_run() -> None:
    head = "content-type: text/html\ncontent-disposition: attachment"
    assert fault(HARMLESS, Found(200, f"{head}\n\nuploaded-by-the-probes")) is None


def test_whom_a_process_contacts_is_seen(tmp_path: Path) -> None:
    report, visits = tmp_path / "contacts.txt", []
    with canary_server(visits) as canary:
        contacts = ContactList(report, visits)
        code = f"import urllib.request as r; r.urlopen('http://{canary}/x').read()"
        environment = {**os.environ, "PYTHONPATH": str(WATCHED), REPORT: str(report)}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment)
        seen = contacts.new()
        assert any("connect '127.0.0.1'" in line for line in seen) and "the canary: /x" in seen
        assert contacts.new() == ()


def test_memory_that_is_given_back_is_seen() -> None:
    code = (
        "import sys; wait = sys.stdin.readline; wait(); x = bytearray(200_000_000); print(len(x), flush=True); wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        watch = MemoryWatch(psutil.Process(process.pid))
        held = watch.begin()
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        assert watch.peak() - held > 150e6
        watch.stop()
        process.communicate("\n")


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """A server that answers with what it was sent."""

    class Echo(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = self.headers.get("Content-Length")
            body = f"{self.requestline} {self.headers.get('Host')} {length}".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            if self.path != "/endless":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()
            if self.path == "/endless":
                threading.Event().wait(3)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found.server_port
    found.shutdown()
    found.server_close()


def test_requests_are_sent_byte_for_byte(server: int) -> None:
    for target in ("/a/../b", "/%2e%2e/x", "//x", "/a\\b", "/file=http://x/y"):
        assert f"GET {target} HTTP/1.1 127.0.0.1:{server} None" in exchange(server, Request(target)).text
    lies = exchange(server, Request("/", "POST", b"12345", length="7", host="probe.invalid")).text
    assert "probe.invalid 7" in lies
    assert exchange(server, Request("/", raw=b"PUT / HTTP/1.1\r\n\r\n")).status == 501


def test_an_answer_without_end_is_told_from_a_slow_one(server: int) -> None:
    assert exchange(server, Request("/")).seconds < 30
    endless = exchange(server, Request("/endless"), patience_s=0.5)
    assert endless.status == 200 and endless.seconds == float("inf")


def test_events_of_a_stream_are_understood() -> None:
    stream = 'event: heartbeat\ndata: null\n\nevent: error\ndata: {"error": "Please ask."}\n\n'
    assert last_event(stream) == ("error", '{"error": "Please ask."}')
    assert sentence_in('{"error": "Please ask."}') == "Please ask." and sentence_in('{"error": null}') == "null"
    assert last_event("data: 1") == ("", "")
