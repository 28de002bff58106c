"""What a request may ask for, its one spelling, and everything that is refused before an engine sees it."""

from __future__ import annotations

import dataclasses
import json
from copy import deepcopy

import pytest
import torch

import vscan_core as vc
from tests.vllm.asking import TOKENS, mini
from vscan_vllm.rehearsal import rehearse
from vscan_vllm.servable import Servable
from vscan_vllm.settings import from_rows, method_of, reducer_of, spelled, to_rows

ON_PICTURES = ("vscan", "vispruner", "fastervlm", "visionzip", "divprune", "prumerge", "tokentransforming", "scope",
               "holov", "hiprune", "otprune", "prunesid", "apet", "random", "grid", "downsample")  # fmt: skip
GRID = (24, 24)
BAD = {
    "no object": ("fast", 'null or an object such as {"method": "vscan", "retention": 0.1}, but is "fast"'),
    "no method": ({"retention": 0.1}, "null or an object such as"),
    "number": ({"method": 3}, "null or an object such as"),
    "unknown method": ({"method": "best"}, "there is no method 'best'; choose vscan, cascade, vispruner"),
    "cascade": ({"method": "cascade"}, "Cascade asks a second time if an answer is unsure, and vLLM answers once"),
    "unknown setting": ({"method": "grid", "rate": 1}, 'Grid has no setting "rate"; it has retention, positions'),
    "too much": ({"method": "grid", "retention": 7}, "retention must be above 0"),
    "no number": ({"method": "grid", "retention": float("nan")}, "retention must be above 0"),
    "kind": ({"method": "vscan", "window": "wide"}, "window must be a whole number or None"),
    "question": ({"method": "trim"}, "TRIM needs the question"),
    "question too": ({"method": "cdpruner"}, "CDPruner needs the question"),
    "later cut": ({"method": "fastv"}, "FastV cuts inside the language model"),
    "later cuts": ({"method": "vscan", "llm_keep": {"3": 20}}, "each layer of llm_keep must be a whole number"),
    "encoder": ({"method": "tome"}, "ToMe merges tokens inside the vision encoder"),
    "positions": ({"method": "grid", "positions": "original"}, "Grid can have only renumbered positions in vLLM"),
    "no layer": ({"method": "vscan", "global_layer": 50}, "vision layer 50 does not exist"),
    "long": ({"method": "random", "seed": 10**2000}, "the settings are 2"),
    "seed": ({"method": "random", "seed": 1 << 70}, "Random cannot run with these settings"),
    "window": ({"method": "vscan", "window": 10**30}, "VScan cannot run with these settings"),
    "out of reach": ({"method": "grid", "retention": 1e-9}, "out of reach"),
    "video": ({"method": "evs", "retention": 0.5}, "EVS compares the frames of a video, and this is a picture"),
}


@pytest.fixture(scope="module")
def servable() -> Servable:
    """Of the embedded model's configuration."""
    return Servable(mini().model.config)


def accepted(servable: Servable, given) -> str:
    """What a front end does with the settings of a request about a picture."""
    reducer, _ = servable.wanted(given)
    text = spelled(reducer)
    if reducer is not None:
        rehearse(reducer, GRID, TOKENS, 0, servable.anatomy)
    return text


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_run_is_refused_in_a_sentence(servable, name) -> None:
    given, sentence = BAD[name]
    with pytest.raises(vc.InputError) as refusal:
        accepted(servable, given)
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_vision_layer_that_vllm_does_not_load_is_refused() -> None:
    config = deepcopy(mini().model.config)
    config.vision_feature_layer = -2
    with pytest.raises(vc.InputError, match="VScan needs a vision layer above 4, the last one that vLLM loads"):
        Servable(config).wanted({"method": "vscan", "global_layer": 5})


@pytest.mark.parametrize("method", vc.REDUCERS)
def test_a_method_runs_on_pictures_or_is_refused(servable, method) -> None:
    given = {"method": method, "retention": 0.25}
    if method in ON_PICTURES:
        assert reducer_of(accepted(servable, given)).at_entrance(TOKENS, servable.anatomy) == 144
    else:
        with pytest.raises(vc.InputError):
            accepted(servable, given)


def test_methods_for_videos_are_servable_too(servable) -> None:
    assert set(servable.methods) == {*ON_PICTURES, "evs", "vidcom2"}
    for method in ("evs", "vidcom2"):
        reducer, _ = servable.wanted({"method": method, "retention": 0.5})
        rehearse(reducer, (4, 6), 24, 4, servable.anatomy)
    with pytest.raises(vc.InputError, match="EVS always keeps the first frame"):
        rehearse(vc.REDUCERS["evs"](retention=0.2), (4, 6), 24, 4, servable.anatomy)


def test_one_meaning_has_one_spelling_and_another_meaning_another(servable) -> None:
    same = [{"method": "grid"}, {"retention": 1 / 9, "method": "grid"}, {"method": "grid", "positions": None}]
    assert len({accepted(servable, given) for given in same}) == 1
    others = [None, {"method": "grid", "retention": 0.2}, {"method": "random"}, {"method": "random", "seed": 1}]
    assert len({accepted(servable, given) for given in [*others, *same]}) == len(others) + 1


def test_a_share_of_all_layers_becomes_a_share_at_the_entrance_and_is_said(servable) -> None:
    reducer, changed = servable.wanted({"method": "vscan", "retention": 0.1})
    assert reducer == vc.VScan(retention=0.1, encoder_keep=0.1, llm_keep={})
    assert "cuts only at the entrance" in changed
    assert servable.wanted({"method": "vscan", "encoder_keep": 96, "retention": 0.5})[0].at_entrance(
        TOKENS, servable.anatomy
    ) == 96  # fmt: skip
    assert servable.wanted({"method": "grid"})[1] is None


@pytest.mark.parametrize("method", ON_PICTURES)
def test_settings_travel_as_bytes(servable, method) -> None:
    reducer, _ = servable.wanted({"method": method, "retention": 0.3})
    rows = to_rows(spelled(reducer), 2)
    assert rows.dtype == torch.uint8 and from_rows([*rows, *to_rows(spelled(None), 1)]) == [reducer, reducer, None]
    assert from_rows(rows) == [reducer, reducer]
    assert hash(reducer_of(spelled(reducer))) == hash(reducer)


def test_settings_are_plain_json(servable) -> None:
    text = accepted(servable, {"method": "vscan", "retention": 0.1})
    assert json.loads(text)["method"] == "vscan" and method_of(json.loads(text)) == reducer_of(text)
    assert set(json.loads(text)) == {"method", *(one.name for one in dataclasses.fields(vc.VScan) if one.init)}


def test_the_operator_chooses_what_requests_get_that_say_nothing() -> None:
    config = mini().model.config
    assert Servable(config).default is None
    config.vscan = {"method": "grid"}
    try:
        assert Servable(config).wanted(Servable(config).default)[0] == vc.REDUCERS["grid"]()
    finally:
        del config.vscan
