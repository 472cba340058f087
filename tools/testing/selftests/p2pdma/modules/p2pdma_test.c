// SPDX-License-Identifier: GPL-2.0
/*
 * Test module: the in-kernel interface of peer-to-peer DMA, for shell scripts
 *
 * Write one command into /sys/kernel/debug/p2pdma_test/command and read its
 * answer, words "key=value", through the same open file. The write fails with
 * the error of the call that was made. Commands do what they are told, wrong
 * things too: this is how misuse and unlucky timing are tested. What is
 * allocated stays so until it is freed by command or the module goes.
 *
 * PCI functions are given as DDDD:BB:DD.F, sizes with K or M if wanted.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cleanup.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci-p2pdma.h>
#include <linux/pci.h>
#include <linux/random.h>
#include <linux/scatterlist.h>
#include <linux/seq_buf.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/xarray.h>

#define MAX_THREADS	64

#ifdef CONFIG_PCI_P2PDMA_KUNIT_TEST
/* Of drivers/pci/p2pdma_core_test.c: seconds between reports of a drain that waits */
unsigned int p2pdma_set_drain_report(unsigned int seconds);
MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
#endif

/* Memory that a script holds: either @addr or @sgl. */
struct holding {
	struct pci_dev *provider;
	void *addr;
	size_t size;
	struct scatterlist *sgl;
	unsigned int nents;
	struct device *mapped;
	bool by_dma_api;
};

/* A client list that a script made. */
struct test_list {
	struct pci_p2pdma_client_list list;
	/* The callback gives the provider's memory back and unbinds. */
	bool polite;
	atomic_t told;
};

static DEFINE_XARRAY_ALLOC1(holdings);
static DEFINE_XARRAY_ALLOC1(lists);

/*
 * For the lists, which an orchestrator must serialise, and for mapping. Not
 * held while the core may call back or wait: holdings are taken out of their
 * array before they are freed, so only one finds them.
 */
static DEFINE_MUTEX(list_lock);
static DEFINE_MUTEX(map_lock);

/* For a free that is made twice. */
static struct {
	struct pci_dev *provider;
	void *addr;
	size_t size;
} last_freed;

static struct dentry *debugfs_dir;

static struct pci_dev *find_function(const char *name)
{
	unsigned int domain, bus, dev, fn;

	if (sscanf(name, "%x:%x:%x.%x", &domain, &bus, &dev, &fn) != 4)
		return NULL;
	return pci_get_domain_bus_and_slot(domain, bus, PCI_DEVFN(dev, fn));
}

static int parse_size(const char *word, u64 *size)
{
	char *end;

	*size = memparse(word, &end);
	return end == word || *end ? -EINVAL : 0;
}

/* --- memory --- */

static int keep(struct holding *init, u32 *id)
{
	struct holding *holding = kmemdup(init, sizeof(*init), GFP_KERNEL);
	int err;

	if (!holding)
		return -ENOMEM;
	err = xa_alloc(&holdings, id, holding, xa_limit_31b, GFP_KERNEL);
	if (err) {
		kfree(holding);
		return err;
	}
	pci_dev_get(holding->provider);
	return 0;
}

static void unmap_holding(struct holding *holding)
{
	struct sg_table table = {
		.sgl = holding->sgl,
		.nents = holding->nents,
		.orig_nents = holding->nents,
	};

	if (!holding->mapped)
		return;
	if (holding->by_dma_api)
		dma_unmap_sgtable(holding->mapped, &table, DMA_BIDIRECTIONAL, 0);
	else
		pci_p2pdma_unmap_sg(holding->mapped, holding->sgl,
				    holding->nents, DMA_BIDIRECTIONAL);
	put_device(holding->mapped);
	holding->mapped = NULL;
}

static void release_holding(struct holding *holding)
{
	unmap_holding(holding);
	if (holding->sgl)
		pci_p2pmem_free_sgl(holding->provider, holding->sgl);
	else
		pci_free_p2pmem(holding->provider, holding->addr,
				holding->size);
	pci_dev_put(holding->provider);
	kfree(holding);
}

static void release_all(struct pci_dev *provider)
{
	struct holding *holding;
	unsigned long id;

	xa_for_each(&holdings, id, holding)
		if (!provider || holding->provider == provider)
			if (xa_erase(&holdings, id))
				release_holding(holding);
}

static struct holding *find_holding(const char *word)
{
	u32 id;

	if (kstrtou32(word, 0, &id))
		return NULL;
	return xa_load(&holdings, id);
}

