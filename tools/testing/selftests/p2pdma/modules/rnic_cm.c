// SPDX-License-Identifier: GPL-2.0
/*
 * p2pdma_rnic: connections between the adapters of this machine
 *
 * The provider's side of the iWARP connection manager (include/rdma/iw_cm.h),
 * for IPv4. One lock covers all of it; events are only queued by the manager,
 * so they may be sent under it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/inetdevice.h>
#include <linux/slab.h>

#include "rnic.h"

static DEFINE_MUTEX(rnic_cm_lock);
static LIST_HEAD(devices);
static LIST_HEAD(listeners);
static LIST_HEAD(conns);

struct rnic_listener {
	struct list_head node;
	struct rnic_dev *dev;
	struct iw_cm_id *cm_id;
	/* Requests that are not answered yet, and how many there may be */
	int waiting;
	int backlog;
};

/* One end; each pointer has a reference, and both go together. */
struct rnic_end {
	struct iw_cm_id *cm_id;
	struct rnic_qp *qp;
};

struct rnic_conn {
	struct list_head node;
	struct rnic_end active;
	struct rnic_end passive;
	/* Where it was requested; NULL once answered, or once that is gone */
	struct rnic_listener *listener;
	/* The adapter that was asked */
	struct rnic_dev *asked;
	/* The passive side may still accept or reject. */
	bool open;
};

static int send_event(struct iw_cm_id *cm_id, enum iw_cm_event_type type,
		      int status, const struct iw_cm_conn_param *param)
{
	struct iw_cm_event event = {
		.event = type,
		.status = status,
		.local_addr = cm_id->m_local_addr,
		.remote_addr = cm_id->m_remote_addr,
	};

	if (param) {
		event.private_data = (void *)param->private_data;
		event.private_data_len = param->private_data_len;
		event.ord = param->ord;
		event.ird = param->ird;
	}
	return cm_id->event_handler(cm_id, &event);
}

static void attach(struct rnic_end *end, struct rnic_conn *conn,
		   struct iw_cm_id *cm_id, struct rnic_qp *qp)
{
	cm_id->add_ref(cm_id);
	rnic_qp_get(qp);
	end->cm_id = cm_id;
	end->qp = qp;
	qp->conn = conn;
}

static void detach(struct rnic_end *end)
{
	if (!end->cm_id)
		return;
	end->qp->conn = NULL;
	rnic_qp_disconnect(end->qp);
	rnic_qp_put(end->qp);
	end->cm_id->rem_ref(end->cm_id);
	end->cm_id = NULL;
	end->qp = NULL;
}

/* The passive side has answered, or cannot any more. */
static void answered(struct rnic_conn *conn)
{
	if (conn->listener)
		conn->listener->waiting--;
	conn->listener = NULL;
}

static void free_if_unused(struct rnic_conn *conn)
{
	if (conn->open || conn->active.cm_id || conn->passive.cm_id)
		return;
	answered(conn);
	list_del(&conn->node);
	kfree(conn);
}

/* The active side's request has failed. */
static void refuse(struct rnic_conn *conn, int status,
		   const struct iw_cm_conn_param *param)
{
	if (!conn->active.cm_id)
		return;
	send_event(conn->active.cm_id, IW_CM_EVENT_CONNECT_REPLY, status, param);
	detach(&conn->active);
}

/* --- adapters --- */

void rnic_cm_add_dev(struct rnic_dev *dev)
{
	guard(mutex)(&rnic_cm_lock);
	list_add_tail(&dev->node, &devices);
}

/*
 * It has no queue pair, and no identifier of the manager, any more. What is
 * left was requested of a listener that went before it was told.
 */
void rnic_cm_remove_dev(struct rnic_dev *dev)
{
	struct rnic_conn *conn, *next;

	guard(mutex)(&rnic_cm_lock);
	list_del(&dev->node);
	list_for_each_entry_safe(conn, next, &conns, node) {
		if (conn->asked != dev)
			continue;
		conn->open = false;
		refuse(conn, -ECONNREFUSED, NULL);
		free_if_unused(conn);
	}
}

/* --- listening --- */

