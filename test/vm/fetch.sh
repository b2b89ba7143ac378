# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
#
# What test/vm/kernel takes from Debian's archive. An archive that is just being updated gives nothing for some minutes:
# nobody's change is to fail for that, so this is told apart from all else that goes wrong.

# package NAME PATTERN: what apt is asked for: the suite's package of that name, which depends on those of its newest kernel,
# or that of these which has the version that is wanted.
package() {
	local version=${wanted//./\\.}
	if [[ $wanted ]]; then
		printf '?and(?name("^%s$"),?version("^%s$"))\n' "$2" "${version//+/\\+}"
	else
		printf '%s\n' "$1"
	fi
}

# make_root ROOT PACKAGE MORE-PACKAGES [HOOK]: a small root of the suite with these packages. Fails, after some tries, when the
# archive does not give it.
make_root() {
	local root=$1 package=$2 packages=$3 hook=${4:-} log=$home/fetch.log pause
	for pause in 20 60 0; do
		rm -rf "$root"
		mmdebstrap --mode=root --variant=essential --include="$package" --include="$packages" \
			--aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
			--aptopt='Acquire::Retries "3"' --aptopt='APT::Sandbox::User "root"' \
			--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
			${hook:+--customize-hook="$hook"} "$suite" "$root" "$(mirror)" >"$log" 2>&1 </dev/null && return
		((pause)) || break
		note "kernel $name: fetching failed, and is tried again in $pause seconds"
		sleep "$pause"
	done
	tail -n 20 "$log" >&2
	note "kernel $name: fetching failed; all of it is in $log"
	return 1
}

# newest_of PACKAGE: what the suite's package of that name stands for: of linux-headers-amd64 a release, of linux-source a series.
newest_of() {
	local apt=$home/apt options depends=
	rm -rf "$apt"
	mkdir -p "$apt"/{lists/partial,archives/partial}
	printf 'deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$(mirror)" "$suite" \
		>"$apt/sources.list"
	options=(-o "Dir::State=$apt" -o Dir::State::status=/dev/null -o "Dir::Cache=$apt" -o "Dir::Etc::SourceList=$apt/sources.list"
		-o Dir::Etc::SourceParts=/dev/null -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false
		-o Acquire::http::Timeout=20 -o APT::Sandbox::User=root -o APT::Architecture=amd64)
	if timeout 120 apt-get "${options[@]}" -qq --error-on=any update >"$home/look.log" 2>&1; then
		depends=$(apt-cache "${options[@]}" show --no-all-versions "$1" | sed -n 's/^Depends: //p')
	fi
	rm -rf "$apt"
	grep -oP "(^|, )${1%-amd64}-\K[0-9][^ ,]*" <<<"$depends"
}