static int alloc_one(struct pci_dev *pdev, size_t size, u32 *id)
{
	struct holding holding = {
		.provider = pdev,
		.size = size,
		.addr = pci_alloc_p2pmem(pdev, size),
	};
	int err;

	if (!holding.addr)
		return -ENOMEM;
	err = keep(&holding, id);
	if (err)
		pci_free_p2pmem(pdev, holding.addr, size);
	return err;
}

/* alloc FUNCTION SIZE [COUNT]: all or nothing */
static int cmd_alloc(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);
	u32 *ids __free(kvfree) = NULL;
	u64 size, count = 1, i;
	int err;

	if (!pdev)
		return -ENXIO;
	if (parse_size(argv[2], &size) ||
	    (argc > 3 && parse_size(argv[3], &count)) ||
	    !count || count > SZ_1M)
		return -EINVAL;
	ids = kvcalloc(count, sizeof(*ids), GFP_KERNEL);
	if (!ids)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		err = alloc_one(pdev, size, &ids[i]);
		if (!err)
			continue;
		while (i--)
			release_holding(xa_erase(&holdings, ids[i]));
		return err;
	}
	seq_buf_printf(out, "id=%u count=%llu\n", ids[0], count);
	return 0;
}

/* alloc-all FUNCTION SIZE: as many as there are */
static int cmd_alloc_all(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);
	unsigned int count = 0;
	u64 size;
	u32 id;

	if (!pdev)
		return -ENXIO;
	if (parse_size(argv[2], &size))
		return -EINVAL;
	while (!alloc_one(pdev, size, &id))
		count++;
	seq_buf_printf(out, "count=%u\n", count);
	return 0;
}

/* fragment FUNCTION SIZE: hold every other piece of that size */
static int cmd_fragment(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);
	unsigned int count = 0;
	struct holding *holding;
	unsigned long id;
	u64 size;
	u32 new;

	if (!pdev)
		return -ENXIO;
	if (parse_size(argv[2], &size))
		return -EINVAL;
	while (!alloc_one(pdev, size, &new))
		;
	xa_for_each(&holdings, id, holding) {
		unsigned long addr = (unsigned long)holding->addr;

		if (holding->provider != pdev || !holding->addr)
			continue;
		if (addr / size % 2) {
			count++;
			continue;
		}
		xa_erase(&holdings, id);
		release_holding(holding);
	}
	seq_buf_printf(out, "held=%u\n", count);
	return 0;
}

/* sgl FUNCTION SIZE: and look whether the list is what it should be */
static int cmd_sgl(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);
	struct holding holding = { .provider = pdev };
	unsigned int min = UINT_MAX, max = 0, i;
	struct scatterlist *sg;
	u64 size, sum = 0;
	int err;
	u32 id;

	if (!pdev)
		return -ENXIO;
	err = parse_size(argv[2], &size);
	if (err)
		return err;
	/* So that a list with a forgotten count is seen. */
	holding.nents = 0xdead;
	holding.size = size;
	holding.sgl = pci_p2pmem_alloc_sgl(pdev, &holding.nents, size);
	if (!holding.sgl)
		return -ENOMEM;

	for_each_sg(holding.sgl, sg, holding.nents, i) {
		struct pci_dev *owner = pci_p2pdma_page_provider(sg_page(sg));

		if (owner != pdev || !is_pci_p2pdma_page(sg_page(sg)) ||
		    sg_is_last(sg) != (i == holding.nents - 1))
			err = -EIO;
		pci_dev_put(owner);
		min = min(min, sg->length);
		max = max(max, sg->length);
		sum += sg->length;
		if (i < 64)
			seq_buf_printf(out, "%s%u", i ? "," : "lengths=",
				       sg->length);
	}
	if (!err)
		err = keep(&holding, &id);
	if (err) {
		pci_p2pmem_free_sgl(pdev, holding.sgl);
		return err;
	}
	seq_buf_printf(out, " id=%u nents=%u bytes=%llu min=%u max=%u\n", id,
		       holding.nents, sum, min, max);
	return 0;
}

/* free ID */
static int cmd_free(int argc, char **argv, struct seq_buf *out)
{
	struct holding *holding;
	u32 id;

	if (kstrtou32(argv[1], 0, &id))
		return -EINVAL;
	holding = xa_erase(&holdings, id);
	if (!holding)
		return -ENOENT;
	if (holding->addr) {
		pci_dev_put(last_freed.provider);
		last_freed.provider = pci_dev_get(holding->provider);
		last_freed.addr = holding->addr;
		last_freed.size = holding->size;
	}
	release_holding(holding);
	return 0;
}

