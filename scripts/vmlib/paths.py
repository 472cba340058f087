# SPDX-License-Identifier: GPL-2.0
"""Where things are.  Everything that is written goes below BUILD."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("BUILD", "build")).resolve()
LINUX = BUILD / "linux"
GUEST_IMAGE = BUILD / "guest" / "root.squashfs"
LOG = BUILD / "log"
RUN = BUILD / "run"
CHECK = BUILD / "check"
SELFTESTS = ROOT / "tools" / "testing" / "selftests" / "p2pdma"
GUEST_SCRIPTS = SELFTESTS / "vm"

# The topologies live with the tests, which become part of the kernel tree.
sys.dont_write_bytecode = True
sys.path.insert(0, str(GUEST_SCRIPTS))


def kernel_dir(variant: str) -> Path:
    return BUILD / f"kernel-{variant}"


def kernel_image(variant: str) -> Path:
    """Uncompressed: QEMU starts it by its PVH entry."""
    return kernel_dir(variant) / "vmlinux"
