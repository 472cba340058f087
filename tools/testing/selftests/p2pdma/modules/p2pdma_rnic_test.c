// SPDX-License-Identifier: GPL-2.0
/*
 * Test module: the verbs and connections of p2pdma_rnic, as kernel users call
 * them
 *
 * Write "TEST CLIENT_IP SERVER_IP [ARGUMENT]" into
 * /sys/kernel/debug/p2pdma_rnic_test/run and read from there what it has to
 * say. The write fails with -EIO if the test does. Each test makes its own
 * connections, by rdma_cm, between the adapters that have these addresses.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/in.h>
#include <linux/inet.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci-p2pdma.h>
#include <linux/pci.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/wait.h>
#include <rdma/ib_cm.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>
#include <rdma/rw.h>

#define PORT		7470
#define BACKLOG		4
#define BUF_PAGES	272
#define BUF_SIZE	(BUF_PAGES * PAGE_SIZE)
#define MAX_WR		256
#define TIMEOUT		(150 * HZ)
/* A registration begins here in its first page. */
#define SKEW		96

static DEFINE_MUTEX(run_lock);
static char answer[4096];
static struct sockaddr_in client_addr, server_addr;
static const char *argument;

static __printf(1, 2) void say(const char *fmt, ...)
{
	size_t len = strlen(answer);
	va_list args;

	va_start(args, fmt);
	vscnprintf(answer + len, sizeof(answer) - len, fmt, args);
	va_end(args);
}

#define CHECK(cond, fmt, ...)						\
	do {								\
		if (!(cond)) {						\
			say("%s:%d: " fmt "\n", __func__, __LINE__,	\
			    ##__VA_ARGS__);				\
			return -EIO;					\
		}							\
	} while (0)

/* Passes on the failure of a step, which said why. */
#define TRY(step)							\
	do {								\
		int _err = (step);					\
									\
		if (_err) {						\
			say("%s:%d: %s: %d\n", __func__, __LINE__,	\
			    #step, _err);				\
			return -EIO;					\
		}							\
	} while (0)

/* --- one end of a connection --- */

struct end {
	struct rdma_cm_id *id;
	struct ib_pd *pd;
	struct ib_pd *other_pd;
	struct ib_cq *cq;
	wait_queue_head_t wait;
	/* Events of the connection manager so far, one bit each */
	unsigned long seen;
	int status;
	u8 data[64];
	u8 data_len;
	int qp_event;
	/* Completions so far */
	int completions;
	/* For requests by DMA address */
	u8 *buf;
	u64 dma;
	/* For registrations */
	u8 *pages;
};

/* A work request; its place among the completions */
struct req {
	struct ib_cqe cqe;
	struct end *end;
	struct ib_wc wc;
	bool done;
	int place;
};

static struct end client, server;
/* What came in at the listener, one at a time */
static struct rdma_cm_id *incoming;
static DECLARE_WAIT_QUEUE_HEAD(incoming_wait);

static void req_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct req *req = container_of(wc->wr_cqe, struct req, cqe);

	req->wc = *wc;
	req->place = req->end->completions++;
	/* Pairs with wait_req(): what is above is there when it is done. */
	smp_store_release(&req->done, true);
	wake_up(&req->end->wait);
}

static void init_req(struct req *req, struct end *end)
{
	*req = (struct req){ .cqe.done = req_done, .end = end };
}

static int wait_req(struct req *req)
{
	/* Pairs with req_done() */
	if (!wait_event_timeout(req->end->wait, smp_load_acquire(&req->done),
				TIMEOUT))
		return -ETIMEDOUT;
	return 0;
}

static void note_event(struct end *end, struct rdma_cm_event *event)
{
	end->status = event->status;
	if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST ||
	    event->event == RDMA_CM_EVENT_ESTABLISHED ||
	    event->event == RDMA_CM_EVENT_REJECTED) {
		end->data_len = min_t(u8, event->param.conn.private_data_len,
				      sizeof(end->data));
		memcpy(end->data, event->param.conn.private_data,
		       end->data_len);
	}
	set_bit(event->event, &end->seen);
	wake_up(&end->wait);
}

static int on_client(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	note_event(&client, event);
	return 0;
}

static int on_server(struct rdma_cm_id *id, struct rdma_cm_event *event)
{
	if (event->event != RDMA_CM_EVENT_CONNECT_REQUEST) {
		/* The listener has no context. */
		if (id->context)
			note_event(&server, event);
		return 0;
	}
	if (READ_ONCE(incoming))
		return -EBUSY;
	note_event(&server, event);
	/* Pairs with take_incoming(): the event is noted by then. */
	smp_store_release(&incoming, id);
	wake_up(&incoming_wait);
	return 0;
}

static int wait_seen(struct end *end, enum rdma_cm_event_type type)
{
	if (wait_event_timeout(end->wait, test_bit(type, &end->seen), TIMEOUT))
		return 0;
	return -ETIMEDOUT;
}

static void on_qp_event(struct ib_event *event, void *context)
{
	struct end *end = context;

	end->qp_event = event->event;
}

static void free_end(struct end *end)
{
	if (!end->id)
		return;
	if (end->id->qp) {
		ib_drain_qp(end->id->qp);
		rdma_destroy_qp(end->id);
	}
	if (end->cq)
		ib_free_cq(end->cq);
	if (end->dma)
		ib_dma_unmap_single(end->id->device, end->dma, BUF_SIZE,
				    DMA_BIDIRECTIONAL);
	if (end->buf)
		free_pages_exact(end->buf, BUF_SIZE);
	if (end->pages)
		free_pages_exact(end->pages, BUF_SIZE);
	if (!IS_ERR_OR_NULL(end->other_pd))
		ib_dealloc_pd(end->other_pd);
	if (!IS_ERR_OR_NULL(end->pd))
		ib_dealloc_pd(end->pd);
	rdma_destroy_id(end->id);
	end->id = NULL;
}

/* Queue pair and buffer, once the identifier has a device */
static int equip_end(struct end *end)
{
	struct ib_device *device = end->id->device;
	struct ib_qp_init_attr init = {
		.event_handler = on_qp_event,
		.qp_context = end,
		.cap.max_send_wr = MAX_WR,
		.cap.max_recv_wr = MAX_WR,
		.cap.max_send_sge = 4,
		.cap.max_recv_sge = 4,
		.qp_type = IB_QPT_RC,
		.sq_sig_type = IB_SIGNAL_REQ_WR,
	};
	struct ib_cq *cq;

	/* With a key for all of memory, which the other domain's is not */
	end->pd = ib_alloc_pd(device, IB_PD_UNSAFE_GLOBAL_RKEY);
	TRY(PTR_ERR_OR_ZERO(end->pd));
	end->other_pd = ib_alloc_pd(device, IB_PD_UNSAFE_GLOBAL_RKEY);
	TRY(PTR_ERR_OR_ZERO(end->other_pd));
	cq = ib_alloc_cq(device, NULL, 3 * MAX_WR, 0, IB_POLL_SOFTIRQ);
	TRY(PTR_ERR_OR_ZERO(cq));
	end->cq = cq;
	init.send_cq = cq;
	init.recv_cq = cq;
	TRY(rdma_create_qp(end->id, end->pd, &init));
	end->buf = alloc_pages_exact(BUF_SIZE, GFP_KERNEL | __GFP_ZERO);
	end->pages = alloc_pages_exact(BUF_SIZE, GFP_KERNEL | __GFP_ZERO);
	CHECK(end->buf && end->pages, "no memory");
	end->dma = ib_dma_map_single(device, end->buf, BUF_SIZE,
				     DMA_BIDIRECTIONAL);
	TRY(ib_dma_mapping_error(device, end->dma));
	return 0;
}

