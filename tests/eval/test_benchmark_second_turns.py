"""Going on with the cut cache is what the benchmark says it is."""

from __future__ import annotations

import pytest

from benchmarks.second_turns import reply_on_cut_cache
from tests.eval.conftest import picture
from vscan_eval.replies import Condition, Prompt, PromptBatch


@pytest.mark.parametrize(("name", "same"), [("baseline", True), ("visionzip", True), ("vscan", False)])
def test_only_cuts_that_the_first_question_decided_differ(lvlm, name, same) -> None:
    """Methods that are blind to the question have nothing to recall."""
    method, image = Condition.named(name, 0.2), picture("teal")
    history = (("What is it?", "a big red ball"),)
    asked = [
        Prompt(image, question, history) for question in ("Is there a cat?", "Why?", "What colour is it?", "Where?")
    ]
    whole = [reply.text for reply in PromptBatch(lvlm, asked).replies(method, 8)]
    assert ([reply_on_cut_cache(lvlm, prompt, method.reducer, 8) for prompt in asked] == whole) == same
