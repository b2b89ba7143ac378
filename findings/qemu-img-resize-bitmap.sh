#!/bin/sh
# SPDX-License-Identifier: MIT
#
# qcow2: an enabled dirty bitmap does not see that "qemu-img resize" has changed what the guest reads.
#
# Versions: qemu-utils 1:7.2+dfsg-7+deb12u18+b3 (Debian 12).
#
# Seen: an image full of data, with a persistent, enabled bitmap, is shrunk by half and grown again. The second half now reads
# as zeroes, the bitmap is still enabled ("auto"), neither "in-use" nor inconsistent, and calls that half clean. An incremental
# backup by this bitmap restores the old data there. (A plain write afterwards is recorded, so the bitmap does work.)
#
# Expected: the range is dirty, or the resize is refused as "snapshot -a" is ("Device has active dirty bitmaps").
#
# Output:
#	second half now: read 2097152/2097152 bytes at offset 2097152
#	flags: "bitmaps":[{"flags":["auto"]
#	dirty after shrink and grow: nothing
#	dirty after a write at 3 MiB: 3145728+65536
set -eu
packages='qemu-utils=1:7.2+dfsg-7+deb12u18+b3'
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
# The pinned packages, and what they need and this machine lacks, are unpacked here. 2: not fetched, no verdict.
# shellcheck disable=SC2086
apt-get -qq install --reinstall --allow-downgrades --no-install-recommends --download-only \
	-o Debug::NoLocking=1 -o APT::Sandbox::User=root -o Dir::Cache::archives="$tmp/" $packages >fetch.log 2>&1 ||
	{ cat fetch.log >&2; exit 2; }
for deb in *.deb; do dpkg-deb -x "$deb" root; done
export PATH="$tmp/root/usr/sbin:$tmp/root/usr/bin:$tmp/root/sbin:$tmp/root/bin:$PATH"
export LD_LIBRARY_PATH="$tmp/root/usr/lib/x86_64-linux-gnu:$tmp/root/lib/x86_64-linux-gnu"

# What the bitmap b of an image calls dirty: its lines of the map over NBD have "data": false.
dirty() {
	qemu-nbd -r -t -f qcow2 -k "$tmp/socket" -B b "$1" &
	server=$!
	for _ in $(seq 100); do [ -S socket ] && break; sleep 0.1; done
	qemu-img map --output=json --image-opts \
		"driver=nbd,server.type=unix,server.path=$tmp/socket,x-dirty-bitmap=qemu:dirty-bitmap:b" |
		sed -n 's/.*"start": \([0-9]*\), "length": \([0-9]*\).*"data": false.*/\1+\2/p' | xargs echo
	kill $server
	wait $server || :
	rm -f socket
}

qemu-img create -q -f qcow2 image 4M
qemu-io -c 'write -P 1 0 4M' image >/dev/null
qemu-img bitmap --add image b
{
	qemu-img resize -q --shrink image 2M
	qemu-img resize -q image 4M
	echo "second half now: $(qemu-io -r -c 'read -P 0 2M 2M' image | head -n 1)"
	echo "flags: $(qemu-img info --output=json image | tr -d ' \n' | grep -o '"bitmaps":\[[^]]*\]')"
	cp image copy # an enabled bitmap cannot be exported read-only: ask a copy
	qemu-img bitmap --disable copy b
	echo "dirty after shrink and grow: $(dirty copy | grep . || echo nothing)"
	qemu-io -c 'write -P 2 3M 64k' image >/dev/null
	qemu-img bitmap --disable image b
	echo "dirty after a write at 3 MiB: $(dirty image)"
} >seen
cat seen
cat >known <<'END'
second half now: read 2097152/2097152 bytes at offset 2097152
flags: "bitmaps":[{"flags":["auto"]
dirty after shrink and grow: nothing
dirty after a write at 3 MiB: 3145728+65536
END
cmp seen known || { echo 'changed' >&2; exit 1; }
