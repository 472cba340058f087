#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Everything about peer memory changes while a host does I/O by it: providers
# go, come and lose what they hold, namespaces and controllers come and go, it is
# allowed and forbidden. The host must not notice.
#
# Guards R9.4 and R9.6: an error that reaches the host, or wrong data that does:
# a drive reports success for data that a dying BAR swallowed. N1: a provider
# that cannot be unbound since an idle target holds its memory. Each block that
# is written is read back and verified (N25), and in the end the pools are whole.
#
# topology: rnic
# kernels: normal debug
# debug-cases: unbound|pulled|contents_lost|adapter_errors|host_resets|all_at_once|nothing_is
# timeout: 1200
# tags: nvmet

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=nvmet-lib.sh
. "$here/nvmet-lib.sh"
# shellcheck source=rnic-lib.sh
. "$here/rnic-lib.sh"

require_root
require_p2pdma
require_drives src dst cmb
require_rnics rnic0
require_nvmet rdma
load_test_module p2pdma_test
mem_bdf=$(bdf_of mem)

ip=192.168.77.1

# only_mem: the memory-only function is the provider
only_mem()
{
	[ -n "$mem_bdf" ] || skip "no memory-only function"
	without_cmb
	use_provider_sample publish=1
}

# under_load: namespace 1 of subsystem one is dst; sets $disk
under_load()
{
	use_rnic rnic0 "$ip"
	make_subsys one
	make_namespace one 1 "$dst"
	make_port 1 "$ip" allow_p2pmem=1
	export_on 1 one
	connect one "$ip" --ctrl-loss-tmo=600
	disk=$(host_disk one 1)
	start_load "$disk"
}

# survives: the load did, and the drive has what the host reads
survives()
{
	finish_load
	load_arrived "$dst"
	((0 < $(nvmet_counter one 1 p2p_bytes))) || fail "nothing through peer memory"
}

# grows SUBSYS NSID KEY: from now on
grows()
{
	local before

	before=$(nvmet_counter "$1" "$2" "$3")
	wait_for 120 more_than "$1" "$2" "$3" "$before" && return
	check_load "$3 does not grow"
	fail "$3 does not grow"
}

unbound_and_bound()
{
	local i

	only_mem
	under_load
	for ((i = 0; i < $(rounds 4); i++)); do
		grows one 1 p2p_bytes
		nap "0.$((i * 3 % 10))"
		timeout $((120 * slowness)) bash -c "echo $mem_bdf >$PCI/$mem_bdf/driver/unbind" ||
			fail "$i: unbinding hangs"
		grows one 1 host_bytes
		bind "$mem_bdf" p2pdma_provider
		check_load "$i"
	done
	grows one 1 p2p_bytes
	survives
	check_equal provider "$(nvmet_counter one 1 provider)" "$mem_bdf"
}

# reset_in_use COMMAND...: reset the provider while commands have data in it.  The
# drive completes none, so they stay there until the contents are overwritten.  No
# command comes in between: its data would be overwritten too.
reset_in_use()
{
	throttle 1
	wait_for 120 in_flight dst || fail "$i: the drive has no commands"
	port_attribute 1 allow_p2pmem 0
	"$@"
	wait_for 120 cmb_is_back || fail "$i: the provider did not come back"
	scribble_cmb "$i" "$reserved" || fail "$i: the CMB cannot be overwritten"
	port_attribute 1 allow_p2pmem 1
	throttle 0
}

reset_controller()
{
	echo 1 >"/sys/class/nvme/$(ctrl_of cmb)/reset_controller"
}

reset_pci_function()
{
	echo 1 >"$PCI/$cmb_bdf/reset"
}

