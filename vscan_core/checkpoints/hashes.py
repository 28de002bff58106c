"""Compare the embedded model's files with the SHA-256 hashes recorded beside them, in the format of `sha256sum`.

Recorded by `training.export` and `training.calibrate`; `sha256sum -c SHA256SUMS` in the folder checks them too.
"""

from __future__ import annotations

import fnmatch
import hashlib
from pathlib import Path

from vscan_core.errors import InputError

SUMS = "SHA256SUMS"
SUFFIXES = (".json", ".safetensors", ".jinja", ".model", ".txt")  # of the files that a model is loaded from
UNHASHED = ("training_log.json",)  # in the same folder, but not part of the model
RESTORE = "install vscan-core again, or in a checkout of the repository run `git checkout -- assets/mini`"


def check_hashes(folder: str | Path, pattern: str = "*") -> None:
    """Raise InputError unless the files that match `pattern` are exactly those recorded, unchanged.

    Every file is hashed on every call, about 20 ms for 20 MB, so that any change is found, whatever size and date are.
    """
    recorded, present = _recorded(Path(folder)), _files(Path(folder))
    for name in fnmatch.filter(sorted(recorded.keys() | present.keys()), pattern):
        if name not in present:
            raise _refusal(f"{name} is missing", RESTORE)
        if name not in recorded:
            raise _refusal(f"{name} does not belong to it", "remove that file")
        try:
            found = hashlib.sha256(present[name].read_bytes()).hexdigest()
        except OSError as error:
            raise _refusal(f"{name} cannot be read ({error.strerror})", RESTORE) from error
        if found != recorded[name]:
            raise _refusal(f"{name} is not the file that was shipped", RESTORE)


def write(folder: str | Path) -> None:
    """Record the hashes of the files in the folder."""
    files = _files(Path(folder)).items()
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in files]
    (Path(folder) / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")


def _files(folder: Path) -> dict[str, Path]:
    """{name: file}; that of a file in a folder inside is "text_half/config.json"."""
    found = (path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.name not in UNHASHED)
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def _recorded(folder: Path) -> dict[str, str]:
    """{file: hash}."""
    try:
        pairs = [line.split() for line in (folder / SUMS).read_text(encoding="utf-8").splitlines()]
        return {name: digest for digest, name in pairs}
    except (OSError, ValueError) as error:
        raise _refusal(f"{SUMS}, which lists its files, is missing or damaged", RESTORE) from error


def _refusal(found: str, remedy: str) -> InputError:
    return InputError(f"the embedded model is damaged: {found}; {remedy}")
