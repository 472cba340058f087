#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# p2pdma.acs=path: ports do not redirect while a list is bound that needs them.
#
# Guards R4.1, R4.2 and R4.4, and N15: whatever lists and drivers come and go,
# each port's control word is in the end what it was; while a path is used, only
# its ports are open, and only redirection is taken from them.  All words are
# read with setpci.
#
# Without an IOMMU nothing is isolated, so any port may be opened; the words are
# set by hand as a kernel with an IOMMU would.  acs-path-iommu.sh has the other
# case.
#
# topology: switch-acs
# cmdline: p2pdma.acs=path
# kernels: normal
# timeout: 120
# leaks: normal
# tags: acs

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb
require_policy path

root_port=$(port_of "$(port_of "$src_port")")
on=$((SV | RR | CR | UF))
open=$((SV | UF))

# The kernel's setting for an IOMMU, in all ports, until the case ends
all_on()
{
	local port

	acs_until_end "$src_port" "$dst_port" "$cmb_port" "$mem_port" "$root_port"
	for port in "$src_port" "$dst_port" "$cmb_port" "$mem_port" "$root_port"; do
		acs_write "$port" "$on"
	done
}

check_word()
{
	check_equal "ACS of $1" "$((0x$(acs_of "$1")))" "$(($2))"
}

# open_are ROLE...: these ports are open, others as they were; the root port is
# never touched
open_are()
{
	local role port wanted

	for role in src dst cmb mem root; do
		port=${role}_port
		wanted=$on
		[[ " $* " != *" $role "* ]] || wanted=$open
		check_word "${!port}" "$wanted"
	done
}

while_bound()
{
	local list

	all_on
	new_list "$src_bdf"
	open_are
	p2p list-assign "$list" "$cmb_bdf"
	open_are src cmb
	check_log "it is said" \
		"$src_port: p2pdma: no ACS redirection on this switch port \(p2pdma.acs=path\)"
	check_reached "$cmb_bdf" "$src_bdf" 4 bus
	p2p list-unbind "$list"
	open_are
	check_log "it is said" "$src_port: p2pdma: ACS redirection is back"
	check_equal "found" "$(found "$list")" "$cmb_bdf"
	open_are src cmb
	p2p list-free "$list"
	open_are
}

# The last user counts.
counted()
{
	local first list

	all_on
	new_list "$src_bdf"
	first=$list
	p2p list-assign "$first" "$cmb_bdf"
	new_list "$dst_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	open_are src dst cmb
	p2p list-add "$list" "$src_bdf"
	p2p list-unbind "$first"
	open_are src dst cmb
	p2p list-remove "$list" "$dst_bdf"
	open_are src cmb
	p2p list-add "$list" "$dst_bdf"
	open_are src dst cmb
	p2p list-free "$list"
	open_are
}

# Ports of which one had Completion Redirect alone, and one nothing
as_they_were()
{
	local list

	all_on
	acs_write "$src_port" $((CR | DT))
	acs_write "$cmb_port" 0
	new_list "$src_bdf" "$dst_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	check_word "$src_port" "$DT"
	check_word "$dst_port" $((open))
	check_word "$cmb_port" 0
	check_word "$mem_port" $((on))
	p2p list-free "$list"
	check_word "$src_port" $((CR | DT))
	check_word "$dst_port" $((on))
	check_word "$cmb_port" 0
}

data()
{
	all_on
	copy_through "$cmb_bdf"
	open_are
}

# What user space sets on a port that is open is its own: the list is told.
by_hand()
{
	local list

	all_on
	new_list "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	acs_write "$src_port" $((SV | RR))
	check_told "$list" 1
	p2p list-unbind "$list"
	check_word "$src_port" $((SV | RR))
	check_word "$dst_port" $((on))
	check_word "$cmb_port" $((on))
}

# The provider's driver goes while the list is bound, and comes again.
provider_goes()
{
	local list

	all_on
	new_list "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	open_are src cmb
	defer rebind "$cmb_bdf" nvme
	unbind "$cmb_bdf"
	check_told "$list" 1
	p2p list-unbind "$list"
	open_are
	rebind "$cmb_bdf" nvme
	wait_for 20 drive_is_there cmb || fail "cmb did not come back"
	check_equal "found" "$(found "$list")" "$cmb_bdf"
	open_are src cmb
	p2p list-free "$list"
	open_are
}

# A port that is removed while it is open has its word back by then.
port_goes()
{
	local list

	all_on
	use_provider_sample publish=1
	new_list "$src_bdf"
	p2p list-assign "$list" "$mem_bdf"
	open_are src mem
	echo 1 >"$PCI/$mem_port/remove"
	p2p list-free "$list"
	echo 1 >/sys/bus/pci/rescan
	wait_for 10 serves "$mem_bdf" || fail "$mem_bdf did not come back"
	open_are
}

# Path after path, each list in another order
many()
{
	local lists='' list i pairs=("$src_bdf" "$dst_bdf" "$mem_bdf")

	all_on
	for ((i = 0; i < $(rounds 15); i++)); do
		new_list "${pairs[i % 3]}" "${pairs[(i + i / 3) % 3]}"
		p2p list-assign "$list" "$cmb_bdf"
		lists="$list $lists"
		((i % 4)) || p2p list-unbind "$list"
	done
	for list in $lists; do
		p2p list-free "$list"
	done
	open_are
}

add "R4.1 R4.4 N15: while a list is bound, and only these ports" while_bound
add "R4.1: the last of several users counts" counted
add "R4.1 N15: back to what each port had" as_they_were
add "R4.1 N25: the data" data
add "R4.1 R2.9: set by hand while open" by_hand
add "R4.1: the provider goes and comes" provider_goes
add "R4.1: an open port goes and comes" port_goes
add "R4.1 N15: many lists" many
run_cases
