"""A page with nothing but a stage, which the tests of one browser share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np

import vscan_core as vc
from app.session.engine import Engine
from app.session.session import Session
from app.stage.view import StageView, preview_view, run_view, stage_value
from app.stage.widget import STAGE_FOLDER, marks_of, stage
from tests.app.conftest import launched
from vscan_core.draw.fates import Fate

STATE = "() => document.querySelector('.stage').stage.state"
SHOWN = "() => document.querySelector('.stage')?.stage?.state"
TOLD = "() => document.querySelector('.stage-told').textContent"
FIRST_CUT, TOKEN_MAP, CONTROLS = (
    (STAGE_FOLDER / name).read_text() for name in ("first_cut.js", "token_map.js", "controls.js")
)


def drawn(value: dict[str, Any]) -> dict[str, Any]:
    """What a stage with this value shows."""
    return {**json.loads(value["rest"]), "picture": value["picture"]}


@dataclass
class Hall:
    """A page with nothing but a stage and a slider, on a run of the embedded model, compared with another method."""

    page: Any
    session: Session
    views: dict[str, StageView]  # by what the page's buttons show


def opened_hall(browser: Any, picture_file: str) -> Iterator[Hall]:
    """Open the page; an error on it fails the tests."""
    session = Session(Engine())
    opened = session.open(picture_file)
    events = session.compare("mini", picture_file, "What is there?", 1 / 9)
    answer = [event.answer for event in events if isinstance(event, vc.Done)][1]
    run = run_view(answer.trace, 1 / 9)
    preview = preview_view(session.preview("mini", opened, 0.111), 0.111)
    other = session.preview("mini", opened, 1 / 9, "grid").trace
    views = {"run": run, "preview": preview, "both": replace(run, other=("Grid", other))}
    with gr.Blocks() as demo:
        shown = stage("hall", "#slider", markable=True)
        gr.Slider(1, 100, value=11.1, step=0.1, interactive=True, elem_id="slider")
        told = gr.Textbox(elem_id="marks")

        def on_marked(event: gr.EventData) -> str:
            marks = marks_of(event)
            return f"{list(marks.keep)}, {list(marks.drop)}"

        shown.marked(on_marked, None, told)
        for name, view in views.items():
            gr.Button(name, elem_id=f"show-{name}").click(lambda view=view: stage_value(opened, view), None, shown)
        gr.Button("nothing", elem_id="show-nothing").click(lambda: None, None, shown)
    errors: list[str] = []
    with launched(demo) as url:
        page = browser.new_page(viewport={"width": 1000, "height": 1600})
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if "Content Security" in line.text else None)
        page.set_default_timeout(10_000)
        page.goto(url)
        yield Hall(page, session, views)
        page.close()
    assert not errors


def show(hall: Hall, name: str) -> Any:
    """The page with a fresh view."""
    page = hall.page
    for button, shown in (("nothing", False), (name, True)):
        page.click(f"#show-{button}")
        page.wait_for_function(f"() => Boolean({SHOWN[6:]}) === {str(shown).lower()}")
    return page


def move_to(page: Any, token: int) -> None:
    box = page.locator(".stage-view").bounding_box()
    x, y = page.evaluate(
        "token => { const { map } = document.querySelector('.stage').stage, [x, y] = map.centre(token);"
        " return [x / map.data.size[0], y / map.data.size[1]] }",
        token,
    )
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])


def legend(page: Any) -> dict[str, int]:
    texts = [" ".join(text.split()) for text in page.locator(".stage-legend li").all_inner_texts()]
    if texts[-1] == "Not seen by the model":  # of a wide picture, left and right
        texts.pop()
    rows = [text.rpartition(" ") for text in texts]
    return {name: int(number) for name, _, number in rows}


def undecided(codes: Any) -> list[int]:
    """Fates without merging, which needs features that the browser does not have."""
    gone = np.isin(codes, (Fate.MERGED, Fate.DROPPED))
    found: list[int] = np.where(gone, 6, codes).tolist()
    return found
