"""Attempts to make the server fetch something for a visitor, in many spellings of route and address."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from tests.probes.probe import CANARY, FUNCTION, PICTURE, SESSION, Probe, Request

KIND = "fetch on a visitor's behalf"
# names that cannot exist and addresses that belong to nobody: nothing outside is ever reached
ADDRESSES = {
    "this computer": f"http://{CANARY}/x",
    "TLS": "https://probe.invalid/x",
    "a name": "http://probe.invalid/x",
    "capitals": "HTTP://PROBE.INVALID/x",
    "mixed capitals": "hTtP://probe.invalid/x",
    "no scheme": "//probe.invalid/x",
    "backslashes": "http:\\\\probe.invalid\\x",
    "one slash": "http:/probe.invalid/x",
    "three slashes": "http:///probe.invalid/x",
    "a user before the host": "http://127.0.0.1@probe.invalid/x",
    "a password": "http://user:password@probe.invalid/x",
    "IPv6": "http://[2001:db8::1]/x",
    "IPv4 in IPv6": "http://[::ffff:192.0.2.1]/x",
    "a decimal address": "http://3221225985/x",
    "a hexadecimal address": "http://0xc0000201/x",
    "an octal address": "http://0300.0.02.01/x",
    "a short address": "http://127.1/x",
    "metadata of a cloud": "http://169.254.169.254/latest/meta-data/",
    "a trailing dot": "http://probe.invalid./x",
    "a fragment": "http://127.0.0.1#@probe.invalid/x",
    "FTP": "ftp://probe.invalid/x",
    "a file": "file:///etc/passwd",
    "gopher": "gopher://probe.invalid/x",
    "data": "data:image/png;base64,iVBORw0KGgo=",
    "full-width letters": "http://\uff50\uff52\uff4f\uff42\uff45.invalid/x",
}
ROUTES = {
    "file=": "/gradio_api/file=",
    "file/": "/gradio_api/file/",
    "proxy=": "/gradio_api/proxy=",
    "file= without prefix": "/file=",
}
ENCODINGS = {
    "percent": lambda url: quote(url, safe=""),
    "percent twice": lambda url: quote(quote(url, safe=""), safe=""),
    "percent, lower case": lambda url: quote(url, safe="").replace("%3A", "%3a").replace("%2F", "%2f"),
    "only the colon": lambda url: url.replace(":", "%3A", 1),
    "only the first letter": lambda url: f"%{ord(url[0]):02x}{url[1:]}",
    "a blank before": lambda url: f"%20{url}",
    "a tab before": lambda url: f"%09{url}",
    "a line feed inside": lambda url: url.replace("t", "t%0a", 1),
    "a zero byte before": lambda url: f"%00{url}",
    "a dot segment": lambda url: f"./{url}",
    "from a dot segment up": lambda url: f"a/../{url}",
    "two slashes before": lambda url: f"//{url}",
}
PREFIXES = {
    "two slashes": "//gradio_api/file=",
    "a dot segment": "/./gradio_api/file=",
    "up and down": "/x/../gradio_api/file=",
    "encoded equals": "/gradio_api/file%3D",
    "an encoded letter": "/gradio_api/%66ile=",
    "capitals": "/GRADIO_API/FILE=",
    "an encoded slash": "/gradio_api%2Ffile=",
    "a semicolon": "/gradio_api;x/file=",
    "the whole address first": "http://127.0.0.1/gradio_api/file=",
}


def _path(url: str) -> str:
    return quote(url, safe=":/@[]#\\.%?&=;,").replace("#", "%23").replace("\\", "%5c")


def _file(**fields: Any) -> dict[str, Any]:
    return {"meta": {"_type": "gradio.FileData"}, **fields}


def _bodies() -> dict[str, Any]:
    """Ways of putting an address into the picture of a call."""
    url = "http://probe.invalid/x.png"
    deep: Any = _file(path=url)
    for _ in range(30):
        deep = {"deep": [deep]}
    return {
        "path": _file(path=url),
        "path of this computer": _file(path=f"http://{CANARY}/x.png"),
        "path with capitals": _file(path=url.upper()),
        "path with a blank before": _file(path=f" {url}"),
        "path with a line feed before": _file(path=f"\n{url}"),
        "path with a tab inside": _file(path=url.replace("http", "ht\ttp")),
        "path with backslashes": _file(path="http:\\\\probe.invalid\\x.png"),
        "path without scheme": _file(path="//probe.invalid/x.png"),
        "url beside a good path": _file(path=PICTURE, url=url),
        "url alone": _file(url=url),
        "url of this computer alone": _file(url=f"http://{CANARY}/x.png"),
        "url that is data": _file(path=None, url="data:image/png;base64,iVBORw0KGgo="),
        "path that is data": _file(path="data:image/png;base64,iVBORw0KGgo="),
        "no meta": {"path": url, "url": url},
        "another meta": {"path": url, "meta": {"_type": "gradio.Other"}},
        "meta that is a stream": _file(path=url, is_stream=True),
        "a plain address": url,
        "in a list": [_file(path=url)],
        "in many levels": deep,
        "in the name": _file(path=PICTURE, orig_name=url),
        "as a part of the path": _file(path=f"{PICTURE}/../{url}"),
        "the file route of another server": _file(path="http://probe.invalid/gradio_api/file=/etc/passwd"),
        "image editor": {"background": _file(path=url), "layers": [], "composite": _file(path=url)},
        "two keys path": {"path": PICTURE, "url": None, "image": _file(path=url), "meta": {"_type": "gradio.FileData"}},
        "video": {"video": _file(path=url), "subtitles": _file(path=url)},
    }


USED = ("call", "queue", "call/v2")  # ways that the demo offers
HARMLESS_BODIES = ("url beside a good path", "in the name", "two keys path")  # the uploaded picture is used


def _posts(name: str, picture: Any) -> list[Probe]:
    values = [picture, 0.2, "mini", "vscan"]
    harmless = name in HARMLESS_BODIES
    ways = {
        "call": ("/gradio_api/call/overlay", {"data": values}),
        "queue": ("/gradio_api/queue/join", {"data": values, "fn_index": FUNCTION, "session_hash": SESSION}),
        "run": ("/gradio_api/run/overlay", {"data": values, "session_hash": SESSION}),
        "run/upload": ("/gradio_api/run/upload", {"data": values, "fn_index": FUNCTION, "session_hash": SESSION}),
        "call/v2": ("/gradio_api/call/v2/overlay", {"image": picture, "retention": 0.2}),
    }
    return [
        Probe(KIND, f"{name}, by {way}", json_request(target, body), harmless=harmless and way in USED)
        for way, (target, body) in ways.items()
    ]


def json_request(target: str, body: Any, **more: Any) -> Request:
    """A POST of this as JSON."""
    return Request(target, "POST", json.dumps(body).encode(), (("Content-Type", "application/json"),), **more)


def probes() -> list[Probe]:
    """All of them."""
    found = []
    for title, url in ADDRESSES.items():
        found += [Probe(KIND, f"{title}, by {route}", Request(start + _path(url))) for route, start in ROUTES.items()]
    for title, encode in ENCODINGS.items():
        for route in ("file=", "file/"):
            target = ROUTES[route] + encode("http://probe.invalid/x")
            found.append(Probe(KIND, f"encoding: {title}, by {route}", Request(target)))
    for title, start in PREFIXES.items():
        found.append(Probe(KIND, f"route: {title}", Request(f"{start}http://probe.invalid/x")))
    for method in ("HEAD", "POST", "PUT", "OPTIONS"):
        found.append(Probe(KIND, f"method {method}", Request("/gradio_api/file=http://probe.invalid/x", method)))
    for title, picture in _bodies().items():
        found += _posts(title, picture)
    return found
