"""From answers to figures: accuracy with its interval, overall and per kind, beside guessing and the dense model."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from vscan_eval.downsample_filter import FILTERING_METHOD, downsampling_filter
from vscan_eval.records import AnswerRecord
from vscan_eval.replies import Condition
from vscan_eval.statistics import interval, p_value
from vscan_eval.task import Item, Task, majority

FILTER_GROUPS = {"difficult": "downsample fails", "simple": "downsample is right"}


def summarise(
    task: Task,
    items: Sequence[Item],
    condition: Condition,
    records: Sequence[AnswerRecord],
    dense: Sequence[AnswerRecord] | None = None,
    downsample: Sequence[AnswerRecord] | None = None,
) -> dict[str, Any]:
    """Figures as JSON types. `records` answer `items`, in the same order.

    dense: Answers of the baseline, if measured. downsample: Of `downsample` at the same retention, if measured.
    `by_group` joins the kinds that the task reports together, as "location" (where is it) in the drawn world.
    `majority` is what the most frequent answer of each kind would score on these questions; `relative` is the accuracy
    divided by the dense model's, `p_value` that of the paired test against it; `downsampling_filter` is what the
    function of this name returns, None without both others, and for `downsample` itself, which decides the groups.
    """
    guesses = majority(task, items)
    found: dict[str, Any] = {
        "method": condition.name,
        "settings": condition.settings,
        "retention": None if condition.reducer is None else condition.reducer.retention,
        "kept_tokens_mean": _tokens(records),
        "pictures": len({record.picture for record in records}),
        **_part(records, [record.score for record in records], guesses),
        "by_type": {
            kind: _part(mine, [record.score for record in mine], guesses) for kind, mine in _by_kind(records).items()
        },
        "by_group": by_group(task, items, [record.score for record in records]),
        "figures": task.figures([(item, record.reply) for item, record in zip(items, records, strict=True)]),
    }
    found["downsampling_filter"] = None
    if dense is not None:
        scores, others = [record.score for record in records], [record.score for record in dense]
        pictures, base = [record.picture for record in records], fmean(others)
        found["relative"] = found["accuracy"] / base if base else None
        found["p_value"] = p_value(scores, others, pictures)
        if downsample is not None and condition.name != FILTERING_METHOD:
            smaller = [record.score for record in downsample]
            found["downsampling_filter"] = downsampling_filter(scores, others, smaller, pictures)
    return found


def by_group(task: Task, items: Sequence[Item], scores: Sequence[float]) -> dict[str, dict[str, Any]]:
    """{group of kinds: n, accuracy, interval and majority, as for a kind}; a group that was not asked is left out."""
    guesses, found = majority(task, items), {}
    for name, kinds in task.groups.items():
        chosen = [(item, score) for item, score in zip(items, scores, strict=True) if item.kind in kinds]
        if chosen:
            found[name] = _part([item for item, _ in chosen], [score for _, score in chosen], guesses)
    return found


def results_table(task: Task, rows: Sequence[dict[str, Any]]) -> str:
    """A table for the terminal; `rows` are summaries over the same questions, the requested one first.

    Each row also holds its `command`, as `rerun.command_again` writes it.
    """
    first, *others = rows
    asked = "second turns" if task.second_turn else "questions"
    lines = [
        f"{task.name}: {first['n']:,} {asked} about {first['pictures']:,} pictures, {task.metric}; "
        "95 % intervals, pictures resampled",
        f"{'':22} {'tokens':>7} {'accuracy':>9}  {'interval':11}  {'of dense':>8}  p",
    ]
    for row in rows:
        versus = f"{row['relative']:8.1%}  {row['p_value']:.2g}" if row.get("relative") is not None else ""
        shown = f"{_label(row):22} {row['kept_tokens_mean']:7.1f} {row['accuracy']:9.3f}  {_span(row)}  {versus}"
        lines.append(shown.rstrip())
    lines.append(f"{'majority answer':22} {'':7} {first['majority']:9.3f}")
    lines += [f"{name}: {value:.3f}" for name, value in first["figures"].items()]
    names = "".join(f"{_label(row):>18}" for row in others)
    lines += ["", f"{'kind':14} {'n':>5} {_label(first):>18} {'interval':11}{names}{'majority':>10}"]
    kinds = [first["by_type"] | first["by_group"], *(row["by_type"] | row["by_group"] for row in others)]
    for kind, part in kinds[0].items():
        beside = "".join(f"{row[kind]['accuracy']:18.3f}" for row in kinds[1:])
        lines.append(f"{kind:14} {part['n']:5} {part['accuracy']:18.3f} {_span(part)}{beside}{part['majority']:10.3f}")
    lines += ["", *_filter_lines(rows), "", "each row again:", *(str(row["command"]) for row in rows)]
    return "\n".join(lines)


def _filter_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The downsampling filter as a table, and why there is none or why a cell is empty."""
    filtered = [row for row in rows if row.get("downsampling_filter")]
    if not filtered:
        return ["downsampling filter: not applied; it needs a method besides downsample, and a run without --alone"]
    groups = filtered[0]["downsampling_filter"]
    heads = [f"{groups[name]['n']:,} {words}" for name, words in FILTER_GROUPS.items()]
    known = groups["difficult"]["n"] + groups["simple"]["n"]
    lines = [
        f"downsampling filter: the {known:,} questions that the baseline answers, by whether downsample at the same "
        "retention does;",
        "and on all questions, how many only the method gets right, how many only downsample, and p of the difference",
        f"{'':22} {heads[0]:>22} {heads[1]:>22}  {'only it':>7} {'only downsample':>15}  p",
    ]
    for row in filtered:
        found = row["downsampling_filter"]
        cells = " ".join(f"{_filter_cell(found[name]):>22}" for name in FILTER_GROUPS)
        paired = found["against_downsample"]
        counts = f"{paired['only_method']:7} {paired['only_downsample']:15}  {paired['p_value']:.2g}"
        lines.append(f"{_label(row):22} {cells}  {counts}")
    few = {words: groups[name]["too_few"] for name, words in FILTER_GROUPS.items() if groups[name]["too_few"]}
    return lines + [f"- where {words}: {reason}" for words, reason in few.items()]


def _filter_cell(part: dict[str, Any]) -> str:
    return "-" if part["too_few"] else f"{part['accuracy']:.3f} {_span(part)}"


def _part(
    asked: Sequence[Item] | Sequence[AnswerRecord], scores: Sequence[float], guesses: dict[str, float]
) -> dict[str, Any]:
    return {
        "n": len(asked),
        "accuracy": fmean(scores),
        "interval": list(interval(scores, [one.picture for one in asked])),
        "majority": fmean(guesses[one.id] for one in asked),
    }


def _by_kind(records: Sequence[AnswerRecord]) -> dict[str, list[AnswerRecord]]:
    found: dict[str, list[AnswerRecord]] = {}
    for record in records:
        found.setdefault(record.kind, []).append(record)
    return dict(sorted(found.items()))


def _tokens(records: Sequence[AnswerRecord]) -> float:
    """Mean over pictures of the visual tokens per decoder layer."""
    return fmean({record.picture: record.visual_tokens for record in records}.values())


def _label(row: dict[str, Any]) -> str:
    return str(row["method"]) if row["retention"] is None else f"{row['method']} {row['retention']:.3g}"


def _span(part: dict[str, Any]) -> str:
    low, high = part["interval"]
    return f"{low:.3f}-{high:.3f}"
