# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# RDMA adapters for the scripts that need some: drives that p2pdma_rnic takes.
# Sourced after lib.sh.
#
# Adapters are known by the serial number of the drive that they are made of,
# rnic0 and rnic1.

RNIC_DEBUGFS=/sys/kernel/debug/p2pdma_rnic

# PCI addresses of the adapters: the drive and its serial number are gone while
# the function is an adapter.
declare -gA rnic_bdf=()

# rnic_bdf_of NAME: whether it is a drive now or an adapter
rnic_bdf_of()
{
	[ -n "${rnic_bdf[$1]:-}" ] || rnic_bdf[$1]=$(bdf_of "$1")
	echo "${rnic_bdf[$1]}"
}

_is_adapter()
{
	local dir

	for dir in "$PCI/$1/infiniband"/*; do
		[ -d "$dir" ] && [ -d "$RNIC_DEBUGFS/${dir##*/}" ] && return
	done
	return 1
}

# require_rnics NAME...: before the cases.  A drive that is missing in a case is a
# fault of the cases before it then, and no reason to skip.
require_rnics()
{
	local name

	for name; do
		wait_for 60 drive_is_there "$name" ||
			skip_all "no NVMe drive with the serial number $name"
		rnic_bdf[$name]=$(bdf_of "$name")
	done
}

# rnic_ibdev NAME, rnic_netdev NAME: of the adapter
rnic_ibdev()
{
	local dir

	for dir in "$PCI/${rnic_bdf[$1]}/infiniband"/*; do
		[ ! -d "$dir" ] || echo "${dir##*/}"
	done
}

rnic_netdev()
{
	local dir

	for dir in "$PCI/${rnic_bdf[$1]}/net"/*; do
		[ ! -d "$dir" ] || echo "${dir##*/}"
	done
}

# Whatever state it is in; the function itself may be gone.
_give_back_rnic()
{
	[ -d "$PCI/$1" ] || return 0
	release "$1"
	echo >"$PCI/$1/driver_override"
	rebind "$1" nvme
}

# use_rnic NAME IP: make an adapter of the drive until the case ends
use_rnic()
{
	local name=$1 ip=$2 bdf

	if ! wait_for 60 drive_is_there "$name"; then
		[ -z "${rnic_bdf[$name]:-}" ] ||
			fail "the drive $name is gone: ${rnic_bdf[$name]}"
		skip "no NVMe drive with the serial number $name"
	fi
	bdf=$(bdf_of "$name")
	rnic_bdf[$name]=$bdf
	modprobe -q ib_core || skip "no InfiniBand support"
	modprobe -q iw_cm || skip "no iWARP connection manager"
	load_test_module p2pdma_rnic
	defer _give_back_rnic "$bdf"
	unbind "$bdf"
	echo p2pdma_rnic >"$PCI/$bdf/driver_override"
	bind "$bdf" p2pdma_rnic
	wait_for 60 _is_adapter "$bdf" || fail "no RDMA device of $name"
	ip addr add "$ip/24" dev "$(rnic_netdev "$name")"
	ip link set "$(rnic_netdev "$name")" up
}

# rnic_counter NAME KEY
rnic_counter()
{
	local line lines value=''

	mapfile -t lines <"$RNIC_DEBUGFS/$(rnic_ibdev "$1")/counters"
	for line in "${lines[@]}"; do
		[[ $line != "$2="* ]] || value=${line#*=}
	done
	[ -n "$value" ] || fail "adapter $1 has no counter $2"
	echo "$value"
}

# rnic_mode NAME engine|cpu: what moves its payload from now on
rnic_mode()
{
	echo "$2" >"$RNIC_DEBUGFS/$(rnic_ibdev "$1")/mode"
}

# rnic_dma_bits NAME BITS: what it can address from now on
rnic_dma_bits()
{
	echo "$2" >"$RNIC_DEBUGFS/$(rnic_ibdev "$1")/dma_bits"
}

# rnic_fail NAME OP N [STATUS]: the Nth next read, write, send or reg fails
rnic_fail()
{
	echo "$2 $3${4:+ $4}" >"$RNIC_DEBUGFS/$(rnic_ibdev "$1")/fail"
}
