#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The emulated RDMA adapter itself, since what the tests on it say of an NVMe
# target is worth no more than it is.
#
# topology: rnic
# kernels: normal
# timeout: 1200
# trace: dma
# tags: rnic rdma

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=rnic-lib.sh
. "$(dirname "$0")/rnic-lib.sh"

require_root
require_p2pdma
require_drives src dst cmb
require_rnics rnic0 rnic1
require_module nvmet_rdma
require_module nvme_rdma

NVMET=/sys/kernel/config/nvmet
NQN=nqn.2014-08.org.example:p2pdma-rnic
HOST_IP=10.77.0.1
TARGET_IP=10.77.0.2

# --- an NVMe target on adapter rnic1, connected to by way of rnic0 ---------

_remove_target()
{
	rm -f "$NVMET/ports/1/subsystems/$NQN"
	rmdir "$NVMET/ports/1"
	echo 0 >"$NVMET/subsystems/$NQN/namespaces/1/enable"
	rmdir "$NVMET/subsystems/$NQN/namespaces/1" "$NVMET/subsystems/$NQN"
}

# export_disk DISK: until the case ends
export_disk()
{
	local subsys=$NVMET/subsystems/$NQN port=$NVMET/ports/1

	defer _remove_target
	mkdir "$subsys"
	echo 1 >"$subsys/attr_allow_any_host"
	mkdir "$subsys/namespaces/1"
	echo "$1" >"$subsys/namespaces/1/device_path"
	echo 1 >"$subsys/namespaces/1/enable"
	mkdir "$port"
	echo rdma >"$port/addr_trtype"
	echo ipv4 >"$port/addr_adrfam"
	echo "$TARGET_IP" >"$port/addr_traddr"
	echo 4420 >"$port/addr_trsvcid"
	ln -s "$subsys" "$port/subsystems/$NQN"
}

_disconnect()
{
	nvme disconnect -n "$NQN" >/dev/null
}

# With "-l 0" the host does not reconnect: it removes a controller whose
# connection breaks.  An emulator may stall for longer than a host usually waits
# for a keep-alive command, which is 5 s.
connect()
{
	nvme connect -t rdma -a "$TARGET_IP" -s 4420 -w "$HOST_IP" -n "$NQN" \
		-i 2 -l 0 -k 120 >/dev/null
}

# The namespace as the host sees it, or nothing
remote_disk()
{
	local dir path

	for dir in /sys/class/nvme-subsystem/*; do
		[ -d "$dir" ] || continue
		[ "$(trim "$dir/subsysnqn")" = "$NQN" ] || continue
		for path in "$dir"/nvme*n*; do
			[[ ${path##*/} =~ ^nvme[0-9]+n[0-9]+$ ]] || continue
			[ ! -b "/dev/${path##*/}" ] || echo "/dev/${path##*/}"
			return
		done
	done
}

have_remote_disk()
{
	[ -n "$(remote_disk)" ]
}

# What the kernel has against the newest controller: a lost command is reported
# when it times out, after 60 s.
host_trouble()
{
	log_since | awk '
		/new ctrl: NQN/ { trouble = "" }
		/nvme nvme[0-9]+: (I\/O tag .* timeout|starting error recovery|.* failed)/ {
			trouble = $0
		}
		END { print trouble }'
}

remote_disk_or_trouble()
{
	have_remote_disk || [ -n "$(host_trouble)" ]
}

# Errors are told from slowness by the kernel's messages.  The limit is three
# times the timeout of a command.
await_remote_disk()
{
	wait_for 180 remote_disk_or_trouble || fail "no namespace, and no message why"
	have_remote_disk || fail "no namespace: $(host_trouble)"
}

both_adapters()
{
	use_rnic rnic0 "$HOST_IP"
	use_rnic rnic1 "$TARGET_IP"
}

data_by_nvmet()
{
	local disk want

	both_adapters
	rnic_mode rnic0 "$1"
	rnic_mode rnic1 "$1"
	export_disk "$dst"
	defer _disconnect
	connect
	await_remote_disk
	disk=$(remote_disk)
	defer rm -f /tmp/data
	head -c 4M /dev/urandom >/tmp/data
	want=$(sum </tmp/data)
	wipe "$dst" 0 $((8 * MIB))
	fill "$disk" $((MIB)) $((4 * MIB)) /tmp/data
	check_equal "what the drive has" "$(sum_of "$dst" $((MIB)) $((4 * MIB)))" "$want"
	check_equal "what the host reads" "$(sum_of "$disk" $((MIB)) $((4 * MIB)))" "$want"
	check_equal "the target's reads from RAM" "$(rnic_counter rnic1 read_local_ram_bytes)" \
		"$(rnic_counter rnic1 read_bytes)"
	(($(rnic_counter rnic1 read_bytes) >= 4 * MIB)) || fail "the target read too little"
	(($(rnic_counter rnic1 write_bytes) >= 4 * MIB)) || fail "the target wrote too little"
}

