// SPDX-License-Identifier: GPL-2.0
/*
 * PCI peer-to-peer DMA: client lists, and finding a provider for one
 *
 * An orchestrator collects the clients of its transfers in a list and binds
 * the list to the provider that suits all of them best. The binding is what
 * the core knows the orchestrator by: when the provider goes, each bound list
 * is told once, and then the core waits only for memory, never for the list.
 *
 * p2pdma_bind_lock protects the set of providers, whether they are live and
 * published, the clients in all lists, all bindings, and what ports are open
 * for them (p2pdma-acs.c). It is not held while a list is told; list->telling
 * keeps the list's memory in place then. A drive that times out takes it, by
 * pci_p2pdma_quiesce(), before it cancels its commands, so whoever holds it must
 * not wait for I/O, nor for memory that I/O would have to free.
 */
#define dev_fmt(fmt) "p2pdma: " fmt

#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/seq_buf.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include "p2pdma.h"

/* @hold: on ports that are open for it while the list is bound, or NULL */
struct p2pdma_client {
	struct list_head node;
	struct pci_dev *pdev;
	unsigned int users;
	struct p2pdma_acs_hold *hold;
};

/* Providers, clients and bindings, see above */
DEFINE_MUTEX(p2pdma_bind_lock);
static LIST_HEAD(p2pdma_providers);
static DECLARE_WAIT_QUEUE_HEAD(p2pdma_told);

/* See pci_p2pdma_changes() */
static atomic_t p2pdma_changes = ATOMIC_INIT(0);

/* Chooses among providers that are equally good; p2pdma_bind_lock */
static struct rnd_state p2pdma_choice;
static bool p2pdma_choice_seeded;

/* Make the choice among equals repeatable, for tests */
void p2pdma_seed_choice(u64 seed)
{
	guard(mutex)(&p2pdma_bind_lock);
	prandom_seed_state(&p2pdma_choice, seed);
	p2pdma_choice_seeded = true;
}

static u32 p2pdma_choose(u32 nr)
{
	if (!p2pdma_choice_seeded) {
		prandom_seed_state(&p2pdma_choice, get_random_u64());
		p2pdma_choice_seeded = true;
	}
	return prandom_u32_state(&p2pdma_choice) % nr;
}

/* A search may find now what it did not find before. Any context. */
void p2pdma_search_again(void)
{
	/* Orders what changed before it */
	atomic_inc_return_release(&p2pdma_changes);
}

unsigned int pci_p2pdma_changes(void)
{
	return atomic_read_acquire(&p2pdma_changes);
}
EXPORT_SYMBOL_GPL(pci_p2pdma_changes);

/*
 * A list may outlive what it names. The path of a virtual function goes by its
 * physical one, to which it has no reference any more once it was removed.
 */
static struct pci_dev *p2pdma_get(struct pci_dev *pdev)
{
	if (pdev && pdev->is_virtfn)
		pci_dev_get(pci_physfn(pdev));
	return pci_dev_get(pdev);
}

static void p2pdma_put(struct pci_dev *pdev)
{
	struct pci_dev *physfn = pdev ? pci_physfn(pdev) : NULL;

	if (physfn != pdev)
		pci_dev_put(physfn);
	pci_dev_put(pdev);
}

static struct pci_p2pdma *p2pdma_provider_of(struct pci_dev *pdev)
{
	return rcu_dereference_protected(pdev->p2pdma,
					 lockdep_is_held(&p2pdma_bind_lock));
}

/*
 * Make a provider known, and unknown again. Call with p2pdma_register_lock
 * held; pdev->p2pdma is written under both locks, so either is enough to use
 * it.
 */
void p2pdma_provider_add(struct pci_p2pdma *provider)
{
	guard(mutex)(&p2pdma_bind_lock);
	rcu_assign_pointer(provider->pdev->p2pdma, provider);
	list_add_tail(&provider->node, &p2pdma_providers);
}

