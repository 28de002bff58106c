"""A real HTTP server on loopback that speaks OpenAI's chat completions as vLLM does, without a model behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VISUAL, TEXT = 576, 12  # tokens of a prompt: of the picture, unreduced, and of all else (as many as mini's for "What?")
REFUSED = "vscan: fastv cuts inside the LLM, which vLLM cannot do"


@dataclass
class ChatStub:
    """What the server says and does; a test may change it while it runs."""

    owned_by: str = "vllm"
    models: tuple[str, ...] = ("mini",)
    version: str | None = "0.32.0"
    words: tuple[str, ...] = ("a", " red", " ball")
    text_tokens: int = TEXT
    cached: int = 0
    details: bool = True  # whether usage tells the picture's tokens
    reduces: bool = True  # otherwise it ignores settings, as a server without the plug-in does
    fault: str = ""  # "status", "html", "event", "cut", "no end", "junk", "slow" or "long"
    fail_after: int | None = None  # answers, after which it only fails
    slow_after: int = 0  # words, after which what is "slow" waits
    per_layer: bool = False  # whether usage tells the visual tokens of every layer, as the demo's own server does
    key: str | None = None
    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)  # of the requests so far
    under_way: int = 0
    most_at_once: int = 0
    release: threading.Event = field(default_factory=threading.Event)  # ends what is "slow"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def settings(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """Of the reduction, where this server looks for them."""
        found: dict[str, Any] | None = (
            body["mm_processor_kwargs"]["vscan"] if self.owned_by == "vllm" else body["vscan"]
        )
        return found if self.reduces else None

    def layers(self, body: dict[str, Any]) -> list[int]:
        """Visual tokens of each of mini's layers: with settings, as VScan at a retention of 1/9."""
        return [VISUAL] * 6 if self.settings(body) is None else [96] * 3 + [32] * 3

    def pause(self) -> None:
        """A moment, in a loop that waits for the server."""
        threading.Event().wait(0.01)

    def visual(self, body: dict[str, Any]) -> int:
        """Visual tokens that are left."""
        found = self.settings(body)
        return VISUAL if found is None else max(1, round(VISUAL * found["retention"]))


@contextmanager
def chat_stub(**options: Any) -> Iterator[ChatStub]:
    """A stub that runs."""
    stub = ChatStub(**options)

    class Handler(_Handler):
        plan = stub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield stub
    finally:
        stub.release.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    plan: ChatStub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        if self.plan.key and self.headers["Authorization"] != f"Bearer {self.plan.key}":
            return self._json(401, {"error": "Unauthorized"})
        listed = [{"id": name, "root": name, "owned_by": self.plan.owned_by} for name in self.plan.models]
        if self.path == "/v1/models":
            return self._json(200, {"object": "list", "data": listed})
        if self.path == "/version" and self.plan.version:
            return self._json(200, {"version": self.plan.version})
        return self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        plan = self.plan
        with plan.lock:
            plan.bodies.append(body)
            plan.under_way += 1
            plan.most_at_once = max(plan.most_at_once, plan.under_way)
        try:
            self._answer(plan, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with plan.lock:
                plan.under_way -= 1

    def _answer(self, plan: ChatStub, body: dict[str, Any]) -> None:
        if plan.fault == "status" or (plan.fail_after is not None and len(plan.bodies) > plan.fail_after):
            return self._json(500, {"error": {"message": "EngineDeadError", "code": 500}})
        if plan.fault == "html":
            return self._send(503, b"<html>no such page</html>", "text/html")
        if (plan.settings(body) or {}).get("method") == "fastv":
            return self._json(400, {"error": {"message": REFUSED, "type": "BadRequestError", "code": 400}})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        self._event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        if plan.fault == "junk":
            return self._data(b"no JSON")
        words = plan.words[: body["max_tokens"]]
        return self._usage(plan, body, len(words)) if self._words(plan, words) else None

    def _words(self, plan: ChatStub, words: tuple[str, ...]) -> bool:
        """The answer; whether it is complete."""
        for place, word in enumerate(words):
            if plan.fault == "slow" and place == plan.slow_after:
                self.wfile.write(b": keep-alive\n\n")
                plan.release.wait(30)
            self._event({"choices": [{"index": 0, "delta": {"content": word}}]})
            if plan.fault == "event":
                self._event({"error": {"message": "The engine is dead", "code": 500}})
            if plan.fault in ("event", "cut"):
                return False
        while plan.fault == "long":
            self._event({"choices": [{"index": 0, "delta": {"content": "x" * 100_000}}]})
        return True

    def _usage(self, plan: ChatStub, body: dict[str, Any], written: int) -> None:
        """What ends an answer."""
        self._event({"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": self._why(body)}]})
        visual = plan.visual(body)
        usage: dict[str, Any] = {"prompt_tokens": visual + plan.text_tokens, "completion_tokens": written}
        if plan.details:
            usage["prompt_tokens_details"] = {"multimodal_tokens": {"image": visual}, "cached_tokens": plan.cached}
        if plan.per_layer:
            usage["vscan"] = {"visual_tokens_per_layer": plan.layers(body)}
            usage["prompt_tokens"] = plan.layers(body)[0] + plan.text_tokens
        self._event({"choices": [], "usage": usage})
        if plan.fault != "no end":
            self._data(b"[DONE]")

    def _why(self, body: dict[str, Any]) -> str:
        return "length" if len(self.plan.words) > body["max_tokens"] else "stop"

    def _event(self, found: dict[str, Any]) -> None:
        self._data(json.dumps(found).encode())

    def _data(self, data: bytes) -> None:
        self.wfile.write(b"data: " + data + b"\n\n")

    def _json(self, status: int, found: Any) -> None:
        self._send(status, json.dumps(found).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
