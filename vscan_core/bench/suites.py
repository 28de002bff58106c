"""The suites: which models, how often, and how much. A new one is one entry in SUITES."""

from __future__ import annotations

from dataclasses import dataclass

ALL_TESTS = ("prefill", "decode", "modes", "memory", "counts", "sizes")
GROWING, STATIC, COMPILED, GRAPH = (  # how decoding steps run, and with which cache
    "eager, cache that grows",
    "eager, static cache",
    "compiled layers, static cache",
    "CUDA graph, static cache",
)


@dataclass(frozen=True)
class Suite:
    """What one command measures."""

    device: str
    dtype: str  # of the weights, as torch names it
    models: tuple[str, ...]
    rounds: int  # measured runs of each kind, after the warm-up
    warm_ups: int
    retentions: tuple[float, ...]
    batches: tuple[int, ...]  # rows in a decoding step
    steps: int  # decoding steps in one measured run
    pictures: tuple[int, ...]  # in one prompt, for the growth of cost with visual tokens
    large: tuple[int, int]  # (width, height) of a large picture, for models that take any size
    frames: int  # of the video
    most_tokens: int  # visual tokens of the longest prompt
    side: int  # of the square matrices by which the device's ceiling is measured
    copied: int  # bytes, likewise
    methods: tuple[str, ...] = ("vscan",)
    size: tuple[int, int] = (672, 672)  # (width, height) of the pictures: LLaVA-NeXT's largest square
    tests: tuple[str, ...] = ALL_TESTS
    growth: tuple[str, ...] = ()  # models of which only the growth of cost is measured
    modes: tuple[str, ...] = (GROWING, STATIC, COMPILED)  # of decoding steps


SUITES: dict[str, Suite] = {
    "cpu": Suite(
        device="cpu",
        dtype="float32",
        models=("mini", "dummy:qwen2.5-vl-small"),
        rounds=10,
        warm_ups=1,
        retentions=(1 / 3, 1 / 9),
        batches=(1, 16),
        steps=2,
        pictures=(1, 4),
        large=(448, 448),
        frames=2,
        most_tokens=3000,
        side=1024,
        copied=10**8,
        size=(336, 336),
        growth=("dummy:llava-next-small",),
    ),
    "gpu": Suite(
        device="cuda",
        dtype="bfloat16",
        models=("dummy:llava-1.5-7b", "dummy:llava-next-vicuna-7b", "dummy:qwen2.5-vl-7b"),
        rounds=10,
        warm_ups=2,
        retentions=(1 / 3, 2 / 9, 1 / 9),
        batches=(1, 16),
        steps=16,
        pictures=(1, 2, 4, 10, 20),
        large=(2240, 1680),
        frames=16,
        most_tokens=12000,
        side=8192,
        copied=10**9,
        modes=(GROWING, STATIC, COMPILED, GRAPH),
    ),
    "full-size": Suite(  # each family at a real size; one prefill takes up to a minute, so few of them; needs 20 GB
        device="cpu",
        dtype="bfloat16",
        models=(
            "dummy:llava-1.5-7b",
            "dummy:llava-next-vicuna-7b",
            "dummy:qwen2.5-vl-3b",
            "dummy:qwen3-vl-2b",
            "dummy:internvl3-1b",
            "dummy:smolvlm2-0.5b",
            "dummy:llava-onevision-0.5b",
        ),
        rounds=3,
        warm_ups=0,
        retentions=(1 / 9,),
        batches=(1,),
        steps=2,
        pictures=(1,),
        large=(672, 672),
        frames=2,
        most_tokens=3000,
        side=2048,
        copied=10**9,
        tests=("prefill", "decode"),
    ),
    "smoke": Suite(
        device="cpu",
        dtype="float32",
        models=("mini",),
        rounds=2,
        warm_ups=1,
        retentions=(1 / 9,),
        batches=(2,),
        steps=2,
        pictures=(1, 2),
        large=(336, 336),
        frames=2,
        most_tokens=1200,
        side=64,
        copied=10**5,
        size=(336, 336),
        modes=(GROWING, STATIC),  # compilation takes longer than all the rest
    ),
}
