#!/bin/sh
# SPDX-License-Identifier: MIT
#
# rbd merge-diff: merges two diffs that both start from nothing, exit 0, into a diff that is neither of the two images.
#
# Versions: ceph-common 16.2.15+ds-0+deb12u2 (Debian 12); the file format is "rbd diff v1" (dev/rbd-diff of Ceph's documentation).
#
# Seen: two diffs as "rbd export-diff IMAGE" makes them of a head: no "from" and no "to" snapshot, all data there is, and
# nothing about what is not there. "rbd merge-diff" checks that the first one's end is the second one's start; two absent
# names count as the same. The result is a full diff of a mixture: where the second image has nothing, it has the first one's data.
# With the end named "a" in the first diff, the same pair is refused ("The first TO snapshot must be equal with the second FROM
# snapshot"), exit 22.
#
# Expected: the same refusal: a diff without a "from" starts from an empty image, not from the head of some other one.
#
# Output:
#	first:  s 4; w 0+1 A; w 2+1 A
#	second: s 4; w 0+1 B
#	merge, the first with an end's name: exit 22
#	merge: exit 0; s 4; w 0+1 B; w 2+1 A
set -eu
packages='ceph-common=16.2.15+ds-0+deb12u2'
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

cat >diff.py <<'END'
import struct
import sys
MIB = 1 << 20


def name(kind, text):
    return kind + struct.pack('<I', len(text)) + text


def write(path, data, to=None):
    with open(path, 'wb') as out:
        out.write(b'rbd diff v1\n' + (name(b't', to) if to else b'') + b's' + struct.pack('<Q', 4 * MIB))
        for offset, byte in data:
            out.write(b'w' + struct.pack('<QQ', offset * MIB, MIB) + byte * MIB)
        out.write(b'e')


def show(path):
    data, at, seen = open(path, 'rb').read(), 12, []
    while data[at:at + 1] != b'e':
        kind, at = chr(data[at]), at + 1
        first, length = struct.unpack_from('<QQ', data, at) if kind in 'wz' else struct.unpack_from('<Q', data, at) + (0,)
        at += 16 + length if kind == 'w' else 16 if kind == 'z' else 8
        seen.append(f'{kind} {first // MIB}' + (f'+{length // MIB} {chr(data[at - 1])}' if kind == 'w' else ''))
    print('; '.join(seen))


if len(sys.argv) > 1:
    show(sys.argv[1])
else:
    write('first', [(0, b'A'), (2, b'A')])
    write('first-named', [(0, b'A'), (2, b'A')], b'a')
    write('second', [(0, b'B')])
END
python3 diff.py
{
	echo "first:  $(python3 diff.py first)"
	echo "second: $(python3 diff.py second)"
	rc=0; rbd --no-progress merge-diff first-named second merged >log 2>&1 || rc=$?
	echo "merge, the first with an end's name: exit $rc"
	rm -f merged
	rc=0; rbd --no-progress merge-diff first second merged >log 2>&1 || rc=$?
	echo "merge: exit $rc; $(python3 diff.py merged)"
} >seen
cat seen
cat >known <<'END'
first:  s 4; w 0+1 A; w 2+1 A
second: s 4; w 0+1 B
merge, the first with an end's name: exit 22
merge: exit 0; s 4; w 0+1 B; w 2+1 A
END
cmp seen known || { echo 'changed' >&2; exit 1; }
