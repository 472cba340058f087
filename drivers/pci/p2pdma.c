// SPDX-License-Identifier: GPL-2.0
/*
 * PCI peer-to-peer DMA: regions, the pool, allocation and tear-down
 *
 * A provider's driver registers ranges of its BARs. Each becomes a region: it
 * has struct pages, so that everything which describes memory by pages can
 * carry it, and it is a chunk of the provider's pool. The pool is a genalloc,
 * whose bitmap works without a lock, so memory can be allocated and freed in
 * any context but NMI, on PREEMPT_RT too.
 *
 * What is allocated is remembered in the struct pages, which nobody else uses
 * while memory is not mapped to user space: zone_device_data of the first
 * page holds the number of pages, private the code that asked. So a free that
 * does not fit an allocation is noticed before genalloc, which would BUG, and
 * a tear-down that has to wait can say for whom.
 *
 * Life of a provider:
 *
 *   live -- quiesce --> quiesced -- drain --> drained
 *     ^------- resume -----'                     |
 *     ^---------------------- resume ------------'
 *
 * and at the end, by devres, quiesce, drain, drop the pages, destroy the
 * pool. Each allocation holds a reference on its region, and draining is
 * nothing but waiting for these, so no struct page of allocated memory ever
 * goes away. Readers find the provider by pdev->p2pdma under RCU; what can be
 * reached from there stays until a grace period after that pointer is gone.
 *
 * Locks: p2pdma_register_lock, then p2pdma_bind_lock (p2pdma-clients.c).
 * pci_p2pdma.drain_lock is outside of both. None is held while orchestrators
 * are called. pci_p2pdma.mapper_lock is inside of drain_lock and of any
 * process's mmap_lock.
 */
#define pr_fmt(fmt) "p2pdma: " fmt
#define dev_fmt(fmt) "p2pdma: " fmt

#include <linux/cc_platform.h>
#include <linux/genalloc.h>
#include <linux/io.h>
#include <linux/kallsyms.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/seq_buf.h>
#include <linux/slab.h>
#include "p2pdma.h"

/* Default segment limit of a PCI device, see pci_setup_device() */
#define P2PDMA_SGL_ENTRY_MAX	SZ_64K
/* Between looks at a process that is about to map memory */
#define P2PDMA_MAPPER_MS	20

/* Seconds between reports of a drain that waits; tests shorten it */
unsigned int p2pdma_drain_report_seconds = 10;

/* Raised while any region has struct pages */
DEFINE_STATIC_KEY_FALSE(pci_p2pdma_key);
EXPORT_SYMBOL(pci_p2pdma_key);	/* for is_pci_p2pdma_page() */

/* Registering regions and the end of a provider; outside p2pdma_bind_lock */
DEFINE_MUTEX(p2pdma_register_lock);

/* Numbers for pci_p2pdma.generation, never the same twice in a row */
static atomic_t p2pdma_generations = ATOMIC_INIT(0);

/* How often a path was lost, of any provider, and how many go at the moment */
static atomic_t p2pdma_paths_lost = ATOMIC_INIT(0);
static atomic_t p2pdma_paths_going = ATOMIC_INIT(0);

/* pdev->p2pdma is written with both locks held */
static struct pci_p2pdma *p2pdma_provider_locked(struct pci_dev *pdev)
{
	return rcu_dereference_protected(pdev->p2pdma,
					 lockdep_is_held(&p2pdma_register_lock) ||
					 lockdep_is_held(&p2pdma_bind_lock));
}

static int p2pdma_next_generation(void)
{
	int generation;

	do {
		generation = atomic_inc_return(&p2pdma_generations);
	} while (!generation);
	return generation;
}

/*
 * Allocation
 */

static bool p2pdma_region_contains(struct p2pdma_region *region, void *addr)
{
	return addr >= region->addr &&
	       addr < region->addr + range_len(&region->pgmap.range);
}

/* Call under RCU */
static struct p2pdma_region *p2pdma_find_region(struct pci_p2pdma *provider,
						void *addr)
{
	struct p2pdma_region *region;

	list_for_each_entry_rcu(region, &provider->regions, node)
		if (p2pdma_region_contains(region, addr))
			return region;
	return NULL;
}

/* Pages of the allocation that starts at @page, 0 if none does */
static unsigned long p2pdma_allocated(struct page *page)
{
	return (unsigned long)READ_ONCE(page->zone_device_data);
}

static void *p2pdma_cookie(unsigned long nr_pages)
{
	return (void *)nr_pages;
}

/*
 * Allocate @size bytes, note @holder as who has them. Any context but NMI.
 */
