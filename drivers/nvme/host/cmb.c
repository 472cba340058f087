// SPDX-License-Identifier: GPL-2.0
/*
 * The Controller Memory Buffer: memory of an NVMe controller in one of its
 * BARs (NVM Express Base 2.0, sec 8.5)
 *
 * The controller is a provider: the CMB is registered as a region of its
 * function, once, when the controller is enabled for the first time. If the
 * controller can read and write data there, the region is published, and
 * orchestrators hand it out while the controller is live. The driver itself
 * may keep I/O submission queues in it.
 *
 * What happens when, next to what the controller does:
 *
 *   every enable     CMBMSC written, which a function level reset or D3cold
 *                    clears (sec 3.1.3.16); the first time: find, register
 *   queues set up    the first time: SQ memory set aside
 *   live             publish, resume
 *   down (timeout, reset, shutdown, suspend)
 *                    quiesce, contents lost; nobody is waited for
 *   remove           quiesce first; later, when the controller's own commands
 *                    are cancelled and its queues freed, drain
 *
 * A CMB that cannot have struct pages (too small, not aligned, or a kernel
 * without CONFIG_PCI_P2PDMA) can still hold submission queues: those need
 * only a mapping.
 */
#include <linux/math64.h>
#include <linux/memremap.h>
#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/sizes.h>
#include <linux/sysfs.h>

#include "nvme.h"
#include "cmb.h"
#include "cmb-regs.h"

static bool use_cmb_sqes = true;
module_param(use_cmb_sqes, bool, 0444);
MODULE_PARM_DESC(use_cmb_sqes,
		 "keep I/O submission queues in the Controller Memory Buffer (CMB) if the controller can");

/* Shallower queues than this would cost more than the CMB gains */
#define NVME_CMB_MIN_SQ_DEPTH	64

/* Sec 3.1.3.17, Controller Memory Buffer Status */
#define NVME_REG_CMBSTS		0x0058
#define NVME_CMBSTS_CBAI	BIT(0)

static struct pci_dev *nvme_cmb_pdev(struct nvme_cmb *cmb)
{
	return to_pci_dev(cmb->ctrl->dev);
}

static u32 nvme_cmb_read(struct nvme_cmb *cmb, u32 reg)
{
	u32 val = 0;

	cmb->ctrl->ops->reg_read32(cmb->ctrl, reg, &val);
	return val;
}

static void nvme_cmb_write(struct nvme_cmb *cmb, u32 reg, u32 val)
{
	cmb->ctrl->ops->reg_write32(cmb->ctrl, reg, val);
}

/* Does the controller ask for CMBMSC (CAP.CMBS)? Those before 1.4 have none */
static bool nvme_cmb_has_msc(struct nvme_cmb *cmb)
{
	return !cmb->pseudo && NVME_CAP_CMBS(cmb->ctrl->cap);
}

static void nvme_cmb_clear_msc(struct nvme_cmb *cmb)
{
	if (!nvme_cmb_has_msc(cmb))
		return;
	/* The half with the enable bits first: no half-written address */
	nvme_cmb_write(cmb, NVME_REG_CMBMSC, 0);
	nvme_cmb_write(cmb, NVME_REG_CMBMSC + 4, 0);
}

/*
 * Have the controller decode the CMB. It wants to be told where: at the bus
 * address of the CMB, so host and controller mean the same memory by the same
 * address. No system memory is mapped there, because IOVAs never overlap the
 * windows of the host bridge.
 */
static bool nvme_cmb_set_msc(struct nvme_cmb *cmb)
{
	struct pci_dev *pdev = nvme_cmb_pdev(cmb);
	u64 cba = pci_bus_address(pdev, cmb->bar) + cmb->offset;

	if (!nvme_cmb_has_msc(cmb))
		return true;

	nvme_cmb_write(cmb, NVME_REG_CMBMSC + 4, upper_32_bits(cba));
	nvme_cmb_write(cmb, NVME_REG_CMBMSC,
		       lower_32_bits(cba) | NVME_CMBMSC_CRE |
		       NVME_CMBMSC_CMSE);
	if (!(nvme_cmb_read(cmb, NVME_REG_CMBSTS) & NVME_CMBSTS_CBAI))
		return true;

	dev_warn(cmb->ctrl->device,
		 "CMB not used: controller finds its address %#llx invalid\n",
		 cba);
	nvme_cmb_clear_msc(cmb);
	return false;
}

