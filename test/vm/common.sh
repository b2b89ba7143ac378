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