# provider_resets COMMAND...: until enough of them made commands be repeated.  The
# drive with the CMB is a provider, and nothing else here.
provider_resets()
{
	local i path before hits=0 reserved=$(($(p2pmem_size "$cmb_bdf") -
		$(p2pmem_available "$cmb_bdf")))

	[ -e "$PCI/$cmb_bdf/reset" ] || skip "the function cannot be reset"
	throttle 0 || skip "no host that could slow a drive down"
	defer throttle 0
	under_load
	patient "$dst"
	for path in /sys/block/nvme*c*n*; do
		[ ! -d "$path" ] || patient "${path##*/}"
	done
	for ((i = 1; i <= 30 && hits < $(rounds 4); i++)); do
		grows one 1 p2p_bytes
		before=$(nvmet_counter one 1 fallback_repeated)
		reset_in_use "$@"
		grows one 1 p2p_bytes
		check_load "$i"
		(($(nvmet_counter one 1 fallback_repeated) == before)) ||
			hits=$((hits + 1))
	done
	note "$hits of $((i - 1)) resets hit commands," \
		"$(nvmet_counter one 1 fallback_repeated) were repeated"
	((hits >= $(rounds 4))) || fail "only $hits resets hit a command"
	survives
}

removed_and_found()
{
	local i

	defer restore_cmb
	under_load
	for ((i = 0; i < $(rounds 3); i++)); do
		grows one 1 p2p_bytes
		timeout $((120 * slowness)) bash -c "echo 1 >$PCI/$cmb_bdf/remove" ||
			fail "$i: removal hangs"
		grows one 1 host_bytes
		restore_cmb
		check_load "$i"
	done
	grows one 1 p2p_bytes
	survives
}

pulled()
{
	vmhost ping >/dev/null 2>&1 || skip "no host that could pull a drive"
	defer restore_cmb
	under_load
	grows one 1 p2p_bytes
	vmhost unplug cmb >/dev/null || fail "the host could not unplug it"
	wait_for 120 is_removed "$cmb_bdf" || fail "the device is still there"
	grows one 1 host_bytes
	vmhost plug cmb >/dev/null || fail "the host could not plug it in again"
	wait_for 120 cmb_is_back || fail "the drive did not come back"
	grows one 1 p2p_bytes
	survives
}

# What commands in flight have there is lost, and only the generation tells. The
# drive is slowed down, so that there are some at each time; those that only the
# host can repeat, as their data was on its way to it, are not what is meant.
contents_lost()
{
	local i

	throttle 0 || skip "no host that could slow a drive down"
	defer throttle 0
	only_mem
	defer p2p resume "$mem_bdf"
	under_load
	throttle $((8 * MIB))
	for ((i = 0; i < 60; i++)); do
		((i < $(rounds 15) || $(nvmet_counter one 1 fallback_repeated) == 0)) ||
			break
		grows one 1 p2p_bytes
		nap 0.1
		p2p quiesce "$mem_bdf"
		p2p lost "$mem_bdf"
		"$here/p2pmem_mmap" scribble "$PCI/$mem_bdf/resource2" $((i % 256))
		p2p resume "$mem_bdf"
		check_load "$i"
	done
	throttle 0
	note "$(nvmet_counter one 1 fallback_repeated) commands were repeated"
	((0 < $(nvmet_counter one 1 fallback_repeated))) || fail "no command was repeated"
	survives
}

# The namespace's own drive, which has no memory. (QEMU completes what a drive has
# before it resets it, so nothing fails here as it would on a real one.)
reset_drive()
{
	local i

	only_mem
	under_load
	slow_drive $((8 * MIB))
	for ((i = 0; i < $(rounds 4); i++)); do
		grows one 1 p2p_bytes
		wait_for 120 in_flight dst || fail "$i: the drive has no commands"
		echo 1 >"/sys/class/nvme/$(ctrl_of dst)/reset_controller"
		wait_for 120 ctrl_in_state dst live || fail "$i: the drive did not come back"
		check_load "$i"
	done
	! throttle 0 || :
	grows one 1 p2p_bytes
	check_no_log "nobody gave up" "keep failing"
	survives
}

# R9.4 N16: the adapter cannot address the memory, whatever the fabric says. Each
# command takes the other way, and after a while none tries any more.
refused_to_map()
{
	under_load
	grows one 1 p2p_bytes
	defer rnic_dma_bits rnic0 64
	rnic_dma_bits rnic0 31
	grows one 1 fallback_repeated
	wait_for 120 no_provider || fail "it is tried for ever"
	check_log "it is said" "nvmet: ctrl [0-9]+ ns 1: .*system memory: .*keep failing"
	check_load "through system memory"
	rnic_dma_bits rnic0 64
	# Whoever changes something wants it tried.
	ns_attribute one 1 p2pmem 1
	grows one 1 p2p_bytes
	survives
}

