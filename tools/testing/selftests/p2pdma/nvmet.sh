#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The NVMe target puts the payload of reads and writes into peer memory: one
# namespace, one host, one RDMA adapter.
#
# Guards R9.1 to R9.3 and R9.5: that all of the payload takes that way, for each
# size and queue depth, counted by the target, by the adapter and by the
# emulator; that nothing else does; that the attributes mean what they say, at
# once. N22: a message that promises peer memory that is not used. N25: the data
# is compared with what the drive has, read from it directly.
#
# topology: rnic
# kernels: normal
# timeout: 400
# trace: dma
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
require_nvmet rdma
load_test_module p2pdma_test
mem_bdf=$(bdf_of mem)

ip=192.168.77.1
host_ip=192.168.78.1

# export_one LOCAL [PORT_ATTRIBUTE=VALUE...]: as namespace 1 of subsystem one
export_one()
{
	local local=$1
	shift

	use_rnic rnic0 "$ip"
	make_subsys one
	make_namespace one 1 "$local"
	make_port 1 "$ip" "$@"
	export_on 1 one
}

# connect_one [OPTION...]: sets $disk
connect_one()
{
	connect one "$ip" "$@"
	disk=$(host_disk one 1)
}

sizes()
{
	export_one "$dst" allow_p2pmem=1
	connect_one
	moved_by_peer_memory "$@"
}

# moved_by_peer_memory LENGTH...: so much at a time, both ways
moved_by_peer_memory()
{
	local length total=0

	count one 1
	count_adapter rnic0
	for length in "$@"; do
		host_writes "$disk" "$dst" $((length + 3 * 512)) "$length"
		host_reads "$disk" "$dst" $((length + 5 * 512)) "$length"
		total=$((total + length))
	done
	check_all_peer one 1 $((2 * total)) "$cmb_bdf"
	check_adapter rnic0 bar "$total" "$total"
	check_adapter rnic0 ram 0 0
	check_bound 1 "$cmb_bdf"
}

# The target's adapter registers 40 pages at a time. The entries of a buffer in peer
# memory have up to 16: a list is cut by pages, not by entries. The host has an
# adapter of its own, or it would send no more than that in a command.
few_pages()
{
	local pages=/sys/module/p2pdma_rnic/parameters/mr_pages many

	load_test_module p2pdma_rnic
	many=$(<"$pages")
	defer eval "echo $many >$pages"
	echo 40 >"$pages"
	export_one "$dst" allow_p2pmem=1
	echo "$many" >"$pages"
	use_rnic rnic1 "$host_ip"
	connect_one --host-traddr="$host_ip"
	moved_by_peer_memory "$@"
}

# What the drive was given as addresses, says the emulator.
seen_by_the_drive()
{
	local start size dma length=$((8 * MIB))

	vmhost dma-reset 2>/dev/null || skip "no trace of device addresses in this machine"
	export_one "$dst" allow_p2pmem=1
	connect_one
	fill "$dst" 0 "$length" /dev/zero
	read -r start size < <(bar_of "$cmb_bdf" 2)

	vmhost dma-reset
	fill "$disk" 0 "$length" "$src"
	dma=$(vmhost dma "$start" "$size")
	note "$dma"
	check_equal "bytes that dst read from the CMB" \
		"$(dma_bytes dst write inside_bytes)" "$length"
	check_equal "bytes that dst read elsewhere" \
		"$(dma_bytes dst write outside_bytes)" 0
	check_equal "data on dst" "$(sum_of "$dst" 0 "$length")" \
		"$(sum_of "$src" 0 "$length")"

	vmhost dma-reset
	check_equal "data that the host reads" "$(sum_of "$disk" 0 "$length")" \
		"$(sum_of "$src" 0 "$length")"
	dma=$(vmhost dma "$start" "$size")
	check_equal "bytes that dst wrote into the CMB" \
		"$(dma_bytes dst read inside_bytes)" "$length"
	check_equal "bytes that dst wrote elsewhere" \
		"$(dma_bytes dst read outside_bytes)" 0
}

# How much of which drive's data was in the range, as the device saw it.
dma_bytes()
{
	sed -n "s/^drive=$1 direction=$2 .* $3=\([0-9]*\).*/\1/p" <<<"$dma"
}

# fio writes all once, and reads it back.
depths()
{
	local depth

	export_one "$dst" allow_p2pmem=1
	connect_one --queue-size=128
	for depth in "$@"; do
		count one 1
		host_fio "$disk" --rw=randwrite --bs=4k --iodepth="$depth" --size=2M
		check_all_peer one 1 $((4 * MIB)) "$cmb_bdf"
		same_data "$disk" "$dst" 0 $((2 * MIB))
	done
	check_equal "commands that fell back" "$(nvmet_counter one 1 fallback)" 0
}