static void p2pdma_close_paths(struct pci_p2pdma_client_list *list)
{
	struct p2pdma_client *client;

	list_for_each_entry(client, &list->clients, node) {
		p2pdma_acs_close(client->hold);
		client->hold = NULL;
	}
}

/*
 * Open what is in the way of any client and not open for it already: all or
 * nothing. The caller calls p2pdma_acs_forget().
 */
static int p2pdma_open_paths(struct pci_p2pdma_client_list *list,
			     struct pci_dev *provider)
{
	struct p2pdma_client *client;
	int ret;

	list_for_each_entry(client, &list->clients, node) {
		if (client->hold && !p2pdma_acs_lapsed(client->hold))
			continue;
		p2pdma_acs_close(client->hold);
		ret = p2pdma_acs_open(provider, client->pdev, &client->hold);
		if (ret) {
			p2pdma_close_paths(list);
			return ret;
		}
	}
	return 0;
}

/* Lists that are still bound keep the function, and no longer find memory */
void p2pdma_provider_remove(struct pci_p2pdma *provider)
{
	struct pci_p2pdma_client_list *list, *tmp;

	guard(mutex)(&p2pdma_bind_lock);
	rcu_assign_pointer(provider->pdev->p2pdma, NULL);
	list_del_init(&provider->node);
	list_for_each_entry_safe(list, tmp, &provider->lists, bound) {
		list_del_init(&list->bound);
		p2pdma_close_paths(list);
	}
}

void pci_p2pmem_publish(struct pci_dev *pdev, bool publish)
{
	struct pci_p2pdma *provider;

	guard(mutex)(&p2pdma_bind_lock);
	provider = p2pdma_provider_of(pdev);
	if (provider)
		WRITE_ONCE(provider->publish, publish);
	if (publish)
		p2pdma_search_again();
}
EXPORT_SYMBOL_GPL(pci_p2pmem_publish);

/*
 * What orders providers: the sum of distances, and among equals whether ports
 * have to be opened. Negative if a client cannot reach @provider, or it is
 * more than @limit. The caller calls p2pdma_acs_forget().
 */
static int p2pdma_list_cost(struct pci_p2pdma_client_list *list,
			    struct pci_dev *provider, bool may_open, int limit)
{
	struct p2pdma_client *client;
	struct p2pdma_path path;
	bool opens = false;
	int distance = 0;

	list_for_each_entry(client, &list->clients, node) {
		if (may_open)
			opens |= p2pdma_acs_judge(provider, client->pdev, &path);
		else
			p2pdma_judge(provider, client->pdev, &path);
		if (path.reason != PCI_P2PDMA_REACHABLE)
			return -EXDEV;
		distance += path.distance;
		if (2 * distance + opens > limit)
			return -ERANGE;
	}
	return 2 * distance + opens;
}

/* Can all clients reach @provider as things are, without opening anything? */
static bool p2pdma_list_reaches(struct pci_p2pdma_client_list *list,
				struct pci_dev *provider)
{
	struct p2pdma_client *client;
	struct p2pdma_path path;

	list_for_each_entry(client, &list->clients, node) {
		if (client->hold && p2pdma_acs_lapsed(client->hold))
			return false;
		p2pdma_judge(provider, client->pdev, &path);
		if (path.reason != PCI_P2PDMA_REACHABLE)
			return false;
	}
	return true;
}

static bool p2pdma_on_offer(struct pci_p2pdma *provider)
{
	return provider->live && provider->publish;
}

static bool p2pdma_binding_live(struct pci_p2pdma_client_list *list)
{
	struct pci_p2pdma *provider = p2pdma_provider_of(list->provider);

	return !list_empty(&list->bound) && provider && provider->live;
}

static bool p2pdma_binding_usable(struct pci_p2pdma_client_list *list)
{
	return p2pdma_binding_live(list) &&
	       p2pdma_list_reaches(list, list->provider);
}

/*
 * A list that is bound to @provider, cannot use it and was not told so. Those
 * that can use it again will be told the next time.
 */
