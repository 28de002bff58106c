"""What a method decides about cuts inside the LLM, with the answers of a method that only names a layer and a count."""

from __future__ import annotations

from torch import Tensor

from vscan_core.selection import Anatomy, Selection, Signals


class LaterCuts:
    """The part of a reducer that concerns cuts at decoder layers after the entrance."""

    rope_in_scores: bool | None  # a field of every reducer

    def without_later_cuts(self) -> LaterCuts | None:
        """The method with its cut at the entrance alone, which keeps `retention`; None: it has none there, or no other.

        Used where an engine cannot cut inside the LLM, see `one_stage`.
        """
        return None

    def select_in_llm(self, signals: Signals, keep: int) -> Selection:
        """A later cut: choose `keep` (or fewer) of the tokens left, by default those with the best text scores."""
        assert signals.text is not None
        return Selection.top(signals.text, keep, "text")

    @property
    def scores_with_text(self) -> bool:
        """Whether later cuts are scored by the text tokens in `query_tokens` instead of the last prompt token."""
        return False

    def query_tokens(self, visual: Tensor, text: Tensor) -> Tensor:
        """(text,) bool: the text tokens whose mean attention scores later cuts; called only if `scores_with_text`.

        visual (tokens, dim) and text (text, dim), the prompt after the image, are embeddings as they enter the LLM.
        """
        raise NotImplementedError

    @property
    def needs_in_llm(self) -> frozenset[str]:
        """The signals of later cuts, by their names in Signals; only these are recorded."""
        return frozenset({"text", "hidden"} if self.merges_in_llm else {"text"})

    @property
    def merges_in_llm(self) -> bool:
        """Whether later cuts merge dropped tokens into kept ones."""
        return False

    def score_layer(self, cut: int) -> int:
        """The decoder layer whose weights score the later cut at layer `cut`: `cut` itself or the previous one."""
        return cut

    def uses_rope(self, anatomy: Anatomy) -> bool:
        """Whether scores of later cuts apply the rotary embedding."""
        return anatomy.rope_in_scores if self.rope_in_scores is None else self.rope_in_scores
