"""A preview, without the language model, shows what a run keeps, for every family."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import vscan_core as vc
from app import formatting
from app.session.engine import Engine
from app.session.session import Session
from app.stage.view import preview_view, run_view, stage_data
from tests.families import lvlms
from vscan_core.draw.fates import Fate
from vscan_core.selection import Needs

NAMES = list(lvlms.MAKERS)
METHODS = [
    vc.VScan(0.5),
    vc.VScan(0.5, merge=False, local_share=0.3),
    *(
        vc.REDUCERS[name](0.6)
        for name in ("divprune", "fastv", "fastervlm", "hiprune", "pyramiddrop", "tome", "visionzip")
    ),
    vc.VScan(1.0),
]


SIZES = [(200, 90), (60, 130)]


def noise(size: tuple[int, int]) -> Image.Image:
    pixels = torch.randint(0, 255, (*size[::-1], 3), generator=torch.Generator().manual_seed(0))
    return Image.fromarray(pixels.byte().numpy())


@pytest.fixture(scope="module", params=SIZES, ids=str)
def picture(request) -> Image.Image:
    return noise(request.param)


def check_same(preview: vc.ImageTrace, image: vc.ImageTrace) -> None:
    assert (preview.tokens, preview.tiles, preview.grid) == (image.tokens, image.tiles, image.grid)
    first = [cut for cut in image.cuts if cut.layer == 0]
    assert len(preview.cuts) == len(first)
    for seen, ran in zip(preview.cuts, first, strict=True):
        assert torch.equal(seen.kept, ran.kept) and torch.equal(seen.merged_into, ran.merged_into)
        assert {k: v.tolist() for k, v in seen.labels.items()} == {k: v.tolist() for k, v in ran.labels.items()}
        assert seen.scores.keys() == ran.scores.keys()
        for name, scores in seen.scores.items():
            torch.testing.assert_close(scores, ran.scores[name], equal_nan=True)


@pytest.mark.parametrize("reducer", METHODS, ids=repr)
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_preview_is_the_first_cut_of_a_run(name, reducer, picture) -> None:
    lvlm = lvlms.lvlm(name)
    inputs = lvlm.inputs(picture, "word5 word6")
    try:
        with vc.reduced(lvlm.model, reducer) as trace:
            lvlm.model.generate(**inputs, max_new_tokens=1)
    except vc.InputError:
        if 0 in reducer.cut_layers(lvlm.anatomy):  # what is refused inside the LLM, a look cannot see
            with pytest.raises(vc.InputError):
                lvlm.preview(picture, reducer).trace(reducer)
        return
    (image,) = trace.images
    one_preview = lvlm.preview(picture, reducer)
    check_same(one_preview.trace(reducer), image)
    assert torch.equal(one_preview.boxes.nan_to_num(-1), trace.boxes(0).nan_to_num(-1))


@pytest.mark.parametrize("name", NAMES)
def test_one_preview_serves_every_retention(name, picture) -> None:
    lvlm, calls = lvlms.lvlm(name), []
    hook = lvlm.family.vision_tower(lvlm.model).register_forward_hook(lambda *_: calls.append(1))
    one_preview = lvlm.preview(picture, vc.VScan())
    kept = [len(one_preview.trace(vc.VScan(share)).kept) for share in (0.2, 0.4, 0.6)]
    hook.remove()
    assert kept == sorted(set(kept)) and len(calls) == 1
    with pytest.raises(ValueError, match="make a preview with this reducer"):
        lvlm.preview(picture, Needs()).trace(vc.VScan(0.5))


@pytest.mark.parametrize("name", ["llava", "qwen3_vl", "idefics3"])
@torch.no_grad()
def test_one_preview_serves_methods_that_look_at_different_layers(name, picture) -> None:
    lvlm, reducers = lvlms.lvlm(name), [vc.VScan(0.5), vc.REDUCERS["hiprune"](0.5, alpha=0.5)]
    wanted = [reducer.needs(lvlm.anatomy) for reducer in reducers]
    assert wanted[0] != wanted[1] != wanted[0] | wanted[1]
    together = lvlm.preview(picture, wanted[0] | wanted[1])
    for reducer in reducers:
        with vc.reduced(lvlm.model, reducer) as trace:
            lvlm.model(**lvlm.inputs(picture, "word5 word6"))
        check_same(together.trace(reducer), trace.images[0])


@pytest.mark.parametrize("name", ["llava_next", "internvl"])
def test_signals_of_several_tiles_are_not_taken_for_one(name, picture) -> None:
    lvlm = lvlms.lvlm(name)
    assert len(lvlm.preview(picture, vc.VScan()).tiles) > 1
    with pytest.raises(vc.InputError, match="tiles"):
        lvlm.signals(picture, vc.VScan())


@pytest.mark.parametrize("name", ["llava", "llava_next", "qwen2_5_vl", "internvl", "idefics3"])
@torch.no_grad()
def test_a_batch_of_pictures_is_cut_as_each_alone(name) -> None:
    lvlm, reducer = lvlms.lvlm(name), vc.VScan(0.5)
    pictures = [noise(size) for size in SIZES]
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "word5"}]}
    text = [lvlm.processor.apply_chat_template([turn], add_generation_prompt=True)] * 2
    batch = lvlm.processor(images=pictures, text=text, return_tensors="pt", padding=True, padding_side="left")
    with vc.reduced(lvlm.model, reducer) as together:
        lvlm.model(**lvlm.placed(batch, pictures))
    assert len(together.images) == 2
    for i, picture in enumerate(pictures):
        with vc.reduced(lvlm.model, reducer) as alone:
            lvlm.model(**lvlm.inputs(picture, "word5"))
        assert [cut.kept.tolist() for cut in together.images[i].cuts] == [
            cut.kept.tolist() for cut in alone.images[0].cuts
        ]
        assert torch.equal(together.boxes(i).nan_to_num(-1), alone.boxes(0).nan_to_num(-1))


class OneModel(Engine):
    """The demo's engine with one tiny model behind every name."""

    def __init__(self, lvlm: vc.LVLM) -> None:
        self.lvlm = lvlm

    def load(self, name: str) -> vc.LVLM:
        return self.lvlm


@pytest.mark.parametrize("name", NAMES)
def test_the_demo_previews_and_runs_every_family_alike(name, picture, tmp_path) -> None:
    session, path = Session(OneModel(lvlms.lvlm(name))), str(tmp_path / "picture.png")
    picture.save(path)
    preview = session.preview("mini", path, 0.5)
    events = list(session.compare("mini", path, "word5 word6", 0.5))
    answer = [event.answer for event in events if isinstance(event, vc.Done)][1]
    check_same(preview.trace, answer.trace.images[0])
    steps = answer.trace.visual_tokens_per_layer
    assert formatting.schedule(preview.schedule, preview.trace.tokens) == formatting.with_arrows([steps[0], steps[-1]])
    opened = session.open(path)
    for view in (preview_view(preview, 0.5), run_view(answer.trace, 0.5)):
        data = stage_data(opened, view)
        kept = [code for code in data["cuts"][0]["fates"] if int(code) <= Fate.KEPT]
        assert len(kept) == steps[0] and data["tokens"] == len(data["boxes"]) / 4 == preview.trace.tokens