static struct pci_p2pdma_client_list *p2pdma_untold(struct pci_p2pdma *provider)
{
	struct pci_p2pdma_client_list *list;

	lockdep_assert_held(&p2pdma_bind_lock);
	list_for_each_entry(list, &provider->lists, bound) {
		if (p2pdma_binding_usable(list))
			list->told = false;
		else if (!list->told)
			return list;
	}
	return NULL;
}

/* Tell a list that it cannot use its provider. Drops p2pdma_bind_lock. */
static void p2pdma_tell(struct pci_p2pdma_client_list *list)
{
	struct pci_dev *provider;
	unsigned int noio;

	if (list->telling) {
		/* About something earlier, by somebody else; the caller retries */
		mutex_unlock(&p2pdma_bind_lock);
		schedule_timeout_uninterruptible(1);
		return;
	}
	provider = p2pdma_get(list->provider);
	list->told = true;
	list->telling = current;
	mutex_unlock(&p2pdma_bind_lock);

	noio = memalloc_noio_save();
	list->ops->unusable(list, provider);
	memalloc_noio_restore(noio);

	/* The list may be gone after this */
	smp_store_release(&list->telling, NULL);
	wake_up_all(&p2pdma_told);
	p2pdma_put(provider);
}

/* Is another task telling a list that is bound to @provider? */
static bool p2pdma_being_told(struct pci_p2pdma *provider)
{
	struct pci_p2pdma_client_list *list;

	lockdep_assert_held(&p2pdma_bind_lock);
	list_for_each_entry(list, &provider->lists, bound)
		if (list->telling && list->telling != current)
			return true;
	return false;
}

/*
 * Tell the lists that are bound to @provider and cannot use it. When it
 * returns, all have been told, by whomever.
 */
void p2pdma_tell_lists(struct pci_p2pdma *provider)
{
	struct pci_p2pdma_client_list *list;

	for (;;) {
		mutex_lock(&p2pdma_bind_lock);
		list = p2pdma_untold(provider);
		if (list) {
			p2pdma_tell(list);
			continue;
		}
		if (!p2pdma_being_told(provider))
			break;
		mutex_unlock(&p2pdma_bind_lock);
		schedule_timeout_uninterruptible(1);
	}
	mutex_unlock(&p2pdma_bind_lock);
}

static struct pci_p2pdma_client_list *p2pdma_any_untold(void)
{
	struct pci_p2pdma_client_list *list;
	struct pci_p2pdma *provider;

	list_for_each_entry(provider, &p2pdma_providers, node) {
		/* Who quiesced it tells, when the last allocation is complete */
		list = provider->live ? p2pdma_untold(provider) : NULL;
		if (list)
			return list;
	}
	return NULL;
}

static void p2pdma_recheck(struct work_struct *work)
{
	struct pci_p2pdma_client_list *list;

	for (;;) {
		mutex_lock(&p2pdma_bind_lock);
		p2pdma_acs_changed();
		list = p2pdma_any_untold();
		if (!list)
			break;
		p2pdma_tell(list);
	}
	mutex_unlock(&p2pdma_bind_lock);
}

static DECLARE_WORK(p2pdma_recheck_work, p2pdma_recheck);

/*
 * A verdict may differ from what it was: have the bound lists judged again.
 * Verdicts themselves need nothing, they are made when asked for. Any context.
 */
void p2pdma_topology_changed(void)
{
	p2pdma_search_again();
	queue_work(system_unbound_wq, &p2pdma_recheck_work);
}

/* Wait until all lists know what changed before. Waits for their callbacks. */
void p2pdma_topology_settle(void)
{
	flush_work(&p2pdma_recheck_work);
}

/*
 * Tell lists anew when they cannot use @provider: all of them, or those that
 * can use it now
 */
