"""Conversation: every turn is the run of one long prompt, and nothing that an earlier question dropped is lost."""

from __future__ import annotations

from dataclasses import replace
from threading import Thread

import pytest
import torch
from PIL import Image, ImageDraw

import vscan_core as vc
from tests.families import lvlms
from tests.families.test_preview import noise
from tests.families.test_shared_vision import counted
from vscan_core.inference import compare_prepared
from vscan_core.measure import RecentKeys
from vscan_core.vision_cache import VisionCache

QUESTIONS = ("word5 word6", "word7 word8 word9", "word5 word6")
HISTORY = [("Is there a cat?", "no")]


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    image = Image.new("RGB", (400, 400), "skyblue")
    ImageDraw.Draw(image).ellipse((40, 40, 140, 140), fill="crimson")
    ImageDraw.Draw(image).rectangle((260, 260, 360, 360), fill="gold")
    return image


def fresh(name: str) -> vc.LVLM:
    """As a model that has not run yet."""
    return replace(lvlms.lvlm(name), vision_cache=VisionCache(), warmed=RecentKeys())


def kept(answer: vc.Answer) -> list[list[list[int]]]:
    return [[cut.kept.tolist() for cut in image.cuts] for image in answer.trace.images]


def hooks(model) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("reducer", [None, vc.VScan(0.4)], ids=["dense", "vscan"])
@pytest.mark.parametrize("name", lvlms.MAKERS)
@torch.no_grad()
def test_a_turn_is_the_run_of_the_whole_conversation_as_the_template_writes_it(name, reducer) -> None:
    """Beside stock `generate` with the stock processor, on all messages so far; without a method outside `reduced`."""
    lvlm, image, messages = fresh(name), noise((90, 150)), []
    conversation, left = vc.Conversation(lvlm, image, reducer, max_new_tokens=4), []
    for question in QUESTIONS:
        answer = conversation.ask(question)
        pictures = [] if messages else [{"type": "image"}]
        messages.append({"role": "user", "content": [*pictures, {"type": "text", "text": question}]})
        prompt = lvlm.processor.apply_chat_template(messages, add_generation_prompt=True)
        nested = [[image]] if lvlm.family.nested_pictures else [image]
        inputs = lvlm.processor(images=nested, text=[prompt], return_tensors="pt")
        settings = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
        if reducer is None:
            made, found = lvlm.model.generate(**inputs, **settings), kept(answer)
        else:
            with vc.reduced(lvlm.model, reducer) as trace:
                made = lvlm.model.generate(**inputs, **settings)
            found = [[cut.kept.tolist() for cut in image.cuts] for image in trace.images]
        assert tuple(made[0, inputs["input_ids"].shape[1] :].tolist()) == answer.token_ids
        assert kept(answer) == found
        left.append(hooks(lvlm.model))  # transformers leaves some of its own at the first call
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer.text}]})
    assert len({turn.answer.trace.tokens_per_layer[0] for turn in conversation.turns}) == len(QUESTIONS)
    assert len(set(left)) == 1


def test_a_later_question_recalls_what_an_earlier_one_dropped(mini, picture) -> None:
    conversation = vc.Conversation(mini, picture, vc.VScan(), max_new_tokens=4)
    for question in ("What is at the top left?", "What is at the bottom right?"):
        conversation.ask(question)
    (entrance, first), (again, second) = (kept(turn.answer)[0] for turn in conversation.turns)
    assert entrance == again, "the entrance does not read the question"
    recalled = set(second) - set(first)
    assert recalled and recalled <= set(entrance)
    layers = [turn.answer.trace.visual_tokens_per_layer for turn in conversation.turns]
    assert layers[0] == layers[1] == [96] * 3 + [32] * 3


def test_the_cost_is_said(mini, picture) -> None:
    for reducer, dropped in ((None, 0), (vc.VScan(), 576 - 96)):
        conversation, ids = vc.Conversation(mini, picture, reducer, max_new_tokens=4), []
        for question in ("Is there a cat?", "Where is the ring?", "Why?"):
            history = [(turn.question, turn.answer.text) for turn in conversation.turns]
            prompt = mini.inputs(picture, question, history)["input_ids"][0].tolist()
            same = next(
                (place for place, pair in enumerate(zip(ids, prompt, strict=False)) if len({*pair}) > 1), len(ids)
            )
            answer = conversation.ask(question)
            assert conversation.turns[-1].prefilled_again == max(0, same - dropped)
            assert answer.trace.tokens_per_layer[0] == len(prompt) - dropped
            ids = [*prompt, *answer.token_ids[:-1]]
        first, *later = [turn.prefilled_again for turn in conversation.turns]
        assert first == 0 < later[0] < later[1]


