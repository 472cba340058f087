// SPDX-License-Identifier: GPL-2.0
/*
 * p2pdma_rnic: how the bytes are moved
 *
 * Payload is known by DMA address alone. In mode "engine" an NVMe controller,
 * which is the adapter's PCI function, moves it with its own DMA: an NVMe Write
 * fetches the bytes from their source into a scratch range of its namespace and
 * an NVMe Read delivers them to their target. In mode "cpu" the CPU copies: RAM
 * by its linear mapping, BARs by a mapping made for their physical address.
 *
 * Between two adapters the bytes go through a buffer, the wire: each adapter
 * uses only addresses that were mapped for it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitfield.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/io.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/module.h>

#include "rnic.h"

#define QUEUE_DEPTH	64
#define MAX_DESCS	(PAGE_SIZE / sizeof(struct nvme_sgl_desc) - 1)
/* NVMe r1.4, figure 247, SGLS: supported, of any length and alignment */
#define SGLS_SUPPORTED	GENMASK(1, 0)
#define SGLS_ANY_BYTE	1

/* An emulator on a busy machine may stall for many seconds. */
static unsigned int command_timeout = 60;
module_param(command_timeout, uint, 0644);
MODULE_PARM_DESC(command_timeout, "seconds that a command of the copy engine may take");

/* --- addresses --- */

/*
 * What stands behind a DMA address. Without a translating IOMMU it is that
 * address; one that the IOMMU does not know is a bus address below the switch.
 */
static phys_addr_t to_phys(struct rnic_dev *dev, dma_addr_t addr)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(&dev->pdev->dev);
	phys_addr_t phys = 0;

	if (domain && domain->type & __IOMMU_DOMAIN_PAGING)
		phys = iommu_iova_to_phys(domain, addr);
	return phys ?: addr;
}

bool rnic_is_bar(struct rnic_dev *dev, dma_addr_t addr)
{
	return !page_is_ram(PHYS_PFN(to_phys(dev, addr)));
}

static u32 seg_piece(const struct rnic_seg *seg, u32 off, u32 max,
		     dma_addr_t *addr)
{
	const struct rnic_mr *mr = seg->mr;
	u32 left = min(seg->len - off, max), len, in_page;
	u64 pos;

	if (!mr || mr->everything) {
		*addr = seg->addr + off;
		return left;
	}
	/* The first page may begin before the registration does. */
	pos = seg->addr + off - mr->iova + (mr->iova & (mr->page_size - 1));
	in_page = pos & (mr->page_size - 1);
	pos /= mr->page_size;
	*addr = mr->live[pos] + in_page;
	len = mr->page_size - in_page;
	while (len < left && mr->live[pos] + mr->page_size == mr->live[pos + 1]) {
		len += mr->page_size;
		pos++;
	}
	return min(len, left);
}

/*
 * The next bytes at consecutive addresses, at most @max. Returns their number,
 * 0 at the end.
 */
u32 rnic_iter_next(struct rnic_iter *iter, u32 max, dma_addr_t *addr)
{
	const struct rnic_seg *seg;
	u32 len;

	if (iter->i == iter->segs->n || !max)
		return 0;
	seg = &iter->segs->seg[iter->i];
	len = seg_piece(seg, iter->off, max, addr);
	iter->off += len;
	if (iter->off == seg->len) {
		iter->i++;
		iter->off = 0;
	}
	return len;
}

/* --- the NVMe controller --- */

static bool is_gone(struct rnic_engine *eng)
{
	return readl(eng->regs + NVME_REG_CSTS) == ~0U;
}

/* Neither gone nor reset by somebody else */
static bool is_running(struct rnic_engine *eng)
{
	u32 csts = readl(eng->regs + NVME_REG_CSTS);

	return csts != ~0U && csts & NVME_CSTS_RDY && !(csts & NVME_CSTS_CFS);
}

static void __iomem *doorbell(struct rnic_engine *eng, u16 id, bool cq)
{
	return eng->regs + NVME_REG_DBS + (2 * id + cq) * eng->stride;
}

