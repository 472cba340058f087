#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run all tests, or some, in virtual machines, and say what came of them.

KUnit suites run while a kernel boots.  The kselftests in
tools/testing/selftests/p2pdma run in the guest through kselftest's own runner;
what machine each needs stands in its header (see vmlib/header.py).  Tests
with the same needs share a boot.

Every case counts.  A test fails if a case says so, if it gives no result, if it
skips for a reason that its header does not name, or if the kernel printed a
warning, an Oops or the like while it ran, whatever the test said.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import sys
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Optional

from vmlib import console, header, ktap, machine, paths, payload

from topologies import TOPOLOGIES

# Limits end what hangs.  No machine is slow enough to reach one.
_PATIENCE = 5
# A debug kernel under emulation is slow.
_SLOWER = {"debug": 5}
_BOOT_TIMEOUT = 120
_KUNIT_TIMEOUT = 600
_MEMORY_MIB = {"debug": 2048}
_MACHINE_OVERHEAD_MIB = 300
# What is chosen at random: the same each time, but with SEED=random.
_SEED = "0" if os.environ.get("SEED") == "random" else os.environ.get("SEED") or "6012"
# dma-debug walks its whole table whenever a driver unbinds: minutes, where a
# suite simulates a thousand functions. Each removal waits for RCU: begin at once.
_KUNIT_CMDLINE = ("dma_debug=off log_buf_len=16M rcutree.jiffies_till_first_fqs=0 "
                  f"p2pdma_oracle_test.seed={_SEED} p2pdma_acs_test.seed={_SEED}")
_TAIL_LINES = 25
_TIMES = paths.CHECK / "times.json"


@dataclass
class Outcome:
    """One test on one kernel: a script or a KUnit suite, with its cases."""

    name: str
    kernel: str
    where: str
    seconds: float = 0.0
    cases: list[ktap.Case] = field(default_factory=list)
    # What is wrong with the run as a whole; each counts as a failed case.
    problems: list[str] = field(default_factory=list)
    output: str = ""
    console: Optional[Path] = None

    def count(self, status: str) -> int:
        return sum(case.status == status for case in self.cases) + \
            (len(self.problems) if status == ktap.FAIL else 0)

    @property
    def status(self) -> str:
        return ktap.FAIL if self.count(ktap.FAIL) else \
            ktap.OK if self.count(ktap.OK) else ktap.SKIP

    def lines(self) -> Iterable[str]:
        yield (f"{self.status:4} {self.name} ({self.kernel}, {self.where}, "
               f"{self.seconds:.0f} s, {len(self.cases)} cases)")
        for problem in self.problems:
            yield f"     {problem}"
        for case in self.cases:
            if case.status != ktap.OK:
                yield f"     {case.status:4} {case.name}: {case.reason}"


@dataclass
class Job:
    """One boot."""

    name: str
    kernel: str
    needs: header.Needs
    tests: list[header.Test] = field(default_factory=list)
    suites: list[str] = field(default_factory=list)
    seconds: float = 0.0  # what it took the last time, or a guess

    @property
    def timeout(self) -> float:
        seconds = _BOOT_TIMEOUT + sum(test.timeout + 5 for test in self.tests)
        if self.suites:
            seconds += _KUNIT_TIMEOUT
        return seconds * _SLOWER.get(self.kernel, 1) * _PATIENCE

    @property
    def memory(self) -> int:
        return self.needs.memory or _MEMORY_MIB.get(self.kernel, 1024)

    @property
    def cmdline(self) -> str:
        return " ".join(filter(None, (
            "kmemleak=on" if any(self.kernel in test.leaks for test in self.tests) else "",
            _KUNIT_CMDLINE if self.suites else "", self.needs.cmdline)))

    @property
    def trace(self) -> tuple[str, ...]:
        return tuple(sorted({event for test in self.tests for event in test.trace}))


