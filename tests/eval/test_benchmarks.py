"""Real benchmarks, read from small files of our own making in their published formats."""

from __future__ import annotations

import json
import os
import pickle
from itertools import groupby

import pytest

from tests.eval import published
from vscan_core.cli import main as cli
from vscan_core.errors import InputError
from vscan_eval.replies import Condition
from vscan_eval.runner import run_task
from vscan_eval.tasks import TASKS

SHORT = "Answer the question using a single word or phrase."
FULL_STOP_COUNTS = ("docvqa", "chartqa")  # where published figures compare strings as they are


def made(name, folder, writer=None):
    """The task over a freshly written folder, and its items."""
    (writer or published.WRITERS[name])(folder)
    task = TASKS[name](folder)
    return task, task.chosen()


@pytest.fixture(params=published.WRITERS)
def each(request, tmp_path):
    return made(request.param, tmp_path)


def test_the_embedded_model_answers_every_benchmark(each, mini, tmp_path) -> None:
    task, items = each
    records = run_task(mini, task, items[:2], Condition.named("vscan", 1 / 9), tmp_path / "run.jsonl")
    assert [record.id for record in records] == [item.id for item in items[:2]]
    assert all(record.reply and record.visual_tokens == 64 for record in records)
    figures = task.figures([(item, record.reply) for item, record in zip(items[:2], records, strict=True)])
    assert all(value >= 0 for value in figures.values())


def test_the_command_reads_a_folder_and_names_what_it_lacks(tmp_path, capsys) -> None:
    published.pope(tmp_path)
    options = ["--limit", "2", "--method", "vscan", "--alone", "--json", "--out", str(tmp_path / "run.jsonl")]
    assert cli.main(["eval", "--task", "pope", "--data", str(tmp_path), *options]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["n"] == 2 and found["kept_tokens_mean"] == 64 and "f1" in found["figures"]
    assert cli.main(["eval", "--task", "gqa", "--data", str(tmp_path), *options]) == 2
    assert "testdev_balanced_questions.json is missing" in capsys.readouterr().err


def test_every_task_that_reads_files_has_a_folder_here() -> None:
    assert set(published.WRITERS) == {name for name in TASKS if not name.startswith("world")}


def test_items_are_whole_and_pictures_open(each) -> None:
    _, items = each
    assert len({item.id for item in items}) == len(items) >= 2
    assert all(item.question.strip() and item.answers and item.kind for item in items)
    assert all(item.open().mode == "RGB" for item in items)


def test_questions_about_one_picture_follow_each_other(each) -> None:
    _, items = each
    names = [name for name, _ in groupby(item.picture for item in items)]
    assert len(names) == len(set(names))


def test_the_true_answer_is_right_and_another_is_not(each) -> None:
    task, items = each
    assert all(task.score(item, item.answers[0]) == 1 for item in items)
    end = "" if task.name in FULL_STOP_COUNTS else "."
    assert all(task.score(item, f" {item.answers[0]}{end} ") == 1 for item in items)
    wrong = [task.score(item, "no" if item.answers[0] == "yes" else "Yes, zebra") for item in items]
    assert wrong == [0] * len(items)


def test_the_same_files_give_the_same_items(each) -> None:
    task, items = each
    assert [item.id for item in type(task)(task.data).chosen()] == [item.id for item in items]
    shuffled = type(task)(task.data, seed=1).chosen()
    assert sorted(item.id for item in shuffled) == sorted(item.id for item in items)


@pytest.mark.parametrize("name", published.WRITERS)
def test_without_data_or_with_an_empty_folder_one_sentence_says_what_is_expected(name, tmp_path) -> None:
    for data in (None, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"should|expects|holds|there is no") as caught:
            TASKS[name](data).chosen()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("pope", "coco_pope_random.json"),
        ("gqa", "testdev_balanced_questions.json"),
        ("textvqa", "TextVQA_0.5.1_val.json"),
        ("textvqa", "llava_textvqa_val_v051_ocr.jsonl"),
        ("mme", "count/0001.txt"),
        ("scienceqa", "problems.json"),
        ("scienceqa", "pid_splits.json"),
        ("mmbench", "mmbench_dev_20230712.tsv"),
        ("vizwiz", "val.json"),
        ("refcoco", "refcoco_val.json"),
        ("docvqa", "val_v1.0_withQT.json"),
        ("chartqa", "test_human.json"),
        ("ocrbench", "OCRBench.json"),
    ],
)
@pytest.mark.parametrize("content", ['[{"other": 1}]', '{"other": [1, 2]}', "no JSON at all", "\0\x01\x02"])
def test_wrong_files_are_named_in_one_sentence(name, file, content, tmp_path) -> None:
    published.WRITERS[name](tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError) as caught:
        TASKS[name](tmp_path).chosen()
    assert (tmp_path / file).name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(published.WRITERS) - {"mmbench", "mme"}))
