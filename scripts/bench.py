#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the same jobs cost on the normal kernel and on the stock one.

The guest's bench-guest.sh does the jobs, in a machine with one CPU that counts
instructions: what is compared is the length of code paths, with the user space
that drives them, and not time, of which an emulator knows nothing.  Interrupts
still come when they come, so figures differ by a percent or so from run to run.

The table goes to build/bench/bench.txt, too.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from vmlib import machine, paths, payload

from topologies import TOPOLOGIES

_VARIANTS = ("normal", "stock")
_TOPOLOGY = "rnic"
_TIMEOUT = 1200
_SCRIPT = f"{payload.KSELFTEST_DIR}/p2pdma/bench-guest.sh"


class BenchError(Exception):
    pass


def measure(variant: str) -> dict[str, int]:
    """Job -> instructions for each operation."""
    guest = machine.Machine(machine.Config(
        name=f"bench-{variant}", kernel=paths.kernel_image(variant),
        payload=payload.for_variant(variant), topology=TOPOLOGIES[_TOPOLOGY],
        command=f"REPEAT={int(os.environ.get('REPEAT', '5'))} {_SCRIPT}",
        smp=1, timeout=_TIMEOUT, icount=True))
    result = guest.run()
    guest.clean()
    if not result.ok:
        problems = [*result.problems, *map(str, result.findings)]
        raise BenchError(f"{variant}: status {result.status} {'; '.join(problems)}\n"
                         f"  output {result.output}, console {result.console}")
    lines = result.output.read_text(encoding="utf-8").splitlines()
    return {job: int(cost) for job, _, cost in
            (line.rpartition("=") for line in lines) if job and cost.isdigit()}


def table(costs: dict[str, dict[str, int]]) -> str:
    ours, stock = (costs[variant] for variant in _VARIANTS)
    if list(ours) != list(stock) or not ours:
        raise BenchError(f"not the same jobs: {list(ours)} and {list(stock)}")
    width = max(map(len, ours))
    rows = [f"{'instructions for each':{width}}  {'ours':>11}  {'stock':>11}  difference"]
    rows += [f"{job:{width}}  {ours[job]:11,}  {stock[job]:11,}  "
             f"{100 * (ours[job] / stock[job] - 1):+9.1f}%" for job in ours]
    return "\n".join(rows)


def main() -> int:
    paths.LOG.mkdir(parents=True, exist_ok=True)
    try:
        for variant in _VARIANTS:
            payload.for_variant(variant)
        with ThreadPoolExecutor(len(_VARIANTS)) as pool:
            text = table(dict(zip(_VARIANTS, pool.map(measure, _VARIANTS))))
    except (BenchError, machine.MachineError, payload.PayloadError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    target = paths.BUILD / "bench" / "bench.txt"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
