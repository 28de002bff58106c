"""The forms of probes. Each has a name; what it sends is data, and `tests/probes/sending.py` knows how to send it.

Some words in what is sent stand for what is only known when the demo runs: see `PLACES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CANARY = "CANARY"  # host:port of a server on this computer that nobody may be sent to
PICTURE = "PICTURE"  # path, on the server, of a good picture that this visitor has uploaded
SECRET = "SECRET"  # path of a file that the server can read and must not show
SESSION = "SESSION"  # a session hash that is used for the first time
FUNCTION = "FUNCTION"  # number of the function behind /overlay
PLACES = (CANARY, PICTURE, SECRET, SESSION, FUNCTION)
SECONDS = 20.0  # until a probe must have been answered; a busy computer is slow
MEGABYTES = 500.0  # that the memory of the demo may grow by while it is answered


@dataclass(frozen=True)
class Request:
    """One HTTP request, sent byte for byte. `chunks` replace the body, each sent alone; `raw` replaces everything."""

    target: str
    method: str = "GET"
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    length: str | None = ""  # the Content-Length; "": the true one, if there is a body; None: none
    host: str | None = ""  # "": the true one; None: none
    chunks: tuple[bytes, ...] = ()
    raw: bytes = b""
    reads: bool = True  # False: leaves without reading


@dataclass(frozen=True)
class Call:
    """A call of a named endpoint through the queue, with these values; its event is then listened to."""

    endpoint: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Picture:
    """A file that is uploaded and then looked at by /overlay. `make` gives its bytes."""

    filename: str
    make: Callable[[], bytes]


@dataclass(frozen=True)
class Shown:
    """A file that is uploaded and then asked for again: a browser must not run it as a page of this server."""

    filename: str
    content: bytes


@dataclass(frozen=True)
class Crowding:
    """Something that takes more than one request. `act` gives what must not be, in a few words, or None."""

    act: Callable[[Any], str | None]


@dataclass(frozen=True)
class Probe:
    """One thing that a visitor tries.

    harmless: It may be answered; otherwise it must be refused. `unseen` are words that no answer may contain.
    """

    kind: str
    name: str
    sends: Request | Call | Picture | Shown | Crowding
    harmless: bool = False
    unseen: tuple[str, ...] = ()
    seconds: float = SECONDS
    megabytes: float = MEGABYTES


@dataclass(frozen=True)
class Found:
    """What came of a probe. status 0: the connection was closed without an answer."""

    status: int
    text: str = ""  # of headers and body, at most a megabyte
    sentence: str = ""  # of a refusal that came through the queue
    answered: bool = False  # the queue gave a result
    seconds: float = 0.0
    megabytes: float = 0.0
    contacts: tuple[str, ...] = ()  # whom the server looked up or connected to
    logged: str = ""
    broken: str = ""  # what a Crowding found