void p2pdma_rearm_lists(struct pci_p2pdma *provider, bool all)
{
	struct pci_p2pdma_client_list *list;

	lockdep_assert_held(&p2pdma_bind_lock);
	list_for_each_entry(list, &provider->lists, bound)
		if (all || p2pdma_binding_usable(list))
			list->told = false;
}

/* Who is bound to @provider, for a message */
void p2pdma_list_users(struct pci_p2pdma *provider, struct seq_buf *s)
{
	struct pci_p2pdma_client_list *list;
	bool first = true;

	guard(mutex)(&p2pdma_bind_lock);
	list_for_each_entry(list, &provider->lists, bound) {
		seq_buf_printf(s, "%s%s", first ? "; bound to it: " : ", ",
			       list->ops->name);
		first = false;
	}
}

void pci_p2pdma_client_list_init(struct pci_p2pdma_client_list *list,
				 const struct pci_p2pdma_client_ops *ops)
{
	*list = (struct pci_p2pdma_client_list){ .ops = ops };
	INIT_LIST_HEAD(&list->clients);
	INIT_LIST_HEAD(&list->bound);
}
EXPORT_SYMBOL_GPL(pci_p2pdma_client_list_init);

static struct p2pdma_client *
p2pdma_find_client(struct pci_p2pdma_client_list *list, struct pci_dev *pdev)
{
	struct p2pdma_client *client;

	list_for_each_entry(client, &list->clients, node)
		if (client->pdev == pdev)
			return client;
	return NULL;
}

/* May @pdev join a list that is bound? Opens what is in its way. */
static int p2pdma_join(struct pci_p2pdma_client_list *list,
		       struct pci_dev *pdev, struct p2pdma_acs_hold **hold)
{
	struct p2pdma_path path;
	int ret = 0;

	p2pdma_acs_judge(list->provider, pdev, &path);
	if (path.reason != PCI_P2PDMA_REACHABLE)
		ret = -EXDEV;
	else if (!list_empty(&list->bound))
		ret = p2pdma_acs_open(list->provider, pdev, hold);
	p2pdma_acs_forget();
	return ret;
}

int pci_p2pdma_add_client(struct pci_p2pdma_client_list *list,
			  struct device *dev)
{
	struct pci_dev *pdev = p2pdma_client_function(dev);
	struct p2pdma_client *new __free(kfree) = NULL;
	struct p2pdma_client *client;
	int ret;

	if (!pdev || !dma_pci_p2pdma_supported(dev) ||
	    !dma_pci_p2pdma_supported(&pdev->dev))
		return -ENODEV;

	new = kzalloc(sizeof(*new), GFP_KERNEL);
	if (!new)
		return -ENOMEM;

	guard(mutex)(&p2pdma_bind_lock);
	client = p2pdma_find_client(list, pdev);
	if (client) {
		client->users++;
		return 0;
	}

	if (list->provider) {
		ret = p2pdma_join(list, pdev, &new->hold);
		if (ret)
			return ret;
	}

	client = no_free_ptr(new);
	client->pdev = p2pdma_get(pdev);
	client->users = 1;
	list_add_tail(&client->node, &list->clients);
	return 0;
}
EXPORT_SYMBOL_GPL(pci_p2pdma_add_client);

static void p2pdma_client_free(struct p2pdma_client *client)
{
	list_del(&client->node);
	p2pdma_acs_close(client->hold);
	p2pdma_put(client->pdev);
	kfree(client);
}

void pci_p2pdma_remove_client(struct pci_p2pdma_client_list *list,
			      struct device *dev)
{
	struct pci_dev *pdev = p2pdma_client_function(dev);
	struct p2pdma_client *client;

	guard(mutex)(&p2pdma_bind_lock);
	client = pdev ? p2pdma_find_client(list, pdev) : NULL;
	if (!client) {
		if (dev)
			dev_err(dev, "%s removes a client that it never added; ignored\n",
				list->ops->name);
		return;
	}
	if (!--client->users)
		p2pdma_client_free(client);
	/* The others may be able to use the provider now */
	if (list->told)
		p2pdma_topology_changed();
}
EXPORT_SYMBOL_GPL(pci_p2pdma_remove_client);

