"""Tokenizer, packed questions and a very short training run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training import running, stage_language
from training.answering import exact, forward, targets
from training.model import DIM, PREFIX, build_model, build_processor
from training.packing import TOKENS, encode, pack, prefix_ids, tokenizer
from training.seeing import see, to_patches
from training.words import prompt_text
from vscan_core.world.catalog import CLASSES, COLOUR_NAMES, SIGN_TEXTS
from vscan_core.world.questions import Question


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_has_tokens_and_nothing_is_unknown(text: str) -> None:
    ids = tokenizer()(text).input_ids
    assert tokenizer().unk_token_id not in ids or "<unk>" in text


def test_words_of_the_world_are_single_tokens_in_any_case() -> None:
    for word in (*CLASSES, *COLOUR_NAMES, *SIGN_TEXTS):
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
def test_packed_questions_score_as_if_asked_alone() -> None:
    model = build_model().eval()
    visual = torch.randn(1, TOKENS, DIM)
    asked = [Question("exist", "Is there a cat?", "yes"), Question("where", "Where is the bus?", "top left")]
    together = pack([asked])
    alone = [forward(model, pack([[question]]), visual) for question in asked]
    torch.testing.assert_close(forward(model, together, visual), torch.cat(alone), atol=1e-4, rtol=1e-3)
    best = torch.nn.functional.one_hot(targets(together), 640).float()
    assert exact(best, together) == {"exist": [True], "where": [True]}


@torch.no_grad()
def test_the_tower_on_patches_equals_the_tower_on_pixels() -> None:

    model = build_model().eval()
    pixels = np.random.default_rng(0).integers(0, 256, (336, 336, 3), dtype=np.uint8)
    values = build_processor().image_processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    stock = model.model.vision_tower(values, output_hidden_states=True).hidden_states[-1][:, 1:]
    seen = see(model.model.vision_tower, torch.from_numpy(to_patches(pixels))[None], torch.arange(TOKENS)[None])
    torch.testing.assert_close(seen.patches, stock, atol=1e-4, rtol=1e-3)


def test_two_steps_of_training_then_resume(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "RUNS", tmp_path)
    first = stage_language.train(minutes=0.01, resume=False, scenes=2, count=3)
    assert first.step >= 1 and (tmp_path / "language" / "checkpoint.pt").exists()
    again = stage_language.train(minutes=0.02, resume=True, scenes=2, count=3)
    assert again.step >= first.step
