# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the tests of the NVMe target share: subsystems, namespaces and ports by
# configfs, hosts by nvme-cli, and who moved the data.  Sourced after lib.sh.
#
# The host is this machine too.  Whatever a case makes goes when the case ends:
#
#	make_subsys one
#	make_namespace one 1 "$dst"
#	make_port 1 192.168.77.1 allow_p2pmem=1
#	export_on 1 one
#	connect one 192.168.77.1
#	disk=$(host_disk one 1)
#
# A drive of the emulator reports success whatever happened to the data.  So
# all checks compare what is on the drive itself, read from it as a local disk,
# with what the host wrote or was given (N25).

NVMET=/sys/kernel/config/nvmet
NVMET_DEBUG=/sys/kernel/debug/nvmet
# How long a connection may take to come, and an object to go.
NVMET_WAIT=120
# Where the load writes: the first bytes of its disk.
LOAD=$((4 * MIB))

# --- what is needed --------------------------------------------------------

# require_nvmet TRANSPORT...: rdma or loop
require_nvmet()
{
	local transport program

	for program in nvme fio; do
		command -v "$program" >/dev/null || skip_all "no program $program"
	done
	require_module nvmet
	for transport; do
		case $transport in
		rdma)
			require_module nvmet-rdma
			require_module nvme-rdma
			;;
		*)
			require_module "nvme-$transport"
			;;
		esac
	done
	[ -d "$NVMET" ] || skip_all "no configfs, or no NVMe target in it"
	remember_pools
}

# --- the target ------------------------------------------------------------

# set_attribute FILE VALUE
set_attribute()
{
	printf '%s' "$2" >"$1" || fail "cannot write '$2' to ${1#"$NVMET/"}"
}

get_attribute()
{
	trim "$1"
}

# make_subsys NQN [ATTRIBUTE=VALUE...]: without namespaces
make_subsys()
{
	local dir=$NVMET/subsystems/$1 word
	shift

	mkdir "$dir"
	defer remove_subsys "${dir##*/}"
	set_attribute "$dir/attr_allow_any_host" 1
	for word; do
		set_attribute "$dir/${word%%=*}" "${word#*=}"
	done
}

# Whatever is left of it.
remove_subsys()
{
	local dir=$NVMET/subsystems/$1 item

	[ -d "$dir" ] || return 0
	for item in "$NVMET"/ports/*/subsystems/"$1"; do
		[ ! -L "$item" ] || rm "$item"
	done
	for item in "$dir"/namespaces/*; do
		[ ! -d "$item" ] || remove_namespace "$1" "${item##*/}"
	done
	if [ -e "$dir/passthru/enable" ]; then
		echo 0 >"$dir/passthru/enable"
	fi
	rmdir "$dir"
}

# make_namespace SUBSYS NSID PATH [ATTRIBUTE=VALUE...]
make_namespace()
{
	local dir=$NVMET/subsystems/$1/namespaces/$2 path=$3 word
	shift 3

	mkdir "$dir"
	set_attribute "$dir/device_path" "$path"
	for word; do
		set_attribute "$dir/${word%%=*}" "${word#*=}"
	done
	set_attribute "$dir/enable" 1
}

remove_namespace()
{
	local dir=$NVMET/subsystems/$1/namespaces/$2

	echo 0 >"$dir/enable"
	rmdir "$dir"
}