class Report:
    """Collects outcomes from all threads and prints each as it comes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        # Seconds by kernel and phase, boots by kernel.
        self.phases: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def add(self, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes.append(outcome)
            print(*outcome.lines(), sep="\n")
            if outcome.status == ktap.FAIL:
                for line in outcome.output.splitlines()[-_TAIL_LINES:]:
                    print(f"     | {line}")
                if outcome.console:
                    print(f"     console: {outcome.console}")
            sys.stdout.flush()

    def ran(self, job: Job, result: machine.Result) -> None:
        with self._lock:
            for phase, seconds in (("boots", 1), ("boot", result.boot_seconds),
                                   ("tests", result.command_seconds),
                                   ("switch off", result.off_seconds)):
                self.phases[job.kernel, phase] += seconds

    def total(self, status: str) -> int:
        return sum(outcome.count(status) for outcome in self.outcomes)

    def summary(self) -> str:
        return (f"{self.total(ktap.OK)} passed, {self.total(ktap.FAIL)} failed, "
                f"{self.total(ktap.SKIP)} skipped")

    @property
    def failed(self) -> bool:
        return not self.total(ktap.OK) or bool(self.total(ktap.FAIL))

    def where_time_went(self) -> Iterable[str]:
        """Builds as scripts/lib.sh noted them, then machines, then the slowest tests."""
        builds = paths.LOG / "times"
        if builds.exists() and (text := builds.read_text().split()):
            builds.unlink()
            yield "built: " + ", ".join(
                f"{name} {seconds} s" for name, seconds in zip(text[::2], text[1::2])
                if int(seconds) > 1)
        columns = ("boots", "boot", "tests", "switch off")
        yield "machines, seconds of all:  " + "".join(f"{name:>12}" for name in columns)
        for kernel in sorted({kernel for kernel, _ in self.phases}):
            yield f"  {kernel:25}" + "".join(
                f"{self.phases[kernel, name]:12.0f}" for name in columns)
        slow = sorted(self.outcomes, key=lambda outcome: -outcome.seconds)[:12]
        yield "slowest: " + ", ".join(
            f"{outcome.name} ({outcome.kernel}) {outcome.seconds:.0f} s" for outcome in slow)

    def write(self) -> None:
        """summary.txt for people, times.json for the next run's order."""
        where = list(self.where_time_went())
        print(*where, sep="\n")
        lines = [line for outcome in sorted(self.outcomes, key=lambda o: (o.name, o.kernel))
                 for line in outcome.lines()]
        (paths.CHECK / "summary.txt").write_text(
            "\n".join((*lines, *where, self.summary(), "")))
        times = last_times()
        times.update({f"{outcome.kernel}/{outcome.name}": round(outcome.seconds, 1)
                      for outcome in self.outcomes})
        _TIMES.write_text(json.dumps(times, indent=1, sort_keys=True))


def last_times() -> dict[str, float]:
    try:
        return dict(json.loads(_TIMES.read_text()))
    except (OSError, ValueError):
        return {}


# --- what there is to run --------------------------------------------------

def kunit_suites() -> list[str]:
    """The suites that this project's own files define."""
    suites = set()
    for top in ("drivers", "block", "lib"):
        for source in (paths.ROOT / top).rglob("*_test.c"):
            text = source.read_text(encoding="utf-8")
            for body in re.findall(r"struct kunit_suite \w+ = \{(.*?)\};", text, re.S):
                suites.update(re.findall(r"\.name\s*=\s*\"([^\"]+)\"", body))
    return sorted(suites)


def kselftests(installed: Optional[Path]) -> list[header.Test]:
    if not installed:
        return []
    lines = (installed / "kselftest-list.txt").read_text().split()
    names = [line.split(":", 1)[1] for line in lines if line.startswith("p2pdma:")]
    forgotten = [file.name for file in sorted(paths.SELFTESTS.glob("*.sh"))
                 if file.name not in names and header.has_header(file)]
    if forgotten:
        raise header.HeaderError(
            f"not in the selftests' Makefile: {' '.join(forgotten)}")
    return [header.parse(name, paths.SELFTESTS / name) for name in names]


def _suite_matches(suite: str, word: str) -> bool:
    return word in ("kunit", suite) or word in re.split(r"[-_]", suite)


def _test_matches(test: header.Test, word: str) -> bool:
    return word == "kselftest" or test.matches(word)


def select(words: list[str], tests: list[header.Test],
           suites: list[str]) -> tuple[list[header.Test], list[str]]:
    """Those that any of the words names; no word: all."""
    for word in words:
        if not any(_test_matches(test, word) for test in tests) and \
           not any(_suite_matches(suite, word) for suite in suites):
            tags = sorted({tag for test in tests for tag in test.tags})
            raise header.HeaderError(
                f"no test, tag or group {word!r}.  There are:\n"
                f"  groups:     kunit kselftest {' '.join(header.KERNELS)}\n"
                f"  tags:       {' '.join(tags)}\n"
                f"  kselftests: {' '.join(test.name for test in tests)}\n"
                f"  KUnit:      {' '.join(suites)}")
    return ([test for test in tests
             if not words or any(_test_matches(test, word) for word in words)],
            [suite for suite in suites
             if not words or any(_suite_matches(suite, word) for word in words)])


