// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of peer-to-peer DMA: regions, allocation, tear-down
 *
 * On simulated fabrics, see p2pdma_fabric_test.h. The comment above each case
 * names the requirements that it covers, see the README.rst of the selftests.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/kallsyms.h>
#include <linux/kthread.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include <linux/spinlock.h>
#include "p2pdma.h"
#include "p2pdma_fabric_test.h"

/* Long enough for a call that does not wait to be over */
#define A_WHILE_MS	200

static const char one_provider[] =
	"root\n"
	" ep P bar0=mem64:8M bar2=mem32:4M bar4=io:256\n"
	"rciep U 04.0 bar0=mem32:1G bar2=mem64:2M\n";

static const char two_providers[] =
	"root\n"
	" up\n"
	"  down\n"
	"   ep P bar0=mem64:8M bar2=mem64:2M\n"
	"  down\n"
	"   ep Q bar0=mem64:8M\n";

static int regions_in_machine(void)
{
	return static_key_count(&pci_p2pdma_key.key);
}

static s64 available(struct pci_dev *pdev)
{
	return fabric_sysfs_number(pdev, "available");
}

static bool has_sysfs(struct pci_dev *pdev)
{
	return fabric_sysfs_number(pdev, "size") != -ENOENT;
}

static void add_region(struct kunit *test, struct pci_dev *pdev, int bar,
		       size_t size, u64 offset)
{
	KUNIT_ASSERT_EQ(test, 0,
			pci_p2pdma_add_resource(pdev, bar, size, offset));
}

/* What a working provider with @size bytes does, and nothing is out */
static void expect_works(struct kunit *test, struct pci_dev *pdev, u64 size)
{
	void *addr;

	KUNIT_EXPECT_EQ(test, size, fabric_sysfs_number(pdev, "size"));
	KUNIT_EXPECT_EQ(test, size, available(pdev));
	addr = pci_alloc_p2pmem(pdev, PAGE_SIZE);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	KUNIT_EXPECT_TRUE(test, is_pci_p2pdma_page(virt_to_page(addr)));
	KUNIT_EXPECT_EQ(test, size - PAGE_SIZE, available(pdev));
	pci_free_p2pmem(pdev, addr, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, size, available(pdev));
}

/*
 * Registration
 */

struct bad_range {
	const char *why;
	const char *dev;
	int bar;
	size_t size;
	u64 offset;
};

static const struct bad_range bad_ranges[] = {
	{ "R1.2 BAR -1", "P", -1 },
	{ "R1.2 BAR 6, the expansion ROM", "P", PCI_ROM_RESOURCE },
	{ "R1.2 BAR 7, a bridge window", "P", 7 },
	{ "R1.2 BAR beyond all resources", "P", PCI_NUM_RESOURCES },
	{ "R1.2 largest BAR number", "P", INT_MAX },
	{ "R1.2 smallest BAR number", "P", INT_MIN },
	{ "R1.2 I/O BAR", "P", 4 },
	{ "R1.2 upper half of a 64-bit BAR", "P", 1 },
	{ "R1.2 BAR that is not there", "P", 5 },
	{ "R1.2 BAR without an address", "U", 0 },
	{ "R1.2 offset at the end", "P", 0, 0, SZ_8M },
	{ "R1.2 offset beyond the end, size 0", "P", 0, 0, SZ_16M },
	{ "R1.2 offset beyond the end", "P", 0, SZ_2M, SZ_16M },
	{ "R1.2 size beyond the BAR", "P", 0, SZ_16M, 0 },
	{ "R1.2 end beyond the BAR", "P", 0, SZ_8M, SZ_2M },
	{ "R1.2 largest size", "P", 0, SIZE_MAX, 0 },
	{ "R1.2 size that wraps into the BAR", "P", 0, -(size_t)SZ_2M, SZ_4M },
	{ "R1.2 largest offset", "P", 0, 0, U64_MAX },
	{ "R1.2 offset that wraps into the BAR", "P", 0, SZ_4M, -(u64)SZ_2M },
	{ "R1.2 largest offset and size", "P", 0, SIZE_MAX, U64_MAX },
	{ "R1.2 size that is not whole pages", "P", 0, SZ_2M + 512, 0 },
	{ "R1.2 size of one byte", "P", 0, 1, 0 },
	{ "R1.2 offset inside a page", "P", 0, SZ_2M, 512 },
	{ "R1.2 size below what memremap takes", "P", 0, SZ_4K, 0 },
	{ "R1.2 size that is no multiple of it", "P", 0, SZ_2M + SZ_4K, 0 },
	{ "R1.2 offset that is no multiple of it", "P", 0, SZ_2M, SZ_4K },
	{ "R1.2 rest of the BAR that is no multiple", "P", 0, 0, SZ_4K },
};

KUNIT_ARRAY_PARAM_DESC(bad_range, bad_ranges, why);

/* R1.2 N3: with no region, and with one that has to go on working */
static void bad_range_is_refused_without_a_trace(struct kunit *test)
{
	const struct bad_range *bad = test->param_value;
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, bad->dev);
	int regions = regions_in_machine();
	u64 mark = fabric_log_mark();

	KUNIT_EXPECT_EQ(test, -EINVAL,
			pci_p2pdma_add_resource(pdev, bad->bar, bad->size,
						bad->offset));
	KUNIT_EXPECT_EQ(test, 1, fabric_log_errors(test, mark, pdev));
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(pdev->p2pdma));
	KUNIT_EXPECT_EQ(test, regions, regions_in_machine());
	KUNIT_EXPECT_FALSE(test, has_sysfs(pdev));
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, PAGE_SIZE));

	/* A correct call works afterwards */
	add_region(test, pdev, bad->dev[0] == 'U' ? 2 : 0, SZ_2M, 0);
	expect_works(test, pdev, SZ_2M);

	/* And once more, with a region that has to go on working */
	KUNIT_EXPECT_EQ(test, -EINVAL,
			pci_p2pdma_add_resource(pdev, bad->bar, bad->size,
						bad->offset));
	KUNIT_EXPECT_EQ(test, regions + 1, regions_in_machine());
	expect_works(test, pdev, SZ_2M);
}

struct overlap {
	const char *how;
	size_t size;
	u64 offset;
};

/* With SZ_4M at SZ_2M registered, in a BAR of SZ_8M */
static const struct overlap overlaps[] = {
	{ "R1.2 N3 the same range", SZ_4M, SZ_2M },
	{ "R1.2 N3 its beginning", SZ_2M, SZ_2M },
	{ "R1.2 N3 its end", SZ_2M, SZ_4M },
	{ "R1.2 N3 from before into it", SZ_4M, 0 },
	{ "R1.2 N3 from inside to behind it", SZ_4M, SZ_4M },
	{ "R1.2 N3 all around it", SZ_8M, 0 },
	{ "R1.2 N3 the rest of the BAR", 0, SZ_4M },
	{ "R1.2 N3 the whole BAR", 0, 0 },
};

KUNIT_ARRAY_PARAM_DESC(overlap, overlaps, how);

static void overlap_is_busy_and_disturbs_nothing(struct kunit *test)
{
	const struct overlap *overlap = test->param_value;
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	int regions;

	add_region(test, pdev, 0, SZ_4M, SZ_2M);
	regions = regions_in_machine();
	KUNIT_EXPECT_EQ(test, -EBUSY,
			pci_p2pdma_add_resource(pdev, 0, overlap->size,
						overlap->offset));
	KUNIT_EXPECT_EQ(test, regions, regions_in_machine());
	expect_works(test, pdev, SZ_4M);

	/* What is beside it can still be had */
	add_region(test, pdev, 0, SZ_2M, 0);
	add_region(test, pdev, 0, 0, SZ_4M + SZ_2M);
	expect_works(test, pdev, SZ_8M);
}

struct bad_place {
	const char *why;
	int ret;
	const char *said;
};

static const struct bad_place bad_places[] = {
	{ "R1.2 no address, though the BAR is there", -EINVAL,
	  "has no address assigned" },
	{ "R1.2 system memory", -EBUSY, "overlaps system memory" },
	{ "R1.2 beyond what can have pages", -EOPNOTSUPP,
	  "is beyond what this machine can map" },
};

KUNIT_ARRAY_PARAM_DESC(bad_place, bad_places, why);

static void move_to_bad_place(struct kunit *test, const struct bad_place *bad,
			      struct resource *res)
{
	if (bad->ret == -EINVAL) {
		res->flags |= IORESOURCE_UNSET;
		return;
	}
	res->start = bad->ret == -EBUSY ?
		ALIGN_DOWN(virt_to_phys(test), SZ_2M) :
		mhp_get_pluggable_range(true).end + 1;
	res->end = res->start + SZ_2M - 1;
}