connected()
{
	connect 2>/dev/null
}

# Write over the adapters, and compare with what the drive has.
check_remote_disk()
{
	local disk

	await_remote_disk
	disk=$(remote_disk)
	fill "$disk" 0 "$MIB" /dev/urandom
	check_equal "what the host reads" "$(sum_of "$disk" 0 "$MIB")" \
		"$(sum_of "$dst" 0 "$MIB")"
}

connect_cycles()
{
	local i

	both_adapters
	export_disk "$dst"
	defer _disconnect
	for ((i = 0; i < $1; i++)); do
		connect
		await_remote_disk
		_disconnect
		! have_remote_disk || fail "$i: the namespace is still there"
	done
	connect
	check_remote_disk
}

# Bytes from and to the namespace until it is gone.  fio may need seconds to
# start.  If the disk were gone by then, fio would create a file of its name, and
# the node of the next such disk could not be made.
start_load()
{
	local read written

	read=$(rnic_counter rnic1 read_bytes)
	written=$(rnic_counter rnic1 write_bytes)
	fio --name=load --filename="$1" --direct=1 --rw=randrw --bsrange=512-256k \
		--blockalign=512 --ioengine=libaio --iodepth=8 --time_based \
		--runtime=3600 --size=32m --allow_file_create=0 >/dev/null 2>&1 &
	load=$!
	# No wait: it may hang until its disk is gone, which is deferred too.
	defer eval "kill $load 2>/dev/null"
	wait_for 120 load_moves "$read" "$written" || fail "no load"
}

# load_moves READ WRITTEN: more than these bytes, both ways
load_moves()
{
	! load_has_ended || fail "the load ended at once"
	(($(rnic_counter rnic1 read_bytes) > $1 + MIB &&
		$(rnic_counter rnic1 write_bytes) > $2 + MIB))
}

load_has_ended()
{
	! kill -0 "$load" 2>/dev/null
}

# lost_under_load NAME HOW...: the adapter goes while it has work
#
# For the host's adapter this takes 2 s, or 95 s.  6.12's nvme-rdma deletes the
# controller as the device goes.  If that comes before its error recovery,
# nvme_rdma_wr_error() ignores the flushed requests, since the controller is being
# deleted.  Its I/O then ends by timeout, after 30 s, and so does the Property Set
# that shuts it down, after 60 s.  The log has both timeouts.
lost_under_load()
{
	local name=$1 bdf load
	shift

	both_adapters
	bdf=${rnic_bdf[$name]}
	export_disk "$dst"
	defer _disconnect
	connect
	check_remote_disk
	start_load "$(remote_disk)"
	"$@" "$bdf"
	wait_for 120 load_has_ended || fail "the load hangs"
	! wait "$load" || fail "the load ended without an error, and without a disk"
	check_log "the host removed its controller" "Removing ctrl: NQN \"$NQN\""
	_disconnect || :
	use_rnic_again "$name"
	if [ "$name" = rnic1 ]; then
		# The target's port listens again only when it is enabled anew.
		rm "$NVMET/ports/1/subsystems/$NQN"
		ln -s "$NVMET/subsystems/$NQN" "$NVMET/ports/1/subsystems/$NQN"
	fi
	wait_for 120 connected || fail "no connection by the adapter that came back"
	check_remote_disk
}

# An adapter that was lost; its drive may be another controller now.
use_rnic_again()
{
	local name=$1 ip=$HOST_IP bdf=${rnic_bdf[$1]}

	[ "$name" = rnic0 ] || ip=$TARGET_IP
	wait_for 60 test -e "$PCI/$bdf" || fail "function $bdf did not come back"
	echo p2pdma_rnic >"$PCI/$bdf/driver_override"
	[ ! -e "$PCI/$bdf/driver" ] || unbind "$bdf"
	bind "$bdf" p2pdma_rnic
	wait_for 60 _is_adapter "$bdf" || fail "no RDMA device of $name"
	ip addr add "$ip/24" dev "$(rnic_netdev "$name")"
	ip link set "$(rnic_netdev "$name")" up
}

