"""Models spread over devices by accelerate: the same tokens, the same numbers."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import accelerate
import pytest
import torch

import vscan_core as vc
from tests.conftest import prompt, tiny_llava
from tests.families import tiny
from tests.reference.elsewhere import ELSEWHERE, Distant, SecondDevice, fetch, send
from vscan_core.families import family_of

MODELS = {
    "llava": (tiny_llava, lambda: prompt([1, 2])),
    "llava_next": (tiny.llava_next, lambda: tiny.next_inputs([[(84, 168)], [(50, 168), (84, 168)]])),
    "qwen2_5_vl": (tiny.qwen, lambda: tiny.qwen_inputs([[(8, 12)], [(12, 8), (8, 8)]])),
    "qwen3_vl": (tiny.qwen3, lambda: tiny.qwen_inputs([[(8, 12)], [(12, 8), (8, 8)]])),
    "qwen3_5": (tiny.qwen35, lambda: tiny.qwen_inputs([[(8, 12)], [(12, 8), (8, 8)]])),
    "glm4v": (tiny.glm, lambda: tiny.qwen_inputs([[(8, 12)], [(12, 8), (8, 8)]])),
    "gemma4": (tiny.gemma, lambda: tiny.gemma_inputs([[(4, 6)], [(3, 4), (4, 4)]])),
    "internvl": (tiny.internvl, lambda: tiny.tile_inputs([[1], [2, 3]])),
    "smolvlm": (tiny.smolvlm, lambda: tiny.row_inputs([[1], [2, 3]])),
}
METHODS = {
    "vscan": vc.VScan(encoder_keep=9, llm_keep={3: 4, 5: 0.5}, local_layer=1),
    "fastv": vc.REDUCERS["fastv"](retention=0.6),
    "pyramiddrop": vc.REDUCERS["pyramiddrop"](retention=0.6),
    "sparsevlm": vc.REDUCERS["sparsevlm"](retention=0.6),
    "pact": vc.REDUCERS["pact"](retention=0.6),
    "topv": vc.REDUCERS["topv"](retention=0.6),
    "dart": vc.REDUCERS["dart"](retention=0.6),
    "hiprune": vc.REDUCERS["hiprune"](retention=0.3),
    "greedyprune": vc.REDUCERS["greedyprune"](retention=0.6),
    "v2drop": vc.REDUCERS["v2drop"](retention=0.6),
    "ivcprune": vc.REDUCERS["ivcprune"](retention=0.6),
    "apet": vc.REDUCERS["apet"](retention=0.6),
}
# these cut too early (before features are added, or before attention scores) or too late (where keys are reused);
# tests/families examine the refusal
REFUSED = {("qwen3_vl", "pyramiddrop"), ("qwen3_vl", "sparsevlm"), ("qwen3_vl", "pact"), ("qwen3_vl", "v2drop")}
REFUSED |= {("qwen3_5", "sparsevlm"), ("gemma4", "vscan")}


def run(model, inputs, reducer):
    """Logits of the prompt, three greedy tokens, and what every cut kept."""
    with torch.no_grad(), vc.reduced(model, reducer) as trace:
        logits = model(**inputs).logits
        ids = model.generate(**inputs, max_new_tokens=3, do_sample=False, pad_token_id=0)
    return logits, ids, [cut.kept.cpu() for image in trace.images for cut in image.cuts]


def same(found, wanted) -> None:
    torch.testing.assert_close(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    for mine, theirs in zip(found[2], wanted[2], strict=True):
        assert mine.tolist() == theirs.tolist()


@pytest.mark.parametrize(("name", "method"), [pair for pair in product(MODELS, METHODS) if pair not in REFUSED])
def test_layers_on_a_second_device(name, method) -> None:
    make, inputs = MODELS[name]
    model, reducer = make("sdpa"), METHODS[method]
    wanted = run(model, inputs(), reducer)
    family = family_of(model)
    for layer in family.layers(model)[2:5]:  # cuts at, inside and behind the part that is elsewhere
        send(layer)
    fetch(family.layers(model)[5])
    fetch(family.language_model(model).norm)
    with SecondDevice():
        same(run(model, inputs(), reducer), wanted)


def test_the_second_device_refuses_to_mix() -> None:
    with SecondDevice():
        there = torch.ones(3).to(ELSEWHERE)
        assert isinstance(there, Distant) and (there + there).device == ELSEWHERE
        assert (there + there).cpu().tolist() == [2, 2, 2]
        with pytest.raises(RuntimeError, match="different devices"):
            there + torch.ones(3)


@pytest.mark.parametrize("where", ["main memory", "disk"])
@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "internvl", "smolvlm"])
def test_weights_that_are_fetched_when_they_are_needed(name, where, tmp_path) -> None:
    make, inputs = MODELS[name]
    wanted = run(make("sdpa"), inputs(), METHODS["vscan"])
    model, cpu = make("sdpa"), torch.device("cpu")
    if where == "disk":
        accelerate.disk_offload(model, str(tmp_path), cpu)
    else:
        accelerate.cpu_offload(model, cpu)
    assert model.device.type == "meta"
    same(run(model, inputs(), METHODS["vscan"]), wanted)
    embeds = model.get_input_embeddings()(torch.tensor([[4, 5, 6]] * 2))
    with vc.reduced(model, METHODS["vscan"]):  # placeholders are looked for among embeddings
        assert not model(inputs_embeds=embeds).logits.isnan().any()


def test_a_model_is_loaded_with_a_device_map() -> None:
    lvlm = vc.load_model("mini", device_map={"": "cpu"})
    assert lvlm.device == torch.device("cpu")
    with pytest.raises(vc.InputError, match="not both"):
        vc.load_model("mini", device="cpu", device_map="auto")


def test_inputs_go_to_the_first_device_that_computes() -> None:
    model = SimpleNamespace(hf_device_map={"vision": "disk", "a": 1, "b": "cpu"}, device=torch.device("meta"))
    lvlm = vc.LVLM(model=model, processor=None, family=None, name="spread")
    assert lvlm.device == torch.device("cuda", 1)
