#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Peer memory for processes: mmap of .../p2pmem/allocate.
#
# Guards R5.3, the interface that fio and others know, and N23: what a process
# sees first must be zero, and never the previous owner's data. Every case ends
# with all memory back: what a process takes is given back when it ends, whatever
# it did, and does not hold up a removal.
#
# topology: switch
# kernels: normal debug
# timeout: 180
# tags: core sysfs mmap

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_machine src dst cmb
require_provider_sample
[ -x "$here/p2pmem_mmap" ] || skip_all "no p2pmem_mmap"
mapper=$here/p2pmem_mmap
file=$PCI/$mem_bdf/p2pmem/allocate
whole=$(p2pmem_size "$mem_bdf")

# Pages come back a moment after the last user let go of them.
check_all_back()
{
	check_available "$mem_bdf" "$whole"
}

sizes()
{
	local size

	for size in 4096 65536 $((2 * MIB)) $((3 * MIB + 4096)) "$whole"; do
		"$mapper" map "$file" "$size"
		check_all_back
	done
}

refusals()
{
	local bad="Invalid argument"

	check_fails "a private mapping" "$bad" "$mapper" map "$file" 4096 private
	check_fails "an offset" "$bad" "$mapper" map "$file" 4096 4096
	check_fails "more than there is" "Cannot allocate memory" \
		"$mapper" map "$file" $((whole + 4096))
	check_all_back
	"$mapper" grow "$file" 4096
	check_all_back
}

not_root()
{
	check_fails "another user" "Permission denied" \
		setpriv --reuid 65534 --regid 65534 --clear-groups "$mapper" map "$file" 4096
	check_all_back
}

# Every page has an owner who leaves something behind.
cleared()
{
	local id

	defer p2p free-all
	id=$(p2p_value id alloc "$mem_bdf" "$whole")
	p2p fill "$id" 165
	p2p free "$id"
	"$mapper" fill "$file" "$whole" 90
	check_all_back
	"$mapper" fill "$file" "$whole" 91
	check_all_back
	"$mapper" fill "$file" 65536 92
	check_all_back
}

direct_io()
{
	local chunk

	for chunk in 4096 $((64 * KIB)) $((MIB)) $((4 * MIB)); do
		wipe "$dst" 0 $((16 * MIB))
		"$mapper" copy "$file" "$src" "$dst" $((chunk + 512)) 1024 \
			$((8 * MIB + 512)) "$chunk"
		check_equal "data by chunks of $chunk" \
			"$(sum_of "$dst" 1024 $((8 * MIB + 512)))" \
			"$(sum_of "$src" $((chunk + 512)) $((8 * MIB + 512)))"
		check_all_back
	done
}

# The same with the drive's own CMB, as fio users do.
direct_io_cmb()
{
	local before

	before=$(p2pmem_available "$cmb_bdf")
	wipe "$dst" 0 $((8 * MIB))
	"$mapper" copy "$PCI/$cmb_bdf/p2pmem/allocate" "$src" "$dst" 0 0 $((8 * MIB)) 65536
	check_equal "the data" "$(sum_of "$dst" 0 $((8 * MIB)))" "$(sum_of "$src" 0 $((8 * MIB)))"
	check_available "$cmb_bdf" "$before"
}

forked()
{
	"$mapper" fork "$file" $((64 * KIB))
	check_all_back
}

# start COMMAND...: a mapper in the background that waits for a line; sets $pid
start()
{
	coproc MAPPER { exec "$mapper" "$@" 2>&1; }
	pid=$MAPPER_PID
	# Bash forgets those of the coprocess as soon as it ends.
	exec {from}<&"${MAPPER[0]}" {to}>&"${MAPPER[1]}"
	expect_line ready
}

# Sets $line.  As with wait_for, the limit only catches what hangs.
read_line()
{
	read -r -t $((200 * slowness)) line <&"$from" || :
}

expect_line()
{
	local line=

	read_line
	check_equal "what the mapper says" "$line" "$1"
}

go_on()
{
	echo >&"$to"
}

partial_unmap()
{
	local pid

	start hole "$file" 65536
	check_available "$mem_bdf" $((whole - 65536 + 4096))
	go_on
	expect_line alive
	wait "$pid"
	check_all_back
}

killed()
{
	local pid

	start hold "$file" $((MIB))
	check_equal "available meanwhile" "$(p2pmem_available "$mem_bdf")" $((whole - MIB))
	kill -KILL "$pid"
	wait "$pid" || :
	check_all_back
}

