// SPDX-License-Identifier: GPL-2.0
/*
 * p2pdma_rnic: queue pairs and how work requests are carried out
 *
 * One work item per queue pair runs its send queue, one request at a time and
 * to its end, so that order and fences need nothing more. It also carries out
 * what its peer's side would do, while @incoming keeps the peer from being
 * flushed: a flushed queue pair, hence a drained one, has no operation left
 * that could touch its user's memory.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "rnic.h"

/* The peer has no receive posted: to be tried again when it has. */
#define AGAIN	(-EAGAIN)

void rnic_qp_get(struct rnic_qp *qp)
{
	refcount_inc(&qp->refs);
}

void rnic_qp_put(struct rnic_qp *qp)
{
	if (refcount_dec_and_test(&qp->refs))
		complete(&qp->freed);
}

/* --- rings --- */

static int alloc_ring(struct rnic_ring *ring, u32 wr, u32 sge)
{
	ring->size = roundup_pow_of_two(max(wr, 1U));
	ring->max_sge = sge;
	ring->stride = struct_size_t(struct rnic_wqe, sge, sge);
	ring->wqes = kvcalloc(ring->size, ring->stride, GFP_KERNEL);
	return ring->wqes ? 0 : -ENOMEM;
}

static struct rnic_wqe *ring_at(struct rnic_ring *ring, u32 pos)
{
	return ring->wqes + (pos & (ring->size - 1)) * ring->stride;
}

static bool ring_full(const struct rnic_ring *ring)
{
	return ring->head - ring->tail == ring->size;
}

static bool ring_empty(const struct rnic_ring *ring)
{
	return ring->head == ring->tail;
}

/* --- posting --- */

static int copy_sges(struct rnic_wqe *wqe, const struct rnic_ring *ring,
		     const struct ib_sge *sge, int n)
{
	if (n < 0 || n > ring->max_sge)
		return -EINVAL;
	memcpy(wqe->sge, sge, n * sizeof(*sge));
	wqe->num_sge = n;
	return 0;
}

static int fill_send(struct rnic_qp *qp, struct rnic_wqe *wqe,
		     const struct ib_send_wr *wr)
{
	wqe->wr_id = wr->wr_id;
	wqe->opcode = wr->opcode;
	wqe->flags = wr->send_flags;
	if (qp->init.sq_sig_type == IB_SIGNAL_ALL_WR)
		wqe->flags |= IB_SEND_SIGNALED;
	if (wr->send_flags & IB_SEND_INLINE)
		return -EINVAL;

	switch (wr->opcode) {
	case IB_WR_SEND:
		break;
	case IB_WR_SEND_WITH_INV:
		wqe->inv_rkey = wr->ex.invalidate_rkey;
		break;
	case IB_WR_RDMA_READ_WITH_INV:
		/*
		 * Of iWARP's "RDMA Read with Local Invalidate", it is the key
		 * of the data sink that goes. What ex.invalidate_rkey says is
		 * not looked at: rw.c leaves an older variant of the key there.
		 */
		wqe->inv_rkey = wr->num_sge ? wr->sg_list[0].lkey : 0;
		fallthrough;
	case IB_WR_RDMA_READ:
	case IB_WR_RDMA_WRITE:
		wqe->remote_addr = rdma_wr(wr)->remote_addr;
		wqe->rkey = rdma_wr(wr)->rkey;
		break;
	case IB_WR_LOCAL_INV:
		wqe->inv_rkey = wr->ex.invalidate_rkey;
		return copy_sges(wqe, &qp->sq, NULL, 0);
	case IB_WR_REG_MR:
		wqe->mr = to_rnic_mr(reg_wr(wr)->mr);
		wqe->rkey = reg_wr(wr)->key;
		wqe->access = reg_wr(wr)->access;
		return copy_sges(wqe, &qp->sq, NULL, 0);
	default:
		return -EOPNOTSUPP;
	}
	return copy_sges(wqe, &qp->sq, wr->sg_list, wr->num_sge);
}

