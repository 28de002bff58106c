"""Attempts to read a file of the server that is none of the demo's."""

from __future__ import annotations

import json

from tests.probes.foreign_addresses import json_request
from tests.probes.probe import PICTURE, SECRET, Probe, Request

KIND = "files of the server"
FILE_ROUTES = {
    "absolute": "/gradio_api/file=/etc/passwd",
    "absolute, by file/": "/gradio_api/file//etc/passwd",
    "absolute, by file/, encoded": "/gradio_api/file/%2Fetc%2Fpasswd",
    "absolute, percent": "/gradio_api/file=%2Fetc%2Fpasswd",
    "absolute, percent twice": "/gradio_api/file=%252Fetc%252Fpasswd",
    "two slashes": "/gradio_api/file=//etc/passwd",
    "dot segments": "/gradio_api/file=../../../../../../etc/passwd",
    "encoded dots": "/gradio_api/file=%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "encoded slashes": "/gradio_api/file=..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "dots encoded twice": "/gradio_api/file=%252e%252e/%252e%252e/%252e%252e/etc/passwd",
    "backslashes": "/gradio_api/file=..\\..\\..\\..\\etc\\passwd",
    "overlong UTF-8": "/gradio_api/file=%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
    "dots and slashes mixed": "/gradio_api/file=....//....//....//etc/passwd",
    "zero byte": "/gradio_api/file=/etc/passwd%00.png",
    "a file address": "/gradio_api/file=file:///etc/passwd",
    "the home folder": "/gradio_api/file=~/.bashrc",
    "the process": "/gradio_api/file=/proc/self/environ",
    "its command line": "/gradio_api/file=/proc/self/cmdline",
    "its descriptors": "/gradio_api/file=/proc/self/fd/0",
    "through the root of the process": "/gradio_api/file=/proc/self/root/etc/passwd",
    "a device": "/gradio_api/file=/dev/zero",
    "another device": "/gradio_api/file=/dev/stdin",
    "the code": "/gradio_api/file=app/main.py",
    "the code, from here": "/gradio_api/file=./app/main.py",
    "the settings": "/gradio_api/file=.env",
    "the repository": "/gradio_api/file=.git/config",
    "a secret": f"/gradio_api/file={SECRET}",
    "a secret beside an upload": f"/gradio_api/file={PICTURE}/../../../../secret.txt",
    "a folder": "/gradio_api/file=/tmp",
    "nothing": "/gradio_api/file=",
    "a slash": "/gradio_api/file=/",
    "a very long path": "/gradio_api/file=/" + "a/" * 2000,
    "a very long name": "/gradio_api/file=/tmp/" + "a" * 5000,
    "static": "/static/../../../../../../etc/passwd",
    "static, encoded": "/static/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "static, absolute": "/static//etc/passwd",
    "assets": "/assets/../../../../../../etc/passwd",
    "assets, encoded": "/assets/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "assets, backslashes": "/assets/..%5c..%5c..%5cetc%5cpasswd",
    "svelte": "/svelte/../../../../../../etc/passwd",
    "svelte, encoded": "/svelte/..%2f..%2f..%2f..%2fetc%2fpasswd",
    "an icon": "/pwa_icon/../../../etc/passwd",
}
RANGES = ("bytes=0-10", "bytes=-1", "bytes=99999999999-", "bytes=5-1", "bytes=" + "0-1," * 2000 + "0-1", "lines=1-2")


def probes() -> list[Probe]:
    """All of them."""
    found = [Probe(KIND, title, Request(target)) for title, target in FILE_ROUTES.items()]
    for spelled in RANGES:
        request = Request("/gradio_api/file=/etc/passwd", headers=(("Range", spelled),))
        found.append(Probe(KIND, f"Range {spelled[:20]}", request))
        request = Request(f"/gradio_api/file={PICTURE}", headers=(("Range", spelled),))
        found.append(Probe(KIND, f"own picture, Range {spelled[:20]}", request, harmless=True))
    for title, path in {
        "absolute": "/etc/passwd",
        "a secret": SECRET,
        "up from an upload": f"{PICTURE}/../../../../../../etc/passwd",
        "the process": "/proc/self/environ",
        "a device": "/dev/zero",
        "a folder": "/tmp",
        "the code": "app/main.py",
        "nothing": "",
        "a zero byte": "/etc/passwd\0.png",
        "a very long name": "a" * 5000,
    }.items():
        picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
        for endpoint, values in (("overlay", [picture, 0.2, "mini", "vscan"]), ("compare", [picture, "What?"])):
            body = {"data": [*values, 0.2, "mini", "vscan", 8][: 6 if endpoint == "compare" else 4]}
            request = json_request(f"/gradio_api/call/{endpoint}", json.loads(json.dumps(body)))
            found.append(Probe(KIND, f"picture of {endpoint}: {title}", request))
    return found
