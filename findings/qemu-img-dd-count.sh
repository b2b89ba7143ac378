#!/bin/sh
# SPDX-License-Identifier: MIT
#
# qemu-img dd: "count" is counted from the start of the input, not from where "skip" has led.
#
# Versions: qemu-utils 1:7.2+dfsg-7+deb12u18+b3 (Debian 12).
#
# Seen: with skip=1 count=2 only ONE block comes out. With skip=2 count=2 the output is an empty image. With skip=3 count=2
# there is a line "cannot skip to specified offset" although the input has 16 blocks; the output is empty. All exit 0.
# qemu-img --help: "count=N: copy only N input blocks", "skip=N: skip N input blocks".
#
# Expected: what dd(1) does with the same operands: two blocks each time; or, where it cannot, an exit status other than 0.
#
# Output:
#	skip=0 count=2: qemu-img dd exit 0, 131072 bytes; dd 131072 bytes
#	skip=1 count=2: qemu-img dd exit 0, 65536 bytes; dd 131072 bytes
#	skip=2 count=2: qemu-img dd exit 0, 0 bytes; dd 131072 bytes
#	skip=3 count=2: qemu-img dd exit 0, 0 bytes; dd 131072 bytes, qemu-img: in: cannot skip to specified offset
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

head -c 1M /dev/urandom >in
for skip in 0 1 2 3; do
	rc=0
	qemu-img dd -f raw -O raw bs=64k skip=$skip count=2 if=in of=out 2>error || rc=$?
	dd bs=64k skip=$skip count=2 if=in of=right status=none
	echo "skip=$skip count=2: qemu-img dd exit $rc, $(stat -c %s out) bytes; dd $(stat -c %s right) bytes$(sed 's/^/, /' error)"
done >seen
cat seen
cat >known <<'END'
skip=0 count=2: qemu-img dd exit 0, 131072 bytes; dd 131072 bytes
skip=1 count=2: qemu-img dd exit 0, 65536 bytes; dd 131072 bytes
skip=2 count=2: qemu-img dd exit 0, 0 bytes; dd 131072 bytes
skip=3 count=2: qemu-img dd exit 0, 0 bytes; dd 131072 bytes, qemu-img: in: cannot skip to specified offset
END
cmp seen known || { echo 'changed' >&2; exit 1; }
