#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# More commands at once than the provider has memory for: those that find none
# go through system memory, each for itself.
#
# Guards R9.3: a command that waits for peer memory, or fails for want of it, or
# one whose failure leaves the namespace without; memory that does not return
# from commands that got a part of what they needed. Pieces: a pool whose free
# pages are single ones gives buffers of many entries, and each must be mapped
# (N10). Data is verified (N25), and all of it is counted one way or the other.
#
# topology: rnic
# kernels: normal
# timeout: 400
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
[ -n "$mem_bdf" ] || skip_all "no memory-only function"

ip=192.168.77.1

# export_small SIZE: dst behind a provider with so many bytes; sets $disk
export_small()
{
	without_cmb
	use_provider_sample size="$1"
	check_equal "size of the pool" "$(p2pmem_size "$mem_bdf")" "$1"
	use_rnic rnic0 "$ip"
	make_subsys one
	make_namespace one 1 "$dst"
	make_port 1 "$ip" allow_p2pmem=1
	export_on 1 one
	connect one "$ip" --queue-size=128
	disk=$(host_disk one 1)
	count one 1
}

# check_some BYTES: some of these went either way, and none is lost
check_some()
{
	local p2p host

	p2p=$(counted p2p one 1)
	host=$(counted host one 1)
	note "through peer memory $p2p bytes, through system memory $host," \
		"$(nvmet_counter one 1 fallback_exhausted) commands found nothing free"
	((p2p > 0)) || fail "no command used peer memory"
	((host > 0)) || fail "all found memory: there was enough"
	check_equal "bytes both ways" $((p2p + host)) "$1"
	check_equal "commands that fell back" "$(nvmet_counter one 1 fallback)" \
		"$(nvmet_counter one 1 host_cmds)"
	check_equal "all for want of memory" "$(nvmet_counter one 1 fallback_exhausted)" \
		"$(nvmet_counter one 1 fallback)"
}

# After that there is enough for the next one.
check_recovered()
{
	wait_for 10 pools_are_whole || fail "memory is missing: $(missing_memory)"
	count one 1
	host_writes "$disk" "$dst" 4096 $((128 * KIB))
	host_reads "$disk" "$dst" 8192 $((128 * KIB))
	check_all_peer one 1 $((256 * KIB)) "$mem_bdf"
}

deep_queues()
{
	export_small $((2 * MIB))
	slow_drive $((32 * MIB))
	host_fio "$disk" --rw=randwrite --bs=128k --iodepth=64 --size=16M
	throttle 0 || :
	check_some $((32 * MIB))
	same_data "$disk" "$dst" 0 $((16 * MIB))
	check_recovered
}

# Small commands find memory where large ones do not.
sizes_at_once()
{
	export_small $((2 * MIB))
	slow_drive $((32 * MIB))
	host_fio "$disk" --rw=randwrite --bssplit=4k/60:64k/20:1m/20 --iodepth=32 \
		--size=16M
	throttle 0 || :
	((0 < $(counted p2p one 1))) || fail "no command used peer memory"
	((0 < $(counted host one 1))) || fail "all found memory: there was enough"
	same_data "$disk" "$dst" 0 $((16 * MIB))
	check_recovered
}

# Others have all of it; then they give it back.
nothing_free()
{
	local length=$((128 * KIB + 512))

	export_small $((2 * MIB))
	defer p2p free-all
	p2p alloc-all "$mem_bdf" 4K >/dev/null
	check_equal available "$(p2pmem_available "$mem_bdf")" 0
	host_writes "$disk" "$dst" 4096 "$length"
	host_reads "$disk" "$dst" 8192 "$length"
	check_all_system one 1 $((2 * length))
	check_equal "the provider is the same" "$(nvmet_counter one 1 provider)" "$mem_bdf"
	p2p free-all
	check_recovered
}

# A buffer must be whole: one page less than it needs is nothing.
one_page_short()
{
	export_small $((2 * MIB))
	defer p2p free-all
	p2p alloc "$mem_bdf" 4K $((512 - 15)) >/dev/null
	check_equal available "$(p2pmem_available "$mem_bdf")" $((60 * KIB))
	host_writes "$disk" "$dst" 4096 $((64 * KIB))
	check_all_system one 1 $((64 * KIB))
	check_equal "available after a failure" "$(p2pmem_available "$mem_bdf")" $((60 * KIB))
	host_writes "$disk" "$dst" 4096 $((60 * KIB))
	check_equal "bytes through peer memory" "$(counted p2p one 1)" $((60 * KIB))
	p2p free-all
	check_recovered
}

# Every second page is somebody else's.
pieces()
{
	local length=0 size

	export_small $((4 * MIB))
	defer p2p free-all
	p2p fragment "$mem_bdf" 4K >/dev/null
	for size in 4608 $((64 * KIB)) $((128 * KIB + 512)) $((512 * KIB)); do
		host_writes "$disk" "$dst" 4096 "$size"
		host_reads "$disk" "$dst" 8192 "$size"
		length=$((length + 2 * size))
	done
	check_all_peer one 1 "$length" "$mem_bdf"
	host_fio "$disk" --rw=randrw --bsrange=512-128k --iodepth=8 --size=4M
	same_data "$disk" "$dst" 0 $((4 * MIB))
	p2p free-all
	check_recovered
}

# Somebody takes and gives back, all the time.
others_take()
{
	export_small $((2 * MIB))
	start_load "$disk" --iodepth=32
	count one 1
	for ((i = 0; i < 300; i++)); do
		((i < $(rounds 30) || $(counted p2p one 1) == 0 || $(counted host one 1) == 0)) ||
			break
		p2p alloc-all "$mem_bdf" $((4 << i % 5))K >/dev/null || :
		nap 0.05
		p2p free-all
		nap 0.05
		check_load "$i"
	done
	finish_load
	((0 < $(counted p2p one 1))) || fail "no command used peer memory"
	((0 < $(counted host one 1))) || fail "all found memory: there was enough"
	load_arrived "$dst"
	check_recovered
}

add_nvmet "R9.3 R9.5 N25: 64 commands of 128 KiB share 2 MiB" deep_queues
add_nvmet "R9.3 N25: small ones and large ones at once" sizes_at_once
add_nvmet "R9.3 R9.5: nothing is free" nothing_free
add_nvmet "R9.3: one page too few is nothing, and nothing is kept" one_page_short
add_nvmet "R9.3 R7.1 N10 N25: buffers in pieces" pieces
add_nvmet "R9.3 N25: others take memory and give it back meanwhile" others_take
add "R9.6 N1: nothing is left" nothing_is_left
run_cases