static bool is_complete(struct rnic_queue *queue)
{
	return (le16_to_cpu(READ_ONCE(queue->cq[queue->head].status)) & 1) ==
	       queue->phase;
}

static int wait_complete(struct rnic_engine *eng, struct rnic_queue *queue)
{
	unsigned long deadline = jiffies + READ_ONCE(command_timeout) * HZ;
	unsigned int spins = 0;

	while (!is_complete(queue)) {
		if (spins++ < 50) {
			cpu_relax();
			continue;
		}
		if (spins % 64 == 0 && !is_running(eng))
			return -ENODEV;
		if (time_after(jiffies, deadline) && !is_complete(queue))
			return -ETIMEDOUT;
		usleep_range(10, 40);
	}
	/* The entry's phase is read before what it stands for. */
	dma_rmb();
	return 0;
}

static int execute(struct rnic_engine *eng, struct rnic_queue *queue,
		   struct nvme_command *cmd, u32 *result)
{
	struct nvme_completion *cqe;
	u16 status;
	int err;

	cmd->common.command_id = ++queue->command_id;
	queue->sq[queue->tail] = *cmd;
	queue->tail = (queue->tail + 1) % QUEUE_DEPTH;
	writel(queue->tail, doorbell(eng, queue->id, false));

	err = wait_complete(eng, queue);
	if (err)
		return err;
	cqe = &queue->cq[queue->head];
	status = le16_to_cpu(cqe->status) >> 1;
	if (result)
		*result = le32_to_cpu(cqe->result.u32);
	queue->head = (queue->head + 1) % QUEUE_DEPTH;
	if (!queue->head)
		queue->phase ^= 1;
	writel(queue->head, doorbell(eng, queue->id, true));
	return status ? -EIO : 0;
}

static int wait_ready(struct rnic_engine *eng, bool ready)
{
	u64 cap = readq(eng->regs + NVME_REG_CAP);
	unsigned long deadline;
	u32 csts;

	deadline = jiffies + (NVME_CAP_TIMEOUT(cap) + 1) * HZ / 2;
	for (;;) {
		csts = readl(eng->regs + NVME_REG_CSTS);
		if (csts == ~0U)
			return -ENODEV;
		if ((csts & NVME_CSTS_RDY) == (ready ? NVME_CSTS_RDY : 0))
			return 0;
		if (time_after(jiffies, deadline))
			return -ETIMEDOUT;
		usleep_range(100, 1000);
	}
}

/* No DMA of the function after this. */
static int disable_controller(struct rnic_engine *eng)
{
	if (is_gone(eng))
		return -ENODEV;
	writel(0, eng->regs + NVME_REG_CC);
	return wait_ready(eng, false);
}

static int alloc_queue(struct device *dev, struct rnic_queue *queue, u16 id)
{
	queue->sq = dmam_alloc_coherent(dev, QUEUE_DEPTH * sizeof(*queue->sq),
					&queue->sq_dma, GFP_KERNEL);
	queue->cq = dmam_alloc_coherent(dev, QUEUE_DEPTH * sizeof(*queue->cq),
					&queue->cq_dma, GFP_KERNEL);
	if (!queue->sq || !queue->cq)
		return -ENOMEM;
	queue->id = id;
	queue->phase = 1;
	return 0;
}

static int alloc_buffers(struct rnic_engine *eng, struct device *dev)
{
	int err;

	eng->page = dmam_alloc_coherent(dev, PAGE_SIZE, &eng->page_dma,
					GFP_KERNEL);
	eng->sgl = dmam_alloc_coherent(dev, PAGE_SIZE, &eng->sgl_dma,
				       GFP_KERNEL);
	eng->pad = dmam_alloc_coherent(dev, PAGE_SIZE, &eng->pad_dma,
				       GFP_KERNEL);
	eng->wire = dmam_alloc_coherent(dev, RNIC_CHUNK, &eng->wire_dma,
					GFP_KERNEL);
	if (!eng->page || !eng->sgl || !eng->pad || !eng->wire)
		return -ENOMEM;
	err = alloc_queue(dev, &eng->admin, 0);
	return err ?: alloc_queue(dev, &eng->io, 1);
}

