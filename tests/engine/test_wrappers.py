"""What holds a known model is unwrapped, or named in a sentence; compiled parts, too."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import vscan_core as vc
from tests.conftest import prompt, tiny_llava

BOTH = vc.VScan(encoder_keep=14, llm_keep={3: 5}, window=3)


@torch.no_grad()
def tokens(given, call) -> list[int]:
    with vc.reduced(given, BOTH) as trace:
        call(**prompt([1]))
    return trace.visual_tokens_per_layer


def test_wrappers_are_looked_through(sdpa_llava) -> None:
    peft = pytest.importorskip("peft")
    lora = peft.get_peft_model(tiny_llava(), peft.LoraConfig(r=2, target_modules=["q_proj"])).eval()
    holder = torch.nn.ModuleDict({"deep": torch.nn.Sequential(sdpa_llava)})
    pipeline = SimpleNamespace(model=sdpa_llava)
    for given, call in ((lora, lora), (holder, sdpa_llava), (pipeline, sdpa_llava)):
        assert tokens(given, call) == [14] * 3 + [5] * 3


def test_prompt_tuning_brings_embeddings_and_is_reduced_all_the_same() -> None:
    peft = pytest.importorskip("peft")
    settings = {"num_virtual_tokens": 4, "token_dim": 32, "num_layers": 6, "num_attention_heads": 4}
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_transformer_submodules=1, **settings)
    tuned = peft.get_peft_model(tiny_llava(), config).eval()
    assert tokens(tuned, tuned) == [14] * 3 + [5] * 3


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (lambda model: torch.nn.DataParallel(model), "DataParallel"),
        (lambda model: model.model, "lacks the language-model head"),
        (lambda model: "mini", "not a str"),
        (lambda model: None, "not a NoneType"),
        (lambda model: torch.nn.ModuleList([model, tiny_llava()]), "holds 2 models"),
        (lambda model: torch.nn.Linear(1, 1), "'Linear' are not supported"),
    ],
)
def test_what_cannot_be_reduced_is_named(sdpa_llava, given, sentence) -> None:
    with pytest.raises(vc.InputError, match=sentence), vc.reduced(given(sdpa_llava), BOTH):
        pass


@torch.no_grad()
def test_parts_compiled_as_a_whole_run_uncompiled(sdpa_llava) -> None:
    inputs, model = prompt([1]), tiny_llava()
    with vc.reduced(sdpa_llava, BOTH):
        wanted = sdpa_llava(**inputs).logits
    model.forward = torch.compile(model.forward, backend="eager")
    model.model.vision_tower.compile(backend="eager")
    model.model.language_model = torch.compile(model.model.language_model, backend="eager")
    whole = model(**inputs).logits
    with vc.reduced(model, BOTH):
        assert torch.allclose(model(**inputs).logits, wanted, atol=1e-5)
    assert torch.allclose(model(**inputs).logits, whole, atol=1e-5)
    torch._dynamo.reset()


@torch.no_grad()
def test_compiled_layers_beside_a_compiled_tower_are_told(sdpa_llava) -> None:
    inputs, model = prompt([1]), tiny_llava()
    for layer in model.model.language_model.layers:
        layer.compile(backend="eager")
    model.model.vision_tower.compile(backend="eager")
    model(**inputs)
    with pytest.raises(RuntimeError, match="vision encoder did not run"), vc.reduced(model, BOTH):
        model(**inputs)
    torch._dynamo.reset()


@torch.no_grad()
def test_a_decoder_that_is_not_seen_is_an_error(sdpa_llava, monkeypatch) -> None:
    from transformers.modeling_outputs import BaseModelOutputWithPast as Output

    monkeypatch.setattr(sdpa_llava.model.language_model, "forward", lambda inputs_embeds, **_: Output(inputs_embeds))
    with pytest.raises(RuntimeError, match="only 0 of 6 decoder layers"), vc.reduced(sdpa_llava, BOTH):
        sdpa_llava(**prompt([1]))
    monkeypatch.setattr(type(sdpa_llava), "forward", lambda self, **_: Output(torch.zeros(1, 1, 1)))
    with pytest.raises(RuntimeError, match="hooks on its decoder did not"), vc.reduced(sdpa_llava, BOTH):
        sdpa_llava(**prompt([1]))