static void reset_end(struct end *end)
{
	*end = (struct end){};
	init_waitqueue_head(&end->wait);
}

static int new_listener(struct rdma_cm_id **listener, __be32 addr, int backlog)
{
	struct sockaddr_in at = server_addr;

	at.sin_addr.s_addr = addr;
	incoming = NULL;
	*listener = rdma_create_id(&init_net, on_server, NULL, RDMA_PS_TCP,
				   IB_QPT_RC);
	TRY(PTR_ERR_OR_ZERO(*listener));
	TRY(rdma_bind_addr(*listener, (struct sockaddr *)&at));
	TRY(rdma_listen(*listener, backlog));
	return 0;
}

/* The client's side up to where it may connect */
static int resolve(struct end *end)
{
	struct sockaddr_in from = client_addr, to = server_addr;

	from.sin_port = 0;
	end->id = rdma_create_id(&init_net, on_client, end, RDMA_PS_TCP,
				 IB_QPT_RC);
	if (IS_ERR(end->id)) {
		end->id = NULL;
		return -EIO;
	}
	TRY(rdma_resolve_addr(end->id, (struct sockaddr *)&from,
			      (struct sockaddr *)&to, 3000));
	TRY(wait_seen(end, RDMA_CM_EVENT_ADDR_RESOLVED));
	TRY(rdma_resolve_route(end->id, 3000));
	TRY(wait_seen(end, RDMA_CM_EVENT_ROUTE_RESOLVED));
	return equip_end(end);
}

static int start_connect(struct end *end)
{
	struct rdma_conn_param param = {
		.responder_resources = 4,
		.initiator_depth = 4,
		.private_data = "hello",
		.private_data_len = 5,
	};

	return rdma_connect(end->id, &param);
}

static int take_incoming(void)
{
	/* Pairs with on_server() */
	CHECK(wait_event_timeout(incoming_wait, smp_load_acquire(&incoming),
				 TIMEOUT), "no request came in");
	server.id = incoming;
	server.id->context = &server;
	CHECK(server.data_len == 5 && !memcmp(server.data, "hello", 5),
	      "private data of the request: %.5s", server.data);
	return 0;
}

static int accept_it(void)
{
	struct rdma_conn_param param = {
		.responder_resources = 4,
		.initiator_depth = 4,
		.private_data = "welcome",
		.private_data_len = 7,
	};
	int err;

	TRY(take_incoming());
	TRY(equip_end(&server));
	rdma_lock_handler(server.id);
	err = rdma_accept(server.id, &param);
	rdma_unlock_handler(server.id);
	return err;
}

static int connect_pair(void)
{
	struct rdma_cm_id *listener;
	int err;

	reset_end(&client);
	reset_end(&server);
	TRY(new_listener(&listener, server_addr.sin_addr.s_addr, BACKLOG));
	err = resolve(&client);
	if (!err)
		err = start_connect(&client);
	if (!err)
		err = accept_it();
	if (!err)
		err = wait_seen(&client, RDMA_CM_EVENT_ESTABLISHED);
	if (!err)
		err = wait_seen(&server, RDMA_CM_EVENT_ESTABLISHED);
	rdma_destroy_id(listener);
	TRY(err);
	CHECK(client.data_len == 7 && !memcmp(client.data, "welcome", 7),
	      "private data of the reply: %.7s", client.data);
	return 0;
}

static void free_pair(void)
{
	free_end(&client);
	free_end(&server);
}

/* --- work requests --- */

static struct ib_sge sge_at(struct end *end, u32 off, u32 len)
{
	return (struct ib_sge){
		.addr = end->dma + off,
		.length = len,
		.lkey = end->pd->local_dma_lkey,
	};
}

static int post_recv(struct req *req, struct end *end, struct ib_sge *sge,
		     int n)
{
	struct ib_recv_wr wr = { .sg_list = sge, .num_sge = n };

	init_req(req, end);
	wr.wr_cqe = &req->cqe;
	return ib_post_recv(end->id->qp, &wr, NULL);
}

static int post_send(struct req *req, struct end *end, struct ib_sge *sge,
		     int n, u32 inv_rkey)
{
	struct ib_send_wr wr = {
		.sg_list = sge,
		.num_sge = n,
		.opcode = inv_rkey ? IB_WR_SEND_WITH_INV : IB_WR_SEND,
		.send_flags = IB_SEND_SIGNALED,
		.ex.invalidate_rkey = inv_rkey,
	};

	init_req(req, end);
	wr.wr_cqe = &req->cqe;
	return ib_post_send(end->id->qp, &wr, NULL);
}

static int post_rdma(struct req *req, struct end *end, enum ib_wr_opcode opcode,
		     struct ib_sge *sge, int n, u64 addr, u32 rkey, int flags)
{
	struct ib_rdma_wr wr = {
		.wr.sg_list = sge,
		.wr.num_sge = n,
		.wr.opcode = opcode,
		.wr.send_flags = flags,
		.remote_addr = addr,
		.rkey = rkey,
	};

	init_req(req, end);
	wr.wr.wr_cqe = &req->cqe;
	return ib_post_send(end->id->qp, &wr.wr, NULL);
}

static int post_reg(struct req *req, struct end *end, struct ib_mr *mr,
		    int access)
{
	struct ib_reg_wr wr = {
		.wr.opcode = IB_WR_REG_MR,
		.wr.send_flags = IB_SEND_SIGNALED,
		.mr = mr,
		.key = mr->rkey,
		.access = access,
	};

	init_req(req, end);
	wr.wr.wr_cqe = &req->cqe;
	return ib_post_send(end->id->qp, &wr.wr, NULL);
}

static int post_inv(struct req *req, struct end *end, u32 key)
{
	struct ib_send_wr wr = {
		.opcode = IB_WR_LOCAL_INV,
		.send_flags = IB_SEND_SIGNALED,
		.ex.invalidate_rkey = key,
	};

	init_req(req, end);
	wr.wr_cqe = &req->cqe;
	return ib_post_send(end->id->qp, &wr, NULL);
}

static int expect(struct req *req, enum ib_wc_status status)
{
	TRY(wait_req(req));
	CHECK(req->wc.status == status, "completed with '%s', should be '%s'",
	      ib_wc_status_msg(req->wc.status), ib_wc_status_msg(status));
	return 0;
}

/* --- registrations --- */

#define ALL_RIGHTS	(IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_READ | \
			 IB_ACCESS_REMOTE_WRITE)

struct region {
	struct ib_mr *mr;
	struct end *end;
	struct scatterlist sg[BUF_PAGES];
	unsigned int pages;
};

static struct region region, region2;

/*
 * The last of the end's pages, backwards, so that no two of them
 * follow one another; beginning within the first one.
 */
static int new_region(struct region *reg, struct end *end, struct ib_pd *pd,
		      unsigned int pages)
{
	unsigned int i, off;

	reg->end = end;
	reg->pages = pages;
	reg->mr = ib_alloc_mr(pd, IB_MR_TYPE_MEM_REG, pages);
	TRY(PTR_ERR_OR_ZERO(reg->mr));
	sg_init_table(reg->sg, pages);
	for (i = 0; i < pages; i++) {
		off = i ? 0 : SKEW;
		sg_set_buf(&reg->sg[i], end->pages + off +
			   (BUF_PAGES - 1 - i) * PAGE_SIZE, PAGE_SIZE - off);
	}
	CHECK(ib_dma_map_sg(end->id->device, reg->sg, pages,
			    DMA_BIDIRECTIONAL) == pages, "not mapped");
	CHECK(ib_map_mr_sg(reg->mr, reg->sg, pages, NULL, PAGE_SIZE) == pages,
	      "not in one registration");
	ib_update_fast_reg_key(reg->mr, ib_inc_rkey(reg->mr->rkey));
	return 0;
}

