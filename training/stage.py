"""What every training stage shares: optimisers, learning rate schedule, log, and checkpoints that survive a kill."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import distributed as dist
from torch import nn

RUNS_FOLDER = Path("runs")


def optimisers(modules: list[nn.Module], matrix_rate: float, other_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside a stack of layers, AdamW for embeddings, heads, norms and biases."""
    matrices, others = [], []
    for module in modules:
        for name, weight in module.named_parameters():
            if weight.requires_grad:
                inner = weight.ndim == 2 and "layers." in name
                (matrices if inner else others).append(weight)
    found: list[torch.optim.Optimizer] = []
    if matrices:
        found.append(torch.optim.Muon(matrices, lr=matrix_rate, weight_decay=0.01, momentum=0.95))
    found.append(torch.optim.AdamW(others, lr=other_rate, weight_decay=0.0, betas=(0.9, 0.98)))
    for optimiser in found:
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
    return found


def rate_factor(share: float, flat_until: float = 0.75) -> float:
    """Constant, then a cosine down to 2 % of the rate; `share` is the share of the time used."""
    if share <= flat_until:
        return 1.0
    done = min(1.0, (share - flat_until) / (1 - flat_until))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


@dataclass
class StageRun:
    """One stage in progress: its clock, its log (JSON lines) and its checkpoint."""

    stage: str
    minutes: float
    modules: dict[str, nn.Module]
    optimisers: list[torch.optim.Optimizer]
    flat_until: float = 0.75
    save_every_s: float = 120.0
    step: int = 0
    seconds: float = 0.0
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)
    saved: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def folder(self) -> Path:
        """Folder of this stage's log and checkpoint."""
        return RUNS_FOLDER / self.stage

    @property
    def elapsed(self) -> float:
        """Seconds of training, over all resumptions."""
        return self.seconds + self.clock() - self.started

    @property
    def share(self) -> float:
        """Share of the planned time used so far."""
        return self.elapsed / (60 * self.minutes)

    def resume(self) -> bool:
        """Load the checkpoint of this stage if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, weights_only=False)
        for name, module in self.modules.items():
            module.load_state_dict(state[name])
        for optimiser, values in zip(self.optimisers, state["optimisers"], strict=True):
            rates = [group["initial_lr"] for group in optimiser.param_groups]
            optimiser.load_state_dict(values)
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["initial_lr"] = rate  # the rate is the code's, not the checkpoint's
        self.step, self.seconds = state["step"], state["seconds"]
        return True

    def save(self) -> None:
        """Write the checkpoint beside the old one, then swap: a kill never leaves half a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state: dict = {name: module.state_dict() for name, module in self.modules.items()}
        state |= {"optimisers": [o.state_dict() for o in self.optimisers], "step": self.step, "seconds": self.elapsed}
        torch.save(state, self.folder / "checkpoint.tmp")
        os.replace(self.folder / "checkpoint.tmp", self.folder / "checkpoint.pt")
        self.saved = time.monotonic()

    def log(self, **values: float | torch.Tensor) -> None:
        """One line of JSON to the log and to the screen."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = {"stage": self.stage, "step": self.step, "seconds": round(self.elapsed)}
        line |= {key: round(value.item() if torch.is_tensor(value) else value, 4) for key, value in values.items()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    def advance(self, loss: torch.Tensor, clip: float = 1.0) -> None:
        """Backward, average over processes, clip, step at the scheduled rate, save when due."""
        loss.backward()
        average_gradients(self.optimisers)
        factor = rate_factor(self.share, self.flat_until) * min(1.0, (self.step + 1) / 50)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * factor
            weights = [w for group in optimiser.param_groups for w in group["params"]]
            nn.utils.clip_grad_norm_(weights, clip)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        if time.monotonic() - self.saved > self.save_every_s and rank() == 0:
            self.save()


def rank() -> int:
    """Number of this process, 0 when there is only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def broadcast_value(value: float) -> float:
    """The value of process 0, so that all processes stop at the same step."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(shared, 0)
    return float(shared)


def average_gradients(found: list[torch.optim.Optimizer]) -> None:
    """One all-reduce over all gradients, concatenated; does nothing in a single process."""
    if not dist.is_initialized():
        return
    weights = [w for o in found for group in o.param_groups for w in group["params"]]
    flat = torch.cat([w.new_zeros(w.numel()) if w.grad is None else w.grad.flatten() for w in weights])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for weight, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True):
        weight.grad = part.view_as(weight)
