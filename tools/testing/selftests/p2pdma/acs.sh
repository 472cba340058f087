#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Access control (ACS) in the legs of a switch, changed while the paths are used.
#
# Guards R2.5 and R2.7: a verdict from before the change that is used after it
# (N11), by whatever way user space writes config space; only one of the two
# legs looked at (N13); Direct Translated P2P taken for an excuse; a redirected
# path below a host bridge that routes preferred over a switch path (N14); a
# list of ports that is not complete (N12), or a remedy for a path that is good.
#
# The ports have every bit but Egress Control; KUnit has that.
#
# topology: switch-acs
# kernels: normal
# timeout: 180
# tags: acs topology map

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb

switch=$(port_of "$src_port")
root_port=$(port_of "$switch")
acs_capable "$src_port" $((RR | CR)) || skip_all "the switch has no ACS"
acs_offset=$(lspci -vv -s "$src_port" |
	sed -n 's/.*Capabilities: \[\([0-9a-f]*\) .*Access Control Services/0x\1/p')

# --- ways to write; each takes PORT VALUE ----------------------------------

by_word()
{
	acs_write "$1" "$2"
}

by_byte()
{
	setpci -s "$1" "ECAP_ACS+6.b=$(printf %02x "$2")"
}

# The control word is the upper half, the other half is read-only.
by_dword()
{
	setpci -s "$1" "ECAP_ACS+4.l=$(printf %04x%04x "$2" 0)"
}

by_word_of_proc()
{
	acs_write "$1" "$2" -A linux-proc
}

by_byte_of_proc()
{
	setpci -A linux-proc -s "$1" "ECAP_ACS+6.b=$(printf %02x "$2")"
}

by_dword_of_proc()
{
	setpci -A linux-proc -s "$1" "ECAP_ACS+4.l=$(printf %04x%04x "$2" 0)"
}

# Three bytes from an odd address: the kernel makes a byte and a word of them.
by_odd_range()
{
	printf '%b' "\\x00\\x$(printf %02x "$2")\\x00" |
		dd of="$PCI/$1/config" bs=3 count=1 oflag=seek_bytes \
			seek=$((acs_offset + 5)) conv=notrunc status=none
}

# --- cases -----------------------------------------------------------------

# As one user would see it: next verdict, next mapping, list, and back again.
redirects()
{
	local way=$1 port=$2 bits=$3 times=$4

	"$way" "$port" "$bits"
	check_refused "$cmb_bdf" "$src_bdf" \
		"$(refused_by_acs "$cmb_bdf" "$src_bdf" "$port")"
	check_equal "the bound list finds" "$(found "$list")" none
	check_equal "the bound list says" "$(p2p list-explain "$list")" \
		"$(refused_by_acs "$cmb_bdf" "$src_bdf" "$port")"
	check_told "$list" "$times"
	"$way" "$port" 0
	check_reached "$cmb_bdf" "$src_bdf" 4 bus
	check_equal "the bound list finds" "$(found "$list")" "$cmb_bdf"
}

each_bit_of_each_leg()
{
	local list port bit times=0

	acs_until_end "$src_port" "$cmb_port"
	new_list "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	check_reached "$cmb_bdf" "$src_bdf" 4 bus
	for port in "$src_port" "$cmb_port"; do
		for bit in $RR $CR $EC $((SV | RR | UF | DT)); do
			acs_capable "$port" $((bit & (RR | CR | EC))) || continue
			times=$((times + 1))
			redirects by_word "$port" "$bit" "$times"
		done
	done
	((times == 6 || times == 8)) || fail "$times changes, should be 6 or 8"
}

each_way_to_write()
{
	local list way times=0

	acs_until_end "$cmb_port"
	new_list "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	for way in by_byte by_dword by_word_of_proc by_byte_of_proc \
		by_dword_of_proc by_odd_range; do
		times=$((times + 1))
		redirects "$way" "$cmb_port" "$RR" "$times"
	done
}

no_redirects()
{
	local list bits port

	acs_until_end "$src_port" "$cmb_port" "$dst_port"
	new_list "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	for bits in $SV $TB $UF $DT $((SV | TB | UF | DT)); do
		for port in "$src_port" "$cmb_port" "$dst_port"; do
			acs_write "$port" "$bits"
		done
		check_equal "ACS of $src_port" "$((0x$(acs_of "$src_port")))" $((bits))
		check_equal "distance, with $bits" \
			"$(p2p_value distance distance "$cmb_bdf" "$src_bdf")" 4
	done
	check_reached "$cmb_bdf" "$src_bdf" 4 bus
	copy_through "$cmb_bdf"
	check_told "$list" 0
}

