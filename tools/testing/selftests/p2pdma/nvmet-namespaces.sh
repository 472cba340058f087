#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Many namespaces, subsystems, ports and adapters at once: each pair of a
# controller and a namespace has a provider of its own, or a reason for none.
#
# Guards R9.2 and R9.5: a choice that is made once for the controller, or for the
# port, gives some drive memory that it cannot reach. N6: one of two namespaces
# on a drive goes, and takes the other's memory along. N19: a namespace that is
# enabled between the choice of a provider and the start of a controller is
# never looked at. N20: a file has no block device. All data is compared with
# what is on the drive (N25).
#
# topology: rnic
# kernels: normal
# timeout: 400
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
mem_bdf=$(bdf_of mem)

ip0=192.168.77.1
ip1=192.168.78.1

# make_file: sets $file, as large as what is written here
make_file()
{
	file=$(mktemp)
	defer rm -f "$file"
	truncate -s 16M "$file"
}

# make_foreign_disk: sets $foreign, a disk that is no PCI device's
make_foreign_disk()
{
	modprobe -q null_blk nr_devices=1 memory_backed=1 gb=1 || skip "no null_blk"
	defer unload null_blk
	wait_for 5 test -b /dev/nullb0 || fail "no /dev/nullb0"
	foreign=/dev/nullb0
}

four_kinds()
{
	local file foreign

	make_file
	make_foreign_disk
	use_rnic rnic0 "$ip0"
	make_subsys one
	make_namespace one 1 "$cmb"
	make_namespace one 2 "$dst"
	make_namespace one 3 "$file"
	make_namespace one 4 "$foreign"
	make_port 1 "$ip0" allow_p2pmem=1
	export_on 1 one
	connect one "$ip0"

	check_bound 1 "$cmb_bdf"
	check_bound 2 "$cmb_bdf"
	check_unbound 3 "$file_backed"
	check_unbound 4 "$(driver_takes_none nullb0)"
	for nsid in 1 2 3 4; do
		count one "$nsid"
	done
	fio_on_all one 1 one 2 one 3 one 4
	for nsid in 1 2; do
		((0 < $(counted p2p one "$nsid"))) || fail "$nsid: nothing through peer memory"
		check_equal "$nsid: bytes through system memory" "$(counted host one "$nsid")" 0
	done
	for nsid in 3 4; do
		check_equal "$nsid: bytes through peer memory" "$(counted p2p one "$nsid")" 0
		((0 < $(counted host one "$nsid"))) || fail "$nsid: nothing at all"
		check_equal "$nsid: provider" "$(nvmet_counter one "$nsid" provider)" none
	done
	same_data "$(host_disk one 1)" "$cmb" 0 $((4 * MIB))
	same_data "$(host_disk one 2)" "$dst" 0 $((4 * MIB))
	same_data "$(host_disk one 3)" "$file" 0 $((4 * MIB))
	same_data "$(host_disk one 4)" "$foreign" 0 $((4 * MIB))

	exact one 1 "$cmb" "$cmb_bdf"
	exact one 2 "$dst" "$cmb_bdf"
	exact one 4 "$foreign" none
}

# Each with the other's memory, by name; a file is not asked for its drive.
told_apart()
{
	local file

	[ -n "$mem_bdf" ] || skip "no memory-only function"
	use_provider_sample publish=1
	make_file
	use_rnic rnic0 "$ip0"
	make_subsys one
	make_namespace one 1 "$cmb" p2pmem="$mem_bdf"
	make_namespace one 2 "$dst" p2pmem="$cmb_bdf"
	make_namespace one 3 "$file" p2pmem="$cmb_bdf"
	make_namespace one 4 "$src" p2pmem=0
	make_port 1 "$ip0"
	export_on 1 one
	connect one "$ip0"
	exact one 1 "$cmb" "$mem_bdf"
	exact one 2 "$dst" "$cmb_bdf"
	check_unbound 3 "$file_backed"
	host_reads "$(host_disk one 4)" "$src" 4096 8192
	fio_on_all one 1 one 2 one 3
	check_no_log "not a word about the one that is not allowed" "nvmet: ctrl [0-9]+ ns 4:"
}

# Two namespaces on the same drive; what is left of them keeps its memory.
one_drive()
{
	use_rnic rnic0 "$ip0"
	make_subsys one
	make_namespace one 1 "$dst"
	make_namespace one 2 "$dst"
	make_port 1 "$ip0" allow_p2pmem=1
	export_on 1 one
	connect one "$ip0"
	exact one 1 "$dst" "$cmb_bdf"
	exact one 2 "$dst" "$cmb_bdf"
	ns_attribute one 1 enable 0
	exact one 2 "$dst" "$cmb_bdf"
	ns_attribute one 1 enable 1
	host_sees_all one
	exact one 1 "$dst" "$cmb_bdf"
	remove_namespace one 2
	exact one 1 "$dst" "$cmb_bdf"
}

# There was nothing to choose for when the controller came.
enabled_later()
{
	use_rnic rnic0 "$ip0"
	make_subsys one
	make_port 1 "$ip0" allow_p2pmem=1
	export_on 1 one
	connect one "$ip0"
	make_namespace one 1 "$dst"
	host_sees_all one
	exact one 1 "$dst" "$cmb_bdf"
	check_bound 1 "$cmb_bdf"
	make_namespace one 7 "$cmb"
	host_sees_all one
	exact one 7 "$cmb" "$cmb_bdf"
}

