# SPDX-License-Identifier: GPL-2.0
"""Results of single cases, read by the kernel's own KTAP parser."""

from __future__ import annotations

import importlib
import io
import re
import sys
from dataclasses import dataclass
from typing import Any, Iterator

from . import paths

OK, FAIL, SKIP = "ok", "FAIL", "skip"


@dataclass
class Case:
    """One result.  `name` is the path below the test: suite.case.parameter."""

    name: str
    status: str
    reason: str = ""


def _parser() -> Any:
    """tools/testing/kunit/kunit_parser.py, which would print as it parses."""
    where = str(paths.LINUX / "tools" / "testing" / "kunit")
    if where not in sys.path:
        sys.path.insert(0, where)
    module = importlib.import_module("kunit_parser")
    module.stdout = importlib.import_module("kunit_printer").Printer(io.StringIO())
    return module


def _reason(test: Any, raw: str) -> str:
    """After "# SKIP", or what the test said before its result."""
    if match := re.search(rf"ok \d+ (?:- )?{re.escape(test.name)} # SKIP +(\S.*)$", raw, re.M):
        return match[1]
    said = [line.strip().lstrip("# ") for line in test.log]
    return next((line for line in reversed(said)
                 if re.match(r"SKIP|FAIL|EXPECTATION|ASSERTION|Expected", line)), "")


def _walk(test: Any, prefix: str, status: dict[Any, str], raw: str) -> Iterator[Case]:
    name = f"{prefix}.{test.name}" if prefix else test.name
    before = 0
    for sub in test.subtests:
        for case in _walk(sub, name, status, raw):
            before += case.status == FAIL
            yield case
    outcome = status.get(test.status, FAIL)
    if not test.subtests:
        yield Case(name, outcome, _reason(test, raw) if outcome != OK else "")
    elif outcome == FAIL and not before:
        # Fewer results than planned, or a suite's own set-up that failed.
        yield Case(name, FAIL, _reason(test, raw) or "not all of its cases gave a result")


def parse(lines: list[str]) -> Iterator[tuple[str, list[Case]]]:
    """The top level tests and their cases; none where there is no KTAP."""
    if not any(re.search(r"TAP version \d+$", line) for line in lines):
        return
    parser = _parser()
    status = {parser.TestStatus.SUCCESS: OK, parser.TestStatus.SKIPPED: SKIP}
    raw = "\n".join(lines)
    for test in parser.parse_run_tests(lines).subtests:
        yield test.name, list(_walk(test, "", status, raw))
