"""The Hugging Face Hub as this server sees it: whether it can be reached, and how far a download is."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import torch
from huggingface_hub import HfApi, constants, get_session, try_to_load_from_cache
from huggingface_hub.file_download import repo_folder_name

from vscan_core.catalog import MODELS

HUB_TIMEOUT_S = 3.0
ASKED_AGAIN_S = 60.0
NEEDED = (".safetensors", ".json", ".model", ".txt", ".jinja")  # what loading fetches of a repository


class Hub:
    """Asks the Hub for a sign of life, at most once a minute, and first of all in the background."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._reached = False
        threading.Thread(target=self.reachable, name="is the Hub there", daemon=True).start()

    def reachable(self) -> bool:
        """Whether it answered the last time; waits for its answer if that was more than a minute ago."""
        with self._lock:
            if time.monotonic() - self._asked_at > ASKED_AGAIN_S:
                self._reached = _answers()
                self._asked_at = time.monotonic()
            return self._reached

    def missing(self, name: str) -> str | None:
        """Why a catalogued model cannot be fetched, in one sentence; None if it can, or is here already."""
        if not download_gb(name) or self.reachable():
            return None
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "this server cannot reach the Hugging Face Hub"
        return f"{MODELS[name].title} would have to be downloaded, but {why}."


def download_gb(name: str) -> float:
    """The least that must be fetched from the Hub for a catalogued model, in gigabytes (10^9 bytes); 0: nothing.

    Counted at two bytes per parameter; some checkpoints are stored in float32, which takes twice as much.
    """
    card = MODELS.get(name)
    if card is None or card.random or Path(card.source).exists():
        return 0.0
    there = isinstance(try_to_load_from_cache(card.source, "config.json"), str)
    return 0.0 if there else card.weights_gb(torch.bfloat16)


class Download:
    """A download that is under way, by the files that it leaves."""

    def __init__(self, name: str) -> None:
        """`name` of a catalogued model. Asks the Hub for the sizes of its files, unless it does not answer."""
        self._source = MODELS[name].source
        self.exact = True
        try:
            files = HfApi().model_info(self._source, files_metadata=True, timeout=HUB_TIMEOUT_S).siblings or []
            self.total_gb = sum(file.size or 0 for file in files if file.rfilename.endswith(NEEDED)) / 1e9
        except Exception:  # then the estimate must do; loading itself says what is wrong
            self.total_gb = 0.0
        if not self.total_gb:
            self.total_gb, self.exact = download_gb(name), False

    def there_gb(self) -> float:
        """What has arrived, in gigabytes (10^9 bytes): whole files and those that are being written."""
        blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=self._source, repo_type="model") / "blobs"
        return sum(_allocated(file) for file in blobs.glob("*")) / 1e9


def _allocated(file: Path) -> int:
    """Bytes that a file takes on the disk; one whose parts arrive in any order has its full length from the start."""
    try:
        found = file.stat()
    except OSError:  # it has just got its final name
        return 0
    return min(found.st_size, found.st_blocks * 512) if hasattr(found, "st_blocks") else found.st_size


def _answers() -> bool:
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        answer = get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_S, follow_redirects=True)
        return bool(answer.status_code < 500)
    except Exception:  # no name, no route, a refusal, a broken certificate: not reachable
        return False
