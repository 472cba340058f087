# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the tests of verdicts share: where functions are in the tree, what their
# ports redirect, and whether the kernel's verdict, its words and its mappings
# are all three what they should be.  Sourced after lib.sh.
#
# A pair is given as in the kernel, PROVIDER CLIENT.

# shellcheck disable=SC2154 # lib.sh sets what is not assigned here

# What the kernel says of a bad word in it.
export not_an_id="is not a VVVV:DDDD pair of hexadecimal numbers"
# A path through the root complex has this much more than its edges.
export ROOT_COMPLEX=4096

# PCIe r6.0, sec 7.7.11.3: the bits of the ACS control word
SV=0x01 TB=0x02 RR=0x04 CR=0x08 UF=0x10 EC=0x20 DT=0x40
export SV TB RR CR UF EC DT

# The bridges right above the functions; require_topology sets them.
src_port='' dst_port='' cmb_port='' mem_port=''
export src_port dst_port cmb_port mem_port

# --- the tree --------------------------------------------------------------

# port_of BDF: the bridge right above a function
port_of()
{
	local path

	path=$(readlink -f "$PCI/$1")
	path=${path%/*}
	echo "${path##*/}"
}

# require_topology ROLE...: what a test of verdicts needs, and these drives
require_topology()
{
	local role bdf

	require_copies "$@"
	for role in "$@" mem; do
		bdf=${role}_bdf
		[ -z "${!bdf}" ] || declare -g "${role}_port=$(port_of "${!bdf}")"
	done
}

# require_policy POLICY: keep, switch or path
require_policy()
{
	[ "$(cat /sys/module/p2pdma/parameters/acs 2>/dev/null)" = "$1" ] ||
		skip_all "not started with p2pdma.acs=$1"
}

# An IOMMU that translates, and is not only there
require_translation()
{
	[[ $(<"$PCI/$src_bdf/iommu_group/type") == DMA* ]] ||
		skip_all "no IOMMU that translates"
}

# --- ACS -------------------------------------------------------------------

# acs_of PORT: its control word, four digits
acs_of()
{
	setpci -s "$1" ECAP_ACS+6.w
}

# acs_write PORT VALUE [OPTION...]: options of setpci; "defer" it before
acs_write()
{
	local port=$1 value
	shift

	value=$(printf %04x "$1")
	shift
	setpci "$@" -s "$port" "ECAP_ACS+6.w=$value"
}

# acs_until_end PORT...: what a case does to them ends with the case
acs_until_end()
{
	local port

	for port; do
		defer acs_write "$port" "0x$(acs_of "$port")"
	done
}

# acs_capable PORT BITS: does its capability have them?
acs_capable()
{
	((0x$(setpci -s "$1" ECAP_ACS+4.w) & $2))
}

# --- verdicts --------------------------------------------------------------

# said PROVIDER CLIENT: sets $distance, and $text to what the kernel says about
# it in its log
said()
{
	local mark="p2pdma-selftest: $EPOCHREALTIME"

	echo "$mark" >/dev/kmsg
	distance=$(p2p_value distance distance "$1" "$2" verbose)
	text=$(dmesg | awk -v mark="$mark" 'found { print } index($0, mark) { found = 1 }' |
		sed -n "s/^.*: \($2 cannot reach the memory of \)/\1/p")
}

# entries_are KIND BAR_START BAR_SIZE LENGTH WORD...: each has an address and a
# length, none comes twice, all together have the length.  KIND: bus (marked,
# in the BAR), physical (in the BAR) or iova (elsewhere: an IOMMU translates)
entries_are()
{
	local kind=$1 start=$2 size=$3 length=$4 mark='' inside=1
	local word entry sum=0 seen=''
	shift 4

	[ "$kind" != bus ] || mark='\+bus'
	[ "$kind" != iova ] || inside=0
	for word; do
		[[ $word =~ ^[0-9]+=(0x[0-9a-f]+)\+(0x[0-9a-f]+)$mark$ ]] ||
			fail "entry '$word' is none of kind $kind"
		entry=$((BASH_REMATCH[1]))
		((BASH_REMATCH[2] > 0)) || fail "entry '$word' has length 0"
		check_equal "'$word' is in the BAR" \
			$((entry >= start && entry + BASH_REMATCH[2] <= start + size)) $inside
		[[ $seen != *" $entry "* ]] || fail "entry '$word' comes twice"
		seen+=" $entry "
		sum=$((sum + BASH_REMATCH[2]))
	done
	check_equal "bytes mapped" "$sum" "$length"
}

# check_maps PROVIDER CLIENT KIND: by both interfaces, with nothing left over
check_maps()
{
	local bar size id words way length=100001

	# All providers of these machines have their memory in BAR 2.
	read -r bar size < <(bar_of "$1" 2)
	id=$(p2p_value id sgl "$1" $length)
	for way in map dma-map; do
		read -r -a words <<<"$(p2p $way "$2" "$id")"
		entries_are "$3" "$bar" "$size" $length "${words[@]:1}"
		p2p unmap "$id"
	done
	p2p free "$id"
}

# check_maps_not PROVIDER CLIENT: refused for good
check_maps_not()
{
	local id way

	id=$(p2p_value id sgl "$1" 100001)
	for way in map dma-map; do
		check_fails "$way of $1 for $2" "Remote I/O error" p2p $way "$2" "$id"
	done
	p2p free "$id"
}

