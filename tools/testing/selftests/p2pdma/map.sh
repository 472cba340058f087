#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Mapping peer memory for real functions: the addresses that devices are given.
#
# Guards R3.1 to R3.3 below a switch, N9 (an ordinary or mixed list that yields
# an address) and N10 (an entry with length 0 or without an address): every
# entry of every mapping is compared with the BAR.
#
# topology: switch
# kernels: normal debug
# timeout: 60
# leaks: normal
# tags: core map

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_machine src dst cmb

read -r bar bar_size < <(bar_of "$cmb_bdf" 2)

# check_mapping WAY CLIENT LENGTH: a list of LENGTH bytes, mapped; every entry
# inside the BAR, none twice, all together the length
check_mapping()
{
	local id words word sum=0 entry seen='' expected=$((($3 + 65535) / 65536))

	id=$(p2p_value id sgl "$cmb_bdf" "$3")
	read -r -a words <<<"$(p2p "$1" "$2" "$id")"
	check_equal "$1 of $3 bytes: entries" "${words[0]}" "nents=$expected"
	for word in "${words[@]:1}"; do
		[[ $word =~ ^[0-9]+=(0x[0-9a-f]+)\+(0x[0-9a-f]+)\+bus$ ]] ||
			fail "$1: entry '$word' has no address, or is not a bus address"
		entry=$((BASH_REMATCH[1]))
		((BASH_REMATCH[2] > 0)) || fail "$1: entry '$word' has length 0"
		((entry >= bar && entry + BASH_REMATCH[2] <= bar + bar_size)) ||
			fail "$1: entry '$word' is not in the BAR at $bar"
		[[ $seen != *" $entry "* ]] || fail "$1: entry '$word' comes twice"
		seen+=" $entry "
		sum=$((sum + BASH_REMATCH[2]))
	done
	check_equal "$1: bytes mapped" "$sum" "$3"
	p2p unmap "$id"
	p2p free "$id"
}

by_bus_address()
{
	local client length

	defer p2p free-all
	for client in "$src_bdf" "$dst_bdf" "$cmb_bdf"; do
		for length in 512 4096 65536 65537 100001 $((2 * MIB - 1)); do
			check_mapping map "$client" "$length"
		done
	done
}

by_dma_api()
{
	local length

	defer p2p free-all
	for length in 512 65536 100001 $((2 * MIB - 1)); do
		check_mapping dma-map "$src_bdf" "$length"
	done
}

fragmented()
{
	local id words

	defer p2p free-all
	p2p fragment "$cmb_bdf" 4096 >/dev/null
	id=$(p2p_value id sgl "$cmb_bdf" 100000)
	read -r -a words <<<"$(p2p map "$src_bdf" "$id")"
	check_equal entries "${words[0]}" nents=25
	check_match "the last, short entry" "${words[25]}" "\+0x6a0\+bus$"
	p2p unmap "$id"
}

not_peer_memory()
{
	local id error="Remote I/O error"

	defer p2p free-all
	id=$(p2p_value id alloc "$cmb_bdf" 4096)
	check_fails "ordinary memory" "$error" p2p map-host "$src_bdf"
	check_fails "peer memory last" "$error" p2p map-mixed "$src_bdf" "$id"
	check_fails "peer memory first" "$error" p2p map-mixed "$src_bdf" "$id" first
}

# One entry of each kind next to the other, in every order
mixed()
{
	local order

	defer p2p free-all
	for order in p hp ph hph php hhpp pphh hphphphp; do
		check_mixed "$cmb_bdf" "$src_bdf" "$order" physical
	done
}

# The memory-only function did not declare that it reaches its own memory.
not_its_own()
{
	local id

	[ -n "$mem_bdf" ] || skip "no memory-only function"
	use_provider_sample publish=1
	defer p2p free-all
	id=$(p2p_value id sgl "$mem_bdf" 4096)
	check_fails "its own, not declared" "Remote I/O error" p2p map "$mem_bdf" "$id"
	p2p map "$src_bdf" "$id" >/dev/null
	p2p unmap "$id"
}

add "R3.1 R3.2 N10: bus addresses inside the BAR, every entry" by_bus_address
add "R3.3 N10: the DMA API gives the same" by_dma_api
add "R3.3 N10: the DMA API, both kinds of memory in one list" mixed
add "R3.2 N10: a list of single pages with a short last one" fragmented
add "R3.2 N9: ordinary and mixed lists are refused for good" not_peer_memory
add "R1.12 R3.2: a function that does not reach its own memory" not_its_own
run_cases