# enabled_before_start: the namespace is enabled while the target has a controller
# that the host has not started yet; false if it was started by then
enabled_before_start()
{
	local pid state=none file early=0

	ns_attribute one 1 enable 0
	try_connect one "$ip0" &
	pid=$!
	# No process in here: all of it takes the host milliseconds.
	while [ "$state" = none ] && ! has_ended "$pid"; do
		for file in "$NVMET_DEBUG"/one/ctrl*/state; do
			[ -e "$file" ] || continue
			# Empty before the start
			state=
			read -r state <"$file" || :
		done 2>/dev/null
	done
	echo 1 >"$NVMET/subsystems/one/namespaces/1/enable"
	[[ $state == *ready* || $state == none ]] || early=1
	end_of "$pid" "nvme connect" || fail "cannot connect"
	host_sees_all one
	exact one 1 "$dst" "$cmb_bdf"
	disconnect one
	((early))
}

enabled_meanwhile()
{
	local i

	use_rnic rnic0 "$ip0"
	make_subsys one
	make_namespace one 1 "$dst"
	make_port 1 "$ip0" allow_p2pmem=1
	export_on 1 one
	for ((i = 0; i < $(rounds 5); i++)); do
		until_seen 20 enabled_before_start
	done
}

two_subsystems()
{
	use_rnic rnic0 "$ip0"
	make_subsys one
	make_namespace one 1 "$dst"
	make_subsys two
	make_namespace two 1 "$src" p2pmem=0
	make_namespace two 2 "$cmb"
	make_port 1 "$ip0" allow_p2pmem=1
	export_on 1 one
	export_on 1 two
	connect one "$ip0"
	connect two "$ip0"
	exact one 1 "$dst" "$cmb_bdf"
	exact two 2 "$cmb" "$cmb_bdf"
	host_reads "$(host_disk two 1)" "$src" 4096 8192
	fio_on_all one 1 two 2
	disconnect one
	exact two 2 "$cmb" "$cmb_bdf"
}

# A controller on each adapter, and the host uses them in turn.
two_adapters()
{
	local dir log disk

	use_rnic rnic0 "$ip0"
	use_rnic rnic1 "$ip1"
	make_subsys one
	make_namespace one 1 "$dst"
	make_port 1 "$ip0" allow_p2pmem=1
	make_port 2 "$ip1" allow_p2pmem="$1"
	export_on 1 one
	export_on 2 one
	connect one "$ip0"
	connect one "$ip1"
	disk=$(host_disk one 1)
	for dir in /sys/class/nvme-subsystem/nvme-subsys*; do
		[ "$(trim "$dir/subsysnqn")" != one ] || echo round-robin >"$dir/iopolicy"
	done
	count_adapter rnic0
	count_adapter rnic1
	host_fio "$disk" --rw=randrw --bsrange=4k-64k --iodepth=16 --size=8M
	same_data "$disk" "$dst" 0 $((8 * MIB))
	check_adapter_used rnic0 bar ram
	if (($1)); then
		check_adapter_used rnic1 bar ram
		check_equal "bytes through system memory" "$(nvmet_counter one 1 host_bytes)" 0
	else
		check_adapter_used rnic1 ram bar
	fi
}

# check_adapter_used NAME WHERE NOT_WHERE: for payload, since count_adapter
check_adapter_used()
{
	local -n put=adapter_$1_read_$2 took=adapter_$1_write_$2

	(($(rnic_counter "$1" "read_local_$2_bytes") > put)) ||
		fail "$1 put nothing into $2"
	(($(rnic_counter "$1" "write_local_$2_bytes") > took)) ||
		fail "$1 took nothing from $2"
	check_adapter "$1" "$3" 0 0
}

# The same drive in two subsystems, on an adapter each.
drive_shared()
{
	use_rnic rnic0 "$ip0"
	use_rnic rnic1 "$ip1"
	make_subsys one
	make_namespace one 1 "$dst"
	make_subsys two
	make_namespace two 1 "$dst"
	make_port 1 "$ip0" allow_p2pmem=1
	make_port 2 "$ip1" allow_p2pmem=1
	export_on 1 one
	export_on 2 two
	connect one "$ip0"
	connect two "$ip1"
	exact one 1 "$dst" "$cmb_bdf"
	exact two 1 "$dst" "$cmb_bdf"
	disconnect one
	exact two 1 "$dst" "$cmb_bdf"
}

add_nvmet "R9.2 R9.5 N20 N25: own CMB, another's, a file and a foreign disk at once" four_kinds
add_nvmet "R9.1 R9.2 N20: each namespace with a provider of its own" told_apart
add_nvmet "R9.2 N6: one of two namespaces on a drive goes" one_drive
add_nvmet "R9.2 N19: enabled after the controller came" enabled_later
add_nvmet "R9.2 R9.6 N19: enabled while the controller comes" enabled_meanwhile
add_nvmet "R9.2: two subsystems" two_subsystems
add_nvmet "R9.2 R9.6: two ports on two adapters" two_adapters 1
add_nvmet "R9.1: two ports, only one of which allows it" two_adapters 0
add_nvmet "R9.2: one drive behind two subsystems and two adapters" drive_shared
add "R9.6 N1: nothing is left" nothing_is_left
run_cases
