"""The file of one run, in JSON lines: the first says what was measured, every other one holds an answer.

An interrupted run can resume: complete lines are kept, a half-written last line is dropped, nothing is counted twice.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import transformers

from vscan_core.errors import InputError
from vscan_core.lvlm import LVLM
from vscan_eval.replies import Condition
from vscan_eval.task import Item, Task

SOURCES = ("vscan_core", "vscan_eval")


@dataclass(frozen=True)
class AnswerRecord:
    """One line: the reply to a question, and its score."""

    id: str
    picture: str
    kind: str
    reply: str
    score: float  # 0 to 1
    visual_tokens: float  # mean over decoder layers and over the pictures of its batch, as recorded


def identity(lvlm: LVLM, task: Task, condition: Condition) -> dict[str, Any]:
    """Everything that the answers depend on, except which questions are asked; runs that differ in it never mix."""
    return {
        "model": lvlm.name,
        "weights": weights(lvlm),
        "dtype": str(lvlm.model.dtype).removeprefix("torch."),
        "device": lvlm.device.type,
        "task": task.name,
        "data": str(task.data) if task.data else None,
        "seed": task.seed,
        "suffix": task.suffix,
        "second_turn": task.second_turn,
        "max_new_tokens": task.max_new_tokens,
        "method": condition.settings,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "code": code(),
    }


def weights(lvlm: LVLM) -> str:
    """sha256 of a local folder's weight files; for a model from the Hub its commit; otherwise "random"."""
    folder = Path(lvlm.model.config._name_or_path or "/nowhere")
    files = sorted(folder.glob("model*.safetensors")) if folder.is_dir() else []
    if files:
        return _sha256(tuple(files))
    commit = getattr(lvlm.model.config, "_commit_hash", None)
    return f"commit {commit}" if commit else "random"


@cache
def code() -> str:
    """sha256 of this library's source: a run is never resumed with other code."""
    folders = [Path(str(files(package))) for package in SOURCES]
    return _sha256(tuple(path for folder in folders for path in sorted(folder.rglob("*.py"))))


def digest(found: dict[str, Any]) -> str:
    """A short hash of an identity."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:10]


class AnswerFile:
    """The answers of one run, in memory and on disk."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        """Read the file if it exists. Raises InputError if it holds something else, or the answers of another run."""
        self.path, self.header = path, header
        self.found: dict[str, AnswerRecord] = {}
        try:
            if path.exists() and (path.is_dir() or path.stat().st_size):
                self._read()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); name another file") from None

    def forget(self, items: Sequence[Item]) -> None:
        """Rewrite the file without the answers to these items. Raises InputError if it cannot be written."""
        for item in items:
            self.found.pop(item.id, None)
        lines = [self.header, *(asdict(record) for record in self.found.values())]
        # a name of its own, because another run may write the same file
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text("".join(json.dumps(line) + "\n" for line in lines))
            os.replace(beside, self.path)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written ({error.strerror}); choose another folder") from None

    def add(self, records: Sequence[AnswerRecord]) -> None:
        """Append the answers of one batch."""
        with self.path.open("a") as file:
            file.write("".join(json.dumps(asdict(record)) + "\n" for record in records))
        self.found |= {record.id: record for record in records}

    def _read(self) -> None:
        try:
            lines = self.path.read_text().splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]
            head, *rows = [json.loads(line) for line in whole]
            self.found = {row["id"]: AnswerRecord(**row) for row in rows}
            differing = [name for name in self.header if head.get(name) != self.header[name]]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise InputError(f"{self.path} is not a file of `eval`; name another one or delete it") from None
        if differing:
            what = ", ".join(f"{name} {head.get(name)!r}, not {self.header[name]!r}" for name in differing)
            raise InputError(f"{self.path} holds answers of another run ({what}); name another file or delete it")


def _sha256(files: tuple[Path, ...]) -> str:
    """Of their contents together; read again only if one of them has changed."""
    stats = [(file, file.stat()) for file in files]
    return _sha256_as_of(tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in stats))


@cache
def _sha256_as_of(versions: tuple[tuple[Path, int, int], ...]) -> str:
    found = hashlib.sha256()
    for file, _, _ in versions:
        with file.open("rb") as handle:
            found.update(hashlib.file_digest(handle, "sha256").digest())
    return found.hexdigest()
