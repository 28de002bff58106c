"""One builder of inputs: what the library, the evaluation and the lmms-eval plug-in give a model is the same."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import vscan_core as vc
from tests.families import lvlms
from tests.families.test_preview import noise
from vscan_core.lvlm import PIXELS
from vscan_core.media.images import as_rgb
from vscan_eval.replies import Prompt, _inputs

NAMES = list(lvlms.MAKERS)
SIZES = [(200, 90), (60, 130), (84, 84)]
BATCHES = [[1], [1, 1], [2, 1], [1, 0, 1], [0, 1], [0, 0]]


@pytest.fixture(autouse=True)
def numbers_in_words(monkeypatch) -> None:
    """SmolVLM's processor wants a package for the prompts of videos only."""
    if importlib.util.find_spec("num2words") is None:
        monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", str)
        monkeypatch.setitem(sys.modules, "num2words", ModuleType("num2words"))


@cache
def made(name: str) -> vc.LVLM:
    model, processor = lvlms.MAKERS[name]()
    return vc.LVLM(model=model.eval(), processor=processor, family=lvlms.family_of(model), name=name)


def photo(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Transparent, held upright by a camera that lay on its side: what a careless conversion gets wrong."""
    image = Image.effect_noise(size, 80 + seed).convert("RGB")
    image.putalpha(Image.linear_gradient("L").resize(size))
    image.getexif()[0x0112] = 6
    return image


def prompt(lvlm: vc.LVLM, pictures: int, question: str = "word5 word6") -> str:
    content = [{"type": "image"}] * pictures + [{"type": "text", "text": f" {question}"}]
    return lvlm.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def equal(one: Any, other: Any) -> None:
    assert set(one) == set(other)
    for name in one:
        assert one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]), name


def in_bfloat16(name: str, **more: Any) -> vc.LVLM:
    model = SimpleNamespace(dtype=torch.bfloat16, device=torch.device("cpu"), config=made(name).model.config)
    return replace(made(name), model=SimpleNamespace(**vars(model), **more))


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_what_the_stock_processor_makes_and_only_pixels_are_cast(name) -> None:
    lvlm, picture = in_bfloat16(name), photo(SIZES[0])
    got = lvlm.inputs(picture, "word5 word6")
    stock = lvlm.processor(images=as_rgb(picture), text=lvlm.chat("word5 word6"), return_tensors="pt")
    equal(got, {key: part.bfloat16() if key in PIXELS else part for key, part in stock.items()})


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "video_llava"])
def test_of_a_video_only_pixels_are_cast(name) -> None:
    video = vc.Video([as_rgb(photo(SIZES[0], seed)) for seed in range(4)], [0.0, 0.3, 0.7, 1.001])
    got, exact = in_bfloat16(name).inputs(video, "word5"), made(name).inputs(video, "word5")
    equal(got, {key: part.bfloat16() if key in PIXELS else part for key, part in exact.items()})


@pytest.mark.parametrize("name", NAMES)
def test_the_evaluation_gives_a_model_the_same(name) -> None:
    lvlm, picture = made(name), photo(SIZES[0])
    equal(_inputs(lvlm, [Prompt(picture, "word5 word6")]), lvlm.inputs(picture, "word5 word6"))


@pytest.fixture
def plugin(monkeypatch) -> ModuleType:
    """The plug-in, without lmms-eval: of it only some names are needed to prepare a batch."""
    for name in ("lmms_eval", "api", "api.instance", "api.model", "models", "models.model_utils"):
        full = name if name == "lmms_eval" else f"lmms_eval.{name}"
        monkeypatch.setitem(sys.modules, full, ModuleType(full))
    metrics = ModuleType("lmms_eval.models.model_utils.gen_metrics")
    metrics.log_metrics = print
    monkeypatch.setitem(sys.modules, metrics.__name__, metrics)
    names = {"GenerationResult": tuple, "Instance": tuple, "TokenCounts": tuple}
    vars(sys.modules["lmms_eval.api.instance"]).update(names)
    vars(sys.modules["lmms_eval.api.model"]).update(lmms=object)
    monkeypatch.delitem(sys.modules, "vscan_eval.lmms_eval", raising=False)
    yield importlib.import_module("vscan_eval.lmms_eval")
    sys.modules.pop("vscan_eval.lmms_eval", None)


@pytest.mark.parametrize("name", NAMES)
def test_the_plugin_gives_a_model_the_same(plugin, monkeypatch, name) -> None:
    class Seen(Exception):
        pass

    def generate(**inputs: Any) -> None:
        raise Seen(inputs)

    @contextmanager
    def untouched(model: Any, reducer: Any):
        yield

    monkeypatch.setattr(plugin, "reduced", untouched)
    lvlm, picture = in_bfloat16(name, generate=generate), photo(SIZES[0])
    adapter = plugin.VScanModel.__new__(plugin.VScanModel)
    adapter.lvlm, adapter.processor, adapter.reducer = lvlm, lvlm.processor, None
    adapter._messages = lambda request: request.chat
    content = [{"type": "image", "url": picture}, {"type": "text", "text": "word5 word6"}]
    request = SimpleNamespace(args=("", None, {}), chat=[{"role": "user", "content": content}])
    with pytest.raises(Seen) as seen:
        adapter._answer([request, request])
    (given,) = seen.value.args
    settings = {"max_new_tokens", "do_sample", "pad_token_id"}
    twice = lvlm.prepare([picture] * 2, [lvlm.chat("word5 word6")] * 2)
    equal({key: part for key, part in given.items() if key not in settings}, twice)
    assert torch.equal(twice["input_ids"][:1], lvlm.inputs(picture, "word5 word6")["input_ids"])


@pytest.mark.parametrize("counts", BATCHES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_rows_may_have_any_number_of_pictures(name, counts) -> None:
    lvlm = made(name)
    pictures = [photo(size, seed) for seed, size in enumerate(SIZES[: sum(counts)])]
    texts = [prompt(lvlm, count, "word5 " * (row + 1)) for row, count in enumerate(counts)]
    batch = lvlm.prepare(pictures, texts)
    rest = list(pictures)
    pixels = []
    for row, count in enumerate(counts):
        mine, rest = rest[:count], rest[count:]
        alone = lvlm.prepare(mine, texts[row : row + 1])
        length = alone["input_ids"].shape[1]
        assert torch.equal(batch["input_ids"][row, -length:], alone["input_ids"][0])
        assert batch["attention_mask"][row].sum() == length
        pixels += [flat(lvlm, alone[key]) for key in PIXELS & alone.keys()]
    (together,) = [flat(lvlm, batch[key]) for key in PIXELS & batch.keys()] or [torch.zeros(0)]
    assert torch.equal(together, torch.cat([*pixels, torch.zeros(0)]))


def flat(lvlm: vc.LVLM, pixels: Tensor) -> Tensor:
    """Pixels without the padding tiles that a batch brings."""
    real = pixels.flatten(0, 1)[pixels.flatten(0, 1).flatten(1).any(1)] if pixels.dim() == 5 else pixels
    return real.flatten()


@pytest.mark.parametrize(("pictures", "places"), [(1, 0), (0, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("name", NAMES)
def test_pictures_without_a_place_and_places_without_one_are_refused(name, pictures, places) -> None:
    lvlm = made(name)
    with pytest.raises(vc.InputError, match=f"are {pictures} pictures for {places} image placeholders"):
        lvlm.prepare([photo(SIZES[0])] * pictures, [prompt(lvlm, places)])


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_a_shape_that_is_not_taken_is_told_in_the_pictures_own_pixels(name) -> None:
    lvlm, wide = made(name), Image.new("RGB", (6000, 9))
    with pytest.raises(vc.InputError, match="does not accept a picture of 6000 x 9 pixels"):
        lvlm.inputs(wide, "word5")
    with pytest.raises(vc.InputError, match="of 20 x 20 pixels or 6000 x 9 pixels"):
        lvlm.prepare([Image.new("RGB", (20, 20)), wide], [prompt(lvlm, 2)])


@pytest.mark.parametrize("name", NAMES)
def test_boxes_of_a_shrunk_picture_are_in_its_own_pixels(name) -> None:
    lvlm = made(name)
    small, large = (lvlm.boxes(Image.new("RGB", size)) for size in ((1024, 2048), (2048, 4096)))
    torch.testing.assert_close(large, 2 * small, equal_nan=True)
    large = Image.new("RGB", (4096, 2048))
    large.getexif()[0x0112] = 8  # upright it is 2048 wide
    torch.testing.assert_close(lvlm.boxes(large), 2 * small, equal_nan=True)


@pytest.mark.parametrize("name", list(lvlms.MAKERS))
@torch.no_grad()
def test_a_budget_does_not_depend_on_who_made_or_copied_the_inputs(name) -> None:
    lvlm, picture = lvlms.lvlm(name), noise((200, 90))
    made = lvlm.inputs(picture, "word5 word6")
    copied = {key: part.clone() for key, part in made.items()}
    twice = {key: part.double().float() if part.is_floating_point() else part for key, part in made.items()}
    seen = []
    for inputs in (made, copied, twice):
        with vc.reduced(lvlm.model, vc.VScan(0.4)) as trace:
            logits = lvlm.model(**inputs).logits[0, -1]
        with vc.reduced(lvlm.model, vc.VScan(0.4)) as generated:
            lvlm.model.generate(**inputs, max_new_tokens=2, do_sample=False)
        kept = [[cut.kept.tolist() for cut in image.cuts] for image in trace.images]
        assert kept == [[cut.kept.tolist() for cut in image.cuts] for image in generated.images]
        seen.append((trace.visual_tokens_per_layer, [image.tiles for image in trace.images], kept, logits.tolist()))
    assert seen[0] == seen[1] == seen[2] and len(seen[0][1]) == 1
