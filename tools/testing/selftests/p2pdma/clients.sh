#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Client lists on real functions: who is found for whom, and who remembers what.
#
# Guards R2.1 to R2.5 and R2.9 below one switch, and N4 to N6: an empty list that
# matched something, a drive's second namespace that vanished with the first,
# and references that went wrong, which are counted before and after each order
# of calls. KUnit has the larger fabrics.
#
# topology: two-cmbs
# kernels: normal debug
# timeout: 90
# leaks: normal
# tags: core clients

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_machine src dst cmb
# A function that the others meet only in the root complex
far_bdf=0000:00:00.0

distances()
{
	check_equal "two below one switch" "$(p2p_value distance distance "$cmb_bdf" "$src_bdf")" 4
	check_equal "the other way" "$(p2p_value distance distance "$src_bdf" "$cmb_bdf")" 4
	check_equal "its own" "$(p2p_value distance distance "$cmb_bdf" "$cmb_bdf")" 0
	# src declares nothing about its own memory: it has none.
	[[ $(p2p_value distance distance "$src_bdf" "$src_bdf") == -* ]] ||
		fail "a function without memory reaches its own"
}

empty()
{
	local list

	new_list
	check_equal "an empty list finds" "$(found "$list")" none
	check_fails "assigning to an empty list" "No such file" \
		p2p list-assign "$list" "$cmb_bdf"
	p2p list-add "$list" "$src_bdf"
	p2p list-remove "$list" "$src_bdf"
	check_equal "a list empty again finds" "$(found "$list")" none
}

# dst has a CMB: with its own the payload crosses its link once fewer.
own_memory_first()
{
	local list i

	for ((i = $(rounds 10); i > 0; i--)); do
		new_list "$dst_bdf"
		check_equal "best for dst alone" "$(found "$list")" "$dst_bdf"
		new_list "$src_bdf" "$dst_bdf"
		check_equal "best for src and dst" "$(found "$list")" "$dst_bdf"
		new_list "$src_bdf" "$cmb_bdf"
		check_equal "best for src and cmb" "$(found "$list")" "$cmb_bdf"
	done
}

# Both are equally far from src: more free memory wins, whoever has it.
most_free()
{
	local list i full other

	for full in "$cmb_bdf" "$dst_bdf"; do
		other=$cmb_bdf
		[ "$full" != "$cmb_bdf" ] || other=$dst_bdf
		p2p alloc "$full" 1M >/dev/null
		for ((i = $(rounds 10); i > 0; i--)); do
			new_list "$src_bdf"
			check_equal "best, with less free at $full" "$(found "$list")" "$other"
		done
		p2p free-all
	done
}

# Equal in everything: both are chosen in the long run.
at_random()
{
	local list i all=

	new_list "$src_bdf"
	for ((i = 0; i < 40; i++)); do
		all+=" $(found "$list")"
		p2p list-unbind "$list"
	done
	[[ $all == *"$cmb_bdf"* && $all == *"$dst_bdf"* ]] ||
		fail "40 times the same of two equal providers:$all"
}

remembers()
{
	local list

	defer p2p free-all
	new_list "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	check_equal "a bound list finds" "$(found "$list")" "$cmb_bdf"
	p2p alloc "$cmb_bdf" 8M >/dev/null
	check_equal "although another has more" "$(found "$list")" "$cmb_bdf"
	p2p list-add "$list" "$dst_bdf"
	check_equal "although another is nearer" "$(found "$list")" "$cmb_bdf"
	p2p list-remove "$list" "$src_bdf"
	p2p list-remove "$list" "$dst_bdf"
	p2p list-add "$list" "$dst_bdf"
	check_equal "although it was empty in between" "$(found "$list")" "$cmb_bdf"
	check_fails "another provider, bound" "Device or resource busy" \
		p2p list-assign "$list" "$dst_bdf"
	p2p list-unbind "$list"
	check_equal "and, unbound, the nearest" "$(found "$list")" "$dst_bdf"
}