void *p2pdma_alloc(struct pci_dev *pdev, size_t size, unsigned long holder)
{
	unsigned long nr_pages = PFN_UP(size);
	struct p2pdma_region *region;
	struct pci_p2pdma *provider;
	struct page *page;
	void *addr;

	/* PFN_UP() of a size close to the largest wraps to 0 */
	if (!nr_pages)
		return NULL;

	guard(rcu)();
	provider = rcu_dereference(pdev->p2pdma);
	if (!provider || !READ_ONCE(provider->live))
		return NULL;

	addr = (void *)gen_pool_alloc_owner(provider->pool,
					    nr_pages << PAGE_SHIFT,
					    (void **)&region);
	if (!addr)
		return NULL;

	if (unlikely(!percpu_ref_tryget_live_rcu(&region->ref))) {
		gen_pool_free_owner(provider->pool, (unsigned long)addr,
				    nr_pages << PAGE_SHIFT, NULL);
		return NULL;
	}

	page = virt_to_page(addr);
	set_page_private(page, holder);
	/* Pairs with try_cmpxchg() of the cookie in p2pdma_give_back() */
	smp_store_release(&page->zone_device_data, p2pdma_cookie(nr_pages));
	return addr;
}

/* False if no allocation of @nr_pages starts at @addr */
static bool p2pdma_give_back(struct p2pdma_region *region, void *addr,
			     unsigned long nr_pages)
{
	struct page *page = virt_to_page(addr);
	void *cookie = p2pdma_cookie(nr_pages);

	if (!try_cmpxchg(&page->zone_device_data, &cookie, NULL))
		return false;
	set_page_private(page, 0);

	gen_pool_free_owner(region->provider->pool, (unsigned long)addr,
			    nr_pages << PAGE_SHIFT, NULL);
	percpu_ref_put(&region->ref);
	return true;
}

void *pci_alloc_p2pmem(struct pci_dev *pdev, size_t size)
{
	return p2pdma_alloc(pdev, size, _RET_IP_);
}
EXPORT_SYMBOL_GPL(pci_alloc_p2pmem);

void pci_free_p2pmem(struct pci_dev *pdev, void *addr, size_t size)
{
	struct p2pdma_region *region = NULL;
	struct pci_p2pdma *provider;

	if (!addr)
		return;

	guard(rcu)();
	provider = rcu_dereference(pdev->p2pdma);
	if (provider)
		region = p2pdma_find_region(provider, addr);

	if (!region)
		pci_err(pdev, "free of %zu bytes at %p, which is not memory of this device; ignored\n",
			size, addr);
	else if (!PFN_UP(size) || !PAGE_ALIGNED(addr) ||
		 !p2pdma_give_back(region, addr, PFN_UP(size)))
		pci_err(pdev, "free of %zu bytes at %p, where nothing of that size is allocated; ignored\n",
			size, addr);
}
EXPORT_SYMBOL_GPL(pci_free_p2pmem);

u64 p2pdma_available(struct pci_p2pdma *provider)
{
	/* Below 0 for a moment when memory changes hands: genalloc counts last */
	return max_t(long, gen_pool_avail(provider->pool), 0);
}

pci_bus_addr_t pci_p2pmem_virt_to_bus(struct pci_dev *pdev, void *addr)
{
	struct p2pdma_region *region;
	struct pci_p2pdma *provider;

	if (!addr)
		return 0;

	guard(rcu)();
	provider = rcu_dereference(pdev->p2pdma);
	if (!provider)
		return 0;
	region = p2pdma_find_region(provider, addr);
	if (!region)
		return 0;
	return region->pgmap.range.start + (addr - region->addr) +
	       region->bus_offset;
}
EXPORT_SYMBOL_GPL(pci_p2pmem_virt_to_bus);

/*
 * Scatterlists: the memory is taken in as few chunks as the pool allows, and
 * cut into entries of at most P2PDMA_SGL_ENTRY_MAX. Where a chunk ends is
 * known again from its first page when the list is freed.
 */

struct p2pdma_chunk {
	void *addr;
	size_t size;
};

/*
 * Bytes from @addr to where an entry has to end. Aligned ends keep entries from
 * crossing the 4 GiB boundary that devices have by default; regions are aligned
 * to more than an entry at both addresses, so it does not matter which.
 */
static size_t p2pdma_entry_room(void *addr)
{
	return P2PDMA_SGL_ENTRY_MAX -
	       ((unsigned long)addr & (P2PDMA_SGL_ENTRY_MAX - 1));
}

static unsigned int p2pdma_chunk_entries(const struct p2pdma_chunk *chunk)
{
	size_t first = min(chunk->size, p2pdma_entry_room(chunk->addr));

	return 1 + DIV_ROUND_UP(chunk->size - first, P2PDMA_SGL_ENTRY_MAX);
}

