"""Every Python block of docs/http_api.md runs as it stands there, against a real server with the embedded model."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from app.server.programs.chat_request import HARMLESS_VALUES, SWITCHED_OFF
from app.server.programs.mcp_tools import TOOLS
from app.server.settings import Settings
from app.session.engine import Engine
from app.session.quotas import FairUse
from tests.apart import call_apart
from tests.app.operating import operating

PAGE = (Path(__file__).parents[3] / "docs" / "http_api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
ADDRESS = "http://127.0.0.1:7860/"


def test_the_blocks_run_one_after_another(picture_file, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "photo.png").write_bytes(Path(picture_file).read_bytes())
    monkeypatch.chdir(tmp_path)
    said, names = [], {}
    assert len(BLOCKS) == 4 and sum(ADDRESS in block for block in BLOCKS) == 2
    with operating(Engine(), mcp=True) as service:
        for block in BLOCKS:
            call_apart(partial(exec, block.replace(ADDRESS, service.url), names))
            said.append(capsys.readouterr().out)
    answer, stream, refusal, counts = said
    assert answer.endswith("576 -> 64.0\n") and len(answer.split()) > 3
    assert re.fullmatch(r"\S.* \(\d+ ms to the first token\)\n", stream)
    assert refusal.startswith("temperature - Answers are greedy here")
    assert '"tokens": 576' in counts and (tmp_path / "tokens.jpg").stat().st_size > 1000


def test_the_client_of_a_vllm_server_runs_here_too(picture_file) -> None:
    page = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    with operating(Engine()) as service:
        script = script.replace("http://127.0.0.1:8000/", service.url)
        done = subprocess.run([sys.executable, "-c", script, picture_file, "What?"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    used = re.findall(r"'method': (\S+),.* 'tokens': (\d+), 'kept': ([\d.]+)", done.stdout)
    assert [method for method, *_ in used] == ["None", "'vscan'", "'visionzip'"]
    assert [float(kept) for *_, kept in used] == [576, 144, 58] and {tokens for _, tokens, _ in used} == {"576"}


def test_the_page_names_what_there_is() -> None:
    tools = re.findall(r"^\| `(\w+)` \| (?:answers|draws|lists)", PAGE, flags=re.MULTILINE)
    assert tools == list(TOOLS)
    shown = ("temperature", "n", "logit_bias", "top_p", "seed")
    assert all(f"`{name}`" in PAGE for name in shown) and set(shown) < set(HARMLESS_VALUES)
    assert all(f"`{name}`" in PAGE for name in ("stop", "tools", "logprobs", "response_format", "store"))
    assert {"stop", "tools", "logprobs", "response_format", "store"} < set(SWITCHED_OFF)
    assert Settings.model_fields["runs_of_programs"].default == FairUse().runs_of_programs == 8
    variables = set(re.findall(r"VSCAN_(\w+)", PAGE))
    assert {name.lower() for name in variables} <= set(Settings.model_fields)


def test_a_client_needs_fifteen_lines() -> None:
    assert len([line for line in BLOCKS[0].splitlines() if line]) <= 16


@pytest.mark.parametrize("block", BLOCKS)
def test_blocks_fit_a_narrow_screen(block) -> None:
    assert all(len(line) <= 120 for line in block.splitlines())