# Two namespaces of one drive: the same function twice.
added_twice()
{
	local list

	new_list "$dst_bdf" "$dst_bdf"
	check_equal found "$(found "$list")" "$dst_bdf"
	p2p list-remove "$list" "$dst_bdf"
	check_equal "after one removal" "$(found "$list")" "$dst_bdf"
	p2p list-unbind "$list"
	check_equal "its entry is still there" "$(found "$list")" "$dst_bdf"
	p2p list-remove "$list" "$dst_bdf"
	p2p list-unbind "$list"
	check_equal "after two removals" "$(found "$list")" none
}

refusals()
{
	local list

	new_list "$src_bdf"
	check_fails "a provider without memory" "No such device" \
		p2p list-assign "$list" "$src_bdf"
	defer p2p publish "$cmb_bdf" 1
	p2p publish "$cmb_bdf" 0
	check_fails "a provider that is not published" "No such device" \
		p2p list-assign "$list" "$cmb_bdf"
	check_equal "found without it" "$(found "$list")" "$dst_bdf"
	defer p2p publish "$dst_bdf" 1
	p2p publish "$dst_bdf" 0
	p2p list-unbind "$list"
	check_equal "with no provider" "$(found "$list")" none
	check_equal "explanation" "$(p2p list-explain "$list")" "$nothing_on_offer"
}

told_once()
{
	local list other

	new_list "$src_bdf"
	other=$list
	p2p list-assign "$other" "$dst_bdf"
	new_list "$src_bdf"
	p2p list-assign "$list" "$cmb_bdf"
	defer p2p resume "$cmb_bdf"
	p2p quiesce "$cmb_bdf"
	check_equal "told when quiesced" "$(p2p_value told list-told "$list")" 1
	p2p quiesce "$cmb_bdf"
	check_equal "told when quiesced again" "$(p2p_value told list-told "$list")" 1
	check_equal "the other provider's list told" "$(p2p_value told list-told "$other")" 0
	p2p resume "$cmb_bdf"
	p2p list-unbind "$list"
	p2p list-assign "$list" "$cmb_bdf"
	p2p quiesce "$cmb_bdf"
	check_equal "told for the second binding" "$(p2p_value told list-told "$list")" 2
	p2p resume "$cmb_bdf"
	p2p list-unbind "$list"
	p2p quiesce "$cmb_bdf"
	check_equal "told while not bound" "$(p2p_value told list-told "$list")" 2
}

# references: to all functions that take part, and to the module whose lists they
# are in
references()
{
	local bdf

	for bdf in "$src_bdf" "$dst_bdf" "$cmb_bdf" "$far_bdf"; do
		echo "$bdf $(p2p_value refs refs "$bdf")"
	done
	echo "module $(</sys/module/p2pdma_test/refcnt)"
}

references_are()
{
	[ "$(references)" = "$1" ]
}

# step WORD: one of an order, for $list
step()
{
	local what=${1%%=*} bdf=

	if [[ $1 == *=* ]]; then
		bdf=${1#*=}_bdf
		bdf=${!bdf}
	fi
	case $what in
	add | remove | assign) p2p "list-$what" "$list" "$bdf" ;;
	find) check_equal "$order: found" "$(found "$list")" "$bdf" ;;
	unbind | free) p2p "list-$what" "$list" ;;
	# Errors
	find-none) check_equal "$order: found" "$(found "$list")" none ;;
	empty) check_fails "$order" "No such file" p2p list-assign "$list" "$bdf" ;;
	no-memory) check_fails "$order" "No such device" p2p list-assign "$list" "$bdf" ;;
	busy) check_fails "$order" "Device or resource busy" p2p list-assign "$list" "$bdf" ;;
	too-far) check_fails "$order" "Invalid cross-device link" p2p list-assign "$list" "$bdf" ;;
	add-too-far) check_fails "$order" "Invalid cross-device link" p2p list-add "$list" "$bdf" ;;
	# What happens to a function meanwhile
	quiesce | resume) p2p "$what" "$bdf" ;;
	withdraw) p2p publish "$bdf" 0 ;;
	publish) p2p publish "$bdf" 1 ;;
	driver-goes) unbind_ends "$bdf" ;;
	driver-returns)
		bind "$bdf" nvme
		drive_returns "${1#*=}"
		;;
	*) fail "$order: no step $1" ;;
	esac
}

