# SPDX-License-Identifier: GPL-2.0
"""Reading the kernel's console log: what there makes a run a failure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

# Each pattern stands for a report that a healthy kernel never prints.
_REPORTS: tuple[tuple[str, str], ...] = (
    ("panic", r"Kernel panic"),
    ("Oops", r"\bOops\b"),
    ("BUG", r"\bBUG: "),
    ("BUG", r"kernel BUG at "),
    # "See https:" is the notice of a CPU bug that has no full mitigation.
    ("WARNING", r"\bWARNING: (?!See https:)"),
    ("general protection fault", r"general protection fault"),
    ("bad access", r"unable to handle"),
    ("lockdep", r"possible circular locking|possible recursive locking|"
                r"inconsistent lock state|possible irq lock inversion|"
                r"-safe -> \S+-unsafe lock order|held lock freed|"
                r"lock held when returning|bad unlock balance|"
                r"Invalid wait context|p2pdma-guest: lockdep is off"),
    ("RCU", r"suspicious RCU usage|RCU used illegally"),
    ("RCU stall", r"rcu:? .*(?:self-)?detected (?:expedited )?stall"),
    ("KASAN", r"KASAN: "),
    ("KCSAN", r"KCSAN: "),
    ("KFENCE", r"KFENCE: .* in "),
    ("UBSAN", r"UBSAN: "),
    ("kmemleak", r"kmemleak: \d+ new suspected"),
    ("hung task", r"blocked for more than \d+ seconds"),
    ("dma-debug", r"DMA-API: (?!preallocated|debugging (?:en|dis)abled|dma_debug|disabled)"),
    ("refcount", r"refcount_t: "),
    ("sleep in atomic", r"sleeping function called from invalid context"),
    ("scheduling while atomic", r"scheduling while atomic"),
    ("debugobjects", r"ODEBUG: (?!selftest passed|\d+ of \d+ active)"),
    ("list corruption", r"list_(?:add|del) corruption"),
    ("slab", r"BUG \S+ .*: |kmem_cache_destroy .*: Slab cache still has objects"),
    ("bad page", r"Bad page state|Bad rss-counter"),
    ("IRQ", r"nobody cared"),
    ("workqueue", r"workqueue: .* (?:blocked|hogged) "
                  r"|BUG: workqueue lockup"),
)

_COMPILED = [(name, re.compile(pattern)) for name, pattern in _REPORTS]

# What follows a report belongs to it.
_CONTEXT_LINES = 40


@dataclass(frozen=True)
class Finding:
    kind: str
    line_number: int
    line: str
    context: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.line.strip()}"


def _classify(line: str) -> str:
    return next((name for name, regex in _COMPILED if regex.search(line)), "")


def scan(lines: list[str], allow: Iterable[re.Pattern[str]] = ()) -> list[Finding]:
    """All reports in `lines`, except those whose line an allow pattern matches."""
    allowed = list(allow)
    findings = []
    for number, line in enumerate(lines):
        kind = _classify(line)
        if not kind or any(regex.search(line) for regex in allowed):
            continue
        context = "\n".join(lines[number:number + _CONTEXT_LINES])
        findings.append(Finding(kind, number + 1, line, context))
    return findings


def read_lines(path: Path) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\r\n") for line in file]
