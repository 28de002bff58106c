"""One HTML file about one question and several methods: pictures, answers, figures and where they come from.

Self-contained: no script, no network (a Content-Security-Policy forbids both), pictures embedded as JPEG. It follows
the reader's light or dark mode and prints on white. Whatever a visitor or a model wrote is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from vscan_core.catalog import MODELS
from vscan_core.draw.fates import Fate, fates
from vscan_core.draw.token_map import token_map
from vscan_core.errors import InputError
from vscan_core.html_style import STYLE
from vscan_core.recording.recorded import RecordedRun, Recording
from vscan_core.report import same_answer, token_steps

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
BY = "\N{MULTIPLICATION SIGN}"
WIDTH, REPORT_QUALITY = 720, 84  # of an embedded picture
CALM_FACTOR = 1.2  # the vision encoder does the same work in every run: beyond this factor, times are not compared
MEANINGS = {
    Fate.GLOBAL: "kept: stands out in the picture as a whole",
    Fate.LOCAL: "kept: stands out in its own neighbourhood",
    Fate.KEPT: "kept",
    Fate.MERGED: "merged into the most similar kept token",
    Fate.DROPPED: "dropped before the language model",
}
TIMED_STAGES = (
    ("vision_ms", "Vision encoder"),
    ("reduce_ms", "Token selection"),
    ("prefill_ms", "Prefill"),
    ("ttft_ms", "First token, in total"),
)


def html_report(recording: Recording, licences: Sequence[str] = ()) -> str:
    """The report as the text of an HTML file; licences: lines beside the model's own, such as that of the picture."""
    title = "Fewer visual tokens, one question"
    card = MODELS.get(recording.model)
    owned = [f"Model {recording.model}: {card.licence}."] if card is not None and card.licence else []
    parts = [
        f"<header><h1>{title}</h1>",
        f'<p class="question" translate="no">{escape(recording.question)}</p>',
        f"<p>{escape(recording.note)}</p>" if recording.note else "",
        f"</header>{_hint(recording)}",
        f'<main><section class="runs">{"".join(_run(recording, run) for run in recording.runs)}</section>',
        _exact(recording),
        _measured(recording),
        _origin(recording),
        _listed("Licences", [*owned, *licences]),
        "</main>",
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{title}: {escape(recording.question)}</title><style>{STYLE}</style>'
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def write_report(recording: Recording, path: Path, licences: Sequence[str] = ()) -> None:
    """Write the report. Raises InputError if the file cannot be written."""
    try:
        path.write_text(html_report(recording, licences), encoding="utf-8")
    except OSError as error:
        raise InputError(f"The report cannot be written to {path}: {error}.") from None


def _hint(recording: Recording) -> str:
    """What the baseline's model says of the picture, how answers came about, and which server gave them."""
    told = [sentence for run in recording.runs for sentence in (*run.answer.notes, *run.answer.server)]
    said = dict.fromkeys([recording.runs[0].answer.hint, *told])
    return "".join(f'<p class="hint">{escape(sentence)}</p>' for sentence in said if sentence)


def _run(recording: Recording, run: RecordedRun) -> str:
    """One method: its picture, its answer, and the fates of its tokens in numbers."""
    answer, image = run.answer, run.answer.trace.images[0]
    found = fates(image)
    drawn = token_map(recording.picture, image, answer.trace.boxes(0), found if image.cuts else None)
    counts = dict.fromkeys([image.tokens, *token_steps(answer)])  # each once: the baseline's stay the same
    steps = " → ".join(f"{count:,}" for count in counts)
    if recording.random_weights:
        text, verdict, kept_as_is = "<em>This model has random weights: its text means nothing.</em>", "", ""
    else:
        text, verdict, kept_as_is = escape(answer.text), _verdict(recording, run), ' translate="no"'
    rows = [(meaning, found.count(fate)) for fate, meaning in MEANINGS.items() if image.cuts and found.count(fate)]
    if found.replaced.any():
        rows.append(("of the kept, places at which the model sees another token", int(found.replaced.sum())))
    rows += [(f"dropped at layer {layer} of the language model", count) for layer, count in found.pruned_at.items()]
    legend = "".join(f"<li>{meaning}: <b>{count:,}</b></li>" for meaning, count in rows)
    what = (
        f"The picture with the {found.kept} of {image.tokens} visual tokens that are left"
        if image.cuts
        else "The picture"
    )
    return (
        f'<article><h2>{escape(run.title)}</h2><img src="{_jpeg(drawn)}" alt="{what}" width="{WIDTH}">'
        f'<p class="answer"{kept_as_is}>{text}</p>{verdict}<p class="steps">Visual tokens: {steps}</p>'
        f"<ul>{legend}</ul></article>"
    )


def _verdict(recording: Recording, run: RecordedRun) -> str:
    """Whether the answer is the baseline's; nothing about a picture that the model does not know."""
    if run is recording.runs[0] or recording.runs[0].answer.hint:
        return ""
    same = same_answer(recording.runs[0].answer, run.answer)
    text = "= the same answer as with all tokens" if same else "≠ another answer than with all tokens"
    return f'<p class="verdict">{text}</p>'


def _exact(recording: Recording) -> str:
    """Figures that are the same in every run."""
    first = recording.runs[0].answer.cost
    rows = []
    for run in recording.runs:
        cost = run.answer.cost
        cells = [f"{cost.visual_tokens:,.1f}", f"{cost.kv_bytes / 1e6:,.2f} MB", f"{cost.tflops:.4g}"]
        if run is not recording.runs[0]:
            pairs = ((first.kv_bytes, cost.kv_bytes), (first.tflops, cost.tflops))
            cells[1:] = [f"{cell} <small>{_fewer(*pair)}</small>" for cell, pair in zip(cells[1:], pairs, strict=True)]
        rows.append((escape(run.title), *cells))
    note = (
        "Counted, not timed: of the tensors that ran, and by formula for the decoder's prefill with causal attention."
    )
    return _table("Exact figures", ("", "Visual tokens per layer, mean", "KV cache", "TFLOPs"), rows, note)


def _fewer(before: float, after: float) -> str:
    return f"{before / after:.1f} {BY} less" if after <= before else f"{after / before:.1f} {BY} more"


def _measured(recording: Recording) -> str:
    """Medians with their ranges; factors only if the machine was calm."""
    rounds = len(recording.runs[0].repeats["ttft_ms"])
    vision = [run.spread("vision_ms")[0] for run in recording.runs]
    busy = max(vision) > CALM_FACTOR * min(vision)
    stages = TIMED_STAGES if all(run.answer.timings.staged for run in recording.runs) else TIMED_STAGES[-1:]
    rows = [(title, *(_range(run, name, " ms") for run in recording.runs)) for name, title in stages]
    decode = [run.answer.timings.decode_ms_per_token for run in recording.runs]
    rows.append(("Each further token", *("\N{EN DASH}" if ms is None else f"{ms:.1f} ms" for ms in decode)))
    if not busy and rounds > 1:
        rows += [(f"Baseline / this: {title.lower()}", *_factors(recording, name)) for name, title in stages[-2:]]
    how = (
        f"Median of {rounds} alternating rounds (least to greatest)." if rounds > 1 else "Single runs, not a benchmark."
    )
    if busy:
        how += (
            f" The vision encoder, the same work in every run, took from {min(vision):.0f} to {max(vision):.0f} ms: "
            "the machine was busy, so times are not compared."
        )
    return _table("Measured", ("", *(escape(run.title) for run in recording.runs)), rows, how)


def _range(run: RecordedRun, name: str, unit: str) -> str:
    median, least, most = run.spread(name)
    return f"{median:.1f}{unit}" + (f" <small>{least:.1f} to {most:.1f}</small>" if least < most else "")


def _factors(recording: Recording, name: str) -> Iterable[str]:
    yield "1"
    for run in recording.runs[1:]:
        median, least, most = recording.ratios(run, name)
        yield f"{median:.1f} {BY} <small>{least:.1f} to {most:.1f}</small>"


def _origin(recording: Recording) -> str:
    """Model, settings, hardware and versions."""
    told = [f"model: {recording.model}"]
    told += [f"{run.title}: {run.settings}" for run in recording.runs if run.settings]
    for name, value in recording.facts.items():
        text = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else str(value)
        told.append(f"{name}: {text}")
    return _listed("Where the figures come from", told)


def _listed(title: str, rows: Sequence[str]) -> str:
    """A section with one line per row, which is escaped."""
    if not rows:
        return ""
    lines = "".join(f"<li>{escape(row)}</li>" for row in rows)
    return f'<section><h2>{title}</h2><ul translate="no">{lines}</ul></section>'


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]], note: str) -> str:
    """A section with a table; cells are HTML."""
    names = "".join(f'<th scope="col">{name}</th>' for name in head)
    lines = (
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    table = f"<table><thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<section><h2>{title}</h2><div class="wide">{table}</div><p class="fine">{note}</p></section>'


def _jpeg(picture: Image.Image) -> str:
    """A data URL."""
    small = picture.copy()
    small.thumbnail((WIDTH, WIDTH * 2), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=REPORT_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