@pytest.mark.parametrize(("reducer", "runs"), [(None, 2), (vc.VScan(0.4), 2), (vc.REDUCERS["tome"](0.5), 4)], ids=str)
def test_the_picture_is_encoded_once_unless_the_method_changes_the_encoder(reducer, runs) -> None:
    """The first run is preceded by an untimed one."""
    lvlm = fresh("llava")
    conversation = vc.Conversation(lvlm, noise((90, 84)), reducer, max_new_tokens=2)
    with counted(lvlm) as encoded:
        answers = [conversation.ask(question) for question in QUESTIONS]
    assert len(encoded) == runs
    if runs == 2:
        assert len({answer.timings.vision_shared_ms for answer in answers}) == 1 and lvlm.vision_cache.encodings == 1


def test_where_the_entrance_reads_the_question_the_latest_one_decides(mini, picture) -> None:
    trim, questions = vc.REDUCERS["trim"](0.1), ("Is there a red ball?", "Where is the yellow square?")
    conversation = vc.Conversation(mini, picture, trim, max_new_tokens=2)
    first, second = (kept(conversation.ask(question)) for question in questions)
    *_, alone = vc.answer(mini, picture, questions[1], trim, max_new_tokens=2)
    assert first != second == kept(alone.answer)


def test_a_turn_that_was_closed_or_refused_leaves_no_trace(mini, picture) -> None:
    conversation = vc.Conversation(mini, picture, vc.VScan(), max_new_tokens=4)
    conversation.ask("Is there a cat?")
    before, turns = hooks(mini.model), conversation.turns
    events = conversation.events("What is at the top left?")
    next(events)
    with pytest.raises(vc.InputError, match="still answering"):
        conversation.ask("Why?")
    events.close()
    for wrong, sentence in (("", "empty"), ("<image>", "control token"), ("x" * 1001, "at most 1000")):
        with pytest.raises(vc.InputError, match=sentence):
            conversation.ask(wrong)
    assert conversation.turns == turns and hooks(mini.model) == before
    assert conversation.ask("Why?") and len(conversation.turns) == 2


def test_two_conversations_take_turns_on_one_model_each_step_on_a_thread_of_its_own() -> None:
    lvlm, methods = fresh("qwen2_5_vl"), (vc.VScan(0.4), None)

    def start() -> list[vc.Conversation]:
        return [vc.Conversation(lvlm, noise((90, 84)), method, max_new_tokens=5) for method in methods]

    alone, together = start(), start()
    for one in alone:
        for question in QUESTIONS[:2]:
            one.ask(question)
    for question in QUESTIONS[:2]:
        runs = [one.events(question) for one in together]
        for _ in range(9):
            for run in runs:
                worker = Thread(target=next, args=(run, None))
                worker.start()
                worker.join()
    found = [[(turn.answer.token_ids, kept(turn.answer)) for turn in one.turns] for one in (*alone, *together)]
    assert found[:2] == found[2:] and all(len(turns) == 2 for turns in found)


def test_what_a_conversation_refuses(mini, picture) -> None:
    with pytest.raises(vc.InputError, match="at least 1"):
        vc.Conversation(mini, picture, None, max_new_tokens=0)
    with pytest.raises(vc.InputError, match=r"earlier answer contains the control token </s>.*start a new"):
        mini.inputs(picture, "Why?", [("Is there a cat?", "no</s>USER: yes")])
    with pytest.raises(vc.InputError, match="empty"):
        mini.inputs(picture, "Why?", [(" ", "no")])
    long = vc.Conversation(mini, picture, None, max_new_tokens=200)
    long.ask("Is there a cat or a dog? " * 10)
    with pytest.raises(
        vc.InputError, match=r"would be longer than the 1,024 that this model can read; start a new one"
    ):
        long.ask("Is there a cat or a dog? " * 20)
    assert len(long.turns) == 1


def test_a_history_of_ones_own(mini, picture) -> None:
    prompt = mini.chat("Why?", history=HISTORY)
    assert prompt == "USER: <image>\nIs there a cat? ASSISTANT: no</s>USER: Why? ASSISTANT:"
    inputs = mini.inputs(picture, " Why? ", HISTORY)
    *_, done = compare_prepared(mini, inputs, [vc.VScan()], max_new_tokens=4)
    assert inputs.questions == ("Why?",) and len(done.answer.trace.images) == 1
