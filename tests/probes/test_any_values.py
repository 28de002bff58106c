"""Whatever is sent to any endpoint, it is answered or refused in a sentence: requests that nobody has thought of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.probes.description import ENDPOINTS, openapi
from tests.probes.judge import fault
from tests.probes.next_visitor import still_served
from tests.probes.probe import PICTURE, Call, Probe
from tests.probes.sending import Sender, running_demo

FILE: Any = {"path": PICTURE, "meta": {"_type": "gradio.FileData"}}
FEW = hypothesis.settings(
    max_examples=20,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=[hypothesis.Phase.generate],
)
numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
plain = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=40))
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
pictures = st.one_of(st.just(FILE), anything)
questions = st.one_of(st.just("What is there?"), anything)
shares = st.one_of(st.floats(0.01, 1), anything)
models = st.one_of(st.just("mini"), anything)
methods = st.one_of(st.just("vscan"), anything)
VALUES = {
    "compare": st.tuples(pictures, questions, shares, models, methods, st.integers(-3, 8) | anything),
    "overlay": st.tuples(pictures, shares, models, methods),
    "arena": st.tuples(pictures, questions, shares, st.lists(methods, max_size=2) | anything, models),
    "sweep": st.tuples(pictures, questions, st.sampled_from(["0.5", "1, x"]) | anything, models, methods),
}


@pytest.fixture(scope="module")
def sender() -> Iterator[Sender]:
    with running_demo() as found:
        yield found
        assert still_served(found) is None


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_any_values_are_answered_or_refused_in_a_sentence(sender: Sender, endpoint: str) -> None:
    @FEW
    @hypothesis.given(VALUES[endpoint])
    def ask(values: tuple[Any, ...]) -> None:
        probe = Probe("any", endpoint, Call(endpoint, values), harmless=True)
        found = sender.send(probe)
        assert fault(probe, found) is None, (fault(probe, found), found.sentence)

    ask()


def _operations() -> dict[str, Any]:
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_dict(openapi())
    return {operation.label: operation for operation in (found.ok() for found in schema.get_all_operations())}


@pytest.mark.parametrize("good", [True, False])
def test_no_request_of_any_shape_gives_a_500(sender: Sender, good: bool) -> None:
    """Requests that schemathesis makes from a description of all open routes, and such as break the description."""
    mode = pytest.importorskip("schemathesis").GenerationMode
    asked = 0
    for label, operation in _operations().items():
        if not good and not label.startswith("POST"):
            continue  # there is only a path, and any text can be one

        @hypothesis.settings(FEW, max_examples=6)
        @hypothesis.given(operation.as_strategy(generation_mode=mode.POSITIVE if good else mode.NEGATIVE))
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            reply = case.call(base_url=sender.demo.url.rstrip("/"), timeout=60)
            ready = reply.status_code == 503 and case.path == "/readyz"
            assert reply.status_code < 500 or ready, (case.method, reply.url, reply.text[:300])
            assert "Traceback" not in reply.text and 'File "/' not in reply.text

        with suppress(hypothesis.errors.Unsatisfiable):  # some bodies cannot be broken by their description
            ask()
    assert asked >= 12
    assert "Traceback" not in sender.logged()
