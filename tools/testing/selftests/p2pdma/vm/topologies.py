# SPDX-License-Identifier: GPL-2.0
"""The named machines that the tests run on.

This is the one place where a QEMU topology is described.  A topology is a
list of devices, in the order in which QEMU must be told about them; a test
asks for one by name in its header ("# topology: switch").

Roles, as everywhere in this series: a *provider* has memory in a BAR, a
*client* does DMA to it.  The drives carry their role as their serial number,
so that a guest finds a drive by looking for "src", "dst" or "cmb" in
/sys/class/nvme/nvme*/serial, wherever it was enumerated.  Drives "rnic0" and
"rnic1" are there to become RDMA adapters: modules/p2pdma_rnic takes them from
the nvme driver and uses their DMA, with their namespace as scratch space.

Every drive's namespace has a namespace id of its own.  QEMU's trace names
the namespace of each command, so the trace tells which drive addressed what.

What QEMU shows and what it cannot show: it routes every DMA straight through
the requester's address space and models neither switch-local routing nor ACS.
These machines test the kernel's decision and the address that a device was
given, not the fabric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

MIB = 1 << 20


@dataclass(frozen=True)
class Device:
    """One -device.  `name` is its QEMU id; `bus` is the id of another one."""

    name: str
    driver: str
    bus: str
    props: tuple[str, ...] = ()
    # The -object lines that the device refers to.
    objects: tuple[str, ...] = ()

    @property
    def arg(self) -> str:
        return ",".join((self.driver, f"id={self.name}", f"bus={self.bus}", *self.props))


@dataclass(frozen=True)
class Drive(Device):
    """An NVMe drive with one namespace; its serial number is its name."""

    nsid: int = 1
    size: int = 64 * MIB
    # True: filled with random data (from a seed, so that it can be known).
    random: bool = False


@dataclass(frozen=True)
class Topology:
    name: str
    summary: str
    picture: str
    devices: tuple[Device, ...] = ()
    # Added to QEMU's and the kernel's command line.
    qemu: tuple[str, ...] = ()
    cmdline: str = ""
    # Defaults that a test may override in its header.
    cpu: str = "max"
    iommu: str = "none"

    @property
    def drives(self) -> list[Drive]:
        return [dev for dev in self.devices if isinstance(dev, Drive)]

    def device(self, name: str) -> Optional[Device]:
        return next((dev for dev in self.devices if dev.name == name), None)


# --- building blocks -------------------------------------------------------

_MEMORY_ONLY_SIZE = "16M"

# nvme-rdma maps completions of 16 bytes that share a cache line, of which the
# debug kernel's dma_debug complains.
_WITH_NVME_RDMA = "dma_debug=off"


def root_port(name: str, number: int, bus: str = "pcie.0") -> Device:
    """A root port.  It has an ACS capability; all of its bits are writable."""
    return Device(name, "pcie-root-port", bus, (f"chassis={number}", f"slot={number}"))


def upstream(name: str, bus: str) -> Device:
    return Device(name, "x3130-upstream", bus)


def downstream(name: str, bus: str, number: int) -> Device:
    """A switch downstream port.  QEMU's has no ACS capability: no redirects."""
    return Device(name, "xio3130-downstream", bus, (f"chassis={number}", f"slot={number}"))


def acs_leg(name: str, bus: str, number: int) -> Device:
    """A switch leg with an ACS capability.

    QEMU has no downstream port with one, but takes a root port below an
    upstream port; the kernel enumerates it there (its type reads root port).
    """
    return Device(name, "pcie-root-port", bus, (f"chassis={number}", f"slot={number}"))


def drive(name: str, bus: str, nsid: int, *props: str, cmb_mib: int = 0,
          random: bool = False, objects: tuple[str, ...] = (),
          size: int = 64 * MIB) -> Drive:
    if cmb_mib:
        props += (f"cmb_size_mb={cmb_mib}",)
    return Drive(name, "nvme", bus, (f"serial={name}", *props), objects,
                 nsid=nsid, size=size, random=random)


