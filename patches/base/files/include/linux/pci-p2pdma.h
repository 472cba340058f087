/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Peer-to-peer DMA is not part of this tree. What is left lets the drivers
 * that ask for a distance compile: no two functions can reach each other.
 */
#ifndef _LINUX_PCI_P2PDMA_H
#define _LINUX_PCI_P2PDMA_H

#include <linux/errno.h>
#include <linux/pci.h>

static inline int pci_p2pdma_distance(struct pci_dev *provider,
				      struct device *client, bool verbose)
{
	return -EOPNOTSUPP;
}

#endif /* _LINUX_PCI_P2PDMA_H */
