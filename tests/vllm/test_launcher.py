"""`vscan-vllm`: its own options, the server's, and what cannot be served."""

from __future__ import annotations

import json

import pytest

import vscan_core as vc
from tests.vllm.asking import MINI
from vscan_vllm.__main__ import serve_arguments


def overrides(arguments: list[str]) -> dict:
    """What is given for --hf-overrides, once."""
    assert arguments.count("--hf-overrides") == 1
    return json.loads(arguments[arguments.index("--hf-overrides") + 1])


def test_the_servers_own_options_pass_and_ours_are_added() -> None:
    made = serve_arguments([MINI, "--port", "9000", "--vscan", '{"method": "grid"}', "--hf-overrides", '{"a": 1}'])
    assert made[:3] == [MINI, "--port", "9000"] and "--vscan" not in made
    assert overrides(made) == {
        "a": 1,
        "architectures": ["VScanLlavaForConditionalGeneration"],
        "vscan": {"method": "grid"},
    }
    assert made[made.index("--middleware") + 1] == "vscan_vllm.middleware.RequestSettings"
    assert {"--trust-request-mm-kwargs", "--enable-prompt-tokens-details"} <= set(made)
    assert overrides(serve_arguments([MINI]))["vscan"] is None


BAD = {
    "no json": ([MINI, "--vscan", "{method}"], "--vscan is no JSON"),
    "method": ([MINI, "--vscan", '{"method": "best"}'], "there is no method 'best'"),
    "overrides": ([MINI, "--hf-overrides", "[]"], "--hf-overrides must be a JSON object"),
    "nothing": (["no/such/folder"], "the configuration of no/such/folder cannot be read"),
    "architecture": (
        [MINI, "--hf-overrides", '{"architectures": ["LlamaForCausalLM"]}'],
        "is a LlamaForCausalLM; only LlavaForConditionalGeneration,",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_served_is_refused_before_vllm_starts(name) -> None:
    arguments, sentence = BAD[name]
    with pytest.raises(vc.InputError) as refusal:
        serve_arguments(arguments)
    assert sentence in str(refusal.value)
