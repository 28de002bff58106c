"""Right side of Compare: exact figures, measured ones, both answers, and one time axis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from vscan_core.report import ratios, same_answer, shared_note, token_steps

from .. import formatting
from ..charts.time import stage_times, time_axis
from ..runs.comparison import BASELINE, REDUCED, ComparisonSnapshot, LiveRun
from ..runs.pairs import median_stages, pairs_summary
from ..ui import html
from ..ui.messages import APPEARS_HERE
from ..ui.saving import saved_file
from .asked import CompareSettings, changed_note
from .figures import (
    COUNTED,
    COUNTED_THERE,
    MEASURING,
    ONE_RUN,
    OTHERS_WAIT,
    exact_figures,
    measured_figures,
    pane_head,
    pane_numbers,
    same_or_different,
)
from .flop_ratio import FORMULA, flop_ratios

START = "Press **Run** to ask the model twice: with all visual tokens, and with few."
BASELINE_NAME = "Baseline"
PANES = ("baseline", "vscan")  # in the ids of the widgets: whatever method it is
ALL_TOKENS = "all visual tokens"
LONG_ANSWER = 8  # tokens


@dataclass(frozen=True)
class CompareOutputs:
    """The widgets that a run fills. Pairs are (baseline, reduced)."""

    status: gr.Markdown
    clock: gr.HTML
    hint: gr.Markdown
    exact: gr.HTML
    measured: gr.HTML
    changed: gr.HTML
    thumb: gr.Image  # the picture that was asked about
    question: gr.Textbox  # the question that was asked
    heads: tuple[gr.HTML, gr.HTML]
    texts: tuple[gr.Textbox, gr.Textbox]
    lines: tuple[gr.HTML, gr.HTML]
    axis: gr.HTML
    repeat: gr.Button
    tools: gr.Row  # below the answers; the page adds the buttons that copy
    report: gr.Button  # `ReportFiles` answers both
    page: gr.Button
    file: gr.File  # what was written last; never shown
    mattered: gr.Button
    race: gr.Button
    numbers: tuple[gr.HTML, gr.HTML]
    ratios: gr.HTML

    @property
    def widgets(self) -> list[Any]:
        """Outputs of a handler that fills them."""
        return [
            self.status, self.hint, self.exact, self.measured, self.changed, self.thumb, self.question, *self.heads,
            *self.texts, *self.lines, self.axis, self.repeat, self.report, self.page, self.race, *self.numbers,
            self.ratios,
        ]  # fmt: skip

    def fill(
        self, now: ComparisonSnapshot, settings: CompareSettings, title: str, readable: bool = True
    ) -> dict[Any, Any]:
        """The updates that show a run; `title` is the method's.

        Texts that are not `readable` (random weights) are left out, and answers about a picture that the model does
        not know are not compared.
        """
        return {
            self.status: now.status,
            self.hint: gr.update(value=now.notes, visible=bool(now.notes)),
            self.changed: "",
            self.question: settings.question,
            **{
                box: gr.update(value=text, placeholder=word)
                for box, (text, word) in zip(self.texts, now.words(readable), strict=True)
            },
            **dict(zip(self.heads, _heads(now, settings, title, readable), strict=True)),
            **self._figures(now, title),
            self.race: gr.update(visible=now.ended and readable and _long(now)),
            self.repeat: gr.update(interactive=now.ended),
            self.report: gr.update(interactive=False),
            self.page: gr.update(interactive=False),
            **dict(zip(self.numbers, map(html.numbers_table, now.answers, (now.kept, False)), strict=True)),
            self.ratios: flop_ratios(*now.answers),
        }

    def _figures(self, now: ComparisonSnapshot, title: str) -> dict[Any, Any]:
        baseline, reduced = now.answers
        found = pairs_summary(now.pairs)
        lines = [
            pane_numbers(now.answers[run], now.live[run], now.going == run, run, found.first_ms[run] if found else None)
            for run in (BASELINE, REDUCED)
        ]
        out: dict[Any, Any] = {**dict(zip(self.lines, lines, strict=True)), self.axis: time_axis(_lanes(now, title))}
        if not (baseline and reduced):
            out[self.measured] = measured_figures(None, otherwise=MEASURING)
        else:
            factor = ratios(baseline, reduced)
            steps = [*token_steps(baseline), *token_steps(reduced)]
            counted = COUNTED_THERE if reduced.server else COUNTED
            out[self.exact] = exact_figures(steps, factor["tflops"], factor["kv_bytes"], counted)
            otherwise = MEASURING if not now.ended else OTHERS_WAIT if now.others_wait else ONE_RUN
            out[self.measured] = measured_figures(found, factor["tflops"], otherwise)
        return out

    def change(self, names: list[str]) -> dict[Any, Any]:
        """Some settings are not those of the answers (any more)."""
        return {self.changed: changed_note(names)}


def _lanes(now: ComparisonSnapshot, title: str) -> list[tuple[str, Mapping[str, float], str]]:
    """Both runs on the time axis: medians of the pairs up to the first token, and the run's own decoding."""
    lanes: list[tuple[str, Mapping[str, float], str]] = []
    for run, (name, answer) in enumerate(zip((BASELINE_NAME, title), now.answers, strict=True)):
        if answer is not None:
            times = stage_times(answer) | (median_stages(now.pairs)[run] if now.pairs else {})
            lanes.append((name, times, shared_note(answer.timings.vision_shared_ms)))
    return lanes


