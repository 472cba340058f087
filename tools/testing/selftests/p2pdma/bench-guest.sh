#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The guest's part of "make bench": what some jobs cost, on this implementation
# or the stock one. Prints lines "job=nanoseconds" for each operation, the least
# of REPEAT (default 5) runs. Not a test.
#
# In a machine that counts instructions (-icount shift=0) a nanosecond is one.
# Time in which the CPU is idle does not count.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=rnic-lib.sh
. "$(dirname "$0")/rnic-lib.sh"
# shellcheck source=nvmet-lib.sh
. "$(dirname "$0")/nvmet-lib.sh"

REPEAT=${REPEAT:-5}
IP=192.168.77.1

# busy: microseconds that the CPUs worked since the machine was started
busy()
{
	local up idle

	read -r up idle </proc/uptime
	echo $(((10#${up/./} * $(nproc) - 10#${idle/./}) * 10000))
}

# measure JOB OPERATIONS COMMAND...
measure()
{
	local job=$1 operations=$2 i before took least=
	shift 2

	for ((i = 0; i < REPEAT; i++)); do
		before=$(busy)
		"$@" >/dev/null 2>&1 || fail "$job: $*"
		took=$(($(busy) - before))
		((!${#least} || took < least)) && least=$took
	done
	printf '%s=%d\n' "$job" $((least * 1000 / operations))
}

# reads DISK NUMBER: of 4 KiB
reads()
{
	fio --name=reads --filename="$1" --rw=randread --bs=4k --iodepth=64 \
		--iodepth_batch_complete_max=32 --size=16M --io_size=$((4 * $2))k \
		--direct=1 --ioengine=libaio --norandommap --randseed=7 --minimal
}

maps()
{
	local i

	for ((i = 0; i < 20; i++)); do
		"$here/p2pmem_mmap" map "$1" $((2 * MIB))
	done
}

trap _run_deferred EXIT
require_root
require_drives src dst cmb
require_nvmet rdma
allocate=$PCI/$cmb_bdf/p2pmem/allocate
[ -e "$allocate" ] || fail "the drive with the CMB is no provider"

measure "local read, system memory, 4 KiB" 16384 reads "$dst" 16384
measure "local copy, peer memory, 4 KiB" 2048 \
	"$here/p2pmem_mmap" copy "$allocate" "$src" "$dst" 0 0 $((8 * MIB)) 4096
measure "local copy, peer memory, 1 MiB" 48 \
	"$here/p2pmem_mmap" copy "$allocate" "$src" "$dst" 0 0 $((48 * MIB)) "$MIB"
measure "mmap and munmap of 2 MiB, with a process" 20 maps "$allocate"

use_rnic rnic0 "$IP"
rnic_mode rnic0 cpu
make_port 1 "$IP"
# The stock implementation takes a provider for each namespace.
declare -A option=([without]=p2pmem=0 [with]=p2pmem=1)
if [ -e "$NVMET/ports/1/allow_p2pmem" ]; then
	port_attribute 1 allow_p2pmem 1
	option[with]=p2pmem=auto
fi
for way in without with; do
	make_subsys "$way"
	make_namespace "$way" 1 "$dst" "${option[$way]}"
done
for way in without with; do
	export_on 1 "$way"
	connect "$way" "$IP"
	measure "remote read, $way peer memory, 4 KiB" 16384 reads "$(host_disk "$way" 1)" 16384
	disconnect "$way"
done
