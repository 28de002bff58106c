"""How much visitors may leave on the disk: bytes for each address, and bytes in the whole folder of uploads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from vscan_core.errors import InputError

from .quotas import FairUse, Rates

YOUR_SHARE = (
    "You have uploaded {most:.0f} MB within the last two hours; please go on with a picture that is here already."
)
DISK_FULL = "This server has no room for another file at the moment; please try again in a few minutes."
ARRIVES_S = 30.0  # in which an upload may not be in the folder yet; it is counted twice rather than not at all
OLD_S = (3600, 600)  # files that go when the folder is full; younger ones may still be on somebody's page

Tidy = Callable[[int], None]  # deletes what is older than so many seconds and what no page begins with


class Uploads:
    """Says whether a file may be uploaded, and makes room by deleting old ones."""

    def __init__(self, folder: str | Path, fair: FairUse | None = None, clock: Callable[[], float] = time.time) -> None:
        self.folder, self.fair = Path(folder), fair or FairUse()
        self._clock, self._rates = clock, Rates()
        self._lock = threading.Lock()
        self._kept: dict[str, deque[tuple[float, int]]] = {}  # of each address: when, and how many bytes

    def admit(self, address: str, declared: int, tidy: Tidy = lambda age_s: None) -> None:
        """Before a file of about `declared` bytes is taken. Raises InputError if it may not be uploaded now."""
        self._rates.count("uploads", address, self.fair.uploads_per_minute)
        with self._lock:
            self._forget()
            mine = sum(size for _, size in self._kept.get(address, ()))
            if mine + declared > self.fair.upload_bytes:
                raise InputError(YOUR_SHARE.format(most=self.fair.upload_bytes / 1e6))
            self._make_room(declared, tidy)
            self._kept.setdefault(address, deque()).append((self._clock(), declared))

    def folder_bytes(self) -> int:
        """What lies in the folder now."""
        total = 0
        for path in self.folder.rglob("*") if self.folder.exists() else ():
            try:
                total += path.lstat().st_size if path.is_file() else 0
            except OSError:  # it has just been deleted
                continue
        return total

    def _make_room(self, declared: int, tidy: Tidy) -> None:
        room = self.fair.all_upload_bytes - self._arriving() - declared
        for age_s in OLD_S:
            if self.folder_bytes() <= room:
                return
            tidy(age_s)
        if self.folder_bytes() > room:
            raise InputError(DISK_FULL)

    def _forget(self) -> None:
        """What was uploaded so long ago that Gradio has deleted it counts no more."""
        oldest = self._clock() - self.fair.upload_kept_s
        for address, files in list(self._kept.items()):
            while files and files[0][0] < oldest:
                files.popleft()
            if not files:
                del self._kept[address]

    def _arriving(self) -> int:
        since = self._clock() - ARRIVES_S
        return sum(size for files in self._kept.values() for began, size in files if began >= since)