/* Take @length bytes in at most @max chunks. Returns their number, or 0. */
static unsigned int p2pdma_take_chunks(struct pci_dev *pdev, size_t length,
				       struct p2pdma_chunk *chunks,
				       unsigned int max, unsigned long holder)
{
	size_t want = PAGE_ALIGN(length), left = want;
	unsigned int nr = 0;

	while (left) {
		void *addr = NULL;

		cond_resched();
		want = min(want, left);
		if (nr < max)
			addr = p2pdma_alloc(pdev, want, holder);
		if (addr) {
			chunks[nr++] = (struct p2pdma_chunk){ addr, want };
			left -= want;
		} else if (nr < max && want > PAGE_SIZE) {
			want = PAGE_ALIGN(want / 2);
		} else {
			while (nr--)
				pci_free_p2pmem(pdev, chunks[nr].addr,
						chunks[nr].size);
			return 0;
		}
	}
	return nr;
}

struct scatterlist *pci_p2pmem_alloc_sgl(struct pci_dev *pdev,
					 unsigned int *nents, u32 length)
{
	unsigned int max = PFN_UP((u64)length), nr, entries = 0, i;
	struct p2pdma_chunk few[8], *chunks = few;
	struct scatterlist *sg;
	struct sg_table table;
	size_t left = length;

	if (!length)
		return NULL;

	nr = p2pdma_take_chunks(pdev, length, few,
				min_t(unsigned int, max, ARRAY_SIZE(few)),
				_RET_IP_);
	if (!nr && max > ARRAY_SIZE(few)) {
		/* A badly fragmented pool: one chunk for each page, at worst */
		chunks = kvmalloc_array(max, sizeof(*chunks), GFP_KERNEL);
		if (!chunks)
			return NULL;
		nr = p2pdma_take_chunks(pdev, length, chunks, max, _RET_IP_);
	}
	if (!nr)
		goto out;

	for (i = 0; i < nr; i++)
		entries += p2pdma_chunk_entries(&chunks[i]);
	if (sg_alloc_table(&table, entries, GFP_KERNEL)) {
		while (nr--)
			pci_free_p2pmem(pdev, chunks[nr].addr, chunks[nr].size);
		table.sgl = NULL;
		nr = 0;
		goto out;
	}

	sg = table.sgl;
	for (i = 0; i < nr; i++) {
		size_t done = 0;

		while (done < chunks[i].size) {
			void *addr = chunks[i].addr + done;
			size_t len = min3(left, chunks[i].size - done,
					  p2pdma_entry_room(addr));

			/* sg_set_buf() wants what virt_addr_valid() knows */
			sg_set_page(sg, virt_to_page(addr), len, 0);
			left -= len;
			done += PAGE_ALIGN(len);
			sg = sg_next(sg);
		}
	}
	*nents = entries;
out:
	if (chunks != few)
		kvfree(chunks);
	return nr ? table.sgl : NULL;
}
EXPORT_SYMBOL_GPL(pci_p2pmem_alloc_sgl);

/*
 * Walk the chunks of a list: @sg is the first entry of one. Returns the first
 * entry after it, and its size in pages; 0 pages if it is no allocation that
 * the following entries cover from start to end.
 */
static struct scatterlist *p2pdma_next_chunk(struct scatterlist *sg,
					     struct pci_p2pdma *provider,
					     struct p2pdma_region **region,
					     unsigned long *nr_pages)
{
	struct page *page = sg_page(sg);
	unsigned long left;

	*nr_pages = 0;
	if (!provider || !is_pci_p2pdma_page(page))
		return NULL;
	*region = p2pdma_page_region(page);
	if ((*region)->provider != provider)
		return NULL;

	left = p2pdma_allocated(page);
	*nr_pages = left;
	while (left && sg) {
		unsigned long pages = PFN_UP(sg->length);

		if (!pages || pages > left || sg->offset || sg_page(sg) != page)
			break;
		left -= pages;
		page += pages;
		sg = sg_next(sg);
	}
	if (left)
		*nr_pages = 0;
	return sg;
}