mixed()
{
	export_one "$dst" allow_p2pmem=1
	connect_one
	count one 1
	host_fio "$disk" --rw=randrw --rwmixread=40 --bsrange=512-256k --iodepth=16 \
		--size=12M
	(($(counted p2p one 1) >= 12 * MIB)) || fail "not all went through peer memory"
	check_equal "bytes through system memory" "$(counted host one 1)" 0
	same_data "$disk" "$dst" 0 $((12 * MIB))
}

# The drive's own memory is nearer than anybody else's.
own_memory()
{
	use_mem
	export_one "$cmb" allow_p2pmem=1
	connect_one
	count one 1
	host_writes "$disk" "$cmb" 4096 $((256 * KIB + 512))
	host_reads "$disk" "$cmb" 8192 $((256 * KIB + 512))
	check_all_peer one 1 $((512 * KIB + 1024)) "$cmb_bdf"
	check_equal "what is taken of the other" "$(p2pmem_available "$mem_bdf")" \
		"$(p2pmem_size "$mem_bdf")"
}

use_mem()
{
	[ -n "$mem_bdf" ] || skip "no memory-only function"
	use_provider_sample publish=1
}

third_party()
{
	use_mem
	without_cmb
	export_one "$dst" allow_p2pmem=1
	connect_one
	count one 1
	host_writes "$disk" "$dst" 4096 $((128 * KIB + 512))
	host_reads "$disk" "$dst" 8192 $((128 * KIB + 512))
	check_all_peer one 1 $((256 * KIB + 1024)) "$mem_bdf"
	check_bound 1 "$mem_bdf"
}

# Data that comes with the command is in the buffer of the command.
in_capsule()
{
	export_one "$dst" allow_p2pmem=1 param_inline_data_size=16384
	connect_one
	count one 1
	count_adapter rnic0
	host_writes "$disk" "$dst" 4096 512
	host_writes "$disk" "$dst" 8192 4096
	host_writes "$disk" "$dst" 16384 $((8 * KIB + 512))
	check_all_peer one 1 0 "$cmb_bdf"
	check_adapter rnic0 bar 0 0
	check_adapter rnic0 ram 0 0
	# Too much for a capsule; and a read never comes in one.
	host_writes "$disk" "$dst" 4096 $((64 * KIB))
	host_reads "$disk" "$dst" 8192 4096
	check_all_peer one 1 $((68 * KIB)) "$cmb_bdf"
	host_fio "$disk" --rw=randrw --bsrange=512-32k --iodepth=32 --size=4M
	check_equal "bytes through system memory" "$(counted host one 1)" 0
	same_data "$disk" "$dst" 0 $((4 * MIB))
}

# Commands whose payload the target itself looks at, or that have none.
other_commands()
{
	local ctrl before

	export_one "$dst" allow_p2pmem=1
	connect_one
	ctrl=/dev/$(basename "$(host_ctrls one)")
	fill "$dst" 0 "$MIB" /dev/urandom
	before=$(sum_of "$dst" $((128 * KIB)) $((512 * KIB)))
	count one 1
	check_match "model" "$(nvme id-ctrl "$ctrl")" "subnqn *: one"
	check_match "blocks" "$(nvme id-ns "$disk")" "nsze *: 0x20000"
	nvme smart-log "$ctrl" >/dev/null || fail "no smart log"
	nvme flush "$disk" -n 1 >/dev/null || fail "flush failed"
	nvme write-zeroes "$disk" -n 1 -s 64 -c 127 >/dev/null || fail "write zeroes failed"
	nvme dsm "$disk" -n 1 -d 1 -s 2048 -b 256 >/dev/null || fail "deallocate failed"
	blkdiscard --force --offset $((2 * MIB)) --length "$MIB" "$disk" || fail "discard failed"
	check_equal "commands with peer memory" "$(counted p2p one 1)" 0
	check_equal "what was zeroed" "$(sum_of "$dst" $((32 * KIB)) $((64 * KIB)))" \
		"$(head -c $((64 * KIB)) /dev/zero | sum)"
	check_equal "what was not" "$(sum_of "$dst" $((128 * KIB)) $((512 * KIB)))" "$before"
	check_all_peer one 1 0 "$cmb_bdf"
	host_reads "$disk" "$dst" 4096 4096
	check_all_peer one 1 4096 "$cmb_bdf"
}