/* Find out where the CMB is. Sets cmb->size if there is one to use. */
static void nvme_cmb_locate(struct nvme_cmb *cmb, unsigned long regs_size)
{
	struct device *dev = cmb->ctrl->device;
	struct nvme_cmb_layout layout;
	enum nvme_cmb_fault fault;
	char why[128];

	if (nvme_cmb_has_msc(cmb)) {
		/* CMBLOC and CMBSZ read as 0 without it */
		nvme_cmb_clear_msc(cmb);
		nvme_cmb_write(cmb, NVME_REG_CMBMSC, NVME_CMBMSC_CRE);
	}
	cmb->sz = nvme_cmb_read(cmb, NVME_REG_CMBSZ);
	if (cmb->sz)
		cmb->loc = nvme_cmb_read(cmb, NVME_REG_CMBLOC);

	fault = nvme_cmb_parse(cmb->ctrl->cap, cmb->loc, cmb->sz,
			       nvme_cmb_pdev(cmb)->resource, regs_size, &layout);
	if (fault == NVME_CMB_ABSENT)
		return;
	if (fault) {
		dev_warn(dev, "CMB not used: %s\n",
			 nvme_cmb_explain(fault, cmb->loc, cmb->sz, &layout,
					  why, sizeof(why)));
		return;
	}
	if (layout.size < layout.claimed)
		dev_info(dev, "CMB of %#llx bytes ends with BAR %u: %#llx bytes used\n",
			 layout.claimed, layout.bar, layout.size);

	cmb->data = layout.data;
	cmb->data_alone = layout.data_alone;
	cmb->bar = layout.bar;
	cmb->offset = layout.offset;
	cmb->size = layout.size;
}

static void nvme_cmb_locate_pseudo(struct nvme_cmb *cmb)
{
	struct pci_dev *pdev = nvme_cmb_pdev(cmb);

	if (!(pci_resource_flags(pdev, cmb->bar) & IORESOURCE_MEM) ||
	    (pci_resource_flags(pdev, cmb->bar) & IORESOURCE_UNSET) ||
	    !pci_resource_len(pdev, cmb->bar)) {
		dev_warn(cmb->ctrl->device,
			 "pseudo CMB not used: BAR %d has no memory assigned\n",
			 cmb->bar);
		return;
	}
	cmb->data = true;
	/* The restrictions of sec 8.5 are a CMB's */
	cmb->data_alone = true;
	cmb->size = pci_resource_len(pdev, cmb->bar);
}

/*
 * Register as much of the CMB as can have struct pages. One that takes no data
 * needs none: queues make do with a mapping.
 */
static void nvme_cmb_register(struct nvme_cmb *cmb)
{
	struct pci_dev *pdev = nvme_cmb_pdev(cmb);
	u64 start = pci_resource_start(pdev, cmb->bar) + cmb->offset;
	unsigned long align = memremap_compat_align();
	u64 size = ALIGN_DOWN(cmb->size, align);

	if (!IS_ENABLED(CONFIG_PCI_P2PDMA))
		return;

	if (!cmb->data) {
		dev_info(cmb->ctrl->device,
			 "CMB not registered as peer memory: it does not take data in both directions (CMBSZ %#x)\n",
			 cmb->sz);
		return;
	}
	if (!size || !IS_ALIGNED(start, align)) {
		dev_warn(cmb->ctrl->device,
			 "CMB not registered as peer memory: %#llx bytes at %#llx, struct pages need multiples of %#lx\n",
			 cmb->size, start, align);
		return;
	}
	/* Says itself why not */
	if (pci_p2pdma_add_resource(pdev, cmb->bar, size, cmb->offset))
		return;
	cmb->size = size;
	cmb->registered = true;

	/*
	 * Data of a command may be in the CMB of the controller that executes
	 * it (sec 8.5). Nobody says that of memory without CMB registers.
	 */
	pci_p2pdma_set_self_access(pdev, !cmb->pseudo);
}