# The port above the switch, and those of others, do not matter.
other_ports()
{
	local list

	acs_until_end "$dst_port" "$mem_port" "$root_port"
	new_list "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	acs_write "$dst_port" $((RR | CR))
	acs_write "$mem_port" $((RR | CR))
	acs_write "$root_port" $((RR | CR))
	check_reached "$cmb_bdf" "$src_bdf" 4 bus
	check_equal "the bound list finds" "$(found "$list")" "$cmb_bdf"
	check_refused "$cmb_bdf" "$dst_bdf" \
		"$(refused_by_acs "$cmb_bdf" "$dst_bdf" "$dst_port")"
	check_refused "$mem_bdf" "$dst_bdf" \
		"$(refused_by_acs "$mem_bdf" "$dst_bdf" "$mem_port;$dst_port")"
	check_told "$list" 0
}

# The provider's leg first, and no port that is not on the way.
all_ports_named()
{
	local port list

	acs_until_end "$src_port" "$dst_port" "$cmb_port" "$mem_port"
	for port in "$src_port" "$dst_port" "$cmb_port" "$mem_port"; do
		acs_write "$port" $((SV | RR | CR | UF))
	done
	check_refused "$cmb_bdf" "$src_bdf" \
		"$(refused_by_acs "$cmb_bdf" "$src_bdf" "$cmb_port;$src_port")"
	check_refused "$src_bdf" "$cmb_bdf" \
		"$(refused_by_acs "$src_bdf" "$cmb_bdf" "$src_port;$cmb_port")"
	new_list "$src_bdf"
	check_equal "the list says" "$(p2p list-explain "$list")" \
		"$(refused_by_acs "$cmb_bdf" "$src_bdf" "$cmb_port;$src_port")"
	copy_through_host "$(refused_by_acs "$cmb_bdf" "$src_bdf" "$cmb_port;$src_port")"
	# What the drive does within itself passes no port.
	check_reached "$cmb_bdf" "$cmb_bdf" 0 bus
}

# A mapping made before stays as it is; the next one is refused.
mapped_before()
{
	local id other before

	acs_until_end "$cmb_port"
	defer p2p free-all
	id=$(p2p_value id sgl "$cmb_bdf" 64K)
	other=$(p2p_value id sgl "$cmb_bdf" 64K)
	before=$(p2p_value 0 map "$src_bdf" "$id")
	acs_write "$cmb_port" "$RR"
	check_fails "the next mapping" "Remote I/O error" p2p map "$src_bdf" "$other"
	p2p unmap "$id"
	check_fails "the same one again" "Remote I/O error" p2p map "$src_bdf" "$id"
	acs_write "$cmb_port" 0
	check_equal "its address, in the end" "$(p2p_value 0 map "$src_bdf" "$id")" "$before"
	p2p unmap "$id"
}

# The port's control word is as the hardware has it, also for a port that the
# kernel finds anew.
found_anew()
{
	acs_until_end "$mem_port"
	use_provider_sample publish=1
	check_reached "$mem_bdf" "$src_bdf" 4 bus
	acs_write "$mem_port" "$RR"
	echo 1 >"$PCI/$mem_port/remove"
	[ ! -e "$PCI/$mem_bdf" ] || fail "$mem_bdf is still there"
	echo 1 >/sys/bus/pci/rescan
	wait_for 10 serves "$mem_bdf" || fail "$mem_bdf did not come back"
	check_equal "ACS of $mem_port" "$((0x$(acs_of "$mem_port")))" $((RR))
	check_refused "$mem_bdf" "$src_bdf" \
		"$(refused_by_acs "$mem_bdf" "$src_bdf" "$mem_port")"
	acs_write "$mem_port" 0
	check_reached "$mem_bdf" "$src_bdf" 4 bus
}

# cut_off PORT REFUSAL: while a copy is in the middle
cut_off()
{
	local pid length=$((4 * MIB))

	start_slow_copy "$length"
	acs_write "$1" $((RR | CR))
	end_slow_copy "$length"
	copy_through_host "$2"
	acs_write "$1" 0
	copy_through "$cmb_bdf"
}

