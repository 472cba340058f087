#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Every allocation fails once: the first, then the second, and so on until none
# is left to fail.
#
# Guards R1.2, N1 and N3: a registration that failed half-way left something
# behind that the next attempt, or the unbind, ran into; and the error paths of
# the copy, which must keep no memory. After each failure the case looks for
# traces and repeats the attempt without a failure.  What an error path forgot
# to free, kmemleak finds in the end.
#
# topology: switch
# kernels: debug
# timeout: 240
# leaks: debug
# tags: core failnth
#
# x86 warns when adding pages fails, whatever the reason, in its own code:
# allow: WARNING: .* add_pages\+

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_copies src dst cmb
[ -e /proc/self/fail-nth ] || skip_all "the kernel has no CONFIG_FAULT_INJECTION"
[ -d /sys/kernel/debug/failslab ] || skip_all "the kernel has no CONFIG_FAILSLAB"
require_provider_sample
[ ! -e "$PCI/$mem_bdf/driver" ] || unbind "$mem_bdf"
whole=$(bar_of "$mem_bdf" 2 | cut -d ' ' -f 2)

# Allocations that may sleep are to fail as well, and quietly.
prepare()
{
	local knob dir=/sys/kernel/debug

	for knob in failslab/ignore-gfp-wait fail_page_alloc/ignore-gfp-wait \
		fail_page_alloc/ignore-gfp-highmem failslab/cache-filter; do
		[ ! -e "$dir/$knob" ] || echo N >"$dir/$knob"
	done
	[ ! -e $dir/fail_page_alloc/min-order ] || echo 0 >$dir/fail_page_alloc/min-order
	for knob in failslab fail_page_alloc; do
		[ ! -e "$dir/$knob/verbose" ] || echo 0 >"$dir/$knob/verbose"
	done
}

# inject N FILE TEXT: sets $injected and $error
inject()
{
	local said

	said=$("$here/failnth" "$@")
	[[ $said =~ ^injected=([01])\ error=(.*)$ ]] || fail "failnth said '$said'"
	injected=${BASH_REMATCH[1]}
	error=${BASH_REMATCH[2]}
}

# check_no_memory N: of the right kind. Requesting the BAR, which is not ours,
# says "busy" when it finds no memory.
check_no_memory()
{
	if [ "$error" = "Device or resource busy" ]; then
		check_no_log "$1: busy, but not by us" "$mem_bdf: p2pdma: "
		return
	fi
	check_equal "$1: error" "$error" "Cannot allocate memory"
}

check_no_trace()
{
	check_equal "$1: p2pmem" "$(has_p2pmem "$mem_bdf" && echo there)" ""
	check_equal "$1: driver" "$([ -e "$PCI/$mem_bdf/driver" ] && echo bound)" ""
	check_equal "$1: generation" "$(p2p_value generation generation "$mem_bdf")" 0
}

check_whole()
{
	check_equal "$1: size" "$(p2pmem_size "$mem_bdf")" "$whole"
	check_equal "$1: available" "$(p2pmem_available "$mem_bdf")" "$whole"
	check_equal "$1: published" "$(p2pmem_published "$mem_bdf")" 1
}

# Registration, through binding the sample provider.
registration()
{
	local n injected=1 error failed=0 harmless=0

	defer release "$mem_bdf"
	for ((n = 1; injected; n++)); do
		_begin_log "$n"
		inject "$n" /sys/bus/pci/drivers/p2pdma_provider/bind "$mem_bdf"
		if [ -n "$error" ]; then
			check_no_memory "$n"
			failed=$((failed + 1))
			check_no_trace "$n"
			bind "$mem_bdf" p2pdma_provider
		elif ((injected)); then
			harmless=$((harmless + 1))
		fi
		check_whole "$n"
		unbind "$mem_bdf"
		check_no_trace "$n, unbound"
		((n < 2000)) || fail "2000 allocations and no end"
	done
	note "$failed failures, $harmless that did no harm"
	((failed >= 5)) || fail "only $failed failures: nothing was tested"
}

# The first region, with something in it; sets $id.
first_region()
{
	echo "$align" >"$parameters/size"
	bind "$mem_bdf" p2pdma_provider
	id=$(p2p_value id alloc "$mem_bdf" 64K)
	p2p fill "$id" 66
}

# check_regions WHAT NUMBER: of regions, and that the first is as it was
check_regions()
{
	check_equal "$1: size" "$(p2pmem_size "$mem_bdf")" $(($2 * align))
	check_equal "$1: available" "$(p2pmem_available "$mem_bdf")" $(($2 * align - 65536))
	check_equal "$1: published" "$(p2pmem_published "$mem_bdf")" 1
	p2p check "$id" 66
}

