"""Every way of calling a model, on every family: it gives what plain greedy gives, or the library says no.

Plain greedy itself is held against the slow masked recompute first. `docs/ways.md` is this run's outcome: a cell that
changes fails here until `make ways` has written the page anew.
"""

from __future__ import annotations

import os
import traceback
from functools import cache
from pathlib import Path

import pytest
import torch

import vscan_core as vc
from tests import ways
from tests.conftest import IMAGE_TOKEN, prompt, tiny_llava
from tests.families import tiny
from tests.families.test_families import BATCHES, FAMILIES, check_hiding, token_of
from tests.reference.masked import step_logits
from vscan_core.families import FAMILIES as TITLES

PAGE = Path(__file__).parent.parent / "docs" / "ways.md"
NAMES = {
    "llava": "llava",
    "llava_next": "llava_next",
    "llava_onevision": "llava_onevision",
    "qwen2_5_vl": "qwen2_5_vl",
    "qwen3_vl": "qwen3_vl",
    "qwen3_vl video": "qwen3_vl",
    "qwen3_5": "qwen3_5",
    "glm4v": "glm4v",
    "gemma4": "gemma4",
    "gemma4 large": "gemma4",
    "internvl tiled": "internvl",
    "idefics3 tiled": "idefics3",
    "smolvlm": "smolvlm",
    "video_llava": "video_llava",
    "video_llava video": "video_llava",
}
METHODS = {
    "both": {"encoder_keep": 0.3, "llm_keep": {3: 0.4}, "merge": False},
    "inside": {"encoder_keep": 1.0, "llm_keep": {2: 9}, "merge": False},
}
WORKS, REFUSED = "yes", "no"
MARKED = (" video", " large")  # columns beside the plain one of their family
WRITING = bool(os.environ.get("WRITE_WAYS"))  # `make ways`
SLOW, QUICK = ("compiled", "compiled_in_place", "compiled_layers"), ("llava", "qwen3_vl", "idefics3 tiled")
OF_TRANSFORMERS = (  # refused by transformers itself
    "is not supported with stateful models",  # drafts cannot be taken back from a state
    "tried to call `forward` from `inputs_embeds` without providing `input_ids`",  # each layer embeds the ids anew
)
NO_ANSWER = ("from_outside",)  # nothing of ours to compare
# compiling every family takes minutes, so only `make ways` does it
CALLS = [(name, key) for name in NAMES for key in ways.WAYS if WRITING or key not in SLOW or name in QUICK]
REASONS: dict[str, str] = {}
OUTCOMES: dict[tuple[str, str], str] = {}


def make(name):
    return tiny_llava() if name == "llava" else FAMILIES[name][0]("sdpa")


def inputs_of(name):
    return prompt([1]) if name == "llava" else FAMILIES[name][1](BATCHES[name][0])


@cache
def case_of(name, method) -> ways.Case:
    token = IMAGE_TOKEN if name == "llava" else token_of(name)
    return ways.Case(lambda: make(name), make(name), inputs_of(name), vc.VScan(**METHODS[method]), token)


@cache
def truth(name, method) -> ways.Seen:
    """Plain greedy `generate`, once it has been held against hiding."""
    case = case_of(name, method)
    if name == "llava":
        seen = ways.generate(case)
        cuts = {"first": 10, "later": {3: 4}} if method == "both" else {"later": {2: 9}}
        ids, pixels = case.inputs["input_ids"][0], case.inputs["pixel_values"]
        window = {"window": 6, "layers": (1, 3)}
        with torch.no_grad():
            slow, history = step_logits(
                case.model, ids, pixels, torch.tensor(seen.tokens), **cuts, **window, merge=False
            )
        torch.testing.assert_close(seen.first, slow[0], atol=1e-5, rtol=0)
        assert slow.argmax(-1).tolist() == seen.tokens and history == seen.kept
        return seen
    with torch.no_grad():
        check_hiding(case.model, name, BATCHES[name][0], case.method, not name.startswith(tiny.MROPE))
    return ways.generate(case)


