"""Fit and measure the out-of-distribution check: python -m training.calibrate --model assets/mini --photographs DIR.

Landmarks come from training scenes, the limit from held-out scenes, the false-alarm rate from other held-out scenes.
Pictures from outside the drawn world are only used to measure, never to set anything.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoProcessor, LlavaForConditionalGeneration

from training.out_of_distribution import out_of_distribution
from training.reference_model import load
from vscan_core.checkpoints import hashes
from vscan_core.ood import OODReference, is_out_of_distribution, ood_distance
from vscan_eval.world.drawing import draw_scene
from vscan_eval.world.scene import sample_scene

LANDMARKS = 192
K_MEANS_STEPS = 12
QUANTILE = 0.99
FIT, LIMIT, CHECK = range(5_000_000, 5_000_150), range(20_000, 20_300), range(30_000, 30_300)


@torch.inference_mode()
def features(model: LlavaForConditionalGeneration, processor: AutoProcessor, picture: Image.Image) -> Tensor:
    """(576, dim): the tower's output for one picture, CLS removed."""
    pixels = processor.image_processor(picture, return_tensors="pt")["pixel_values"]
    out = model.model.vision_tower(pixels, output_hidden_states=True)
    return out.hidden_states[model.config.vision_feature_layer][0, 1:]


def of_scenes(model: LlavaForConditionalGeneration, processor: AutoProcessor, seeds: range) -> list[Tensor]:
    """Features of drawn scenes."""
    return [features(model, processor, Image.fromarray(draw_scene(sample_scene(seed)).pixels)) for seed in seeds]


def k_means(points: Tensor, count: int, seed: int = 0) -> Tensor:
    """k-means: (points, dim) -> centres (count, dim)."""
    generator = torch.Generator().manual_seed(seed)
    centres = points[torch.randperm(len(points), generator=generator)[:count]].clone()
    for _ in range(K_MEANS_STEPS):
        owner = torch.cdist(points, centres).argmin(1)
        for index in owner.unique():
            centres[index] = points[owner == index].mean(0)
    return centres


def fit(known: list[Tensor], usual: list[Tensor]) -> OODReference:
    """Landmarks from `known` pictures (tokens, dim); the limit from the distances of `usual` ones."""
    every = torch.cat(known)[::3]
    centre, scale = every.mean(0), every.std(0)
    draft = OODReference(k_means((every - centre) / scale, LANDMARKS), centre, scale, 0.0)
    seen = np.array([ood_distance(picture, draft) for picture in usual])
    return OODReference(draft.landmarks, centre, scale, float(np.quantile(seen, QUANTILE) * 1.1))


def main() -> None:
    """Fit, save beside the weights, print alarm rates as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="assets/mini")
    parser.add_argument("--photographs", type=Path)
    arguments = parser.parse_args()
    model, processor = load(arguments.model)
    fit(of_scenes(model, processor, FIT), of_scenes(model, processor, LIMIT)).save(arguments.model)
    hashes.write(arguments.model)  # of the new reference, too
    reference = OODReference.load(arguments.model)
    assert reference is not None
    checked = of_scenes(model, processor, CHECK)
    report = {"known scenes": _rates([is_out_of_distribution(f, reference) for f in checked])}
    for kind, pictures in out_of_distribution(40, arguments.photographs).items():
        report[kind] = _rates([is_out_of_distribution(features(model, processor, p), reference) for p in pictures])
    print(json.dumps(report, indent=1))


def _rates(alarms: list[bool]) -> dict[str, float]:
    return {"n": len(alarms), "alarms": sum(alarms), "rate": round(sum(alarms) / len(alarms), 3)}


if __name__ == "__main__":
    main()
