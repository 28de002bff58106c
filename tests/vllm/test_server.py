"""Through the OpenAI API: method and rate per request, caches, crowds, refusals; the answers are this library's own."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

openai = pytest.importorskip("openai", reason="vLLM is not installed: make test-vllm")
pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

from tests.vllm.asking import METHODS, TOKENS, data_url, expected, mini, opened, questions, running
from tests.vllm.serving import server

COUNT = 20
PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
WAYS = {  # 256 tokens in a step: a prompt with every token is prefilled in three chunks
    "one worker": ("--max-num-batched-tokens", "256"),
    "tensor parallel": ("--tensor-parallel-size", "2"),
    "data parallel": ("--data-parallel-size", "2"),
}
REFUSED = {
    "of the question": ({"vscan": {"method": "trim"}}, "TRIM needs the question"),
    "inside the LLM": ({"vscan": {"method": "fastv"}}, "FastV cuts inside the language model"),
    "inside the encoder": ({"vscan": {"method": "tome"}}, "ToMe merges tokens inside the vision encoder"),
    "for videos": ({"vscan": {"method": "evs", "retention": 0.5}}, "EVS compares the frames of a video"),
    "unknown method": ({"vscan": {"method": "best"}}, "there is no method 'best'; choose vscan, "),
    "unknown setting": ({"vscan": {"method": "grid", "rate": 1}}, 'Grid has no setting "rate"; it has retention'),
    "too much": ({"vscan": {"method": "grid", "retention": 7}}, "retention must be above 0 and at most 1"),
    "no object": ({"vscan": "fast"}, "vscan must be null or an object such as"),
    "fails later": ({"vscan": {"method": "random", "seed": 1 << 70}}, "Random cannot run with these settings"),
    "size": ({"mm_processor_kwargs": {"size": {"shortest_edge": 20000}}}, "mm_processor_kwargs.size can be set only"),
    "reading": ({"media_io_kwargs": {"video": {"num_frames": 9999}}}, "media_io_kwargs can be set only"),
}


class Client:
    """Asks about pictures of the frozen set."""

    def __init__(self, address: str) -> None:
        self.api = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=300)

    async def ask(self, place: int, extra: dict, *more: int, question: str = "", **options):
        """The whole reply about one or more pictures."""
        items = questions(COUNT)
        content = [{"type": "image_url", "image_url": {"url": data_url(items[one])}} for one in (place, *more)]
        text = {"type": "text", "text": question or items[place].question}
        return await self.api.chat.completions.create(
            model="assets/mini",
            temperature=0,
            max_tokens=32,
            messages=[{"role": "user", "content": [*content, text]}],
            extra_body=extra,
            **options,
        )

    async def answer(self, place: int, name: str) -> tuple[str, int]:
        """The answer with one of METHODS, and how many visual tokens were kept."""
        reply = await self.ask(place, {"vscan": METHODS[name]})
        return reply.choices[0].message.content.strip(), reply.usage.vscan["kept"]


@pytest.fixture(scope="module", params=WAYS)
def address(request, tmp_path_factory):
    """A running server, which by default keeps a sixth."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "one worker":
            patch.setenv("VLLM_CPU_OMP_THREADS_BIND", "0|1")
        default = ("--vscan", '{"method": "grid", "retention": 0.25}')
        with server(tmp_path_factory.mktemp("vllm"), *default, *WAYS[request.param]) as found:
            yield found


def keeps(name: str) -> int:
    """How many of a picture's tokens one of METHODS keeps."""
    reducer = running(METHODS[name])
    return TOKENS if reducer is None else reducer.at_entrance(TOKENS, mini().anatomy)


def test_64_mixed_requests_16_at_once_get_the_answers_of_this_library(address) -> None:
    draw = random.Random(0)
    jobs = [(draw.randrange(COUNT), draw.choice(list(METHODS))) for _ in range(64)]
    wanted = {name: expected(settings, questions(COUNT)) for name, settings in METHODS.items()}

    async def everything() -> list[tuple[str, int]]:
        client, places = Client(address), asyncio.Semaphore(16)

        async def one(place: int, name: str) -> tuple[str, int]:
            async with places:
                return await client.answer(place, name)

        return await asyncio.gather(*(one(*job) for job in jobs))

    found = asyncio.run(everything())
    assert found == [(wanted[name][place], keeps(name)) for place, name in jobs]


def test_one_picture_with_several_methods_again_and_again_never_mixes_them_up(address) -> None:
    wanted = {name: expected(settings, questions(COUNT)[3:4])[0] for name, settings in METHODS.items()}

    async def rounds() -> list[tuple[str, str, int]]:
        client, found = Client(address), []
        for _ in range(3):
            for name in METHODS:
                found.append((name, *await client.answer(3, name)))
        return found

    assert asyncio.run(rounds()) == [(name, wanted[name], keeps(name)) for name in METHODS] * 3


def test_usage_tells_the_method_and_its_tokens(address) -> None:
    async def replies():
        client = Client(address)
        first = await client.ask(0, {"vscan": {"method": "vscan", "retention": 0.1}})
        stream = await client.ask(0, {}, stream=True, stream_options={"include_usage": True})
        return first, [chunk async for chunk in stream]

    reply, chunks = asyncio.run(replies())
    told = reply.usage.vscan
    assert (told["method"], told["tokens"], told["kept"]) == ("vscan", TOKENS, 57)
    assert told["settings"]["encoder_keep"] == 0.1 and "only at the entrance" in told["note"]
    assert reply.usage.prompt_tokens_details.multimodal_tokens == {"image": 57}
    (last,) = [chunk for chunk in chunks if chunk.usage]
    assert (last.usage.vscan["method"], last.usage.vscan["kept"]) == ("grid", 144)  # the server's default
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).strip()


def test_several_pictures_in_one_request_are_cut_one_by_one(address) -> None:
    async def replies():
        client, what = Client(address), "What is at the top left?"
        return [await client.ask(0, {"vscan": METHODS["vscan"]}, *more, question=what) for more in ((), (1,), (1, 2))]

    for count, reply in enumerate(asyncio.run(replies()), start=1):
        assert (reply.usage.vscan["tokens"], reply.usage.vscan["kept"]) == (count * TOKENS, count * 96)
        assert reply.choices[0].message.content.strip()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_is_refused_and_the_server_lives(address, name) -> None:
    extra, sentence = REFUSED[name]

    async def both():
        client = Client(address)
        with pytest.raises(openai.BadRequestError) as refusal:
            await client.ask(0, extra)
        return refusal.value, await client.answer(0, "vscan")

    refusal, (answer, kept) = asyncio.run(both())
    assert refusal.status_code == 400 and sentence in str(refusal)
    assert (answer, kept) == (expected(METHODS["vscan"], questions(COUNT)[:1])[0], 96)


def test_the_client_of_the_page_runs_as_it_is_printed(address, tmp_path) -> None:
    (script,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    item, picture = questions(1)[0], tmp_path / "picture.png"
    opened(item).save(picture)
    script = script.replace("http://127.0.0.1:8000", address)
    done = subprocess.run([sys.executable, "-c", script, picture, item.question], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and lines[0].strip().startswith(expected(None, [item])[0])
    for line, kept in zip(lines, (576, 144, 58), strict=True):
        assert f"'kept': {kept}" in line
