"""Headers that claim another host, another page or another length, and requests that are hardly HTTP."""

from __future__ import annotations

import json

from tests.probes.joins import GOOD, JOIN
from tests.probes.probe import PICTURE, Probe, Request
from tests.probes.uploads import END, FORM, TARGET, part

KIND = "headers"
ELSEWHERE = "probe.invalid"
FORWARDED = {
    "X-Forwarded-Host": ELSEWHERE,
    "X-Forwarded-Server": ELSEWHERE,
    "X-Forwarded-Proto": f"javascript://{ELSEWHERE}",
    "X-Forwarded-Prefix": f"//{ELSEWHERE}",
    "X-Forwarded-Port": f"1@{ELSEWHERE}",
    "X-Original-URL": f"//{ELSEWHERE}/x",
    "X-Rewrite-URL": f"//{ELSEWHERE}/x",
    "X-Script-Name": f"//{ELSEWHERE}",
    "Forwarded": f"host={ELSEWHERE};proto=http",
    "X-Gradio-Server": f"http://{ELSEWHERE}",
    "X-Direct-Url": f"http://{ELSEWHERE}",
    "X-Real-IP": ELSEWHERE,
    "X-Forwarded-For": ELSEWHERE,
    "Referer": f"http://{ELSEWHERE}/",
}
HOSTS = {
    "none": None,
    "empty": " ",
    "two": f"127.0.0.1, {ELSEWHERE}",
    "markup": '"><script>alert(1)</script>',
    "a path": f"127.0.0.1/{ELSEWHERE}",
    "a user": f"127.0.0.1@{ELSEWHERE}",
    "a line break": "127.0.0.1\tx",
    "very long": "a" * 20_000,
    "a false port": "127.0.0.1:99999999",
    "a port that is a word": f"127.0.0.1:{ELSEWHERE}",
}
# a name that the operator trusts, at another port: behind a proxy that is the demo itself
OWN_NAME = "https://127.0.0.1:1"
ORIGINS = (
    "http://probe.invalid",
    "null",
    "http://127.0.0.1.probe.invalid",
    "file://",
    "x" * 5000,
)
GET = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
RAW = {
    "no HTTP": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/9.9": b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    "HTTP/2 without an upgrade": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a head without an end": b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000,
    "10,000 headers": b"GET /config HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n: x\r\n\r\n",
    "a folded header": b"GET /gradio_api/x HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n b\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
    "length and chunks": POST
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /.env HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "chunks of another kind": POST + b"Transfer-Encoding: xchunked\r\n\r\n{}",
    "a chunk of no number": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "an enormous chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx\r\n",
    "an absolute address": b"GET http://probe.invalid/.env HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a blank in the path": b"GET /a b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe\x80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "zero bytes in the path": b"GET /\0\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a header with a line feed": b"GET /gradio_api/x HTTP/1.1\nHost: 127.0.0.1\n\n",
    "a WebSocket": GET % b"/gradio_api/queue/join" + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    "an upgrade to HTTP/2": b"GET /gradio_api/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    "a wait for 100-continue": POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
}
MAY_BE_READ = ("10,000 headers", "HTTP/9.9")


def probes() -> list[Probe]:
    """All of them."""
    found = []
    json_type = ("Content-Type", "application/json")
    for name, value in FORWARDED.items():
        for target in ("/config", "/"):
            request = Request(target, headers=((name, value),))
            found.append(Probe(KIND, f"{name} on {target}", request, harmless=True, unseen=(ELSEWHERE,)))
    for title, host in HOSTS.items():
        request = Request("/config", host=host)
        unseen = (ELSEWHERE, "<script>alert")
        found.append(Probe(KIND, f"Host: {title}", request, harmless=True, unseen=unseen))
    for origin in ORIGINS:
        shown = origin[:40]
        headers = (("Origin", origin),)
        body = json.dumps(GOOD).encode()
        found.append(Probe(KIND, f"Origin {shown}: join", Request(JOIN, "POST", body, (json_type, *headers))))
        form = part("a.png", b"x") + END
        found.append(Probe(KIND, f"Origin {shown}: upload", Request(TARGET, "POST", form, (*FORM, *headers))))
        request = Request("/gradio_api/cancel", "POST", b'{"session_hash": "x", "fn_index": 1}', (json_type, *headers))
        found.append(Probe(KIND, f"Origin {shown}: cancel", request))
    request = Request(TARGET, "POST", part("a.png", b"x") + END, (*FORM, ("Origin", OWN_NAME)))
    found.append(Probe(KIND, "Origin at another port of an own name: upload", request, harmless=True))
    for site in ("cross-site", "same-site"):
        headers = (*FORM, ("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", "no-cors"))
        request = Request(TARGET, "POST", part("a.png", b"x") + END, headers)
        found.append(Probe(KIND, f"a form of another page ({site})", request))
    for name, value in {"Cookie": "a=" + "b" * 60_000, "Authorization": "Basic x", "Accept": "*/*, " * 5000}.items():
        found.append(
            Probe(KIND, f"{name} of {len(value)} characters", Request("/config", headers=((name, value),)), True)
        )
    for title, raw in RAW.items():
        request = Request("/", raw=raw)
        found.append(Probe(KIND, f"raw: {title}", request, harmless=title in MAY_BE_READ, unseen=("uploaded-by",)))
    for name in ("If-None-Match", "If-Range", "Accept-Encoding", "Accept-Language"):
        request = Request(f"/gradio_api/file={PICTURE}", headers=((name, '"' + "x" * 5000),))
        found.append(Probe(KIND, f"{name} of 5000 characters on an own picture", request, harmless=True))
    return found