static int register_region(struct region *reg, int access)
{
	struct req req;

	TRY(post_reg(&req, reg->end, reg->mr, access));
	return expect(&req, IB_WC_SUCCESS);
}

static void free_region(struct region *reg)
{
	if (IS_ERR_OR_NULL(reg->mr))
		goto out;
	ib_dma_unmap_sg(reg->end->id->device, reg->sg, reg->pages,
			DMA_BIDIRECTIONAL);
	ib_dereg_mr(reg->mr);
out:
	reg->mr = NULL;
}

/* Bytes of a registration as the CPU sees them */
static void region_io(struct region *reg, u32 off, void *data, u32 len,
		      bool write)
{
	u32 n, pos;
	u8 *at;

	for (off += SKEW; len; off += n, data += n, len -= n) {
		pos = off % PAGE_SIZE;
		n = min_t(u32, len, PAGE_SIZE - pos);
		at = reg->end->pages +
		     (BUF_PAGES - 1 - off / PAGE_SIZE) * PAGE_SIZE + pos;
		if (write)
			memcpy(at, data, n);
		else
			memcpy(data, at, n);
	}
}

static struct ib_sge sge_in(struct region *reg, u32 off, u32 len)
{
	return (struct ib_sge){
		.addr = reg->mr->iova + off, .length = len,
		.lkey = reg->mr->lkey,
	};
}

/* --- tests: the data --- */

static const u32 sizes[] = {
	1, 3, 511, 512, 513, 4095, 4096, 4097, 65537, 131072, 131079, 1048576,
};

static const u32 offsets[] = { 0, 1, 77, 511, 4093 };

static u8 *want, *got;

/* One range in three parts, of which the middle one may be empty */
static int split(struct ib_sge *sges, struct ib_sge whole)
{
	u32 a = whole.length / 3, b = whole.length / 7;
	int i;

	for (i = 0; i < 3; i++)
		sges[i] = whole;
	sges[0].length = a;
	sges[1].addr += a;
	sges[1].length = b;
	sges[2].addr += a + b;
	sges[2].length = whole.length - a - b;
	return 3;
}

/*
 * The client's registration gets, or gives, @len bytes at @off; the bytes
 * around must stay as they were.
 */
static int one_write(struct region *reg, u32 off, u32 len, bool parts)
{
	struct ib_sge whole = sge_at(&server, off / 2, len), sges[3];
	struct req req;
	int n = 1;

	get_random_bytes(want, len + 128);
	region_io(reg, off, want, len + 128, true);
	get_random_bytes(want + 64, len);
	memcpy(server.buf + off / 2, want + 64, len);
	sges[0] = whole;
	if (parts)
		n = split(sges, whole);
	TRY(post_rdma(&req, &server, IB_WR_RDMA_WRITE, sges, n,
		      reg->mr->iova + off + 64, reg->mr->rkey,
		      IB_SEND_SIGNALED));
	TRY(expect(&req, IB_WC_SUCCESS));
	CHECK(req.wc.opcode == IB_WC_RDMA_WRITE, "opcode %d", req.wc.opcode);
	region_io(reg, off, got, len + 128, false);
	CHECK(!memcmp(want, got, len + 128), "WRITE of %u at %u: wrong data",
	      len, off);
	return 0;
}

static int one_read(struct region *reg, u32 off, u32 len, bool parts)
{
	struct ib_sge whole = sge_at(&server, off / 2 + 64, len), sges[3];
	struct req req;
	int n = 1;

	get_random_bytes(want, len + 128);
	memcpy(server.buf + off / 2, want, len + 128);
	get_random_bytes(want + 64, len);
	region_io(reg, off, want + 64, len, true);
	sges[0] = whole;
	if (parts)
		n = split(sges, whole);
	TRY(post_rdma(&req, &server, IB_WR_RDMA_READ, sges, n,
		      reg->mr->iova + off, reg->mr->rkey, IB_SEND_SIGNALED));
	TRY(expect(&req, IB_WC_SUCCESS));
	CHECK(req.wc.opcode == IB_WC_RDMA_READ, "opcode %d", req.wc.opcode);
	CHECK(!memcmp(want, server.buf + off / 2, len + 128),
	      "READ of %u at %u: wrong data", len, off);
	return 0;
}

static int one_send(struct region *reg, u32 off, u32 len, bool parts)
{
	struct ib_sge from = sge_in(reg, off, len), sges[3];
	struct ib_sge to = sge_at(&server, off / 2 + 64, len + 8);
	struct req send, recv;
	int n = 1;

	get_random_bytes(want, len + 128);
	memcpy(server.buf + off / 2, want, len + 128);
	get_random_bytes(want + 64, len);
	region_io(reg, off, want + 64, len, true);
	sges[0] = to;
	if (parts)
		n = split(sges, to);
	TRY(post_recv(&recv, &server, sges, n));
	TRY(post_send(&send, &client, &from, 1, 0));
	TRY(expect(&send, IB_WC_SUCCESS));
	TRY(expect(&recv, IB_WC_SUCCESS));
	CHECK(recv.wc.byte_len == len, "received %u of %u", recv.wc.byte_len,
	      len);
	CHECK(send.wc.opcode == IB_WC_SEND && recv.wc.opcode == IB_WC_RECV,
	      "opcodes %d and %d", send.wc.opcode, recv.wc.opcode);
	CHECK(!memcmp(want, server.buf + off / 2, len + 128),
	      "SEND of %u at %u: wrong data", len, off);
	return 0;
}

static int test_data(void)
{
	struct ib_sge sge;
	unsigned int i, j;
	struct req req;

	TRY(connect_pair());
	TRY(new_region(&region, &client, client.pd, BUF_PAGES));
	TRY(register_region(&region, ALL_RIGHTS));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (j = 0; j < ARRAY_SIZE(offsets); j++) {
			bool parts = (i + j) & 1;

			TRY(one_write(&region, offsets[j], sizes[i], parts));
			TRY(one_read(&region, offsets[j], sizes[i], parts));
			TRY(one_send(&region, offsets[j], sizes[i], parts));
		}
	}
	/* By the key for all of memory */
	sge = sge_at(&server, 100, 5000);
	get_random_bytes(server.buf + 100, 5000);
	TRY(post_rdma(&req, &server, IB_WR_RDMA_WRITE, &sge, 1,
		      client.dma + 33, client.pd->unsafe_global_rkey,
		      IB_SEND_SIGNALED));
	TRY(expect(&req, IB_WC_SUCCESS));
	CHECK(!memcmp(client.buf + 33, server.buf + 100, 5000), "wrong data");

	TRY(one_write(&region, 5, 0, false));
	TRY(one_read(&region, 5, 0, false));
	TRY(one_send(&region, 5, 0, false));
	return 0;
}

/* --- tests: what must fail --- */

static void fill_memory(struct end *end, u8 byte)
{
	memset(end->buf, byte, BUF_SIZE);
	memset(end->pages, byte, BUF_SIZE);
}

static bool memory_is(struct end *end, u8 byte)
{
	return !memchr_inv(end->buf, byte, BUF_SIZE) &&
	       !memchr_inv(end->pages, byte, BUF_SIZE);
}