exhausted()
{
	local pid

	start hold "$file" $((whole - 8192))
	check_fails "one page too many" "Cannot allocate memory" "$mapper" map "$file" 12288
	check_available "$mem_bdf" 8192
	"$mapper" map "$file" 8192
	go_on
	expect_line alive
	wait "$pid"
	check_all_back
}

# The mapping is taken back: removal does not wait for the process.
unbound()
{
	local pid

	defer rebind "$mem_bdf" p2pdma_provider
	start hold "$file" $((MIB))
	unbind_ends "$mem_bdf"
	check_no_log "no waiting" "p2pdma: waiting"
	go_on
	expect_line SIGBUS
	wait "$pid"
	bind "$mem_bdf" p2pdma_provider
	check_all_back
}

# A process that has its pages already, and whose mapping is not yet where kernfs
# finds it, has no CPU while the driver is unbound.
unbound_in_mmap()
{
	local i said hits=0

	(($(nproc) > 1)) || skip "one CPU"
	[ -e /proc/self/stack ] || skip "no CONFIG_STACKTRACE"
	defer rebind "$mem_bdf" p2pdma_provider
	for ((i = 0; i < 30 && hits < 3; i++)); do
		said=$("$mapper" stall "$PCI/$mem_bdf" "$mem_bdf" $((60 * slowness))) ||
			fail "$i: unbinding"
		note "$i: $said"
		[[ $said != hit ]] || hits=$((hits + 1))
		rebind "$mem_bdf" p2pdma_provider
		check_all_back
	done
	((hits)) || fail "the right moment was never found"
}

# A drive writes into the mapping all the time.
unbound_during_io()
{
	local pid line

	defer rebind "$mem_bdf" p2pdma_provider
	start busy "$file" $((MIB)) "$src"
	unbind_ends "$mem_bdf"
	read_line
	note "the process says: $line"
	check_match "reads before the unbind" "$line" 'reads=[1-9]'
	check_match "what the process gets" "$line" 'error=Bad address'
	wait "$pid"
	bind "$mem_bdf" p2pdma_provider
	check_all_back
}

# A write fault on a page of a mapping that has no file system behind it once
# went round for ever.
protected()
{
	"$mapper" protect "$file" 65536 || fail "writing a mapping that was read-only"
	check_all_back
}

# What is not published is its driver's own.
unpublished()
{
	defer p2p publish "$mem_bdf" 1
	p2p publish "$mem_bdf" 0
	check_fails "mapping" "No such device" "$mapper" map "$file" 4096
	p2p publish "$mem_bdf" 1
	"$mapper" map "$file" 4096 || fail "mapping published memory"
	check_all_back
}

# A reset does not take mappings back.
quiesced()
{
	local pid

	defer p2p resume "$mem_bdf"
	start hold "$file" 65536
	p2p quiesce "$mem_bdf"
	check_fails "mapping" "No such device" "$mapper" map "$file" 4096
	p2p resume "$mem_bdf"
	go_on
	expect_line alive
	wait "$pid"
	check_all_back
}

at_once()
{
	local i pids=() times

	times=$(rounds 20)
	for ((i = 0; i < 8; i++)); do
		(
			for ((j = 0; j < times; j++)); do
				"$mapper" fill "$file" $((65536 * (1 + j % 4))) $((j + i)) ||
					exit 1
			done
		) &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || fail "one of eight mappers failed"
	done
	check_all_back
}

add "R5.3: mappings of many sizes, and all of it" sizes
add "R5.3: private, with an offset, too large, growing: refused" refusals
add "R5.3: only for root" not_root
add "R5.3 N23: memory is cleared before a process sees it" cleared
add "R5.3 R8.4 N25: O_DIRECT from drive to drive through a mapping" direct_io
add "R5.3 R8.4 N25: the same through the CMB" direct_io_cmb
add "R5.3: shared with a child that outlives the mapping" forked
add "R5.3: a hole in the mapping is given back, the rest is not" partial_unmap
add "R5.3: a process is killed" killed
add "R5.3: exhausted; a failed mapping keeps nothing" exhausted
add "R5.3 R1.7 N1: removal takes mappings back; the process gets SIGBUS" unbound
add "R5.3 R1.7 N1: removal while a process is in mmap()" unbound_in_mmap
add "R5.3 R1.7 N2: removal while a drive writes into a mapping" unbound_during_io
add "R1.7 R5.3: quiesce gives no new mappings and keeps the old ones" quiesced
add "R5.3: a mapping is written after it was read-only" protected
add "R5.3 R1.3: unpublished memory is not mapped" unpublished
add "R5.3 N23: eight processes at once" at_once
run_cases
