#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Resets of NVMe controllers whose submission queues are in their CMB, under
# I/O, and while others use that CMB.
#
# Guards R8.1 and R8.2: a reset neither registers the CMB twice nor loses it
# (N17), queues that come back find their memory (N18: the pointer of a freed
# queue was used again), and all that was available before is so afterwards.
# Data is compared always (N25): a reset empties a CMB behind the users' backs.
# The emulator does not, so the contents are overwritten after each reset that
# finds data there.
#
# topology: cmb-sqes
# kernels: normal debug
# debug-cases: under_io|held|resets of the provider|function_reset|fewer_and_more
# timeout: 900
# leaks: normal
# tags: nvme reset

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_copies src dst cmb

generation()
{
	p2p_value generation generation "$cmb_bdf"
}

# reset ROLE: and wait until it is live again
reset()
{
	echo 1 >"/sys/class/nvme/$(ctrl_of "$1")/reset_controller"
	wait_for 120 ctrl_in_state "$1" live || fail "$1 is not live after a reset"
}

queues_in_cmb()
{
	local taken before

	taken=$(($(p2pmem_size "$cmb_bdf") - $(p2pmem_available "$cmb_bdf")))
	note "$taken bytes of the CMB are queues"
	((taken > 0)) || fail "nothing of the CMB is set aside"
	check_equal "bytes set aside, modulo a page" $((taken % 4096)) 0
	wipe "$cmb" 0 $((4 * MIB))
	before=$(commands_in_cmb)
	note "$before commands found in the CMB"
	((before > 0)) || fail "no command of the drive lies in the CMB"
}

under_io()
{
	local size available before after i pid log times

	times=$(rounds 30)
	size=$(p2pmem_size "$cmb_bdf")
	available=$(p2pmem_available "$cmb_bdf")
	before=$(generation)
	log=$(mktemp)
	defer rm -f "$log"
	# Writes all, each block with a checksum and its place, and reads it
	# back, until it is told to stop.
	fio --name=reset --filename="$cmb" --direct=1 --rw=randrw --bsrange=4k-64k \
		--ioengine=libaio --iodepth=16 --size=32M --loops=1000 \
		--verify=crc32c --verify_backlog=64 --verify_fatal=1 --time_based \
		--runtime=3600 --allow_file_create=0 --output="$log" &
	pid=$!
	defer eval "kill $pid 2>/dev/null"
	for ((i = 1; i <= times; i++)); do
		wait_for 120 busy_or_ended "$pid" cmb || fail "$i: no I/O"
		reset cmb
		after=$(generation)
		check_differ "$i: generation" "$after" "$before"
		check_differ "$i: generation" "$after" 0
		before=$after
		check_equal "$i: size" "$(p2pmem_size "$cmb_bdf")" "$size"
		check_equal "$i: available" "$(p2pmem_available "$cmb_bdf")" "$available"
		check_equal "$i: published" "$(p2pmem_published "$cmb_bdf")" 1
		kill -0 "$pid" || fail "$i: the I/O ended: $(cat "$log")"
	done
	# It ends with an error of its own then; its report has the I/O's.
	kill -INT "$pid"
	wait "$pid" || :
	if ! grep -q 'err= 0' "$log" || grep -q 'verify:' "$log"; then
		cat "$log"
		fail "the I/O failed: see above"
	fi
	check_no_log "registered no second time" "$cmb_bdf: p2pdma: registered"
	check_no_log "no I/O error" "I/O error"
	(($(commands_in_cmb) > 0)) || fail "no command lies in the CMB any more"
}

# busy_or_ended PID ROLE: the drive has commands, or the process does not run
busy_or_ended()
{
	in_flight "$2" || ! kill -0 "$1" 2>/dev/null
}

# Memory that others hold stays theirs.
held()
{
	local id list size before

	defer p2p free-all
	size=$(p2pmem_available "$cmb_bdf")
	id=$(p2p_value id alloc "$cmb_bdf" 1M)
	list=$(p2p_value list list-new)
	defer p2p list-free "$list"
	p2p list-add "$list" "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	before=$(generation)
	reset cmb
	check_differ generation "$(generation)" "$before"
	check_equal "the list was told" "$(p2p_value told list-told "$list")" 1
	check_equal available "$(p2pmem_available "$cmb_bdf")" $((size - MIB))
	p2p fill "$id" 44
	p2p check "$id" 44
	p2p free "$id"
	check_equal "available in the end" "$(p2pmem_available "$cmb_bdf")" "$size"
}

# For resets of a drive that moves data.  QEMU (7.2) has one bounce buffer for all
# DMA to CMBs, and waits for ever if a drive is reset that queues for it.  The
# memory-only function is memory in QEMU too.
use_memory_only()
{
	[ -n "$mem_bdf" ] || skip "no memory-only function"
	without_cmb
	use_provider_sample publish=1
}

# hit_drive PID ROLE: reset a drive while the copy that runs as this process has
# commands there; false if the copy was too fast.  A drive of the emulator completes
# what it has before it is reset, so it must not take for ever.
hit_drive()
{
	wait_for 120 busy_or_ended "$1" "$2"
	kill -0 "$1" 2>/dev/null || return 1
	reset "$2"
}

# hit_provider PID: the target completes no command, so chunks stay in the CMB until it is reset and
# overwritten.  A copy takes no more of it after that.
hit_provider()
{
	throttle 1
	wait_for 120 busy_or_ended "$1" dst
	kill -0 "$1" 2>/dev/null || return 1
	reset cmb
	scribble_cmb "$i" "$reserved" || fail "$i: the CMB cannot be overwritten"
	throttle 0
}

