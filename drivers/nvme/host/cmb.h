/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The Controller Memory Buffer of an NVMe controller: see cmb.c
 */
#ifndef _NVME_CMB_H
#define _NVME_CMB_H

#include <linux/io.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/types.h>

struct nvme_ctrl;
struct nvme_command;

/**
 * enum nvme_cmb_state - how far the controller is up, as the CMB sees it
 * @NVME_CMB_DOWN: not enabled, or about to go down; the pool is quiesced
 * @NVME_CMB_ENABLED: the controller decodes the CMB; still starting up
 * @NVME_CMB_LIVE: memory is handed out, unless the system suspends
 */
enum nvme_cmb_state {
	NVME_CMB_DOWN,
	NVME_CMB_ENABLED,
	NVME_CMB_LIVE,
};

/**
 * struct nvme_cmb - a controller's CMB
 * @ctrl: the controller
 * @searched: the members up to @size are set
 * @pseudo: plain memory in a BAR, which no CMB register describes
 * @registered: a region of the function; else the SQs may use it at most
 * @data: the controller reads and writes data there (CMBSZ.RDS and WDS)
 * @data_alone: also data of commands whose metadata is elsewhere
 * @loc: CMBLOC
 * @sz: CMBSZ
 * @bar: the BAR that it is in
 * @offset: bytes from the start of @bar
 * @size: bytes that can be used, 0 for none
 * @decoded: the controller knows the CMB since it was last enabled
 * @lock: serialises changes of @state, and with them quiescing and resuming
 * @state: protected by @lock
 * @sqs_settled: whether SQs go to the CMB has been decided
 * @sqs: memory set aside for I/O submission queues, slots of @sq_size bytes
 * @sqs_bus: what the controller calls @sqs
 * @sq_size: bytes
 * @sq_depth: entries of a queue that fit a slot; 0 if none were set aside
 * @nr_sqs: slots; the one for queue n is slot n - 1
 * @nr_sqs_used: slots in use; the last to leave gives @sqs back
 *
 * Members from @sqs_settled on belong to whoever sets up or frees the
 * controller's queues: probe, reset work, remove.
 */
struct nvme_cmb {
	struct nvme_ctrl *ctrl;

	bool searched;
	bool pseudo;
	bool registered;
	bool data;
	bool data_alone;
	u32 loc;
	u32 sz;
	int bar;
	u64 offset;
	u64 size;
	bool decoded;

	struct mutex lock;	/* state, and what goes with it */
	enum nvme_cmb_state state;

	bool sqs_settled;
	void __iomem *sqs;
	pci_bus_addr_t sqs_bus;
	size_t sq_size;
	u32 sq_depth;
	unsigned int nr_sqs;
	unsigned int nr_sqs_used;
};

extern const struct attribute_group nvme_cmb_attr_group;

/* Implemented by pci.c, which alone knows struct nvme_dev */
struct nvme_cmb *nvme_ctrl_cmb(struct nvme_ctrl *ctrl);

void nvme_cmb_init(struct nvme_cmb *cmb, struct nvme_ctrl *ctrl);
void nvme_cmb_init_pseudo(struct nvme_cmb *cmb, int bar);
void nvme_cmb_enable(struct nvme_cmb *cmb, unsigned long regs_size);
void nvme_cmb_live(struct nvme_cmb *cmb);
void nvme_cmb_suspend(struct nvme_cmb *cmb);
void nvme_cmb_resume(struct nvme_cmb *cmb);
void nvme_cmb_quiesce(struct nvme_cmb *cmb);
void nvme_cmb_contents_lost(struct nvme_cmb *cmb);
void nvme_cmb_down(struct nvme_cmb *cmb);
void nvme_cmb_remove(struct nvme_cmb *cmb);
bool nvme_cmb_may_hold(struct nvme_cmb *cmb, struct page *data);

u32 nvme_cmb_set_aside_sqs(struct nvme_cmb *cmb, unsigned int nr,
			   unsigned int polled, u32 depth, int sqes);
void __iomem *nvme_cmb_get_sq(struct nvme_cmb *cmb, int qid, size_t size,
			      dma_addr_t *bus);
void nvme_cmb_put_sq(struct nvme_cmb *cmb);

/*
 * Write one entry of a submission queue in the CMB. It goes out before any
 * later write to the doorbell, also when that is a shadow doorbell in system
 * memory; on the link, posted writes to one function keep their order (PCIe
 * r6.0, sec 2.4.1).
 */
static inline void nvme_cmb_write_sqe(void __iomem *entry,
				      const struct nvme_command *cmd,
				      size_t size)
{
	memcpy_toio(entry, cmd, size);
	/* Pairs with the device, which reads the doorbell first */
	wmb();
}

#endif /* _NVME_CMB_H */