# A second region: its failures must not touch the first.
second_region()
{
	local n injected=1 error failed=0 id align=$((2 * MIB))
	local parameters=/sys/module/p2pdma_provider/parameters

	defer eval "echo 0 >$parameters/size"
	defer release "$mem_bdf"
	defer p2p free-all
	first_region
	for ((n = 1; injected; n++)); do
		inject "$n" /sys/kernel/debug/p2pdma_test/command "add $mem_bdf 2 2M 4M"
		if [ -n "$error" ]; then
			failed=$((failed + 1))
			check_equal "$n: error" "$error" "Cannot allocate memory"
			check_regions "$n" 1
			continue
		fi
		# It did no harm, or there was none left to fail.
		check_regions "$n" 2
		p2p free "$id"
		unbind "$mem_bdf"
		first_region
	done
	note "$failed failures"
	((failed >= 5)) || fail "only $failed failures: nothing was tested"
	p2p add "$mem_bdf" 2 2M 4M
	check_regions "in the end" 2
}

# any_command FAILURES COMMAND...: of the test module, on the bound provider
any_command()
{
	local n injected=1 error failed=0 least=$1
	shift

	defer release "$mem_bdf"
	bind "$mem_bdf" p2pdma_provider
	defer p2p free-all
	for ((n = 1; injected; n++)); do
		inject "$n" /sys/kernel/debug/p2pdma_test/command "$*"
		if [ -n "$error" ]; then
			check_equal "$n: error" "$error" "Cannot allocate memory"
			failed=$((failed + 1))
			check_whole "$n"
		fi
		p2p free-all
		check_whole "$n"
		((n < 500)) || fail "500 allocations and no end"
	done
	note "$failed failures"
	((failed >= least)) || fail "only $failed failures: nothing was tested"
}

# A list of one chunk.
scatterlists()
{
	any_command 1 sgl "$mem_bdf" 8M
}

# check_half N: nothing is out but the fragments
check_half()
{
	check_equal "$1: available" "$(p2pmem_available "$mem_bdf")" $((whole / 2))
}

# One of more chunks than fit on the stack; their array may be missing as well.
fragmented_scatterlists()
{
	local n injected=1 error failed=0

	defer release "$mem_bdf"
	bind "$mem_bdf" p2pdma_provider
	defer p2p free-all
	p2p fragment "$mem_bdf" 4096 >/dev/null
	for ((n = 1; injected; n++)); do
		check_half "$n"
		inject "$n" /sys/kernel/debug/p2pdma_test/command "sgl $mem_bdf 64K"
		if [ -n "$error" ]; then
			check_equal "$n: error" "$error" "Cannot allocate memory"
			failed=$((failed + 1))
			continue
		fi
		p2p free-all
		check_whole "$n"
		p2p fragment "$mem_bdf" 4096 >/dev/null
		((n < 500)) || fail "500 allocations and no end"
	done
	note "$failed failures"
	((failed >= 2)) || fail "only $failed failures: nothing was tested"
}

client_list()
{
	local n injected=1 error failed=0 list

	defer release "$mem_bdf"
	bind "$mem_bdf" p2pdma_provider
	list=$(p2p_value list list-new)
	defer p2p list-free "$list"
	for ((n = 1; injected; n++)); do
		inject "$n" /sys/kernel/debug/p2pdma_test/command "list-add $list $src_bdf"
		if [ -n "$error" ]; then
			check_equal "$n: error" "$error" "Cannot allocate memory"
			failed=$((failed + 1))
			check_equal "$n: found" "$(p2p_value provider list-find "$list")" none
		else
			p2p list-remove "$list" "$src_bdf"
		fi
	done
	note "$failed failures"
	((failed >= 2)) || fail "only $failed failures: nothing was tested"
	p2p list-add "$list" "$src_bdf"
	p2p list-assign "$list" "$mem_bdf"
	check_equal found "$(p2p_value provider list-find "$list")" "$mem_bdf"
	p2p list-remove "$list" "$src_bdf"
}

# What the writing task itself allocates; its lanes run elsewhere.
copies()
{
	local n injected=1 error failed=0 right=0 before

	before=$(p2pmem_available "$cmb_bdf")
	for ((n = 1; injected; n++)); do
		wipe "$dst" 0 "$MIB"
		inject "$n" "$COPY/copy" "$src $dst 0 0 1M"
		if [ -z "$error" ]; then
			right=$((right + 1))
			check_copied 0 0 "$MIB"
		else
			failed=$((failed + 1))
		fi
		check_equal "$n: available" "$(p2pmem_available "$cmb_bdf")" "$before"
		((n < 500)) || fail "500 allocations and no end"
	done
	note "$failed failures, $right copies all the same"
	((failed >= 3)) || fail "only $failed failures: nothing was tested"
	wipe "$dst" 0 "$MIB"
	copy "$src" "$dst" 0 0 1M
	check_all_p2p "$cmb_bdf" "$MIB"
	check_copied 0 0 "$MIB"
}

prepare
add "R1.2 N1: each allocation of a registration fails; no trace, a retry succeeds" registration
add "R1.2 N3: each allocation of a second region fails; the first is left alone" second_region
add "R1.6: each allocation of a scatterlist fails; nothing is kept" scatterlists
add "R1.6: the same with a fragmented pool" fragmented_scatterlists
add "R2.1: each allocation of adding a client fails" client_list
add "R10.3 N25: each allocation of a copy's own task fails; right data or an error" copies
run_cases
