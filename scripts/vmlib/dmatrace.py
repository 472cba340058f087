# SPDX-License-Identifier: GPL-2.0
"""What QEMU's emulated drives addressed: evidence from outside the guest.

QEMU traces each I/O command when a drive starts it ("pci_nvme_io_cmd", with
the namespace id), and then, before the next command, every address that the
command's data pointers name ("pci_nvme_map_addr").  Both happen in one thread
under one lock, and each drive's namespace has its own id, so an address
belongs to the drive of the last command.  Data of admin commands (identify,
logs) is kept apart.  The addresses are those that the *device* was given.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

EVENTS = ("pci_nvme_io_cmd", "pci_nvme_admin_cmd", "pci_nvme_map_addr",
          "pci_nvme_err_*")

_IO = re.compile(r"pci_nvme_io_cmd cid \d+ nsid (?:0x)?([0-9a-f]+) .*?opc(?:ode)? 0x([0-9a-f]+)")
_ADMIN = re.compile(r"pci_nvme_admin_cmd ")
_ADDR = re.compile(r"pci_nvme_map_addr addr 0x([0-9a-f]+) len (\d+)")
_ERROR = re.compile(r"pci_nvme_err_")

_OPCODES = {0x01: "write", 0x02: "read"}


@dataclass(frozen=True)
class Transfer:
    drive: str
    # "read": drive to memory; "write": memory to drive; else the opcode.
    direction: str
    address: int
    length: int


@dataclass
class Count:
    inside: int = 0
    inside_bytes: int = 0
    outside: int = 0
    outside_bytes: int = 0


@dataclass
class DmaTrace:
    """Reads a growing trace file; drives is namespace id -> drive."""

    path: Path
    drives: dict[int, str]
    transfers: list[Transfer] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _offset: int = 0
    _drive: str = ""
    _direction: str = ""

    def update(self) -> None:
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        complete = data.rfind(b"\n") + 1
        self._offset += complete
        for line in data[:complete].decode(errors="replace").splitlines():
            self._line(line)

    def _line(self, line: str) -> None:
        if match := _ADDR.search(line):
            if self._drive:
                self.transfers.append(Transfer(self._drive, self._direction,
                                               int(match[1], 16), int(match[2])))
        elif match := _IO.search(line):
            nsid, opcode = int(match[1], 16), int(match[2], 16)
            self._drive = self.drives.get(nsid, f"nsid-{nsid}")
            self._direction = _OPCODES.get(opcode, f"opcode-{opcode:#x}")
        elif _ADMIN.search(line):
            self._drive = ""
        elif _ERROR.search(line):
            self.errors.append(line.strip())

    def reset(self) -> None:
        self.update()
        self.transfers.clear()
        self.errors.clear()

    def count(self, start: int, size: int) -> dict[tuple[str, str], Count]:
        """Per (drive, direction), in and outside [start, start + size)."""
        self.update()
        counts: dict[tuple[str, str], Count] = {}
        for transfer in self.transfers:
            count = counts.setdefault((transfer.drive, transfer.direction), Count())
            if start <= transfer.address and \
               transfer.address + transfer.length <= start + size:
                count.inside += 1
                count.inside_bytes += transfer.length
            else:
                count.outside += 1
                count.outside_bytes += transfer.length
        return counts
