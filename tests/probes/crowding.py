"""What takes more than one request: visitors who take all there is, who stall, or who leave without listening."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.probes import stalling
from tests.probes.next_visitor import still_served
from tests.probes.pictures import encoded, good_picture, noise
from tests.probes.pictures.enormous import tiny_webp
from tests.probes.probe import Call, Crowding, Probe, Request

if TYPE_CHECKING:
    from tests.probes.sending import Sender

KIND = "crowding"
JSON = (("Content-Type", "application/json"),)


def _picture_of(sender: Sender, source: str | None) -> dict[str, Any] | None:
    path = sender.upload("good.png", good_picture(), source)
    return {"path": path, "meta": {"_type": "gradio.FileData"}} if isinstance(path, str) else None


def unheard_sweeps(sender: Sender) -> str | None:
    """Sweeps that are posted and never listened to."""
    source = sender.new_visitor()
    shares = ", ".join(f"{n / 20:.2f}" for n in range(1, 20))
    for _ in range(21):
        picture = _picture_of(sender, source)
        body = json.dumps({"data": [picture, "What is there?", shares, "mini", "vscan"]}).encode()
        sender.ask(Request("/gradio_api/call/sweep", "POST", body, JSON), source)
    return still_served(sender)


def leaving_listeners(sender: Sender) -> str | None:
    """Runs whose visitors leave after the first word."""
    for _ in range(6):
        source = sender.new_visitor()
        body = json.dumps({"data": [_picture_of(sender, source), "What?", 0.2, "mini", "vscan", 64]}).encode()
        reply = sender.ask(Request("/gradio_api/call/compare", "POST", body, JSON), source)
        if reply.status == 200:
            event = json.loads(reply.body)["event_id"]
            sender.ask(Request(f"/gradio_api/call/compare/{event}"), source, patience_s=0.3)
    return still_served(sender)


def many_runs_of_one(sender: Sender) -> str | None:
    """One visitor asks thirty times at once."""
    source = sender.new_visitor()
    picture = _picture_of(sender, source)
    call = Call("compare", (picture, "What is there?", 0.2, "mini", "vscan", 4))
    with ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(sender.call, call, source) for _ in range(30)]
        problem = still_served(sender)
        found = [each.result() for each in asked]
    answered = sum(each.answered for each in found)
    silent = [each for each in found if not each.answered and (each.status < 400 and each.sentence in ("", "null"))]
    if problem or silent:
        return problem or f"{len(silent)} of 30 were refused without a sentence"
    return "all of them ran" if answered == 30 else None


def uploads_without_end(sender: Sender) -> str | None:
    """One visitor uploads 400 MB in files of 9 MB."""
    source, content = sender.new_visitor(), bytearray(9_000_000)
    refused = False
    for number in range(45):
        content[:4] = number.to_bytes(4, "big")
        refused = refused or not isinstance(sender.upload(f"{number}.png", bytes(content), source), str)
    kept = sum(path.stat().st_size for path in sender.demo.files.rglob("*") if path.is_file())
    if not refused:
        return f"all of it was taken; {kept / 1e6:.0f} MB are on the disk"
    return still_served(sender)


def heavy_pictures_at_once(sender: Sender) -> str | None:
    """Ten visitors send pictures of 36 bytes that claim 40 megapixels, and ten large ones."""
    files = [tiny_webp(6300, 6300), encoded(noise(2500, 2000), "JPEG")] * 10

    def look(content: bytes) -> None:
        source = sender.new_visitor()
        path = sender.upload("large.webp", content, source)
        if isinstance(path, str):
            picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
            sender.call(Call("overlay", (picture, 0.2, "mini", "vscan")), source)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(look, files))
    return still_served(sender)


def past_the_queue(sender: Sender) -> str | None:
    """Six heavy pictures at once by the route that does not queue."""
    source = sender.new_visitor()
    path = sender.upload("large.webp", tiny_webp(6300, 6300), source)
    picture = {"path": path if isinstance(path, str) else "", "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": [picture, 0.2, "mini", "vscan"]}).encode()
    with ThreadPoolExecutor(6) as pool:
        asked = [
            pool.submit(sender.ask, Request("/gradio_api/run/overlay", "POST", body, JSON), source) for _ in range(6)
        ]
    statuses = {each.result().status for each in asked}
    return None if all(400 <= status < 500 for status in statuses) else f"it answers {sorted(statuses)}"


def other_models(sender: Sender) -> str | None:
    """A visitor asks for every model of the catalog; random weights are not for strangers, and nothing is fetched."""
    from vscan_core.catalog import MODELS, is_random

    source = sender.new_visitor()
    picture = _picture_of(sender, source)
    for name in [name for name in MODELS if is_random(name)][:12]:
        found = sender.call(Call("overlay", (picture, 0.2, name, "vscan")), source)
        if found.answered or found.sentence in ("", "null"):
            return f"{name} was loaded, or refused without a sentence"
    return None


ACTS = {
    "60 stalled uploads": stalling.stalled_uploads,
    "a body of one byte a second": stalling.slow_body,
    "800 idle connections": stalling.idle_connections,
    "800 heads without an end": stalling.half_heads,
    "21 sweeps nobody listens to": unheard_sweeps,
    "visitors who leave": leaving_listeners,
    "30 runs of one visitor at once": many_runs_of_one,
    "400 MB of uploads by one visitor": uploads_without_end,
    "20 heavy pictures at once": heavy_pictures_at_once,
    "6 heavy pictures past the queue": past_the_queue,
    "all models with random weights": other_models,
}
SECONDS = 180.0


def probes() -> list[Probe]:
    """All of them."""
    return [Probe(KIND, name, Crowding(act), harmless=True, seconds=SECONDS) for name, act in ACTS.items()]
