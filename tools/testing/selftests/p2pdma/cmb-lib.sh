# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Cases of a drive's Controller Memory Buffer, for the scripts that differ only
# in the drive that the machine has.  Sourced after lib.sh.

# shellcheck disable=SC2154 # require_copies sets src, dst, cmb and cmb_bdf

require_copies src dst cmb

# What was said of a drive's CMB during this case.
said_of()
{
	log_since | grep -E "nvme $(ctrl_of "$1"): |$(bdf_of "$1"): p2pdma: " |
		grep -E "CMB|p2pdma: " || :
}

# load_nvme VALUE: all drives anew, with or without queues in the CMB
load_nvme()
{
	local role

	rmmod nvme
	modprobe nvme use_cmb_sqes="$1"
	for role in src dst cmb; do
		wait_for 30 drive_is_there "$role" || fail "$role did not come back"
		declare -g "$role=$(disk_of "$role")"
	done
}

# Write to it and read it back, by itself and into the CMB of its own.
check_drive()
{
	local want

	defer rm -f /tmp/data
	head -c 4M /dev/urandom >/tmp/data
	want=$(sum </tmp/data)
	fill "$cmb" 0 $((4 * MIB)) /tmp/data
	check_equal "the drive's data" "$(sum_of "$cmb" 0 $((4 * MIB)))" "$want"
	wipe "$dst" 0 $((4 * MIB))
	copy "$cmb" "$dst" 0 0 4M
	check_equal "data copied from it" "$(sum_of "$dst" 0 $((4 * MIB)))" "$want"
}

# usable_cmb SIZE: registered once, published, as large as the drive says, and
# at most half of it is queues
usable_cmb()
{
	local taken

	bind_anew
	has_p2pmem "$cmb_bdf" || fail "no p2pmem directory"
	check_equal size "$(p2pmem_size "$cmb_bdf")" "$1"
	check_equal published "$(p2pmem_published "$cmb_bdf")" 1
	taken=$(($1 - $(p2pmem_available "$cmb_bdf")))
	((taken >= 0 && taken <= $1 / 2)) || fail "$taken bytes are set aside"
	check_log_count "registered" "$cmb_bdf: p2pdma: registered $(($1 / 1024)) KiB of BAR 2" 1
	said_of cmb | sed 's/^/# /'
}

# NVM Express Base 2.0, sec 3.1.3.11 and 3.1.3.12
attributes()
{
	local loc sz unit dir

	dir=/sys/class/nvme/$(ctrl_of cmb)
	loc=$(trim "$dir/cmbloc")
	sz=$(trim "$dir/cmbsz")
	check_match cmbloc "$loc" '^[0-9]+$'
	check_match cmbsz "$sz" '^[0-9]+$'
	check_equal "BAR in CMBLOC" $((loc & 7)) 2
	check_equal "offset in CMBLOC" $((loc >> 12)) 0
	unit=$((4096 << (4 * ((sz >> 8) & 15))))
	check_equal "size in CMBSZ" $((unit * (sz >> 12))) "$1"
	check_equal "CMBSZ.SQS" $((sz & 1)) 1
	check_equal "CMBSZ.RDS and WDS" $((sz & 24)) 24
	check_equal "the attribute cmb" "$(cat "$dir/cmb")" \
		"$(printf 'cmbloc : x%08x\ncmbsz  : x%08x' "$loc" "$sz")"
}

# A drive without a CMB has none of these, and says nothing about it.
without()
{
	local role ctrl

	for role; do
		ctrl=/sys/class/nvme/$(ctrl_of "$role")
		check_equal "attributes of $role" \
			"$(find "$ctrl/" -maxdepth 1 -name 'cmb*')" ""
		check_equal "p2pmem of $role" \
			"$(has_p2pmem "$(bdf_of "$role")" && echo there)" ""
	done
	[[ "$*" != *dst* ]] || {
		defer rebind "$dst_bdf" nvme
		unbind "$dst_bdf"
		bind "$dst_bdf" nvme
		wait_for 30 drive_is_there dst || fail "dst did not come back"
		check_equal "messages about dst" "$(said_of dst)" ""
	}
}

copy_through_it()
{
	local length before

	length=$(blockdev --getsize64 "$src")
	before=$(p2pmem_available "$cmb_bdf")
	wipe "$dst"
	copy "$src" "$dst"
	check_all_p2p "$cmb_bdf" "$length"
	check_copied 0 0 "$length"
	check_equal available "$(p2pmem_available "$cmb_bdf")" "$before"
}

# All that is not set aside for queues can be had, to the last byte, and the
# drive's own queues do not mind.
every_byte()
{
	local id

	defer p2p free-all
	id=$(p2p_value id alloc "$cmb_bdf" "$(p2pmem_available "$cmb_bdf")")
	check_equal available "$(p2pmem_available "$cmb_bdf")" 0
	p2p fill "$id" 55
	check_drive
	p2p check "$id" 55
}

cmb_cases()
{
	add "R8.1: the CMB is registered once, and published" usable_cmb "$1"
	add "R8.3: attributes cmb, cmbloc and cmbsz" attributes "$1"
	add "R8.7: drives without a CMB say nothing" without src dst
	add "R8.1 R8.2: all of it can be allocated" every_byte
}