/* free-all [FUNCTION] */
static int cmd_free_all(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = NULL;

	if (argc > 1) {
		pdev = find_function(argv[1]);
		if (!pdev)
			return -ENXIO;
	}
	release_all(pdev);
	return 0;
}

/* free-again: what the last "free" freed. A mistake: to be refused. */
static int cmd_free_again(int argc, char **argv, struct seq_buf *out)
{
	if (!last_freed.provider)
		return -ENOENT;
	pci_free_p2pmem(last_freed.provider, last_freed.addr, last_freed.size);
	return 0;
}

/* free-wrong FUNCTION ID [OFFSET SIZE]: any mistake with what is held */
static int cmd_free_wrong(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);
	struct holding *holding = find_holding(argv[2]);
	u64 offset = 0, size;

	if (!pdev)
		return -ENXIO;
	if (!holding)
		return -ENOENT;
	size = holding->size;
	if (argc > 4 && (parse_size(argv[3], &offset) ||
			 parse_size(argv[4], &size)))
		return -EINVAL;
	if (holding->sgl)
		pci_p2pmem_free_sgl(pdev, holding->sgl);
	else
		pci_free_p2pmem(pdev, holding->addr + offset, size);
	return 0;
}

/* free-heap FUNCTION SIZE: ordinary memory; free-null FUNCTION: nothing */
static int cmd_free_heap(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);
	u64 size;
	void *heap;

	if (!pdev)
		return -ENXIO;
	if (parse_size(argv[2], &size) || size > MAX_ORDER_NR_PAGES * PAGE_SIZE)
		return -EINVAL;
	heap = kmalloc(size, GFP_KERNEL);
	if (!heap)
		return -ENOMEM;
	pci_free_p2pmem(pdev, heap, size);
	kfree(heap);
	return 0;
}

static int cmd_free_null(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);

	if (!pdev)
		return -ENXIO;
	pci_free_p2pmem(pdev, NULL, PAGE_SIZE);
	pci_p2pmem_free_sgl(pdev, NULL);
	return 0;
}

/* fill ID BYTE: what a previous owner leaves behind */
static int cmd_fill(int argc, char **argv, struct seq_buf *out)
{
	struct holding *holding = find_holding(argv[1]);
	u8 byte;

	if (!holding || !holding->addr)
		return -ENOENT;
	if (kstrtou8(argv[2], 0, &byte))
		return -EINVAL;
	memset_io((void __iomem *)holding->addr, byte, holding->size);
	return 0;
}

/* check ID BYTE: -EIO if the memory is not full of it */
static int cmd_check(int argc, char **argv, struct seq_buf *out)
{
	void *buf __free(kfree) = NULL;
	struct holding *holding = find_holding(argv[1]);
	size_t pos, len;
	u8 byte;

	if (!holding || !holding->addr)
		return -ENOENT;
	if (kstrtou8(argv[2], 0, &byte))
		return -EINVAL;
	buf = kmalloc(PAGE_SIZE, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	for (pos = 0; pos < holding->size; pos += len) {
		len = min(holding->size - pos, PAGE_SIZE);
		memcpy_fromio(buf, (void __iomem *)holding->addr + pos, len);
		if (memchr_inv(buf, byte, len))
			return -EIO;
	}
	return 0;
}

/* bus FUNCTION ID [OFFSET] */
static int cmd_bus(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);
	struct holding *holding = find_holding(argv[2]);
	u64 offset = 0;

	if (!pdev)
		return -ENXIO;
	if (!holding || !holding->addr)
		return -ENOENT;
	if (argc > 3 && parse_size(argv[3], &offset))
		return -EINVAL;
	seq_buf_printf(out, "bus=%#llx\n",
		       (u64)pci_p2pmem_virt_to_bus(pdev,
						   holding->addr + offset));
	return 0;
}

/* bus-wrong FUNCTION: addresses that are not the function's */
static int cmd_bus_wrong(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);

	if (!pdev)
		return -ENXIO;
	seq_buf_printf(out, "null=%#llx heap=%#llx\n",
		       (u64)pci_p2pmem_virt_to_bus(pdev, NULL),
		       (u64)pci_p2pmem_virt_to_bus(pdev, pdev));
	return 0;
}

