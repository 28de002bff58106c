"""Which method a family refuses, and why: follows from what the method needs, so any other refusal is a failure."""

from __future__ import annotations

from vscan_core.families import family_of
from vscan_core.reducers import REDUCERS
from vscan_core.reducers.base import Reducer

OF_VIDEOS = {name for name, cls in REDUCERS.items() if cls().sees_all_tiles}  # refuse pictures
WITH_CLIP = ("llava", "llava_next")  # their vision encoder is a whole CLIP: keys, and blocks that tokens can merge in


# signals of softmax attention
ATTENTION = {"text", "queries", "llm_keys", "rotated_keys", "text_rotated_keys", "values", "text_values"}


def unscored(reducer: Reducer, later: list[int], attending: list[int]) -> bool:
    """Whether a cut needs scores, but no layer with attention lies between the cut before and the layer that scores."""
    pairs = zip([0, *later], later, strict=False)
    return bool(reducer.needs_in_llm & ATTENTION) and any(
        not set(attending) & set(range(before, reducer.score_layer(cut) + 1)) for before, cut in pairs
    )


def refusal(model, reducer: Reducer) -> str | None:
    """A pattern of the sentence that refuses this reducer on this model, which has a text half if its tower is CLIP's.

    None: the pair must work.
    """
    family = family_of(model)
    anatomy = family.anatomy(model)
    needs, clip = reducer.needs(anatomy), family.model_type in WITH_CLIP
    later = [layer for layer in reducer.cut_layers(anatomy) if layer > 0]
    if later and later[0] < anatomy.first_cut:
        return "adds visual features up to decoder layer"
    if later and anatomy.last_cut is not None and later[-1] > anatomy.last_cut:
        return "last decoder layers reuse keys and values"
    if unscored(reducer, later, family.attending(model)):
        return "nothing can score a cut at decoder layer"
    if reducer.sees_all_tiles:
        return "frames of a video, and this is a picture"
    if needs.joint and family.clip is None:
        return "no CLIP text encoder"
    if needs.keys and not clip:
        return "no vision keys"
    if needs.blocks and not clip:
        return "cannot merge tokens inside its vision encoder"
    return None