static int enable_controller(struct rnic_engine *eng)
{
	u64 cap = readq(eng->regs + NVME_REG_CAP);
	int err;

	eng->stride = 4 << NVME_CAP_STRIDE(cap);
	if (NVME_CAP_MQES(cap) + 1 < QUEUE_DEPTH || NVME_CAP_MPSMIN(cap))
		return -EOPNOTSUPP;
	err = disable_controller(eng);
	if (err)
		return err;
	writel((QUEUE_DEPTH - 1) << 16 | (QUEUE_DEPTH - 1),
	       eng->regs + NVME_REG_AQA);
	writeq(eng->admin.sq_dma, eng->regs + NVME_REG_ASQ);
	writeq(eng->admin.cq_dma, eng->regs + NVME_REG_ACQ);
	writel(NVME_CC_ENABLE | NVME_CC_IOSQES | NVME_CC_IOCQES,
	       eng->regs + NVME_REG_CC);
	return wait_ready(eng, true);
}

/* Into eng->page */
static int identify(struct rnic_engine *eng, u8 cns, u32 nsid)
{
	struct nvme_command cmd = {
		.identify.opcode = nvme_admin_identify,
		.identify.nsid = cpu_to_le32(nsid),
		.identify.cns = cns,
		.identify.dptr.prp1 = cpu_to_le64(eng->page_dma),
	};

	return execute(eng, &eng->admin, &cmd, NULL);
}

static int check_controller(struct rnic_engine *eng)
{
	struct nvme_id_ctrl *id = eng->page;
	u32 sgls;
	int err;

	err = identify(eng, NVME_ID_CNS_CTRL, 0);
	if (err)
		return err;
	sgls = le32_to_cpu(id->sgls) & SGLS_SUPPORTED;
	if (sgls != SGLS_ANY_BYTE ||
	    (id->mdts && (PAGE_SIZE << id->mdts) < RNIC_CHUNK))
		return -EOPNOTSUPP;
	return 0;
}

static int find_namespace(struct rnic_engine *eng)
{
	struct nvme_id_ns *id = eng->page;
	__le32 *list = eng->page;
	int err;

	err = identify(eng, NVME_ID_CNS_NS_ACTIVE_LIST, 0);
	if (err)
		return err;
	eng->nsid = le32_to_cpu(list[0]);
	if (!eng->nsid)
		return -ENXIO;
	err = identify(eng, NVME_ID_CNS_NS, eng->nsid);
	if (err)
		return err;
	eng->block = 1 << id->lbaf[id->flbas & NVME_NS_FLBAS_LBA_MASK].ds;
	if (eng->block < SECTOR_SIZE || eng->block > PAGE_SIZE ||
	    id->lbaf[id->flbas & NVME_NS_FLBAS_LBA_MASK].ms ||
	    le64_to_cpu(id->nsze) < RNIC_CHUNK / eng->block)
		return -EOPNOTSUPP;
	return 0;
}

static int create_io_queue(struct rnic_engine *eng)
{
	struct nvme_command cmd = {
		.features.opcode = nvme_admin_set_features,
		.features.fid = cpu_to_le32(NVME_FEAT_NUM_QUEUES),
	};
	int err;

	err = execute(eng, &eng->admin, &cmd, NULL);
	if (err)
		return err;
	cmd = (struct nvme_command){
		.create_cq.opcode = nvme_admin_create_cq,
		.create_cq.prp1 = cpu_to_le64(eng->io.cq_dma),
		.create_cq.cqid = cpu_to_le16(eng->io.id),
		.create_cq.qsize = cpu_to_le16(QUEUE_DEPTH - 1),
		.create_cq.cq_flags = cpu_to_le16(NVME_QUEUE_PHYS_CONTIG),
	};
	err = execute(eng, &eng->admin, &cmd, NULL);
	if (err)
		return err;
	cmd = (struct nvme_command){
		.create_sq.opcode = nvme_admin_create_sq,
		.create_sq.prp1 = cpu_to_le64(eng->io.sq_dma),
		.create_sq.sqid = cpu_to_le16(eng->io.id),
		.create_sq.qsize = cpu_to_le16(QUEUE_DEPTH - 1),
		.create_sq.sq_flags = cpu_to_le16(NVME_QUEUE_PHYS_CONTIG),
		.create_sq.cqid = cpu_to_le16(eng->io.id),
	};
	return execute(eng, &eng->admin, &cmd, NULL);
}

