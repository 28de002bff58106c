"""The Arena with a fake engine: rows, pictures, refusals, Stop, and the files that can be saved."""

from __future__ import annotations

import functools
import io
import json
import pickle
import shlex
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from app import formatting
from app.arena.outputs import ARENA_TABLE
from app.arena.page import ArenaPage
from app.arena.presets import presets
from app.arena.settings import arena_settings
from app.runs import table
from app.runs.fonts import font, printable, wrapped
from app.runs.progress import RunState, run_snapshots
from app.session.examples import Example
from app.session.session import Session
from tests.app.fake import FakeEngine
from tests.app.hall import drawn
from vscan_core import REDUCERS
from vscan_core.cli.main import parser
from vscan_core.errors import InputError
from vscan_core.events import Done

EVIL = "<img src=x onerror=alert(1)> ${alert(2)}"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # a toast outside of a page becomes a warning


def page_with(engine: FakeEngine, examples: tuple[Example, ...] = ()) -> ArenaPage:
    with gr.Blocks():
        return ArenaPage(Session(engine), list(examples))


@pytest.fixture
def page() -> ArenaPage:
    return page_with(FakeEngine())


def run(page: ArenaPage, picture: str | None, *methods: str, question: str = "What?", percent: float = 11.1, **other):
    return list(page.on_run(other.get("model", "mini"), picture, question, percent, list(methods)))


def rows(page: ArenaPage, step: dict[Any, Any]) -> list[list[str]]:
    """The table as it is written."""
    shown: list[list[str]] = step[page.outputs.table]["metadata"]["display_value"]
    return shown


def test_every_method_gets_a_row_and_a_picture(page: ArenaPage, picture: str) -> None:
    last = run(page, picture, "vscan", "coarse")[-1]
    assert [row[:4] for row in rows(page, last)] == [
        ["Baseline", "a red ball What?", "reference", "576"],
        ["VScan", "a red ball What?", "= yes", "96 → 32"],
        ["Coarse", "a red ball What?", "= yes", "96 → 32"],
    ]
    values = last[page.outputs.table]["data"]
    assert [values[0][5], values[1][5], round(values[1][10], 1)] == [144, 16, 8.3]  # numbers, so that columns sort
    files, captions = zip(*last[page.outputs.gallery], strict=True)
    assert captions == ("VScan · 96 → 32 · same answer", "Coarse · 96 → 32 · same answer")
    assert max(Image.open(files[0]).size) == 1008 and "2 of 2" in last[page.outputs.status]


def test_runs_stream_in_one_by_one(page: ArenaPage, picture: str) -> None:
    steps = run(page, picture, "vscan", "coarse")
    ended = [sum(row[5] is not None for row in step[page.outputs.table]["data"]) for step in steps]
    assert ended == sorted(ended) and set(ended) == {0, 1, 2, 3}
    seen: set[Any] = set()
    for step in steps:
        assert seen <= set(step)
        seen |= set(step)


def test_a_method_that_refuses_says_so_in_its_place(page: ArenaPage, picture: str) -> None:
    last = run(page, picture, "picky", "absent", "vscan")[-1]
    _, picky, absent, vscan = rows(page, last)
    assert picky[1].startswith("Cannot run here: Picky cannot keep less than 50 %") and "<" not in picky[1]
    assert absent[1] == "Cannot run here: This model has no text tower." and absent[2] == formatting.NOTHING
    assert vscan[3] == "96 → 32" and len(last[page.outputs.gallery]) == 1
    assert rows(page, run(page, picture, "picky", percent=60)[-1])[1][2] == "= yes"


def test_a_different_answer_is_called_different(picture: str) -> None:
    session = Session(FakeEngine())
    vscan = functools.partial(session.engine.method("vscan"), 1 / 9)
    events = list(session.run_each("mini", picture, "What?", [vscan]))
    done = [event for event in events if isinstance(event, Done)]
    other = replace(done[1], answer=replace(done[1].answer, text="a blue ball"))
    now = list(run_snapshots([done[0], other], [RunState("VScan", "vscan", 1 / 9)], lambda _: None, str))[-1]
    assert table.agreement(now.runs[1]) == "≠ no" and "different" in table.caption(now.runs[1])


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"methods": ()}, "at least one method"),
        ({"methods": ("magic",)}, "no method"),
        ({"question": " "}, "ask a question"),
        ({"percent": 0}, "above 0"),
        ({"picture": None}, "choose a picture"),
        ({"model": "big"}, "needs about 16.2 GB"),
    ],
)
def test_bad_input_is_one_sentence_and_the_page_lives_on(
    page: ArenaPage, picture: str, other: dict[str, Any], sentence: str
) -> None:
    given = {"picture": picture, "methods": ("vscan",)} | other
    last = run(page, given.pop("picture"), *given.pop("methods"), **given)[-1]
    assert sentence in last[page.outputs.status]
    assert not page.session.device("mini").busy
    assert len(rows(page, run(page, picture, "vscan")[-1])) == 2


