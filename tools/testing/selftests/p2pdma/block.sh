#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Peer memory in bios and requests: who gets it, and that it is never mixed.
#
# Guards R6.1 to R6.3. A driver that is given peer memory without having asked
# for it copies, checksums or encrypts by CPU what sits in a BAR (N21); one that
# is given a mixture maps all of it like the first page, so data goes to a wrong
# address while every command reports success (N25). The test module builds what
# a mistaken submitter could, and brings two disks whose driver reports every
# promise of the block layer that is broken ("wrong"). Data on real drives is
# compared.
#
# topology: switch
# kernels: normal debug
# timeout: 180
# tags: block

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

require_machine src dst cmb
load_test_module p2pdma_block_test

mq=/dev/p2pblkmq
bio=/dev/p2pblkbio
bio_refused="p2pblkbio: refused I/O with peer-to-peer memory"
# -EOPNOTSUPP, which is BLK_STS_NOTSUPP, and -EINVAL
refused=-95
invalid=-22

# blk COMMAND ARGUMENT...: one command of modules/p2pdma_block_test.c
blk()
{
	debugfs_command p2pdma_block_test "$@"
}

# gives "WORD..." COMMAND...: the answer has these words
gives()
{
	local want=$1 word answer
	shift

	answer=$(blk "$@") || fail "p2pdma_block_test: $*: could not be tried"
	for word in $want; do
		[[ " $answer " == *" $word "* ]] ||
			fail "$*: said '$answer', should have $word"
	done
}

# Providers: A is the CMB; B is the memory-only function.
use_cmb()
{
	defer blk provider A
	blk provider A "$cmb_bdf"
}

use_mem()
{
	[ -n "$mem_bdf" ] || skip "no memory-only function"
	use_provider_sample
	defer blk provider B
	blk provider B "$mem_bdf"
}

# A is the memory-only function here, with two adjacent regions of 8 MiB.
use_two_regions()
{
	[ -n "$mem_bdf" ] || skip "no memory-only function"
	use_provider_sample size=8388608
	p2p add "$mem_bdf" 2 8M 8M
	defer blk provider A
	blk provider A "$mem_bdf"
}

# with_feature 0|1: what both test disks have, until the case ends
with_feature()
{
	defer blk feature mq 0
	defer blk feature bio 0
	blk feature mq "$1"
	blk feature bio "$1"
}

stacking()
{
	gives "not-asked-with=0 not-asked-with-without=0 not-asked-with-without-with=0" stack
	gives "asked-with=1 asked-with-without=0 asked-with-without-with=0" stack
}

bouncing()
{
	gives feature=0 bounce
}

nvme_has_it()
{
	gives feature=1 has "$src"
	gives feature=1 has "$dst"
}

# A driver without the feature: nothing of it may reach the disk.
refuses()
{
	local disk=$1 before how

	gives feature=0 has "$disk"
	before=$(sum_of "$disk" 0 "$MIB")
	for how in add hand iter clone nofail; do
		gives "status=$refused" io "$disk" write "$how" A4K
		gives "status=$refused" io "$disk" write! "$how" A64K A512
		gives "status=$refused" io "$disk" read "$how" A4K
	done
	gives "status=$refused" io "$disk" write hand h4K h4K A4K
	gives "status=$refused" io "$disk" read hand h4K h4K A4K
	check_equal "data on $disk" "$(sum_of "$disk" 0 "$MIB")" "$before"
	gives "status=0" io "$disk" write hand h4K h4K
}

ram_disks()
{
	modprobe -q brd rd_nr=2 rd_size=16384 || skip "no RAM disk"
	defer unload brd
	wait_for 5 test -b /dev/ram1
	fill /dev/ram0 0 "$MIB" /dev/urandom
	fill /dev/ram1 0 "$MIB" /dev/ram0
}

ram_disk()
{
	use_cmb
	ram_disks
	refuses /dev/ram0
}

null_disk()
{
	use_cmb
	modprobe -q null_blk nr_devices=1 memory_backed=1 || skip "no null_blk"
	defer unload null_blk
	wait_for 5 test -b /dev/nullb0
	refuses /dev/nullb0
}

