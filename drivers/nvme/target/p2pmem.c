// SPDX-License-Identifier: GPL-2.0
/*
 * NVMe target: payload in the memory of a PCI function
 *
 * A host writes, and the transport's adapter puts the data into memory in a
 * PCI BAR, often that of the very drive that takes it from there; and the other
 * way round for a read. System memory never holds it.
 *
 * The target is the orchestrator: it knows both who brings the data (one device
 * for a queue, nvmet_sq.dma_dev) and who takes it (the namespace's drive). For
 * each pair of controller and namespace it looks for a provider that both can
 * reach, and keeps a binding to it: struct nvmet_p2pmem. A binding never
 * changes. Whatever may give another result (attributes, providers that come
 * and go, paths that open and close) makes a new one that takes its place,
 * while commands that use the old one go on: each holds the provider that its
 * buffer is from.
 *
 * Nothing here fails a command. Where there is no provider, or it has nothing
 * free, or refuses, the command goes through system memory. What was begun with
 * peer memory and then went wrong is done again through system memory, once. A
 * drive may report success for data that a dying BAR swallowed, so the
 * provider's generation is compared before a command completes.
 *
 * Only reads and writes of block devices on I/O queues are served. Everything
 * else has a payload that the CPU looks at. So have namespaces with protection
 * information, and a command whose signature was set up cannot be repeated.
 *
 * Locks: nvmet_p2pmem.lock serialises updates of one pair. It nests inside
 * nvmet_subsys.lock, and the core's locks nest inside it. The core calls
 * nvmet_p2pmem_unusable() with none of them; it takes none. Commands look up
 * pair and binding under RCU. A pair lives until its namespace has no commands
 * any more or its controller no queues.
 *
 * Work has a queue of its own: on nvmet_wq any number of queues that are being
 * released may wait for commands that have to be repeated first.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/blk-integrity.h>
#include <linux/configfs.h>
#include <linux/pci.h>
#include <linux/percpu.h>
#include <linux/ratelimit.h>
#include <linux/seq_file.h>
#include <linux/string.h>
#include <linux/workqueue.h>
#include "p2pmem.h"

/* Searching again because something may be better now is not urgent */
#define NVMET_P2PMEM_SEARCH_DELAY	HZ
/* So many transfers in a row fail before no more are tried */
#define NVMET_P2PMEM_MAX_FAILURES	16
/* A drive that is reset fails all that it has at once: that is one failure */
#define NVMET_P2PMEM_FAILURE_INTERVAL	(HZ / 10)

static struct workqueue_struct *nvmet_p2pmem_wq;

/* Why a command that was allowed peer memory went through system memory */
enum nvmet_p2pmem_fallback {
	NVMET_P2PMEM_NO_PROVIDER,	/* none that both devices reach, or it goes */
	NVMET_P2PMEM_EXHAUSTED,		/* the provider has not enough free */
	NVMET_P2PMEM_METADATA,		/* the command has protection information */
	NVMET_P2PMEM_OTHER_DEVICE,	/* its queue is not on the controller's adapter */
	NVMET_P2PMEM_REPEATED,		/* it failed, or may have lost its payload */
	NVMET_P2PMEM_NR_FALLBACKS,
};

static const char *const nvmet_p2pmem_fallbacks[] = {
	[NVMET_P2PMEM_NO_PROVIDER]	= "no_provider",
	[NVMET_P2PMEM_EXHAUSTED]	= "exhausted",
	[NVMET_P2PMEM_METADATA]		= "metadata",
	[NVMET_P2PMEM_OTHER_DEVICE]	= "other_device",
	[NVMET_P2PMEM_REPEATED]		= "repeated",
};

/* Reasons too long for where they are given */
static const char nvmet_p2pmem_no_feature[] =
	"the driver of %s does not take peer-to-peer memory (md, dm and NVMe multipath never do)";
static const char nvmet_p2pmem_no_dma[] =
	"the transport has no device that does DMA (soft RDMA, TCP and loop copy by CPU)";
static const char nvmet_p2pmem_no_function[] =
	"there is no PCI device at the address in its attribute p2pmem";
static const char nvmet_p2pmem_keeps_failing[] =
	"transfers by peer-to-peer memory keep failing; tried again when a path changes";

/* Bytes and commands whose payload was in peer memory, or in system memory */
struct nvmet_p2pmem_stats {
	u64 p2p_bytes;
	u64 p2p_cmds;
	u64 host_bytes;
	u64 host_cmds;
	u64 fallback[NVMET_P2PMEM_NR_FALLBACKS];
};

/**
 * struct nvmet_p2pmem_binding - what came of one search for a provider
 * @clients: the adapter and the drive
 * @pair: what it was made for
 * @provider: the provider, or NULL
 * @reason: why there is none, lines of text; NULL if that could not be told
 * @gone: the core said that @provider cannot be used now
 * @node: in a list of those that are replaced
 */
struct nvmet_p2pmem_binding {
	struct pci_p2pdma_client_list clients;
	struct nvmet_p2pmem *pair;
	struct pci_dev *provider;
	char *reason;
	bool gone;
	struct list_head node;
};

