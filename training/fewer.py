"""What fewer visual tokens cost this model, whatever the method: python -m training.fewer --scenes 50 --seed 70000.

Tokens are chosen by CLS attention of the tower's last layer or at random; the others are dropped before
the language model. This is no VScan, only a floor to compare methods with.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import numpy as np
import torch

from training.answering import exact, forward
from training.packing import TOKENS, pack
from training.plain import load
from training.seeing import see
from training.stage_projector import WHOLE
from training.stage_vision import LAST, drawn
from vscan_core.world.questions import TYPES, draw_questions
from vscan_core.world.scene import sample_scene

MIX = {kind: 1.0 for kind in TYPES if kind not in ("sign", "describe")}
BUDGETS = (576, 192, 128, 64)


@torch.inference_mode()
def measure(folder: str, scenes: int, seed: int) -> dict[tuple[str, str, int], float]:
    """Share of exact answers by (choice, positions, kept tokens)."""
    model, _ = load(folder)
    hits: dict[tuple[str, str, int], list[bool]] = defaultdict(list)
    for number in range(seed, seed + scenes):
        packed = pack([draw_questions(sample_scene(number), MIX, 16, np.random.default_rng(number))])
        patches = torch.from_numpy(drawn(number)[1])[None]
        seen = see(model.model.vision_tower, patches, WHOLE[None], watched=(LAST,))
        visual = model.model.multi_modal_projector(seen.patches)
        chance = torch.rand(TOKENS, generator=torch.Generator().manual_seed(number))
        for choice, score in (("cls", seen.attention[LAST][0]), ("random", chance)):
            for keep in BUDGETS:
                kept = score.topk(keep).indices.sort().values
                for positions, gaps in (("original", kept[None]), ("renumbered", None)):
                    right = exact(forward(model, packed, visual[:, kept], gaps), packed)
                    hits[choice, positions, keep] += [hit for found in right.values() for hit in found]
    return {case: float(np.mean(found)) for case, found in hits.items()}


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="assets/mini")
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=70_000)
    arguments = parser.parse_args()
    for (choice, positions, keep), share in measure(arguments.model, arguments.scenes, arguments.seed).items():
        print(f"{choice:7} {positions:11} {keep:4} tokens: {share:.3f}")


if __name__ == "__main__":
    main()
