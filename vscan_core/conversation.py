"""Conversation: questions about one picture in turn, none of which loses what the cuts of an earlier one dropped.

Every turn prefills the whole conversation anew, in the model's own chat template, with the picture's encoding from
`lvlm.vision_cache`: so cuts inside the LLM are decided by the latest question from all tokens that the entrance left,
and a turn is exactly the run of one long prompt. `Turn.prefilled_again` says what this costs.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from threading import Lock

from vscan_core.errors import InputError
from vscan_core.events import Answer, Done, Event
from vscan_core.inference import check_limit, compare_prepared
from vscan_core.lvlm import LVLM
from vscan_core.media.asked_about import AskedAbout
from vscan_core.reducers import Reducer

STILL_ANSWERING = "This conversation is still answering a question; let it finish, or close it, before the next one."


@dataclass(frozen=True)
class Turn:
    """One question of a conversation and its answer."""

    question: str
    answer: Answer
    prefilled_again: int  # tokens into the LLM beyond the new text: what going on with the last KV cache would save


class Conversation:
    """Questions about one picture or video, each answered greedily in view of all earlier questions and answers.

    Methods that are blind to the question keep the same tokens at the entrance of the LLM in every turn; for those that
    read it there (TRIM, CDPruner), the latest question decides. The vision encoder runs once, as long as
    `lvlm.vision_cache` holds the picture: the timings of later turns give its time as `vision_shared_ms`. Methods that
    change the encoder (ToMe) run it in every turn.

    Args:
        lvlm: The model, from `load_model`.
        picture: The picture or video, or several pictures, as in `LVLM.inputs`.
        reducer: The method; None is the baseline, which keeps all visual tokens.
        max_new_tokens: The greatest length of each answer, in tokens; at least 1.

    Raises:
        InputError: `max_new_tokens` is below 1.
    """

    def __init__(self, lvlm: LVLM, picture: AskedAbout, reducer: Reducer | None, *, max_new_tokens: int = 64) -> None:
        check_limit(max_new_tokens)
        self.lvlm, self.picture, self.reducer, self.max_new_tokens = lvlm, picture, reducer, max_new_tokens
        self._turns: list[Turn] = []
        self._ids: list[int] = []  # of the last turn: its prompt, and its answer but for the last token
        self._answering = Lock()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The questions that have been answered, in order."""
        return tuple(self._turns)

    def ask(self, question: str) -> Answer:
        """Ask the next question and wait for its answer. Raises as `events` does."""
        *_, done = self.events(question)
        assert isinstance(done, Done)
        return done.answer

    def events(self, question: str) -> Generator[Event, None, None]:
        """Ask the next question; yields the events of `answer`.

        A turn that was closed or failed before `Done` leaves the conversation as it was.

        Raises:
            InputError: The picture or the question is not accepted, the model does not support the method, an earlier
                question is still being answered, or the conversation has become longer than the model can read.
            OutOfMemory: Memory ran out; what the run held has been freed.
        """
        if not self._answering.acquire(blocking=False):
            raise InputError(STILL_ANSWERING)
        try:
            history = [(turn.question, turn.answer.text) for turn in self._turns]
            inputs = self.lvlm.inputs(self.picture, question, history)
            ids: list[int] = inputs["input_ids"][0].tolist()
            self._check_length(len(ids))
            asked = (self.lvlm, inputs, [self.reducer])
            with closing(compare_prepared(*asked, max_new_tokens=self.max_new_tokens, share_vision=True)) as events:
                while not isinstance(event := next(events), Done):
                    yield event
            assert inputs.questions is not None
            self._turns.append(Turn(inputs.questions[0], event.answer, self._again(ids, event.answer)))
            self._ids = [*ids, *event.answer.token_ids[:-1]]
        finally:
            self._answering.release()
        yield event

    def _again(self, ids: list[int], answer: Answer) -> int:
        """How many tokens of this prompt entered the LLM beyond those that the turn before had not seen."""
        known = takewhile(lambda pair: pair[0] == pair[1], zip(self._ids, ids, strict=False))
        new = len(ids) - sum(1 for _ in known)
        return max(0, answer.trace.tokens_per_layer[0] - new)

    def _check_length(self, tokens: int) -> None:
        """Raise InputError if the prompt and the longest answer are more than the model can read."""
        config = self.lvlm.model.config.get_text_config(decoder=True)
        most = getattr(config, "max_position_embeddings", None)
        if self._turns and most is not None and tokens + self.max_new_tokens > most:
            raise InputError(
                f"The conversation has {tokens:,} tokens, and with an answer of up to {self.max_new_tokens:,} it would "
                f"be longer than the {most:,} that this model can read; start a new one."
            )