/**
 * struct nvmet_p2pmem - peer memory for a controller and a namespace
 * @ctrl: the controller
 * @ns: the namespace
 * @lock: held to replace @binding
 * @binding: the last result; NULL if peer memory is not allowed
 * @changes: pci_p2pdma_changes() before that search
 * @dead: no further search; under @lock
 * @failures: transfers in a row that failed though the provider was there, and
 *	went well through system memory
 * @failed_at: when the last of them was counted
 * @give_up: there were too many of them
 * @work: searches again
 * @stats: counters
 * @said: what the log says of this pair; NULL if nothing
 * @messages: limits the rate of messages
 * @node: in a list of those that go
 */
struct nvmet_p2pmem {
	struct nvmet_ctrl *ctrl;
	struct nvmet_ns *ns;
	struct mutex lock; /* binding, changes, dead, said */
	struct nvmet_p2pmem_binding __rcu *binding;
	unsigned int changes;
	bool dead;
	atomic_t failures;
	unsigned long failed_at;
	bool give_up;
	struct delayed_work work;
	struct nvmet_p2pmem_stats __percpu *stats;
	char *said;
	struct ratelimit_state messages;
	struct list_head node;
};

/*
 * Bindings
 */

/*
 * Called by the core, which may be about to take a drive down that hangs: takes
 * no lock and does not wait. Commands hold buffers, a binding holds none, so
 * there is nothing to give back.
 */
static void nvmet_p2pmem_unusable(struct pci_p2pdma_client_list *clients,
				  struct pci_dev *provider)
{
	struct nvmet_p2pmem_binding *binding =
		container_of(clients, struct nvmet_p2pmem_binding, clients);

	WRITE_ONCE(binding->gone, true);
	mod_delayed_work(nvmet_p2pmem_wq, &binding->pair->work, 0);
}

static const struct pci_p2pdma_client_ops nvmet_p2pmem_client_ops = {
	.name = "nvmet",
	.unusable = nvmet_p2pmem_unusable,
};

static void nvmet_p2pmem_unbind(struct nvmet_p2pmem_binding *binding)
{
	if (!binding)
		return;
	/* After this nvmet_p2pmem_unusable() does not come any more */
	pci_p2pdma_client_list_free(&binding->clients);
	pci_dev_put(binding->provider);
	kfree(binding->reason);
	kfree(binding);
}

/*
 * Add both devices. Otherwise an error, and *@reason why they cannot be clients,
 * as far as there is memory to tell.
 */
static int nvmet_p2pmem_add_clients(struct nvmet_p2pmem *pair,
				    struct pci_p2pdma_client_list *clients,
				    char **reason)
{
	struct device *dma_dev = pair->ctrl->p2pmem_dev;
	struct nvmet_ns *ns = pair->ns;
	struct gendisk *disk;
	int ret;

	if (!ns->bdev) {
		*reason = kstrdup("the namespace is backed by a file",
				  GFP_KERNEL);
		return -EOPNOTSUPP;
	}
	disk = ns->bdev->bd_disk;
	if (!blk_queue_pci_p2pdma(disk->queue)) {
		*reason = kasprintf(GFP_KERNEL, nvmet_p2pmem_no_feature,
				    disk->disk_name);
		return -EOPNOTSUPP;
	}
	if (ns->csi != NVME_CSI_NVM || bdev_get_integrity(ns->bdev)) {
		*reason = kasprintf(GFP_KERNEL, "%s %s", disk->disk_name,
				    ns->csi != NVME_CSI_NVM ?
				    "is a zoned device" :
				    "has protection information");
		return -EOPNOTSUPP;
	}
	if (!dma_dev) {
		*reason = kstrdup(nvmet_p2pmem_no_dma, GFP_KERNEL);
		return -EOPNOTSUPP;
	}

	ret = pci_p2pdma_add_client(clients, dma_dev);
	if (ret) {
		*reason = kasprintf(GFP_KERNEL,
				    "%s cannot address memory of a PCI device (%pe)",
				    dev_name(dma_dev), ERR_PTR(ret));
		return ret;
	}
	ret = pci_p2pdma_add_client(clients, disk_to_dev(disk));
	if (ret)
		*reason = kasprintf(GFP_KERNEL,
				    "%s cannot address memory of a PCI device (%pe)",
				    disk->disk_name, ERR_PTR(ret));
	return ret;
}

/* The PCI function at @addr, as in nvmet_ns.p2pmem_addr, with a reference */
static struct pci_dev *nvmet_p2pmem_function(u64 addr)
{
	return pci_get_domain_bus_and_slot(addr >> 16, (addr >> 8) & 0xff,
					   addr & 0xff);
}

/* Bind to the provider that the namespace's attribute names */
static void nvmet_p2pmem_assign(struct nvmet_ns *ns,
				struct nvmet_p2pmem_binding *binding)
{
	struct pci_dev *pdev;
	char *why = NULL;
	int ret;