void pci_p2pmem_free_sgl(struct pci_dev *pdev, struct scatterlist *sgl)
{
	struct p2pdma_region *region;
	struct pci_p2pdma *provider;
	struct scatterlist *sg, *next;
	struct sg_table table = { .sgl = sgl };
	unsigned long nr_pages;

	if (!sgl)
		return;

	scoped_guard(rcu) {
		provider = rcu_dereference(pdev->p2pdma);
		for (sg = sgl; sg; sg = next) {
			next = p2pdma_next_chunk(sg, provider, &region,
						 &nr_pages);
			if (!nr_pages) {
				pci_err(pdev, "free of a scatterlist with memory that is not allocated from this device; ignored\n");
				return;
			}
		}
		for (sg = sgl; sg; sg = next) {
			next = p2pdma_next_chunk(sg, provider, &region,
						 &nr_pages);
			if (!nr_pages ||
			    !p2pdma_give_back(region, sg_virt(sg), nr_pages)) {
				/* Whoever was faster frees the list */
				pci_err(pdev, "scatterlist freed twice at the same time\n");
				return;
			}
		}
	}

	table.orig_nents = sg_nents(sgl);
	sg_free_table(&table);
}
EXPORT_SYMBOL_GPL(pci_p2pmem_free_sgl);

struct pci_dev *pci_p2pdma_page_provider(struct page *page)
{
	struct pci_dev *pdev = NULL;
	struct dev_pagemap *pgmap;

	if (!is_zone_device_page(page))
		return NULL;

	/* Fails once the region's pages are about to be dropped */
	pgmap = get_dev_pagemap(page_to_pfn(page), NULL);
	if (!pgmap)
		return NULL;
	if (pgmap->type == MEMORY_DEVICE_PCI_P2PDMA)
		pdev = pci_dev_get(p2pdma_page_region(page)->provider->pdev);
	put_dev_pagemap(pgmap);
	return pdev;
}
EXPORT_SYMBOL_GPL(pci_p2pdma_page_provider);

/*
 * Pages that user space had mapped
 *
 * When the last user has let go of such a page, free_zone_device_folio()
 * calls page_free() and only then sets the reference count to 1. If the page
 * went to the pool in between, the next owner's reference would be lost. So
 * it waits in a list until the count is set.
 */

static struct llist_node *p2pdma_page_link(struct page *page)
{
	BUILD_BUG_ON(sizeof(page->private) != sizeof(struct llist_node));
	return (struct llist_node *)&page->private;
}

static void p2pdma_page_free(struct page *page)
{
	struct p2pdma_region *region = p2pdma_page_region(page);

	if (llist_add(p2pdma_page_link(page), &region->released))
		schedule_delayed_work(&region->release_work, 0);
}

static void p2pdma_release_pages(struct work_struct *work)
{
	struct p2pdma_region *region =
		container_of(to_delayed_work(work), struct p2pdma_region,
			     release_work);
	struct llist_node *node, *next;

	node = llist_del_all(&region->released);
	for (; node; node = next) {
		struct page *page = container_of((unsigned long *)node,
						 struct page, private);

		next = node->next;
		if (page_count(page) != 1) {
			llist_add(node, &region->released);
			schedule_delayed_work(&region->release_work, 1);
			continue;
		}
		/* The last one may end a drain, and with it the region */
		WARN_ON(!p2pdma_give_back(region, page_address(page), 1));
	}
}

static const struct dev_pagemap_ops p2pdma_pagemap_ops = {
	.page_free = p2pdma_page_free,
};

/*
 * Quiesce, drain, resume
 */

void pci_p2pdma_quiesce(struct pci_dev *pdev)
{
	struct pci_p2pdma *provider;

	scoped_guard(mutex, &p2pdma_bind_lock) {
		provider = p2pdma_provider_locked(pdev);
		if (!provider)
			return;
		/* That it goes is news also where a path was lost before */
		if (provider->live)
			p2pdma_rearm_lists(provider, true);
		WRITE_ONCE(provider->live, false);
	}
	if (pci_dev_is_disconnected(pdev))
		pci_p2pdma_contents_lost(pdev);

	/* Allocations that saw it live are complete after this */
	synchronize_rcu();
	p2pdma_tell_lists(provider);
}
EXPORT_SYMBOL_GPL(pci_p2pdma_quiesce);

static void p2pdma_region_idle(struct percpu_ref *ref)
{
	struct p2pdma_region *region =
		container_of(ref, struct p2pdma_region, ref);

	complete(&region->idle);
}

/* A few holders by name are enough to find who does not let go */
#define P2PDMA_HOLDERS	8

