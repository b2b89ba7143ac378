#!/bin/sh
# SPDX-License-Identifier: MIT
#
# fio: with --continue_on_error=verify a failed verification ends with exit status 0.
#
# Versions: fio 3.33-3 (Debian 12).
#
# Seen: two damaged blocks. Without the option: exit 1. With it all damage is found and counted (total_err 2, error 84 in the
# JSON), and the exit status is 0. A script that wants to see all bad blocks and trusts $? passes a damaged disk.
# fio(1) says of the option only that the job goes on and that two more statistics are given.
#
# Expected: the same exit status 1, after the whole range.
#
# Output:
#	--rw=read: exit 0, 0 messages, error : 0
#	--rw=read: exit 1, 1 messages, error : 84
#	--rw=read --continue_on_error=verify: exit 0, 2 messages, error : 84 total_err : 2
#	--rw=write --verify_only --continue_on_error=verify: exit 0, 2 messages, error : 84 total_err : 2
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
	fio --name=job --filename=file --size=1M --bs=4k --verify=crc32c --output-format=json --output=out "$@" 2>log || rc=$?
	echo "$*: exit $rc, $(grep -c 'verify: bad\|verify failed' log || :) messages," \
		"$(grep -oE '"(error|total_err)" : [0-9]+' out | xargs echo)"
}
run --rw=write --do_verify=0 >/dev/null
{
	run --rw=read
	printf XXXX | dd of=file bs=1 seek=8292 conv=notrunc status=none
	printf XXXX | dd of=file bs=1 seek=82020 conv=notrunc status=none
	run --rw=read
	run --rw=read --continue_on_error=verify
	run --rw=write --verify_only --continue_on_error=verify
} >seen
cat seen
cat >known <<'END'
--rw=read: exit 0, 0 messages, error : 0
--rw=read: exit 1, 1 messages, error : 84
--rw=read --continue_on_error=verify: exit 0, 2 messages, error : 84 total_err : 2
--rw=write --verify_only --continue_on_error=verify: exit 0, 2 messages, error : 84 total_err : 2
END
cmp seen known || { echo 'changed' >&2; exit 1; }
