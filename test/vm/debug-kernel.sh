# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
#
# The sanitizer kernels: Debian's source with test/vm/debug.config. Part of test/vm/kernel.

debug_config=$project/test/vm/debug.config

# The files that building modules for a built kernel takes, out of its tree: what its own headers package would have.
header_files() (
	cd "$1" || exit
	printf '%s\n' Makefile Module.symvers .config tools/objtool/objtool
	find arch/x86 -maxdepth 1 -name 'Makefile*'
	find include scripts arch/x86/include -type f -o -type l
)

fetch_debug_kernel() {
	note "kernel $name: fetching its source and its compiler (Debian $suite)"
	make_root "$1" "$(package linux-source 'linux-source-[0-9.]+')" gcc,libc6-dev,make,flex,bison,libelf-dev,libssl-dev,bc,lz4,kmod,python3-minimal
}

# build_debug_kernel ROOT: makes of a root with a kernel's source one as unpack_stock_kernel does.
build_debug_kernel() {
	local root=$1 log=$home/kernel-build.log tree=$home/source release headers
	rm -rf "$tree"
	mkdir "$tree"
	tar -C "$tree" --strip-components=1 -xf "$root"/usr/src/linux-source-*.tar.xz
	rm "$root"/usr/src/linux-source-*.tar.xz
	cp "$debug_config" "$tree/debug.config"

	note "kernel $name: building it, which takes from ten minutes to an hour"
	# A bzImage, for the code that would let the emulator start vmlinux itself does not survive KASAN in 6.1.
	# shellcheck disable=SC2016 # the inner shell's own variables
	in_root "$root" "$tree" sh -euc '
		export KBUILD_BUILD_USER=blkfilter KBUILD_BUILD_HOST=blkfilter
		make KCONFIG_ALLCONFIG=debug.config allnoconfig
		nice -n 19 make -j "$(nproc)" bzImage modules
		make INSTALL_MOD_PATH="$PWD/install" INSTALL_MOD_STRIP=1 modules_install' >"$log" 2>&1 ||
		{ tail -n 20 "$log" >&2; die "kernel $name: building it failed; all of it is in $log"; }

	release=$(<"$tree/include/config/kernel.release")
	headers=$root/lib/modules/$release/build
	mkdir -p "$headers" "$root/modules"
	(cd "$tree" && header_files . | cpio --quiet -pdm "$headers")
	mv "$tree/arch/x86/boot/bzImage" "$root/"
	mv "$tree/install/lib/modules/$release" "$root/modules/"
	rm -f "$root/modules/$release/"{build,source}
	printf '%s\n' "$release" >"$root/release"
	mv "$tree/debug.config" "$root/"
	rm -rf "$tree"
}