static void p2pdma_report_holders(struct p2pdma_region *region,
				  unsigned int seconds)
{
	struct {
		unsigned long ip;
		unsigned long nr_pages;
	} holders[P2PDMA_HOLDERS] = {};
	unsigned long nr = PHYS_PFN(range_len(&region->pgmap.range));
	struct page *page = virt_to_page(region->addr);
	struct pci_dev *pdev = region->provider->pdev;
	unsigned long out = 0, i, step, j;
	char buf[512];
	struct seq_buf s;

	for (i = 0; i < nr; i += step) {
		unsigned long holder = page_private(page + i);

		cond_resched();
		step = p2pdma_allocated(page + i);
		if (!step) {
			step = 1;
			continue;
		}
		out += step;
		/* On its way back from user space, see p2pdma_page_link() */
		if (!__kernel_text_address(holder))
			holder = (unsigned long)p2pdma_page_free;
		for (j = 0; j < P2PDMA_HOLDERS; j++) {
			if (!holders[j].ip)
				holders[j].ip = holder;
			if (holders[j].ip == holder) {
				holders[j].nr_pages += step;
				break;
			}
		}
	}

	if (!out)
		return;
	seq_buf_init(&s, buf, sizeof(buf));
	for (j = 0; j < P2PDMA_HOLDERS && holders[j].ip; j++)
		seq_buf_printf(&s, "%s%lu KiB %ps", j ? ", " : "",
			       holders[j].nr_pages << (PAGE_SHIFT - 10),
			       (void *)holders[j].ip);
	p2pdma_list_users(region->provider, &s);
	pci_warn(pdev, "waiting for %lu KiB of BAR %d since %u s, held by %s\n",
		 out << (PAGE_SHIFT - 10), region->bar, seconds,
		 seq_buf_str(&s));
}

/* How long to wait: until @then, or until a process has to be looked at again */
static unsigned long p2pdma_drain_patience(struct pci_p2pdma *provider,
					   unsigned long then)
{
	unsigned long now = jiffies;
	unsigned long left = time_after(then, now) ? then - now : 1;

	if (p2pdma_sysfs_take_back(provider))
		return left;
	return min(left, msecs_to_jiffies(P2PDMA_MAPPER_MS));
}

/* Call with drain_lock held */
static void p2pdma_drain(struct pci_p2pdma *provider)
{
	unsigned int period = READ_ONCE(p2pdma_drain_report_seconds);
	unsigned long then = jiffies + period * HZ;
	struct p2pdma_region *region, *other;
	unsigned int seconds = 0;

	lockdep_assert_held(&provider->drain_lock);
	if (provider->drained)
		return;
	scoped_guard(mutex, &p2pdma_register_lock)
		provider->drained = true;

	/* Waits for readers, and takes the mappings of user space back */
	p2pdma_sysfs_remove(provider->pdev);

	/* The list does not shrink, and does not grow while drained is set */
	list_for_each_entry_rcu(region, &provider->regions, node,
				lockdep_is_held(&provider->drain_lock)) {
		percpu_ref_kill(&region->ref);
		while (!wait_for_completion_timeout(&region->idle,
						    p2pdma_drain_patience(provider, then))) {
			if (time_before(jiffies, then))
				continue;
			do {
				then += period * HZ;
				seconds += period;
			} while (!time_before(jiffies, then));
			list_for_each_entry_rcu(other, &provider->regions, node,
						lockdep_is_held(&provider->drain_lock))
				p2pdma_report_holders(other, seconds);
		}
	}
}

void pci_p2pdma_drain(struct pci_dev *pdev)
{
	struct pci_p2pdma *provider;

	/* Only devres, which runs after the caller, takes the provider away */
	provider = rcu_dereference_protected(pdev->p2pdma, 1);
	if (!provider)
		return;

	/* Again if it was resumed meanwhile; with the lock held it cannot be */
	for (;;) {
		pci_p2pdma_quiesce(pdev);
		mutex_lock(&provider->drain_lock);
		if (!READ_ONCE(provider->live))
			break;
		mutex_unlock(&provider->drain_lock);
	}
	p2pdma_drain(provider);
	mutex_unlock(&provider->drain_lock);
}
EXPORT_SYMBOL_GPL(pci_p2pdma_drain);

int pci_p2pdma_resume(struct pci_dev *pdev)
{
	struct p2pdma_region *region;
	struct pci_p2pdma *provider;

	provider = rcu_dereference_protected(pdev->p2pdma, 1);
	if (!provider)
		return 0;

	guard(mutex)(&provider->drain_lock);
	if (provider->drained) {
		int ret = p2pdma_sysfs_add(pdev);

		if (ret)
			return ret;
		list_for_each_entry_rcu(region, &provider->regions, node,
					lockdep_is_held(&provider->drain_lock)) {
			reinit_completion(&region->idle);
			percpu_ref_reinit(&region->ref);
		}
		scoped_guard(mutex, &p2pdma_register_lock)
			provider->drained = false;
	}

	guard(mutex)(&p2pdma_bind_lock);
	if (!provider->dying) {
		WRITE_ONCE(provider->live, true);
		p2pdma_rearm_lists(provider, false);
		p2pdma_search_again();
	}
	return 0;
}
EXPORT_SYMBOL_GPL(pci_p2pdma_resume);

