"""Load on the demo: many visitors for some minutes, or, with --soak, a few for a long time.

python -m benchmarks.load [--visitors 50] [--minutes 2] [--replicas 2] [--out assets/recorded/load-cpu.json]
python -m benchmarks.load --soak 15 [--visitors 2] [--out assets/recorded/soak-cpu.json]

Starts the demo with its embedded model as a process of its own, on loopback, with the limits that it has by default.
Every visitor comes from an address of its own (on Linux), opens the page, uploads a picture, moves the slider four
times, asks a question and reads both answers, through the protocol that the page uses. Ends with code 1 if an answer
was lost, a preview refused, /healthz took a second, or, in a soak, something grew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks.provenance import write_record
from vscan_core.bench.record import provenance

from .crowd import broken_promises, measure_crowd, measure_soak
from .demo_process import demo_process

MOST_VISITORS = 200
MOST_MINUTES = 60.0


def main(argv: list[str] | None = None) -> None:
    """Measure, print, write the record, and say what did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, help="at once (default: 50, or 2 in a soak)")
    parser.add_argument("--minutes", type=float, default=2.0, help="of a crowd")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="a soak instead of a crowd")
    parser.add_argument("--pause", type=float, metavar="SECONDS", help="before every action (default: 2, soak: 0.2)")
    parser.add_argument("--replicas", help="of the demo: see docs/scale.md (default: none)")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    minutes = options.minutes if options.soak is None else options.soak
    visitors = options.visitors if options.visitors is not None else 50 if options.soak is None else 2
    if not 1 <= visitors <= MOST_VISITORS or not 0 < minutes <= MOST_MINUTES:
        parser.error(f"please use 1 to {MOST_VISITORS} visitors and at most {MOST_MINUTES:g} minutes")
    kind = f"--minutes {minutes:g}" if options.soak is None else f"--soak {minutes:g}"
    command = f"python -m benchmarks.load {kind} --visitors {visitors}"
    if options.pause is not None:
        command += f" --pause {options.pause:g}"
    replicas = [] if options.replicas is None else ["--replicas", options.replicas]
    command = " ".join([command, *replicas])
    load = os.getloadavg()[0]
    with demo_process(arguments=replicas) as demo:
        measure = measure_crowd if options.soak is None else measure_soak
        pause: dict[str, Any] = {} if options.pause is None else {"pause_s": options.pause}
        row = asyncio.run(measure(demo, visitors, 60 * minutes, **pause))
    print(json.dumps({name: value for name, value in row.items() if name != "samples"}, indent=1))
    broken = broken_promises(row)
    write_record({**provenance(command), "load_before": round(load, 1), **row, "broken": broken}, options.out)
    if broken:
        sys.exit("\n".join(broken))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the demo is stopped, too
    main()
