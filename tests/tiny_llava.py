"""A tiny random LLaVA-1.5 from the stock classes, for tests of everything that needs a model: the examination's own."""

from vscan_core.conformance.tiny import IMAGE_ID as IMAGE_TOKEN
from vscan_core.conformance.tiny import roughened, tiny_llava

__all__ = ["IMAGE_TOKEN", "roughened", "tiny_llava"]