loop_disk()
{
	local file disk

	use_cmb
	modprobe -q loop || skip "no loop device"
	file=$(mktemp)
	defer rm -f "$file"
	truncate -s 8M "$file"
	disk=$(losetup --find --show "$file") || skip "losetup failed"
	defer losetup --detach "$disk"
	refuses "$disk"
}

# dm NAME TABLE: sets $dm to the disk
dm()
{
	command -v dmsetup >/dev/null || skip "no dmsetup"
	modprobe -q dm-mod || skip "no device mapper"
	dmsetup create --noudevrules --noudevsync "$1" --table "$2" ||
		skip "dmsetup failed"
	defer dmsetup remove --noudevrules --noudevsync --retry "$1"
	dm=/dev/$(dmsetup info --columns --noheadings -o blkdevname "$1")
}

# The disk below has the feature, and must not pass it on.
linear()
{
	use_cmb
	gives feature=1 has "$dst"
	dm p2pdma-linear "0 16384 linear $dst 0"
	refuses "$dm"
}

crypt()
{
	use_cmb
	modprobe -q dm-crypt || skip "no dm-crypt"
	dm p2pdma-crypt "0 16384 crypt aes-xts-plain64 $(printf '%0128d' 1) 0 $dst 0"
	refuses "$dm"
}

mirror()
{
	use_cmb
	command -v mdadm >/dev/null || skip "no mdadm"
	modprobe -q raid1 || skip "no RAID 1"
	ram_disks
	# There may be no udev to wait for.
	MDADM_NO_UDEV=1 mdadm --create /dev/md127 --run --quiet --assume-clean \
		--level=1 --metadata=1.0 --bitmap=none --raid-devices=2 \
		/dev/ram0 /dev/ram1 || skip "mdadm failed"
	defer mdadm --stop --quiet /dev/md127
	refuses /dev/md127
}

# The driver would say if it had seen anything.
not_seen_without_feature()
{
	local disk how op

	use_cmb
	with_feature 0
	for disk in "$mq" "$bio"; do
		for op in read write write!; do
			for how in add hand iter clone nofail; do
				gives "status=$refused seen=0" io "$disk" "$op" "$how" A4K
			done
			gives "status=$refused seen=0" io "$disk" "$op" hand h4K h4K h4K A512
			gives "status=$refused seen=0" io "$disk" "$op" hand A512 h4K
		done
	done
	says_why
}

# The message is rate limited, over all disks; cases before this one count too.
says_why()
{
	wait_for 10 refusal_is_logged || fail "the log does not say '$bio_refused'"
}

refusal_is_logged()
{
	gives "status=$refused seen=0" io "$bio" write hand A4K
	log_since | grep -E "$bio_refused" >/dev/null
}

marks()
{
	local disk how

	use_cmb
	with_feature 1
	for disk in "$mq" "$bio"; do
		for how in add hand iter clone nofail hw; do
			gives "refused=0 status=0 seen=1 marked=1 wrong=0" \
				io "$disk" write "$how" A4K A512 A64K
			gives "refused=0 status=0 seen=1 marked=1 wrong=0" \
				io "$disk" read! "$how" A4K
			gives "refused=0 status=0 seen=1 marked=0 wrong=0" \
				io "$disk" write! "$how" h4K h512
			gives "refused=0 status=0 seen=1 marked=0 wrong=0" \
				io "$disk" write "$how" h4K
		done
	done
}

# The mark must not outlive what was consumed, nor be made of it.
advanced()
{
	use_cmb
	with_feature 1
	gives "status=0 seen=1 marked=1 wrong=0" io "$mq" write tail h4K A4K
	gives "status=0 seen=1 marked=0 wrong=0" io "$mq" write tail A4K h4K
	gives "status=0 seen=1 marked=0 wrong=0" io "$bio" write! tail A4K h4K
	gives "status=$refused seen=0" io "$mq" write tail A4K h4K A4K
}

# By every way that cannot refuse a page when it is added.
mixed_refused()
{
	local disk how

	with_feature 1
	for disk in "$mq" "$bio"; do
		for how in hand nofail iter clone; do
			gives "status=$refused seen=0" io "$disk" write "$how" "$@"
			gives "status=$refused seen=0" io "$disk" read! "$how" "$@"
		done
	done
}

