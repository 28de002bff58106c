"""Asking several questions at once changes no answer, whatever is shared between them."""

from __future__ import annotations

import pytest
import torch

import vscan_core as vc
from tests.eval.conftest import picture
from tests.families.refused import OF_VIDEOS
from vscan_core.reducers.sparsevlm import SparseVLM
from vscan_eval.replies import Condition, Prompt, PromptBatch, Reply, sharing

SHARE = 0.4
QUESTIONS = ("What is it?", "Is there a cat at the top left of the picture?", "Why?", "What colour is the ball?")


def generate_replies(lvlm: vc.LVLM, condition: Condition, asked: list[Prompt], limit: int) -> list[Reply]:
    return PromptBatch(lvlm, asked).replies(condition, limit)


def prompts() -> list[Prompt]:
    image = picture("teal")
    return [Prompt(image, question) for question in QUESTIONS]


@pytest.mark.parametrize("name", ["baseline", *vc.REDUCERS])
def test_together_is_as_one_by_one(lvlm, name) -> None:
    method = Condition.named(name, SHARE)
    if name in OF_VIDEOS:
        with pytest.raises(vc.InputError, match="this is a picture"):
            generate_replies(lvlm, method, prompts(), 6)
        return
    together = generate_replies(lvlm, method, prompts(), 6)
    alone = [generate_replies(lvlm, method, [prompt], 6)[0] for prompt in prompts()]
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert together[0].visual_tokens == pytest.approx(alone[0].visual_tokens)
    assert len({reply.text for reply in alone}) > 1, "the model must tell the questions apart"


def test_padding_behind_the_picture_rates_nothing(lvlm, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        SparseVLM, "query_tokens", lambda self, visual, text: seen.append(len(text)) or text[:, 0] < torch.inf
    )
    generate_replies(lvlm, Condition.named("sparsevlm", SHARE), prompts(), 1)
    together, seen[:] = list(seen), []
    for prompt in prompts():
        generate_replies(lvlm, Condition.named("sparsevlm", SHARE), [prompt], 1)
    assert together == seen and len(set(seen)) > 1


@pytest.mark.parametrize("name", ["baseline", "vscan", "visionzip", "divprune"])
def test_questions_that_follow_the_picture_without_a_word_in_common(lvlm, monkeypatch, name) -> None:
    monkeypatch.setattr(vc.LVLM, "chat", lambda self, question, history=(): f"<image>{question} A:")
    method = Condition.named(name, SHARE)
    alone = [generate_replies(lvlm, method, [prompt], 6)[0].text for prompt in prompts()]
    assert [reply.text for reply in generate_replies(lvlm, method, prompts(), 6)] == alone
    assert [reply.text for reply in generate_replies(lvlm, method, prompts()[:1] * 2, 6)] == alone[:1] * 2


def test_the_picture_and_the_method_matter(lvlm) -> None:
    def texts(method: Condition, colour: str) -> list[str]:
        image = picture(colour)
        return [
            reply.text
            for reply in generate_replies(lvlm, method, [Prompt(image, question) for question in QUESTIONS], 6)
        ]

    baseline = Condition("baseline")
    assert texts(baseline, "teal") != texts(baseline, "red")
    assert texts(baseline, "teal") != texts(Condition.named("vscan", 0.05), "teal")
    assert texts(Condition("none"), "teal") == texts(Condition("none"), "red")


@pytest.mark.parametrize("name", ["baseline", "vscan", "visionzip", "none"])
def test_pictures_may_differ(lvlm, name) -> None:
    method = Condition.named(name, SHARE)
    mixed = [Prompt(picture(colour), question) for colour in ("teal", "red") for question in QUESTIONS[:2]]
    alone = [generate_replies(lvlm, method, [prompt], 6)[0].text for prompt in mixed]
    assert [reply.text for reply in generate_replies(lvlm, method, mixed, 6)] == alone


def test_what_is_shared(lvlm) -> None:
    assert sharing(lvlm, Condition("baseline")) == sharing(lvlm, Condition.named("visionzip", SHARE)) == "prefill"
    assert sharing(lvlm, Condition.named("vscan", SHARE)) == sharing(lvlm, Condition.named("fastv", SHARE)) == "picture"
    assert sharing(lvlm, Condition("none")) == "prompt"


def test_tokens_are_counted_per_picture(lvlm) -> None:
    assert generate_replies(lvlm, Condition("baseline"), prompts(), 2)[0].visual_tokens == 576
    assert generate_replies(lvlm, Condition.named("vscan", 1 / 9), prompts(), 2)[0].visual_tokens == 64
    assert generate_replies(lvlm, Condition("none"), prompts(), 2)[0].visual_tokens == 0


def test_the_model_is_left_as_found(lvlm) -> None:
    hooks = sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lvlm.model.modules())
    for name in ("vscan", "visionzip", "baseline"):
        generate_replies(lvlm, Condition.named(name, SHARE), prompts(), 2)
    assert hooks == sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lvlm.model.modules())


def test_an_unknown_method_is_one_sentence() -> None:
    with pytest.raises(vc.InputError, match="no method 'magic'; choose baseline, none, vscan"):
        Condition.named("magic", SHARE)


@pytest.mark.parametrize("name", ["baseline", "vscan", "visionzip", "none"])
def test_second_turns_are_those_of_a_conversation(lvlm, name) -> None:
    image, method = picture("teal"), Condition.named(name, SHARE)
    turns = [(("What is it?", "a ball"),), (("Is there a cat?", "no"),)]
    asked = [Prompt(image, question, turns[place % 2]) for place, question in enumerate(QUESTIONS)]
    together = [reply.text for reply in generate_replies(lvlm, method, asked, 6)]
    for prompt, text in zip(asked, together, strict=True):
        inputs = lvlm.inputs(image, prompt.question, prompt.history)
        if name == "none":
            visual = inputs["input_ids"] != lvlm.model.config.image_token_id
            inputs = {part: inputs[part][visual][None] for part in ("input_ids", "attention_mask")}
        with vc.reduced(lvlm.model, method.reducer):
            made = lvlm.model.generate(**inputs, max_new_tokens=6, do_sample=False)
        tail = made[0, inputs["input_ids"].shape[1] :]
        assert lvlm.processor.tokenizer.decode(tail, skip_special_tokens=True).strip() == text
    alone = generate_replies(lvlm, method, [Prompt(image, question) for question in QUESTIONS], 6)
    assert [reply.text for reply in alone] != together, "the model must see the history"
