#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Ask the program that runs this virtual machine for something, from inside:
#
#   vmhost unplug NAME      surprise or orderly removal of a device (see --list)
#   vmhost plug NAME        plug it in again, where it was
#   vmhost qmp '{JSON}'     any QMP command; prints what it returned, as JSON
#   vmhost dma-reset        forget what the drives addressed so far
#   vmhost dma START SIZE   per drive: transfers in and outside that bus address
#                           range since dma-reset, as the *device* saw them
#   vmhost mark NAME        note where in the DMA trace we are, for the host
#   vmhost ping             is there a host that answers?
#
# Prints the answer; exit status 0 only if the host could do it.  "dma" needs
# a run with the DMA trace on ("# trace: dma" in a test's header).

set -euo pipefail

port=/dev/virtio-ports/p2pdma.host
if [ ! -e "$port" ]; then
	echo "vmhost: no host answers in this machine" >&2
	exit 4
fi

exec 9>/run/lock/vmhost
flock 9
exec 3<>"$port"
printf '%s\n' "$*" >&3
IFS= read -r answer <&3
[ -z "${answer#* }" ] || printf "%s\n" "${answer#* }" | tr "\r" "\n"
[ "${answer%% *}" = ok ]
