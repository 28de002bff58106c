"""With a login, nothing of the page is served to those who have none; health checks are."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError, AuthenticationError

from app.server import operations
from tests.app.fake import FakeEngine
from tests.app.operating import Service, operating

PASSWORD = "correct:horse"


@pytest.fixture(scope="module")
def closed() -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "WRONG_LOGIN_S", 0.01)
        with operating(FakeEngine(), login=f"guest:{PASSWORD}") as service:
            yield service


def test_who_has_no_login_gets_no_further(closed) -> None:
    for path in ("config", "gradio_api/info", "gradio_api/queue/data?session_hash=x"):
        assert closed.get(path).status_code == 401
    assert '"auth_required":true' in closed.get("").text.replace(": ", ":")
    assert httpx.post(f"{closed.url}gradio_api/queue/join", json={"data": [], "fn_index": 0}).status_code in (400, 401)
    for path in ("healthz", "metrics"):
        assert closed.get(path).status_code == 200
    assert closed.get("readyz").status_code in (200, 503)


@pytest.mark.parametrize(("user", "password"), [("guest", "wrong"), ("Guest", PASSWORD), ("guest:correct", "horse")])
def test_a_wrong_login_is_refused(closed, user, password) -> None:
    assert httpx.post(f"{closed.url}login", data={"username": user, "password": password}).status_code == 400


def test_the_right_one_opens_the_demo(closed) -> None:
    assert Client(closed.url, auth=("guest", PASSWORD), verbose=False).view_api(return_format="dict", print_info=False)
    with pytest.raises((AuthenticationError, AppError, ValueError)):
        Client(closed.url, verbose=False)
