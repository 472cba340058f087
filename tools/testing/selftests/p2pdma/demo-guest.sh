#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A demonstration, not a test. A host writes to a remote namespace and reads back,
# by RDMA through another drive's memory. It does the same twice more in ways that
# have to go through system memory. The result is printed as lines "key=value", for
# the caller to judge.
#
# The host's adapter is rnic0, the target's rnic1. The caller is told where in
# its trace each part begins and ends.
#
# Environment: BYTES to write and to read (default 64 MiB), LESS for the two
# contrasts (default 8 MiB); the drives' serial numbers: DRIVE, which is exported
# (default dst), and PROVIDER, which brings the memory (default cmb).

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=rnic-lib.sh
. "$(dirname "$0")/rnic-lib.sh"
# shellcheck source=nvmet-lib.sh
. "$(dirname "$0")/nvmet-lib.sh"

BYTES=${BYTES:-$((64 * MIB))}
LESS=${LESS:-$((8 * MIB))}
HOST_IP=192.168.77.1
TARGET_IP=192.168.77.2

put()
{
	printf '%s=%s\n' "$1" "$2"
}

# The host notes where in its trace something begins and ends.
mark()
{
	vmhost mark "$1" >/dev/null 2>&1 || :
}

# io PART NSID write|read BYTES: by the host, each block with a checksum
io()
{
	local part=$1 nsid=$2 op=$3 bytes=$4 disk log status=0

	disk=$(host_disk demo "$nsid")
	log=$(mktemp)
	count demo "$nsid"
	mark "$part-begin"
	fio --name="$part" --filename="$disk" --allow_file_create=0 --rw="$op" --bs=256k \
		--iodepth=8 --size="$bytes" --direct=1 --ioengine=libaio --verify=crc32c \
		--do_verify=0 --verify_fatal=1 --verify_state_save=0 \
		--output="$log" >&2 || status=$?
	mark "$part-end"
	if ((status)) || ! grep -q 'err= 0' "$log"; then
		cat "$log" >&2
		status=1
	fi
	rm -f "$log"
	put "$part.status" "$status"
	put "$part.p2p" "$(counted p2p demo "$nsid")"
	put "$part.host" "$(counted host demo "$nsid")"
}

# What the target said last about a namespace
said()
{
	dmesg | sed -n "s/.*nvmet: \(ctrl [0-9]* ns $1: .*\)/\1/p" | tail -n 1
}

trap _run_deferred EXIT
require_root
require_p2pdma
require_drives "${DRIVE:-dst}" "${PROVIDER:-cmb}"
require_nvmet rdma
use_rnic rnic0 "$HOST_IP"
use_rnic rnic1 "$TARGET_IP"
drive=$(disk_of "${DRIVE:-dst}")
file=$(mktemp)
defer rm -f "$file"
truncate -s "$((2 * LESS))" "$file"

put kernel "$(uname -r)"
put drive "$drive"
put drive_bdf "$(bdf_of "${DRIVE:-dst}")"
put adapter_bdf "$(rnic_bdf_of rnic1)"
put p2pmem_size "$(p2pmem_size "$(bdf_of "${PROVIDER:-cmb}")")"

make_subsys demo
make_namespace demo 1 "$drive"
make_namespace demo 2 "$file"
make_port 1 "$TARGET_IP" allow_p2pmem=1
export_on 1 demo
connect demo "$TARGET_IP" -w "$HOST_IP"
put said "$(said 1)"
put provider "$(nvmet_counter demo 1 provider)"

io write 1 write "$BYTES"
io read 1 read "$BYTES"

port_attribute 1 allow_p2pmem 0
put off.said "$(said 1)"
io off 1 write "$LESS"

port_attribute 1 allow_p2pmem 1
put file.said "$(said 2)"
io file 2 write "$LESS"

mark end
check_pools "at the end"
