#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Allocation from a provider, right and wrong.
#
# Guards R1.4 to R1.6 and R1.11. Misuse by a driver (a double free, memory of
# someone else, a wrong size) was a BUG in genalloc before; it has to be one
# error line, and nothing may change: after each mistake the case compares what
# is available, and the memory that is still held has to keep its contents.
#
# topology: switch
# kernels: normal debug
# timeout: 90
# leaks: normal
# tags: core

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_machine src dst cmb
require_provider_sample
whole=$(p2pmem_size "$mem_bdf")
nomem="Cannot allocate memory"

# One error line of that function, of this subsystem, and no other.
check_one_error()
{
	check_log_count "$1" "$2: p2pdma: .*" 1
	check_log_count "$1" "$2: p2pdma: free of .*ignored" 1
	# The next mistake of this case is counted anew.
	_begin_log "after: $1"
}

sizes()
{
	local size id

	defer p2p free-all
	for size in 1 4095 4096 4097 64K 1M 8M; do
		id=$(p2p_value id alloc "$mem_bdf" "$size")
		p2p fill "$id" 90
		p2p check "$id" 90
		check_fails "check sees other data" "Input/output error" p2p check "$id" 91
		p2p free "$id"
	done
	check_fails "size 0" "$nomem" p2p alloc "$mem_bdf" 0
	check_fails "more than there is" "$nomem" p2p alloc "$mem_bdf" $((whole + 1))
	check_fails "a size that wraps" "$nomem" p2p alloc "$mem_bdf" 0xffffffffffffffff
	check_fails "a size that wraps" "$nomem" p2p alloc "$mem_bdf" 0xfffffffffffff001
	check_equal available "$(p2pmem_available "$mem_bdf")" "$whole"
	p2p alloc "$mem_bdf" "$whole" >/dev/null
	check_equal "available, all allocated" "$(p2pmem_available "$mem_bdf")" 0
	check_fails "nothing left" "$nomem" p2p alloc "$mem_bdf" 1
	check_no_log "shortage is silent" "p2pdma: "
}

# What one owner writes is not seen by another: no two get the same page.
disjoint()
{
	local first last id count=$((whole / 524288)) byte

	defer p2p free-all
	first=$(p2p_value id alloc "$mem_bdf" 512K "$count")
	last=$((first + count - 1))
	for ((id = first; id <= last; id++)); do
		p2p fill "$id" $((id % 251))
	done
	for ((id = first; id <= last; id++)); do
		byte=$((id % 251))
		p2p check "$id" "$byte" || fail "piece $id has someone else's data"
	done
}

double_free()
{
	local id kept

	defer p2p free-all
	kept=$(p2p_value id alloc "$mem_bdf" 64K)
	p2p fill "$kept" 17
	id=$(p2p_value id alloc "$mem_bdf" 64K)
	p2p free "$id"
	p2p free-again
	check_one_error "double free" "$mem_bdf"
	check_equal available "$(p2pmem_available "$mem_bdf")" $((whole - 65536))
	p2p check "$kept" 17
	p2p free "$kept"
	check_equal "available in the end" "$(p2pmem_available "$mem_bdf")" "$whole"
}

foreign_free()
{
	local id cmb_before

	defer p2p free-all
	cmb_before=$(p2pmem_available "$cmb_bdf")
	id=$(p2p_value id alloc "$mem_bdf" 64K)
	p2p fill "$id" 18
	p2p free-wrong "$cmb_bdf" "$id"
	check_one_error "free at another provider" "$cmb_bdf"
	p2p free-wrong "$src_bdf" "$id"
	check_one_error "free at a function without memory" "$src_bdf"
	p2p free-heap "$mem_bdf" 4096
	check_one_error "free of ordinary memory" "$mem_bdf"
	p2p free-null "$mem_bdf"
	check_no_log "free of NULL is silent" "p2pdma: "
	check_equal "available at mem" "$(p2pmem_available "$mem_bdf")" $((whole - 65536))
	check_equal "available at cmb" "$(p2pmem_available "$cmb_bdf")" "$cmb_before"
	p2p check "$id" 18
	p2p free "$id"
	check_equal "available in the end" "$(p2pmem_available "$mem_bdf")" "$whole"
}