# during_copies ROLE: until enough copies were hit
during_copies()
{
	local pid i hits=0 repeated=0 p2p=0 host=0 length=$((8 * MIB)) want
	local slow=dst provider=$cmb_bdf reserved=$(($(p2pmem_size "$cmb_bdf") -
		$(p2pmem_available "$cmb_bdf")))

	throttle 0 || skip "no host that could slow a drive down"
	defer throttle 0 src
	defer throttle 0
	if [ "$1" != cmb ]; then
		use_memory_only
		provider=$mem_bdf
		slow=$1
	fi
	patient "$src"
	patient "$dst"
	want=$(sum_of "$src" 0 "$length")
	copy_parameter chunk_kib 256
	for ((i = 1; i <= 40 && hits < $(rounds 4); i++)); do
		wipe "$dst" 0 "$length"
		throttle $((2 * MIB)) "$slow"
		copy "$src" "$dst" 0 0 "$length" &
		pid=$!
		if ! midway "$pid"; then
			:
		elif [ "$1" = cmb ]; then
			! hit_provider "$pid" || hits=$((hits + 1))
		else
			! hit_drive "$pid" "$1" || hits=$((hits + 1))
		fi
		throttle 0 src
		throttle 0
		wait "$pid" || fail "$i: the copy failed"
		check_equal "$i: data" "$(sum_of "$dst" 0 "$length")" "$want"
		check_copied 0 0 "$length"
		repeated=$((repeated + $(report chunks_repeated)))
		p2p=$((p2p + $(report bytes_p2p)))
		host=$((host + $(report bytes_host)))
	done
	note "$hits of $((i - 1)) copies were hit, $repeated chunks repeated," \
		"$p2p bytes through peer memory, $host not"
	((hits >= $(rounds 4))) || fail "only $hits resets hit a copy"
	((p2p > 0)) || fail "no copy used peer memory"
	[ "$1" != cmb ] || ((repeated >= hits)) ||
		fail "$hits resets of the provider, but $repeated chunks repeated"
	wipe "$dst" 0 "$length"
	copy "$src" "$dst" 0 0 "$length"
	check_all_p2p "$provider" "$length"
	check_copied 0 0 "$length"
}

function_reset()
{
	local available before

	[ -e "$PCI/$cmb_bdf/reset" ] || skip "the function cannot be reset"
	available=$(p2pmem_available "$cmb_bdf")
	before=$(generation)
	echo 1 >"$PCI/$cmb_bdf/reset"
	wait_for 120 ctrl_in_state cmb live || fail "not live after a reset of the function"
	check_differ generation "$(generation)" "$before"
	check_equal available "$(p2pmem_available "$cmb_bdf")" "$available"
	check_equal published "$(p2pmem_published "$cmb_bdf")" 1
	wipe "$dst" 0 $((8 * MIB))
	copy "$src" "$dst" 0 0 8M
	check_all_p2p "$cmb_bdf" $((8 * MIB))
	check_copied 0 0 $((8 * MIB))
	queues_in_cmb
}

# Fewer queues than space was set aside for, and as many again: a reset frees those
# that are too many, and makes others where they were.
fewer_and_more_queues()
{
	local parameters=/sys/module/nvme/parameters available i nr queues
	local seen=()

	defer bind_anew
	defer eval "echo 0 >$parameters/poll_queues; echo 0 >$parameters/write_queues"
	echo 2 >"$parameters/poll_queues"
	echo 2 >"$parameters/write_queues"
	bind_anew
	available=$(p2pmem_available "$cmb_bdf")
	for ((i = 0; i < $(rounds 5); i++)); do
		for nr in 0 2; do
			echo "$nr" >"$parameters/poll_queues"
			echo "$nr" >"$parameters/write_queues"
			reset cmb
			queues=$(trim "/sys/class/nvme/$(ctrl_of cmb)/queue_count")
			seen[nr]=$queues
			check_equal "$i: available" "$(p2pmem_available "$cmb_bdf")" \
				"$available"
			fill "$cmb" 0 $((4 * MIB)) "$src"
			check_equal "$i: data with $queues queues" \
				"$(sum_of "$cmb" 0 $((4 * MIB)))" \
				"$(sum_of "$src" 0 $((4 * MIB)))"
		done
	done
	((seen[2] > seen[0])) || fail "there are ${seen[0]} queues, whatever is asked for"
	queues_in_cmb
}

unbind_and_bind()
{
	local available i

	available=$(p2pmem_available "$cmb_bdf")
	for ((i = 0; i < 5; i++)); do
		bind_anew
		check_equal available "$(p2pmem_available "$cmb_bdf")" "$available"
	done
	queues_in_cmb
}

add "R8.2: submission queues are in the CMB" queues_in_cmb
add "R8.1 R8.2 N17 N18: $(rounds 30) resets under I/O; the pool is whole, the data right" under_io
add "R1.7 R2.9: memory held by others survives a reset; they are told" held
add "R1.7 N25: resets of the provider during copies" during_copies cmb
add "R1.7 N25: resets of the source during copies" during_copies src
add "R1.7 N25: resets of the target during copies" during_copies dst
add "R8.1: a function-level reset; CMBMSC is written anew" function_reset
add "R8.2 N18: fewer queues after a reset, and more after the next" fewer_and_more_queues
add "R8.2: unbind and bind" unbind_and_bind
run_cases
