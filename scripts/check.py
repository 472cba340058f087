#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run all tests, or some, in virtual machines, and say what came of them.

KUnit suites run while a kernel boots.  The kselftests in
tools/testing/selftests/p2pdma run in the guest through kselftest's own runner;
what machine each needs stands in its header (see vmlib/header.py).  Tests
with the same needs share a boot.

A test fails if it says so, if it gives no result, or if the kernel printed a
warning, an Oops or the like while it ran, whatever the test said.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Optional

from vmlib import console, header, machine, paths, payload

from topologies import TOPOLOGIES

# A debug kernel under emulation is slow.
_SLOWER = {"debug": 5}
# Leaks are looked for when a machine is switched off.
_CMDLINE = {"normal": "kmemleak=on"}
_MEMORY_MIB = {"debug": 2048}
_BOOT_TIMEOUT = 120
_KUNIT_TIMEOUT = 600
# dma-debug walks its whole table whenever a driver unbinds: minutes, where a
# suite simulates a thousand functions.
_KUNIT_CMDLINE = "dma_debug=off log_buf_len=16M"
_MACHINE_OVERHEAD_MIB = 300
_TAIL_LINES = 25


@dataclass
class Outcome:
    """One line of the report.  KUnit: one suite, with a count of its cases."""

    name: str
    kernel: str
    where: str
    status: str  # "ok", "FAIL" or "skip"
    seconds: float = 0.0
    reason: str = ""
    output: str = ""
    console: Optional[Path] = None
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __post_init__(self) -> None:
        if not self.passed + self.failed + self.skipped:
            self.passed = int(self.status == "ok")
            self.failed = int(self.status == "FAIL")
            self.skipped = int(self.status == "skip")


@dataclass
class Job:
    """One boot."""

    name: str
    kernel: str
    needs: header.Needs
    tests: list[header.Test] = field(default_factory=list)
    kunit: bool = False
    suites: list[str] = field(default_factory=list)

    @property
    def timeout(self) -> float:
        if self.kunit:
            seconds = _KUNIT_TIMEOUT
        else:
            seconds = sum(test.timeout + 5 for test in self.tests)
        return (_BOOT_TIMEOUT + seconds) * _SLOWER.get(self.kernel, 1)

    @property
    def memory(self) -> int:
        return self.needs.memory or _MEMORY_MIB.get(self.kernel, 1024)


