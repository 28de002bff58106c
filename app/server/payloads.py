"""What JSON bodies ask for: an endpoint that exists, values that can be meant for it, and files that were uploaded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import orjson
from gradio import data_classes
from gradio.block_function import BlockFunction
from gradio.utils import get_upload_folder
from pydantic import BaseModel, ValidationError

from .refusals import Refusal, shortened

NOT_JSON = "This request is not valid JSON in UTF-8."
NO_OBJECT = "This request has to be a JSON object."
NOT_UPLOADED = "Please send pictures as uploaded files."
NO_ENDPOINT = "There is no such endpoint; /gradio_api/info lists them."
NO_SESSION = "The session_hash has to be a text of 1 to 64 characters."
WRONG_NUMBER = "This endpoint takes {wanted} values; {got} were sent."
WRONG_TYPE = "Value {place} ({label}) has to be {wanted}."
WRONG_NAME = "This endpoint takes {wanted}; {got} is missing, or none of them."
MAX_DEPTH = 40  # of lists and objects in each other
MAX_SESSION = 64  # characters
OTHER_SERVER = re.compile(
    r"[a-z][a-z0-9+.\-]+:|[/\\]{2}", re.IGNORECASE
)  # a scheme of two letters or more, or \\server
FILE_TYPE = "gradio.FileData"
BODY_SHAPES: dict[str, type[BaseModel]] = {
    "queue": data_classes.PredictBody,
    "run": data_classes.PredictBody,
    "call": data_classes.SimplePredictBody,
    "cancel": data_classes.CancelBody,
    "reset": data_classes.ResetBody,
}
JSON_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "string": ("a text", (str,)),
    "number": ("a number", (int, float)),
    "integer": ("a whole number", (int,)),
    "boolean": ("true or false", (bool,)),
    "array": ("a list", (list,)),
}


def checked_payload(body: bytes, path: str, blocks: gr.Blocks) -> bytes:
    """The JSON body for the route at `path`, written anew, so that Gradio reads what was checked; raises Refusal."""
    try:
        payload = orjson.loads(body)  # no NaN, no other encodings, no endless nesting
    except ValueError:
        raise Refusal(400, "json", NOT_JSON) from None
    if not isinstance(payload, dict):
        raise Refusal(400, "json", NO_OBJECT)
    _check_files(payload)
    _, _, tail = path.partition("/gradio_api/")
    route, *names = tail.split("/")
    if route == "call" and names[0] == "v2":
        _check_named_values(payload, blocks, names[-1])
    else:
        _check_shape(payload, route)
        if route in ("queue", "run"):
            _check_values(payload, _indexed(blocks, payload, queued=route == "queue"))
        elif route == "call":
            _check_values(payload, _named(blocks, names[0]))
    return orjson.dumps(payload)


def _check_shape(payload: dict[str, Any], route: str) -> None:
    try:
        BODY_SHAPES[route].model_validate(payload)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        sentence = f"This request does not fit: {shortened(place, 60)}: {shortened(first['msg'], 100)}."
        raise Refusal(422, "shape", sentence) from None
    session = payload.get("session_hash")
    if (session is not None or route in ("queue", "run", "cancel")) and not (session and len(session) <= MAX_SESSION):
        raise Refusal(400, "session", NO_SESSION)
    if payload.get("batched"):
        raise Refusal(400, "shape", "No endpoint of this server takes batches.")


def _indexed(blocks: gr.Blocks, payload: dict[str, Any], queued: bool) -> BlockFunction:
    """What runs past the queue is only what is not made for it: quick handlers, such as that of the Stop button."""
    function = blocks.fns.get(payload.get("fn_index"))  # type: ignore[arg-type]
    if function is None or function.fn is None or function.queue is not queued:
        raise Refusal(404, "endpoint", NO_ENDPOINT)
    return function


def _named(blocks: gr.Blocks, name: str) -> BlockFunction:
    for function in blocks.fns.values():
        if function.api_name == name and function.api_visibility != "private":
            return function
    raise Refusal(404, "endpoint", NO_ENDPOINT)


def _check_values(payload: dict[str, Any], function: BlockFunction) -> None:
    """As many values as the endpoint takes, each of a kind that its widget can hold; programs may leave out states."""
    values: list[Any] = payload["data"]
    widgets = list(function.inputs)
    if len(values) != len(widgets):
        widgets = [widget for widget in widgets if not getattr(widget, "skip_api", False)]
    if len(values) != len(widgets) and not function.is_cancel_function:
        raise Refusal(422, "values", WRONG_NUMBER.format(wanted=len(widgets), got=len(values)))
    for place, (value, widget) in enumerate(zip(values, widgets, strict=False), start=1):
        if place - 1 not in function.component_prop_inputs:
            _check_type(value, widget, place)


def _check_named_values(payload: dict[str, Any], blocks: gr.Blocks, name: str) -> None:
    """Values by the names under which Gradio documents them; those without a default are all there."""
    function = _named(blocks, name)
    parameters = blocks.get_api_info()["named_endpoints"][f"/{name}"]["parameters"]
    names = [parameter["parameter_name"] for parameter in parameters]
    needed = [each["parameter_name"] for each in parameters if not each["parameter_has_default"]]
    strange = [each for each in payload if each not in names] + [each for each in needed if each not in payload]
    if strange:
        got = repr(shortened(strange[0], 60))
        raise Refusal(422, "values", WRONG_NAME.format(wanted=", ".join(names), got=got))
    widgets = [widget for widget in function.inputs if not getattr(widget, "skip_api", False)]
    for place, (each, widget) in enumerate(zip(names, widgets, strict=False), start=1):
        _check_type(payload.get(each), widget, place)


def _check_type(value: Any, widget: Any, place: int) -> None:
    if getattr(widget, "stateful", False) or (value is None and not isinstance(widget, gr.CheckboxGroup)):
        return  # Gradio itself fails at a choice list that is null
    label = shortened(str(getattr(widget, "label", "") or type(widget).__name__.lower()), 60)
    if isinstance(widget, gr.Image | gr.Video | gr.File):
        if not isinstance(value, dict):
            raise Refusal(422, "values", WRONG_TYPE.format(place=place, label=label, wanted="an uploaded file"))
        return
    kind = widget.api_info().get("type")
    if kind not in JSON_TYPES:
        return
    wanted, types = JSON_TYPES[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise Refusal(422, "values", WRONG_TYPE.format(place=place, label=label, wanted=wanted))


def _check_files(payload: dict[str, Any]) -> None:
    """Files lie in the folder of uploads. What else calls itself a path or an address stays on this server."""
    folder = Path(os.path.abspath(get_upload_folder()))
    for item in _objects(payload):
        meta = item.get("meta")
        if isinstance(meta, dict) and "_type" in meta:
            _check_file(item, meta, folder)
            item["url"] = None  # the server has the file; nobody needs to be asked for it
        for key in ("path", "url"):
            if isinstance(item.get(key), str) and OTHER_SERVER.match(item[key].strip()):
                raise Refusal(400, "foreign_file", NOT_UPLOADED)


def _check_file(item: dict[str, Any], meta: dict[str, Any], folder: Path) -> None:
    path = item.get("path")
    if meta["_type"] != FILE_TYPE or not isinstance(path, str) or item.get("is_stream"):
        raise Refusal(400, "foreign_file", NOT_UPLOADED)
    if any(ord(letter) < 32 for letter in path) or not os.path.isabs(path) or OTHER_SERVER.match(path):
        raise Refusal(400, "foreign_file", NOT_UPLOADED)
    if not Path(os.path.abspath(path)).is_relative_to(folder):
        raise Refusal(400, "foreign_file", NOT_UPLOADED)


def _objects(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every object in a payload, however deep; raises Refusal where that is too deep."""
    waiting: list[tuple[Any, int]] = [(payload, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise Refusal(400, "json", f"This request has more than {MAX_DEPTH} lists and objects in each other.")
        if isinstance(value, dict):
            yield value
            waiting.extend((part, depth + 1) for part in value.values())
        elif isinstance(value, list):
            waiting.extend((part, depth + 1) for part in value)
