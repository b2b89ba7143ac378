#!/bin/sh
# SPDX-License-Identifier: MIT
#
# e2image -Q: a fresh QCOW2 image of a clean file system fails "qemu-img check".
#
# Versions: e2fsprogs 1.47.0-2+b2, qemu-utils 1:7.2+dfsg-7+deb12u18+b3 (Debian 12).
#
# Seen: "e2image -Q" and "e2image -Qa" of a new ext4, not mounted, clean by e2fsck. "qemu-img check" of the results finds leaked
# clusters, exit 3. The contents are right all the same: "qemu-img convert" of the -Qa image gives the file system byte by byte.
# "qemu-img check -r leaks" mends the image, and the second check passes.
#
# Expected: exit 0. e2image(8) calls the image "suitable for use by virtual machine images, and other tools that can use the
# .qcow image format", and nobody has written to it since.
#
# Output:
#	e2fsck: 0
#	-Q: qemu-img check exit 3: Leaked cluster leaked clusters were found
#	-Q: after check -r leaks: exit 0
#	-Qa: qemu-img check exit 3: Leaked cluster leaked clusters were found
#	-Qa: the same bytes as the file system
#	-Qa: after check -r leaks: exit 0
set -eu
packages='e2fsprogs=1.47.0-2+b2 qemu-utils=1:7.2+dfsg-7+deb12u18+b3'
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

truncate -s 64M fs
mkfs.ext4 -q -F -b 4096 -U 00000000-0000-4000-8000-000000000001 fs
head -c 3M /dev/urandom >data
debugfs -w -R 'write data data' fs >/dev/null 2>&1
{
	rc=0; e2fsck -fn fs >/dev/null 2>&1 || rc=$?
	echo "e2fsck: $rc"
	for option in -Q -Qa; do
		rm -f image
		e2image $option fs image >/dev/null 2>&1
		rc=0; qemu-img check image >log 2>&1 || rc=$?
		echo "$option: qemu-img check exit $rc: $(grep -o 'Leaked cluster\|leaked clusters were found' log | sort -u | xargs echo)"
		qemu-img convert -O raw image raw
		if cmp -s fs raw; then echo "$option: the same bytes as the file system"; fi
		qemu-img check -q -r leaks image >/dev/null 2>&1 || :
		rc=0; qemu-img check image >/dev/null 2>&1 || rc=$?
		echo "$option: after check -r leaks: exit $rc"
	done
} >seen
cat seen
cat >known <<'END'
e2fsck: 0
-Q: qemu-img check exit 3: Leaked cluster leaked clusters were found
-Q: after check -r leaks: exit 0
-Qa: qemu-img check exit 3: Leaked cluster leaked clusters were found
-Qa: the same bytes as the file system
-Qa: after check -r leaks: exit 0
END
cmp seen known || { echo 'changed' >&2; exit 1; }