/* One thing that is wrong with a request of the server to the client */
struct error_case {
	const char *name;
	enum ib_wr_opcode opcode;
	enum ib_wc_status status;
	/* Of the registration at the client; 0: all rights */
	int access;
	/* Added to what is right */
	int key;
	s64 addr;
	bool other_pd;
	bool invalidated;
	/* The local end is wrong, not the remote one. */
	bool local;
};

#define BY_READ	.opcode = IB_WR_RDMA_READ
#define BY_WRITE	.opcode = IB_WR_RDMA_WRITE
#define BY_SEND	.opcode = IB_WR_SEND
#define AT_REMOTE	.status = IB_WC_REM_ACCESS_ERR
#define AT_LOCAL	.status = IB_WC_LOC_PROT_ERR, .local = true

static const struct error_case error_cases[] = {
	{ "write, no such rkey", BY_WRITE, AT_REMOTE, .key = 0x10000 },
	{ "read, no such rkey", BY_READ, AT_REMOTE, .key = 0x10000 },
	{ "write, variant of the rkey", BY_WRITE, AT_REMOTE, .key = 1 },
	{ "read, variant of the rkey", BY_READ, AT_REMOTE, .key = 1 },
	{ "write beyond the end", BY_WRITE, AT_REMOTE, .addr = PAGE_SIZE - SKEW - 15 },
	{ "read beyond the end", BY_READ, AT_REMOTE, .addr = PAGE_SIZE - SKEW - 15 },
	{ "write before the start", BY_WRITE, AT_REMOTE, .addr = -1 },
	{ "read before the start", BY_READ, AT_REMOTE, .addr = -1 },
	{ "write without the right", BY_WRITE, AT_REMOTE,
	  .access = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_READ },
	{ "read without the right", BY_READ, AT_REMOTE,
	  .access = IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE },
	{ "write into another domain", BY_WRITE, AT_REMOTE, .other_pd = true },
	{ "read from another domain", BY_READ, AT_REMOTE, .other_pd = true },
	{ "write after invalidation", BY_WRITE, AT_REMOTE, .invalidated = true },
	{ "read after invalidation", BY_READ, AT_REMOTE, .invalidated = true },
	{ "write, no such lkey", BY_WRITE, AT_LOCAL, .key = 0x10000 },
	{ "read, variant of the lkey", BY_READ, AT_LOCAL, .key = 1 },
	{ "send, variant of the lkey", BY_SEND, AT_LOCAL, .key = 1 },
	{ "write from beyond the end", BY_WRITE, AT_LOCAL,
	  .addr = PAGE_SIZE - SKEW - 15 },
	{ "read to before the start", BY_READ, AT_LOCAL, .addr = -1 },
	{ "read to where it may not write", BY_READ, AT_LOCAL,
	  .access = IB_ACCESS_REMOTE_WRITE },
	{ "send from another domain", BY_SEND, AT_LOCAL, .other_pd = true },
	{ "send after invalidation", BY_SEND, AT_LOCAL, .invalidated = true },
};

static int state_of(struct end *end)
{
	struct ib_qp_init_attr init;
	struct ib_qp_attr attr;

	return ib_query_qp(end->id->qp, &attr, IB_QP_STATE, &init) ?:
	       attr.qp_state;
}

/* Both ends are in error, what was and what is posted is flushed. */
static int check_flushed(struct req *pending)
{
	struct ib_sge sge;
	struct req late;

	TRY(expect(pending, IB_WC_WR_FLUSH_ERR));
	TRY(wait_seen(&server, RDMA_CM_EVENT_DISCONNECTED));
	TRY(wait_seen(&client, RDMA_CM_EVENT_DISCONNECTED));
	CHECK(state_of(&server) == IB_QPS_ERR, "state %d", state_of(&server));
	CHECK(state_of(&client) == IB_QPS_ERR, "state %d", state_of(&client));
	sge = sge_at(&client, 0, 16);
	TRY(post_recv(&late, &client, &sge, 1));
	TRY(expect(&late, IB_WC_WR_FLUSH_ERR));
	TRY(post_send(&late, &client, &sge, 1, 0));
	TRY(expect(&late, IB_WC_WR_FLUSH_ERR));
	return 0;
}

static int one_error(const struct error_case *c)
{
	struct end *owner = c->local ? &server : &client;
	struct req req, pending, behind, setup, recv;
	struct ib_sge sge, to;
	u64 addr;
	u32 rkey;

	TRY(new_region(&region, owner, owner->pd, 1));
	TRY(register_region(&region, c->access ?: ALL_RIGHTS));
	if (c->invalidated) {
		TRY(post_inv(&setup, owner, region.mr->rkey));
		TRY(expect(&setup, IB_WC_SUCCESS));
	}
	if (c->local) {
		TRY(new_region(&region2, &client, client.pd, 1));
		TRY(register_region(&region2, ALL_RIGHTS));
		sge = sge_in(&region, 0, 16);
		sge.addr += c->addr;
		sge.lkey += c->key;
		addr = region2.mr->iova;
		rkey = region2.mr->rkey;
	} else {
		sge = sge_at(&server, 0, 16);
		addr = region.mr->iova + c->addr;
		rkey = region.mr->rkey + c->key;
	}
	if (c->other_pd && c->local) {
		sge.addr = server.dma;
		sge.lkey = server.other_pd->unsafe_global_rkey;
	} else if (c->other_pd) {
		addr = client.dma;
		rkey = client.other_pd->unsafe_global_rkey;
	}
	fill_memory(&client, 0x11);
	fill_memory(&server, 0x22);

	to = sge_at(&client, 0, 64);
	TRY(post_recv(&recv, &client, &to, 1));
	to = sge_at(&server, 0, 64);
	TRY(post_recv(&pending, &server, &to, 1));
	if (c->opcode == IB_WR_SEND)
		TRY(post_send(&req, &server, &sge, 1, 0));
	else
		TRY(post_rdma(&req, &server, c->opcode, &sge, 1, addr, rkey,
			      IB_SEND_SIGNALED));
	/* It may be refused by now, as the queue pair is in error. */
	TRY(post_send(&behind, &server, &to, 1, 0));
	TRY(expect(&req, c->status));
	TRY(expect(&behind, IB_WC_WR_FLUSH_ERR));
	TRY(expect(&recv, IB_WC_WR_FLUSH_ERR));
	TRY(check_flushed(&pending));
	CHECK(memory_is(&client, 0x11), "the client was written");
	CHECK(memory_is(&server, 0x22), "the server was written");
	if (!c->local)
		CHECK(client.qp_event == IB_EVENT_QP_ACCESS_ERR,
		      "the owner got event %d", client.qp_event);
	CHECK(server.qp_event == IB_EVENT_QP_FATAL,
	      "the requester got event %d", server.qp_event);
	return 0;
}

static int test_errors(void)
{
	unsigned int i, failed = 0;
	int err;

	for (i = 0; i < ARRAY_SIZE(error_cases); i++) {
		err = connect_pair();
		if (!err)
			err = one_error(&error_cases[i]);
		free_region(&region);
		free_region(&region2);
		free_pair();
		if (err) {
			say("case \"%s\"\n", error_cases[i].name);
			failed++;
		}
	}
	say("%u of %u cases failed\n", failed, i);
	return failed ? -EIO : 0;
}

/* A message that its receiver cannot take: what both are told */
static int bad_receive(u32 room, u32 lkey_off, enum ib_wc_status sender,
		       enum ib_wc_status receiver)
{
	struct ib_sge from, to;
	struct req send, recv;

	TRY(connect_pair());
	from = sge_at(&client, 0, 100);
	to = sge_at(&server, 0, room);
	to.lkey += lkey_off;
	TRY(post_recv(&recv, &server, &to, 1));
	TRY(post_send(&send, &client, &from, 1, 0));
	TRY(expect(&send, sender));
	TRY(expect(&recv, receiver));
	TRY(wait_seen(&client, RDMA_CM_EVENT_DISCONNECTED));
	free_pair();
	return 0;
}

