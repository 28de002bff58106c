"""Every route of the installed Gradio is open or closed on purpose; all other addresses are not found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import httpx
import pytest

from app.server.routes import CLOSED_ROUTES, OPEN_ROUTES, normalised, open_routes, without_root
from tests.app.server.served import Door, canary, sentence

OURS = {"/healthz", "/readyz", "/metrics", "/v1/chat/completions", "/v1/models", "/v1/models/{model:path}", "/mcp"}
# all but the first only where there are operations
NOT_HERE = {  # only where the option is on; closed in any case
    "/gradio_api/run-history/buckets",
    "/gradio_api/run-history/connect",
    "/gradio_api/run-history/records",
    "/gradio_api/run-history/records/{endpoint}/{record_id}/assets/{asset_id}",
}


def walked(routes: Iterable[Any]) -> Iterator[Any]:
    """Every route, also of routers and mounts, with its whole path."""
    for route in routes:
        inner = getattr(route, "original_router", route)
        if getattr(inner, "routes", None):
            yield from walked(inner.routes)
        else:
            yield route


def test_every_route_is_open_or_closed_on_purpose(door: Door) -> None:
    there = {route.path.rstrip("/") or "/" for route in walked(door.demo.app.routes)}
    opened = {route.path for route in OPEN_ROUTES}
    assert len(there) > 40 and opened.isdisjoint(CLOSED_ROUTES)
    assert there - opened - set(CLOSED_ROUTES) == set(), "Gradio has new routes: open them, or say why they are closed"
    assert opened - there <= OURS and set(CLOSED_ROUTES) - there <= NOT_HERE, "Gradio has lost routes"
    assert all(CLOSED_ROUTES.values())


def test_closed_routes_are_not_found_however_they_are_asked(door: Door) -> None:
    for path in CLOSED_ROUTES:
        if path in ("/gradio_api/stream/{event_id}/close",):
            continue
        for parameter in ("{id}", "{path:path}", "{url_path:path}", "{size}", "{key}"):
            path = path.replace(parameter, "1")
        for spelling in (path, f"{path}/", f"/{path}", path.replace("gradio_api", "gradio%5Fapi")):
            assert door.get(spelling).status_code in (404, 405), spelling
            assert door.post(spelling, json={}).status_code in (404, 405), spelling


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file={url}", "/gradio_api/file/{url}", "/gradio_api/proxy={url}", "/gradio_api/proxy/{url}",
        "/gradio_api//file={url}", "/gradio_api/./file={url}", "/gradio_api/x/../file={url}", "//gradio_api/file={url}",
        "/gradio_api/%66ile={url}", "/gradio_api/file%3D{url}", "/gradio_api/file={url}/", "/file={url}", "/file/{url}",
        "/gradio_api/file=%20{url}", "/gradio_api/file=%09{url}", "/gradio_api/file=\\{url}", "/GRADIO_API/file={url}",
    ],
)  # fmt: skip
def test_no_spelling_makes_the_server_fetch(door: Door, path: str) -> None:
    with canary() as (place, asked):
        for address in (f"http://{place}/x", f"HTTP://{place}/x", f"//{place}/x", f"http:/{place}/x",
                        f"http%3A%2F%2F{place}/x", f"%68ttp://{place}/x", f"%2568ttp://{place}/x",
                        f"http://a@{place}/x", f"http:\\\\{place}\\x", "file:///etc/passwd", "http://example.org/x",
                        "ftp://example.org/x", "gopher://example.org"):  # fmt: skip
            answer = door.get(path.replace("{url}", address))
            assert answer.status_code in (403, 404), answer.text
            assert "root:" not in answer.text and "secret" not in answer.text
    assert asked == []


def test_files_of_the_server_stay_where_they_are(door: Door) -> None:
    [own] = door.upload(b"mine").json()
    assert door.get(f"/gradio_api/file={own}").content == b"mine"
    assert door.get(f"/gradio_api/file={own}", headers={"Range": "bytes=1-2"}).content == b"in"
    for strange in ("bytes=1-2-3", "bytes=3-1", "bytes=\u00b2-3".encode("latin1"), "bytes=-", "lines=1-2"):
        assert door.get(f"/gradio_api/file={own}", headers={"Range": strange}).content == b"mine"  # type: ignore[dict-item]
    folder = own.rsplit("/", 2)[0]
    for path in ("/etc/passwd", f"{folder}/../../etc/passwd", "app/main.py", "./README.md",
                 f"{folder}/%2e%2e/%2e%2e/etc/passwd", f"{folder}", f"{folder}/nothing.png", "~/x",
                 "/proc/self/environ", "%00", f"{own}%00.png"):  # fmt: skip
        assert door.get(f"/gradio_api/file={path}").status_code in (403, 404), path


def test_a_range_is_not_answered_with_the_headers_of_the_request(door: Door) -> None:
    [own] = door.upload(b"mine").json()
    answer = door.get(f"/gradio_api/file={own}", headers={"Range": "bytes=0-1", "X-Mine": "1", "Refresh": "0;url=//x"})
    assert answer.status_code == 206 and "x-mine" not in answer.headers and "refresh" not in answer.headers


def test_what_no_file_system_takes_is_not_found(door: Door) -> None:
    for path in ("/static/%00", "/static/" + "a" * 900, "/assets/" + "a/" * 2000, "/static/..%2f..%2froutes.py"):
        assert sentence(door.get(path))
    assert door.failed == []


def test_methods_and_bodies_are_those_of_the_table(door: Door) -> None:
    assert sentence(door.post("/config", json={})).startswith("This address does not take POST")
    assert httpx.request("PUT", f"{door.url}/gradio_api/upload", timeout=9).status_code == 405
    assert httpx.request("BREW", f"{door.url}/", timeout=9).status_code == 405
    assert httpx.request("GET", f"{door.url}/config", content=b"{}", timeout=9).status_code == 400
    assert httpx.head(f"{door.url}/", timeout=9).status_code == 200


@pytest.mark.parametrize(
    ("spelling", "meant"),
    [
        ("/", "/"), ("//", "/"), ("/config/", "/config"), ("/a/../config", "/config"), ("/../../config", "/config"),
        ("//config//", "/config"), ("/./config/.", "/config"),
    ],
)  # fmt: skip
def test_spellings_of_a_path(spelling: str, meant: str) -> None:
    assert normalised(spelling) == meant and open_routes(meant)


def test_a_prefix_of_a_proxy_is_known() -> None:
    assert without_root("/demo/config", "/demo/") == ("/demo", "/config")
    assert without_root("/demo", "/demo") == ("/demo", "/")
    assert without_root("/demonstration", "/demo") == ("", "/demonstration")
    assert without_root("/config", "https://example.org/demo") == ("", "/config")
    assert normalised("config") is normalised("/\n") is normalised("/" + "a" * 300) is None
