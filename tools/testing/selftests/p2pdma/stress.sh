#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Everything at once: allocation, searching, publishing, reading sysfs, mapping
# by processes, copies, while the provider is unbound and bound, quiesced and
# resumed.
#
# Guards R1.8 and N2: whatever comes together is legal; no owner's data is
# overwritten, and in the end everything is there.
#
# topology: switch
# kernels: normal debug
# timeout: 120
# tags: core stress

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_copies src dst cmb
require_provider_sample
whole=$(bar_of "$mem_bdf" 2 | cut -d ' ' -f 2)
# What each disturbance is to have done in a case, at least
times=$(rounds 20)

# until_end COMMAND...: over and over in the background; each success is a line
# in $tally.COMMAND.  It may fail: another one may have taken the provider away.
until_end()
{
	while [ ! -e "$stop" ]; do
		! "$@" >/dev/null 2>&1 || echo >>"$tally.$1"
	done
}

# successes COMMAND
successes()
{
	wc -l 2>/dev/null <"$tally.$1" || echo 0
}

read_sysfs()
{
	cat "$PCI/$mem_bdf/p2pmem/"{size,available,published}
}

publish_and_withdraw()
{
	p2p publish "$mem_bdf" 0 && p2p publish "$mem_bdf" 1
}

quiesce_and_resume()
{
	nap 0.1
	p2p quiesce "$mem_bdf" && p2p resume "$mem_bdf"
}

unbind_and_bind()
{
	nap 0.2
	unbind "$mem_bdf" && nap 0.05 && bind "$mem_bdf" p2pdma_provider
}

map_and_unmap()
{
	"$here/p2pmem_mmap" fill "$PCI/$mem_bdf/p2pmem/allocate" 65536 7
}

# all_at_once DISTURBANCE...: what goes on beside allocation and searching, until
# all of it was done often enough
all_at_once()
{
	local stop tally way out allocated=0 found=0 i

	stop=$(mktemp -u)
	tally=$(mktemp)
	defer eval "rm -f $stop $tally*"
	defer p2p publish "$mem_bdf" 1
	defer p2p resume "$mem_bdf"
	defer rebind "$mem_bdf" p2pdma_provider
	defer touch "$stop"
	for way; do
		until_end "$way" &
	done
	for ((i = 0; i < 60; i++)); do
		out=$(p2p stress "$mem_bdf" 2 8 "$src_bdf" "$dst_bdf")
		[[ $out =~ allocated=([0-9]+).*found=([0-9]+).*wrong=([0-9]+) ]] ||
			fail "stress said '$out'"
		check_equal "words overwritten by others" "${BASH_REMATCH[3]}" 0
		allocated=$((allocated + BASH_REMATCH[1]))
		found=$((found + BASH_REMATCH[2]))
		! enough "$@" || break
	done
	touch "$stop"
	wait
	note "allocated $allocated times, found a provider $found times"
	for way; do
		note "$way: $(successes "$way")"
	done
	enough "$@" || fail "one of them never or hardly ever succeeds"
	rebind "$mem_bdf" p2pdma_provider
	p2p resume "$mem_bdf"
	p2p publish "$mem_bdf" 1
	check_equal size "$(p2pmem_size "$mem_bdf")" "$whole"
	check_available "$mem_bdf" "$whole"
}

# enough DISTURBANCE...: was everything done as often as it is to be?
enough()
{
	local way

	((allocated >= 10 * times && found >= times)) || return 1
	for way; do
		(($(successes "$way") >= times)) || return 1
	done
}

add "R1.8: allocation and searching while it is published and withdrawn" \
	all_at_once publish_and_withdraw read_sysfs
add "R1.8: the same while it is quiesced and resumed" \
	all_at_once quiesce_and_resume read_sysfs map_and_unmap
add "R1.8 N2: the same while it is unbound and bound" \
	all_at_once unbind_and_bind read_sysfs read_sysfs
add "R1.8 R5.3 N2: and processes map it" \
	all_at_once unbind_and_bind map_and_unmap map_and_unmap read_sysfs
run_cases
