#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The NVMe target where no peer memory can be used, although it is allowed: RDMA
# devices that move data by CPU, a transport without a device, namespaces that
# are files or whole controllers.
#
# Guards R2.1, R7.2 and R9.2: rxe and siw have parents that may be PCI functions,
# and virtual DMA; one that was given a bus address would write to ordinary
# memory at that number. N20: a namespace that is a file has no block device to
# ask. All has to work as without the feature, and the log to say why there is
# no peer memory; each byte is compared with what the drive has (N25).
#
# topology: switch
# kernels: normal
# timeout: 300
# tags: nvmet

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=nvmet-lib.sh
. "$here/nvmet-lib.sh"

require_root
require_p2pdma
require_drives src dst cmb
require_nvmet rdma loop

ip=192.168.77.1

# export_drive [PORT_ATTRIBUTE=VALUE...]: dst, and the drive that has the memory
export_drives()
{
	make_subsys one
	make_namespace one 1 "$dst"
	make_namespace one 2 "$cmb"
	make_port 1 "$@"
	export_on 1 one
}

# Both ways, a few sizes, then a mixture; one of both drives.
moves_data()
{
	local disk=$1 local=$2 length

	for length in 512 4096 $((8 * KIB + 512)) $((128 * KIB)) $((MIB - 512)); do
		host_writes "$disk" "$local" $((length + 3 * 512)) "$length"
		host_reads "$disk" "$local" $((length + 5 * 512)) "$length"
	done
	host_fio "$disk" --rw=randrw --bsrange=512-64k --iodepth=16 --size=4M
	same_data "$disk" "$local" 0 $((4 * MIB))
}

# Nobody gets as far as this but by a mistake.
refuses_to_map()
{
	local file=/sys/kernel/debug/p2pdma_rnic_test/run

	use_soft "$1" "$ip"
	load_test_module p2pdma_rnic_test
	echo "virtual $ip $ip $1-test $cmb_bdf" >"$file" || fail "$(<"$file")"
}

soft()
{
	use_soft "$1" "$ip"
	export_drives "$ip" allow_p2pmem=1
	connect one "$ip"
	moves_data "$(host_disk one 1)" "$dst"
	count one 2
	host_writes "$(host_disk one 2)" "$cmb" 4096 $((64 * KIB))
	check_all_system one 2 $((64 * KIB))
	check_unbound 1 "$no_dma"
	check_unbound 2 "$no_dma"
	check_equal provider "$(nvmet_counter one 1 provider)" none
	check_equal "bytes through peer memory" "$(nvmet_counter one 1 p2p_bytes)" 0
	check_equal "commands through peer memory" "$(nvmet_counter one 1 p2p_cmds)" 0
}

# What the user says of the namespace does not change what the device is.
soft_told()
{
	use_soft "$1" "$ip"
	export_drives "$ip"
	ns_attribute one 1 p2pmem 1
	ns_attribute one 2 p2pmem "$cmb_bdf"
	connect one "$ip"
	host_writes "$(host_disk one 1)" "$dst" 4096 $((64 * KIB))
	host_reads "$(host_disk one 2)" "$cmb" 4096 $((64 * KIB))
	check_unbound 1 "$no_dma"
	check_unbound 2 "$no_dma"
	check_equal "bytes through peer memory" \
		"$(nvmet_counter one 1 p2p_bytes) $(nvmet_counter one 2 p2p_bytes)" "0 0"
}

# Each of many connections has a binding of its own, and says so once.
said_once()
{
	local i

	use_soft rxe "$ip"
	export_drives "$ip" allow_p2pmem=1
	connect one "$ip"
	for ((i = 0; i < 20; i++)); do
		host_reads "$(host_disk one 1)" "$dst" 4096 8192
	done
	check_log_count "one message" "nvmet: ctrl [0-9]+ ns 1: .*system memory" 1
}

# Loop has no device, and no buffer of its own: the host's is used.
loop()
{
	export_drives loop allow_p2pmem=1
	connect one loop
	moves_data "$(host_disk one 1)" "$dst"
	moves_data "$(host_disk one 2)" "$cmb"
	check_no_log "nobody promises peer memory" \
		"nvmet: ctrl [0-9]+ ns [0-9]+: .*peer-to-peer memory of [0-9a-f]{4}:"
}

file_backed()
{
	local file disk where=loop

	file=$(mktemp)
	defer rm -f "$file"
	truncate -s 16M "$file"
	if [ "$1" != loop ]; then
		use_soft "$1" "$ip"
		where=$ip
	fi
	make_subsys one
	make_namespace one 1 "$file" buffered_io="$2" p2pmem=1
	make_port 1 "$where" allow_p2pmem=1
	export_on 1 one
	connect one "$where"
	disk=$(host_disk one 1)
	host_fio "$disk" --rw=randrw --bsrange=4k-64k --iodepth=16 --size=8M
	host_fio "$disk" --rw=write --bs=1M --iodepth=2 --size=8M
	check_equal "data of the file" "$(sum_of "$disk" 0 $((8 * MIB)))" \
		"$(head -c 8M "$file" | sum)"
}

# The controller as it is, with its own commands. A controller that the target
# has is not the host's any more, so its disk is looked at before and after.
passthru()
{
	local disk ctrl where=loop nsid

	ctrl=$(ctrl_of dst)
	nsid=$(trim "/sys/class/nvme/$ctrl/${dst##*/}/nsid")
	if [ "$1" != loop ]; then
		use_soft "$1" "$ip"
		where=$ip
	fi
	make_subsys one
	[ -d "$NVMET/subsystems/one/passthru" ] || skip "no passthru in this target"
	set_attribute "$NVMET/subsystems/one/passthru/device_path" "/dev/$ctrl"
	set_attribute "$NVMET/subsystems/one/passthru/enable" 1
	make_port 1 "$where" allow_p2pmem=1
	export_on 1 one
	connect one "$where"
	wait_for "$NVMET_WAIT" host_has_disk one "$nsid" || fail "the host sees no disk"
	disk=$(host_disk one "$nsid")
	moves_data "$disk" "$dst"
	check_no_log "nobody promises peer memory" \
		"nvmet: ctrl [0-9]+ ns [0-9]+: .*peer-to-peer memory of [0-9a-f]{4}:"
}

add_nvmet "R9.1 R9.2 R7.2 R3.4 N25: rxe is refused with the reason; data is right" soft rxe
add_nvmet "R9.1 R9.2 R7.2 R3.4 N25: siw is refused with the reason; data is right" soft siw
add_nvmet "R7.2 R3.4: rxe refuses to map peer memory" refuses_to_map rxe
add_nvmet "R7.2 R3.4: siw refuses to map peer memory" refuses_to_map siw
add_nvmet "R9.1 R9.2: rxe is refused, whatever the namespace asks for" soft_told rxe
add_nvmet "R9.1 R9.2: siw is refused, whatever the namespace asks for" soft_told siw
add_nvmet "R9.5: a binding says so once" said_once
add_nvmet "R9.2 N22 N25: the loop transport is unharmed" loop
add_nvmet "R9.2 N20 N25: a file on rxe, direct" file_backed rxe 0
add_nvmet "R9.2 N20 N25: a file on siw, buffered" file_backed siw 1
add_nvmet "R9.2 N20 N25: a file on loop" file_backed loop 0
add_nvmet "R9.2 N25: passthru on rxe" passthru rxe
add_nvmet "R9.2 N25: passthru on loop" passthru loop
add "R9.6 N1: nothing is left" nothing_is_left
run_cases
