// SPDX-License-Identifier: GPL-2.0
/*
 * p2pdma_rnic: device, protection domains, completion queues, memory
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "rnic.h"

/* --- device --- */

static int rnic_query_device(struct ib_device *ibdev,
			     struct ib_device_attr *attr,
			     struct ib_udata *udata)
{
	struct rnic_dev *dev = to_rnic_dev(ibdev);

	*attr = (struct ib_device_attr){
		.sys_image_guid = ibdev->node_guid,
		.vendor_id = dev->pdev->vendor,
		.vendor_part_id = dev->pdev->device,
		.max_mr_size = U64_MAX,
		.page_size_cap = PAGE_SIZE,
		.max_qp = RNIC_MAX_QP,
		.max_qp_wr = RNIC_MAX_WR,
		.device_cap_flags = IB_DEVICE_MEM_MGT_EXTENSIONS,
		.kernel_cap_flags = IBK_LOCAL_DMA_LKEY,
		.max_send_sge = RNIC_MAX_SGE,
		.max_recv_sge = RNIC_MAX_SGE,
		.max_sge_rd = RNIC_MAX_SGE,
		.max_cq = 2 * RNIC_MAX_QP,
		.max_cqe = RNIC_MAX_CQE,
		.max_mr = RNIC_MAX_MR,
		.max_pd = RNIC_MAX_QP,
		.max_qp_rd_atom = RNIC_MAX_RD_ATOM,
		.max_qp_init_rd_atom = RNIC_MAX_RD_ATOM,
		.max_res_rd_atom = RNIC_MAX_RD_ATOM * RNIC_MAX_QP,
		.atomic_cap = IB_ATOMIC_NONE,
		.max_fast_reg_page_list_len =
			clamp_t(u32, rnic_mr_pages, 1, RNIC_MAX_PAGES),
	};
	return 0;
}

static int rnic_query_port(struct ib_device *ibdev, u32 port,
			   struct ib_port_attr *attr)
{
	attr->state = IB_PORT_ACTIVE;
	attr->phys_state = IB_PORT_PHYS_STATE_LINK_UP;
	attr->max_mtu = IB_MTU_4096;
	attr->active_mtu = IB_MTU_4096;
	attr->gid_tbl_len = 1;
	attr->max_msg_sz = RNIC_MAX_MSG;
	attr->active_width = IB_WIDTH_4X;
	attr->active_speed = IB_SPEED_EDR;
	return 0;
}

static int rnic_port_immutable(struct ib_device *ibdev, u32 port,
			       struct ib_port_immutable *immutable)
{
	immutable->core_cap_flags = RDMA_CORE_PORT_IWARP;
	immutable->gid_tbl_len = 1;
	return 0;
}

/* The address by which the connection manager finds an iWARP port */
static int rnic_query_gid(struct ib_device *ibdev, u32 port, int index,
			  union ib_gid *gid)
{
	memset(gid, 0, sizeof(*gid));
	ether_addr_copy(gid->raw, to_rnic_dev(ibdev)->netdev->dev_addr);
	return 0;
}

static int rnic_alloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	return 0;
}

static int rnic_dealloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	return 0;
}

/* --- completion queues --- */

static int rnic_create_cq(struct ib_cq *ibcq,
			  const struct ib_cq_init_attr *attr,
			  struct uverbs_attr_bundle *attrs)
{
	struct rnic_cq *cq = to_rnic_cq(ibcq);

	if (attrs || attr->flags)
		return -EOPNOTSUPP;
	if (!attr->cqe || attr->cqe > RNIC_MAX_CQE)
		return -EINVAL;
	cq->size = roundup_pow_of_two(attr->cqe);
	cq->ring = kvcalloc(cq->size, sizeof(*cq->ring), GFP_KERNEL);
	if (!cq->ring)
		return -ENOMEM;
	spin_lock_init(&cq->lock);
	ibcq->cqe = cq->size;
	return 0;
}

