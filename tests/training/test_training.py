"""Tokenizer, packed questions and a very short training run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.folders import MINI
from training import stage, stage_language, stage_text_half
from training.fast_attention import LONG, Blocks, packed_attention, use_fast_attention
from training.learning_curve import continuous_clock
from training.model import DIM, PREFIX, build_model, build_processor
from training.packed_forward import exact, forward, targets
from training.packing import VISUAL_TOKENS, encode, pack, prefix_ids, tokenizer
from training.symbolic_scenes import symbolic_labels
from training.text_half import export_text_half
from training.vision_features import run_tower, to_patches
from training.vocabulary import prompt_text
from vscan_core.checkpoints.text_half import joint_space_of
from vscan_core.families import FAMILIES
from vscan_core.loading import load_model
from vscan_eval.world.catalog import COLOUR_NAMES, SIGN_TEXTS, THING_KINDS
from vscan_eval.world.questions import Question
from vscan_eval.world.scene import MOST_ALIKE, sample_scene


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_has_tokens_and_nothing_is_unknown(text: str) -> None:
    ids = tokenizer()(text).input_ids
    assert tokenizer().unk_token_id not in ids or "<unk>" in text


def test_words_of_the_world_are_single_tokens_in_any_case() -> None:
    for word in (*THING_KINDS, *COLOUR_NAMES, *SIGN_TEXTS):
        small, large = (tokenizer()(f" {w}", add_special_tokens=False).input_ids for w in (word, word.upper()))
        assert small == large and len(small) == 1
        assert tokenizer().decode(small).strip() == word


def test_the_prompt_is_prefix_picture_question() -> None:
    ids = tokenizer()(prompt_text("Is there a cat?")).input_ids
    assert ids[:PREFIX] == prefix_ids()
    assert ids.count(tokenizer().convert_tokens_to_ids("<image>")) == 1
    tokens, prompt = encode("Is there a cat?", "yes")
    assert list(tokens[:prompt]) == ids[PREFIX + 1 :]


@torch.no_grad()
def test_packed_questions_score_as_if_asked_alone_in_the_stock_model() -> None:
    model = build_model().eval()
    embeddings = model.model.language_model.embed_tokens.weight
    visual = torch.randn(2, 40, DIM)
    packed_questions = [
        [Question("exist", "Is there a cat?", "yes"), Question("where", "Where is the bus?", "top left")],
        [Question("count", "How many cats are in the picture?", "two")],
    ]
    alone = []
    for picture, mine in zip(visual, packed_questions, strict=True):
        for question in mine:
            tokens, prompt = encode(question.text, question.answer)
            inputs = torch.cat([embeddings[torch.tensor(prefix_ids())], picture, embeddings[torch.tensor(tokens)]])
            hidden = model.model.language_model(inputs_embeds=inputs[None]).last_hidden_state[0, PREFIX + 40 :]
            alone.append((hidden @ embeddings.T)[prompt - 1 : -1])
    together = pack(packed_questions)
    logits = forward(use_fast_attention(model), together, visual)
    torch.testing.assert_close(logits, torch.cat(alone), atol=0.05, rtol=0.05)
    best = torch.nn.functional.one_hot(targets(together), 640).float()
    assert exact(best, together) == {"exist": [True], "where": [True], "count": [True]}


@pytest.mark.parametrize("front", [9, LONG + 9])
def test_packed_attention_and_its_gradients_are_those_of_a_mask(front: int) -> None:
    block = torch.tensor([[0, 0, 0, 1, 1, 2], [0, 0, 1, -1, -1, -1]])
    offset = torch.tensor([[0, 1, 2, 0, 1, 0], [0, 1, 0, 0, 0, 0]])
    owner = torch.cat([torch.full((2, front), -2), block], dim=1)
    same = (owner[:, :, None] == owner[:, None, :]) | (owner[:, None, :] == -2)
    mask = same & torch.ones(front + 6, front + 6, dtype=torch.bool).tril()
    shape = (2, 3, front + 6, 8)
    qkv = [torch.randn(shape, generator=torch.Generator().manual_seed(i)).requires_grad_() for i in range(3)]
    wanted = torch.nn.functional.scaled_dot_product_attention(*qkv, attn_mask=mask[:, None]).transpose(1, 2)
    found = packed_attention(*qkv, Blocks.of(block, offset, front))
    real = (owner != -1)[:, :, None, None]
    torch.testing.assert_close(found * real, wanted * real, atol=1e-5, rtol=1e-4)
    pull = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(9)) * real
    for one, other in zip(torch.autograd.grad(found, qkv, pull), torch.autograd.grad(wanted, qkv, pull), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_tower_on_patches_equals_the_tower_on_pixels() -> None:

    model = build_model().eval()
    pixels = np.random.default_rng(0).integers(0, 256, (336, 336, 3), dtype=np.uint8)
    values = build_processor().image_processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    stock = model.model.vision_tower(values, output_hidden_states=True).hidden_states[-1][:, 1:]
    seen = run_tower(
        model.model.vision_tower, torch.from_numpy(to_patches(pixels))[None], torch.arange(VISUAL_TOKENS)[None]
    )
    torch.testing.assert_close(seen.patches, stock, atol=1e-4, rtol=1e-3)


def test_two_steps_of_training_then_resume(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "RUNS_FOLDER", tmp_path)
    first = stage_language.train(minutes=0.01, resume=False, scenes=2, count=3)
    assert first.step >= 1 and (tmp_path / "language" / "checkpoint.pt").exists()
    again = stage_language.train(minutes=0.02, resume=True, scenes=2, count=3)
    assert again.step >= first.step


def test_a_text_half_is_trained_and_exported_beside_its_tower(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "RUNS_FOLDER", tmp_path / "runs")
    for name, few in {"FIRST_PICTURES": 2, "PER_STEP": 2, "HELD_OUT": range(2)}.items():
        monkeypatch.setattr(stage_text_half, name, few)
    run = stage_text_half.train(minutes=0.03, resume=False)
    (tmp_path / "mine").mkdir()
    for path in MINI.glob("*.json*"):
        (tmp_path / "mine" / path.name).symlink_to(path)
    export_text_half(tmp_path / "mine")
    model = load_model("mini", device="cpu").model
    model.config._name_or_path = str(tmp_path / "mine")
    space = joint_space_of(model, FAMILIES["llava"])
    half, question = run.modules["half"], [Question("exist", "Is there a cat?", "yes")]
    features = torch.randn(1, 9, DIM)
    patches, text = space(features, question[0].text)
    products, cosines = half(features, *stage_text_half.question_ids(question))
    scale, shift = half.scale.exp(), half.shift
    expected = shift[0] - scale[0] * (patches[0] @ text[0]) * text.shape[1] ** -0.5
    torch.testing.assert_close(products[0, 0], expected, atol=0.02, rtol=0.02)  # exported in half precision
    similar = torch.nn.functional.cosine_similarity(patches[0], text, dim=-1)
    torch.testing.assert_close(cosines[0, 0], shift[1] - scale[1] * similar, atol=0.02, rtol=0.02)


def test_the_target_is_what_the_question_or_its_answer_names() -> None:
    scene = next(scene for scene in map(sample_scene, range(1000)) if len(scene.unique()) == len(scene.things) == 3)
    names = [thing.name for thing in scene.things]
    where = stage_text_half.wanted_patches(scene, Question("where", f"Where is the {names[1]}?", "center"))
    np.testing.assert_allclose(where, [0, 0.3, 1, 0.3])
    beside = Question("beside", f"What is left of the {names[1]}?", scene.things[0].phrase)
    np.testing.assert_allclose(stage_text_half.wanted_patches(scene, beside), [0, 1, 1, 0.3])
    background = Question("background", "What is the background?", "grass")
    np.testing.assert_allclose(stage_text_half.wanted_patches(scene, background), [1, 0.3, 0.3, 0.3])


def test_the_clocks_of_several_sittings_are_put_one_behind_the_other() -> None:
    clock = [20, 100, 80, 120, 10, 30]  # killed at 100 and resumed from 70; begun anew after 120
    lines = continuous_clock([{"step": step, "seconds": seconds} for step, seconds in enumerate(clock)])
    assert [line["seconds"] for line in lines] == [20, 80, 120, 130, 150]


def test_a_thing_is_counted_where_its_centre_lies() -> None:
    scene = next(scene for scene in map(sample_scene, range(1000)) if scene.most_alike == MOST_ALIKE)
    name = max(THING_KINDS, key=lambda one: len(scene.of(one)))
    labels = symbolic_labels(scene, np.random.default_rng(0))
    mine = labels.ordinal[(labels.kind == THING_KINDS.index(name) + 1) & (labels.ordinal > 0)]
    assert mine.tolist() == list(range(1, MOST_ALIKE + 1))
    assert ((labels.ordinal > 0) == (labels.centre > 0)).all()