int rnic_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr,
		   const struct ib_send_wr **bad)
{
	struct rnic_qp *qp = to_rnic_qp(ibqp);
	int err = 0;

	guard(spinlock_irqsave)(&qp->lock);
	for (; wr; wr = wr->next) {
		/* In error they are taken, and flushed. */
		if (qp->state != IB_QPS_RTS && qp->state != IB_QPS_ERR)
			err = -EINVAL;
		else if (ring_full(&qp->sq))
			err = -ENOMEM;
		else
			err = fill_send(qp, ring_at(&qp->sq, qp->sq.head), wr);
		if (err) {
			*bad = wr;
			break;
		}
		qp->sq.head++;
	}
	queue_work(rnic_wq, &qp->work);
	return err;
}

int rnic_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr,
		   const struct ib_recv_wr **bad)
{
	struct rnic_qp *qp = to_rnic_qp(ibqp);
	struct rnic_wqe *wqe;
	int err = 0;

	guard(spinlock_irqsave)(&qp->lock);
	for (; wr; wr = wr->next) {
		wqe = ring_at(&qp->rq, qp->rq.head);
		if (qp->state == IB_QPS_RESET)
			err = -EINVAL;
		else if (ring_full(&qp->rq))
			err = -ENOMEM;
		else
			err = copy_sges(wqe, &qp->rq, wr->sg_list, wr->num_sge);
		if (err) {
			*bad = wr;
			break;
		}
		wqe->wr_id = wr->wr_id;
		qp->rq.head++;
	}
	if (qp->state == IB_QPS_ERR)
		queue_work(rnic_wq, &qp->work);
	if (qp->starving && qp->peer) {
		qp->starving = false;
		queue_work(rnic_wq, &qp->peer->work);
	}
	return err;
}

/* --- state --- */

/* False if it is there already */
static bool enter_error(struct rnic_qp *qp)
{
	guard(spinlock_irqsave)(&qp->lock);
	if (qp->state == IB_QPS_ERR)
		return false;
	qp->state = IB_QPS_ERR;
	return true;
}

static void after_error(struct rnic_qp *qp, int event)
{
	struct ib_event ev = {
		.device = qp->ibqp.device,
		.element.qp = &qp->ibqp,
		.event = event,
	};

	if (event >= 0 && qp->ibqp.event_handler)
		qp->ibqp.event_handler(&ev, qp->ibqp.qp_context);
	queue_work(rnic_cm_wq, &qp->close_work);
	queue_work(rnic_wq, &qp->work);
}

/**
 * rnic_qp_error - no further work is done
 * @qp: the caller has a reference
 * @event: asynchronous event that its user gets, or -1
 *
 * What is posted and what will be posted is flushed, and the connection goes.
 * Context: process.
 */
void rnic_qp_error(struct rnic_qp *qp, int event)
{
	if (enter_error(qp))
		after_error(qp, event);
}

/* From now on @qp and @peer talk to each other; -ECONNRESET in error. */
int rnic_qp_connect(struct rnic_qp *qp, struct rnic_qp *peer)
{
	guard(spinlock_irqsave)(&qp->lock);
	if (qp->state != IB_QPS_INIT && qp->state != IB_QPS_RTR)
		return -ECONNRESET;
	rnic_qp_get(peer);
	qp->peer = peer;
	qp->state = IB_QPS_RTS;
	queue_work(rnic_wq, &qp->work);
	return 0;
}

void rnic_qp_disconnect(struct rnic_qp *qp)
{
	struct rnic_qp *peer;

	scoped_guard(spinlock_irqsave, &qp->lock) {
		peer = qp->peer;
		qp->peer = NULL;
	}
	if (peer)
		rnic_qp_put(peer);
}

/* An operation of the other side begins here; false in error. */
static bool begin_incoming(struct rnic_qp *peer)
{
	guard(spinlock_irqsave)(&peer->lock);
	if (peer->state != IB_QPS_RTS)
		return false;
	peer->incoming++;
	return true;
}