def test_stop_frees_the_device_and_what_had_ended_can_be_saved(picture: str) -> None:
    engine = FakeEngine(pause_s=0.001, answer_words=("w",) * 30)
    page = page_with(engine)
    steps = page.on_run("mini", picture, "What?", 11.1, ["vscan", "coarse"])
    step = next(each for each in steps if sum(row[5] is not None for row in each[page.outputs.table]["data"]) == 2)
    assert page.session.device("mini").busy and engine.alive == 1
    steps.close()
    assert not page.session.device("mini").busy and engine.alive == 0
    assert page.on_end(step[page.state])[page.outputs.saves["json"]]["interactive"]
    saved = json.loads(page.written("json", step[page.state]))
    assert [run["method"] for run in saved["runs"]] == ["baseline", "vscan"] and not saved["ended"]
    assert "Stopped before every run" in page.written("html", step[page.state]).decode()
    assert not page.on_end(None)[page.outputs.saves["json"]]["interactive"]
    assert page.two.on_end(step[page.state], None, None)[page.two.box] == gr.update(visible=False)  # only one has ended


def test_the_files_hold_what_was_shown(page: ArenaPage, picture: str) -> None:
    last = run(page, picture, "vscan", "picky", question=EVIL)[-1]
    numbers, image, report = (page.written(kind, last[page.state]) for kind in page.outputs.saves)
    found = json.loads(numbers)
    assert found["settings"]["question"] == EVIL and found["settings"]["methods"] == ["vscan", "picky"]
    assert found["versions"]["vscan_core"] and "not a benchmark" in found["note"]
    baseline, vscan, picky = found["runs"]
    assert baseline["timings"]["prefill_ms"] == 144 and vscan["same_answer"]
    assert vscan["ratios"]["prefill"] == pytest.approx(144 / (16 + vscan["timings"]["reduce_ms"]))
    assert vscan["visual_token_steps"] == [96, 32] and vscan["cost"]["kv_bytes"] == 64 * 6144
    assert len(vscan["trace"]["images"][0]["cuts"][0]["kept"]) == 96 and "problem" in picky
    with Image.open(io.BytesIO(image)) as drawn:
        assert drawn.format == "PNG" and drawn.width == 1760 and len(drawn.getcolors(1 << 22)) > 1000
    text = report.decode()
    assert (
        EVIL not in text
        and f'<h1>Fewer visual tokens, one question</h1><p class="question" translate="no">{escape(EVIL)}' in text
    )
    assert text.count("<article>") == text.count("data:image/jpeg") == 2 and "Picky: Cannot run here" in text
    assert "576 → 96 → 32" in text and "vscan compare --method vscan,picky" in text and "Stopped" not in text


@pytest.mark.parametrize("size", [(16, 700), (700, 16)])
def test_the_page_holds_any_picture_and_any_words(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "thin.png"
    Image.new("RGB", size, "teal").save(path)
    page = page_with(FakeEngine(answer_words=("日本語 \u202e\n" * 40,), hint="A hint. " * 40))
    last = run(page, str(path), "vscan", question="ä\n?" * 300)[-1]
    with Image.open(io.BytesIO(page.written("png", last[page.state]))) as drawn:
        assert drawn.width == 1760 and 500 < drawn.height < 2500


def test_what_visitor_and_model_wrote_never_reaches_html(picture: str) -> None:
    page = page_with(FakeEngine(answer_words=(EVIL,)))
    for step in run(page, picture, "vscan", question=EVIL):
        for widget, value in step.items():
            if isinstance(widget, gr.HTML | gr.Markdown | gr.Gallery):
                assert "alert" not in str(value)
    assert not {"html", "markdown"} & set(ARENA_TABLE.types)


def test_the_budget_says_how_each_method_spends_it(page: ArenaPage, picture: str) -> None:
    text = page.on_budget("mini", picture, 11.1, ["vscan", "picky"])
    assert text.startswith("**11.1 %** = on average **64 of 576** visual tokens")
    assert "- VScan: 96 → 32" in text and "- Picky: cannot run here: Picky cannot" in text
    assert page.session.engine.steps == 0


def test_another_picture_clears_the_old_answers(page: ArenaPage, picture: str, tmp_path: Path) -> None:
    out = page.on_picture("mini", picture, 11.1, ["vscan"])
    assert out[page.outputs.table]["data"] == [] and out[page.state] is None and "64 of 576" in out[page.inputs.budget]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"text")
    assert "not a picture" in page.on_picture("mini", str(bad), 11.1, ["vscan"])[page.outputs.status]


def test_text_of_random_weights_is_not_shown(page: ArenaPage, picture: str) -> None:
    page.session.models._there["dummy:x"] = page.session.model("mini")
    last = run(page, picture, "vscan", model="dummy:x")[-1]
    assert "red ball" not in str(rows(page, last)) and "same answer" not in str(last[page.outputs.gallery])
    saved = json.loads(page.written("json", last[page.state]))
    assert saved["runs"][1]["same_answer"] is None and not saved["runs"][1]["text_means_something"]


