#!/bin/sh
# SPDX-License-Identifier: MIT
#
# qemu-nbd -B: serves the bitmap of a BACKING file for the overlay, without the overlay's own writes.
#
# Versions: qemu-utils 1:7.2+dfsg-7+deb12u18+b3 (Debian 12).
#
# Seen: the overlay has no bitmap at all. "qemu-nbd -B b overlay" starts all the same, with the bitmap b of its backing file,
# offered under the same context name for the overlay's contents: the MiB which the overlay has rewritten counts as clean.
# qemu-nbd(8) says "If FILENAME has a qcow2 persistent bitmap NAME, expose that bitmap"; the file named has none.
#
# Expected: "Bitmap 'b' is not found", as for a name that exists nowhere.
#
# Output:
#	bitmaps that the overlay has: 0
#	overlay, -B b: dirty: 3145728+65536
#	overlay, -B other: qemu-nbd: Bitmap 'other' is not found
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

# What a served bitmap calls dirty: its lines of the map over NBD have "data": false.
dirty() {
	qemu-nbd -r -t -f qcow2 -k "$tmp/socket" -B "$2" "$1" &
	server=$!
	for _ in $(seq 100); do [ -S socket ] && break; sleep 0.1; done
	qemu-img map --output=json --image-opts \
		"driver=nbd,server.type=unix,server.path=$tmp/socket,x-dirty-bitmap=qemu:dirty-bitmap:$2" |
		sed -n 's/.*"start": \([0-9]*\), "length": \([0-9]*\).*"data": false.*/\1+\2/p' | xargs echo
	kill $server
	wait $server || :
	rm -f socket
}

qemu-img create -q -f qcow2 base 4M
qemu-img bitmap --add base b
qemu-io -c 'write -P 1 3M 64k' base >/dev/null
qemu-img bitmap --disable base b
qemu-img create -q -f qcow2 -b base -F qcow2 overlay
qemu-io -c 'write -P 2 0 1M' overlay >/dev/null
{
	echo "bitmaps that the overlay has: $(qemu-img info --output=json overlay | grep -c '"bitmaps"' || :)"
	echo "overlay, -B b: dirty: $(dirty overlay b)"
	echo "overlay, -B other: $(timeout 20 qemu-nbd -r -f qcow2 -k "$tmp/socket" -B other overlay 2>&1)"
} >seen
cat seen
cat >known <<'END'
bitmaps that the overlay has: 0
overlay, -B b: dirty: 3145728+65536
overlay, -B other: qemu-nbd: Bitmap 'other' is not found
END
cmp seen known || { echo 'changed' >&2; exit 1; }