static void end_incoming(struct rnic_qp *peer)
{
	guard(spinlock_irqsave)(&peer->lock);
	if (!--peer->incoming && peer->state == IB_QPS_ERR)
		queue_work(rnic_wq, &peer->work);
}

/* --- payload --- */

static void put_segs(struct rnic_segs *segs)
{
	while (segs->n) {
		struct rnic_seg *seg = &segs->seg[--segs->n];

		if (seg->mr)
			rnic_mr_put(seg->mr);
	}
}

/* Local memory. On failure nothing is held. */
static enum ib_wc_status get_local(struct rnic_qp *qp, struct ib_pd *pd,
				   const struct rnic_wqe *wqe, int access,
				   struct rnic_segs *segs)
{
	enum ib_wc_status status;
	struct rnic_mr *mr;
	u64 total = 0;
	u32 i;

	segs->n = 0;
	for (i = 0; i < wqe->num_sge; i++) {
		const struct ib_sge *sge = &wqe->sge[i];

		if (!sge->length)
			continue;
		mr = NULL;
		if (sge->lkey != RNIC_LOCAL_DMA_LKEY) {
			status = rnic_mr_get(qp->dev, pd, sge->lkey, sge->addr,
					     sge->length, access, &mr);
			if (status)
				goto fail;
		}
		segs->seg[segs->n++] = (struct rnic_seg){
			.mr = mr, .addr = sge->addr, .len = sge->length,
		};
		total += sge->length;
	}
	status = IB_WC_LOC_LEN_ERR;
	if (total > RNIC_MAX_MSG)
		goto fail;
	segs->len = total;
	return IB_WC_SUCCESS;

fail:
	put_segs(segs);
	return status;
}

static enum ib_wc_status get_remote(struct rnic_qp *peer, u32 rkey, u64 addr,
				    u32 len, int access, struct rnic_segs *segs)
{
	struct rnic_mr *mr;

	segs->n = 0;
	segs->len = len;
	if (!len)
		return IB_WC_SUCCESS;
	if ((peer->access & access) != access ||
	    rnic_mr_get(peer->dev, peer->ibqp.pd, rkey, addr, len, access, &mr))
		return IB_WC_REM_ACCESS_ERR;
	segs->seg[segs->n++] = (struct rnic_seg){
		.mr = mr, .addr = addr, .len = len,
	};
	return IB_WC_SUCCESS;
}

static void count_side(struct rnic_dev *dev, enum rnic_op op,
		       enum rnic_side side, struct rnic_dev *owner,
		       const struct rnic_segs *segs, u32 len)
{
	struct rnic_iter iter = { .segs = segs };
	u64 bytes[RNIC_WHERES] = {};
	enum rnic_where where;
	dma_addr_t addr;
	u32 n;

	for (; len; len -= n) {
		n = rnic_iter_next(&iter, len, &addr);
		if (!n)
			break;
		bytes[rnic_is_bar(owner, addr) ? RNIC_BAR : RNIC_RAM] += n;
	}
	for (where = 0; where < RNIC_WHERES; where++) {
		if (!bytes[where])
			continue;
		atomic64_inc(&dev->where[op][side][where].ops);
		atomic64_add(bytes[where], &dev->where[op][side][where].bytes);
	}
}

static bool shall_fail(struct rnic_qp *qp, enum rnic_op op,
		       enum ib_wc_status *status)
{
	struct rnic_fail *fail = &qp->dev->fail[op];

	guard(spinlock)(&fail->lock);
	if (!fail->nth || --fail->nth)
		return false;
	*status = fail->status;
	return true;
}

/* Between the segments of @qp and those of @peer */
static enum ib_wc_status move(struct rnic_qp *qp, struct rnic_qp *peer,
			      enum rnic_op op, struct rnic_segs *local,
			      struct rnic_segs *remote, u32 len)
{
	struct rnic_iter here = { .segs = local }, there = { .segs = remote };
	enum ib_wc_status status;
	int err;

