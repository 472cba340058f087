# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the peer-to-peer DMA selftests share.  Sourced, never run.
#
# A test script defines functions, names each with one sentence and runs them:
#
#	. "$(dirname "$0")/lib.sh"
#	require_machine src dst cmb
#	some_case() { ...; }
#	add "R5.1: the sentence" some_case
#	run_cases
#
# Each case runs in a subshell with "set -e": a command that fails, fail or
# check_* fail the case, skip skips it.  Variables that a case sets are lost at
# its end; what it does to the machine stays, so it says "defer" for that:
# deferred commands run when the case ends, however it ends.  With CASES=REGEX in
# the environment only those run whose sentence or function matches; it is a
# failure if there is none.
#
# Drives are known by their serial numbers, src, dst and cmb: the tests write to
# them, and no real drive is called so.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/../kselftest/ktap_helpers.sh"

name=$(basename "$0" .sh)
PCI=/sys/bus/pci/devices
COPY=/sys/kernel/debug/p2pdma_copy
ALLOW=/sys/module/p2pdma/parameters/allow_host_bridge
# How many times as long as on others all may take on an emulated debug kernel.
slowness=1
case $(uname -r) in
*debug*) slowness=5 ;;
esac
export KIB=1024 MIB=$((1024 * 1024))
# Disks and PCI addresses, by role; require_drives and require_machine set them.
src='' dst='' cmb='' src_bdf='' dst_bdf='' cmb_bdf='' mem_bdf=''
export src dst cmb src_bdf dst_bdf cmb_bdf mem_bdf

# --- cases -----------------------------------------------------------------

_cases=()
_deferred=()
# Nobody ever writes there, see nap.
exec {_silence}<> <(:)
# Where skip leaves its reason for run_cases
_skip_reason=/dev/null

# add "SENTENCE" FUNCTION [ARGUMENT...]
add()
{
	[[ "$1 $2" =~ ${CASES:-} ]] || return 0
	_cases+=("$(printf '%q ' "$@")")
}

note()
{
	printf '# %s\n' "$*"
}

# To stderr, so that they are seen from within $(...) too.
fail()
{
	printf '# FAIL: %s\n' "$*" >&2
	exit "$KSFT_FAIL"
}

skip()
{
	printf '# SKIP: %s\n' "$*" >&2
	printf '%s\n' "$*" >"$_skip_reason"
	exit "$KSFT_SKIP"
}

# The whole script, before any case.
skip_all()
{
	ktap_print_header
	ktap_skip_all "$*"
	exit "$KSFT_SKIP"
}

# defer COMMAND...: run it when the case ends; the last one first.
defer()
{
	_deferred=("$(printf '%q ' "$@")" "${_deferred[@]}")
}

# A command failed of which nothing else is said.
_failed_at()
{
	printf '# FAIL: %s: line %s: %s\n' "$name" "$2" "$1" >&2
}

_run_deferred()
{
	local status=$? line

	set +eE
	trap - ERR
	for line in "${_deferred[@]}"; do
		eval "$line"
	done
	exit "$status"
}

# The output of the kernel goes with the case during which it came.
_begin_log()
{
	log_mark="p2pdma-selftest: $name $EPOCHREALTIME:"
	echo "$log_mark $1" >/dev/kmsg
}

# ktap_test_skip has no place for the reason.
_report_skip()
{
	local reason=

	read -r reason <"$_skip_reason" || :
	__ktap_test ok "$1" "SKIP $reason"
	KTAP_CNT_SKIP=$((KTAP_CNT_SKIP + 1))
}

