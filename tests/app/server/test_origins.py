"""Headers that a client can set freely: whose are believed, and which pages may ask."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from app.server.limits import DoorLimits
from app.server.origins import visitor_address
from tests.app.server.served import Door, door_open, sentence

JSON = {"data": [None, 0.2, "mini", "vscan"]}
ELSEWHERE = (
    "https://evil.example",
    "null",
    "http://127.0.0.1.evil.example",
    "file://",
    "http://127.0.0.1:1",
    "",
    "http://[",
)


@pytest.fixture(scope="module")
def strict_door() -> Iterator[Door]:
    with door_open(DoorLimits(trusted_hosts=("demo.example",), trusted_proxies=("127.0.0.0/8",))) as opened:
        yield opened


def root(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["root"])


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "X-Gradio-Server", "Forwarded", "X-Forwarded-Proto"])
def test_nobody_s_forwarded_headers_are_believed(door: Door, header: str) -> None:
    for value in ("evil.example", "http://evil.example", "https", "host=evil.example"):
        assert root(door.get("/config", headers={header: value})) == door.url
        page = door.get("/", headers={header: value})
        assert page.status_code == 200 and "evil.example" not in page.text


def test_a_trusted_proxy_is_believed_about_names_that_are_ours(strict_door: Door) -> None:
    ours = {"X-Forwarded-Host": "demo.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    assert root(strict_door.get("/config", headers=ours)) == "https://demo.example"
    other = strict_door.get("/config", headers={**ours, "X-Forwarded-Host": "evil.example"})
    assert other.status_code == 421 and "evil.example" in sentence(other)
    same = strict_door.post("/gradio_api/call/overlay", json=JSON, headers={**ours, "Origin": "https://demo.example"})
    assert same.status_code == 200


def test_only_our_names_are_answered_to(strict_door: Door) -> None:
    assert strict_door.get("/config", headers={"Host": "demo.example"}).status_code == 200
    assert strict_door.get("/config", headers={"Host": "DEMO.example:8080"}).status_code == 200
    assert strict_door.get("/config", headers={"Host": "evil.example"}).status_code == 421
    assert strict_door.get("/config").status_code == 200  # from this computer, by its own name
    assert strict_door.get("/config", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 421
    assert strict_door.get("/healthz", headers={"Host": "10.1.2.3:7860"}).status_code == 200


def test_one_visitor_s_host_is_not_shown_to_the_next(door: Door) -> None:
    assert "evil.example" in door.get("/gradio_api/info", headers={"Host": "evil.example"}).text
    assert "evil.example" not in door.get("/gradio_api/info").text + door.get("/").text


@pytest.mark.parametrize("host", ["a b", "evil.example/x", "a:b", "[::", "a:99999", "x" * 300, "<b>", "a@b"])
def test_hosts_that_are_no_names(door: Door, host: str) -> None:
    assert door.get("/", headers={"Host": host}).status_code == 400
    assert door.failed == []


@pytest.mark.parametrize("origin", ELSEWHERE)
def test_pages_of_other_sites_may_not_ask(door: Door, origin: str) -> None:
    headers = {"Origin": origin}
    assert door.post("/gradio_api/call/overlay", json=JSON, headers=headers).status_code == 403
    assert "another site" in sentence(
        door.post("/gradio_api/upload", files={"files": ("a.png", b"a")}, headers=headers)
    )
    assert door.get("/config", headers=headers).status_code == 403
    assert door.post("/login", data={"username": "a", "password": "b"}, headers=headers).status_code == 403


def test_a_browser_s_mark_counts_where_there_is_no_origin(door: Door) -> None:
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        answer = door.post("/gradio_api/upload", files={"files": ("a", b"a")}, headers={"Sec-Fetch-Site": site})
        assert answer.status_code == status
    assert door.get("/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert door.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link from elsewhere


def test_our_own_page_and_programs_may_ask(door: Door) -> None:
    for headers in ({}, {"Origin": door.url}, {"Origin": "https://demo.example", "Host": "demo.example"},
                    {"Origin": "https://demo.example", "Host": "demo.example:443"}):  # fmt: skip
        assert door.post("/gradio_api/call/overlay", json=JSON, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("client", "visitor"),
    [
        (("192.0.2.1", 1), "192.0.2.1"), (("::ffff:192.0.2.1", 1), "192.0.2.1"), (None, "0.0.0.0"),
        (("unix:", 0), "0.0.0.0"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
    ],
)  # fmt: skip
def test_whom_a_request_counts_for(client: tuple[str, int] | None, visitor: str) -> None:
    assert visitor_address({"type": "http", "client": client}) == visitor
