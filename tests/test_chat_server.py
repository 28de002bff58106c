"""The client of a chat server: what it sends, what it reads, and one sentence for every way to fail."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading

import pytest
from PIL import Image

from tests.chat_stub import REFUSED, TEXT, VISUAL, chat_stub
from vscan_core.chat_server import ChatServer, data_url, find_chat_server, stream_chat
from vscan_core.errors import InputError, ServerFailure
from vscan_core.server_replies import Chunk, TokenUsage, as_chunk

PICTURE = Image.radial_gradient("L").convert("RGB")
VSCAN = {"method": "vscan", "retention": 0.125}


def asked(server: ChatServer, settings=VSCAN, max_tokens: int = 8) -> list[Chunk]:
    return list(stream_chat(server, server.asked("mini", data_url(PICTURE), "What?", settings, max_tokens), 5))


def test_an_answer_with_its_counts() -> None:
    with chat_stub() as stub:
        server = find_chat_server(stub.url)
        chunks = asked(server)
    assert "".join(chunk.text for chunk in chunks) == "a red ball"
    assert [chunk.ended for chunk in chunks if chunk.ended] == ["stop"]
    assert chunks[-1].usage == TokenUsage(72 + TEXT, 3, 72, 0)
    assert (server.name, dict(server.models)) == ("vLLM 0.32.0", {"mini": "mini"})
    (body,) = stub.bodies
    assert body["mm_processor_kwargs"] == {"vscan": VSCAN} and body["temperature"] == 0 and "vscan" not in body
    sent = body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]
    assert Image.open(io.BytesIO(base64.b64decode(sent))).tobytes() == PICTURE.tobytes()


def test_two_requests_share_no_cache_of_vllm() -> None:
    with chat_stub() as stub:
        server = find_chat_server(stub.url)
        for _ in range(2):
            asked(server)
    one, two = stub.bodies
    assert one["cache_salt"] != two["cache_salt"]
    assert one["messages"][0]["content"][0]["uuid"] != two["messages"][0]["content"][0]["uuid"]


def test_another_server_gets_the_settings_at_the_top() -> None:
    with chat_stub(owned_by="vscan-demo", version=None, details=False) as stub:
        server = find_chat_server(stub.url + "/v1/")
        usage = asked(server, None)[-1].usage
    assert server.name == "vscan-demo" and usage == TokenUsage(VISUAL + TEXT, 3, None)
    assert stub.bodies[0]["vscan"] is None and "mm_processor_kwargs" not in stub.bodies[0]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("status", r"failed with HTTP status 500: EngineDeadError$"),
        ("html", r"failed with HTTP status 503\.$"),
        ("event", r"failed: The engine is dead$"),
        ("cut", r"stopped before its answer was complete; please ask again\.$"),
        ("no end", r"stopped before its answer was complete; please ask again\.$"),
        ("junk", r"sent something that is no chat completion\.$"),
        ("long", r"sent more than 8 MB as one answer\.$"),
    ],
)
def test_every_failure_is_one_sentence(fault, sentence) -> None:
    with chat_stub() as stub:
        server = find_chat_server(stub.url)
        stub.fault = fault
        with pytest.raises(ServerFailure, match=sentence) as raised:
            asked(server)
        stub.fault = ""
        assert len(asked(server)) > 3, "the next one is answered"
    assert "\n" not in str(raised.value)


def test_the_servers_own_refusal_is_repeated() -> None:
    with chat_stub() as stub, pytest.raises(InputError, match=f"^The server refused: {REFUSED}$"):
        asked(find_chat_server(stub.url), VSCAN | {"method": "fastv"})


def test_patience_ends() -> None:
    with chat_stub(fault="slow") as stub:
        server = find_chat_server(stub.url)
        body = server.asked("mini", data_url(PICTURE), "What?", None, 8)
        with pytest.raises(InputError, match=r"has not answered within 0\.3 seconds\.$"):
            list(stream_chat(server, body, 0.3))


def test_closing_the_stream_ends_the_request() -> None:
    with chat_stub(words=("x",) * 5_000) as stub:
        server = find_chat_server(stub.url)
        body = server.asked("mini", data_url(PICTURE), "What?", None, 5_000)
        steps = stream_chat(server, body, 5)
        next(steps)
        steps.close()
        over = threading.Event()
        for _ in range(200):
            if not stub.under_way:
                break
            over.wait(0.02)
        assert stub.under_way == 0


def test_a_key_is_sent_and_never_shown() -> None:
    with chat_stub(key="secret-word") as stub:
        with pytest.raises(InputError, match=r"wants another key: Unauthorized$"):
            find_chat_server(stub.url)
        server = find_chat_server(stub.url, "secret-word")
    assert "secret-word" not in repr(server)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("localhost:8000", "no address of a server; give one such as http://127.0.0.1:8000."),
        ("ftp://host", "no address of a server"),
        ("http://user:word@host:1", "may not hold a password"),
        ("", "no address of a server"),
    ],
)
def test_what_is_no_address_is_refused(url, sentence) -> None:
    with pytest.raises(InputError) as raised:
        find_chat_server(url)
    assert sentence in str(raised.value) and "word" not in str(raised.value).replace("password", "")


def test_nobody_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(InputError, match=rf"^The server at http://127\.0\.0\.1:{port} cannot be reached \("):
        find_chat_server(f"http://127.0.0.1:{port}")


def test_a_server_of_another_kind() -> None:
    with chat_stub(models=()) as stub, pytest.raises(InputError, match="lists no models"):
        find_chat_server(stub.url)


@pytest.mark.parametrize(
    ("delta", "ended", "token"),
    [
        ({"role": "assistant", "content": ""}, None, False),  # opens the answer
        ({"role": "assistant", "content": "A"}, None, True),  # opens it and says something
        ({"content": ""}, None, True),  # half of a character: its text comes with the next token
        ({"content": "A"}, None, True),
        ({"content": None}, None, False),
        ({}, "stop", True),  # an answer without a word
        ({}, None, False),
    ],
)
def test_the_first_token_may_have_no_text_of_its_own(delta, ended, token) -> None:
    data = json.dumps({"choices": [{"delta": delta, "finish_reason": ended}]}).encode()
    assert as_chunk(data, "It", 1.0).token is token
