#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Registering a range of a BAR, with the sample driver of a memory-only
# function: good ranges, and every kind of bad one.
#
# Guards R1.2: each refusal has the right error and one line that says why, it
# leaves no trace, a retry with a good range succeeds, and what was registered
# before keeps working (N3: one region's failure disabled another one).
#
# topology: switch
# kernels: normal debug
# timeout: 120
# leaks: normal
# tags: core provider

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_copies src dst cmb
require_provider_sample
read -r bar_start bar_size < <(bar_of "$mem_bdf" 2)
parameters=/sys/module/p2pdma_provider/parameters
release "$mem_bdf"
align=$((2 * MIB))

# range BAR SIZE OFFSET: of the next binding
range()
{
	defer eval "echo 2 >$parameters/bar; echo 0 >$parameters/size; echo 0 >$parameters/offset"
	echo "$1" >"$parameters/bar"
	echo "$2" >"$parameters/size"
	echo "$3" >"$parameters/offset"
}

# refused WHAT BAR SIZE OFFSET REGEX
refused()
{
	_begin_log "$1"
	range "$2" "$3" "$4"
	check_fails "$1" "Invalid argument" bind "$mem_bdf" p2pdma_provider
	check_log_count "$1" "$mem_bdf: p2pdma: " 1
	check_log "$1" "$mem_bdf: p2pdma: .*$5"
	check_equal "$1: p2pmem" "$(has_p2pmem "$mem_bdf" && echo there)" ""
	check_equal "$1: driver" "$([ -e "$PCI/$mem_bdf/driver" ] && echo bound)" ""
	check_equal "$1: generation" "$(p2p_value generation generation "$mem_bdf")" 0
}

# Unbinding waits for what a failed case may have left allocated.
end_of_range()
{
	p2p free-all
	release "$mem_bdf"
}

# accepted WHAT BAR SIZE OFFSET REGISTERED
accepted()
{
	_begin_log "$1"
	range "$2" "$3" "$4"
	defer end_of_range
	bind "$mem_bdf" p2pdma_provider
	check_equal "$1: size" "$(p2pmem_size "$mem_bdf")" "$5"
	check_equal "$1: available" "$(p2pmem_available "$mem_bdf")" "$5"
	check_equal "$1: published" "$(p2pmem_published "$mem_bdf")" 1
}

bad_bars()
{
	# The sample asks no core about such a number, so it says so itself.
	refused "BAR 6" 6 0 0 "no BAR 6"
	refused "BAR 4, absent" 4 0 0 "BAR 4"
	refused "BAR 0, 256 bytes" 0 0 0 "multiple"
	accepted "BAR 2" 2 0 0 "$bar_size"
}

bad_ranges()
{
	refused "size beyond the BAR" 2 $((2 * bar_size)) 0 "not inside BAR 2"
	refused "one page beyond" 2 "$bar_size" 4096 "not inside BAR 2"
	refused "offset at the end" 2 0 "$bar_size" "not inside BAR 2"
	# Size 0 with an offset beyond the BAR passed the check once.
	refused "offset beyond, rest" 2 0 $((2 * bar_size)) "not inside BAR 2"
	refused "wrapping" 2 0xfffffffffffff000 8192 "not inside BAR 2"
	refused "wrapping to the start" 2 0xffffffffff000000 $((16 * MIB - 4096)) "not inside BAR 2"
	refused "largest offset" 2 4096 0xfffffffffffff000 "not inside BAR 2"
	accepted "all" 2 0 0 "$bar_size"
}

bad_alignment()
{
	refused "odd size" 2 1000 0 "page size, 0x1000"
	refused "odd offset" 2 0 100 "page size, 0x1000"
	refused "a page" 2 4096 0 "multiples of 0x200000"
	refused "1 MiB" 2 "$MIB" 0 "multiples of 0x200000"
	refused "2 MiB at 1 MiB" 2 "$align" "$MIB" "multiples of 0x200000"
	accepted "2 MiB" 2 "$align" 0 "$align"
}

good_ranges()
{
	accepted "the rest after 2 MiB" 2 0 "$align" $((bar_size - align))
	unbind "$mem_bdf"
	accepted "2 MiB at 4 MiB" 2 "$align" $((2 * align)) "$align"
	unbind "$mem_bdf"
	accepted "the last 2 MiB" 2 "$align" $((bar_size - align)) "$align"
	check_equal "bus address" \
		$(($(p2p_value bus bus "$mem_bdf" "$(p2p_value id alloc "$mem_bdf" 2M)"))) \
		$((bar_start + bar_size - align))
	p2p free-all
}

overlaps()
{
	local busy="Device or resource busy" id

	defer p2p free-all
	accepted "the middle" 2 $((2 * align)) $((2 * align)) $((2 * align))
	id=$(p2p_value id alloc "$mem_bdf" 64K)
	p2p fill "$id" 33
	check_fails "the same again" "$busy" p2p add "$mem_bdf" 2 4M 4M
	check_fails "a part of it" "$busy" p2p add "$mem_bdf" 2 2M 6M
	check_fails "over its start" "$busy" p2p add "$mem_bdf" 2 4M 2M
	check_fails "over its end" "$busy" p2p add "$mem_bdf" 2 4M 6M
	check_fails "around it" "$busy" p2p add "$mem_bdf" 2 0 0
	check_log_count "overlaps" "$mem_bdf: p2pdma: .*overlap" 5
	check_equal size "$(p2pmem_size "$mem_bdf")" $((2 * align))
	check_equal available "$(p2pmem_available "$mem_bdf")" $((2 * align - 65536))
	p2p check "$id" 33
}