wrong_size_free()
{
	local id

	defer p2p free-all
	id=$(p2p_value id alloc "$mem_bdf" 64K)
	p2p fill "$id" 19
	p2p free-wrong "$mem_bdf" "$id" 0 4096
	check_one_error "too small" "$mem_bdf"
	p2p free-wrong "$mem_bdf" "$id" 0 128K
	check_one_error "too large" "$mem_bdf"
	p2p free-wrong "$mem_bdf" "$id" 0 0
	check_one_error "size 0" "$mem_bdf"
	p2p free-wrong "$mem_bdf" "$id" 0 0xffffffffffffffff
	check_one_error "a size that wraps" "$mem_bdf"
	p2p free-wrong "$mem_bdf" "$id" 4096 61440
	check_one_error "from the second page" "$mem_bdf"
	p2p free-wrong "$mem_bdf" "$id" 1 65536
	check_one_error "from the second byte" "$mem_bdf"
	check_equal available "$(p2pmem_available "$mem_bdf")" $((whole - 65536))
	p2p check "$id" 19
	p2p free "$id"
	check_no_log "the right free is silent" "p2pdma: "
	check_equal "available in the end" "$(p2pmem_available "$mem_bdf")" "$whole"
}

foreign_list_free()
{
	local id

	defer p2p free-all
	id=$(p2p_value id sgl "$mem_bdf" 1M)
	p2p free-wrong "$cmb_bdf" "$id"
	check_one_error "list freed at another provider" "$cmb_bdf"
	check_equal available "$(p2pmem_available "$mem_bdf")" $((whole - MIB))
	p2p free "$id"
	check_no_log "the right free is silent" "p2pdma: "
	check_equal "available in the end" "$(p2pmem_available "$mem_bdf")" "$whole"
}

# check_list SIZE: one scatterlist, of the right length
check_list()
{
	local out

	out=$(p2p sgl "$mem_bdf" "$1")
	[[ $out =~ nents=([0-9]+)\ bytes=([0-9]+)\ min=([0-9]+)\ max=([0-9]+) ]] ||
		fail "sgl said '$out'"
	check_equal "bytes of the list" "${BASH_REMATCH[2]}" "$1"
	((BASH_REMATCH[3] > 0)) || fail "an entry of length 0: $out"
	((BASH_REMATCH[4] <= 65536)) || fail "an entry of more than 64 KiB: $out"
	nents=${BASH_REMATCH[1]}
}

lists()
{
	local size nents

	defer p2p free-all
	for size in 1 511 4096 4097 65536 65537 1000001 $((3 * MIB)) "$whole"; do
		check_list "$size"
		check_equal "entries for $size bytes" "$nents" $(((size + 65535) / 65536))
		check_equal "available with $size bytes out" "$(p2pmem_available "$mem_bdf")" \
			$((whole - (size + 4095) / 4096 * 4096))
		p2p free-all
	done
	check_equal available "$(p2pmem_available "$mem_bdf")" "$whole"
	check_fails "length 0" "$nomem" p2p sgl "$mem_bdf" 0
	check_fails "one byte too many" "$nomem" p2p sgl "$mem_bdf" $((whole + 1))
	check_equal "available after failures" "$(p2pmem_available "$mem_bdf")" "$whole"
}

# Every other page is held, so each entry is one page, and the last is short.
fragmented_lists()
{
	local nents before

	defer p2p free-all
	p2p fragment "$mem_bdf" 4096 >/dev/null
	before=$(p2pmem_available "$mem_bdf")
	check_equal "available, fragmented" "$before" $((whole / 2))
	check_fails "two pages in a row" "$nomem" p2p alloc "$mem_bdf" 8192
	check_list $((100 * 4096 + 1))
	check_equal "entries" "$nents" 101
	check_list $((before - 101 * 4096))
	check_equal "available, all used" "$(p2pmem_available "$mem_bdf")" 0
	p2p free-all
	p2p fragment "$mem_bdf" 4096 >/dev/null
	check_fails "more than is left" "$nomem" p2p sgl "$mem_bdf" $((before + 1))
	check_equal "available after the failure" "$(p2pmem_available "$mem_bdf")" "$before"
	p2p free-all
	check_equal "available in the end" "$(p2pmem_available "$mem_bdf")" "$whole"
}