# ns_attribute SUBSYS NSID ATTRIBUTE [VALUE]: read it, or write it
ns_attribute()
{
	local file=$NVMET/subsystems/$1/namespaces/$2/$3

	if [ $# -gt 3 ]; then
		set_attribute "$file" "$4"
	else
		get_attribute "$file"
	fi
}

# port_attribute PORT ATTRIBUTE [VALUE]
port_attribute()
{
	local file=$NVMET/ports/$1/$2

	if [ $# -gt 2 ]; then
		set_attribute "$file" "$3"
	else
		get_attribute "$file"
	fi
}

# make_port NUMBER ADDRESS [ATTRIBUTE=VALUE...]: RDMA; "loop" for ADDRESS: loop.
# Not in-capsule unless told so: small writes would not need a buffer.
make_port()
{
	local dir=$NVMET/ports/$1 address=$2 word
	shift 2

	mkdir "$dir"
	defer remove_port "${dir##*/}"
	if [ "$address" = loop ]; then
		set_attribute "$dir/addr_trtype" loop
	else
		set_attribute "$dir/addr_trtype" rdma
		set_attribute "$dir/addr_adrfam" ipv4
		set_attribute "$dir/addr_traddr" "$address"
		set_attribute "$dir/addr_trsvcid" 4420
		set_attribute "$dir/param_inline_data_size" 0
	fi
	for word; do
		set_attribute "$dir/${word%%=*}" "${word#*=}"
	done
}

remove_port()
{
	local dir=$NVMET/ports/$1 link

	[ -d "$dir" ] || return 0
	for link in "$dir"/subsystems/*; do
		[ ! -L "$link" ] || rm "$link"
	done
	rmdir "$dir"
}

# export_on PORT SUBSYS, withdraw PORT SUBSYS
export_on()
{
	ln -s "$NVMET/subsystems/$2" "$NVMET/ports/$1/subsystems/$2"
}

withdraw()
{
	rm "$NVMET/ports/$1/subsystems/$2"
}

# use_soft rxe|siw ADDRESS: an RDMA device without any hardware, until the case
# ends
use_soft()
{
	modprobe -q dummy numdummies=0 || skip "no dummy network device"
	case $1 in
	rxe) modprobe -q rdma_rxe || skip "no rxe" ;;
	siw) modprobe -q siw || skip "no siw" ;;
	esac
	ip link add "net-$1" type dummy
	defer ip link delete "net-$1"
	ip address add "$2/24" dev "net-$1"
	ip link set "net-$1" up
	rdma link add "$1-test" type "$1" netdev "net-$1"
	defer rdma link delete "$1-test"
}

# --- the host --------------------------------------------------------------

# try_connect SUBSYS ADDRESS [OPTION...]: of nvme connect; without a wait
try_connect()
{
	local subsys=$1 address=$2 where
	shift 2

	if [ "$address" = loop ]; then
		where=(-t loop)
	else
		where=(-t rdma -a "$address" -s 4420 --reconnect-delay=1)
	fi
	nvme connect "${where[@]}" -n "$subsys" --nr-io-queues=2 "$@" >/dev/null
}

# connect SUBSYS ADDRESS [OPTION...]: until the case ends; wait for all enabled
# namespaces
connect()
{
	defer disconnect "$1"
	try_connect "$@" || fail "cannot connect to $1 at $2"
	host_sees_all "$1"
}

# By the file, as the program tells success and failure by one status.
disconnect()
{
	local dir

	for dir in $(host_ctrls "$1"); do
		echo 1 >"$dir/delete_controller" || :
	done 2>/dev/null
	wait_for "$NVMET_WAIT" host_has_no_ctrl "$1" ||
		fail "the host's controllers of $1 do not go"
}

# host_ctrls SUBSYS: its controllers' directories
host_ctrls()
{
	local dir

	for dir in /sys/class/nvme/nvme*; do
		[ "$(trim "$dir/subsysnqn" 2>/dev/null)" != "$1" ] || echo "$dir"
	done
}

host_has_no_ctrl()
{
	[ -z "$(host_ctrls "$1")" ]
}

# host_ctrl_in_state SUBSYS STATE: all of its controllers
host_ctrls_in_state()
{
	local dir dirs

	dirs=$(host_ctrls "$1")
	[ -n "$dirs" ] || return 1
	for dir in $dirs; do
		[ "$(trim "$dir/state" 2>/dev/null)" = "$2" ] || return 1
	done
}

# The target's namespaces that are enabled are disks of the host.
host_sees_all()
{
	local dir nsid

	for dir in "$NVMET/subsystems/$1"/namespaces/*; do
		[ -d "$dir" ] || continue
		[ "$(trim "$dir/enable")" = 1 ] || continue
		nsid=${dir##*/}
		wait_for "$NVMET_WAIT" host_has_disk "$1" "$nsid" ||
			fail "the host does not see namespace $nsid of $1"
	done
}

# host_disk SUBSYS NSID: /dev/nvme0n1, or nothing
host_disk()
{
	local dir disk

	for dir in /sys/class/nvme-subsystem/nvme-subsys*; do
		[ "$(trim "$dir/subsysnqn" 2>/dev/null)" = "$1" ] || continue
		# The disks of paths (nvme0c1n1) are not for users.
		for disk in "$dir"/nvme*n*; do
			[[ ${disk##*/} =~ ^nvme[0-9]+n[0-9]+$ ]] || continue
			[ "$(trim "$disk/nsid" 2>/dev/null)" = "$2" ] || continue
			echo "/dev/${disk##*/}"
			return
		done
	done
}

# The open waits until the partition table has been looked for.
host_has_disk()
{
	local disk

	disk=$(host_disk "$1" "$2")
	[ -n "$disk" ] && [ -b "$disk" ] &&
		dd if="$disk" of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null
}

host_has_no_disk()
{
	[ -z "$(host_disk "$1" "$2")" ]
}

# --- I/O of the host -------------------------------------------------------

# host_fio DISK OPTION...: each block with a checksum and its place; read back
host_fio()
{
	local disk=$1 log
	shift

	log=$(mktemp)
	defer rm -f "$log"
	start_fio "$log" "$disk" "$@"
	finish_fio "$fio_pid" "$log"
}

# start_fio LOG DISK OPTION...: in the background; sets $fio_pid
start_fio()
{
	local log=$1 disk=$2
	shift 2

	fio --name="${disk##*/}" --filename="$disk" --direct=1 --ioengine=libaio \
		--verify=crc32c --verify_fatal=1 --verify_state_save=0 \
		--allow_file_create=0 --output="$log" "$@" 2>/dev/null &
	fio_pid=$!
	# No wait: it may hang until its disk is gone, which is deferred too.
	defer eval "kill $fio_pid 2>/dev/null"
}

# finish_fio PID LOG: wait for it; all data was right, and no error came
finish_fio()
{
	local status=0

	wait "$1" || status=$?
	if ((status)) || ! grep -q 'err= 0' "$2" || grep -q 'verify:' "$2"; then
		sed 's/^/# /' "$2" >&2
		fail "fio: status $status; its report is above"
	fi
}

# fio_on_all {SUBSYS NSID}...: reads and writes of all of them; each block that is
# written is read back
fio_on_all()
{
	local log pids=() logs=() i

	while (($#)); do
		log=$(mktemp)
		defer rm -f "$log"
		start_fio "$log" "$(host_disk "$1" "$2")" --rw=randrw \
			--bsrange=4k-64k --iodepth=8 --size=4M
		pids+=("$fio_pid")
		logs+=("$log")
		shift 2
	done
	for ((i = 0; i < ${#pids[@]}; i++)); do
		finish_fio "${pids[i]}" "${logs[i]}"
	done
}

# Load: writes at random, each read back and verified soon after, for as long as
# it is told to.  start_load DISK [FIO_OPTION...]
start_load()
{
	local before

	before=$(writes_of "$1")
	fio_log=$(mktemp)
	defer rm -f "$fio_log"
	start_fio "$fio_log" "$1" --rw=randwrite --bsrange=4k-64k --iodepth=16 \
		--size="$LOAD" --verify_backlog=64 --time_based --runtime=36000 "${@:2}"
	wait_for 20 writes_more "$1" "$before" || :
	check_load "at the start"
}

# writes_of DISK: how many it completed
writes_of()
{
	local -a stat

	read -r -a stat <"/sys/class/block/${1##*/}/stat"
	echo "${stat[4]}"
}

writes_more()
{
	has_ended "$fio_pid" || (($(writes_of "$1") > $2))
}

# slow_drive BYTES: per second that dst takes until the case ends, so that
# commands are in its queue at any time
slow_drive()
{
	! throttle 0 || defer throttle 0
	throttle "$1" || note "no host that could slow a drive down"
}

# check_load WHEN: it goes on
check_load()
{
	! has_ended "$fio_pid" || finish_fio "$fio_pid" "$fio_log"
	! has_ended "$fio_pid" || fail "$1: the I/O has ended"
}

# stop_load: no error came, and all data was right.  fio ends with an error of its
# own after a signal; its report has the I/O's.
stop_load()
{
	check_load "in the end"
	kill -INT "$fio_pid"
	end_of "$fio_pid" "the I/O" || :
	if ! grep -q 'err= 0' "$fio_log" || grep -q 'verify:' "$fio_log"; then
		sed 's/^/# /' "$fio_log" >&2
		fail "the I/O failed: see above"
	fi
}

# finish_load: as stop_load, and no disk at all had an error
finish_load()
{
	stop_load
	check_no_log "no I/O error" "I/O error|I/O Cmd|I/O Error"
}

# load_arrived LOCAL: what the host reads is what the drive has
load_arrived()
{
	same_data "$disk" "$1" 0 "$LOAD"
}

# abandon_load: it may have failed, and has to end now
abandon_load()
{
	kill -INT "$fio_pid" 2>/dev/null || :
	end_of "$fio_pid" "the I/O" || :
	! grep -q 'verify:' "$fio_log" || fail "wrong data: $(cat "$fio_log")"
}

# LOCAL is the disk that the target has, DISK what the host sees of it.

# host_writes DISK LOCAL OFFSET LENGTH: one command where the host's limits
# allow; the blocks before and after stay as they are
host_writes()
{
	local disk=$1 local=$2 offset=$3 length=$4 around=$(($4 + 1024)) file want

	# What is there before, then what is written.
	file=$(mktemp)
	head -c $((around + length)) /dev/urandom >"$file"
	fill "$local" $((offset - 512)) "$around" "$file"
	dd if="$file" of="$disk" bs="$length" count=1 skip="$around" \
		seek="$offset" iflag=skip_bytes,fullblock oflag=direct,seek_bytes \
		conv=notrunc,nocreat status=none || fail "cannot write $length bytes at $offset"
	want=$({
		head -c 512 "$file"
		tail -c "$length" "$file"
		dd if="$file" bs=512 skip=$((length / 512 + 1)) count=1 status=none
	} | sum)
	rm -f "$file"
	check_equal "what is on the drive of $length bytes at $offset, and around it" \
		"$(sum_of "$local" $((offset - 512)) "$around")" "$want"
}

# host_reads DISK LOCAL OFFSET LENGTH: what the drive has got by another way
host_reads()
{
	local disk=$1 local=$2 offset=$3 length=$4 got

	fill "$local" "$offset" "$length" /dev/urandom
	got=$(dd if="$disk" bs="$length" count=1 skip="$offset" \
		iflag=direct,skip_bytes,fullblock status=none | sum) ||
		fail "cannot read $length bytes at $offset"
	check_equal "what the host reads of $length bytes at $offset" "$got" \
		"$(sum_of "$local" "$offset" "$length")"
}

# same_data DISK LOCAL [OFFSET LENGTH]
same_data()
{
	check_equal "what the host reads of $1" "$(sum_of "$1" "${@:3}")" \
		"$(sum_of "$2" "${@:3}")"
}

# --- who moved the data ----------------------------------------------------

# nvmet_counter SUBSYS NSID KEY: the sum over its controllers of a number; the
# text of the last one otherwise.  The kernel has a line for a namespace once
# peer memory was allowed for it; without a line, or the key in it, this fails.
# "fallback" is the sum of all fallback_REASON.
nvmet_counter()
{
	local file lines line words word value number=0 text='' found=''

	for file in "$NVMET_DEBUG/$1"/ctrl*/p2pmem; do
		# In one read: what one reads in parts may change in between.
		mapfile -t lines <"$file" || continue
		for line in "${lines[@]}"; do
			[[ " $line " == *" nsid=$2 "* ]] || continue
			read -ra words <<<"$line"
			for word in "${words[@]}"; do
				case $word in
				"$3="*) ;;
				fallback_*=*) [ "$3" = fallback ] || continue ;;
				*) continue ;;
				esac
				found=yes
				value=${word#*=}
				if [[ $value =~ ^[0-9]+$ ]]; then
					number=$((number + value))
				else
					text=$value
				fi
			done
		done
	done
	[ -n "$found" ] || fail "no $3 of namespace $2 in $NVMET_DEBUG/$1/ctrl*/p2pmem"
	echo "${text:-$number}"
}

# count SUBSYS NSID: from here on
count()
{
	declare -g "counted_p2p_$2=$(nvmet_counter "$1" "$2" p2p_bytes)" \
		"counted_host_$2=$(nvmet_counter "$1" "$2" host_bytes)"
}

# counted WAY SUBSYS NSID: bytes since then, p2p or host
counted()
{
	local -n start=counted_$1_$3

	echo $(($(nvmet_counter "$2" "$3" "$1_bytes") - start))
}

# check_all_peer SUBSYS NSID BYTES PROVIDER: so many, and none otherwise
check_all_peer()
{
	check_equal "provider of namespace $2" "$(nvmet_counter "$1" "$2" provider)" "$4"
	check_equal "bytes of namespace $2 through peer memory" \
		"$(counted p2p "$1" "$2")" "$3"
	check_equal "bytes of namespace $2 through system memory" \
		"$(counted host "$1" "$2")" 0
}

# check_all_system SUBSYS NSID BYTES
check_all_system()
{
	check_equal "bytes of namespace $2 through peer memory" \
		"$(counted p2p "$1" "$2")" 0
	check_equal "bytes of namespace $2 through system memory" \
		"$(counted host "$1" "$2")" "$3"
}

# exact SUBSYS NSID LOCAL PROVIDER: written and read, and all of it counted where
# it should be; "none" for PROVIDER is system memory
exact()
{
	local disk length=$((64 * KIB + 512))

	disk=$(host_disk "$1" "$2")
	count "$1" "$2"
	host_writes "$disk" "$3" 8192 "$length"
	host_reads "$disk" "$3" 4096 "$length"
	if [ "$4" = none ]; then
		check_all_system "$1" "$2" $((2 * length))
	else
		check_all_peer "$1" "$2" $((2 * length)) "$4"
	fi
}

# more_than SUBSYS NSID KEY NUMBER
more_than()
{
	(($(nvmet_counter "$1" "$2" "$3") > $4))
}

# What the adapter moved as payload: the target's end of an RDMA READ (a write of
# the host) and of an RDMA WRITE (a read of the host), in a BAR or in RAM.
# count_adapter NAME: from here on
count_adapter()
{
	local op where

	for op in read write; do
		for where in bar ram; do
			declare -g "adapter_$1_${op}_$where=$(
				rnic_counter "$1" "${op}_local_${where}_bytes")"
		done
	done
}

# check_adapter NAME bar|ram WRITTEN READ: as the host sees it
check_adapter()
{
	local -n put=adapter_$1_read_$2 took=adapter_$1_write_$2

	check_equal "bytes that $1 put into $2" \
		"$(($(rnic_counter "$1" "read_local_$2_bytes") - put))" "$3"
	check_equal "bytes that $1 took from $2" \
		"$(($(rnic_counter "$1" "write_local_$2_bytes") - took))" "$4"
}

# What the target says of a namespace that gets no provider, in full
export file_backed="the namespace is backed by a file"
export no_dma="the transport has no device that does DMA (soft RDMA, TCP and loop copy by CPU)"

# driver_takes_none DISK
driver_takes_none()
{
	echo "the driver of $1 does not take peer-to-peer memory" \
		"(md, dm and NVMe multipath never do)"
}

# named_offers_none BDF, named_cannot_be_used BDF: the one in the attribute
named_offers_none()
{
	echo "$1, which its attribute p2pmem names, offers no memory"
}

named_cannot_be_used()
{
	local error=-18

	! has_option SYMBOLIC_ERRNAME || error=-EXDEV
	echo "$1, which its attribute p2pmem names, cannot be used ($error)"
}

# check_bound NSID PROVIDER, check_unbound NSID REASON: the message of a binding.
# Of a reason with more lines this is the first one.
check_bound()
{
	check_log "which provider" "nvmet: ctrl [0-9]+ ns $1: .*peer-to-peer memory of $2"
}

check_unbound()
{
	check_said_unbound "$1" "$2"
	check_no_log "no promise of namespace $1" \
		"nvmet: ctrl [0-9]+ ns $1: .*peer-to-peer memory of [0-9a-f]{4}:"
}

# check_said_unbound NSID REASON: no provider now; it may have had one before
check_said_unbound()
{
	wait_for 10 said_last "$1" "$2" ||
		fail "why namespace $1 has no provider is '$(said_unbound "$1")', should be '$2'"
}

said_last()
{
	[ "$(said_unbound "$1")" = "$2" ]
}

# said_unbound NSID: the last reason
said_unbound()
{
	log_since |
		sed -nE "s/.* nvmet: ctrl [0-9]+ ns $1: data goes through system memory: //p" |
		tail -n 1
}

# --- pools -----------------------------------------------------------------

# What a drive has set aside for its queues stays out.
declare -A pool_reserve=()

# Once, before the cases, while nobody uses peer memory.
remember_pools()
{
	local dir

	for dir in "$PCI"/*/p2pmem; do
		[ -d "$dir" ] || continue
		pool_reserve[$dir]=$(($(trim "$dir/size") - $(trim "$dir/available")))
	done
}

# missing_memory: "BDF BYTES" of each provider of which some is handed out
missing_memory()
{
	local dir out

	for dir in "$PCI"/*/p2pmem; do
		[ -d "$dir" ] || continue
		out=$(($(trim "$dir/size") - $(trim "$dir/available")))
		out=$((out - ${pool_reserve[$dir]:-0}))
		((out == 0)) || echo "$(basename "${dir%/p2pmem}") $out"
	done
}

pools_are_whole()
{
	[ -z "$(missing_memory)" ]
}

# check_pools WHEN: with nothing in flight all memory is back
check_pools()
{
	wait_for 10 pools_are_whole ||
		fail "$1: bytes of peer memory are missing: $(missing_memory)"
}

# nvmet_case COMMAND...: before and after, all memory is there.  What is left of
# a case after its deferred commands is seen by the next one.
nvmet_case()
{
	local role

	# A case may have had a drive come back by another name, and its old name
	# may be that of a disk of the host.
	for role in src dst cmb; do
		wait_for 30 drive_is_there "$role" || fail "no drive $role"
		declare -g "$role=$(disk_of "$role")"
	done
	check_pools "before"
	"$@"
	check_pools "after"
}

# add_nvmet "SENTENCE" FUNCTION [ARGUMENT...]
add_nvmet()
{
	[[ "$1 $2" =~ ${CASES:-} ]] || return 0
	CASES='' add "$1" nvmet_case "${@:2}"
}

# The last case: nothing of the others is left.
nothing_is_left()
{
	local left

	left=$(find "$NVMET"/subsystems "$NVMET"/ports -mindepth 1 -maxdepth 1 2>/dev/null)
	check_equal "what is left of the target" "$left" ""
	left=$(grep -lE '^(rdma|loop)$' /sys/class/nvme/nvme*/transport 2>/dev/null || :)
	check_equal "what is left of the host" "$left" ""
}
