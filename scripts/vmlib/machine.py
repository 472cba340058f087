# SPDX-License-Identifier: GPL-2.0
"""One run of a virtual machine: build its command line, start it, serve it.

The guest has three channels to the host beside its console: the output of the
command it runs, a port for questions ("vmhost" in the guest), and QMP behind
that port.  All are inherited socket pairs: nothing listens anywhere, and the
machine has no network.
"""

from __future__ import annotations

import json
import os
import random
import re
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from . import console, dmatrace, paths

from topologies import Device, Drive, Topology  # noqa: E402  (path set by paths)

# No translating AMD one: QEMU 7.2 takes every function below a bridge for one
# of bus 0, so their DMA is lost.
_IOMMU: dict[str, tuple[list[str], str]] = {
    "none": ([], "intel_iommu=off amd_iommu=off"),
    "intel": (["-device", "intel-iommu,intremap=off"], "intel_iommu=on iommu=nopt"),
    "intel-pt": (["-device", "intel-iommu,intremap=off"], "intel_iommu=on iommu=pt"),
    "amd-pt": (["-device", "amd-iommu"], "iommu=pt"),
}
IOMMUS = tuple(_IOMMU)

# A panic ends the machine at once; stalls of an emulator on a busy host are
# not the kernel's, nor is a timer that ticks late there (with interrupt
# remapping the kernel would panic); KUnit runs only where it is asked for.
_CMDLINE = ("root=/dev/vda ro rootfstype=squashfs init=/sbin/p2pdma-init "
            "console=ttyS0 panic=-1 oops=panic printk.devkmsg=on "
            "no_timer_check watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120")

# These end what hangs; the slowest machine does not reach them. The first: how
# long the guest may take to switch off after its command ended.
_POWEROFF_TIMEOUT = 900
_PLUG_TIMEOUT = 300
_QMP_TIMEOUT = 300
_SEED = 0x7032


def needs_one_thread(variant: str) -> bool:
    """With a thread for each CPU, QEMU 7.2 now and then runs an instruction that
    another CPU has just finished patching.  Only this kernel patches its code."""
    return variant == "debug"


class MachineError(Exception):
    """The machine could not be started; nothing about the kernel."""


@dataclass(frozen=True)
class Config:
    """What to run.  Empty or None: the topology's default."""

    name: str
    kernel: Path
    payload: Path
    topology: Topology
    command: str
    cmdline: str = ""
    cpu: str = ""
    iommu: str = ""
    memory_mib: int = 1024
    smp: int = 2
    timeout: float = 300
    initrd: Optional[Path] = None
    accel: str = "tcg"
    icount: bool = False
    one_thread: bool = False
    kunit: bool = False
    trace: tuple[str, ...] = ()
    drive_mib: int = 0
    keep: bool = False
    # Disk images that exist already, by drive name.
    images: dict[str, Path] = field(default_factory=dict)


@dataclass
class Result:
    """What came of it.  `problems` are the machine's, `findings` the kernel's."""

    status: Optional[int] = None
    # In all; until the command's first output; until its end; from there on.
    seconds: float = 0.0
    boot_seconds: float = 0.0
    command_seconds: float = 0.0
    off_seconds: float = 0.0
    console: Path = Path()
    output: Path = Path()
    trace: Optional[Path] = None
    run_dir: Path = Path()
    problems: list[str] = field(default_factory=list)
    findings: list[console.Finding] = field(default_factory=list)
    # With a DMA trace: all transfers; how many there were at each mark; and,
    # by device, the memory BARs as QEMU knows them: number, address, size.
    transfers: list[dmatrace.Transfer] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)
    bars: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status in (0, 4) and not self.problems and not self.findings


def _make_image(path: Path, drive: Drive, size: int) -> None:
    """A sparse file, or one full of data that the seed makes known."""
    with open(path, "wb") as file:
        if drive.random:
            source = random.Random(_SEED)
            for _ in range(size >> 20):
                file.write(source.randbytes(1 << 20))
        file.truncate(size)


