#!/bin/sh
# SPDX-License-Identifier: MIT
#
# fio: verification of a writing job passes over blocks that still hold the data of an older job (lost writes).
#
# Versions: fio 3.33-3 (Debian 12).
#
# Seen: a file is written with --randseed=1, then with --randseed=2; then 16 of its 256 blocks, and at last all of them, are put
# back as the first job left them. "--verify_only --randseed=2" of the second job finds no error and exits 0, for rw=write,
# although each block's header holds the seed of the job that wrote it. With rw=rw the same seed IS
# compared: there the stale blocks fail.
#
# Expected: "verify: bad header rand_seed", as for rw=rw.
#
# Output:
#	--rw=write --do_verify=0 --randseed=1: exit 0
#	--rw=write --do_verify=0 --randseed=2: exit 0
#	--rw=write --verify_only --randseed=2: exit 0
#	the two differ
#	now 16 blocks are the old ones
#	--rw=write --verify_only --randseed=2: exit 0
#	now all blocks are the old ones
#	--rw=write --verify_only --randseed=2: exit 0
#	--rw=rw --do_verify=0 --randseed=1: exit 0
#	--rw=rw --do_verify=0 --randseed=2: exit 0
#	--rw=rw --verify_only --randseed=2: exit 0
#	the two differ
#	now 16 blocks are the old ones
#	--rw=rw --verify_only --randseed=2: exit 1, bad header rand_seed
#	now all blocks are the old ones
#	--rw=rw --verify_only --randseed=2: exit 1, bad header rand_seed
set -eu
packages='fio=3.33-3'
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

run() {
	rc=0
	fio --name=job --filename=file --size=1M --bs=4k --verify=crc32c --output=out "$@" 2>log || rc=$?
	echo "$*: exit $rc$(grep -o 'bad header rand_seed' log | sort -u | sed 's/^/, /')"
}
{
	for mode in write rw; do
		rm -f file
		run --rw=$mode --do_verify=0 --randseed=1
		cp file old
		run --rw=$mode --do_verify=0 --randseed=2
		run --rw=$mode --verify_only --randseed=2
		cmp -s file old || echo 'the two differ'
		dd if=old of=file bs=4k skip=40 seek=40 count=16 conv=notrunc status=none
		echo 'now 16 blocks are the old ones'
		run --rw=$mode --verify_only --randseed=2
		cp old file
		echo 'now all blocks are the old ones'
		run --rw=$mode --verify_only --randseed=2
	done
} >seen
cat seen
cat >known <<'END'
--rw=write --do_verify=0 --randseed=1: exit 0
--rw=write --do_verify=0 --randseed=2: exit 0
--rw=write --verify_only --randseed=2: exit 0
the two differ
now 16 blocks are the old ones
--rw=write --verify_only --randseed=2: exit 0
now all blocks are the old ones
--rw=write --verify_only --randseed=2: exit 0
--rw=rw --do_verify=0 --randseed=1: exit 0
--rw=rw --do_verify=0 --randseed=2: exit 0
--rw=rw --verify_only --randseed=2: exit 0
the two differ
now 16 blocks are the old ones
--rw=rw --verify_only --randseed=2: exit 1, bad header rand_seed
now all blocks are the old ones
--rw=rw --verify_only --randseed=2: exit 1, bad header rand_seed
END
cmp seen known || { echo 'changed' >&2; exit 1; }
