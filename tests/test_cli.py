"""The command line: text and JSON, and bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from PIL import Image

from vscan_core.cli import main


@pytest.fixture
def picture(tmp_path) -> str:
    path = tmp_path / "picture.png"
    Image.new("RGB", (64, 48), "teal").save(path)
    return str(path)


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    out = capsys.readouterr()
    return code, out.out, out.err


def test_compare_as_json(capsys, picture) -> None:
    more = ("--max-new-tokens", "3", "--retention", "0.2", "--json")
    code, out, _ = run(capsys, "compare", "--image", picture, "--question", "What is it?", *more)
    found = json.loads(out)
    assert code == 0 and found["baseline"]["method"] == "baseline" and found["reduced"]["method"] == "vscan"
    assert found["reduced"]["trace"]["images"][0]["cuts"][0]["layer"] == 0
    assert found["ratios"]["kv_bytes"] > 1 and isinstance(found["same_answer"], bool)
    visual = found["reduced"]["trace"]["visual_tokens_per_layer"]
    assert sum(visual) / len(visual) == pytest.approx(0.2 * 576, abs=1)


@pytest.mark.parametrize("method", ["vscan", "baseline"])
def test_ask_as_text(capsys, picture, method) -> None:
    more = ("--max-new-tokens", "2", "--method", method)
    code, out, _ = run(capsys, "ask", "--image", picture, "--question", "What is it?", *more)
    assert code == 0 and out.startswith(f"{method}: ") and "single run" in out


def test_methods_and_models(capsys) -> None:
    assert [entry["name"] for entry in json.loads(run(capsys, "methods", "--json")[1])][0] == "vscan"
    assert "mini" in [entry["name"] for entry in json.loads(run(capsys, "models", "--json")[1])]
    assert "scan the picture" in run(capsys, "methods")[1] and "mini" in run(capsys, "models")[1]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"--retention": "0"}, "above 0"),
        ({"--method": "magic"}, "no method 'magic'"),
        ({"--model": "nothing"}, "no model 'nothing'"),
        ({"--question": "<image>"}, "control token"),
        ({"--image": "/nowhere.png"}, "no such picture"),
        ({"--max-new-tokens": "0"}, "at least 1"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence_and_code_2(capsys, picture, wrong, sentence) -> None:
    options = {"--image": picture, "--question": "What is it?", **wrong}
    code, out, err = run(capsys, "ask", *(word for pair in options.items() for word in pair))
    assert code == 2 and out == "" and err.startswith("error: ") and sentence in err and err.count("\n") == 1


def test_runs_as_a_module() -> None:
    result = subprocess.run([sys.executable, "-m", "vscan_core", "methods"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("vscan")
