#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# p2pdma.acs=path and the NVMe target: the ports between adapter, memory and drive
# are open while a namespace uses that way, and shut when it does not, under load.
#
# Guards R4.1 and R9.4: a port that redirects again sends what is under way to the
# root complex, where it may be lost, and the adapter reports success all the
# same. The emulator delivers it nevertheless, so that the data alone would not
# show it: those commands have to be repeated, and are counted (N25). N15: in the
# end every control word is what it was.
#
# Without an IOMMU nothing is isolated, so any port may be opened; the words are
# set by hand as a kernel with an IOMMU would.
#
# topology: rnic-acs
# cmdline: p2pdma.acs=path
# kernels: normal debug
# debug-cases: allowed_and_forbidden|nothing_is_left
# timeout: 300
# leaks: normal
# tags: nvmet acs

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$here/topology-lib.sh"
# shellcheck source=nvmet-lib.sh
. "$here/nvmet-lib.sh"
# shellcheck source=rnic-lib.sh
. "$here/rnic-lib.sh"

require_topology src dst cmb
require_policy path
require_nvmet rdma
rnic_port=$(port_of "$(rnic_bdf_of rnic0)")

ip=192.168.77.1
on=$((SV | RR | CR | UF))

# All ports redirect, until the case ends
all_redirect()
{
	local port

	acs_until_end "$src_port" "$dst_port" "$cmb_port" "$mem_port" "$rnic_port"
	for port in "$src_port" "$dst_port" "$cmb_port" "$mem_port" "$rnic_port"; do
		acs_write "$port" "$on"
	done
}

redirects()
{
	(($((0x$(acs_of "$1"))) & (RR | CR)))
}

# The way of namespace 1
way_is_open()
{
	! redirects "$dst_port" && ! redirects "$cmb_port" && ! redirects "$rnic_port"
}

way_is_shut()
{
	redirects "$dst_port" && redirects "$cmb_port" && redirects "$rnic_port"
}

# dst is namespace 1 of subsystem one, by the memory of cmb
exported()
{
	all_redirect
	use_rnic rnic0 "$ip"
	make_subsys one
	make_namespace one 1 "$dst"
	make_port 1 "$ip" allow_p2pmem=1
	export_on 1 one
	connect one "$ip"
}

# under_load: sets $disk
under_load()
{
	exported
	disk=$(host_disk one 1)
	check_bound 1 "$cmb_bdf"
	way_is_open || fail "there is a provider, and the way to it is shut"
	redirects "$src_port" || fail "a port that nobody uses was opened"
	slow_drive $((16 * MIB))
	start_load "$disk"
}

survives()
{
	finish_load
	load_arrived "$dst"
}

# grows KEY: a counter of namespace 1, from now on
grows()
{
	local before

	before=$(nvmet_counter one 1 "$1")
	wait_for 20 more_than one 1 "$1" "$before" || fail "$1 does not grow"
}

# goes_on ROUND: ten rounds, and more until one of them hit a command under way
goes_on()
{
	(($1 < $(rounds 10))) ||
		(($1 < 60 && $(nvmet_counter one 1 fallback_repeated) == 0))
}

allowed_and_forbidden()
{
	local i

	under_load
	for ((i = 0; ; i++)); do
		goes_on "$i" || break
		grows p2p_bytes
		nap 0.1
		port_attribute 1 allow_p2pmem 0
		wait_for 10 way_is_shut || fail "$i: not allowed any more, and the way is open"
		port_attribute 1 allow_p2pmem 1
		wait_for 10 way_is_open || fail "$i: allowed, and the way is shut"
		check_load "$i"
	done
	note "$(nvmet_counter one 1 fallback_repeated) commands were repeated"
	((0 < $(nvmet_counter one 1 fallback_repeated))) ||
		fail "what was under way by the ports was taken for delivered"
	survives
}

# Somebody writes to a port by hand; the target opens it when it searches again.
redirected_by_hand()
{
	local i

	under_load
	for ((i = 0; ; i++)); do
		goes_on "$i" || break
		grows p2p_bytes
		nap 0.1
		acs_write "$cmb_port" "$on"
		check_load "$i"
	done
	grows p2p_bytes
	note "$(nvmet_counter one 1 fallback_repeated) commands were repeated"
	((0 < $(nvmet_counter one 1 fallback_repeated))) ||
		fail "what was under way by the port was taken for delivered"
	survives
}

# A driver that keeps a function for user space takes the way back.
given_to_user_space()
{
	local i

	modprobe -q pci-stub || skip "no pci-stub"
	under_load
	defer _give_back_src
	for ((i = 0; i < $(rounds 3); i++)); do
		grows p2p_bytes
		unbind "$src_bdf"
		echo pci-stub >"$PCI/$src_bdf/driver_override"
		bind "$src_bdf" pci-stub
		way_is_shut || fail "$i: a function is in user space, and the way is open"
		grows host_bytes
		check_load "$i"
		_give_back_src
		# Nothing tells that it may be opened again but a search.
		port_attribute 1 allow_p2pmem 0
		port_attribute 1 allow_p2pmem 1
		wait_for 10 way_is_open || fail "$i: the way stays shut"
	done
	grows p2p_bytes
	survives
}

_give_back_src()
{
	release "$src_bdf"
	echo >"$PCI/$src_bdf/driver_override"
	rebind "$src_bdf" nvme
}

words_are_back()
{
	local port

	exported
	exact one 1 "$dst" "$cmb_bdf"
	way_is_open || fail "used, and the way is shut"
	disconnect one
	wait_for 10 way_is_shut || fail "the host has gone, and the way is open"
	for port in "$src_port" "$dst_port" "$cmb_port" "$mem_port" "$rnic_port"; do
		check_equal "ACS of $port" "$((0x$(acs_of "$port")))" "$((on))"
	done
}

add_nvmet "R4.1 R9.1 N15: open while a host is there, and as it was after that" words_are_back
add_nvmet "R4.1 R9.4 N25: allowed and forbidden under load" allowed_and_forbidden
add_nvmet "R9.4 R2.9 N25: a port is written by hand under load" redirected_by_hand
add_nvmet "R4.2 R9.4 N25 N27: a function goes to user space under load" given_to_user_space
add "R9.6 N1: nothing is left" nothing_is_left
run_cases
