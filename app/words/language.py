"""Which languages there are, and what a page needs to show itself in the visitor's own."""

from __future__ import annotations

import json
from pathlib import Path

WORDS = Path(__file__).parent
IN_ENGLISH = "in-english"  # class of a document that is not translated
SWITCH = "() => window.words.turn()"  # to the other language; the page is loaded again, its settings are in its address


def language_head() -> str:
    """What goes into the head of a page, before other scripts: the catalogue and the script that uses it.

    The language is that of `?lang=`, else what was last switched to, else the browser's.
    """
    script = (WORDS / "translate.js").read_text(encoding="utf-8")
    return f'<script type="application/json" id="words">{_catalogue()}</script><script>\n{script}</script>'


def _catalogue() -> str:
    text = json.dumps(json.loads((WORDS / "zh.json").read_text(encoding="utf-8")), ensure_ascii=False)
    return text.replace("</", "<\\/")  # the only thing that could end the script it stands in
