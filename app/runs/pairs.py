"""What pairs of runs say about speed: medians with their range, or that nothing can be said on a busy machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from vscan_core.events import Timings

from ..session.turn import Pair

ENOUGH_PAIRS = 3  # for a factor in large type
SAME_WORK = 1.2  # the vision encoder's time in both runs of a pair, at most
STEADY = 2.0  # the baseline's prefill is the same work in every pair, and so is the ratio: largest to smallest, at most
EXPLAINED = 1.05  # a factor beyond that of its FLOPs gets a comment


@dataclass(frozen=True)
class Spread:
    """A median and the smallest and largest value."""

    median: float
    low: float
    high: float

    @property
    def unsteady(self) -> bool:
        """Whether the values differ too much to be called one."""
        return self.high > STEADY * self.low


@dataclass(frozen=True)
class PairsSummary:
    """What all pairs say. Ratios are baseline to reduced: above 1 is faster."""

    count: int
    prefill: Spread  # ratio of prefill with selection
    first_token: Spread  # ratio of the time to the first token
    first_ms: tuple[Spread, Spread]  # (baseline, reduced)
    same_work_ms: Spread  # prefill of the baseline
    staged: bool  # False: a server answered, and "prefill" is all that passes before the first token
    vision: float  # the largest ratio of the vision encoder's times within a pair; 1 if a method changes the encoder

    @property
    def busy(self) -> bool:
        """Whether something else kept this machine busy, so that no factor can be given."""
        return self.vision > SAME_WORK or self.same_work_ms.unsteady or self.prefill.unsteady

    @property
    def enough(self) -> bool:
        """Whether there are pairs enough for a median that means something."""
        return self.count >= ENOUGH_PAIRS

    def beyond(self, flops: float) -> bool:
        """Whether the prefill is faster than `flops` times fewer FLOPs explain."""
        return self.prefill.median > EXPLAINED * flops


def pairs_summary(pairs: Sequence[Pair]) -> PairsSummary | None:
    """Medians over the pairs; None if there are none."""
    if not pairs:
        return None

    def over(value: Callable[[Pair], float]) -> Spread:
        values = [value(pair) for pair in pairs]
        return Spread(median(values), min(values), max(values))

    return PairsSummary(
        len(pairs),
        over(lambda pair: pair.baseline.prefill_and_reduce_ms / pair.reduced.prefill_and_reduce_ms),
        over(lambda pair: pair.baseline.ttft_ms / pair.reduced.ttft_ms),
        (over(lambda pair: pair.baseline.ttft_ms), over(lambda pair: pair.reduced.ttft_ms)),
        over(lambda pair: pair.baseline.prefill_ms),
        all(one.staged for pair in pairs for one in (pair.baseline, pair.reduced)),
        max(_vision_ratio(pair.baseline, pair.reduced) for pair in pairs),
    )


def median_stages(pairs: Sequence[Pair]) -> tuple[dict[str, float], dict[str, float]]:
    """Milliseconds of vision, selection and prefill, as medians over at least one pair: (baseline, reduced).

    Where the picture was encoded once for both, the vision encoder has one time. Of a server, only the first token is
    known.
    """
    both = [[pair.baseline for pair in pairs], [pair.reduced for pair in pairs]]
    if not all(one.staged for runs in both for one in runs):
        first = [{"first": median(one.ttft_ms for one in runs)} for runs in both]
        return first[0], first[1]
    shared = all(one.vision_shared for runs in both for one in runs)
    found = []
    for runs in both:
        seen = [*both[0], *both[1]] if shared else runs
        found.append({
            "vision": median(one.vision_ms for one in seen),
            "reduce": median(one.reduce_ms for one in runs),
            "prefill": median(one.prefill_ms for one in runs),
        })  # fmt: skip
    return found[0], found[1]


def _vision_ratio(one: Timings, other: Timings) -> float:
    """How much the times of the vision encoder differ, as a factor of at least 1."""
    if one.vision_shared != other.vision_shared:  # a method changes the encoder: not the same work
        return 1.0
    low, high = sorted((one.vision_ms, other.vision_ms))
    return high / low if low > 0 else 1.0
