#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The guest's init: prepares the usual file systems, runs one command, tells
# the host its exit status and switches the machine off.
#
# The command is a shell script on /dev/vdc.  Its output goes to a virtio
# serial port of its own, so that kernel messages never mix with it.  A command
# that is exactly "shell" gives an interactive shell on the console.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/root TERM=${TERM:-vt100} LANG=C.UTF-8

mount -t proc proc /proc
mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/lock
# These depend on the kernel's configuration.
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t configfs configfs /sys/kernel/config 2>/dev/null
hostname p2pdma 2>/dev/null
ip link set lo up 2>/dev/null

# There is no udev: make the links that programs expect.
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mkdir -p /dev/virtio-ports
for dir in /sys/class/virtio-ports/*/; do
	[ -r "$dir/name" ] || continue
	ln -sf "/dev/$(basename "$dir")" "/dev/virtio-ports/$(<"$dir/name")"
done

# Switch off the way that walks through every driver's shutdown.
power_off()
{
	sync
	echo 1 >/proc/sys/kernel/sysrq 2>/dev/null
	echo o >/proc/sysrq-trigger
	sleep 60
	# No ACPI, or it did not work: let the host pull the plug.
	vmhost qmp '{"execute": "quit"}'
	sleep infinity
}

# A suspected leak counts only when it is seen twice, some seconds apart:
# kmemleak ignores objects that are younger than five seconds.
find_leaks()
{
	local file=/sys/kernel/debug/kmemleak

	grep -q kmemleak=on /proc/cmdline && [ -w $file ] || return 0
	sleep 5
	echo scan >$file || return 0
	sleep 1
	echo scan >$file
	sed -u 's/^/kmemleak report: /' $file >/dev/kmsg
}

# After its first report lockdep looks no more: a machine that ends so has not
# been watched.
check_lockdep()
{
	! grep -q 'debug_locks: *0' /proc/lockdep_stats 2>/dev/null ||
		echo "p2pdma-guest: lockdep is off (debug_locks: 0)" >/dev/kmsg
}

# The port can be opened only once, while programs may open /dev/stdout again:
# so a pipe stands before it. What the command left behind may hold the pipe
# open; wait for it no longer than two seconds.
run_command()
{
	local drain status i

	mkfifo /run/output
	cat /run/output >/dev/virtio-ports/p2pdma.out &
	drain=$!
	bash /run/command </dev/null >/run/output 2>&1
	status=$?
	for ((i = 0; i < 20; i++)); do
		kill -0 $drain 2>/dev/null || break
		sleep 0.1
	done
	return $status
}

tr -d '\0' </dev/vdc >/run/command
echo "p2pdma-guest: command starts" >/dev/kmsg

if [ "$(</run/command)" = shell ]; then
	echo 4 >/proc/sys/kernel/printk
	modprobe nvme 2>/dev/null
	cat <<-EOF

	Interactive guest: "exit" or ctrl-d powers off, ctrl-a x stops QEMU.
	Drives (role, PCI address):
	EOF
	for dir in /sys/class/nvme/nvme*/; do
		[ -r "$dir/serial" ] || continue
		echo "  $(basename "$dir")  $(<"$dir/serial") $(<"$dir/address")"
	done
	echo
	cd /root || :
	setsid -c bash -l </dev/ttyS0 >/dev/ttyS0 2>&1
	echo 7 >/proc/sys/kernel/printk
	status=0
else
	cd /root || :
	run_command
	status=$?
fi

echo "p2pdma-guest: command ended, status $status" >/dev/kmsg
vmhost "exit" "$status" >/dev/null
check_lockdep
find_leaks
power_off
