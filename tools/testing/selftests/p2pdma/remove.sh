#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A provider goes away: idle, during a copy, while its memory is held, and while
# a list is bound to it.
#
# Guards R1.7 and R2.9: removal waits for memory, for as long as it takes and
# saying for whom, and for nothing else. N1: an unbind that hung because a
# buffer was kept by an idle user. N2: struct pages that went although a buffer
# was in use, which a copy in flight would notice (and KASAN before it).
#
# topology: switch
# kernels: normal debug
# timeout: 400
# tags: core nvme remove

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_copies src dst cmb

whole=$(blockdev --getsize64 "$src")

cmb_is_back()
{
	drive_is_there cmb && ctrl_in_state cmb live && has_p2pmem "$cmb_bdf" &&
		[ "$(p2pmem_published "$cmb_bdf" 2>/dev/null)" = 1 ]
}

cmb_returns()
{
	wait_for 60 cmb_is_back || fail "the drive with the CMB did not come back"
	cmb=$(disk_of cmb)
}

rescan()
{
	echo 1 >/sys/bus/pci/rescan
}

# Whatever a case did to it.
restore_cmb()
{
	p2p free-all
	[ -e "$PCI/$cmb_bdf" ] || rescan
	rebind "$cmb_bdf" nvme
	cmb_returns
}

# Fifty times: enough for a leak of one reference or page to be seen.
again_and_again()
{
	local way=$1 size available i times

	times=$(rounds 50)
	defer restore_cmb
	size=$(p2pmem_size "$cmb_bdf")
	available=$(p2pmem_available "$cmb_bdf")
	for ((i = 1; i <= times; i++)); do
		if [ "$way" = remove ]; then
			echo 1 >"$PCI/$cmb_bdf/remove"
			[ ! -e "$PCI/$cmb_bdf" ] || fail "$i: the device is still there"
			rescan
		else
			unbind "$cmb_bdf"
			check_equal "$i: p2pmem without a driver" \
				"$(has_p2pmem "$cmb_bdf" && echo there)" ""
			bind "$cmb_bdf" nvme
		fi
		cmb_returns
		check_equal "$i: size" "$(p2pmem_size "$cmb_bdf")" "$size"
		check_equal "$i: available" "$(p2pmem_available "$cmb_bdf")" "$available"
	done
	check_log_count "registered once each time" "$cmb_bdf: p2pdma: registered" "$times"
	wipe "$dst" 0 $((8 * MIB))
	copy "$src" "$dst" 0 0 8M
	check_all_p2p "$cmb_bdf" $((8 * MIB))
	check_copied 0 0 $((8 * MIB))
}

# Copies go on in the background and each has to be right. They are short, so
# that many begin and end while the provider comes and goes.
copies()
{
	local fell_back=0 used=0

	while [ ! -e "$stop" ]; do
		wipe "$dst" 0 "$length"
		copy "$src" "$dst" 0 0 "$length" || { echo "a copy failed" >>"$log"; break; }
		[ "$(sum_of "$dst" 0 "$length")" = "$want" ] || echo "wrong data" >>"$log"
		(($(report bytes_p2p) == 0)) || used=$((used + 1))
		(($(report bytes_host) == 0)) || fell_back=$((fell_back + 1))
	done
	echo "copies: $used used peer memory, $fell_back system memory" >>"$log"
}

# Sets $stop, $log, $want and $pid; $length is to be copied.
start_copies()
{
	stop=$(mktemp -u)
	log=$(mktemp)
	want=$(sum_of "$src" 0 "$length")
	defer rm -f "$stop" "$log"
	copy_parameter chunk_kib 256
	copies &
	pid=$!
	defer touch "$stop"
}

# Their data has to have been right, and some used peer memory.
end_copies()
{
	touch "$stop"
	wait "$pid" || fail "the copies ended early"
	sed 's/^/# /' "$log"
	grep -q "^copies: [1-9]" "$log" || fail "no copy used peer memory"
	! grep -qv "^copies:" "$log" || fail "see above"
}

during_copies()
{
	local stop log want i pid length=$((16 * MIB))

	defer restore_cmb
	start_copies
	for ((i = 0; i < 8; i++)); do
		sleep 0.$((i * 13 % 10))
		timeout 60 bash -c "echo $cmb_bdf >$PCI/$cmb_bdf/driver/unbind" ||
			fail "unbinding hangs"
		sleep 0.3
		bind "$cmb_bdf" nvme
		cmb_returns
	done
	end_copies
}

# Start unbinding in the background; sets $pid.
start_unbind()
{
	(unbind "$1") &
	pid=$!
}

ended()
{
	! kill -0 "$1" 2>/dev/null
}

# An idle orchestrator: a list is bound, and no memory is held.
idle_list()
{
	local list pid

	defer restore_cmb
	list=$(p2p_value list list-new)
	defer p2p list-free "$list"
	p2p list-add "$list" "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	start_unbind "$cmb_bdf"
	wait_for 8 ended "$pid" || fail "removal waits for a list that holds nothing"
	check_equal "told" "$(p2p_value told list-told "$list")" 1
	check_no_log "no waiting" "p2pdma: waiting"
	check_equal "what the list finds now" "$(p2p_value provider list-find "$list")" none
}

