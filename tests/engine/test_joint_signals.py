"""The question beside the picture: patches and text in CLIP's joint space, whichever way the model is called."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

import vscan_core as vc
from tests.checkpoints.clips import clip_of
from tests.conftest import IMAGE_TOKEN, prompt, tiny_llava
from tests.families import lvlms, tiny
from tests.reference import peers_slow
from vscan_core.checkpoints.text_half import joint_space_of
from vscan_core.conformance.tiny import next_inputs, tiny_llava_next
from vscan_core.families import family_of

QUESTION = "Where is the red cat?"
LONG = " ".join(f"and the {name} beside it" for name in ("cat", "dog", "bus", "key", "hat", "bee", "cow", "pig"))
NAMES = ("trim", "cdpruner")


def kept(model, inputs, name: str, question, **more) -> list[list[int]]:
    with torch.no_grad(), vc.reduced(model, vc.REDUCERS[name](retention=0.3), question=question, **more) as trace:
        model(**inputs)
    return [image.cuts[0].kept.tolist() for image in trace.images]


@pytest.mark.parametrize("question", [QUESTION, LONG])
@torch.no_grad()
def test_signals_are_what_stock_clip_computes(tmp_path, question) -> None:
    model, inputs = tiny_llava(), prompt([1])
    clip, tokenizer = clip_of(model, tmp_path)
    vc.load_text_half(model, tmp_path)
    features = model.model.vision_tower(inputs["pixel_values"], output_hidden_states=True).hidden_states[-2][:, 1:]
    patches = clip.visual_projection(clip.vision_model.post_layernorm(features))[0]
    ids = tokenizer(question, add_special_tokens=False).input_ids
    most = clip.config.text_config.max_position_embeddings - 2
    pieces = [[1, *ids[start : start + most], 3] for start in range(0, len(ids), most)]
    assert (len(pieces) > 1) == (question == LONG)
    pooled = [clip.text_model(input_ids=torch.tensor([piece])).pooler_output for piece in pieces]
    text = clip.text_projection(torch.cat(pooled))
    expected, _ = peers_slow.trim(features[0], patches, text.mean(0, keepdim=True), 11)
    assert kept(model, inputs, "trim", question) == [expected]
    projected = model.model.multi_modal_projector(features)[0]
    assert kept(model, inputs, "cdpruner", question) == [peers_slow.cdpruner(projected, patches, text, 11)]


@pytest.mark.parametrize("name", NAMES)
def test_another_question_keeps_other_tokens(sdpa_llava, name) -> None:
    inputs = prompt([1])
    assert kept(sdpa_llava, inputs, name, QUESTION) != kept(sdpa_llava, inputs, name, "How many dogs are there?")


def rows_of(inputs, row: int, pictures: slice):
    """One row of a batch without its padding, and its pictures."""
    real = inputs["attention_mask"][row].bool()
    alone = {name: inputs[name][row : row + 1, real] for name in ("input_ids", "attention_mask")}
    return alone | {name: inputs[name][pictures] for name in ("pixel_values", "image_sizes") if name in inputs}


@pytest.mark.parametrize(
    ("make", "inputs", "pictures"),
    [
        (tiny_llava, prompt([2, 1]), [2, 1]),
        (tiny_llava_next, next_inputs([[(84, 168)], [(168, 168), (50, 168)]]), [1, 2]),
        (lambda: tiny.video_llava("sdpa"), prompt([1, 2]), [1, 2]),
    ],
    ids=["llava", "llava_next", "video_llava"],
)
@pytest.mark.parametrize("name", NAMES)
def test_rows_with_questions_of_their_own_are_as_alone(make, inputs, pictures, name) -> None:
    model, questions = make(), [QUESTION, LONG]
    if "image_sizes" not in inputs and not hasattr(model.model, "vision_tower"):
        inputs = {"pixel_values_images" if key == "pixel_values" else key: value for key, value in inputs.items()}
    together = kept(model, inputs, name, questions)
    alone, start = [], 0
    for row, count in enumerate(pictures):
        mine = rows_of(inputs, row, slice(start, start + count))
        mine |= {key: inputs[key][start : start + count] for key in ("pixel_values_images",) if key in inputs}
        alone += kept(model, mine, name, questions[row])
        start += count
    assert together == alone
    assert together != kept(model, inputs, name, QUESTION)


def test_beams_repeat_rows_and_their_questions(sdpa_llava) -> None:
    inputs, found = prompt([1, 1]), []
    for beams in (1, 3):
        with vc.reduced(sdpa_llava, vc.REDUCERS["trim"](0.3), question=[QUESTION, "Is there a dog?"]) as trace:
            sdpa_llava.generate(**inputs, num_beams=beams, max_new_tokens=2, do_sample=False)
        found.append([image.cuts[0].kept.tolist() for image in trace.images])
    assert found[0] == found[1]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_guessed(sdpa_llava, name) -> None:
    with pytest.raises(vc.InputError, match="question is not known here; pass its plain text"):
        kept(sdpa_llava, prompt([1]), name, None)
    with pytest.raises(vc.InputError, match="question is not known here"):
        kept(sdpa_llava, prompt([1, 1]), name, ["What is it?", " "])
    with pytest.raises(ValueError, match="3 questions for 2 prompts"):
        kept(sdpa_llava, prompt([1, 1]), name, ["a", "b", "c"])


def test_pictures_without_a_word_between_them_belong_to_no_question() -> None:
    model, inputs = tiny_llava_next(), next_inputs([[(84, 168), (84, 168)], [(84, 168)]])
    ids, real = inputs["input_ids"], inputs["input_ids"] == IMAGE_TOKEN
    ids[0] = torch.cat([ids[0][~real[0]][:-3], ids[0][real[0]], ids[0][~real[0]][-3:]])
    with pytest.raises(vc.InputError, match="different questions.*ask one question at a time"):
        kept(model, inputs, "trim", ["a", "b"])
    assert len(kept(model, inputs, "trim", "a")) == 3


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_inputs_of_an_lvlm_know_their_question(family) -> None:
    lvlm, picture = lvlms.lvlm(family), Image.effect_noise((150, 100), 80).convert("RGB")
    inputs, trim = lvlm.inputs(picture, "word5 word6"), vc.REDUCERS["trim"](0.3)

    def first(given, **more) -> list[int]:
        with torch.no_grad(), vc.reduced(lvlm.model, trim, **more) as trace:
            lvlm.model(**given)
        return trace.images[0].cuts[0].kept.tolist()

    expected = first(inputs)
    assert first(dict(inputs)) == expected == first(dict(inputs), question="word5 word6")
    assert first(inputs, question="word9 word4 word8") != expected, "what the caller says comes first"
    assert lvlm.preview(picture, trim, "word5 word6").trace(trim).kept.tolist() == expected
    longer = dict(inputs)
    for key in ("input_ids", "attention_mask"):  # another turn
        longer[key] = torch.cat([inputs[key], inputs[key][:, -1:]], dim=1)
    with pytest.raises(vc.InputError, match="question is not known here"):
        first(longer)
    with pytest.raises(vc.InputError, match="depends on the question"):
        lvlm.preview(picture, trim)


def test_other_methods_load_no_text_half(monkeypatch) -> None:
    model = tiny_llava()
    monkeypatch.setattr("vscan_core.checkpoints.text_half._load", lambda *given: pytest.fail("loaded"))
    kept(model, prompt([1]), "vscan", QUESTION)
    with pytest.raises(pytest.fail.Exception):
        kept(model, prompt([1]), "trim", QUESTION)


def test_it_is_loaded_once_and_follows_the_model(sdpa_llava) -> None:
    space = joint_space_of(sdpa_llava, family_of(sdpa_llava))
    assert joint_space_of(sdpa_llava, family_of(sdpa_llava)) is space
    assert not any(weight.requires_grad for weight in space.parameters()) and not space.training
    assert not any(module is space for module in sdpa_llava.modules()), "the model is left as found"