/* R1.2: no fabric has such a BAR, so only the resource says so */
static void bad_place_is_refused_without_a_trace(struct kunit *test)
{
	const struct bad_place *bad = test->param_value;
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	struct resource *res = &pdev->resource[0], saved = *res;
	int regions = regions_in_machine(), ret;
	u64 mark = fabric_log_mark();

	move_to_bad_place(test, bad, res);
	ret = pci_p2pdma_add_resource(pdev, 0, SZ_2M, 0);
	res->start = saved.start;
	res->end = saved.end;
	res->flags = saved.flags;

	KUNIT_EXPECT_EQ(test, bad->ret, ret);
	KUNIT_EXPECT_EQ(test, 1, fabric_log_errors(test, mark, pdev));
	KUNIT_EXPECT_EQ(test, 1, fabric_log_count(test, mark, "3", bad->said));
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(pdev->p2pdma));
	KUNIT_EXPECT_EQ(test, regions, regions_in_machine());
	add_region(test, pdev, 0, SZ_2M, 0);
	expect_works(test, pdev, SZ_2M);
}

/* R1.2: size 0 is the rest of the BAR */
static void size_zero_means_the_rest_of_the_bar(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");

	add_region(test, pdev, 0, 0, SZ_2M);
	expect_works(test, pdev, SZ_8M - SZ_2M);
}

/* R1.2: ranges of several BARs make one pool */
static void several_regions_make_one_pool(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	void *big, *small;

	add_region(test, pdev, 0, SZ_2M, 0);
	add_region(test, pdev, 0, SZ_4M, SZ_4M);
	add_region(test, pdev, 2, 0, 0);
	expect_works(test, pdev, SZ_2M + SZ_4M + SZ_4M);

	/* No allocation spans two regions */
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, SZ_4M + PAGE_SIZE));
	big = pci_alloc_p2pmem(pdev, SZ_4M);
	small = pci_alloc_p2pmem(pdev, SZ_4M);
	KUNIT_EXPECT_NOT_NULL(test, big);
	KUNIT_EXPECT_NOT_NULL(test, small);
	KUNIT_EXPECT_EQ(test, SZ_2M, available(pdev));
	pci_free_p2pmem(pdev, big, SZ_4M);
	pci_free_p2pmem(pdev, small, SZ_4M);
}

/* R1.2 R1.10: all pages are told from ordinary memory */
static void each_page_of_a_region_is_peer_memory(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	unsigned long pfn, peers = 0;
	phys_addr_t start;

	add_region(test, pdev, 0, 0, 0);
	start = pci_resource_start(pdev, 0);
	for (pfn = PHYS_PFN(start); pfn < PHYS_PFN(start + SZ_8M); pfn++)
		peers += is_pci_p2pdma_page(pfn_to_page(pfn));
	KUNIT_EXPECT_EQ(test, peers, PHYS_PFN(SZ_8M));
	KUNIT_EXPECT_FALSE(test, is_pci_p2pdma_page(virt_to_page(test)));
}

/* R1.10: the static key counts regions, and nothing is left of it */
static void key_is_raised_while_a_region_exists(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, two_providers);
	int regions = regions_in_machine();

	add_region(test, fabric_dev(fabric, "P"), 0, SZ_2M, 0);
	KUNIT_EXPECT_TRUE(test, pci_p2pdma_enabled());
	add_region(test, fabric_dev(fabric, "P"), 0, SZ_2M, SZ_2M);
	add_region(test, fabric_dev(fabric, "Q"), 0, 0, 0);
	KUNIT_EXPECT_EQ(test, regions + 3, regions_in_machine());

	fabric_remove(fabric, "P");
	KUNIT_EXPECT_EQ(test, regions + 1, regions_in_machine());
	KUNIT_EXPECT_TRUE(test, pci_p2pdma_enabled());
	fabric_remove(fabric, "Q");
	KUNIT_EXPECT_EQ(test, regions, regions_in_machine());
	KUNIT_EXPECT_EQ(test, regions != 0, pci_p2pdma_enabled());
}

/* R1.3: safe with no registered memory, in both directions */
static void publishing_nothing_is_harmless(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");

	pci_p2pmem_publish(pdev, true);
	pci_p2pmem_publish(pdev, false);
	KUNIT_EXPECT_FALSE(test, has_sysfs(pdev));

	/* Nor does it publish what is registered later */
	pci_p2pmem_publish(pdev, true);
	add_region(test, pdev, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, fabric_sysfs_number(pdev, "published"));
}

/* R1.4 R1.5 R1.6 R1.7: calls are harmless where there is no provider */
static void a_function_without_regions_does_nothing(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	unsigned int nents = 77;
	u64 mark = fabric_log_mark();

	pci_p2pdma_quiesce(pdev);
	pci_p2pdma_drain(pdev);
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));
	pci_p2pdma_contents_lost(pdev);
	pci_p2pdma_set_self_access(pdev, true);
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_generation(pdev));
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, PAGE_SIZE));
	KUNIT_EXPECT_NULL(test, pci_p2pmem_alloc_sgl(pdev, &nents, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pmem_virt_to_bus(pdev, test));
	pci_free_p2pmem(pdev, NULL, PAGE_SIZE);
	pci_p2pmem_free_sgl(pdev, NULL);
	KUNIT_EXPECT_EQ(test, 0, fabric_log_errors(test, mark, pdev));

	/* One line, no BUG */
	pci_free_p2pmem(pdev, test, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, 1, fabric_log_errors(test, mark, pdev));
}

/* R1.3 R5.1: three numbers, there exactly as long as the provider */
static void sysfs_shows_the_provider(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	char text[32];
	void *addr;

	KUNIT_EXPECT_FALSE(test, has_sysfs(pdev));
	add_region(test, pdev, 0, 0, 0);
	KUNIT_EXPECT_LT(test, 0, fabric_sysfs_read(pdev, "size", text,
						   sizeof(text)));
	KUNIT_EXPECT_STREQ(test, text, "8388608\n");
	add_region(test, pdev, 2, 0, 0);
	KUNIT_EXPECT_EQ(test, SZ_8M + SZ_4M, fabric_sysfs_number(pdev, "size"));

	addr = pci_alloc_p2pmem(pdev, SZ_1M);
	KUNIT_EXPECT_EQ(test, SZ_8M + SZ_4M, fabric_sysfs_number(pdev, "size"));
	KUNIT_EXPECT_EQ(test, SZ_8M + SZ_4M - SZ_1M, available(pdev));
	pci_free_p2pmem(pdev, addr, SZ_1M);

	KUNIT_EXPECT_EQ(test, 0, fabric_sysfs_number(pdev, "published"));
	pci_p2pmem_publish(pdev, true);
	KUNIT_EXPECT_EQ(test, 1, fabric_sysfs_number(pdev, "published"));
	pci_p2pdma_quiesce(pdev);
	KUNIT_EXPECT_EQ(test, 0, fabric_sysfs_number(pdev, "published"));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));
	KUNIT_EXPECT_EQ(test, 1, fabric_sysfs_number(pdev, "published"));
	pci_p2pmem_publish(pdev, false);
	KUNIT_EXPECT_EQ(test, 0, fabric_sysfs_number(pdev, "published"));
}

/*
 * Allocation
 */

/* R1.4: whole pages, at addresses that are pages */
static void allocation_takes_whole_pages(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	static const struct {
		size_t size;
		size_t taken;
	} sizes[] = {
		{ 1, PAGE_SIZE }, { PAGE_SIZE - 1, PAGE_SIZE },
		{ PAGE_SIZE, PAGE_SIZE }, { PAGE_SIZE + 1, 2 * PAGE_SIZE },
		{ SZ_1M + 1, SZ_1M + PAGE_SIZE }, { SZ_8M, SZ_8M },
	};
	unsigned int i;

	add_region(test, pdev, 0, 0, 0);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *addr = pci_alloc_p2pmem(pdev, sizes[i].size);

		KUNIT_EXPECT_NOT_NULL(test, addr);
		KUNIT_EXPECT_TRUE(test, PAGE_ALIGNED(addr));
		KUNIT_EXPECT_EQ(test, SZ_8M - sizes[i].taken, available(pdev));
		pci_free_p2pmem(pdev, addr, sizes[i].size);
		KUNIT_EXPECT_EQ(test, SZ_8M, available(pdev));
	}
}