static int test_receive(void)
{
	TRY(bad_receive(99, 0, IB_WC_REM_INV_REQ_ERR, IB_WC_LOC_LEN_ERR));
	TRY(bad_receive(200, 1, IB_WC_REM_OP_ERR, IB_WC_LOC_PROT_ERR));
	return 0;
}

/* --- tests: registration and invalidation --- */

static int reg_twice(void)
{
	struct req req;

	TRY(connect_pair());
	TRY(new_region(&region, &client, client.pd, 2));
	TRY(register_region(&region, ALL_RIGHTS));
	TRY(post_reg(&req, &client, region.mr, ALL_RIGHTS));
	return expect(&req, IB_WC_MW_BIND_ERR);
}

/* One of another domain */
static int reg_foreign(void)
{
	struct req req;

	TRY(connect_pair());
	TRY(new_region(&region, &client, client.other_pd, 2));
	TRY(post_reg(&req, &client, region.mr, ALL_RIGHTS));
	return expect(&req, IB_WC_MW_BIND_ERR);
}

static int inv_twice(void)
{
	struct req req;

	TRY(connect_pair());
	TRY(new_region(&region, &client, client.pd, 2));
	TRY(register_region(&region, ALL_RIGHTS));
	TRY(post_inv(&req, &client, region.mr->rkey));
	TRY(expect(&req, IB_WC_SUCCESS));
	TRY(post_inv(&req, &client, region.mr->rkey));
	return expect(&req, IB_WC_MW_BIND_ERR);
}

/* A message invalidates the receiver's registration, and tells it so. */
static int send_with_inv(int key_off)
{
	struct req send, recv, req;
	struct ib_sge from, to;

	TRY(connect_pair());
	TRY(new_region(&region, &client, client.pd, 2));
	TRY(register_region(&region, ALL_RIGHTS));
	from = sge_at(&server, 0, 64);
	memset(server.buf, 0x33, 64);
	to = sge_at(&client, 0, 64);
	TRY(post_recv(&recv, &client, &to, 1));
	TRY(post_send(&send, &server, &from, 1, region.mr->rkey + key_off));
	if (key_off) {
		TRY(expect(&send, IB_WC_REM_ACCESS_ERR));
		TRY(expect(&recv, IB_WC_WR_FLUSH_ERR));
		CHECK(!memchr_inv(client.buf, 0, 64), "it was delivered");
		return 0;
	}
	TRY(expect(&send, IB_WC_SUCCESS));
	TRY(expect(&recv, IB_WC_SUCCESS));
	CHECK(recv.wc.wc_flags & IB_WC_WITH_INVALIDATE &&
	      recv.wc.ex.invalidate_rkey == region.mr->rkey,
	      "the receiver is not told which key went");
	CHECK(!memchr_inv(client.buf, 0x33, 64), "wrong data");
	TRY(post_rdma(&req, &server, IB_WR_RDMA_WRITE, &from, 1,
		      region.mr->iova, region.mr->rkey, IB_SEND_SIGNALED));
	return expect(&req, IB_WC_REM_ACCESS_ERR);
}

/* The registration of the data sink is gone after the read, and only then. */
static int read_with_inv(void)
{
	struct ib_sge sge;
	struct req req;

	TRY(connect_pair());
	TRY(new_region(&region, &client, client.pd, 4));
	TRY(register_region(&region, ALL_RIGHTS));
	TRY(new_region(&region2, &server, server.pd, 4));
	TRY(register_region(&region2, IB_ACCESS_LOCAL_WRITE));
	get_random_bytes(want, 9000);
	region_io(&region, 10, want, 9000, true);
	sge = sge_in(&region2, 20, 9000);
	TRY(post_rdma(&req, &server, IB_WR_RDMA_READ_WITH_INV, &sge, 1,
		      region.mr->iova + 10, region.mr->rkey, IB_SEND_SIGNALED));
	TRY(expect(&req, IB_WC_SUCCESS));
	region_io(&region2, 20, got, 9000, false);
	CHECK(!memcmp(want, got, 9000), "wrong data");
	/* Free to be registered anew, under another key */
	ib_update_fast_reg_key(region2.mr, ib_inc_rkey(region2.mr->rkey));
	TRY(register_region(&region2, IB_ACCESS_LOCAL_WRITE));
	return 0;
}

static int test_invalidate(void)
{
	static int (* const steps[])(void) = {
		reg_twice, reg_foreign, inv_twice, read_with_inv,
	};
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(steps) + 2; i++) {
		err = i < ARRAY_SIZE(steps) ? steps[i]() :
		      send_with_inv(i - ARRAY_SIZE(steps));
		free_region(&region);
		free_region(&region2);
		free_pair();
		TRY(err);
	}
	return 0;
}

/* --- tests: order and draining --- */

static struct req many[4 * MAX_WR];

/*
 * Each message follows the write of what it announces: the receiver finds it.
 * Requests complete in the order in which they were posted.
 */
static int test_order(void)
{
	const unsigned int n = 60, size = 3000;
	struct ib_sge sge;
	unsigned int i;

	TRY(connect_pair());
	TRY(new_region(&region, &client, client.pd, BUF_PAGES));
	TRY(register_region(&region, ALL_RIGHTS));
	client.completions = 0;
	server.completions = 0;
	for (i = 0; i < n; i++) {
		sge = sge_at(&client, 16 * i, 16);
		TRY(post_recv(&many[i], &client, &sge, 1));
	}
	for (i = 0; i < n; i++) {
		struct req *write = &many[n + 3 * i];

		/* All writes to one place, read back to different ones */
		memset(server.buf + i * size, i + 1, size);
		sge = sge_at(&server, i * size, size);
		TRY(post_rdma(&write[0], &server, IB_WR_RDMA_WRITE, &sge, 1,
			      region.mr->iova + 7, region.mr->rkey, 0));
		sge = sge_at(&server, (n + i) * size, size);
		TRY(post_rdma(&write[1], &server, IB_WR_RDMA_READ, &sge, 1,
			      region.mr->iova + 7, region.mr->rkey,
			      IB_SEND_SIGNALED));
		sge = sge_at(&server, i * size, 16);
		TRY(post_send(&write[2], &server, &sge, 1, 0));
	}
	for (i = 0; i < n; i++) {
		struct req *write = &many[n + 3 * i];

		TRY(expect(&write[1], IB_WC_SUCCESS));
		TRY(expect(&write[2], IB_WC_SUCCESS));
		TRY(expect(&many[i], IB_WC_SUCCESS));
		CHECK(!write[0].done, "an unsignalled request completed");
		CHECK(write[1].place == 2 * i && write[2].place == 2 * i + 1,
		      "%u: completions %d and %d", i, write[1].place,
		      write[2].place);
		CHECK(many[i].place == i, "receive %u is %d", i, many[i].place);
		CHECK(!memchr_inv(server.buf + (n + i) * size, i + 1, size),
		      "read %u has other data", i);
	}
	return 0;
}