/* --- transfers by the engine --- */

/*
 * Describe the next bytes of @iter, at most @max; returns their number, and
 * that of the descriptors in eng->sgl.
 *
 * QEMU 7.2 maps BARs through one bounce buffer of a page and splits a command
 * where that is in use. If such a part does not end at a block, it loses data.
 * So a piece in a BAR begins and ends at a block of the transfer, or it is one
 * of less than a block, alone.
 */
static u32 describe(struct rnic_dev *dev, struct rnic_iter *iter, u32 max,
		    unsigned int *n)
{
	struct rnic_engine *eng = &dev->engine;
	struct rnic_iter at = *iter;
	u32 total = 0, len, odd;
	bool stop = false;
	dma_addr_t addr;

	*n = 0;
	while (total < max && *n < MAX_DESCS && !stop) {
		at = *iter;
		len = rnic_iter_next(iter, max - total, &addr);
		if (!len)
			break;
		odd = len % eng->block;
		if (rnic_is_bar(dev, addr)) {
			if (total % eng->block || (odd == len && total)) {
				*iter = at;
				break;
			}
			if (odd && odd < len) {
				*iter = at;
				len = rnic_iter_next(iter, len - odd, &addr);
			}
			stop = odd;
		}
		eng->sgl[(*n)++] = (struct nvme_sgl_desc){
			.addr = cpu_to_le64(addr),
			.length = cpu_to_le32(len),
			.type = NVME_SGL_FMT_DATA_DESC << 4,
		};
		total += len;
	}
	return total;
}

/* Between the scratch range and what is described */
static int transfer(struct rnic_engine *eng, u8 opcode, unsigned int n, u32 len)
{
	u32 pad = round_up(len, eng->block) - len;
	struct nvme_command cmd = {
		.rw.opcode = opcode,
		.rw.flags = NVME_CMD_SGL_METABUF,
		.rw.nsid = cpu_to_le32(eng->nsid),
		.rw.length = cpu_to_le16((len + pad) / eng->block - 1),
	};

	if (pad) {
		eng->sgl[n++] = (struct nvme_sgl_desc){
			.addr = cpu_to_le64(eng->pad_dma),
			.length = cpu_to_le32(pad),
			.type = NVME_SGL_FMT_DATA_DESC << 4,
		};
	}
	if (n == 1) {
		cmd.rw.dptr.sgl = eng->sgl[0];
	} else {
		cmd.rw.dptr.sgl = (struct nvme_sgl_desc){
			.addr = cpu_to_le64(eng->sgl_dma),
			.length = cpu_to_le32(n * sizeof(*eng->sgl)),
			.type = NVME_SGL_FMT_LAST_SEG_DESC << 4,
		};
	}
	return execute(eng, &eng->io, &cmd, NULL);
}

static int transfer_wire(struct rnic_engine *eng, u8 opcode, u32 len)
{
	eng->sgl[0] = (struct nvme_sgl_desc){
		.addr = cpu_to_le64(eng->wire_dma),
		.length = cpu_to_le32(len),
		.type = NVME_SGL_FMT_DATA_DESC << 4,
	};
	return transfer(eng, opcode, 1, len);
}

