"""Pictures that arrive inside a request, as data URLs, and are decoded like uploaded files."""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from typing import Any

from ...session.session import Session
from ...session.sources import OpenedSource
from ..limits import MAX_FILE
from ..refusals import Refusal

DATA_URL = re.compile(r"data:image/[a-z0-9.+\-]{1,40};base64,", re.IGNORECASE)
NO_DATA_URL = (
    "Send the picture itself, as a data URL (data:image/png;base64,...): this server fetches nothing from elsewhere."
)
NOT_BASE64 = "The data URL of the picture is not valid base64; please encode the file again."
TOO_LARGE_PICTURE = f"The picture is too large: at most {MAX_FILE / 1e6:.0f} MB are accepted."


def picture_bytes(url: Any, param: str) -> bytes:
    """The content of the picture file in a data URL; raises Refusal about this part of the request."""
    head = DATA_URL.match(url) if isinstance(url, str) else None
    if head is None:
        raise Refusal(400, "picture", NO_DATA_URL, param)
    if len(url) - head.end() > MAX_FILE * 4 // 3 + 4:
        raise Refusal(413, "size", TOO_LARGE_PICTURE, param)
    try:
        return base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(400, "picture", NOT_BASE64, param) from None


def opened_picture(session: Session, content: bytes) -> OpenedSource:
    """Decode a picture as any upload, in a process of its own; its file is gone at once. Raises InputError."""
    with tempfile.NamedTemporaryFile(prefix="vscan-") as file:
        file.write(content)
        file.flush()
        return session.open(file.name)
