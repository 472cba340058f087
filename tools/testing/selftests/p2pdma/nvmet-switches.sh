#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Two switches, and below each an RDMA adapter and a drive with memory. Both
# drives are exported through both adapters: what a namespace may use depends on
# the controller that asks.
#
# Guards R9.2: a target that chooses a provider once for a namespace, or for a
# subsystem, gives one of the two adapters an address that nothing routes to. Or
# it gives up on both, where each has a drive that it reaches. R9.6: hosts work
# on both ports at once. Data is compared with what is on the drives (N25).
#
# topology: rnic-switches
# kernels: normal
# timeout: 300
# cmdline: dma_debug=off
# tags: nvmet

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=nvmet-lib.sh
. "$here/nvmet-lib.sh"
# shellcheck source=rnic-lib.sh
. "$here/rnic-lib.sh"

require_root
require_p2pdma
require_drives src dst cmb
require_nvmet rdma

ip0=192.168.77.1
ip1=192.168.78.1

# ports: 1 is on the adapter beside cmb and src, 2 on the one beside dst
ports()
{
	use_rnic rnic0 "$ip0"
	use_rnic rnic1 "$ip1"
	make_port 1 "$ip0" allow_p2pmem=1
	make_port 2 "$ip1" allow_p2pmem=1
}

# drives SUBSYS
drives()
{
	make_subsys "$1"
	make_namespace "$1" 1 "$cmb"
	make_namespace "$1" 2 "$dst"
	make_namespace "$1" 3 "$src"
}

# subsystem_for_each_port: one on port 1, two on port 2, with the same three drives
subsystem_for_each_port()
{
	ports
	drives one
	drives two
	export_on 1 one
	export_on 2 two
	connect one "$ip0"
	connect two "$ip1"
}

each_its_own()
{
	subsystem_for_each_port
	count_adapter rnic0
	count_adapter rnic1

	exact one 1 "$cmb" "$cmb_bdf"
	exact one 3 "$src" "$cmb_bdf"
	exact two 2 "$dst" "$dst_bdf"
	check_adapter rnic0 ram 0 0
	check_adapter rnic1 ram 0 0
	count_adapter rnic0
	count_adapter rnic1
	exact one 2 "$dst" none
	exact two 1 "$cmb" none
	exact two 3 "$src" none
	check_adapter rnic0 bar 0 0
	check_adapter rnic1 bar 0 0
	check_log "the remedy" \
		"nvmet: ctrl [0-9]+ ns 2: .*$(literally "$(
			refused_by_root_complex "$cmb_bdf" "$dst_bdf" "$(host_bridge_of "$src_bdf")"
		)")$"
}

both_at_once()
{
	local nsid

	subsystem_for_each_port
	# Each drive once: two hosts that write to one would find each other's data.
	fio_on_all one 1 two 2 one 3
	for nsid in 1 3; do
		check_equal "bytes of namespace $nsid of one through system memory" \
			"$(nvmet_counter one "$nsid" host_bytes)" 0
		((0 < $(nvmet_counter one "$nsid" p2p_bytes))) ||
			fail "namespace $nsid of one: nothing through peer memory"
	done
	check_equal "bytes of namespace 2 of two through system memory" \
		"$(nvmet_counter two 2 host_bytes)" 0
	same_data "$(host_disk one 1)" "$cmb" 0 $((4 * MIB))
	same_data "$(host_disk one 3)" "$src" 0 $((4 * MIB))
	same_data "$(host_disk two 2)" "$dst" 0 $((4 * MIB))
	# And the other way round, which is through system memory.
	fio_on_all one 2 two 1 two 3
	check_equal "bytes of namespace 2 of one through peer memory" \
		"$(nvmet_counter one 2 p2p_bytes)" 0
	same_data "$(host_disk two 3)" "$src" 0 $((4 * MIB))
	check_pools "with all commands done"
}

# One subsystem on both ports: the host has a path by each adapter to each drive,
# and takes them in turn. By one of them peer memory holds the data, by the other
# system memory; no command may confuse them.
paths_in_turn()
{
	local dir nsid before

	ports
	drives one
	export_on 1 one
	export_on 2 one
	connect one "$ip0"
	connect one "$ip1"
	for dir in /sys/class/nvme-subsystem/nvme-subsys*; do
		[ "$(trim "$dir/subsysnqn")" != one ] || echo round-robin >"$dir/iopolicy"
	done
	for nsid in 1 2; do
		count one "$nsid"
	done
	before=$(rnic_counter rnic1 read_local_bar_bytes)
	fio_on_all one 1 one 2
	for nsid in 1 2; do
		((0 < $(counted p2p one "$nsid"))) ||
			fail "namespace $nsid: nothing through peer memory"
		((0 < $(counted host one "$nsid"))) ||
			fail "namespace $nsid: nothing through system memory"
	done
	(($(rnic_counter rnic1 read_local_bar_bytes) > before)) ||
		fail "rnic1 put nothing into peer memory"
	same_data "$(host_disk one 1)" "$cmb" 0 $((4 * MIB))
	same_data "$(host_disk one 2)" "$dst" 0 $((4 * MIB))
}

add_nvmet "R9.2 R9.5 R2.6 N25: two adapters below different switches, each with its own drive" \
	each_its_own
add_nvmet "R9.2 R9.6 N25: both ports at once" both_at_once
add_nvmet "R9.2 R9.6 N25: one namespace by both adapters in turn" paths_in_turn
add "R9.6 N1: nothing is left" nothing_is_left
run_cases
