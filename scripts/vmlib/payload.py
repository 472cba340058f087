# SPDX-License-Identifier: GPL-2.0
"""The guest's second disk: what changes with the kernel or the tests.

build/kernel-VARIANT/payload.squashfs is laid over the guest's root.  It has
the kernel's modules, the installed kselftests and the guest's own scripts.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Iterator, Optional

from . import paths

# Where the guest finds the tests.
KSELFTEST_DIR = "/opt/kselftest"

_SCRIPTS = {"guest-init.sh": "usr/lib/p2pdma/guest-init",
            "vmhost.sh": "usr/bin/vmhost"}


# Kernels without the interface that the test modules use.
_NO_TEST_MODULES = ("stock",)


class PayloadError(Exception):
    pass


def _run(command: list[str], log: Path) -> None:
    with open(log, "ab") as out:
        out.write((" ".join(command) + "\n").encode())
        out.flush()
        done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise PayloadError(f"{command[0]} failed:\n{tail}\nlog: {log}")


def _sources(directory: Path) -> Iterator[str]:
    """The tests' own files and their contents, not what was built of them."""
    listed = subprocess.run(
        ["git", "-C", str(directory), "ls-files", "-z", "--cached", "--others",
         "--exclude-standard", "."], stdout=subprocess.PIPE, check=True).stdout
    for name in sorted(filter(None, listed.decode().split("\0"))):
        file = directory / name
        if file.is_file():
            yield f"{name} {file.stat().st_mode:o} {hashlib.sha1(file.read_bytes()).hexdigest()}"


def install_kselftests(variant: str) -> Optional[Path]:
    """Let the kernel's own makefiles build and install the tests.

    Returns the directory with run_kselftest.sh, or None where the tree has no
    tests (the stock kernel, or a tree from before they were written).
    """
    selftests = paths.LINUX / "tools" / "testing" / "selftests"
    if not (selftests / "p2pdma" / "Makefile").exists():
        return None
    kernel = paths.kernel_dir(variant)
    target = kernel / "kselftest-install"
    log = paths.LOG / f"kselftest-{variant}.log"
    # Installed already, from these files and for this kernel?
    stamp = kernel / ".kselftest-stamp"
    digest = hashlib.sha256("\n".join((
        (kernel / ".stamp").read_text() if (kernel / ".stamp").exists() else "",
        *_sources(selftests / "p2pdma"))).encode()).hexdigest()
    if target.is_dir() and stamp.exists() and stamp.read_text() == digest:
        return target
    stamp.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    # Test modules are built in the source directory, for one kernel at a time:
    # what another variant left there must go.
    with open(paths.BUILD / ".kselftest.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        last = paths.BUILD / ".kselftest.variant"
        make = ["make", "-C", str(selftests), "TARGETS=p2pdma", "CC=ccache gcc",
                f"O={kernel}", f"KDIR={kernel}"]
        if variant in _NO_TEST_MODULES:
            make.append("TEST_GEN_MODS_DIR=")
        if last.exists() and last.read_text() != variant:
            _run([*make, "clean"], log)
        last.write_text(variant)
        shutil.rmtree(target, ignore_errors=True)
        _run([*make, f"INSTALL_PATH={target}", "FORCE_TARGETS=1", "install"], log)
    stamp.write_text(digest)
    return target


def _inputs(sources: list[tuple[Path, str]]) -> Iterator[str]:
    for source, target in sources:
        files = [source] if source.is_file() else sorted(source.rglob("*"))
        for file in files:
            if file.is_symlink():
                yield f"{target} {file} {os.readlink(file)}"
            elif file.is_file():
                digest = hashlib.sha1(file.read_bytes()).hexdigest()
                yield f"{target} {file} {file.stat().st_mode:o} {digest}"


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("build", "source"))
    else:
        shutil.copy2(source, target)


def build(modroot: Optional[Path], kselftests: Optional[Path], image: Path) -> Path:
    """Make `image` from these, if anything in it changed."""
    sources = [(paths.GUEST_SCRIPTS / name, target)
               for name, target in _SCRIPTS.items()]
    if modroot and (modroot / "lib" / "modules").is_dir():
        sources.append((modroot / "lib" / "modules", "usr/lib/modules"))
    if kselftests:
        sources.append((kselftests, KSELFTEST_DIR.lstrip("/")))

    # Two runners may come here at once.
    image.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{image}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        digest = hashlib.sha256("\n".join(_inputs(sources)).encode()).hexdigest()
        stamp = Path(f"{image}.inputs")
        if image.exists() and stamp.exists() and stamp.read_text() == digest:
            return image
        staging = Path(f"{image}.d")
        shutil.rmtree(staging, ignore_errors=True)
        for source, target in sources:
            _copy(source, staging / target)
        new = Path(f"{image}.new")
        new.unlink(missing_ok=True)
        _run(["mksquashfs", str(staging), str(new), "-all-root", "-comp", "zstd",
              "-Xcompression-level", "3", "-no-progress", "-quiet"],
             paths.LOG / "payload.log")
        # A machine that runs keeps the file that it opened.
        new.rename(image)
        stamp.write_text(digest)
        shutil.rmtree(staging)
    return image


def for_variant(variant: str) -> Path:
    """The payload of a kernel that this project built."""
    kernel = paths.kernel_dir(variant)
    paths.LOG.mkdir(parents=True, exist_ok=True)
    return build(kernel / "modroot", install_kselftests(variant),
                 kernel / "payload.squashfs")
