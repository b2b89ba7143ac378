# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
#
# Building kernel modules with the compiler and the headers of another Debian suite's small root. Needs common.sh.

# The files that modules are built from.
kernel_sources() (
	cd "$project" || exit
	local folder
	for folder in kernel test/modules; do
		[[ -d $folder ]] || continue
		find "$folder" -type f \( -name '*.[chS]' -o -name 'Makefile*' -o -name 'Kbuild*' -o -name '*.sh' \) -not -name '*.mod.c'
	done | LC_ALL=C sort
)

# in_root ROOT TREE COMMAND...: runs it in the root, with TREE as the project's folder, and there.
in_root() {
	local root=$1 tree=$2
	shift 2
	mkdir -p "$root$project"
	# The mounts live in a name space of their own and are gone with it, however this ends. objtool wants /proc.
	# shellcheck disable=SC2016 # the inner shell's own variables
	unshare --mount --propagation private bash -euc '
		root=$1 tree=$2 folder=$3
		shift 3
		mount --bind "$tree" "$root$folder"
		mount -t proc proc "$root/proc"
		exec chroot "$root" env -C "$folder" "$@"' in_root "$root" "$tree" "$project" "$@" </dev/null
}

# build_in_root ROOT TREE MAKE-ARGUMENT...: copies the sources to TREE, since one source tree serves several kernels,
# and builds them there. Test modules come last, for they use the others' symbols. The compiler sees them where the project
# is, so that what it made is up to date for a guest's make (test/guest/support/modules.ts), which looks at its command line.
build_in_root() {
	local root=$1 tree=$2 part
	shift 2
	mkdir -p "$tree"
	(cd "$project" && kernel_sources | cpio --quiet -pdm "$tree")
	for part in kernel kernel/samples test/modules; do
		[[ -e $tree/$part/Makefile ]] || continue
		in_root "$root" "$tree" make -C "$project/$part" -j "$(nproc)" "$@" || return
	done
}
