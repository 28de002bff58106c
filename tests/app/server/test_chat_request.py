"""What a chat completion may ask: every parameter that would change an answer is done, or refused in a sentence."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from app.server.programs.chat_request import HARMLESS_VALUES, SWITCHED_OFF, chat_request
from app.server.programs.method_settings import DEFAULT_SETTINGS, reducer_from
from app.server.programs.openai_format import new_text
from app.server.refusals import Refusal
from app.session.engine import Engine
from tests.app.server.asking import asked, message

URL = "data:image/png;base64,aGVsbG8="
GOOD = asked(URL)


def read(**changes: Any) -> Any:
    return chat_request(json.dumps(GOOD | changes).encode(), 256)


def refusal(**changes: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(**changes)
    assert caught.value.sentence.endswith(".") and "\n" not in caught.value.sentence
    assert len(caught.value.sentence) < 500
    return caught.value


def test_what_is_not_said_has_a_default() -> None:
    found, picture = read()
    assert (found.model, found.question, picture) == ("mini", "What is there?", b"hello")
    assert (found.settings, found.max_new_tokens, found.stream, found.include_usage) == (DEFAULT_SETTINGS, 256, False,
                                                                                         False)  # fmt: skip


def test_texts_are_joined_and_may_come_first() -> None:
    one = message(URL, "second")
    one["content"] = [{"type": "text", "text": "first"}, *one["content"]]
    assert read(messages=[one])[0].question == "first\nsecond"


def test_what_changes_nothing_is_taken() -> None:
    harmless = {"temperature": 0, "top_p": 0.9, "n": 1, "seed": 7, "presence_penalty": 0, "frequency_penalty": 0.0,
                "logit_bias": {}, "user": "a", "metadata": {"a": "b"}, "stop": [], "tools": [], "tool_choice": "auto",
                "parallel_tool_calls": True, "logprobs": False, "response_format": {"type": "text"}, "store": False,
                "max_tokens": 5, "max_completion_tokens": 5, "safety_identifier": "x"}  # fmt: skip
    assert read(**harmless)[0].max_new_tokens == 5
    assert read(**{name: None for name in (*harmless, "stream_options", "mm_processor_kwargs")}) == read()
    assert set(HARMLESS_VALUES) | set(SWITCHED_OFF) <= {*harmless, "top_logprobs", "functions", "modalities"}


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"temperature": 0.7}, "temperature"), ({"temperature": "0"}, "temperature"),
        ({"temperature": False}, "temperature"),
        ({"top_p": 1.5}, "top_p"), ({"n": 2}, "n"), ({"n": True}, "n"), ({"seed": 0.5}, "seed"),
        ({"presence_penalty": 1}, "presence_penalty"), ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"stop": "."}, "stop"), ({"tools": [{"type": "function"}]}, "tools"), ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"), ({"store": True}, "store"),
        ({"tool_choice": "required"}, "tool_choice"), ({"top_k": 5}, "top_k"), ({"max_token": 5}, "max_token"),
        ({"max_tokens": 257}, "max_tokens"), ({"max_tokens": 0}, "max_tokens"), ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
        ({"stream": "yes"}, "stream"), ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options"), ({"stream_options": {"x": 1}}, "stream_options"),
        ({"model": None}, "model"), ({"model": ""}, "model"), ({"model": ["mini"]}, "model"),
        ({"vscan": None, "mm_processor_kwargs": {"vscan": None}}, "mm_processor_kwargs"),
        ({"mm_processor_kwargs": {"vscan": None, "size": 9}}, "mm_processor_kwargs"),
        ({"mm_processor_kwargs": []}, "mm_processor_kwargs"),
    ],
)  # fmt: skip
def test_what_would_be_ignored_is_refused_by_name(changes, param) -> None:
    found = refusal(**changes)
    assert (found.status, found.param) == (400, param)


def test_a_long_name_is_shortened() -> None:
    assert len(refusal(**{"x" * 500: 1}).param or "") < 80


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "exactly one message"), (None, "exactly one message"), ("Hello", "exactly one message"),
        ([{"role": "system", "content": "Be brief."}, message(URL)], "without a system message"),
        ([message(URL), {"role": "assistant", "content": "A ball."}, message(URL)], "or earlier turns"),
        ([message(URL) | {"tool_calls": []}], "exactly one message"),
        ([{"role": "user", "content": "What is there?"}], "one picture with the question; 0"),
        ([{"role": "user", "content": message(URL)["content"][1:]}], "one picture with the question; 0"),
        ([{"role": "user", "content": [*message(URL)["content"], *message(URL)["content"]]}], "question; 2"),
        ([{"role": "user", "content": [5]}], "a list of one image_url"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "a list of one image_url"),
        ([{"role": "user", "content": message(URL)["content"][:1]}], "question is empty"),
        ([message(URL, " \u200b ")], "question is empty"), ([message(URL, ["a"])], "a list of one image_url"),
        ([message("http://example.org/a.png")], "fetches nothing"),
        ([message("file:///etc/passwd")], "fetches nothing"),
        ([message("data:text/html;base64,aGVsbG8=")], "fetches nothing"), ([message(5)], "fetches nothing"),
        ([message("data:image/png,hello")], "fetches nothing"),
        ([message("data:image/png;base64,a b")], "not valid base64"),
        ([message("data:image/png;base64,aGVsbG8")], "not valid base64"),
    ],
)  # fmt: skip
def test_conversations_that_the_engine_cannot_have_are_refused(messages, words) -> None:
    found = refusal(messages=messages)
    assert words in found.sentence and found.param == "messages"


def test_a_detail_that_nobody_looks_at_is_refused() -> None:
    one = message(URL)
    one["content"][0]["image_url"]["detail"] = "high"
    assert "only be auto" in refusal(messages=[one]).sentence
    one["content"][0]["image_url"]["detail"] = "auto"
    assert read(messages=[one])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b'{"model": NaN}', b"\xff", b"[" * 5000, b'{"a": "\\ud800"}'])
def test_a_body_that_is_no_json_object_is_refused(body) -> None:
    with pytest.raises(Refusal, match=r"JSON|parameter"):
        chat_request(body, 256)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "is an object such as"), ([], "is an object such as"), ("vscan", "is an object such as"),
        ({"retention": 0.5}, "is an object such as"), ({"method": ["vscan"]}, "is an object such as"),
        ({"method": "magic"}, "There is no method 'magic'; choose from: vscan"),
        ({"method": "vscan", "retentoin": 0.5}, "no setting 'retentoin'; it has retention"),
        ({"method": "vscan", "retention": 0}, "retention must be above 0"),
        ({"method": "vscan", "retention": "0.5"}, "retention must be above 0"),
        ({"method": "vscan", "merge": 1}, "The setting merge cannot be used: Input should be a valid boolean."),
        ({"method": "vscan", "llm_keep": {"a": 1}}, "llm_keep cannot be used"),
        ({"method": "pyramiddrop", "layers": 5}, "layers cannot be used"),
        ({"method": "random", "seed": True}, "seed cannot be used"),
        ({"method": "random", "seed": 10**12}, "choose a smaller one"),
        ({"method": "vscan", "positions": "elsewhere"}, 'positions must be "original"'),
        ({"method": "vscan", "positions": "x" * 2000}, "too long"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_refused(settings, words) -> None:
    with pytest.raises(Refusal) as caught:
        reducer_from(Engine(), settings)
    assert words in caught.value.sentence and (caught.value.status, caught.value.param) == (400, "vscan")


def test_every_method_takes_the_settings_that_it_has() -> None:
    engine = Engine()
    for name, method in engine.methods().items():
        assert reducer_from(engine, {"method": name, "retention": 0.5, "positions": "original"}) == method(
            0.5, positions="original"
        )
    assert reducer_from(engine, None) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
names = st.sampled_from([*GOOD, *HARMLESS_VALUES, *SWITCHED_OFF, "vscan", "mm_processor_kwargs", "stream_options"])


@hypothesis.settings(max_examples=40)
@hypothesis.given(st.dictionaries(names, anything, max_size=3), st.lists(anything, max_size=3))
def test_whatever_is_sent_is_read_or_refused(changes, parts) -> None:
    for body in (GOOD | changes, GOOD | {"messages": [{"role": "user", "content": parts}]}, GOOD | {"vscan": changes}):
        try:
            reducer_from(Engine(), chat_request(json.dumps(body).encode("utf-8", "surrogatepass"), 256)[0].settings)
        except Refusal as refused:
            assert 400 <= refused.status < 500 and len(refused.sentence) < 800


@hypothesis.given(st.text(st.sampled_from("aé中🙂 "), max_size=12))
def test_pieces_of_a_text_whose_characters_come_byte_by_byte_make_the_text(text) -> None:
    content, sent = text.strip().encode(), ""
    for length in range(len(content) + 1):
        sent += new_text(content[:length].decode("utf-8", "replace").strip(), sent)
        assert "\ufffd" not in sent
    assert sent + new_text(text.strip(), sent, ended=True) == text.strip()