static int p2pdma_bind(struct pci_p2pdma_client_list *list,
		       struct pci_p2pdma *provider)
{
	int ret;

	lockdep_assert_held(&p2pdma_bind_lock);
	ret = p2pdma_open_paths(list, provider->pdev);
	if (ret)
		return ret;
	list->provider = p2pdma_get(provider->pdev);
	list->told = false;
	list_add_tail(&list->bound, &provider->lists);
	return 0;
}

static void p2pdma_unbind(struct pci_p2pdma_client_list *list)
{
	lockdep_assert_held(&p2pdma_bind_lock);
	p2pdma_close_paths(list);
	list_del_init(&list->bound);
	p2pdma_put(list->provider);
	list->provider = NULL;
	list->told = false;
}

void pci_p2pdma_unbind(struct pci_p2pdma_client_list *list)
{
	guard(mutex)(&p2pdma_bind_lock);
	p2pdma_unbind(list);
}
EXPORT_SYMBOL_GPL(pci_p2pdma_unbind);

void pci_p2pdma_client_list_free(struct pci_p2pdma_client_list *list)
{
	struct p2pdma_client *client, *tmp;

	WARN_ON_ONCE(READ_ONCE(list->telling) == current);

	scoped_guard(mutex, &p2pdma_bind_lock) {
		p2pdma_unbind(list);
		list_for_each_entry_safe(client, tmp, &list->clients, node)
			p2pdma_client_free(client);
	}
	/* Unbound now, so it will not be told again */
	wait_event(p2pdma_told, !smp_load_acquire(&list->telling));
}
EXPORT_SYMBOL_GPL(pci_p2pdma_client_list_free);

static struct pci_p2pdma *p2pdma_best(struct pci_p2pdma_client_list *list,
				      bool may_open)
{
	struct pci_p2pdma *provider, *best = NULL;
	int best_cost = INT_MAX;
	u64 best_free = 0;
	u32 equals = 0;

	list_for_each_entry(provider, &p2pdma_providers, node) {
		int cost;
		u64 free;

		if (!p2pdma_on_offer(provider))
			continue;
		cost = p2pdma_list_cost(list, provider->pdev, may_open,
					best_cost);
		if (cost < 0)
			continue;

		free = p2pdma_available(provider);
		if (best && cost == best_cost && free < best_free)
			continue;
		if (best && cost == best_cost && free == best_free) {
			/* The nth of n equals replaces with a chance of 1/n */
			if (p2pdma_choose(++equals))
				continue;
		} else {
			equals = 1;
		}
		best = provider;
		best_cost = cost;
		best_free = free;
	}
	return best;
}

/* Ports that were open for the list may have been shut: open them again */
static int p2pdma_reopen(struct pci_p2pdma_client_list *list)
{
	if (p2pdma_binding_live(list))
		p2pdma_open_paths(list, list->provider);
	if (!p2pdma_binding_usable(list))
		return -EXDEV;
	list->told = false;
	return 0;
}

static int p2pdma_find_and_bind(struct pci_p2pdma_client_list *list)
{
	struct pci_p2pdma *provider;

	if (list_empty(&list->clients))
		return -ENOENT;
	provider = p2pdma_best(list, true);
	if (provider && !p2pdma_bind(list, provider))
		return 0;
	if (!provider)
		return -EXDEV;
	/* It could not be opened after all; perhaps another needs not be */
	provider = p2pdma_best(list, false);
	return provider ? p2pdma_bind(list, provider) : -EXDEV;
}

struct pci_dev *pci_p2pmem_find(struct pci_p2pdma_client_list *list)
{
	int ret;

	guard(mutex)(&p2pdma_bind_lock);
	ret = list->provider ? p2pdma_reopen(list) : p2pdma_find_and_bind(list);
	p2pdma_acs_forget();
	return ret ? NULL : pci_dev_get(list->provider);
}
EXPORT_SYMBOL_GPL(pci_p2pmem_find);

