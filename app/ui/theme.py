"""Colours and type; spacing and the rest are in the style sheets."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from ..words.language import language_head

# Gradio confines CSS to the page's content; what lies around the content goes into the head
PAGE_HEAD = """
<meta name="description" content="VScan: fewer visual tokens, faster answers. See what is kept and why.">
<style>
  .gradio-container { width: 100%; min-width: 0 !important; max-width: none !important; }
  .gradio-container main.contain { width: 100%; max-width: 1376px; margin: 0 auto !important; }
  @media (max-width: 700px) { .gradio-container .main.fillable { padding: 8px 12px !important; } }
</style>
"""

APP = Path(__file__).parents[1]
# the visitor's own have every character; Gradio's files for headings have 99, and another face filled in the rest
SYSTEM_FONTS = ("system-ui", "sans-serif")
SYSTEM_MONO = ("ui-monospace", "monospace")
SCRIPTS = ("accessible.js", "address.js", "tour.js")
WHITE_ON = "*primary_700"  # the lightest orange on which white text can be read (5.2 to 1)


def page_head() -> str:
    """What goes into the page's head: its description, a few styles, its words, and the scripts of the whole app."""
    scripts = ((APP / "ui" / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return PAGE_HEAD + language_head() + "".join(f"<script>\n{script}</script>" for script in scripts)


def style_sheets() -> list[Path]:
    """Those of the whole app first, then those that pages have in their folders."""
    common = sorted((APP / "ui").glob("*.css"))
    return [*common, *sorted(set(APP.glob("*/*.css")) - set(common))]


def theme() -> gr.themes.Base:
    """A calm theme, without fonts of its own."""
    return gr.themes.Default(
        primary_hue="orange",
        secondary_hue="blue",
        neutral_hue="slate",
        radius_size="md",
        font=SYSTEM_FONTS,
        font_mono=SYSTEM_MONO,
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
        button_primary_background_fill=WHITE_ON,
        button_primary_background_fill_dark=WHITE_ON,
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
    )
