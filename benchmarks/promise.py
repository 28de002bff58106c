"""How few visual tokens keep a promise: the answer is that of all tokens in at least 95 % of cases.

python -m benchmarks.promise [--limit 2000] [--seed 70000]

On questions of the drawn world from --seed, a cascade's first share and margin are chosen, and a fixed retention of
VScan in the same way: the fewest tokens for which the 95 % interval of the share of changed answers (bootstrap over
pictures) ends at 5 % or below; and once more by the share alone. All are then held to the promise on the frozen
questions, where nothing was chosen.
Writes assets/recorded/promise_mini.json, with every margin and every changed answer.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import vscan_core as vc
from benchmarks.accuracy import model_provenance
from benchmarks.derived import rounded
from benchmarks.provenance import write_record
from vscan_core.picture_encoder import PictureEncoder
from vscan_eval.command import task_named
from vscan_eval.replies import DENSE, Condition, Prompt, PromptBatch, Reply
from vscan_eval.runner import batches, default_batch
from vscan_eval.statistics import interval
from vscan_eval.task import Item, Task

PROMISED = 0.05  # the largest share of changed answers
RULES = ("interval", "share")  # what of it must not be larger on the questions to choose on
FIRST_READING = "first "  # before the names of first readings
FIRST_SHARES = {"1/36": 1 / 36, "1/24": 1 / 24, "1/18": 1 / 18, "1/12": 1 / 12}
FIXED_SHARES = {"1/9": 1 / 9, "1/6": 1 / 6, "2/9": 2 / 9, "1/3": 1 / 3, "1/2": 1 / 2}
RECORD = Path("assets/recorded/promise_mini.json")

Cases = Mapping[str, Any]  # {"tokens": of one reading, "changed": "0110...", "margins": of first readings}


def conditions() -> dict[str, Condition]:
    """Every reading that is measured, by name."""
    first = {FIRST_READING + name: vc.REDUCERS["cascade"](share).first_reading for name, share in FIRST_SHARES.items()}
    one = {f"one cut {name}": vc.VScan(share).without_later_cuts() for name, share in FIXED_SHARES.items()}
    two = {f"two cuts {name}": vc.VScan(share) for name, share in FIXED_SHARES.items()}
    return {DENSE: Condition(DENSE)} | {
        name: Condition("vscan", method) for name, method in (first | one | two).items()
    }


def replies_to(
    lvlm: vc.LVLM, task: Task, items: Sequence[Item], asked: Mapping[str, Condition]
) -> dict[str, list[Reply]]:
    """Replies to all items, in their order, for every condition."""
    encoder = PictureEncoder(lvlm, [condition.reducer for condition in asked.values()])
    found: dict[str, dict[str, Reply]] = {name: {} for name in asked}
    for group in batches(items, lvlm.family.one_row_per_picture, default_batch(lvlm)):
        pictures = {item.picture: item.open() for item in {item.picture: item for item in group}.values()}
        prompts = PromptBatch(lvlm, [Prompt(pictures[item.picture], task.prompt(item)) for item in group], encoder)
        for name, condition in asked.items():
            replies = prompts.replies(condition, task.max_new_tokens)
            found[name] |= zip((item.id for item in group), replies, strict=True)
    return {name: [replies[item.id] for item in items] for name, replies in found.items()}


def cases(replies: Mapping[str, Sequence[Reply]]) -> dict[str, Cases]:
    """What is recorded of every reading but the dense one."""
    dense = [reply.text for reply in replies[DENSE]]
    return {
        name: {
            "tokens": sum(reply.visual_tokens for reply in found) / len(found),
            "changed": "".join(str(int(reply.text != all_)) for reply, all_ in zip(found, dense, strict=True)),
            "margins": [round(reply.margin, 3) for reply in found] if name.startswith(FIRST_READING) else [],
        }
        for name, found in replies.items()
        if name != DENSE
    }


def outcome(case: Cases, pictures: Sequence[str], all_tokens: int, margin: float) -> dict[str, Any]:
    """What a cascade with this first reading does; margin 0: the reading alone."""
    again = [found < margin for found in case["margins"]] or [False] * len(case["changed"])
    changed = [float(mark == "1" and not twice) for mark, twice in zip(case["changed"], again, strict=True)]
    return {
        "changed": sum(changed) / len(changed),
        "interval": interval(changed, pictures),
        "read_again": sum(again) / len(again),
        "tokens": case["tokens"] + all_tokens * sum(again) / len(again),
    }


def least_margin(case: Cases, keeps: Callable[[float], bool]) -> float:
    """The smallest margin that keeps the promise: fewer answers change the larger it is."""
    steps = [0.0, *(margin + 0.001 for margin in sorted(set(case["margins"])))]
    low, high = 0, len(steps) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(steps[middle]) else (middle + 1, high)
    return float(round(steps[low], 3))


def kept(result: Mapping[str, Any], rule: str) -> bool:
    """Whether a share of changed answers keeps the promise: by itself ("share"), or with its 95 % interval."""
    found: float = result["interval"][1] if rule == "interval" else result["changed"]
    return found <= PROMISED


def fewest_tokens(part: Mapping[str, Any], all_tokens: int, rule: str) -> dict[str, dict[str, Any]]:
    """The cascade and the fixed reading with the fewest tokens that keep the promise on these questions."""
    everything = {"changed": 0.0, "interval": [0.0, 0.0], "read_again": 0.0, "tokens": all_tokens}
    best: dict[str, dict[str, Any]] = {
        kind: {"reading": DENSE, "margin": 0.0, "calibration": everything} for kind in ("cascade", "fixed")
    }
    for name, case in part["cases"].items():

        def result(margin: float, case: Cases = case) -> dict[str, Any]:
            return outcome(case, part["pictures"], all_tokens, margin)

        cascade = name.startswith(FIRST_READING)
        margin = least_margin(case, lambda margin, result=result: kept(result(margin), rule)) if cascade else 0.0
        made, kind = result(margin), "cascade" if cascade else "fixed"
        if kept(made, rule) and made["tokens"] < best[kind]["calibration"]["tokens"]:
            best[kind] = {"reading": name, "margin": margin, "calibration": made}
    return best


def promise(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with what follows from its cases: by both rules, what is chosen and how it does where it was not."""
    return rounded({**record, "chosen": {rule: _held(record, rule) for rule in RULES}})  # type: ignore[no-any-return]