/* page ID: whose is it? */
static int cmd_page(int argc, char **argv, struct seq_buf *out)
{
	struct holding *holding = find_holding(argv[1]);
	struct pci_dev *owner;

	if (!holding || !holding->addr)
		return -ENOENT;
	owner = pci_p2pdma_page_provider(virt_to_page(holding->addr));
	seq_buf_printf(out, "provider=%s\n", owner ? pci_name(owner) : "none");
	pci_dev_put(owner);
	/* And an ordinary page has none. */
	owner = pci_p2pdma_page_provider(virt_to_page(holding));
	if (owner) {
		pci_dev_put(owner);
		return -EIO;
	}
	return 0;
}

/* --- providers --- */

/* add FUNCTION BAR SIZE OFFSET: a driver must be bound, to take it back */
static int cmd_add(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);
	u64 size, offset;
	int bar;

	if (!pdev)
		return -ENXIO;
	if (kstrtoint(argv[2], 0, &bar) || parse_size(argv[3], &size) ||
	    parse_size(argv[4], &offset))
		return -EINVAL;
	return pci_p2pdma_add_resource(pdev, bar, size, offset);
}

/* publish FUNCTION 0|1, self FUNCTION 0|1 */
static int cmd_publish(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);
	bool value;

	if (!pdev)
		return -ENXIO;
	if (kstrtobool(argv[2], &value))
		return -EINVAL;
	if (!strcmp(argv[0], "self"))
		pci_p2pdma_set_self_access(pdev, value);
	else
		pci_p2pmem_publish(pdev, value);
	return 0;
}

/* quiesce, drain, resume, lost, generation FUNCTION */
static int cmd_state(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);

	if (!pdev)
		return -ENXIO;
	if (!strcmp(argv[0], "quiesce"))
		pci_p2pdma_quiesce(pdev);
	else if (!strcmp(argv[0], "drain"))
		pci_p2pdma_drain(pdev);
	else if (!strcmp(argv[0], "resume"))
		return pci_p2pdma_resume(pdev);
	else if (!strcmp(argv[0], "lost"))
		pci_p2pdma_contents_lost(pdev);
	else
		seq_buf_printf(out, "generation=%u\n",
			       pci_p2pdma_generation(pdev));
	return 0;
}

/* drain-report SECONDS: how often a drain that waits says so */
static int cmd_drain_report(int argc, char **argv, struct seq_buf *out)
{
#ifdef CONFIG_PCI_P2PDMA_KUNIT_TEST
	unsigned int seconds;

	if (kstrtouint(argv[1], 0, &seconds) || !seconds)
		return -EINVAL;
	seq_buf_printf(out, "before=%u\n", p2pdma_set_drain_report(seconds));
	return 0;
#else
	return -EOPNOTSUPP;
#endif
}

/* --- references --- */

/*
 * refs FUNCTION: references to its struct device. The one by which it is found
 * here does not count.
 */
static int cmd_refs(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);

	if (!pdev)
		return -ENXIO;
	seq_buf_printf(out, "refs=%u\n",
		       kref_read(&pdev->dev.kobj.kref) - 1);
	return 0;
}

/* --- client lists --- */

static void unusable(struct pci_p2pdma_client_list *list,
		     struct pci_dev *provider)
{
	struct test_list *test = container_of(list, struct test_list, list);

	atomic_inc(&test->told);
	if (!test->polite)
		return;
	release_all(provider);
	pci_p2pdma_unbind(list);
}

static const struct pci_p2pdma_client_ops list_ops = {
	.name = KBUILD_MODNAME,
	.unusable = unusable,
};

static struct test_list *find_list(const char *word)
{
	u32 id;

	if (kstrtou32(word, 0, &id))
		return NULL;
	return xa_load(&lists, id);
}

/* list-new [polite] */
static int cmd_list_new(int argc, char **argv, struct seq_buf *out)
{
	struct test_list *test;
	int err;
	u32 id;

	test = kzalloc(sizeof(*test), GFP_KERNEL);
	if (!test)
		return -ENOMEM;
	test->polite = argc > 1 && !strcmp(argv[1], "polite");
	pci_p2pdma_client_list_init(&test->list, &list_ops);
	err = xa_alloc(&lists, &id, test, xa_limit_31b, GFP_KERNEL);
	if (err) {
		kfree(test);
		return err;
	}
	seq_buf_printf(out, "list=%u\n", id);
	return 0;
}

/* list-add, list-remove, list-assign LIST FUNCTION */
static int cmd_list_client(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[2]);
	struct test_list *test = find_list(argv[1]);

	if (!pdev)
		return -ENXIO;
	if (!test)
		return -ENOENT;
	guard(mutex)(&list_lock);
	if (!strcmp(argv[0], "list-add"))
		return pci_p2pdma_add_client(&test->list, &pdev->dev);
	if (!strcmp(argv[0], "list-assign"))
		return pci_p2pdma_assign_provider(&test->list, pdev);
	pci_p2pdma_remove_client(&test->list, &pdev->dev);
	return 0;
}

