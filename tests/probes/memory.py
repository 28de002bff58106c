"""How much memory the demo and the processes it has started hold, and the most since it was asked last."""

from __future__ import annotations

import threading
import time

import psutil

EVERY_S = 0.05
FAMILY_EVERY_S = 1.0  # looking for new processes costs more than asking known ones


class MemoryWatch:
    """Watches a process from a thread of its own until `stop`."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self._family: list[psutil.Process] = [process]
        self._peak = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def begin(self) -> int:
        """Bytes held now; the peak counts from here."""
        self._peak = now = self._held()
        return now

    def peak(self) -> int:
        """The most bytes held at any look since `begin`."""
        return max(self._peak, self._held())

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        renewed = 0.0
        while not self._stopped.wait(EVERY_S):
            if time.monotonic() - renewed > FAMILY_EVERY_S:
                renewed = time.monotonic()
                self._family = [self.process, *self._children()]
            self._peak = max(self._peak, self._held())

    def _children(self) -> list[psutil.Process]:
        try:
            return self.process.children(recursive=True)
        except psutil.Error:
            return []

    def _held(self) -> int:
        total = 0
        for process in self._family:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        return total
