#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A CMB of 16 MiB as NVMe 1.4 and later have it: nothing is where CMBLOC points
# until CMBMSC enables it.  Guards R8.1, R8.3 and R8.7.
#
# topology: switch
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