/* list-find LIST */
static int cmd_list_find(int argc, char **argv, struct seq_buf *out)
{
	struct test_list *test = find_list(argv[1]);
	struct pci_dev *provider;

	if (!test)
		return -ENOENT;
	guard(mutex)(&list_lock);
	provider = pci_p2pmem_find(&test->list);
	seq_buf_printf(out, "provider=%s\n",
		       provider ? pci_name(provider) : "none");
	pci_dev_put(provider);
	return 0;
}

/* list-told LIST: how often the callback came */
static int cmd_list_told(int argc, char **argv, struct seq_buf *out)
{
	struct test_list *test = find_list(argv[1]);

	if (!test)
		return -ENOENT;
	seq_buf_printf(out, "told=%d\n", atomic_read(&test->told));
	return 0;
}

/* list-unbind LIST */
static int cmd_list_unbind(int argc, char **argv, struct seq_buf *out)
{
	struct test_list *test = find_list(argv[1]);

	if (!test)
		return -ENOENT;
	guard(mutex)(&list_lock);
	pci_p2pdma_unbind(&test->list);
	return 0;
}

/* list-explain LIST: lines, not words */
static int cmd_list_explain(int argc, char **argv, struct seq_buf *out)
{
	char *text __free(kfree) = NULL;
	struct test_list *test = find_list(argv[1]);

	if (!test)
		return -ENOENT;
	guard(mutex)(&list_lock);
	text = pci_p2pdma_explain(&test->list);
	seq_buf_printf(out, "%s\n", text ?: "");
	return 0;
}

/* list-free LIST */
static int cmd_list_free(int argc, char **argv, struct seq_buf *out)
{
	struct test_list *test;
	u32 id;

	if (kstrtou32(argv[1], 0, &id))
		return -EINVAL;
	test = xa_erase(&lists, id);
	if (!test)
		return -ENOENT;
	guard(mutex)(&list_lock);
	pci_p2pdma_client_list_free(&test->list);
	kfree(test);
	return 0;
}

/* distance FUNCTION FUNCTION [verbose]: from a provider to a device */
static int cmd_distance(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *provider __free(pci_dev_put) = find_function(argv[1]);
	struct pci_dev *client __free(pci_dev_put) = find_function(argv[2]);

	if (!provider)
		return -ENXIO;
	if (!client)
		return -ENXIO;
	seq_buf_printf(out, "distance=%d\n",
		       pci_p2pdma_distance(provider, &client->dev, argc > 3));
	return 0;
}

/* --- mapping --- */

static void show_mapping(struct scatterlist *sgl, int nents,
			 struct seq_buf *out)
{
	struct scatterlist *sg;
	int i;

	seq_buf_printf(out, "nents=%d", nents);
	for_each_sg(sgl, sg, min(nents, 32), i)
		seq_buf_printf(out, " %d=%#llx+%#x%s", i,
			       (u64)sg_dma_address(sg), sg_dma_len(sg),
			       sg_dma_is_bus_address(sg) ? "+bus" : "");
	seq_buf_puts(out, "\n");
}

/* map, dma-map FUNCTION ID: a scatterlist, for a device */
static int cmd_map(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *client __free(pci_dev_put) = find_function(argv[1]);
	struct holding *holding = find_holding(argv[2]);
	bool by_dma_api = !strcmp(argv[0], "dma-map");
	struct sg_table table;
	int n;

	if (!client)
		return -ENXIO;
	if (!holding || !holding->sgl)
		return -ENOENT;
	guard(mutex)(&map_lock);
	if (holding->mapped)
		return -EBUSY;
	if (by_dma_api) {
		table.sgl = holding->sgl;
		table.orig_nents = holding->nents;
		n = dma_map_sgtable(&client->dev, &table, DMA_BIDIRECTIONAL, 0);
		if (!n)
			n = table.nents;
	} else {
		n = pci_p2pdma_map_sg(&client->dev, holding->sgl,
				      holding->nents, DMA_BIDIRECTIONAL);
	}
	if (n < 0)
		return n;
	holding->mapped = get_device(&client->dev);
	holding->by_dma_api = by_dma_api;
	show_mapping(holding->sgl, n, out);
	return 0;
}