no_provider()
{
	[ "$(nvmet_counter one 1 provider)" = none ]
}

# Another namespace of the same controller, with I/O of its own, which may fail.
namespaces()
{
	local i stop pid

	under_load
	make_namespace one 2 "$cmb"
	host_sees_all one
	stop=$(mktemp -u)
	defer rm -f "$stop"
	defer touch "$stop"
	reads_until "$stop" one 2 &
	pid=$!
	for ((i = 0; i < $(rounds 20); i++)); do
		ns_attribute one 2 enable 0
		nap "0.0$((i * 7 % 10))"
		ns_attribute one 2 enable 1
		nap "0.0$((i * 3 % 10))"
	done
	touch "$stop"
	wait "$pid"
	check_load "in the end"
	host_sees_all one
	wait_for 10 host_has_disk one 2 || fail "namespace 2 cannot be read"
	host_writes "$(host_disk one 2)" "$cmb" 4096 $((64 * KIB))
	check_equal "provider of namespace 2" "$(nvmet_counter one 2 provider)" "$cmb_bdf"
	finish_load_of_one
}

# The disk that comes and goes has errors; the other one may have none.
finish_load_of_one()
{
	stop_load
	check_no_log "no I/O error" "(I/O error|I/O Cmd|I/O Error).*${disk#/dev/}[^0-9]"
	check_no_log "no I/O error" "[^a-z]${disk#/dev/}: I/O"
	load_arrived "$dst"
}

reads_until()
{
	local disk

	while [ ! -e "$1" ]; do
		disk=$(host_disk "$2" "$3")
		[ -b "$disk" ] || continue
		dd if="$disk" of=/dev/null bs=64k count=64 iflag=direct status=none \
			2>/dev/null || :
	done
}

# Hosts come and go; each sees its data.
connections()
{
	local i

	under_load
	make_subsys two
	make_namespace two 1 "$cmb"
	export_on 1 two
	for ((i = 0; i < $(rounds 10); i++)); do
		try_connect two "$ip" || fail "$i: cannot connect"
		defer disconnect two
		host_sees_all two
		host_writes "$(host_disk two 1)" "$cmb" $((4096 + i * 512)) $((16 * KIB))
		disconnect two
		check_load "$i"
	done
	survives
}

