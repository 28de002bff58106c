"""Reads pictures and videos in a process of its own, one after another, until its input ends: see `isolated.py`.

Started as a script with a deadline in seconds and an amount of memory in megabytes. It imports what reads files and
nothing else of the library, so that it starts fast and stays small. A line of JSON on its standard input asks for a
file; a line of JSON on its standard output answers, and the pixels follow.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

_AVIF_THREADS = 2  # each takes memory, also on a machine with many processors
_GRACE_S = 2.0  # after the deadline, should nobody be left who ends this process


def answer_requests(asked: BinaryIO, answers: BinaryIO, seconds: float) -> None:
    """Say that all is ready, then read what is asked for until the input ends."""
    answers.write(b"{}\n")
    answers.flush()
    for line in asked:
        _alarm(seconds + _GRACE_S)
        head, pictures = _answer(json.loads(line))
        answers.write(json.dumps(head).encode() + b"\n")
        for picture in pictures:
            answers.write(picture.tobytes())
        answers.flush()
        _alarm(0)


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], Sequence[Any]]:
    from vscan_core.errors import InputError
    from vscan_core.media.refusals import too_much_memory, unreadable

    kind = request["kind"]
    try:
        if kind == "picture":
            from vscan_core.media.images import open_image

            picture = open_image(request["path"])
            return {"sizes": [picture.size], "times": []}, [picture]
        from vscan_core.media.videos import open_video

        video = open_video(request["path"], request["frames"])
        return {"sizes": [frame.size for frame in video.frames], "times": video.times}, video.frames
    except InputError as refusal:
        return {"refused": str(refusal)}, ()
    except MemoryError:
        return {"refused": too_much_memory(kind)}, ()
    except Exception as error:
        return {"refused": unreadable(kind), "error": f"{type(error).__name__}: {error}"[:200]}, ()


def limit_memory(megabytes: int) -> None:
    """Let this process have so much memory more than it has now, and write no files; only where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    pages = Path("/proc/self/statm")
    now = int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 0
    for what, most in (
        (resource.RLIMIT_AS, now + megabytes * 1_000_000),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        try:
            resource.setrlimit(what, (most, most))
        except (ValueError, OSError):  # macOS knows this limit, but refuses to set it
            continue


def _alarm(seconds: float) -> None:
    """End this process, whatever it is doing, when the time is over; 0 calls it off."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _lean_package() -> None:
    """Let `vscan_core.media` be imported without what `vscan_core` itself imports: PyTorch and transformers."""
    package = ModuleType("vscan_core")
    package.__path__ = [str(Path(__file__).parents[1])]
    sys.modules["vscan_core"] = package


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started this
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what decoders print is no answer
    _lean_package()
    from PIL import AvifImagePlugin, Image

    import vscan_core.media.images  # noqa: F401  (before memory is limited)

    Image.init()
    AvifImagePlugin.DEFAULT_MAX_THREADS = _AVIF_THREADS
    limit_memory(int(sys.argv[2]))
    answer_requests(sys.stdin.buffer, answers, float(sys.argv[1]))


if __name__ == "__main__":
    _main()