/* unmap ID */
static int cmd_unmap(int argc, char **argv, struct seq_buf *out)
{
	struct holding *holding = find_holding(argv[1]);

	if (!holding || !holding->sgl)
		return -ENOENT;
	guard(mutex)(&map_lock);
	unmap_holding(holding);
	return 0;
}

/*
 * map-host FUNCTION: ordinary memory; map-mixed FUNCTION ID: the two kinds in
 * one list, in either order. Both are to be refused.
 */
static int cmd_map_wrong(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *client __free(pci_dev_put) = find_function(argv[1]);
	struct holding *holding = NULL;
	struct scatterlist sgl[3];
	struct page *host;
	int n = 3;

	if (!client)
		return -ENXIO;
	if (argc > 2) {
		holding = find_holding(argv[2]);
		if (!holding || !holding->addr)
			return -ENOENT;
	}
	host = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!host)
		return -ENOMEM;
	sg_init_table(sgl, ARRAY_SIZE(sgl));
	sg_set_page(&sgl[0], host, PAGE_SIZE, 0);
	sg_set_page(&sgl[1], host, PAGE_SIZE, 0);
	sg_set_page(&sgl[2], host, PAGE_SIZE, 0);
	if (holding)
		sg_set_page(&sgl[argc > 3 ? 0 : 2],
			    virt_to_page(holding->addr), PAGE_SIZE, 0);
	n = pci_p2pdma_map_sg(&client->dev, sgl, n, DMA_TO_DEVICE);
	if (n >= 0) {
		show_mapping(sgl, n, out);
		pci_p2pdma_unmap_sg(&client->dev, sgl, 3, DMA_TO_DEVICE);
		n = 0;
	}
	__free_page(host);
	return n;
}

/*
 * dma-map-mixed FUNCTION ID ORDER: both kinds in one list, as the DMA API takes
 * it. ORDER has a letter for each page, as in "hph": a page of the host or the
 * next one of ID. Says where they are, and unmaps again.
 */
static int cmd_dma_map_mixed(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *client __free(pci_dev_put) = find_function(argv[1]);
	struct holding *holding = find_holding(argv[2]);
	unsigned int nents = strlen(argv[3]), hosts = 0, peers = 0, i;
	struct scatterlist sgl[8];
	struct sg_table table = { .sgl = sgl };
	struct page *host;
	int err;

	if (!client)
		return -ENXIO;
	if (!holding || !holding->addr)
		return -ENOENT;
	if (!nents || nents > ARRAY_SIZE(sgl) ||
	    nents > holding->size / PAGE_SIZE)
		return -EINVAL;
	host = alloc_pages(GFP_KERNEL | __GFP_ZERO,
			   get_order(ARRAY_SIZE(sgl) * PAGE_SIZE));
	if (!host)
		return -ENOMEM;

	sg_init_table(sgl, nents);
	for (i = 0; i < nents; i++)
		sg_set_page(&sgl[i], argv[3][i] == 'h' ? host + hosts++ :
			    virt_to_page(holding->addr + PAGE_SIZE * peers++),
			    PAGE_SIZE, 0);
	table.nents = nents;
	table.orig_nents = nents;
	err = dma_map_sgtable(&client->dev, &table, DMA_BIDIRECTIONAL, 0);
	if (!err) {
		seq_buf_printf(out, "host=%#llx ", (u64)page_to_phys(host));
		show_mapping(sgl, table.nents, out);
		dma_unmap_sgtable(&client->dev, &table, DMA_BIDIRECTIONAL, 0);
	}
	__free_pages(host, get_order(ARRAY_SIZE(sgl) * PAGE_SIZE));
	return err;
}

/* mask FUNCTION BITS: what it can address; it must have no driver */
static int cmd_mask(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);
	unsigned int bits;

	if (!pdev)
		return -ENXIO;
	if (kstrtouint(argv[2], 0, &bits) || !bits || bits > 64)
		return -EINVAL;
	if (pdev->dev.driver)
		return -EBUSY;
	return dma_set_mask(&pdev->dev, DMA_BIT_MASK(bits));
}

/*
 * untrusted FUNCTION 0|1: as if it were below an external-facing port. Firmware
 * says so, and QEMU's does not. It must have no driver.
 */
static int cmd_untrusted(int argc, char **argv, struct seq_buf *out)
{
	struct pci_dev *pdev __free(pci_dev_put) = find_function(argv[1]);
	bool value;

	if (!pdev)
		return -ENXIO;
	if (kstrtobool(argv[2], &value))
		return -EINVAL;
	if (pdev->dev.driver)
		return -EBUSY;
	pdev->untrusted = value;
	return 0;
}

