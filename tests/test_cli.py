"""The command line: text and JSON, and bad input."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from PIL import Image

import vscan_core as vc
from tests.video_files import shades, write
from vscan_core.cli.main import main


@pytest.fixture
def picture(tmp_path) -> str:
    path = tmp_path / "picture.png"
    Image.new("RGB", (64, 48), "teal").save(path)
    return str(path)


class Picky(vc.VScan):
    """A method that refuses small budgets."""

    def schedule(self, tokens, anatomy, tiles=1):
        if self.retention < 0.5:
            raise vc.InputError("Picky needs a retention of at least 0.5.")
        return super().schedule(tokens, anatomy, tiles)


@pytest.fixture
def picky(monkeypatch) -> None:
    monkeypatch.setitem(vc.REDUCERS, "picky", Picky)


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


def test_compare_takes_several_methods_and_one_may_refuse(capsys, picture, picky) -> None:
    question = ("compare", "--image", picture, "--question", "What is it?", "--max-new-tokens", "2")
    _, out, _ = run(capsys, *question, "--method", "picky,vscan", "--method", "vscan", "--json")
    refused, answered = json.loads(out)["runs"]
    assert refused == {"method": "picky", "error": "Picky needs a retention of at least 0.5."}
    assert answered["method"] == "vscan" and answered["ratios"]["tflops"] > 1
    code, out, _ = run(capsys, *question, "--method", "picky,vscan")
    assert code == 0 and "picky: cannot run here: Picky needs" in out and "vscan: " in out
    assert run(capsys, *question, "--method", "picky")[0] == 2


def test_sweep_goes_through_the_retentions(capsys, picture, picky) -> None:
    question = ("sweep", "--image", picture, "--question", "What is it?", "--max-new-tokens", "2")
    found = json.loads(run(capsys, *question, "--retentions", "1,0.111", "--json")[1])
    all_tokens, few = found["runs"]
    assert found["method"] == "vscan" and (all_tokens["retention"], few["retention"]) == (1, 0.111)
    assert all_tokens["same_answer"] and all_tokens["ratios"]["kv_bytes"] == 1 < few["ratios"]["kv_bytes"]
    assert few["reduced"]["trace"]["visual_tokens_per_layer"][0] == 96
    code, out, _ = run(capsys, *question, "--retentions", "0.5,0.1", "--method", "picky")
    lines = out.splitlines()
    assert code == 0 and lines[1].startswith("baseline   576") and "432 -> 144" in lines[2]
    assert lines[3] == "0.1        cannot run: Picky needs a retention of at least 0.5."


@pytest.mark.parametrize(("shares", "sentence"), [("1,x", "by commas"), ("", "by commas"), ("0.5,2", "above 0")])
def test_sweep_refuses_what_is_no_retention(capsys, picture, shares, sentence) -> None:
    code, out, err = run(capsys, "sweep", "--image", picture, "--question", "What?", "--retentions", shares)
    assert code == 2 and out == "" and sentence in err


@pytest.mark.parametrize("method", ["vscan", "baseline"])
def test_ask_as_text(capsys, picture, method) -> None:
    more = ("--max-new-tokens", "2", "--method", method)
    code, out, _ = run(capsys, "ask", "--image", picture, "--question", "What is it?", *more)
    assert code == 0 and out.startswith(f"{method}: ") and "single run" in out


def test_several_questions_are_the_turns_of_one_conversation(capsys, picture, tmp_path) -> None:
    asked = [word for question in ("What is it?", "Is there a cat?") for word in ("--question", question)]
    more = ("--max-new-tokens", "2", "--overlay", str(tmp_path / "map.png"))
    code, out, _ = run(capsys, "ask", "--image", picture, *asked, *more, "--json")
    first, second = json.loads(out)["turns"]
    assert code == 0 and (first["question"], second["question"]) == ("What is it?", "Is there a cat?")
    assert first["prefilled_again"] == 0 < 96 < second["prefilled_again"] < second["trace"]["tokens_per_layer"][0]
    assert first["trace"]["images"][0]["cuts"][0]["kept"] == second["trace"]["images"][0]["cuts"][0]["kept"]
    assert sorted(path.name for path in tmp_path.glob("map*")) == ["map-1.png", "map-2.png"]
    code, out, _ = run(
        capsys, "ask", "--image", picture, *asked, *more, "--model", "dummy:qwen2.5-vl-small", "--retention", "0.5"
    )
    assert code == 0 and out.count("\n> ") == 1 and out.count("visual tokens: ") == out.count("prefilled again: ") == 2


def test_questions_are_looked_at_before_any_is_answered(capsys, picture, monkeypatch) -> None:
    monkeypatch.setattr("vscan_core.cli.ask.Conversation", None)
    code, out, err = run(capsys, "ask", "--image", picture, "--question", "What is it?", "--question", " ")
    assert code == 2 and out == "" and "question is empty" in err and err.count("\n") == 1


def test_a_question_too_many_is_refused(capsys, picture) -> None:
    for command in ("compare", "sweep"):
        with pytest.raises(SystemExit):
            main([command, "--image", picture, "--question", "What is it?", "--question", "Why?"])
        assert "give --question once" in capsys.readouterr().err


@pytest.fixture
def pictures(tmp_path) -> list[str]:
    paths = [str(tmp_path / f"{name}.png") for name in ("one", "two")]
    for path, size in zip(paths, [(64, 48), (500, 300)], strict=True):
        Image.effect_noise(size, 60).save(path)
    return paths


def test_several_pictures_are_asked_about_and_drawn_one_by_one(capsys, tmp_path, pictures) -> None:
    one, two = pictures
    question = (
        "ask",
        "--image",
        one,
        "--image",
        two,
        "--question",
        "What changed?",
        "--model",
        "dummy:video-llava-small",
    )
    more = ("--max-new-tokens", "1", "--retention", "0.25", "--overlay", str(tmp_path / "map.png"))
    code, out, _ = run(capsys, *question, *more)
    assert code == 0 and "picture 1: " in out and "picture 2: " in out and "picture 3" not in out
    assert sorted(path.name for path in tmp_path.glob("map*")) == ["map-1.png", "map-2.png"]
    assert [Image.open(tmp_path / f"map-{place}.png").size for place in (1, 2)] == [(1008, 756), (1008, 605)]


def test_several_pictures_are_compared(capsys, tmp_path, pictures) -> None:
    question = ("compare", "--image", *pictures, "--question", "What changed?", "--model", "dummy:video-llava-small")
    found = json.loads(run(capsys, *question, "--max-new-tokens", "1", "--json")[1])
    images = found["reduced"]["trace"]["images"]
    assert [image["tokens"] for image in images] == [image["tokens"] for image in found["baseline"]["trace"]["images"]]
    assert len(images) == 2 and all(len(image["cuts"][-1]["kept"]) < image["tokens"] for image in images)
    code, out, err = run(capsys, *question, "--report", str(tmp_path / "report.html"))
    assert code == 2 and out == "" and "A report shows one picture" in err


def test_several_pictures_that_cannot_be_asked_about(capsys, tmp_path, pictures) -> None:
    asked = ("--question", "What is it?")
    for arguments, sentence in (
        (("ask", "--image", *pictures, *asked), "room for 1,024; ask about fewer pictures"),  # of mini
        (("ask", "--image", pictures[0], str(tmp_path / "three.png"), *asked), "three.png: There is no such picture"),
        (("record", "--image", *pictures, *asked, "--out", str(tmp_path / "runs")), "Only runs about one picture"),
    ):
        code, out, err = run(capsys, *arguments)
        assert code == 2 and out == "" and sentence in err and err.count("\n") == 1


def test_a_video_is_asked_about_and_its_frames_drawn(capsys, tmp_path) -> None:
    video_file, drawing = write(tmp_path / "video.mp4", shades(9)), tmp_path / "frames.png"
    question = ("ask", "--video", video_file, "--question", "What is it?", "--model", "dummy:video-llava-small")
    more = ("--frames", "2", "--max-new-tokens", "1", "--retention", "0.25")
    code, out, _ = run(capsys, *question, *more, "--json", "--overlay", str(drawing))
    image = json.loads(out)["trace"]["images"][0]
    assert code == 0 and (image["tokens"], image["frames"]) == (514, 2)
    assert len(image["kept_per_tile"]) == 2 and 60 <= sum(image["kept_per_tile"]) <= 64
    assert Image.open(drawing).size[0] == 1008
    assert "video: 2 frames; left of the 256 tokens of each frame:" in run(capsys, *question, *more)[1]
    turns = json.loads(run(capsys, *question, "--question", "Why?", *more, "--json")[1])["turns"]
    assert [turn["trace"]["images"][0]["frames"] for turn in turns] == [2, 2]
    code, _, err = run(capsys, *question, *more, "--overlay", str(tmp_path / "no" / "such.png"))
    assert code == 2 and "cannot be written" in err and err.count("\n") == 1


def test_videos_that_cannot_be_asked_about(capsys, tmp_path, picture) -> None:
    video_file = write(tmp_path / "video.mp4", shades(3))
    for arguments, sentence in (
        (("--video", video_file), "takes pictures only"),
        (("--video", picture), "not a video"),
        (("--video", video_file, "--frames", "0"), "between 1 and 64"),
        (("--video", str(tmp_path / "none.mp4")), "no such video"),
    ):
        code, out, err = run(capsys, "ask", *arguments, "--question", "What is it?")
        assert code == 2 and out == "" and sentence in err and err.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["ask", "--video", video_file, "--image", picture, "--question", "What is it?"])


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


@pytest.mark.parametrize(
    ("started", "name"),
    [("/bin/vscan", "vscan"), ("C:/Scripts/vscan.exe", "vscan"), ("/x/__main__.py", "python -m vscan_core")],
)
def test_the_help_names_the_program_as_it_was_called(capsys, monkeypatch, started, name) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    assert told.startswith(f"usage: {name} [-h] command")
    commands = ("ask", "compare", "sweep", "bench", "eval", "methods", "models")
    places = [told.index(f"\n    {command} ") for command in commands]
    assert places == sorted(places)
