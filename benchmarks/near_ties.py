"""Near ties: how many kept tokens change if every signal of a method changes in its seventh digit.

python -m benchmarks.near_ties [--pictures 20] [--out assets/recorded/near-ties-cpu.json]

The signals are those of the embedded model on drawn pictures; each number x becomes x (1 + 1e-7 n) with n from the
standard normal distribution: the size of a rounding error of float32.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import vscan_core as vc
from benchmarks.provenance import write_record
from vscan_core.bench.record import provenance
from vscan_eval.command import task_named
from vscan_eval.task import Item

RELATIVE_NOISE = 1e-7
TRIED_RETENTIONS = (1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6)  # the smallest that a method can keep to
NOISE_FREE = ("indices", "places", "joint_patches", "joint_text")  # whole numbers, and what this model has not
FRAMES_OF_A_VIDEO = 4  # pictures that make the video of a method for videos


@dataclass
class Changes:
    """What noise changed in the choices of one method, of each picture."""

    kept: list[int] = field(default_factory=list)  # tokens, at all cuts
    changed: list[int] = field(default_factory=list)  # of these, not kept with noise
    moved: list[int] = field(default_factory=list)  # tokens dropped in both cases that are merged elsewhere

    def begin(self) -> None:
        """The next picture."""
        for counts in (self.kept, self.changed, self.moved):
            counts.append(0)

    def note(self, one: vc.Selection, other: vc.Selection) -> None:
        """A choice, and the same with noise."""
        self.kept[-1] += len(one.kept)
        self.changed[-1] += int((~torch.isin(one.kept, other.kept)).sum())
        if one.merged_into is not None and other.merged_into is not None:
            both = (one.merged_into >= 0) & (other.merged_into >= 0)
            self.moved[-1] += int((one.merged_into[both] != other.merged_into[both]).sum())


def with_noise(signals: vc.Signals, make: torch.Generator) -> vc.Signals:
    """The same signals, each number with its own relative noise."""

    def noisy(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {layer: noisy(rows) for layer, rows in value.items()}
        if not isinstance(value, Tensor):
            return value
        drawn = torch.randn(value.shape, generator=make, dtype=torch.float64)
        return (value.double() * (1 + RELATIVE_NOISE * drawn)).to(value.dtype)

    return replace(signals, **{one.name: noisy(getattr(signals, one.name)) for one in fields(signals)
                               if one.name not in NOISE_FREE})  # fmt: skip


def noting_changes(method: type[vc.Reducer], changes: Changes, make: torch.Generator) -> type[vc.Reducer]:
    """The method, which notes at every cut what it would have chosen with noise."""

    class Compared(method):  # type: ignore[misc, valid-type]
        def select_tiles(self, tiles: vc.Signals, keep: int) -> list[vc.Selection]:
            found: list[vc.Selection] = super().select_tiles(tiles, keep)
            for one, other in zip(found, super().select_tiles(with_noise(tiles, make), keep), strict=True):
                changes.note(one, other)
            return found

        def select_in_llm(self, signals: vc.Signals, keep: int) -> vc.Selection:
            found: vc.Selection = super().select_in_llm(signals, keep)
            changes.note(found, super().select_in_llm(with_noise(signals, make), keep))
            return found

    return Compared


def within_budget(method: type[vc.Reducer], anatomy: vc.Anatomy, frames: int = 1) -> vc.Reducer:
    """The method at the smallest retention that it can keep to; of a video, at least one whole frame."""
    for retention in TRIED_RETENTIONS:
        reducer = method(retention=retention)
        try:
            reducer.schedule(576, anatomy)
        except vc.InputError:
            continue
        if retention * frames >= 1 or frames == 1:
            return reducer
    raise vc.InputError(f"{method.title} has no retention that this model allows")


@torch.no_grad()
def measure_method(lvlm: vc.LVLM, name: str, items: Sequence[Item]) -> dict[str, Any]:
    """One row of the table."""
    changes, make, frames = Changes(), torch.Generator().manual_seed(0), 1
    method = noting_changes(vc.REDUCERS[name], changes, make)
    if vc.REDUCERS[name]().sees_all_tiles:
        frames = FRAMES_OF_A_VIDEO
    reducer = within_budget(method, lvlm.anatomy, frames)
    for some in groups_of(items, frames):
        changes.begin()
        let_choose(lvlm, reducer, some)
    return {
        "method": name,
        "retention": round(reducer.retention, 4),
        "kept": statistics.mean(changes.kept),
        "changed": {"mean": statistics.mean(changes.changed), "max": max(changes.changed)},
        "pictures_changed": sum(count > 0 for count in changes.changed),
        "moved": {"mean": statistics.mean(changes.moved), "max": max(changes.moved)},
        "pictures": len(changes.kept),
    }


def groups_of(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """`size` items at a time; what is left over is left out."""
    return (items[at : at + size] for at in range(0, len(items) - size + 1, size))


def let_choose(lvlm: vc.LVLM, reducer: vc.Reducer, some: Sequence[Item]) -> None:
    """Let the method choose of one picture, or of several as the frames of a video."""
    demands = reducer.demands(lvlm.anatomy)
    if not demands.entrance_only:
        with vc.reduced(lvlm.model, reducer):
            lvlm.model(**lvlm.inputs(some[0].open(), some[0].question))
        return
    # a method that merges in the encoder is asked once, with the keys of its last block
    needs = vc.Needs(keys=True) if demands.merges_in_encoder else demands.needs
    tiles = vc.Signals.together([lvlm.preview(one.open(), needs, one.question).signals for one in some])
    keep = reducer.at_entrance(576, lvlm.anatomy)
    assert keep is not None
    reducer.select_tiles(replace(tiles, video=demands.whole_video), keep)


def near_ties_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown."""
    head = "| method | retention | kept | changed: mean (most) | in pictures | merged elsewhere: mean (most) |"
    lines = [head, "|---|--:|--:|--:|--:|--:|"]
    for row in rows:
        changed, moved = (f"{row[what]['mean']:.3g} ({row[what]['max']})" for what in ("changed", "moved"))
        pictures = f"{row['pictures_changed']} of {row['pictures']}"
        lines.append(
            f"| `{row['method']}` | {row['retention']:.3g} | {row['kept']:.4g} | {changed} | {pictures} | {moved} |"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    lvlm, of_picture = vc.load_model("mini", device="cpu"), dict[str, Item]()
    for item in task_named("world", None, None).chosen():
        of_picture.setdefault(item.picture, item)
    items = list(of_picture.values())[: options.pictures]
    rows, refused = [], {}
    for name in (name for name, method in vc.REDUCERS.items() if method().unsure_below is None):
        try:
            lvlm.family.check(vc.REDUCERS[name](retention=1.0).needs(lvlm.anatomy))
            rows.append(measure_method(lvlm, name, items))
        except vc.InputError as reason:
            refused[name] = str(reason)
    print(near_ties_table(rows))
    command = f"python -m benchmarks.near_ties --pictures {options.pictures}"
    write_record({**provenance(command), "noise": RELATIVE_NOISE, "rows": rows, "refused": refused}, options.out)


if __name__ == "__main__":
    main()
