"""What an inference engine with model classes of its own needs to cut visual tokens at the entrance of the LLM.

Before a run, `anatomy_of` a configuration and `Reducer.demands` say whether the engine can run a method, `one_stage`
leaves out what it cannot cut, and `entering_tokens` says how many tokens will enter, from the picture's size alone.
During a run the engine makes `Signals` from its own layers, with `cls_row`, `mean_keys` and `received_in_each`, and
`reduce_tiles` gives the rows that enter the LLM.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from vscan_core.engine.entrance import reduce_tiles
from vscan_core.errors import InputError
from vscan_core.families import family_of
from vscan_core.families.scores import cls_row, mean_keys, received_in_each
from vscan_core.families.tiles import TokenLayout
from vscan_core.reducers.base import Reducer
from vscan_core.reducers.demands import EngineDemands
from vscan_core.reducers.one_stage import one_stage
from vscan_core.regions import Region
from vscan_core.selection import Anatomy

__all__ = [
    "EngineDemands",
    "Region",
    "TokenLayout",
    "anatomy_of",
    "cls_row",
    "entering_tokens",
    "mean_keys",
    "one_stage",
    "picture_layout",
    "received_in_each",
    "reduce_tiles",
]


def picture_layout(config: Any, height: int, width: int) -> TokenLayout:
    """The visual tokens of a picture of this size, in pixels, and in which regions of its tiles they lie.

    Raises InputError if the configuration and the size do not tell: where tiles follow from the processor.
    """
    model: Any = SimpleNamespace(config=config)
    return family_of(model).picture_layout(config, height, width)


def entering_tokens(reducer: Reducer, config: Any, height: int, width: int) -> int:
    """How many tokens of a picture of this size, in pixels, enter the LLM, newlines included.

    Raises InputError as `picture_layout` does, and where the count depends on the picture too (`adaptive`; merging in
    the encoder of tiles that are partly padding).
    """
    layout, anatomy = picture_layout(config, height, width), anatomy_of(config)
    demands = reducer.demands(anatomy)
    if demands.adaptive or (layout.regions and (demands.merges_in_encoder or reducer.sees_padding)):
        raise InputError(f"how many tokens {reducer.title} keeps of a picture depends on what it shows")
    side: int = config.vision_config.image_size // config.vision_config.patch_size
    tokens = side**2
    sizes = [tokens if one is None else one.tokens for one in layout.regions or [None] * layout.tiles]
    keep = reducer.at_entrance(tokens, anatomy) or tokens
    newlines = 0 if layout.origin is None else int((layout.origin < 0).sum())
    return newlines + sum(min(keep, size) for size in sizes)


def anatomy_of(config: Any) -> Anatomy:
    """The anatomy of a model, from its transformers configuration alone. Raises InputError if it is not supported."""
    model: Any = SimpleNamespace(config=config)
    return family_of(model).anatomy(model)
