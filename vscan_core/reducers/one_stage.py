"""Any method as an engine runs it that can cut only at the entrance of the LLM, and a sentence about what changed."""

from __future__ import annotations

from vscan_core.errors import InputError
from vscan_core.reducers.base import Reducer
from vscan_core.selection import Anatomy

INSIDE_ONLY = (
    "{method} cuts inside the language model, and this engine cuts only at its entrance; choose a method that "
    "cuts there, such as VScan or VisPruner"
)
BECOMES = "this engine cuts only at the entrance of the language model{left_out}: {method} keeps {kept} there"
SEVERAL = 1 << 20  # tokens of a picture, to see whether a budget is a share


def one_stage(reducer: Reducer, anatomy: Anatomy) -> tuple[Reducer, str | None]:
    """The method with its cut at the entrance alone, and one sentence about what changed; None: nothing.

    VScan(retention=1/9) becomes VScan(encoder_keep=1/9, llm_keep={}): the retention, an average over layers, is then
    the share that enters all of them. Of a pair, the first method remains. Raises InputError, in one sentence, for a
    method that cuts only inside the LLM.
    """
    alone = reducer.without_later_cuts()
    try:
        cuts = reducer.cut_layers(anatomy)
    except InputError:  # such as a retention that is out of reach inside the LLM
        cuts = (anatomy.text_layers,)
    if not cuts or (alone in (None, reducer) and not any(cuts)):
        return reducer, None
    if alone is None or alone == reducer:
        raise InputError(INSIDE_ONLY.format(method=reducer.title))
    assert isinstance(alone, Reducer)
    alone, _ = one_stage(alone, anatomy)
    return alone, BECOMES.format(method=alone.title, left_out=_left_out(cuts, anatomy), kept=_kept(alone, anatomy))


def _left_out(cuts: tuple[int, ...], anatomy: Anatomy) -> str:
    layers = [str(layer) for layer in cuts if 0 < layer < anatomy.text_layers]
    if len(layers) < 2:
        return "".join(f", so the cut at layer {layer} is left out" for layer in layers)
    return f", so the cuts at layers {', '.join(layers)} are left out"


def _kept(alone: Reducer, anatomy: Anatomy) -> str:
    least, most = (alone.at_entrance(tokens, anatomy) or tokens for tokens in (SEVERAL, 2 * SEVERAL))
    return f"{most} visual tokens of each image or tile" if least == most else f"{least / SEVERAL:.1%} of visual tokens"
