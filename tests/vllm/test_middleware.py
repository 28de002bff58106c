"""The HTTP side, around a small application: settings reach it, other options do not, and replies tell the tokens."""

from __future__ import annotations

import json

import pytest

from tests.apart import run_apart
from vscan_vllm import usage
from vscan_vllm.middleware import RequestSettings

CHOICE = {"vscan": {"method": "grid"}}
USAGE = {"prompt_tokens": 108}


class Application:
    """Notes what a method kept, as the processor does, and replies with pieces of a body."""

    def __init__(self, pieces: list[bytes], kind: bytes = b"application/json") -> None:
        self.pieces, self.kind, self.body = pieces, kind, None

    async def __call__(self, scope, receive, send) -> None:
        message = await receive()
        assert dict(scope["headers"])[b"content-length"] == str(len(message["body"])).encode()
        self.body = json.loads(message["body"])
        usage.note_tokens(
            self.body["mm_processor_kwargs"][usage.REQUEST], '{"method":"grid","retention":0.25}', None, 576, 144
        )
        length = (b"content-length", str(sum(map(len, self.pieces))).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", self.kind), length]})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def asked(app, body, path: str = "/v1/chat/completions", kind: bytes = b"application/json", method: str = "POST"):
    """What a client gets: (status, headers, body)."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    half = len(raw) // 2
    given = [{"type": "http.request", "body": raw[:half], "more_body": True},
             {"type": "http.request", "body": raw[half:], "more_body": False}]  # fmt: skip
    sent: list[dict] = []

    async def receive():
        return given.pop(0)

    async def send(message) -> None:
        sent.append(message)

    headers = [(b"content-type", kind), (b"content-length", str(len(raw)).encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    run_apart(lambda: RequestSettings(app)(scope, receive, send))
    content = b"".join(message["body"] for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), content


def told(reply: dict) -> dict:
    """The counts in a reply."""
    return {name: reply["usage"]["vscan"][name] for name in ("method", "tokens", "kept")}


COUNTS = {"method": "grid", "tokens": 576, "kept": 144}


@pytest.mark.parametrize(
    "body", [{"vscan": {"method": "grid"}}, {"mm_processor_kwargs": {"vscan": {"method": "grid"}}}]
)
def test_settings_reach_the_processor_and_nothing_is_left_behind(body) -> None:
    app = Application([json.dumps({"usage": USAGE}).encode()])
    status, headers, content = asked(app, {"messages": [], **body})
    assert status == 200 and int(headers[b"content-length"]) == len(content)
    assert set(app.body) == {"messages", "mm_processor_kwargs"}
    assert app.body["mm_processor_kwargs"]["vscan"] == {"method": "grid"}
    reply = json.loads(content)
    assert told(reply) == COUNTS and reply["usage"]["prompt_tokens"] == 108
    assert reply["usage"]["vscan"]["settings"] == {"retention": 0.25}
    assert not usage._counts


def test_null_and_nothing_differ() -> None:
    app = Application([b"{}"])
    asked(app, {"vscan": None})
    assert app.body["mm_processor_kwargs"]["vscan"] is None
    asked(app, {})
    assert "vscan" not in app.body["mm_processor_kwargs"]


@pytest.mark.parametrize("size", [1, 7, 50, 10**6])
def test_the_last_event_of_a_stream_tells_the_tokens_however_it_is_cut(size) -> None:
    events = b"".join(
        b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in ({"choices": [{"delta": {"content": 'the "usage" of ä'}}], "usage": None}, {"usage": USAGE})
    )
    events += b"data: [DONE]\n\n"
    pieces = [events[start : start + size] for start in range(0, len(events), size)]
    _, _, content = asked(Application(pieces, b"text/event-stream; charset=utf-8"), {})
    lines = content.split(b"\n\n")
    assert json.loads(lines[0].removeprefix(b"data: ")) == json.loads(events.split(b"\n\n")[0].removeprefix(b"data: "))
    assert told(json.loads(lines[1].removeprefix(b"data: "))) == COUNTS
    assert lines[2] == b"data: [DONE]"


BAD = {
    "size": ({"mm_processor_kwargs": {"size": {"shortest_edge": 9}}}, "mm_processor_kwargs.size can be set only where"),
    "nested": ({"mm_processor_kwargs": {"images_kwargs": {"vscan": None}}}, "images_kwargs can be set only where"),
    "counter": ({"mm_processor_kwargs": {"vscan_request": "another"}}, "vscan_request can be set only where"),
    "reading": ({"media_io_kwargs": {"image": {}}}, "media_io_kwargs can be set only where the server starts"),
    "features": ({"features": {"mm_hashes": {}}}, "features prepared elsewhere cannot be checked"),
    "twice": ({"vscan": None, "mm_processor_kwargs": {"vscan": None}}, "vscan is given twice"),
    "no object": ({"mm_processor_kwargs": [1]}, "mm_processor_kwargs must be an object"),
}


@pytest.mark.parametrize("name", BAD)
def test_options_of_the_operator_are_refused(name) -> None:
    body, sentence = BAD[name]
    app = Application([])
    status, _, content = asked(app, body)
    error = json.loads(content)["error"]
    assert status == 400 and sentence in error["message"] and error["code"] == 400 and app.body is None


@pytest.mark.parametrize("case", [{"method": "GET"}, {"kind": b"multipart/form-data"}])
def test_other_requests_pass_unchanged(case) -> None:
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append((await receive(), await receive()))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert asked(app, b'{"media_io_kwargs": 1}', **case)[0] == 204
    assert b"".join(one["body"] for one in seen[0]) == b'{"media_io_kwargs": 1}'


@pytest.mark.parametrize("raw", [b"no json", b"[1]", b"", b"\xff"])
def test_what_is_no_object_is_left_to_the_server(raw) -> None:
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 422, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert asked(app, raw)[0] == 422 and seen == [raw]


def test_counts_of_several_prompts_add_up_and_old_ones_go() -> None:
    for _ in range(2):
        usage.note_tokens("one", "null", None, 576, 576)
    assert usage.noted_tokens("one") == {"method": None, "settings": None, "tokens": 1152, "kept": 1152}
    for number in range(usage.MOST_REQUESTS):
        usage.note_tokens(str(number), "null", "a sentence", 1, 1)
    assert usage.noted_tokens("one") is None and usage.noted_tokens("5")["note"] == "a sentence"
    usage._counts.clear()
