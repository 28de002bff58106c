"""`vscan bench`: what stock models, hooks and methods cost on this machine."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from vscan_core.bench.benchmark import Benchmark
from vscan_core.bench.record import Record, provenance, rows_of
from vscan_core.bench.suites import SUITES, Suite
from vscan_core.cli.serving import add_serving
from vscan_core.cli.shared import ATTENTION, command_line
from vscan_core.errors import InputError
from vscan_core.loading import DTYPES

SHOWN = (  # the figures of a row that fit on the terminal; the record has all
    "times_faster", "share_of_limit", "of_equally_long_stock", "of_stock_in_this_mode", "first_token_ms", "step_ms",
    "tflops_per_s", "gb_per_s", "times_smaller_kv_bytes", "times_smaller_peak_bytes", "prefill_operators",
    "step_operators",
)  # fmt: skip


def add(commands: Any) -> None:
    """Add `bench` to the command line."""
    text = "measure prefill, decoding, memory and operators with and without methods"
    command = commands.add_parser("bench", help=text, description=text)
    command.add_argument("--suite", choices=SUITES, help="default: gpu where there is one, else cpu")
    command.add_argument("--device", metavar="D", help="default by suite")
    command.add_argument("--dtype", metavar="T", help="of the weights, such as bfloat16; default by suite")
    command.add_argument("--models", metavar="M,M", help="see `models`; default by suite")
    command.add_argument("--size", metavar="WxH", help="of the pictures in pixels, such as 672x672; default by suite")
    command.add_argument("--attention", default="sdpa", metavar="A", help=ATTENTION)
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of pictures and of the order of the runs")
    command.add_argument("--out", type=Path, metavar="F.jsonl", help="record: one line per row, appended")
    command.add_argument("--plot", type=Path, metavar="F.html", help="figures of the record; needs --out and plotly")
    command.set_defaults(run=bench)
    add_serving(command.add_subparsers(metavar="serving"))


def bench(options: argparse.Namespace) -> None:
    """Measure, print each row and keep it. Raises InputError for what does not fit, before anything is measured."""
    if options.plot is not None and options.out is None:
        raise InputError("--plot draws the record, so name one with --out")
    if options.plot is not None and find_spec("plotly") is None:
        raise InputError("--plot needs plotly: install it with pip install plotly")
    suite, device = _suite(options), torch.device("cpu")
    try:
        device = torch.device(options.device or suite.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch was built without CUDA
        raise InputError(f"there is no device {options.device or suite.device!r} here; choose cpu or cuda") from error
    facts = {
        "suite": _suite_name(options),
        "seed": options.seed,
        "dtype": suite.dtype,
        "size": list(suite.size),
        **provenance(command_line(options.typed), device),
    }
    print(
        f"{facts['hardware']}, {suite.dtype}, torch {torch.__version__}; medians and quartiles of {suite.rounds} runs"
    )
    Benchmark(suite, device, options.attention, options.seed, Record(options.out, facts, _show)).run()
    if options.plot is not None:
        from vscan_core.bench.plots import plot  # optional: plotly

        plot(rows_of(options.out), options.plot)


def _suite_name(options: argparse.Namespace) -> str:
    """The suite that was asked for, else the one for the device that was, else the one for this machine."""
    if options.suite is not None:
        return str(options.suite)
    on_gpu = torch.cuda.is_available() if options.device is None else options.device.startswith("cuda")
    return "gpu" if on_gpu else "cpu"


def _suite(options: argparse.Namespace) -> Suite:
    """The chosen suite with what the other options change."""
    suite = SUITES[_suite_name(options)]
    if options.dtype is not None:
        names = [str(dtype).removeprefix("torch.") for dtype in DTYPES]
        if options.dtype not in names:
            raise InputError(f"--dtype must be one of {', '.join(names)}, but is {options.dtype!r}")
        suite = replace(suite, dtype=options.dtype)
    if options.models is not None:
        suite = replace(suite, models=tuple(options.models.split(",")), growth=())
    if options.size is not None:
        if not (found := re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", options.size)):
            raise InputError(f"--size takes width and height in pixels, such as 672x672, but is {options.size!r}")
        suite = replace(suite, size=(int(found[1]), int(found[2])))
    return suite


def _show(row: Mapping[str, Any]) -> None:
    """One line of the terminal for a row."""
    place = "  ".join(str(row[name]) for name in ("model", "test", "case", "run") if name in row)
    if "rows" in row:
        place += f"  rows {row['rows']}"
    if row["status"] != "ok":
        print(f"{place}  {row['status']}: {row['reason']}", flush=True)
        return
    figures = [f"{name} {_text(row[name])}" for name in SHOWN if row.get(name) is not None]
    print("  ".join([place, *figures]), flush=True)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['median']:.4g} ({value['q1']:.4g} to {value['q3']:.4g})"
    return f"{value:.6g}"
