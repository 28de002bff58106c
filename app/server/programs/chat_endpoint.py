"""`/v1/chat/completions` and `/v1/models`: OpenAI's API on the demo's own engine."""

from __future__ import annotations

import json
import time
from contextlib import aclosing
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from vscan_core.events import Answer, Done, Token
from vscan_core.reducers import Reducer

from ...session.sources import OpenedSource
from ...session.turn import TurnEvent
from ...session.visitors import Visit
from ..refusals import Refusal, openai_error, shortened
from ..routes import CHAT_PATH
from .chat_request import ChatRequest, chat_request
from .data_url import opened_picture
from .method_settings import reducer_from
from .openai_format import Completion, finish_reason, new_text, usage_of
from .program_runs import ProgramRuns, while_listening, whole_body

NO_SUCH_MODEL = "There is no model {name!r} here; /v1/models lists those that there are."
STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"),
                  (b"x-accel-buffering", b"no")]  # fmt: skip
QUIET_S = 10.0  # that a client hears nothing while it waits; until the first word a refusal has a status of its own
OWNER = "vscan"


class ChatCompletions:
    """The endpoint as an ASGI app; `most_tokens` is the length limit of an answer. Refusals are the door's to tell."""

    def __init__(self, runs: ProgramRuns, most_tokens: int) -> None:
        self.runs, self.most_tokens = runs, most_tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the run ends if its client leaves."""
        asked, picture = await self.runs.work(chat_request, await whole_body(receive), self.most_tokens)
        self._check_model(asked.model)
        reducer = reducer_from(self.runs.session.engine, asked.settings)
        with self.runs.visit(scope) as visit:
            async with while_listening(receive):
                opened = await self.runs.work(opened_picture, self.runs.session, picture)
                del picture  # up to 10 MB, and it may have to wait
                out = (StreamedAnswer if asked.stream else WholeAnswer)(asked, reducer, send)
                try:
                    await self._run(asked, opened, visit, out)
                except Refusal as refusal:
                    if not out.begun:
                        raise
                    await out.fail(refusal)

    async def _run(self, asked: ChatRequest, opened: OpenedSource, visit: Visit, out: WholeAnswer) -> None:
        run = self.runs.session.run_one
        start = partial(run, asked.model, opened, asked.question, out.reducer, asked.max_new_tokens)
        async with aclosing(self.runs.steps(visit, start)) as steps:
            async for step in steps:
                await out.saw(step)
        await out.end()  # after the run: the web server takes an answer's end for the client's leaving

    def _check_model(self, name: str) -> None:
        if name not in self.runs.session.engine.models():
            raise Refusal(404, "input", NO_SUCH_MODEL.format(name=shortened(name, 60)), "model", "model_not_found")


class WholeAnswer:
    """An answer that is sent when it is complete."""

    def __init__(self, asked: ChatRequest, reducer: Reducer | None, send: Send) -> None:
        self.asked, self.reducer, self.send = asked, reducer, send
        self.form = Completion(asked.model)
        self.begun = False
        self.answer: Answer | None = None
        self.came, self.waited_ms = time.perf_counter(), 0.0

    async def saw(self, step: TurnEvent | None) -> None:
        """The run has moved on; None: it waits for its turn."""
        if step is None:
            self.waited_ms = 1000 * (time.perf_counter() - self.came)
        if isinstance(step, Done):
            self.answer = step.answer

    async def end(self) -> None:
        """The run is over."""
        assert self.answer is not None, "a run that has no answer raises"
        response = JSONResponse(self.form.whole(self.answer, self._usage(self.answer)))
        await self._send_start(response.raw_headers)
        await self._send_piece(bytes(response.body), more=False)

    async def fail(self, refusal: Refusal) -> None:
        """The run has failed after the answer was `begun`; only a stream can be."""

    def _usage(self, answer: Answer) -> dict[str, Any]:
        return usage_of(answer, self.asked.model, self.reducer, self.waited_ms)

    async def _send_start(self, headers: list[tuple[bytes, bytes]]) -> None:
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _send_piece(self, content: bytes, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": content, "more_body": more})


class StreamedAnswer(WholeAnswer):
    """An answer that is sent token by token, as server-sent events; `[DONE]` says that nothing is missing."""

    def __init__(self, asked: ChatRequest, reducer: Reducer | None, send: Send) -> None:
        super().__init__(asked, reducer, send)
        self.sent, self.heard = "", self.came

    async def saw(self, step: TurnEvent | None) -> None:
        """As in WholeAnswer."""
        if step is None:
            self.waited_ms = 1000 * (time.perf_counter() - self.came)
            if time.perf_counter() - self.heard > QUIET_S:
                await self._begin()
                await self._send_piece(b": waiting\n\n")
            return
        if isinstance(step, Token):
            await self._begin()
            await self._send_text(new_text(step.text, self.sent))
        if isinstance(step, Done):
            self.answer = step.answer

    async def end(self) -> None:
        """As in WholeAnswer."""
        assert self.answer is not None, "a run that has no answer raises"
        await self._begin()
        await self._send_text(new_text(self.answer.text, self.sent, ended=True))
        await self._event(self.form.piece({}, finish_reason(self.answer)))
        if self.asked.include_usage:
            await self._event(self.form.last_piece(self._usage(self.answer)))
        await self._send_piece(b"data: [DONE]\n\n", more=False)

    async def fail(self, refusal: Refusal) -> None:
        """An error in the stream, which then ends without `[DONE]`."""
        await self._event({"error": openai_error(refusal)})
        await self._send_piece(b"", more=False)

    async def _begin(self) -> None:
        self.heard = time.perf_counter()
        if not self.begun:
            self.begun = True
            await self._send_start(STREAM_HEADERS)
            await self._event(self.form.piece({"role": "assistant", "content": ""}))

    async def _send_text(self, text: str) -> None:
        if text:
            self.sent += text
            await self._event(self.form.piece({"content": text}))

    async def _event(self, content: dict[str, object]) -> None:
        await self._send_piece(f"data: {json.dumps(content)}\n\n".encode())


def chat_routes(runs: ProgramRuns, most_tokens: int) -> list[Route]:
    """OpenAI's routes."""
    started = int(time.time())

    def listed() -> list[dict[str, object]]:
        session = runs.session
        names = [name for name in session.engine.models() if session.models.unavailable(name) is None]
        return [{"id": name, "object": "model", "created": started, "owned_by": OWNER} for name in names]

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": await runs.work(listed)})

    async def one_model(request: Request) -> Response:
        name = str(request.path_params["model"])
        for model in await runs.work(listed):
            if model["id"] == name:
                return JSONResponse(model)
        raise Refusal(404, "input", NO_SUCH_MODEL.format(name=shortened(name, 60)), "model", "model_not_found")

    completions = Route(CHAT_PATH, ChatCompletions(runs, most_tokens))
    return [completions, Route("/v1/models", models), Route("/v1/models/{model:path}", one_model)]