def outcome(name, key, method) -> str:
    expected, case = truth(name, method), case_of(name, method)
    try:
        seen = ways.WAYS[key].run(case)
    except (vc.InputError, RuntimeError, ValueError) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        known = "vscan_core" in frame.filename or any(part in str(error) for part in OF_TRANSFORMERS)
        assert known and (frame.line or "").startswith("raise"), error
        REASONS.setdefault(key, str(error).replace(f", such as {type(case.model).__name__}", ""))
        return REFUSED
    assert key not in NO_ANSWER, "a call from outside was answered"
    assert seen.kept == expected.kept
    assert seen.tokens in (None, expected.tokens)
    if seen.first is not None:
        torch.testing.assert_close(seen.first, expected.first, atol=1e-5, rtol=0)
    return WORKS


@pytest.mark.parametrize(("name", "key"), CALLS)
def test_a_way_gives_the_same_or_is_refused(name, key) -> None:
    seen = {outcome(name, key, method) for method in (["both"] if key in SLOW else METHODS)}
    assert len(seen) == 1, "it depends on the method"
    (OUTCOMES[name, key],) = seen
    if not WRITING:
        assert f"| {ways.WAYS[key].title} |" in PAGE.read_text(), "docs/ways.md lacks this way: make ways"
        assert cells()[ways.WAYS[key].title][list(NAMES).index(name)] == OUTCOMES[name, key]


def cells() -> dict[str, list[str]]:
    rows = [line.strip("|\n ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def title(name: str) -> str:
    return TITLES[NAMES[name]].title + (f" ({name.split()[1]})" if name.endswith(MARKED) else "")


def page() -> str:
    head = "# Calling a model\n\n" + INTRODUCTION
    table = ["| way | " + " | ".join(map(title, NAMES)) + " |", "|---" * (len(NAMES) + 1) + "|"]
    for key, way in ways.WAYS.items():
        table.append(f"| {way.title} | " + " | ".join(OUTCOMES[name, key] for name in NAMES) + " |")
    why = [f"- **{ways.WAYS[key].title}**: {REASONS[key]}." for key in ways.WAYS if key in REASONS]
    return head + "\n".join(table) + "\n\n## What is refused, in the library's own words\n\n" + "\n".join(why) + "\n"


INTRODUCTION = """Written by `make ways`, and checked by every test run.

**yes**: kept tokens, logits and answer are the same as with a plain greedy `generate` inside `with reduced(...)`, which
itself is compared with a slow recompute that only masks the removed tokens. **no**: the library refuses the call with
one sentence before it returns anything (drafts for a model with recurrent states, and embeddings without ids for one
that embeds ids in each layer, are refused by transformers). Each way was tried with cuts at the entrance of and inside
the language model, and with a cut inside it only.

- Work started inside a `with` belongs to it: threads, jobs of a ThreadPoolExecutor, `asyncio.to_thread`. The end of
  the `with` waits for it.
- A model compiled as a whole runs uncompiled inside the `with`; compile its decoder layers one by one instead.
- `prefill_chunk_size` is ignored: for a cut inside the language model, the question has to see the whole picture.
- A later turn may go on with the KV cache of an earlier one, inside the same `with`: nothing that was cut is recalled,
  and the trace stays that of the first. [`Conversation`](concepts.md#further-questions) recalls it.
- Under autocast the same number of tokens is kept, but rounding may choose different ones.
- A call with a picture from outside an open `with` is refused, because it is unclear whether it should be reduced. To
  run the full model meanwhile, use `with reduced(model, None)`.

"""


def test_the_page_is_written_when_asked() -> None:
    if not WRITING:
        pytest.skip("`make ways` writes docs/ways.md")
    PAGE.write_text(page())


def test_the_page_lists_these_ways_and_families_and_no_others() -> None:
    rows = cells()
    assert rows.pop("way") == [title(name) for name in NAMES]
    assert list(rows) == [way.title for way in ways.WAYS.values()]
    text = PAGE.read_text()
    assert all(f"- **{title}**: " in text for title, row in rows.items() if REFUSED in row)