# Not allowed is the default, and then no one speaks of it.
not_allowed()
{
	local said length=$((64 * KIB + 512))

	export_one "$dst"
	check_equal allow_p2pmem "$(port_attribute 1 allow_p2pmem)" 0
	check_equal p2pmem "$(ns_attribute one 1 p2pmem)" auto
	connect_one
	count_adapter rnic0
	host_writes "$disk" "$dst" 4096 "$length"
	host_reads "$disk" "$dst" 8192 "$length"
	check_adapter rnic0 bar 0 0
	check_adapter rnic0 ram "$length" "$length"
	check_no_log "not a word" "nvmet: ctrl [0-9]+ ns [0-9]+: data goes"
	said=$(cat "$NVMET_DEBUG"/one/ctrl*/p2pmem) || fail "no counters in debugfs"
	check_equal "counters" "$said" ""
}

# The namespace's word counts more than the port's.
namespace_decides()
{
	local length=4096 total=0

	export_one "$dst"
	connect_one
	ns_attribute one 1 p2pmem 1
	check_equal p2pmem "$(ns_attribute one 1 p2pmem)" 1
	count one 1
	host_writes "$disk" "$dst" 4096 "$length"
	check_all_peer one 1 "$length" "$cmb_bdf"

	port_attribute 1 allow_p2pmem 1
	ns_attribute one 1 p2pmem 0
	check_equal p2pmem "$(ns_attribute one 1 p2pmem)" 0
	host_writes "$disk" "$dst" 4096 "$length"
	check_equal "with the port's 1 and 0" "$(counted p2p one 1)" "$length"
	check_equal provider "$(nvmet_counter one 1 provider)" none

	ns_attribute one 1 p2pmem auto
	check_equal p2pmem "$(ns_attribute one 1 p2pmem)" auto
	host_writes "$disk" "$dst" 4096 "$length"
	check_all_peer one 1 $((2 * length)) "$cmb_bdf"
}

# Only the one that is named, although another is as near; and when it goes, no
# other one in its place.
named_provider()
{
	local length=$((64 * KIB))

	use_mem
	export_one "$dst" allow_p2pmem=1
	ns_attribute one 1 p2pmem "$mem_bdf"
	check_equal p2pmem "$(ns_attribute one 1 p2pmem)" "$mem_bdf"
	connect_one
	count one 1
	host_writes "$disk" "$dst" 4096 "$length"
	check_all_peer one 1 "$length" "$mem_bdf"
	ns_attribute one 1 p2pmem "$cmb_bdf"
	host_reads "$disk" "$dst" 4096 "$length"
	check_all_peer one 1 $((2 * length)) "$cmb_bdf"
	ns_attribute one 1 p2pmem "$mem_bdf"
	unload p2pdma_provider
	host_writes "$disk" "$dst" 4096 "$length"
	check_equal "bytes through peer memory" "$(counted p2p one 1)" $((2 * length))
	check_equal "bytes through system memory" "$(counted host one 1)" "$length"
	check_said_unbound 1 "$(named_offers_none "$mem_bdf")"
	check_equal p2pmem "$(ns_attribute one 1 p2pmem)" "$mem_bdf"
}

no_provider()
{
	local length=$((64 * KIB))

	without_cmb
	export_one "$dst" allow_p2pmem=1
	connect_one
	count one 1
	count_adapter rnic0
	host_writes "$disk" "$dst" 4096 "$length"
	host_reads "$disk" "$dst" 8192 "$length"
	check_all_system one 1 $((2 * length))
	check_adapter rnic0 bar 0 0
	check_equal provider "$(nvmet_counter one 1 provider)" none
	check_equal "commands that fell back" "$(nvmet_counter one 1 fallback)" \
		"$(nvmet_counter one 1 host_cmds)"
	check_unbound 1 "$nothing_on_offer"
}

