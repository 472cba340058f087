#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# p2pdma.acs=switch: no downstream port of a switch redirects, although there
# is an IOMMU, for which the kernel turns ACS on.
#
# Guards R4.1, R4.3 and R4.4, and N15: Source Validation lost, ports of the root
# complex or ports that the command line configures touched, a port that is
# found anew forgotten, IOMMU groups that do not know it.
#
# topology: switch-acs
# iommu: intel-pt
# cmdline: p2pdma.acs=switch
# cmdline: p2pdma.acs=zebra
# cmdline: pci=config_acs=xxx11xx@0000:02:03.0
# kernels: normal
# timeout: 60
# tags: acs iommu

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=topology-lib.sh
. "$(dirname "$0")/topology-lib.sh"

require_topology src dst cmb
# Started with the policy, it has to have it, whatever comes behind
[[ " $(</proc/cmdline) " == *" p2pdma.acs=switch "* ]] || require_policy switch

root_port=$(port_of "$(port_of "$src_port")")
cleared="no ACS redirection on this switch port \(p2pdma.acs=switch\)"

# What the kernel sets otherwise is SV, RR, CR and UF.
words()
{
	local port

	for port in "$src_port" "$dst_port" "$cmb_port"; do
		check_equal "ACS of $port" "$((0x$(acs_of "$port")))" $((SV | UF))
		check_equal "lines about $port" \
			"$(dmesg | grep -cE "$port: p2pdma: $cleared")" 1
	done
	check_equal "ACS of the root port" "$((0x$(acs_of "$root_port")))" \
		$((SV | RR | CR | UF))
	check_equal "lines about the root port" \
		"$(dmesg | grep -cE "$root_port: .*$cleared" || :)" 0
}

# The command line has the last word on this one.
configured()
{
	check_equal "redirects of $mem_port" \
		"$((0x$(acs_of "$mem_port") & (RR | CR)))" $((RR | CR))
	check_equal "lines about $mem_port" \
		"$(dmesg | grep -cE "$mem_port: .*$cleared" || :)" 0
	use_provider_sample publish=1
	check_refused "$mem_bdf" "$src_bdf" \
		"$(refused_by_acs "$mem_bdf" "$src_bdf" "$mem_port")"
}

# It came after the good word, which holds all the same.
bad_word()
{
	check_equal policy "$(</sys/module/p2pdma/parameters/acs)" switch
	check_equal "lines about the bad word" \
		"$(dmesg | grep -c 'acs: "zebra" is none of keep, switch, path')" 1
}

group_of()
{
	basename "$(readlink "$PCI/$1/iommu_group")"
}

# A device whose port does not isolate it shares the port's group.  (In 6.12 the
# ports of a switch have groups of their own, whether or not they have ACS.)
groups()
{
	local bdf

	for bdf in "$src_bdf" "$dst_bdf" "$cmb_bdf"; do
		check_equal "IOMMU group of $bdf" "$(group_of "$bdf")" \
			"$(group_of "$(port_of "$bdf")")"
	done
	check_differ "IOMMU group of the root port" "$(group_of "$root_port")" \
		"$(group_of "$src_bdf")"
}

data()
{
	check_reached "$cmb_bdf" "$src_bdf" 4 bus
	check_reached "$cmb_bdf" "$dst_bdf" 4 bus
	copy_through "$cmb_bdf"
}

# The kernel turns ACS on again in a port that it finds anew.
found_anew()
{
	local group

	group=$(group_of "$dst_bdf")
	echo 1 >"$PCI/$dst_port/remove"
	wait_for 10 test ! -e "$PCI/$dst_bdf"
	echo 1 >/sys/bus/pci/rescan
	wait_for 20 drive_is_there dst || fail "dst did not come back"
	dst=$(disk_of dst)
	check_equal "ACS of $dst_port" "$((0x$(acs_of "$dst_port")))" $((SV | UF))
	check_equal "IOMMU group of $dst_bdf" "$(group_of "$dst_bdf")" "$group"
	check_log "it is said of the new port" "$dst_port: p2pdma: $cleared"
	check_reached "$cmb_bdf" "$dst_bdf" 4 bus
	copy_through "$cmb_bdf"
}

# What user space sets afterwards is as user space sets it.
by_hand()
{
	acs_until_end "$src_port"
	acs_write "$src_port" $((SV | RR | CR | UF))
	check_refused "$cmb_bdf" "$src_bdf" \
		"$(refused_by_acs "$cmb_bdf" "$src_bdf" "$src_port")"
	acs_write "$src_port" $((SV | UF))
	check_reached "$cmb_bdf" "$src_bdf" 4 bus
}

add "R4.1 R4.4 N15: redirection is off below the switch, and nothing else" words
add "R4.1: a word that is no policy is refused in one line, and changes nothing" bad_word
add "R4.3: a port that the command line configures" configured
add "R4.1: before IOMMU groups formed" groups
add "R4.1 N25: the data" data
add "R4.1 R2.7: set by hand" by_hand
add "R4.1: a port that is found anew" found_anew
run_cases
