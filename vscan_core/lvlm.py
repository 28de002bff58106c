"""LVLM: a loaded model with its processor, which turns a picture and a question into inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vscan_core.engine.preview import PreparedImage, VisionPreview
from vscan_core.engine.shared_vision import SharedVision, encode_pixels
from vscan_core.engine.vision_signals import signal_names
from vscan_core.errors import InputError
from vscan_core.families import FAMILIES, Family
from vscan_core.measure import RecentKeys, Stopwatch
from vscan_core.media.asked_about import AskedAbout, check_context, check_single, pictures_of
from vscan_core.media.images import as_rgb, upright_size
from vscan_core.media.videos import Video
from vscan_core.ood import OODReference, is_out_of_distribution
from vscan_core.prepared import PIXELS, PreparedInputs, padded_rows, shapes_of, view_of
from vscan_core.questions import History, check_history, check_question, messages
from vscan_core.reducers import Reducer
from vscan_core.selection import Anatomy, Needs, Signals
from vscan_core.vision_cache import VisionCache, pixel_digest


@dataclass(frozen=True, eq=False)
class LVLM:
    """A vision-language model on its device. Made by `load_model`."""

    model: Any  # a stock transformers model
    processor: Any  # its stock processor
    family: Family
    name: str
    vision_cache: VisionCache = field(default_factory=VisionCache, repr=False)
    warmed: RecentKeys = field(default_factory=RecentKeys, repr=False)  # shapes that have run once on this device

    @cached_property
    def anatomy(self) -> Anatomy:
        """What a reducer may know about the model."""
        return self.family.anatomy(self.model)

    @cached_property
    def device(self) -> torch.device:
        """Where inputs go: the first device that computes, if the model is spread over several."""
        places = getattr(self.model, "hf_device_map", None) or {"": self.model.device}
        computing = [place for place in places.values() if place not in ("cpu", "disk", torch.device("cpu"))]
        first = computing[0] if computing else "cpu"
        return torch.device("cuda", first) if isinstance(first, int) else torch.device(first)

    @cached_property
    def ood_reference(self) -> OODReference | None:
        """Statistics of the pictures that the model was trained on; None if its folder holds none."""
        folder = Path(self.model.config._name_or_path)
        return OODReference.load(folder) if folder.is_dir() else None

    def inputs(self, image: AskedAbout, question: str, history: History = ()) -> PreparedInputs:
        """Prepare one question, about a picture, a video or several pictures, as a batch of one row.

        Args:
            image: The picture or video; or a list of pictures, which come before the question in this order.
            question: Plain text of 1 to 1000 characters, without control tokens such as `<image>`.
            history: Earlier questions about it with their answers, which come before the question.

        Returns:
            Keyword arguments of `generate`, on the model's device.

        Raises:
            InputError: The question or a picture is not accepted, the pictures are too many for the model's prompt or
                its context, there is a video among them, or the model takes no videos.
        """
        asked = check_question(question, self.processor), check_history(history, self.processor)
        found = self._of_video(image, *asked) if isinstance(image, Video) else self._of_pictures(image, *asked)
        check_context(image, found["input_ids"].shape[1], self.model.config.text_config.max_position_embeddings)
        return found

    def _of_pictures(self, shown: AskedAbout, question: str, history: History) -> PreparedInputs:
        pictures = pictures_of(shown)
        prompt = self.chat(question, history=history, pictures=len(pictures))
        if len(pictures) > 1 and prompt.count(self.processor.image_token) != len(pictures):
            raise InputError(f"The chat template of {self.name} takes one picture at a time; ask about each alone.")
        return self.prepare(pictures, [prompt], [question])

    def _of_video(self, video: Video, question: str, history: History) -> PreparedInputs:
        if not self.family.frames:
            others = ", ".join(family.title for family in FAMILIES.values() if family.frames)
            raise InputError(f"{self.family.title} takes pictures only; for videos choose a model of {others}.")
        prompt = self.chat(question, "video", history)
        batch = self.family.video_inputs(self.processor, prompt, video.frames, video.times)
        return self.placed(batch, [video], [question])

    def chat(self, question: str, kind: str = "image", history: History = (), pictures: int = 1) -> str:
        """The model's prompt for a question after so many pictures (kind "video": videos), and the turns before it."""
        return self.prompt(messages(question, [kind] * pictures, history))

    def prompt(self, turns: Sequence[Mapping[str, Any]]) -> str:
        """The model's prompt for a conversation; turns are messages in the form that its chat template accepts."""
        prompt: str = self.processor.apply_chat_template(list(turns), add_generation_prompt=True)
        return prompt

    def prepare(
        self, pictures: Sequence[Image.Image], prompts: Sequence[str], questions: Sequence[str] | None = None
    ) -> PreparedInputs:
        """Prepare pictures and prompts as one left-padded row per prompt; only pixels are cast to the model's dtype.

        Args:
            pictures: Of all prompts, in order; each is converted by `as_rgb`.
            prompts: As the chat template writes them, each with any number of image placeholders.
            questions: The plain text of each; only some methods need it.

        Returns:
            Keyword arguments of `generate`, on the model's device.

        Raises:
            InputError: There are too many or too few pictures, or one is damaged or of a shape that is not accepted.
        """
        places = [prompt.count(self.processor.image_token) for prompt in prompts]
        if (needed := sum(places)) != len(pictures):
            raise InputError(f"There are {len(pictures)} pictures for {needed} image placeholders; pass one for each.")
        images: Any = [as_rgb(picture) for picture in pictures]
        if self.family.nested_pictures:
            rest = iter(images)
            images = [list(islice(rest, count)) for count in places]
        try:
            padded = {"return_tensors": "pt", "padding": True, "padding_side": "left"}
            batch = self.processor(images=images if pictures else None, text=list(prompts), **padded)
        except ValueError as error:  # Qwen's, for a picture more than 200 times as long as wide
            sizes = ["{} x {} pixels".format(*upright_size(picture)) for picture in pictures]
            reason = str(error).splitlines()[0].rstrip(".")
            raise InputError(
                f"{self.family.title} does not accept a picture of {' or '.join(sizes)}; choose another one ({reason})."
            ) from error
        return self.placed(batch, pictures, questions)

    def prepare_shared(self, picture: Image.Image, prompts: Sequence[str]) -> tuple[PreparedInputs, int]:
        """One picture and several prompts about it -> inputs with one row per prompt, but the pixels only once.

        The prompts are padded after the picture, so that its visual tokens have the same columns in every row. Also
        returns how many columns all rows have in common: the picture and the text tokens after it that are the same in
        all prompts; 0 if there are no such text tokens, because the last of these columns must not be a visual token.
        For families with one row of visual tokens per picture. Raises InputError as `prepare` does.
        """
        inputs = self.prepare([picture], prompts[:1])
        ids = inputs["input_ids"][0]
        visual = torch.isin(ids, torch.tensor(self.family.visual_token_ids(self.model), device=ids.device))
        picture_end = int(visual.nonzero()[-1]) + 1
        beginning, rows = ids[:picture_end].tolist(), []
        for prompt in prompts:  # the whole prompt, because a tokenizer may treat the start of a text differently
            whole = self.processor.tokenizer(prompt)["input_ids"]
            rows.append(whole[whole.index(beginning[-1]) + 1 :])
        assert beginning + rows[0] == ids.tolist(), "the text is tokenised alike, whatever stands for the picture"
        alike = takewhile(lambda column: len(set(column)) == 1, zip(*rows, strict=False))
        common = min(len(list(alike)), min(map(len, rows)) - 1)  # every row needs at least one token of its own
        heads, tails = [beginning + row[:common] for row in rows], [row[common:] for row in rows]
        inputs.update(padded_rows(heads, tails, self.processor.tokenizer.pad_token_id, self.device))
        return inputs, picture_end + common if common else 0

    def preview(self, image: Image.Image | Video, needs: Needs | Reducer, question: str = "") -> VisionPreview:
        """Run only the vision side and record the signals in `needs`, or those that a reducer needs.

        `preview.trace(reducer)` is then the picture after cut 0, for any number of retentions and settings.

        Raises:
            InputError: The model does not accept the picture or video, or does not support the method; or the method
                compares the picture with the question, and there is none.
        """
        check_single(image, "A preview", "make one for each")
        wanted = needs.needs(self.anatomy) if isinstance(needs, Reducer) else needs
        if wanted.joint and not question:
            raise InputError("What this method keeps depends on the question; ask one first.")
        inputs = self.inputs(image, question or "?")
        shared = self.encode(inputs, wanted)
        place = (self.model, self.family, self.anatomy, inputs.of_vision, inputs.views, inputs["input_ids"])
        return PreparedImage(*place, shared, inputs.questions).preview(wanted)

    def encode(self, inputs: PreparedInputs, needs: Needs) -> SharedVision:
        """Run the blocks of the vision encoder and record the signals in `needs`, or find both in `vision_cache`.

        The first run of each shape is preceded by an untimed one. Raises InputError for signals the model cannot give.
        """
        key = pixel_digest(pixels := inputs.of_vision)
        if (known := self.vision_cache.get(key)) is not None:
            if known.covers(needs):
                return known
            needs |= known.needs
        shapes = [(shapes_of(pixels), signal) for signal in (None, *signal_names(needs))]
        for _ in range(1 if all(each in self.warmed for each in shapes) else 2):
            known = encode_pixels(self.model, self.family, pixels, replace(needs, blocks=False), Stopwatch(self.device))
        assert known is not None
        self.warmed.add(*shapes)
        self.vision_cache.put(key, known)
        return known

    def signals(self, image: Image.Image, needs: Needs | Reducer, question: str = "") -> Signals:
        """The signals of a picture that the model sees as one tile. Raises InputError if it sees several."""
        return self.preview(image, needs, question).signals

    def boxes(self, image: Image.Image) -> Tensor:
        """(tokens, 4) x0, y0, x1, y1 of every visual token, in pixels of the original; NaN for newlines."""
        return self.preview(image, Needs()).boxes

    def is_out_of_distribution(self, features: Tensor | None) -> bool:
        """Whether vision features (tokens, dim) come from a picture unlike those the model was trained on."""
        if self.ood_reference is None or features is None:
            return False
        return is_out_of_distribution(features.float().cpu(), self.ood_reference)

    def placed(
        self, batch: Mapping[str, Any], images: Sequence[Image.Image | Video], questions: Sequence[str] | None = None
    ) -> PreparedInputs:
        """The processor's `batch` of `images` on the model's device, with the view of each picture in its original."""
        cast = {name: batch[name].to(self.model.dtype) for name in PIXELS if name in batch}  # times would be rounded
        views = [view_of(self.family, self.processor, image) for image in images]
        return PreparedInputs({**batch, **cast}, views, questions).to(self.device)