void pci_p2pdma_contents_lost(struct pci_dev *pdev)
{
	struct pci_p2pdma *provider;

	guard(rcu)();
	provider = rcu_dereference(pdev->p2pdma);
	if (provider)
		atomic_set(&provider->generation, p2pdma_next_generation());
}
EXPORT_SYMBOL_GPL(pci_p2pdma_contents_lost);

/* A path was lost: what was under way by it may not have arrived. Any context. */
void p2pdma_path_lost(void)
{
	atomic_inc(&p2pdma_paths_lost);
}

/*
 * Around a change that takes paths away. Whoever compares generations around a
 * transfer that was under way then finds 0 or two that differ. Any context.
 */
void p2pdma_path_goes(void)
{
	atomic_inc(&p2pdma_paths_going);
	/* Before the change; pairs with the transfer's completion */
	smp_mb__after_atomic();
}

void p2pdma_path_went(void)
{
	p2pdma_path_lost();
	/* Pairs with pci_p2pdma_generation() */
	atomic_dec_return_release(&p2pdma_paths_going);
}

/* As pci_p2pdma_generation(), for who needs no path to the memory: the CPU */
u32 p2pdma_contents(struct pci_dev *pdev)
{
	struct pci_p2pdma *provider;

	guard(rcu)();
	provider = rcu_dereference(pdev->p2pdma);
	/*
	 * A drive that was pulled takes its memory along without a word, and
	 * one behind a frozen link does not get what is written to it.
	 */
	if (!provider || pci_channel_offline(pdev))
		return 0;
	return atomic_read(&provider->generation);
}

u32 pci_p2pdma_generation(struct pci_dev *pdev)
{
	u32 generation = p2pdma_contents(pdev);

	if (!generation || atomic_read_acquire(&p2pdma_paths_going))
		return 0;
	/* Both only grow, so the sum is another one when one of them is */
	generation += atomic_read(&p2pdma_paths_lost);
	return generation ?: U32_MAX;
}
EXPORT_SYMBOL_GPL(pci_p2pdma_generation);

void pci_p2pdma_set_self_access(struct pci_dev *pdev, bool can)
{
	struct pci_p2pdma *provider;

	rcu_read_lock();
	provider = rcu_dereference(pdev->p2pdma);
	if (provider)
		WRITE_ONCE(provider->self_access, can);
	rcu_read_unlock();
	p2pdma_topology_changed();
}
EXPORT_SYMBOL_GPL(pci_p2pdma_set_self_access);

/*
 * Registration
 */

static void p2pdma_region_free(struct p2pdma_region *region)
{
	if (region->addr) {
		/* A worker that gave the last page back may still be running */
		flush_delayed_work(&region->release_work);
		memunmap_pages(&region->pgmap);
		static_branch_dec(&pci_p2pdma_key);
	}
	percpu_ref_exit(&region->ref);
	kfree(region);
}

static void p2pdma_provider_free(struct pci_p2pdma *provider)
{
	struct p2pdma_region *region, *tmp;

	list_for_each_entry_safe(region, tmp, &provider->regions, node)
		p2pdma_region_free(region);
	if (provider->pool)
		gen_pool_destroy(provider->pool);
	p2pdma_sysfs_forget(provider);
	mutex_destroy(&provider->mapper_lock);
	mutex_destroy(&provider->drain_lock);
	kfree(provider);
}

/* The end of a provider: devres, after the driver's remove */
static void p2pdma_release(void *data)
{
	struct pci_dev *pdev = data;
	struct pci_p2pdma *provider;

	scoped_guard(mutex, &p2pdma_register_lock) {
		provider = p2pdma_provider_locked(pdev);
		provider->dying = true;
	}

	pci_p2pdma_quiesce(pdev);
	scoped_guard(mutex, &provider->drain_lock)
		p2pdma_drain(provider);

	scoped_guard(mutex, &p2pdma_register_lock)
		p2pdma_provider_remove(provider);
	synchronize_rcu();
	p2pdma_provider_free(provider);
}

static struct pci_p2pdma *p2pdma_provider_new(struct pci_dev *pdev)
{
	struct pci_p2pdma *provider;

	provider = kzalloc(sizeof(*provider), GFP_KERNEL);
	if (!provider)
		return NULL;

	provider->pdev = pdev;
	atomic_set(&provider->generation, p2pdma_next_generation());
	INIT_LIST_HEAD(&provider->regions);
	INIT_LIST_HEAD(&provider->node);
	INIT_LIST_HEAD(&provider->lists);
	mutex_init(&provider->drain_lock);
	mutex_init(&provider->mapper_lock);
	INIT_LIST_HEAD(&provider->mappers);