bus_addresses()
{
	local id start size bus

	defer p2p free-all
	read -r start size < <(bar_of "$mem_bdf" 2)
	id=$(p2p_value id alloc "$mem_bdf" "$whole")
	# On x86 bus and CPU addresses are the same: offsets are KUnit's.
	bus=$(p2p_value bus bus "$mem_bdf" "$id")
	check_equal "bus address" $((bus)) $((start))
	bus=$(p2p_value bus bus "$mem_bdf" "$id" $((size - 1)))
	check_equal "bus address of the last byte" $((bus)) $((start + size - 1))
	check_equal "another provider's" "$(p2p_value bus bus "$cmb_bdf" "$id")" 0x0
	check_equal "a function without memory" "$(p2p_value bus bus "$src_bdf" "$id")" 0x0
	check_equal "NULL" "$(p2p_value null bus-wrong "$mem_bdf")" 0x0
	check_equal "ordinary memory" "$(p2p_value heap bus-wrong "$mem_bdf")" 0x0
}

page_provider()
{
	local id

	defer p2p free-all
	id=$(p2p_value id alloc "$mem_bdf" 4096)
	check_equal "the page's provider" "$(p2p_value provider page "$id")" "$mem_bdf"
	id=$(p2p_value id alloc "$cmb_bdf" 4096)
	check_equal "the page's provider" "$(p2p_value provider page "$id")" "$cmb_bdf"
}

quiesced()
{
	local id generation

	defer p2p free-all
	defer p2p resume "$mem_bdf"
	id=$(p2p_value id alloc "$mem_bdf" 64K)
	p2p fill "$id" 20
	generation=$(p2p_value generation generation "$mem_bdf")
	check_differ generation "$generation" 0
	p2p quiesce "$mem_bdf"
	p2p quiesce "$mem_bdf"
	check_fails "allocating" "$nomem" p2p alloc "$mem_bdf" 4096
	check_fails "allocating a list" "$nomem" p2p sgl "$mem_bdf" 4096
	check_equal available "$(p2pmem_available "$mem_bdf")" $((whole - 65536))
	p2p check "$id" 20
	check_equal "generation, quiesced" "$(p2p_value generation generation "$mem_bdf")" \
		"$generation"
	p2p lost "$mem_bdf"
	check_differ "generation, contents lost" \
		"$(p2p_value generation generation "$mem_bdf")" "$generation"
	p2p resume "$mem_bdf"
	p2p alloc "$mem_bdf" 4096 >/dev/null
	p2p check "$id" 20
}

# A drain of an idle provider returns, and resume makes it whole again.
drained()
{
	defer p2p resume "$mem_bdf"
	p2p drain "$mem_bdf"
	check_fails "allocating" "$nomem" p2p alloc "$mem_bdf" 4096
	p2p resume "$mem_bdf"
	check_equal size "$(p2pmem_size "$mem_bdf")" "$whole"
	check_equal available "$(p2pmem_available "$mem_bdf")" "$whole"
	check_equal published "$(p2pmem_published "$mem_bdf")" 1
	defer p2p free-all
	p2p alloc "$mem_bdf" "$whole" >/dev/null
}

add "R1.4: allocation by pages; size 0, too much and a size that wraps give NULL" sizes
add "R1.4 R1.13: no two owners share a byte" disjoint
add "R1.4: a double free is one error line" double_free
add "R1.4: freeing what is not the provider's is one error line" foreign_free
add "R1.4: freeing with a wrong size or address is one error line" wrong_size_free
add "R1.6: freeing a list at the wrong provider is one error line" foreign_list_free
add "R1.6 R3.2: scatterlists: length, entries of at most 64 KiB, short last one" lists
add "R1.6: scatterlists from a fragmented pool; a failure keeps nothing" fragmented_lists
add "R1.5: bus addresses, and 0 for what is not the provider's" bus_addresses
add "R1.11: from a page to its provider" page_provider
add "R1.7: quiesced, memory stays valid and none is given; generations" quiesced
add "R1.7: drained and resumed" drained
run_cases
