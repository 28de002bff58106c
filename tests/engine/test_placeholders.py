"""Placeholders of the prompt and pictures of the vision side: matched whole and in order, or refused."""

from __future__ import annotations

import pytest
import torch

import vscan_core as vc
from vscan_core.engine.call import Call
from vscan_core.engine.encoded import Encoded
from vscan_core.engine.segments import Segments
from vscan_core.trace import Cut, ImageTrace


def encoded(*tokens: int) -> Encoded:
    return Encoded(images=[ImageTrace(count) for count in tokens])


def placeholders(*per_row: int, length: int = 16) -> torch.Tensor:
    """(batch, length) bool: a text token, then the row's placeholders, then text."""
    place = torch.arange(length)
    return torch.stack([(place >= 1) & (place <= count) for count in per_row])


def call_of(batch: int, length: int = 16) -> Call:
    zeros = torch.zeros(batch, length, dtype=torch.long)
    return Call(
        cache=None,
        segments=Segments([0], None),
        logical=length,
        position=zeros,
        lengths=[],
        valid=None,
        visual=None,
        spans=[],
    )


def cut(layer: int, *kept: int, tokens: int = 6) -> Cut:
    return Cut(layer, torch.tensor(kept), {}, torch.full((tokens,), -1), {})


@pytest.mark.parametrize("rows", [(6,), (6, 6), (6, 6, 6)], ids=str)
def test_whole_pictures_once_or_for_every_beam_are_accepted(rows) -> None:
    encoded(6).check(placeholders(*rows))
    encoded(2, 4).check(placeholders(*rows))


@pytest.mark.parametrize("rows", [(5,), (7,), (6, 5), (12,), (6, 6, 0)], ids=str)
def test_placeholders_that_are_no_multiple_of_the_pictures_are_refused(rows) -> None:
    with pytest.raises(vc.InputError, match=f"{sum(rows)} image placeholders.*{6} visual tokens"):
        encoded(6).check(placeholders(*rows))


def test_a_later_turn_without_pictures_is_accepted() -> None:
    encoded().check(placeholders(6))


def test_pictures_without_a_place_are_refused() -> None:
    with pytest.raises(vc.InputError, match="leave out the pixels of pictures that the cache holds"):
        encoded(6).check(placeholders(0))


def test_every_picture_gets_its_own_columns_in_every_beam() -> None:
    images, call = encoded(2, 4), call_of(4)
    call.find_images(placeholders(2, 2, 4, 4), images)
    assert call.copies == 2
    assert [(span.row, span.columns.tolist(), span.recorded) for span in call.spans] == [
        (0, [1, 2], True),
        (1, [1, 2], False),
        (2, [1, 2, 3, 4], True),
        (3, [1, 2, 3, 4], False),
    ]
    assert all(span.image is images.images[span.row // 2] for span in call.spans)


def test_a_picture_that_is_spread_over_two_prompts_is_refused() -> None:
    with pytest.raises(vc.InputError, match="of prompt 1 do not fit whole pictures"):
        call_of(2).find_images(placeholders(3, 3), encoded(2, 4))


def test_later_cuts_of_an_earlier_prefill_are_forgotten_and_cut_0_stays() -> None:
    images, call = encoded(6), call_of(1)
    first = cut(0, 0, 2, 3, 5)
    images.images[0].cuts = [first, cut(3, 2, 5)]
    call.find_images(placeholders(6), images)
    assert images.images[0].cuts == [first]
    (span,) = call.spans
    assert span.kept.tolist() == [0, 2, 3, 5] and span.columns.tolist() == [1, 3, 4, 6]
