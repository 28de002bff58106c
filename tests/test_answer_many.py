"""Answers in batches are those of one by one, and every picture is encoded once."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.families import lvlms
from tests.families.test_shared_vision import counted
from vscan_core.events import Done
from vscan_core.picture_encoder import PictureEncoder

EXAMPLES = Path(__file__).parents[1] / "assets" / "examples"
SIZES = ((150, 100), (90, 240), (84, 84))
QUESTIONS = ("word5", "word6 word7 word8 word9 word10 word11", "word12 word13")


@pytest.fixture(scope="module")
def mini() -> vc.LVLM:
    return vc.load_model("mini", device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def examples() -> list[tuple[Image.Image, str]]:
    """Two questions about each of three pictures, of which every model sees another size, in a mixed order."""
    rows = json.loads((EXAMPLES / "examples.json").read_text())[:3]
    pictures = [Image.open(EXAMPLES / row["image"]) for row in rows]
    pictures[1] = pictures[1].resize((500, 250))
    asked = [(picture, row["question"]) for picture, row in zip(pictures, rows, strict=True)]
    return [*asked, *((picture, "What is at the top right of the picture?") for picture in pictures)]


@pytest.fixture(scope="module")
def alone(mini, examples) -> list[vc.Answer]:
    """VScan's answers to the examples, one by one."""
    return one_by_one(mini, examples, vc.VScan(1 / 9), 4)


def photos() -> list[tuple[Image.Image, str]]:
    """Questions about pictures of several sizes for the tiny models; the second picture has two."""
    pictures = [photo(size, seed) for seed, size in enumerate(SIZES)]
    return [*zip(pictures, QUESTIONS, strict=True), (pictures[1], "word14")]