static int p2pdma_assign(struct pci_p2pdma_client_list *list,
			 struct pci_dev *pdev)
{
	struct pci_p2pdma *provider;

	if (list->provider && list->provider != pdev)
		return -EBUSY;
	if (list_empty(&list->clients))
		return -ENOENT;
	provider = p2pdma_provider_of(pdev);
	if (!provider || !p2pdma_on_offer(provider))
		return -ENODEV;
	if (p2pdma_list_cost(list, pdev, true, INT_MAX) < 0)
		return -EXDEV;

	if (!list_empty(&list->bound))
		return p2pdma_reopen(list);
	/* To an earlier life of the same function */
	if (list->provider)
		p2pdma_unbind(list);
	return p2pdma_bind(list, provider);
}

int pci_p2pdma_assign_provider(struct pci_p2pdma_client_list *list,
			       struct pci_dev *pdev)
{
	int ret;

	guard(mutex)(&p2pdma_bind_lock);
	ret = p2pdma_assign(list, pdev);
	p2pdma_acs_forget();
	return ret;
}
EXPORT_SYMBOL_GPL(pci_p2pdma_assign_provider);

/* Append the first refusal by @provider to *@text; false if there is none */
static bool p2pdma_explain_provider(struct pci_p2pdma_client_list *list,
				    struct pci_dev *provider, char **text)
{
	struct p2pdma_client *client;
	struct p2pdma_path path;

	list_for_each_entry(client, &list->clients, node) {
		char *line, *longer;

		p2pdma_acs_judge(provider, client->pdev, &path);
		if (path.reason == PCI_P2PDMA_REACHABLE)
			continue;

		line = p2pdma_refusal(provider, &client->pdev->dev, &path);
		longer = kasprintf(GFP_KERNEL, "%s%s%s", *text ?: "",
				   *text ? "\n" : "",
				   line ?: pci_p2pdma_reason_text(path.reason));
		kfree(line);
		if (longer) {
			kfree(*text);
			*text = longer;
		}
		return true;
	}
	return false;
}

static char *p2pdma_explain(struct pci_p2pdma_client_list *list)
{
	struct pci_p2pdma *provider;
	bool offers = false, good = false;
	char *text = NULL;

	lockdep_assert_held(&p2pdma_bind_lock);
	if (list_empty(&list->clients))
		return kstrdup("no device was added to the client list",
			       GFP_KERNEL);
	if (list->provider && !p2pdma_binding_usable(list)) {
		if (p2pdma_binding_live(list)) {
			if (p2pdma_explain_provider(list, list->provider, &text))
				return text;
			return kasprintf(GFP_KERNEL,
					 "ports on the way to %s redirect again (ACS), until it is asked for",
					 pci_name(list->provider));
		}
		return kasprintf(GFP_KERNEL, "the memory of %s is out of service at the moment",
				 pci_name(list->provider));
	}

	list_for_each_entry(provider, &p2pdma_providers, node) {
		if (!p2pdma_on_offer(provider))
			continue;
		offers = true;
		if (!p2pdma_explain_provider(list, provider->pdev, &text))
			good = true;
	}
	if (!offers)
		return kstrdup("no PCI device offers peer-to-peer memory",
			       GFP_KERNEL);
	if (good && !text)
		return kstrdup("there is a provider that all clients can reach",
			       GFP_KERNEL);
	return text;
}

char *pci_p2pdma_explain(struct pci_p2pdma_client_list *list)
{
	unsigned int noio;
	char *text;

	guard(mutex)(&p2pdma_bind_lock);
	noio = memalloc_noio_save();
	text = p2pdma_explain(list);
	memalloc_noio_restore(noio);
	p2pdma_acs_forget();
	return text;
}
EXPORT_SYMBOL_GPL(pci_p2pdma_explain);
