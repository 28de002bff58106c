"""The options that the demo starts with."""

from __future__ import annotations

import inspect

import gradio as gr

from app.__main__ import launch_options


def test_the_launch_options_exist_in_this_gradio_and_are_cautious() -> None:
    options = launch_options("127.0.0.1", 7860)
    assert set(options) <= set(inspect.signature(gr.Blocks.launch).parameters)
    assert options["run_history"] is options["enable_monitoring"] is options["show_error"] is False
    assert options["strict_cors"] and options["max_file_size"] <= 10_000_000