	pdev = nvmet_p2pmem_function(READ_ONCE(ns->p2pmem_addr));
	if (!pdev) {
		binding->reason = kstrdup(nvmet_p2pmem_no_function, GFP_KERNEL);
		return;
	}
	ret = pci_p2pdma_assign_provider(&binding->clients, pdev);
	if (!ret) {
		binding->provider = pdev;
		return;
	}
	if (ret == -EXDEV)
		why = pci_p2pdma_explain(&binding->clients);
	if (ret == -ENODEV)
		binding->reason = kasprintf(GFP_KERNEL,
					    "%s, which its attribute p2pmem names, offers no memory",
					    pci_name(pdev));
	else
		binding->reason = kasprintf(GFP_KERNEL,
					    "%s, which its attribute p2pmem names, cannot be used (%pe)%s%s",
					    pci_name(pdev), ERR_PTR(ret),
					    why ? "\n" : "", why ?: "");
	kfree(why);
	pci_dev_put(pdev);
}

/* Search. Returns a binding, with or without a provider; NULL without memory */
static struct nvmet_p2pmem_binding *nvmet_p2pmem_bind(struct nvmet_p2pmem *pair)
{
	struct nvmet_p2pmem_binding *binding;

	binding = kzalloc(sizeof(*binding), GFP_KERNEL);
	if (!binding)
		return NULL;
	binding->pair = pair;
	pci_p2pdma_client_list_init(&binding->clients,
				    &nvmet_p2pmem_client_ops);

	if (pair->give_up) {
		binding->reason = kstrdup(nvmet_p2pmem_keeps_failing,
					  GFP_KERNEL);
		return binding;
	}
	if (nvmet_p2pmem_add_clients(pair, &binding->clients, &binding->reason))
		return binding;
	if (READ_ONCE(pair->ns->p2pmem) == NVMET_P2PMEM_NAMED) {
		nvmet_p2pmem_assign(pair->ns, binding);
		return binding;
	}
	binding->provider = pci_p2pmem_find(&binding->clients);
	if (!binding->provider)
		binding->reason = pci_p2pdma_explain(&binding->clients);
	return binding;
}

static int nvmet_p2pmem_distance(struct nvmet_p2pmem *pair,
				 struct pci_dev *provider)
{
	struct device *clients[] = {
		pair->ctrl->p2pmem_dev,
		disk_to_dev(pair->ns->bdev->bd_disk),
	};
	int distance;

	distance = pci_p2pdma_distance_many(provider, clients,
					    ARRAY_SIZE(clients), false);
	return distance < 0 ? INT_MAX : distance;
}

/* Is @old as good as what a new search found? */
static bool nvmet_p2pmem_keep(struct nvmet_p2pmem *pair,
			      struct nvmet_p2pmem_binding *old,
			      struct nvmet_p2pmem_binding *new)
{
	if (!old || READ_ONCE(old->gone) || !old->provider || !new->provider)
		return false;
	if (old->provider == new->provider)
		return true;
	/* Equals are chosen among at random: no reason to move */
	return READ_ONCE(pair->ns->p2pmem) != NVMET_P2PMEM_NAMED &&
		nvmet_p2pmem_distance(pair, new->provider) >=
		nvmet_p2pmem_distance(pair, old->provider);
}

/*
 * Say how things are, if the log says otherwise so far. Beyond a rate that is
 * said later, so what the log says last is so.
 */
static void nvmet_p2pmem_say(struct nvmet_p2pmem *pair,
			     struct nvmet_p2pmem_binding *binding)
{
	u32 nsid = pair->ns->nsid;
	u16 cntlid = pair->ctrl->cntlid;
	char *text, *rest, *line;

	lockdep_assert_held(&pair->lock);
	if (!binding && !pair->said)
		return;
	if (!binding)
		text = kstrdup("peer-to-peer memory is not allowed any more",
			       GFP_KERNEL);
	else if (binding->provider)
		text = kstrdup(pci_name(binding->provider), GFP_KERNEL);
	else
		text = kstrdup(binding->reason ?: "out of memory", GFP_KERNEL);
	if (!text || (pair->said && !strcmp(text, pair->said))) {
		kfree(text);
		return;
	}
	if (!__ratelimit(&pair->messages)) {
		kfree(text);
		queue_delayed_work(nvmet_p2pmem_wq, &pair->work,
				   pair->messages.interval);
		return;
	}
	kfree(pair->said);
	pair->said = text;

	if (binding && binding->provider) {
		pr_info("ctrl %u ns %u: data goes through peer-to-peer memory of %s\n",
			cntlid, nsid, text);
		return;
	}
	rest = kstrdup(text, GFP_KERNEL);
	text = rest;
	line = strsep(&rest, "\n");
	pr_info("ctrl %u ns %u: data goes through system memory: %s\n",
		cntlid, nsid, line ?: "out of memory");
	while ((line = strsep(&rest, "\n")))
		pr_info("ctrl %u ns %u:   %s\n", cntlid, nsid, line);
	kfree(text);
}

