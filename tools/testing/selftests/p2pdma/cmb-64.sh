#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A CMB of 64 MiB: as large as the drive behind it.  Guards R8.1.
#
# topology: cmb-64
# kernels: normal
# timeout: 90
# tags: nvme cmb

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=cmb-lib.sh
. "$(dirname "$0")/cmb-lib.sh"

cmb_cases $((64 * MIB))
add "R8.1 R8.4: a copy through it" copy_through_it
run_cases
