"""`answer_many`: many questions about many pictures in left-padded batches, nothing encoded twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from PIL import Image
from transformers import LogitsProcessorList

from vscan_core.engine.second_reading import Margins, answer_length, stop_ids
from vscan_core.errors import InputError, OutOfMemory
from vscan_core.inference import check_limit
from vscan_core.lvlm import LVLM
from vscan_core.measure import memory_guard
from vscan_core.media.images import upright_size
from vscan_core.picture_encoder import PictureEncoder, reduced_with
from vscan_core.questions import check_question
from vscan_core.reducers import Reducer
from vscan_core.trace import ImageTrace

PictureQuestion = tuple[Image.Image, str]  # a picture and a question about it
_Row = TypeVar("_Row")
_Found = TypeVar("_Found")
GREEDY = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0}  # whatever the checkpoint's defaults are


@dataclass(frozen=True)
class BatchAnswer:
    """One answer of `answer_many`."""

    text: str
    token_ids: tuple[int, ...]  # of the answer, with the end token if it came
    finished: bool  # the model ended it; otherwise it was cut at max_new_tokens
    visual_tokens_per_layer: tuple[int, ...]  # of this picture, into each decoder layer in prefill, from the trace
    margin: float  # by how much the best next token led the second, in log-probability: the least of all steps

    @property
    def visual_tokens(self) -> float:
        """Mean over decoder layers, as in `Cost`."""
        return sum(self.visual_tokens_per_layer) / len(self.visual_tokens_per_layer)


def answer_many(
    lvlm: LVLM,
    pairs: Sequence[PictureQuestion],
    reducer: Reducer | None,
    *,
    batch_size: int = 8,
    max_new_tokens: int = 64,
    share_vision: bool = True,
) -> list[BatchAnswer]:
    """Answer many questions greedily in batches, with the texts that `answer` gives one by one.

    Each row of a batch is reduced by itself, whatever its neighbours keep. Pictures of similar size share a batch, the
    largest first. If memory runs out, batches are halved from there on, with a warning. Nothing is timed: use `answer`
    and `compare` to measure. In half precision, a near tie between two words may fall differently than one by one.

    Args:
        lvlm: The model, from `load_model`.
        pairs: Pictures and questions (plain text of at most 1000 characters); a picture may occur many times.
        reducer: The method; None is the baseline, which keeps all visual tokens.
        batch_size: The largest number of questions at once; at least 1.
        max_new_tokens: The greatest length of each answer, in tokens; at least 1.
        share_vision: Encode each picture once for all its questions, and keep recent ones in memory (256 MiB at most).
            Methods that change the vision encoder encode every row.

    Returns:
        One answer per pair, in the order of `pairs`.

    Raises:
        InputError: A picture, a question or a setting is not accepted, or the model does not support the method.
        OutOfMemory: Memory does not suffice for one question alone; what it held has been freed.
    """
    check_limit(max_new_tokens)
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, but is {batch_size}")
    if any(not isinstance(picture, Image.Image) for picture, _ in pairs):
        raise InputError("answer_many takes one picture per question; ask about a video or several with answer.")
    asked = [(picture, check_question(question, lvlm.processor)) for picture, question in pairs]
    encoder = PictureEncoder(lvlm, [reducer]) if share_vision else None
    order = _similar_together(lvlm, asked)
    found: dict[int, BatchAnswer] = {}

    def ask(way: Reducer | None, places: Sequence[int]) -> list[BatchAnswer]:
        return _answer_rows(lvlm, [asked[place] for place in places], way, encoder, max_new_tokens)

    for places, answers in halving(partial(ask, reducer), order, batch_size):
        found |= zip(places, answers, strict=True)
    below = None if reducer is None else reducer.unsure_below
    unsure = [place for place in order if below is not None and found[place].margin < below]
    for places, answers in halving(partial(ask, None), unsure, batch_size):
        found |= {place: _after(found[place], answer) for place, answer in zip(places, answers, strict=True)}
    return [found[place] for place in range(len(pairs))]


def halving(
    ask: Callable[[Sequence[_Row]], list[_Found]], rows: Sequence[_Row], size: int
) -> Iterator[tuple[Sequence[_Row], list[_Found]]]:
    """`ask` about `size` rows at a time; where memory runs out, about half as many from there on, with a warning.

    Raises OutOfMemory if one row alone is too much.
    """
    start = 0
    while start < len(rows):
        some = rows[start : start + size]
        try:
            found = ask(some)
        except OutOfMemory:
            if len(some) == 1:
                raise
            size = len(some) // 2
            warnings.warn(
                f"memory ran out with {len(some)} questions at once; going on with {size} at a time", stacklevel=3
            )
            continue
        yield some, found
        start += len(some)


def _similar_together(lvlm: LVLM, pairs: Sequence[PictureQuestion]) -> list[int]:
    """The order of asking: questions about one picture together, pictures of similar size, the largest first.

    Where every picture has as many visual tokens, those with the longest questions come first.
    """
    about: dict[int, list[int]] = {}
    for place, (picture, _) in enumerate(pairs):
        about.setdefault(id(picture), []).append(place)
    length = [len(question) for _, question in pairs]

    def size(places: Sequence[int]) -> tuple[int, int, int]:
        width, height = (0, 0) if lvlm.family.one_row_per_picture else upright_size(pairs[places[0]][0])
        return width * height, width, max(length[place] for place in places)

    groups = sorted(about.values(), key=size, reverse=True)
    return [place for places in groups for place in sorted(places, key=length.__getitem__, reverse=True)]


@torch.inference_mode()
def _answer_rows(
    lvlm: LVLM,
    pairs: Sequence[PictureQuestion],
    reducer: Reducer | None,
    encoder: PictureEncoder | None,
    max_new_tokens: int,
) -> list[BatchAnswer]:
    """One batch, one row per pair."""
    pictures, tokenizer = [picture for picture, _ in pairs], lvlm.processor.tokenizer
    with memory_guard(lvlm.device):
        reading = None if reducer is None else reducer.first_reading
        shared = encoder.encode(pictures) if encoder is not None and encoder.serves(reducer) else None
        questions = [question for _, question in pairs]
        inputs = lvlm.prepare(pictures, [lvlm.chat(question) for question in questions], questions)
        margins = Margins()
        with reduced_with(lvlm, reading, shared) as trace:
            made = lvlm.model.generate(
                **inputs,
                **GREEDY,
                max_new_tokens=max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
                logits_processor=LogitsProcessorList([margins]),
            )
    stops, rows = stop_ids(lvlm.model), made[:, inputs["input_ids"].shape[1] :].tolist()
    lengths = [answer_length(row, stops) for row in rows]
    answers = []
    for row, length, image, least in zip(rows, lengths, trace.images, margins.least(lengths), strict=True):
        ids = tuple(row[:length])
        text = tokenizer.decode(ids, skip_special_tokens=True).strip()
        counts = _per_layer(image, lvlm.anatomy.text_layers)
        answers.append(BatchAnswer(text, ids, ids[-1] in stops, counts, least))
    return answers


def _after(first: BatchAnswer, second: BatchAnswer) -> BatchAnswer:
    """The second reading's answer, at the price of both."""
    counts = zip(first.visual_tokens_per_layer, second.visual_tokens_per_layer, strict=True)
    return replace(second, visual_tokens_per_layer=tuple(map(sum, counts)))


def _per_layer(image: ImageTrace, layers: int) -> tuple[int, ...]:
    """Visual tokens of one picture that entered each decoder layer."""
    after = {cut.layer: len(cut.kept) for cut in image.cuts}
    counts = [image.tokens]
    for layer in range(layers):
        counts.append(after.get(layer, counts[-1]))
    return tuple(counts[1:])
