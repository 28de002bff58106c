"""What the pages show in front of a server: whose answer it is, what is not known, and what does not agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from app.arena.page import ArenaPage
from app.compare.figures import measured_figures
from app.compare.page import ComparePage
from app.explain.page import ExplainPage
from app.formatting import NOTHING, TIMES
from app.runs.pairs import pairs_summary
from app.session.examples import Example
from app.session.turn import Pair
from app.ui.model_loading import describe
from tests.app.hall import drawn
from tests.app.in_front import in_front_of
from tests.chat_stub import REFUSED
from vscan_core.events import Timings

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # a toast outside of a page becomes a warning
WHO = "vLLM 0.32.0, which calls the model mini, answered; times include the network."


def compared(page: ComparePage, picture_file: str, method: str = "vscan", percent: float = 11.1) -> dict[Any, Any]:
    *_, last = page.runs.on_run("mini", picture_file, None, "What?", percent, method)
    return last


def test_compare_tells_who_answered_and_leaves_out_what_nobody_measured(picture_file: str) -> None:
    with in_front_of() as (session, _):
        with gr.Blocks():
            page = ComparePage(session, [])
        last, out = compared(page, picture_file), page.outputs
        assert WHO in last[out.hint]["value"] and "cuts only at the entrance" in last[out.hint]["value"]
        assert "576 \N{RIGHTWARDS ARROW} 64" in last[out.exact] and "from the server's count" in last[out.exact]
        assert "prefill" not in last[out.measured].lower(), "nobody measured it"
        assert "First token, network included" in last[out.axis] and "Vision" not in last[out.axis]
        table = dict(zip(*_rows(last[out.numbers[1]]), strict=True))
        assert table["Prefill"] == table["Vision encoder"] == table["Peak memory"] == NOTHING != table["First token"]
        assert "network included" in last[out.status] and drawn(last[page.tokens.stage])["ran"]
        shown = last[page.shown]
        assert (
            "First token, in total" in (report := page.files.report(shown).decode()) and "Vision encoder<" not in report
        )
        assert WHO in report and "Server with vLLM 0.32.0, network included" in report
        assert page.files.page(shown).startswith(b"\x89PNG")
        assert "Answers come from vLLM 0.32.0 at http://127.0.0.1:" in describe(session, "mini")


def _rows(table: str) -> tuple[list[str], list[str]]:
    names = [part.partition("<small>")[0] for part in table.split('<th scope="row">')[1:]]
    return names, [part.partition("</td>")[0] for part in table.split("<td>")[1:]]


def measured(*ms: tuple[float, float]) -> str:
    """What is said of such times to the first token, (baseline, reduced)."""
    pairs = [Pair(*(Timings(0.0, 0.0, first, first, None, first) for first in each)) for each in ms]
    return measured_figures(pairs_summary(pairs), 9.0)


def test_pairs_give_a_factor_of_the_first_token_alone() -> None:
    assert f"<b>2.0 {TIMES} sooner</b><span>first token, network included<br>2.0 to 2.0" in measured(*[(80, 40)] * 3)
    assert "First token" in measured((80, 40)) and "prefill" not in measured((80, 40)).lower()
    busy = measured((80, 40), (400, 40), (80, 40))
    assert "The server is busy:</b> the same question took from 80.0 ms to 400 ms" in busy


def test_compare_repeats_the_servers_refusal(picture_file: str) -> None:
    with in_front_of() as (session, _):
        with gr.Blocks():
            page = ComparePage(session, [])
        last = compared(page, picture_file, "fastv", 70)
    assert REFUSED in last[page.outputs.status]


def test_the_arena_has_dashes_refusals_and_files(picture_file: str) -> None:
    with in_front_of(reduces=False) as (session, stub):
        with gr.Blocks():
            page = ArenaPage(session, [])
        *_, last = page.on_run("mini", picture_file, "What?", 25.0, ["visionzip", "divprune"])
        head = last[page.outputs.table]["headers"]
        rows = [dict(zip(head, row, strict=True)) for row in last[page.outputs.table]["metadata"]["display_value"]]
        assert all(row["Prefill"] == row["Selection"] == NOTHING != row["First token"] for row in rows)
        assert rows[1]["Prefill, faster"] == NOTHING and rows[1]["Visual tokens"] == "576"
        notes = last[page.outputs.hint]["value"].split("\n\n")
        assert notes[0] == WHO and len([note for note in notes if "the server counted 576 visual tokens" in note]) == 2
        shown = last[page.state]
        exported = json.loads(page.written("json", shown))
        assert exported["settings"]["device"] == "vLLM 0.32.0" and exported["runs"][1]["server"][0] == WHO
        assert "prefill" not in exported["runs"][1]["ratios"] and exported["turn"]["served"]
        assert b"VisionZip" in page.written("html", shown) and page.written("png", shown).startswith(b"\x89PNG")
    assert len(stub.bodies) == 3


def test_how_it_works_gives_the_first_token_alone(picture_file: str) -> None:
    with in_front_of() as (session, _):
        with gr.Blocks():
            page = ExplainPage(session, [Example(picture_file, "What?")])
            page.goes_on_with(())
        *_, (told, said, _) = page.on_ask("mini", picture_file, "What?", 11.1)
    assert said == "" and [list(each["ms"]) for each in told["answers"]] == [["first token, network included"]] * 2
    assert told["device"] == "Server" and "Server with vLLM 0.32.0" in told["about"]
    assert [each["tokens"] for each in told["answers"]] == ["576", "64"]


def test_another_picture_of_a_video_is_not_offered(tmp_path: Path) -> None:
    with in_front_of() as (session, _):
        with gr.Blocks():
            page = ComparePage(session, [])
    assert not page.how.video.visible
