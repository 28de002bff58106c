"""What the benchmark is made of: rounds, records, counts, the limit, the stages of a prefill; never how fast it is."""

from __future__ import annotations

import json
import random
import statistics
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import vscan_core as vc
from vscan_core.bench.counts import OperatorCount, counted, synchronisations
from vscan_core.bench.decode import lengths_of, shorten, timed_steps
from vscan_core.bench.limit import Limit, segments, slice_of
from vscan_core.bench.memory import memory_of
from vscan_core.bench.prefill import timed_prefill, traced
from vscan_core.bench.record import Record, quartiles, rows_of
from vscan_core.bench.rounds import Failure, attempt, measured
from vscan_core.bench.subject import STOCK, Subject, prefill, running_as
from vscan_core.bench.suites import SUITES
from vscan_core.families import FAMILIES
from vscan_core.measure import Stopwatch, kv_bytes
from vscan_core.versions import CACHE, cache_out, new_cache

CPU = torch.device("cpu")


class EagerFamily(type(FAMILIES["llava"])):
    """LLaVA, as it says when it runs eager attention."""

    def attention(self, model):
        return {"vision": "eager", "text": "eager"}


@pytest.fixture(scope="module")
def inputs(mini):
    return Subject(mini, SUITES["smoke"], 0).inputs()


def test_rounds_shuffle_by_the_seed_and_do_not_count_the_warm_up() -> None:
    def calls(seed: int) -> tuple[list[str], int]:
        called: list[str] = []
        runs = {name: lambda name=name: called.append(name) or {"ms": 1.0} for name in "abc"}
        found = measured(runs, 10, 2, random.Random(seed), CPU)
        return called, len(found.figures["a"])

    (first, counted_rounds), (again, _), (other, _) = calls(1), calls(1), calls(2)
    assert first == again != other and counted_rounds == 10
    rounds = [first[at : at + 3] for at in range(0, 36, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds) and len({tuple(names) for names in rounds}) > 1


def test_ratios_are_taken_within_a_round() -> None:
    slow = iter([2.0, 20.0, 200.0])
    fast = iter([1.0, 10.0, 100.0])
    runs = {"slow": lambda: {"ms": next(slow)}, "fast": lambda: {"ms": next(fast)}}
    found = measured(runs, 3, 0, random.Random(0), CPU)
    assert found.ratio("slow", "fast", "ms") == {"median": 2, "q1": 2, "q3": 2, "n": 3}
    assert found.row("slow") == {"status": "ok", "ms": {"median": 20, "q1": 11, "q3": 110, "n": 3}}


def test_a_run_that_fails_is_a_row_and_the_others_go_on() -> None:
    def exhausted() -> dict[str, float]:
        raise MemoryError

    def refused() -> dict[str, float]:
        raise vc.InputError("This cannot run here.")

    runs = {"good": lambda: {"ms": 1.0}, "exhausted": exhausted, "refused": refused, "broken": lambda: {"ms": 1 / 0}}
    found = measured(runs, 2, 0, random.Random(0), CPU)
    assert found.row("good")["status"] == "ok"
    assert found.row("exhausted")["status"] == "out of memory"
    assert found.row("refused") == {"status": "unsupported", "reason": "This cannot run here"}
    assert found.row("broken")["status"] == "failed" and "ZeroDivisionError" in found.row("broken")["reason"]
    assert found.ratio("good", "broken", "ms") is None
    with pytest.raises(KeyboardInterrupt):
        attempt(lambda: (_ for _ in ()).throw(KeyboardInterrupt()), CPU)


def test_quartiles() -> None:
    assert quartiles([3, 1, 2]) == {"median": 2, "q1": 1.5, "q3": 2.5, "n": 3}
    assert quartiles([123456.0]) == {"median": 123500, "q1": 123500, "q3": 123500, "n": 1}
    values = [float(value) for value in random.Random(0).sample(range(1000), 11)]
    assert quartiles(values)["median"] == statistics.median(values)


def test_a_record_keeps_every_row_at_once(tmp_path) -> None:
    path, shown = tmp_path / "new" / "record.jsonl", []
    record = Record(path, {"seed": 3}, shown.append)
    record.add({"run": "a"})
    assert rows_of(path) == [{"run": "a", "seed": 3}] and shown == [{"run": "a"}]
    Record(path, {"seed": 4}, shown.append).add({"run": "b"})  # appended, never overwritten
    with path.open("a") as file:
        file.write('{"run": "cut o')
    assert [row["run"] for row in rows_of(path)] == ["a", "b"]
    path.write_text("no record\n{}\n")
    with pytest.raises(vc.InputError, match="line 1 is not JSON"):
        rows_of(path)
    with pytest.raises(vc.InputError, match="cannot be written"):
        Record(tmp_path, {}, shown.append)


def test_operators_and_host_reads_are_counted() -> None:
    numbers = torch.tensor([1.0, 2.0, 3.0])
    with OperatorCount() as count:
        with count.section():
            chosen = numbers[numbers > 1]  # greater than, index by a mask
        total = float(chosen.sum())  # sum, read
    assert total == 5 and count.inside == {"gt": 1, "index": 1}
    assert count.outside == {"sum": 1, "_local_scalar_dense": 1}
    assert count.total == 4 and count.host_reads == 2


def test_the_baselines_extra_operators_are_those_of_its_hooks(mini, inputs) -> None:
    stock, vscan = counted(mini, inputs, STOCK), counted(mini, inputs, vc.VScan(retention=1 / 9))
    assert stock["prefill_operators_of_method"] == 0 < vscan["prefill_operators_of_method"]
    assert vscan["prefill_operators"] - vscan["prefill_operators_of_method"] <= stock["prefill_operators"]
    assert stock["prefill_synchronisations"] is None  # counted by CUDA alone


def test_on_a_gpu_torch_says_where_the_host_waited(monkeypatch) -> None:
    modes = ["default"]
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    with synchronisations(torch.device("cuda")) as found:
        assert modes[-1] == "warn"
        for _ in range(2):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("Synchronization debug mode is a prototype feature", stacklevel=1)
    assert len(found) == 2 and modes[-1] == "default"
    with synchronisations(CPU) as found:
        assert modes[-1] == "default"
    assert found == []


def test_on_a_gpu_the_allocator_is_asked(monkeypatch) -> None:
    layer = SimpleNamespace(keys=torch.zeros(10), values=torch.zeros(10))
    lvlm = SimpleNamespace(device=torch.device("cuda"), model=lambda **_: {CACHE: SimpleNamespace(layers=[layer])})
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 1000)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1500)
    assert memory_of(lvlm, {}, STOCK) == {"kv_bytes": 80, "peak_bytes": 500, "peak_of": "allocator"}