def photo(size: tuple[int, int], seed: int) -> Image.Image:
    noise = torch.randint(256, (*reversed(size), 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(noise.numpy())


def one_by_one(lvlm: vc.LVLM, pairs, reducer, limit: int) -> list[vc.Answer]:
    def answers() -> Iterator[vc.Answer]:
        for picture, question in pairs:
            *_, done = vc.answer(lvlm, picture, question, reducer, max_new_tokens=limit)
            assert isinstance(done, Done)
            yield done.answer

    return list(answers())


def same(many: list[vc.BatchAnswer], alone: list[vc.Answer]) -> None:
    assert [one.text for one in many] == [one.text for one in alone]
    assert [one.token_ids for one in many] == [one.token_ids for one in alone]
    assert [one.finished for one in many] == [one.finished for one in alone]
    assert [list(one.visual_tokens_per_layer) for one in many] == [one.trace.visual_tokens_per_layer for one in alone]
    assert [one.visual_tokens for one in many] == pytest.approx([one.cost.visual_tokens for one in alone])


@pytest.mark.parametrize("name", ["baseline", "vscan", "tome"])
def test_the_embedded_model_answers_as_one_by_one(mini, examples, name) -> None:
    reducer = None if name == "baseline" else vc.REDUCERS[name](0.4)
    each = one_by_one(mini, examples, reducer, 4)
    assert len({one.text for one in each}) > 2, "the questions must have different answers"
    same(vc.answer_many(mini, examples, reducer, batch_size=4, max_new_tokens=4), each)


@pytest.mark.parametrize(("batch_size", "share_vision"), [(1, True), (3, False), (6, True)])
def test_no_batch_size_changes_an_answer(mini, examples, alone, batch_size, share_vision) -> None:
    settings = {"batch_size": batch_size, "max_new_tokens": 4, "share_vision": share_vision}
    same(vc.answer_many(mini, examples, vc.VScan(1 / 9), **settings), alone)


@pytest.mark.parametrize("name", [name for name in lvlms.MAKERS if name != "llava padded"])
@pytest.mark.parametrize("method", ["baseline", "vscan", "fastv"])
def test_every_family_answers_as_one_by_one(name, method) -> None:
    lvlm = lvlms.lvlm(name)
    reducer = None if method == "baseline" else vc.REDUCERS[method](0.5)
    each = one_by_one(lvlm, photos(), reducer, 3)
    kept = {tuple(one.trace.visual_tokens_per_layer) for one in each}
    assert len(kept) > 1 or lvlm.family.one_row_per_picture or name == "video_llava", "rows must differ in length"
    same(vc.answer_many(lvlm, photos(), reducer, batch_size=3, max_new_tokens=3), each)


@pytest.mark.parametrize("name", ["llava", "llava_next", "qwen2_5_vl"])
def test_every_picture_is_encoded_once(name) -> None:
    lvlm = lvlms.lvlm(name)
    pairs = photos() * 3
    copies = [(picture.copy(), question) for picture, question in pairs]
    for asked in (pairs, copies):
        with counted(lvlm) as runs:
            vc.answer_many(lvlm, asked, vc.VScan(0.5), batch_size=2, max_new_tokens=1)
        assert len(runs) == 3
    encoder = PictureEncoder(lvlm, [vc.VScan(0.5), None])
    for _ in range(2):
        encoder.encode([picture for picture, _ in pairs])
    assert encoder.encoded == 3


def test_no_more_pictures_are_remembered_than_the_limit_allows() -> None:
    lvlm = lvlms.lvlm("llava")
    pictures = [picture for picture, _ in photos()[:3]]
    encoder = PictureEncoder(lvlm, [None], limit=PictureEncoder(lvlm, [None]).encode(pictures[:1]).nbytes)
    for _ in range(2):
        encoder.encode(pictures)
    assert encoder.encoded == 3 + 2  # the last one is still there


def test_the_checkpoints_own_penalty_plays_no_part_as_in_answer(mini, examples, monkeypatch) -> None:
    plain = vc.answer_many(mini, examples[:2], None, max_new_tokens=4)
    monkeypatch.setattr(mini.model.generation_config, "repetition_penalty", 50.0)
    monkeypatch.setattr(mini.model.generation_config, "do_sample", True)
    assert vc.answer_many(mini, examples[:2], None, max_new_tokens=4) == plain


def test_an_answer_that_is_cut_is_not_finished(mini, examples) -> None:
    long, short = (vc.answer_many(mini, examples[:1], None, max_new_tokens=limit)[0] for limit in (8, 1))
    assert long.finished and not short.finished
    assert long.token_ids[:1] == short.token_ids and len(long.token_ids) > 1
    assert vc.answer_many(mini, [], None) == []


@pytest.fixture
def tight(mini) -> Iterator[list[int]]:
    """Memory for two rows only; the sizes of the batches that were tried."""
    tried: list[int] = []

    def allocate(module, args, kwargs) -> None:
        rows = len(kwargs["inputs_embeds"])
        if kwargs["inputs_embeds"].shape[1] > 1:
            tried.append(rows)
        if rows > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB")

    handle = mini.family.language_model(mini.model).register_forward_pre_hook(allocate, with_kwargs=True)
    yield tried
    handle.remove()


def test_batches_are_halved_where_memory_runs_out(mini, examples, alone, tight) -> None:
    with pytest.warns(UserWarning, match="ran out with 5 questions at once; going on with 2 at a time"):
        found = vc.answer_many(mini, examples, vc.VScan(1 / 9), batch_size=5, max_new_tokens=4)
    assert tight == [5, 2, 2, 2]
    same(found, alone)


def test_one_row_that_does_not_fit_is_one_sentence(mini, examples, monkeypatch) -> None:
    def fail(module, args) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB")

    handle = mini.family.projector(mini.model).register_forward_pre_hook(fail)
    try:
        with pytest.warns(UserWarning, match="1 at a time"), pytest.raises(vc.OutOfMemory, match="smaller picture"):
            vc.answer_many(mini, examples, None, batch_size=2)
    finally:
        handle.remove()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vc.answer_many(mini, examples[:1], None, max_new_tokens=1)  # the model is left as found


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1"),
        ({"question": " "}, "question is empty"),
        ({"picture": "scene.png"}, "takes one picture per question"),
        ({"reducer": vc.REDUCERS["evs"](0.5)}, "this is a picture"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence(mini, examples, change, sentence) -> None:
    given = {"picture": examples[0][0], "question": "What is it?", "reducer": None, **change}
    pairs = [(given.pop("picture"), given.pop("question"))]
    with pytest.raises(vc.InputError, match=sentence):
        vc.answer_many(mini, pairs, given.pop("reducer"), **given)