def memory_only(name: str, bus: str, size: str = _MEMORY_ONLY_SIZE) -> Device:
    """A function with nothing but memory in BAR 2 (1af4:1110)."""
    return Device(name, "ivshmem-plain", bus, (f"memdev={name}-ram",),
                  (f"memory-backend-ram,id={name}-ram,size={size},share=on",))


def dma_engine(name: str, bus: str) -> Device:
    """QEMU's teaching device (1234:11e8), whose DMA engine reaches any address."""
    return Device(name, "edu", bus, ("dma_mask=0xffffffffffffffff",))


def _switch(*legs: Device, number: int = 1) -> tuple[Device, ...]:
    return (root_port("rp", number), upstream("up", "rp"), *legs)


def _switch_with_cmb(*cmb_props: str, cmb_mib: int = 16) -> tuple[Device, ...]:
    """The demo's three drives; the third one carries the memory."""
    return _switch(
        downstream("leg1", "up", 11), downstream("leg2", "up", 12),
        downstream("leg3", "up", 13),
        drive("src", "leg1", 11, random=True), drive("dst", "leg2", 12),
        drive("cmb", "leg3", 13, *cmb_props, cmb_mib=cmb_mib))


def _switch_with_mem() -> tuple[Device, ...]:
    """The same, and a function that is nothing but memory."""
    return _switch_with_cmb() + (
        downstream("leg4", "up", 14), memory_only("mem", "leg4"))


def _acs_legs() -> tuple[Device, ...]:
    """The same drives and memory, below legs with ACS."""
    return (
        acs_leg("leg1", "up", 11), acs_leg("leg2", "up", 12),
        acs_leg("leg3", "up", 13), acs_leg("leg4", "up", 14),
        drive("src", "leg1", 11, random=True), drive("dst", "leg2", 12),
        drive("cmb", "leg3", 13, cmb_mib=16), memory_only("mem", "leg4"))


def _mem_picture(below: str, root: str = "", legs: str = "") -> str:
    """Four legs; `root` and `legs` are said beside these ports, `below` under mem."""
    return f"""\
        root complex -------- system memory
             |
         root port (rp){root}
             |
        switch (up)
     /      |        \\          \\
   leg1    leg2      leg3       leg4{legs}
    |       |         |          |
   src     dst       cmb        mem
{below}"""


def _cmb_picture(cmb: str) -> str:
    return f"""\
        root complex -------- system memory
             |
         root port (rp)
             |
        switch (up)
     /       |        \\
   leg1     leg2      leg3
    |        |         |
   src      dst       cmb: drive with {cmb}"""


# --- the topologies --------------------------------------------------------

