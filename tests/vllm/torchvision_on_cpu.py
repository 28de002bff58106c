"""torchvision as PyPI has it, beside a torch for CPUs: declares the two operators that its Python side expects.

In site-packages with a .pth file, because vLLM also imports torchvision in processes that it starts itself.
"""

import importlib.abc
import sys
from typing import Any


class Declare(importlib.abc.MetaPathFinder):
    """Acts once, just before torchvision is imported, and finds nothing itself."""

    library: Any = None  # its operators last as long as it does

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname != "torchvision":
            return
        sys.meta_path.remove(self)
        import torch

        Declare.library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            Declare.library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


sys.meta_path.insert(0, Declare())
