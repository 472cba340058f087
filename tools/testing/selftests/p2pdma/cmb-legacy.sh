#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A CMB as NVMe 1.3 and older have it: always enabled, and a drive that knows no
# CMBMSC must not be asked for it.  Guards R8.1 and R8.3.
#
# topology: cmb-legacy
# kernels: normal
# timeout: 90
# tags: nvme cmb

# shellcheck disable=SC2317 # run_cases calls the functions, by name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=cmb-lib.sh
. "$(dirname "$0")/cmb-lib.sh"

cmb_cases $((16 * MIB))
add "R8.1 R8.4: a copy through it" copy_through_it
run_cases