/*
 * A command that ran out of time may still move data: nobody is told of the
 * failure before it cannot any more. QEMU hangs when a function is reset whose
 * commands wait for another one's bounce buffer, so they get more time first.
 */
static int engine_failed(struct rnic_dev *dev, int err)
{
	struct rnic_engine *eng = &dev->engine;

	if (err != -ETIMEDOUT && err != -ENODEV)
		return err;
	if (!eng->dead)
		pci_err(dev->pdev, "the copy engine %s\n", err == -ENODEV ?
			"is gone" : "does not answer");
	eng->dead = true;
	if (err == -ETIMEDOUT && wait_complete(eng, &eng->io))
		disable_controller(eng);
	return err;
}

/* The next bytes onto the wire; returns how many, or an error */
static int engine_gather(struct rnic_dev *dev, struct rnic_iter *src, u32 len,
			 void *wire)
{
	struct rnic_engine *eng = &dev->engine;
	unsigned int n;
	int err;

	len = describe(dev, src, len, &n);
	err = transfer(eng, nvme_cmd_write, n, len);
	if (!err)
		err = transfer_wire(eng, nvme_cmd_read, len);
	if (err)
		return engine_failed(dev, err);
	memcpy(wire, eng->wire, len);
	return len;
}

static int engine_scatter(struct rnic_dev *dev, struct rnic_iter *dst, u32 len,
			  const void *wire)
{
	struct rnic_engine *eng = &dev->engine;
	struct rnic_iter at = *dst;
	unsigned int n;
	int err;

	/* The descriptors have one place: how many bytes fit comes first. */
	len = describe(dev, &at, len, &n);
	memcpy(eng->wire, wire, len);
	err = transfer_wire(eng, nvme_cmd_write, len);
	if (!err) {
		describe(dev, dst, len, &n);
		err = transfer(eng, nvme_cmd_read, n, len);
	}
	return err ? engine_failed(dev, err) : len;
}

/* Within one adapter, without the wire. 0 where the ends do not fit. */
static int engine_move(struct rnic_dev *dev, struct rnic_iter *src,
		       struct rnic_iter *dst, u32 len)
{
	struct rnic_engine *eng = &dev->engine;
	struct rnic_iter s = *src, d = *dst;
	unsigned int n;
	int err;

	len = describe(dev, &s, len, &n);
	len = describe(dev, &d, len, &n);
	s = *src;
	if (describe(dev, &s, len, &n) != len)
		return 0;
	err = transfer(eng, nvme_cmd_write, n, len);
	if (!err) {
		d = *dst;
		describe(dev, &d, len, &n);
		err = transfer(eng, nvme_cmd_read, n, len);
	}
	if (err)
		return engine_failed(dev, err);
	*src = s;
	*dst = d;
	return len;
}

/* --- transfers by the CPU --- */

static int cpu_copy(struct rnic_dev *dev, dma_addr_t addr, void *wire, u32 len,
		    bool to_wire)
{
	phys_addr_t phys = to_phys(dev, addr);
	void __iomem *io;

	if (page_is_ram(PHYS_PFN(phys))) {
		if (to_wire)
			memcpy(wire, phys_to_virt(phys), len);
		else
			memcpy(phys_to_virt(phys), wire, len);
		return 0;
	}
	io = ioremap(phys, len);
	if (!io)
		return -ENOMEM;
	if (to_wire) {
		memcpy_fromio(wire, io, len);
	} else {
		memcpy_toio(io, wire, len);
		/* Posted writes are done before their completion is seen. */
		readb(io);
	}
	iounmap(io);
	return 0;
}

static int cpu_wire(struct rnic_dev *dev, struct rnic_iter *iter, u32 len,
		    void *wire, bool to_wire)
{
	dma_addr_t addr;
	u32 left, done = 0, n;
	int err;

	while (done < len) {
		left = rnic_iter_next(iter, len - done, &addr);
		if (!left)
			return -EINVAL;
		/* An IOMMU may map each page elsewhere. */
		for (; left; left -= n, addr += n, done += n) {
			n = min_t(u32, left, PAGE_SIZE - offset_in_page(addr));
			err = cpu_copy(dev, addr, wire + done, n, to_wire);
			if (err)
				return err;
		}
	}
	return len;
}