run_cases()
{
	local line words status failed=0 skipped=0

	ktap_print_header
	# Not to be mistaken for a test that has nothing to do here
	((${#_cases[@]})) || fail "no case matches CASES='${CASES:-}'"
	ktap_set_plan "${#_cases[@]}"
	_skip_reason=$(mktemp)
	for line in "${_cases[@]}"; do
		eval "words=($line)"
		_begin_log "${words[0]}"
		: >"$_skip_reason"
		# Not in a condition, or "set -e" would mean nothing inside.
		set +e
		(
			set -eE
			_deferred=()
			trap _run_deferred EXIT
			trap '_failed_at "$BASH_COMMAND" "$LINENO"' ERR
			"${words[@]:1}"
		)
		status=$?
		set -e
		case $status in
		"$KSFT_PASS") ktap_test_pass "${words[0]}" ;;
		"$KSFT_SKIP")
			_report_skip "${words[0]}"
			skipped=$((skipped + 1))
			;;
		*)
			ktap_test_fail "${words[0]}"
			failed=$((failed + 1))
			log_since | tail -n 20 | sed 's/^/# dmesg: /'
			;;
		esac
	done
	rm -f "$_skip_reason"
	ktap_print_totals
	((!failed)) || exit "$KSFT_FAIL"
	((skipped < ${#_cases[@]})) || exit "$KSFT_SKIP"
	exit "$KSFT_PASS"
}

# --- checks ----------------------------------------------------------------

# check_equal WHAT GOT WANTED
check_equal()
{
	[ "$2" = "$3" ] || fail "$1 is '$2', should be '$3'"
}

# check_differ WHAT GOT UNWANTED
check_differ()
{
	[ "$2" != "$3" ] || fail "$1 is '$2', and should not be"
}

# check_match WHAT GOT REGEX
check_match()
{
	[[ $2 =~ $3 ]] || fail "$1 is '$2', should match '$3'"
}

# check_fails WHAT ERROR COMMAND...: it fails, with this text (of an errno)
check_fails()
{
	local what=$1 error=$2 output status=0
	shift 2

	output=$("$@" 2>&1) || status=$?
	((status)) || fail "$what: succeeded, should fail with '$error'"
	[[ $output == *"$error"* ]] || fail "$what: said '$output', should be '$error'"
}

# check_log WHAT REGEX: the kernel said so during this case
check_log()
{
	log_since | grep -E -- "$2" >/dev/null || fail "$1: the kernel did not say '$2'"
}

# literally TEXT: as a regular expression
literally()
{
	# shellcheck disable=SC2001 # the shell itself knows no & before 5.2
	sed 's/[][\\.*^$+?(){}|]/\\&/g' <<<"$1"
}

# check_log_count WHAT REGEX NUMBER
check_log_count()
{
	local count

	count=$(log_since | grep -cE -- "$2" || :)
	check_equal "$1: number of kernel messages '$2'" "$count" "$3"
}

# check_no_log WHAT REGEX
check_no_log()
{
	check_log_count "$1" "$2" 0
}

log_since()
{
	dmesg | awk -v mark="$log_mark" 'found { print } index($0, mark) { found = 1 }'
}

# nap SECONDS: a sleep without a process, which under load takes as long to start
nap()
{
	read -rt "$1" -u "$_silence" || :
}

# wait_for SECONDS COMMAND...: until it succeeds.  SECONDS is what an ordinary
# machine needs at most.  The limit is ten times that: it only ends a test that
# hangs, and a slow machine must not reach it.
wait_for()
{
	local deadline=$((SECONDS + 10 * $1 * slowness))
	shift

	until "$@"; do
		((SECONDS < deadline)) || return 1
		nap 0.1
	done
}

# --- what the machine has --------------------------------------------------

trim()
{
	local text

	read -r text <"$1" || [ -n "$text" ]
	printf '%s\n' "$text"
}

# has_option NAME: is it in the kernel?  Only where the kernel tells
has_option()
{
	# Not -q: with pipefail an early end of the reader is a failure.
	[ -r /proc/config.gz ] && zcat /proc/config.gz | grep "^CONFIG_$1=y" >/dev/null
}

have_p2pdma()
{
	if [ -r /proc/config.gz ]; then
		has_option PCI_P2PDMA
	else
		grep -q ' pci_p2pdma_add_resource$' /proc/kallsyms
	fi
}

# until_seen TIMES COMMAND...: call it up to TIMES times, until it succeeds.  For
# a moment that cannot be forced; that it never came is a failure.
until_seen()
{
	local times=$1 i
	shift

	for ((i = 0; i < times; i++)); do
		! "$@" || return 0
	done
	fail "$times times, and never at the right moment: $*"
}

has_ended()
{
	! kill -0 "$1" 2>/dev/null
}

# end_of PID WHAT: wait for a background process, which must not hang; its status
end_of()
{
	wait_for 10 has_ended "$1" || fail "$2 hangs"
	wait "$1"
}

# rounds N: how often to repeat something; fewer where the kernel is slow
rounds()
{
	if ((slowness > 1)); then
		echo $((($1 + 4) / 5))
	else
		echo "$1"
	fi
}

require_root()
{
	((EUID == 0)) || skip_all "run as root"
}

require_p2pdma()
{
	have_p2pdma || skip_all "the kernel has no CONFIG_PCI_P2PDMA"
}

# require_module MODULE [PARAMETER=VALUE...]: one of the kernel's
require_module()
{
	modprobe -q "$@" || skip_all "no module $1, or it does not load"
}

# The selftests' own modules.
load_test_module()
{
	local file=$here/modules/$1.ko

	[ -d "/sys/module/$1" ] && return
	[ -e "$file" ] || skip_all "no $file; see modules/Makefile"
	insmod "$file" || skip_all "$1 does not load"
}

unload()
{
	local module

	for module; do
		[ ! -d "/sys/module/$module" ] || rmmod "$module"
	done
}

# ctrl_of ROLE: nvme0, or nothing
ctrl_of()
{
	local dir serial

	for dir in /sys/class/nvme/nvme*; do
		serial=''
		read -r serial 2>/dev/null <"$dir/serial" || :
		if [ "$serial" = "$1" ]; then
			echo "${dir##*/}"
			return
		fi
	done
}

# disk_of ROLE: /dev/nvme0n1, or nothing
disk_of()
{
	local ctrl path

	ctrl=$(ctrl_of "$1")
	[ -n "$ctrl" ] || return 0
	for path in "/sys/class/nvme/$ctrl/$ctrl"n*; do
		[ -d "$path" ] || continue
		echo "/dev/${path##*/}"
		return
	done
}

# bdf_of ROLE: PCI address of a drive that has a driver, or of mem
bdf_of()
{
	local ctrl dir

	if [ "$1" = mem ]; then
		for dir in "$PCI"/*; do
			if [ "$(<"$dir/vendor") $(<"$dir/device")" = "0x1af4 0x1110" ]; then
				echo "${dir##*/}"
				return
			fi
		done
		return 0
	fi
	ctrl=$(ctrl_of "$1")
	[ -z "$ctrl" ] || trim "/sys/class/nvme/$ctrl/address"
}

drive_is_there()
{
	local disk

	disk=$(disk_of "$1")
	[ -n "$disk" ] && [ -b "$disk" ]
}

has_ctrl()
{
	[ -n "$(ctrl_of "$1")" ]
}

drive_is_back()
{
	drive_is_there "$1" && ctrl_in_state "$1" live
}

# drive_returns ROLE: after whatever happened to it; sets $ROLE, as its disk may
# have another name now
drive_returns()
{
	wait_for 30 drive_is_back "$1" || fail "the drive $1 did not come back"
	declare -g "$1=$(disk_of "$1")"
}

# require_drives ROLE...: wait for them; sets $src, $dst, $cmb to their disks
# and $src_bdf and so on to their PCI addresses
require_drives()
{
	local role

	require_module nvme
	# An earlier test may have left it: another provider of the same distance
	unload p2pdma_provider
	for role; do
		# The driver has probed by now.  A drive that is not there is no hang.
		wait_for 2 has_ctrl "$role" ||
			skip_all "no NVMe drive with the serial number $role"
		wait_for 20 drive_is_there "$role" || skip_all "the drive $role has no disk"
		declare -g "$role=$(disk_of "$role")" "${role}_bdf=$(bdf_of "$role")"
	done
}

# require_machine ROLE...: what nearly all tests need, and these drives; sets
# $mem_bdf too, if there is a memory-only function
require_machine()
{
	require_root
	require_p2pdma
	require_drives "$@"
	mem_bdf=$(bdf_of mem)
	load_test_module p2pdma_test
}

# require_copies ROLE...: all that, and who copies from drive to drive
require_copies()
{
	require_machine "$@"
	require_module p2pdma_copy
}

# Is the controller of a role there and in that state?
ctrl_in_state()
{
	local ctrl

	ctrl=$(ctrl_of "$1")
	[ -n "$ctrl" ] && [ "$(trim "/sys/class/nvme/$ctrl/state" 2>/dev/null)" = "$2" ]
}

unbind()
{
	echo "$1" >"$PCI/$1/driver/unbind"
}

# Whether or not it has a driver.
release()
{
	[ ! -e "$PCI/$1/driver" ] || unbind "$1"
}

# start_unbind BDF: in the background; sets $pid
start_unbind()
{
	unbind "$1" &
	pid=$!
}

# unbind_ends BDF: it must not hang
unbind_ends()
{
	local pid

	start_unbind "$1"
	end_of "$pid" "unbinding $1" || fail "unbinding $1 failed"
}

rescan()
{
	echo 1 >/sys/bus/pci/rescan
}

# is_removed BDF
is_removed()
{
	[ ! -e "$PCI/$1" ]
}

# bind BDF DRIVER
bind()
{
	echo "$1" >"/sys/bus/pci/drivers/$2/bind"
}

# Bind again what may or may not have been unbound.
rebind()
{
	[ -e "$PCI/$1/driver" ] || bind "$1" "$2"
}

# ids_of BDF: VVVV:DDDD
ids_of()
{
	local vendor device

	vendor=$(<"$PCI/$1/vendor")
	device=$(<"$PCI/$1/device")
	echo "${vendor#0x}:${device#0x}"
}

# host_bridge_of BDF: how the host bridge above a function is called, by the
# lowest function on its root bus
host_bridge_of()
{
	local path bus dir

	path=$(readlink -f "$PCI/$1")
	bus=${path#/sys/devices/pci}
	bus=${bus%%/*}
	# The shell sorts them.
	for dir in "$PCI/$bus":*; do
		ids_of "${dir##*/}"
		return
	done
}

# --- providers -------------------------------------------------------------

has_p2pmem()
{
	[ -d "$PCI/$1/p2pmem" ]
}

p2pmem_size()
{
	trim "$PCI/$1/p2pmem/size"
}

p2pmem_available()
{
	trim "$PCI/$1/p2pmem/available"
}

p2pmem_published()
{
	trim "$PCI/$1/p2pmem/published"
}

# Have the memory-only function served. One that an earlier test left behind may
# have other parameters, or be unbound.
require_provider_sample()
{
	[ -n "$mem_bdf" ] || skip_all "no memory-only function"
	unload p2pdma_provider
	modprobe -q p2pdma_provider || skip_all "no module p2pdma_provider"
}

# use_provider_sample [PARAMETER=VALUE...]: serve the memory-only function until
# the case ends
use_provider_sample()
{
	defer unload p2pdma_provider
	# One that an earlier test left behind has other parameters
	unload p2pdma_provider
	modprobe p2pdma_provider "$@"
}

# Take the CMB away until the case ends.
without_cmb()
{
	defer rebind "$cmb_bdf" nvme
	unbind "$cmb_bdf"
}

# Bind the drive with the CMB anew; its disk may have another name then.
bind_anew()
{
	defer rebind "$cmb_bdf" nvme
	unbind "$cmb_bdf"
	bind "$cmb_bdf" nvme
	drive_returns cmb
}

cmb_is_back()
{
	drive_is_back cmb && has_p2pmem "$cmb_bdf" &&
		[ "$(p2pmem_published "$cmb_bdf" 2>/dev/null)" = 1 ]
}

cmb_returns()
{
	wait_for 60 cmb_is_back || fail "the drive with the CMB did not come back"
	cmb=$(disk_of cmb)
}

# Whatever a case did to it.
restore_cmb()
{
	! is_removed "$cmb_bdf" || rescan
	is_removed "$cmb_bdf" || rebind "$cmb_bdf" nvme
	cmb_returns
}

# is_available BDF BYTES
is_available()
{
	[ "$(p2pmem_available "$1")" = "$2" ]
}

# check_available BDF BYTES: as soon as the last user has let go
check_available()
{
	wait_for 10 is_available "$1" "$2" ||
		fail "$1: $(p2pmem_available "$1") bytes available, should be $2"
}

# bar_of BDF NUMBER: "START SIZE" of a BAR, as the CPU sees it
bar_of()
{
	local start end flags

	read -r start end flags < <(sed -n "$(($2 + 1))p" "$PCI/$1/resource")
	: "$flags"
	echo "$start $((end - start + 1))"
}

# --- data ------------------------------------------------------------------

# sum_of DISK [OFFSET LENGTH]: of what the drive has, not of what is cached
sum_of()
{
	local disk=$1 offset=${2:-0} length=${3:-}

	[ -n "$length" ] || length=$(($(blockdev --getsize64 "$disk") - offset))
	dd if="$disk" bs=1M iflag=direct,fullblock,skip_bytes,count_bytes \
		skip="$offset" count="$length" status=none | sum
}

# sum: of standard input; MD5, as only accidents can change the data
sum()
{
	local words

	words=$(md5sum)
	echo "${words%% *}"
}

# fill DISK OFFSET LENGTH SOURCE: overwrite it with other data.  A disk that is
# gone is an error: a file of its name would be in the way of the next one's node.
fill()
{
	dd if="$4" of="$1" bs=1M oflag=direct,seek_bytes iflag=fullblock,count_bytes \
		seek="$2" count="$3" conv=notrunc,nocreat status=none
}

# wipe DISK [OFFSET LENGTH]: so that data which does not arrive is missed
wipe()
{
	fill "$1" "${2:-0}" "${3:-$(blockdev --getsize64 "$1")}" /dev/zero
}

# --- the copy sample -------------------------------------------------------

# copy SRC DST [SRC_OFFSET DST_OFFSET LENGTH]
copy()
{
	echo "$*" >"$COPY/copy"
}

# report KEY: a value of the last copy; a reason may have several lines
report()
{
	local line

	while IFS= read -r line; do
		[[ $line != "$1="* ]] || printf '%s\n' "${line#*=}"
	done <"$COPY/report"
}

# copy_parameter NAME VALUE: until the case ends
copy_parameter()
{
	local file=/sys/module/p2pdma_copy/parameters/$1

	defer eval "echo $(<"$file") >$file"
	echo "$2" >"$file"
}

# check_copied SRC_OFFSET DST_OFFSET LENGTH: the data, and that all is counted
check_copied()
{
	local p2p host

	check_equal "the target's data" "$(sum_of "$dst" "$2" "$3")" \
		"$(sum_of "$src" "$1" "$3")"
	check_equal "status" "$(report status)" ok
	p2p=$(report bytes_p2p)
	host=$(report bytes_host)
	check_equal "bytes by both ways" "$((p2p + host))" "$3"
}

# check_all_p2p PROVIDER LENGTH, check_all_host LENGTH REASON: which way it went
check_all_p2p()
{
	check_equal "provider" "$(report provider)" "$1"
	check_equal "bytes_p2p" "$(report bytes_p2p)" "$2"
	check_equal "bytes_host" "$(report bytes_host)" 0
	check_equal "chunks_repeated" "$(report chunks_repeated)" 0
	check_equal "reason" "$(report reason)" ""
}

check_all_host()
{
	check_equal "bytes_p2p" "$(report bytes_p2p)" 0
	check_equal "bytes_host" "$(report bytes_host)" "$1"
	check_equal "reason" "$(report reason)" "$2"
}

# midway PID: wait until the copy that runs as this process is in the middle;
# false if it has ended
midway()
{
	while kill -0 "$1" 2>/dev/null; do
		[ "$(report status)" != running ] || (($(report bytes_p2p) == 0)) ||
			return 0
	done
	return 1
}

# throttle BYTES [ROLE]: per second, that the drive (dst) takes; 0 for no limit.
# Only with a host that does it.
throttle()
{
	local limits='"bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0'

	vmhost qmp "{\"execute\": \"block_set_io_throttle\", \"arguments\":" \
		"{\"id\": \"${2:-dst}-ns\", \"bps\": $1, $limits}}" >/dev/null 2>&1
}

# in_flight ROLE: whether the drive has commands
in_flight()
{
	local disk reads writes

	disk=$(disk_of "$1")
	read -r reads writes <"/sys/block/${disk#/dev/}/inflight"
	((reads + writes > 0))
}

# patient DISK: its commands do not time out until the case ends
patient()
{
	local file=/sys/block/${1#/dev/}/queue/io_timeout

	defer eval "echo $(<"$file") 2>/dev/null >$file"
	echo 3600000 >"$file"
}

# commands_in_cmb: how many commands of the drive's namespace lie there
commands_in_cmb()
{
	"$here/p2pmem_mmap" sqes "$PCI/$cmb_bdf/resource2" 13
}

# scribble_cmb BYTE RESERVED: what a reset may do to the contents.  An emulated
# drive keeps them.  The driver's queues, RESERVED bytes at the start, stay.
scribble_cmb()
{
	"$here/p2pmem_mmap" scribble "$PCI/$cmb_bdf/resource2" "$1" "$2"
}

# start_slow_copy LENGTH: from src to dst, in the background.  A part of it went
# through peer memory, and the rest waits for dst until end_slow_copy.  Sets $pid.
start_slow_copy()
{
	throttle 0 || skip "no host that could slow a drive down"
	defer throttle 0
	# The last of four lanes waits 8 s, which is no timeout of the drive.
	copy_parameter chunk_kib 64
	copy_parameter lanes 4
	wipe "$dst" 0 "$1"
	throttle $((32 * KIB))
	copy "$src" "$dst" 0 0 "$1" &
	pid=$!
	midway "$pid" || fail "the copy ended too early"
}

# end_slow_copy LENGTH [PROVIDER]: its data is right, and it went on through system
# memory, as the provider, the CMB if not said otherwise, was withdrawn
end_slow_copy()
{
	throttle 0
	end_of "$pid" "the copy" || fail "the copy failed"
	check_copied 0 0 "$1"
	note "through peer memory $(report bytes_p2p), through system memory" \
		"$(report bytes_host), repeated $(report chunks_repeated)"
	(($(report bytes_p2p) > 0 && $(report bytes_host) > 0)) || fail "all went one way"
	check_withdrawn "${2:-$cmb_bdf}"
}

# check_withdrawn PROVIDER: the reason of a copy that began with it.  One that ends
# before the core has told it only knows that it got no memory.
check_withdrawn()
{
	[ "$(report reason)" = "$(short_of_memory "$(report chunks_short)" \
		"$(report chunks_repeated)")" ] ||
		check_equal "reason" "$(report reason)" "$(withdrawn "$1")"
}

# --- what the kernel and the samples say -----------------------------------

# In full, so that a test cannot take one reason for another.
export nothing_on_offer="no PCI device offers peer-to-peer memory"
export not_configured="the kernel has no peer-to-peer DMA (CONFIG_PCI_P2PDMA)"
export nothing_added="no device was added to the client list"
export all_reach_one="there is a provider that all clients can reach"

refused_by_acs()
{
	echo "$2 cannot reach the memory of $1: ports on the way redirect" \
		"peer-to-peer traffic (ACS); to let it through at the price of" \
		"isolation, boot with pci=disable_acs_redir=$3"
}

refused_by_root_complex()
{
	echo "$2 cannot reach the memory of $1: the two meet only in the root" \
		"complex, which need not route between ports; if this machine is" \
		"known to route, add p2pdma.allow_host_bridge=$3 to the kernel" \
		"command line, or write it to $ALLOW"
}

refused_by_conventional_pci()
{
	echo "$2 cannot reach the memory of $1: a conventional PCI bus is on the way"
}

refused_by_itself()
{
	echo "$2 cannot reach the memory of $1: the function is not known to reach" \
		"its own memory"
}

# withdrawn BDF: of a copy that began with this provider
withdrawn()
{
	echo "$1 was withdrawn, reset or cut off during the copy"
}

# short_of_memory CHUNKS [REPEATED]: of a copy whose provider had none
short_of_memory()
{
	echo "the provider had no memory free for $1 chunks, and ${2:-0} had to be repeated"
}

# takes_no_peer_memory DISK: of a copy from or to it
takes_no_peer_memory()
{
	echo "the driver of $1 does not take peer memory"
}

# --- the test module -------------------------------------------------------

# debugfs_command MODULE COMMAND ARGUMENT...: of one of the test modules; prints
# what it has to say, fails with the text of its errno.  Without a process of its
# own: on a debug kernel each costs a tenth of a second.
debugfs_command()
{
	local fd line status=1

	exec {fd}<>"/sys/kernel/debug/$1/command"
	if echo "${*:2}" >&"$fd"; then
		while IFS= read -r line <&"$fd" || [ -n "$line" ]; do
			printf '%s\n' "$line"
		done
		status=0
	fi
	exec {fd}>&-
	return "$status"
}

# p2p COMMAND ARGUMENT...: one command of modules/p2pdma_test.c
p2p()
{
	debugfs_command p2pdma_test "$@"
}

# p2p_value KEY COMMAND...: the value of one "key=value" of its output
p2p_value()
{
	local key=$1 output
	shift

	output=$(p2p "$@") || fail "p2pdma_test: $*: $output"
	[[ " $output" =~ [[:space:]]"$key"=([^[:space:]]*) ]] ||
		fail "p2pdma_test: $*: no $key in '$output'"
	printf '%s\n' "${BASH_REMATCH[1]}"
}

# new_list CLIENT...: a client list; sets $list; freed when the case ends
new_list()
{
	local client

	list=$(p2p_value list list-new)
	defer eval "p2p list-free $list 2>/dev/null"
	for client; do
		p2p list-add "$list" "$client"
	done
}

# found LIST: the best provider for it, or none
found()
{
	p2p_value provider list-find "$1"
}
