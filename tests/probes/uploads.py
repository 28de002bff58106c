"""Uploads that are no pictures, too large, too many, never end, or have names that mean something to a file system."""

from __future__ import annotations

from tests.probes.pictures import good_picture
from tests.probes.probe import Probe, Request, Shown

KIND = "uploads"
TARGET = "/gradio_api/upload"
EDGE = "edge-of-the-parts"
FORM = (("Content-Type", f"multipart/form-data; boundary={EDGE}"),)
SCRIPT = b"<script>document.title = 'uploaded-by-the-probes'</script>"
NAMES = {
    "up": "../../../../../../tmp/probe.png",
    "absolute": "/etc/cron.d/probe.png",
    "backslashes": "..\\..\\..\\probe.png",
    "a drive": "C:\\Windows\\probe.png",
    "very long": "a" * 5000 + ".png",
    "long in bytes": "语" * 300 + ".png",
    "dots": "..",
    "one dot": ".",
    "a slash": "/",
    "a blank": " ",
    "a zero byte": "a\0.png",
    "a line break": "a\nb.png",
    "markup": "<img src=x onerror=alert(1)>.png",
    "quotes": 'a"; filename="b.html',
    "right to left": "a\u202egnp.html",
    "a device": "NUL",
    "a shell": "$(touch probe);`id`.png",
    "hidden": ".htaccess",
    "a variable": "${HOME}.png",
    "an address": "http://probe.invalid/x.png",
}
REFUSED_NAMES = ("an empty name", "no name")
TYPES = {
    "a page": ("a.html", b"<html>" + SCRIPT),
    "a page called a picture": ("a.png", b"<html>" + SCRIPT),
    "a drawing with a script": ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg">' + SCRIPT + b"</svg>"),
    "XHTML": ("a.xhtml", b'<html xmlns="http://www.w3.org/1999/xhtml">' + SCRIPT + b"</html>"),
    "XML with a style sheet": ("a.xml", b'<?xml version="1.0"?><?xml-stylesheet href="x"?><a>' + SCRIPT + b"</a>"),
    "a script": ("a.js", b"document.title = 'uploaded-by-the-probes'"),
    "a document": ("a.pdf", b"%PDF-1.4 uploaded-by-the-probes"),
    "a page without an end": ("a.htm", b"<html>" + SCRIPT),
    "a page in capitals": ("a.HTML", b"<html>" + SCRIPT),
    "a page in an archive": ("a.mhtml", b"MIME-Version: 1.0\nContent-Type: text/html\n\n" + SCRIPT),
}


def part(filename: str | None, content: bytes, name: str = "files") -> bytes:
    """One part of a form."""
    named = "" if filename is None else f'; filename="{filename}"'
    head = f'--{EDGE}\r\nContent-Disposition: form-data; name="{name}"{named}\r\nContent-Type: image/png\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{EDGE}--\r\n".encode()


def _form(*parts: bytes, end: bytes = END) -> Request:
    return Request(TARGET, "POST", b"".join(parts) + end, FORM)


def _forms() -> dict[str, Request]:
    picture = good_picture()
    wrong = (("Content-Type", "multipart/form-data"),)
    megabyte = b"\0" * 1_000_000
    return {
        "no parts": _form(),
        "nothing at all": Request(TARGET, "POST", b"", FORM),
        "no type": Request(TARGET, "POST", part("a.png", picture) + END),
        "no boundary": Request(TARGET, "POST", part("a.png", picture) + END, wrong),
        "an endless boundary": Request(
            TARGET, "POST", picture, (("Content-Type", "multipart/form-data; boundary=" + "b" * 5000),)
        ),
        "JSON": Request(TARGET, "POST", b"{}", (("Content-Type", "application/json"),)),
        "urlencoded": Request(TARGET, "POST", b"files=a", (("Content-Type", "application/x-www-form-urlencoded"),)),
        "no end": _form(part("a.png", picture), end=b""),
        "cut inside a head": Request(TARGET, "POST", part("a.png", picture)[:40], FORM),
        "a field and no file": _form(part(None, b"text")),
        "an empty name": _form(part("", picture)),
        "no name": _form(part(None, picture)),
        "11 MB": _form(part("a.png", megabyte * 11)),
        "30 MB": _form(part("a.png", megabyte * 30)),
        "1000 files": _form(*[part(f"{number}.png", b"x") for number in range(1000)]),
        "20 files of 1 MB": _form(*[part(f"{number}.png", megabyte) for number in range(20)]),
        "10,000 fields": _form(*[part(None, b"x", f"field{number}") for number in range(10_000)]),
        "a head of 1 MB": _form(f"--{EDGE}\r\nX: {'y' * 1_000_000}\r\n\r\nx\r\n".encode()),
        "10,000 heads": _form(f"--{EDGE}\r\n".encode() + b"X: y\r\n" * 10_000 + b"\r\nx\r\n"),
        "another field": _form(part("a.png", picture, "other")),
        "length too small": Request(TARGET, "POST", part("a.png", picture) + END, FORM, length="10"),
        "length negative": Request(TARGET, "POST", part("a.png", picture) + END, FORM, length="-1"),
        "length no number": Request(TARGET, "POST", part("a.png", picture) + END, FORM, length="many"),
        "length enormous": Request(TARGET, "POST", part("a.png", picture) + END, FORM, length="9" * 30),
        "length with a sign": Request(TARGET, "POST", part("a.png", picture) + END, FORM, length="+100"),
        "40 MB in chunks without a length": Request(
            TARGET, "POST", headers=FORM, length=None, chunks=(part("a.png", b"")[:-2], *[megabyte] * 40, b"\r\n" + END)
        ),
        "an unknown upload": Request(f"{TARGET}?upload_id=../../x", "POST", part("", picture) + END, FORM),
    }


HARMLESS_FORMS = ("another field", "length with a sign")


def probes() -> list[Probe]:
    """All of them."""
    found = [
        Probe(KIND, f"form: {title}", request, harmless=title in HARMLESS_FORMS) for title, request in _forms().items()
    ]
    for title, name in NAMES.items():
        written = name.replace('"', "%22").replace("\n", "%0A") if title != "quotes" else name
        unseen = ("/etc/cron.d", "C:\\\\Windows", "../..")
        request = _form(part(written, good_picture()))
        found.append(Probe(KIND, f"name: {title}", request, harmless=True, unseen=unseen))
    found += [Probe(KIND, f"type: {title}", Shown(*file), harmless=True) for title, file in TYPES.items()]
    return found
