#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Copies from drive to drive with the sample orchestrator, by every way that it
# has: through a drive's CMB, through a memory-only third party, through system
# memory, and a mixture of them.
#
# Guards against: data that never arrived although every command reported
# success (N25: each case compares what the drives hold, with the target wiped
# before), bytes that took another way than the report says (N22), memory that
# is kept after a copy (N1), and a copy that fails where it should fall back.
# The first case asks the emulator which addresses the drives were given:
# evidence that does not come from the kernel under test.
#
# topology: switch
# kernels: normal debug
# debug-cases: whole_drive|nearly_exhausted|contents_lost
# timeout: 180
# trace: dma
# tags: copy core block nvme

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_copies src dst cmb

whole=$(blockdev --getsize64 "$src")

# How much of which drive's data was in the range, as the device saw it.
dma_bytes()
{
	sed -n "s/^drive=$1 direction=$2 .* $3=\([0-9]*\).*/\1/p" <<<"$dma"
}

whole_drive()
{
	local start size dma='' traced=1

	wipe "$dst"
	vmhost dma-reset 2>/dev/null || traced=0
	copy "$src" "$dst"
	if ((traced)); then
		read -r start size < <(bar_of "$cmb_bdf" 2)
		dma=$(vmhost dma "$start" "$size")
		check_equal "bytes that src wrote into the CMB" \
			"$(dma_bytes src read inside_bytes)" "$whole"
		check_equal "bytes that src wrote elsewhere" \
			"$(dma_bytes src read outside_bytes)" 0
		check_equal "bytes that dst read from the CMB" \
			"$(dma_bytes dst write inside_bytes)" "$whole"
		check_equal "bytes that dst read elsewhere" \
			"$(dma_bytes dst write outside_bytes)" 0
	else
		note "no trace of device addresses in this machine"
	fi
	check_all_p2p "$cmb_bdf" "$whole"
	check_copied 0 0 "$whole"
}

# The neighbourhood of the target must stay as it was.
one_range()
{
	local src_off=$1 dst_off=$2 length=$3 before after from=0

	((dst_off < 64 * KIB)) || from=$((dst_off - 64 * KIB))
	fill "$dst" "$from" $((dst_off - from + length + 64 * KIB)) /dev/urandom
	before=$(sum_of "$dst" "$from" $((dst_off - from)))
	after=$(sum_of "$dst" $((dst_off + length)) $((64 * KIB)))
	copy "$src" "$dst" "$src_off" "$dst_off" "$length"
	check_all_p2p "$cmb_bdf" "$length"
	check_copied "$src_off" "$dst_off" "$length"
	check_equal "what is before the target" \
		"$(sum_of "$dst" "$from" $((dst_off - from)))" "$before"
	check_equal "what is after the target" \
		"$(sum_of "$dst" $((dst_off + length)) $((64 * KIB)))" "$after"
}

odd_ranges()
{
	one_range 0 0 512
	one_range 512 0 4096
	one_range 4096 512 $((4096 + 512))
	one_range $((5 * MIB + 512)) $((3 * MIB + 1024)) $((MIB - 512))
	one_range $((7 * MIB + 1536)) 512 $((MIB + 512))
	one_range $((9 * MIB)) $((MIB - 512)) $((3 * MIB + 3 * 512))
}

suffixes()
{
	wipe "$dst" 0 $((8 * MIB))
	copy "$src" "$dst" 1M 64K 4M
	check_all_p2p "$cmb_bdf" $((4 * MIB))
	check_copied "$MIB" $((64 * KIB)) $((4 * MIB))
}

chunk_size()
{
	local length=$((8 * MIB + 512))

	copy_parameter chunk_kib "$1"
	copy_parameter lanes "$2"
	wipe "$dst" 0 $((16 * MIB))
	copy "$src" "$dst" $((${1} * KIB)) 0 "$length"
	check_equal chunk "$(report chunk)" $((${1} * KIB))
	check_all_p2p "$cmb_bdf" "$length"
	check_copied $((${1} * KIB)) 0 "$length"
}

chunk_sizes()
{
	chunk_size 4 4
	chunk_size 68 3
	chunk_size 1024 1
	chunk_size 4096 2
}

nothing_kept()
{
	local before

	before=$(p2pmem_available "$cmb_bdf")
	copy "$src" "$dst" 0 0 8M
	check_equal "memory available after a copy" "$(p2pmem_available "$cmb_bdf")" "$before"
	check_fails "a range beyond the end" "Invalid argument" copy "$src" "$dst" 0 0 1G
	check_equal "memory available after a refused one" \
		"$(p2pmem_available "$cmb_bdf")" "$before"
}

third_party()
{
	local length=$((24 * MIB))

	[ -n "$mem_bdf" ] || skip "no memory-only function"
	without_cmb
	use_provider_sample
	wipe "$dst" 0 "$length"
	copy "$src" "$dst" 512 0 "$length"
	check_all_p2p "$mem_bdf" "$length"
	check_copied 512 0 "$length"
	check_equal "memory available" "$(p2pmem_available "$mem_bdf")" \
		"$(p2pmem_size "$mem_bdf")"
}