def make_jobs(tests: list[header.Test], suites: list[str],
              kernels: list[str]) -> list[Job]:
    times = last_times()
    jobs = []
    for kernel in kernels:
        if suites and kernel in ("normal", "debug", "gcov"):
            # The filter takes one pattern; more suites than one run all.
            only = f"kunit.filter_glob={suites[0]}" if len(suites) == 1 else ""
            jobs.append(Job(f"kunit-{kernel}", kernel,
                            header.Needs(topology="bare", cmdline=only), suites=suites,
                            seconds=sum(times.get(f"{kernel}/{suite}", 60) for suite in suites)))
        # The search for leaks makes all processes slow: not for those who do not ask.
        groups: dict[tuple[header.Needs, bool], list[header.Test]] = {}
        for test in tests:
            if test.runs_on(kernel):
                groups.setdefault((test.needs, kernel in test.leaks), []).append(test)
        for number, ((needs, _), members) in enumerate(groups.items()):
            jobs.append(Job(f"{needs.topology}-{kernel}-{number}", kernel, needs, members,
                            seconds=sum(times.get(f"{kernel}/{test.name}", test.timeout / 3)
                                        for test in members)))
    # The longest first, so that none is left over at the end.
    return sorted(jobs, key=lambda job: -job.seconds)


# --- running ---------------------------------------------------------------

_MARK = "p2pdma-test:"

# The kernel's counters, as text: they leave the guest with the tests' output.
_COUNTERS = "p2pdma-counters:"
_GATHER = f"""cd /sys/kernel/debug/gcov
find . -name '*.gcda' | while read -r file; do
	echo "{_COUNTERS} $file"
	cat "$file" | base64 -w 0
	echo
done
"""


def _guest_script(job: Job, tests: list[header.Test]) -> str:
    lines = [f"cd {payload.KSELFTEST_DIR} || exit 1"] if tests else []
    lines += ["mark() { "
              f"echo \"{_MARK} $1 $2\" >/dev/kmsg; echo \"{_MARK} $1 $2 $(date +%s.%N)\"; "
              "}"]
    for test in tests:
        limit = test.timeout * _SLOWER.get(job.kernel, 1) * _PATIENCE
        name = shlex.quote(test.name)
        cases = test.debug_cases if job.kernel == "debug" else ""
        lines += [f"mark begin {name}",
                  f"CASES={shlex.quote(cases)} ./run_kselftest.sh -o {limit} -t p2pdma:{name}",
                  f"mark end {name}"]
    if job.kernel == "gcov":
        lines.append(_GATHER)
    return "\n".join(lines) + "\nexit 0\n"


def _config(job: Job, tests: list[header.Test], attempt: int) -> machine.Config:
    return machine.Config(
        name=job.name + (f"-{attempt}" if attempt else ""),
        kernel=paths.kernel_image(job.kernel), one_thread=machine.needs_one_thread(job.kernel),
        payload=paths.kernel_dir(job.kernel) / "payload.squashfs",
        topology=TOPOLOGIES[job.needs.topology], command=_guest_script(job, tests),
        cmdline=job.cmdline, cpu=job.needs.cpu, iommu=job.needs.iommu,
        memory_mib=job.memory, smp=job.needs.smp, timeout=job.timeout,
        kunit=bool(job.suites), accel=os.environ.get("ACCEL", "tcg"),
        trace=job.trace, keep=bool(os.environ.get("KEEP")))


def _save_counters(config: machine.Config, result: machine.Result) -> None:
    """For coverage.py: a directory for each machine, laid out as the build is."""
    lines = iter(console.read_lines(result.output))
    for line in lines:
        if line.startswith(_COUNTERS):
            within = line.split(f"/{paths.kernel_dir('gcov').name}/", 1)[-1]
            target = paths.BUILD / "coverage" / "runs" / config.name / within
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(base64.b64decode(next(lines, "")))


def _run_machine(job: Job, tests: list[header.Test], attempt: int,
                 report: Report) -> machine.Result:
    config = _config(job, tests, attempt)
    guest = machine.Machine(config)
    result = guest.run()
    guest.clean()
    report.ran(job, result)
    if job.kernel == "gcov":
        _save_counters(config, result)
    return result


@dataclass
class Section:
    """What belongs to one test of a shared boot."""

    output: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    begin: float = 0.0
    end: float = 0.0


_BOOT, _SHUTDOWN = "boot", "shutdown"