static bool nvme_cmb_wants_sqs(struct nvme_cmb *cmb)
{
	return use_cmb_sqes && (cmb->sz & NVME_CMBSZ_SQS);
}

/**
 * nvme_cmb_init - prepare for a controller whose registers are not yet known
 * @cmb: the CMB, zeroed
 * @ctrl: the controller
 */
void nvme_cmb_init(struct nvme_cmb *cmb, struct nvme_ctrl *ctrl)
{
	cmb->ctrl = ctrl;
	mutex_init(&cmb->lock);
}

/**
 * nvme_cmb_init_pseudo - take a BAR for a CMB, without CMB registers
 * @cmb: the CMB, initialised
 * @bar: the BAR, all of which is memory
 *
 * For data only: no queue goes there.
 */
void nvme_cmb_init_pseudo(struct nvme_cmb *cmb, int bar)
{
	cmb->pseudo = true;
	cmb->bar = bar;
}

/*
 * New firmware may have moved the CMB. The region stays where it is, so such a
 * CMB is not used until the driver is bound anew.
 */
static bool nvme_cmb_unmoved(struct nvme_cmb *cmb)
{
	if (cmb->pseudo)
		return true;
	if (nvme_cmb_has_msc(cmb)) {
		nvme_cmb_clear_msc(cmb);
		nvme_cmb_write(cmb, NVME_REG_CMBMSC, NVME_CMBMSC_CRE);
	}
	if (nvme_cmb_read(cmb, NVME_REG_CMBSZ) == cmb->sz &&
	    nvme_cmb_read(cmb, NVME_REG_CMBLOC) == cmb->loc)
		return true;

	dev_warn(cmb->ctrl->device,
		 "CMB not used: a reset changed its place or size; bind the driver anew\n");
	nvme_cmb_clear_msc(cmb);
	return false;
}

/**
 * nvme_cmb_enable - the controller has been enabled: enable its CMB
 * @cmb: the CMB
 * @regs_size: bytes at the start of BAR 0 that the driver may ever map for
 *	registers and doorbells
 *
 * The first call finds the CMB and registers it. Whatever is wrong with it is
 * said in the log and leaves a controller without a CMB, not without service.
 *
 * Context: process, may sleep.
 */
void nvme_cmb_enable(struct nvme_cmb *cmb, unsigned long regs_size)
{
	bool first = !cmb->searched;

	if (first) {
		cmb->searched = true;
		if (cmb->pseudo)
			nvme_cmb_locate_pseudo(cmb);
		else
			nvme_cmb_locate(cmb, regs_size);
		if (!cmb->size)
			nvme_cmb_clear_msc(cmb);
		sysfs_update_group(&cmb->ctrl->device->kobj,
				   &nvme_cmb_attr_group);
	}
	if (!cmb->size)
		return;

	/* The controller decodes the memory before anyone can get at it */
	cmb->decoded = (first || nvme_cmb_unmoved(cmb)) &&
		       nvme_cmb_set_msc(cmb);
	if (!cmb->decoded) {
		if (first)
			cmb->size = 0;
		return;
	}

	if (first) {
		nvme_cmb_register(cmb);
		if (!cmb->registered && !nvme_cmb_wants_sqs(cmb)) {
			nvme_cmb_clear_msc(cmb);
			cmb->size = 0;
			return;
		}
	}

	guard(mutex)(&cmb->lock);
	cmb->state = NVME_CMB_ENABLED;
}

/* Call with cmb->lock held */
static void nvme_cmb_hand_out(struct nvme_cmb *cmb)
{
	struct pci_dev *pdev = nvme_cmb_pdev(cmb);
	int ret;

	if (!cmb->registered)
		return;
	ret = pci_p2pdma_resume(pdev);
	if (ret)
		dev_warn(cmb->ctrl->device, "CMB stays quiesced: %pe\n",
			 ERR_PTR(ret));
	else
		pci_p2pmem_publish(pdev, true);
}