	if (shall_fail(qp, op, &status))
		return status;
	if (op == RNIC_READ)
		err = rnic_engine_copy(peer->dev, &there, qp->dev, &here, len,
				       qp->wire);
	else
		err = rnic_engine_copy(qp->dev, &here, peer->dev, &there, len,
				       qp->wire);
	if (err)
		return IB_WC_GENERAL_ERR;
	count_side(qp->dev, op, RNIC_LOCAL, qp->dev, local, len);
	count_side(qp->dev, op, RNIC_REMOTE, peer->dev, remote, len);
	atomic64_inc(&qp->dev->done[op].ops);
	atomic64_add(len, &qp->dev->done[op].bytes);
	return IB_WC_SUCCESS;
}

/* --- the operations --- */

/*
 * Both are in error before the end of either's connection could put the other
 * one there, without an event.
 */
static void both_error(struct rnic_qp *qp, struct rnic_qp *peer, int event)
{
	bool here = enter_error(qp), there = enter_error(peer);

	if (here)
		after_error(qp, IB_EVENT_QP_FATAL);
	if (there)
		after_error(peer, event);
}

static int do_rdma(struct rnic_qp *qp, struct rnic_qp *peer,
		   const struct rnic_wqe *wqe, struct ib_wc *wc)
{
	bool read = wqe->opcode != IB_WR_RDMA_WRITE;
	enum ib_wc_status status;

	if (!begin_incoming(peer))
		return AGAIN;
	status = get_local(qp, qp->ibqp.pd, wqe,
			   read ? IB_ACCESS_LOCAL_WRITE : 0, &qp->local);
	if (status)
		goto out;
	status = get_remote(peer, wqe->rkey, wqe->remote_addr, qp->local.len,
			    read ? IB_ACCESS_REMOTE_READ :
				   IB_ACCESS_REMOTE_WRITE, &qp->remote);
	if (status) {
		both_error(qp, peer, IB_EVENT_QP_ACCESS_ERR);
		goto put_local;
	}
	status = move(qp, peer, read ? RNIC_READ : RNIC_WRITE, &qp->local,
		      &qp->remote, qp->local.len);
	wc->byte_len = qp->local.len;
	put_segs(&qp->remote);
put_local:
	put_segs(&qp->local);
	if (!status && wqe->opcode == IB_WR_RDMA_READ_WITH_INV &&
	    rnic_mr_invalidate(qp->dev, qp->ibqp.pd, wqe->inv_rkey))
		status = IB_WC_LOC_PROT_ERR;
out:
	end_incoming(peer);
	return status;
}

/*
 * The first receive of the peer, which stays at its place until its completion:
 * nobody else takes it, since only this queue pair sends to that one.
 */
static struct rnic_wqe *first_recv(struct rnic_qp *peer)
{
	guard(spinlock_irqsave)(&peer->lock);
	if (ring_empty(&peer->rq)) {
		peer->starving = true;
		return NULL;
	}
	return ring_at(&peer->rq, peer->rq.tail);
}

static void complete_recv(struct rnic_qp *qp, struct ib_wc *wc, bool solicited)
{
	struct rnic_wqe *wqe;

	scoped_guard(spinlock_irqsave, &qp->lock) {
		wqe = ring_at(&qp->rq, qp->rq.tail);
		wc->wr_id = wqe->wr_id;
		qp->rq.tail++;
	}
	wc->qp = &qp->ibqp;
	wc->opcode = IB_WC_RECV;
	rnic_cq_push(qp->init.recv_cq, wc, solicited);
}