static int rnic_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata)
{
	kvfree(to_rnic_cq(ibcq)->ring);
	return 0;
}

static int rnic_poll_cq(struct ib_cq *ibcq, int num, struct ib_wc *wc)
{
	struct rnic_cq *cq = to_rnic_cq(ibcq);
	int n;

	guard(spinlock_irqsave)(&cq->lock);
	for (n = 0; n < num && cq->tail != cq->head; n++)
		wc[n] = cq->ring[cq->tail++ & (cq->size - 1)];
	return n;
}

static int rnic_req_notify_cq(struct ib_cq *ibcq, enum ib_cq_notify_flags flags)
{
	struct rnic_cq *cq = to_rnic_cq(ibcq);

	guard(spinlock_irqsave)(&cq->lock);
	/* A request for the next one of any kind is not narrowed. */
	if (cq->notify != IB_CQ_NEXT_COMP)
		cq->notify = flags & IB_CQ_SOLICITED_MASK;
	return flags & IB_CQ_REPORT_MISSED_EVENTS && cq->head != cq->tail;
}

static void report_overflow(struct rnic_cq *cq)
{
	struct ib_event event = {
		.device = cq->ibcq.device,
		.element.cq = &cq->ibcq,
		.event = IB_EVENT_CQ_ERR,
	};

	ibdev_err(cq->ibcq.device, "a completion queue of %u overflowed\n",
		  cq->size);
	if (cq->ibcq.event_handler)
		cq->ibcq.event_handler(&event, cq->ibcq.cq_context);
}

/* Context: process, without locks: the user's handler is called. */
void rnic_cq_push(struct ib_cq *ibcq, const struct ib_wc *wc, bool solicited)
{
	struct rnic_cq *cq = to_rnic_cq(ibcq);
	bool notify = false, overflow = false;

	scoped_guard(spinlock_irqsave, &cq->lock) {
		if (cq->head - cq->tail == cq->size) {
			overflow = !cq->overflow;
			cq->overflow = true;
			break;
		}
		cq->ring[cq->head++ & (cq->size - 1)] = *wc;
		solicited |= wc->status != IB_WC_SUCCESS;
		notify = cq->notify == IB_CQ_NEXT_COMP ||
			 (cq->notify == IB_CQ_SOLICITED && solicited);
		if (notify)
			cq->notify = 0;
	}
	if (overflow)
		report_overflow(cq);
	if (notify) {
		/* As from an interrupt: what it raises runs at once. */
		local_bh_disable();
		cq->ibcq.comp_handler(&cq->ibcq, cq->ibcq.cq_context);
		local_bh_enable();
	}
}

/* --- memory --- */

static struct rnic_mr *new_mr(struct ib_pd *pd, u32 max_pages)
{
	struct rnic_dev *dev = to_rnic_dev(pd->device);
	struct rnic_mr *mr;
	int err;

	mr = kzalloc(sizeof(*mr), GFP_KERNEL);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	mr->dev = dev;
	mr->max_pages = max_pages;
	if (max_pages) {
		mr->pages = kvcalloc(2 * max_pages, sizeof(u64), GFP_KERNEL);
		err = -ENOMEM;
		if (!mr->pages)
			goto free_mr;
		mr->live = mr->pages + max_pages;
	}
	/* Not yet to be found: it is not valid. */
	err = xa_alloc_cyclic(&dev->mrs, &mr->index, mr,
			      XA_LIMIT((RNIC_LOCAL_DMA_LKEY >> 8) + 1,
				       RNIC_MAX_MR), &dev->next_mr, GFP_KERNEL);
	if (err < 0)
		goto free_pages;
	mr->ibmr.pd = pd;
	mr->ibmr.lkey = mr->index << 8;
	mr->ibmr.rkey = mr->index << 8;
	return mr;

free_pages:
	kvfree(mr->pages);
free_mr:
	kfree(mr);
	return ERR_PTR(err);
}

