"""Visual token reduction on unmodified Hugging Face vision-language models."""

from vscan_core.attach import reduced
from vscan_core.errors import InputError
from vscan_core.reducers import REDUCERS, Reducer, VScan
from vscan_core.selection import Anatomy, Cut, ImageTrace, Needs, Selection, Signals, Trace

__all__ = [
    "REDUCERS",
    "Anatomy",
    "Cut",
    "ImageTrace",
    "InputError",
    "Needs",
    "Reducer",
    "Selection",
    "Signals",
    "Trace",
    "VScan",
    "reduced",
]
