#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The end of things while peer memory of the target is full of data in flight:
# connections, the adapter, the namespace's own drive, the target itself.
#
# Guards R9.3: a buffer whose queue dies returns to the allocator that made it,
# or the provider can never be unbound (N1). R9.6: the host gets the error that
# it would have got without peer memory, and no other, and none where another way
# remains. What is left of the kernel's log must be clean, and data that was
# written after all this is right (N25).
#
# topology: rnic
# kernels: normal debug
# debug-cases: connections_cut|target_gone|drive_gone|adapter_gone|nothing_is_left
# timeout: 500
# leaks: normal
# tags: nvmet remove

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
mem_bdf=$(bdf_of mem)

ip0=192.168.77.1
ip1=192.168.78.1

# Of a provider that no emulated drive has to be reset for: QEMU (7.2) has one
# bounce buffer for all that DMAs to a CMB, and waits for ever for a drive that
# is reset while it queues for it.
use_mem()
{
	[ -n "$mem_bdf" ] || skip "no memory-only function"
	without_cmb
	use_provider_sample publish=1
}

# export_one LOCAL
export_one()
{
	make_subsys one
	make_namespace one 1 "$1"
	make_port 1 "$ip0" allow_p2pmem=1
	export_on 1 one
}

# connect_under_load [OPTION...]: of nvme connect; sets $disk
connect_under_load()
{
	connect one "$ip0" "$@"
	disk=$(host_disk one 1)
	start_load "$disk"
	wait_for 10 more_than one 1 p2p_bytes 0 || fail "nothing through peer memory"
}

# works_again LOCAL PROVIDER: after a new connection
works_again()
{
	host_sees_all one
	disk=$(host_disk one 1)
	count one 1
	host_writes "$disk" "$1" 4096 $((64 * KIB + 512))
	host_reads "$disk" "$1" 8192 $((64 * KIB + 512))
	check_all_peer one 1 $((128 * KIB + 1024)) "$2"
}

# As when the host is not heard any more: commands are in the drive's queue, and
# nobody waits for their answers. The host connects again.
connections_cut()
{
	local i dir dirs

	use_rnic rnic0 "$ip0"
	export_one "$dst"
	slow_drive $((8 * MIB))
	connect_under_load --ctrl-loss-tmo=60
	for ((i = 0; i < $(rounds 3); i++)); do
		wait_for 10 in_flight || fail "$i: no command has peer memory"
		dirs=("$NVMET_DEBUG"/one/ctrl*)
		for dir in "${dirs[@]}"; do
			echo fatal >"$dir/state"
		done
		wait_for "$NVMET_WAIT" are_gone "${dirs[@]}" ||
			fail "$i: the target keeps the controller"
		wait_for "$NVMET_WAIT" host_ctrls_in_state one live ||
			fail "$i: the host did not connect again"
		check_load "$i"
	done
	finish_load
	check_pools "with all commands done"
	load_arrived "$dst"
	works_again "$dst" "$cmb_bdf"
}

are_gone()
{
	local dir

	for dir; do
		[ ! -e "$dir" ] || return 1
	done
}

in_flight()
{
	[ -n "$(missing_memory)" ]
}

disconnected()
{
	local i

	use_rnic rnic0 "$ip0"
	export_one "$dst"
	for ((i = 0; i < $(rounds 3); i++)); do
		connect_under_load
		nap "0.$((i * 3 % 10))"
		disconnect one
		abandon_load
		check_pools "$i: after the connection"
	done
	connect one "$ip0"
	works_again "$dst" "$cmb_bdf"
}

# The port goes and comes back before the host gives up.
port_withdrawn()
{
	local i

	use_rnic rnic0 "$ip0"
	export_one "$dst"
	slow_drive $((8 * MIB))
	connect_under_load --ctrl-loss-tmo=60
	for ((i = 0; i < $(rounds 3); i++)); do
		nap "0.$((3 + i * 3 % 5))"
		withdraw 1 one
		check_pools "$i: without a port"
		export_on 1 one
		wait_for "$NVMET_WAIT" host_ctrls_in_state one live ||
			fail "$i: the host did not connect again"
		check_load "$i"
	done
	finish_load
	load_arrived "$dst"
	works_again "$dst" "$cmb_bdf"
}

# The whole target goes, modules and all.
target_gone()
{
	use_rnic rnic0 "$ip0"
	export_one "$dst"
	slow_drive $((8 * MIB))
	connect_under_load --ctrl-loss-tmo=2
	remove_subsys one
	remove_port 1
	check_pools "without a target"
	rmmod nvmet-rdma || fail "nvmet-rdma cannot be unloaded"
	abandon_load
	disconnect one
	rmmod nvmet || fail "nvmet cannot be unloaded"
	modprobe nvmet-rdma
	export_one "$dst"
	connect one "$ip0"
	works_again "$dst" "$cmb_bdf"
}

