#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The main job, once, with evidence: a host writes to a remote NVMe namespace
and reads back, and the data goes from the target's RDMA adapter to the drive
through the memory of a drive, never through system memory.

The job is done in the guest, by the selftests' demo-guest.sh.  This script
believes nothing that the guest says: it looks at the exported drive's contents
on this side, and reads from QEMU's trace which addresses the drive and the
adapter were given.

demo-guest.sh prints key=value lines and calls "vmhost mark PART-begin" and
"PART-end" around each of its parts: write, read, off (the port does not allow
peer memory), file (a namespace that cannot use it).
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from vmlib import dmatrace, machine, paths, payload

from topologies import MIB, TOPOLOGIES

_TOPOLOGY = "rnic"
_DRIVE, _PROVIDER, _ADAPTER = "dst", "cmb", "rnic1"
_CMB_BAR = 2
_TIMEOUT = 400
_GUEST_SCRIPT = f"{payload.KSELFTEST_DIR}/p2pdma/demo-guest.sh"
# What demo-guest.sh has fio write at a time, and the start of each such block.
_BLOCK = 256 * 1024
_FIO_MAGIC = b"\xca\xac"
# Shorter ones are commands and responses, not payload.
_PAYLOAD = 512


def human(count: int) -> str:
    return f"{count / MIB:.0f} MiB" if count >= MIB or not count else f"{count} bytes"