/* --- for the queue pairs --- */

static int gather(struct rnic_dev *dev, struct rnic_iter *src, u32 len,
		  void *wire)
{
	struct rnic_engine *eng = &dev->engine;

	guard(mutex)(&eng->lock);
	if (eng->dead)
		return -ENODEV;
	if (eng->mode == RNIC_MODE_CPU)
		return cpu_wire(dev, src, len, wire, true);
	return engine_gather(dev, src, len, wire);
}

static int scatter(struct rnic_dev *dev, struct rnic_iter *dst, u32 len,
		   void *wire)
{
	struct rnic_engine *eng = &dev->engine;

	guard(mutex)(&eng->lock);
	if (eng->dead)
		return -ENODEV;
	if (eng->mode == RNIC_MODE_CPU)
		return cpu_wire(dev, dst, len, wire, false);
	return engine_scatter(dev, dst, len, wire);
}

static int move(struct rnic_dev *dev, struct rnic_iter *src,
		struct rnic_iter *dst, u32 len)
{
	struct rnic_engine *eng = &dev->engine;

	guard(mutex)(&eng->lock);
	if (eng->dead)
		return -ENODEV;
	if (eng->mode == RNIC_MODE_CPU)
		return 0;
	return engine_move(dev, src, dst, len);
}

/**
 * rnic_engine_copy - move payload
 * @sdev: the adapter for which the source is mapped
 * @src: the source
 * @ddev: the adapter for which the target is mapped
 * @dst: the target
 * @len: bytes
 * @wire: RNIC_CHUNK bytes
 *
 * Context: process, may sleep for minutes.
 *
 * Return: 0, or a negative error. After an error of any kind the engine does
 * not touch source and target any more.
 */
int rnic_engine_copy(struct rnic_dev *sdev, struct rnic_iter *src,
		     struct rnic_dev *ddev, struct rnic_iter *dst, u32 len,
		     void *wire)
{
	int n, done, part;

	while (len) {
		n = min(len, RNIC_CHUNK);
		if (sdev == ddev) {
			done = move(sdev, src, dst, n);
			if (done < 0)
				return done;
			if (done) {
				len -= done;
				continue;
			}
		}
		n = gather(sdev, src, n, wire);
		if (n < 0)
			return n;
		for (done = 0; done < n; done += part) {
			part = scatter(ddev, dst, n - done, wire + done);
			if (part < 0)
				return part;
		}
		len -= n;
	}
	return 0;
}

int rnic_engine_set_mode(struct rnic_dev *dev, enum rnic_mode mode)
{
	guard(mutex)(&dev->engine.lock);
	dev->engine.mode = mode;
	return 0;
}

/* --- life --- */

int rnic_engine_start(struct rnic_dev *dev)
{
	struct rnic_engine *eng = &dev->engine;
	struct pci_dev *pdev = dev->pdev;
	int err;

	mutex_init(&eng->lock);
	eng->dead = true;
	eng->regs = pcim_iomap_region(pdev, 0, KBUILD_MODNAME);
	if (IS_ERR(eng->regs))
		return PTR_ERR(eng->regs);
	err = alloc_buffers(eng, &pdev->dev);
	if (!err)
		err = enable_controller(eng);
	if (!err)
		err = check_controller(eng);
	if (!err)
		err = find_namespace(eng);
	if (!err)
		err = create_io_queue(eng);
	if (err) {
		pci_err(pdev, "no copy engine: error %d\n", err);
		disable_controller(eng);
		return err;
	}
	eng->dead = false;
	return 0;
}

/* After this, transfers fail. */
void rnic_engine_stop(struct rnic_dev *dev)
{
	struct rnic_engine *eng = &dev->engine;

	guard(mutex)(&eng->lock);
	eng->dead = true;
	disable_controller(eng);
}
