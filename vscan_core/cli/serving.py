"""`vscan bench serving`: the load curve of a server, dense against reduced."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch

from vscan_core.bench.record import Record, provenance
from vscan_core.budget import check_retention
from vscan_core.cli.shared import command_line
from vscan_core.errors import InputError
from vscan_core.machine import cpu_name

T = TypeVar("T")
KEY_VARIABLE = "VSCAN_ENGINE_KEY"
HERE = re.compile(r"^https?://(localhost|127\.[\d.]+|\[::1\])(:\d+)?(/.*)?$")


def add_serving(parts: Any) -> None:
    """Add `serving` to the parts of `bench`."""
    text = "measure requests per second and times of a server with OpenAI's chat completions; starts none"
    command = parts.add_parser("serving", help=text, description=text)
    command.add_argument("--url", required=True, metavar="U", help="such as http://127.0.0.1:8000")
    command.add_argument("--model", metavar="M", help="as the server calls it; default: the only one there")
    command.add_argument("--methods", default="vscan", metavar="M,M", help="beside all visual tokens; default vscan")
    command.add_argument("--retentions", default="0.333,0.111", metavar="R,R", help="of each; default %(default)s")
    command.add_argument("--concurrency", default="1,4,16,32", metavar="N,N", help="at a time; default %(default)s")
    command.add_argument("--requests", type=int, default=16, metavar="N", help="per batch, at least 2 x concurrency")
    command.add_argument("--rounds", type=int, default=3, metavar="N", help="default %(default)s")
    command.add_argument("--max-tokens", type=int, default=16, metavar="N", help="of each answer; default 16")
    command.add_argument("--size", default="336x336", metavar="WxH", help="of the pictures; default %(default)s")
    command.add_argument("--hardware", metavar="TEXT", help="of the server; needed unless it is on this computer")
    command.add_argument("--patience", type=float, default=300, metavar="S", help="seconds an answer may take; 300")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of pictures and of the order of the runs")
    command.add_argument("--out", type=Path, metavar="F.jsonl", help="record: one line per batch, appended")
    command.set_defaults(run=bench_serving)


def bench_serving(options: argparse.Namespace) -> None:
    """Measure, print each row and keep it. Raises InputError, before anything is measured, for what does not fit."""
    if find_spec("httpx") is None:
        raise InputError("vscan bench serving needs httpx: install it with pip install httpx")
    from vscan_core.bench.serving import LoadCurve  # optional: httpx
    from vscan_core.chat_server import find_chat_server

    for name in ("requests", "rounds", "max_tokens", "patience"):
        if not getattr(options, name) > 0:
            raise InputError(f"--{name.replace('_', '-')} must be above 0, but is {getattr(options, name)}")
    if not (size := re.fullmatch(r"([1-9]\d{1,3})x([1-9]\d{1,3})", options.size)):
        raise InputError(f"--size takes width and height in pixels, such as 336x336, but is {options.size!r}")
    shares = _listed(options.retentions, "retentions", lambda text: check_retention(float(text)))
    concurrency = _listed(options.concurrency, "concurrency", _positive)
    here = HERE.match(options.url.strip()) is not None
    if not here and not options.hardware:
        raise InputError("say what the server runs on with --hardware, such as --hardware 'H200, 16 cores'")
    server = find_chat_server(options.url, os.environ.get(KEY_VARIABLE))
    if options.model is None and len(server.models) > 1:
        raise InputError(f"choose a model of the server with --model: {', '.join(server.models)}")
    model = options.model or next(iter(server.models))
    if model not in server.models:
        raise InputError(f"the server has no model {model!r}; choose one of {', '.join(server.models)}")
    curve = LoadCurve(
        server, model, [(name, share) for name in options.methods.split(",") if name for share in shares], concurrency,
        options.requests, options.rounds, options.max_tokens, (int(size[1]), int(size[2])), options.seed,
        options.patience,
    )  # fmt: skip
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    here_runs = gpu or f"CPU {cpu_name()}, {os.cpu_count()} cores"  # threads are the server's own matter
    facts = provenance(command_line(options.typed)) | {"hardware": options.hardware or here_runs}
    facts["versions"] = {server.software: server.version or "unknown", **facts["versions"]}
    facts |= {"seed": options.seed, "max_tokens": options.max_tokens, "size": [int(size[1]), int(size[2])]}
    print(f"{server.name}, {model}, on {facts['hardware']}; times of the client, network included")
    curve.measure(Record(options.out, facts, _show))


def _listed(text: str, name: str, value: Callable[[str], T]) -> list[T]:
    try:
        return [value(part) for part in text.split(",")]
    except InputError:
        raise
    except ValueError:
        raise InputError(f"--{name} takes numbers separated by commas, but is {text!r}") from None


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise InputError(f"--concurrency takes numbers of at least 1, but one is {number}")
    return number


def _show(row: Mapping[str, Any]) -> None:
    """One line of the terminal for a batch."""
    place = f"{row['run']:16}" + (f"  at once {row['concurrency']:3}" if "concurrency" in row else "")
    if row["status"] != "ok":
        print(f"{place}  {row['status']}: {row['reason']}", flush=True)
        return
    first, total = row["ttft_ms"], row["total_ms"]
    print(
        f"{place}  visual tokens {row['visual_tokens']}  {row['requests_per_s']:.4g} requests/s  first token "
        f"{first['p50']:.4g} ms (95 %: {first['p95']:.4g})  whole {total['p50']:.4g} ms (95 %: {total['p95']:.4g})",
        flush=True,
    )