def _split(result: machine.Result) -> dict[str, Section]:
    """Output and console by test; what is before and after has its own name.

    A kernel message that comes after a test and before the next one is most
    likely that test's, so a section ends where the next one begins.
    """
    sections: dict[str, Section] = {_BOOT: Section(), _SHUTDOWN: Section()}
    current = sections[_BOOT]
    for line in console.read_lines(result.output):
        if line.startswith(_MARK):
            _, what, name, stamp = line.split()
            current = sections.setdefault(name, Section())
            setattr(current, what, float(stamp))
        else:
            current.output.append(line)
    current = sections[_BOOT]
    for line in console.read_lines(result.console):
        if match := re.search(rf"{_MARK} begin (\S+)$", line):
            current = sections.setdefault(match[1], Section())
        elif "p2pdma-guest: command ended" in line:
            current = sections[_SHUTDOWN]
        current.console.append(line)
    return sections


def _runner_says(test: header.Test, lines: list[str]) -> str:
    """What kselftest's runner said of the script as a whole: "" for ok."""
    pattern = re.compile(rf"^(not )?ok \d+ selftests: p2pdma: {re.escape(test.name)}(.*)$")
    for line in lines:
        if match := pattern.match(line):
            return (match[2].lstrip(" #") or "failed") if match[1] else ""
    return "no result"


def _cases(test: header.Test, lines: list[str]) -> list[ktap.Case]:
    """The runner has put "# " before each line of the test."""
    lines = [line[2:] for line in lines if line.startswith("# ")]
    whole = next((line for line in lines if line.startswith("1..0 # SKIP")), "")
    cases = [ktap.Case("the whole test", ktap.SKIP, whole[len("1..0 # SKIP"):].strip())] \
        if whole else [case for _, found in ktap.parse(lines) for case in found]
    for case in cases:
        if case.status == ktap.SKIP and not any(
                allowed.fullmatch(case.reason) for allowed in test.skip):
            case.status = ktap.FAIL
            case.reason = f"may not skip here ({case.reason or 'no reason given'})"
    return cases


def _reported(findings: list[console.Finding]) -> list[str]:
    if not findings:
        return []
    more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
    return [f"the kernel reported {findings[0]}{more}"]


def _outcome(test: header.Test, job: Job, section: Section,
             result: machine.Result) -> Outcome:
    cases = _cases(test, section.output)
    problems = []
    if said := _runner_says(test, section.output):
        # A failed case explains a failed script.
        if not any(case.status == ktap.FAIL for case in cases) or "exit=1" not in said:
            problems.append("; ".join([said, *result.problems]))
    elif not cases:
        problems.append("it gave no result of any case")
    findings = console.scan(section.console, test.allow)
    problems += _reported(findings)
    output = list(section.output)
    if findings:
        output += ["", *findings[0].context.splitlines()[:_TAIL_LINES]]
    return Outcome(test.name, job.kernel, job.needs.topology,
                   max(0.0, section.end - section.begin), cases, problems,
                   "\n".join(output), result.console)


def _failure(job: Job, name: str, result: machine.Result, problems: list[str],
             output: str = "") -> Outcome:
    return Outcome(name, job.kernel, job.needs.topology, result.seconds, [], problems,
                   output or "\n".join(console.read_lines(result.console)), result.console)


def _around(job: Job, sections: dict[str, Section], result: machine.Result) -> list[Outcome]:
    """What went wrong outside any test: while booting or switching off."""
    outcomes = []
    for name in (_BOOT, _SHUTDOWN):
        findings = console.scan(sections[name].console)
        if findings:
            outcomes.append(_failure(job, f"{name} of {job.name}", result,
                                     _reported(findings), findings[0].context))
    return outcomes


def run_kselftests(job: Job, report: Report) -> None:
    """One boot, and more if a test takes the machine down with it."""
    waiting = list(job.tests)
    attempt = 0
    while waiting:
        result = _run_machine(job, waiting, attempt, report)
        sections = _split(result)
        started = [test for test in waiting if test.name in sections]
        for test in started:
            section = sections[test.name]
            (paths.CHECK / f"{test.name}-{job.kernel}.log").write_text("\n".join(
                [*section.output, "", "kernel messages:", *section.console, ""]))
            report.add(_outcome(test, job, section, result))
        outside = _around(job, sections, result)
        for outcome in outside:
            report.add(outcome)
        if not started:
            for test in waiting:
                report.add(_failure(job, test.name, result, [
                    "; ".join(["the machine did not get to it", *result.problems])]))
            return
        waiting = [test for test in waiting if test not in started]
        # All ran, and then something: nothing else would say it.
        if result.problems and not waiting and not outside and \
           sections[started[-1].name].end:
            report.add(_failure(job, f"shutdown of {job.name}", result, result.problems))
        attempt += 1


