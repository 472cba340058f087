#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Run a command, a test or a shell in a virtual machine.

The machine is one of the topologies in
tools/testing/selftests/p2pdma/vm/topologies.py; the kernel is one that this
project built, or any other.  The command's output is shown; the kernel's
console goes to build/log/vm-NAME.log.  A run fails if the command does, or if
the kernel printed a warning, an Oops or the like, whatever the command said.

Exit status: 0 passed, 1 failed, 4 skipped (the command ended with 4).
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from vmlib import machine, paths, payload

from topologies import TOPOLOGIES, Topology

_VARIANTS = ("normal", "debug", "nop2pdma", "stock")
# A debug kernel needs more of everything.
_DEBUG_MEMORY_MIB = 2048


def default_memory(variant: str) -> int:
    return _DEBUG_MEMORY_MIB if variant == "debug" else machine.Config.memory_mib


def list_topologies() -> None:
    for topology in TOPOLOGIES.values():
        print(f"{topology.name}: {topology.summary}\n\n{topology.picture}\n")


def test_command(name: str, timeout: float) -> str:
    return (f"cd {payload.KSELFTEST_DIR} && ./run_kselftest.sh "
            f"-o {timeout:.0f} -t p2pdma:{shlex.quote(name)} | tee /tmp/ktap\n"
            "grep -q '^ok 1 .*# SKIP' /tmp/ktap && exit 4\n"
            "grep -q '^ok 1 ' /tmp/ktap\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n", maxsplit=1)[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", metavar="COMMAND", help="shell command to run in the guest")
    what.add_argument("--test", metavar="NAME", help="a kselftest, by its file name")
    what.add_argument("--shell", action="store_true",
                      help="interactive shell on the console (ctrl-a x ends it)")
    what.add_argument("--list", action="store_true", help="show the topologies")
    parser.add_argument("--topology", default="switch", choices=TOPOLOGIES, metavar="NAME",
                        help="the machine; see --list")
    parser.add_argument("--kernel-variant", default="normal", choices=_VARIANTS)
    parser.add_argument("--name", help="of the log files and the run's directory")
    parser.add_argument("--cmdline", default="", help="more kernel parameters")
    parser.add_argument("--cpu", default="", help="QEMU CPU model (the topology's)")
    parser.add_argument("--iommu", default="", choices=("", *machine.IOMMUS))
    parser.add_argument("--memory", type=int, metavar="MIB", help="(1024, debug 2048)")
    parser.add_argument("--smp", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS")
    parser.add_argument("--trace", action="append", default=[], metavar="EVENT",
                        help="QEMU trace event or pattern; 'dma': what drives address")
    parser.add_argument("--icount", action="store_true",
                        help="guest time counts instructions; one CPU")
    parser.add_argument("--kunit", action="store_true", help="run KUnit while booting")
    parser.add_argument("--keep", action="store_true", default=bool(os.environ.get("KEEP")),
                        help="keep the run's directory (disks, trace); also KEEP=1")
    other = parser.add_argument_group("a kernel that this project did not build")
    other.add_argument("--kernel", type=Path, help="bzImage or vmlinux, instead of --kernel-variant")
    other.add_argument("--initrd", type=Path)
    other.add_argument("--modroot", type=Path, help="directory with lib/modules")
    return parser.parse_args(arguments)


def make_config(options: argparse.Namespace) -> machine.Config:
    topology: Topology = TOPOLOGIES[options.topology]
    name = options.name or (
        "shell" if options.shell else options.test or f"run-{os.getpid()}")
    if options.kernel:
        kernel = options.kernel
        disk = payload.build(options.modroot, None,
                             paths.BUILD / "guest" / "foreign-payload.squashfs")
    else:
        kernel = paths.kernel_image(options.kernel_variant)
        disk = payload.for_variant(options.kernel_variant)
    command = "shell" if options.shell else \
        options.run or test_command(options.test, options.timeout)
    return machine.Config(
        name=name, kernel=kernel, payload=disk, topology=topology, command=command,
        cmdline=options.cmdline, cpu=options.cpu, iommu=options.iommu,
        memory_mib=options.memory or default_memory(options.kernel_variant),
        smp=1 if options.icount else options.smp, timeout=options.timeout,
        initrd=options.initrd, accel=os.environ.get("ACCEL", "tcg"),
        icount=options.icount, one_thread=machine.needs_one_thread(options.kernel_variant),
        kunit=options.kunit, trace=tuple(options.trace),
        keep=options.keep)


def report(result: machine.Result, quiet: bool) -> None:
    for problem in result.problems:
        print(f"vm: {problem}", file=sys.stderr)
    for finding in result.findings:
        print(f"vm: the kernel reported {finding}", file=sys.stderr)
    if not quiet or not result.ok:
        print(f"vm: status {result.status}, {result.seconds:.0f} s, "
              f"console {result.console}", file=sys.stderr)
    if result.run_dir.exists():
        print(f"vm: kept {result.run_dir}", file=sys.stderr)


def main() -> int:
    options = parse(sys.argv[1:])
    if options.list:
        list_topologies()
        return 0
    paths.LOG.mkdir(parents=True, exist_ok=True)
    try:
        guest = machine.Machine(make_config(options), live=True, shell=options.shell)
        result = guest.run()
    except (machine.MachineError, payload.PayloadError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1
    if options.shell and not result.problems:
        result.status = result.status or 0
    guest.clean()
    report(result, quiet=options.shell)
    if not result.ok:
        return 1
    return result.status or 0


if __name__ == "__main__":
    sys.exit(main())
