#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A namespace whose drive is below another root port than adapter and memory.
# They meet in the root complex only, which is on no list of good ones.
#
# Guards R9.2 and R2.6: a target that looks at the adapter alone, or at the first
# namespace alone, gives that drive an address which the root complex may send
# nowhere; the emulator would not show it, the choice does. R2.7, R2.9: what the
# administrator allows while hosts do I/O holds for the next commands. Data is
# compared with what is on the drives (N25).
#
# topology: rnic-far
# kernels: normal
# timeout: 300
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

ip=192.168.77.1
far_is_refused=$(refused_by_root_complex "$cmb_bdf" "$src_bdf" "$(host_bridge_of "$src_bdf")")

# export_all: own CMB, another's, a file, and a drive that is too far
export_all()
{
	local file

	file=$(mktemp)
	defer rm -f "$file"
	truncate -s 8M "$file"
	use_rnic rnic0 "$ip"
	make_subsys one
	make_namespace one 1 "$cmb"
	make_namespace one 2 "$dst"
	make_namespace one 3 "$file"
	make_namespace one 4 "$src"
	make_port 1 "$ip" allow_p2pmem=1
	export_on 1 one
	connect one "$ip"
	far=$(host_disk one 4)
}

# With the remedy, ready to paste.
four_namespaces()
{
	export_all
	check_bound 1 "$cmb_bdf"
	check_bound 2 "$cmb_bdf"
	check_unbound 3 "$file_backed"
	check_unbound 4 "$far_is_refused"
	exact one 1 "$cmb" "$cmb_bdf"
	exact one 4 "$src" none
	exact one 2 "$dst" "$cmb_bdf"
	host_fio "$far" --rw=randrw --bsrange=512-64k --iodepth=8 --size=4M
	same_data "$far" "$src" 0 $((4 * MIB))
	check_equal provider "$(nvmet_counter one 4 provider)" none
	check_equal "bytes through peer memory" "$(nvmet_counter one 4 p2p_bytes)" 0
}

# A provider that is named, and too far.
named()
{
	export_all
	ns_attribute one 4 p2pmem "$cmb_bdf"
	exact one 4 "$src" none
	check_unbound 4 "$(named_cannot_be_used "$cmb_bdf")"
	check_log "why it cannot" "nvmet: ctrl [0-9]+ ns 4:   $(literally "$far_is_refused")$"
	ns_attribute one 2 p2pmem "$cmb_bdf"
	exact one 2 "$dst" "$cmb_bdf"
}

# allow VALUE: host bridges, as from here on
allow()
{
	echo "$1" >"$ALLOW"
}

allowed_meanwhile()
{
	local bridge before

	export_all
	check_unbound 4 "$far_is_refused"
	bridge=$(host_bridge_of "$src_bdf")
	start_load "$far"
	defer allow "$(<"$ALLOW")"
	allow "$bridge"
	wait_for 20 more_than one 4 p2p_bytes 0 || fail "nothing through peer memory"
	check_bound 4 "$cmb_bdf"
	check_load "allowed"
	allow ""
	wait_for 10 provider_is none || fail "the path is used, though not allowed"
	before=$(nvmet_counter one 4 host_bytes)
	wait_for 20 more_than one 4 host_bytes "$before" || fail "nothing through system memory"
	finish_load
	same_data "$far" "$src" 0 $((16 * MIB))
	exact one 4 "$src" none
	exact one 2 "$dst" "$cmb_bdf"
}

provider_is()
{
	[ "$(nvmet_counter one 4 provider)" = "$1" ]
}

add_nvmet "R9.2 R9.5 R2.6 N20 N25: own CMB, another's, a file, a drive elsewhere" four_namespaces
add_nvmet "R9.1 R9.5 N7: a provider that is named, and too far" named
add_nvmet "R2.6 R2.7 R2.9 R9.6 N25: the root complex is allowed, and forbidden" allowed_meanwhile
add "R9.6 N1: nothing is left" nothing_is_left
run_cases
