"""Every method on offer. A new one is one new file and one name in this tuple."""

from vscan_core.reducers.base import Reducer
from vscan_core.reducers.vscan import VScan

REDUCERS: dict[str, type[Reducer]] = {cls.__name__.lower(): cls for cls in (VScan,)}

__all__ = ["REDUCERS", "Reducer", "VScan"]
