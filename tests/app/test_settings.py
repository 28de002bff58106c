"""Settings: where they come from, what they refuse, what is safe by default, and the table in docs/deploy.md.

`WRITE_SETTINGS=1 pytest tests/app/test_settings.py` writes the table anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from app.server.settings import WITHOUT_FLAG, Settings, flag_of, parsed_settings, unknown_variables
from vscan_core.catalog import MODELS, is_random

PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"
BEGIN, END = "<!-- settings: tests/app/test_settings.py -->", "<!-- end of settings -->"
PASSWORD = "correct-horse"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch) -> Path:
    """No settings from outside."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("VSCAN_")]:
        monkeypatch.delenv(name)
    return tmp_path


def parsed(*flags: str) -> Settings:
    return parsed_settings(flags)[0]


def table() -> str:
    lines = ["| variable | flag | default | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        flag = "" if name in WITHOUT_FLAG else f"`{flag_of(name)}`"
        default = "" if field.default in (None, ()) else f"`{field.default}`"
        lines.append(f"| `VSCAN_{name.upper()}` | {flag} | {default} | {field.description} |")
    return "\n".join(lines)


def test_the_table_in_the_documentation_is_the_code() -> None:
    before, written, rest = re.split(f"({re.escape(BEGIN)}\n.*?{re.escape(END)})", PAGE.read_text(), flags=re.DOTALL)
    expected = f"{BEGIN}\n{table()}\n{END}"
    if os.environ.get("WRITE_SETTINGS"):
        PAGE.write_text(before + expected + rest)
        written = expected
    assert written == expected, "run this test with WRITE_SETTINGS=1"


def test_a_flag_wins_over_the_environment_and_that_over_the_file(empty_folder, monkeypatch) -> None:
    (empty_folder / ".env").write_text("VSCAN_PORT=1001\nVSCAN_HOST=0.0.0.0\nVSCAN_MODEL=from-file\nOTHER=1\n")
    assert (parsed().port, parsed().host, parsed().model) == (1001, "0.0.0.0", "from-file")
    monkeypatch.setenv("VSCAN_PORT", "1002")
    monkeypatch.setenv("VSCAN_MODEL", "from-environment")
    assert (parsed().port, parsed().model) == (1002, "from-environment")
    found = parsed("--port", "1003", "--models", "mini, other")
    assert (found.port, found.model, found.models) == (1003, "from-environment", ("mini", "other"))
    monkeypatch.setenv("VSCAN_MODEL", "")  # empty is not set
    assert parsed().model == "from-file"


@pytest.mark.parametrize(
    ("host", "public"),
    [("127.0.0.1", False), ("localhost", False), ("[::1]", False), ("0.0.0.0", True), ("demo.example.org", True)],
)
def test_a_host_that_others_reach_is_public_unless_the_operator_says_no(host, public) -> None:
    found = parsed("--host", host)
    assert found.is_public is found.logs_json is public
    assert parsed("--host", host, "--no-public").is_public is False
    assert parsed("--host", host, "--public").is_public is True
    assert parsed("--host", host, "--log-format", "text").logs_json is False


def test_strangers_are_not_offered_random_weights() -> None:
    at_home, public = parsed().offered(MODELS), parsed("--public").offered(MODELS)
    assert at_home == tuple(MODELS) and public == tuple(name for name in MODELS if not is_random(name))
    chosen_first = parsed("--public", "--model", "dummy:llava-small").offered(MODELS)
    assert set(chosen_first) == {*public, "dummy:llava-small"}
    named = parsed("--public", "--models", "dummy:llava-small").offered(MODELS)
    assert set(named) == {"mini", "dummy:llava-small"}, "the operator's word, and the model that is chosen first"
    with pytest.raises(ValueError, match=r"^there is no model 'minni'; is it 'mini'\?$"):
        parsed("--models", "minni").offered(MODELS)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--port", "x"], r"--port (VSCAN_PORT) cannot be used: Input should be a valid integer"),
        (["--port", "70000"], r"--port (VSCAN_PORT) cannot be used: Input should be less than or equal to 65535"),
        (["--max-queue", "0"], r"--max-queue (VSCAN_MAX_QUEUE) cannot be used: Input should be greater than"),
        (["--trusted-proxies", "my-proxy"], r"--trusted-proxies (VSCAN_TRUSTED_PROXIES) cannot be used: 'my-proxy'"),
        (["--log-format", "xml"], r"--log-format (VSCAN_LOG_FORMAT) cannot be used: Input should be 'text' or 'json'"),
        (["--answer-seconds", "nan"], r"--answer-seconds (VSCAN_ANSWER_SECONDS) cannot be used"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_sentence(flags, sentence, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*flags)
    last = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2 and sentence in last


def test_a_login_has_no_flag_and_is_never_printed(monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit):
        parsed("--login", "a:b")
    monkeypatch.setenv("VSCAN_LOGIN", f"guest:{PASSWORD}")
    found = parsed()
    assert found.login_pair == ("guest", PASSWORD) and PASSWORD not in repr(found)
    monkeypatch.setenv("VSCAN_LOGIN", f":{PASSWORD}")
    with pytest.raises(SystemExit):
        parsed()
    said = capsys.readouterr().err
    assert "give a user and a password with a colon between them" in said and PASSWORD not in said


def test_a_mistyped_variable_is_noticed(monkeypatch) -> None:
    assert unknown_variables() == []
    monkeypatch.setenv("VSCAN_MODLE", "x")
    monkeypatch.setenv("VSCAN_PORT", "80")
    assert unknown_variables() == ["VSCAN_MODLE is no setting; is it VSCAN_MODEL?"]


def test_a_file_that_is_no_text_is_said(empty_folder, capsys) -> None:
    (empty_folder / ".env").write_bytes(b"VSCAN_PORT=\xff\xfe80\n")
    with pytest.raises(SystemExit):
        parsed()
    assert "the file .env cannot be read" in capsys.readouterr().err
