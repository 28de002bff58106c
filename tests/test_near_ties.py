"""The benchmark of near ties: its noise is small and everywhere, and a choice that hangs on it is counted."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import vscan_core as vc
from benchmarks import near_ties
from vscan_core.conformance.made_up import made_up_signals, tensors_of
from vscan_core.reducers.fastv import FastV
from vscan_core.resources import asset
from vscan_core.selection import Selection
from vscan_eval.task import Item

README = Path(__file__).parent.parent / "benchmarks/README.md"
RECORD = "near-ties-cpu.json"


def item(seed: int) -> Item:
    shades = torch.randint(0, 255, (8, 8, 3), generator=torch.Generator().manual_seed(seed)).byte().numpy()
    return Item(str(seed), str(seed), lambda: Image.fromarray(shades).resize((336, 336)), "what is it?", ("it",))


def test_noise_is_of_the_seventh_digit_in_every_signal() -> None:
    given = made_up_signals(12)
    noisy = near_ties.with_noise(given, torch.Generator().manual_seed(0))
    for name, before in tensors_of(given).items():
        after = tensors_of(noisy)[name]
        if name.startswith("joint"):
            assert torch.equal(before, after)
            continue
        assert 0 < ((after - before) / before).abs().max() < 1e-6 and after.dtype == before.dtype, name


def test_what_hangs_on_the_last_digit_is_counted(mini) -> None:
    class Chaotic(vc.REDUCERS["fastervlm"]):  # type: ignore[misc]
        """Ranks tokens by digits that no two backends agree on, and merges by the same."""

        def select(self, signals, keep):
            chosen = Selection.top((signals.salience * 1e9) % 1, keep, "digits")
            rest = torch.arange(signals.tokens)
            return Selection(chosen.kept, merged_into=chosen.kept[rest % keep].index_fill(0, chosen.kept, -1))

    vc.REDUCERS["chaotic"] = Chaotic
    try:
        row = near_ties.measure_method(mini, "chaotic", [item(0), item(1)])
    finally:
        del vc.REDUCERS["chaotic"]
    assert row["pictures"] == row["pictures_changed"] == 2 and row["kept"] == 96
    assert 20 < row["changed"]["mean"] <= row["changed"]["max"] < 96 and row["moved"]["mean"] > 100


@pytest.mark.parametrize("name", ["grid", "tome", "fastv", "evs"])
def test_every_kind_of_method_is_compared(mini, name) -> None:
    row = near_ties.measure_method(mini, name, [item(seed) for seed in range(4)])
    kept = {"grid": 96, "tome": 96, "fastv": 144, "evs": 4 * 192}
    assert row["kept"] == kept[name] and row["pictures"] == (1 if name == "evs" else 4)
    if name == "grid":
        assert row["changed"] == row["moved"] == {"mean": 0, "max": 0}


def test_what_no_retention_allows_is_said(mini) -> None:
    class Late(FastV):
        """Cuts where nothing is left to save."""

        def schedule(self, tokens, anatomy, tiles=1):
            raise vc.InputError("out of reach")

    with pytest.raises(vc.InputError, match="FastV has no retention that this model allows"):
        near_ties.within_budget(Late, mini.anatomy)


def test_it_writes_its_record_and_says_what_it_left_out(tmp_path, monkeypatch, capsys) -> None:
    class Refused(vc.REDUCERS["random"]):  # type: ignore[misc]
        """Runs on no model."""

        def schedule(self, tokens, anatomy, tiles=1):
            raise vc.InputError("out of reach")

    methods = {"random": vc.REDUCERS["random"], "refused": Refused}
    monkeypatch.setattr(near_ties.vc, "REDUCERS", methods)
    near_ties.main(["--pictures", "1", "--out", str(tmp_path / "record.json")])
    record = json.loads((tmp_path / "record.json").read_text())
    assert [row["method"] for row in record["rows"]] == ["random"] and "no retention" in record["refused"]["refused"]
    assert record["noise"] == 1e-7 and "| `random` | 0.167 | 96 | 0 (0) | 0 of 1 | 0 (0) |" in capsys.readouterr().out


def filled(text: str) -> str:
    """The README with the table of the record: `python -m tests.test_near_ties` writes it."""
    record = json.loads((asset("recorded") / RECORD).read_text())
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    about = f"`{record['command']}`, {record['date']}, {record['hardware']}, {versions}:"
    block = f"<!-- near ties -->\n{about}\n\n{near_ties.near_ties_table(record['rows'])}\n<!-- /near ties -->"
    return re.sub("<!-- near ties -->.*<!-- /near ties -->", lambda _: block, text, flags=re.DOTALL)


def test_the_readme_shows_the_record_and_the_record_every_method() -> None:
    text, record = README.read_text(), json.loads((asset("recorded") / RECORD).read_text())
    assert filled(text) == text
    assert {row["method"] for row in record["rows"]} | record["refused"].keys() == {
        name for name, method in vc.REDUCERS.items() if method().unsure_below is None
    }


def test_a_method_that_noise_changes_says_so_in_its_file() -> None:
    for row in json.loads((asset("recorded") / RECORD).read_text())["rows"]:
        told = "near ties" in (sys.modules[vc.REDUCERS[row["method"]].__module__].__doc__ or "")
        assert told == (row["changed"]["max"] + row["moved"]["max"] > 0), row["method"]


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