/* Before their pair can go: the core's callback uses it */
static void nvmet_p2pmem_free_bindings(struct list_head *old)
{
	struct nvmet_p2pmem_binding *binding, *next;

	if (list_empty(old))
		return;
	/* Who found it under RCU took a reference to its provider there */
	synchronize_rcu();
	list_for_each_entry_safe(binding, next, old, node)
		nvmet_p2pmem_unbind(binding);
}

static void nvmet_p2pmem_replace(struct nvmet_p2pmem *pair,
				 struct nvmet_p2pmem_binding *new,
				 struct list_head *replaced)
{
	struct nvmet_p2pmem_binding *old;

	old = rcu_replace_pointer(pair->binding, new,
				  lockdep_is_held(&pair->lock));
	if (old)
		list_add_tail(&old->node, replaced);
}

/* Search again. What is replaced is left to nvmet_p2pmem_free_bindings(). */
static void nvmet_p2pmem_update(struct nvmet_p2pmem *pair,
				struct list_head *replaced)
{
	struct nvmet_p2pmem_binding *old, *new = NULL;
	unsigned int changes = pci_p2pdma_changes();

	guard(mutex)(&pair->lock);
	if (pair->dead)
		return;

	old = rcu_dereference_protected(pair->binding,
					lockdep_is_held(&pair->lock));
	if (pair->changes != changes)
		WRITE_ONCE(pair->give_up, false);
	WRITE_ONCE(pair->changes, changes);
	if (nvmet_p2pmem_allowed(pair->ns, pair->ctrl->port)) {
		new = nvmet_p2pmem_bind(pair);
		if (!new) {
			/* The next command asks for another attempt */
			WRITE_ONCE(pair->changes, changes - 1);
			return;
		}
		if (nvmet_p2pmem_keep(pair, old, new)) {
			nvmet_p2pmem_unbind(new);
			new = old;
		}
	}
	if (new != old)
		nvmet_p2pmem_replace(pair, new, replaced);
	nvmet_p2pmem_say(pair, new);
}

static void nvmet_p2pmem_work(struct work_struct *work)
{
	struct nvmet_p2pmem *pair =
		container_of(to_delayed_work(work), struct nvmet_p2pmem, work);
	LIST_HEAD(replaced);

	nvmet_p2pmem_update(pair, &replaced);
	nvmet_p2pmem_free_bindings(&replaced);
}

/*
 * Pairs. All of this with nvmet_subsys.lock held.
 */

static struct nvmet_p2pmem *nvmet_p2pmem_create(struct nvmet_ctrl *ctrl,
						struct nvmet_ns *ns)
{
	struct nvmet_p2pmem *pair;

	pair = kzalloc(sizeof(*pair), GFP_KERNEL);
	if (!pair)
		return NULL;
	pair->stats = alloc_percpu(struct nvmet_p2pmem_stats);
	if (!pair->stats)
		goto err_free;
	pair->ctrl = ctrl;
	pair->ns = ns;
	mutex_init(&pair->lock);
	INIT_DELAYED_WORK(&pair->work, nvmet_p2pmem_work);
	ratelimit_state_init(&pair->messages, 10 * HZ, 6);
	/* Nothing is lost, so there is nothing to say of it */
	ratelimit_set_flags(&pair->messages, RATELIMIT_MSG_ON_RELEASE);
	if (xa_err(xa_store(&ctrl->p2pmem, ns->nsid, pair, GFP_KERNEL)))
		goto err_stats;
	return pair;

err_stats:
	free_percpu(pair->stats);
err_free:
	kfree(pair);
	return NULL;
}

/* Take a pair away that no command uses any more; nvmet_p2pmem_free_pairs() */
static void nvmet_p2pmem_kill(struct nvmet_p2pmem *pair, struct list_head *gone)
{
	xa_erase(&pair->ctrl->p2pmem, pair->ns->nsid);
	scoped_guard(mutex, &pair->lock)
		pair->dead = true;
	list_add_tail(&pair->node, gone);
}

static void nvmet_p2pmem_free_pairs(struct list_head *gone)
{
	struct nvmet_p2pmem *pair, *next;

	if (list_empty(gone))
		return;
	/* nvmet_p2pmem_show() */
	synchronize_rcu();
	list_for_each_entry_safe(pair, next, gone, node) {
		nvmet_p2pmem_unbind(rcu_dereference_protected(pair->binding,
							      pair->dead));
		/* Unbound, it is not queued again */
		cancel_delayed_work_sync(&pair->work);
		free_percpu(pair->stats);
		kfree(pair->said);
		kfree(pair);
	}
}

/* Look for a provider where one may be used now, and forget it where not */
static void nvmet_p2pmem_update_pair(struct nvmet_ctrl *ctrl,
				     struct nvmet_ns *ns,
				     struct list_head *replaced)
{
	struct nvmet_p2pmem *pair = xa_load(&ctrl->p2pmem, ns->nsid);