bad_input()
{
	local port=$NVMET/ports/1/allow_p2pmem ns word
	local invalid="Invalid argument" none="No such device"

	make_subsys one
	make_namespace one 1 "$dst"
	make_port 1 "$ip"
	for word in 2 -1 maybe "" " "; do
		check_fails "'$word' for a port" "$invalid" write_word "$port" "$word"
		check_equal allow_p2pmem "$(get_attribute "$port")" 0
	done
	for word in 1 0 y n on off; do
		set_attribute "$port" "$word"
		check_match "allow_p2pmem after $word" "$(get_attribute "$port")" \
			"^$([[ $word = [1y] || $word = on ]] && echo 1 || echo 0)$"
	done

	ns=$NVMET/subsystems/one/namespaces/1/p2pmem
	set_attribute "$ns" "$cmb_bdf"
	for word in 2 sometimes autox "$cmb_bdf.0" "${cmb_bdf%.*}" "${cmb_bdf}x" \
		"${cmb_bdf%.*}.8" 0000:05:20.0 0000:105:00.0 "x$cmb_bdf" "" \
		"$(printf '%0300d' 1)"; do
		check_fails "'$word' for a namespace" "$invalid" write_word "$ns" "$word"
		check_equal p2pmem "$(get_attribute "$ns")" "$cmb_bdf"
	done
	check_fails "no function at all" "$none" write_word "$ns" 0000:fe:1f.7
	check_log "no function" "nvmet: .*0000:fe:1f\.7"
	check_fails "a function without memory" "$none" write_word "$ns" "$dst_bdf"
	check_log "no memory" "nvmet: .*$dst_bdf"
	check_equal p2pmem "$(get_attribute "$ns")" "$cmb_bdf"

	# The same while it is disabled.
	ns_attribute one 1 enable 0
	check_fails "garbage for a disabled one" "$invalid" write_word "$ns" sometimes
	for word in 1 0 auto "$cmb_bdf"; do
		set_attribute "$ns" "$word"
		check_equal "p2pmem of a disabled one" "$(get_attribute "$ns")" "$word"
	done
	ns_attribute one 1 enable 1
	check_equal "p2pmem after enabling" "$(get_attribute "$ns")" "$cmb_bdf"
}

# With a line end, as echo would; and that may be all there is.
write_word()
{
	printf '%s\n' "$2" | tee "$1" >/dev/null
}

# Later commands follow at once.
toggled()
{
	local before i

	export_one "$dst" allow_p2pmem=1
	connect_one
	start_load "$disk" --rw=randrw --iodepth=8 --size=8M --verify_backlog=32
	for ((i = 0; i < $(rounds 5); i++)); do
		port_attribute 1 allow_p2pmem 0
		# What was begun before ends.
		wait_for 10 pools_are_whole || fail "$i: memory is in use after a 0"
		before=$(nvmet_counter one 1 p2p_bytes)
		# Nothing is counted where nothing is allowed.
		wait_for 20 writes_more "$disk" $(($(writes_of "$disk") + 50)) ||
			fail "$i: the I/O does not go on"
		check_equal "$i: bytes while it is 0" \
			"$(nvmet_counter one 1 p2p_bytes)" "$before"
		port_attribute 1 allow_p2pmem 1
		wait_for 10 more_than one 1 p2p_bytes "$before" ||
			fail "$i: no byte through peer memory after a 1"
		check_load "$i"
	done
	finish_load
	same_data "$disk" "$dst" 0 $((8 * MIB))
}

add_nvmet "R9.2 R9.3 R7.1 N25: 512 B to 1 MiB, all through the CMB" \
	sizes 512 4096 8192 $((64 * KIB)) $((128 * KIB)) $((512 * KIB)) "$MIB"
add_nvmet "R9.2 R9.3 R7.1 N25: lengths and places that are no multiple of a page" \
	sizes 1536 4608 $((12 * KIB + 512)) $((64 * KIB - 512)) \
	$((132 * KIB + 1536)) $((MIB - 512))
add_nvmet "R9.3 R7.1 N25: an adapter that registers few pages at a time" \
	few_pages 4096 65536 196608 524288 1048576
add_nvmet "R9.3 R7.1 N25: no byte elsewhere, as the drive saw it" seen_by_the_drive
add_nvmet "R9.3 N25: queue depths of 1 to 128" depths 1 2 16 128
add_nvmet "R9.3 N25: reads and writes of all sizes at once" mixed
add_nvmet "R9.2: the drive's own CMB first" own_memory
add_nvmet "R9.2 R10.3 N25: memory of a third party" third_party
add_nvmet "R9.3: in-capsule data stays in system memory" in_capsule
add_nvmet "R9.3 N21: so does all that is no read or write" other_commands
add_nvmet "R9.1: not allowed by default; nothing is different then" not_allowed
add_nvmet "R9.1: the namespace's attribute goes before the port's" namespace_decides
add_nvmet "R9.1 R2.3: a provider that is named, and no other" named_provider
add_nvmet "R9.1 R9.5 N22: no provider: system memory, and the reason" no_provider
add_nvmet "R9.1: bad input is refused and changes nothing" bad_input
add_nvmet "R9.1 R9.6 N25: switched on and off under load" toggled
add "R9.6 N1: nothing is left" nothing_is_left
run_cases