def test_hint_and_right_answer_are_told(picture: str) -> None:
    page = page_with(FakeEngine(hint="I only know drawn scenes."), (Example(picture, "What?", "a gradient"),))
    last = run(page, picture, "vscan")[-1]
    assert last[page.outputs.hint]["visible"] and "a gradient" in last[page.outputs.status]


def test_state_of_a_visitor_is_small(page: ArenaPage, picture: str) -> None:
    assert len(pickle.dumps(run(page, picture, "vscan", "coarse")[-1][page.state])) < 100_000


def test_text_in_the_png_fits_and_survives_anything() -> None:
    face = font(20)
    lines = wrapped("word " * 200 + "x" * 500, face, 300, 3)
    assert len(lines) == 3 and lines[-1].endswith(" ...") and all(face.getlength(line) <= 320 for line in lines)
    assert wrapped("", face, 300, 3) == [""] and printable("a\nb\x00c", face) == "a b c"


def test_unknown_methods_are_refused_before_anything_runs(picture: str) -> None:
    session = Session(FakeEngine())
    with pytest.raises(InputError, match="no method"):
        arena_settings(session, "mini", session.open(picture), "What?", 0.2, ["vscan", "magic"])


def test_a_row_of_a_paper_is_a_method_and_a_budget() -> None:
    rows = presets(REDUCERS)
    assert rows["VisionZip 64"] == ("visionzip", 11.1) and rows["FastV 192"] == ("fastv", 33.3)
    assert list(rows)[0].endswith(" 192") and len(rows) > 20
    assert set(presets({"coarse": FakeEngine().methods()["coarse"]})) == set()


def test_each_method_has_a_tile_from_the_start(page: ArenaPage, picture: str) -> None:
    assert [text for _, text in page.on_methods(["vscan", "coarse"], None)] == ["VScan …", "Coarse …"]
    steps = run(page, picture, "vscan", "coarse")
    assert {len(step[page.outputs.gallery]) for step in steps} == {2}
    shown = steps[-1][page.state]
    assert "value" not in page.on_methods(["picky"], shown)  # pictures that are there stay


def test_a_run_that_has_ended_is_told_for_the_list_of_earlier_ones(page: ArenaPage, picture: str) -> None:
    steps = run(page, picture, "vscan")
    assert page.earlier_run(None) is None and page.earlier_run(steps[-2][page.state]) is None
    told = page.earlier_run(steps[-1][page.state])
    assert told is not None and told.words.endswith("a red ball What?") and told.tab == "arena"
    assert told.values == {
        "model": "mini", "question": "What?", "keep": pytest.approx(11.1), "picture": picture, "methods": ["vscan"],
    }  # fmt: skip


def test_a_run_can_be_copied_as_code(page: ArenaPage, picture: str, tmp_path: Path, capsys, monkeypatch) -> None:
    recipe = page.recipe("mini", picture, 'What\'s "there"?', 11.1, ["vscan"])
    monkeypatch.chdir(Path(picture).parent)
    exec(compile(recipe.as_python, "copied", "exec"), {})
    baseline, reduced = (line.split(" | ") for line in capsys.readouterr().out.splitlines())
    assert (
        baseline[:2] == ["baseline", "576.0"]
        and reduced[0] == "vscan"
        and float(reduced[1]) == pytest.approx(64, abs=1)
    )
    words = shlex.split(recipe.as_command)
    asked = parser().parse_args(words[1:])
    assert asked.question == 'What\'s "there"?' and asked.image == ["picture.png"] and words[0] == "vscan"
    several = replace(recipe, retentions=(0.5, 0.111)).as_command
    assert (
        parser().parse_args(shlex.split(several)[1:]).retentions and '"' not in replace(recipe, question="x").as_command
    )


def test_the_map_holds_vscan_and_the_next_method_at_first(page: ArenaPage, picture: str) -> None:
    two = page.two
    shown = run(page, picture, "picky", "coarse", "vscan", percent=60)[-1][page.state]
    out = two.on_end(shown, None, None)
    assert out[two.box]["visible"] and (out[two.one]["value"], out[two.other]["value"]) == ("vscan", "picky")
    assert out[two.one]["choices"] == [("Picky", "picky"), ("Coarse", "coarse"), ("VScan", "vscan")]
    both = drawn(out[two.stage])
    assert both["title"] == "VScan" and both["other"]["title"] == "Picky"
    again = two.on_end(shown, "coarse", "vscan")  # what was chosen stays
    assert (again[two.one]["value"], again[two.other]["value"]) == ("coarse", "vscan")
    assert two.on_one(shown, "picky", "picky")[two.other]["value"] == "coarse"  # the other one makes way
    assert two.on_other(shown, "picky", "picky")[two.one]["value"] == "coarse"
    gone = run(page, picture, "coarse", "absent", "vscan")[-1][page.state]
    out = two.on_end(gone, "picky", "absent")
    assert (out[two.one]["value"], out[two.other]["value"]) == ("vscan", "coarse")
    assert "value" not in two.on_one(gone, "absent", "vscan") and "value" not in two.on_other(None, "vscan", "coarse")