unpublished()
{
	[ -n "$mem_bdf" ] || skip "no memory-only function"
	without_cmb
	use_provider_sample publish=0
	check_equal published "$(p2pmem_published "$mem_bdf")" 0
	wipe "$dst" 0 $((4 * MIB))
	copy "$src" "$dst" 0 0 4M
	check_equal provider "$(report provider)" none
	check_all_host $((4 * MIB)) "$nothing_on_offer"
	check_copied 0 0 $((4 * MIB))
}

no_provider()
{
	without_cmb
	wipe "$dst" 0 $((8 * MIB))
	copy "$src" "$dst" 512 1024 $((8 * MIB - 1024))
	check_equal provider "$(report provider)" none
	check_all_host $((8 * MIB - 1024)) "$nothing_on_offer"
	check_copied 512 1024 $((8 * MIB - 1024))
	check_log "the way is logged" \
		"p2pdma_copy: .* 0 bytes through peer memory of none"
}

# Other users hold all but 1 MiB: some chunks find memory and others do not.
nearly_exhausted()
{
	local available before p2p host length=$((32 * MIB))

	before=$(p2pmem_available "$cmb_bdf")
	defer p2p free-all
	p2p alloc "$cmb_bdf" 64K $(((before - MIB) / (64 * KIB))) >/dev/null
	available=$(p2pmem_available "$cmb_bdf")
	((available >= MIB && available < 2 * MIB)) ||
		fail "available is $available after leaving 1 MiB of $before"

	copy_parameter chunk_kib 512
	copy_parameter lanes 8
	wipe "$dst" 0 "$length"
	copy "$src" "$dst" 0 0 "$length"
	p2p=$(report bytes_p2p)
	host=$(report bytes_host)
	note "by peer memory $p2p, by system memory $host"
	((p2p > 0)) || fail "no chunk used the memory that is left"
	((host > 0)) || fail "8 chunks of 512 KiB were in 1 MiB at once"
	check_equal "bytes of chunks that were short" \
		"$(($(report chunks_short) * 512 * KIB))" "$host"
	check_equal reason "$(report reason)" "$(short_of_memory "$(report chunks_short)")"
	check_copied 0 0 "$length"
	check_equal "available" "$(p2pmem_available "$cmb_bdf")" "$available"
	p2p free-all
	check_equal "available in the end" "$(p2pmem_available "$cmb_bdf")" "$before"
}

exhausted()
{
	defer p2p free-all
	p2p alloc-all "$cmb_bdf" 4K >/dev/null
	check_equal available "$(p2pmem_available "$cmb_bdf")" 0
	wipe "$dst" 0 $((8 * MIB))
	copy "$src" "$dst" 0 0 8M
	check_equal provider "$(report provider)" "$cmb_bdf"
	check_all_host $((8 * MIB)) "$(short_of_memory 8)"
	check_copied 0 0 $((8 * MIB))
}

# The pool's free pages are single ones, so each chunk needs many entries.
fragmented()
{
	defer p2p free-all
	p2p fragment "$cmb_bdf" 4K >/dev/null
	copy_parameter lanes 2
	wipe "$dst" 0 $((16 * MIB))
	copy "$src" "$dst" 3M 0 $((16 * MIB - 512))
	check_all_p2p "$cmb_bdf" $((16 * MIB - 512))
	check_copied $((3 * MIB)) 0 $((16 * MIB - 512))
}

# The provider is reset in the middle of a copy, and its memory is not what it
# was.  Chunks that are in it at this moment are wrong, although all commands
# succeed; only the generation tells.  The target is slowed down, so that there
# are such chunks.
contents_lost()
{
	local pid i length=$((4 * MIB))

	[ -n "$mem_bdf" ] || skip "no memory-only function"
	without_cmb
	use_provider_sample publish=1
	defer p2p resume "$mem_bdf"
	for ((i = 1; i <= $(rounds 5); i++)); do
		start_slow_copy "$length"
		p2p quiesce "$mem_bdf"
		p2p lost "$mem_bdf"
		"$here/p2pmem_mmap" scribble "$PCI/$mem_bdf/resource2" $((i % 256))
		p2p resume "$mem_bdf"
		end_slow_copy "$length" "$mem_bdf"
		(($(report chunks_repeated) > 0)) || fail "$i: no chunk was repeated"
	done
}

# A disk whose driver does not know peer memory, and has no PCI function.
foreign_disk()
{
	modprobe -q brd rd_nr=1 rd_size=8192 || skip "no RAM disk"
	defer unload brd
	wait_for 5 test -b /dev/ram0
	wipe "$dst" 0 $((8 * MIB))
	fill /dev/ram0 0 $((8 * MIB)) /dev/urandom
	copy /dev/ram0 "$dst" 0 0 8M
	check_equal "the target's data" "$(sum_of "$dst" 0 $((8 * MIB)))" \
		"$(sum_of /dev/ram0 0 $((8 * MIB)))"
	check_all_host $((8 * MIB)) "$(takes_no_peer_memory ram0)"
}