# An orchestrator that gives its idle memory back when it is told.
polite_list()
{
	local list pid

	defer restore_cmb
	list=$(p2p_value list list-new polite)
	defer p2p list-free "$list"
	p2p list-add "$list" "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	p2p alloc "$cmb_bdf" 1M 3 >/dev/null
	start_unbind "$cmb_bdf"
	wait_for 8 ended "$pid" || fail "removal hangs although all was given back"
	check_equal "told" "$(p2p_value told list-told "$list")" 1
}

# hold WHAT HOW: somebody keeps 1 MiB and 64 KiB
held()
{
	local list id small pid how=$1

	defer restore_cmb
	list=$(p2p_value list list-new)
	defer p2p list-free "$list"
	p2p list-add "$list" "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	id=$(p2p_value id alloc "$cmb_bdf" 1M)
	small=$(p2p_value id sgl "$cmb_bdf" 64K)
	p2p fill "$id" 77
	if [ "$how" = remove ]; then
		(echo 1 >"$PCI/$cmb_bdf/remove") &
		pid=$!
	else
		start_unbind "$cmb_bdf"
	fi
	wait_for 25 said_waiting || fail "20 s and not a word about who holds it"
	! ended "$pid" || fail "removal did not wait"
	log_since | grep "p2pdma: waiting" | sed 's/^/# /'
	check_log "how much, of whom" "$cmb_bdf: p2pdma: waiting for 1088 KiB"
	check_log "who" "waiting for .*p2pdma_test"
	check_equal "told" "$(p2p_value told list-told "$list")" 1
	check_fails "allocating more" "Cannot allocate memory" p2p alloc "$cmb_bdf" 4096

	# It is still memory: the pages are there and hold what was written.
	p2p check "$id" 77
	check_equal "the page's provider" "$(p2p_value provider page "$id")" "$cmb_bdf"

	p2p free "$small"
	sleep 0.5
	! ended "$pid" || fail "removal did not wait for the second piece"
	p2p free "$id"
	wait_for 8 ended "$pid" || fail "removal hangs although all was given back"
	wait "$pid" || fail "removal failed"
}

said_waiting()
{
	log_since | grep "$cmb_bdf: p2pdma: waiting" >/dev/null
}

# Every ten seconds, not once and not all the time.
every_ten_seconds()
{
	local id pid count

	defer restore_cmb
	id=$(p2p_value id alloc "$cmb_bdf" 64K)
	start_unbind "$cmb_bdf"
	sleep 35
	count=$(log_since | grep -c "$cmb_bdf: p2pdma: waiting" || :)
	((count == 3 || count == 2)) || fail "$count messages in 35 s"
	p2p free "$id"
	wait_for 8 ended "$pid" || fail "unbinding hangs although all was given back"
}

# The drive is pulled out of its slot during a copy, and plugged in again.
pulled()
{
	local stop log want pid length=$((16 * MIB))

	vmhost ping >/dev/null 2>&1 || skip "no host that could pull a drive"
	defer restore_cmb
	start_copies
	sleep 1
	vmhost unplug cmb >/dev/null || fail "the host could not unplug it"
	wait_for 30 is_removed || fail "the device is still there"
	sleep 1
	end_copies
	vmhost plug cmb >/dev/null || fail "the host could not plug it in again"
	cmb_returns
	check_equal size "$(p2pmem_size "$cmb_bdf")" $((16 * MIB))
	copy "$src" "$dst" 0 0 8M
	check_all_p2p "$cmb_bdf" $((8 * MIB))
}

is_removed()
{
	[ ! -e "$PCI/$cmb_bdf" ]
}

# One end of the copy goes: an error, as it would be without peer memory.
end_goes()
{
	local before

	before=$(p2pmem_available "$cmb_bdf")
	defer rebind "$dst_bdf" nvme
	(sleep 0.2; unbind "$dst_bdf") &
	copy_parameter lanes 1
	copy_parameter chunk_kib 4
	if copy "$src" "$dst" 2>/dev/null; then
		skip "the copy was faster than the removal"
	fi
	wait
	check_equal status "$(report status)" failed
	check_differ error "$(report error)" 0
	check_log "the error is logged" "p2pdma_copy: .*failed with"
	check_equal "available" "$(p2pmem_available "$cmb_bdf")" "$before"
	bind "$dst_bdf" nvme
	wait_for 30 drive_is_there dst
	dst=$(disk_of dst)
	wipe "$dst"
	copy "$src" "$dst"
	check_copied 0 0 "$whole"
}

add "N1: remove and rescan, $(rounds 50) times" again_and_again remove
add "N1: unbind and bind, $(rounds 50) times" again_and_again unbind
add "R2.9 N1: removal does not wait for an idle list" idle_list
add "R2.9: an orchestrator gives idle memory back when told" polite_list
add "R1.7 N2: unbind waits for held memory, and says who holds it" held unbind
add "R1.7 N2: so does remove" held remove
add "R1.7: it says so every ten seconds" every_ten_seconds
add "R1.7 R10.3 N2 N25: providers come and go during copies" during_copies
add "R1.7 N25: the drive with the CMB is pulled during copies" pulled
add "R10.3 N1 N25: one end of the copy goes: an error, and no memory is kept" end_goes
run_cases
