"""The six steps in words: one title and one sentence each, with the counts of the run. No more than is true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import formatting

PAPER_URL = "https://arxiv.org/abs/2505.22654"
NOTHING_DROPPED = "At this retention nothing is dropped. Move the slider in Compare to the left to see the two stages."


@dataclass(frozen=True)
class Counts:
    """How many visual tokens there are at each point of a run, and where the later cut is."""

    tokens: int
    global_scan: int  # kept by it
    local_scan: int
    left: int  # of the whole picture, after the later cut; the same as both scans together if there is none
    layer: int  # of the later cut; 0: there is none
    layers: int  # of the language model
    merged: int  # dropped tokens that are averaged into kept ones

    @property
    def entered(self) -> int:
        """Tokens that entered the language model."""
        return min(self.global_scan + self.local_scan, self.tokens)


def steps(counts: Counts, ended: bool, same: bool | None, hint: str = "") -> list[dict[str, Any]]:
    """The steps in order: name, figure and unit (the label of its button), title, and the sentence of each phase.

    ended: whether both answers are there; same: whether they are the same text (None: they mean nothing, or not yet);
    hint: what the model has to say about the picture, which takes the place of a verdict.
    """
    n = counts
    found = [
        _step("picture", "1", "picture", "A picture and a question", "Before it can answer, the model has to look."),
        _step(
            "patches", f"{n.tokens:,}", "patches", f"It becomes {n.tokens:,} patches",
            "The language model reads every patch as a visual token before it writes the first word.",
        ),
        _step(
            "global", f"{n.global_scan:,}", "global", "What stands out in the whole picture?",
            "In a late layer, the vision encoder looks at the picture as a whole: "
            f"{n.global_scan:,} of the patches with the most attention stay.",
        ),
        _step(
            "local", f"{n.local_scan:,}", "local", "What stands out in its neighbourhood?",
            "In an early layer, it sees details: the patches with the most attention in each window stay too, "
            f"{n.local_scan:,} in all, so that small things in a corner survive.",
        ),
        _step("merge", f"{n.left:,}", "left", "Merge the rest, then ask", _merge(n), _asked(n)),
        _step("answers", "2", "answers", "Both answers, and what it saved", hint or _verdict(ended, same)),
    ]  # fmt: skip
    if n.entered == n.tokens:
        for step in found[2:4]:
            step |= {"figure": "0", "phases": [NOTHING_DROPPED]}
    return found


def _step(name: str, figure: str, unit: str, title: str, *phases: str) -> dict[str, Any]:
    return {"name": name, "figure": figure, "unit": unit, "title": title, "phases": [each for each in phases if each]}


def _merge(n: Counts) -> str:
    if n.entered == n.tokens:
        return NOTHING_DROPPED
    tokens = f"{n.entered:,} tokens enter the language model."
    if not n.merged:
        return f"The other {n.tokens - n.entered:,} patches are dropped: {tokens}"
    return f"Each of the other {n.merged:,} patches is averaged into the kept patch most like it: {tokens}"


def _asked(n: Counts) -> str:
    if not n.layer:
        return ""
    return (
        f"At layer {n.layer} of {n.layers}, the {n.left:,} tokens that the end of the prompt attends to most go on; "
        f"the other {n.entered - n.left:,} are dropped."
    )


def _verdict(ended: bool, same: bool | None) -> str:
    if not ended:
        return "The model has not answered yet."
    if same is None:
        return "What reading fewer visual tokens saved on this picture."
    if same:
        return "The same answer from fewer visual tokens."
    return "Here the answers differ: what was dropped mattered."


def figures(tokens: list[int], flops: tuple[float, float], kv: tuple[int, int]) -> list[list[str]]:
    """The exact savings, each as [value, meaning]; pairs are (all tokens, fewer tokens)."""
    return [
        [formatting.with_arrows(tokens), "visual tokens"],
        [f"{formatting.ratio(*flops)} {formatting.TIMES}", "fewer FLOPs in prefill"],
        [f"{formatting.ratio(*kv)} {formatting.TIMES}", "smaller KV cache"],
    ]


HOW = """
A vision-language model splits a picture into small square patches and turns each of them into a **visual token**. The
language model reads all of these tokens before it writes the first word of its answer. Most of them say little, and
reading them takes time and memory. **VScan** drops most of them in two stages; the model itself is not retrained:

1. **Before the language model.** Two layers of the vision encoder show how much attention each patch gets. The *global
   scan* keeps the patches that matter for the picture as a whole; the *local scan* keeps the best ones of every
   neighbourhood, so that small objects in a corner survive. Each dropped token is averaged into the kept token that is
   most similar to it, so its content is not lost completely.
2. **Inside the language model.** Halfway through its layers, the model has processed the question. Only the visual
   tokens that get the most attention from the last token of the prompt go on to the remaining layers.

The slider in Compare sets the **retention**: the share of visual tokens, averaged over all layers of the language
model. The published settings are 11.1 %, 22.2 % and 33.3 %. On LLaVA-NeXT 7B the authors report, at 11.1 %, a prefill
2.91 times as fast and 95.4 % of the accuracy kept; this page's figures are of the model that is named beside them.
"""
LINKS = f"""
The method: *VScan: Rethinking Visual Token Reduction for Efficient Large Vision-Language Models*,
[arXiv 2505.22654]({PAPER_URL}). Below: the code that runs here, the card of the embedded model,
and what this project found with it. `make docs` builds the documentation as a site.
"""