	lockdep_assert_held(&ctrl->subsys->lock);
	if (!pair && nvmet_p2pmem_allowed(ns, ctrl->port)) {
		pair = nvmet_p2pmem_create(ctrl, ns);
		if (!pair)
			pr_warn("ctrl %u ns %u: data goes through system memory: out of memory\n",
				ctrl->cntlid, ns->nsid);
	}
	if (pair) {
		/* Whoever changed something wants it tried */
		WRITE_ONCE(pair->give_up, false);
		nvmet_p2pmem_update(pair, replaced);
	}
}

static void nvmet_p2pmem_update_ns(struct nvmet_ns *ns,
				   struct list_head *replaced)
{
	struct nvmet_ctrl *ctrl;

	list_for_each_entry(ctrl, &ns->subsys->ctrls, subsys_entry)
		nvmet_p2pmem_update_pair(ctrl, ns, replaced);
}

static void nvmet_p2pmem_update_ctrl(struct nvmet_ctrl *ctrl,
				     struct list_head *replaced)
{
	struct nvmet_ns *ns;
	unsigned long nsid;

	xa_for_each(&ctrl->subsys->namespaces, nsid, ns)
		nvmet_p2pmem_update_pair(ctrl, ns, replaced);
}

/* A new controller, whose queues have their data moved by @dma_dev, or NULL */
void nvmet_p2pmem_add_ctrl(struct nvmet_ctrl *ctrl, struct device *dma_dev)
{
	LIST_HEAD(replaced);

	xa_init(&ctrl->p2pmem);
	ctrl->p2pmem_dev = get_device(dma_dev);
	nvmet_p2pmem_update_ctrl(ctrl, &replaced);
	nvmet_p2pmem_free_bindings(&replaced);
}

/* A controller without queues; still in the list of its subsystem */
void nvmet_p2pmem_remove_ctrl(struct nvmet_ctrl *ctrl)
{
	struct nvmet_p2pmem *pair;
	unsigned long nsid;
	LIST_HEAD(gone);

	lockdep_assert_held(&ctrl->subsys->lock);
	xa_for_each(&ctrl->p2pmem, nsid, pair)
		nvmet_p2pmem_kill(pair, &gone);
	nvmet_p2pmem_free_pairs(&gone);
	xa_destroy(&ctrl->p2pmem);
	put_device(ctrl->p2pmem_dev);
}

/* A namespace was enabled */
void nvmet_p2pmem_add_ns(struct nvmet_ns *ns)
{
	LIST_HEAD(replaced);

	nvmet_p2pmem_update_ns(ns, &replaced);
	nvmet_p2pmem_free_bindings(&replaced);
}

/* A namespace is being disabled, and no command uses it any more */
void nvmet_p2pmem_remove_ns(struct nvmet_ns *ns)
{
	struct nvmet_p2pmem *pair;
	struct nvmet_ctrl *ctrl;
	LIST_HEAD(gone);

	lockdep_assert_held(&ns->subsys->lock);
	list_for_each_entry(ctrl, &ns->subsys->ctrls, subsys_entry) {
		pair = xa_load(&ctrl->p2pmem, ns->nsid);
		if (pair)
			nvmet_p2pmem_kill(pair, &gone);
	}
	nvmet_p2pmem_free_pairs(&gone);
}

/*
 * Buffers of commands
 */

static enum nvmet_p2pmem_fallback
nvmet_p2pmem_try(struct nvmet_req *req, struct nvmet_p2pmem *pair,
		 size_t length)
{
	struct nvmet_p2pmem_binding *binding;
	struct pci_dev *provider = NULL;
	unsigned int nents;

	if (req->p2p_repeat)
		return NVMET_P2PMEM_REPEATED;
	if (req->metadata_len)
		return NVMET_P2PMEM_METADATA;
	if (req->sq->dma_dev != pair->ctrl->p2pmem_dev)
		return NVMET_P2PMEM_OTHER_DEVICE;

	scoped_guard(rcu) {
		binding = rcu_dereference(pair->binding);
		if (binding && !READ_ONCE(binding->gone))
			provider = pci_dev_get(binding->provider);
	}
	if (!provider)
		return NVMET_P2PMEM_NO_PROVIDER;

	req->p2p_generation = pci_p2pdma_generation(provider);
	req->sg = pci_p2pmem_alloc_sgl(provider, &nents, length);
	if (!req->sg) {
		pci_dev_put(provider);
		return NVMET_P2PMEM_EXHAUSTED;
	}
	req->sg_cnt = nents;
	req->p2p_dev = provider;
	return NVMET_P2PMEM_NR_FALLBACKS;
}