/**
 * nvme_cmb_live - the controller is going live: hand out its CMB
 * @cmb: the CMB
 *
 * Called after the queues are set up, so that their memory is set aside, and
 * just before the state changes to live, so that whoever sees a live
 * controller and quiesces its CMB does it after this.
 *
 * Context: process, may sleep.
 */
void nvme_cmb_live(struct nvme_cmb *cmb)
{
	guard(mutex)(&cmb->lock);
	/* A timeout or removal may have been faster */
	if (cmb->state == NVME_CMB_DOWN)
		return;
	cmb->state = NVME_CMB_LIVE;
	nvme_cmb_hand_out(cmb);
}

/**
 * nvme_cmb_suspend - the system suspends, but the controller stays enabled
 * @cmb: the CMB of a live controller
 *
 * Context: process, may sleep, calls orchestrators back.
 */
void nvme_cmb_suspend(struct nvme_cmb *cmb)
{
	guard(mutex)(&cmb->lock);
	if (!cmb->registered)
		return;
	pci_p2pdma_quiesce(nvme_cmb_pdev(cmb));
	pci_p2pdma_contents_lost(nvme_cmb_pdev(cmb));
}

/**
 * nvme_cmb_resume - undo nvme_cmb_suspend()
 * @cmb: the CMB; one whose controller went down since then stays quiesced
 *
 * Context: process, may sleep.
 */
void nvme_cmb_resume(struct nvme_cmb *cmb)
{
	guard(mutex)(&cmb->lock);
	if (cmb->state == NVME_CMB_LIVE)
		nvme_cmb_hand_out(cmb);
}

/**
 * nvme_cmb_quiesce - the controller will be removed, but still works
 * @cmb: the CMB
 *
 * Transfers in flight complete, and their data is good, as long as the
 * controller is not disabled.
 *
 * Context: process, may sleep, calls orchestrators back.
 */
void nvme_cmb_quiesce(struct nvme_cmb *cmb)
{
	guard(mutex)(&cmb->lock);
	/* Whoever set this state has quiesced */
	if (cmb->state == NVME_CMB_DOWN)
		return;
	cmb->state = NVME_CMB_DOWN;
	if (cmb->registered)
		pci_p2pdma_quiesce(nvme_cmb_pdev(cmb));
}

/**
 * nvme_cmb_contents_lost - something may be lost, but the controller goes on
 * @cmb: the CMB
 *
 * Context: any.
 */
void nvme_cmb_contents_lost(struct nvme_cmb *cmb)
{
	if (cmb->registered)
		pci_p2pdma_contents_lost(nvme_cmb_pdev(cmb));
}

/**
 * nvme_cmb_down - the controller is about to be disabled, or is dead
 * @cmb: the CMB
 *
 * Nobody is waited for: what is allocated stays, and may hold data of this
 * controller's own commands, which the caller will cancel.
 *
 * Context: process, may sleep, calls orchestrators back.
 */
void nvme_cmb_down(struct nvme_cmb *cmb)
{
	/* For what is in flight: a dead controller may have lost it already */
	nvme_cmb_contents_lost(cmb);
	nvme_cmb_quiesce(cmb);
	/* For what was allocated in between */
	nvme_cmb_contents_lost(cmb);
}

/**
 * nvme_cmb_may_hold - may a command with metadata have this data?
 * @cmb: the CMB of the controller that will execute the command
 * @data: a page of the data; all of it is in one region or in none
 *
 * Metadata is in system memory. A controller with CMBLOC.CDMMMS clear wants it
 * in the CMB if data is there (sec 8.5).
 *
 * Context: any.
 * Return: false if the controller would refuse the command.
 */
bool nvme_cmb_may_hold(struct nvme_cmb *cmb, struct page *data)
{
	struct pci_dev *provider;

	if (!cmb->registered || cmb->data_alone || !is_pci_p2pdma_page(data))
		return true;
	provider = pci_p2pdma_page_provider(data);
	/* The driver is bound, so this reference is not the last one */
	pci_dev_put(provider);
	return provider != nvme_cmb_pdev(cmb);
}

