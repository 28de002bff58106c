"""Check a model folder, file by file, before anything is loaded from it.

transformers reports some damage unclearly and some not at all: it ignores a damaged generation_config.json and
initialises missing tensors at random. These checks never run code or unpickle; of weights they read only headers.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from vscan_core.errors import InputError
from vscan_core.measure import ran_out

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
POINTER = b"version https://git-lfs.github.com/spec/"
OBJECTS = (
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "chat_template.json",
)
TEXTS = ("chat_template.jinja", "merges.txt", "vocab.txt")
BINARIES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
ONE_OF = (("tokenizer.json", "vocab.json", *BINARIES), ("processor_config.json", "preprocessor_config.json"))
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.bin.index.json")
AGAIN = "download it again"
UNPICKLED = (
    "it has no safetensors weights, and pickled ones are not loaded because they can run code; download a version in "
    "safetensors, or convert it with `save_pretrained` of transformers if you trust it"
)


def refusal(folder: Path, reason: str) -> InputError:
    """The InputError for a model folder that cannot be loaded, with the reason."""
    return InputError(f"the folder {folder} does not hold a complete model: {reason}")


def config_of(folder: Path) -> dict[str, Any]:
    """The contents of config.json. Raises InputError if it is missing or damaged."""
    return _object(folder / CONFIG)


def check_texts(folder: Path) -> None:
    """Raise InputError for a damaged text file, or if the folder has no tokenizer or no processor."""
    if (folder / "adapter_config.json").exists():
        raise refusal(
            folder, "it holds an adapter; merge that into its model (PEFT: merge_and_unload) and save this one"
        )
    checks = dict.fromkeys(OBJECTS, _object) | dict.fromkeys(TEXTS, _text) | dict.fromkeys(BINARIES, check_start)
    for name, check in checks.items():
        if (folder / name).exists():
            check(folder / name)
    for names in ONE_OF:
        if not any((folder / name).exists() for name in names):
            raise refusal(folder, f"{names[0]} is missing; {AGAIN}")


def check_weights(folder: Path) -> int:
    """The number of parameters in the files. Raises InputError unless all shards are complete and match the index."""
    if (folder / WEIGHTS).exists():
        return sum(map(prod, tensor_shapes(folder / WEIGHTS).values()))
    if (folder / INDEX).exists():
        held = 0
        for shard, promised in _shards(folder / INDEX).items():
            shapes = tensor_shapes(folder / shard)
            if absent := promised - shapes.keys():
                raise refusal(folder, f"{shard} lacks {in_words(absent)}; {AGAIN}")
            held += sum(map(prod, shapes.values()))
        return held
    if any(True for pattern in PICKLES for _ in folder.glob(pattern)):
        raise refusal(folder, UNPICKLED)
    name = INDEX if any(folder.glob("model-*-of-*.safetensors")) else WEIGHTS
    raise refusal(folder, f"{name} is missing; download the model again, with its weights")


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """{tensor: shape} of a safetensors file. Raises InputError for a damaged file or one of another kind."""
    check_start(path)
    try:
        with safe_open(path, framework="pt") as opened:
            return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118, no dict
    except Exception as error:  # safetensors raises its own exception type besides those of Python
        if ran_out(error):
            raise MemoryError(str(error)) from error
        raise refusal(path.parent, f"{path.name} is cut short, damaged or not a safetensors file; {AGAIN}") from error


def check_start(path: Path) -> None:
    """Raise InputError for a file that cannot be read, is empty, or is a Git LFS pointer."""
    try:
        with path.open("rb") as opened:
            found = opened.read(len(POINTER))
    except FileNotFoundError:
        raise refusal(path.parent, f"{path.name} is missing; {AGAIN}") from None
    except OSError as error:
        raise refusal(path.parent, f"{path.name} cannot be read ({error.strerror}); check what it is") from error
    if found == POINTER:
        reason = f"{path.name} is a Git LFS pointer instead of the file; run `git lfs pull` there, or {AGAIN}"
        raise refusal(path.parent, reason)
    if not found.strip():
        raise refusal(path.parent, f"{path.name} is empty; {AGAIN}")


def in_words(names: Collection[str]) -> str:
    """Names of tensors, abbreviated for a sentence: in_words({"b", "a"}) = "2 tensors (a, ...)"."""
    return f"the tensor {min(names)}" if len(names) == 1 else f"{len(names)} tensors ({min(names)}, ...)"


def _text(path: Path) -> str:
    check_start(path)
    try:
        return path.read_text(encoding="utf-8")
    except ValueError as error:
        raise refusal(path.parent, f"{path.name} is damaged: it is not UTF-8 text; {AGAIN}") from error


def _object(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refusal(path.parent, f"{path.name} is cut short or damaged: it is not valid JSON; {AGAIN}") from error
    if not isinstance(found, dict):
        raise refusal(path.parent, f"{path.name} is damaged: it does not hold a JSON object; {AGAIN}")
    return found


def _shards(index: Path) -> dict[str, set[str]]:
    """{shard: names of its tensors}, from the index."""
    found = _object(index)
    names = found.get("weight_map")
    if not isinstance(names, dict) or not names or not isinstance(found.get("metadata"), dict):
        raise refusal(index.parent, f"{index.name} is damaged: it does not list tensors and shards; {AGAIN}")
    shards = defaultdict(set)
    for name, shard in names.items():
        # a shard in another folder is not part of this model
        if not isinstance(shard, str) or not shard.endswith(".safetensors") or Path(shard).name != shard:
            reason = f"{index.name} lists {shard!r}, which is not a safetensors file in this folder; {AGAIN}"
            raise refusal(index.parent, reason)
        shards[shard].add(name)
    return dict(sorted(shards.items()))
