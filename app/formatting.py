"""Numbers as text: "96 of 576 visual tokens", "1.4 MB", "2.9". Pure functions, no HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

NOTHING = "\N{EN DASH}"  # shown where there is no number
TIMES = "\N{MULTIPLICATION SIGN}"
CAUSAL_NOTE = "FLOPs count causal attention: each token attends to itself and to what is before it."


def percent(share: float) -> str:
    """0.111 -> "11.1 %", 0.5 -> "50 %"."""
    return f"{100 * share:.1f}".rstrip("0").rstrip(".") + " %"


def count(number: float) -> str:
    """1234.0 -> "1,234", 63.96 -> "64", 2.25 -> "2.3"."""
    return f"{number:,.1f}" if number < 10 and number != round(number) else f"{number:,.0f}"


def tokens(number: int) -> str:
    """1 -> "1 visual token", 96 -> "96 visual tokens"."""
    return f"{number:,} visual token{'s' if number != 1 else ''}"


def milliseconds(value: float | None) -> str:
    """8.24 -> "8.2 ms", 1234 -> "1.23 s", None -> a dash."""
    if value is None:
        return NOTHING
    if value >= 1000:
        return f"{value / 1000:.2f} s"
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def memory(value: float | None) -> str:
    """Bytes in decimal units: 1_400_000 -> "1.4 MB", None -> a dash."""
    if value is None:
        return NOTHING
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, {"B": "kB", "kB": "MB", "MB": "GB", "GB": "TB"}[unit]
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"


def flops(tflops: float) -> str:
    """Floating-point operations, given in 1e12: 8.5 -> "8.50 TFLOPs", 0.0042 -> "4.20 GFLOPs"."""
    return f"{tflops:.2f} TFLOPs" if tflops >= 0.1 else f"{1000 * tflops:.2f} GFLOPs"


def ratio(before: float, after: float) -> str:
    """How many times less `after` is: (290, 100) -> "2.9", (1, 0) -> a dash."""
    if before <= 0 or after <= 0:
        return NOTHING
    times = before / after
    return f"{times:.1f}" if times < 100 else f"{times:.0f}"


def schedule(layers: Mapping[int, int], tokens_of_image: int) -> str:
    """{0: 96, 16: 32} -> "96 → 32"; nothing cut -> "576"."""
    return with_arrows([layers.get(0, tokens_of_image), *(layers[layer] for layer in sorted(layers) if layer > 0)])


def with_arrows(counts: Iterable[int]) -> str:
    """[96, 32] -> "96 → 32"; nothing -> a dash."""
    return " → ".join(f"{number:,}" for number in counts) or NOTHING


def budget_text(retention: float, schedule: Mapping[int, int], tokens_of_image: int) -> str:
    """The slider in words: "11.1 % = 96 of 576 visual tokens into the language model, 32 from layer 3 on"."""
    first = schedule.get(0, tokens_of_image)
    text = f"**{percent(retention)}** = **{first:,} of {tokens_of_image:,}** visual tokens into the language model"
    for layer, number in sorted(schedule.items()):
        if layer > 0:
            text += f", **{number:,}** from layer {layer} on"
    return text