within_one_drive()
{
	local want

	fill "$dst" 0 $((4 * MIB)) /dev/urandom
	want=$(sum_of "$dst" 0 $((4 * MIB)))
	wipe "$dst" $((4 * MIB)) $((4 * MIB))
	copy "$dst" "$dst" 0 4M 4M
	check_all_p2p "$cmb_bdf" $((4 * MIB))
	check_equal "the target's data" "$(sum_of "$dst" $((4 * MIB)) $((4 * MIB)))" "$want"
	check_fails "an overlapping range" "Invalid argument" copy "$dst" "$dst" 0 2M 4M
	check_log "overlap" "overlap; give ranges"
}

# The CMB's own drive is source, and then target: the best provider there is.
drive_with_the_cmb()
{
	wipe "$cmb"
	copy "$src" "$cmb" 0 0 8M
	check_all_p2p "$cmb_bdf" $((8 * MIB))
	check_equal "the data on cmb" "$(sum_of "$cmb" 0 $((8 * MIB)))" \
		"$(sum_of "$src" 0 $((8 * MIB)))"
	wipe "$dst" 0 $((8 * MIB))
	copy "$cmb" "$dst" 0 0 8M
	check_all_p2p "$cmb_bdf" $((8 * MIB))
	check_copied 0 0 $((8 * MIB))
}

bad_input()
{
	local bad="Invalid argument" sum

	wipe "$dst" 0 $((4 * MIB))
	sum=$(sum_of "$dst" 0 $((4 * MIB)))
	check_fails "one word" "$bad" copy "$src"
	check_log usage "write \"SOURCE TARGET\""
	check_fails "four words" "$bad" copy "$src" "$dst" 0 0
	check_fails "six words" "$bad" copy "$src" "$dst" 0 0 4K 4K
	check_fails "no number" "$bad" copy "$src" "$dst" 0 0 4KB
	check_log number "\"4KB\" is no number of bytes"
	check_fails "negative" "$bad" copy "$src" "$dst" -1 0 4K
	check_fails "length 0" "$bad" copy "$src" "$dst" 0 0 0
	check_fails "odd source offset" "$bad" copy "$src" "$dst" 100 0 4K
	check_log alignment "multiples of 512 bytes"
	check_fails "odd target offset" "$bad" copy "$src" "$dst" 0 513 4K
	check_fails "odd length" "$bad" copy "$src" "$dst" 0 0 4095
	check_fails "offset beyond the source" "$bad" copy "$src" "$dst" 128M 0 4K
	check_fails "length beyond the source" "$bad" copy "$src" "$dst" 60M 0 8M
	check_fails "beyond the target" "No space left on device" copy "$src" "$dst" 0 60M 8M
	check_fails "wrapping" "$bad" copy "$src" "$dst" 0 0 0xfffffffffffffe00
	check_fails "no such file" "No such file" copy /dev/none "$dst"
	check_fails "no block device" "Block device required" copy /dev/null "$dst"
	check_log "no block device" "cannot open /dev/null.*give a block device"
	check_fails "too long" "$bad" copy "$(printf '%05000d' 0)"
	(
		copy_parameter chunk_kib 0
		check_fails "chunk size 0" "$bad" copy "$src" "$dst" 0 0 4K
		copy_parameter chunk_kib 4194304
		check_fails "chunk size 4 GiB" "$bad" copy "$src" "$dst" 0 0 4K
		check_log "chunk size" "set the parameter chunk_kib"
		_run_deferred
	)
	check_equal "the target after all this" "$(sum_of "$dst" 0 $((4 * MIB)))" "$sum"
	copy "$src" "$dst" 0 0 4M
	check_copied 0 0 $((4 * MIB))
}

add "R2.2 R3.1 R8.4 N22 N25: the whole drive through the CMB, as the devices saw it" whole_drive
add "R1.6 R10.3 N25: ranges with odd ends; their surroundings stay as they were" odd_ranges
add "R10.3: sizes may have a suffix" suffixes
add "R1.6: chunks of 4 KiB to 4 MiB, one and several at a time" chunk_sizes
add "R1.7 N1: no memory is kept after a copy" nothing_kept
add "R10.3 R2.2: memory-only function as third party" third_party
add "R1.3: unpublished memory is not found" unpublished
add "R2.8: no provider: system memory, and the reason" no_provider
add "R10.3: a shortage selects system memory for that chunk alone" nearly_exhausted
add "R10.3: nothing free: all through system memory" exhausted
add "R1.6 N10: a fragmented pool gives scatterlists of many entries" fragmented
add "R1.7 R10.3 N25: the contents are lost in the middle of a copy" contents_lost
add "R6.1: a disk that does not take peer memory gets none" foreign_disk
add "R10.3 N25: both ends on one drive" within_one_drive
add "R1.12 R2.2: the drive with the CMB is itself source or target" drive_with_the_cmb
add "R10.3: bad input is refused, with a message, and nothing is written" bad_input
run_cases
