/* SPDX-License-Identifier: GPL-2.0 */
/*
 * p2pdma_rnic: an emulated RDMA adapter for the peer-to-peer DMA selftests
 *
 * The adapter is a client in the terms of this series: it has no memory of its
 * own, it addresses that of others. All payload is moved by DMA address and
 * never through the struct page of a scatterlist, so that a wrong address
 * shows as wrong data.
 *
 * Locks, outer ones first:
 *  rnic_cm_lock	mutex: devices, listeners, connections; qp->conn
 *  engine.lock		mutex: the copy engine, one transfer at a time
 *  dev->mr_lock	spinlock, process context only: keys and their users
 *  qp->lock		spinlock, interrupts off: state, queues, peer
 *  cq->lock		spinlock, interrupts off: the completions
 * No two locks of one kind are ever held together.
 */
#ifndef P2PDMA_RNIC_H
#define P2PDMA_RNIC_H

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/nvme.h>
#include <linux/pci.h>
#include <linux/refcount.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <rdma/ib_verbs.h>
#include <rdma/iw_cm.h>

#define RNIC_MAX_SGE		32
#define RNIC_MAX_WR		4096
#define RNIC_MAX_CQE		65536
#define RNIC_MAX_QP		1024
#define RNIC_MAX_MR		65536
#define RNIC_MAX_PAGES		512
#define RNIC_MAX_RD_ATOM	16
#define RNIC_MAX_MSG		SZ_1G
/* Moved at a time, in bytes */
#define RNIC_CHUNK		SZ_128K

/*
 * The key that needs no registration. Not 0: a work request without any key
 * must fail.
 */
#define RNIC_LOCAL_DMA_LKEY	0x00000100

struct rnic_dev;

/* --- the engine --- */

enum rnic_mode {
	RNIC_MODE_ENGINE,	/* the function's own DMA moves the bytes */
	RNIC_MODE_CPU,		/* the CPU does */
	RNIC_MODES
};

struct rnic_queue {
	struct nvme_command *sq;
	struct nvme_completion *cq;
	dma_addr_t sq_dma;
	dma_addr_t cq_dma;
	u16 id;
	u16 tail;
	u16 head;
	u8 phase;
	u16 command_id;
};

struct rnic_engine {
	/* Held for each transfer. Protects all below. */
	struct mutex lock;
	enum rnic_mode mode;
	bool dead;
	void __iomem *regs;
	u32 stride;
	u32 nsid;
	u32 block;
	struct rnic_queue admin;
	struct rnic_queue io;
	/* One page each: answers, descriptors, what fills the last block */
	void *page;
	dma_addr_t page_dma;
	struct nvme_sgl_desc *sgl;
	dma_addr_t sgl_dma;
	dma_addr_t pad_dma;
	void *pad;
	/* RNIC_CHUNK bytes, on their way to or from another adapter */
	void *wire;
	dma_addr_t wire_dma;
};

/* --- memory --- */

struct rnic_pd {
	struct ib_pd ibpd;
};

struct rnic_mr {
	struct ib_mr ibmr;
	struct rnic_dev *dev;
	/* What the next registration takes, by rnic_map_mr_sg() */
	u64 *pages;
	u32 npages;
	u32 max_pages;
	u32 index;

	/* dev->mr_lock: what is registered */
	bool valid;
	/* All of DMA address space, and never invalidated */
	bool everything;
	u32 key;
	int access;
	u64 iova;
	u64 length;
	u32 page_size;
	u64 *live;
	/* Transfers that use it */
	unsigned int users;
};

/* A range of payload: in a registration, or, without, of DMA addresses. */
struct rnic_seg {
	struct rnic_mr *mr;
	u64 addr;
	u32 len;
};

struct rnic_segs {
	struct rnic_seg seg[RNIC_MAX_SGE];
	unsigned int n;
	u32 len;
};

struct rnic_iter {
	const struct rnic_segs *segs;
	unsigned int i;
	u32 off;
};

/* --- queues --- */

struct rnic_cq {
	struct ib_cq ibcq;
	/* Protects all below */
	spinlock_t lock;
	struct ib_wc *ring;
	u32 size;
	u32 head;
	u32 tail;
	enum ib_cq_notify_flags notify;
	bool overflow;
};

struct rnic_wqe {
	union {
		u64 wr_id;
		struct ib_cqe *wr_cqe;
	};
	enum ib_wr_opcode opcode;
	int flags;
	u64 remote_addr;
	/* To reach the peer's memory, or to register with */
	u32 rkey;
	u32 inv_rkey;
	struct rnic_mr *mr;
	int access;
	u32 num_sge;
	struct ib_sge sge[];
};

struct rnic_ring {
	void *wqes;
	u32 stride;
	u32 size;
	u32 max_sge;
	u32 head;
	u32 tail;
};

struct rnic_conn;

struct rnic_qp {
	struct ib_qp ibqp;
	struct rnic_dev *dev;
	struct ib_qp_init_attr init;
	refcount_t refs;
	struct completion freed;
	/* Runs the send queue; in error, flushes both */
	struct work_struct work;
	/* Takes the connection down */
	struct work_struct close_work;
	struct rnic_conn *conn;