def _long(now: ComparisonSnapshot) -> bool:
    """Whether both answers have tokens enough to be watched."""
    tokens = (
        max(live.tokens, len(one.token_ids) if one else 0) for one, live in zip(now.answers, now.live, strict=True)
    )
    return min(tokens) >= LONG_ANSWER


def _heads(now: ComparisonSnapshot, settings: CompareSettings, title: str, readable: bool) -> tuple[str, str]:
    known = [answer for answer in now.answers if answer]
    same = same_answer(*known) if len(known) == 2 and readable and not now.hint else None
    share = formatting.percent(settings.retention)
    return pane_head(BASELINE_NAME, ALL_TOKENS), pane_head(title, share, same_or_different(same))


def compare_outputs(status: gr.Markdown, clock: gr.HTML) -> CompareOutputs:
    """Build the right column; status line and clock stand elsewhere."""
    exact = gr.HTML(exact_figures((0,), 1, 1), elem_id="exact")
    with gr.Column(elem_id="answers"):
        with gr.Row(elem_id="measuring"):
            measured = gr.HTML(measured_figures(None), elem_id="measured")
            repeat = gr.Button("Repeat", size="sm", scale=0, min_width=86, interactive=False, elem_id="repeat")
        changed = gr.HTML("", elem_id="changed")
        with gr.Row(elem_id="asked"):
            thumb = gr.Image(
                show_label=False, label="The picture that was asked about", interactive=False, container=False,
                buttons=[], height=44, width=60, scale=0, min_width=60, elem_id="asked-picture",
            )  # fmt: skip
            question = gr.Textbox(
                label="Question that was asked", show_label=False, interactive=False, container=False, lines=1,
                placeholder="The question that was asked", elem_id="asked-question",
            )  # fmt: skip
        with gr.Row(equal_height=True, elem_id="panes"):
            panes = [_pane(name) for name in PANES]
        axis = gr.HTML(time_axis([]), elem_id="time-axis")
        with gr.Row(elem_id="run-tools") as tools:
            report = gr.Button("Report (HTML)", size="sm", interactive=False, elem_id="report")
            page = gr.Button("Page (PNG)", size="sm", interactive=False, elem_id="page")
            file = saved_file("saved-file")
            mattered = gr.Button("What mattered", size="sm", elem_id="mattered")
            race = gr.Button("Replay both", size="sm", visible=False, elem_id="race")
    hint = gr.Markdown(visible=False, elem_id="hint")
    with gr.Accordion("All numbers of both runs", open=False, elem_id="all-numbers"):
        with gr.Row():
            numbers = [gr.HTML(html.numbers_table(None), elem_id=f"numbers-{name}") for name in PANES]
        gr.Markdown("**FLOPs of the prefill as a share of those with all tokens**")
        ratios = gr.HTML(flop_ratios(None, None), elem_id="flop-ratios")
        gr.Markdown(FORMULA, elem_classes="quiet")
    heads, texts, lines = zip(*panes, strict=True)
    return CompareOutputs(
        status, clock, hint, exact, measured, changed, thumb, question, heads, texts, lines, axis, repeat, tools,
        report, page, file, mattered, race, (numbers[0], numbers[1]), ratios,
    )  # fmt: skip


def _pane(name: str) -> tuple[gr.HTML, gr.Textbox, gr.HTML]:
    title = BASELINE_NAME if name == PANES[BASELINE] else "VScan"
    with gr.Column(min_width=220, elem_classes=["pane", name]):
        head = gr.HTML(pane_head(title, ALL_TOKENS if name == PANES[BASELINE] else "fewer visual tokens"))
        text = gr.Textbox(
            label=f"Answer of {'the baseline' if name == PANES[BASELINE] else 'the run with fewer visual tokens'}",
            show_label=False,
            lines=2,
            max_lines=4,
            interactive=False,
            container=False,
            placeholder=APPEARS_HERE,
            elem_id=f"answer-{name}",
            html_attributes=gr.InputHTMLAttributes(spellcheck=False),
        )
        line = gr.HTML(pane_numbers(None, LiveRun(), False, BASELINE), elem_id=f"live-{name}")
    return head, text, line
