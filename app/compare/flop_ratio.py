"""The FLOPs of both runs as shares of those with all tokens: counted here, and by the formula of a survey."""

from __future__ import annotations

from collections.abc import Callable

from vscan_core.events import Answer, Cost

from .. import formatting

FORMULA = """
With μ tokens in K of T layers, μ̃ in the others, width d and MLP width m, the
[survey](https://github.com/coder4nlp/Vision-Token-Reduction-Survey) prints

`[K (4μd² - 2μ²d + 2μdm) + (T - K)(4μ̃d² - 2μ̃dm)] / [T (4 - μd² - 2μ²d + 2μdm)]`

- **Misprints**: every term is meant to be added; the denominator begins with 4μd²; the layers after the cut lack 2μ̃²d;
  and μ̃ is defined like μ. So the ratio can be negative, and without any cut it is not 100 %.
- **Corrected**, a layer with n tokens counts 4nd² + 2n²d + 2ndm, as in FastV: two matrices in the MLP, where these
  models have three, and attention in full. With several cuts, each layer has its own μ̃.
"""


def flop_ratios(baseline: Answer | None, reduced: Answer | None) -> str:
    """The table as HTML of numbers and fixed words; dashes where there is no run, or where it was not recorded."""
    rows: list[tuple[str, str, Callable[[Cost], float | None]]] = [
        ("Counted here", "causal", lambda cost: cost.tflops),
        ("Counted here", "attention in full", lambda cost: cost.tflops_full),
        ("Survey", "corrected", lambda cost: cost.survey_ratio),
        ("Survey", "as printed", lambda cost: cost.survey_ratio_printed),
    ]
    head = '<tr><td></td><th scope="col">Baseline</th><th scope="col">Fewer tokens</th></tr>'
    body = "".join(
        f'<tr><th scope="row">{name}<small>{term}</small></th>'
        f"{''.join(f'<td>{cell}</td>' for cell in _cells(baseline, reduced, value, name == 'Survey'))}</tr>"
        for name, term, value in rows
    )
    return f'<table class="numbers"><thead>{head}</thead><tbody>{body}</tbody></table>'


def _cells(
    baseline: Answer | None, reduced: Answer | None, value: Callable[[Cost], float | None], is_share: bool
) -> list[str]:
    whole = 1.0 if is_share else None if baseline is None else value(baseline.cost)
    values = (None if answer is None else value(answer.cost) for answer in (baseline, reduced))
    return [formatting.NOTHING if each is None or not whole else _percent(each / whole) for each in values]


def _percent(share: float) -> str:
    return formatting.percent(share).replace("-", "\N{MINUS SIGN}")