class Qmp:
    """QEMU's control channel; answers and events come over one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""
        self.events: list[dict[str, Any]] = []
        self._greeted = False

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._sock.settimeout(max(0.01, deadline - time.monotonic()))
            data = self._sock.recv(65536)
            if not data:
                raise ConnectionError("QMP closed")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def execute(self, request: dict[str, Any], timeout: float = _QMP_TIMEOUT) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        if not self._greeted:
            self._next(deadline)
            self._greeted = True
            self.execute({"execute": "qmp_capabilities"}, timeout)
        self._sock.settimeout(timeout)
        self._sock.sendall(json.dumps(request).encode() + b"\n")
        while True:
            message = self._next(deadline)
            if "event" in message:
                self.events.append(message)
            elif "return" in message or "error" in message:
                return message

    def wait_event(self, match: Callable[[dict[str, Any]], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            for event in self.events:
                if match(event):
                    self.events.remove(event)
                    return
            self.events.append(self._next(deadline))


class Machine:
    """Runs one Config.  Use once: Machine(config).run()."""

    def __init__(self, config: Config, live: bool = False, shell: bool = False) -> None:
        self.config = config
        self.live = live
        self.shell = shell
        self.result = Result()
        self._out, self._out_guest = socket.socketpair()
        self._host, self._host_guest = socket.socketpair()
        qmp, self._qmp_guest = socket.socketpair()
        self._qmp = Qmp(qmp)
        self._host_buffer = b""
        self._first: Optional[float] = None
        self._ended: Optional[float] = None
        self._dma: Optional[dmatrace.DmaTrace] = None
        self._process: Optional[subprocess.Popen[bytes]] = None

    # --- the command line ---

    def _device_args(self) -> list[str]:
        args: list[str] = []
        for device in self.config.topology.devices:
            for obj in device.objects:
                args += ["-object", obj]
            args += ["-device", device.arg]
            if isinstance(device, Drive):
                args += ["-blockdev", f"driver=file,node-name={device.name}-file,"
                                      # The disk is thrown away; a flush would
                                      # stop the machine until it is on the host's
                                      "cache.no-flush=on,"
                                      f"filename={self._image(device)}",
                         "-blockdev", f"driver=raw,node-name={device.name}-disk,"
                                      "cache.no-flush=on,"
                                      f"file={device.name}-file",
                         "-device", f"nvme-ns,id={device.name}-ns,bus={device.name},"
                                    f"drive={device.name}-disk,nsid={device.nsid}"]
        return args

    def _image(self, drive: Drive) -> Path:
        if drive.name in self.config.images:
            return self.config.images[drive.name]
        return self.result.run_dir / f"{drive.name}.img"

    def _kernel_cmdline(self) -> str:
        config, topology = self.config, self.config.topology
        parts = [_CMDLINE, _IOMMU[config.iommu or topology.iommu][1]]
        parts.append(f"kunit.enable={config.kunit:d}")
        return " ".join(filter(None, (*parts, topology.cmdline, config.cmdline)))

    def _console_args(self) -> list[str]:
        log = self.result.console
        if self.shell:
            return ["-chardev", f"stdio,id=console,mux=on,signal=off,logfile={log}",
                    "-serial", "chardev:console", "-mon", "chardev=console"]
        return ["-serial", f"file:{log}"]

    def _accel(self) -> str:
        if self.config.accel != "tcg" or self.config.icount:
            return self.config.accel
        return "tcg,thread=" + ("single" if self.config.one_thread else "multi")

    def _qemu_args(self, command: Path) -> list[str]:
        config, topology = self.config, self.config.topology
        iommu = config.iommu or topology.iommu
        args = ["qemu-system-x86_64", "-name", config.name,
                "-machine", "q35" + (",kernel-irqchip=split"
                                     if iommu != "none" and config.accel == "kvm" else ""),
                "-accel", self._accel(),
                "-cpu", config.cpu or topology.cpu,
                "-m", f"{config.memory_mib}M", "-smp", str(config.smp),
                "-nodefaults", "-no-user-config", "-no-reboot",
                "-display", "none", "-nic", "none",
                "-kernel", str(config.kernel), "-append", self._kernel_cmdline(),
                *self._console_args(),
                # An IOMMU must exist before the devices behind it.
                *_IOMMU[iommu][0]]
        if config.icount:
            args += ["-icount", "shift=0,sleep=off"]
        if config.initrd:
            args += ["-initrd", str(config.initrd)]

        for index, image in enumerate((paths.GUEST_IMAGE, config.payload, command)):
            args += ["-drive", f"file={image},format=raw,if=none,id=vd{index},readonly=on",
                     "-device", f"virtio-blk-pci,drive=vd{index},addr={0x10 + index:#x}"]
        args += ["-device", "virtio-serial-pci,addr=0x14"]
        for name, sock in (("out", self._out_guest), ("host", self._host_guest)):
            args += ["-chardev", f"socket,id={name},fd={sock.fileno()}",
                     "-device", f"virtserialport,chardev={name},name=p2pdma.{name}"]
        args += ["-chardev", f"socket,id=qmp,fd={self._qmp_guest.fileno()}",
                 "-mon", "chardev=qmp,mode=control"]

        args += self._device_args()
        args += topology.qemu
        if self.result.trace:
            for event in self._trace_events():
                args += ["-trace", event]
            args += ["-D", str(self.result.trace)]
        return args

    def _trace_events(self) -> list[str]:
        events: list[str] = []
        for event in self.config.trace:
            events += dmatrace.EVENTS if event == "dma" else (event,)
        return events

    # --- the run ---

    def run(self) -> Result:
        config, result = self.config, self.result
        for needed in (config.kernel, config.payload, paths.GUEST_IMAGE):
            if not needed.exists():
                raise MachineError(f"{needed} does not exist; was it built?")
        for directory in (paths.RUN, paths.LOG):
            directory.mkdir(parents=True, exist_ok=True)
        self._prune()
        result.run_dir = Path(tempfile.mkdtemp(prefix=f"{config.name}.", dir=paths.RUN))
        result.console = paths.LOG / f"vm-{config.name}.log"
        result.output = paths.LOG / f"vm-{config.name}.out"
        if config.trace:
            result.trace = result.run_dir / "trace.log"
            result.trace.touch()
            self._dma = dmatrace.DmaTrace(
                result.trace, {drive.nsid: drive.name for drive in config.topology.drives})
        for path in (result.console, result.output):
            path.unlink(missing_ok=True)
            path.touch()
        for drive in config.topology.drives:
            if drive.name not in config.images:
                _make_image(self._image(drive), drive,
                            config.drive_mib << 20 or drive.size)

        start = time.monotonic()
        try:
            self._run_qemu()
        finally:
            self._stop()
            end = time.monotonic()
            result.seconds = end - start
            # What did not come took until the end.
            first, ended = self._first or end, self._ended or end
            result.boot_seconds = first - start
            result.command_seconds = ended - first
            result.off_seconds = end - ended
        if self._dma:
            self._dma.update()
            result.transfers = self._dma.transfers
        result.findings = console.scan(console.read_lines(result.console))
        return result

    def _prune(self) -> None:
        """What an earlier failed run of this name left behind."""
        pattern = re.compile(re.escape(self.config.name) + r"\.[a-z0-9_]{8}$")
        for entry in paths.RUN.iterdir():
            if pattern.match(entry.name):
                shutil.rmtree(entry, ignore_errors=True)

    def clean(self) -> None:
        """Remove the run's directory, unless the user wants to look at it."""
        if not self.config.keep and self.result.ok:
            shutil.rmtree(self.result.run_dir, ignore_errors=True)

    def _run_qemu(self) -> None:
        config, result = self.config, self.result
        command = result.run_dir / "command"
        script = (config.command.rstrip("\n") + "\n").encode()
        command.write_bytes(script + b"\0" * (-len(script) % 4096))

        args = self._qemu_args(command)
        (result.run_dir / "qemu.args").write_text("\n".join(args) + "\n")
        inherited = (self._out_guest, self._host_guest, self._qmp_guest)
        with open(result.run_dir / "qemu.err", "wb") as errors:
            # If this process is killed, the machine goes with it.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *args],
                pass_fds=[sock.fileno() for sock in inherited],
                stdin=None if self.shell else subprocess.DEVNULL,
                stdout=None if self.shell else errors, stderr=errors)
        for sock in inherited:
            sock.close()
        self._serve()
        self._judge_exit()

    def _serve(self) -> None:
        """Until QEMU ends or a time limit passes: pass on output, answer the guest."""
        assert self._process
        selector = selectors.DefaultSelector()
        deadline = time.monotonic() + self.config.timeout
        with open(self.result.output, "wb") as output:
            selector.register(self._out, selectors.EVENT_READ,
                              lambda: self._pass_on(output))
            selector.register(self._host, selectors.EVENT_READ, self._answer)
            while self._process.poll() is None:
                for key, _ in selector.select(0.2):
                    if not key.data():
                        selector.unregister(key.fileobj)
                now = time.monotonic()
                if self._ended and now > self._ended + _POWEROFF_TIMEOUT:
                    self.result.problems.append(
                        f"the guest did not switch off within {_POWEROFF_TIMEOUT} s")
                    return
                if not self._ended and not self.shell and now > deadline:
                    self.result.problems.append(
                        f"time limit of {self.config.timeout:.0f} s")
                    return
            # What was still on its way.
            for key, _ in selector.select(0):
                key.data()

    def _pass_on(self, output: Any) -> bool:
        data = self._out.recv(65536)
        self._first = self._first or time.monotonic()
        output.write(data)
        output.flush()
        if self.live:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        return bool(data)

    def _judge_exit(self) -> None:
        assert self._process
        code = self._process.poll()
        if code:
            text = (self.result.run_dir / "qemu.err").read_text(errors="replace").strip()
            self.result.problems.append(f"QEMU failed (status {code}): {text[-2000:]}")
        elif code == 0 and self.result.status is None and not self.shell:
            self.result.problems.append(
                "the machine ended before its command reported a status")

    def _stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
        if self._process:
            self._process.wait()
        for sock in (self._out, self._host):
            sock.close()

    # --- questions from the guest ---

    def _answer(self) -> bool:
        data = self._host.recv(65536)
        self._host_buffer += data
        while b"\n" in self._host_buffer:
            line, self._host_buffer = self._host_buffer.split(b"\n", 1)
            try:
                answer = "ok " + self._request(line.decode(errors="replace").strip())
            except (ValueError, KeyError, OSError, MachineError) as error:
                answer = f"error {error}"
            # One line per answer; the guest's tool turns these back.
            self._host.sendall(answer.replace("\n", "\r").encode() + b"\n")
        return bool(data)

    def _request(self, line: str) -> str:
        verb, _, rest = line.partition(" ")
        requests: dict[str, Callable[[str], str]] = {
            "ping": lambda _: "here",
            "exit": self._request_exit,
            "qmp": self._request_qmp,
            "unplug": self._request_unplug,
            "plug": self._request_plug,
            "dma-reset": self._request_dma_reset,
            "dma": self._request_dma,
            "mark": self._request_mark,
        }
        if verb not in requests:
            raise MachineError(f"unknown request {verb}; there are {' '.join(requests)}")
        return requests[verb](rest.strip())

    def _request_exit(self, rest: str) -> str:
        self.result.status = int(rest)
        self._first = self._first or time.monotonic()
        self._ended = time.monotonic()
        if self._dma:
            self.result.bars = self._read_bars()
        return ""

    def _request_qmp(self, rest: str) -> str:
        answer = self._qmp.execute(json.loads(rest))
        if "error" in answer:
            raise MachineError(json.dumps(answer["error"]))
        return json.dumps(answer["return"])

    def _device(self, name: str) -> Device:
        device = self.config.topology.device(name)
        if not device:
            names = " ".join(dev.name for dev in self.config.topology.devices)
            raise MachineError(f"no device {name}; this topology has: {names}")
        return device

    def _command(self, command: str, **arguments: Any) -> None:
        answer = self._qmp.execute({"execute": command, "arguments": arguments})
        if "error" in answer:
            raise MachineError(answer["error"].get("desc", str(answer)))

    def _request_unplug(self, rest: str) -> str:
        device = self._device(rest)
        self._command("device_del", id=device.name)
        self._qmp.wait_event(lambda event: event["event"] == "DEVICE_DELETED" and
                             event["data"].get("device") == device.name, _PLUG_TIMEOUT)
        return ""

    def _request_plug(self, rest: str) -> str:
        device = self._device(rest)
        arguments = {"driver": device.driver, "id": device.name, "bus": device.bus}
        arguments.update(prop.split("=", 1) for prop in device.props)
        if isinstance(device, Drive):
            # A namespace device cannot be plugged: the drive brings its own,
            # which has namespace id 1.
            arguments["drive"] = f"{device.name}-disk"
            if self._dma:
                self._dma.drives[1] = device.name
        self._command("device_add", **arguments)
        return ""

    def _request_dma_reset(self, _: str) -> str:
        self._trace().reset()
        return ""

    def _request_dma(self, rest: str) -> str:
        start, size = (int(word, 0) for word in rest.split())
        lines = [f"drive={drive} direction={direction} "
                 f"inside={count.inside} inside_bytes={count.inside_bytes} "
                 f"outside={count.outside} outside_bytes={count.outside_bytes}"
                 for (drive, direction), count
                 in sorted(self._trace().count(start, size).items())]
        return "\n".join(lines)

    def _request_mark(self, rest: str) -> str:
        trace = self._trace()
        trace.update()
        self.result.marks[rest] = len(trace.transfers)
        return ""

    def _read_bars(self) -> dict[str, list[tuple[int, int, int]]]:
        bars: dict[str, list[tuple[int, int, int]]] = {}

        def walk(devices: list[dict[str, Any]]) -> None:
            for device in devices:
                bars[device["qdev_id"]] = [
                    (region["bar"], region["address"], region["size"])
                    for region in device["regions"] if region["type"] == "memory"]
                walk(device.get("pci_bridge", {}).get("devices", []))

        for bus in self._qmp.execute({"execute": "query-pci"})["return"]:
            walk(bus["devices"])
        return bars

    def _trace(self) -> dmatrace.DmaTrace:
        if not self._dma or "dma" not in self.config.trace:
            raise MachineError('this run has no DMA trace ("# trace: dma")')
        return self._dma
