"""What mattered: one region of the picture after the other is left out, and a heat map shows what that does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from time import monotonic
from typing import Any

import gradio as gr
import torch

from vscan_core.catalog import is_random
from vscan_core.errors import InputError
from vscan_core.what_mattered import RegionsLeftOut, WhatMattered

from ..session.session import Session
from ..session.sources import OpenedSource
from ..stage.view import RegionScore, StageView
from ..ui.errors import TOAST, explained
from ..ui.messages import MEANINGLESS_TEXT, WAITING
from .asked import CompareSettings, ShownComparison, chosen_settings
from .token_panel import TokenPanel

ViewOf = Callable[[OpenedSource, CompareSettings, ShownComparison | None], StageView]

MOST_S = 60.0  # seconds for which one visitor may keep all others waiting
TOLD_EVERY_S = 0.3  # the browser takes up to 0.1 s to show a step; Stop waits for the next
LONGEST_SAID = 40  # characters of an answer that is repeated in a sentence
LEAVING_OUT = "Leaving out one region of the picture after the other: {done} of {total} …"
TOO_SLOW = (
    "What mattered takes {total} runs, about {seconds:.0f} seconds with this model here: please choose a faster one."
)
ABOUT = "How much less likely the answer{said} becomes when the tokens of this region and those around it are left out."
SOME_CHANGE = (
    "Leaving out any of {changed} of the {total} regions changes the answer; the map shows how much each matters."
)
NONE_CHANGES = (
    "Leaving out one region does not change the answer, whichever it is; the map shows how much each matters."
)


class Mattered:
    """What the button does; the map that is shown stays and has one more heat map."""

    def __init__(self, session: Session, status: gr.Markdown, tokens: TokenPanel, view_of: ViewOf) -> None:
        """`view_of`: what the map shows for these settings, given the run that the page shows."""
        self.session, self.status, self.tokens, self.view_of = session, status, tokens, view_of

    def on_ask(self, *values: Any) -> Iterator[dict[Any, Any]]:
        """Region after region. Stop closes this generator, and with it the computation."""
        *asked, shown = values
        try:
            opened, settings = chosen_settings(self.session, *asked)
            if is_random(settings.model):
                raise InputError(MEANINGLESS_TEXT)
            with closing(self.session.leave_regions_out(settings.model, opened, settings.question)) as steps:
                told = 0.0
                for step in steps:
                    if isinstance(step, WhatMattered):
                        self.tokens.mattered.put(settings.about, region_score(step))
                        view = self.view_of(opened, settings, shown)
                        filled = self.tokens.fill(opened, view, settings, opens=True)
                        yield {self.status: _ended(step), **filled}
                    elif (status := _going(step)) and monotonic() - told >= TOLD_EVERY_S:
                        yield {self.status: status}
                        told = monotonic()
        except Exception as error:
            sentence = explained(error)
            gr.Warning(sentence, title=TOAST)
            yield {self.status: f"**{sentence}**"}


def region_score(found: WhatMattered) -> RegionScore:
    """Every token has the value of its region; NaN: it lies in none."""
    values = torch.full((found.answer.trace.images[0].tokens,), torch.nan)
    for parts, losses in zip(found.regions, found.loss.tolist(), strict=True):
        for tokens, loss in zip(parts, losses, strict=True):
            values[list(tokens)] = loss
    text = found.answer.text.strip()
    return RegionScore(values, ABOUT.format(said=f" “{text}”" if 0 < len(text) <= LONGEST_SAID else ""))


def _going(step: RegionsLeftOut | None) -> str:
    if step is None:
        return WAITING
    if step.seconds > MOST_S:
        raise InputError(TOO_SLOW.format(total=step.total, seconds=step.seconds))
    return LEAVING_OUT.format(done=step.done, total=step.total)


def _ended(found: WhatMattered) -> str:
    changed, total = int(found.changed.sum()), int(found.loss.isfinite().sum())
    return SOME_CHANGE.format(changed=changed, total=total) if changed else NONE_CHANGES