during_a_copy()
{
	local before

	acs_until_end "$src_port" "$dst_port" "$cmb_port"
	before=$(p2pmem_available "$cmb_bdf")
	cut_off "$dst_port" "$(refused_by_acs "$cmb_bdf" "$dst_bdf" "$dst_port")"
	cut_off "$cmb_port" "$(refused_by_acs "$cmb_bdf" "$src_bdf" "$cmb_port")"
	check_equal "available in the end" "$(p2pmem_available "$cmb_bdf")" "$before"
}

# Four edges to the root on either leg
redirected=$((ROOT_COMPLEX + 8))

by_host_bridge()
{
	local list

	acs_until_end "$cmb_port" "$dst_port"
	new_list "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	allow_host_bridges "$(host_bridge_of "$src_bdf")"
	check_reached "$cmb_bdf" "$src_bdf" 4 bus
	acs_write "$cmb_port" $((RR | CR))
	check_reached "$cmb_bdf" "$src_bdf" "$redirected" physical
	copy_through "$cmb_bdf"
	acs_write "$cmb_port" "$CR"
	acs_write "$dst_port" $((SV | RR | CR | UF))
	check_reached "$cmb_bdf" "$src_bdf" "$redirected" physical
	check_reached "$cmb_bdf" "$dst_bdf" "$redirected" physical
	copy_through "$cmb_bdf"
	check_equal "the bound list finds" "$(found "$list")" "$cmb_bdf"
	check_told "$list" 0
	echo >"$ALLOW"
	check_refused "$cmb_bdf" "$src_bdf" \
		"$(refused_by_acs "$cmb_bdf" "$src_bdf" "$cmb_port")"
	check_told "$list" 1
}

# However much memory the redirected one has free.
ranked_last()
{
	local list i

	acs_until_end "$cmb_port" "$mem_port"
	defer p2p free-all
	use_provider_sample publish=1
	allow_host_bridges "$(host_bridge_of "$src_bdf")"
	acs_write "$cmb_port" "$RR"
	p2p alloc "$mem_bdf" 8M >/dev/null
	for ((i = $(rounds 5); i > 0; i--)); do
		new_list "$src_bdf" "$dst_bdf"
		check_equal "best, with $cmb_bdf redirected" "$(found "$list")" "$mem_bdf"
	done
	p2p free-all
	copy_through "$mem_bdf"
	acs_write "$cmb_port" 0
	acs_write "$mem_port" "$CR"
	p2p alloc "$cmb_bdf" 8M >/dev/null
	for ((i = $(rounds 5); i > 0; i--)); do
		new_list "$src_bdf" "$dst_bdf"
		check_equal "best, with $mem_bdf redirected" "$(found "$list")" "$cmb_bdf"
	done
}

# Unmapped the way it was mapped, whatever the path is by then.
mapped_the_other_way()
{
	local id

	acs_until_end "$cmb_port"
	defer p2p free-all
	allow_host_bridges "$(host_bridge_of "$src_bdf")"
	id=$(p2p_value id sgl "$cmb_bdf" 64K)
	p2p map "$src_bdf" "$id" >/dev/null
	acs_write "$cmb_port" "$RR"
	p2p unmap "$id"
	p2p map "$src_bdf" "$id" >/dev/null
	acs_write "$cmb_port" 0
	p2p unmap "$id"
	check_maps "$cmb_bdf" "$src_bdf" bus
	p2p free-all
	# A debug kernel looks here for mappings that were left.
	defer wait_for 20 drive_is_there src
	defer rebind "$src_bdf" nvme
	unbind "$src_bdf"
}

add "R2.5 R2.7 N11 N13: each redirect on each leg, seen at once and told once" \
	each_bit_of_each_leg
add "R2.7 N11: whatever way user space writes it" each_way_to_write
add "R2.5: SV, TB, UF and DT redirect nothing" no_redirects
add "R2.5: ports that are not on the way" other_ports
add "R2.8 N12: all ports are named, and only those on the way" all_ports_named
add "R2.7: mappings made before stay as they are" mapped_before
add "R2.7 N11: a port that is found anew" found_anew
add "R2.7 R2.9 N25: cut off in the middle of a copy" during_a_copy
add "R2.5 R2.6: redirected below a host bridge that routes" by_host_bridge
add "R2.6 N14: it ranks behind every switch path" ranked_last
add "R3.2: unmapped as it was mapped" mapped_the_other_way
run_cases
