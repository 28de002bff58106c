"""All questions about a picture in one sequence; each attends to the picture and itself, as if asked alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from training.model import PREFIX
from training.vocabulary import build_tokenizer, prompt_text
from vscan_eval.world.questions import Question

EOS = 2
VISUAL_TOKENS = 576


@dataclass(frozen=True)
class Packed:
    """A batch of question blocks. Sequence = prefix, visual tokens, then `length` text tokens."""

    ids: Tensor  # (batch, length), padded with 0
    block: Tensor  # (batch, length): number of the question, -1 for padding
    offset: Tensor  # (batch, length): place inside the question
    answer: Tensor  # (batch, length): True where the NEXT token belongs to the answer
    questions: list[list[Question]]


@lru_cache(1)
def tokenizer():
    """One shared tokenizer."""
    return build_tokenizer()


@lru_cache(50_000)
def encode(question: str, answer: str) -> tuple[tuple[int, ...], int]:
    """Token ids after the picture, and how many of them are the prompt."""
    prompt = tokenizer()(prompt_text(question)).input_ids[PREFIX + 1 :]
    reply = tokenizer()(" " + answer, add_special_tokens=False).input_ids
    return (*prompt, *reply, EOS), len(prompt)


def prefix_ids() -> list[int]:
    """The tokens before the picture: "<s>", " user", ":"."""
    return tokenizer()(prompt_text("x")).input_ids[:PREFIX]


def pack(questions: list[list[Question]]) -> Packed:
    """Question lists of a batch of pictures -> padded blocks."""
    coded = [[encode(q.text, q.answer) for q in mine] for mine in questions]
    length = max(sum(len(ids) for ids, _ in mine) for mine in coded)
    shape = (len(coded), length)
    ids, block, offset = np.zeros(shape, np.int64), np.full(shape, -1), np.zeros(shape, np.int64)
    answer = np.zeros(shape, bool)
    for row, mine in enumerate(coded):
        start = 0
        for number, (tokens, prompt) in enumerate(mine):
            stop = start + len(tokens)
            ids[row, start:stop], block[row, start:stop] = tokens, number
            offset[row, start:stop] = np.arange(len(tokens))
            answer[row, start + prompt - 1 : stop - 1] = True
            start = stop
    made = (torch.from_numpy(array) for array in (ids, block, offset, answer))
    return Packed(*made, questions=questions)


def positions(packed: Packed, visual_positions: Tensor, text_start: int) -> Tensor:
    """(batch, sequence): visual positions as given (batch, visual), text continues from text_start."""
    batch = len(packed.ids)
    front = torch.arange(PREFIX).expand(batch, PREFIX)
    return torch.cat([front, visual_positions, packed.offset + text_start], dim=1)