/* What the sender and, in @wc, the receiver are told */
static enum ib_wc_status deliver(struct rnic_qp *qp, struct rnic_qp *peer,
				 const struct rnic_wqe *wqe,
				 const struct rnic_wqe *recv, struct ib_wc *wc)
{
	enum ib_wc_status status;

	wc->status = get_local(peer, peer->ibqp.pd, recv, IB_ACCESS_LOCAL_WRITE,
			       &qp->remote);
	if (wc->status)
		return IB_WC_REM_OP_ERR;
	status = IB_WC_REM_INV_REQ_ERR;
	wc->status = IB_WC_LOC_LEN_ERR;
	if (qp->remote.len < qp->local.len)
		goto out;
	status = move(qp, peer, RNIC_SEND, &qp->local, &qp->remote,
		      qp->local.len);
	wc->status = status ? IB_WC_GENERAL_ERR : IB_WC_SUCCESS;
	wc->byte_len = qp->local.len;
out:
	put_segs(&qp->remote);
	if (!status && wqe->opcode == IB_WR_SEND_WITH_INV) {
		/* It may be what was sent from, and waits for its users. */
		put_segs(&qp->local);
		if (rnic_mr_invalidate(peer->dev, peer->ibqp.pd, wqe->inv_rkey)) {
			wc->status = IB_WC_LOC_PROT_ERR;
			return IB_WC_REM_ACCESS_ERR;
		}
		wc->wc_flags |= IB_WC_WITH_INVALIDATE;
		wc->ex.invalidate_rkey = wqe->inv_rkey;
	}
	return status;
}

static int do_send(struct rnic_qp *qp, struct rnic_qp *peer,
		   const struct rnic_wqe *wqe, struct ib_wc *wc)
{
	struct ib_wc recv_wc = { .src_qp = qp->ibqp.qp_num, .port_num = 1 };
	enum ib_wc_status status;
	struct rnic_wqe *recv;
	int ret = AGAIN;

	if (!begin_incoming(peer))
		return AGAIN;
	recv = first_recv(peer);
	if (!recv)
		goto out;
	status = get_local(qp, qp->ibqp.pd, wqe, 0, &qp->local);
	ret = status;
	if (status)
		goto out;
	/* Nothing is delivered by a key that is wrong. */
	if (wqe->opcode == IB_WR_SEND_WITH_INV &&
	    !rnic_mr_can_invalidate(peer->dev, peer->ibqp.pd, wqe->inv_rkey)) {
		ret = IB_WC_REM_ACCESS_ERR;
		put_segs(&qp->local);
		both_error(qp, peer, IB_EVENT_QP_ACCESS_ERR);
		goto out;
	}
	ret = deliver(qp, peer, wqe, recv, &recv_wc);
	put_segs(&qp->local);
	wc->byte_len = qp->local.len;
	complete_recv(peer, &recv_wc, wqe->flags & IB_SEND_SOLICITED);
	if (recv_wc.status)
		both_error(qp, peer, IB_EVENT_QP_FATAL);
out:
	end_incoming(peer);
	return ret;
}

static int do_reg(struct rnic_qp *qp, const struct rnic_wqe *wqe)
{
	enum ib_wc_status status;

	if (shall_fail(qp, RNIC_REG, &status))
		return status;
	if (rnic_mr_register(wqe->mr, qp->ibqp.pd, wqe->rkey, wqe->access))
		return IB_WC_MW_BIND_ERR;
	atomic64_inc(&qp->dev->done[RNIC_REG].ops);
	return IB_WC_SUCCESS;
}

/* An ib_wc_status, or AGAIN */
static int carry_out(struct rnic_qp *qp, struct rnic_qp *peer,
		     const struct rnic_wqe *wqe, struct ib_wc *wc,
		     enum rnic_op *op)
{
	switch (wqe->opcode) {
	case IB_WR_SEND:
	case IB_WR_SEND_WITH_INV:
		*op = RNIC_SEND;
		wc->opcode = IB_WC_SEND;
		return do_send(qp, peer, wqe, wc);
	case IB_WR_RDMA_WRITE:
		*op = RNIC_WRITE;
		wc->opcode = IB_WC_RDMA_WRITE;
		return do_rdma(qp, peer, wqe, wc);
	case IB_WR_RDMA_READ:
	case IB_WR_RDMA_READ_WITH_INV:
		*op = RNIC_READ;
		wc->opcode = IB_WC_RDMA_READ;
		return do_rdma(qp, peer, wqe, wc);
	case IB_WR_LOCAL_INV:
		*op = RNIC_REG;
		wc->opcode = IB_WC_LOCAL_INV;
		return rnic_mr_invalidate(qp->dev, qp->ibqp.pd, wqe->inv_rkey) ?
		       IB_WC_MW_BIND_ERR : IB_WC_SUCCESS;
	default:
		*op = RNIC_REG;
		wc->opcode = IB_WC_REG_MR;
		return do_reg(qp, wqe);
	}
}

