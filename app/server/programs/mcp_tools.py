"""What an MCP client finds here: each tool with a description, the schema of its arguments, and what it does.

Pictures come and go inside the messages. What a tool refuses is a Refusal or an InputError, one sentence.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from vscan_core.errors import InputError
from vscan_core.reducers import Reducer

from ...session.inputs import check_length, check_share, check_visible
from ...session.session import MAX_NEW_TOKENS, Session
from ..api import compared_answers, drawn_first_cut
from ..numbers import numbers
from ..refusals import shortened
from .data_url import opened_picture, picture_bytes
from .method_settings import DEFAULT_SETTINGS

DEFAULT_SHARE = Reducer.retention  # when none is given
NOT_A_TEXT = "{name} has to be a text."
NO_ARGUMENT = "This tool has no argument {name!r}; it takes {known}."
MISSING = "This tool needs the argument {name}."
PICTURE_SCHEMA = {
    "type": "string",
    "description": "The picture as a data URL, data:image/png;base64,...; at most 10 MB",
}
SHARE_SCHEMA = {
    "type": "number",
    "description": "Share of visual tokens to keep, averaged over the language model's layers; above 0, at most 1",
    "default": round(DEFAULT_SHARE, 3),
}
METHOD_SCHEMA = {"type": "string", "description": "A reduction method; `methods` lists them", "default": "vscan"}
MODEL_SCHEMA = {"type": "string", "description": "A model; `methods` lists them; left out: the server's first"}
QUESTION_SCHEMA = {"type": "string", "description": "The question about the picture, in plain words"}
LENGTH_SCHEMA = {
    "type": "integer", "minimum": 1, "maximum": MAX_NEW_TOKENS, "default": MAX_NEW_TOKENS,
    "description": "Length limit of each answer in tokens",
}  # fmt: skip


@dataclass(frozen=True)
class ToolResult:
    """What a tool answers: a JSON object, and perhaps a picture."""

    facts: dict[str, Any]
    picture: Image.Image | None = None

    def jpeg(self) -> str:
        """The picture as base64."""
        assert self.picture is not None
        out = io.BytesIO()
        self.picture.save(out, "JPEG", quality=90)
        return base64.b64encode(out.getvalue()).decode()


@dataclass(frozen=True)
class ProgramTool:
    """A tool: its arguments as JSON schemas by name, and which of them are needed."""

    name: str
    about: str
    arguments: Mapping[str, dict[str, Any]]
    needed: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of all arguments."""
        return {"type": "object", "properties": dict(self.arguments), "required": list(self.needed),
                "additionalProperties": False}  # fmt: skip

    def check(self, given: Mapping[str, Any]) -> None:
        """Raise InputError for an argument that the tool does not have, or that is missing."""
        for name in given:
            if name not in self.arguments:
                raise InputError(
                    NO_ARGUMENT.format(name=shortened(name, 40), known=", ".join(self.arguments) or "none")
                )
        for name in self.needed:
            if name not in given:
                raise InputError(MISSING.format(name=name))


COMPARE = ProgramTool(
    "compare",
    "Answer a question about a picture twice, with all visual tokens and with few, and say what that saved.",
    {"image": PICTURE_SCHEMA, "question": QUESTION_SCHEMA, "retention": SHARE_SCHEMA, "method": METHOD_SCHEMA,
     "model": MODEL_SCHEMA, "max_new_tokens": LENGTH_SCHEMA},
    ("image", "question"),
)  # fmt: skip
OVERLAY = ProgramTool(
    "overlay",
    "Draw which visual tokens of a picture a method keeps at its first cut, without running the language model.",
    {"image": PICTURE_SCHEMA, "retention": SHARE_SCHEMA, "method": METHOD_SCHEMA, "model": MODEL_SCHEMA},
    ("image",),
)
METHODS_TOOL = ProgramTool("methods", "List the reduction methods and the models that this server has.", {})
TOOLS = {tool.name: tool for tool in (COMPARE, OVERLAY, METHODS_TOOL)}


def tool_steps(session: Session, name: str, given: dict[str, Any]) -> Generator[ToolResult | None, None, None]:
    """Run a tool of `TOOLS` step by step; the last step is its result. Closing it stops the run.

    The picture is taken out of `given`, so that nobody holds it while the run waits.
    """
    if name == METHODS_TOOL.name:
        yield _methods(session)
        return
    content = picture_bytes(given.pop("image"), "image")
    opened = opened_picture(session, content)
    del content
    model, method = _text(given, "model", session.default_model), _text(given, "method", DEFAULT_SETTINGS["method"])
    share = check_share(given.get("retention", DEFAULT_SHARE))
    if name == OVERLAY.name:
        picture, facts = drawn_first_cut(session, opened, share, model, method)
        yield ToolResult(facts, picture)
        return
    question = check_visible(_text(given, "question", ""))
    limit = check_length(given.get("max_new_tokens", MAX_NEW_TOKENS), MAX_NEW_TOKENS)
    for now in compared_answers(session, model, opened, question, share, method, limit):
        texts = {"answer_with_all_tokens": now.texts[0], "answer_with_few_tokens": now.texts[1]}
        yield ToolResult(texts | {"numbers": numbers(now)}) if now.ended else None


def _text(given: Mapping[str, Any], name: str, otherwise: str) -> str:
    value = given.get(name, otherwise)
    if not isinstance(value, str):
        raise InputError(NOT_A_TEXT.format(name=name))
    return value


def _methods(session: Session) -> ToolResult:
    about = [
        {"name": name, "title": found.title, "summary": found.summary, "paper": found.paper}
        for name, found in session.engine.methods().items()
    ]
    names = [name for name in session.engine.models() if session.models.unavailable(name) is None]
    return ToolResult({"methods": about, "models": names, "model": session.default_model})
