"""OpenAI's API on the demo's engine, through the real client: answers, streams, models and what they used."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import NotFoundError, OpenAI
from PIL import Image

import vscan_core as vc
from app.session.engine import Engine
from tests.app.fake import TOKENS, FakeEngine
from tests.app.operating import Service, operating
from tests.app.server.asking import asked, data_url, openai_client

WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with operating(FakeEngine()) as found:
        yield found


@pytest.fixture(scope="module")
def client(service: Service) -> OpenAI:
    return openai_client(service)


@pytest.fixture(scope="module")
def url(picture_file: str) -> str:
    return data_url(picture_file)


def test_an_answer_and_what_it_used(client, url) -> None:
    found = client.chat.completions.create(**asked(url, max_tokens=64))
    [choice] = found.choices
    assert choice.message.content == "a red ball What is there?" and choice.message.role == "assistant"
    assert (choice.finish_reason, found.object, found.model) == ("stop", "chat.completion", "mini")
    used = found.usage
    assert (used.prompt_tokens, used.completion_tokens, used.total_tokens) == (96 + 20, 3, 96 + 20 + 3)
    assert used.prompt_tokens_details.multimodal_tokens == {"image": 96}
    assert used.vscan["method"] == "vscan" and used.vscan["settings"]["retention"] == pytest.approx(1 / 9)
    assert (used.vscan["tokens"], used.vscan["kept"]) == (TOKENS, 64)
    assert used.vscan["visual_tokens_per_layer"] == [96] * 3 + [32] * 3
    assert used.vscan["ttft_ms"] == pytest.approx(21.5 + 1.3 + 64 / 4) and used.vscan["hint"] is None


def test_null_means_all_tokens_and_the_field_of_vllm_means_the_same(client, url) -> None:
    for extra in ({"vscan": None}, {"mm_processor_kwargs": {"vscan": None}}):
        used = client.chat.completions.create(**asked(url), extra_body=extra).usage
        assert used.vscan["method"] is None and used.vscan["settings"] is None
        assert used.prompt_tokens == TOKENS + 20 and used.vscan["kept"] == TOKENS
    for extra in ({"vscan": {"method": "coarse", "retention": 0.5}},
                  {"mm_processor_kwargs": {"vscan": {"method": "coarse", "retention": 0.5}}}):  # fmt: skip
        used = client.chat.completions.create(**asked(url), extra_body=extra).usage
        assert (used.vscan["method"], used.vscan["kept"]) == ("coarse", TOKENS / 2)


def test_settings_are_those_of_the_method_with_numbers_as_keys(client, url) -> None:
    settings = {"method": "vscan", "encoder_keep": 100, "llm_keep": {"3": 20}}
    used = client.chat.completions.create(**asked(url), extra_body={"vscan": settings}).usage
    assert used.vscan["visual_tokens_per_layer"] == [100] * 3 + [20] * 3
    assert used.vscan["settings"]["llm_keep"] == {"3": 20}


def test_a_stream_grows_into_the_answer_and_says_what_was_used_if_asked(client, url) -> None:
    pieces = list(client.chat.completions.create(**asked(url), **WITH_USAGE))
    first, *_, end, used = pieces
    assert first.choices[0].delta.role == "assistant" and len({piece.id for piece in pieces}) == 1
    texts = [piece.choices[0].delta.content or "" for piece in pieces[:-1]]
    assert "".join(texts) == "a red ball What is there?" and sum(map(bool, texts)) == 4
    assert end.choices[0].finish_reason == "stop" and used.choices == []
    assert used.usage.vscan["kept"] == 64 and used.usage.completion_tokens == 3
    without = list(client.chat.completions.create(**asked(url), stream=True))
    assert len(without) == len(pieces) - 1 and all(piece.usage is None for piece in without)


def test_a_stream_ends_with_done_and_is_not_kept(service, url) -> None:
    with httpx.stream("POST", f"{service.url}v1/chat/completions", json=asked(url, stream=True)) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert answer.headers["content-type"].startswith("text/event-stream") and lines[-1] == "data: [DONE]"
    assert answer.headers["cache-control"] == "no-store" and answer.headers["x-content-type-options"] == "nosniff"


def test_models_are_those_on_offer_that_can_run(client) -> None:
    [model] = client.models.list().data
    assert (model.id, model.owned_by) == ("mini", "vscan") and client.models.retrieve("mini").id == "mini"
    for name in ("big", "nothing", "a/b"):  # the first is known, and too large for this machine
        with pytest.raises(NotFoundError, match="There is no model"):
            client.models.retrieve(name)


def test_a_length_limit_cuts_and_says_so(picture_file) -> None:
    with operating(Engine()) as service:
        found = openai_client(service).chat.completions.create(**asked(data_url(picture_file), max_completion_tokens=1))
        assert found.choices[0].finish_reason == "length" and found.usage.completion_tokens == 1


def test_the_file_of_a_picture_is_gone_at_once(client, url, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert client.chat.completions.create(**asked(url))
    assert list(tmp_path.iterdir()) == []


def test_the_same_picture_in_another_format_is_read(client, tmp_path) -> None:
    for kind in ("JPEG", "WEBP", "GIF"):
        Image.new("RGB", (80, 60), "red").save(path := tmp_path / "a", kind)
        assert client.chat.completions.create(**asked(data_url(str(path)))).choices[0].message.content


@pytest.fixture(scope="module")
def real() -> Iterator[tuple[OpenAI, Any]]:
    with operating(Engine()) as service:
        yield openai_client(service), service.operations.session.model("mini")


# at the entrance, merging in the encoder, inside the language model in one step and in several, and both
METHODS = [None, {"method": "vispruner", "retention": 0.2}, {"method": "visionzip", "retention": 0.2},
           {"method": "tome", "retention": 0.3}, {"method": "fastv", "retention": 0.5},
           {"method": "pyramiddrop", "retention": 0.6}, {"method": "sparsevlm", "retention": 0.5},
           {"method": "vscan", "retention": 1 / 9}]  # fmt: skip


@pytest.mark.parametrize("settings", METHODS, ids=lambda settings: settings and settings["method"])
def test_answers_are_those_of_the_library(real, picture_file, url, settings) -> None:
    client, lvlm = real
    rest = {name: value for name, value in (settings or {}).items() if name != "method"}
    reducer = settings and vc.REDUCERS[settings["method"]](**rest)
    *_, done = vc.answer(lvlm, vc.open_image(picture_file), "What is there?", reducer, max_new_tokens=16)
    found = client.chat.completions.create(**asked(url, max_tokens=16), extra_body={"vscan": settings})
    assert found.choices[0].message.content == done.answer.text and done.answer.text
    assert found.usage.vscan["visual_tokens_per_layer"] == list(done.answer.trace.visual_tokens_per_layer)
    assert found.usage.completion_tokens == len(done.answer.token_ids)
    pieces = client.chat.completions.create(**asked(url, max_tokens=16), stream=True, extra_body={"vscan": settings})
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == done.answer.text