bool __nvmet_p2pmem_alloc(struct nvmet_req *req, size_t length)
{
	enum nvmet_p2pmem_fallback fallback;
	struct nvmet_p2pmem *pair;
	u8 opcode = req->cmd->common.opcode;

	if (!req->sq->qid ||
	    (opcode != nvme_cmd_read && opcode != nvme_cmd_write))
		return false;
	/* Stays as long as the command holds the namespace and the queue */
	pair = xa_load(&req->sq->ctrl->p2pmem, req->ns->nsid);
	if (!pair)
		return false;
	if (unlikely(READ_ONCE(pair->changes) != pci_p2pdma_changes()))
		queue_delayed_work(nvmet_p2pmem_wq, &pair->work,
				   NVMET_P2PMEM_SEARCH_DELAY);

	fallback = nvmet_p2pmem_try(req, pair, length);
	if (fallback == NVMET_P2PMEM_NR_FALLBACKS)
		return true;
	/* That was counted when it was decided */
	if (fallback != NVMET_P2PMEM_REPEATED)
		this_cpu_inc(pair->stats->fallback[fallback]);
	this_cpu_inc(pair->stats->host_cmds);
	this_cpu_add(pair->stats->host_bytes, length);
	return false;
}

void __nvmet_p2pmem_free(struct nvmet_req *req)
{
	pci_p2pmem_free_sgl(req->p2p_dev, req->sg);
	pci_dev_put(req->p2p_dev);
	req->p2p_dev = NULL;
	req->sg = NULL;
	req->sg_cnt = 0;
}

/*
 * A transfer failed though the provider was there all the time, and went well
 * through system memory. One may; but if all do, for example because the adapter's
 * DMA mask does not reach the BAR, each command would be done twice for ever.
 */
static void nvmet_p2pmem_failed(struct nvmet_p2pmem *pair)
{
	int failures = atomic_read(&pair->failures);

	if (failures && time_before(jiffies, READ_ONCE(pair->failed_at) +
				    NVMET_P2PMEM_FAILURE_INTERVAL))
		return;
	WRITE_ONCE(pair->failed_at, jiffies);
	if (atomic_inc_return(&pair->failures) < NVMET_P2PMEM_MAX_FAILURES)
		return;
	atomic_set(&pair->failures, 0);
	WRITE_ONCE(pair->give_up, true);
	mod_delayed_work(nvmet_p2pmem_wq, &pair->work, 0);
}

/**
 * nvmet_req_drop_p2pmem - give up on peer memory for a command
 * @req: the request; its buffer is not mapped
 *
 * For a transport that could not map the buffer. Another one, from
 * nvmet_req_alloc_sgls(), will be system memory.
 *
 * Return: true if the buffer was peer memory, and is freed now.
 */
bool nvmet_req_drop_p2pmem(struct nvmet_req *req)
{
	struct nvmet_p2pmem *pair;

	if (!req->p2p_dev)
		return false;
	pair = xa_load(&req->sq->ctrl->p2pmem, req->ns->nsid);
	this_cpu_inc(pair->stats->fallback[NVMET_P2PMEM_REPEATED]);
	__nvmet_p2pmem_free(req);
	req->p2p_repeat = true;
	req->p2p_failed = true;
	return true;
}
EXPORT_SYMBOL_GPL(nvmet_req_drop_p2pmem);

/* May the payload have been lost, with the provider's contents? */
static bool nvmet_p2pmem_lost(struct nvmet_req *req)
{
	return !req->p2p_generation ||
		pci_p2pdma_generation(req->p2p_dev) != req->p2p_generation;
}

/**
 * nvmet_req_p2pmem_sent - check a payload that the transport has sent
 * @req: the request; it has been completed, its buffer not been freed
 *
 * For a read from peer memory: call it when the data is with the host and
 * before the host is told. The provider may have gone down after the drive put
 * the data there. It is too late to repeat the command, but not to let the host
 * do so.
 *
 * Return: 0, or the status to send, which has the host retry.
 */
u16 nvmet_req_p2pmem_sent(struct nvmet_req *req)
{
	if (!nvmet_p2pmem_lost(req))
		return 0;
	pr_notice_ratelimited("%s, or a path to it, went down while data was sent from its memory; the host is told to retry\n",
			      pci_name(req->p2p_dev));
	return NVME_SC_DATA_XFER_ERROR;
}
EXPORT_SYMBOL_GPL(nvmet_req_p2pmem_sent);

static void nvmet_p2pmem_repeat(struct work_struct *work)
{
	struct nvmet_req *req = container_of(work, struct nvmet_req, r.work);
	struct nvmet_sq *sq = req->sq;

	req->p2p_repeat = true;
	req->cqe->result.u64 = 0;
	req->error_loc = NVMET_NO_ERROR_LOC;
	req->error_slba = 0;

	/* The command may complete, and the queue go, before this returns */
	percpu_ref_get(&sq->ref);
	req->ops->repeat(req);
	percpu_ref_put(&sq->ref);
}