def test_a_missing_or_damaged_picture_is_named(name, tmp_path) -> None:
    _, (item, *_) = made(name, tmp_path)
    pictures = [*tmp_path.rglob("*.jpg"), *tmp_path.rglob("*.png")]
    for path in pictures:
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match="cannot be read"):
        item.open()
    for path in pictures:
        path.unlink()
    with pytest.raises(InputError, match="is missing"):
        item.open()


def test_pope_published_figure_is_the_mean_of_the_f1_scores(tmp_path) -> None:
    task, items = made("pope", tmp_path)
    assert [item.kind for item in items] == ["adversarial"] * 2 + ["random"] * 2 + ["adversarial"] * 2 + ["random"] * 2
    assert task.prompt(items[0]) == f"Is there a adversarial thing in the image?\n{SHORT}"
    # adversarial: always yes, so precision 1/2, recall 1, F1 2/3; random: all right
    replies = [(item, "Yes" if item.kind == "adversarial" else item.answers[0]) for item in items]
    figures = task.figures(replies)
    assert figures["f1_adversarial"] == pytest.approx(2 / 3) and figures["f1_random"] == 1
    assert figures["f1"] == pytest.approx(5 / 6) and figures["accuracy"] == 6 / 8


def test_gqa_forgives_case_and_full_stop_only(tmp_path) -> None:
    task, items = made("gqa", tmp_path)
    assert [item.picture for item in items] == ["n1", "n1", "n2"]
    assert [item.kind for item in items] == ["verify", "choose", "query"]
    assert [task.score(items[1], reply) for reply in ("Cup.", "a cup", "cups")] == [1, 0, 0]


def test_textvqa_takes_llavas_ocr_words_if_they_are_there(tmp_path) -> None:
    task, items = made("textvqa", tmp_path)
    assert task.prompt(items[0]) == f"What brand is it?\nReference OCR token: NIKE, AIR\n{SHORT}"
    assert task.prompt(items[1]) == f"What year?\n{SHORT}"
    assert [item.kind for item in items] == ["with OCR words", "without OCR words"]
    assert items[1].answers[0] == "unknown"  # the most frequent one comes first
    # 2 of 10 said 1999: left out in turn, 2 x 1/3 and 8 x 2/3
    assert task.score(items[1], "1999") == pytest.approx((2 / 3 + 8 * 2 / 3) / 10)
    (tmp_path / "llava_textvqa_val_v051_ocr.jsonl").unlink()
    (without_ocr, _) = task.chosen()
    assert without_ocr.kind == "without OCR words" and without_ocr.id != items[0].id  # a stored answer is not mistaken


def test_mme_scores_are_accuracy_plus_pictures_with_both_right(tmp_path) -> None:
    task, items = made("mme", tmp_path)
    assert [(item.kind, item.answers[0]) for item in items[:2]] == [("count", "yes"), ("count", "no")]
    assert {item.kind for item in items} == {"count", "code_reasoning"}
    assert task.prompt(items[0]) == f"Is it a?\n{SHORT}"
    assert all("Please" not in item.question for item in items)
    # count: 3 of 4 right, both right on 1 of 2 pictures: 75 + 50; code_reasoning: none right
    replies = [(item, item.answers[0] if item.kind == "count" else "perhaps") for item in items]
    replies = [(item, "No." if item.id == "count/0002-0" else reply) for item, reply in replies]
    assert task.figures(replies) == {"score": 125, "perception": 125, "cognition": 0}
    assert task.figures([(item, item.answers[0]) for item in items])["score"] == 400
    assert task.figures(replies[:1])["score"] == 100  # half a picture cannot have both right