static struct ib_mr *rnic_get_dma_mr(struct ib_pd *pd, int access)
{
	struct rnic_mr *mr = new_mr(pd, 0);

	if (IS_ERR(mr))
		return ERR_CAST(mr);
	guard(spinlock)(&mr->dev->mr_lock);
	mr->everything = true;
	mr->access = access;
	mr->key = mr->ibmr.lkey;
	mr->valid = true;
	return &mr->ibmr;
}

/* The adapter is for the kernel only; ib_uverbs does not offer it. */
static struct ib_mr *rnic_reg_user_mr(struct ib_pd *pd, u64 start, u64 length,
				      u64 virt, int access,
				      struct ib_udata *udata)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static struct ib_mr *rnic_alloc_mr(struct ib_pd *pd, enum ib_mr_type type,
				   u32 max_sg)
{
	struct rnic_mr *mr;

	if (type != IB_MR_TYPE_MEM_REG)
		return ERR_PTR(-EOPNOTSUPP);
	if (!max_sg || max_sg > RNIC_MAX_PAGES)
		return ERR_PTR(-EINVAL);
	mr = new_mr(pd, max_sg);
	return IS_ERR(mr) ? ERR_CAST(mr) : &mr->ibmr;
}

/* Nobody finds it any more, and whoever did is done with it. */
static void wait_unused(struct rnic_mr *mr)
{
	struct rnic_dev *dev = mr->dev;

	spin_lock(&dev->mr_lock);
	while (mr->users) {
		spin_unlock(&dev->mr_lock);
		wait_event(dev->mr_idle, !READ_ONCE(mr->users));
		spin_lock(&dev->mr_lock);
	}
	spin_unlock(&dev->mr_lock);
}

static int rnic_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata)
{
	struct rnic_mr *mr = to_rnic_mr(ibmr);

	scoped_guard(spinlock, &mr->dev->mr_lock)
		mr->valid = false;
	xa_erase(&mr->dev->mrs, mr->index);
	wait_unused(mr);
	kvfree(mr->pages);
	kfree(mr);
	return 0;
}

static int add_page(struct ib_mr *ibmr, u64 addr)
{
	struct rnic_mr *mr = to_rnic_mr(ibmr);

	if (mr->npages == mr->max_pages)
		return -ENOMEM;
	mr->pages[mr->npages++] = addr;
	return 0;
}

static int rnic_map_mr_sg(struct ib_mr *ibmr, struct scatterlist *sg, int nents,
			  unsigned int *offset)
{
	to_rnic_mr(ibmr)->npages = 0;
	return ib_sg_to_pages(ibmr, sg, nents, offset, add_page);
}

/* Under dev->mr_lock */
static struct rnic_mr *find_mr(struct rnic_dev *dev, struct ib_pd *pd, u32 key)
{
	struct rnic_mr *mr = xa_load(&dev->mrs, key >> 8);

	return mr && mr->valid && mr->key == key && mr->ibmr.pd == pd ?
	       mr : NULL;
}

/*
 * Find what a key stands for and keep it until rnic_mr_put(). All bits of the
 * key count, the variant that ib_update_fast_reg_key() changes too.
 */
enum ib_wc_status rnic_mr_get(struct rnic_dev *dev, struct ib_pd *pd, u32 key,
			      u64 addr, u32 len, int access,
			      struct rnic_mr **ret)
{
	struct rnic_mr *mr;

	guard(spinlock)(&dev->mr_lock);
	mr = find_mr(dev, pd, key);
	if (!mr || (mr->access & access) != access)
		return IB_WC_LOC_PROT_ERR;
	if (!mr->everything &&
	    (addr < mr->iova || addr - mr->iova > mr->length ||
	     len > mr->length - (addr - mr->iova)))
		return IB_WC_LOC_PROT_ERR;
	mr->users++;
	*ret = mr;
	return IB_WC_SUCCESS;
}

