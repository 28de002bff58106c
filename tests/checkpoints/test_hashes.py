"""The embedded model is the one that was shipped, file by file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import vscan_core as vc
from tests.folders import INDEX, LOADED, MINI, SHARDS, linked, put
from vscan_core.catalog import MODELS
from vscan_core.checkpoints import hashes


def test_the_shipped_hashes_are_those_of_the_shipped_files() -> None:
    hashes.check_hashes(MINI)
    listed = [line.split("  ")[1] for line in (MINI / hashes.SUMS).read_text().splitlines()]
    assert listed == LOADED and {"config.json", "ood.safetensors", INDEX, *SHARDS} <= set(listed)


@pytest.fixture
def embedded(tmp_path, monkeypatch) -> Path:
    """A copy of the embedded model in its place."""
    folder = linked(tmp_path / "mini")
    monkeypatch.setitem(MODELS, "mini", replace(MODELS["mini"], source=str(folder)))
    vc.load_model("mini", device="cpu")
    return folder


@pytest.mark.parametrize("name", LOADED)
def test_the_embedded_model_is_the_one_that_was_shipped(embedded, name) -> None:
    content = bytearray((MINI / name).read_bytes())
    said = f"{name} is not the file that was shipped; install vscan-core again, or in a checkout"
    content[-2] ^= 1  # of the same length, and mostly still loadable
    put(embedded / name, bytes(content))
    with pytest.raises(vc.InputError, match=said):
        vc.load_model("mini", device="cpu")
    (embedded / name).unlink()
    with pytest.raises(vc.InputError, match=f"{name} is missing; install vscan-core again"):
        vc.load_model("mini", device="cpu")


def test_what_does_not_belong_to_the_embedded_model(embedded) -> None:
    put(embedded / "model.safetensors", (MINI / SHARDS[0]).read_bytes())  # would be loaded instead of the shards
    with pytest.raises(vc.InputError, match=r"model\.safetensors does not belong to it; remove"):
        vc.load_model("mini", device="cpu")
    (embedded / "model.safetensors").unlink()
    for listed in (None, b"", b"not a list", b"\xff"):
        (embedded / hashes.SUMS).unlink(missing_ok=True)
        if listed is not None:
            put(embedded / hashes.SUMS, listed)
        with pytest.raises(vc.InputError, match="embedded model is damaged"):
            vc.load_model("mini", device="cpu")
    hashes.write(embedded)
    assert (embedded / hashes.SUMS).read_text() == (MINI / hashes.SUMS).read_text()
    vc.load_model("mini", device="cpu")


def test_random_weights_need_the_embedded_tokenizer_only(embedded) -> None:
    (embedded / SHARDS[0]).unlink()
    vc.load_model("dummy:llava-small", device="cpu")
    put(embedded / "tokenizer.json", b"{}")
    with pytest.raises(vc.InputError, match=r"tokenizer\.json is not the file"):
        vc.load_model("dummy:llava-small", device="cpu")
