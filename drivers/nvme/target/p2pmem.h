/* SPDX-License-Identifier: GPL-2.0 */
/*
 * NVMe target: payload in the memory of a PCI function. See p2pmem.c.
 */
#ifndef NVMET_P2PMEM_H
#define NVMET_P2PMEM_H

#include <linux/pci-p2pdma.h>
#include "nvmet.h"

struct seq_file;

#ifdef CONFIG_PCI_P2PDMA

extern struct configfs_attribute nvmet_port_attr_allow_p2pmem;
extern struct configfs_attribute nvmet_ns_attr_p2pmem;

int nvmet_p2pmem_init(void);
void nvmet_p2pmem_exit(void);
void nvmet_p2pmem_add_ctrl(struct nvmet_ctrl *ctrl, struct device *dma_dev);
void nvmet_p2pmem_remove_ctrl(struct nvmet_ctrl *ctrl);
void nvmet_p2pmem_add_ns(struct nvmet_ns *ns);
void nvmet_p2pmem_remove_ns(struct nvmet_ns *ns);
void nvmet_p2pmem_show(struct seq_file *m, struct nvmet_ctrl *ctrl);

bool __nvmet_p2pmem_alloc(struct nvmet_req *req, size_t length);
void __nvmet_p2pmem_free(struct nvmet_req *req);
bool __nvmet_p2pmem_complete(struct nvmet_req *req, u16 *status);

/* May payload of @ns that comes by @port be in peer memory? */
static inline bool nvmet_p2pmem_allowed(const struct nvmet_ns *ns,
					const struct nvmet_port *port)
{
	switch (READ_ONCE(ns->p2pmem)) {
	case NVMET_P2PMEM_PORT:
		return READ_ONCE(port->allow_p2pmem);
	case NVMET_P2PMEM_NEVER:
		return false;
	default:
		return true;
	}
}

/*
 * Give @req a buffer of @length bytes in peer memory, if that is allowed, makes
 * sense for the command, and some is free
 */
static inline bool nvmet_p2pmem_alloc(struct nvmet_req *req, size_t length)
{
	if (!req->ns || !req->port || !nvmet_p2pmem_allowed(req->ns, req->port))
		return false;
	return __nvmet_p2pmem_alloc(req, length);
}

/* Free the buffer of @req if it is in peer memory */
static inline bool nvmet_p2pmem_free(struct nvmet_req *req)
{
	if (likely(!req->p2p_dev))
		return false;
	__nvmet_p2pmem_free(req);
	return true;
}

/*
 * @req is about to complete with *@status. If its payload may have been lost
 * with peer memory, returns true when the command is repeated instead, through
 * system memory; and makes *@status one that the host retries when it cannot be.
 */
static inline bool nvmet_p2pmem_complete(struct nvmet_req *req, u16 *status)
{
	return unlikely(req->p2p_dev || req->p2p_repeat) &&
		__nvmet_p2pmem_complete(req, status);
}

#else /* CONFIG_PCI_P2PDMA */

static inline int nvmet_p2pmem_init(void)
{
	return 0;
}

static inline void nvmet_p2pmem_exit(void)
{
}

static inline void nvmet_p2pmem_add_ctrl(struct nvmet_ctrl *ctrl,
					 struct device *dma_dev)
{
}

static inline void nvmet_p2pmem_remove_ctrl(struct nvmet_ctrl *ctrl)
{
}

static inline void nvmet_p2pmem_add_ns(struct nvmet_ns *ns)
{
}

static inline void nvmet_p2pmem_remove_ns(struct nvmet_ns *ns)
{
}

static inline bool nvmet_p2pmem_alloc(struct nvmet_req *req, size_t length)
{
	return false;
}

static inline bool nvmet_p2pmem_free(struct nvmet_req *req)
{
	return false;
}

static inline bool nvmet_p2pmem_complete(struct nvmet_req *req, u16 *status)
{
	return false;
}

#endif /* CONFIG_PCI_P2PDMA */

#endif /* NVMET_P2PMEM_H */