void rnic_mr_put(struct rnic_mr *mr)
{
	struct rnic_dev *dev = mr->dev;

	/* Under the lock: the last user's end lets the MR be freed. */
	guard(spinlock)(&dev->mr_lock);
	WRITE_ONCE(mr->users, mr->users - 1);
	if (!mr->users)
		wake_up(&dev->mr_idle);
}

/* What rnic_map_mr_sg() collected can be reached by @key from now on. */
int rnic_mr_register(struct rnic_mr *mr, struct ib_pd *pd, u32 key, int access)
{
	guard(spinlock)(&mr->dev->mr_lock);
	if (mr->valid || mr->everything || mr->ibmr.pd != pd ||
	    key >> 8 != mr->index || mr->users)
		return -EINVAL;
	memcpy(mr->live, mr->pages, mr->npages * sizeof(u64));
	mr->iova = mr->ibmr.iova;
	mr->length = mr->ibmr.length;
	mr->page_size = mr->ibmr.page_size;
	mr->access = access;
	mr->key = key;
	mr->valid = true;
	return 0;
}

bool rnic_mr_can_invalidate(struct rnic_dev *dev, struct ib_pd *pd, u32 key)
{
	struct rnic_mr *mr;

	guard(spinlock)(&dev->mr_lock);
	mr = find_mr(dev, pd, key);
	return mr && !mr->everything;
}

/* Nothing uses the registration any more when this returns. */
int rnic_mr_invalidate(struct rnic_dev *dev, struct ib_pd *pd, u32 key)
{
	struct rnic_mr *mr;

	scoped_guard(spinlock, &dev->mr_lock) {
		mr = find_mr(dev, pd, key);
		if (!mr || mr->everything)
			return -EINVAL;
		mr->valid = false;
	}
	wait_unused(mr);
	return 0;
}

/* --- all of it --- */

const struct ib_device_ops rnic_dev_ops = {
	.owner = THIS_MODULE,
	.driver_id = RDMA_DRIVER_UNKNOWN,
	.query_device = rnic_query_device,
	.query_port = rnic_query_port,
	.get_port_immutable = rnic_port_immutable,
	.query_gid = rnic_query_gid,
	.alloc_pd = rnic_alloc_pd,
	.dealloc_pd = rnic_dealloc_pd,
	.create_cq = rnic_create_cq,
	.destroy_cq = rnic_destroy_cq,
	.poll_cq = rnic_poll_cq,
	.req_notify_cq = rnic_req_notify_cq,
	.get_dma_mr = rnic_get_dma_mr,
	.reg_user_mr = rnic_reg_user_mr,
	.alloc_mr = rnic_alloc_mr,
	.map_mr_sg = rnic_map_mr_sg,
	.dereg_mr = rnic_dereg_mr,
	.create_qp = rnic_create_qp,
	.modify_qp = rnic_modify_qp,
	.query_qp = rnic_query_qp,
	.destroy_qp = rnic_destroy_qp,
	.post_send = rnic_post_send,
	.post_recv = rnic_post_recv,
	.iw_add_ref = rnic_iw_add_ref,
	.iw_rem_ref = rnic_iw_rem_ref,
	.iw_get_qp = rnic_iw_get_qp,
	.iw_connect = rnic_iw_connect,
	.iw_accept = rnic_iw_accept,
	.iw_reject = rnic_iw_reject,
	.iw_create_listen = rnic_iw_create_listen,
	.iw_destroy_listen = rnic_iw_destroy_listen,
	INIT_RDMA_OBJ_SIZE(ib_pd, rnic_pd, ibpd),
	INIT_RDMA_OBJ_SIZE(ib_cq, rnic_cq, ibcq),
	INIT_RDMA_OBJ_SIZE(ib_qp, rnic_qp, ibqp),
};
