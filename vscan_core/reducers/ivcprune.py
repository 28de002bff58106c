"""IVC-Prune: inside the LLM, keep tokens at places that serve as coordinates and those whose values fit the question.

Source: IVC-Prune, arXiv 2602.03060: implicit visual coordinates are the tokens at whose positions the rotary embedding
is nearest to the identity or to a turn by 90 degrees: the highest mean cosine, and the highest mean sine. Similarity of
two tokens: softmax of the product of their value vectors in the layer before the cut, mean over heads. Tokens similar
to the question are seeds; then similarity to question and seeds together ranks the rest. Seeds and coordinates are kept
first, then the best of the others. Order and shares as in the released code for Qwen2.5-VL, which keeps half of the
tokens: a fifth of these by cosine, a fifth by sine, a fiftieth seeds. Position ids do not change.

But:
- layers before the cut keep all tokens in the KV cache; the released code removes the dropped ones there too, once the
  prompt has been read. So answers can differ from the second token on, and with half of the tokens from layer 16 of 32
  on, as published for LLaVA-1.5, the cache holds three quarters of the visual tokens instead of one half;
- the cut is at the published layer (16 of 32 or 28, 22 of 36, in other LLMs the middle one) only if the retention lets
  half of the tokens pass it. With less, the cut moves towards the entrance in proportion, and so few pass it that the
  layers before it still have their published part of the budget (`layer` and `keep` set either);
- the question is all text behind the image (the released code leaves out the first two tokens of it: `skip=2`);
- with M-RoPE, means are over all axes, as released: tokens that differ only in the order of row and column tie, and the
  first one wins;
- `released=True` is the released code for LLaVA-1.5: a softmax over the whole prompt, and no budget. It keeps what the
  highest 5 % of the tokens by cosine, 5 % by sine, 1 % seeds and the 20 % most similar to question and seeds make
  together, which varies from picture to picture; the schedule is the most that this can be. For one image per prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.reducers.single_cut import InsideOnce
from vscan_core.selection import Anatomy, Selection, Signals

CUT_BY_DEPTH = {28: 16, 32: 16, 36: 22}  # depth of the LLM -> layer of the cut
COORDINATES, SEEDS = 0.2, 0.02  # shares of the tokens kept: by cosine, and as many by sine; seeds
BLOCK = 1 << 22  # most similarities that are computed at once
NO_QUESTION = (
    "IVC-Prune compares the picture with the question behind it, but this prompt ends in the picture; put the question "
    "after the picture"
)


@dataclass(frozen=True)
class IVCPrune(InsideOnce):
    """IVCPrune(retention=3/4) on 576 tokens and 32 layers: 576 into layers 0-15, 288 into layers 16-31.

    With retention=1/3, 576 into layers 0-6 and 84 into the others.
    """

    title: ClassVar[str] = "IVC-Prune"
    summary: ClassVar[str] = (
        "inside the LLM, keep tokens at places that serve as coordinates and those whose values fit the question"
    )
    paper: ClassVar[str] = "IVC-Prune, arXiv 2602.03060"

    _: KW_ONLY
    positions: str | None = "original"
    layer: int | None = None  # first layer that sees fewer tokens; None = by retention, at most the published one
    skip: int = 0  # tokens of the text right behind the image that are not of the question
    released: bool = False  # number of tokens and softmax of the released code for LLaVA-1.5, whatever the retention

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.skip < 0:
            raise InputError(f"skip must be at least 0 tokens, but is {self.skip}")
        if self.released and self.keep is not None:
            raise InputError("released sets the number of tokens itself; leave keep out, or released")

    def schedule(self, tokens: int, anatomy: Anatomy, tiles: int = 1) -> dict[int, int]:
        """One cut; if `released`, to as many tokens as its sets have together if no token is in two of them."""
        if not self.released:
            return super().schedule(tokens, anatomy, tiles)
        most = sum(released_counts(tokens * tiles))
        return replace(self, released=False, keep=most).schedule(tokens, anatomy, tiles)

    def published_layer(self, anatomy: Anatomy) -> int:
        """The published layer, or as far before it as the retention is below that of half of the tokens from it on."""
        depth = anatomy.text_layers
        layer = CUT_BY_DEPTH.get(depth, depth // 2)
        if self.keep is not None or self.released:
            return layer
        share = self.retention * depth / (layer + (depth - layer) / 2)
        return max(anatomy.first_cut, min(layer, int(layer * share + 1e-9)))

    @property
    def needs_in_llm(self) -> frozenset[str]:
        """Values of the image and of the text behind it, and where the image's positions turn them."""
        front = {"front_values"} if self.released else set[str]()
        return frozenset({"values", "text_values", "rotary_means", *front})

    def score_layer(self, cut: int) -> int:
        """The layer before the cut, whose values are compared."""
        return cut - 1

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """Coordinates, seeds, and what resembles them and the question. Raises InputError if there is no question."""
        assert signals.values is not None and signals.text_values is not None and signals.rotary_means is not None
        values, question = signals.values, signals.text_values[self.skip :]
        if not len(signals.text_values):
            raise InputError(NO_QUESTION)
        if not len(question):
            raise InputError(f"skip={self.skip} leaves nothing of the text behind the picture; choose a smaller skip")
        if self.released:
            assert signals.front_values is not None
            seeded, best, each, _ = released_counts(len(values))
            scores, seeds = foreground(values, question, seeded, [signals.front_values, signals.text_values])
        else:
            seeded, best, each = max(1, round(SEEDS * keep)), keep, round(COORDINATES * keep)
            scores, seeds = foreground(values, question, seeded)
        places = torch.cat([geometry.top(means, each) for means in signals.rotary_means.unbind(1)])
        place, seed = (torch.zeros_like(scores, dtype=torch.bool).index_fill(0, one, True) for one in (places, seeds))
        ranked = scores if self.released else scores.masked_fill(place | seed, torch.inf)  # there, in the budget
        chosen = (place | seed).index_fill(0, geometry.top(ranked, best), True)
        labels = {"coordinate": place, "seed": seed & ~place, "foreground": chosen & ~seed & ~place}
        return Selection(
            kept=chosen.nonzero()[:, 0],
            labels={name: marks.nonzero()[:, 0] for name, marks in labels.items()},
            scores={"foreground": scores},
        )


