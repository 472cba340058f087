#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A kernel without CONFIG_PCI_P2PDMA.
#
# Guards R1.9, R8.3 and R9.1: submission queues in the CMB work as before, with
# right data; the drive's attributes stay; the orchestrators build, load, fall back
# and say why, or do not offer what they cannot do.
#
# topology: cmb-sqes
# kernels: nop2pdma
# timeout: 120
# tags: nop2pdma nvme

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_root
! have_p2pdma || skip_all "the kernel has CONFIG_PCI_P2PDMA"
require_drives src dst cmb
require_module p2pdma_copy
load_test_module p2pdma_test

# check_drive: data that it keeps, by commands that lie in its CMB
check_drive()
{
	local want

	head -c 8M /dev/urandom >/tmp/data
	want=$(sum </tmp/data)
	fill "$cmb" 0 $((8 * MIB)) /tmp/data
	check_equal "the drive's data" "$(sum_of "$cmb" 0 $((8 * MIB)))" "$want"
	(($(commands_in_cmb) > 0)) || fail "no command of the drive lies in the CMB"
}

queues()
{
	defer rm -f /tmp/data
	check_drive
}

resets()
{
	local i pid

	defer rm -f /tmp/data
	for ((i = 0; i < 20; i++)); do
		dd if="$cmb" of=/dev/null bs=64K iflag=direct count=200 status=none &
		pid=$!
		echo 1 >"/sys/class/nvme/$(ctrl_of cmb)/reset_controller"
		wait "$pid" || fail "$i: I/O failed during a reset"
		wait_for 30 ctrl_in_state cmb live || fail "$i: not live after a reset"
	done
	check_drive
}

again()
{
	local i

	defer rm -f /tmp/data
	for ((i = 0; i < 5; i++)); do
		bind_anew
	done
	check_drive
}

attributes()
{
	local dir sz

	dir=/sys/class/nvme/$(ctrl_of cmb)
	sz=$(trim "$dir/cmbsz")
	check_equal "size in CMBSZ" $(((4096 << (4 * ((sz >> 8) & 15))) * (sz >> 12))) \
		$((16 * MIB))
	check_equal "the attribute cmb" "$(cat "$dir/cmb")" \
		"$(printf 'cmbloc : x%08x\ncmbsz  : x%08x' "$(trim "$dir/cmbloc")" "$sz")"
}

no_trace()
{
	check_equal "p2pmem directories" "$(find /sys/devices -name p2pmem)" ""
}

falls_back()
{
	wipe "$dst" 0 $((16 * MIB))
	copy "$src" "$dst" 0 0 16M
	check_equal provider "$(report provider)" none
	check_all_host $((16 * MIB)) "$not_configured"
	check_copied 0 0 $((16 * MIB))
}

stubs()
{
	local list unsupported="not supported" nomem="Cannot allocate memory"

	check_fails "registering" "$unsupported" p2p add "$cmb_bdf" 2 0 0
	check_fails "allocating" "$nomem" p2p alloc "$cmb_bdf" 4096
	check_fails "allocating a list" "$nomem" p2p sgl "$cmb_bdf" 4096
	check_equal "distance" "$(p2p_value distance distance "$cmb_bdf" "$src_bdf")" -95
	check_equal "generation" "$(p2p_value generation generation "$cmb_bdf")" 0
	list=$(p2p_value list list-new)
	defer p2p list-free "$list"
	check_fails "adding a client" "$unsupported" p2p list-add "$list" "$src_bdf"
	check_fails "assigning" "$unsupported" p2p list-assign "$list" "$cmb_bdf"
	check_equal "finding" "$(p2p_value provider list-find "$list")" none
	check_fails "mapping" "Remote I/O error" p2p map-host "$src_bdf"
	check_equal "bus address" "$(p2p_value null bus-wrong "$cmb_bdf")" 0x0
	p2p publish "$cmb_bdf" 1
	p2p quiesce "$cmb_bdf"
	p2p drain "$cmb_bdf"
	p2p resume "$cmb_bdf"
	p2p free-heap "$cmb_bdf" 4096
	p2p free-null "$cmb_bdf"
}

# take_target_away DIRECTORY: what the case of the target makes
take_target_away()
{
	rm -f "$1/ports/1/subsystems/one"
	rmdir "$1/ports/1"
	echo 0 >"$1/subsystems/one/namespaces/1/enable"
	rmdir "$1/subsystems/one/namespaces/1" "$1/subsystems/one"
}

target_lacks_attributes()
{
	local nvmet=/sys/kernel/config/nvmet

	modprobe -q nvme-loop || skip "no NVMe target"
	defer take_target_away "$nvmet"
	mkdir -p "$nvmet/subsystems/one/namespaces/1" "$nvmet/ports/1"
	[ ! -e "$nvmet/ports/1/allow_p2pmem" ] || fail "the port has allow_p2pmem"
	[ ! -e "$nvmet/subsystems/one/namespaces/1/p2pmem" ] ||
		fail "the namespace has p2pmem"
	# It works as any other.
	echo "$dst" >"$nvmet/subsystems/one/namespaces/1/device_path"
	echo 1 >"$nvmet/subsystems/one/namespaces/1/enable"
	echo 1 >"$nvmet/subsystems/one/attr_allow_any_host"
	echo loop >"$nvmet/ports/1/addr_trtype"
	ln -s "$nvmet/subsystems/one" "$nvmet/ports/1/subsystems/one"
	defer nvme disconnect -n one
	nvme connect -t loop -n one >/dev/null
	wait_for 20 exported_data_is_right || fail "the host does not see the drive"
}

# What the host reads is what the drive has.
exported_data_is_right()
{
	local dir disk

	for dir in /sys/class/nvme-subsystem/*; do
		[ "$(trim "$dir/subsysnqn")" = one ] || continue
		for disk in "$dir"/nvme*n*; do
			[[ ${disk##*/} =~ ^nvme[0-9]+n[0-9]+$ ]] || continue
			disk=/dev/${disk##*/}
			[ -b "$disk" ] &&
				[ "$(sum_of "$disk" 0 "$MIB")" = "$(sum_of "$dst" 0 "$MIB")" ]
			return
		done
	done
	return 1
}

add "R8.3: submission queues in the CMB, and right data" queues
add "R8.3: the same over resets under I/O" resets
add "R8.3: and over unbind and bind" again
add "R8.3: attributes cmb, cmbloc and cmbsz" attributes
add "R1.9: no trace in sysfs" no_trace
add "R1.9: the copy falls back, and says why" falls_back
add "R1.9: what each stub returns" stubs
add "R9.1: the NVMe target has no attribute for it, and works" target_lacks_attributes
run_cases
