#!/bin/sh
# SPDX-License-Identifier: MIT
#
# qemu-nbd: with -o (offset) a bitmap that exists is "not found".
#
# Versions: qemu-utils 1:7.2+dfsg-7+deb12u18+b3 (Debian 12).
#
# Seen: "qemu-nbd -B b image" serves the bitmap, "qemu-nbd -o 1048576 -B b image" says "Bitmap 'b' is not found" and exits 1;
# with -o 0 it is found. qemu-nbd(8) knows no such limit: both options are described alone. The offset is a raw node above
# the qcow2 one, and the search for a bitmap does not go through it. (It does go down to backing files.)
#
# Expected: the bitmap, moved by the offset; or a message that says that -o and -B exclude each other.
#
# Output:
#	-B b: serves
#	-o 0 -B b: serves
#	-o 1048576: serves
#	-o 1048576 -B b: qemu-nbd: Bitmap 'b' is not found
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

qemu-img create -q -f qcow2 image 4M
qemu-img bitmap --add --disable image b
serve() {
	echo "$*: $(
		qemu-nbd -r -f qcow2 -t -k "$tmp/socket" "$@" image 2>&1 &
		server=$!
		for _ in $(seq 100); do [ -S socket ] && break; kill -0 $server 2>/dev/null || break; sleep 0.1; done
		sleep 0.5
		if kill $server 2>/dev/null; then echo serves; fi
		rm -f socket
	)"
}
{
	serve -B b
	serve -o 0 -B b
	serve -o 1048576
	serve -o 1048576 -B b
} >seen
cat seen
cat >known <<'END'
-B b: serves
-o 0 -B b: serves
-o 1048576: serves
-o 1048576 -B b: qemu-nbd: Bitmap 'b' is not found
END
cmp seen known || { echo 'changed' >&2; exit 1; }
