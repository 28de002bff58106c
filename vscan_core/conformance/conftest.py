"""Which methods are examined, and on which models."""

from __future__ import annotations

import pytest

from vscan_core.conformance.tiny import TINY_MODELS
from vscan_core.reducers import REDUCERS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The methods that `python -m vscan_core.conformance` names, or all; where models are asked for, every tiny one."""
    metafunc.parametrize("method", getattr(metafunc.config, "examined_methods", None) or list(REDUCERS))
    if "tiny" in metafunc.fixturenames:
        metafunc.parametrize("tiny", TINY_MODELS, ids=lambda tiny: tiny.name)
