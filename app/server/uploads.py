"""Uploads: one named file per request; what is refused or never arrives leaves nothing on the disk."""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePosixPath
from typing import Any

from gradio.route_utils import GradioMultiPartParser
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException

FILES = "files"  # the field that Gradio's clients send
ONE_FILE = f"Send exactly one file, in the field '{FILES}'."
NO_NAME = "The file has no name; please give it one, such as picture.png."


class OneFileParser(GradioMultiPartParser):
    """Gradio's parser, which writes a file to the disk while it arrives, for exactly one file and nothing else."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **{**settings, "max_files": 1, "max_fields": 0})

    def on_headers_finished(self) -> None:
        """Check a part before anything of it is kept."""
        super().on_headers_finished()
        file = self._current_part.file
        if file is None or self._current_part.field_name != FILES:
            raise MultiPartException(ONE_FILE)
        if not has_name(file.filename or ""):
            raise MultiPartException(NO_NAME)

    async def parse(self) -> FormData:
        """Read the form; whatever goes wrong, its temporary file is gone."""
        try:
            form = await super().parse()
            if len(form) != 1:
                raise MultiPartException(ONE_FILE)
        except BaseException as error:
            for file in self._files_to_close_on_error:
                with contextlib.suppress(OSError):
                    file.close()
                    Path(file.name).unlink(missing_ok=True)
            if isinstance(error, UnicodeError | AssertionError | AttributeError):  # of a form that makes no sense
                raise MultiPartException(ONE_FILE) from error
            raise
        return form


def has_name(filename: str) -> bool:
    """Whether something is left of a file's name without folders, dots and what file systems do not take."""
    name = PurePosixPath(filename.replace("\\", "/")).name
    return any(letter.isalnum() for letter in name) and name not in (".", "..")