# As fast as they can be written.
toggles()
{
	local i word words=(1 0 auto "$cmb_bdf" 1 auto 0)

	under_load
	for ((i = 0; i < $(rounds 200); i++)); do
		port_attribute 1 allow_p2pmem $((i % 2))
		((i % 3)) || {
			word=${words[i / 3 % ${#words[@]}]}
			ns_attribute one 1 p2pmem "$word"
		}
	done
	check_load "after all this"
	ns_attribute one 1 p2pmem auto
	port_attribute 1 allow_p2pmem 1
	grows one 1 p2p_bytes
	survives
}

# The host resets its controller: queues die with commands in them.
host_resets()
{
	local i

	under_load
	for ((i = 0; i < $(rounds 4); i++)); do
		grows one 1 p2p_bytes
		echo 1 >"$(host_ctrls one)/reset_controller" || fail "$i: cannot reset"
		wait_for "$NVMET_WAIT" host_ctrls_in_state one live ||
			fail "$i: not live after a reset"
		check_load "$i"
	done
	grows one 1 p2p_bytes
	survives
}

# An operation of the adapter fails, which takes the connection with it.
adapter_errors()
{
	local op before reconnects

	under_load
	for op in read write send; do
		grows one 1 p2p_bytes
		reconnects=$(reconnects)
		before=$(rnic_counter rnic0 "${op}_errors")
		rnic_fail rnic0 "$op" 20
		wait_for "$NVMET_WAIT" rnic_failed "$op" "$before" ||
			fail "$op: no operation failed"
		wait_for "$NVMET_WAIT" reconnected "$reconnects" ||
			fail "$op: the host did not connect again"
		check_load "$op"
	done
	grows one 1 p2p_bytes
	survives
}

reconnects()
{
	log_since | grep -c "Successfully reconnected" || :
}

# reconnected BEFORE: once more, and it is live
reconnected()
{
	(($(reconnects) > $1)) && host_ctrls_in_state one live
}

# rnic_failed OP BEFORE: another one has
rnic_failed()
{
	(($(rnic_counter rnic0 "${1}_errors") > $2))
}

# storm FILE COMMAND: again and again until the file is there
storm()
{
	local number=0

	while [ ! -e "$1" ]; do
		"$2" || echo "$2 failed" >>"$1.log"
		number=$((number + 1))
		echo "$number" >"$1.$2"
	done
}

# stormed FILE NUMBER COMMAND...: each of them so often
stormed()
{
	local stop=$1 number=$2 command rounds
	shift 2

	for command; do
		rounds=$(cat "$stop.$command" 2>/dev/null || :)
		((${rounds:-0} >= number)) || return 1
	done
}

# As stormed, or the I/O has ended
storm_or_end()
{
	has_ended "$fio_pid" || stormed "$@"
}

one_unbind()
{
	timeout $((120 * slowness)) bash -c "echo $mem_bdf >$PCI/$mem_bdf/driver/unbind" &&
		nap 0.1 &&
		bind "$mem_bdf" p2pdma_provider && nap 0.3
}

one_toggle()
{
	echo 0 >"$NVMET/ports/1/allow_p2pmem" && nap 0.1 &&
		echo 1 >"$NVMET/ports/1/allow_p2pmem" && nap 0.2
}

one_namespace()
{
	echo 0 >"$NVMET/subsystems/one/namespaces/2/enable" && nap 0.1 &&
		echo 1 >"$NVMET/subsystems/one/namespaces/2/enable" && nap 0.1
}

one_connection()
{
	try_connect two "$ip" && nap 0.2 && disconnect two
}

all_at_once()
{
	local stop pids=() what storms=(one_unbind one_toggle one_namespace one_connection)

	only_mem
	under_load
	make_namespace one 2 "$src"
	make_subsys two
	make_namespace two 1 "$dst"
	export_on 1 two
	defer disconnect two
	stop=$(mktemp -u)
	defer eval "rm -f $stop $stop.*"
	defer touch "$stop"
	for what in "${storms[@]}"; do
		storm "$stop" "$what" &
		pids+=("$!")
	done
	wait_for 600 storm_or_end "$stop" "$(rounds 10)" "${storms[@]}" ||
		fail "hardly anything happens: $(grep -H . "$stop".*)"
	check_load "in the storm"
	touch "$stop"
	wait "${pids[@]}"
	[ ! -e "$stop.log" ] || fail "$(sort "$stop.log" | uniq -c)"
	grows one 1 p2p_bytes
	finish_load_of_one
}

add_nvmet "R9.6 N1 N25: the provider is unbound and bound again" unbound_and_bound
add_nvmet "R9.4 R9.6 N25: the provider's controller is reset" \
	provider_resets reset_controller
add_nvmet "R9.4 R9.6 N25: the provider's function is reset" \
	provider_resets reset_pci_function
add_nvmet "R9.6 N1 N25: the provider is removed, and found again" removed_and_found
add_nvmet "R9.6 N25: the provider is pulled, and plugged in again" pulled
add_nvmet "R9.4 N25: the provider's contents are lost while commands have data there" contents_lost
add_nvmet "R9.6 N22 N25: the namespace's own drive is reset" reset_drive
add_nvmet "R9.4 N16 N22 N25: the adapter cannot address the memory" refused_to_map
add_nvmet "R9.6: another namespace is enabled and disabled" namespaces
add_nvmet "R9.6: other hosts come and go" connections
add_nvmet "R9.1 R9.6: what is allowed changes all the time" toggles
add_nvmet "R9.3 R9.6: the host resets its controller" host_resets
add_nvmet "R9.3 R7.1: operations of the adapter fail" adapter_errors
add_nvmet "R9.6 N25: all at once" all_at_once
add "R9.6 N1: nothing is left" nothing_is_left
run_cases