/* R1.4: no page twice, none left over, NULL when there is no more */
static void each_page_is_handed_out_once(struct kunit *test)
{
	const unsigned int nr = SZ_2M / PAGE_SIZE;
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	unsigned long *taken;
	void **addr;
	unsigned int i;

	add_region(test, pdev, 0, SZ_2M, SZ_2M);
	addr = kunit_kcalloc(test, nr, sizeof(*addr), GFP_KERNEL);
	taken = kunit_kcalloc(test, BITS_TO_LONGS(nr), sizeof(*taken),
			      GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	KUNIT_ASSERT_NOT_NULL(test, taken);

	for (i = 0; i < nr; i++) {
		unsigned long at;

		addr[i] = pci_alloc_p2pmem(pdev, PAGE_SIZE);
		KUNIT_ASSERT_NOT_NULL(test, addr[i]);
		at = (virt_to_phys(addr[i]) - pci_resource_start(pdev, 0) -
		      SZ_2M) / PAGE_SIZE;
		KUNIT_ASSERT_LT(test, at, nr);
		KUNIT_ASSERT_FALSE(test, __test_and_set_bit(at, taken));
	}
	KUNIT_EXPECT_EQ(test, 0, available(pdev));
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, 1));

	pci_free_p2pmem(pdev, addr[nr / 2], PAGE_SIZE);
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, PAGE_SIZE + 1));
	KUNIT_EXPECT_PTR_EQ(test, addr[nr / 2], pci_alloc_p2pmem(pdev, 1));
	for (i = 0; i < nr; i++)
		pci_free_p2pmem(pdev, addr[i], PAGE_SIZE);
	expect_works(test, pdev, SZ_2M);
}

/* R1.4 */
static void sizes_that_cannot_be_had_give_null(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");

	add_region(test, pdev, 0, 0, 0);
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, 0));
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, SZ_8M + 1));
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, SIZE_MAX));
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, SIZE_MAX - PAGE_SIZE));
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, SIZE_MAX / 2));
	expect_works(test, pdev, SZ_8M);
}

enum victim { HELD, FREED, NEVER, OTHERS, KMALLOC, STACK };

struct bad_free {
	const char *what;
	enum victim victim;
	ssize_t shift;
	size_t size;
};

#define HELD_SIZE	(4 * PAGE_SIZE)

static const struct bad_free bad_frees[] = {
	{ "R1.4 twice", FREED, 0, HELD_SIZE },
	{ "R1.4 never allocated", NEVER, 0, PAGE_SIZE },
	{ "R1.4 never allocated, size 0", NEVER, 0, 0 },
	{ "R1.4 never allocated, size that wraps", NEVER, 0, SIZE_MAX },
	{ "R1.4 another provider's", OTHERS, 0, HELD_SIZE },
	{ "R1.4 kernel memory", KMALLOC, 0, PAGE_SIZE },
	{ "R1.4 on the stack", STACK, 0, PAGE_SIZE },
	{ "R1.4 less than allocated", HELD, 0, PAGE_SIZE },
	{ "R1.4 more than allocated", HELD, 0, HELD_SIZE + 1 },
	{ "R1.4 all there is", HELD, 0, SZ_8M },
	{ "R1.4 size 0", HELD, 0, 0 },
	{ "R1.4 largest size", HELD, 0, SIZE_MAX },
	{ "R1.4 from inside", HELD, PAGE_SIZE, HELD_SIZE - PAGE_SIZE },
	{ "R1.4 from inside, full size", HELD, PAGE_SIZE, HELD_SIZE },
	{ "R1.4 from inside a page", HELD, 64, HELD_SIZE - 64 },
	{ "R1.4 from before", HELD, -(ssize_t)PAGE_SIZE, HELD_SIZE },
	{ "R1.4 beyond the region", HELD, SZ_8M, PAGE_SIZE },
};

KUNIT_ARRAY_PARAM_DESC(bad_free, bad_frees, what);

static void bad_free_is_one_error_line_and_no_change(struct kunit *test)
{
	const struct bad_free *bad = test->param_value;
	struct fabric *fabric = fabric_create(test, two_providers);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	struct pci_dev *other = fabric_dev(fabric, "Q");
	void *first, *held, *foreign, *never, *victim;
	u64 mark;

	add_region(test, pdev, 0, 0, 0);
	add_region(test, other, 0, 0, 0);
	first = pci_alloc_p2pmem(pdev, PAGE_SIZE);
	held = pci_alloc_p2pmem(pdev, HELD_SIZE);
	foreign = pci_alloc_p2pmem(other, HELD_SIZE);
	KUNIT_ASSERT_NOT_NULL(test, first);
	KUNIT_ASSERT_NOT_NULL(test, held);
	KUNIT_ASSERT_NOT_NULL(test, foreign);
	/* Taken and given back in any case, so surely memory of P */
	never = pci_alloc_p2pmem(pdev, HELD_SIZE);
	KUNIT_ASSERT_NOT_NULL(test, never);
	pci_free_p2pmem(pdev, never, HELD_SIZE);
	if (bad->victim == NEVER)
		never += SZ_1M;

	switch (bad->victim) {
	case HELD:
		victim = held;
		break;
	case OTHERS:
		victim = foreign;
		break;
	case KMALLOC:
		victim = test;
		break;
	case STACK:
		victim = &victim;
		break;
	default:
		victim = never;
	}

	mark = fabric_log_mark();
	pci_free_p2pmem(pdev, victim + bad->shift, bad->size);
	KUNIT_EXPECT_EQ(test, 1, fabric_log_errors(test, mark, pdev));
	KUNIT_EXPECT_EQ(test, SZ_8M - HELD_SIZE - PAGE_SIZE, available(pdev));
	KUNIT_EXPECT_EQ(test, SZ_8M - HELD_SIZE, available(other));

	/* All that is held can be given back, and that ends a drain */
	mark = fabric_log_mark();
	pci_free_p2pmem(pdev, held, HELD_SIZE);
	pci_free_p2pmem(pdev, first, PAGE_SIZE);
	pci_free_p2pmem(other, foreign, HELD_SIZE);
	KUNIT_EXPECT_EQ(test, 0, fabric_log_errors(test, mark, pdev));
	KUNIT_EXPECT_EQ(test, SZ_8M, available(pdev));
	KUNIT_EXPECT_EQ(test, SZ_8M, available(other));
	pci_p2pdma_drain(pdev);
	pci_p2pdma_drain(other);
}

struct irq_alloc {
	struct irq_work work;
	struct pci_dev *pdev;
	void *addr;
	void *kept;
	bool hard;
};

static void alloc_in_irq(struct irq_work *work)
{
	struct irq_alloc *irq = container_of(work, struct irq_alloc, work);

	irq->hard = in_hardirq();
	irq->addr = pci_alloc_p2pmem(irq->pdev, PAGE_SIZE);
	pci_free_p2pmem(irq->pdev, irq->addr, PAGE_SIZE);
	irq->kept = pci_alloc_p2pmem(irq->pdev, SZ_64K);
}

/* R1.4: in a hard interrupt */
static void allocation_works_in_interrupts(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct irq_alloc irq = { .pdev = fabric_dev(fabric, "P") };

	add_region(test, irq.pdev, 0, 0, 0);
	irq.work = IRQ_WORK_INIT_HARD(alloc_in_irq);
	KUNIT_ASSERT_TRUE(test, irq_work_queue(&irq.work));
	irq_work_sync(&irq.work);
	KUNIT_EXPECT_TRUE(test, irq.hard);
	KUNIT_EXPECT_NOT_NULL(test, irq.addr);
	KUNIT_EXPECT_NOT_NULL(test, irq.kept);
	KUNIT_EXPECT_EQ(test, SZ_8M - SZ_64K, available(irq.pdev));
	pci_free_p2pmem(irq.pdev, irq.kept, SZ_64K);
}

/* R1.4 R1.5: where PREEMPT_RT does not allow sleeping either */
static void allocation_works_under_a_raw_spinlock(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	static DEFINE_RAW_SPINLOCK(lock);
	pci_bus_addr_t bus;
	unsigned long flags;
	void *addr;

	add_region(test, pdev, 0, 0, 0);
	raw_spin_lock_irqsave(&lock, flags);
	addr = pci_alloc_p2pmem(pdev, SZ_64K);
	bus = pci_p2pmem_virt_to_bus(pdev, addr);
	pci_free_p2pmem(pdev, addr, SZ_64K);
	raw_spin_unlock_irqrestore(&lock, flags);
	KUNIT_EXPECT_NOT_NULL(test, addr);
	KUNIT_EXPECT_NE(test, 0, bus);
	expect_works(test, pdev, SZ_8M);
}

/*
 * Bus addresses
 */

struct translation {
	const char *what;
	s64 offset;
};