@pytest.mark.parametrize(("reply", "right"), [("Yes, it is", 1), ("yes.", 1), ("  YES", 1), ("It is. Yes", 0), ("", 0)])
def test_mme_reads_the_first_four_letters(reply, right, tmp_path) -> None:
    task, items = made("mme", tmp_path)
    assert task.score(items[0], reply) == right


def test_mme_without_its_picture_says_which(tmp_path) -> None:
    published.mme(tmp_path)
    (tmp_path / "count" / "0002.png").unlink()
    with pytest.raises(InputError, match=r"0002\.jpg or \.png"):
        TASKS["mme"](tmp_path).chosen()


def test_scienceqa_asks_the_test_questions_with_a_picture(tmp_path) -> None:
    task, items = made("scienceqa", tmp_path)
    assert [item.id for item in items] == ["4", "7"]
    letters = "Answer with the option's letter from the given choices directly."
    assert task.prompt(items[0]) == f"Which is it?\nA. a cat\nB. a dog\n{letters}"
    assert items[1].question == "Context: Look well.\nWhich is it?\nA. x\nB. y\nC. z"
    assert [task.score(items[0], reply) for reply in ("B", "B. a dog", "a dog", "A", "C")] == [1, 1, 1, 0, 0]


def test_mmbench_counts_a_question_only_if_every_order_is_right(tmp_path) -> None:
    task, items = made("mmbench", tmp_path)
    assert [item.id for item in items] == ["241", "1000241", "252", "1000252"]
    assert items[2].question == 'A hint.\nA "quoted" one?\nA. x\nB. y\nC. z'
    assert items[3].open().getpixel((5, 5))[2] > 200  # the picture of the row it points at
    assert task.figures([(item, item.answers[0]) for item in items]) == {"circular": 1}
    always_a = [(item, "A") for item in items]
    assert [task.score(*pair) for pair in always_a] == [1, 0, 0, 1]
    assert task.figures(always_a) == {"circular": 0}


def test_mmbench_takes_the_file_itself_and_asks_in_its_language(tmp_path) -> None:
    published.mmbench(tmp_path, "mmbench_dev_cn_20231003.tsv")
    published.mmbench(tmp_path)
    with pytest.raises(InputError, match=r"2 \.tsv files"):
        TASKS["mmbench"](tmp_path).chosen()
    task = TASKS["mmbench"](tmp_path / "mmbench_dev_cn_20231003.tsv")
    assert not task.prompt(task.chosen()[0]).split("\n")[-1].isascii()


def test_mmbench_without_answers_is_refused(tmp_path) -> None:
    published.mmbench(tmp_path)
    path = tmp_path / "mmbench_dev_20230712.tsv"
    path.write_text(path.read_text().replace("\tA\tidentity", "\t\tidentity"))
    with pytest.raises(InputError, match="has no answer"):
        TASKS["mmbench"](tmp_path).chosen()


def test_vizwiz_may_say_that_it_cannot_be_answered(tmp_path) -> None:
    task, items = made("vizwiz", tmp_path)
    assert task.prompt(items[0]).split("\n")[1:] == [
        "When the provided information is insufficient, respond with 'Unanswerable'.",
        SHORT,
    ]
    assert task.score(items[1], "Unanswerable") == 1
    assert [item.kind for item in items] == ["other", "unanswerable"]


@pytest.mark.parametrize(
    ("reply", "overlap"),
    [
        ('```json\n[{"bbox_2d": [10, 10, 30, 40], "label": "man"}]\n```', 1.0),
        ("[10.0, 10.0, 30.0, 25.0]", 0.5),
        ("(10, 10, 30, 24)", 14 / 30),
        ("[0.15625, 0.20833333, 0.46875, 0.83333333]", 1.0),  # shares of 64 x 48
        ("on the left", 0.0),
        ("[10, 10, 30]", 0.0),
    ],
)
def test_refcoco_reads_boxes_in_pixels_and_in_shares(reply, overlap, tmp_path) -> None:
    task, items = made("refcoco", tmp_path)
    assert [item.kind for item in items] == ["refcoco_val"] * 2  # nothing of the file for training
    assert items[0].question == "Locate left man in this image and output the bbox coordinates in JSON format."
    assert task.figures([(items[0], reply)])["mean_iou"] == pytest.approx(overlap, abs=1e-6)
    assert task.score(items[0], reply) == (overlap >= 0.5)