static bool owns_address(struct rnic_dev *dev, __be32 addr)
{
	struct net_device *netdev = ip_dev_find(&init_net, addr);

	if (!netdev)
		return false;
	dev_put(netdev);
	return netdev == dev->netdev;
}

/* One for exactly this address goes before one for all of an adapter's. */
static struct rnic_listener *find_listener(const struct sockaddr_in *to)
{
	struct rnic_listener *listener, *found = NULL;
	const struct sockaddr_in *at;

	list_for_each_entry(listener, &listeners, node) {
		at = (void *)&listener->cm_id->m_local_addr;
		if (at->sin_family != AF_INET || at->sin_port != to->sin_port)
			continue;
		if (at->sin_addr.s_addr == to->sin_addr.s_addr)
			return listener;
		if (at->sin_addr.s_addr == htonl(INADDR_ANY) &&
		    owns_address(listener->dev, to->sin_addr.s_addr))
			found = listener;
	}
	return found;
}

int rnic_iw_create_listen(struct iw_cm_id *cm_id, int backlog)
{
	struct rnic_listener *listener, *other;

	if (cm_id->m_local_addr.ss_family != AF_INET)
		return -EAFNOSUPPORT;
	listener = kzalloc(sizeof(*listener), GFP_KERNEL);
	if (!listener)
		return -ENOMEM;
	listener->dev = to_rnic_dev(cm_id->device);
	listener->cm_id = cm_id;
	listener->backlog = backlog;

	guard(mutex)(&rnic_cm_lock);
	list_for_each_entry(other, &listeners, node) {
		if (other->dev == listener->dev &&
		    !memcmp(&other->cm_id->m_local_addr, &cm_id->m_local_addr,
			    sizeof(struct sockaddr_in))) {
			kfree(listener);
			return -EADDRINUSE;
		}
	}
	cm_id->add_ref(cm_id);
	cm_id->provider_data = listener;
	list_add_tail(&listener->node, &listeners);
	return 0;
}

/* As for a socket: requests that were not answered yet are refused. */
int rnic_iw_destroy_listen(struct iw_cm_id *cm_id)
{
	struct rnic_listener *listener = cm_id->provider_data;
	struct rnic_conn *conn, *next;

	guard(mutex)(&rnic_cm_lock);
	list_for_each_entry_safe(conn, next, &conns, node) {
		if (conn->listener != listener)
			continue;
		answered(conn);
		refuse(conn, -ECONNREFUSED, NULL);
	}
	list_del(&listener->node);
	cm_id->rem_ref(cm_id);
	kfree(listener);
	return 0;
}

/* --- connecting --- */

/* The listener's user gets to know; an error refuses. */
static int request(struct rnic_conn *conn, const struct iw_cm_id *from,
		   const struct iw_cm_conn_param *param)
{
	const struct sockaddr_in *to = (void *)&from->m_remote_addr;
	struct rnic_listener *listener = find_listener(to);
	struct iw_cm_event event = {
		.event = IW_CM_EVENT_CONNECT_REQUEST,
		.local_addr = from->m_remote_addr,
		.remote_addr = from->m_local_addr,
		.provider_data = conn,
		.private_data = (void *)param->private_data,
		.private_data_len = param->private_data_len,
		/* What one end starts, the other one answers. */
		.ird = min_t(u32, param->ord, RNIC_MAX_RD_ATOM),
		.ord = min_t(u32, param->ird, RNIC_MAX_RD_ATOM),
	};
	int err;

	if (!listener || listener->waiting >= listener->backlog)
		return -ECONNREFUSED;
	err = listener->cm_id->event_handler(listener->cm_id, &event);
	if (err)
		return err;
	conn->listener = listener;
	conn->asked = listener->dev;
	conn->open = true;
	listener->waiting++;
	return 0;
}

int rnic_iw_connect(struct iw_cm_id *cm_id, struct iw_cm_conn_param *param)
{
	struct rnic_dev *dev = to_rnic_dev(cm_id->device);
	struct rnic_conn *conn;
	struct rnic_qp *qp;
	int err = 0;

	if (cm_id->m_remote_addr.ss_family != AF_INET)
		return -EAFNOSUPPORT;
	if (param->private_data_len > U8_MAX)
		return -EINVAL;
	conn = kzalloc(sizeof(*conn), GFP_KERNEL);
	if (!conn)
		return -ENOMEM;

	guard(mutex)(&rnic_cm_lock);
	/* The manager has a reference to it. */
	qp = xa_load(&dev->qps, param->qpn);
	if (!qp || qp->conn) {
		kfree(conn);
		return -EINVAL;
	}
	list_add_tail(&conn->node, &conns);
	attach(&conn->active, conn, cm_id, qp);
	err = request(conn, cm_id, param);
	if (err)
		refuse(conn, -ECONNREFUSED, NULL);
	free_if_unused(conn);
	return 0;
}

