"""How the process of a server uses memory: what was freed is used again."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Callable

M_ARENA_MAX = -8  # of glibc's mallopt
ARENAS = 2
COLLECT_EVERY_S = 10.0


def share_freed_memory() -> bool:
    """Let threads share what they free; call it before there are any. Whether the system knows how (glibc does).

    Else many threads get a part of the memory each, and what one of them has freed the others cannot use.
    """
    return _ask_libc("mallopt", M_ARENA_MAX, ARENAS)


def give_back_freed_memory() -> bool:
    """Let the system have what was freed in between what is in use. Whether there was any, and the system knows how.

    Else the gaps that visits leave grow with every visit, although no visit leaves anything behind.
    """
    return _ask_libc("malloc_trim", 0)


def _ask_libc(function: str, *numbers: int) -> bool:
    try:
        return bool(getattr(ctypes.CDLL(None), function)(*numbers))
    except (AttributeError, OSError, TypeError):
        return False


def keep_what_is_there() -> None:
    """Collections need not look again at what has been loaded, and so come before as much again has piled up."""
    gc.collect()
    gc.freeze()


def collect_between_runs(busy: Callable[[], bool]) -> None:
    """From now on, every few seconds while nothing runs; visits leave cycles behind, which Python itself lets pile up.

    What was freed is given back to the system.
    """

    def keep_collecting() -> None:
        while True:
            time.sleep(COLLECT_EVERY_S)
            end = time.monotonic() + COLLECT_EVERY_S
            while busy() and time.monotonic() < end:
                time.sleep(0.05)
            gc.collect()
            give_back_freed_memory()

    threading.Thread(target=keep_collecting, name="collects garbage", daemon=True).start()