	/* Protects all up to @starving */
	spinlock_t lock;
	enum ib_qp_state state;
	int access;
	struct rnic_ring sq;
	struct rnic_ring rq;
	/* The other end, with a reference; while connected */
	struct rnic_qp *peer;
	/* Operations of the peer that are under way here */
	unsigned int incoming;
	/* The peer waits for a receive to be posted here */
	bool starving;

	/* Of the worker */
	struct rnic_segs local;
	struct rnic_segs remote;
	void *wire;
};

/* --- the adapter --- */

enum rnic_op { RNIC_READ, RNIC_WRITE, RNIC_SEND, RNIC_REG, RNIC_OPS };
enum rnic_side { RNIC_LOCAL, RNIC_REMOTE, RNIC_SIDES };
enum rnic_where { RNIC_RAM, RNIC_BAR, RNIC_WHERES };

struct rnic_count {
	atomic64_t ops;
	atomic64_t bytes;
};

struct rnic_fail {
	/* Protects both below */
	spinlock_t lock;
	/* Operations until one fails; 0 for never */
	unsigned int nth;
	enum ib_wc_status status;
};

struct rnic_dev {
	struct ib_device ibdev;
	struct pci_dev *pdev;
	struct net_device *netdev;
	struct rnic_engine engine;
	struct list_head node;
	struct dentry *debugfs;

	struct xarray qps;
	u32 next_qp;
	struct xarray mrs;
	u32 next_mr;
	/* Protects what is registered in @mrs, and its users */
	spinlock_t mr_lock;
	wait_queue_head_t mr_idle;

	struct rnic_fail fail[RNIC_OPS];
	struct rnic_count where[RNIC_OPS][RNIC_SIDES][RNIC_WHERES];
	struct rnic_count done[RNIC_OPS];
	atomic64_t errors[RNIC_OPS];
};

#define to_rnic_dev(ptr)	container_of(ptr, struct rnic_dev, ibdev)
#define to_rnic_qp(ptr)		container_of(ptr, struct rnic_qp, ibqp)
#define to_rnic_cq(ptr)		container_of(ptr, struct rnic_cq, ibcq)
#define to_rnic_mr(ptr)		container_of(ptr, struct rnic_mr, ibmr)

extern unsigned int rnic_mr_pages;
extern struct workqueue_struct *rnic_wq;
extern struct workqueue_struct *rnic_cm_wq;
extern const char * const rnic_op_names[RNIC_OPS];

/* rnic_engine.c */
int rnic_engine_start(struct rnic_dev *dev);
void rnic_engine_stop(struct rnic_dev *dev);
int rnic_engine_set_mode(struct rnic_dev *dev, enum rnic_mode mode);
int rnic_engine_copy(struct rnic_dev *sdev, struct rnic_iter *src,
		     struct rnic_dev *ddev, struct rnic_iter *dst, u32 len,
		     void *wire);
bool rnic_is_bar(struct rnic_dev *dev, dma_addr_t addr);
u32 rnic_iter_next(struct rnic_iter *iter, u32 max, dma_addr_t *addr);

/* rnic_verbs.c */
extern const struct ib_device_ops rnic_dev_ops;
void rnic_cq_push(struct ib_cq *cq, const struct ib_wc *wc, bool solicited);
enum ib_wc_status rnic_mr_get(struct rnic_dev *dev, struct ib_pd *pd, u32 key,
			      u64 addr, u32 len, int access,
			      struct rnic_mr **mr);
void rnic_mr_put(struct rnic_mr *mr);
int rnic_mr_register(struct rnic_mr *mr, struct ib_pd *pd, u32 key, int access);
int rnic_mr_invalidate(struct rnic_dev *dev, struct ib_pd *pd, u32 key);
bool rnic_mr_can_invalidate(struct rnic_dev *dev, struct ib_pd *pd, u32 key);

/* rnic_qp.c */
int rnic_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *init,
		   struct ib_udata *udata);
int rnic_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		   struct ib_udata *udata);
int rnic_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		  struct ib_qp_init_attr *init);
int rnic_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata);
int rnic_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr,
		   const struct ib_send_wr **bad);
int rnic_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr,
		   const struct ib_recv_wr **bad);
void rnic_qp_get(struct rnic_qp *qp);
void rnic_qp_put(struct rnic_qp *qp);
/* @event: to report, or -1 */
void rnic_qp_error(struct rnic_qp *qp, int event);
int rnic_qp_connect(struct rnic_qp *qp, struct rnic_qp *peer);
void rnic_qp_disconnect(struct rnic_qp *qp);

/* rnic_cm.c */
void rnic_cm_add_dev(struct rnic_dev *dev);
void rnic_cm_remove_dev(struct rnic_dev *dev);
void rnic_cm_close(struct rnic_qp *qp);
void rnic_iw_add_ref(struct ib_qp *ibqp);
void rnic_iw_rem_ref(struct ib_qp *ibqp);
struct ib_qp *rnic_iw_get_qp(struct ib_device *ibdev, int qpn);
int rnic_iw_connect(struct iw_cm_id *cm_id, struct iw_cm_conn_param *param);
int rnic_iw_accept(struct iw_cm_id *cm_id, struct iw_cm_conn_param *param);
int rnic_iw_reject(struct iw_cm_id *cm_id, const void *data, u8 len);
int rnic_iw_create_listen(struct iw_cm_id *cm_id, int backlog);
int rnic_iw_destroy_listen(struct iw_cm_id *cm_id);

#endif
