"""Which models a machine can run, in which type, and how long it will take: with pretended memory and speed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import vscan_core as vc
from vscan_core import catalog, machine
from vscan_core.catalog import MODELS, SHAPES, default_dtype, expected, first_token_s, unavailable
from vscan_core.cli.main import main

SEVEN, SMALL, SECOND = "llava-hf/llava-1.5-7b-hf", "dummy:llava-small", "llava-hf/llava-1.5-13b-hf"
BFLOAT16, FLOAT32 = torch.bfloat16, torch.float32
ESTIMATED = "estimated for 576 tokens, without the vision encoder"


@pytest.fixture
def pretend(monkeypatch):
    """A machine without a GPU, with this much memory (GB) and these speeds (10^12 operations per second)."""

    def machine_with(memory: float, speeds: tuple[float, float] = (2.0, 0.5)) -> None:
        rates = dict(zip((BFLOAT16, FLOAT32), speeds, strict=True))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(machine, "available_gb", lambda: memory)
        monkeypatch.setattr(machine, "cpu_tflops_per_s", rates.__getitem__)

    return machine_with


@pytest.mark.parametrize(
    ("memory", "speeds", "dtype"),
    [
        (64, (2.0, 0.5), BFLOAT16),  # fast at it
        (64, (0.1, 0.5), FLOAT32),  # slow at it, and float32 fits
        (32, (0.1, 0.5), BFLOAT16),  # slow at it, but nothing else fits: 7.06e9 x 4 bytes x 1.15 = 32.5 GB
        (33, (0.1, 0.5), FLOAT32),
    ],
)
def test_the_type_follows_speed_and_memory(pretend, memory, speeds, dtype) -> None:
    pretend(memory, speeds)
    assert unavailable(SEVEN) is None and default_dtype(SEVEN, "cpu") == dtype


def test_small_and_unknown_models_are_float32_on_a_cpu_and_all_are_bfloat16_on_a_gpu(pretend) -> None:
    pretend(64)
    assert {default_dtype(name, "cpu") for name in ("mini", SMALL, "owner/name")} == {FLOAT32}
    assert {default_dtype(name, "cuda") for name in ("mini", SMALL, "owner/name", SEVEN)} == {BFLOAT16}
    assert default_dtype(SEVEN, "mps") == FLOAT32


def test_a_model_that_does_not_fit_says_what_it_needs_and_what_there_is(pretend) -> None:
    pretend(16.3)
    assert unavailable(SEVEN) is None and unavailable("owner/name") is None
    pretend(16.2)
    sentence = "LLaVA-1.5 7B needs about 16.2 GB of memory in bfloat16; this machine has 16.2 GB available."
    assert unavailable(SEVEN) == sentence
    with pytest.raises(vc.InputError, match="LLaVA-1.5 7B needs about 16.2 GB"):
        vc.load_model(SEVEN)
    assert unavailable(SEVEN, released_gb=1) is None
    assert "32.5 GB of memory in float32" in str(unavailable(SEVEN, dtype=FLOAT32))
    assert unavailable("mini") is None
    pretend(0.01)
    assert str(unavailable("mini")).endswith("GB of memory in float32; this machine has 0.0 GB available.")


def test_a_type_that_somebody_names_is_the_one_that_has_to_fit(pretend) -> None:
    pretend(20)
    with pytest.raises(vc.InputError, match="needs about 32.5 GB of memory in float32"):
        vc.load_model("dummy:llava-1.5-7b", dtype=FLOAT32)


def test_on_gpus_their_memory_counts_together(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(catalog, "gpu_memory_gb", lambda: 24.0)
    assert unavailable(SEVEN) is None and expected(SEVEN) == ""
    assert (
        unavailable(SECOND) == "LLaVA-1.5 13B needs about 30.7 GB of GPU memory in bfloat16; this machine has 24.0 GB."
    )


def test_the_time_to_the_first_word_is_operations_over_speed(pretend) -> None:
    pretend(64, (0.25, 0.1))
    per_token = 2 * (4 * 4096**2 + 3 * 4096 * 11008)
    operations = 32 * (576 * per_token + 4 * 4096 * 576 * 577 // 2)
    assert first_token_s(SEVEN, BFLOAT16) == pytest.approx(operations / 0.25e12)
    assert first_token_s("dummy:llava-1.5-7b", FLOAT32) == pytest.approx(operations / 0.1e12)
    assert expected(SEVEN) == f"About 30 s to the first word on this machine, {ESTIMATED}."
    assert first_token_s("mini", FLOAT32) is None and expected("mini") == "" == expected("owner/name")
    assert expected("dummy:llava-next-small").startswith("Less than a second to the first word")


def test_a_model_that_would_take_minutes_can_be_chosen_and_says_why_it_is_slow(pretend) -> None:
    pretend(20, (0.01, 0.1))
    assert unavailable(SEVEN) is None
    slow = "; this CPU is slow at bfloat16, and float32 does not fit into memory."
    assert expected(SEVEN) == f"About 13 min to the first word on this machine, {ESTIMATED}{slow}"
    assert slow not in expected(SEVEN, released_gb=20)


@pytest.mark.parametrize(("speeds", "dtype"), [((2.0, 0.5), BFLOAT16), ((0.1, 0.5), FLOAT32)])
def test_a_full_size_model_loads_and_answers_in_either_type(pretend, monkeypatch, speeds, dtype) -> None:
    pretend(64, speeds)
    monkeypatch.setitem(MODELS, SMALL, replace(MODELS[SMALL], billions=7.0))  # the shape stays small
    lvlm = vc.load_model(SMALL)
    assert (lvlm.model.dtype, lvlm.device.type) == (dtype, "cpu")
    image = Image.effect_noise((64, 48), 80).convert("RGB")
    *_, last = vc.answer(lvlm, image, "What is it?", vc.VScan(), max_new_tokens=1)
    assert isinstance(last, vc.Done) and last.answer.trace.visual_tokens_per_layer[0] == 96
    text = SHAPES[SMALL].text
    each = 2 * text.kv_heads * (text.width // text.heads) * dtype.itemsize  # of a token's keys and values in a layer
    assert last.answer.cost.kv_bytes == each * sum(last.answer.trace.tokens_per_layer)


def test_the_command_line_lists_types_memory_and_estimates(pretend, capsys) -> None:
    pretend(20)
    assert main(["models", "--json"]) == 0
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    seven = found[SEVEN]
    assert (seven["dtype"], seven["memory_gb"], seven["unavailable"]) == ("bfloat16", 14.12, None)
    assert seven["needed_gb"] == pytest.approx(16.24) and seven["estimated_first_token_s"] == pytest.approx(
        3.72, abs=0.1
    )
    assert found[SECOND]["estimated_first_token_s"] is None and "30.7 GB" in found[SECOND]["unavailable"]
    assert found["mini"]["dtype"] == "float32"
    assert main(["models"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines[SEVEN].endswith("from the Hugging Face Hub. " + expected(SEVEN)) and "estimated" in lines[SEVEN]
    assert lines[SECOND].endswith(str(unavailable(SECOND)))


def linux(tmp_path: Path, files: dict[str, str]) -> Path:
    """A file system with these files."""
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


MEMINFO = {"proc/meminfo": "MemTotal: 32000000 kB\nMemFree: 1000 kB\nMemAvailable:   20000000 kB\n"}


@pytest.mark.parametrize(
    ("files", "gigabytes"),
    [
        ({}, 20.48),
        (
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n", "sys/fs/cgroup/memory.current": "9"},
            20.48,
        ),
        (  # version 2, as a container sees it
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/memory.max": "8000000000\n",
                "sys/fs/cgroup/memory.current": "3000000000\n",
                "sys/fs/cgroup/memory.stat": "anon 1000000000\ninactive_file 1500000000\nactive_file 5\n",
            },
            6.5,
        ),
        (  # version 2: the limit is on the group above
            {
                "proc/self/cgroup": "0::/user/job\n",
                "sys/fs/cgroup/user/memory.max": "4000000000",
                "sys/fs/cgroup/user/memory.current": "1000000000",
                "sys/fs/cgroup/user/job/memory.max": "max",
                "sys/fs/cgroup/user/job/memory.current": "500000000",
            },
            3.0,
        ),
        (  # version 1; the group's own path is not visible in the container, and more is used than allowed
            {
                "proc/self/cgroup": "5:devices:/\n4:memory:/docker/abc\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000000000",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "2500000000",
                "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 100000000\n",
            },
            0.0,
        ),
        (  # version 1 without a limit
            {
                "proc/self/cgroup": "4:cpu,memory:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "7000000000",
            },
            20.48,
        ),
    ],
)
def test_available_memory_is_the_kernels_or_the_containers(tmp_path, files, gigabytes) -> None:
    assert machine.available_gb(linux(tmp_path, MEMINFO | files)) == pytest.approx(gigabytes)


def test_where_the_system_does_not_tell_all_memory_counts(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(machine.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1_000_000}.__getitem__)
    assert machine.available_gb(tmp_path) == pytest.approx(4.096)
    monkeypatch.delattr(machine.os, "sysconf")
    assert machine.available_gb(tmp_path) == float("inf")


def test_speed_is_measured_once_and_disturbs_no_random_numbers(monkeypatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(
        machine.time, "perf_counter", lambda: next(ticks) / 4
    )  # each product takes a quarter of a second
    machine.cpu_tflops_per_s.cache_clear()
    before = torch.get_rng_state()
    try:
        rate = machine.cpu_tflops_per_s(FLOAT32)
        assert rate == pytest.approx(2 * machine.MEASURED_ROWS * machine.MEASURED_WIDTH**2 / 0.25 / 1e12)
        assert next(ticks) == 8  # four products until a second had passed
        assert machine.cpu_tflops_per_s(FLOAT32) == rate and next(ticks) == 9
    finally:
        machine.cpu_tflops_per_s.cache_clear()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_processor_is_called_by_its_name(tmp_path) -> None:
    named = linux(tmp_path, {"proc/cpuinfo": "processor\t: 0\nmodel name\t: Swift 9000\n\nprocessor\t: 1\n"})
    assert machine.cpu_name(named) == "Swift 9000"
    assert machine.cpu_name(tmp_path / "elsewhere") == machine.platform.machine()
