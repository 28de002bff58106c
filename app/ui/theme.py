"""Colours and type; spacing and the rest are in style.css."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

# Gradio confines CSS to the page's content; what lies around the content goes into the head
PAGE_HEAD = """
<meta name="description" content="VScan: fewer visual tokens, faster answers. See what is kept and why.">
<style>
  .gradio-container { min-width: 0 !important; }
  @media (max-width: 700px) { .gradio-container .main.fillable { padding: 8px 12px !important; } }
</style>
"""

CSS = Path(__file__).parent / "style.css"


def theme() -> gr.themes.Base:
    """A calm theme; the fonts come from this server or the visitor's system, never from elsewhere."""
    return gr.themes.Default(
        primary_hue="orange",
        secondary_hue="blue",
        neutral_hue="slate",
        radius_size="md",
        font=[gr.themes.LocalFont("IBM Plex Sans"), "system-ui", "sans-serif"],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono"), "monospace"],
    ).set(
        block_border_width="1px",
        block_shadow="none",
        block_title_text_weight="600",
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_info_text_color="*neutral_500",
        block_info_text_color_dark="*neutral_400",
        block_title_text_color="*neutral_700",
        block_label_text_color="*neutral_600",
        input_placeholder_color="*neutral_500",
    )