/* No request is open when drain returns, and none touches memory any more. */
static int drain_once(unsigned int *flushed)
{
	const unsigned int n = 40, size = 200000;
	struct ib_sge sge;
	unsigned int i;

	TRY(connect_pair());
	TRY(new_region(&region, &client, client.pd, BUF_PAGES));
	TRY(register_region(&region, ALL_RIGHTS));
	for (i = 0; i < n; i++) {
		sge = sge_at(&client, 0, 16);
		TRY(post_recv(&many[i], &client, &sge, 1));
		sge = sge_at(&server, i, size);
		TRY(post_rdma(&many[n + i], &server, IB_WR_RDMA_WRITE, &sge, 1,
			      region.mr->iova, region.mr->rkey,
			      IB_SEND_SIGNALED));
	}
	TRY(wait_req(&many[n]));
	/* The client goes while the server writes into its memory. */
	ib_drain_qp(client.id->qp);
	fill_memory(&client, 0x55);
	for (i = 0; i < n; i++)
		CHECK(many[i].done &&
		      many[i].wc.status == IB_WC_WR_FLUSH_ERR,
		      "receive %u is open", i);
	ib_drain_qp(server.id->qp);
	for (i = 0; i < n; i++) {
		CHECK(many[n + i].done, "write %u is open", i);
		*flushed += many[n + i].wc.status == IB_WC_WR_FLUSH_ERR;
	}
	CHECK(*flushed < n, "all were flushed, also the first one");
	CHECK(memory_is(&client, 0x55), "written after a drain");
	ib_drain_qp(client.id->qp);
	say("%u of %u flushed\n", *flushed, n);
	return 0;
}

/* A busy machine may get to it only when all is written: that shows nothing */
static int test_drain(void)
{
	unsigned int i, flushed = 0;

	for (i = 0; i < 20 && !flushed; i++) {
		free_region(&region);
		free_pair();
		TRY(drain_once(&flushed));
	}
	CHECK(flushed, "nothing was flushed in %u attempts", i);
	return 0;
}

/* A message waits for a receive, and is dropped when the connection goes. */
static int test_starving(void)
{
	struct ib_sge from, to;
	struct req send, recv;

	TRY(connect_pair());
	from = sge_at(&client, 0, 10);
	to = sge_at(&server, 0, 10);
	memset(client.buf, 0x77, 10);
	TRY(post_send(&send, &client, &from, 1, 0));
	msleep(300);
	CHECK(!send.done, "completed without a receive: '%s'",
	      ib_wc_status_msg(send.wc.status));
	TRY(post_recv(&recv, &server, &to, 1));
	TRY(expect(&send, IB_WC_SUCCESS));
	TRY(expect(&recv, IB_WC_SUCCESS));
	CHECK(!memchr_inv(server.buf, 0x77, 10), "wrong data");

	TRY(post_send(&send, &client, &from, 1, 0));
	msleep(100);
	CHECK(!send.done, "completed without a receive");
	TRY(rdma_disconnect(server.id));
	TRY(expect(&send, IB_WC_WR_FLUSH_ERR));
	return 0;
}

/* Reads until one fails: "@argument: place and status" are reported. */
static int test_failing(void)
{
	struct ib_sge sge, to;
	struct req req, recv;
	unsigned int i;

	TRY(connect_pair());
	TRY(new_region(&region, &client, client.pd, 1));
	TRY(register_region(&region, ALL_RIGHTS));
	TRY(new_region(&region2, &server, server.pd, 1));
	for (i = 1; i <= 20; i++) {
		sge = sge_at(&server, 0, 64);
		to = sge_at(&client, 0, 64);
		if (!strcmp(argument, "reg")) {
			TRY(post_reg(&req, &server, region2.mr, ALL_RIGHTS));
		} else if (!strcmp(argument, "send")) {
			TRY(post_recv(&recv, &client, &to, 1));
			TRY(post_send(&req, &server, &sge, 1, 0));
		} else {
			TRY(post_rdma(&req, &server, strcmp(argument, "read") ?
				      IB_WR_RDMA_WRITE : IB_WR_RDMA_READ, &sge,
				      1, region.mr->iova, region.mr->rkey,
				      IB_SEND_SIGNALED));
		}
		TRY(wait_req(&req));
		if (req.wc.status)
			break;
		if (!strcmp(argument, "reg")) {
			TRY(post_inv(&req, &server, region2.mr->rkey));
			TRY(expect(&req, IB_WC_SUCCESS));
		} else if (!strcmp(argument, "send")) {
			TRY(expect(&recv, IB_WC_SUCCESS));
		}
	}
	say("failed=%u status=%d\n", i, req.wc.status);
	return 0;
}

/* --- tests: peer memory --- */

static struct {
	struct pci_dev *provider;
	void *virt;
	struct sg_table table;
	struct ib_mr *mr;
} peer;

#define PEER_SIZE	SZ_256K

static int get_peer(void)
{
	unsigned int domain, bus, dev, fn;

	CHECK(argument && sscanf(argument, "%x:%x:%x.%x", &domain, &bus, &dev,
				 &fn) == 4, "no provider given");
	peer.provider = pci_get_domain_bus_and_slot(domain, bus,
						    PCI_DEVFN(dev, fn));
	CHECK(peer.provider, "no provider %s", argument);
	peer.virt = pci_alloc_p2pmem(peer.provider, PEER_SIZE);
	CHECK(peer.virt, "no peer memory");
	TRY(sg_alloc_table(&peer.table, 1, GFP_KERNEL));
	sg_set_buf(peer.table.sgl, peer.virt, PEER_SIZE);
	TRY(dma_map_sgtable(server.id->device->dma_device, &peer.table,
			    DMA_BIDIRECTIONAL, 0));
	return 0;
}

static void put_peer(void)
{
	if (!IS_ERR_OR_NULL(peer.mr))
		ib_dereg_mr(peer.mr);
	if (peer.table.sgl) {
		if (sg_dma_len(peer.table.sgl))
			dma_unmap_sgtable(server.id->device->dma_device,
					  &peer.table, DMA_BIDIRECTIONAL, 0);
		sg_free_table(&peer.table);
	}
	if (peer.virt)
		pci_free_p2pmem(peer.provider, peer.virt, PEER_SIZE);
	pci_dev_put(peer.provider);
	memset(&peer, 0, sizeof(peer));
}

/* In and out of the peer memory at @off, by a work request of the server */
static int peer_round(struct region *reg, u32 off, u32 len, u32 lkey, u64 base)
{
	struct ib_sge sge = {
		.addr = base + off, .length = len, .lkey = lkey,
	};
	struct ib_sge from;
	struct req req, recv;

	/* Read into it */
	memset_io((void __iomem *)peer.virt, 0xee, PEER_SIZE);
	get_random_bytes(want, len);
	region_io(reg, 3, want, len, true);
	TRY(post_rdma(&req, &server, IB_WR_RDMA_READ, &sge, 1,
		      reg->mr->iova + 3, reg->mr->rkey, IB_SEND_SIGNALED));
	TRY(expect(&req, IB_WC_SUCCESS));
	memcpy_fromio(got, (void __iomem *)peer.virt, PEER_SIZE);
	CHECK(!memcmp(want, got + off, len), "READ of %u at %u", len, off);
	CHECK(!memchr_inv(got, 0xee, off) &&
	      !memchr_inv(got + off + len, 0xee, PEER_SIZE - off - len),
	      "READ of %u at %u: its surroundings changed", len, off);

	/* Written from it */
	memset(got, 0, len);
	region_io(reg, 9, got, len, true);
	TRY(post_rdma(&req, &server, IB_WR_RDMA_WRITE, &sge, 1,
		      reg->mr->iova + 9, reg->mr->rkey, IB_SEND_SIGNALED));
	TRY(expect(&req, IB_WC_SUCCESS));
	region_io(reg, 9, got, len, false);
	CHECK(!memcmp(want, got, len), "WRITE of %u at %u", len, off);

	/* Received there */
	get_random_bytes(want, len);
	region_io(reg, 1, want, len, true);
	TRY(post_recv(&recv, &server, &sge, 1));
	from = sge_in(reg, 1, len);
	TRY(post_send(&req, &client, &from, 1, 0));
	TRY(expect(&req, IB_WC_SUCCESS));
	TRY(expect(&recv, IB_WC_SUCCESS));
	memcpy_fromio(got, (void __iomem *)peer.virt + off, len);
	CHECK(!memcmp(want, got, len), "RECV of %u at %u", len, off);
	return 0;
}

