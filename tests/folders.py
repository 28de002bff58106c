"""A model folder to be damaged: links to the embedded model's files; a damage replaces a link, never the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import vscan_core as vc
from vscan_core.catalog import MODELS
from vscan_core.checkpoints import hashes

MINI = Path(MODELS["mini"].source)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 8793312\n"
INDEX, SHARDS = "model.safetensors.index.json", [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
HASHED = (path.relative_to(MINI).as_posix() for path in MINI.rglob("*") if path.suffix in hashes.SUFFIXES)
LOADED = sorted(name for name in HASHED if Path(name).name not in hashes.UNHASHED)


def linked(folder: Path) -> Path:
    """The embedded model in a new folder."""
    folder.mkdir()
    for path in MINI.rglob("*"):
        if path.is_dir():
            (folder / path.relative_to(MINI)).mkdir()
        else:
            (folder / path.relative_to(MINI)).symlink_to(path)
    return folder


def put(path: Path, content: bytes) -> None:
    """Another content for a file."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Another content for a JSON file."""
    found = json.loads(path.read_text())
    edit(found)
    put(path, json.dumps(found).encode())


def retensor(path: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Other tensors for a safetensors file."""
    found = load_file(path)
    edit(found)
    path.unlink()
    save_file(found, path, {"format": "pt"})


def refused(folder: Path) -> str:
    """The one sentence about a folder that does not load."""
    with pytest.raises(vc.InputError) as caught:
        vc.load_model(str(folder), device="cpu")
    said = str(caught.value)
    assert "\n" not in said and str(folder) in said
    return said
