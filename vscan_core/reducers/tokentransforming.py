"""TokenTransforming: make every remaining token a weighted mean of all tokens.

Source: Token Transforming, arXiv 2506.05709: reduction as one matrix product, Y = W X. Pruning has one-hot rows in W,
merging one entry per column; here W is dense. In this interpretation, the tokens to which CLS attends most are the
anchors; every token is divided among them by a softmax of its cosine with each, and the rows of W sum to one.

But: the authors published no code, so this is an experiment rather than a reproduction:
- the temperature is set by this project, and so is the choice of anchors by the CLS row of the output layer;
- the paper transforms inside the vision encoder, in several blocks; this is one transformation before the projector
  (after it if several patches make one token);
- each mean takes its anchor's place in the sequence.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import normalize

from vscan_core import geometry
from vscan_core.errors import InputError
from vscan_core.reducers.single_cut import AtEntrance
from vscan_core.selection import Anatomy, Needs, Selection, Signals


@dataclass(frozen=True)
class TokenTransforming(AtEntrance):
    """Near temperature 0 every token joins only its nearest anchor; a high temperature makes all tokens similar."""

    title: ClassVar[str] = "TokenTransforming"
    summary: ClassVar[str] = "make every remaining token a weighted mean of all tokens"
    paper: ClassVar[str] = "Token Transforming, arXiv 2506.05709"

    _: KW_ONLY
    temperature: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise InputError(f"temperature must be above 0, but is {self.temperature}")

    def needs(self, anatomy: Anatomy) -> Needs:
        """CLS attention of the output layer."""
        return Needs(cls_attention=(anatomy.feature_layer,))

    def select(self, signals: Signals, keep: int) -> Selection:
        """The anchors and their weighted means; if all tokens are kept, they are unchanged."""
        features = signals.projected if signals.features is None else signals.features
        assert features is not None
        scores = signals.salience
        kept = geometry.top(scores, keep).sort().values
        if keep >= signals.tokens:
            return Selection(kept=kept, labels={"global": kept}, scores={"global": scores})
        mix = transformation(features, kept, self.temperature)
        merged_into = kept[mix.argmax(0)].index_fill(0, kept, -1)  # the anchor in which a token weighs most
        return Selection(kept, labels={"global": kept}, merged_into=merged_into, scores={"global": scores}, mix=mix)


def transformation(features: Tensor, anchors: Tensor, temperature: float) -> Tensor:
    """(anchors, tokens) the matrix W; features (tokens, dim), anchors (anchors,) indices. Rows sum to one."""
    unit = normalize(geometry.precise(features), dim=-1)
    shares = (unit[anchors] @ unit.T / temperature).softmax(0)  # of each token, over the anchors
    return shares / shares.sum(1, keepdim=True)