/* --- the worker --- */

/* Complete the oldest request of one queue in error; false if there is none. */
static bool flush_one(struct rnic_qp *qp, bool send)
{
	struct rnic_ring *ring = send ? &qp->sq : &qp->rq;
	struct ib_wc wc = {
		.status = IB_WC_WR_FLUSH_ERR,
		.opcode = send ? IB_WC_SEND : IB_WC_RECV,
		.qp = &qp->ibqp,
	};

	scoped_guard(spinlock_irqsave, &qp->lock) {
		if (qp->incoming || ring_empty(ring))
			return false;
		wc.wr_id = ring_at(ring, ring->tail)->wr_id;
		ring->tail++;
	}
	rnic_cq_push(send ? qp->init.send_cq : qp->init.recv_cq, &wc, false);
	return true;
}

static void complete_send(struct rnic_qp *qp, struct ib_wc *wc)
{
	struct rnic_wqe *wqe;
	bool signaled;

	scoped_guard(spinlock_irqsave, &qp->lock) {
		wqe = ring_at(&qp->sq, qp->sq.tail);
		signaled = wqe->flags & IB_SEND_SIGNALED;
		wc->wr_id = wqe->wr_id;
		qp->sq.tail++;
	}
	wc->qp = &qp->ibqp;
	if (signaled || wc->status)
		rnic_cq_push(qp->init.send_cq, wc, false);
}

/* The next request to carry out, with a reference to the peer; or NULL */
static struct rnic_wqe *next_send(struct rnic_qp *qp, struct rnic_qp **peer)
{
	guard(spinlock_irqsave)(&qp->lock);
	if (qp->state != IB_QPS_RTS || ring_empty(&qp->sq) || !qp->peer)
		return NULL;
	*peer = qp->peer;
	rnic_qp_get(*peer);
	return ring_at(&qp->sq, qp->sq.tail);
}

static void qp_work(struct work_struct *work)
{
	struct rnic_qp *qp = container_of(work, struct rnic_qp, work);
	struct rnic_qp *peer;
	struct rnic_wqe *wqe;
	enum rnic_op op;
	int status;

	while ((wqe = next_send(qp, &peer))) {
		struct ib_wc wc = { .port_num = 1 };

		status = carry_out(qp, peer, wqe, &wc, &op);
		rnic_qp_put(peer);
		if (status == AGAIN)
			break;
		wc.status = status;
		if (status) {
			atomic64_inc(&qp->dev->errors[op]);
			rnic_qp_error(qp, IB_EVENT_QP_FATAL);
		}
		complete_send(qp, &wc);
		cond_resched();
	}
	if (READ_ONCE(qp->state) == IB_QPS_ERR) {
		while (flush_one(qp, true))
			cond_resched();
		while (flush_one(qp, false))
			cond_resched();
	}
}

static void qp_close_work(struct work_struct *work)
{
	rnic_cm_close(container_of(work, struct rnic_qp, close_work));
}

/* --- verbs --- */

int rnic_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init,
		   struct ib_udata *udata)
{
	struct rnic_dev *dev = to_rnic_dev(ibqp->device);
	struct rnic_qp *qp = to_rnic_qp(ibqp);
	struct ib_qp_cap *cap = &init->cap;
	u32 num;
	int err;