	provider->pool = gen_pool_create(PAGE_SHIFT, dev_to_node(&pdev->dev));
	if (!provider->pool) {
		p2pdma_provider_free(provider);
		return NULL;
	}
	return provider;
}

/* Find out whether @pdev's BAR has the range, and turn @size 0 into the rest */
static int p2pdma_check_range(struct pci_dev *pdev, int bar, size_t *size,
			      u64 offset)
{
	unsigned long align = memremap_compat_align();
	resource_size_t start, len;

	if (bar < 0 || bar >= PCI_STD_NUM_BARS) {
		pci_err(pdev, "there is no BAR %d, BARs are 0 to %d\n", bar,
			PCI_STD_NUM_BARS - 1);
		return -EINVAL;
	}
	if (!(pci_resource_flags(pdev, bar) & IORESOURCE_MEM)) {
		pci_err(pdev, "BAR %d is not a memory BAR\n", bar);
		return -EINVAL;
	}
	start = pci_resource_start(pdev, bar);
	len = pci_resource_len(pdev, bar);
	if ((pci_resource_flags(pdev, bar) & IORESOURCE_UNSET) || !start ||
	    !len) {
		pci_err(pdev, "BAR %d has no address assigned\n", bar);
		return -EINVAL;
	}

	if (offset >= len || *size > len - offset) {
		pci_err(pdev, "%#zx bytes at offset %#llx are not inside BAR %d, which has %#llx\n",
			*size, offset, bar, (u64)len);
		return -EINVAL;
	}
	if (!*size)
		*size = len - offset;

	if (!PAGE_ALIGNED(offset) || !PAGE_ALIGNED(*size)) {
		pci_err(pdev, "%#zx bytes at offset %#llx of BAR %d: both have to be multiples of the page size, %#lx\n",
			*size, offset, bar, PAGE_SIZE);
		return -EINVAL;
	}
	if (!IS_ALIGNED(start + offset, align) || !IS_ALIGNED(*size, align)) {
		pci_err(pdev, "%#zx bytes at %#llx in BAR %d: address and size have to be multiples of %#lx\n",
			*size, (u64)start + offset, bar, align);
		return -EINVAL;
	}
	return 0;
}

/*
 * memremap_pages() answers a range that something else has with a WARN, so
 * look first. Call with p2pdma_register_lock held.
 */
static int p2pdma_check_free(struct pci_dev *pdev, const struct range *range)
{
	struct range able = mhp_get_pluggable_range(true);
	phys_addr_t at;

	/* Pages get the protection of system memory, and a BAR is not that */
	if (cc_platform_has(CC_ATTR_MEM_ENCRYPT)) {
		pci_err(pdev, "a BAR cannot have pages on a machine that encrypts memory\n");
		return -EOPNOTSUPP;
	}
	if (range->start < able.start || range->end > able.end) {
		pci_err(pdev, "%#llx-%#llx is beyond what this machine can map (%#llx-%#llx)\n",
			range->start, range->end, able.start, able.end);
		return -EOPNOTSUPP;
	}
	if (region_intersects(range->start, range_len(range),
			      IORESOURCE_SYSTEM_RAM,
			      IORES_DESC_NONE) != REGION_DISJOINT) {
		pci_err(pdev, "%#llx-%#llx overlaps system memory\n",
			range->start, range->end);
		return -EBUSY;
	}
	/* Everything that has struct pages is aligned like this */
	for (at = range->start; at <= range->end;
	     at += memremap_compat_align()) {
		struct dev_pagemap *pgmap = get_dev_pagemap(PHYS_PFN(at), NULL);

		if (pgmap) {
			put_dev_pagemap(pgmap);
			pci_err(pdev, "%#llx-%#llx overlaps a range that is registered already\n",
				range->start, range->end);
			return -EBUSY;
		}
	}
	return 0;
}