bool __nvmet_p2pmem_complete(struct nvmet_req *req, u16 *status)
{
	struct nvmet_p2pmem *pair = xa_load(&req->sq->ctrl->p2pmem,
					    req->ns->nsid);

	if (!req->p2p_dev) {
		/* The repetition, or what could not be mapped at first */
		if (req->p2p_failed && !*status)
			nvmet_p2pmem_failed(pair);
		return false;
	}
	if (!nvmet_p2pmem_lost(req)) {
		if (!*status) {
			this_cpu_inc(pair->stats->p2p_cmds);
			this_cpu_add(pair->stats->p2p_bytes, req->transfer_len);
			if (unlikely(atomic_read(&pair->failures)))
				atomic_set(&pair->failures, 0);
			return false;
		}
		req->p2p_failed = true;
	}
	if (!req->ops->repeat) {
		*status = NVME_SC_DATA_XFER_ERROR;
		return false;
	}
	this_cpu_inc(pair->stats->fallback[NVMET_P2PMEM_REPEATED]);
	/* Interrupts may be off here, and another buffer must be allocated */
	INIT_WORK(&req->r.work, nvmet_p2pmem_repeat);
	queue_work(nvmet_p2pmem_wq, &req->r.work);
	return true;
}

/*
 * debugfs and configfs
 */

static void nvmet_p2pmem_sum(struct nvmet_p2pmem *pair,
			     struct nvmet_p2pmem_stats *sum)
{
	int cpu, i;

	memset(sum, 0, sizeof(*sum));
	for_each_possible_cpu(cpu) {
		struct nvmet_p2pmem_stats *one = per_cpu_ptr(pair->stats, cpu);

		sum->p2p_bytes += READ_ONCE(one->p2p_bytes);
		sum->p2p_cmds += READ_ONCE(one->p2p_cmds);
		sum->host_bytes += READ_ONCE(one->host_bytes);
		sum->host_cmds += READ_ONCE(one->host_cmds);
		for (i = 0; i < NVMET_P2PMEM_NR_FALLBACKS; i++)
			sum->fallback[i] += READ_ONCE(one->fallback[i]);
	}
}

/* A line for each namespace that peer memory is or was allowed for */
void nvmet_p2pmem_show(struct seq_file *m, struct nvmet_ctrl *ctrl)
{
	struct nvmet_p2pmem_binding *binding;
	struct nvmet_p2pmem_stats sum;
	struct nvmet_p2pmem *pair;
	const char *c, *reason;
	unsigned long nsid;
	int i;

	guard(rcu)();
	xa_for_each(&ctrl->p2pmem, nsid, pair) {
		binding = rcu_dereference(pair->binding);
		nvmet_p2pmem_sum(pair, &sum);
		seq_printf(m, "nsid=%lu provider=%s p2p_bytes=%llu p2p_cmds=%llu host_bytes=%llu host_cmds=%llu",
			   nsid, binding && binding->provider &&
			   !READ_ONCE(binding->gone) ?
			   pci_name(binding->provider) : "none",
			   sum.p2p_bytes, sum.p2p_cmds, sum.host_bytes,
			   sum.host_cmds);
		for (i = 0; i < NVMET_P2PMEM_NR_FALLBACKS; i++)
			seq_printf(m, " fallback_%s=%llu",
				   nvmet_p2pmem_fallbacks[i], sum.fallback[i]);
		reason = binding ? binding->reason : "not allowed";
		if (reason) {
			seq_puts(m, " reason=");
			for (c = reason; *c; c++)
				seq_putc(m, *c == '\n' ? ';' : *c);
		}
		seq_putc(m, '\n');
	}
}

static struct nvmet_port *nvmet_p2pmem_port(struct config_item *item)
{
	return container_of(to_config_group(item), struct nvmet_port, group);
}

static ssize_t nvmet_port_allow_p2pmem_show(struct config_item *item,
					    char *page)
{
	return sysfs_emit(page, "%d\n", nvmet_p2pmem_port(item)->allow_p2pmem);
}

static ssize_t nvmet_port_allow_p2pmem_store(struct config_item *item,
					     const char *page, size_t count)
{
	struct nvmet_port *port = nvmet_p2pmem_port(item);
	struct nvmet_subsys_link *link;
	struct nvmet_ctrl *ctrl;
	bool allow;

	if (kstrtobool(page, &allow)) {
		pr_err("allow_p2pmem is 0 or 1\n");
		return -EINVAL;
	}

	guard(rwsem_read)(&nvmet_config_sem);
	WRITE_ONCE(port->allow_p2pmem, allow);
	list_for_each_entry(link, &port->subsystems, entry) {
		LIST_HEAD(replaced);

		guard(mutex)(&link->subsys->lock);
		list_for_each_entry(ctrl, &link->subsys->ctrls, subsys_entry)
			if (ctrl->port == port)
				nvmet_p2pmem_update_ctrl(ctrl, &replaced);
		nvmet_p2pmem_free_bindings(&replaced);
	}
	return count;
}

/* CONFIGFS_ATTR() makes a static one, but configfs.c has the tables */
struct configfs_attribute nvmet_port_attr_allow_p2pmem = {
	.ca_name = "allow_p2pmem",
	.ca_mode = 0644,
	.ca_owner = THIS_MODULE,
	.show = nvmet_port_allow_p2pmem_show,
	.store = nvmet_port_allow_p2pmem_store,
};

static struct nvmet_ns *nvmet_p2pmem_ns(struct config_item *item)
{
	return container_of(to_config_group(item), struct nvmet_ns, group);
}

