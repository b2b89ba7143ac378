# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the scripts of the test machine share: where things are, and how they speak.

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034 # others use it
cache=${BLKFILTER_CACHE:-$project/.cache}

# Standard output belongs to the command that runs in the guest, so everything of our own goes to standard error.
note() { printf 'blkfilter: %s\n' "$*" >&2; }
die() { note "$*"; exit 1; }

# `set -e` alone ends a script without a word.
trap 'note "$0: failed in line $LINENO"' ERR

# Makes "$run", a folder for one run of a machine. It goes, and whatever this shell has started ends, with the shell.
begin_run() {
	mkdir -p "$cache/run" "$cache/log"
	run=$(mktemp -d "$cache/run/XXXXXXXX")
	trap end_run EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
}
end_run() {
	trap - EXIT
	# shellcheck disable=SC2046 # a list
	kill $(jobs -p) 2>/dev/null || true
	rm -rf "$run"
}

# Debian's own archive, among whatever else this machine gets packages from.
mirror() {
	if [[ ${BLKFILTER_MIRROR:-} ]]; then
		printf '%s\n' "$BLKFILTER_MIRROR"
		return
	fi
	# shellcheck disable=SC2016 # $(REPO_URI) is for apt
	local query=(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian'
		'Component: main')
	local found
	found=$("${query[@]}")
	if [[ ! $found ]]; then
		apt-get -qq update >&2
		found=$("${query[@]}")
	fi
	[[ $found ]] || die "apt knows no Debian archive here; name one in BLKFILTER_MIRROR"
	head -n 1 <<<"$found"
}
