"""Refuses an upload before it is read, if its sender has had enough, or if the disk has."""

from __future__ import annotations

from gradio.route_utils import delete_files_created_by_app
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from vscan_core.errors import InputError

from ..session.uploads import DISK_FULL, Uploads
from .refusals import Refusal

UPLOAD_PATH = "/gradio_api/upload"
UNDECLARED = 10_000_000  # bytes that an upload without a length is taken for: the most that it can have


class UploadGate:
    """ASGI middleware for behind `Guard`, which settles the sender's address and answers what is refused here."""

    def __init__(self, app: ASGIApp, uploads: Uploads) -> None:
        self.app, self.uploads = app, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"].rstrip("/") == UPLOAD_PATH:
            address = (scope.get("client") or ("",))[0]
            try:
                # the folder is looked through: not in the thread that serves everybody
                await run_in_threadpool(self.uploads.admit, address, _declared(scope), lambda age: _tidy(scope, age))
            except InputError as error:
                full = str(error) == DISK_FULL
                raise Refusal(507 if full else 429, "disk" if full else "uploads", str(error)) from None
        await self.app(scope, receive, send)


def _declared(scope: Scope) -> int:
    length = dict(scope["headers"]).get(b"content-length", b"")
    return int(length) if length.isdigit() else UNDECLARED


def _tidy(scope: Scope, age_s: int) -> None:
    """Gradio knows which files came from visitors, and which ones its pages begin with."""
    blocks = getattr(scope.get("app"), "blocks", None)
    if blocks is not None:
        delete_files_created_by_app(blocks, age_s)
