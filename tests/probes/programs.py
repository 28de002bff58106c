"""Chat completions and MCP messages that mean something else than a question about a picture."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.probes.foreign_addresses import ADDRESSES
from tests.probes.next_visitor import still_served
from tests.probes.pictures import good_picture
from tests.probes.pictures.enormous import tiny_webp
from tests.probes.probe import SECRET, Crowding, Probe, Request
from tests.probes.values import NAMES, REFUSED_QUESTIONS, RETENTIONS

if TYPE_CHECKING:
    from tests.probes.sending import Sender

KIND = "chat completions and MCP"
CHAT, MCP = "/v1/chat/completions", "/mcp"
JSON = (("Content-Type", "application/json"),)
RPC = (*JSON, ("Accept", "application/json, text/event-stream"))
GOOD_URL = f"data:image/png;base64,{base64.b64encode(good_picture()).decode()}"
CROWD = 40
SECONDS = 180.0
HANDSHAKE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "probe", "version": "1"}}


def chat_body(url: Any = GOOD_URL, question: Any = "What is there?", **more: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    return {"model": "mini", "messages": [{"role": "user", "content": parts}], "max_tokens": 4, **more}


def tool_call(**changes: Any) -> dict[str, Any]:
    """The body of an MCP call of `overlay`."""
    params = {"name": "overlay", "arguments": {"image": GOOD_URL, **changes}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def _written(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")


WHOLE: dict[str, Any] = {
    "nothing": b"",
    "no JSON": b"hello",
    "a list": [],
    "null": None,
    "NaN": b'{"model": NaN}',
    "half a surrogate": b'{"model": "\\ud800"}',
    "another encoding": json.dumps(chat_body()).encode("utf-16"),
    "deep": b'{"messages": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "5,000 parameters": {f"key{number}": number for number in range(5000)},
    "5,000 messages": {"model": "mini", "messages": [{"role": "user", "content": "x"}] * 5000},
    "5,000 pictures": {"model": "mini", "messages": [{"role": "user", "content": [{"type": "image_url"}] * 5000}]},
    "a system message": {"model": "mini", "messages": [{"role": "system", "content": "x"}]},
    "a picture that is an object": chat_body({"path": SECRET}),
    "a path in place of an address": chat_body(SECRET),
    "a page in place of a picture": chat_body("data:text/html;base64,PHNjcmlwdD4="),
    "a drawing with a script": chat_body("data:image/svg+xml;base64,PHN2Zz48c2NyaXB0Lz48L3N2Zz4="),
    "no base64": chat_body("data:image/png;base64,%%%"),
    "a text of 14 MB": chat_body("data:image/png;base64," + "A" * 14_000_000),
    "36 bytes that claim 40 megapixels": chat_body(
        f"data:image/webp;base64,{base64.b64encode(tiny_webp(6300, 6300)).decode()}"
    ),
    "temperature": chat_body(temperature=0.7),
    "a billion tokens": chat_body(max_tokens=10**9),
    "a thousand answers": chat_body(n=1000),
    "tools": chat_body(tools=[{"type": "function", "function": {"name": "x"}}]),
    "settings of 150,000 characters": chat_body(vscan={"method": "vscan", "positions": "x" * 150_000}),
    "settings that are a list": chat_body(vscan=[{"method": "vscan"}]),
    "a setting of Python": chat_body(vscan={"method": "vscan", "__class__": "x"}),
    "an enormous layer": chat_body(vscan={"method": "fastv", "layer": 10**300}),
    "sizes of the processor": chat_body(mm_processor_kwargs={"size": {"shortest_edge": 20_000}}),
}
TAKEN: dict[str, Any] = {
    "as it should be": chat_body(),
    "a stream": chat_body(stream=True),
    "all tokens": chat_body(vscan=None),
}
CALLS: dict[str, Any] = {
    "a tool that is none": {**tool_call(), "params": {"name": "__class__", "arguments": {}}},
    "arguments that are a list": {**tool_call(), "params": {"name": "overlay", "arguments": []}},
    "another method": {**tool_call(), "method": "resources/read", "params": {"uri": "file:///etc/passwd"}},
    "a foreign picture": tool_call(image="http://CANARY/x"),
    "a path": tool_call(image=SECRET),
    "an enormous retention": tool_call(retention=10**300),
    "a null retention": tool_call(retention=None),
    "a model that is a path": tool_call(model="../../etc/passwd"),
    "a method with markup": tool_call(method="<script>document.title = 'x'</script>"),
    "a batch": [tool_call()] * 50,
    "a number as the whole": 5,
    "deep": b'{"jsonrpc": "2.0", "id": 1, "method": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "an enormous id": {**tool_call(), "id": 10**300},
    "an answer to nobody": {"jsonrpc": "2.0", "id": 1, "result": {}},
    "a handshake": {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HANDSHAKE},
    "as it should be": tool_call(),
}
VERSIONS = ("2026-07-28", "1999-01-01", "x" * 5000, "../../etc/passwd")
OPENED = ("GET", "PUT", "DELETE", "OPTIONS")


def _requests() -> dict[str, tuple[Request, bool]]:
    """{name: (request, whether it may be answered)}."""

    def chat(body: Any, headers: tuple[tuple[str, str], ...] = JSON) -> Request:
        return Request(CHAT, "POST", _written(body), headers)

    found = {f"picture at {title}": (chat(chat_body(url)), title == "data") for title, url in ADDRESSES.items()}
    found["picture at data"] = chat(chat_body(ADDRESSES["data"])), False  # that is no picture
    found |= {title: (chat(body), False) for title, body in WHOLE.items()}
    found |= {title: (chat(body), True) for title, body in TAKEN.items()}
    found |= {
        f"question: {title}": (chat(chat_body(question=text)), False) for title, text in REFUSED_QUESTIONS.items()
    }
    for title, name in NAMES.items():
        found[f"model: {title}"] = chat(chat_body(model=name)), False
        found[f"method: {title}"] = chat(chat_body(vscan={"method": name})), False
    for title, share in RETENTIONS.items():
        settings = {"method": "vscan", "retention": share}
        found[f"retention: {title}"] = chat(chat_body(vscan=settings)), False
    found["another site's page"] = chat(chat_body(), (*JSON, ("Origin", "http://probe.invalid"))), False
    found["a form"] = chat(b"model=mini", (("Content-Type", "application/x-www-form-urlencoded"),)), False
    found["a model with a path"] = Request("/v1/models/..%2f..%2fetc%2fpasswd"), False
    found["a model of 900 characters"] = Request("/v1/models/" + "m" * 240 + "/x" * 300), False
    for title, body in CALLS.items():
        found[f"MCP, {title}"] = Request(MCP, "POST", _written(body), RPC), True  # a refusal is a result of the tool
    for version in VERSIONS:
        headers = (*RPC, ("MCP-Protocol-Version", version), ("Mcp-Session-Id", "../../x"))
        found[f"MCP, version {version[:20]}"] = Request(MCP, "POST", _written(tool_call()), headers), True
    found["MCP, another site's page"] = (
        Request(MCP, "POST", _written(tool_call()), (*RPC, ("Origin", "http://probe.invalid"))), False,
    )  # fmt: skip
    for method in OPENED:
        found |= {f"{method} {target}": (Request(target, method), False) for target in (CHAT, MCP)}
    return found


def leaving_programs(sender: Sender) -> str | None:
    """Programs that leave before the first word, each from an address of its own."""
    for _ in range(CROWD):
        request = Request(CHAT, "POST", _written(chat_body(stream=True, max_tokens=64)), JSON)
        sender.ask(request, sender.new_visitor(), patience_s=0.05)
    return still_served(sender)


def programs_at_once(sender: Sender) -> str | None:
    """One address sends forty questions of a megabyte at once."""
    from concurrent.futures import ThreadPoolExecutor

    source = sender.new_visitor()
    request = Request(CHAT, "POST", _written(chat_body(user="x" * 1_000_000)), JSON)
    with ThreadPoolExecutor(CROWD) as pool:
        asked = [pool.submit(sender.ask, request, source, 120.0) for _ in range(CROWD)]
        problem = still_served(sender)
        statuses = {each.result().status for each in asked}
    return problem or (None if statuses <= {200, 429, 503} else f"it answers {sorted(statuses)}")


ACTS: dict[str, Callable[[Any], str | None]] = {
    "40 programs that leave": leaving_programs,
    "40 questions of one program at once": programs_at_once,
}


def probes() -> list[Probe]:
    """All of them."""
    found = [Probe(KIND, name, request, harmless=harmless) for name, (request, harmless) in _requests().items()]
    found += [Probe(KIND, name, Crowding(act), harmless=True, seconds=SECONDS) for name, act in ACTS.items()]
    return found