check_no_adapter()
{
	[ ! -d "$PCI/$1/infiniband" ] || fail "the adapter $1 is still there"
	[ ! -d "$PCI/$1/net" ] || fail "the network device of $1 is still there"
}

by_unbinding()
{
	unbind "$1"
	check_no_adapter "$1"
}

# --- the adapter by itself: modules/p2pdma_rnic_test.c ---------------------

# rnic_test TEST CLIENT_IP SERVER_IP [ARGUMENT]: prints what it has to say
rnic_test()
{
	local file=/sys/kernel/debug/p2pdma_rnic_test/run

	load_test_module p2pdma_rnic_test
	if ! echo "$*" >"$file"; then
		fail "$*: $(<"$file")"
	fi
	cat "$file"
}

# verbs MODE TEST [ARGUMENT]: between two adapters, both ways, and within one
verbs()
{
	both_adapters
	rnic_mode rnic0 "$1"
	rnic_mode rnic1 "$1"
	rnic_test "$2" "$HOST_IP" "$TARGET_IP" "${@:3}"
	rnic_test "$2" "$TARGET_IP" "$HOST_IP" "${@:3}"
	rnic_test "$2" "$HOST_IP" "$HOST_IP" "${@:3}"
}

# The requester, rnic1, reads into the CMB, writes from it and receives there.
peer_memory()
{
	local read write start size bytes bus available dma='' traced=1

	both_adapters
	rnic_mode rnic0 "$1"
	rnic_mode rnic1 "$1"
	available=$(p2pmem_available "$cmb_bdf")
	vmhost dma-reset 2>/dev/null || traced=0
	read=$(rnic_counter rnic1 read_local_bar_bytes)
	write=$(rnic_counter rnic1 write_local_bar_bytes)
	read -r bytes bus < <(rnic_test peer "$HOST_IP" "$TARGET_IP" "$cmb_bdf")
	bytes=${bytes#bytes=}
	read -r start size < <(bar_of "$cmb_bdf" 2)
	((!traced)) || dma=$(vmhost dma "$start" "$size")
	((${bus#bus=} >= start && ${bus#bus=} < start + size)) ||
		fail "$bus is not in the BAR at $start"
	check_equal "bytes read into the CMB" \
		$(($(rnic_counter rnic1 read_local_bar_bytes) - read)) "$bytes"
	check_equal "bytes written from the CMB" \
		$(($(rnic_counter rnic1 write_local_bar_bytes) - write)) "$bytes"
	check_equal "bytes read from RAM" \
		"$(rnic_counter rnic1 read_remote_ram_bytes)" "$bytes"
	check_equal "bytes sent into the CMB" \
		"$(rnic_counter rnic0 send_remote_bar_bytes)" "$bytes"
	check_equal "memory available" "$(p2pmem_available "$cmb_bdf")" "$available"
	if ((!traced)); then
		note "no trace of device addresses in this machine"
	elif [ "$1" = engine ]; then
		# An adapter's own write takes from the CMB, its read gives.
		check_equal "bytes that rnic1 took from the CMB, as it saw them" \
			"$(dma_bytes rnic1 write)" "$bytes"
		check_equal "bytes that rnic1 gave to the CMB, as it saw them" \
			"$(dma_bytes rnic1 read)" $((2 * bytes))
		check_equal "bytes that rnic0 took from the CMB" \
			"$(dma_bytes rnic0 write)" 0
	else
		check_equal "bytes that rnic1 took from the CMB, in mode cpu" \
			"$(dma_bytes rnic1 write)" 0
	fi
}

# How much in the traced range was addressed by a command of an adapter's engine
dma_bytes()
{
	local n

	n=$(sed -n "s/^drive=$1 direction=$2 .* inside_bytes=\([0-9]*\).*/\1/p" <<<"$dma")
	echo "${n:-0}"
}

# The engine cannot be used any more, which its messages say.  Another adapter can
# be made of the function when it works again.
check_engine_died()
{
	check_equal "which failed, and how" \
		"$(rnic_test failing "$HOST_IP" "$TARGET_IP" read)" "failed=1 status=21"
	check_log "the copy engine" "p2pdma_rnic ${rnic_bdf[rnic1]}: the copy engine $1"
	check_equal "which failed, and how" \
		"$(rnic_test failing "$HOST_IP" "$TARGET_IP" write)" "failed=1 status=21"
	release "${rnic_bdf[rnic1]}"
}

check_engine_revived()
{
	use_rnic_again rnic1
	rnic_test invalidate "$HOST_IP" "$TARGET_IP"
}

# engine_dies BIT: without memory decoding its registers cannot be read, without
# bus mastering it gets into a fatal state.
engine_dies()
{
	both_adapters
	setpci -s "${rnic_bdf[rnic1]}" "COMMAND=0:$1"
	check_engine_died "is gone"
	setpci -s "${rnic_bdf[rnic1]}" "COMMAND=$1:$1"
	check_engine_revived
}

# throttle_engine BYTES: per second; 0 for no limit
throttle_engine()
{
	local limits='"bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0'

	vmhost qmp "{\"execute\": \"block_set_io_throttle\", \"arguments\":" \
		"{\"id\": \"rnic1-ns\", \"bps\": $1, $limits}}" >/dev/null 2>&1
}

# Its commands take minutes, so they run out of time.
engine_sleeps()
{
	local parameter=/sys/module/p2pdma_rnic/parameters/command_timeout seconds

	throttle_engine 0 || skip "no host that could slow a drive down"
	both_adapters
	seconds=$(<"$parameter")
	defer throttle_engine 0
	defer eval "echo $seconds >$parameter"
	throttle_engine 1
	echo 2 >"$parameter"
	check_engine_died "does not answer"
	throttle_engine 0
	echo "$seconds" >"$parameter"
	check_engine_revived
}

unloading()
{
	local bdf

	both_adapters
	rnic_test cycles "$HOST_IP" "$TARGET_IP" 1
	unload p2pdma_rnic_test p2pdma_rnic
	[ ! -d "$RNIC_DEBUGFS" ] || fail "something of the module is left"
	for bdf in "${rnic_bdf[@]}"; do
		[ ! -e "$PCI/$bdf/driver" ] || fail "$bdf has still a driver"
	done
}

# nth_fails OP: the third one fails, with the status that was asked for
nth_fails()
{
	both_adapters
	rnic_fail rnic1 "$1" 3 11
	check_equal "which failed, and how" \
		"$(rnic_test failing "$HOST_IP" "$TARGET_IP" "$1")" "failed=3 status=11"
	check_equal "errors" "$(rnic_counter rnic1 "${1}_errors")" 1
	rnic_fail rnic1 "$1" 1
	check_equal "which failed, and how" \
		"$(rnic_test failing "$HOST_IP" "$TARGET_IP" "$1")" "failed=1 status=21"
}

add "data of 1 byte to 1 MiB by SEND, READ and WRITE, moved by DMA engines" verbs engine data
add "the same moved by the CPU" verbs cpu data
add "wrong keys, ranges, rights, domains: named errors, nothing moved, all flushed" \
	verbs cpu errors
add "messages that do not fit where they are received" verbs engine receive
add "registration and invalidation, by oneself and by the peer" verbs engine invalidate
add "order of execution and completion (engine)" verbs engine order
add "order of execution and completion (CPU)" verbs cpu order
add "a drained queue pair has nothing under way (engine)" verbs engine drain
add "a drained queue pair has nothing under way (CPU)" verbs cpu drain
add "a message waits for a receive, and ends with its connection" verbs cpu starving
for op in read write send reg; do
	add "the Nth $op fails when told to" nth_fails $op
done
add "R7.1 R3.3: rdma_rw maps and unmaps what is to be signed, also when it fails" \
	verbs engine signature "$cmb_bdf"
add "R3.1 R3.3: peer memory at the local end, moved by DMA engines" peer_memory engine
add "R3.1 R3.3: peer memory at the local end, moved by the CPU" peer_memory cpu
add "connections: rejected, with private data" verbs cpu reject
add "connections: refused where nobody listens" verbs cpu refused
add "connections: the listener goes before it answers" verbs cpu abandoned
add "connections: 100 of them, ended from either side" verbs cpu cycles 34
add "the controller's registers cannot be read: errors, no hang" engine_dies 2
add "the controller is in a fatal state: errors, no hang" engine_dies 4
add "the controller does not answer: errors, no hang" engine_sleeps
add "nvme connect over the adapters, data by DMA engines" data_by_nvmet engine
add "nvme connect over the adapters, data by the CPU" data_by_nvmet cpu
add "nvme connect and disconnect, 8 times" connect_cycles 8
add "the target's adapter is unbound under load" lost_under_load rnic1 by_unbinding
add "the host's adapter is unbound under load" lost_under_load rnic0 by_unbinding
add "the module is unloaded when idle" unloading
run_cases
