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

# Whatever a case did to it.
restore()
{
	p2p free-all
	restore_cmb
}

# Thirty times: enough for a leak of one reference or page to be seen.
again_and_again()
{
	local way=$1 size available i times

	times=$(rounds 30)
	defer restore
	size=$(p2pmem_size "$cmb_bdf")
	available=$(p2pmem_available "$cmb_bdf")
	for ((i = 1; i <= times; i++)); do
		if [ "$way" = remove ]; then
			echo 1 >"$PCI/$cmb_bdf/remove"
			is_removed "$cmb_bdf" || fail "$i: the device is still there"
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

# unbound_midway MOMENT: while a copy uses it; false if that was not so, as the
# copy was too fast
unbound_midway()
{
	local pid length=$((16 * MIB))

	wipe "$dst" 0 "$length"
	copy "$src" "$dst" 0 0 "$length" &
	pid=$!
	! midway "$pid" || sleep "$1"
	unbind_ends "$cmb_bdf"
	end_of "$pid" "the copy" || fail "the copy failed"
	check_copied 0 0 "$length"
	bind "$cmb_bdf" nvme
	cmb_returns
	note "through peer memory $(report bytes_p2p), through system memory" \
		"$(report bytes_host), repeated $(report chunks_repeated)"
	(($(report bytes_p2p) > 0 && $(report bytes_host) > 0)) || return 1
	check_withdrawn "$cmb_bdf"
}

during_copies()
{
	local i

	defer restore
	copy_parameter chunk_kib 256
	for ((i = 0; i < $(rounds 4); i++)); do
		until_seen 20 unbound_midway "0.0$((i * 13 % 10))"
	done
}

# An idle orchestrator: a list is bound, and no memory is held.
idle_list()
{
	local list pid

	defer restore
	list=$(p2p_value list list-new)
	defer p2p list-free "$list"
	p2p list-add "$list" "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	start_unbind "$cmb_bdf"
	end_of "$pid" "removal with a list that holds nothing"
	check_equal "told" "$(p2p_value told list-told "$list")" 1
	check_no_log "no waiting" "p2pdma: waiting"
	check_equal "what the list finds now" "$(p2p_value provider list-find "$list")" none
}

# An orchestrator that gives its idle memory back when it is told.
polite_list()
{
	local list pid

	defer restore
	list=$(p2p_value list list-new polite)
	defer p2p list-free "$list"
	p2p list-add "$list" "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	p2p alloc "$cmb_bdf" 1M 3 >/dev/null
	start_unbind "$cmb_bdf"
	end_of "$pid" "removal although all was given back"
	check_equal "told" "$(p2p_value told list-told "$list")" 1
}

# reports_each_second: of a removal that waits, until the case ends.  Without
# KUnit tests the kernel has no such switch, and it takes longer.
reports_each_second()
{
	local before

	if before=$(p2p drain-report 1 2>/dev/null); then
		defer eval "p2p drain-report 10 >/dev/null"
		check_equal "how often users are told" "$before" "before=10"
	else
		note "a report every ten seconds only"
	fi
}

# waits_for KIB: by the last report
waits_for()
{
	[[ $(reports | tail -n 1) == *" waiting for $1 KiB "* ]]
}

# Of this case: "TIME TEXT", TIME in seconds since the kernel started
reports()
{
	log_since | sed -nE "s/^\\[ *([0-9.]+)\\] .*($cmb_bdf: p2pdma: waiting)/\1 \2/p"
}

# held HOW: somebody keeps 1 MiB and 64 KiB
held()
{
	local list id small pid holders how=$1

	defer restore
	reports_each_second
	list=$(p2p_value list list-new)
	defer p2p list-free "$list"
	p2p list-add "$list" "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	id=$(p2p_value id alloc "$cmb_bdf" 1M)
	small=$(p2p_value id sgl "$cmb_bdf" 64K)
	p2p fill "$id" 77
	if [ "$how" = remove ]; then
		echo 1 >"$PCI/$cmb_bdf/remove" &
		pid=$!
	else
		start_unbind "$cmb_bdf"
	fi
	wait_for 25 waits_for 1088 || fail "not a word about who holds it"
	! has_ended "$pid" || fail "removal did not wait"
	reports | sed 's/^/# /'
	holders="1024 KiB alloc_one \[p2pdma_test\], 64 KiB cmd_sgl \[p2pdma_test\]"
	check_log "how much" "$cmb_bdf: p2pdma: waiting for 1088 KiB of BAR 2 since [0-9]+ s,"
	check_log "who, and for whom" "s, held by $holders; bound to it: p2pdma_test$"
	check_equal "told" "$(p2p_value told list-told "$list")" 1
	check_fails "allocating more" "Cannot allocate memory" p2p alloc "$cmb_bdf" 4096

	# It is still memory: the pages are there and hold what was written.
	p2p check "$id" 77
	check_equal "the page's provider" "$(p2p_value provider page "$id")" "$cmb_bdf"

	p2p free "$small"
	wait_for 25 waits_for 1024 || fail "removal does not wait for the second piece"
	! has_ended "$pid" || fail "removal did not wait for the second piece"
	p2p check "$id" 77
	p2p free "$id"
	end_of "$pid" "removal although all was given back" || fail "removal failed"
}

# Every ten seconds, not once and not all the time.  The time between is made
# shorter, and a slow machine may leave a report out.
every_ten_seconds()
{
	local id pid begun stamp since last=0

	defer restore
	reports_each_second
	id=$(p2p_value id alloc "$cmb_bdf" 64K)
	begun=$(uptime_ms)
	start_unbind "$cmb_bdf"
	wait_for 50 said_for 4 || fail "no four reports"
	while read -r stamp since; do
		note "after $((stamp - begun)) ms: $since s"
		((since > last)) || fail "$since s were said after $last s"
		((stamp - begun >= since * 1000 - 100)) || fail "too early"
		last=$since
	done < <(reports | sed -E 's/\.([0-9]{3})[0-9]* .* since ([0-9]+) s,.*/\1 \2/')
	p2p free "$id"
	end_of "$pid" "unbinding although all was given back"
}

said_for()
{
	(($(reports | wc -l) >= $1))
}

uptime_ms()
{
	local up

	read -r up _ </proc/uptime
	echo $((10#${up/./} * 10))
}

# The drive is pulled out of its slot during a copy, and plugged in again.
pulled()
{
	local pid length=$((8 * MIB)) before

	vmhost ping >/dev/null 2>&1 || skip "no host that could pull a drive"
	defer restore
	defer plug_cmb
	before=$(p2pmem_available "$cmb_bdf")
	start_slow_copy "$length"
	(($(p2pmem_available "$cmb_bdf") < before)) || fail "the copy uses no memory now"
	# Not "vmhost unplug", which waits until it is gone
	vmhost qmp '{"execute": "device_del", "arguments": {"id": "cmb"}}' >/dev/null ||
		fail "the host could not unplug it"
	wait_for 30 is_withdrawn || fail "the drive does not go"
	! is_removed "$cmb_bdf" || fail "the drive went although its memory was in use"
	end_slow_copy "$length"
	wait_for 30 is_removed "$cmb_bdf" || fail "the device is still there"
	plug_cmb || fail "the host could not plug it in again"
	cmb_returns
	check_equal size "$(p2pmem_size "$cmb_bdf")" $((16 * MIB))
	copy "$src" "$dst" 0 0 "$length"
	check_all_p2p "$cmb_bdf" "$length"
}

plug_cmb()
{
	! is_removed "$cmb_bdf" || wait_for 30 vmhost plug cmb >/dev/null
}

is_withdrawn()
{
	[ "$(p2pmem_published "$cmb_bdf" 2>/dev/null)" != 1 ]
}

# One end of the copy goes: an error, as it would be without peer memory.
end_goes()
{
	local before pid

	throttle 0 || skip "no host that could slow a drive down"
	defer throttle 0
	before=$(p2pmem_available "$cmb_bdf")
	defer rebind "$dst_bdf" nvme
	copy_parameter lanes 1
	copy_parameter chunk_kib 4
	throttle $((32 * KIB))
	copy "$src" "$dst" 2>/dev/null &
	pid=$!
	midway "$pid" || fail "the copy ended too early"
	unbind_ends "$dst_bdf"
	! end_of "$pid" "the copy" || fail "the copy succeeded without its target"
	throttle 0
	check_equal status "$(report status)" failed
	check_match error "$(report error)" "^-(5|6|19)$"
	check_log "the error is logged" "p2pdma_copy: .*failed with"
	check_available "$cmb_bdf" "$before"
	bind "$dst_bdf" nvme
	drive_returns dst
	copy_parameter chunk_kib 1024
	wipe "$dst"
	copy "$src" "$dst"
	check_copied 0 0 "$whole"
}

add "N1: remove and rescan, $(rounds 30) times" again_and_again remove
add "N1: unbind and bind, $(rounds 30) times" again_and_again unbind
add "R2.9 N1: removal does not wait for an idle list" idle_list
add "R2.9: an orchestrator gives idle memory back when told" polite_list
add "R1.7 N2: unbind waits for held memory, and says who holds it" held unbind
add "R1.7 N2: so does remove" held remove
add "R1.7: it says so every ten seconds" every_ten_seconds
add "R1.7 R10.3 N2 N25: providers come and go during copies" during_copies
add "R1.7 N25: the drive with the CMB is pulled during copies" pulled
add "R10.3 N1 N25: one end of the copy goes: an error, and no memory is kept" end_goes
run_cases
