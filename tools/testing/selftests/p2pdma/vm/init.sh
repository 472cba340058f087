#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# First process of the guest, part of the read-only root image.  It lays the
# payload (kernel modules, tests, the rest of the guest's own scripts) and a
# writable tmpfs over the root, and goes on there.  Everything that changes
# with a kernel or a test is in the payload, so the root image need not change.
#
# Disks, in the order in which the host attaches them:
#   /dev/vda root image, /dev/vdb payload, /dev/vdc the command to run.

PATH=/usr/sbin:/usr/bin:/sbin:/bin
set -eu

[ -e /dev/null ] || mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/payload /mnt/upper /mnt/work /mnt/root
mount -t squashfs -o ro /dev/vdb /mnt/payload
mount -t overlay overlay /mnt/root \
	-o lowerdir=/mnt/payload:/,upperdir=/mnt/upper,workdir=/mnt/work
mkdir -p /mnt/root/.lower
cd /mnt/root
pivot_root . .lower
mount --move /.lower/dev /dev
exec chroot . /usr/lib/p2pdma/guest-init </dev/console >/dev/console 2>&1