def _suite_seconds(lines: list[str]) -> dict[str, float]:
    """From one suite's result to the next one's, by the times of the console."""
    seconds: dict[str, float] = {}
    before = 0.0
    for line in lines:
        if match := re.match(r"\[ *(\d+\.\d+)\] (KTAP version|(?:not )?ok \d+ (\S+))", line):
            if match[3]:
                seconds[match[3]] = float(match[1]) - before
            before = float(match[1])
    return seconds


def run_kunit(job: Job, report: Report) -> None:
    result = _run_machine(job, [], 0, report)
    lines = console.read_lines(result.console)
    found: dict[str, list[ktap.Case]] = dict(ktap.parse(lines))
    seconds = _suite_seconds(lines)
    detail = "\n".join(line for line in lines if re.search(
        r"(not ok |EXPECTATION FAILED|ASSERTION FAILED|Expected )", line))
    for suite in job.suites:
        cases = found.get(suite, [])
        for case in cases:
            if case.status == ktap.SKIP:
                case.status, case.reason = ktap.FAIL, f"may not skip here ({case.reason})"
        report.add(Outcome(suite, job.kernel, "kunit", seconds.get(suite, 0.0), cases,
                           [] if cases else ["; ".join(["no result", *result.problems])],
                           detail, result.console))
    problems = _reported(result.findings)
    if result.problems and all(found.get(suite) for suite in job.suites):
        problems += result.problems
    if problems:
        report.add(_failure(job, f"boot of {job.name}", result, problems,
                            result.findings[0].context if result.findings else ""))


class Memory:
    """Lets a machine start only when there is memory for it."""

    def __init__(self) -> None:
        text = Path("/proc/meminfo").read_text()
        match = re.search(r"^MemAvailable: +(\d+)", text, re.M)
        self._free = int(match[1]) >> 10 if match else 0
        self._running = 0
        self._changed = threading.Condition()

    def take(self, mib: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._free >= mib or not self._running)
            self._free -= mib
            self._running += 1

    def give(self, mib: int) -> None:
        with self._changed:
            self._free += mib
            self._running -= 1
            self._changed.notify_all()


def run_job(job: Job, report: Report, memory: Memory) -> None:
    need = job.memory + _MACHINE_OVERHEAD_MIB
    memory.take(need)
    try:
        (run_kunit if job.suites else run_kselftests)(job, report)
    except machine.MachineError as error:
        report.add(Outcome(job.name, job.kernel, job.needs.topology, problems=[str(error)]))
    finally:
        memory.give(need)


def run_jobs(jobs: list[Job], report: Report) -> None:
    # One more than there are processors: a machine waits now and then.
    parallel = int(os.environ.get("JOBS", 0)) or min((os.cpu_count() or 1) + 1, 5)
    memory = Memory()
    with ThreadPoolExecutor(parallel) as pool:
        futures = [pool.submit(run_job, job, report, memory) for job in jobs]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            # The machines end with this process.
            if isinstance(sys.exc_info()[1], KeyboardInterrupt):
                os._exit(130)
            raise


def main() -> int:
    words = " ".join(sys.argv[1:]).replace(",", " ").split()
    kernels = os.environ.get("KERNELS", "normal debug").replace(",", " ").split()
    # The name of a kernel narrows all.
    if only := [word for word in words if word in header.KERNELS]:
        kernels = only
        words = [word for word in words if word not in header.KERNELS]
    started = time.monotonic()
    paths.CHECK.mkdir(parents=True, exist_ok=True)
    try:
        installed = None
        for kernel in kernels:
            payload.for_variant(kernel)
            here = paths.kernel_dir(kernel) / "kselftest-install"
            installed = installed or (here if here.is_dir() else None)
        tests, suites = select(words, kselftests(installed), kunit_suites())
    except (header.HeaderError, payload.PayloadError) as error:
        print(f"check: {error}", file=sys.stderr)
        return 2
    report = Report()
    run_jobs(make_jobs(tests, suites, kernels), report)
    report.write()
    print(f"tests: {time.monotonic() - started:.0f} s; {paths.CHECK}/summary.txt")
    if not report.outcomes:
        print("check: nothing was run", file=sys.stderr)
    print(report.summary())
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