def test_refcoco_reads_the_original_references_too(tmp_path) -> None:
    task, items = made("refcoco", tmp_path / "refcoco", published.references)
    assert [item.id for item in items] == ["1-3", "1-4"]
    assert {item.kind for item in items} == {"refcoco_testA"}
    assert task.score(items[0], "[10, 10, 30, 40]") == 1 and items[0].open().size == (64, 48)


def test_docvqa_scores_by_similarity_and_reads_both_files(tmp_path) -> None:
    task, items = made("docvqa", tmp_path)
    assert [item.id for item in items] == ["101", "103", "102"]  # by page
    assert [item.kind for item in items] == ["handwritten", "table/list", "table/list"]
    assert task.prompt(items[0]) == f"What is value 101?\n{SHORT}"
    assert task.score(items[2], "philip  morris") == 1 and task.score(items[2], "Phillip Morris") == 1 - 1 / 14
    assert task.score(items[0], "0.29") == 0.75 and task.score(items[0], "0.28%") == 1 and task.score(items[0], "") == 0
    path = tmp_path / "val_v1.0_withQT.json"
    content = json.loads(path.read_text())
    for row in content["data"]:
        del row["question_types"]
    (tmp_path / "val_v1.0.json").write_text(json.dumps(content))
    path.unlink()
    (tmp_path / "spdocvqa_images").rename(tmp_path / "documents")
    older = task.chosen()
    assert {item.kind for item in older} == {"all"} and all(item.open().size == (64, 48) for item in older)


def test_docvqa_without_answers_is_refused(tmp_path) -> None:
    published.docvqa(tmp_path)
    path = tmp_path / "val_v1.0_withQT.json"
    content = json.loads(path.read_text())
    del content["data"][1]["answers"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="answers"):
        TASKS["docvqa"](tmp_path).chosen()


def test_chartqa_publishes_the_mean_of_both_files(tmp_path) -> None:
    task, items = made("chartqa", tmp_path)
    assert [item.id for item in items] == ["human-0", "augmented-0", "augmented-1", "human-1"]
    assert [item.kind for item in items] == ["human", "augmented", "augmented", "human"]
    replies = ["14.5", "0.6", "2011", "no"]  # 3.6 % off, 5.3 % off, a year, another case
    assert [task.score(*pair) for pair in zip(items, replies, strict=True)] == [1, 0, 1, 1]
    assert task.figures(list(zip(items, replies, strict=True))) == {
        **{"relaxed": 0.75, "relaxed_human": 1, "relaxed_augmented": 0.5}
    }
    (tmp_path / "test_augmented.json").unlink()
    assert [item.id for item in task.chosen()] == ["human-0", "human-1"]


def test_ocrbench_counts_replies_that_contain_an_answer(tmp_path) -> None:
    task, (word, formula, form) = made("ocrbench", tmp_path)
    assert task.prompt(word) == "what is written in the image?"  # as it stands
    assert task.score(word, "It says centre, I think.") == 1 and task.score(word, "CENT RE") == 0
    assert task.score(formula, "$x^{2}+A$") == 1 and task.score(formula, "x^{2}+a") == 0
    assert task.score(form, "on 4 May\n1998") == task.score(form, "MAY 4") == 1 and task.score(form, "May") == 0
    assert task.figures([(word, "centre"), (formula, "y"), (form, "May 4")]) == {"score": 2}


def test_ocrbench_with_an_answer_that_everything_contains_is_refused(tmp_path) -> None:
    published.ocrbench(tmp_path)
    path = tmp_path / "OCRBench.json"
    path.write_text(path.read_text().replace('"CENTRE"', '" "'))
    with pytest.raises(InputError, match="an empty answer"):
        TASKS["ocrbench"](tmp_path).chosen()


class Harmful:
    """What a pickle must not be able to do."""

    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    published.references(tmp_path)
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps([Harmful()]))
    with pytest.raises(InputError, match="not plain pickled data"):
        TASKS["refcoco"](tmp_path).chosen()
    assert not (tmp_path / "harmed").exists()


def test_a_value_of_another_kind_is_a_sentence_too(tmp_path) -> None:
    published.pope(tmp_path)
    row = {"question_id": 1, "image": "x.jpg", "text": "Is it?", "label": "maybe"}
    (tmp_path / "coco_pope_random.json").write_text(json.dumps(row))
    with pytest.raises(InputError, match="maybe"):
        TASKS["pope"](tmp_path).chosen()