	if (udata || init->qp_type != IB_QPT_RC || init->srq ||
	    init->create_flags)
		return -EOPNOTSUPP;
	if (cap->max_send_wr > RNIC_MAX_WR || cap->max_recv_wr > RNIC_MAX_WR ||
	    cap->max_send_sge > RNIC_MAX_SGE ||
	    cap->max_recv_sge > RNIC_MAX_SGE || cap->max_inline_data)
		return -EINVAL;

	qp->dev = dev;
	qp->init = *init;
	qp->state = IB_QPS_RESET;
	spin_lock_init(&qp->lock);
	refcount_set(&qp->refs, 1);
	init_completion(&qp->freed);
	INIT_WORK(&qp->work, qp_work);
	INIT_WORK(&qp->close_work, qp_close_work);

	err = alloc_ring(&qp->sq, cap->max_send_wr, cap->max_send_sge);
	if (!err)
		err = alloc_ring(&qp->rq, cap->max_recv_wr, cap->max_recv_sge);
	if (!err) {
		qp->wire = kvmalloc(RNIC_CHUNK, GFP_KERNEL);
		err = qp->wire ? 0 : -ENOMEM;
	}
	if (!err)
		err = xa_alloc_cyclic(&dev->qps, &num, qp,
				      XA_LIMIT(2, 0xffffff), &dev->next_qp,
				      GFP_KERNEL);
	if (err < 0) {
		kvfree(qp->wire);
		kvfree(qp->rq.wqes);
		kvfree(qp->sq.wqes);
		return err;
	}
	ibqp->qp_num = num;
	return 0;
}

/*
 * The connection manager makes a queue pair ready to send. Closing (SQD) is not
 * told from error: a request that is posted then is flushed.
 */
int rnic_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		   struct ib_udata *udata)
{
	struct rnic_qp *qp = to_rnic_qp(ibqp);
	bool error = false;

	scoped_guard(spinlock_irqsave, &qp->lock) {
		if (mask & IB_QP_STATE) {
			switch (attr->qp_state) {
			case IB_QPS_INIT:
				if (qp->state != IB_QPS_RESET &&
				    qp->state != IB_QPS_INIT)
					return -EINVAL;
				qp->state = IB_QPS_INIT;
				break;
			case IB_QPS_RTR:
				if (qp->state != IB_QPS_INIT &&
				    qp->state != IB_QPS_RTR)
					return -EINVAL;
				qp->state = IB_QPS_RTR;
				break;
			case IB_QPS_SQD:
			case IB_QPS_ERR:
				error = true;
				break;
			default:
				if (qp->state != attr->qp_state)
					return -EINVAL;
			}
		}
		if (mask & IB_QP_ACCESS_FLAGS)
			qp->access = attr->qp_access_flags;
	}
	if (error)
		rnic_qp_error(qp, -1);
	return 0;
}

int rnic_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		  struct ib_qp_init_attr *init)
{
	struct rnic_qp *qp = to_rnic_qp(ibqp);

	guard(spinlock_irqsave)(&qp->lock);
	attr->qp_state = qp->state;
	attr->cur_qp_state = qp->state;
	attr->qp_access_flags = qp->access;
	attr->path_mtu = IB_MTU_4096;
	attr->port_num = 1;
	attr->cap = qp->init.cap;
	*init = qp->init;
	return 0;
}

int rnic_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata)
{
	struct rnic_qp *qp = to_rnic_qp(ibqp);

	rnic_qp_error(qp, -1);
	/* So that whoever is connected to it lets go. */
	rnic_cm_close(qp);
	xa_erase(&qp->dev->qps, ibqp->qp_num);
	rnic_qp_put(qp);
	wait_for_completion(&qp->freed);
	cancel_work_sync(&qp->close_work);
	cancel_work_sync(&qp->work);
	kvfree(qp->wire);
	kvfree(qp->rq.wqes);
	kvfree(qp->sq.wqes);
	return 0;
}