_ALL = (
    Topology(
        name="switch",
        summary="three drives and a memory-only function below one switch; "
                "drive cmb has a 16 MiB CMB.  The demo's machine.",
        picture=_mem_picture("""\
  drive   drive     drive      memory only,
                  16 MiB CMB   16 MiB BAR"""),
        devices=_switch_with_mem(),
    ),
    Topology(
        name="switch-acs",
        summary="as switch, but every leg of the switch has writable ACS bits",
        picture=_mem_picture("                  16 MiB CMB   16 MiB BAR",
                             legs="      <- SV TB RR CR UF DT"),
        devices=_switch(*_acs_legs()),
    ),
    Topology(
        name="switch-acs-shared",
        summary="as switch-acs, below a root port without ACS: whatever its legs do, "
                "all below it are in one IOMMU group",
        picture=_mem_picture("                  16 MiB CMB   16 MiB BAR",
                             root="                     <- no ACS",
                             legs="      <- SV TB RR CR UF DT"),
        devices=(
            Device("rp", "ioh3420", "pcie.0", ("chassis=1", "slot=1")),
            upstream("up", "rp"), *_acs_legs()),
    ),
    Topology(
        name="rnic",
        cmdline=_WITH_NVME_RDMA,
        summary="as switch, plus two drives that p2pdma_rnic makes RDMA adapters",
        picture="""\
        root complex -------- system memory
             |
         root port (rp)
             |
        switch (up)
     /     |       |        |        |       \\
   leg1   leg2    leg3     leg4     leg5     leg6
    |      |       |        |        |        |
   src    dst     cmb      mem     rnic0    rnic1
  drive  drive   drive    memory   drive    drive
                 16 MiB   only,     with p2pdma_rnic
                  CMB     16 MiB    RDMA adapters""",
        devices=_switch_with_cmb() + (
            downstream("leg4", "up", 14), downstream("leg5", "up", 15),
            downstream("leg6", "up", 16), memory_only("mem", "leg4"),
            drive("rnic0", "leg5", 15, size=4 * MIB),
            drive("rnic1", "leg6", 16, size=4 * MIB)),
    ),
    Topology(
        name="rnic-far",
        cmdline=_WITH_NVME_RDMA,
        summary="an RDMA adapter and two drives below one switch, drive src below "
                "a root port of its own",
        picture="""\
        root complex ---------------------------- system memory
             |                              |
         root port (rp)                root port (rp2)
             |                              |
        switch (up)                        src
     /     |      |       \\              drive
   leg1   leg2   leg3     leg4
    |      |      |        |
   dst    cmb    mem     rnic0""",
        devices=_switch(
            downstream("leg1", "up", 11), downstream("leg2", "up", 12),
            downstream("leg3", "up", 13), downstream("leg4", "up", 14),
            root_port("rp2", 2),
            drive("src", "rp2", 11, random=True), drive("dst", "leg1", 12),
            drive("cmb", "leg2", 13, cmb_mib=16), memory_only("mem", "leg3"),
            drive("rnic0", "leg4", 15, size=4 * MIB)),
    ),
    Topology(
        name="rnic-acs",
        cmdline=_WITH_NVME_RDMA,
        summary="as rnic with one adapter, but every leg has writable ACS bits",
        picture="""\
        root complex -------- system memory
             |
         root port (rp)
             |
        switch (up)
     /     |       |        |        \\
   leg1   leg2    leg3     leg4     leg5   <- SV TB RR CR UF DT
    |      |       |        |        |
   src    dst     cmb      mem     rnic0
                 16 MiB   16 MiB
                  CMB      BAR""",
        devices=_switch(*_acs_legs(), acs_leg("leg5", "up", 15),
                        drive("rnic0", "leg5", 15, size=4 * MIB)),
    ),
    Topology(
        name="rnic-switches",
        cmdline=_WITH_NVME_RDMA,
        summary="two switches, each with an RDMA adapter and a drive with a CMB; "
                "what is below one meets the other only in the root complex",
        picture="""\
             root complex -------- system memory
            /                     \\
       root port (rp)         root port (rp2)
          |                       |
      switch (up)             switch (up2)
     /     |     \\           /     |     \\
   leg1   leg2  leg3      leg21  leg22  leg23
    |      |     |          |      |      |
   cmb    src  rnic0       dst    mem   rnic1
  16 MiB                 16 MiB
   CMB                    CMB""",
        devices=_switch(
            downstream("leg1", "up", 11), downstream("leg2", "up", 12),
            downstream("leg3", "up", 13),
            root_port("rp2", 2), upstream("up2", "rp2"),
            downstream("leg21", "up2", 21), downstream("leg22", "up2", 22),
            downstream("leg23", "up2", 23),
            drive("src", "leg2", 11, random=True),
            drive("dst", "leg21", 12, cmb_mib=16),
            drive("cmb", "leg1", 13, cmb_mib=16), memory_only("mem", "leg22"),
            drive("rnic0", "leg3", 15, size=4 * MIB),
            drive("rnic1", "leg23", 16, size=4 * MIB)),
    ),
    Topology(
        name="switch-nested",
        summary="a switch below a switch: the provider is one level deeper",
        picture="""\
        root complex -------- system memory
             |
         root port (rp)
             |
        switch (up)
     /       |        \\
   leg1     leg2      leg3
    |        |         |
   src      dst     switch (up2)
                    /        \\
                 leg21      leg22
                   |          |
                  cmb        mem
               16 MiB CMB   16 MiB BAR""",
        devices=_switch(
            downstream("leg1", "up", 11), downstream("leg2", "up", 12),
            downstream("leg3", "up", 13), upstream("up2", "leg3"),
            downstream("leg21", "up2", 21), downstream("leg22", "up2", 22),
            drive("src", "leg1", 11, random=True), drive("dst", "leg2", 12),
            drive("cmb", "leg21", 13, cmb_mib=16), memory_only("mem", "leg22")),
    ),
    Topology(
        name="switch-dma",
        summary="as switch, plus two functions with a DMA engine (edu)",
        picture="""\
        root complex -------- system memory
             |
         root port (rp)
             |
        switch (up)
     /    |     |      |      |      \\
   leg1  leg2  leg3   leg4   leg5   leg6
    |     |     |      |      |      |
   src   dst   cmb    mem   dma0   dma1""",
        devices=_switch_with_cmb() + (
            downstream("leg4", "up", 14), downstream("leg5", "up", 15),
            downstream("leg6", "up", 16), memory_only("mem", "leg4"),
            dma_engine("dma0", "leg5"), dma_engine("dma1", "leg6")),
    ),
    Topology(
        name="two-root-ports",
        summary="every drive below a root port of its own: they meet only in "
                "the root complex",
        picture="""\
              root complex -------- system memory
     /          |          \\          \\
    rp1        rp2         rp3        rp4
     |          |           |          |
    src        dst         cmb        mem
                        16 MiB CMB   16 MiB BAR""",
        devices=(
            root_port("rp1", 1), root_port("rp2", 2), root_port("rp3", 3),
            root_port("rp4", 4),
            drive("src", "rp1", 11, random=True), drive("dst", "rp2", 12),
            drive("cmb", "rp3", 13, cmb_mib=16), memory_only("mem", "rp4")),
    ),
    Topology(
        name="host-bridges",
        summary="src and dst below one host bridge, cmb and mem below another",
        picture="""\
   host bridge 0      host bridge at bus 0x80    host bridge at bus 0xc0
   system memory        rp1         rp2             rp3         rp4
                         |           |               |           |
                        src         dst             cmb         mem
                                                16 MiB CMB  16 MiB BAR""",
        devices=(
            Device("hb1", "pxb-pcie", "pcie.0", ("bus_nr=0x80",)),
            Device("hb2", "pxb-pcie", "pcie.0", ("bus_nr=0xc0",)),
            root_port("rp1", 1, "hb1"), root_port("rp2", 2, "hb1"),
            root_port("rp3", 3, "hb2"), root_port("rp4", 4, "hb2"),
            drive("src", "rp1", 11, random=True), drive("dst", "rp2", 12),
            drive("cmb", "rp3", 13, cmb_mib=16), memory_only("mem", "rp4")),
    ),
    Topology(
        name="conventional",
        summary="the memory-only function sits behind a PCIe-to-PCI bridge",
        picture="""\
        root complex -------- system memory
             |
         root port (rp)
             |
        switch (up)
     /       |        \\
   leg1     leg2      leg3
    |        |         |
   src      dst   PCIe-to-PCI bridge (pci)
                       |
                      mem: 16 MiB BAR, conventional PCI""",
        devices=_switch(
            downstream("leg1", "up", 11), downstream("leg2", "up", 12),
            downstream("leg3", "up", 13),
            Device("pci", "pcie-pci-bridge", "leg3"),
            drive("src", "leg1", 11, random=True), drive("dst", "leg2", 12),
            Device("mem", "ivshmem-plain", "pci",
                   ("memdev=mem-ram", "addr=1"),
                   (f"memory-backend-ram,id=mem-ram,size={_MEMORY_ONLY_SIZE},share=on",))),
    ),
    Topology(
        name="multifunction",
        summary="drive cmb and drive src are two functions of one device",
        picture="""\
        root complex -------- system memory
             |
         root port (rp)
             |
        switch (up)
     /                \\
   leg1               leg2           <- leg1 has ACS
    | .0    | .1       |
   cmb     src        dst
 16 MiB CMB""",
        devices=_switch(
            acs_leg("leg1", "up", 11), downstream("leg2", "up", 12),
            drive("cmb", "leg1", 13, "addr=0.0", "multifunction=on", cmb_mib=16),
            drive("src", "leg1", 11, "addr=0.1", random=True),
            drive("dst", "leg2", 12)),
    ),
    Topology(
        name="cmb-2",
        summary="the smallest CMB that can have struct pages, 2 MiB",
        picture=_cmb_picture("a CMB of 2 MiB"),
        devices=_switch_with_cmb(cmb_mib=2),
    ),
    Topology(
        name="cmb-1",
        summary="a CMB of 1 MiB: smaller than the kernel can give struct pages",
        picture=_cmb_picture("a CMB of 1 MiB"),
        devices=_switch_with_cmb(cmb_mib=1),
    ),
    Topology(
        name="cmb-64",
        summary="a large CMB, 64 MiB, of a drive with two vectors",
        picture=_cmb_picture("a CMB of 64 MiB"),
        devices=_switch_with_cmb("msix_qsize=2", cmb_mib=64),
    ),
    Topology(
        name="cmb-legacy",
        summary="a CMB as NVMe 1.3 and older had it: no CMBMSC, always enabled",
        picture=_cmb_picture("an NVMe 1.3 CMB of 16 MiB"),
        devices=_switch_with_cmb("legacy-cmb=on"),
    ),
    Topology(
        name="cmb-sqes",
        summary="as switch; the nvme driver is told to put submission queues in "
                "the CMB",
        picture=_mem_picture("""\
                  queues in   16 MiB BAR
                   its CMB"""),
        devices=_switch_with_mem(),
        cmdline="nvme.use_cmb_sqes=1",
    ),
    Topology(
        name="two-cmbs",
        summary="two drives with a CMB each: dst has one of its own",
        picture="""\
        root complex -------- system memory
             |
         root port (rp)
             |
        switch (up)
     /       |        \\
   leg1     leg2      leg3
    |        |         |
   src      dst       cmb
         16 MiB CMB  16 MiB CMB""",
        devices=_switch(
            downstream("leg1", "up", 11), downstream("leg2", "up", 12),
            downstream("leg3", "up", 13),
            drive("src", "leg1", 11, random=True),
            drive("dst", "leg2", 12, cmb_mib=16),
            drive("cmb", "leg3", 13, cmb_mib=16)),
    ),
    Topology(
        name="pmr",
        summary="drive cmb has a persistent memory region and no CMB",
        picture=_cmb_picture("a PMR of 16 MiB and no CMB"),
        devices=_switch(
            downstream("leg1", "up", 11), downstream("leg2", "up", 12),
            downstream("leg3", "up", 13),
            drive("src", "leg1", 11, random=True), drive("dst", "leg2", 12),
            drive("cmb", "leg3", 13, "pmrdev=pmr-ram", objects=(
                "memory-backend-ram,id=pmr-ram,size=16M,share=on",))),
    ),
    Topology(
        name="no-provider",
        summary="two drives below one switch and no peer memory at all",
        picture="""\
        root complex -------- system memory
             |
         root port (rp)
             |
        switch (up)
     /             \\
   leg1            leg2
    |               |
   src             dst""",
        devices=_switch(
            downstream("leg1", "up", 11), downstream("leg2", "up", 12),
            drive("src", "leg1", 11, random=True), drive("dst", "leg2", 12)),
    ),
    Topology(
        name="bare",
        summary="no PCI device beyond the machine's own; for KUnit and "
                "simulated fabrics",
        picture="        root complex -------- system memory",
    ),
)

TOPOLOGIES: dict[str, Topology] = {top.name: top for top in _ALL}