/* Give the memory of the submission queues back */
static void nvme_cmb_free_sqs(struct nvme_cmb *cmb)
{
	if (!cmb->sqs)
		return;
	if (cmb->registered)
		pci_free_p2pmem(nvme_cmb_pdev(cmb), (void __force *)cmb->sqs,
				cmb->nr_sqs * cmb->sq_size);
	else
		iounmap(cmb->sqs);
	cmb->sqs = NULL;
}

/**
 * nvme_cmb_remove - the controller goes for good
 * @cmb: the CMB; its controller is disabled, the commands that it had are
 *	cancelled, and its queues are freed
 *
 * Waits for what others have of the CMB, then has the controller forget it.
 * The region itself goes with the driver's other managed resources.
 *
 * Context: process, may sleep without limit.
 */
void nvme_cmb_remove(struct nvme_cmb *cmb)
{
	struct pci_dev *pdev = nvme_cmb_pdev(cmb);

	if (!cmb->size)
		return;
	nvme_cmb_free_sqs(cmb);
	if (cmb->registered)
		pci_p2pdma_drain(pdev);
	if (!pci_dev_is_disconnected(pdev) && pci_device_is_present(pdev))
		nvme_cmb_clear_msc(cmb);
}

/*
 * Submission queues. One chunk of the CMB is cut into equal slots when the
 * I/O queues are set up for the first time, and stays for the life of the
 * controller, as the queues' memory does: resets neither take nor return any.
 */

static void __iomem *nvme_cmb_map_sqs(struct nvme_cmb *cmb, size_t bytes)
{
	struct pci_dev *pdev = nvme_cmb_pdev(cmb);
	void *addr;

	if (!cmb->registered) {
		cmb->sqs_bus = pci_bus_address(pdev, cmb->bar) + cmb->offset;
		return ioremap(pci_resource_start(pdev, cmb->bar) + cmb->offset,
			       bytes);
	}

	addr = pci_alloc_p2pmem(pdev, bytes);
	cmb->sqs_bus = pci_p2pmem_virt_to_bus(pdev, addr);
	return (void __iomem __force *)addr;
}

/* A queue that is not polled needs a vector, and the admin queue has the first */
static unsigned int nvme_cmb_possible_sqs(struct pci_dev *pdev,
					  unsigned int nr, unsigned int polled)
{
	int vectors = max(pci_msix_vec_count(pdev), pci_msi_vec_count(pdev));

	return min_t(unsigned int, nr, max(vectors - 1, 1) + polled);
}

/**
 * nvme_cmb_set_aside_sqs - reserve memory for I/O submission queues
 * @cmb: the CMB
 * @nr: number of I/O queues that the controller grants
 * @polled: how many of them are polled
 * @depth: entries that a queue would have in system memory
 * @sqes: size of an entry, as a power of two
 *
 * Queues get shallower if that lets all of them fit. Only the first call can
 * decide for the CMB: later, queues exist.
 *
 * Return: entries that each queue shall have; @depth if the CMB has no part
 * in it.
 */
