"""vLLM in this process: for every method, the answers of this library and the tokens that it would keep.

`WRITE_SERVING=1 make test-vllm` writes the table of docs/serving.md.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("vllm", reason="vLLM is not installed: make test-vllm")

import vscan_core as vc
from tests.vllm.asking import MINI, TOKENS, expected, mini, opened, questions, running
from tests.vllm.serving import ENVIRONMENT
from tests.vllm.test_settings import ON_PICTURES
from vscan_vllm import cutting
from vscan_vllm.__main__ import ENCODER_BUDGET

COUNT = 20
PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
TABLE = re.compile(r"(?<=<!-- written by tests/vllm/test_engine.py -->\n).*?(?=\n\n)", re.DOTALL)
HEAD = (
    "| method, a sixth of 576 tokens | answers equal | right | of this library | kept tokens equal |",
    "|---|--:|--:|--:|--:|",
)
SETTINGS = {"every token": None, **{name: {"method": name, "retention": 1 / 6} for name in ON_PICTURES}}
# near ties: what float noise of another backend changes in these is said in their files
UNSTABLE = ("vispruner", "divprune", "scope", "holov", "hiprune", "otprune", "prunesid", "apet")


@dataclass
class Row:
    """What vLLM did with the questions, and this library."""

    answers: int  # that are equal
    right: int
    right_here: int  # of this library
    kept: int  # pictures of which the same tokens are kept


ROWS: dict[str, Row] = {}


@pytest.fixture(scope="module")
def llm():
    """The engine, by default with a quarter of the tokens."""
    os.environ.update({**ENVIRONMENT, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
    from vllm import LLM

    overrides = {
        "architectures": ["VScanLlavaForConditionalGeneration"],
        "vscan": {"method": "grid", "retention": 0.25},
    }
    yield LLM(MINI, dtype="float32", max_model_len=1024, enforce_eager=True, distributed_executor_backend="uni",
              hf_overrides=overrides, max_num_batched_tokens=2048,
              ec_manager_config={"encoder_cache_manager_cls": ENCODER_BUDGET})  # fmt: skip
    if "WRITE_SERVING" in os.environ and set(ROWS) == set(SETTINGS):
        write_table()


@pytest.fixture
def cuts(monkeypatch) -> list:
    """Every cut of the engine: (reducer, signals, keep, selections)."""
    found: list = []
    plain = cutting.reduce_tiles

    def recorded(reducer, tiles, keep, anatomy, project):
        if reducer.needs(anatomy).projected:
            tiles = replace(tiles, projected=project(tiles.features))
        chosen, rows = plain(reducer, tiles, keep, anatomy, project)
        found.append((reducer, tiles, keep, chosen))
        return chosen, rows

    monkeypatch.setattr(cutting, "reduce_tiles", recorded)
    return found


def prompts(settings, items) -> list[dict]:
    """A prompt per question, as vLLM takes it."""
    return [
        {
            "prompt": mini().chat(item.question),
            "multi_modal_data": {"image": opened(item)},
            "mm_processor_kwargs": {"vscan": settings},
        }
        for item in items
    ]


def answered(llm, given) -> list:
    """Greedy answers, in order."""
    from vllm import SamplingParams

    return llm.generate(given, SamplingParams(temperature=0, max_tokens=32), use_tqdm=False)


@pytest.mark.parametrize("name", SETTINGS)
def test_answers_and_kept_tokens_are_those_of_this_library(llm, cuts, name) -> None:
    items, reducer = questions(COUNT), running(SETTINGS[name])
    outputs = answered(llm, prompts(SETTINGS[name], items))
    keep = TOKENS if reducer is None else reducer.at_entrance(TOKENS, mini().anatomy)
    image = mini().model.config.image_token_id
    assert all(output.prompt_token_ids.count(image) == keep for output in outputs)

    texts, here = [output.outputs[0].text.strip() for output in outputs], expected(SETTINGS[name], items)
    right, right_here = (sum(text in item.answers for text, item in zip(said, items, strict=True))
                         for said in (texts, here))  # fmt: skip
    kept = 0
    if reducer is not None:
        chosen = [one.kept.tolist() for _, _, _, some in cuts for one in some]
        signals = [one for _, tiles, _, _ in cuts for one in tiles.each()]
        assert len(chosen) == COUNT
        # given the same signals, one picture at a time keeps what the batch kept
        assert [reducer.select(one, keep).kept.tolist() for one in signals] == chosen
        wanted = [mini().preview(opened(item), reducer).trace(reducer).cuts[0].kept.tolist() for item in items]
        kept = sum(one == other for one, other in zip(chosen, wanted, strict=True))
    same = sum(one == other for one, other in zip(texts, here, strict=True))
    ROWS[name] = Row(same, right, right_here, kept if reducer else COUNT)
    if name in UNSTABLE:
        assert same >= COUNT - 2 and abs(right - right_here) <= 2
    else:
        assert (same, ROWS[name].kept) == (COUNT, COUNT)


def test_signals_are_those_of_transformers(llm, cuts) -> None:
    from vscan_vllm.clip import look

    needs = vc.Needs(cls_attention=(1, 4), received=(2,), projected=True, keys=True)
    tower = llm.llm_engine.model_executor.driver_worker.worker.model_runner.model
    item = questions(1)[0]
    seen = mini().preview(opened(item), needs).signals
    pixels = mini().inputs(opened(item), "?")["pixel_values"]
    with torch.inference_mode():
        found = look(tower.vision_tower, lambda: tower._features(pixels), needs, mini().anatomy.feature_layer)
        mine = found.signals([0], (24, 24)).each()[0]
        projected = tower.multi_modal_projector(found.features)[0]
    for ours, theirs in (
        (mine.features, seen.features),
        (projected, seen.projected),
        (mine.keys, seen.keys),
        (mine.received[2], seen.received[2]),
        *((mine.cls_attention[layer], seen.cls_attention[layer]) for layer in (1, 4)),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)  # features of about 1


def test_one_batch_has_many_methods_and_caches_never_mix_them_up(llm) -> None:
    items = questions(4)
    names = ("every token", "vscan", "grid", "downsample", "fastervlm", "vscan")
    given = [(name, item) for name in names for item in items] * 2
    outputs = answered(llm, [prompts(SETTINGS[name], [item])[0] for name, item in given])
    wanted = {name: expected(SETTINGS[name], items) for name in names}
    found = [output.outputs[0].text.strip() for output in outputs]
    assert found == [wanted[name][items.index(item)] for name, item in given]


def test_a_step_encodes_no_more_pictures_because_they_keep_fewer_tokens(llm, cuts) -> None:
    items = questions(COUNT)[:8]
    answered(llm, prompts({"method": "random", "retention": 1 / 9, "seed": 5}, items))
    assert [len(chosen) for *_, chosen in cuts] == [3, 3, 2]  # 2,048 tokens in a step


def test_a_request_that_says_nothing_gets_the_servers_default(llm) -> None:
    (given,) = prompts(None, questions(1))
    del given["mm_processor_kwargs"]
    (output,) = answered(llm, [given])
    assert output.prompt_token_ids.count(mini().model.config.image_token_id) == 144


def test_other_options_of_a_request_change_nothing(llm) -> None:
    (plain,) = prompts(SETTINGS["grid"], questions(1))
    (sized,) = prompts(SETTINGS["grid"], questions(1))
    sized["mm_processor_kwargs"] |= {"size": {"shortest_edge": 20000}, "do_resize": False, "crop_size": 7}
    outputs = answered(llm, [plain, sized])
    assert outputs[0].prompt_token_ids == outputs[1].prompt_token_ids
    assert outputs[0].outputs[0].token_ids == outputs[1].outputs[0].token_ids


def test_a_refusal_leaves_the_engine_alive(llm) -> None:
    from vllm.exceptions import VLLMClientError

    for settings in ({"method": "trim"}, {"method": "random", "seed": 1 << 70}, "fast"):
        with pytest.raises(VLLMClientError):
            answered(llm, prompts(settings, questions(1)))
        assert answered(llm, prompts(SETTINGS["grid"], questions(1)))[0].outputs[0].text


def write_table() -> None:
    """Into the page, after a run of every method."""
    lines = [
        f"| {'every token' if SETTINGS[name] is None else f'`{name}`'} | {row.answers} | {row.right} | "
        f"{row.right_here} | {row.kept} |"
        for name, row in ROWS.items()
    ]
    PAGE.write_text(TABLE.sub(lambda found: "\n".join([*HEAD, *lines]), PAGE.read_text()))
