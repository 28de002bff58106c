"""Visual token reduction on unmodified Hugging Face vision-language models."""

from vscan_core import catalog
from vscan_core.attach import reduced
from vscan_core.batched import BatchAnswer, answer_many
from vscan_core.conversation import Conversation, Turn
from vscan_core.errors import InputError, OutOfMemory
from vscan_core.events import Answer, Cost, Done, Event, Prefilled, Timings, Token
from vscan_core.inference import answer, compare
from vscan_core.loading import load_model, load_text_half
from vscan_core.lvlm import LVLM
from vscan_core.media.images import open_image
from vscan_core.media.videos import Video, open_video
from vscan_core.reducers import REDUCERS, Reducer, Then
from vscan_core.reducers.vscan import VScan
from vscan_core.selection import Anatomy, Needs, Selection, Signals
from vscan_core.trace import Cut, ImageTrace, Trace

__version__ = "0.2.0"

__all__ = [
    "LVLM",
    "REDUCERS",
    "Anatomy",
    "Answer",
    "BatchAnswer",
    "Conversation",
    "Cost",
    "Cut",
    "Done",
    "Event",
    "ImageTrace",
    "InputError",
    "Needs",
    "OutOfMemory",
    "Prefilled",
    "Reducer",
    "Selection",
    "Signals",
    "Then",
    "Timings",
    "Token",
    "Trace",
    "Turn",
    "VScan",
    "Video",
    "answer",
    "answer_many",
    "catalog",
    "compare",
    "load_model",
    "load_text_half",
    "open_image",
    "open_video",
    "reduced",
]
