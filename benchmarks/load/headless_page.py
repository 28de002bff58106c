"""The demo's page without a browser: its widgets' values, and its events through Gradio's own protocol.

Like the page, it reads /config, sends what the widgets hold, writes the outputs back into them, and fires what follows
an event. It runs no JavaScript; the few values that come from scripts are set by the visitor.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from gradio_client.utils import apply_diff

PAGE_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class EventEnd:
    """How an event ended. `sentence`: why it was refused; `took_s`: from the request to the last message."""

    event: str
    ok: bool
    sentence: str
    took_s: float


class HeadlessPage:
    """A page that one visitor has open; `address` is where on loopback the visitor comes from."""

    def __init__(self, url: str, address: str | None = None) -> None:
        transport = httpx.AsyncHTTPTransport(local_address=address) if address else None
        self.client = httpx.AsyncClient(base_url=url, timeout=PAGE_TIMEOUT_S, transport=transport)
        self.session = secrets.token_hex(6)
        self.values: dict[int, Any] = {}
        self.ids: dict[str, int] = {}
        self.events: list[dict[str, Any]] = []
        self._heart: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load the page and its configuration; keep the session alive as long as the page is open."""
        (await self.client.get("/")).raise_for_status()
        config = (await self.client.get("/config")).raise_for_status().json()
        self.events = config["dependencies"]
        for component in config["components"]:
            props = component["props"]
            self.values[component["id"]] = None if component["type"] == "state" else props.get("value")
            if props.get("elem_id"):
                self.ids[props["elem_id"]] = component["id"]
        self._heart = asyncio.create_task(self._beat())

    async def close(self) -> None:
        """Leave."""
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)
        await self.client.aclose()

    async def _beat(self) -> None:
        try:
            async with self.client.stream("GET", f"/gradio_api/heartbeat/{self.session}", timeout=None) as beats:
                async for _ in beats.aiter_raw():
                    pass
        except httpx.HTTPError:
            pass

    async def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """Upload a picture; raises httpx.HTTPStatusError if it is refused."""
        reply = await self.client.post("/gradio_api/upload", files={"files": (name, content, "image/png")})
        path = reply.raise_for_status().json()[0]
        return {"path": path, "orig_name": Path(name).name, "meta": {"_type": "gradio.FileData"}}

    def value(self, name: str) -> Any:
        """What the widget of this id shows."""
        return self.values[self.ids[name]]

    async def change(self, name: str, value: Any) -> list[EventEnd]:
        """Set a widget, and fire what the page does then."""
        self.values[self.ids[name]] = value
        return await self.happen(name, "change")

    async def happen(self, name: str | None, event: str, seen: Callable[[], None] = lambda: None) -> list[EventEnd]:
        """Fire everything that hangs on an event of a widget (None: of the page), and what follows from that."""
        ends: list[EventEnd] = []
        for each in self.events:
            if any(happens == event and self._is(name, target) for target, happens in each["targets"]):
                ends += await self._fire(each, seen)
        return ends

    def _is(self, name: str | None, target: int | None) -> bool:
        """Whether a target of an event is the widget of this id; None: the page, which is none of its widgets."""
        page = target is not None and target not in self.values
        return page if name is None else target == self.ids[name]

    async def _fire(self, event: dict[str, Any], seen: Callable[[], None]) -> list[EventEnd]:
        ends, changed = [], []
        if event["backend_fn"]:
            end, changed = await self._ask(event, seen)
            ends.append(end)
        for each in self.events:
            follows = each["trigger_after"] == event["id"] and not each["trigger_only_on_failure"]
            if follows or any([state, "change"] in [list(found) for found in each["targets"]] for state in changed):
                ends += await self._fire(each, seen)
        return ends

    async def _ask(self, event: dict[str, Any], seen: Callable[[], None]) -> tuple[EventEnd, list[int]]:
        """Send one event to the server and write what comes back into the widgets; also the states that changed."""
        start, name = time.perf_counter(), str(event["api_name"])
        body = {
            "data": [self.values[each] for each in event["inputs"]],
            "fn_index": event["id"],
            "session_hash": self.session,
            "event_data": None,
            "trigger_id": None,
        }
        try:
            if event["queue"]:
                output, sentence = await self._queued(event, body, seen)
            else:
                reply = await self.client.post(f"/gradio_api/run/{name}", json=body)
                output, sentence = (reply.json(), "") if reply.status_code == 200 else ({}, refusal_in(reply))
        except (httpx.HTTPError, ValueError) as error:
            output, sentence = {}, f"{type(error).__name__}: {error}"
        self._fill(event, output.get("data") or [])
        changed: list[int] = output.get("changed_state_ids") or []
        return EventEnd(name, not sentence, sentence, time.perf_counter() - start), changed

    async def _queued(
        self, event: dict[str, Any], body: dict[str, Any], seen: Callable[[], None]
    ) -> tuple[dict[str, Any], str]:
        joined = await self.client.post("/gradio_api/queue/join", json=body)
        if joined.status_code != 200:
            return {}, refusal_in(joined)
        mine, shown = joined.json()["event_id"], None
        async with self.client.stream("GET", f"/gradio_api/queue/data?session_hash={self.session}") as messages:
            async for line in messages.aiter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("msg") == "unexpected_error":
                    return {}, str(message.get("message") or "unexpected error")
                if message.get("event_id") != mine:
                    continue
                output = message.get("output") or {}
                if message["msg"] == "process_generating" and message["success"]:
                    new = output.get("data") or []
                    shown = new if shown is None else [apply_diff(*pair) for pair in zip(shown, new, strict=True)]
                    self._fill(event, shown)
                    seen()
                elif message["msg"] == "process_completed":
                    return output, "" if message["success"] else str(output.get("error") or "no reason given")
        return {}, "the stream ended before the answer"

    def _fill(self, event: dict[str, Any], data: list[Any]) -> None:
        for target, value in zip(event["outputs"], data, strict=False):
            if not isinstance(value, dict) or value.get("__type__") != "update":
                self.values[target] = value
            elif "value" in value:
                self.values[target] = value["value"]


def refusal_in(reply: httpx.Response) -> str:
    """What a refused request says, with its status; at most 200 characters."""
    try:
        found = reply.json()
        said = found.get("detail") or found.get("error") or found
    except (ValueError, AttributeError):
        said = reply.text
    return f"{reply.status_code}: {said}"[:200]