def test_segments_of_a_schedule() -> None:
    assert segments([9, 9, 4]) == [(range(0, 2), 9), (range(2, 3), 4)]


@torch.inference_mode()
def test_the_slices_of_a_decoder_are_the_decoder(mini) -> None:
    decoder = mini.family.language_model(mini.model)
    hidden = torch.randn(1, 7, decoder.config.hidden_size, generator=torch.Generator().manual_seed(0))
    whole = decoder(inputs_embeds=hidden, use_cache=True)
    first, second = slice_of(decoder, range(0, 3)), slice_of(decoder, range(3, len(decoder.layers)))
    first.norm = torch.nn.Identity()  # only the last slice ends with it
    for part in (first, second):
        hidden = part(inputs_embeds=hidden, use_cache=True, **{CACHE: new_cache(decoder.config)}).last_hidden_state
    assert torch.equal(hidden, whole.last_hidden_state)
    assert len(decoder.layers) == decoder.config.num_hidden_layers and decoder.norm is not first.norm


def test_the_limit_runs_the_layers_and_nothing_else(mini, inputs) -> None:
    trace = traced(mini, inputs, vc.VScan(retention=1 / 9))
    lengths: list[int] = []
    handles = [
        layer.register_forward_pre_hook(
            lambda module, args, kwargs: lengths.append((args or [kwargs["hidden_states"]])[0].shape[1]),
            with_kwargs=True,
        )
        for layer in mini.family.layers(mini.model)
    ]
    try:
        Limit(mini, trace.tokens_per_layer).run()
    finally:
        for handle in handles:
            handle.remove()
    assert lengths == trace.tokens_per_layer and lengths[0] > lengths[-1]


@pytest.mark.parametrize("way", [STOCK, None, vc.VScan(retention=1 / 9)], ids=["stock", "baseline", "vscan"])
def test_the_stages_of_a_prefill_add_up(mini, inputs, way) -> None:
    ticks = iter(range(10**6))
    stages = timed_prefill(mini, inputs, way, Stopwatch(CPU, lambda: next(ticks) / 1000))
    assert stages["first_token_ms"] == pytest.approx(stages["vision_ms"] + stages["prefill_and_reduce_ms"])
    assert (stages["reduce_ms"] == 0) == (way == STOCK)
    assert stages["reduce_ms"] <= stages["prefill_and_reduce_ms"]
    assert not mini.family.language_model(mini.model)._forward_pre_hooks


def test_steps_are_timed_on_repeated_rows(mini, inputs) -> None:
    lengths = traced(mini, inputs, vc.VScan(retention=1 / 9)).tokens_per_layer
    stopwatch = Stopwatch(CPU)
    reduced = timed_steps(mini, inputs, vc.VScan(retention=1 / 9), 3, 1, stopwatch)
    as_long = timed_steps(mini, inputs, STOCK, 3, 1, stopwatch, lengths)
    whole = timed_steps(mini, inputs, STOCK, 3, 1, stopwatch)
    assert reduced["kv_bytes"] == as_long["kv_bytes"] < whole["kv_bytes"]


def test_layers_that_share_a_mask_get_one_length(mini) -> None:
    trace = vc.Trace(tokens_per_layer=[9, 9, 4])
    eager = replace(mini, family=EagerFamily())
    assert (lengths_of(mini, trace), lengths_of(eager, trace)) == ([9, 9, 4], [7, 7, 7])


@torch.inference_mode()
def test_a_stock_cache_is_shortened_layer_by_layer(mini, inputs) -> None:
    with running_as(mini, inputs, STOCK) as nothing:
        cache = cache_out(prefill(mini.model, inputs))
    before = kv_bytes(cache)
    shorten(cache, [5, *([3] * (len(cache.layers) - 1))])
    assert nothing is None and [layer.keys.shape[2] for layer in cache.layers[:2]] == [5, 3]
    assert kv_bytes(cache) < before / 100


def test_pictures_of_a_seed_are_the_same(mini) -> None:
    one, again, other = (Subject(mini, SUITES["smoke"], seed).picture() for seed in (0, 0, 1))
    assert one.tobytes() == again.tobytes() != other.tobytes()


def test_failures_are_json() -> None:
    assert json.loads(json.dumps(Failure("failed", "x").row())) == {"status": "failed", "reason": "x"}