static int test_peer(void)
{
	static const u32 lens[] = { 1, 100, 512, 4096, 5000, 131072, 200001 };
	static const u32 offs[] = { 0, 1, 512, 4096, 4100 };
	unsigned int i, j;
	u64 dma, bytes = 0;
	struct req req;

	TRY(connect_pair());
	TRY(get_peer());
	TRY(new_region(&region, &client, client.pd, BUF_PAGES));
	TRY(register_region(&region, ALL_RIGHTS));
	dma = sg_dma_address(peer.table.sgl);
	peer.mr = ib_alloc_mr(server.pd, IB_MR_TYPE_MEM_REG,
			      PEER_SIZE / PAGE_SIZE);
	TRY(PTR_ERR_OR_ZERO(peer.mr));
	CHECK(ib_map_mr_sg(peer.mr, peer.table.sgl, 1, NULL, PAGE_SIZE) == 1,
	      "not in one registration");
	TRY(post_reg(&req, &server, peer.mr, ALL_RIGHTS));
	TRY(expect(&req, IB_WC_SUCCESS));
	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		for (j = 0; j < ARRAY_SIZE(offs); j++) {
			if ((i + j) & 1)
				TRY(peer_round(&region, offs[j], lens[i],
					       peer.mr->lkey, peer.mr->iova));
			else
				TRY(peer_round(&region, offs[j], lens[i],
					       server.pd->local_dma_lkey, dma));
			bytes += lens[i];
		}
	}
	say("bytes=%llu bus=%#llx\n", bytes, dma);
	return 0;
}

/* --- tests: signatures --- */

/*
 * No adapter here makes signatures. What rdma_rw does before and after that is
 * the same: a registration of a device of our own notes the addresses.
 */
static struct {
	struct scatterlist sg[2], prot[1];
	int answer;
	dma_addr_t ram_addr, peer_addr, prot_addr;
} signature;

static int note_pi(struct ib_mr *mr, struct scatterlist *sg, int nents,
		   unsigned int *off, struct scatterlist *prot, int prot_nents,
		   unsigned int *prot_off)
{
	signature.ram_addr = sg_dma_address(&sg[0]);
	signature.peer_addr = sg_dma_address(&sg[1]);
	signature.prot_addr = sg_dma_address(&prot[0]);
	return signature.answer;
}

/* Data in ordinary and in peer memory, protection information in peer memory */
static int sign(struct ib_qp *qp, int nents, int want)
{
	struct ib_sig_attrs attrs = { .wire.sig_type = IB_SIG_TYPE_T10_DIF };
	struct scatterlist *sg = signature.sg, *prot = signature.prot;
	struct rdma_rw_ctx ctx;
	int err;

	sg_init_table(sg, 2);
	sg_set_buf(&sg[0], server.buf, PAGE_SIZE);
	sg_set_buf(&sg[1], peer.virt, SZ_64K);
	sg_init_table(prot, 1);
	sg_set_buf(&prot[0], peer.virt + SZ_128K, PAGE_SIZE);
	err = rdma_rw_ctx_signature_init(&ctx, qp, server.id->port_num, sg,
					 nents, prot, 1, &attrs, 0, 1,
					 DMA_FROM_DEVICE);
	if (want < 0)
		CHECK(err == want, "%d, should be %d", err, want);
	else
		CHECK(err > 0, "failed with %d", err);
	if (err > 0) {
		CHECK(!sg_dma_is_bus_address(&sg[0]), "RAM by a bus address");
		CHECK(sg_dma_is_bus_address(&sg[1]), "data by no bus address");
		CHECK(sg_dma_is_bus_address(&prot[0]),
		      "protection information by no bus address");
		rdma_rw_ctx_destroy_signature(&ctx, qp, server.id->port_num, sg,
					      nents, prot, 1, DMA_FROM_DEVICE);
	}
	CHECK(!sg_dma_is_bus_address(&sg[1]) && !sg_dma_is_bus_address(&prot[0]),
	      "%d: still mapped afterwards", want);
	return 0;
}

static int sign_all(struct ib_qp *qp, struct ib_mr *mr)
{
	struct device *dma = server.id->device->dma_device;
	dma_addr_t bus = sg_dma_address(peer.table.sgl);
	u64 mask = *dma->dma_mask;
	int err;

	TRY(sign(qp, 2, 1));
	CHECK(signature.peer_addr == bus, "data at %pad", &signature.peer_addr);
	CHECK(signature.prot_addr == bus + SZ_128K,
	      "protection information at %pad", &signature.prot_addr);
	CHECK(signature.ram_addr == server.dma, "RAM at %pad",
	      &signature.ram_addr);
	signature.answer = -EIO;
	TRY(sign(qp, 2, -EIO));
	list_del_init(&mr->qp_entry);
	TRY(sign(qp, 2, -EAGAIN));
	/* Ordinary memory can be reached with these 31 bits, the BAR cannot. */
	*dma->dma_mask = DMA_BIT_MASK(31);
	err = sign(qp, 2, -EREMOTEIO) ?: sign(qp, 1, -EREMOTEIO);
	*dma->dma_mask = mask;
	return err;
}

static int test_signature(void)
{
	struct ib_device *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	struct ib_sig_attrs attrs;
	struct ib_mr mr = {
		.device = dev,
		.type = IB_MR_TYPE_INTEGRITY,
		.sig_attrs = &attrs,
	};
	struct ib_qp *qp;
	int err;

	CHECK(dev, "no memory");
	dev->ops.map_mr_sg_pi = note_pi;
	signature.answer = 0;
	err = connect_pair() ?: get_peer();
	if (!err) {
		qp = server.id->qp;
		list_add(&mr.qp_entry, &qp->sig_mrs);
		err = sign_all(qp, &mr);
		list_del(&mr.qp_entry);
	}
	kfree(dev);
	return err;
}

/* --- tests: virtual DMA --- */

/* A list of ordinary memory and then peer memory, and each of the two */
static int map_virtual(struct ib_device *dev, void *peer_mem)
{
	struct scatterlist sgl[2];
	struct sg_table table = { .sgl = sgl, .orig_nents = 2 };
	u64 addr;
	int err;

	sg_init_table(sgl, 2);
	sg_set_page(&sgl[0], ZERO_PAGE(0), PAGE_SIZE, 0);
	sg_set_buf(&sgl[1], peer_mem, PAGE_SIZE);
	err = ib_dma_map_sgtable_attrs(dev, &table, DMA_TO_DEVICE, 0);
	CHECK(err == -EREMOTEIO, "a list with peer memory: %d", err);
	CHECK(!ib_dma_map_sg(dev, sgl, 2, DMA_TO_DEVICE), "the same by itself");
	addr = ib_dma_map_page(dev, virt_to_page(peer_mem), 0, PAGE_SIZE,
			       DMA_TO_DEVICE);
	CHECK(ib_dma_mapping_error(dev, addr), "a page: %#llx", addr);

	table.orig_nents = 1;
	err = ib_dma_map_sgtable_attrs(dev, &table, DMA_TO_DEVICE, 0);
	CHECK(!err, "ordinary memory: %d", err);
	addr = ib_dma_map_page(dev, ZERO_PAGE(0), 0, PAGE_SIZE, DMA_TO_DEVICE);
	CHECK(!ib_dma_mapping_error(dev, addr), "an ordinary page is refused");
	CHECK(addr == (uintptr_t)page_address(ZERO_PAGE(0)), "it is %#llx", addr);
	return 0;
}