mixed_with_ordinary()
{
	use_cmb
	mixed_refused h4K A4K
	mixed_refused A4K h4K
	mixed_refused A4K A4K A4K h512
	mixed_refused h4K h4K h4K h4K h4K h4K h4K h4K h4K h4K h4K h4K h4K h4K h4K A4K
	mixed_refused A64K h64K A64K
}

mixed_providers()
{
	use_cmb
	use_mem
	mixed_refused A4K B4K
	mixed_refused B4K B4K A4K
}

mixed_regions()
{
	use_two_regions
	mixed_refused A4K a4K
	mixed_refused A4K A4K a512
}

one_segment_two_regions()
{
	use_two_regions
	mixed_refused S8M
}

# not_added DISK WORD...: all but the last word; what was added is written
not_added()
{
	local disk=$1 how
	shift

	for how in add hw; do
		gives "refused=1 status=0 seen=1 wrong=0" io "$disk" write "$how" "$@"
	done
}

builders()
{
	local disk

	use_cmb
	use_mem
	with_feature 1
	for disk in "$mq" "$bio"; do
		not_added "$disk" h4K A4K
		not_added "$disk" A4K h4K
		not_added "$disk" A4K A512 B4K
		gives "refused=2" io "$disk" write add h4K A4K h4K
	done
	# A queue without it gets none to begin with.
	blk feature mq 0
	gives "refused=1 status=0 seen=1 marked=0" io "$mq" write hw h4K A4K
	gives "refused=1 status=0 marked=0" io "$mq" write hw A4K
}

builders_regions()
{
	use_two_regions
	with_feature 1
	not_added "$mq" A4K a4K
	not_added "$bio" A4K a4K
}

merging()
{
	use_cmb
	use_mem
	with_feature 1
	gives "status=0 seen=1 marked=0 wrong=0" merge h4K h4K h4K
	gives "status=0 seen=1 marked=1 wrong=0" merge A4K A4K A4K
	gives "status=0 seen=2 marked=1 wrong=0" merge A4K h4K
	gives "status=0 seen=2 marked=1 wrong=0" merge h4K A4K
	gives "status=0 seen=2 marked=2 wrong=0" merge A4K B4K
	gives "status=0 seen=3 marked=2 wrong=0" merge A4K A4K h4K h4K B4K B4K
}

merging_regions()
{
	use_two_regions
	with_feature 1
	gives "status=0 seen=1 marked=1 wrong=0" io "$mq" write add A4K A4K
	gives "status=0 seen=1 marked=1 wrong=0" merge A4K A4K
}

passthrough()
{
	local how when

	use_cmb
	for when in wait nowait; do
		with_feature 1
		for how in prep append iter kernel; do
			gives "map=0 status=0 seen=1 marked=1 wrong=0" pass "$how" "$when" A4K
			gives "map=0 status=0 seen=1 marked=0 wrong=0" pass "$how" "$when" h4K
		done
		gives "map=0 status=0 seen=1 marked=1 wrong=0" pass append "$when" A4K A4K
		# Misaligned, so it would be copied.
		gives "map=0 status=0 seen=1 marked=0 wrong=0" pass iter "$when" h4K+2
		gives "map=$refused seen=0" pass iter "$when" A4K+2
		gives "map=0 status=0 seen=1 marked=0 wrong=0" pass kernel "$when" h4K+2
		gives "map=$refused seen=0" pass kernel "$when" A4K+2

		gives "map=0 status=$refused seen=0" pass prep "$when" A4K h4K
		gives "map=0 status=$refused seen=0" pass prep "$when" h4K A4K
		gives "map=$invalid seen=0" pass append "$when" A4K h4K
		gives "map=$invalid seen=0" pass append "$when" h4K A4K
		gives "map=0 status=0 seen=1 marked=1 wrong=0" pass chain "$when" A4K A4K
		gives "map=0 status=0 seen=1 marked=0 wrong=0" pass chain "$when" h4K h4K
		gives "map=0 status=$refused seen=0" pass chain "$when" A4K h4K
		gives "map=0 status=$refused seen=0" pass chain "$when" h4K h4K A4K
		gives "map=0 status=0 seen=1 marked=0 wrong=0" pass kvec "$when" h4K h4K
		gives "map=$refused seen=0" pass kvec "$when" A4K
		gives "map=$refused seen=0" pass kvec "$when" h4K A4K
		gives "map=$refused seen=0" pass iter "$when" h4K A4K

		with_feature 0
		gives "map=0 status=$refused seen=0" pass prep "$when" A4K
		gives "map=$refused seen=0" pass append "$when" A4K
		gives "map=$refused seen=0" pass iter "$when" A4K
		gives "map=$invalid seen=0" pass kernel "$when" A4K
	done
}

