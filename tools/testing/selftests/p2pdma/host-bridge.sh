#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# p2pdma.allow_host_bridge: the administrator says which host bridges route.
#
# Guards R2.6 and R2.8: the remedy in a refusal must work as it is, at once,
# also for a list that exists already; a mistake in it must change nothing and
# be named; taking an entry back must end what it allowed (N7, N11).
#
# topology: two-root-ports
# kernels: normal
# timeout: 90
# tags: topology map host

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb
[ -w "$ALLOW" ] || skip_all "no parameter p2pdma.allow_host_bridge"

bridge=$(host_bridge_of "$src_bdf")
# Two edges to the root on either leg
distance_here=$((ROOT_COMPLEX + 4))

# remedy TEXT: the value of the parameter in a refusal; the file that it names
# is the one that we write to.
remedy()
{
	[[ $1 =~ p2pdma\.allow_host_bridge=([^ ]*)\ .*write\ it\ to\ ([^ ]*)$ ]] ||
		fail "no remedy in '$1'"
	check_equal "the file" "${BASH_REMATCH[2]}" "$ALLOW"
	echo "${BASH_REMATCH[1]}"
}

refused_here()
{
	check_refused "$1" "$2" "$(refused_by_root_complex "$1" "$2" "$bridge")"
}

reached_here()
{
	check_reached "$1" "$2" "$distance_here" physical
}

pasted()
{
	check_equal "the parameter" "$(<"$ALLOW")" ""
	every_pair refused_here
	unload p2pdma_provider
	copy_through_host \
		"$(refused_by_root_complex "$cmb_bdf" "$src_bdf" "$bridge")"
	allow_host_bridges "$(remedy "$(report reason)")"
	check_equal "the parameter" "$(<"$ALLOW")" "$bridge"
	every_pair reached_here
	check_reached "$cmb_bdf" "$cmb_bdf" 0 bus
	unload p2pdma_provider
	copy_through "$cmb_bdf"
	echo >"$ALLOW"
	check_equal "the parameter" "$(<"$ALLOW")" ""
	refused_here "$cmb_bdf" "$src_bdf"
}

# Two edges of a leg to the root, one of what is on the root bus itself
root_bus()
{
	allow_host_bridges "$bridge"
	check_reached "$cmb_bdf" "$(port_of "$src_bdf")" $((distance_here - 1)) physical
	echo >"$ALLOW"
	check_refused "$cmb_bdf" 0000:00:1f.2 \
		"$(refused_by_root_complex "$cmb_bdf" 0000:00:1f.2 "$bridge")"
}

third_party()
{
	allow_host_bridges "$bridge"
	through_third_party
}

# What is there already comes first, so that the remedy can be pasted.
others_stay()
{
	allow_host_bridges 1234:5678,abcd:0001
	check_refused "$cmb_bdf" "$src_bdf" \
		"$(refused_by_root_complex "$cmb_bdf" "$src_bdf" "1234:5678,abcd:0001,$bridge")"
	echo "1234:5678,${bridge^^}" >"$ALLOW"
	check_equal "the parameter" "$(<"$ALLOW")" "1234:5678,$bridge"
	reached_here "$cmb_bdf" "$src_bdf"
	printf %s "$bridge" >"$ALLOW"
	check_equal "the parameter" "$(<"$ALLOW")" "$bridge"
	reached_here "$cmb_bdf" "$src_bdf"
}

write_allow()
{
	printf '%s\n' "$1" >"$ALLOW"
}

# bad VALUE WORD: refused with WORD named, and what was there stays
bad()
{
	check_fails "'$1'" "Invalid argument" write_allow "$1"
	check_log "the offending word" "p2pdma: allow_host_bridge: \"$2\" $not_an_id$"
	check_equal "the parameter" "$(<"$ALLOW")" "$bridge"
}

bad_syntax()
{
	allow_host_bridges "$bridge"
	bad 8086 8086
	bad 8086: 8086:
	bad :29c0 :29c0
	bad 8086:29c0:0 8086:29c0:0
	bad 8086:29g0 8086:29g0
	bad 18086:29c0 18086:29c0
	bad 8086:129c0 8086:129c0
	bad 0x8086:0x29c0 0x8086:0x29c0
	bad 8086-29c0 8086-29c0
	bad '8086:29c0 1022:1450' '8086:29c0 1022:1450'
	bad 1234:5678,foo foo
	bad foo,1234:5678 foo
	bad 1234:5678, ''
	bad ,1234:5678 ''
	bad 1234:5678,,1234:5679 ''
	reached_here "$cmb_bdf" "$src_bdf"
}

too_many()
{
	local i list=''

	allow_host_bridges "$bridge"
	for ((i = 0; i < 200; i++)); do
		list+=$(printf '1234:%04x,' "$i")
	done
	check_fails "200 host bridges" "No space left on device" \
		write_allow "$list$bridge"
	check_equal "the parameter" "$(<"$ALLOW")" "$bridge"
	reached_here "$cmb_bdf" "$src_bdf"
}

# Taken back while it is in use; and given again.
taken_back()
{
	local list id other times

	defer p2p free-all
	allow_host_bridges "$bridge"
	new_list "$src_bdf" "$dst_bdf"
	check_equal "found" "$(found "$list")" "$cmb_bdf"
	id=$(p2p_value id sgl "$cmb_bdf" 64K)
	other=$(p2p_value id sgl "$cmb_bdf" 64K)
	for times in 1 2; do
		p2p map "$src_bdf" "$id" >/dev/null
		echo 1234:5678 >"$ALLOW"
		check_fails "the next mapping" "Remote I/O error" \
			p2p map "$dst_bdf" "$other"
		check_equal "the bound list finds" "$(found "$list")" none
		check_equal "the bound list says" "$(p2p list-explain "$list")" \
			"$(refused_by_root_complex "$cmb_bdf" "$src_bdf" "1234:5678,$bridge")"
		check_told "$list" "$times"
		p2p unmap "$id"
		echo "$bridge" >"$ALLOW"
		check_equal "the bound list finds" "$(found "$list")" "$cmb_bdf"
	done
}

during_a_copy()
{
	local pid length=$((4 * MIB))

	allow_host_bridges "$bridge"
	start_slow_copy "$length"
	echo >"$ALLOW"
	end_slow_copy "$length"
}

add "R2.6 R2.8 N7: the remedy is pasted, and works" pasted
add "R2.5 R2.6: functions on the root bus" root_bus
add "R2.6 N25: a third party's memory" third_party
add "R2.8: entries that are there already" others_stay
add "R2.6: bad syntax is refused, with the offending word" bad_syntax
add "R2.6: more than there is room for" too_many
add "R2.6 R2.9 N11: an entry that is taken back while in use" taken_back
add "R2.6 R2.9 N25: taken back in the middle of a copy" during_a_copy
run_cases