# A reference that is lost, or one too many, in whatever order; an error is no
# excuse.  They may be returned a moment later.
balance()
{
	local list order word before orders=(
		"free"
		"unbind unbind free"
		"find-none free"
		"add=src free"
		"add=src remove=src free"
		"add=src add=src free"
		"add=src add=src remove=src free"
		"add=src add=src remove=src remove=src add=src free"
		"add=src add=dst add=cmb remove=dst free"
		"add=src assign=cmb free"
		"add=src assign=cmb unbind free"
		"add=src assign=cmb remove=src free"
		"add=src assign=cmb remove=src unbind free"
		"add=src assign=cmb unbind assign=dst unbind assign=cmb free"
		"add=src assign=cmb add=dst add=cmb remove=src remove=dst remove=cmb free"
		"add=dst find=dst free"
		"add=dst find=dst find=dst find=dst unbind find=dst free"
		"add=dst find=dst remove=dst find=dst unbind find-none free"
		"add=dst add=src find=dst remove=dst unbind add=cmb free"
		"empty=cmb free"
		"add=src remove=src empty=cmb free"
		"add=src no-memory=src free"
		"add=src assign=cmb busy=dst find=cmb free"
		"add=src assign=cmb add-too-far=far find=cmb free"
		"add=far too-far=cmb find-none free"
		"add=src add=far find-none remove=far assign=cmb free"
		"remove=dst free"
		"add=src remove=src remove=src free"
		"add=src assign=cmb remove=dst find=cmb free"
		"add=src withdraw=cmb no-memory=cmb publish=cmb assign=cmb free"
		"add=src assign=cmb quiesce=cmb find-none resume=cmb find=cmb free"
		"add=src assign=cmb quiesce=cmb unbind resume=cmb free"
		"add=src assign=cmb quiesce=cmb free resume=cmb"
		"add=src assign=cmb driver-goes=cmb free driver-returns=cmb"
		"add=src assign=cmb driver-goes=cmb unbind driver-returns=cmb free"
		"add=src assign=cmb driver-goes=cmb driver-returns=cmb find-none
			unbind assign=cmb free"
		"add=src assign=cmb driver-goes=src remove=src driver-returns=src free"
		"add=src assign=cmb driver-goes=src free driver-returns=src"
	)

	defer rebind "$src_bdf" nvme
	defer rebind "$cmb_bdf" nvme
	defer p2p resume "$cmb_bdf"
	defer p2p publish "$cmb_bdf" 1
	for order in "${orders[@]}"; do
		before=$(references)
		list=$(p2p_value list list-new)
		for word in $order; do
			step "$word"
		done
		wait_for 5 references_are "$before" ||
			fail "$order: references before: $before; after: $(references)"
	done
	note "${#orders[@]} orders"
}

add "R2.4 R2.5: distances below one switch" distances
add "R2.2 N5: an empty list finds nothing" empty
add "R2.2 R1.12: a drive's own CMB is best of all" own_memory_first
add "R2.2: among equally near ones the one with most memory free" most_free
add "R2.2: among equals, each in its turn" at_random
add "R2.1 N6: a bound list keeps its provider, also while empty" remembers
add "R2.1 N6: one function twice needs two removals" added_twice
add "R2.3 R2.8: who cannot be assigned, and an explanation" refusals
add "R2.9: a list is told once for each binding" told_once
add "N4: all references are returned" balance
run_cases