static const struct translation translations[] = {
	{ "R1.5 no translation", 0 },
	{ "R1.5 N8 bus addresses below CPU addresses", 0x80000000 },
	{ "R1.5 N8 bus addresses above CPU addresses", -0x1000000000LL },
};

KUNIT_ARRAY_PARAM_DESC(translation, translations, what);

static void bus_address_is_what_the_bar_decodes(struct kunit *test)
{
	const struct translation *t = test->param_value;
	struct fabric *fabric = fabric_create_offset(test, two_providers,
						     t->offset);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	void *addr, *foreign;
	u32 low, high;
	u64 bar, at;

	add_region(test, pdev, 0, SZ_4M, SZ_2M);
	add_region(test, fabric_dev(fabric, "Q"), 0, 0, 0);

	/* Straight from the register, so no arithmetic is trusted */
	pci_read_config_dword(pdev, PCI_BASE_ADDRESS_0, &low);
	pci_read_config_dword(pdev, PCI_BASE_ADDRESS_1, &high);
	bar = (u64)high << 32 | (low & PCI_BASE_ADDRESS_MEM_MASK);
	KUNIT_ASSERT_EQ(test, bar, pci_resource_start(pdev, 0) - t->offset);

	addr = pci_alloc_p2pmem(pdev, SZ_4M);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	for (at = 0; at < SZ_4M; at += SZ_1M + 4) {
		KUNIT_EXPECT_EQ(test, bar + SZ_2M + at,
				pci_p2pmem_virt_to_bus(pdev, addr + at));
	}
	KUNIT_EXPECT_EQ(test, bar + SZ_2M + SZ_4M - 1,
			pci_p2pmem_virt_to_bus(pdev, addr + SZ_4M - 1));

	/* What is not its memory has no address */
	foreign = pci_alloc_p2pmem(fabric_dev(fabric, "Q"), PAGE_SIZE);
	KUNIT_ASSERT_NOT_NULL(test, foreign);
	KUNIT_EXPECT_EQ(test, 0, pci_p2pmem_virt_to_bus(pdev, NULL));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pmem_virt_to_bus(pdev, foreign));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pmem_virt_to_bus(pdev, test));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pmem_virt_to_bus(pdev, addr - 1));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pmem_virt_to_bus(pdev, addr + SZ_4M));
	pci_free_p2pmem(pdev, addr, SZ_4M);
	pci_free_p2pmem(fabric_dev(fabric, "Q"), foreign, PAGE_SIZE);
}

/*
 * Scatterlists
 */

/* A list of @length bytes: entries of at most 64 KiB, no byte twice */
static void expect_list(struct kunit *test, struct scatterlist *sgl,
			unsigned int nents, u32 length)
{
	struct scatterlist *sg;
	unsigned int i;
	u64 sum = 0;

	KUNIT_ASSERT_NOT_NULL(test, sgl);
	KUNIT_EXPECT_EQ(test, nents, sg_nents(sgl));
	for_each_sg(sgl, sg, nents, i) {
		KUNIT_EXPECT_TRUE(test, is_pci_p2pdma_page(sg_page(sg)));
		KUNIT_EXPECT_EQ(test, 0, sg->offset);
		KUNIT_EXPECT_GT(test, sg->length, 0);
		KUNIT_EXPECT_LE(test, sg->length, SZ_64K);
		if (i + 1 < nents)
			KUNIT_EXPECT_TRUE(test, PAGE_ALIGNED(sg->length));
		sum += sg->length;
	}
	KUNIT_EXPECT_EQ(test, length, sum);
}

struct list_length {
	const char *what;
	u32 length;
	unsigned int nents;
};

static const struct list_length list_lengths[] = {
	{ "R1.6 one byte", 1, 1 },
	{ "R1.6 a page", SZ_4K, 1 },
	{ "R1.6 a page and a byte", SZ_4K + 1, 1 },
	{ "R1.6 64 KiB", SZ_64K, 1 },
	{ "R1.6 64 KiB and a byte", SZ_64K + 1, 2 },
	{ "R1.6 a short last entry", 3 * SZ_64K + 512, 4 },
	{ "R1.6 a mebibyte", SZ_1M, 16 },
	{ "R1.6 all there is", SZ_8M, 128 },
	{ "R1.6 all there is but a byte", SZ_8M - 1, 128 },
};

KUNIT_ARRAY_PARAM_DESC(list_length, list_lengths, what);

static void scatterlist_has_the_length_asked_for(struct kunit *test)
{
	const struct list_length *l = test->param_value;
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	struct scatterlist *sgl;
	unsigned int nents = 0;

	add_region(test, pdev, 0, 0, 0);
	sgl = pci_p2pmem_alloc_sgl(pdev, &nents, l->length);
	expect_list(test, sgl, nents, l->length);
	KUNIT_EXPECT_EQ(test, l->nents, nents);
	KUNIT_EXPECT_EQ(test, SZ_8M - PAGE_ALIGN(l->length), available(pdev));
	pci_p2pmem_free_sgl(pdev, sgl);
	expect_works(test, pdev, SZ_8M);
}

/* R1.6: every second page is held, so no two entries are neighbours */
static void fragmented_pool_gives_many_entries(struct kunit *test)
{
	const unsigned int nr = SZ_2M / PAGE_SIZE;
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	struct scatterlist *sgl;
	unsigned int nents, i;
	void **addr;

	add_region(test, pdev, 0, SZ_2M, 0);
	addr = kunit_kcalloc(test, nr, sizeof(*addr), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	for (i = 0; i < nr; i++) {
		addr[i] = pci_alloc_p2pmem(pdev, PAGE_SIZE);
		KUNIT_ASSERT_NOT_NULL(test, addr[i]);
	}
	/* The pool gives pages in some order; go by address */
	for (i = 0; i < nr; i++)
		if (!(PHYS_PFN(virt_to_phys(addr[i])) & 1)) {
			pci_free_p2pmem(pdev, addr[i], PAGE_SIZE);
			addr[i] = NULL;
		}
	KUNIT_ASSERT_EQ(test, SZ_1M, available(pdev));

	sgl = pci_p2pmem_alloc_sgl(pdev, &nents, 5 * PAGE_SIZE - 100);
	expect_list(test, sgl, nents, 5 * PAGE_SIZE - 100);
	KUNIT_EXPECT_EQ(test, 5, nents);
	pci_p2pmem_free_sgl(pdev, sgl);
	KUNIT_EXPECT_EQ(test, SZ_1M, available(pdev));

	sgl = pci_p2pmem_alloc_sgl(pdev, &nents, SZ_1M);
	expect_list(test, sgl, nents, SZ_1M);
	KUNIT_EXPECT_EQ(test, nr / 2, nents);
	KUNIT_EXPECT_EQ(test, 0, available(pdev));
	pci_p2pmem_free_sgl(pdev, sgl);

	/* One byte more than there is: nothing is kept */
	KUNIT_EXPECT_NULL(test, pci_p2pmem_alloc_sgl(pdev, &nents, SZ_1M + 1));
	KUNIT_EXPECT_EQ(test, SZ_1M, available(pdev));
	for (i = 0; i < nr; i++)
		pci_free_p2pmem(pdev, addr[i], PAGE_SIZE);
	expect_works(test, pdev, SZ_2M);
}

/* R1.6 R1.7: length 0, more than there is, and from a quiesced provider */
static void scatterlist_that_cannot_be_had_is_null(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	unsigned int nents;

	add_region(test, pdev, 0, 0, 0);
	KUNIT_EXPECT_NULL(test, pci_p2pmem_alloc_sgl(pdev, &nents, 0));
	KUNIT_EXPECT_NULL(test, pci_p2pmem_alloc_sgl(pdev, &nents, SZ_8M + 1));
	KUNIT_EXPECT_NULL(test, pci_p2pmem_alloc_sgl(pdev, &nents, U32_MAX));
	expect_works(test, pdev, SZ_8M);

	pci_p2pdma_quiesce(pdev);
	KUNIT_EXPECT_NULL(test, pci_p2pmem_alloc_sgl(pdev, &nents, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));
	expect_works(test, pdev, SZ_8M);
}

/* R1.6: another provider's list, one with foreign pages, one freed in part */
static void foreign_scatterlist_is_refused(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, two_providers);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	struct pci_dev *other = fabric_dev(fabric, "Q");
	struct scatterlist *sgl, saved;
	struct page *ordinary = alloc_page(GFP_KERNEL);
	unsigned int nents, i;
	u64 mark = fabric_log_mark();

	KUNIT_ASSERT_NOT_NULL(test, ordinary);
	add_region(test, pdev, 0, 0, 0);
	add_region(test, other, 0, 0, 0);
	sgl = pci_p2pmem_alloc_sgl(pdev, &nents, 3 * SZ_64K);
	KUNIT_ASSERT_NOT_NULL(test, sgl);

	pci_p2pmem_free_sgl(other, sgl);
	KUNIT_EXPECT_EQ(test, 1, fabric_log_errors(test, mark, other));
	KUNIT_EXPECT_EQ(test, SZ_8M - 3 * SZ_64K, available(pdev));
	KUNIT_EXPECT_EQ(test, SZ_8M, available(other));

	for (i = 0; i < 3; i++) {
		mark = fabric_log_mark();
		saved = sgl[i];
		sg_set_page(&sgl[i], ordinary, SZ_64K, 0);
		pci_p2pmem_free_sgl(pdev, sgl);
		/* If it was taken, it is gone: do not touch it any more */
		KUNIT_ASSERT_EQ(test, 1, fabric_log_errors(test, mark, pdev));
		KUNIT_ASSERT_EQ(test, SZ_8M - 3 * SZ_64K, available(pdev));
		sgl[i] = saved;
	}
	__free_page(ordinary);

	mark = fabric_log_mark();
	pci_p2pmem_free_sgl(pdev, sgl);
	KUNIT_EXPECT_EQ(test, 0, fabric_log_errors(test, mark, pdev));
	expect_works(test, pdev, SZ_8M);
}