def _held(record: Mapping[str, Any], rule: str) -> dict[str, Any]:
    chosen, test = fewest_tokens(record["calibration"], record["all_tokens"], rule), record["held_out"]
    for each in chosen.values():
        case = test["cases"].get(each["reading"])
        result = outcome(case, test["pictures"], record["all_tokens"], each["margin"]) if case else each["calibration"]
        each["held_out"] = result
    fixed, cascade = (chosen[kind]["held_out"]["tokens"] for kind in ("fixed", "cascade"))
    return {**chosen, "fewer_tokens": 1 - cascade / fixed}


def main(argv: list[str] | None = None) -> None:
    """Measure both sets of questions, or with --derive work out the record anew from its cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=2000, help="questions of each set")
    parser.add_argument("--seed", type=int, default=70000, help="of the questions to choose on")
    parser.add_argument("--derive", action="store_true", help="only choose again, from the cases in the record")
    parser.add_argument("--out", type=Path, default=RECORD)
    options = parser.parse_args(argv)
    if options.derive:
        write_record(promise(json.loads(options.out.read_text())), options.out)
        return
    lvlm, command = vc.load_model("mini"), " ".join(["python -m benchmarks.promise", *(argv or sys.argv[1:])])
    found: dict[str, Any] = {**model_provenance(lvlm, command), "promised": PROMISED, "all_tokens": 576}
    for part, seed in (("calibration", options.seed), ("held_out", None)):
        task = task_named("world", None, seed)
        items = task.chosen(options.limit)
        made = cases(replies_to(lvlm, task, items, conditions()))
        found[part] = {"seed": seed, "n": len(items), "pictures": [item.picture for item in items], "cases": made}
    write_record(promise(found), options.out)


if __name__ == "__main__":
    main()
