"""The demo in front of a server: it answers, and this process shows which tokens the same settings keep.

The server and its address are the operator's choice. It runs the model that is loaded here, too: the token map comes
from this process' vision encoder, the answer, its times and its counts of tokens from the server.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Generator, Mapping
from contextlib import closing, suppress
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from vscan_core import Done, Event, InputError, Prefilled, Reducer, Token
from vscan_core.catalog import MODELS, ModelCard
from vscan_core.chat_server import VLLM, ChatServer, data_url, plain_name, stream_chat
from vscan_core.errors import ServerFailure
from vscan_core.measured_run import OUT_OF_DISTRIBUTION
from vscan_core.media.asked_about import AskedAbout
from vscan_core.multirun import Encoding
from vscan_core.prepared import PreparedInputs
from vscan_core.reducers import REDUCERS
from vscan_core.selection import Needs
from vscan_core.serving import one_stage
from vscan_core.trace import ImageTrace, Trace
from vscan_core.what_mattered import RegionsLeftOut, WhatMattered

from .offer import OfferedEngine
from .served import ServedAnswer, served_name

_log = logging.getLogger("app")

if TYPE_CHECKING:
    from vscan_core import LVLM

ONLY_HERE = "The answers of this demo come from a server, which cannot do this; it needs the model in this process."
NO_SETTINGS_FOR = "{title} has no name that the server knows; choose another method."


class AskedInputs(PreparedInputs):
    """Prepared inputs, with what they were made of: that is what a server is sent."""

    picture: Image.Image
    question: str


class RemoteEngine(OfferedEngine):
    """An engine whose answers come from a server, which is asked one question at a time, so that times compare."""

    def __init__(
        self,
        server: ChatServer,
        allowed: Collection[str] | None = None,
        public: bool = False,
        patience_s: float = 300.0,
    ) -> None:
        """`patience_s`: seconds after which an answer is given up; for the others see OfferedEngine."""
        super().__init__(allowed, public)
        self.server = replace(server, who="The server") if public else server  # strangers learn no address
        self._patience_s = patience_s

    @property
    def about(self) -> str:
        """See Engine; the address is told where no strangers come."""
        where = "" if self._public else f" at {self.server.url}"
        return f"Answers come from {self.server.name}{where}."

    def models(self) -> Mapping[str, ModelCard]:
        """See Engine; those that the server has. For another one there could be no token map."""
        return {name: card for name, card in super().models().items() if served_name(card, self.server)}

    def frames(self, name: str) -> int:
        """See Engine; the server is asked about pictures only."""
        return 0

    def place(self, device: str) -> str:
        """See Engine."""
        return self.server.name

    def hardware(self, device: str) -> str:
        """See Engine; of the server's own nothing is known here."""
        return f"Server with {self.server.name}, network included"

    def reducer(self, lvlm: LVLM, name: str, retention: float) -> Reducer:
        """See Engine; what vLLM makes of it, which cuts at the entrance of the language model alone.

        A method that it cannot run at all is left as it is: the server says why it refuses it.
        """
        plain = super().reducer(lvlm, name, retention)
        if self.server.software == VLLM:
            with suppress(InputError):
                return one_stage(plain, lvlm.anatomy)[0]
        return plain

    def inputs(self, lvlm: LVLM, image: AskedAbout, question: str) -> AskedInputs:
        """See Engine."""
        if not isinstance(image, Image.Image):
            raise InputError(ONLY_HERE)
        found = super().inputs(lvlm, image, question)
        asked = AskedInputs(found.data, found.views)
        asked.picture, asked.question = image, question
        return asked

    def run(
        self, lvlm: LVLM, inputs: PreparedInputs, encoding: Encoding, reducer: Reducer | None, max_new_tokens: int
    ) -> Generator[Event, None, None]:
        """See Engine; this process works before the server is asked, and not beside it."""
        assert isinstance(inputs, AskedInputs)
        if reducer is not None and reducer.unsure_below is not None:
            raise InputError(ONLY_HERE)
        settings, method = settings_of(reducer), "baseline" if reducer is None else type(reducer).__name__.lower()
        trace, hint = self._seen_here(lvlm, inputs, encoding, reducer)
        served = ServedAnswer(lvlm, int(inputs["input_ids"].shape[1]), trace)
        name = served_name(MODELS[lvlm.name], self.server)
        body = self.server.asked(name, data_url(inputs.picture), inputs.question, settings, max_new_tokens)
        try:
            with closing(stream_chat(self.server, body, self._patience_s)) as chunks:
                for chunk in chunks:
                    began, grew = served.add(chunk)
                    if began:
                        yield Prefilled(0, method, trace)
                    if grew:
                        yield Token(0, served.text.strip())
        except ServerFailure as failure:
            _log.error("%s: %s", self.server.url, failure)
            raise
        who = f"{self.server.name}, which calls the model {plain_name(name)}, answered; times include the network."
        yield Done(0, served.answer(method, hint, who, self._changed(lvlm, reducer)))

    def _seen_here(
        self, lvlm: LVLM, inputs: AskedInputs, encoding: Encoding, reducer: Reducer | None
    ) -> tuple[Trace, str | None]:
        """What the same settings keep of the picture here, and what there is to say about it.

        The vision encoder is enough for a cut at the entrance. For later ones, which only a server of ours makes, the
        language model reads the prompt here, too.
        """
        preview = lvlm.preview(inputs.picture, Needs() if reducer is None else reducer)
        features = preview.tiles[0].features
        hint = OUT_OF_DISTRIBUTION if lvlm.is_out_of_distribution(features) else None
        if reducer is not None and any(reducer.cut_layers(lvlm.anatomy)) and self.server.software != VLLM:
            with closing(super().run(lvlm, inputs, encoding, reducer, 1)) as events:
                return next(event.trace for event in events if isinstance(event, Prefilled)), hint
        grid = preview.tiles[0].grid
        assert grid is not None
        image = preview.token_layout.trace(grid, []) if reducer is None else preview.trace(reducer)
        return planned_trace(image, lvlm.anatomy.text_layers), hint

    def _changed(self, lvlm: LVLM, reducer: Reducer | None) -> list[str]:
        """What a vLLM server makes of the method that was chosen, in a sentence; none: the same."""
        if reducer is None or self.server.software != VLLM:
            return []
        with suppress(InputError):
            alone, sentence = one_stage(type(reducer)(reducer.retention), lvlm.anatomy)
            if alone == reducer and sentence:
                return [f"{sentence[0].upper()}{sentence[1:]}."]
        return []

    def leave_regions_out(
        self, lvlm: LVLM, image: Image.Image, question: str
    ) -> Generator[RegionsLeftOut | WhatMattered, None, None]:
        """Refused: it reads probabilities, which the server does not give."""
        raise InputError(ONLY_HERE)

    def warm_up(self, lvlm: LVLM) -> None:
        """The first picture here, and the first questions there, take longer; the server is left to its operator."""
        self.encode(lvlm, self.inputs(lvlm, Image.new("RGB", (64, 64)), "?"))
        lvlm.vision_cache.clear()


def settings_of(reducer: Reducer | None) -> dict[str, Any] | None:
    """A method as a server reads it: its name, its retention, and what else is not as by default; None for none.

    Raises InputError for what is no method of its own, such as one with forced tokens.
    """
    if reducer is None:
        return None
    name = type(reducer).__name__.lower()
    if REDUCERS.get(name) is not type(reducer):
        raise InputError(NO_SETTINGS_FOR.format(title=reducer.title))
    plain = type(reducer)()
    changed = {
        setting.name: getattr(reducer, setting.name)
        for setting in fields(reducer)
        if setting.init and getattr(reducer, setting.name) != getattr(plain, setting.name)
    }
    return {"method": name, "retention": reducer.retention} | changed


def planned_trace(image: ImageTrace, layers: int) -> Trace:
    """A trace in which no layer cuts: what is left at the entrance enters all of them."""
    return Trace([image], [], [len(image.kept)] * layers, {"vision": "of the server", "text": "of the server"})
