# SPDX-License-Identifier: GPL-2.0
#
# Peer-to-peer DMA for Linux 6.12.y: from patches to a running machine.
#
# Everything that is made goes to build/ (BUILD=). Each step is done only when
# what it depends on changed, so every target starts with its prerequisites.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash

V ?= normal

help:		## this list
	@echo "usage: make TARGET [LINUX=directory or tarball of a 6.12.y] [BUILD=directory]"
	@echo
	@echo "Edit a file either in build/linux (commit, make refresh) or here (make tree)."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: kernel guest	## all from nothing: packages, tree, kernel, guest; then the main job
	@scripts/demo.sh

# No recipe here calls make: "make -n" would run it.
check: tree	## all from nothing, then all tests; T=name for some; COVERAGE=1: see there
ifneq ($(COVERAGE),)
check: coverage
else
	@scripts/check.sh $(T)
endif

coverage: tree	## which lines and branches the tests reach, as a table
	@scripts/kernel.sh gcov
	@scripts/guest.sh
	@rm -rf $(or $(BUILD),build)/coverage
	@KERNELS=gcov scripts/check.sh $(T)
	@scripts/coverage.py

shell: kernel guest	## an interactive guest in the demo's topology
	@scripts/vm.py --topology switch --shell

tree:		## assemble build/linux; FORCE=1 saves the edits made there and starts anew
	@scripts/tree.sh

kernel: tree	## build a kernel; V=normal, debug, nop2pdma, gcov, stock
	@scripts/kernel.sh $(V)

stock: tree	## build the untouched kernel, for comparison
	@scripts/kernel.sh stock

guest:		## build the guest's user space
	@scripts/guest.sh

lint: kernel	## checkpatch --strict, sparse, W=1, kernel-doc, shellcheck, requirements
	@scripts/lint.sh

refresh:	## write the commits of build/linux back to patches/ and files
	@scripts/tree.sh refresh

series: tree	## build/series/0000-cover-letter.patch and on, for git am
	@scripts/tree.sh export

check-series:	## does the series apply to every 6.12.y that apt offers?
	@scripts/series-check.sh versions

check-commits: tree	## does every commit of the series build?
	@scripts/series-check.sh commits

deb: tree	## the kernel as installable packages
	@scripts/deb.sh

clean:		## remove what was built; keep the tree, the guest and the compiler's cache
	@scripts/clean.sh

distclean:	## remove build/, unless build/linux has edits
	@scripts/clean.sh all

.PHONY: help demo check coverage shell tree kernel stock guest lint refresh series \
	check-series check-commits deb clean distclean
# The scripts run in parallel inside; their order matters outside.
.NOTPARALLEL:
