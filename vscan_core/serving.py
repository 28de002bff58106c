"""What an inference engine with model classes of its own needs to cut visual tokens at the entrance of the LLM.

Before a run, `anatomy_of` a configuration and `Reducer.demands` say whether the engine can run a method, `one_stage`
leaves out what it cannot cut, and `Reducer.at_entrance` says how many tokens will enter, from their number alone.
During a run the engine makes `Signals` from its own layers, with `cls_row`, `mean_keys` and `received_in_each`, and
`reduce_tiles` gives the rows that enter the LLM.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from vscan_core.engine.entrance import reduce_tiles
from vscan_core.families import family_of
from vscan_core.families.scores import cls_row, mean_keys, received_in_each
from vscan_core.reducers.demands import EngineDemands
from vscan_core.reducers.one_stage import one_stage
from vscan_core.selection import Anatomy

__all__ = ["EngineDemands", "anatomy_of", "cls_row", "mean_keys", "one_stage", "received_in_each", "reduce_tiles"]


def anatomy_of(config: Any) -> Anatomy:
    """The anatomy of a model, from its transformers configuration alone. Raises InputError if it is not supported."""
    model: Any = SimpleNamespace(config=config)
    return family_of(model).anatomy(model)
