"""Folders in the published formats of the benchmarks, with tiny drawn pictures. One function per benchmark."""

from __future__ import annotations

import base64
import csv
import io
import json
import pickle
from pathlib import Path

from PIL import Image


def picture(path: Path, colour: str = "red", size: tuple[int, int] = (64, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def encoded(colour: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


def dump(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def pope(folder: Path) -> None:
    """Two pictures in each of two files; two questions about each."""
    for kind in ("adversarial", "random"):
        rows = []
        for number, (name, truth) in enumerate([("1", "yes"), ("1", "no"), ("2", "yes"), ("2", "no")], 1):
            image = f"COCO_val2014_00000000000{name}.jpg"
            text = f"Is there a {kind} thing in the image?"
            rows.append({"question_id": number, "image": image, "text": text, "label": truth})
        (folder / f"coco_pope_{kind}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in "12":
        picture(folder / "val2014" / f"COCO_val2014_00000000000{name}.jpg")


def gqa(folder: Path) -> None:
    """Two pictures; the questions of the first do not follow each other."""
    questions = [("n1", "Is it overcast?", "no", "verify"), ("n2", "Who is it?", "man", "query")]
    questions += [("n1", "What is on the left, a cup or a pan?", "cup", "choose")]
    rows = {
        f"20{number}": {"imageId": image, "question": text, "answer": answer, "types": {"structural": kind}}
        for number, (image, text, answer, kind) in enumerate(questions)
    }
    dump(folder / "testdev_balanced_questions.json", rows)
    for name in ("n1", "n2"):
        picture(folder / "images" / f"{name}.jpg")


def textvqa(folder: Path) -> None:
    """Two pictures; LLaVA's OCR words for the first."""
    rows = [
        {
            "question_id": 34602,
            "image_id": "aa",
            "question": "What brand is it?",
            "answers": ["nike"] * 7 + ["nik"] * 3,
        },
        {"question_id": 34603, "image_id": "bb", "question": "What year?", "answers": ["1999"] * 2 + ["unknown"] * 8},
    ]
    dump(folder / "TextVQA_0.5.1_val.json", {"dataset_type": "val", "data": rows})
    text = "what brand is it?\nReference OCR token: NIKE, AIR\nAnswer the question using a single word or phrase."
    row = {"question_id": "aa", "image": "aa.jpg", "text": text, "category": "default"}
    (folder / "llava_textvqa_val_v051_ocr.jsonl").write_text(json.dumps(row) + "\n")
    for name in ("aa", "bb"):
        picture(folder / "train_images" / f"{name}.jpg")


def mme(folder: Path) -> None:
    """One category with files side by side, one with folders; two pictures in the first."""
    for name in ("0001", "0002"):
        text = "Is it a? Please answer yes or no.\tYes\nIs it b? Please answer yes or no.\tNo\n\n"
        picture(folder / "count" / f"{name}.png")
        (folder / "count" / f"{name}.txt").write_text(text)
    picture(folder / "code_reasoning" / "images" / "1.jpg")
    (folder / "code_reasoning" / "questions_answers_YN").mkdir()
    text = "Does it print 1?  Please answer yes or no.\tYes\nDoes it print 2? Please answer yes or no.\tNo"
    (folder / "code_reasoning" / "questions_answers_YN" / "1.txt").write_text(text)


def scienceqa(folder: Path) -> None:
    """Two test questions with a picture, one without, one of another split."""
    row = {"question": "Which is it?", "choices": ["a cat", "a dog"], "answer": 1, "hint": "", "image": "image.png"}
    row |= {"subject": "natural science", "split": "test"}
    problems = {
        "4": row,
        "5": row | {"image": None},
        "7": row | {"hint": "Look well.", "answer": 0, "choices": ["x", "y", "z"], "subject": "language science"},
        "9": row,
    }
    dump(folder / "problems.json", problems)
    dump(folder / "pid_splits.json", {"train": ["9"], "test": ["4", "5", "7"]})
    for name in "47":
        picture(folder / "images" / "test" / name / "image.png")


def mmbench(folder: Path, name: str = "mmbench_dev_20230712.tsv") -> None:
    """Two questions, each in two orders; a copy's picture is its first row's index in one case."""
    columns = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "split"]
    red, blue = encoded("red"), encoded("blue")
    rows = [
        ["241", "What?", "nan", "cat", "dog", "nan", "nan", "A", "identity", red, "dev"],
        ["252", 'A "quoted" one?', "A hint.", "x", "y", "z", "nan", "C", "relation", blue, "dev"],
        ["1000241", "What?", "nan", "dog", "cat", "nan", "nan", "B", "identity", red, "dev"],
        ["1000252", 'A "quoted" one?', "A hint.", "z", "x", "y", "nan", "A", "relation", "252", "dev"],
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([columns, *rows])


def vizwiz(folder: Path) -> None:
    """Two pictures."""
    rows = []
    for number, (kind, answers) in enumerate([("other", ["tea"] * 10), ("unanswerable", ["unanswerable"] * 10)]):
        image = f"VizWiz_val_0000000{number}.jpg"
        given = [{"answer_confidence": "yes", "answer": answer} for answer in answers]
        rows.append({"image": image, "question": "What is this?", "answers": given, "answer_type": kind})
        picture(folder / "val" / image)
    dump(folder / "val.json", rows)


def refcoco(folder: Path) -> None:
    """VLM-R1's form: two phrases about one picture; the file for training is left alone."""
    image = "coco/train2014/COCO_train2014_000000000001.jpg"
    row = {"image": image, "normal_caption": "the left man", "solution": [10, 10, 30, 40], "width": 64, "height": 48}
    dump(folder / "refcoco_val.json", [row, row | {"normal_caption": "A cup", "solution": [0, 0, 20, 20]}])
    dump(folder / "refcoco_train.json", [row])
    picture(folder / "train2014" / "COCO_train2014_000000000001.jpg")


def references(folder: Path) -> None:
    """The original form: a pickle of Python 2 and instances.json."""
    image = {"id": 7, "file_name": "COCO_train2014_000000000007.jpg", "width": 64, "height": 48}
    refs = [
        {"ref_id": 1, "ann_id": 5, "image_id": 7, "split": "testA", "file_name": "COCO_train2014_000000000007_5.jpg"},
        {"ref_id": 2, "ann_id": 5, "image_id": 7, "split": "train", "file_name": "COCO_train2014_000000000007_5.jpg"},
    ]
    sentences = [{"sent_id": 3, "sent": "the left man"}, {"sent_id": 4, "sent": "man"}]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "refs(unc).p").write_bytes(pickle.dumps([ref | {"sentences": sentences} for ref in refs], protocol=0))
    dump(folder / "instances.json", {"images": [image], "annotations": [{"id": 5, "bbox": [10, 10, 20, 30]}]})
    picture(folder / "train2014" / image["file_name"])


def docvqa(folder: Path) -> None:
    """Two pages; the questions of the first do not follow each other."""
    pages = [
        ("xnbl0037_1", 101, ["0.28", "0.28%"]),
        ("pybv0228_81", 102, ["Philip Morris"]),
        ("xnbl0037_1", 103, ["5"]),
    ]
    rows = [
        {
            "questionId": number,
            "question": f"What is value {number}?",
            "question_types": ["table/list"] if number > 101 else ["handwritten", "form"],
            "image": f"documents/{page}.png",
            "docId": 279,
            "ucsf_document_id": page.partition("_")[0],
            "ucsf_document_page_no": page.partition("_")[2],
            "answers": answers,
            "data_split": "val",
        }
        for page, number, answers in pages
    ]
    about = {"dataset_name": "SP-DocVQA", "dataset_version": "1.0", "dataset_split": "val", "data": rows}
    dump(folder / "val_v1.0_withQT.json", about)
    for page in ("xnbl0037_1", "pybv0228_81"):
        picture(folder / "spdocvqa_images" / f"{page}.png")


def chartqa(folder: Path) -> None:
    """Two charts in the file of people, one of them also in the other file."""
    human = [("41699.png", "How many bars are shown?", "14"), ("8127.png", "Is it more than half?", "No")]
    made = [("41699.png", "What was the share in 2019?", "0.57"), ("41699.png", "Which was the peak year?", "2014")]
    for name, questions in (("human", human), ("augmented", made)):
        rows = [{"imgname": image, "query": query, "label": label} for image, query, label in questions]
        dump(folder / f"test_{name}.json", rows)
    for image in ("41699.png", "8127.png"):
        picture(folder / "png" / image)


def ocrbench(folder: Path) -> None:
    """A word, a formula, and a form with several accepted answers."""
    asked = [
        ("IIIT5K", "IIIT5K/test/918_1.png", "what is written in the image?", "CENTRE", "Regular Text Recognition"),
        ("HME100k", "HME100k/7.jpg", "Write the formula.", ["x ^ { 2 } + A"], "Handwritten Mathematical Expression"),
        ("FUNSD", "FUNSD/3.png", "What is the date?", ["May 4", "4 May"], "Key Information Extraction"),
    ]
    rows = [
        {"dataset_name": source, "id": 7, "image_path": image, "question": text, "answers": answers, "type": kind}
        for source, image, text, answers, kind in asked
    ]
    dump(folder / "OCRBench.json", rows)
    for _, image, *_ in asked:
        picture(folder / "OCRBench_Images" / image)


WRITERS = {
    "pope": pope,
    "gqa": gqa,
    "textvqa": textvqa,
    "mme": mme,
    "scienceqa": scienceqa,
    "mmbench": mmbench,
    "vizwiz": vizwiz,
    "refcoco": refcoco,
    "docvqa": docvqa,
    "chartqa": chartqa,
    "ocrbench": ocrbench,
}