static struct p2pdma_region *p2pdma_region_new(struct pci_p2pdma *provider,
					       int bar, const struct range *range)
{
	struct pci_dev *pdev = provider->pdev;
	struct p2pdma_region *region;
	void *addr;
	int ret;

	region = kzalloc(sizeof(*region), GFP_KERNEL);
	if (!region)
		return ERR_PTR(-ENOMEM);

	region->provider = provider;
	region->bar = bar;
	region->bus_offset = pci_bus_address(pdev, bar) -
			     pci_resource_start(pdev, bar);
	init_completion(&region->idle);
	init_llist_head(&region->released);
	INIT_DELAYED_WORK(&region->release_work, p2pdma_release_pages);
	ret = percpu_ref_init(&region->ref, p2pdma_region_idle,
			      PERCPU_REF_ALLOW_REINIT, GFP_KERNEL);
	if (ret) {
		kfree(region);
		return ERR_PTR(ret);
	}

	region->pgmap.range = *range;
	region->pgmap.nr_range = 1;
	region->pgmap.type = MEMORY_DEVICE_PCI_P2PDMA;
	region->pgmap.ops = &p2pdma_pagemap_ops;

	static_branch_inc(&pci_p2pdma_key);
	addr = memremap_pages(&region->pgmap, dev_to_node(&pdev->dev));
	if (IS_ERR(addr)) {
		static_branch_dec(&pci_p2pdma_key);
		ret = PTR_ERR(addr);
		pci_err(pdev, "no struct pages for %#llx-%#llx: %pe\n",
			range->start, range->end, addr);
		p2pdma_region_free(region);
		return ERR_PTR(ret == -ENOMEM ? -ENOMEM : -EOPNOTSUPP);
	}
	region->addr = addr;
	return region;
}

/*
 * Put a finished region into the provider. It is in the list before memory can
 * be allocated from it, and adding to the pool, which cannot be undone, comes
 * last.
 */
static int p2pdma_region_add(struct pci_p2pdma *provider,
			     struct p2pdma_region *region)
{
	size_t size = range_len(&region->pgmap.range);
	int ret;

	list_add_tail_rcu(&region->node, &provider->regions);
	ret = gen_pool_add_owner(provider->pool, (unsigned long)region->addr,
				 region->pgmap.range.start, size,
				 dev_to_node(&provider->pdev->dev), region);
	if (ret) {
		list_del_rcu(&region->node);
		synchronize_rcu();
		return ret;
	}
	provider->size += size;
	return 0;
}

/* The first region makes the provider. The region is freed on failure. */
static int p2pdma_first_region(struct pci_dev *pdev, int bar,
			       const struct range *range)
{
	struct pci_p2pdma *provider;
	struct p2pdma_region *region;
	int ret;

	provider = p2pdma_provider_new(pdev);
	if (!provider)
		return -ENOMEM;

	region = p2pdma_region_new(provider, bar, range);
	if (IS_ERR(region)) {
		ret = PTR_ERR(region);
		goto err_provider;
	}
	ret = p2pdma_region_add(provider, region);
	if (ret) {
		p2pdma_region_free(region);
		goto err_provider;
	}
	ret = devm_add_action(&pdev->dev, p2pdma_release, pdev);
	if (ret)
		goto err_provider;

	/* Not live yet: whoever finds it gets nothing */
	p2pdma_provider_add(provider);
	ret = p2pdma_sysfs_add(pdev);
	if (ret)
		goto err_action;
	scoped_guard(mutex, &p2pdma_bind_lock)
		WRITE_ONCE(provider->live, true);
	return 0;

err_action:
	devm_remove_action(&pdev->dev, p2pdma_release, pdev);
	p2pdma_provider_remove(provider);
	synchronize_rcu();
err_provider:
	p2pdma_provider_free(provider);
	return ret;
}

static int p2pdma_next_region(struct pci_p2pdma *provider, int bar,
			      const struct range *range)
{
	struct p2pdma_region *region;
	int ret;

	if (provider->dying || provider->drained) {
		pci_err(provider->pdev, "drained, no region can be added before it is resumed\n");
		return -EBUSY;
	}

	region = p2pdma_region_new(provider, bar, range);
	if (IS_ERR(region))
		return PTR_ERR(region);
	ret = p2pdma_region_add(provider, region);
	if (ret)
		p2pdma_region_free(region);
	return ret;
}

int pci_p2pdma_add_resource(struct pci_dev *pdev, int bar, size_t size,
			    u64 offset)
{
	struct pci_p2pdma *provider;
	struct range range;
	int ret;

	ret = p2pdma_check_range(pdev, bar, &size, offset);
	if (ret)
		return ret;
	range.start = pci_resource_start(pdev, bar) + offset;
	range.end = range.start + size - 1;

	guard(mutex)(&p2pdma_register_lock);
	ret = p2pdma_check_free(pdev, &range);
	if (ret)
		return ret;

	provider = p2pdma_provider_locked(pdev);
	if (provider)
		ret = p2pdma_next_region(provider, bar, &range);
	else
		ret = p2pdma_first_region(pdev, bar, &range);
	if (!ret)
		pci_info(pdev, "registered %zu KiB of BAR %d at %#llx\n",
			 size >> 10, bar, range.start);
	return ret;
}
EXPORT_SYMBOL_GPL(pci_p2pdma_add_resource);