# check_mixed PROVIDER CLIENT ORDER HOST_KIND: peer memory and pages of the host
# in one list through the DMA API, by bus address; ORDER as the test module
# wants it, HOST_KIND is physical or iova
check_mixed()
{
	local order=$3 id words word host bus i peers=0 hosts=0 wanted

	id=$(p2p_value id alloc "$1" 32K)
	bus=$(p2p_value bus bus "$1" "$id")
	read -r -a words <<<"$(p2p dma-map-mixed "$2" "$id" "$order")"
	p2p free "$id"
	host=${words[0]#host=}
	check_equal "$order: entries" "${words[1]}" "nents=${#order}"
	for ((i = 0; i < ${#order}; i++)); do
		word=${words[i + 2]}
		if [ "${order:i:1}" = h ]; then
			wanted=$(printf '%d=0x%x+0x1000' $i $((host + 4096 * hosts)))
			hosts=$((hosts + 1))
			# An IOMMU gives it another address, but no mark.
			[ "$4" != iova ] || wanted=${word%+bus}
		else
			wanted=$(printf '%d=0x%x+0x1000+bus' $i $((bus + 4096 * peers)))
			peers=$((peers + 1))
		fi
		check_equal "$order: entry $i" "$word" "$wanted"
		check_match "$order: entry $i" "$word" "=0x[0-9a-f]*[1-9a-f][0-9a-f]*\+0x1000"
	done
}

# Does it have memory to map?
serves()
{
	[ -e "$PCI/$1/p2pmem" ]
}

# check_reached PROVIDER CLIENT DISTANCE KIND: the verdict, no word of it (N22),
# and the mappings
check_reached()
{
	local distance text

	said "$1" "$2"
	check_equal "distance of $2 to $1" "$distance" "$3"
	check_equal "what is said about $2 and $1" "$text" ""
	! serves "$1" || check_maps "$1" "$2" "$4"
}

# check_refused PROVIDER CLIENT TEXT
check_refused()
{
	local distance text

	said "$1" "$2"
	((distance < 0)) || fail "$2 reaches $1, distance $distance"
	check_equal "the refusal" "$text" "$3"
	! serves "$1" || check_maps_not "$1" "$2"
}

# every_pair COMMAND [ARGUMENT...]: runs COMMAND PROVIDER CLIENT ARGUMENT... for
# each two of the four functions, with the memory-only one as a provider
every_pair()
{
	local provider client

	use_provider_sample publish=1
	for provider in "$src_bdf" "$dst_bdf" "$cmb_bdf" "$mem_bdf"; do
		for client in "$src_bdf" "$dst_bdf" "$cmb_bdf" "$mem_bdf"; do
			[ "$provider" != "$client" ] || continue
			"$1" "$provider" "$client" "${@:2}"
		done
	done
}

# narrow_mask KIND: give mem an address mask of as many bits as the BAR of cmb
# needs, with which it can map it, and then one bit less, until the case ends
narrow_mask()
{
	local bar size bits

	read -r bar size < <(bar_of "$cmb_bdf" 2)
	for ((bits = 24; bar >> bits; bits++)); do :; done
	# QEMU's BARs are below 4 GiB.
	((bits <= 32 && size)) || skip "the BAR is above 4 GiB"
	defer p2p mask "$mem_bdf" 32
	p2p mask "$mem_bdf" "$bits"
	check_maps "$cmb_bdf" "$mem_bdf" "$1"
	p2p mask "$mem_bdf" $((bits - 1))
}

# --- lists -----------------------------------------------------------------

told_is()
{
	[ "$(p2p_value told list-told "$1")" = "$2" ]
}

# check_told LIST TIMES: the callback comes a moment after the event
check_told()
{
	wait_for 10 told_is "$1" "$2" ||
		fail "list $1 was told $(p2p_value told list-told "$1") times, should be $2"
}

# A case: cmb is as far from src as mem is, and nearer to itself; so it is the
# best for both of them, however much more memory mem has free.
own_memory_first()
{
	local list

	defer p2p free-all
	use_provider_sample publish=1
	p2p alloc "$cmb_bdf" 8M >/dev/null
	new_list "$src_bdf" "$cmb_bdf"
	check_equal "best for src and cmb" "$(found "$list")" "$cmb_bdf"
	new_list "$src_bdf"
	check_equal "best for src" "$(found "$list")" "$mem_bdf"
}

# --- host bridges ----------------------------------------------------------

# allow_host_bridges LIST: until the case ends
allow_host_bridges()
{
	defer eval "echo '$(<"$ALLOW")' >$ALLOW"
	echo "$1" >"$ALLOW"
}

# --- copies ----------------------------------------------------------------

# copy_through PROVIDER [LENGTH]: from src to dst, and the data is right
copy_through()
{
	local length=${2:-$((4 * MIB))}

	wipe "$dst" 0 "$length"
	copy "$src" "$dst" 0 0 "$length"
	check_all_p2p "$1" "$length"
	check_copied 0 0 "$length"
}

# A case: the memory of neither end, nor of any drive
through_third_party()
{
	without_cmb
	use_provider_sample publish=1
	copy_through "$mem_bdf"
}

# copy_through_host TEXT...: what the reason is, in full
copy_through_host()
{
	local length=$((2 * MIB))

	wipe "$dst" 0 "$length"
	copy "$src" "$dst" 0 0 "$length"
	check_equal provider "$(report provider)" none
	check_all_host "$length" "$(printf '%s\n' "$@")"
	check_copied 0 0 "$length"
}
