#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A drive with a persistent memory region, and no CMB.
#
# Guards R1.2 and R8.1: a PMR never enters the pool, where anyone could overwrite
# what was to persist. But its BAR 4 stands in for that of the adapters of R8.6,
# which QEMU does not have.
#
# topology: pmr
# kernels: normal
# timeout: 90
# tags: nvme cmb

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=cmb-lib.sh
. "$(dirname "$0")/cmb-lib.sh"

left_alone()
{
	local start size

	read -r start size < <(bar_of "$cmb_bdf" 4)
	check_equal "size of the PMR's BAR" "$size" $((16 * MIB))
	: "$start"
	check_equal p2pmem "$(has_p2pmem "$cmb_bdf" && echo there)" ""
	check_equal "generation" "$(p2p_value generation generation "$cmb_bdf")" 0
}

falls_back()
{
	wipe "$dst" 0 $((4 * MIB))
	copy "$src" "$dst" 0 0 4M
	check_equal provider "$(report provider)" none
	check_all_host $((4 * MIB)) "$nothing_on_offer"
	check_copied 0 0 $((4 * MIB))
}

# as_adapter BDF: as one of those whose BAR 4 is known to be nothing but memory,
# until the case ends. What the PMR holds does not matter here, and as it is not
# enabled nothing can be stored there either.
as_adapter()
{
	local ids quirk=800000

	ids="$(<"$PCI/$1/vendor") $(<"$PCI/$1/device") ffffffff ffffffff 0 0"
	defer rebind "$1" nvme
	defer eval "echo $ids >/sys/bus/pci/drivers/nvme/remove_id"
	defer release "$1"
	unbind "$1"
	# It binds at once what has no driver
	echo "$ids $quirk" >/sys/bus/pci/drivers/nvme/new_id
}

pseudo()
{
	local dir before

	as_adapter "$cmb_bdf"
	wait_for 30 ctrl_in_state cmb live || fail "the drive did not come back"
	dir=/sys/class/nvme/$(ctrl_of cmb)
	check_equal "the attribute cmb" "$(trim "$dir/cmb")" \
		"pseudo CMB: BAR 4, $((16 * MIB)) bytes, no CMB registers"
	check_equal "attributes" "$(cd "$dir" && echo cmb*)" cmb
	check_equal size "$(p2pmem_size "$cmb_bdf")" $((16 * MIB))
	check_equal available "$(p2pmem_available "$cmb_bdf")" $((16 * MIB))
	check_equal published "$(p2pmem_published "$cmb_bdf")" 1
	check_match "a path to itself" \
		"$(p2p_value distance distance "$cmb_bdf" "$cmb_bdf")" '^-'
	check_equal "distance to dst" \
		"$(p2p_value distance distance "$cmb_bdf" "$dst_bdf")" 4

	# A reset loses what was there, and that is all
	before=$(p2p_value generation generation "$cmb_bdf")
	echo 1 >"$dir/reset_controller"
	wait_for 30 ctrl_in_state cmb live || fail "not live after a reset"
	check_differ generation "$(p2p_value generation generation "$cmb_bdf")" "$before"
	check_equal "published after a reset" "$(p2pmem_published "$cmb_bdf")" 1
	wait_for 30 drive_is_there cmb || fail "no disk after a reset"
	wipe "$(disk_of cmb)" 0 "$MIB"
}

pseudo_without_bar()
{
	as_adapter "$dst_bdf"
	wait_for 30 drive_is_there dst || fail "dst did not come back"
	check_log_count "it is said why" \
		"pseudo CMB not used: BAR 4 has no memory assigned" 1
	without src cmb
	check_equal "attributes of dst" \
		"$(find "/sys/class/nvme/$(ctrl_of dst)/" -maxdepth 1 -name 'cmb*')" ""
	check_equal p2pmem "$(has_p2pmem "$dst_bdf" && echo there)" ""
	wipe "$(disk_of dst)" 0 "$MIB"
}

pseudo_gone()
{
	wait_for 30 drive_is_there cmb || fail "cmb did not come back"
	wait_for 30 drive_is_there dst || fail "dst did not come back"
	without src dst cmb
}

add "R1.2 R8.1: a PMR is not registered" left_alone
add "R8.7: a drive without a CMB says nothing" without src dst cmb
add "R2.8: no provider: system memory, and the reason" falls_back
add "R8.6: BAR 4 of an adapter that has nothing but memory there" pseudo
add "R8.6 R8.7: one line says that such an adapter has no BAR 4" pseudo_without_bar
add "R8.6: and neither is one any more" pseudo_gone
run_cases
