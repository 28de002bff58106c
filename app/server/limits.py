"""What the door lets through: sizes, times and numbers, each with a default that suits a public host."""

from __future__ import annotations

from dataclasses import dataclass

MAX_FILE = 10_000_000  # bytes of an uploaded picture
FORM_OVERHEAD = 20_000  # bytes around the file in the form that uploads it
MAX_UPLOAD = MAX_FILE + FORM_OVERHEAD  # bytes of a request that uploads one
MAX_JSON = 200_000  # bytes of any other request
MAX_FORM = 4_000  # bytes of a login
MAX_CHAT = MAX_FILE * 4 // 3 + MAX_JSON  # bytes of JSON that has a picture in it, as base64


@dataclass(frozen=True)
class DoorLimits:
    """Limits of the server's front door. Sizes are in bytes, times in seconds."""

    file_bytes: int = MAX_FILE
    upload_bytes: int = MAX_UPLOAD
    json_bytes: int = MAX_JSON
    form_bytes: int = MAX_FORM
    chat_bytes: int = MAX_CHAT
    idle_seconds: float = 10.0  # between two pieces of a body, and of a connection without a request
    idle_per_address: int = 200  # connections without a request
    body_seconds: float = 15.0  # for a whole body that is no upload
    upload_seconds: float = 90.0  # for a whole upload: 10 MB at 1 Mbit/s
    answer_seconds: float = 120.0  # for a whole answer that is no stream
    send_seconds: float = 30.0  # for the client to take one piece of an answer
    linger_seconds: float = 3.0  # for the rest of a body that was refused
    uploads: int = 32  # at once; more wait in line
    upload_wait_seconds: float = 20.0  # in that line
    chats: int = 8  # that arrive at once, with a picture each: unlike uploads, they are held in memory
    requests: int = 600  # at once, streams included
    requests_per_address: int = 300  # at once; visitors behind a proxy that is not trusted share one address
    trusted_hosts: tuple[str, ...] = ()  # names that this server answers to; none given: every name
    trusted_proxies: tuple[str, ...] = ()  # addresses and networks whose X-Forwarded-* headers are believed
