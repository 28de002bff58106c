"""Pictures and videos of strangers, read in a process that can be killed: a deadline and a limit of memory hold always.

`MediaReader` starts `worker.py` when it is first needed, keeps it, and starts it anew after it had to be killed. Files
are read one at a time; others wait in line.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from vscan_core.errors import InputError
from vscan_core.media.images import WORKING_SIDE
from vscan_core.media.refusals import too_much_memory, too_slow, unreadable
from vscan_core.media.videos import MAX_FRAMES, Video

_LINE = 40  # files that may wait at once
_PATIENCE_S = 30.0  # how long one waits
_BUSY = "Many files are being read at the moment; please try again in a few seconds."
_NOT_NOW = "Files cannot be read at the moment; please try again later."

_STARTING_S = 60.0  # a busy computer starts processes slowly
_LONGEST_HEAD = 100_000  # bytes of the line before the pixels
_INHERITED = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
_FRUGAL = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}  # threads reserve memory

_Answer: TypeAlias = tuple[dict[str, Any], list[Image.Image]]  # what it says, and the pictures that it sends

_LOG = logging.getLogger(__name__)


class MediaReader:
    """Reads files in a process of its own, which starts with the first of them and ends with this one's process.

    `seconds` is the time that one file may take, `megabytes` the memory (where the system can limit it: on Linux).
    Threads may share it.
    """

    def __init__(self, seconds: float, megabytes: int, line: int = _LINE, patience_s: float = _PATIENCE_S) -> None:
        self.seconds = seconds
        self.megabytes = megabytes
        self._patience_s = patience_s
        self._places = threading.BoundedSemaphore(line + 1)
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # the process that started it; after a fork, another one needs its own
        self._end: weakref.finalize[Any, MediaReader] | None = None

    def image(self, path: str | Path) -> Image.Image:
        """What `open_image` returns. Raises InputError, also if it takes too long or too much memory."""
        pictures, _ = self._read({"kind": "picture", "path": str(path)})
        return pictures[0]

    def video(self, path: str | Path, frames: int = 8) -> Video:
        """What `open_video` returns. Raises InputError, also if it takes too long or too much memory."""
        pictures, times = self._read({"kind": "video", "path": str(path), "frames": frames})
        return Video(pictures, times)

    def close(self) -> None:
        """End the process; the next file starts another one."""
        with self._turn:
            self._stop()

    @property
    def worker_id(self) -> int | None:
        """The number of the process that reads; None while there is none."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @contextmanager
    def _in_line(self) -> Iterator[None]:
        if not self._places.acquire(blocking=False):
            raise InputError(_BUSY)
        try:
            if not self._turn.acquire(timeout=self._patience_s):
                raise InputError(_BUSY)
            try:
                yield
            finally:
                self._turn.release()
        finally:
            self._places.release()

    def _read(self, request: dict[str, Any]) -> tuple[list[Image.Image], list[float]]:
        with self._in_line():
            head, pictures = self._ask(request)
        if "error" in head:
            _LOG.warning("A %s could not be read: %s", request["kind"], head["error"])
        if "refused" in head:
            raise InputError(head["refused"])
        return pictures, head["times"]

    def _ask(self, request: dict[str, Any]) -> _Answer:
        """Ask the process for a file, and kill it at the deadline."""
        process = self._started()
        try:
            with _killed_after(process, self.seconds) as late:
                answer = _exchange(process, request)
        except (OSError, EOFError, ValueError):
            self._stop()
            code = process.returncode
            return {"refused": _why_ended(request["kind"], code, late.is_set()), "error": f"exit status {code}"}, []
        except BaseException:  # its answer would be taken for that of the next file
            self._stop()
            raise
        if late.is_set():
            self._stop()
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner == os.getpid():
            if self._process.poll() is None:
                return self._process
            self._stop()
        script = Path(__file__).with_name("worker.py")
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-B", "-W", "ignore", str(script), str(self.seconds), str(self.megabytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _INHERITED if name in os.environ} | _FRUGAL,
            )
            self._process, self._owner = process, os.getpid()
            self._end = weakref.finalize(self, _end, process)
            with _killed_after(process, _STARTING_S):
                _head(process)
        except (OSError, EOFError, ValueError) as error:
            self._stop()
            _LOG.error("The process that reads files does not start: %s", error)
            raise InputError(_NOT_NOW) from None
        return process

    def _stop(self) -> None:
        if self._end is not None:
            self._end()
        self._process = self._end = None


@contextmanager
def _killed_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    """Kill a process unless the block ends in time; the event tells whether that was necessary."""
    late = threading.Event()

    def kill() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
        timer.join()


def _exchange(process: subprocess.Popen[bytes], request: dict[str, Any]) -> _Answer:
    """Its answer, and the pixels that follow. Raises OSError, EOFError or ValueError if it ends before, or errs."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    head = _head(process)
    sizes = head.get("sizes", [])
    if len(sizes) > MAX_FRAMES or any(not 0 < side <= WORKING_SIDE for size in sizes for side in size):
        raise ValueError("such pictures are never sent")
    return head, [_picture_from(process, (width, height)) for width, height in sizes]


def _head(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline(_LONGEST_HEAD)
    if not line:
        raise EOFError
    head: dict[str, Any] = json.loads(line)
    return head


def _picture_from(process: subprocess.Popen[bytes], size: tuple[int, int]) -> Image.Image:
    assert process.stdout is not None
    pixels = process.stdout.read(3 * size[0] * size[1])
    return Image.frombytes("RGB", size, pixels)  # ValueError if they are too few


def _why_ended(kind: str, code: int, late: bool) -> str:
    if late or -code == getattr(signal, "SIGALRM", None):
        return too_slow(kind)
    if -code == getattr(signal, "SIGKILL", None):  # by the system, which has run out of memory
        return too_much_memory(kind)
    return unreadable(kind)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # what was not sent is lost
                continue