cloned()
{
	use_cmb
	with_feature 1
	gives "status=0 seen=1 marked=1 wrong=0" cloned A4K A4K
	gives "status=0 seen=1 marked=0 wrong=0" cloned h4K
	gives "status=$refused seen=0" cloned A4K h4K
	gives "status=$refused seen=0" cloned h4K A4K
	with_feature 0
	gives "status=$refused seen=0" cloned A4K
	gives "status=0 seen=1 marked=0 wrong=0" cloned h4K
}

checksums()
{
	use_cmb
	with_feature 1
	defer blk integrity none
	blk integrity check
	gives "status=$refused seen=0" io "$mq" write add A4K
	gives "status=$refused seen=0" io "$mq" read add A4K
	gives "status=0 seen=1 marked=0" io "$mq" write add h4K
	blk integrity unchecked
	gives "status=0 seen=1 marked=1 wrong=0" io "$mq" write add A4K
	gives "status=0 seen=1 marked=1 wrong=0" io "$mq" read add A4K
}

tuples()
{
	use_cmb
	with_feature 1
	defer blk integrity none
	blk integrity unchecked
	gives "added=64" tuples add h4K
	gives "added=0" tuples add A4K
	gives "status=0 seen=1" tuples hand h4K
	gives "status=$refused seen=0" tuples hand A4K
}

losing_the_feature()
{
	local disk said

	use_cmb
	for disk in mq bio; do
		with_feature 1
		said=$(blk flip "$disk" 200 A4K A4K)
		check_match "$disk" "$said" \
			'^ok=[1-9][0-9]* refused=[1-9][0-9]* other=0 .* wrong=0$'
		gives "other=0 wrong=0 refused=0 marked=0" flip "$disk" 20 h4K h4K
	done
}

data()
{
	local how

	use_cmb
	for how in add hand iter clone; do
		gives status=0 data "$dst" "$how" A512
		gives status=0 data "$dst" "$how" A4K
		gives status=0 data "$dst" "$how" A4K A512 A64K
		gives status=0 data "$dst" "$how" A1M
		gives status=0 data "$dst" "$how" A4K+512
		gives status=0 data "$dst" "$how" h4K h64K+512
	done
	gives status=0 data "$cmb" add A64K A4K
}

data_of_third_party()
{
	use_mem
	gives status=0 data "$dst" hand B4K
	gives status=0 data "$src" add B64K B512 B4K
}

buffer()
{
	local program=$here/block_buffer

	[ -x "$program" ] || skip "no block_buffer"
	[ -e "$PCI/$cmb_bdf/p2pmem/allocate" ] || skip "no p2pmem/allocate"
	"$program" "$@"
}