/* rxe, siw: the CPU would copy from the BAR. @argument: RDMA device, provider. */
static int test_virtual(void)
{
	unsigned int domain, bus, slot, fn;
	struct pci_dev *provider;
	struct ib_device *dev;
	char name[32];
	void *mem;
	int err;

	CHECK(argument && sscanf(argument, "%31s %x:%x:%x.%x", name, &domain,
				 &bus, &slot, &fn) == 5, "no device, no provider");
	provider = pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(slot, fn));
	CHECK(provider, "no provider in '%s'", argument);
	dev = ib_device_get_by_name(name, RDMA_DRIVER_UNKNOWN);
	mem = pci_alloc_p2pmem(provider, PAGE_SIZE);
	if (!dev || !ib_uses_virt_dma(dev) || !mem) {
		say("no device %s with virtual DMA, or no memory\n", name);
		err = -EIO;
	} else {
		err = map_virtual(dev, mem);
	}
	pci_free_p2pmem(provider, mem, PAGE_SIZE);
	if (dev)
		ib_device_put(dev);
	pci_dev_put(provider);
	return err;
}

/* --- tests: connections --- */

static int test_reject(void)
{
	struct rdma_cm_id *listener;
	int err;

	reset_end(&client);
	reset_end(&server);
	TRY(new_listener(&listener, htonl(INADDR_ANY), BACKLOG));
	err = resolve(&client);
	if (!err)
		err = start_connect(&client);
	if (!err)
		err = take_incoming();
	if (!err)
		err = rdma_reject(server.id, "no", 2,
				  IB_CM_REJ_CONSUMER_DEFINED);
	if (!err)
		err = wait_seen(&client, RDMA_CM_EVENT_REJECTED);
	rdma_destroy_id(listener);
	TRY(err);
	CHECK(client.status == -ECONNREFUSED, "status %d", client.status);
	CHECK(client.data_len == 2 && !memcmp(client.data, "no", 2),
	      "private data of the rejection: %.2s", client.data);
	return 0;
}

/* Nobody listens; then somebody does, on another port. */
static int test_refused(void)
{
	struct rdma_cm_id *listener;
	int err;

	reset_end(&client);
	TRY(resolve(&client));
	TRY(start_connect(&client));
	TRY(wait_seen(&client, RDMA_CM_EVENT_REJECTED));
	CHECK(client.status == -ECONNREFUSED, "status %d", client.status);
	free_end(&client);

	reset_end(&client);
	reset_end(&server);
	server_addr.sin_port = htons(PORT + 1);
	err = new_listener(&listener, htonl(INADDR_ANY), BACKLOG);
	server_addr.sin_port = htons(PORT);
	TRY(err);
	err = resolve(&client);
	if (!err)
		err = start_connect(&client);
	if (!err)
		err = wait_seen(&client, RDMA_CM_EVENT_REJECTED);
	rdma_destroy_id(listener);
	TRY(err);
	CHECK(client.status == -ECONNREFUSED, "status %d", client.status);
	return 0;
}

/* The listener goes before it has answered; so does the client. */
static int test_abandoned(void)
{
	struct rdma_cm_id *listener;
	int err;

	reset_end(&client);
	reset_end(&server);
	TRY(new_listener(&listener, server_addr.sin_addr.s_addr, BACKLOG));
	err = resolve(&client);
	if (!err)
		err = start_connect(&client);
	if (!err)
		err = take_incoming();
	rdma_destroy_id(listener);
	TRY(err);
	TRY(wait_seen(&client, RDMA_CM_EVENT_REJECTED));
	free_end(&client);
	TRY(equip_end(&server));
	rdma_lock_handler(server.id);
	err = rdma_accept(server.id, NULL);
	rdma_unlock_handler(server.id);
	CHECK(err == -EINVAL || err == -ECONNRESET, "accepted: %d", err);
	return 0;
}

/* Either end disconnects; both are told. */
static int test_cycles(void)
{
	unsigned int i, n;

	CHECK(argument && !kstrtouint(argument, 10, &n), "no number given");
	for (i = 0; i < n; i++) {
		TRY(connect_pair());
		TRY(rdma_disconnect(i & 1 ? client.id : server.id));
		TRY(wait_seen(&client, RDMA_CM_EVENT_DISCONNECTED));
		TRY(wait_seen(&server, RDMA_CM_EVENT_DISCONNECTED));
		free_pair();
	}
	return 0;
}

/* --- running them --- */

static const struct {
	const char *name;
	int (*fn)(void);
} tests[] = {
	{ "data", test_data },
	{ "errors", test_errors },
	{ "receive", test_receive },
	{ "invalidate", test_invalidate },
	{ "order", test_order },
	{ "drain", test_drain },
	{ "starving", test_starving },
	{ "failing", test_failing },
	{ "peer", test_peer },
	{ "signature", test_signature },
	{ "virtual", test_virtual },
	{ "reject", test_reject },
	{ "refused", test_refused },
	{ "abandoned", test_abandoned },
	{ "cycles", test_cycles },
};

static int parse_addr(const char *word, struct sockaddr_in *addr)
{
	*addr = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(PORT),
	};
	return word && in4_pton(word, -1, (u8 *)&addr->sin_addr, -1, NULL) ?
	       0 : -EINVAL;
}

static int run(char *line)
{
	const char *name = strsep(&line, " ");
	unsigned int i;
	int err;

	if (parse_addr(strsep(&line, " "), &client_addr) ||
	    parse_addr(strsep(&line, " "), &server_addr))
		return -EINVAL;
	argument = line;
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (strcmp(name, tests[i].name))
			continue;
		err = tests[i].fn();
		/* Nothing uses the memory any more once the ends are drained. */
		if (client.id && client.id->qp)
			ib_drain_qp(client.id->qp);
		if (server.id && server.id->qp)
			ib_drain_qp(server.id->qp);
		free_region(&region);
		free_region(&region2);
		put_peer();
		free_pair();
		return err;
	}
	return -EINVAL;
}

static ssize_t run_write(struct file *file, const char __user *ubuf,
			 size_t count, loff_t *pos)
{
	char line[128];
	int err;

	if (count >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, ubuf, count))
		return -EFAULT;
	line[count] = 0;
	guard(mutex)(&run_lock);
	answer[0] = 0;
	err = run(strim(line));
	return err ?: count;
}

static ssize_t run_read(struct file *file, char __user *ubuf, size_t count,
			loff_t *pos)
{
	guard(mutex)(&run_lock);
	return simple_read_from_buffer(ubuf, count, pos, answer,
				       strlen(answer));
}

static const struct file_operations run_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = run_read,
	.write = run_write,
};

static struct dentry *debugfs_dir;

static int __init rnic_test_init(void)
{
	want = vzalloc(BUF_SIZE);
	got = vzalloc(BUF_SIZE);
	if (!want || !got) {
		vfree(want);
		vfree(got);
		return -ENOMEM;
	}
	debugfs_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("run", 0600, debugfs_dir, NULL, &run_fops);
	return 0;
}

static void __exit rnic_test_exit(void)
{
	debugfs_remove_recursive(debugfs_dir);
	vfree(want);
	vfree(got);
}

module_init(rnic_test_init);
module_exit(rnic_test_exit);

MODULE_DESCRIPTION("Verbs and connections of the emulated RDMA adapter");
MODULE_LICENSE("GPL");