/*
 * Quiesce, drain, resume, removal
 */

/* R1.7: a reset quiesces and resumes while memory is out */
static void quiesced_provider_hands_out_nothing(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	void *addr;

	add_region(test, pdev, 0, 0, 0);
	addr = pci_alloc_p2pmem(pdev, SZ_1M);
	KUNIT_ASSERT_NOT_NULL(test, addr);
	pci_p2pdma_quiesce(pdev);
	pci_p2pdma_quiesce(pdev);
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, PAGE_SIZE));
	KUNIT_EXPECT_NE(test, 0, pci_p2pmem_virt_to_bus(pdev, addr));

	/* What is out comes back while it is quiesced, and after */
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));
	KUNIT_EXPECT_EQ(test, SZ_8M - SZ_1M, available(pdev));
	pci_p2pdma_quiesce(pdev);
	pci_free_p2pmem(pdev, addr, SZ_1M);
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));
	expect_works(test, pdev, SZ_8M);
}

/* A call that may wait, in a thread of its own */
struct waiter {
	struct task_struct *task;
	struct completion done;
	void (*call)(struct pci_dev *pdev);
	struct pci_dev *pdev;
};

static int waiter_thread(void *data)
{
	struct waiter *waiter = data;

	waiter->call(waiter->pdev);
	complete(&waiter->done);
	return 0;
}

static struct waiter *waiter_start(struct kunit *test, struct pci_dev *pdev,
				   void (*call)(struct pci_dev *pdev))
{
	struct waiter *waiter = kunit_kzalloc(test, sizeof(*waiter),
					      GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, waiter);
	waiter->call = call;
	waiter->pdev = pdev;
	init_completion(&waiter->done);
	waiter->task = kthread_create(waiter_thread, waiter, "p2pdma_waiter");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, waiter->task);
	get_task_struct(waiter->task);
	wake_up_process(waiter->task);
	return waiter;
}

static bool still_waits(struct waiter *waiter)
{
	return !wait_for_completion_timeout(&waiter->done,
					    msecs_to_jiffies(A_WHILE_MS));
}

/* The limit is for what would never end; a slow machine takes its time */
static bool ends(struct waiter *waiter)
{
	bool over = wait_for_completion_timeout(&waiter->done, 60 * HZ);

	if (over)
		kthread_stop_put(waiter->task);
	return over;
}

static void call_remove(struct pci_dev *pdev)
{
	pci_stop_and_remove_bus_device_locked(pdev);
}

/* R1.7 */
static void drain_waits_for_what_is_out(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	struct waiter *waiter;
	void *a, *b;

	add_region(test, pdev, 0, SZ_2M, 0);
	add_region(test, pdev, 2, SZ_2M, 0);
	a = pci_alloc_p2pmem(pdev, SZ_2M);
	b = pci_alloc_p2pmem(pdev, SZ_2M);
	KUNIT_ASSERT_NOT_NULL(test, a);
	KUNIT_ASSERT_NOT_NULL(test, b);

	waiter = waiter_start(test, pdev, pci_p2pdma_drain);
	KUNIT_EXPECT_TRUE(test, still_waits(waiter));
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, PAGE_SIZE));
	pci_free_p2pmem(pdev, b, SZ_2M);
	KUNIT_EXPECT_TRUE(test, still_waits(waiter));
	KUNIT_EXPECT_TRUE(test, is_pci_p2pdma_page(virt_to_page(a)));
	pci_free_p2pmem(pdev, a, SZ_2M);
	KUNIT_EXPECT_TRUE(test, ends(waiter));

	/* Drained stays drained; nothing is handed out until it is resumed */
	pci_p2pdma_drain(pdev);
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));
	expect_works(test, pdev, SZ_4M);
}

/* R1.7: and so several times over, as suspend and resume do it */
static void drain_and_resume_repeat(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	int i;

	add_region(test, pdev, 0, 0, 0);
	for (i = 0; i < 3; i++) {
		pci_p2pdma_quiesce(pdev);
		pci_p2pdma_drain(pdev);
		KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));
		KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));
		expect_works(test, pdev, SZ_8M);
	}
}

/* R1.2 R1.7: a region that is added meanwhile is served after the resume */
static void region_added_while_drained_works_later(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	u64 mark;

	/* Quiesced, it takes a region, and hands nothing out */
	add_region(test, pdev, 0, SZ_2M, 0);
	pci_p2pdma_quiesce(pdev);
	add_region(test, pdev, 0, SZ_2M, SZ_2M);
	KUNIT_EXPECT_EQ(test, SZ_4M, fabric_sysfs_number(pdev, "size"));
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));
	expect_works(test, pdev, SZ_4M);

	/* Drained, it takes none, says so, and is none the worse for it */
	pci_p2pdma_drain(pdev);
	mark = fabric_log_mark();
	KUNIT_EXPECT_EQ(test, -EBUSY, pci_p2pdma_add_resource(pdev, 2, SZ_2M, 0));
	KUNIT_EXPECT_EQ(test, 1, fabric_log_errors(test, mark, pdev));
	KUNIT_EXPECT_EQ(test, 1,
			fabric_log_count(test, mark, "3", "drained, no region"));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));
	expect_works(test, pdev, SZ_4M);
	add_region(test, pdev, 2, SZ_2M, 0);
	expect_works(test, pdev, SZ_4M + SZ_2M);
}

/* R1.7 R1.11 N1 N2: removal waits for held memory, which keeps its pages */
static void removal_waits_for_held_memory(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P"), *provider;
	int regions = regions_in_machine();
	struct waiter *waiter;
	struct page *page;
	void *addr;
	int i;

	add_region(test, pdev, 0, 0, 0);
	addr = pci_alloc_p2pmem(pdev, SZ_1M);
	KUNIT_ASSERT_NOT_NULL(test, addr);

	waiter = waiter_start(test, pdev, call_remove);
	KUNIT_EXPECT_TRUE(test, still_waits(waiter));
	for (i = 0; i < SZ_1M; i += PAGE_SIZE) {
		page = virt_to_page(addr + i);
		KUNIT_EXPECT_TRUE(test, is_pci_p2pdma_page(page));
	}
	provider = pci_p2pdma_page_provider(virt_to_page(addr));
	KUNIT_EXPECT_PTR_EQ(test, pdev, provider);
	pci_dev_put(provider);
	KUNIT_EXPECT_NE(test, 0, pci_p2pmem_virt_to_bus(pdev, addr));
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, -EBUSY, pci_p2pdma_add_resource(pdev, 2, 0, 0));
	KUNIT_EXPECT_FALSE(test, has_sysfs(pdev));

	pci_free_p2pmem(pdev, addr, SZ_1M);
	KUNIT_EXPECT_TRUE(test, ends(waiter));
	KUNIT_EXPECT_EQ(test, regions, regions_in_machine());
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(pdev->p2pdma));
	KUNIT_EXPECT_NULL(test, pci_alloc_p2pmem(pdev, PAGE_SIZE));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_generation(pdev));
}

