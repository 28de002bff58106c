"""The MCP endpoint, through the official client over HTTP: tools, refusals in a sentence, and the same door."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from mcp import Client
from PIL import Image

from app.server.programs import mcp_endpoint, program_routes
from app.server.programs.mcp_endpoint import MANY_CALLS
from app.server.programs.mcp_tools import TOOLS
from app.server.programs.program_routes import MCP_MISSING, MCP_OFF, check_mcp_package
from app.session.engine import Engine
from tests.apart import run_apart
from tests.app.fake import TOKENS, FakeEngine
from tests.app.operating import Service, operating
from tests.app.server.asking import asked, data_url, happens, openai_client

INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}  # fmt: skip
HEAD = {"accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with operating(FakeEngine(), mcp=True, requests_per_minute=1000) as found:
        yield found


@pytest.fixture(scope="module")
def url(picture_file: str) -> str:
    return data_url(picture_file)


def called(service: Service, *calls: tuple[str, dict[str, Any]], mode: str = "auto") -> list[Any]:
    """The results of these calls, one after another."""

    async def ask() -> list[Any]:
        async with Client(f"{service.url}mcp", mode=mode) as client:
            return [await client.call_tool(*call) for call in calls]

    return run_apart(ask)


def refused(service: Service, name: str, given: dict[str, Any]) -> str:
    [result] = called(service, (name, given))
    [content] = result.content
    assert result.is_error and "\n" not in content.text and len(content.text) < 500
    return str(content.text)


@pytest.mark.parametrize("mode", ["legacy", "auto"])  # with the handshake of older clients, and without
def test_the_tools_say_what_they_take(service, mode) -> None:
    async def listed() -> Any:
        async with Client(f"{service.url}mcp", mode=mode) as client:
            return (await client.list_tools()).tools, client.server_info.name

    tools, name = run_apart(listed)
    assert [tool.name for tool in tools] == ["compare", "overlay", "methods"] and name == "vscan"
    assert all(tool.description and tool.annotations.read_only_hint for tool in tools)
    compare = tools[0].input_schema
    assert compare["required"] == ["image", "question"] and compare["additionalProperties"] is False
    assert all(each["description"] for each in compare["properties"].values())


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_compare_answers_twice_with_numbers(service, url, mode) -> None:
    [result] = called(service, ("compare", {"image": url, "question": "What?", "retention": 0.25}), mode=mode)
    facts = result.structured_content
    assert facts["answer_with_all_tokens"] == facts["answer_with_few_tokens"] == "a red ball What?"
    assert facts["numbers"]["baseline"]["visual_tokens"] == TOKENS
    assert facts["numbers"]["vscan"]["visual_tokens"] == pytest.approx(TOKENS / 4, rel=0.01)
    assert not result.is_error and "a red ball What?" in result.content[0].text


def test_overlay_draws_the_first_cut(service, url) -> None:
    [result] = called(service, ("overlay", {"image": url, "retention": 0.2}))
    picture, text = result.content
    with Image.open(io.BytesIO(base64.b64decode(picture.data))) as image:
        assert image.format == "JPEG" and max(image.size) == 1008 and picture.mime_type == "image/jpeg"
    counts = result.structured_content["first_cut"]
    assert sum(counts.values()) == TOKENS and str(counts["global"]) in text.text


def test_methods_lists_methods_and_models(service) -> None:
    [result] = called(service, ("methods", {}))
    facts = result.structured_content
    assert [method["name"] for method in facts["methods"]] == list(service.operations.session.engine.methods())
    assert facts["models"] == ["mini"] and facts["model"] == "mini"


def test_answers_are_those_of_the_chat_endpoint(picture_file) -> None:
    with operating(Engine(), mcp=True) as service:
        url = data_url(picture_file)
        [result] = called(service, ("compare", {"image": url, "question": "What is there?", "method": "fastv",
                                                "retention": 0.5}))  # fmt: skip
        for name, settings in (("all", None), ("few", {"method": "fastv", "retention": 0.5})):
            found = openai_client(service).chat.completions.create(**asked(url), extra_body={"vscan": settings})
            assert result.structured_content[f"answer_with_{name}_tokens"] == found.choices[0].message.content


@pytest.mark.parametrize(
    ("tool", "changes", "words"),
    [
        ("nothing", {}, "There is no tool 'nothing' here; there are compare, overlay, methods"),
        ("methods", {"all": True}, "no argument 'all'"), ("overlay", {"image": None}, "fetches nothing"),
        ("overlay", {"image": "http://example.org/a.png"}, "fetches nothing"),
        ("overlay", {"image": "data:image/png;base64,aGVsbG8="}, "not a picture"),
        ("overlay", {"retention": 0}, "retention must be above 0"), ("overlay", {"retention": "x"}, "retention must"),
        ("overlay", {"method": "magic"}, "There is no method 'magic'"),
        ("overlay", {"method": ["a"]}, "method has to be"),
        ("overlay", {"model": "magic"}, "no such model"), ("compare", {"question": " "}, "question is empty"),
        ("compare", {"question": 5}, "question has to be a text"), ("compare", {"max_new_tokens": 65}, "from 1 to 64"),
        ("compare", {"method": "picky", "retention": 0.2}, "cannot keep less than 50 %"),
        ("compare", {"temperature": 1}, "no argument 'temperature'; it takes image, question"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_a_sentence(service, url, tool, changes, words) -> None:
    good = {"compare": {"image": url, "question": "What?"}, "overlay": {"image": url}}.get(tool, {})
    assert words in refused(service, tool, good | changes)


def test_what_is_needed_is_asked_for(service, url) -> None:
    assert refused(service, "compare", {"image": url}) == "This tool needs the argument question."
    assert all(set(tool.needed) <= set(tool.arguments) for tool in TOOLS.values())


def test_failures_are_told_without_details(url) -> None:
    with operating(FakeEngine(fails_with=RuntimeError("secret")), mcp=True) as service:
        said = refused(service, "compare", {"image": url, "question": "What?"})
        assert "Something went wrong on the server (code" in said and "secret" not in said


def test_a_client_that_leaves_ends_its_run(url) -> None:
    engine = FakeEngine(pause_s=0.05, answer_words=("word",) * 600)
    with operating(engine, mcp=True) as service:
        for mode in ("auto", "legacy"):

            async def leave(mode: str = mode) -> None:
                async with Client(f"{service.url}mcp", mode=mode) as client:
                    call = client.call_tool("compare", {"image": url, "question": "What?"})
                    task = asyncio.ensure_future(call)
                    while not engine.alive:
                        await asyncio.sleep(0.02)
                    task.cancel()

            run_apart(leave)
            assert happens(lambda: engine.alive == 0 and not service.operations.session.visits.under_way()), mode


def test_the_door_is_the_same(service, url, monkeypatch) -> None:
    answers = [
        httpx.post(f"{service.url}mcp", json=INITIALIZE, headers=HEAD | {"origin": "http://elsewhere.example"}),
        httpx.post(f"{service.url}mcp", json=INITIALIZE, headers=HEAD | {"host": "elsewhere.example"}),
        httpx.get(f"{service.url}mcp", headers=HEAD), httpx.delete(f"{service.url}mcp"),
        httpx.post(f"{service.url}mcp", content=b"x", headers={"content-type": "text/plain"}),
        httpx.post(f"{service.url}mcp/sse", json=INITIALIZE, headers=HEAD),
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [403, 421, 405, 405, 415, 404]
    assert all(answer.json()["error"].endswith(".") for answer in answers)
    monkeypatch.setattr(mcp_endpoint, "MOST_CALLS", 0)
    assert refused(service, "overlay", {"image": url}) == MANY_CALLS


def test_runs_of_programs_are_bounded(url) -> None:
    with operating(FakeEngine(), mcp=True, requests_per_minute=1) as service:
        first, second = called(service, ("overlay", {"image": url}), ("overlay", {"image": url}))
        assert not first.is_error and second.is_error and "1 runs within a minute" in second.content[0].text


def test_a_login_is_asked_for(url) -> None:
    with operating(FakeEngine(), mcp=True, login="guest:secret") as service:
        without = httpx.post(f"{service.url}mcp", json=INITIALIZE, headers=HEAD)
        assert without.status_code == 401 and "Bearer user:password" in without.json()["error"]
        key = {"authorization": "Bearer guest:secret"}
        assert httpx.post(f"{service.url}mcp", json=INITIALIZE, headers=HEAD | key).status_code == 200


def test_it_is_off_unless_the_operator_wants_it_and_says_so() -> None:
    with operating(FakeEngine()) as service:
        answer = httpx.post(f"{service.url}mcp", json=INITIALIZE, headers=HEAD)
        assert answer.status_code == 404 and answer.json()["error"] == MCP_OFF


@pytest.mark.parametrize("there", [None, "1.27.0", "3.0.0", "odd"])
def test_without_its_package_the_program_ends_with_a_sentence(monkeypatch, there) -> None:
    def version(name: str) -> str:
        if there is None:
            raise program_routes.PackageNotFoundError(name)
        return there

    monkeypatch.setattr(program_routes, "version", version)
    with pytest.raises(ValueError, match="pip install"), operating(FakeEngine(), mcp=True):
        pass
    with pytest.raises(ValueError) as caught:
        check_mcp_package()
    assert str(caught.value) == MCP_MISSING
