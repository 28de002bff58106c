"""A server with OpenAI's chat completions that reduces visual tokens: vLLM with this project's plug-in, or the demo.

Questions are asked over HTTP and answers are streamed. What the server refuses is an InputError of one sentence, and so
is, as a ServerFailure, every way in which it can fail to answer. Needs httpx.
"""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import time
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx
from PIL import Image

from vscan_core.errors import InputError, ServerFailure
from vscan_core.media.images import as_rgb
from vscan_core.server_replies import Chunk, as_chunk, refusal_of, told

VLLM = "vllm"  # `owned_by` of its models
CONNECT_S, ASKED_S = 5.0, 10.0  # to reach the server; for what it says about itself
MOST_ANSWER_BYTES = 8_000_000  # of one streamed answer
BROKE_OFF = "{who} stopped before its answer was complete; please ask again."
ODD = re.compile(r"[^\w .:/+@-]")  # what no name of a model or a version needs


@dataclass(frozen=True, eq=False)
class ChatServer:
    """Where a server is, what runs there, and which models it has. Made by `find_chat_server`."""

    url: str  # without /v1
    software: str  # "vllm", or who owns the models there
    version: str  # "" if it does not tell
    models: Mapping[str, str]  # {name to ask for: where the server loaded it from}
    key: str | None = field(default=None, repr=False)  # for `Authorization: Bearer`
    who: str = "The server"  # in sentences about failures

    @cached_property
    def client(self) -> httpx.Client:
        """Its connections, shared by all threads."""
        return _client(self.url, self.key)

    @property
    def name(self) -> str:
        """Software and version, such as "vLLM 0.32.0"."""
        return " ".join(filter(None, ("vLLM" if self.software == VLLM else self.software, self.version)))

    def asked(
        self, model: str, picture: str, question: str, settings: Mapping[str, Any] | None, max_tokens: int
    ) -> dict[str, Any]:
        """The body of a request; `settings` of the reduction, None = every token.

        vLLM hands the settings to the plug-in beside the picture. Its caches are kept out of the way, so that the same
        question takes the same work each time.
        """
        image: dict[str, Any] = {"type": "image_url", "image_url": {"url": picture}}
        body = {
            "model": model,
            "messages": [{"role": "user", "content": [image, {"type": "text", "text": question}]}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.software != VLLM:
            return body | {"vscan": settings}
        image["uuid"] = salt = secrets.token_hex(8)
        return body | {"mm_processor_kwargs": {"vscan": settings}, "cache_salt": salt}


def find_chat_server(url: str, key: str | None = None) -> ChatServer:
    """Ask a server what it is. Raises InputError if there is none, or none with chat completions."""
    place = _checked(url)
    who = f"The server at {place}"
    try:
        with _client(place, key) as client:
            listed = _json(client.get("/v1/models"), who)
            version = client.get("/version")
    except httpx.HTTPError as error:
        raise _unreached(who, error) from None
    try:
        models = {str(each["id"]): str(each.get("root") or each["id"]) for each in listed["data"]}
        software = str(listed["data"][0].get("owned_by") or "unknown")
    except (KeyError, TypeError, IndexError, AttributeError):
        raise ServerFailure(f"{who} lists no models under /v1/models.") from None
    try:
        number = str(version.json()["version"]) if version.status_code == 200 else ""
    except (ValueError, KeyError, TypeError):
        number = ""
    return ChatServer(place, plain_name(software), plain_name(number), models, key, who)


def stream_chat(server: ChatServer, body: Mapping[str, Any], patience_s: float) -> Generator[Chunk, None, None]:
    """Ask, and yield the answer's pieces as they arrive, timed from the moment of asking.

    Closing it ends the request, and the work at the server.

    Args:
        server: What `find_chat_server` found.
        body: What its `asked` made.
        patience_s: Seconds after which an answer that is not complete is given up.

    Raises:
        InputError: The server refuses.
        ServerFailure: It cannot be reached, fails, takes too long, or stops before it said [DONE].
    """
    who, late = server.who, f"{server.who} has not answered within {patience_s:g} seconds."
    content, timeout = json.dumps(body).encode(), httpx.Timeout(patience_s, connect=CONNECT_S)
    headers, begun = {"Content-Type": "application/json"}, time.perf_counter()
    try:
        with server.client.stream(
            "POST", "/v1/chat/completions", content=content, headers=headers, timeout=timeout
        ) as reply:
            if reply.status_code != 200:
                reply.read()
                raise refusal_of(reply.status_code, reply.content, who)
            with closing(_events(reply, who)) as events:
                for data in events:
                    spent_s = time.perf_counter() - begun
                    if spent_s > patience_s:
                        raise ServerFailure(late)
                    if data is not None:
                        yield as_chunk(data, who, 1000 * spent_s)
    except httpx.TimeoutException as error:
        raise (_unreached(who, error) if isinstance(error, httpx.ConnectTimeout) else ServerFailure(late)) from None
    except (httpx.RemoteProtocolError, httpx.ReadError):
        raise ServerFailure(BROKE_OFF.format(who=who)) from None
    except httpx.HTTPError as error:
        raise _unreached(who, error) from None


def _events(reply: httpx.Response, who: str) -> Generator[bytes | None, None, None]:
    """The data of server-sent events up to [DONE], and None for what says nothing."""
    rest, size = b"", 0
    for block in reply.iter_bytes():
        size += len(block)
        if size > MOST_ANSWER_BYTES:
            raise ServerFailure(f"{who} sent more than {MOST_ANSWER_BYTES // 1_000_000} MB as one answer.")
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            data = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else None
            if data == b"[DONE]":
                return
            yield data
    raise ServerFailure(BROKE_OFF.format(who=who))


def data_url(image: Image.Image) -> str:
    """The picture as the library sees it, without loss, as a data URL. Raises InputError if it is damaged."""
    file = io.BytesIO()
    as_rgb(image).save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _client(place: str, key: str | None) -> httpx.Client:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    return httpx.Client(base_url=place, headers=headers, timeout=ASKED_S, limits=limits)


def _checked(url: str) -> str:
    """The address without /v1. Raises InputError for what is none."""
    try:
        found = httpx.URL(url.strip())
    except httpx.InvalidURL:
        found = httpx.URL("")
    if found.scheme not in ("http", "https") or not found.host or found.query or found.fragment:
        raise InputError(f"{url[:80]!r} is no address of a server; give one such as http://127.0.0.1:8000.")
    if found.userinfo:
        raise InputError("The address of a server may not hold a password; a key has a setting of its own.")
    return str(found).rstrip("/").removesuffix("/v1")


def _json(reply: httpx.Response, who: str) -> Any:
    if reply.status_code != 200:
        raise refusal_of(reply.status_code, reply.content, who)
    try:
        return json.loads(reply.content)
    except ValueError:
        raise ServerFailure(f"{who} has no chat completions.") from None


def _unreached(who: str, error: Exception) -> ServerFailure:
    return ServerFailure(f"{who} cannot be reached ({told(str(error)) or type(error).__name__}).")


def plain_name(name: str) -> str:
    """A name that is safe to be shown."""
    return ODD.sub("", name)[:60]