# A region more, and failures that must not touch the regions there are.
several_regions()
{
	local id

	defer p2p free-all
	accepted "first" 2 "$align" 0 "$align"
	id=$(p2p_value id alloc "$mem_bdf" "$align")
	p2p fill "$id" 34
	check_fails "a bad second one" "Invalid argument" p2p add "$mem_bdf" 2 4K 4M
	check_equal "size after the failure" "$(p2pmem_size "$mem_bdf")" "$align"
	check_equal "published after the failure" "$(p2pmem_published "$mem_bdf")" 1
	p2p add "$mem_bdf" 2 "$align" $((2 * align))
	check_equal "size with the second" "$(p2pmem_size "$mem_bdf")" $((2 * align))
	check_equal "available with the second" "$(p2pmem_available "$mem_bdf")" "$align"
	p2p add "$mem_bdf" 2 "$align" "$align"
	check_equal "size with the third" "$(p2pmem_size "$mem_bdf")" $((3 * align))
	p2p check "$id" 34
	p2p free "$id"
	check_equal "available" "$(p2pmem_available "$mem_bdf")" $((3 * align))
	p2p sgl "$mem_bdf" $((3 * align)) >/dev/null
	check_equal "available, all used" "$(p2pmem_available "$mem_bdf")" 0
}

# A chunk that is in two regions must not become one bio, request or segment.
copy_through_two_regions()
{
	without_cmb
	accepted "first" 2 "$align" 0 "$align"
	p2p add "$mem_bdf" 2 "$align" $((3 * align))
	copy_parameter chunk_kib 3072
	copy_parameter lanes 1
	wipe "$dst" 0 $((32 * MIB))
	copy "$src" "$dst" 1M 0 $((32 * MIB - 512))
	check_all_p2p "$mem_bdf" $((32 * MIB - 512))
	check_copied "$MIB" 0 $((32 * MIB - 512))
	check_equal available "$(p2pmem_available "$mem_bdf")" $((2 * align))
}

port_bar()
{
	local dir bdf flags index

	for dir in "$PCI"/*/; do
		bdf=$(basename "$dir")
		index=0
		while read -r _ _ flags && ((index < 6)); do
			if ((flags & 0x100)) && [ -e "$dir/driver" ]; then
				check_fails "I/O BAR $index of $bdf" "Invalid argument" \
					p2p add "$bdf" "$index" 0 0
				check_log "I/O BAR" "$bdf: p2pdma: BAR $index is not a memory BAR"
				return
			fi
			index=$((index + 1))
		done <"$dir/resource"
	done
	skip "no function with an I/O BAR"
}

reset()
{
	local generation id list

	[ -e "$PCI/$mem_bdf/reset" ] || skip "the function cannot be reset"
	accepted "all" 2 0 0 "$bar_size"
	defer p2p free-all
	id=$(p2p_value id alloc "$mem_bdf" 1M)
	list=$(p2p_value list list-new)
	defer p2p list-free "$list"
	p2p list-add "$list" "$src_bdf"
	p2p list-assign "$list" "$mem_bdf"
	generation=$(p2p_value generation generation "$mem_bdf")
	echo 1 >"$PCI/$mem_bdf/reset"
	check_differ generation "$(p2p_value generation generation "$mem_bdf")" "$generation"
	check_equal "the list was told" "$(p2p_value told list-told "$list")" 1
	check_equal size "$(p2pmem_size "$mem_bdf")" "$bar_size"
	check_equal available "$(p2pmem_available "$mem_bdf")" $((bar_size - MIB))
	check_equal published "$(p2pmem_published "$mem_bdf")" 1
	p2p fill "$id" 35
	p2p check "$id" 35
	p2p free "$id"
	check_equal "available in the end" "$(p2pmem_available "$mem_bdf")" "$bar_size"
}

withdrawn()
{
	accepted "all" 2 0 0 "$bar_size"
	p2p publish "$mem_bdf" 1
	p2p publish "$mem_bdf" 1
	p2p publish "$mem_bdf" 0
	unbind "$mem_bdf"
	check_equal p2pmem "$(has_p2pmem "$mem_bdf" && echo there)" ""
	bind "$mem_bdf" p2pdma_provider
	check_equal "published anew" "$(p2pmem_published "$mem_bdf")" 1
}

add "R1.2: a BAR that there is not, is absent or too small" bad_bars
add "R1.2: a BAR of I/O ports" port_bar
add "R1.2: ranges beyond the BAR, or wrapping" bad_ranges
add "R1.2: ranges that struct pages cannot have; the message says which" bad_alignment
add "R1.2 R10.3: a part of a BAR, the rest of it, all of it" good_ranges
add "R1.2: overlaps are refused, and disturb nothing" overlaps
add "R1.2 N3: several regions; a failure leaves the others alone" several_regions
add "R6.3: a copy whose chunks are in two regions" copy_through_two_regions
add "R1.7 R2.9: a reset of the function changes the generation and loses nothing" reset
add "R1.3: publish twice, withdraw, bind again" withdrawn
run_cases
