"""One demo for the tests that only look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.app.server.served import Door, door_open


@pytest.fixture(scope="package")
def door() -> Iterator[Door]:
    """With the default limits."""
    with door_open() as opened:
        yield opened
