#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""A run is red when it should be: results that a machine may give, judged.

Needs build/linux, for the kernel's KTAP parser.  No machine is started.
"""

import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import check  # noqa: E402
from vmlib import console, header, machine  # noqa: E402


def judge(lines, runner="ok 1 selftests: p2pdma: x.sh", messages=(), skip=(), allow=()):
    """passed, failed, skipped of a script that said `lines`."""
    test = header.Test("x.sh", header.Needs(), ("normal",), 60, (), (), (), "",
                       tuple(map(re.compile, allow)), tuple(map(re.compile, skip)))
    section = check.Section([*(f"# {line}" for line in lines), runner], list(messages))
    outcome = check._outcome(test, check.Job("job", "normal", test.needs), section,
                             machine.Result())
    return tuple(outcome.count(status) for status in ("ok", "FAIL", "skip"))


BEGIN = ["TAP version 13", "1..2", "ok 1 R1.1 N2: one, two"]
FAILED = "not ok 1 selftests: p2pdma: x.sh # exit=1"


class Judgement(unittest.TestCase):
    def test_all_pass(self):
        self.assertEqual(judge([*BEGIN, "ok 2 b"]), (2, 0, 0))

    def test_case_fails(self):
        self.assertEqual(judge([*BEGIN, "# FAIL: no", "not ok 2 b"], FAILED), (1, 1, 0))

    def test_script_fails_beside_passed_cases(self):
        self.assertEqual(judge([*BEGIN, "ok 2 b"], FAILED), (2, 1, 0))

    def test_case_skips_without_leave(self):
        self.assertEqual(judge([*BEGIN, "ok 2 b # SKIP no host"]), (1, 1, 0))
        self.assertEqual(judge([*BEGIN, "# SKIP: no host", "ok 2 b # SKIP"]), (1, 1, 0))

    def test_case_skips_with_leave(self):
        self.assertEqual(judge([*BEGIN, "ok 2 b # SKIP no host"], skip=["no h.*"]), (1, 0, 1))

    def test_leave_is_for_that_reason_only(self):
        self.assertEqual(judge([*BEGIN, "ok 2 b # SKIP no host at all"], skip=["no host"]),
                         (1, 1, 0))

    def test_all_skipped(self):
        skipped = "ok 1 selftests: p2pdma: x.sh # SKIP"
        self.assertEqual(judge(["TAP version 13", "1..0 # SKIP no drive"], skipped), (0, 1, 0))
        self.assertEqual(judge(["TAP version 13", "1..0 # SKIP no drive"], skipped,
                               skip=["no drive"]), (0, 0, 1))

    def test_ends_early(self):
        self.assertEqual(judge(BEGIN, FAILED)[1], 1)

    def test_time_limit(self):
        self.assertEqual(judge(BEGIN, "not ok 1 selftests: p2pdma: x.sh # TIMEOUT 9 seconds")[1],
                         2)

    def test_nothing_said(self):
        self.assertEqual(judge([]), (0, 1, 0))
        self.assertEqual(judge([], runner=""), (0, 1, 0))

    def test_machine_dies(self):
        self.assertGreater(judge(BEGIN, runner="")[1], 0)

    def test_kernel_reports(self):
        for line in ("WARNING: CPU: 0 PID: 1 at mm/x.c:1", "BUG: KASAN: use-after-free in f",
                     "kmemleak: 1 new suspected memory leaks",
                     "p2pdma-guest: lockdep is off (debug_locks: 0)"):
            self.assertEqual(judge([*BEGIN, "ok 2 b"], messages=[line]), (2, 1, 0), line)
            self.assertTrue(console.scan([line]), line)
        self.assertEqual(judge([*BEGIN, "ok 2 b"], messages=["WARNING: here"],
                               allow=["WARNING: here"]), (2, 0, 0))


if __name__ == "__main__":
    unittest.main()
