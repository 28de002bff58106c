"""RefCOCO, RefCOCO+ and RefCOCOg: where is what this phrase means? (Yu et al. 2016, arXiv:1608.00272; Mao et al. 2016).

Files, either of
- refcoco_val.json, refcocop_testA.json, refcocog_test.json and so on from rec_jsons_processed.zip of
  huggingface.co/datasets/omlab/VLM-R1, on which VScan was evaluated: a list of image, normal_caption and solution
  (x0, y0, x1, y1);
- refs(unc).p, refs(umd).p or refs(google).p, beside instances.json, from github.com/lichengunc/refer. A pickle can run
  code when it is read; this reader accepts lists, dictionaries, strings and numbers and refuses everything else.
And the pictures of COCO train2014 that they name.
But: boxes in pixels are taken as pixels of the original; Qwen2.5-VL refers to a picture whose sides are rounded to
multiples of 28, about 1 % off. Numbers up to 1 are fractions of width and height. Answers in thousandths are
misread.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from vscan_core.errors import InputError
from vscan_eval.files import checked_entries, find_picture, grouped_by_picture, json_entries, opener
from vscan_eval.metrics import Corners, iou
from vscan_eval.task import Item, Task

HINT = "refcoco_val.json (or another of VLM-R1's files), or refs(unc).p and instances.json, and pictures in train2014/"
_EXPECTED = "a list of image, normal_caption and solution, as VLM-R1 gives them"
REFS_EXPECTED = "the pickled list of references of RefCOCO, beside its instances.json"
ARTICLE = re.compile(r"^(a|an|the)\s+", re.IGNORECASE)
_NUMBER = r"(-?\d+(?:\.\d+)?)"
BOX = re.compile(rf"[\[(]\s*{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*,\s*{_NUMBER}\s*[\])]")


class RefCoco(Task):
    """All splits found, except train. Published: share of boxes with an IoU of at least 0.5."""

    name = "refcoco"
    metric = "accuracy at IoU 0.5, as published"
    max_new_tokens = 128

    def items(self) -> list[Item]:
        """One item per phrase; kinds are data set and split. Raises InputError if the folder has none."""
        data = self.folder(HINT)
        folder = data.parent if data.is_file() else data
        files = [data] if data.is_file() else [*sorted(data.glob("refcoco*.json")), *sorted(data.glob("refs(*).p"))]
        found = [item for path in files if "train" not in path.stem for item in _items(path, folder)]
        if not found:
            raise InputError(f"there is nothing of RefCOCO in {data}: it should hold {HINT}")
        return grouped_by_picture(found)

    def score(self, item: Item, reply: str) -> float:
        """Compares the first box in the reply with the true one."""
        return float(self._iou(item, reply) >= 0.5)

    def figures(self, replies: Sequence[tuple[Item, str]]) -> dict[str, float]:
        """Mean IoU; a reply without a box counts 0."""
        return {"mean_iou": mean(self._iou(item, reply) for item, reply in replies)}

    def _iou(self, item: Item, reply: str) -> float:
        found = read_box(reply)
        if found is None:
            return 0.0
        if max(found) <= 1:
            width, height = item.extra["size"] or item.open().size
            found = [found[0] * width, found[1] * height, found[2] * width, found[3] * height]
        return iou(found, item.extra["box"])


def read_box(reply: str) -> list[float] | None:
    """The first four numbers in one pair of brackets. '{"bbox_2d": [10, 20, 30, 40]}' -> [10, 20, 30, 40]."""
    found = BOX.search(reply)
    return [float(number) for number in found.groups()] if found else None


def _items(path: Path, folder: Path) -> Iterator[Item]:
    if path.suffix == ".p":
        yield from _references(path, folder)
        return
    with json_entries(path, _EXPECTED) as rows:
        for number, row in enumerate(rows):
            size = (row["width"], row["height"]) if "width" in row else None
            phrase, box = row["normal_caption"], tuple(map(float, row["solution"]))
            yield _item(f"{path.stem}-{number}", row["image"], phrase, box, size, path.stem, folder)


def _references(path: Path, folder: Path) -> Iterator[Item]:
    """From references and instances: one item per sentence."""
    instances = path.parent / "instances.json"
    with json_entries(instances, "instances.json of RefCOCO, beside the references") as content:
        images = {image["id"]: image for image in content["images"]}
        boxes = {found["id"]: found["bbox"] for found in content["annotations"]}
    with checked_entries(path, REFS_EXPECTED):
        for ref in read_data_pickle(path):
            if ref["split"] == "train":
                continue
            left, top, width, height = boxes[ref["ann_id"]]
            image = images[ref["image_id"]]
            for sentence in ref["sentences"]:
                yield _item(
                    f"{ref['ref_id']}-{sentence['sent_id']}",
                    image["file_name"],
                    sentence["sent"],
                    (left, top, left + width, top + height),
                    (image["width"], image["height"]),
                    f"{path.parent.name}_{ref['split']}",
                    folder,
                )


def _item(
    name: str, image: str, phrase: str, box: Corners, size: tuple[int, int] | None, kind: str, folder: Path
) -> Item:
    question = f"Locate {ARTICLE.sub('', phrase)} in this image and output the bbox coordinates in JSON format."
    answer = str([round(side, 2) for side in box])
    picture = opener(find_picture(folder, image, "train2014", "images", "images/train2014"))
    return Item(name, image, picture, question, (answer,), kind, {"box": box, "size": size})


class _DataUnpickler(pickle.Unpickler):
    """Loads lists, dictionaries, strings and numbers; refuses anything that has to be imported."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_data_pickle(path: Path) -> Any:
    """The contents of a pickle of plain data, also one from Python 2. Raises InputError if it asks for code."""
    try:
        with path.open("rb") as file:
            return _DataUnpickler(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not plain pickled data ({error}); it should be {REFS_EXPECTED}") from None
