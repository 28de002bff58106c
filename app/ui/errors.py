"""What a visitor reads when something fails: the sentence of an InputError, or a code, but never details."""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import gradio as gr

from vscan_core.errors import InputError

from .faults import FAULT_SENTENCES, fault_kind

HARMLESS = str.maketrans({"<": "(", ">": ")", "&": "+"})
TOAST = "That did not work"  # title above the sentence
log = logging.getLogger("app")
P = ParamSpec("P")
T = TypeVar("T")


def explained(error: BaseException) -> str:
    """One sentence for the visitor; the details of a failure of the server go to the log under a code."""
    if isinstance(error, InputError):
        return str(error).translate(HARMLESS)  # messages are rendered as HTML, and may quote the visitor
    kind = fault_kind(error)
    if kind in FAULT_SENTENCES:
        log.error("fault: %s", kind, exc_info=error)
        return FAULT_SENTENCES[kind]
    code = secrets.token_hex(3)
    log.error("failure %s", code, exc_info=error)
    return f"Something went wrong on the server (code {code}). Please try again."


@contextmanager
def friendly() -> Iterator[None]:
    """Raise gr.Error, with such a sentence, for every failure inside."""
    try:
        yield
    except gr.Error:
        raise
    except Exception as error:
        raise gr.Error(explained(error), title=TOAST, print_exception=False) from None


def answering(handler: Callable[P, T]) -> Callable[P, T]:
    """A handler whose failures are friendly."""

    @functools.wraps(handler)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        with friendly():
            return handler(*args, **kwargs)

    return wrapped


def streaming(handler: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """The same for a generator handler; closing it closes the handler."""

    @functools.wraps(handler)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        with friendly():
            yield from handler(*args, **kwargs)

    return wrapped