/* R1.2 N1: after a failure at any place, removal is as quick as without */
static void removal_after_failed_registration_is_quick(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	int regions = regions_in_machine();
	struct waiter *waiter;

	KUNIT_EXPECT_EQ(test, -EINVAL, pci_p2pdma_add_resource(pdev, 4, 0, 0));
	add_region(test, pdev, 0, SZ_2M, 0);
	KUNIT_EXPECT_EQ(test, -EBUSY, pci_p2pdma_add_resource(pdev, 0, 0, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			pci_p2pdma_add_resource(pdev, 2, SZ_8M, 0));
	waiter = waiter_start(test, pdev, call_remove);
	KUNIT_EXPECT_TRUE(test, ends(waiter));
	KUNIT_EXPECT_EQ(test, regions, regions_in_machine());
}

/* An orchestrator that holds a buffer while it is idle */
struct idle_user {
	struct pci_p2pdma_client_list list;
	struct pci_dev *provider;
	void *buffer;
	bool unbinds;
	int told;
	bool was_live;
	bool was_out;
	bool was_locked;
};

static void idle_user_unusable(struct pci_p2pdma_client_list *list,
			       struct pci_dev *provider)
{
	struct idle_user *user = container_of(list, struct idle_user, list);
	void *more;

	user->told++;
	user->provider = provider;
	user->was_locked = mutex_is_locked(&p2pdma_register_lock) ||
			   mutex_is_locked(&p2pdma_bind_lock);
	msleep(20);	/* process context, says CONFIG_DEBUG_ATOMIC_SLEEP */
	more = pci_alloc_p2pmem(provider, PAGE_SIZE);
	user->was_live = more;
	pci_free_p2pmem(provider, more, PAGE_SIZE);
	if (user->buffer) {
		/* Before draining: the pages are there */
		user->was_out = is_pci_p2pdma_page(virt_to_page(user->buffer));
		pci_free_p2pmem(provider, user->buffer, SZ_64K);
		user->buffer = NULL;
	}
	if (user->unbinds)
		pci_p2pdma_unbind(list);
}

static const struct pci_p2pdma_client_ops idle_user_ops = {
	.name = "idle user",
	.unusable = idle_user_unusable,
};

static struct idle_user *idle_user_new(struct kunit *test,
				       struct pci_dev *client,
				       struct pci_dev *provider)
{
	struct idle_user *user = kunit_kzalloc(test, sizeof(*user), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, user);
	pci_p2pdma_client_list_init(&user->list, &idle_user_ops);
	KUNIT_ASSERT_EQ(test, 0,
			pci_p2pdma_add_client(&user->list, &client->dev));
	KUNIT_ASSERT_EQ(test, 0,
			pci_p2pdma_assign_provider(&user->list, provider));
	user->buffer = pci_alloc_p2pmem(provider, SZ_64K);
	KUNIT_ASSERT_NOT_NULL(test, user->buffer);
	return user;
}

/* R1.7 R2.9 N1: told before draining, gives back, removal does not wait */
static void idle_orchestrators_do_not_delay_removal(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, two_providers);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	struct pci_dev *client = fabric_dev(fabric, "Q");
	struct idle_user *users[3];
	struct waiter *waiter;
	unsigned int i;

	add_region(test, pdev, 0, 0, 0);
	pci_p2pmem_publish(pdev, true);
	for (i = 0; i < ARRAY_SIZE(users); i++)
		users[i] = idle_user_new(test, client, pdev);
	/* What the callback may do */
	users[1]->unbinds = true;

	waiter = waiter_start(test, pdev, call_remove);
	KUNIT_EXPECT_TRUE(test, ends(waiter));
	for (i = 0; i < ARRAY_SIZE(users); i++) {
		KUNIT_EXPECT_EQ(test, 1, users[i]->told);
		KUNIT_EXPECT_PTR_EQ(test, pdev, users[i]->provider);
		KUNIT_EXPECT_FALSE(test, users[i]->was_live);
		KUNIT_EXPECT_FALSE(test, users[i]->was_locked);
		KUNIT_EXPECT_TRUE(test, users[i]->was_out);
		KUNIT_EXPECT_NULL(test, pci_p2pmem_find(&users[i]->list));
		pci_p2pdma_client_list_free(&users[i]->list);
	}
}

/* R1.3 R2.9: once for each binding, however many steps tear-down has */
static void each_binding_is_told_once(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, two_providers);
	struct pci_dev *pdev = fabric_dev(fabric, "P"), *found;
	struct pci_dev *client = fabric_dev(fabric, "Q");
	struct idle_user *user;

	add_region(test, pdev, 0, 0, 0);
	pci_p2pmem_publish(pdev, true);
	user = idle_user_new(test, client, pdev);

	/* Withdrawing does not disturb who uses it already */
	pci_p2pmem_publish(pdev, false);
	KUNIT_EXPECT_EQ(test, 0, user->told);
	pci_p2pmem_publish(pdev, true);

	pci_p2pdma_quiesce(pdev);
	KUNIT_EXPECT_EQ(test, 1, user->told);
	KUNIT_EXPECT_NULL(test, pci_p2pmem_find(&user->list));
	pci_p2pdma_quiesce(pdev);
	pci_p2pdma_drain(pdev);
	KUNIT_EXPECT_EQ(test, 1, user->told);

	/* After a reset the binding is as good as new */
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));
	found = pci_p2pmem_find(&user->list);
	KUNIT_EXPECT_PTR_EQ(test, pdev, found);
	pci_dev_put(found);
	pci_p2pdma_quiesce(pdev);
	KUNIT_EXPECT_EQ(test, 2, user->told);
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));

	/* Nobody who is not bound is told */
	pci_p2pdma_unbind(&user->list);
	pci_p2pdma_quiesce(pdev);
	KUNIT_EXPECT_EQ(test, 2, user->told);
	pci_p2pdma_client_list_free(&user->list);
}

/* R1.7: the generation changes when contents may be lost, and only then */
static void generation_changes_with_every_loss(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	u32 before, after;
	int i;

	add_region(test, pdev, 0, SZ_2M, 0);
	before = pci_p2pdma_generation(pdev);
	KUNIT_EXPECT_NE(test, 0, before);
	KUNIT_EXPECT_EQ(test, before, pci_p2pdma_generation(pdev));
	add_region(test, pdev, 2, 0, 0);
	pci_p2pmem_publish(pdev, true);
	KUNIT_EXPECT_EQ(test, before, pci_p2pdma_generation(pdev));

	for (i = 0; i < 3; i++) {
		pci_p2pdma_contents_lost(pdev);
		after = pci_p2pdma_generation(pdev);
		KUNIT_EXPECT_NE(test, 0, after);
		KUNIT_EXPECT_NE(test, before, after);
		before = after;
	}
}

/* R1.7: a drive that was pulled takes its contents along */
static void generation_changes_with_surprise_removal(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	u32 before;

	add_region(test, pdev, 0, 0, 0);
	before = pci_p2pdma_generation(pdev);
	KUNIT_EXPECT_NE(test, 0, before);
	fabric_pull(fabric, "P");
	KUNIT_EXPECT_NE(test, before, pci_p2pdma_generation(pdev));
}

/* One that does nothing when it is told */
static void deaf_unusable(struct pci_p2pdma_client_list *list,
			  struct pci_dev *provider)
{
}

static const struct pci_p2pdma_client_ops deaf_ops = {
	.name = "deaf user",
	.unusable = deaf_unusable,
};

/* However long a slow machine takes for @nr of them, within reason */
static bool are_logged(struct kunit *test, u64 mark, unsigned int nr,
		       const char *text)
{
	unsigned int i;

	for (i = 0; i < 600; i++) {
		if (fabric_log_count(test, mark, "4", text) >= nr)
			return true;
		msleep(100);
	}
	return false;
}

/* For the selftests' module, too; returns what it was. */
unsigned int p2pdma_set_drain_report(unsigned int seconds)
{
	unsigned int before = p2pdma_drain_report_seconds;

	WRITE_ONCE(p2pdma_drain_report_seconds, seconds);
	return before;
}
EXPORT_SYMBOL_NS_GPL(p2pdma_set_drain_report, EXPORTED_FOR_KUNIT_TESTING);

static void restore_drain_report(void *seconds)
{
	p2pdma_set_drain_report((unsigned long)seconds);
}

/* In tests a second stands for the ten of R1.7 */
static void shorten_drain_report(struct kunit *test)
{
	unsigned long seconds = p2pdma_set_drain_report(1);

	KUNIT_EXPECT_EQ(test, 10, seconds);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action(test, restore_drain_report,
					 (void *)seconds));
}