/* --- all at once --- */

struct stress {
	struct pci_dev *provider;
	struct device *clients[4];
	int num_clients;
	atomic_t allocated;
	atomic_t refused;
	atomic_t found;
	atomic_t wrong;
};

/* Nobody else may write to what is ours, whatever else goes on. */
static void stress_memory(struct stress *stress, struct pci_dev *provider)
{
	size_t size = PAGE_SIZE * (1 + get_random_u32_below(32));
	u32 __iomem *first, *last;
	u32 token = get_random_u32();
	void *addr;

	addr = pci_alloc_p2pmem(provider, size);
	if (!addr) {
		atomic_inc(&stress->refused);
		usleep_range(10, 500);
		return;
	}
	first = (u32 __iomem *)addr;
	last = (u32 __iomem *)(addr + size) - 1;
	writel(token, first);
	writel(~token, last);
	usleep_range(10, 500);
	/* All ones: the function does not answer just now. */
	if ((readl(first) != token && readl(first) != ~0) ||
	    (readl(last) != ~token && readl(last) != ~0))
		atomic_inc(&stress->wrong);
	pci_free_p2pmem(provider, addr, size);
	atomic_inc(&stress->allocated);
}

static void stress_unusable(struct pci_p2pdma_client_list *list,
			    struct pci_dev *provider)
{
}

static const struct pci_p2pdma_client_ops stress_ops = {
	.name = "p2pdma_test stress",
	.unusable = stress_unusable,
};

static void stress_find(struct stress *stress)
{
	struct pci_p2pdma_client_list list;
	struct pci_dev *provider;
	int i;

	pci_p2pdma_client_list_init(&list, &stress_ops);
	for (i = 0; i < stress->num_clients; i++)
		if (pci_p2pdma_add_client(&list, stress->clients[i]))
			break;
	provider = pci_p2pmem_find(&list);
	if (provider) {
		atomic_inc(&stress->found);
		stress_memory(stress, provider);
		pci_dev_put(provider);
	} else {
		usleep_range(100, 1000);
	}
	pci_p2pdma_client_list_free(&list);
}

static int stress_memory_thread(void *data)
{
	struct stress *stress = data;

	while (!kthread_should_stop())
		stress_memory(stress, stress->provider);
	return 0;
}

static int stress_find_thread(void *data)
{
	struct stress *stress = data;

	while (!kthread_should_stop())
		stress_find(stress);
	return 0;
}

/*
 * stress FUNCTION SECONDS THREADS [CLIENT...]: allocate and free, and if there
 * are clients, every other thread looks for a provider each time
 */
static int cmd_stress(int argc, char **argv, struct seq_buf *out)
{
	struct task_struct *threads[MAX_THREADS];
	struct stress stress = {};
	unsigned int seconds, num, i, started;
	struct pci_dev *client;
	int err = 0;

	if (kstrtouint(argv[2], 0, &seconds) || kstrtouint(argv[3], 0, &num) ||
	    num > MAX_THREADS || argc - 4 > ARRAY_SIZE(stress.clients))
		return -EINVAL;
	stress.provider = find_function(argv[1]);
	if (!stress.provider)
		return -ENXIO;
	for (i = 4; i < argc; i++) {
		client = find_function(argv[i]);
		if (!client) {
			err = -ENXIO;
			goto out;
		}
		stress.clients[stress.num_clients++] = &client->dev;
	}

	for (started = 0; started < num; started++) {
		threads[started] = kthread_run(started % 2 && stress.num_clients ?
					       stress_find_thread :
					       stress_memory_thread, &stress,
					       "p2pdma_stress/%u", started);
		if (IS_ERR(threads[started])) {
			err = PTR_ERR(threads[started]);
			break;
		}
	}
	if (!err)
		msleep_interruptible(seconds * MSEC_PER_SEC);
	while (started)
		kthread_stop(threads[--started]);
	seq_buf_printf(out, "allocated=%d refused=%d found=%d wrong=%d\n",
		       atomic_read(&stress.allocated),
		       atomic_read(&stress.refused),
		       atomic_read(&stress.found), atomic_read(&stress.wrong));
out:
	while (stress.num_clients)
		put_device(stress.clients[--stress.num_clients]);
	pci_dev_put(stress.provider);
	return err;
}

