#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build the guest's user space: build/guest/root.squashfs, a read-only image of
# the host's own Debian release, from the machine's own package sources.
#
# It is built again only when its inputs change: the package list, this script,
# the guest's first process, the release and the sources.  FORCE=1 builds it
# anyway, to take in security updates.

set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# What tests and users of the guest run.
PACKAGES=(
	nvme-cli fio mdadm dmsetup cryptsetup-bin
	pciutils rdma-core iproute2
	kmod procps util-linux
)

# shellcheck disable=SC2154 # build comes from lib.sh
OUT=$build/guest
IMAGE=$OUT/root.squashfs
INIT=tools/testing/selftests/p2pdma/vm/init.sh

# The codename of this machine's Debian release.
release()
{
	# shellcheck source=/dev/null
	. /etc/os-release
	if [ "${ID:-}" != debian ] || [ -z "${VERSION_CODENAME:-}" ]; then
		die "guest: needs a Debian machine with a released version"
	fi
	echo "$VERSION_CODENAME"
}

# The machine's package sources, one line each, those of Debian only: other
# vendors' sources have nothing that the guest needs.
sources()
{
	# shellcheck disable=SC2016 # apt-get expands these, not the shell
	apt-get indextargets --format \
		'$(ORIGIN)|deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
		'Created-By: Packages' |
		sed -n "s/^Debian|\(deb [^ ]* $1\(-updates\|-security\)\? .*\)/\1/p" |
		sort -u
}

# A proxy that apt uses on this machine serves for the guest as well.
proxy_options()
{
	local name value

	for name in Acquire::http::Proxy Acquire::https::Proxy; do
		value=$(apt-config dump --format '%v' "$name")
		[ -z "$value" ] || printf -- '--aptopt=%s "%s";\n' "$name" "$value"
	done
}

# Everything that decides what the image will contain.
input_hash()
{
	{
		cat scripts/guest.sh "$INIT"
		printf '%s\n' "$1"
	} | sha256sum | cut -d ' ' -f 1
}

build_tar()
{
	local suite=$1 lines=$2 sources=() options=() packages

	mapfile -t sources <<<"$lines"
	mapfile -t options < <(proxy_options)
	packages=$(IFS=,; echo "${PACKAGES[*]}")
	# The hooks' $1 is the new root.
	# shellcheck disable=SC2016
	mmdebstrap --variant=minbase --include="$packages" "${options[@]}" \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--customize-hook="upload $INIT /usr/sbin/p2pdma-init" \
		--customize-hook='chmod 755 "$1/usr/sbin/p2pdma-init"' \
		--customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
		"$suite" "$OUT/root.tar" "${sources[@]}"
}

build_image()
{
	rm -f "$IMAGE.new" &&
	mksquashfs - "$IMAGE.new" -tar -comp zstd -Xcompression-level 9 \
		-no-progress -quiet <"$OUT/root.tar" &&
	rm -f "$OUT/root.tar" &&
	mv "$IMAGE.new" "$IMAGE"
}

main()
{
	local suite lines hash

	mkdir -p "$OUT"
	one_at_a_time guest
	suite=$(release)
	lines=$(sources "$suite")
	hash=$(input_hash "$lines")
	if [ -z "${FORCE:-}" ] && [ -n "$lines" ] && [ -e "$IMAGE" ] &&
	   [ "$(cat "$OUT/inputs" 2>/dev/null)" = "$hash" ]; then
		return 0
	fi

	need_packages mmdebstrap squashfs-tools
	# A machine that never ran "apt-get update" shows its sources only now.
	lines=$(sources "$suite")
	if [ -z "$lines" ]; then
		die "guest: no Debian package source for $suite; run apt-get update"
	fi

	step "Guest: user space of Debian $suite (about a minute)"
	run_logged guest build_tar "$suite" "$lines"
	run_logged guest-image build_image
	input_hash "$lines" >"$OUT/inputs"
	note "guest: $(du -h "$IMAGE" | cut -f 1) in $IMAGE"
}

main "$@"
