"""`lmms-eval --model vscan`, held against this library's own answers. Runs where lmms-eval is installed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

import vscan_core as vc
from tests.eval import local_task
from tests.test_architecture import below, imports

ROOT = Path(__file__).parents[2]
needs_lmms = pytest.mark.skipif(
    importlib.util.find_spec("lmms_eval") is None, reason="lmms-eval is not installed; see docs/evaluation.md"
)
RETENTION = 0.111


def test_the_entry_point_names_a_function_that_exists() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["lmms_eval.models"]
    module, function = points["vscan"].split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_the_library_does_not_need_lmms_eval() -> None:
    own = {"lmms_eval.py", "lmms_eval_entry.py"}
    others = [file for package in ("vscan_core", "vscan_eval") for file in (ROOT / package).rglob("*.py")]
    others = [file for file in others if file.name not in own]
    assert not [file for file in others if below_any(imports(file.read_text()))]
    assert below_any(imports((ROOT / "vscan_eval" / "lmms_eval.py").read_text()))  # the rule can fail


def below_any(names: set[str]) -> bool:
    return any(below(name, ("lmms_eval", "vscan_eval.lmms_eval")) for name in names)


@pytest.fixture(scope="module")
def model():
    from lmms_eval.models import get_model

    made = get_model("vscan")(pretrained="mini", retention=RETENTION, batch_size=3, device="cpu")
    made.task_dict = {"drawn": {"test": json.loads((local_task.EXAMPLES / "examples.json").read_text())}}
    return made


@pytest.fixture(scope="module")
def own_answers() -> list[str]:
    """What this library says to the same questions, one at a time."""
    lvlm, found = vc.load_model("mini", device="cpu"), []
    for row in json.loads((local_task.EXAMPLES / "examples.json").read_text()):
        image = Image.open(local_task.EXAMPLES / row["image"])
        *_, done = vc.answer(lvlm, image, row["question"], vc.VScan(RETENTION), max_new_tokens=24)
        found.append(done.answer.text)
    return found


def request(document: int, options: dict | None = None, extra: tuple = (), picture: bool = True):
    from lmms_eval.api.instance import Instance

    def turns(row):
        content = [{"type": "image", "url": Image.open(local_task.EXAMPLES / row["image"])}] if picture else []
        return [{"role": "user", "content": [*content, *extra, {"type": "text", "text": row["question"]}]}]

    arguments = ("", turns, {"max_new_tokens": 24, "until": ["\n\n"], **(options or {})}, document, "drawn", "test")
    metadata = {"task": "drawn", "doc_id": document, "repeats": 1}
    return Instance("generate_until", arguments, idx=0, metadata=metadata)


@needs_lmms
@pytest.mark.parametrize("launcher", ["", "-m torch.distributed.run --standalone --nproc_per_node 2 "], ids=["1", "2"])
def test_the_command_gives_this_librarys_answers(launcher, tmp_path, own_answers) -> None:
    """In one process, and in two that share the questions as several GPUs would."""
    rows = local_task.write(tmp_path / "tasks")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    environment["ACCELERATE_USE_CPU"] = "true"
    command = f"{launcher}-m lmms_eval --model vscan --device cpu"
    command += f" --model_args pretrained=mini,method=vscan,retention={RETENTION}"
    command += f" --tasks drawn_examples --include_path {tmp_path / 'tasks'} --output_path {tmp_path} --log_samples"
    subprocess.run([sys.executable, *command.split()], env=environment, cwd=tmp_path, check=True, timeout=500)
    (samples,) = tmp_path.glob("mini/*_samples_drawn_examples.jsonl")
    lines = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda line: line["doc_id"])
    said = [line["filtered_resps"] for line in lines]
    assert said == own_answers
    (results,) = tmp_path.glob("mini/*_results.json")
    found = json.loads(results.read_text())
    right = sum(given == row["answer"] for given, row in zip(said, rows, strict=True))
    assert found["results"]["drawn_examples"]["exact_match,none"] == pytest.approx(right / len(rows))
    assert found["throughput"]["avg_visual_tokens_per_layer"] == 64  # 96 up to the middle, then 32


@needs_lmms
def test_the_class_may_be_imported_before_lmms_evals_own_models() -> None:
    code = "import vscan_eval.lmms_eval; from lmms_eval.models import get_model; print(get_model('vscan'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert "VScanModel" in done.stdout and "Failed" not in done.stdout


@needs_lmms
def test_batches_change_no_answer_and_no_order(model, own_answers) -> None:
    order = [4, 0, 7, 2, 9]
    said = model.generate_until([request(document) for document in order])
    assert [answer.text for answer in said] == [own_answers[document] for document in order]
    assert all(0 < answer.token_counts.output_tokens <= 24 for answer in said)


@needs_lmms
def test_questions_without_a_picture_share_a_batch_with_others(model, own_answers) -> None:
    said = model.generate_until([request(0), request(2, picture=False), request(7)])
    assert [said[0].text, said[2].text] == [own_answers[0], own_answers[7]]
    assert said[1].text


@needs_lmms
def test_stop_words_end_the_answer_and_blank_ones_do_not(model, own_answers) -> None:
    answer_words = own_answers[0].split()
    assert len(answer_words) == 2
    (cut,) = model.generate_until([request(0, {"until": [" " + answer_words[1]]})])
    (whole,) = model.generate_until([request(0, {"until": [" "]})])
    assert (cut.text, whole.text) == (answer_words[0], own_answers[0])


@needs_lmms
def test_settings_of_the_task_reach_generate(model) -> None:
    (short,) = model.generate_until([request(0, {"max_new_tokens": 1, "temperature": 0, "top_p": 0.5})])
    assert short.token_counts.output_tokens == 1


@needs_lmms
def test_a_system_prompt_from_a_file_comes_first(model, tmp_path) -> None:
    (tmp_path / "system.txt").write_text("A chat, with commas, which model_args could not hold.\n")
    model.system_prompt = model._resolve_system_prompt(str(tmp_path / "system.txt"))
    try:
        first, second = model._messages(request(0))
    finally:
        model.system_prompt = ""
    assert (first["role"], second["role"]) == ("system", "user")
    assert first["content"] == [{"type": "text", "text": "A chat, with commas, which model_args could not hold."}]


@needs_lmms
def test_videos_are_refused_in_one_sentence(model) -> None:
    with pytest.raises(vc.InputError, match="not video"):
        model.generate_until([request(0, extra=({"type": "video", "url": "x.mp4"},))])


@needs_lmms
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "vscann"}, "choose baseline, vscan"),
        ({"local_shar": 1}, "local_shar"),
        ({"retention": 2}, "retention"),
        ({"dtype": "float61"}, "choose bfloat16"),
        ({"batch_size": "auto"}, "batch_size must be a number"),
    ],
)
def test_wrong_settings_are_one_sentence(settings, says) -> None:
    from lmms_eval.models import get_model

    with pytest.raises(vc.InputError, match=says):
        get_model("vscan")(pretrained="mini", **settings)
