"""Recordings as folders: `run.json` and the picture. The format is described in docs/recording.md.

What is read may come from anybody: nothing is executed, sizes are limited, and every index is checked.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from vscan_core.errors import InputError
from vscan_core.events import Answer, Cost, Timings
from vscan_core.media.images import open_image
from vscan_core.recording.checked import numbers_in, of_kind, require
from vscan_core.recording.packing import packed_cut, packed_image, unpacked_cut, unpacked_image
from vscan_core.recording.recorded import REPEATED_TIMES, RecordedRun, Recording
from vscan_core.trace import ImageTrace, Trace

SCHEMA = "vscan-recording/1"
RUN_FILE, PICTURE_FILE = "run.json", "picture.webp"
MOST_BYTES = 32_000_000  # of run.json
QUALITY = 88  # of the picture
TIME_DIGITS = 5  # significant digits of times


def save_recording(recording: Recording, folder: Path) -> None:
    """Write a recording into a folder, which is made if needed. Raises InputError if that is not possible."""
    images = recording.runs[0].answer.trace.images
    found = {
        "schema": SCHEMA,
        "model": recording.model,
        "random_weights": recording.random_weights,
        "question": recording.question,
        "note": recording.note,
        "picture": {"file": PICTURE_FILE, "width": recording.picture.width, "height": recording.picture.height},
        "image": packed_image(images[0]),
        "runs": [_packed_run(run) for run in recording.runs],
        "facts": dict(recording.facts),
    }
    pixels = io.BytesIO()
    recording.picture.save(pixels, "WEBP", quality=QUALITY, method=6)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PICTURE_FILE).write_bytes(pixels.getvalue())
        (folder / RUN_FILE).write_text(json.dumps(found, separators=(",", ":"), ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise InputError(f"The recording cannot be written to {folder}: {error}.") from None


def load_recording(folder: Path) -> Recording:
    """Read the recording in a folder. Raises InputError, with one sentence, for whatever is missing or wrong in it."""
    try:
        with (folder / RUN_FILE).open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError:
        raise InputError(f"There is no recording in {folder}: it has no file {RUN_FILE} that can be read.") from None
    require(len(text) <= MOST_BYTES, f"{RUN_FILE} has more than {MOST_BYTES // 1_000_000} MB")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    require(isinstance(data, dict), f"{RUN_FILE} is not a JSON object")
    require(data.get("schema") == SCHEMA, f"its schema is not {SCHEMA!r}, which this version reads")
    picture = open_image(folder / PICTURE_FILE)
    told = of_kind(data, "picture", dict)
    require(picture.size == (told.get("width"), told.get("height")), "the picture has another size than noted")
    image = unpacked_image(of_kind(data, "image", dict), picture.size)
    runs = tuple(_unpacked_run(run, image) for run in of_kind(data, "runs", list))
    require(len(runs) > 0 and runs[0].answer.method == "baseline", "its first run is not the baseline")
    rounds = {len(values) for run in runs for values in run.repeats.values()}
    require(len(rounds) == 1 and rounds != {0}, "the runs were not repeated equally often")
    return Recording(
        picture=picture,
        model=of_kind(data, "model", str),
        question=of_kind(data, "question", str),
        random_weights=of_kind(data, "random_weights", bool),
        runs=runs,
        facts=of_kind(data, "facts", dict),
        note=of_kind(data, "note", str),
    )


def _packed_run(run: RecordedRun) -> dict[str, Any]:
    answer = run.answer
    return {
        "method": answer.method,
        "title": run.title,
        "settings": run.settings,
        "retention": run.retention,
        "text": answer.text,
        "token_ids": list(answer.token_ids),
        "finished": answer.finished,
        "hint": answer.hint,
        "notes": list(answer.notes),
        "server": list(answer.server),
        "token_ms": [_short(moment) for moment in run.token_ms],
        "texts": list(run.texts),
        "timings": {name: _short(value) for name, value in asdict(answer.timings).items()},
        "repeats": {name: [_short(value) for value in values] for name, values in run.repeats.items()},
        "cost": asdict(answer.cost),
        "tokens_per_layer": answer.trace.tokens_per_layer,
        "visual_tokens_per_layer": answer.trace.visual_tokens_per_layer,
        "attention": answer.trace.attention,
        "cuts": [packed_cut(cut) for cut in answer.trace.images[0].cuts],
    }


def _unpacked_run(data: Mapping[str, Any], image: ImageTrace) -> RecordedRun:
    layers = [_counts(data, name) for name in ("tokens_per_layer", "visual_tokens_per_layer")]
    attention = of_kind(data, "attention", dict)
    require({"vision", "text"} <= attention.keys() and all(type(x) is str for x in attention.values()), "no attention")
    cuts = [unpacked_cut(cut, image.tokens) for cut in of_kind(data, "cuts", list)]
    trace = Trace([replace(image, cuts=cuts)], layers[0], list(layers[1]), attention)
    hint, texts = data.get("hint"), of_kind(data, "texts", list)
    told = {name: data.get(name, []) for name in ("notes", "server")}
    for name, found in told.items():
        require(type(found) is list and all(type(x) is str for x in found), f"{name!r} holds something else than text")
    require(hint is None or type(hint) is str, "'hint' is not text")
    require(bool(texts) and all(type(text) is str for text in texts), "'texts' holds something else than text")
    moments, repeats = numbers_in(data, "token_ms"), of_kind(data, "repeats", dict)
    require(len(moments) == len(texts), "not every token has its time and text")
    answer = Answer(
        text=of_kind(data, "text", str),
        trace=trace,
        timings=Timings(**_figures(data, "timings", Timings)),
        cost=Cost(**_figures(data, "cost", Cost)),
        token_ids=tuple(_counts(data, "token_ids")),
        method=of_kind(data, "method", str),
        finished=of_kind(data, "finished", bool),
        hint=hint,
        notes=tuple(told["notes"]),
        server=tuple(told["server"]),
    )
    return RecordedRun(
        title=of_kind(data, "title", str),
        settings=of_kind(data, "settings", str),
        retention=of_kind(data, "retention", float),
        answer=answer,
        token_ms=moments,
        texts=tuple(texts),
        repeats={name: numbers_in(repeats, name) for name in REPEATED_TIMES},
    )


def _counts(data: Mapping[str, Any], name: str) -> list[int]:
    """A list of whole numbers, at least one. Raises InputError."""
    found = of_kind(data, name, list)
    require(bool(found) and all(type(n) is int and n >= 0 for n in found), f"{name!r} holds something else than counts")
    return found


def _figures(data: Mapping[str, Any], name: str, cls: Any) -> dict[str, Any]:
    """The numbers of Timings or Cost; those that may be unknown may be null, new ones missing. Raises InputError."""
    given, found = of_kind(data, name, dict), dict[str, Any]()
    for one in fields(cls):
        optional = "None" in str(one.type)
        whole = str(one.type).startswith("int")
        empty = optional and given.get(one.name, one.default) is None
        found[one.name] = None if empty else of_kind(given, one.name, int if whole else float)
    return found


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{TIME_DIGITS}g}")
