"""The demo's open routes as an OpenAPI description, for tests that make requests from one."""

from __future__ import annotations

import re
from typing import Any

from app.server.routes import OPEN_ROUTES, BodyKind

ENDPOINTS = ("compare", "overlay", "arena", "sweep")
STREAMS = ("heartbeat", "startup-events", "upload_progress")  # they last as long as somebody listens
ANYTHING: dict[str, Any] = {}
JOIN = {
    "type": "object",
    "required": ["data", "session_hash"],
    "properties": {
        "data": {"type": ["array", "null"], "items": ANYTHING, "maxItems": 8},
        "fn_index": {"type": ["integer", "null"]},
        "session_hash": {"type": ["string", "null"], "maxLength": 40},
        "event_data": ANYTHING,
        "trigger_id": {"type": ["integer", "null"]},
    },
}
CANCEL = {
    "type": "object",
    "properties": {
        "session_hash": {"type": "string"},
        "fn_index": {"type": "integer"},
        "event_id": {"type": "string"},
    },
}
CALL = {"type": "object", "required": ["data"], "properties": {"data": {"type": "array", "items": ANYTHING}}}
CHAT_BODY = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"enum": ["mini", "magic"]},
        "messages": {"type": "array", "items": ANYTHING, "maxItems": 3},
        "max_tokens": {"type": "integer"},
        "stream": {"type": "boolean"},
        "temperature": {"type": "number"},
        "vscan": {"type": ["object", "null"]},
    },
}
RPC_BODY = {
    "type": "object",
    "required": ["jsonrpc", "method"],
    "properties": {
        "jsonrpc": {"const": "2.0"},
        "id": {"type": ["integer", "string"]},
        "method": {"enum": ["initialize", "tools/list", "tools/call", "ping", "prompts/list"]},
        "params": {"type": "object"},
    },
}
BODIES = {"queue/join": JOIN, "cancel": CANCEL, "reset": CANCEL, "call": CALL, "chat": CHAT_BODY, "mcp": RPC_BODY}
FORM = {
    "type": "object",
    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}, "maxItems": 3}},
}


def openapi() -> dict[str, Any]:
    """The description; every route but the endless streams, the named endpoints each by itself."""
    paths: dict[str, dict[str, Any]] = {}
    for route in OPEN_ROUTES:
        if not any(name in route.path for name in STREAMS):
            path = re.sub(r"{(\w+):\w+}", r"{\1}", route.path)
            for name in ENDPOINTS if "{api_name}" in path else ("",):
                here = path.replace("{api_name}", name)
                paths.setdefault(here, {})[route.method.lower()] = _operation(here, route.body)
    return {"openapi": "3.1.0", "info": {"title": "demo", "version": "1"}, "paths": paths}


def _operation(path: str, body: BodyKind) -> dict[str, Any]:
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", path)
    ]
    if path.endswith("queue/data"):
        named.append({"name": "session_hash", "in": "query", "required": True, "schema": {"type": "string"}})
    operation: dict[str, Any] = {"parameters": named, "responses": {"default": {"description": "anything"}}}
    if body is not BodyKind.NOTHING:
        schema = next((found for part, found in BODIES.items() if part in path), {"type": "object"})
        json = ("application/json", schema)
        kinds = {BodyKind.JSON: json, BodyKind.CHAT: json, BodyKind.UPLOAD: ("multipart/form-data", FORM)}
        kind, form = kinds.get(body, ("application/x-www-form-urlencoded", {"type": "object"}))
        operation["requestBody"] = {"required": True, "content": {kind: {"schema": form}}}
    return operation