/* --- the command file --- */

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv, struct seq_buf *out);
	int min;	/* words, the command's own included */
	int max;
} commands[] = {
	{ "add", cmd_add, 5, 5 },
	{ "alloc", cmd_alloc, 3, 4 },
	{ "alloc-all", cmd_alloc_all, 3, 3 },
	{ "bus", cmd_bus, 3, 4 },
	{ "bus-wrong", cmd_bus_wrong, 2, 2 },
	{ "check", cmd_check, 3, 3 },
	{ "distance", cmd_distance, 3, 4 },
	{ "dma-map", cmd_map, 3, 3 },
	{ "dma-map-mixed", cmd_dma_map_mixed, 4, 4 },
	{ "drain", cmd_state, 2, 2 },
	{ "drain-report", cmd_drain_report, 2, 2 },
	{ "fill", cmd_fill, 3, 3 },
	{ "fragment", cmd_fragment, 3, 3 },
	{ "free", cmd_free, 2, 2 },
	{ "free-again", cmd_free_again, 1, 1 },
	{ "free-all", cmd_free_all, 1, 2 },
	{ "free-heap", cmd_free_heap, 3, 3 },
	{ "free-null", cmd_free_null, 2, 2 },
	{ "free-wrong", cmd_free_wrong, 3, 5 },
	{ "generation", cmd_state, 2, 2 },
	{ "list-add", cmd_list_client, 3, 3 },
	{ "list-assign", cmd_list_client, 3, 3 },
	{ "list-explain", cmd_list_explain, 2, 2 },
	{ "list-find", cmd_list_find, 2, 2 },
	{ "list-free", cmd_list_free, 2, 2 },
	{ "list-new", cmd_list_new, 1, 2 },
	{ "list-remove", cmd_list_client, 3, 3 },
	{ "list-told", cmd_list_told, 2, 2 },
	{ "list-unbind", cmd_list_unbind, 2, 2 },
	{ "lost", cmd_state, 2, 2 },
	{ "map", cmd_map, 3, 3 },
	{ "map-host", cmd_map_wrong, 2, 2 },
	{ "map-mixed", cmd_map_wrong, 3, 4 },
	{ "mask", cmd_mask, 3, 3 },
	{ "page", cmd_page, 2, 2 },
	{ "publish", cmd_publish, 3, 3 },
	{ "quiesce", cmd_state, 2, 2 },
	{ "refs", cmd_refs, 2, 2 },
	{ "resume", cmd_state, 2, 2 },
	{ "self", cmd_publish, 3, 3 },
	{ "sgl", cmd_sgl, 3, 3 },
	{ "stress", cmd_stress, 4, 8 },
	{ "unmap", cmd_unmap, 2, 2 },
	{ "untrusted", cmd_untrusted, 3, 3 },
};

static int run_command(int argc, char **argv, struct seq_buf *out)
{
	int i;

	for (i = 0; argc && i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[0], commands[i].name))
			continue;
		if (argc < commands[i].min || argc > commands[i].max)
			break;
		return commands[i].run(argc, argv, out);
	}
	pr_err("no such command, or not with %d words\n", argc);
	return -EINVAL;
}

static ssize_t command_write(struct file *file, const char __user *buf,
			     size_t size, loff_t *pos)
{
	char *data = simple_transaction_get(file, buf, size);
	struct seq_buf out;
	char **argv;
	int argc, err;

	if (IS_ERR(data))
		return PTR_ERR(data);
	argv = argv_split(GFP_KERNEL, data, &argc);
	if (!argv)
		return -ENOMEM;
	seq_buf_init(&out, data, SIMPLE_TRANSACTION_LIMIT);
	err = run_command(argc, argv, &out);
	argv_free(argv);
	if (err)
		return err;
	simple_transaction_set(file, seq_buf_used(&out));
	return size;
}

static const struct file_operations command_fops = {
	.owner = THIS_MODULE,
	.write = command_write,
	.read = simple_transaction_read,
	.release = simple_transaction_release,
	.llseek = generic_file_llseek,
};

static int __init p2pdma_test_init(void)
{
	debugfs_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("command", 0600, debugfs_dir, NULL, &command_fops);
	return 0;
}
module_init(p2pdma_test_init);

static void __exit p2pdma_test_exit(void)
{
	struct test_list *test;
	unsigned long id;

	debugfs_remove(debugfs_dir);
	xa_for_each(&lists, id, test) {
		pci_p2pdma_client_list_free(&test->list);
		kfree(test);
	}
	xa_destroy(&lists);
	release_all(NULL);
	xa_destroy(&holdings);
	pci_dev_put(last_freed.provider);
}
module_exit(p2pdma_test_exit);

MODULE_DESCRIPTION("Test module for peer-to-peer DMA");
MODULE_LICENSE("GPL");
