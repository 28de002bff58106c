"""Names of CLIP's weights with the level `vision_model.`, which stock vLLM requires and every transformers reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from vscan_core.checkpoints.folder import INDEX

WITHOUT_LEVEL, WITH_LEVEL = "vision_tower.", "vision_tower.vision_model."


def with_vision_level(name: str) -> str:
    """vision_tower.encoder.x -> vision_tower.vision_model.encoder.x; other names, and those that have it, unchanged."""
    return (
        WITH_LEVEL + name.removeprefix(WITHOUT_LEVEL)
        if name.startswith(WITHOUT_LEVEL) and not name.startswith(WITH_LEVEL)
        else name
    )


def rename_weights(folder: Path, rename: Callable[[str], str]) -> None:
    """Give the tensors in a model folder other names. Nothing else changes in its files, not even the order.

    Each file is replaced at once, so that whoever reads the folder meanwhile never finds half of one.
    """
    for path in sorted(folder.glob("model*.safetensors")):
        content = path.read_bytes()
        end = 8 + int.from_bytes(content[:8], "little")
        header = {rename(name): about for name, about in json.loads(content[8:end]).items()}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # the tensors stay aligned
        _replace(path, len(text).to_bytes(8, "little") + text + content[end:])
    if (index := folder / INDEX).is_file():
        found = json.loads(index.read_text(encoding="utf-8"))
        found["weight_map"] = {rename(name): shard for name, shard in found["weight_map"].items()}
        _replace(index, (json.dumps(found, indent=2, sort_keys=True) + "\n").encode())


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)
