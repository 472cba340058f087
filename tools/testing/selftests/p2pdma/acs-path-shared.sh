#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# p2pdma.acs=path with an IOMMU, where the devices below the switch cannot be
# isolated from each other anyway: the root port above it has no ACS, so all of
# them are in one IOMMU group.
#
# Guards R4.1 and R4.2: ports are opened here; and they are taken back, and the
# list told, when a device is found anew, whose group is not formed yet, or is
# given to user space (vfio).
#
# topology: switch-acs-shared
# iommu: intel-pt
# cmdline: p2pdma.acs=path
# kernels: normal debug
# timeout: 120
# tags: acs iommu

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb
require_policy path

declare -A port=([src]=$src_port [dst]=$dst_port [cmb]=$cmb_port [mem]=$mem_port)
on=$((SV | RR | CR | UF))
open=$((SV | UF))

# open_are ROLE...: these ports are open, others as the kernel set them
open_are()
{
	local role wanted

	for role in src dst cmb mem; do
		wanted=$on
		[[ " $* " != *" $role "* ]] || wanted=$open
		check_equal "ACS of the port of $role" \
			"$((0x$(acs_of "${port[$role]}")))" "$wanted"
	done
}

group_of()
{
	basename "$(readlink "$PCI/$1/iommu_group")"
}

# bound: sets $list, of src, with cmb as provider
bound()
{
	new_list "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	open_are src cmb
	check_reached "$cmb_bdf" "$src_bdf" 4 bus
}

opened()
{
	local list bdf

	for bdf in "$dst_bdf" "$cmb_bdf" "$mem_bdf" "${port[src]}"; do
		check_equal "IOMMU group of $bdf" "$(group_of "$bdf")" "$(group_of "$src_bdf")"
	done
	open_are
	bound
	p2p list-free "$list"
	open_are
}

data()
{
	copy_through "$cmb_bdf"
	open_are
}

found_anew()
{
	local list

	bound
	echo 1 >"$PCI/$mem_bdf/remove"
	open_are src cmb
	check_told "$list" 0
	echo 1 >/sys/bus/pci/rescan
	check_told "$list" 1
	check_equal "IOMMU group of $mem_bdf" "$(group_of "$mem_bdf")" "$(group_of "$src_bdf")"
	open_are
	check_equal "asked again, the list finds" "$(found "$list")" "$cmb_bdf"
	open_are src cmb
	p2p list-free "$list"
	open_are
}

# Any function below the switch counts, not only those on the path.
given_away()
{
	local list why

	modprobe -q vfio-pci || skip "no vfio-pci"
	bound
	defer release "$mem_bdf"
	echo vfio-pci >"$PCI/$mem_bdf/driver_override"
	defer eval "echo >$PCI/$mem_bdf/driver_override"
	echo "$mem_bdf" >/sys/bus/pci/drivers_probe
	check_match "the driver of $mem_bdf" "$(readlink "$PCI/$mem_bdf/driver")" "/vfio-pci$"
	open_are
	check_told "$list" 1
	check_equal "asked again, the list finds" "$(found "$list")" none
	why=$(p2p list-explain "$list")
	note "$why"
	check_match "the refusal" "$why" \
		"p2pdma\.acs=path does not open them, because $mem_bdf is assigned to user space;"
	open_are
	unbind "$mem_bdf"
	check_equal "without vfio, the list finds" "$(found "$list")" "$cmb_bdf"
	open_are src cmb
	p2p list-free "$list"
	open_are
}

add "R4.1 R4.2: opened while a list is bound" opened
add "R4.1 N25: the data" data
add "R2.9 R4.2 N27: taken back when a device is found anew" found_anew
add "R2.8 R2.9 R4.2 N27: taken back when a device is given to user space" given_away
run_cases