/* R1.7: the log says how much of what is out, and who has it */
static void long_drain_says_what_it_waits_for(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, two_providers);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	struct pci_p2pdma_client_list list;
	u64 mark = fabric_log_mark();
	struct waiter *waiter;
	unsigned int bar0, bar2, lines;
	void *addr, *other;
	unsigned long start;

	/* The 2 MiB are the first that fit, as long as they are alone */
	add_region(test, pdev, 2, 0, 0);
	other = pci_alloc_p2pmem(pdev, SZ_2M);
	KUNIT_ASSERT_NOT_NULL(test, other);
	add_region(test, pdev, 0, 0, 0);
	pci_p2pmem_publish(pdev, true);
	pci_p2pdma_client_list_init(&list, &deaf_ops);
	KUNIT_ASSERT_EQ(test, 0,
			pci_p2pdma_add_client(&list,
					      &fabric_dev(fabric, "Q")->dev));
	KUNIT_ASSERT_EQ(test, 0, pci_p2pdma_assign_provider(&list, pdev));
	addr = pci_alloc_p2pmem(pdev, 3 * SZ_64K);
	KUNIT_ASSERT_NOT_NULL(test, addr);

	shorten_drain_report(test);
	start = jiffies;
	waiter = waiter_start(test, pdev, pci_p2pdma_drain);
	/* Again and again, for each BAR that is out */
	KUNIT_EXPECT_TRUE(test, are_logged(test, mark, 2, "192 KiB of BAR 0 since"));
	KUNIT_EXPECT_TRUE(test, are_logged(test, mark, 2, "2048 KiB of BAR 2 since"));
	KUNIT_EXPECT_TRUE(test, time_after_eq(jiffies, start + 2 * HZ));

	/* Time goes on when one of them comes back */
	pci_free_p2pmem(pdev, other, SZ_2M);
	bar2 = fabric_log_count(test, mark, "4", "of BAR 2 since");
	bar0 = fabric_log_count(test, mark, "4", "of BAR 0 since");
	KUNIT_EXPECT_TRUE(test, are_logged(test, mark, bar0 + 2, "of BAR 0 since"));
	pci_free_p2pmem(pdev, addr, 3 * SZ_64K);
	KUNIT_EXPECT_TRUE(test, ends(waiter));
	pci_p2pdma_client_list_free(&list);

	/* At most the report that was being made had the other one once more */
	KUNIT_EXPECT_GE(test, bar2 + 1,
			fabric_log_count(test, mark, "4", "of BAR 2 since"));

	/* No line more than these, and each has all that is to be said */
	bar2 = fabric_log_count(test, mark, "4", "2048 KiB of BAR 2 since");
	bar0 = fabric_log_count(test, mark, "4", "192 KiB of BAR 0 since");
	lines = fabric_log_count(test, mark, "4", pci_name(pdev));
	KUNIT_EXPECT_EQ(test, lines, bar0 + bar2);
	KUNIT_EXPECT_EQ(test, lines, fabric_log_count(test, mark, "4", __func__));
	KUNIT_EXPECT_EQ(test, lines,
			fabric_log_count(test, mark, "4", deaf_ops.name));
	KUNIT_EXPECT_EQ(test, 0, fabric_log_count(test, mark, "4", "since 0 s"));
	KUNIT_EXPECT_GE(test, 1, fabric_log_count(test, mark, "4", "BAR 0 since 1 s"));
}

/* R1.11 */
static void page_tells_its_provider(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, two_providers);
	struct pci_dev *p = fabric_dev(fabric, "P");
	struct pci_dev *q = fabric_dev(fabric, "Q"), *provider;
	unsigned int refs = fabric_refs(p);
	unsigned int i;
	void *a, *b;

	add_region(test, p, 0, 0, 0);
	add_region(test, q, 0, 0, 0);
	a = pci_alloc_p2pmem(p, SZ_64K);
	b = pci_alloc_p2pmem(q, SZ_64K);
	KUNIT_ASSERT_NOT_NULL(test, a);
	KUNIT_ASSERT_NOT_NULL(test, b);

	for (i = 0; i < SZ_64K; i += PAGE_SIZE) {
		provider = pci_p2pdma_page_provider(virt_to_page(a + i));
		KUNIT_EXPECT_PTR_EQ(test, p, provider);
		KUNIT_EXPECT_EQ(test, refs + 1, fabric_refs(p));
		pci_dev_put(provider);
	}
	provider = pci_p2pdma_page_provider(virt_to_page(b));
	KUNIT_EXPECT_PTR_EQ(test, q, provider);
	pci_dev_put(provider);
	KUNIT_EXPECT_NULL(test, pci_p2pdma_page_provider(virt_to_page(test)));
	pci_free_p2pmem(p, a, SZ_64K);
	pci_free_p2pmem(q, b, SZ_64K);
	KUNIT_EXPECT_EQ(test, refs, fabric_refs(p));
}

/* R1.12 */
static void function_is_no_client_of_itself_unless_declared(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");

	KUNIT_EXPECT_GT(test, 0, pci_p2pdma_distance(pdev, &pdev->dev, false));
	add_region(test, pdev, 0, 0, 0);
	KUNIT_EXPECT_GT(test, 0, pci_p2pdma_distance(pdev, &pdev->dev, false));
	pci_p2pdma_set_self_access(pdev, true);
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_distance(pdev, &pdev->dev, false));
	pci_p2pdma_set_self_access(pdev, false);
	KUNIT_EXPECT_GT(test, 0, pci_p2pdma_distance(pdev, &pdev->dev, false));
}

/*
 * Everything at once
 */

#define STORM_PROVIDERS	4

static const char storm_fabric[] =
	"root\n"
	" up\n"
	"  down\n"
	"   ep P0 bar0=mem64:8M\n"
	"  down\n"
	"   ep P1 bar0=mem64:8M\n"
	"  down\n"
	"   ep P2 bar0=mem64:8M\n"
	"  down\n"
	"   ep P3 bar0=mem64:8M\n"
	"  down\n"
	"   ep C\n";

struct storm {
	struct pci_dev *providers[STORM_PROVIDERS];
	struct pci_dev *client;
	atomic_long_t allocated;
	atomic_long_t found;
	atomic_long_t read;
	atomic_t wrong;
};

static int storm_allocates(void *data)
{
	struct storm *storm = data;
	unsigned int i = 0;

	while (!kthread_should_stop()) {
		struct pci_dev *pdev = storm->providers[i++ % STORM_PROVIDERS];
		size_t size = (i % 7 + 1) * PAGE_SIZE;
		void *addr = pci_alloc_p2pmem(pdev, size);
		struct pci_dev *provider;

		if (addr) {
			provider = pci_p2pdma_page_provider(virt_to_page(addr));
			if (provider != pdev ||
			    !pci_p2pmem_virt_to_bus(pdev, addr))
				atomic_inc(&storm->wrong);
			pci_dev_put(provider);
			if (i % 64 == 0)
				usleep_range(50, 100);
			pci_free_p2pmem(pdev, addr, size);
			atomic_long_inc(&storm->allocated);
		}
		cond_resched();
	}
	return 0;
}

static int storm_publishes(void *data)
{
	struct storm *storm = data;
	unsigned int i = 0;

	while (!kthread_should_stop()) {
		pci_p2pmem_publish(storm->providers[i % STORM_PROVIDERS],
				   i % 3);
		i++;
		usleep_range(50, 100);
	}
	return 0;
}

static int storm_finds(void *data)
{
	struct pci_p2pdma_client_list list;
	struct storm *storm = data;

	pci_p2pdma_client_list_init(&list, &deaf_ops);
	while (!kthread_should_stop()) {
		struct pci_dev *provider;

		if (pci_p2pdma_add_client(&list, &storm->client->dev))
			atomic_inc(&storm->wrong);
		provider = pci_p2pmem_find(&list);
		if (provider)
			atomic_long_inc(&storm->found);
		pci_dev_put(provider);
		pci_p2pdma_client_list_free(&list);
		cond_resched();
	}
	return 0;
}

static int storm_reads(void *data)
{
	static const char * const files[] = { "available", "size", "published" };
	struct storm *storm = data;
	unsigned int i = 0;

	while (!kthread_should_stop()) {
		s64 nr = fabric_sysfs_number(storm->providers[i % STORM_PROVIDERS],
					     files[i % ARRAY_SIZE(files)]);

		if (nr > SZ_8M || nr == -EBADMSG)
			atomic_inc(&storm->wrong);
		if (nr >= 0)
			atomic_long_inc(&storm->read);
		i++;
		cond_resched();
	}
	return 0;
}

static void storm_stop(void *task)
{
	kthread_stop_put(task);
}

static void storm_start(struct kunit *test, int (*fn)(void *), void *storm)
{
	struct task_struct *task = kthread_create(fn, storm, "p2pdma_storm");

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	get_task_struct(task);
	wake_up_process(task);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, storm_stop, task));
}

