# SPDX-License-Identifier: GPL-2.0
"""Parts of scripts/vm.py and scripts/check.py."""
