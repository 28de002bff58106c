"""What programs send: a picture as a data URL, a message, and a client of OpenAI's that asks once."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openai import OpenAI

from tests.app.operating import Service

PATIENCE_S = 60.0


def data_url(path: str) -> str:
    return f"data:image/png;base64,{base64.b64encode(Path(path).read_bytes()).decode()}"


def message(url: str, question: str = "What is there?") -> dict[str, Any]:
    picture = {"type": "image_url", "image_url": {"url": url}}
    return {"role": "user", "content": [picture, {"type": "text", "text": question}]}


def asked(url: str, question: str = "What is there?", **more: Any) -> dict[str, Any]:
    """The body of a request, and arguments of the client."""
    return {"model": "mini", "messages": [message(url, question)], **more}


def openai_client(service: Service, key: str = "none") -> OpenAI:
    return OpenAI(base_url=f"{service.url}v1", api_key=key, max_retries=0)


def happens(what: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return False
