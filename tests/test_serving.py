"""What an engine of its own is told beforehand is what runs, and the rows that it computes are those of the hooks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.families import lvlms
from tests.families.refused import refusal
from vscan_core import serving
from vscan_core.attach import reduced
from vscan_core.conformance.made_up import made_up_signals, within_reach
from vscan_core.conformance.tiny import TINY_MODELS
from vscan_core.families import family_of
from vscan_core.reducers import Forced, Then
from vscan_core.reducers.fastv import FastV
from vscan_core.reducers.pyramiddrop import PyramidDrop
from vscan_core.reducers.vispruner import VisPruner

ALL = {name: cls(retention=0.7) for name, cls in vc.REDUCERS.items()} | {
    "vscan alone": vc.VScan(encoder_keep=0.5, llm_keep={}),
    "a pair": Then(VisPruner(retention=0.6), FastV(retention=0.6)),
    "a blind pair": Then(VisPruner(retention=0.6), vc.REDUCERS["v2drop"](retention=0.7)),
    "forced": Forced(VisPruner(retention=0.6), keep=(0, 7), drop=(9,)),
    "forced inside": Forced(PyramidDrop(retention=0.7), drop=(9,)),
    "dart": vc.REDUCERS["dart"](retention=0.7, text_pivots=0),
}


@pytest.mark.parametrize("name", lvlms.MAKERS)
def test_a_configuration_is_enough_to_know_the_anatomy(name) -> None:
    lvlm = lvlms.lvlm(name)
    assert serving.anatomy_of(lvlm.model.config) == lvlm.anatomy


def test_a_configuration_of_another_kind_is_refused(mini) -> None:
    with pytest.raises(vc.InputError, match="models of type 'llama' are not supported"):
        serving.anatomy_of(mini.model.config.text_config)


@pytest.mark.parametrize("tiny", TINY_MODELS, ids=lambda tiny: tiny.name)
@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_a_method_runs_as_it_declared(tiny, name) -> None:
    reducer, model = ALL[name], tiny.model
    anatomy = family_of(model).anatomy(model)
    try:
        demands, traces = reducer.demands(anatomy), asked(tiny, reducer)
    except vc.InputError as error:
        expected = "for a picture of 1 tiles" if name.startswith("forced") else refusal(model, reducer)
        assert expected and re.search(expected, str(error))
        return
    kept = [[[cut.kept.tolist() for cut in image.cuts] for image in trace.images] for trace in traces]
    assert demands.question_blind == all(one == kept[0] for one in kept[1:])
    for image in traces[0].images:
        layers = [cut.layer for cut in image.cuts]
        assert set(layers) == set(demands.cuts) or (name == "forced inside" and set(layers) < set(demands.cuts))
        assert demands.entrance_only == (layers == [0])
        tokens, tiles = image.budget
        least, most = reducer.entrance_bounds(tokens, anatomy)
        if 0 in layers and image.origin is None:
            assert least * tiles <= len(image.cuts[0].kept) <= most * tiles
        if not demands.adaptive:
            assert least == most == (reducer.at_entrance(tokens, anatomy) or tokens)
    assert demands.merges_in_encoder == (shortest(tiny, reducer) < shortest(tiny, None))
    assert not demands.whole_video or tiny.placeholder != 99


def asked(tiny, reducer) -> list[vc.Trace]:
    """What several questions of one length about one picture leave of it."""
    traces = []
    for word in (3, 40, 41, 42):
        inputs = tiny.inputs([tiny.prompt])
        inputs["input_ids"][:, -2:] = word
        with reduced(tiny.model, reducer, question=f"word {word}") as trace:
            tiny.model(**inputs)
        traces.append(trace)
    return traces


def shortest(tiny, reducer) -> int:
    """The fewest tokens that a block of the vision encoder returns."""
    found: list[int] = []
    family = family_of(tiny.model)
    blocks = family.vision_blocks(family.vision_tower(tiny.model))
    read = [blocks[layer] for layer in family.vision_outputs(tiny.model)]
    handles = [one.register_forward_hook(lambda module, args, out: found.append(out.shape[-2])) for one in read]
    try:
        with reduced(tiny.model, reducer or vc.VScan(1.0), question="What?"):
            tiny.model(**tiny.inputs([tiny.prompt]))
    finally:
        for handle in handles:
            handle.remove()
    return min(found)


@pytest.mark.parametrize("name", vc.REDUCERS)
def test_only_who_compares_with_the_question_sees_it(name) -> None:
    reducer, anatomy = within_reach(name), serving.anatomy_of(lvlms.lvlm("llava").model.config)
    demands = vc.REDUCERS[name](retention=0.7).demands(anatomy)
    if demands.needs.joint:
        given = made_up_signals(12, needs=demands.needs)
        assert given.joint_text is not None and not demands.question_blind
        other = vc.Signals(**{**vars(given), "joint_text": given.joint_text.flip(-1)})
        assert not torch.equal(reducer.select(given, 30).kept, reducer.select(other, 30).kept)


def test_a_method_whose_count_depends_on_the_picture_says_so() -> None:
    class Halves(vc.REDUCERS["random"]):  # type: ignore[misc]
        """May keep fewer."""

        adaptive = True

    anatomy = serving.anatomy_of(lvlms.lvlm("llava").model.config)
    for reducer in (Halves(0.5), Then(Halves(0.5), FastV(0.7)), Forced(Halves(0.5), keep=(1,))):
        assert reducer.demands(anatomy).adaptive and reducer.entrance_bounds(36, anatomy) == (1, 18)
    assert Halves(1.0).entrance_bounds(36, anatomy)[1] == 36
    tiled = Forced(VisPruner(0.5), keep=tuple(range(30)), drop=(40, 41), tiles=2)
    assert tiled.demands(anatomy).adaptive and tiled.entrance_bounds(36, anatomy) == (18, 30)


def entering(lvlm: vc.LVLM, reducer, picture: Image.Image) -> tuple[torch.Tensor, list[vc.ImageTrace]]:
    """The rows of the picture that enter the first decoder layer, under the hooks, and what became of it."""
    inputs, rows = lvlm.inputs(picture, "word5 word6"), []

    def record(module, args, kwargs) -> None:
        rows.append(args[0] if args else kwargs["hidden_states"])

    with torch.no_grad(), reduced(lvlm.model, reducer) as trace:
        handle = lvlm.family.layers(lvlm.model)[0].register_forward_pre_hook(record, with_kwargs=True)
        lvlm.model(**inputs)
        handle.remove()
    token = lvlm.family.image_token_id(lvlm.model)
    start = int((inputs["input_ids"][0] == token).nonzero()[0])
    kept = sum(len(image.cuts[0].kept) if image.cuts else image.tokens for image in trace.images)
    return rows[0][0, start : start + kept], list(trace.images)


ENTRANCE = [
    *(cls(retention=1 / 6) for cls in vc.REDUCERS.values() if cls not in (vc.VScan, vc.REDUCERS["evs"])),
    vc.VScan(encoder_keep=1 / 6, llm_keep={}),
    vc.VScan(encoder_keep=1 / 6, llm_keep={}, merge=False),
    vc.REDUCERS["visionzip"](retention=1 / 6, released=True),
    vc.REDUCERS["prumerge"](retention=1 / 6, released=True),
]


@pytest.mark.parametrize("where", ["mini", "qwen2_5_vl", "internvl"])
@pytest.mark.parametrize("reducer", ENTRANCE, ids=repr)
@torch.no_grad()
def test_rows_are_those_of_the_hooks(mini, where, reducer) -> None:
    lvlm = mini if where == "mini" else lvlms.lvlm(where)
    try:
        demands = reducer.demands(lvlm.anatomy)
        lvlm.family.check(demands.needs)
    except vc.InputError:
        return
    if not demands.entrance_only or not demands.question_blind or demands.merges_in_encoder or demands.whole_video:
        return
    side = 84 if where == "internvl" else 112  # one tile
    picture = Image.effect_noise((side, side), 80).convert("RGB")
    expected, images = entering(lvlm, reducer, picture)
    (tile,) = lvlm.preview(picture, reducer).tiles
    keep = reducer.at_entrance(tile.tokens, lvlm.anatomy)
    project = lvlm.family.projector(lvlm.model)
    (chosen,), (rows,) = serving.reduce_tiles(reducer, tile.as_tiles(), keep, lvlm.anatomy, project)
    assert torch.equal(chosen.kept, images[0].cuts[0].kept) and len(chosen.kept) == keep
    torch.testing.assert_close(rows, expected, atol=1e-5, rtol=1e-5)


def test_pictures_of_one_batch_do_not_see_each_other(mini) -> None:
    project = mini.family.projector(mini.model)
    pictures = [Image.effect_noise((336, 336), spread).convert("RGB") for spread in (20, 90)]
    for reducer in (vc.VScan(encoder_keep=96, llm_keep={}), VisPruner(1 / 6), vc.REDUCERS["divprune"](1 / 6)):
        tiles = [mini.preview(picture, reducer).signals for picture in pictures]
        with torch.no_grad():
            chosen, rows = serving.reduce_tiles(reducer, vc.Signals.together(tiles), 96, mini.anatomy, project)
            for tile, one, row in zip(tiles, chosen, rows, strict=True):
                alone = serving.reduce_tiles(reducer, tile.as_tiles(), 96, mini.anatomy, project)
                assert torch.equal(alone[0][0].kept, one.kept)
                torch.testing.assert_close(alone[1][0], row, atol=1e-5, rtol=1e-5)


def test_what_merges_in_the_encoder_is_refused(mini) -> None:
    signals = made_up_signals(24).as_tiles()
    with pytest.raises(vc.InputError, match="ToMe merges tokens inside the vision encoder"):
        serving.reduce_tiles(vc.REDUCERS["tome"](1 / 6), signals, 96, mini.anatomy, torch.nn.Identity())


def test_the_example_in_the_reference_runs() -> None:
    text = (Path(__file__).parents[1] / "docs/api.md").read_text()
    code = text.partition("## In an engine of your own")[2].partition("```python\n")[2].partition("```")[0]
    found: dict[str, Any] = {}
    exec(compile(code, "docs/api.md", "exec"), found)
    assert found["count"] == found["keep"] == len(found["entering"][0]) == 64
    assert found["said"].endswith("VScan keeps 11.1% of visual tokens there")
