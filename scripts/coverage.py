#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Which lines and branches of the subsystem did the tests reach?

check.py leaves one directory of counters for each machine that ran the kernel
'gcov', in build/coverage.  They are added up here and laid beside the source.
The table is followed by the lines that were not reached.  A line that cannot
be, or should not be, has its reason in scripts/uncovered.txt:

    FILE: FUNCTION: text of the line
        the reason

The key has no line number, so an edit elsewhere in the file does not change it.
coverage.py fails if an unreached line has no reason, and if a reason has no
unreached line.
"""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from vmlib import paths

RUNS = paths.BUILD / "coverage" / "runs"
MERGED = paths.BUILD / "coverage" / "merged"
REASONS = paths.ROOT / "scripts" / "uncovered.txt"

# File, function and text of a line
Key = tuple[str, str, str]


@dataclass
class Source:
    """Counts of one file."""

    name: str
    lines: dict[int, int] = field(default_factory=dict)
    functions: dict[int, str] = field(default_factory=dict)
    branches: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def missed(self) -> list[int]:
        return sorted(line for line, count in self.lines.items() if not count)


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(f"coverage: {' '.join(command)}:\n{done.stdout}")


def merge() -> None:
    """Add up the counters of all machines."""
    runs = sorted({file.relative_to(RUNS).parts[0] for file in RUNS.rglob("*.gcda")})
    if not runs:
        sys.exit("coverage: no counters; run 'make coverage'")
    shutil.rmtree(MERGED, ignore_errors=True)
    shutil.copytree(RUNS / runs[0], MERGED)
    for run in runs[1:]:
        _run("gcov-tool", "merge", str(MERGED), str(RUNS / run), "-o", f"{MERGED}.new")
        shutil.rmtree(MERGED)
        Path(f"{MERGED}.new").rename(MERGED)


def read() -> list[Source]:
    """Let gcov lay the counters beside the source."""
    kernel = paths.kernel_dir("gcov")
    sources: dict[str, Source] = {}
    for counters in sorted(MERGED.rglob("*.gcda")):
        notes = kernel / counters.relative_to(MERGED).with_suffix(".gcno")
        shutil.copy2(notes, counters.with_suffix(".gcno"))
        _run("gcov", "--json-format", "--branch-probabilities", counters.name,
             cwd=counters.parent)
        report = counters.parent / f"{counters.stem}.gcov.json.gz"
        for entry in json.loads(gzip.decompress(report.read_bytes()))["files"]:
            name = entry["file"].split("/linux/")[-1]
            if not name.endswith(".c"):
                continue
            source = sources.setdefault(name, Source(name))
            for line in entry["lines"]:
                number = line["line_number"]
                source.lines[number] = source.lines.get(number, 0) + line["count"]
                source.functions[number] = line.get("function_name", "-")
                for index, branch in enumerate(line["branches"]):
                    if branch["throw"]:
                        continue
                    key = (number, index)
                    source.branches[key] = source.branches.get(key, 0) + branch["count"]
    return sorted(sources.values(), key=lambda source: source.name)


def reasons() -> dict[Key, str]:
    """Why a line is not reached."""
    found: dict[Key, str] = {}
    keys: list[Key] = []
    closed = True
    for line in REASONS.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace():
            for key in keys:
                found[key] = (found.get(key, "") + " " + line.strip()).strip()
            closed = True
            continue
        if closed:
            keys = []
        closed = False
        parts = line.split(": ", 2)
        if len(parts) != 3:
            sys.exit(f"coverage: {REASONS}: not 'FILE: FUNCTION: text': {line}")
        keys.append((parts[0], parts[1], parts[2].strip()))
    return found


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:6.1f} %" if whole else "     -  "


def _row(name: str, lines: int, all_lines: int, branches: int, all_branches: int) -> str:
    return (f"{name:36} {lines:5} of {all_lines:5} {_percent(lines, all_lines)}"
            f"   {branches:5} of {all_branches:5} {_percent(branches, all_branches)}")


def main() -> int:
    merge()
    sources = read()
    why = reasons()
    used: set[Key] = set()
    totals = [0, 0, 0, 0]
    print(f"{'':36} {'lines':>14} {'':8}   {'branches':>14}")
    for source in sources:
        row = [len(source.lines) - len(source.missed), len(source.lines),
               sum(bool(count) for count in source.branches.values()), len(source.branches)]
        totals = [a + b for a, b in zip(totals, row)]
        print(_row(source.name, *row))
    print(_row("all", *totals))

    explained, unexplained = [], []
    for source in sources:
        text = (paths.LINUX / source.name).read_text(encoding="utf-8").splitlines()
        for number in source.missed:
            line = text[number - 1].strip()
            key = (source.name, source.functions[number], line)
            used.add(key)
            if key in why:
                explained.append(f"{source.name}:{number}: {line}\n        {why[key]}")
            else:
                unexplained.append(f"{source.name}:{number}: {': '.join(key[1:])}")
    if explained:
        print("\nNot reached, and why:\n  " + "\n  ".join(explained))
    if unexplained:
        print("\nNot reached, without a reason in uncovered.txt:\n  " +
              "\n  ".join(unexplained))
    stale = [": ".join(key) for key in why if key not in used]
    if stale:
        print("\n" "In uncovered.txt, but reached, or not there any more:\n  " +
              "\n  ".join(stale))
    return 1 if unexplained or stale else 0


if __name__ == "__main__":
    sys.exit(main())
