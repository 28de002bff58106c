"""The body of a chat completion: what it asks, and which of OpenAI's parameters mean something here.

Answers are greedy. A parameter that would change them is refused unless it has the value that changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from vscan_core.errors import InputError

from ...session.inputs import check_length, check_visible
from ..payloads import NO_OBJECT, NOT_JSON
from ..refusals import Refusal, shortened
from .data_url import picture_bytes
from .method_settings import DEFAULT_SETTINGS, FIELD

VLLM_FIELD = "mm_processor_kwargs"  # where clients of vLLM put the settings of the plug-in
LENGTHS = ("max_completion_tokens", "max_tokens")
ONE_MESSAGE = (
    "This server answers one question about one picture: send exactly one message, of the role user, "
    "without a system message or earlier turns."
)
CONTENT = "The content of the message is a list of one image_url and at least one text."
ONE_PICTURE = "Send exactly one picture with the question; {number} were sent."
NO_MODEL_NAME = "Name a model as text; /v1/models lists them."
TWO_LENGTHS = f"Send {' or '.join(LENGTHS)}, not two different lengths."
NO_PARAMETER = "This server has no parameter {name!r}; it takes {known}."
ONLY_GREEDY = "Answers are greedy here, so {name} {wanted}."
SETTINGS_TWICE = f"Send {FIELD} once, either beside the messages or inside {VLLM_FIELD}, which may hold nothing else."


def _is_number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and low <= value <= high


# what leaves a greedy answer as it is, whether it is given or not, and in words
HARMLESS_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "temperature": (_is_number(0, 0), "can only be 0; leave it out"),
    "top_p": (_is_number(0, 1), "lies between 0 and 1 and changes nothing"),
    "n": (_is_number(1, 1), "can only be 1: every answer would be the same"),
    "seed": (lambda value: isinstance(value, int), "is a whole number and changes nothing"),
    "presence_penalty": (_is_number(0, 0), "can only be 0"),
    "frequency_penalty": (_is_number(0, 0), "can only be 0"),
    "logit_bias": (lambda value: value == {}, "has to be empty"),
}
SWITCHED_OFF: dict[str, tuple[Any, ...]] = {  # what this server cannot do, and the values that ask for nothing
    "logprobs": (False,),
    "top_logprobs": (0,),
    "stop": ([], ""),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (False, True),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "store": (False,),
}
ABOUT_THE_CALLER = ("user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier")  # not looked at
TAKEN_HERE = ("model", "messages", "stream", "stream_options", *LENGTHS, FIELD, VLLM_FIELD)
CANNOT_DO = "This server cannot do what {name} asks for; leave it out."


@dataclass(frozen=True)
class ChatRequest:
    """What is asked, without the picture."""

    model: str
    question: str
    settings: Any  # of `reducer_from`
    max_new_tokens: int
    stream: bool = False
    include_usage: bool = False  # in a stream; a whole answer always has it


def chat_request(body: bytes, most_tokens: int) -> tuple[ChatRequest, bytes]:
    """The request, and the content of its picture's file. Raises Refusal, one sentence about one parameter."""
    try:
        given = orjson.loads(body)
    except ValueError:
        raise Refusal(400, "json", NOT_JSON) from None
    if not isinstance(given, dict):
        raise Refusal(400, "json", NO_OBJECT)
    given = {name: value for name, value in given.items() if value is not None or name == FIELD}
    _check_parameters(given)
    model = given.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal(400, "input", NO_MODEL_NAME, "model")
    question, picture = _asked(given.get("messages"))
    stream = given.get("stream", False)
    if not isinstance(stream, bool):
        raise Refusal(400, "input", "stream is true or false.", "stream")
    usage = _includes_usage(given.get("stream_options", {}))
    return ChatRequest(model, question, _settings(given), _length(given, most_tokens), stream, usage), picture


def _check_parameters(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if name in HARMLESS_VALUES:
            harmless, wanted = HARMLESS_VALUES[name]
            if isinstance(value, bool) or not harmless(value):
                raise Refusal(400, "input", ONLY_GREEDY.format(name=name, wanted=wanted), name)
        elif name in SWITCHED_OFF:
            if not any(value == off and type(value) is type(off) for off in SWITCHED_OFF[name]):
                raise Refusal(400, "input", CANNOT_DO.format(name=name), name)
        elif name not in TAKEN_HERE and name not in ABOUT_THE_CALLER:
            known = ", ".join(sorted((*TAKEN_HERE, *HARMLESS_VALUES)))
            raise Refusal(400, "input", NO_PARAMETER.format(name=shortened(name, 40), known=known), shortened(name, 40))


def _asked(messages: Any) -> tuple[str, bytes]:
    """The question and the picture of a conversation that consists of one message."""
    one = messages[0] if isinstance(messages, list) and len(messages) == 1 else None
    if not isinstance(one, dict) or one.get("role") != "user" or set(one) - {"role", "content", "name"}:
        raise Refusal(400, "input", ONE_MESSAGE, "messages")
    parts = one.get("content")
    if isinstance(parts, str):
        raise Refusal(400, "input", ONE_PICTURE.format(number=0), "messages")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise Refusal(400, "input", CONTENT, "messages")
    texts = [part.get("text") for part in parts if part.get("type") == "text"]
    images = [part.get("image_url") for part in parts if part.get("type") == "image_url"]
    if len(texts) + len(images) != len(parts) or not all(isinstance(text, str) for text in texts):
        raise Refusal(400, "input", CONTENT, "messages")
    if len(images) != 1:
        raise Refusal(400, "input", ONE_PICTURE.format(number=len(images)), "messages")
    try:
        question = check_visible("\n".join(texts))
    except InputError as error:
        raise Refusal(400, "input", str(error), "messages") from None
    return question, _picture(images[0])


def _picture(image: Any) -> bytes:
    if not isinstance(image, dict) or set(image) - {"url", "detail"}:
        raise Refusal(400, "input", CONTENT, "messages")
    if image.get("detail", "auto") not in ("auto", None):
        raise Refusal(400, "input", "The detail of a picture can only be auto: the model decides.", "messages")
    return picture_bytes(image.get("url"), "messages")


def _settings(given: dict[str, Any]) -> Any:
    beside = {FIELD: given[FIELD]} if FIELD in given else {}
    inside = given.get(VLLM_FIELD, {})
    if not isinstance(inside, dict) or set(inside) - {FIELD} or (beside and inside):
        raise Refusal(400, "input", SETTINGS_TWICE, VLLM_FIELD)
    return (beside | inside).get(FIELD, DEFAULT_SETTINGS)


def _length(given: dict[str, Any], most: int) -> int:
    lengths = {name: given[name] for name in LENGTHS if name in given} or {LENGTHS[0]: most}
    name, value = next(iter(lengths.items()))
    if any(other != value for other in lengths.values()):
        raise Refusal(400, "input", TWO_LENGTHS, name)
    try:
        return check_length(value, most)
    except InputError as error:
        raise Refusal(400, "input", str(error), name) from None


def _includes_usage(options: Any) -> bool:
    if not isinstance(options, dict) or set(options) - {"include_usage"}:
        raise Refusal(400, "input", "stream_options can only have include_usage, true or false.", "stream_options")
    wanted = options.get("include_usage", False)
    if not isinstance(wanted, bool):
        raise Refusal(400, "input", "include_usage is true or false.", "stream_options")
    return wanted
