"""What a method decides about merging inside the vision encoder, if its `needs` include the blocks."""

from __future__ import annotations

from torch import Tensor


class EncoderMerges:
    """The part of a reducer that concerns the blocks of the vision encoder."""

    def drops(self, tokens: int, keep: int, blocks: int) -> list[int]:
        """Number of tokens to merge in each block of the vision encoder; called only if `needs` includes the blocks."""
        raise NotImplementedError

    def partners(self, keys: Tensor, drop: int, first_stays: bool) -> Tensor:
        """keys (images, tokens, dim) -> (images, tokens): the new index of each token among the `tokens - drop` left.

        first_stays: the first token is CLS, which never merges and stays first. Called only if `drops` is.
        """
        raise NotImplementedError