/* Until there is more of it, however long this machine takes */
static bool goes_on(atomic_long_t *count)
{
	long goal = atomic_long_read(count) + 20;
	unsigned int i;

	for (i = 0; i < 6000 && atomic_long_read(count) < goal; i++)
		usleep_range(1000, 10000);
	return atomic_long_read(count) >= goal;
}

/* R1.8 N2: while providers come and go */
static void everything_at_once_is_legal(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, storm_fabric);
	int regions = regions_in_machine();
	struct storm *storm = kunit_kzalloc(test, sizeof(*storm), GFP_KERNEL);
	char name[] = "P0";
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, storm);
	storm->client = fabric_dev(fabric, "C");
	for (i = 0; i < STORM_PROVIDERS; i++) {
		name[1] = '0' + i;
		storm->providers[i] = fabric_dev(fabric, name);
	}
	storm_start(test, storm_allocates, storm);
	storm_start(test, storm_allocates, storm);
	storm_start(test, storm_publishes, storm);
	storm_start(test, storm_finds, storm);
	storm_start(test, storm_reads, storm);

	for (i = 0; i < STORM_PROVIDERS; i++) {
		add_region(test, storm->providers[i], 0, SZ_2M, 0);
		pci_p2pmem_publish(storm->providers[i], true);
		add_region(test, storm->providers[i], 0, 0, SZ_2M);
		KUNIT_EXPECT_TRUE(test, goes_on(&storm->allocated));
		KUNIT_EXPECT_TRUE(test, goes_on(&storm->found));
		KUNIT_EXPECT_TRUE(test, goes_on(&storm->read));
	}
	for (i = 0; i < 2 * STORM_PROVIDERS; i++) {
		struct pci_dev *pdev = storm->providers[i % STORM_PROVIDERS];

		pci_p2pdma_quiesce(pdev);
		if (i / STORM_PROVIDERS)
			pci_p2pdma_drain(pdev);
		KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(pdev));
		KUNIT_EXPECT_TRUE(test, goes_on(&storm->allocated));
	}
	for (i = 0; i < STORM_PROVIDERS; i++) {
		name[1] = '0' + i;
		fabric_remove(fabric, name);
		/* The last one leaves nothing to allocate */
		if (i + 1 < STORM_PROVIDERS)
			KUNIT_EXPECT_TRUE(test, goes_on(&storm->allocated));
	}
	KUNIT_EXPECT_EQ(test, regions, regions_in_machine());
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&storm->wrong));
}

struct racer {
	struct pci_dev *pdev;
	int bar;
	int ret;
	struct completion *start;
	struct completion done;
};

static int racer_registers(void *data)
{
	struct racer *racer = data;

	wait_for_completion(racer->start);
	racer->ret = pci_p2pdma_add_resource(racer->pdev, racer->bar, 0, 0);
	complete(&racer->done);
	return 0;
}

/* R1.8: first registrations of one function at the same time */
static void first_registrations_may_race(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, one_provider);
	struct pci_dev *pdev = fabric_dev(fabric, "P");
	DECLARE_COMPLETION_ONSTACK(start);
	struct racer racers[4] = {};
	struct task_struct *task;
	unsigned int i, won[2] = {};

	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		racers[i].pdev = pdev;
		racers[i].bar = i % 2 * 2;
		racers[i].start = &start;
		init_completion(&racers[i].done);
		task = kthread_run(racer_registers, &racers[i], "p2pdma_racer");
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	}
	complete_all(&start);
	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		wait_for_completion(&racers[i].done);
		if (racers[i].ret)
			KUNIT_EXPECT_EQ(test, -EBUSY, racers[i].ret);
		else
			won[i % 2]++;
	}
	/* Each BAR once, whoever came first */
	KUNIT_EXPECT_EQ(test, 1, won[0]);
	KUNIT_EXPECT_EQ(test, 1, won[1]);
	expect_works(test, pdev, SZ_8M + SZ_4M);
}

/* R1.13: exports are GPL-only, except what an inline of other modules needs */
struct exports {
	struct kunit *test;
	unsigned long start;
	unsigned long stop;
	unsigned int all;
	unsigned int open;
};

static int count_export(void *data, const char *name, unsigned long at)
{
	struct exports *exports = data;
	size_t len = str_has_prefix(name, "__ksymtab_");

	if (!len || (!strstr(name, "p2pdma") && !strstr(name, "p2pmem")))
		return 0;
	exports->all++;
	if (at < exports->start || at >= exports->stop)
		return 0;
	exports->open++;
	/* For is_pci_p2pdma_page() */
	KUNIT_EXPECT_STREQ(exports->test, "pci_p2pdma_key", name + len);
	return 0;
}

/* R1.13: but for what an inline used by other modules needs */
static void exports_are_for_gpl_modules_only(struct kunit *test)
{
	struct exports exports = {
		.test = test,
		.start = kallsyms_lookup_name("__start___ksymtab"),
		.stop = kallsyms_lookup_name("__stop___ksymtab"),
	};

	if (!IS_ENABLED(CONFIG_MODULES))
		kunit_skip(test, "nothing is exported without CONFIG_MODULES");
	KUNIT_ASSERT_NE_MSG(test, 0, exports.start, "needs CONFIG_KALLSYMS_ALL");
	KUNIT_ASSERT_EQ(test, 0, kallsyms_on_each_symbol(count_export, &exports));
	KUNIT_EXPECT_EQ(test, 1, exports.open);
	KUNIT_EXPECT_GT(test, exports.all, 20);
}

static struct kunit_case p2pdma_core_cases[] = {
	KUNIT_CASE_PARAM(bad_range_is_refused_without_a_trace,
			 bad_range_gen_params),
	KUNIT_CASE_PARAM(bad_place_is_refused_without_a_trace,
			 bad_place_gen_params),
	KUNIT_CASE_PARAM(overlap_is_busy_and_disturbs_nothing,
			 overlap_gen_params),
	KUNIT_CASE(size_zero_means_the_rest_of_the_bar),
	KUNIT_CASE(several_regions_make_one_pool),
	KUNIT_CASE(each_page_of_a_region_is_peer_memory),
	KUNIT_CASE(key_is_raised_while_a_region_exists),
	KUNIT_CASE(publishing_nothing_is_harmless),
	KUNIT_CASE(a_function_without_regions_does_nothing),
	KUNIT_CASE(sysfs_shows_the_provider),
	KUNIT_CASE(allocation_takes_whole_pages),
	KUNIT_CASE(each_page_is_handed_out_once),
	KUNIT_CASE(sizes_that_cannot_be_had_give_null),
	KUNIT_CASE_PARAM(bad_free_is_one_error_line_and_no_change,
			 bad_free_gen_params),
	KUNIT_CASE(allocation_works_in_interrupts),
	KUNIT_CASE(allocation_works_under_a_raw_spinlock),
	KUNIT_CASE_PARAM(bus_address_is_what_the_bar_decodes,
			 translation_gen_params),
	KUNIT_CASE_PARAM(scatterlist_has_the_length_asked_for,
			 list_length_gen_params),
	KUNIT_CASE(fragmented_pool_gives_many_entries),
	KUNIT_CASE(scatterlist_that_cannot_be_had_is_null),
	KUNIT_CASE(foreign_scatterlist_is_refused),
	KUNIT_CASE(quiesced_provider_hands_out_nothing),
	KUNIT_CASE(drain_waits_for_what_is_out),
	KUNIT_CASE(drain_and_resume_repeat),
	KUNIT_CASE(region_added_while_drained_works_later),
	KUNIT_CASE(removal_waits_for_held_memory),
	KUNIT_CASE(removal_after_failed_registration_is_quick),
	KUNIT_CASE(idle_orchestrators_do_not_delay_removal),
	KUNIT_CASE(each_binding_is_told_once),
	KUNIT_CASE(generation_changes_with_every_loss),
	KUNIT_CASE(generation_changes_with_surprise_removal),
	KUNIT_CASE_SLOW(long_drain_says_what_it_waits_for),
	KUNIT_CASE(page_tells_its_provider),
	KUNIT_CASE(function_is_no_client_of_itself_unless_declared),
	KUNIT_CASE_SLOW(everything_at_once_is_legal),
	KUNIT_CASE(first_registrations_may_race),
	KUNIT_CASE(exports_are_for_gpl_modules_only),
	{}
};

static struct kunit_suite p2pdma_core_suite = {
	.name = "p2pdma_core",
	.test_cases = p2pdma_core_cases,
};

kunit_test_suite(p2pdma_core_suite);
