"""The model menu in groups: what answers here, what is downloaded first, what does not fit, and random weights."""

from __future__ import annotations

import re

from app.session.downloads import download_gb
from app.session.engine import Engine
from app.session.session import Session
from app.ui.inputs import menu


def group(label: str) -> int:
    """0: answers here, 1: is downloaded first, 2: does not fit, 3: random weights."""
    if label.startswith("Advanced:"):
        return 3
    return 2 if label.endswith("not here") else 1 if "≥" in label else 0


def test_the_groups_follow_each_other_and_the_smallest_download_leads() -> None:
    found = menu(Session(Engine()))
    labels = [label for label, _ in found]
    assert [group(label) for label in labels] == sorted(group(label) for label in labels)
    assert found[0][1] == "mini" and found[1][1] == "HuggingFaceTB/SmolVLM2-256M-Video-Instruct"
    sizes = [float(size) for label in labels for size in re.findall(r"≥ ([\d.]+) GB", label)]
    assert len(sizes) > 3 and sizes == sorted(sizes) and sizes[0] == 0.5
    assert all(name.startswith("dummy:") == (group(label) == 3) for label, name in found)


def test_only_weights_on_the_hub_are_downloaded() -> None:
    assert download_gb("mini") == download_gb("dummy:llava-1.5-7b") == download_gb("a folder") == 0
    assert 14 < download_gb("llava-hf/llava-1.5-7b-hf") < 15
