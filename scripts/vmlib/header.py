# SPDX-License-Identifier: GPL-2.0
"""What a kselftest needs, as its header comment says.

The first comment block of a test, shell or C, may have lines like these:

    # topology: switch             the machine (default switch)
    # kernels: normal debug        which kernels (default these two)
    # debug-cases: REGEX           only cases whose function or title matches run on the
    #                              debug kernel
    # timeout: 60                  seconds on the normal kernel (default 60)
    # cmdline: p2pdma.acs=switch   more kernel parameters
    # cpu: EPYC                    QEMU CPU model
    # iommu: intel-pt              none intel intel-pt amd-pt
    # memory: 2048                 MiB
    # smp: 2                       CPUs
    # trace: dma                   lets the test ask what drives addressed
    # tags: core nvme              names for "make check T=..."
    # own-boot: yes                shares its machine with no other test
    # leaks: normal                kernels on which its machine looks for leaks when
                                   it is switched off
    # allow: REGEX                 a kernel message that is this test's purpose;
                                   may be repeated; say why in the line before
    # skip: REGEX                  a reason for which a case may skip in the machine
                                   above; without, a case that skips has failed

Tests with the same needs share one boot, with the traces that any of them asks
for.  A key that is not in this list is prose.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from . import machine

from topologies import TOPOLOGIES

_LINE = re.compile(r"^\s*(?:#|//|/?\*)\s*(topology|kernels|timeout|cmdline|cpu|iommu|"
                   r"memory|smp|trace|tags?|own-boot|leaks|debug-cases|"
                   r"allow|skip):\s+(.*?)\s*$")
_COMMENT = re.compile(r"^\s*(?:#(?!include)|//|/\*|\*|$)")
KERNELS = ("normal", "debug", "nop2pdma", "stock", "gcov")


class HeaderError(Exception):
    pass


@dataclass(frozen=True)
class Needs:
    """What decides whether two tests can share a boot."""

    topology: str = "switch"
    cmdline: str = ""
    cpu: str = ""
    iommu: str = ""
    memory: int = 0
    smp: int = 2
    # The name of the test, if it wants a boot of its own.
    alone: str = ""


@dataclass(frozen=True)
class Test:
    name: str
    needs: Needs
    kernels: tuple[str, ...]
    timeout: int
    tags: tuple[str, ...]
    trace: tuple[str, ...]
    leaks: tuple[str, ...]
    debug_cases: str
    allow: tuple[re.Pattern[str], ...]
    skip: tuple[re.Pattern[str], ...]

    def runs_on(self, kernel: str) -> bool:
        # What counts coverage is the normal kernel, with failing allocations.
        if kernel == "gcov":
            return "normal" in self.kernels or "debug" in self.kernels
        return kernel in self.kernels

    def matches(self, word: str) -> bool:
        return word in (self.name, Path(self.name).stem, self.needs.topology) + self.tags


def _fields(source: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in source.read_text(encoding="utf-8").splitlines():
        if not _COMMENT.match(line):
            break
        if match := _LINE.match(line):
            key = "tags" if match[1] == "tag" else match[1]
            found.setdefault(key, []).append(match[2])
    return found


def has_header(source: Path) -> bool:
    return "topology" in _fields(source)


def parse(name: str, source: Path) -> Test:
    fields = _fields(source)

    def one(key: str, default: str = "") -> str:
        values = fields.get(key, [default])
        if len(values) > 1:
            raise HeaderError(f"{source}: {key} twice in the header")
        return values[0]

    def number(key: str, default: int) -> int:
        text = one(key, str(default))
        if not text.isdigit():
            raise HeaderError(f"{source}: {key}: {text!r} is not a number")
        return int(text)

    def known(key: str, value: str, values: "tuple[str, ...] | dict[str, object]") -> str:
        if value not in values:
            raise HeaderError(f"{source}: {key}: {value!r} is none of {' '.join(values)}")
        return value

    def patterns(key: str) -> tuple[re.Pattern[str], ...]:
        try:
            return tuple(re.compile(text) for text in fields.get(key, []))
        except re.error as error:
            raise HeaderError(f"{source}: {key}: {error}") from error

    def kernel_names(key: str, default: str = "") -> tuple[str, ...]:
        return tuple(known(key, word, KERNELS) for word in one(key, default).split())

    needs = Needs(
        topology=known("topology", one("topology", "switch"), {**TOPOLOGIES}),
        cmdline=" ".join(fields.get("cmdline", [])), cpu=one("cpu"),
        iommu=known("iommu", one("iommu"), ("", *machine.IOMMUS)),
        memory=number("memory", 0), smp=number("smp", 2),
        alone=name if known("own-boot", one("own-boot", "no"), ("yes", "no")) == "yes" else "")
    return Test(name, needs, kernel_names("kernels", "normal debug"), number("timeout", 60),
                tuple(" ".join(fields.get("tags", [])).replace(",", " ").split()),
                tuple(" ".join(fields.get("trace", [])).split()), kernel_names("leaks"),
                one("debug-cases"), patterns("allow"), patterns("skip"))
