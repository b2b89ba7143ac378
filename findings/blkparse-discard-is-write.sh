#!/bin/sh
# SPDX-License-Identifier: MIT
#
# blkparse: its totals count discards and empty flushes as writes, and its "MiB" are 1000 KiB.
#
# Versions: blktrace 1.2.0-5 (Debian 12), and traces as the kernel writes them (struct blk_io_trace of linux/blktrace_api.h;
# the kernel sets BLK_TC_WRITE for all requests with an odd operation, so for discards, too).
#
# Seen: one read of 4 KiB, one write of 4 KiB, one discard of 1 GiB and one empty flush. The summary says three writes completed with
# 1048MiB; nothing in it says that all but 4 KiB was a discard. The lines of the events do tell them apart (W, D, FWS).
# "-a write" also shows the discard and the flush. And 1 GiB + 4 KiB are 1024.004 MiB, not 1048: the tool goes from KiB
# to MiB by 1000.
#
# Expected: 1 write, 4KiB, as iostat and /proc/diskstats have separate columns for discards and flushes; MiB of 1024 KiB.
#
# Output:
#	C R 0 + 8
#	C W 8 + 8
#	C D 1000 + 2097152
#	C FWS 0 + 0
#	 Reads Completed:        1,        4KiB  Writes Completed:        3,     1048MiB
#	with -a write:
#	C W 8 + 8
#	C D 1000 + 2097152
#	C FWS 0 + 0
set -eu
packages='blktrace=1.2.0-5'
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

python3 - <<'END'
import struct
READ, WRITE, FLUSH, SYNC, QUEUE, _, ISSUE, COMPLETE = (1 << i for i in range(8))
DISCARD = 1 << 13
ACTIONS = ((1, QUEUE), (4, 0), (7, ISSUE), (8, COMPLETE))  # Q, G, D, C
out, number = b'', 0
for sector, size, category in ((0, 4096, READ), (8, 4096, WRITE), (1000, 1 << 30, WRITE | DISCARD),
                               (0, 0, WRITE | FLUSH | SYNC)):
    for action, more in ACTIONS:
        number += 1
        out += struct.pack('<IIQQIIIIIHH', 0x65617407, number, number * 1000000, sector, size,
                           action | (category | more) << 16, 100, 8 << 20, 0, 0, 0)
open('trace.blktrace.0', 'wb').write(out)
END
{
	blkparse -i trace -f '%a %d %S + %n\n' | grep -E '^C |Completed'
	echo 'with -a write:'
	blkparse -a write -i trace -f '%a %d %S + %n\n' | grep '^C '
} | tr '\t' ' ' >seen
cat seen
cat >known <<'END'
C R 0 + 8
C W 8 + 8
C D 1000 + 2097152
C FWS 0 + 0
 Reads Completed:        1,        4KiB  Writes Completed:        3,     1048MiB
with -a write:
C W 8 + 8
C D 1000 + 2097152
C FWS 0 + 0
END
cmp seen known || { echo 'changed' >&2; exit 1; }