# buffer_moves HOW DISK LAYOUT OFFSET: all of it, both ways
buffer_moves()
{
	local bytes=$(((${#3} * 4096 - $4) / 512 * 512)) said
	local file=$PCI/$cmb_bdf/p2pmem/allocate

	if [ "$1" = pass ]; then
		said=$(buffer pass "$2" 12 "$file" "$3" "$4") || fail "$*: $said"
	else
		said=$(buffer "$1" "$2" "$file" "$3" "$4") || fail "$*: $said"
	fi
	check_equal "block_buffer $*" "$said" \
		"written=$bytes write_error=0 read=$bytes read_error=0"
}

layouts=(p pp pppppppppppppppp hp ph hhpp hphphp hhhhpppphhhhpppp)

user_buffer()
{
	local before layout offset

	before=$(p2pmem_available "$cmb_bdf")
	for offset in 0 512; do
		for layout in "${layouts[@]}"; do
			buffer_moves io "$dst" "$layout" "$offset"
		done
	done
	check_equal "memory available when all is unmapped" \
		"$(p2pmem_available "$cmb_bdf")" "$before"
}

# A logical block then crosses from one memory to the other, and no bio can have
# it. Not on a drive: the emulated one loses data of a peer buffer whose end in a
# page is not a multiple of 512 bytes (QEMU 7.2, dma_blk_cb()).
user_blocks_across()
{
	local before disk layout

	with_feature 1
	before=$(p2pmem_available "$cmb_bdf")
	for disk in "$mq" "$bio"; do
		gives "" counts
		for layout in "${layouts[@]}"; do
			buffer_moves look "$disk" "$layout" 516
			gives "wrong=0" counts
		done
		buffer_moves look "$disk" pp 512
		check_match "a buffer of peer memory" "$(blk counts)" \
			'marked=[1-9][0-9]* wrong=0$'
	done
	check_equal "memory available when all is unmapped" \
		"$(p2pmem_available "$cmb_bdf")" "$before"
}

user_passthrough()
{
	local file=$PCI/$cmb_bdf/p2pmem/allocate before layout said

	before=$(p2pmem_available "$cmb_bdf")
	for layout in p pp pppp; do
		buffer_moves pass "$dst" "$layout" 0
	done
	# One command has one buffer: a mixture cannot be split into two.
	for layout in hp ph hphp; do
		said=$(buffer pass "$dst" 12 "$file" "$layout" 0) ||
			fail "block_buffer $layout: $said"
		check_match "passthrough with $layout" "$said" \
			'^written=0 write_error=[1-9][0-9]* read=0 read_error=[1-9][0-9]*$'
	done
	check_equal "memory available when all is unmapped" \
		"$(p2pmem_available "$cmb_bdf")" "$before"
}

# GUP says -EREMOTEIO (121) where the queue cannot take it.
user_without_feature()
{
	local file=$PCI/$cmb_bdf/p2pmem/allocate

	ram_disks
	check_equal "the RAM disk's answer" \
		"$(buffer io /dev/ram0 "$file" pp 0)" \
		"written=0 write_error=121 read=0 read_error=121"
}

add "R6.1: a stacked queue never inherits, and loses it above one without" stacking
add "R6.1: a queue that bounces cannot have it" bouncing
add "R6.1 R8.5: NVMe queues have the feature" nvme_has_it
add "R6.2 N21: a RAM disk gets none" ram_disk
add "R6.2 N21: null_blk gets none" null_disk
add "R6.2 N21: a loop device gets none" loop_disk
add "R6.1 R6.2 N21: dm-linear gets none, though the drive below could" linear
add "R6.1 R6.2 N21: dm-crypt gets none" crypt
add "R6.1 R6.2 N21: RAID 1 gets none" mirror
add "R6.2: no driver without the feature sees it, marked or not" not_seen_without_feature
add "R6.2: the mark is set by block, and taken away where it is wrong" marks
add "R6.2: what counts is what is left of a bio" advanced
add "R6.3 N25: peer and ordinary memory are not in one bio" mixed_with_ordinary
add "R6.3 N25: memory of two providers is not in one bio" mixed_providers
add "R6.3: memory of two regions of one provider is not in one bio" mixed_regions
add "R6.3: nor in one segment" one_segment_two_regions
add "R6.3: bio_add_page() and bio_add_pc_page() do not mix" builders
add "R6.3: nor do they mix regions of one provider" builders_regions
add "R6.3: requests merge only with the same memory" merging
add "R6.3: bios of one region merge" merging_regions
add "R6.2 R6.3: passthrough by every way that maps memory" passthrough
add "R6.2 R6.3: cloned requests that skip submit_bio()" cloned
add "R6.2 N21: no checksums are made of peer memory" checksums
add "R6.3: integrity payload is never peer memory" tuples
add "R6.2: a queue that loses the feature under load gets none afterwards" losing_the_feature
add "R8.4 N25: data through the CMB, compared" data
add "R8.4 N25: data through the third party, compared" data_of_third_party
add "R5.3 R6.3 N25: direct I/O of mixed user buffers; no page stays pinned" user_buffer
add "R5.3 R6.3: direct I/O whose blocks cross from one memory to another" user_blocks_across
add "R5.3 R6.3 N25: passthrough of user buffers; mixed ones are refused" user_passthrough
add "R6.2: direct I/O to a disk without the feature fails" user_without_feature
run_cases