static ssize_t nvmet_ns_p2pmem_show(struct config_item *item, char *page)
{
	struct nvmet_ns *ns = nvmet_p2pmem_ns(item);
	u64 addr;

	guard(mutex)(&ns->subsys->lock);
	switch (ns->p2pmem) {
	case NVMET_P2PMEM_PORT:
		return sysfs_emit(page, "auto\n");
	case NVMET_P2PMEM_NEVER:
		return sysfs_emit(page, "0\n");
	case NVMET_P2PMEM_ALWAYS:
		return sysfs_emit(page, "1\n");
	default:
		addr = ns->p2pmem_addr;
		return sysfs_emit(page, "%04llx:%02llx:%02llx.%llu\n",
				  addr >> 16, (addr >> 8) & 0xff,
				  PCI_SLOT(addr & 0xff), PCI_FUNC(addr & 0xff));
	}
}

/* "dddd:bb:dd.f", or as lspci prints it in domain 0, "bb:dd.f" */
static bool nvmet_p2pmem_parse_address(const char *text, u64 *addr)
{
	unsigned int domain, bus, slot, func;
	int end = 0;

	if (sscanf(text, "%x:%x:%x.%u%n", &domain, &bus, &slot, &func, &end) != 4) {
		domain = 0;
		end = 0;
		if (sscanf(text, "%x:%x.%u%n", &bus, &slot, &func, &end) != 3)
			return false;
	}
	if (!end || text[end] || bus > 0xff || slot > 0x1f || func > 7)
		return false;
	*addr = (u64)domain << 16 | bus << 8 | PCI_DEVFN(slot, func);
	return true;
}

static int nvmet_p2pmem_check_provider(u64 addr, const char *text)
{
	struct pci_dev *pdev = nvmet_p2pmem_function(addr);
	int ret = 0;

	if (!pdev) {
		pr_err("p2pmem: there is no PCI device %s\n", text);
		return -ENODEV;
	}
	if (!pci_p2pdma_generation(pdev)) {
		pr_err("p2pmem: %s has no peer-to-peer memory; devices that have some have a directory p2pmem in sysfs\n",
		       pci_name(pdev));
		ret = -ENODEV;
	}
	pci_dev_put(pdev);
	return ret;
}

static int nvmet_p2pmem_parse(const char *word, enum nvmet_p2pmem_mode *mode,
			      u64 *addr)
{
	static const char *const never[] = { "0", "n", "no", "off" };
	static const char *const always[] = { "1", "y", "yes", "on" };

	if (nvmet_p2pmem_parse_address(word, addr)) {
		*mode = NVMET_P2PMEM_NAMED;
		return nvmet_p2pmem_check_provider(*addr, word);
	}
	/* Not kstrtobool(): it takes a broken address for its first digit */
	if (!strcmp(word, "auto"))
		*mode = NVMET_P2PMEM_PORT;
	else if (match_string(never, ARRAY_SIZE(never), word) >= 0)
		*mode = NVMET_P2PMEM_NEVER;
	else if (match_string(always, ARRAY_SIZE(always), word) >= 0)
		*mode = NVMET_P2PMEM_ALWAYS;
	else
		return -EINVAL;
	return 0;
}

static ssize_t nvmet_ns_p2pmem_store(struct config_item *item,
				     const char *page, size_t count)
{
	struct nvmet_ns *ns = nvmet_p2pmem_ns(item);
	enum nvmet_p2pmem_mode mode;
	LIST_HEAD(replaced);
	char text[32];
	u64 addr = 0;
	int ret;

	ret = strscpy(text, page) < 0 ? -EINVAL :
		nvmet_p2pmem_parse(strim(text), &mode, &addr);
	if (ret) {
		if (ret == -EINVAL)
			pr_err("p2pmem is auto, 0, 1 or the address of a PCI device (0000:05:00.0)\n");
		return ret;
	}

	scoped_guard(mutex, &ns->subsys->lock) {
		WRITE_ONCE(ns->p2pmem_addr, addr);
		WRITE_ONCE(ns->p2pmem, mode);
		if (ns->enabled)
			nvmet_p2pmem_update_ns(ns, &replaced);
		nvmet_p2pmem_free_bindings(&replaced);
	}
	return count;
}

/* CONFIGFS_ATTR() makes a static one, but configfs.c has the tables */
struct configfs_attribute nvmet_ns_attr_p2pmem = {
	.ca_name = "p2pmem",
	.ca_mode = 0644,
	.ca_owner = THIS_MODULE,
	.show = nvmet_ns_p2pmem_show,
	.store = nvmet_ns_p2pmem_store,
};

int __init nvmet_p2pmem_init(void)
{
	nvmet_p2pmem_wq = alloc_workqueue("nvmet-p2pmem-wq",
					  WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	return nvmet_p2pmem_wq ? 0 : -ENOMEM;
}

void nvmet_p2pmem_exit(void)
{
	destroy_workqueue(nvmet_p2pmem_wq);
}