u32 nvme_cmb_set_aside_sqs(struct nvme_cmb *cmb, unsigned int nr,
			   unsigned int polled, u32 depth, int sqes)
{
	size_t size;
	u64 room;
	u32 fit;

	if (cmb->sq_depth)
		return min(depth, cmb->sq_depth);
	if (cmb->sqs_settled)
		return depth;
	cmb->sqs_settled = true;

	if (!cmb->size || !nvme_cmb_wants_sqs(cmb))
		return depth;

	nr = nvme_cmb_possible_sqs(nvme_cmb_pdev(cmb), nr, polled);
	/* What can hold data is not filled with queues */
	room = cmb->registered ? cmb->size / 2 : cmb->size;
	size = min_t(u64, ALIGN(depth << sqes, NVME_CTRL_PAGE_SIZE),
		     ALIGN_DOWN(div_u64(room, nr), NVME_CTRL_PAGE_SIZE));
	fit = min_t(u32, depth, size >> sqes);
	if (fit < min(depth, NVME_CMB_MIN_SQ_DEPTH)) {
		dev_info(cmb->ctrl->device,
			 "submission queues in system memory: %u do not fit %llu KiB of the CMB\n",
			 nr, room >> 10);
		return depth;
	}

	cmb->sqs = nvme_cmb_map_sqs(cmb, nr * size);
	if (!cmb->sqs) {
		dev_info(cmb->ctrl->device,
			 "submission queues in system memory: no %zu KiB free in the CMB\n",
			 nr * size >> 10);
		return depth;
	}
	memset_io(cmb->sqs, 0, nr * size);
	cmb->sq_size = size;
	cmb->sq_depth = fit;
	cmb->nr_sqs = nr;
	dev_info(cmb->ctrl->device,
		 "%u submission queues of %u entries in the CMB, %zu of %llu KiB\n",
		 nr, fit, nr * size >> 10, cmb->size >> 10);
	return fit;
}

/**
 * nvme_cmb_get_sq - memory of one submission queue
 * @cmb: the CMB
 * @qid: the queue; the admin queue never gets any
 * @size: bytes
 * @bus: takes the address for the controller
 *
 * Return: the memory, or NULL if the queue has to be in system memory.
 */
void __iomem *nvme_cmb_get_sq(struct nvme_cmb *cmb, int qid, size_t size,
			      dma_addr_t *bus)
{
	size_t offset;

	if (!cmb->sqs || qid < 1 || qid > cmb->nr_sqs || size > cmb->sq_size)
		return NULL;

	offset = (qid - 1) * cmb->sq_size;
	cmb->nr_sqs_used++;
	*bus = cmb->sqs_bus + offset;
	return cmb->sqs + offset;
}

/**
 * nvme_cmb_put_sq - a submission queue is no more, or not in the CMB any more
 * @cmb: the CMB
 */
void nvme_cmb_put_sq(struct nvme_cmb *cmb)
{
	if (!--cmb->nr_sqs_used)
		nvme_cmb_free_sqs(cmb);
}

/*
 * Attributes of the controller: what the registers say
 */

static ssize_t cmb_show(struct device *dev, struct device_attribute *attr,
			char *buf)
{
	struct nvme_cmb *cmb = nvme_ctrl_cmb(dev_get_drvdata(dev));

	if (cmb->pseudo)
		return sysfs_emit(buf, "pseudo CMB: BAR %d, %llu bytes, no CMB registers\n",
				  cmb->bar,
				  (u64)pci_resource_len(nvme_cmb_pdev(cmb),
							cmb->bar));
	return sysfs_emit(buf, "cmbloc : x%08x\ncmbsz  : x%08x\n", cmb->loc,
			  cmb->sz);
}
static DEVICE_ATTR_RO(cmb);

static ssize_t cmbloc_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	return sysfs_emit(buf, "%u\n",
			  nvme_ctrl_cmb(dev_get_drvdata(dev))->loc);
}
static DEVICE_ATTR_RO(cmbloc);

static ssize_t cmbsz_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	return sysfs_emit(buf, "%u\n",
			  nvme_ctrl_cmb(dev_get_drvdata(dev))->sz);
}
static DEVICE_ATTR_RO(cmbsz);

static umode_t nvme_cmb_attr_is_visible(struct kobject *kobj,
					struct attribute *a, int n)
{
	struct nvme_cmb *cmb =
		nvme_ctrl_cmb(dev_get_drvdata(kobj_to_dev(kobj)));

	if (cmb->pseudo && cmb->size)
		return a == &dev_attr_cmb.attr ? a->mode : 0;
	return cmb->sz ? a->mode : 0;
}

static struct attribute *nvme_cmb_attrs[] = {
	&dev_attr_cmb.attr,
	&dev_attr_cmbloc.attr,
	&dev_attr_cmbsz.attr,
	NULL,
};

const struct attribute_group nvme_cmb_attr_group = {
	.attrs		= nvme_cmb_attrs,
	.is_visible	= nvme_cmb_attr_is_visible,
};
