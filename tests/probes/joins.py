"""Bodies that Gradio's queue does not expect: other types, lengths, depths and numbers."""

from __future__ import annotations

import json
from typing import Any

from tests.probes.foreign_addresses import json_request
from tests.probes.probe import FUNCTION, PICTURE, SESSION, Probe, Request

KIND = "bodies of the queue"
JOIN, CALL = "/gradio_api/queue/join", "/gradio_api/call/overlay"
JSON = (("Content-Type", "application/json"),)
FILE = {"path": PICTURE, "meta": {"_type": "gradio.FileData"}}
GOOD = {"data": [FILE, 0.2, "mini", "vscan"], "fn_index": FUNCTION, "session_hash": SESSION}


def _with(**other: Any) -> dict[str, Any]:
    return GOOD | other


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


BODIES: dict[str, Any] = {
    "nothing": {},
    "a list": [],
    "a number": 1,
    "a text": "text",
    "null": None,
    "no data": _without("data"),
    "no function": _without("fn_index"),
    "no session": _without("session_hash"),
    "data is null": _with(data=None),
    "data is a text": _with(data="text"),
    "data is an object": _with(data={"0": FILE}),
    "data is a number": _with(data=5),
    "data is empty": _with(data=[]),
    "one value less": _with(data=GOOD["data"][:-1]),
    "one value more": _with(data=[*GOOD["data"], 1]),
    "10,000 values": _with(data=[1] * 10_000),
    "values are null": _with(data=[None] * 4),
    "values are objects": _with(data=[{}, {}, {}, {}]),
    "values are lists": _with(data=[[], [], [], []]),
    "values are true": _with(data=[True] * 4),
    "function unknown": _with(fn_index=99_999),
    "function negative": _with(fn_index=-1),
    "function is a text": _with(fn_index="overlay"),
    "function is a fraction": _with(fn_index=1.5),
    "function is a list": _with(fn_index=[1]),
    "function is enormous": _with(fn_index=10**40),
    "function that only scripts have": _with(fn_index=2),
    "session is a number": _with(session_hash=5),
    "session is null": _with(session_hash=None),
    "session is a list": _with(session_hash=["a"]),
    "session is long": _with(session_hash="s" * 100_000),
    "session is a path": _with(session_hash="../../etc/passwd"),
    "session is empty": _with(session_hash=""),
    "event data is a text": _with(event_data="text"),
    "trigger is a text": _with(trigger_id="text"),
    "trigger is unknown": _with(trigger_id=10**9),
    "batched": _with(batched=True),
    "another event": _with(event_id="x", simple_format=True),
    "a request inside": _with(request={"client": {"host": "127.0.0.1"}}, username="admin"),
    "a token inside": _with(oauth_token={"token": "x"}),
    "more keys": _with(**{f"key{number}": number for number in range(5000)}),
}
MAY_BE_IGNORED = (
    "session is a path",
    "event data is a text",
    "trigger is unknown",
    "another event",
    "a request inside",
    "a token inside",
    "more keys",
    "session is long",
    "batched",
)
NUMBERS = {"NaN": "NaN", "infinite": "Infinity", "minus infinite": "-Infinity", "1e999": "1e999", "long": "1" * 5000}


NOT_FOR_CALLS = ("function", "session", "no session", "no function", "trigger")  # /call finds them by itself


def _raw_bodies() -> dict[str, bytes]:
    text = json.dumps(GOOD)
    return {
        "no JSON": b"data=1",
        "half": text.encode()[:30],
        "twice": text.encode() * 2,
        "50,000 brackets": b"[" * 50_000,
        "50,000 objects": b'{"data":' * 20_000 + b"1" + b"}" * 20_000,
        "depth inside data": ('{"data": ' + "[" * 30_000 + "]" * 30_000 + "}").encode(),
        "no UTF-8": b'{"data": ["\xff\xfe"], "fn_index": 1, "session_hash": "x"}',
        "UTF-16": text.encode("utf-16"),
        "half a surrogate": b'{"data": ["\\ud800"], "fn_index": 1, "session_hash": "\\udfff"}',
        "a mark before": b"\xef\xbb\xbf" + text.encode(),
        "zero bytes": b"\0" * 1000,
        "a key twice": b'{"data": [], "data": [], "fn_index": 1, "fn_index": -1, "session_hash": "x"}',
        "a value of 150 kB": json.dumps(_with(data=["x" * 150_000, 0.2, "mini", "vscan"])).encode(),
        "a key of 150 kB": json.dumps(_with(**{"k" * 150_000: 1})).encode(),
        "300 kB": json.dumps(_with(data=["x" * 300_000])).encode(),
        "20 MB": b'{"data": ["' + b"x" * 20_000_000 + b'"]}',
        "__proto__": json.dumps({"__proto__": {"admin": True}, "constructor": 1}).encode(),
        "nothing": b"",
    }


MAY_BE_READ = ("a mark before", "a key of 150 kB")


def probes() -> list[Probe]:
    """All of them."""
    found = []
    for title, body in BODIES.items():
        harmless = title in MAY_BE_IGNORED
        found.append(Probe(KIND, f"join: {title}", json_request(JOIN, body), harmless=harmless))
    for title, body in BODIES.items():
        if isinstance(body, dict) and "data" in body and "fn_index" in body:
            harmless = title in MAY_BE_IGNORED or title.startswith(NOT_FOR_CALLS)
            found.append(Probe(KIND, f"call: {title}", json_request(CALL, body), harmless=harmless))
    for title, body in _raw_bodies().items():
        harmless = title in MAY_BE_READ
        found.append(Probe(KIND, f"join, raw: {title}", Request(JOIN, "POST", body, JSON), harmless=harmless))
    for title, number in NUMBERS.items():
        body = json.dumps(GOOD).replace("0.2", number).encode()
        found.append(Probe(KIND, f"join, number: {title}", Request(JOIN, "POST", body, JSON)))
    for kind in ("text/plain", "application/xml", "multipart/form-data", "application/json; charset=utf-7", ""):
        headers = (("Content-Type", kind),)
        request = Request(JOIN, "POST", json.dumps(GOOD).encode(), headers)
        found.append(Probe(KIND, f"join, sent as {kind or 'nothing'}", request, harmless="json" in kind or not kind))
    for target in ("/gradio_api/cancel", "/gradio_api/reset"):
        for title, raw in {"nothing": b"{}", "no JSON": b"x", "types": b'{"session_hash": [], "fn_index": {}}'}.items():
            found.append(Probe(KIND, f"{target}: {title}", Request(target, "POST", raw, JSON)))
    return found
