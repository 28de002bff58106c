"""The model menu in groups: what answers here, what is downloaded first, what does not fit, and random weights."""

from __future__ import annotations

import re

import pytest

from app.session.engine import Engine
from app.session.hub import Hub, download_gb
from app.session.session import Session
from app.ui.inputs import menu
from app.ui.model_loading import describe
from vscan_core.errors import InputError


def group(label: str) -> int:
    """0: answers here, 1: is downloaded first, 2: does not fit, 3: random weights."""
    if label.startswith("Advanced:"):
        return 3
    return 2 if label.endswith("not here") else 1 if "≥" in label else 0


class Reached(Hub):
    """The Hub answers."""

    def reachable(self) -> bool:
        return True


def connected() -> Session:
    """A session whose server reaches the Hub."""
    engine = Engine()
    engine.hub = Reached()
    return Session(engine)


def test_the_groups_follow_each_other_and_the_smallest_download_leads() -> None:
    found = menu(connected())
    labels = [label for label, _ in found]
    assert [group(label) for label in labels] == sorted(group(label) for label in labels)
    assert found[0][1] == "mini" and found[1][1] == "HuggingFaceTB/SmolVLM2-256M-Video-Instruct"
    sizes = [float(size) for label in labels for size in re.findall(r"≥ ([\d.]+) GB", label)]
    assert len(sizes) > 3 and sizes == sorted(sizes) and sizes[0] == 0.5
    assert all(name.startswith("dummy:") == (group(label) == 3) for label, name in found)


def test_only_weights_on_the_hub_are_downloaded() -> None:
    assert download_gb("mini") == download_gb("dummy:llava-1.5-7b") == download_gb("a folder") == 0
    assert 14 < download_gb("llava-hf/llava-1.5-7b-hf") < 15


def test_without_the_hub_nothing_is_offered_that_would_be_downloaded() -> None:
    session = Session(Engine())  # the tests forbid downloads
    found = {name: label for label, name in menu(session)}
    smallest = "HuggingFaceTB/SmolVLM2-256M-Video-Instruct"
    assert group(found["mini"]) == 0 and group(found[smallest]) == 2
    assert all(group(label) != 1 for label in found.values())
    told = session.models.unavailable(smallest)
    assert told == "SmolVLM2 0.26B would have to be downloaded, but HF_HUB_OFFLINE is set."
    assert told in describe(session, smallest)
    with pytest.raises(InputError, match="would have to be downloaded"):
        session.model(smallest)
