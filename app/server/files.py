"""Which files of the server a visitor may read: those that Gradio made or keeps, and the folders that are allowed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import gradio as gr
from gradio.data_classes import _StaticFiles
from gradio.utils import get_cache_folder, get_upload_folder
from starlette.types import Scope

from .payloads import OTHER_SERVER
from .refusals import Refusal

NOT_SERVED = "This server only serves its own files."
RANGE = re.compile(rb"bytes=(?:[0-9]{1,15}-|-[0-9]{1,15}|([0-9]{1,15})-([0-9]{1,15}))")
KEPT_HEADERS = (b"host", b"cookie", b"range", b"if-range", b"if-none-match", b"if-modified-since", b"accept-encoding")


def check_served_file(path: str, scope: Scope) -> None:
    """Raise Refusal for a path that is no absolute one in a folder that is served, links followed.

    Gradio answers a range with the request's own headers, so that only those that matter to a file are left.
    """
    if not os.path.isabs(path) or OTHER_SERVER.match(path):
        raise Refusal(403, "file", NOT_SERVED)
    file = Path(os.path.realpath(path))
    if not any(file.is_relative_to(folder) for folder in served_folders(scope["app"].get_blocks())):
        raise Refusal(403, "file", NOT_SERVED)
    scope["headers"] = [
        (name, value)
        for name, value in scope["headers"]
        if name in KEPT_HEADERS and not (name == b"range" and not _sensible(value))
    ]


def served_folders(blocks: gr.Blocks) -> list[Path]:
    """The folders, or single files, that are served."""
    own = [get_upload_folder(), get_cache_folder()]
    return [Path(os.path.realpath(folder)) for folder in [*own, *blocks.allowed_paths, *_StaticFiles.all_paths]]


def _sensible(value: bytes) -> bool:
    """Whether a Range header has one range that does not end before it begins; others are left out."""
    found = RANGE.fullmatch(value)
    return found is not None and (found[1] is None or int(found[1]) <= int(found[2]))
