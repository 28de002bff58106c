"""The Benchmarks page: what this project measured and, kept apart from it, what papers report."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from ..session.examples import Example
from ..session.session import Session
from ..ui.page import Page
from .ablations_tab import AblationsTab
from .accuracy_tab import AccuracyTab
from .leaderboard_tab import LeaderboardTab
from .papers_tab import PapersTab
from .records import RECORDED_FOLDER
from .speed import speed_records
from .speed_tab import SpeedTab

ACCURACY = "How often the embedded model is right with fewer visual tokens. Measured and recorded by this project."
LEADERBOARD = (
    "Would a smaller picture have done as well? All methods at one retention, on the questions that it no longer "
    "answers and on those that it does. Measured and recorded by this project."
)
ABLATIONS = "What each part of VScan contributes: one is changed at a time. Measured and recorded by this project."
SPEED = "What fewer visual tokens save. Measured and recorded by this project, on the hardware named below."
PAPERS = (
    "**Reported by the papers named below, not measured by this project.** Papers differ in prompts, checkpoints and "
    "in what they call a budget: compare within a table, not across tables."
)


class BenchmarksPage(Page):
    """What is recorded, one tab per subject; `folder` holds the records of accuracy."""

    title = "Benchmarks"

    def __init__(self, session: Session, examples: list[Example], folder: Path = RECORDED_FOLDER) -> None:
        titles = {name: method.title for name, method in session.engine.methods().items()}
        with gr.Tabs(elem_id="benchmarks"):
            with gr.Tab("Accuracy", id="accuracy"):
                gr.Markdown(ACCURACY)
                AccuracyTab(titles, folder)
            with gr.Tab("Leaderboard", id="leaderboard"):
                gr.Markdown(LEADERBOARD)
                LeaderboardTab(titles, folder)
            with gr.Tab("Ablations", id="ablations"):
                gr.Markdown(ABLATIONS)
                AblationsTab(folder)
            with gr.Tab("Speed", id="speed"):
                gr.Markdown(SPEED)
                SpeedTab(speed_records(titles=titles))
            with gr.Tab("Papers", id="papers"):
                gr.Markdown(PAPERS, elem_id="reported-warning")
                PapersTab()
