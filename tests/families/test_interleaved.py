"""Two answers that take turns on one model: each says what it says alone, for every family and from any thread."""

from __future__ import annotations

import threading

import pytest
import torch

import vscan_core as vc
from tests.families import lvlms
from tests.families.test_preview import noise

NAMES = list(lvlms.MAKERS)
PICTURES = [(90, 84), (60, 150)]
METHODS = [(vc.VScan(0.4), None), (vc.VScan(0.4), vc.VScan(0.7))]


def run(lvlm, i, method):
    return vc.answer(lvlm, noise(PICTURES[i]), f"word{5 + i} word9", method, max_new_tokens=5)


def outcome(event) -> tuple:
    trace = event.answer.trace
    return event.answer.token_ids, trace.visual_tokens_per_layer, [len(image.kept) for image in trace.images]


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("methods", METHODS, ids=["reduced and whole", "two retentions"])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_two_answers_in_turns(name, methods, threads) -> None:
    lvlm = lvlms.lvlm(name)
    alone = []
    for i, method in enumerate(methods):
        *_, done = run(lvlm, i, method)
        alone.append(outcome(done))
    runs, together = [run(lvlm, i, method) for i, method in enumerate(methods)], {}

    def step(i: int) -> None:
        if isinstance(event := next(runs[i], None), vc.Done):
            together[i] = outcome(event)

    for _ in range(9):
        for i in range(2):
            if threads:
                worker = threading.Thread(target=step, args=(i,))
                worker.start()
                worker.join()
            else:
                step(i)
    assert [together[0], together[1]] == alone
