"""Sends probes to a demo, each as a visitor of its own, and notes what comes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx

from benchmarks.load.demo_process import DemoProcess, demo_process
from benchmarks.load.simulated_visitor import loopback_address
from tests.probes.canary import REPORT, WATCHED, ContactList, canary_server
from tests.probes.memory import MemoryWatch
from tests.probes.pictures import good_picture
from tests.probes.probe import (
    CANARY,
    FUNCTION,
    PICTURE,
    SECRET,
    SESSION,
    Call,
    Crowding,
    Found,
    Picture,
    Probe,
    Request,
)
from tests.probes.uploads import END, FORM, TARGET, part
from tests.probes.wire import Reply, exchange, last_event, sentence_in

JSON = (("Content-Type", "application/json"),)
SECRET_TEXT = "open-sesame-of-the-probes"
# what an operator of a public host would set, and less patience, so that tests need not wait
SETTINGS = {"VSCAN_PUBLIC": "true", "VSCAN_TRUSTED_HOSTS": "127.0.0.1", "VSCAN_UPLOAD_SECONDS": "8",
            "VSCAN_MCP": "true"}  # fmt: skip


class Sender:
    """Knows the running demo, and what the placeholders in probes stand for."""

    def __init__(self, demo: DemoProcess, canary: str, contacts: ContactList, memory: MemoryWatch) -> None:
        self.demo, self.canary, self.contacts, self.memory = demo, canary, contacts, memory
        self.visitors = 0
        self.secret = demo.files.parent / "secret.txt"
        self.secret.write_text(SECRET_TEXT)
        named = httpx.get(f"{demo.url}config", timeout=60).json()["dependencies"]
        self.function = next(each["id"] for each in named if each["api_name"] == "overlay")
        self._log_read = 0

    def send(self, probe: Probe) -> Found:
        """Send one probe and see what comes of it."""
        self.contacts.new()
        self.logged()
        start, held = time.monotonic(), self.memory.begin()
        found = self.act(probe)
        return replace(
            found,
            seconds=found.seconds or time.monotonic() - start,
            megabytes=(self.memory.peak() - held) / 1e6,
            contacts=self.contacts.new(),
            logged=self.logged(),
        )

    def act(self, probe: Probe) -> Found:
        """What comes of a probe, without what it costs."""
        source, sends = self.new_visitor(), probe.sends
        if isinstance(sends, Crowding):
            return Found(200, broken=sends.act(self) or "")
        if isinstance(sends, Request):
            reply = self.ask(self.filled(sends, source), source)
            return self.followed(reply, source)
        if isinstance(sends, Call):
            return self.call(sends, source)
        if isinstance(sends, Picture):
            path = self.upload(sends.filename, sends.make(), source)
            if isinstance(path, Reply):
                return _found(path)
            picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
            return self.call(Call("overlay", (picture, 0.2, "mini", "vscan")), source)
        path = self.upload(sends.filename, sends.content, source)
        reply = path if isinstance(path, Reply) else self.ask(Request(f"/gradio_api/file={path}"), source)
        return _found(reply)

    def new_visitor(self) -> str | None:
        """An address of this computer that nobody has come from yet."""
        self.visitors += 1
        return loopback_address(self.visitors)

    def ask(self, request: Request, source: str | None, patience_s: float = 30.0) -> Reply:
        """Send a request as it is."""
        return exchange(self.demo.port, request, source, patience_s)

    def upload(self, name: str, content: bytes, source: str | None) -> str | Reply:
        """The path of an uploaded file on the server, or the refusal."""
        reply = self.ask(Request(TARGET, "POST", part(name, content) + END, FORM), source)
        return str(json.loads(reply.body)[0]) if reply.status == 200 else reply

    def call(self, call: Call, source: str | None) -> Found:
        """Call an endpoint and listen to what comes."""
        body = json.dumps({"data": list(call.values)}).encode()
        request = self.filled(Request(f"/gradio_api/call/{call.endpoint}", "POST", body, JSON), source)
        return self.followed(self.ask(request, source), source)

    def followed(self, reply: Reply, source: str | None) -> Found:
        """What came of a request; if it has joined the queue, of its event."""
        try:
            event = json.loads(reply.body)["event_id"] if reply.status == 200 else None
        except (ValueError, KeyError, TypeError):
            event = None
        if event is None:
            return _found(reply)
        stream = self.ask(Request(f"/gradio_api/call/overlay/{event}"), source)
        kind, data = last_event(stream.text)
        if kind == "complete":
            return Found(stream.status, stream.text, answered=True)
        seconds = reply.seconds + stream.seconds
        return Found(stream.status, stream.text, sentence=sentence_in(data) if kind else "", seconds=seconds)

    def filled(self, request: Request, source: str | None) -> Request:
        """The request with the placeholders replaced; a picture is uploaded if it speaks of one."""
        meant: dict[str, Any] = {
            CANARY: self.canary,
            SECRET: self.secret,
            SESSION: f"session{self.visitors}",
            FUNCTION: self.function,
        }
        if PICTURE in request.target or PICTURE.encode() in request.body:
            meant[PICTURE] = self.upload("good.png", good_picture(), source)
        target, body = request.target, request.body.replace(f'"{FUNCTION}"'.encode(), str(self.function).encode())
        for word, value in meant.items():
            target, body = target.replace(word, str(value)), body.replace(word.encode(), str(value).encode())
        return replace(request, target=target, body=body)

    def logged(self) -> str:
        """What the demo has printed since the last call."""
        with self.demo.log.open("rb") as file:
            file.seek(self._log_read)
            new = file.read()
        self._log_read += len(new)
        return new.decode("utf-8", "replace")


def _found(reply: Reply) -> Found:
    """What one answer says; the stream of an event that never was ends in an error."""
    kind, data = last_event(reply.text) if "text/event-stream" in reply.head else ("", "")
    sentence = sentence_in(data) if kind == "error" else ""
    return Found(reply.status, reply.text, sentence=sentence, seconds=reply.seconds)


@contextmanager
def running_demo() -> Iterator[Sender]:
    """A demo of its own with the embedded model, watched, and somebody who sends it probes."""
    visits: list[str] = []
    with canary_server(visits) as canary:
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "contacts.txt"
            watched = {"PYTHONPATH": str(WATCHED), REPORT: str(report)}
            with demo_process({**SETTINGS, **watched}) as demo:
                memory = MemoryWatch(demo.process)
                try:
                    yield Sender(demo, canary, ContactList(report, visits), memory)
                finally:
                    memory.stop()