# The namespace is disabled, for good, with commands in it.
namespace_gone()
{
	local i

	use_rnic rnic0 "$ip0"
	export_one "$dst"
	connect one "$ip0"
	for ((i = 0; i < $(rounds 5); i++)); do
		host_sees_all one
		start_load "$(host_disk one 1)"
		wait_for 10 more_than one 1 p2p_bytes 0 || fail "$i: nothing through peer memory"
		ns_attribute one 1 enable 0
		check_pools "$i: without the namespace"
		abandon_load
		ns_attribute one 1 enable 1
	done
	works_again "$dst" "$cmb_bdf"
}

# drive_gone ROLE: the namespace's drive, with the memory or without
drive_gone()
{
	local role=$1 bdf=$1_bdf provider

	bdf=${!bdf}
	if [ "$role" = dst ]; then
		use_mem
	fi
	defer rebind "$bdf" nvme
	use_rnic rnic0 "$ip0"
	export_one "${!role}"
	connect_under_load
	unbind_ends "$bdf"
	abandon_load
	check_pools "without the drive"
	remove_namespace one 1
	bind "$bdf" nvme
	drive_returns "$role"
	provider=$cmb_bdf
	if [ "$role" = dst ]; then
		provider=$mem_bdf
	fi
	wait_for 10 has_p2pmem "$provider"
	make_namespace one 1 "${!role}"
	works_again "${!role}" "$provider"
}

adapter_gone()
{
	local bdf

	use_mem
	use_rnic rnic0 "$ip0"
	export_one "$dst"
	# A host that is about to connect again just then does not learn that the
	# adapter is gone, and tries for this long.
	connect_under_load --ctrl-loss-tmo=2
	bdf=$(rnic_bdf_of rnic0)
	unbind_ends "$bdf"
	abandon_load
	disconnect one
	check_pools "without the adapter"
	bind "$bdf" p2pdma_rnic
	# The address went with the network device.
	ip addr add "$ip0/24" dev "$(rnic_netdev rnic0)"
	ip link set "$(rnic_netdev rnic0)" up
	# The port's listener went with the adapter.
	remove_subsys one
	remove_port 1
	export_one "$dst"
	connect one "$ip0"
	works_again "$dst" "$mem_bdf"
}

# Another way remains: the host takes it, and sees no error.
one_adapter_of_two()
{
	local bdf dir live=0 before

	use_mem
	use_rnic rnic0 "$ip0"
	use_rnic rnic1 "$ip1"
	export_one "$dst"
	make_port 2 "$ip1" allow_p2pmem=1
	export_on 2 one
	connect one "$ip0"
	connect one "$ip1"
	disk=$(host_disk one 1)
	for dir in /sys/class/nvme-subsystem/nvme-subsys*; do
		[ "$(trim "$dir/subsysnqn")" != one ] || echo round-robin >"$dir/iopolicy"
	done
	start_load "$disk"
	wait_for 10 more_than one 1 p2p_bytes "$MIB" || fail "nothing through peer memory"
	bdf=$(rnic_bdf_of rnic1)
	unbind_ends "$bdf"
	before=$(writes_of "$disk")
	wait_for 20 writes_more "$disk" $((before + 100)) || fail "the I/O does not go on"
	check_load "without one of the adapters"
	finish_load
	load_arrived "$dst"
	# The other one is gone, unless it was about to connect again just then.
	for dir in $(host_ctrls one); do
		[ "$(trim "$dir/state")" != live ] || live=$((live + 1))
	done
	check_equal "controllers that the host has left" "$live" 1
	works_again "$dst" "$mem_bdf"
}

add_nvmet "R9.3 R9.6 N1 N25: connections are cut with commands in flight" connections_cut
add_nvmet "R9.3: the host disconnects under load" disconnected
add_nvmet "R9.6 N25: the port goes and returns; no error" port_withdrawn
add_nvmet "R9.3 N1: the target is shut down with commands in flight" target_gone
add_nvmet "R9.3 R9.6: the namespace is disabled with commands in flight" namespace_gone
add_nvmet "R9.6: the namespace's drive goes" drive_gone dst
add_nvmet "R9.6 N1: the namespace's drive goes, with the memory" drive_gone cmb
add_nvmet "R9.3 R9.6: the adapter goes" adapter_gone
add_nvmet "R9.6 N25: one of two adapters goes; no error" one_adapter_of_two
add "R9.6 N1: nothing is left" nothing_is_left
run_cases