def foreground(values: Tensor, question: Tensor, seeds: int, around: Sequence[Tensor] = ()) -> tuple[Tensor, Tensor]:
    """(tokens,) mean similarity of each token to the question and the seeds, and (seeds,) these, the best first.

    values (tokens, kv_heads, head_dim) and question (rows, kv_heads, head_dim) of one layer; around: values of what the
    softmax runs over beside the tokens. Seeds are the tokens most similar to the question; ties go to the lowest index.
    """
    among = torch.cat([values, *around])
    asked = value_similarity(question, among)[: len(values)]
    best = geometry.top(asked, seeds)
    both = asked + value_similarity(values[best], among)[: len(values)]
    return both / (len(question) + len(best)), best


def value_similarity(rows: Tensor, among: Tensor) -> Tensor:
    """(tokens,): how similar `rows` are to each of `among`, summed over rows; each row has 1 to give in all.

    rows (rows, heads, head_dim), among (tokens, heads, head_dim). Softmax over tokens of the product by the root of
    head_dim, mean over heads. Never more than `BLOCK` similarities at once, or a row of them.
    Rows (2,) of one head and among (0,), (1,) -> softmax of 0, 2: .12, .88.
    """
    heads, size = among.shape[1:]
    columns = geometry.precise(among).permute(1, 2, 0) * size**-0.5
    total: Tensor = columns.new_zeros(len(among))
    for part in torch.split(geometry.precise(rows).transpose(0, 1), max(1, BLOCK // (heads * len(among))), dim=1):
        total += (part @ columns).softmax(-1).sum((0, 1))
    return total / heads


def released_counts(tokens: int) -> tuple[int, int, int, int]:
    """Seeds, most similar tokens, and coordinates by cosine and by sine, of `tokens` in the released code for LLaVA."""
    coordinates = round(0.05 * tokens)
    return max(1, round(0.01 * tokens)), round(0.2 * tokens), coordinates, coordinates
