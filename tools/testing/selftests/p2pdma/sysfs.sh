#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What user space sees of a provider: .../p2pmem/{size,available,published}.
#
# Guards R5.1: the files' modes and contents, that they follow every allocation
# to the byte, and that a reader never sees a half-made provider, also while it
# comes and goes under the reader's hands (N2: the pool of earlier
# implementations was destroyed with readers in sysfs).
#
# topology: switch
# kernels: normal debug
# timeout: 120
# tags: core sysfs

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_machine src dst cmb
require_provider_sample
dir=$PCI/$mem_bdf/p2pmem
whole=$(bar_of "$mem_bdf" 2 | cut -d ' ' -f 2)

modes()
{
	local file

	for file in size available published; do
		check_equal "mode of $file" "$(stat -c %a "$dir/$file")" 444
		check_match "content of $file" "$(cat "$dir/$file")" '^[0-9]+$'
		check_equal "lines of $file" "$(wc -l <"$dir/$file")" 1
		check_fails "writing $file" "Permission denied" \
			bash -c "echo 1 >$dir/$file"
	done
	check_equal "mode of allocate" "$(stat -c %a "$dir/allocate")" 600
	check_equal "the files" "$(cd "$dir" && echo *)" "allocate available published size"
}

values()
{
	local id

	check_equal size "$(p2pmem_size "$mem_bdf")" "$whole"
	check_equal available "$(p2pmem_available "$mem_bdf")" "$whole"
	check_equal published "$(p2pmem_published "$mem_bdf")" 1

	defer p2p free-all
	id=$(p2p_value id alloc "$mem_bdf" 1)
	check_equal "available after 1 byte" "$(p2pmem_available "$mem_bdf")" $((whole - 4096))
	p2p alloc "$mem_bdf" 4097 >/dev/null
	check_equal "available after 4097 more" "$(p2pmem_available "$mem_bdf")" \
		$((whole - 3 * 4096))
	p2p sgl "$mem_bdf" 200000 >/dev/null
	check_equal "available after a list of 200000" "$(p2pmem_available "$mem_bdf")" \
		$((whole - 3 * 4096 - 49 * 4096))
	p2p free "$id"
	check_equal "available after the first is freed" "$(p2pmem_available "$mem_bdf")" \
		$((whole - 2 * 4096 - 49 * 4096))
	p2p free-all
	check_equal "available in the end" "$(p2pmem_available "$mem_bdf")" "$whole"
	check_equal "size in the end" "$(p2pmem_size "$mem_bdf")" "$whole"
}

published()
{
	defer p2p publish "$mem_bdf" 1
	p2p publish "$mem_bdf" 0
	check_equal "published, withdrawn" "$(p2pmem_published "$mem_bdf")" 0
	p2p publish "$mem_bdf" 0
	check_equal "published, withdrawn twice" "$(p2pmem_published "$mem_bdf")" 0
	p2p publish "$mem_bdf" 1
	p2p publish "$mem_bdf" 1
	check_equal "published, twice" "$(p2pmem_published "$mem_bdf")" 1

	defer p2p resume "$mem_bdf"
	p2p quiesce "$mem_bdf"
	check_equal "published, quiesced" "$(p2pmem_published "$mem_bdf")" 0
	check_equal "size, quiesced" "$(p2pmem_size "$mem_bdf")" "$whole"
	p2p resume "$mem_bdf"
	check_equal "published, resumed" "$(p2pmem_published "$mem_bdf")" 1

	p2p publish "$mem_bdf" 0
	p2p quiesce "$mem_bdf"
	p2p resume "$mem_bdf"
	check_equal "published, resumed as it was" "$(p2pmem_published "$mem_bdf")" 0
}

# Safe in both directions, and no directory comes of it.
no_memory()
{
	check_equal "p2pmem of src" "$(has_p2pmem "$src_bdf" && echo there)" ""
	p2p publish "$src_bdf" 1
	p2p publish "$src_bdf" 0
	check_equal "p2pmem of src" "$(has_p2pmem "$src_bdf" && echo there)" ""
	check_equal "generation of src" "$(p2p_value generation generation "$src_bdf")" 0
	check_fails "allocating from src" "Cannot allocate memory" p2p alloc "$src_bdf" 4096
}

# Reads until it is told to stop. A file may be gone at any moment; what can be
# read has to be right. Its reader may also see the end of a removal: ENODEV.
reader()
{
	local size available published

	while [ ! -e "$stop" ]; do
		read -r size <"$dir/size" || continue
		[ "$size" = "$whole" ] || echo "size was $size" >>"$wrong"
		echo >>"$counts"
		read -r available <"$dir/available" || continue
		[ "$available" = "$whole" ] || echo "available was $available" >>"$wrong"
		read -r published <"$dir/published" || continue
		[[ $published == [01] ]] || echo "published was $published" >>"$wrong"
	done 2>/dev/null
}

reads()
{
	wc -l <"$counts"
}

reads_more()
{
	(($(reads) > $1))
}

storm()
{
	local stop wrong counts before i times

	times=$(rounds 20)
	stop=$(mktemp -u)
	wrong=$(mktemp)
	counts=$(mktemp)
	defer rm -f "$stop" "$wrong" "$counts"
	defer touch "$stop"
	defer rebind "$mem_bdf" p2pdma_provider
	for ((i = 0; i < 3; i++)); do
		reader &
	done
	for ((i = 0; i < times; i++)); do
		unbind "$mem_bdf"
		check_equal "p2pmem without a driver" \
			"$(has_p2pmem "$mem_bdf" && echo there)" ""
		bind "$mem_bdf" p2pdma_provider
		# So that both states are seen.
		before=$(reads)
		wait_for 5 reads_more $((before + 3)) || fail "nobody can read"
	done
	touch "$stop"
	wait
	check_equal "wrong values" "$(sort "$wrong" | uniq -c)" ""
	note "$(reads) reads"
	check_equal available "$(p2pmem_available "$mem_bdf")" "$whole"
}

# An open file descriptor keeps nothing alive and gives no stale number.
open_file()
{
	local fd line=''

	exec {fd}<"$dir/available"
	defer rebind "$mem_bdf" p2pdma_provider
	unbind "$mem_bdf"
	if read -r line <&"$fd" 2>/dev/null; then
		fail "a file of a provider that is gone said '$line'"
	fi
	exec {fd}<&-
}

add "R5.1: modes, one decimal number each, read-only" modes
add "R5.1 R1.4: available follows each allocation and release" values
add "R1.3 R1.7: published follows publish, quiesce and resume" published
add "R1.3: publishing a function without memory does nothing" no_memory
add "R5.1 R1.8 N2: readers while the provider comes and goes" storm
add "R5.1 N2: an open file of a provider that is gone" open_file
run_cases