class Report:
    """Collects outcomes from all threads and prints each as it comes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._lock = threading.Lock()

    def add(self, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes.append(outcome)
            cases = outcome.passed + outcome.failed + outcome.skipped
            count = f", {cases} cases" if cases > 1 else ""
            reason = f": {outcome.reason}" if outcome.reason else ""
            print(f"{outcome.status:4} {outcome.name} ({outcome.kernel}, "
                  f"{outcome.where}, {outcome.seconds:.0f} s{count}){reason}")
            if outcome.status == "FAIL":
                for line in outcome.output.splitlines()[-_TAIL_LINES:]:
                    print(f"     | {line}")
                if outcome.console:
                    print(f"     console: {outcome.console}")
            sys.stdout.flush()

    def summary(self) -> str:
        return (f"{sum(o.passed for o in self.outcomes)} passed, "
                f"{sum(o.failed for o in self.outcomes)} failed, "
                f"{sum(o.skipped for o in self.outcomes)} skipped")

    @property
    def failed(self) -> bool:
        return not self.outcomes or any(o.failed for o in self.outcomes)

    def write(self) -> None:
        """For people summary.txt, for machines junit.xml."""
        paths.CHECK.mkdir(parents=True, exist_ok=True)
        lines = [f"{o.status:4} {o.name} ({o.kernel}, {o.where}, {o.seconds:.0f} s)"
                 + (f": {o.reason}" if o.reason else "")
                 for o in sorted(self.outcomes, key=lambda o: (o.name, o.kernel))]
        (paths.CHECK / "summary.txt").write_text("\n".join((*lines, self.summary(), "")))
        root = ElementTree.Element("testsuite", name="p2pdma")
        for outcome in self.outcomes:
            case = ElementTree.SubElement(
                root, "testcase", name=outcome.name, time=f"{outcome.seconds:.1f}",
                classname=f"{outcome.kernel}.{outcome.where}")
            if outcome.status == "FAIL":
                node = ElementTree.SubElement(case, "failure", message=_xml(outcome.reason))
                node.text = _xml(outcome.output)
            elif outcome.status == "skip":
                ElementTree.SubElement(case, "skipped", message=_xml(outcome.reason))
        ElementTree.ElementTree(root).write(paths.CHECK / "junit.xml", encoding="utf-8",
                                            xml_declaration=True)


def _xml(text: str) -> str:
    """XML has no way to write most control characters."""
    return re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd]", "?", text)


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


def _source_of(name: str) -> Optional[Path]:
    for candidate in (name, f"{name}.c"):
        if (paths.SELFTESTS / candidate).is_file():
            return paths.SELFTESTS / candidate
    return None


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
    tests = []
    for name in names:
        source = _source_of(name)
        if not source:
            raise header.HeaderError(f"no source of kselftest {name}")
        tests.append(header.parse(name, source))
    return tests


def _suite_matches(suite: str, word: str) -> bool:
    return word in ("kunit", suite) or word in re.split(r"[-_]", suite)


def select(words: list[str], tests: list[header.Test], suites: list[str],
           kernels: list[str]) -> tuple[list[header.Test], list[str], list[str]]:
    """Those that any of the words names; the name of a kernel narrows all."""
    only = [word for word in words if word in header.KERNELS]
    words = [word for word in words if word not in only]
    kernels = [kernel for kernel in kernels if not only or kernel in only]
    if not words:
        return tests, suites, kernels
    for word in words:
        if word != "kselftest" and not any(test.matches(word) for test in tests) and \
           word != "kunit" and not any(_suite_matches(suite, word) for suite in suites):
            tags = sorted({tag for test in tests for tag in test.tags})
            raise header.HeaderError(
                f"no test, tag or group {word!r}.  There are:\n"
                f"  groups:     kunit kselftest {' '.join(header.KERNELS)}\n"
                f"  tags:       {' '.join(tags)}\n"
                f"  kselftests: {' '.join(test.name for test in tests)}\n"
                f"  KUnit:      {' '.join(suites)}")
    return ([test for test in tests if
             any(word == "kselftest" or test.matches(word) for word in words)],
            [suite for suite in suites if
             any(_suite_matches(suite, word) for word in words)],
            kernels)


def make_jobs(tests: list[header.Test], suites: list[str],
              kernels: list[str]) -> list[Job]:
    jobs = []
    for kernel in kernels:
        if suites and kernel in ("normal", "debug", "gcov"):
            # The filter takes one pattern; more suites than one run all.
            cmdline = _KUNIT_CMDLINE
            if len(suites) == 1:
                cmdline += f" kunit.filter_glob={suites[0]}"
            jobs.append(Job(f"kunit-{kernel}", kernel,
                            header.Needs(topology="bare", cmdline=cmdline),
                            kunit=True, suites=suites))
        groups: dict[header.Needs, list[header.Test]] = {}
        for test in tests:
            if test.runs_on(kernel):
                groups.setdefault(test.needs, []).append(test)
        for number, (needs, members) in enumerate(groups.items()):
            name = f"{needs.topology}-{kernel}-{number}"
            jobs.append(Job(name, kernel, needs, members))
    # The longest first, so that none is left over at the end.
    return sorted(jobs, key=lambda job: -job.timeout)


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
    lines = [f"cd {payload.KSELFTEST_DIR} || exit 1",
             "mark() { "
             f"echo \"{_MARK} $1 $2\" >/dev/kmsg; echo \"{_MARK} $1 $2 $(date +%s.%N)\"; "
             "}"]
    for test in tests:
        limit = test.timeout * _SLOWER.get(job.kernel, 1)
        name = shlex.quote(test.name)
        lines += [f"mark begin {name}",
                  f"./run_kselftest.sh -o {limit} -t p2pdma:{name}",
                  f"mark end {name}"]
    if job.kernel == "gcov":
        lines.append(_GATHER)
    return "\n".join(lines) + "\nexit 0\n"


def _config(job: Job, command: str, attempt: int) -> machine.Config:
    return machine.Config(
        name=job.name + (f"-{attempt}" if attempt else ""),
        kernel=paths.kernel_image(job.kernel),
        payload=paths.kernel_dir(job.kernel) / "payload.squashfs",
        topology=TOPOLOGIES[job.needs.topology], command=command,
        cmdline=f"{_CMDLINE.get(job.kernel, '')} {job.needs.cmdline}".strip(),
        cpu=job.needs.cpu, iommu=job.needs.iommu,
        memory_mib=job.memory, smp=job.needs.smp, timeout=job.timeout,
        kunit=job.kunit, accel=os.environ.get("ACCEL", "tcg"),
        trace=tuple(job.needs.trace.split()), keep=bool(os.environ.get("KEEP")))


def _save_counters(config: machine.Config, result: machine.Result) -> None:
    """For coverage.py: a directory for each machine, laid out as the build is."""
    lines = iter(console.read_lines(result.output))
    for line in lines:
        if line.startswith(_COUNTERS):
            within = line.split(f"/{paths.kernel_dir('gcov').name}/", 1)[-1]
            target = paths.BUILD / "coverage" / "runs" / config.name / within
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(base64.b64decode(next(lines, "")))


def _run_machine(config: machine.Config) -> machine.Result:
    guest = machine.Machine(config)
    result = guest.run()
    guest.clean()
    if config.kernel == paths.kernel_image("gcov"):
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


def _ktap_status(test: header.Test, lines: Iterable[str]) -> tuple[str, str]:
    """("", ...) where the test gave no result."""
    pattern = re.compile(rf"^(ok|not ok) \d+ selftests: p2pdma: {re.escape(test.name)}(.*)$")
    for line in lines:
        if match := pattern.match(line):
            if match[1] == "not ok":
                return "FAIL", match[2].lstrip(" #") or "failed"
            return ("skip", _skip_reason(lines)) if "# SKIP" in match[2] else ("ok", "")
    return "", "no result"


def _skip_reason(lines: Iterable[str]) -> str:
    """The last thing the test said that has SKIP in it."""
    said = [line.lstrip("# ") for line in lines if line.startswith("# ") and
            not line.startswith("# selftests: ") and
            re.search("skip", line, re.IGNORECASE)]
    return said[-1] if said else ""


def _outcome(test: header.Test, job: Job, section: Section,
             result: machine.Result) -> Outcome:
    status, reason = _ktap_status(test, section.output)
    findings = console.scan(section.console, test.allow)
    output = list(section.output)
    if not status:
        status = "FAIL"
        reason = "; ".join([reason, *result.problems])
    if findings:
        status = "FAIL"
        reason = f"the kernel reported {findings[0]}" + \
            (f" and {len(findings) - 1} more" if len(findings) > 1 else "")
        output += ["", *findings[0].context.splitlines()[:_TAIL_LINES]]
    saved = paths.CHECK / f"{test.name}-{job.kernel}.log"
    saved.write_text("\n".join([*section.output, "", "kernel messages:",
                                *section.console, ""]))
    return Outcome(test.name, job.kernel, job.needs.topology, status,
                   max(0.0, section.end - section.begin), reason,
                   "\n".join(output), result.console)


def _around(job: Job, sections: dict[str, Section], result: machine.Result) -> list[Outcome]:
    """What went wrong outside any test: while booting or switching off."""
    outcomes = []
    for name in (_BOOT, _SHUTDOWN):
        findings = console.scan(sections[name].console)
        if findings:
            outcomes.append(Outcome(
                f"{name} of {job.name}", job.kernel, job.needs.topology, "FAIL",
                result.seconds, f"the kernel reported {findings[0]}",
                findings[0].context, result.console))
    return outcomes


def run_kselftests(job: Job, report: Report) -> None:
    """One boot, and more if a test takes the machine down with it."""
    waiting = list(job.tests)
    attempt = 0
    while waiting:
        result = _run_machine(_config(job, _guest_script(job, waiting), attempt))
        sections = _split(result)
        started = [test for test in waiting if test.name in sections]
        for test in started:
            report.add(_outcome(test, job, sections[test.name], result))
        outside = _around(job, sections, result)
        for outcome in outside:
            report.add(outcome)
        if not started:
            for test in waiting:
                report.add(Outcome(test.name, job.kernel, job.needs.topology, "FAIL",
                                   result.seconds, "; ".join(
                                       ["the machine did not get to it", *result.problems]),
                                   "\n".join(console.read_lines(result.console)),
                                   result.console))
            return
        waiting = [test for test in waiting if test not in started]
        # All ran, and then something: nothing else would say it.
        if result.problems and not waiting and not outside and \
           sections[started[-1].name].end:
            report.add(Outcome(f"shutdown of {job.name}", job.kernel, job.needs.topology,
                               "FAIL", result.seconds, "; ".join(result.problems),
                               "\n".join(console.read_lines(result.console)),
                               result.console))
        attempt += 1


def _cases(group: dict) -> Iterable[tuple[str, str]]:
    for case in group.get("test_cases", []):
        yield case["name"], case["status"]
    for sub in group.get("sub_groups", []):
        for name, status in _cases(sub):
            yield f"{sub['name']}.{name}", status


def parse_kunit(log: Path) -> dict[str, list[tuple[str, str]]]:
    """Suite -> (case, status), read by the kernel's own tool."""
    tool = paths.LINUX / "tools" / "testing" / "kunit" / "kunit.py"
    parsed = paths.CHECK / f"{log.stem}.json"
    parsed.unlink(missing_ok=True)
    done = subprocess.run([sys.executable, "-B", str(tool), "parse", f"--json={parsed}", str(log)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, text=True, check=False)
    (paths.CHECK / f"{log.stem}.txt").write_text(done.stdout)
    if not parsed.exists():
        return {}
    return {group["name"]: list(_cases(group))
            for group in json.loads(parsed.read_text())["sub_groups"]}


def run_kunit(job: Job, report: Report) -> None:
    command = _GATHER if job.kernel == "gcov" else "exit 0"
    result = _run_machine(_config(job, command, 0))
    suites = parse_kunit(result.console)
    lines = console.read_lines(result.console)
    for suite in job.suites:
        cases = suites.get(suite, [])
        bad = [f"{name}: {status}" for name, status in cases
               if status not in ("PASS", "SKIP")]
        skipped = sum(status == "SKIP" for _, status in cases)
        passed = sum(status == "PASS" for _, status in cases)
        status = "FAIL" if bad or not cases else "ok" if passed else "skip"
        reason = "" if cases else "; ".join(["no result", *result.problems])
        detail = [line for line in lines
                  if re.search(r"(not ok |EXPECTATION FAILED|ASSERTION FAILED|Expected )", line)]
        report.add(Outcome(suite, job.kernel, "kunit", status, result.seconds,
                           reason or "; ".join(bad[:5]), "\n".join([*detail, *bad]),
                           result.console, passed, len(bad) or int(not cases), skipped))
    for finding in result.findings[:1]:
        report.add(Outcome(f"boot of {job.name}", job.kernel, "kunit", "FAIL", result.seconds,
                           f"the kernel reported {finding}", finding.context, result.console))
    if result.problems and all(suites.get(suite) for suite in job.suites):
        report.add(Outcome(f"boot of {job.name}", job.kernel, "kunit", "FAIL", result.seconds,
                           "; ".join(result.problems), "", result.console))


class Memory:
    """Lets a machine start only when there is memory for it."""

    def __init__(self) -> None:
        available = 0
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) >> 10
        self._free = available
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
        (run_kunit if job.kunit else run_kselftests)(job, report)
    except machine.MachineError as error:
        report.add(Outcome(job.name, job.kernel, job.needs.topology, "FAIL", 0, str(error)))
    finally:
        memory.give(need)


def run_jobs(jobs: list[Job], report: Report) -> None:
    parallel = int(os.environ.get("JOBS", 0)) or min(os.cpu_count() or 1, 4)
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
    kernels = os.environ.get("KERNELS", "normal debug nop2pdma").replace(",", " ").split()
    kernels = [kernel for kernel in kernels if kernel in header.KERNELS]
    started = time.monotonic()
    paths.CHECK.mkdir(parents=True, exist_ok=True)
    try:
        installed = None
        for kernel in kernels:
            payload.for_variant(kernel)
            here = paths.kernel_dir(kernel) / "kselftest-install"
            installed = installed or (here if here.is_dir() else None)
        tests, suites, kernels = select(words, kselftests(installed), kunit_suites(), kernels)
    except (header.HeaderError, payload.PayloadError) as error:
        print(f"check: {error}", file=sys.stderr)
        return 2
    report = Report()
    run_jobs(make_jobs(tests, suites, kernels), report)
    report.write()
    print(f"{time.monotonic() - started:.0f} s; {paths.CHECK}/summary.txt, junit.xml")
    if not report.outcomes:
        print("check: nothing was run", file=sys.stderr)
    print(report.summary())
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