int rnic_iw_accept(struct iw_cm_id *cm_id, struct iw_cm_conn_param *param)
{
	struct rnic_dev *dev = to_rnic_dev(cm_id->device);
	struct rnic_conn *conn = cm_id->provider_data;
	struct rnic_qp *qp;
	int err;

	guard(mutex)(&rnic_cm_lock);
	conn->open = false;
	answered(conn);
	qp = xa_load(&dev->qps, param->qpn);
	err = -ECONNRESET;
	if (!conn->active.cm_id)
		goto fail;
	err = -EINVAL;
	if (!qp || qp->conn || param->private_data_len > U8_MAX)
		goto fail;

	attach(&conn->passive, conn, cm_id, qp);
	/* The passive side first: it must be ready when the other one sends. */
	err = rnic_qp_connect(qp, conn->active.qp);
	if (!err)
		err = rnic_qp_connect(conn->active.qp, qp);
	if (!err)
		err = send_event(cm_id, IW_CM_EVENT_ESTABLISHED, 0, NULL);
	if (err) {
		detach(&conn->passive);
		rnic_qp_error(qp, -1);
		rnic_qp_error(conn->active.qp, -1);
		goto fail;
	}
	send_event(conn->active.cm_id, IW_CM_EVENT_CONNECT_REPLY, 0, param);
	return 0;

fail:
	refuse(conn, -ECONNRESET, NULL);
	free_if_unused(conn);
	return err;
}

int rnic_iw_reject(struct iw_cm_id *cm_id, const void *data, u8 len)
{
	struct rnic_conn *conn = cm_id->provider_data;
	struct iw_cm_conn_param param = {
		.private_data = data, .private_data_len = len,
	};

	guard(mutex)(&rnic_cm_lock);
	conn->open = false;
	answered(conn);
	refuse(conn, -ECONNREFUSED, &param);
	free_if_unused(conn);
	return 0;
}

/**
 * rnic_cm_close - end the connection of a queue pair in error, if it has one
 * @qp: the caller keeps it from going away
 *
 * The other end gets into error too. Afterwards the connection manager has
 * dropped its reference, or has got the event that makes it do so.
 */
void rnic_cm_close(struct rnic_qp *qp)
{
	struct rnic_end *end, *other;
	struct rnic_conn *conn;

	guard(mutex)(&rnic_cm_lock);
	conn = qp->conn;
	if (!conn)
		return;
	if (!conn->passive.cm_id) {
		refuse(conn, -ECONNRESET, NULL);
		free_if_unused(conn);
		return;
	}
	end = conn->active.qp == qp ? &conn->active : &conn->passive;
	other = conn->active.qp == qp ? &conn->passive : &conn->active;
	rnic_qp_error(other->qp, -1);
	send_event(other->cm_id, IW_CM_EVENT_DISCONNECT, 0, NULL);
	send_event(other->cm_id, IW_CM_EVENT_CLOSE, 0, NULL);
	send_event(end->cm_id, IW_CM_EVENT_CLOSE, 0, NULL);
	detach(other);
	detach(end);
	free_if_unused(conn);
}

/* --- references, with interrupts off --- */

void rnic_iw_add_ref(struct ib_qp *ibqp)
{
	rnic_qp_get(to_rnic_qp(ibqp));
}

void rnic_iw_rem_ref(struct ib_qp *ibqp)
{
	rnic_qp_put(to_rnic_qp(ibqp));
}

struct ib_qp *rnic_iw_get_qp(struct ib_device *ibdev, int qpn)
{
	struct rnic_qp *qp = xa_load(&to_rnic_dev(ibdev)->qps, qpn);

	return qp ? &qp->ibqp : NULL;
}