def key_values(path: Path) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in
             path.read_text(encoding="utf-8", errors="replace").splitlines()
             if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def fio_blocks(path: Path, size: int) -> int:
    """How many of the first blocks are as fio writes them, and not as others."""
    seen = set()
    with open(path, "rb") as file:
        for _ in range(size // _BLOCK):
            block = file.read(_BLOCK)
            if block.startswith(_FIO_MAGIC):
                seen.add(block)
    return len(seen)


@dataclass
class Part:
    """What is known of one part of the job, from both sides."""

    name: str
    size: int
    # The target's counters
    p2p: int = 0
    host: int = 0
    # What the trace says: the adapter's and the drive's ends of the transfers
    adapter: dmatrace.Count = field(default_factory=dmatrace.Count)
    drive: dmatrace.Count = field(default_factory=dmatrace.Count)

    @property
    def to_drive(self) -> bool:
        return self.name != "read"


def count(transfers: list[dmatrace.Transfer], device: str, direction: str,
          bar: tuple[int, int, int]) -> dmatrace.Count:
    counted = dmatrace.Count()
    for transfer in transfers:
        if transfer.drive != device or transfer.direction != direction or \
           transfer.length < _PAYLOAD:
            continue
        if bar[1] <= transfer.address and \
           transfer.address + transfer.length <= bar[1] + bar[2]:
            counted.inside += 1
            counted.inside_bytes += transfer.length
        else:
            counted.outside += 1
            counted.outside_bytes += transfer.length
    return counted


def part_of(result: machine.Result, said: dict[str, str], name: str, size: int,
            bar: tuple[int, int, int]) -> Part:
    begin = result.marks.get(f"{name}-begin", 0)
    end = result.marks.get(f"{name}-end", len(result.transfers))
    transfers = result.transfers[begin:end]
    part = Part(name, size, int(said.get(f"{name}.p2p", "0") or 0),
                int(said.get(f"{name}.host", "0") or 0))
    # As the emulated devices see it: "read" is from the device to memory. The
    # adapter's other end is the wire, a buffer between it and the host's.
    part.adapter = count(transfers, _ADAPTER, "read" if part.to_drive else "write", bar)
    part.drive = count(transfers, _DRIVE, "write" if part.to_drive else "read", bar)
    return part


class Verdict:
    """Collects what is wrong; PASS only if nothing is."""

    def __init__(self) -> None:
        self.wrong: list[str] = []

    def require(self, condition: bool, otherwise: str) -> None:
        if not condition:
            self.wrong.append(otherwise)

    def offloaded(self, part: Part) -> None:
        size = part.size
        self.require(part.p2p == size and part.host == 0,
                     f"{part.name}: the target counted {human(part.p2p)} of {human(size)} "
                     f"through peer memory, {human(part.host)} through system memory")
        for name, moved in (("adapter", part.adapter), ("drive", part.drive)):
            self.require(moved.inside_bytes == size,
                         f"{part.name}: the {name} moved {human(moved.inside_bytes)} of "
                         f"{human(size)} in the provider's BAR")
            self.require(moved.outside == 0,
                         f"{part.name}: the {name} was given {moved.outside} addresses "
                         "in system memory")

    def not_offloaded(self, part: Part) -> None:
        self.require(part.p2p == 0, f"{part.name}: {human(part.p2p)} through peer memory")
        self.require(part.adapter.inside == 0 and part.drive.inside == 0,
                     f"{part.name}: a device was given an address in the provider's BAR")
        self.require(part.adapter.outside_bytes == part.size,
                     f"{part.name}: the adapter moved {human(part.adapter.outside_bytes)} "
                     f"of {human(part.size)}")


def _cell(transfers: int, size: int) -> str:
    return f"{human(size)}/{transfers}" if transfers else "0"


def report(result: machine.Result, size: int, less: int, seconds: float) -> Verdict:
    verdict = Verdict()
    said = key_values(result.output)
    verdict.require(result.status == 0, f"the job ended with status {result.status}")
    for problem in result.problems:
        verdict.require(False, problem)
    for finding in result.findings:
        verdict.require(False, f"the kernel reported {finding}")

    bar = next((bar for bar in result.bars.get(_PROVIDER, []) if bar[0] == _CMB_BAR),
               (_CMB_BAR, 0, 0))
    verdict.require(bar[1] != 0, "the provider's BAR has no address")
    parts = {name: part_of(result, said, name, part_size, bar) for name, part_size in
             (("write", size), ("read", size), ("off", less), ("file", less))}
    for name in parts:
        verdict.require(said.get(f"{name}.status") == "0", f"{name}: fio found errors")
    verdict.offloaded(parts["write"])
    verdict.offloaded(parts["read"])
    verdict.not_offloaded(parts["off"])
    verdict.not_offloaded(parts["file"])
    blocks = fio_blocks(result.run_dir / f"{_DRIVE}.img", size)
    verdict.require(blocks == size // _BLOCK, f"{blocks} of {size // _BLOCK} blocks on "
                                              "the drive are what the host wrote")

    print(f"""
The job: a host writes {human(size)} to a remote NVMe namespace, drive {_DRIVE}, and reads
them back with every block's checksum compared. The target's RDMA adapter ({_ADAPTER}) and
the drive meet in the memory of drive {_PROVIDER}, below one PCIe switch:

{TOPOLOGIES[_TOPOLOGY].picture}

   host's buffers --> rnic0 == wire ==> {_ADAPTER} --> CMB of {_PROVIDER} --> {_DRIVE}     and back

target says             {said.get('said', 'nothing')}
provider                {said.get('provider', 'none')} (drive {_PROVIDER}), BAR {bar[0]} at {bar[1]:#x}, {human(bar[2])}

                          target's counters         addresses that were given, seen from outside
                         peer       system      adapter, payload only        drive
                         memory     memory      in the BAR    elsewhere      in the BAR    elsewhere""")
    titles = {"write": "host writes", "read": "host reads",
              "off": "allow_p2pmem=0, writes", "file": "file-backed, writes"}
    for name, part in parts.items():
        print(f"{titles[name]:<24} {human(part.p2p):<10} {human(part.host):<11} "
              f"{_cell(part.adapter.inside, part.adapter.inside_bytes):<13} "
              f"{_cell(part.adapter.outside, part.adapter.outside_bytes):<14} "
              f"{_cell(part.drive.inside, part.drive.inside_bytes):<13} "
              f"{_cell(part.drive.outside, part.drive.outside_bytes)}")
    print(f"""
allow_p2pmem=0          {said.get('off.said', 'nothing')}
file-backed             {said.get('file.said', 'nothing')}
on the drive            {blocks} of {size // _BLOCK} blocks are what the host wrote
kernel                  {'no warning' if not result.findings else f'{len(result.findings)} reports'}; log {result.console}
time                    {seconds:.0f} s with booting
""")
    for reason in verdict.wrong:
        print(f"  wrong: {reason}")
    print("FAIL" if verdict.wrong else "PASS")
    return verdict


def main() -> int:
    size = int(os.environ.get("DEMO_MIB", "64")) * MIB
    less = min(size, 8 * MIB)
    started = time.monotonic()
    command = (
        "modprobe nvme\n"
        f"export BYTES={size} LESS={less} DRIVE={_DRIVE} PROVIDER={_PROVIDER}\n"
        f"cd {payload.KSELFTEST_DIR}/p2pdma && {_GUEST_SCRIPT}\n")
    try:
        config = machine.Config(
            name="demo", kernel=paths.kernel_image("normal"),
            payload=payload.for_variant("normal"), topology=TOPOLOGIES[_TOPOLOGY],
            command=command, timeout=_TIMEOUT, trace=("dma",), drive_mib=size // MIB,
            accel=os.environ.get("ACCEL", "tcg"), keep=bool(os.environ.get("KEEP")))
        guest = machine.Machine(config)
        result = guest.run()
    except (machine.MachineError, payload.PayloadError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    verdict = report(result, size, less, time.monotonic() - started)
    if verdict.wrong:
        print(f"guest's output: {result.output}; disks and trace: {result.run_dir}")
        return 1
    guest.clean()
    return 0


if __name__ == "__main__":
    sys.exit(main())
