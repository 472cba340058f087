// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of peer-to-peer DMA: mapping
 *
 * P and Q provide, C is the client, N another one that cannot reach P. Every
 * test of an address runs with host bridges that do not translate, translate
 * down, and translate up: only then does a wrong sign show (N8).
 */
#include <linux/dma-mapping.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/scatterlist.h>
#include "p2pdma.h"
#include "p2pdma_fabric_test.h"

static const char topology[] =
	"root\n"
	" up\n"
	"  down\n"
	"   ep P bar0=mem64:8M bar2=mem32:4M\n"
	"  down\n"
	"   ep Q bar0=mem64:8M\n"
	"  down DC acs=none\n"
	"   ep C\n"
	"root\n"
	" ep N\n";

#define UNSET_ADDRESS	0xdeadbeefdeadULL
#define UNSET_LENGTH	0xdead

struct translation {
	const char *what;
	s64 offset;
};

static const struct translation translations[] = {
	{ "no translation", 0 },
	{ "N8 bus addresses below CPU addresses", 0x80000000 },
	{ "N8 bus addresses above CPU addresses", -0x1000000000LL },
};

KUNIT_ARRAY_PARAM_DESC(translation, translations, what);

struct fixture {
	struct kunit *test;
	struct fabric *fabric;
	struct pci_dev *p;
	struct pci_dev *q;
	struct device *c;
	struct device *n;
	struct sg_table table;
	void *mem;		/* of P, 1 MiB */
	void *foreign;		/* of Q, 64 KiB */
	struct page *page;	/* ordinary, 64 KiB */
};

static void fixture_free(void *data)
{
	struct fixture *f = data;

	pci_free_p2pmem(f->p, f->mem, SZ_1M);
	pci_free_p2pmem(f->q, f->foreign, SZ_64K);
	if (f->page)
		__free_pages(f->page, get_order(SZ_64K));
	sg_free_table(&f->table);
}

static struct fixture *fixture_create(struct kunit *test, s64 offset)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->test = test;
	f->fabric = fabric_create_offset(test, topology, offset);
	f->p = fabric_dev(f->fabric, "P");
	f->q = fabric_dev(f->fabric, "Q");
	f->c = &fabric_dev(f->fabric, "C")->dev;
	f->n = &fabric_dev(f->fabric, "N")->dev;
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, fixture_free,
							   f));

	KUNIT_ASSERT_EQ(test, 0, pci_p2pdma_add_resource(f->p, 0, SZ_4M, SZ_2M));
	KUNIT_ASSERT_EQ(test, 0, pci_p2pdma_add_resource(f->q, 0, 0, 0));
	f->mem = pci_alloc_p2pmem(f->p, SZ_1M);
	f->foreign = pci_alloc_p2pmem(f->q, SZ_64K);
	f->page = alloc_pages(GFP_KERNEL, get_order(SZ_64K));
	KUNIT_ASSERT_NOT_NULL(test, f->mem);
	KUNIT_ASSERT_NOT_NULL(test, f->foreign);
	KUNIT_ASSERT_NOT_NULL(test, f->page);
	return f;
}

/* A list of @nents entries that show if nobody sets them */
static struct scatterlist *list(struct fixture *f, unsigned int nents)
{
	struct scatterlist *sg;
	unsigned int i;

	sg_free_table(&f->table);
	KUNIT_ASSERT_EQ(f->test, 0,
			sg_alloc_table(&f->table, nents, GFP_KERNEL));
	for_each_sg(f->table.sgl, sg, nents, i) {
		sg->dma_address = UNSET_ADDRESS;
		sg_dma_len(sg) = UNSET_LENGTH;
	}
	return f->table.sgl;
}

static void set_peer(struct scatterlist *sg, void *addr, unsigned int length)
{
	sg_set_page(sg, virt_to_page(addr), length, offset_in_page(addr));
}

static unsigned int marked(struct scatterlist *sgl, int nents)
{
	struct scatterlist *sg;
	unsigned int nr = 0;
	int i;

	for_each_sg(sgl, sg, nents, i)
		nr += sg_dma_is_bus_address(sg);
	return nr;
}

/* N10: address and length, and the mark */
static void expect_entry(struct kunit *test, struct scatterlist *sg,
			 u64 address)
{
	KUNIT_EXPECT_EQ(test, address, sg_dma_address(sg));
	KUNIT_EXPECT_EQ(test, sg->length, sg_dma_len(sg));
	KUNIT_EXPECT_TRUE(test, sg_dma_is_bus_address(sg));
}

static int map(struct fixture *f, struct device *client, int nents)
{
	return pci_p2pdma_map_sg(client, f->table.sgl, nents,
				 DMA_BIDIRECTIONAL);
}

static void unmap(struct fixture *f, int nents)
{
	pci_p2pdma_unmap_sg(f->c, f->table.sgl, nents, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_EQ(f->test, 0, marked(f->table.sgl, nents));
}

/* N9: an error, and nothing that looks mapped */
static void expect_refused(struct fixture *f, struct device *client, int nents)
{
	KUNIT_EXPECT_EQ(f->test, -EREMOTEIO, map(f, client, nents));
	KUNIT_EXPECT_EQ(f->test, 0, marked(f->table.sgl,
					   f->table.orig_nents));
}

/* From the BAR register: address in memory @f->mem that P decodes */
static u64 decoded(struct fixture *f, void *addr)
{
	u32 low, high;

	pci_read_config_dword(f->p, PCI_BASE_ADDRESS_0, &low);
	pci_read_config_dword(f->p, PCI_BASE_ADDRESS_1, &high);
	return ((u64)high << 32 | (low & PCI_BASE_ADDRESS_MEM_MASK)) +
	       virt_to_phys(addr) - pci_resource_start(f->p, 0);
}

/* R3.1 N8 N10 */
static void one_segment_gets_the_bus_address(struct kunit *test)
{
	const struct translation *t = test->param_value;
	struct fixture *f = fixture_create(test, t->offset);
	struct scatterlist *sg = list(f, 1);

	set_peer(sg, f->mem, SZ_64K);
	KUNIT_EXPECT_EQ(test, 1, map(f, f->c, 1));
	expect_entry(test, sg, decoded(f, f->mem));
	KUNIT_EXPECT_EQ(test, pci_p2pmem_virt_to_bus(f->p, f->mem),
			sg_dma_address(sg));
	KUNIT_EXPECT_EQ(test, virt_to_phys(f->mem) - t->offset,
			sg_dma_address(sg));
	unmap(f, 1);
}

/* R3.1 N8 N10: short ones, ones that start inside a page, out of order */
static void many_segments_get_their_bus_addresses(struct kunit *test)
{
	static const struct {
		unsigned int at;
		unsigned int length;
	} parts[] = {
		{ 0, SZ_4K }, { SZ_512K, SZ_64K }, { SZ_4K, SZ_4K },
		{ SZ_128K + 512, 512 }, { SZ_256K + 4095, 1 },
		{ SZ_1M - SZ_64K, SZ_64K }, { SZ_256K, 3 },
	};
	const struct translation *t = test->param_value;
	struct fixture *f = fixture_create(test, t->offset);
	struct scatterlist *sgl = list(f, ARRAY_SIZE(parts)), *sg;
	int i;

	for_each_sg(sgl, sg, ARRAY_SIZE(parts), i)
		set_peer(sg, f->mem + parts[i].at, parts[i].length);
	KUNIT_EXPECT_EQ(test, ARRAY_SIZE(parts),
			map(f, f->c, ARRAY_SIZE(parts)));
	for_each_sg(sgl, sg, ARRAY_SIZE(parts), i)
		expect_entry(test, sg, decoded(f, f->mem + parts[i].at));
	unmap(f, ARRAY_SIZE(parts));
}

/* R1.6 R3.1 R3.2: what pci_p2pmem_alloc_sgl() makes can be mapped */
static void allocated_list_can_be_mapped(struct kunit *test)
{
	const struct translation *t = test->param_value;
	struct fixture *f = fixture_create(test, t->offset);
	struct scatterlist *sgl, *sg;
	unsigned int nents, i;

	sgl = pci_p2pmem_alloc_sgl(f->p, &nents, 5 * SZ_64K + 100);
	KUNIT_ASSERT_NOT_NULL(test, sgl);
	KUNIT_EXPECT_EQ(test, 6, nents);
	KUNIT_EXPECT_EQ(test, nents,
			pci_p2pdma_map_sg(f->c, sgl, nents, DMA_TO_DEVICE));
	for_each_sg(sgl, sg, nents, i)
		expect_entry(test, sg, decoded(f, sg_virt(sg)));
	pci_p2pdma_unmap_sg(f->c, sgl, nents, DMA_TO_DEVICE);
	KUNIT_EXPECT_EQ(test, 0, marked(sgl, nents));
	pci_p2pmem_free_sgl(f->p, sgl);
}

/* R3.1 R3.2: two regions of one provider in one list, their offsets differ */
static void regions_of_one_provider_may_be_mixed(struct kunit *test)
{
	const struct translation *t = test->param_value;
	struct fixture *f = fixture_create(test, t->offset);
	struct scatterlist *sgl = list(f, 3);
	void *low;
	u32 bar2;

	/* Some of BAR 0 is out, so all of BAR 2 is the only 4 MiB in one piece */
	KUNIT_ASSERT_EQ(test, 0, pci_p2pdma_add_resource(f->p, 2, 0, 0));
	pci_read_config_dword(f->p, PCI_BASE_ADDRESS_2, &bar2);
	low = pci_alloc_p2pmem(f->p, SZ_4M);
	KUNIT_ASSERT_NOT_NULL(test, low);

	set_peer(&sgl[0], f->mem, SZ_4K);
	set_peer(&sgl[1], low + SZ_4K, SZ_4K);
	set_peer(&sgl[2], f->mem + SZ_4K, SZ_4K);
	KUNIT_EXPECT_EQ(test, 3, map(f, f->c, 3));
	expect_entry(test, &sgl[0], decoded(f, f->mem));
	expect_entry(test, &sgl[1],
		     (bar2 & PCI_BASE_ADDRESS_MEM_MASK) + SZ_4K);
	expect_entry(test, &sgl[2], decoded(f, f->mem + SZ_4K));
	unmap(f, 3);
	pci_free_p2pmem(f->p, low, SZ_4M);
}

/* R3.2 N9 */
static void ordinary_memory_is_refused(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);

	sg_set_page(list(f, 1), f->page, SZ_4K, 0);
	expect_refused(f, f->c, 1);
}

/* R3.2 N9: wherever in the list the ordinary memory is */
static void mixed_list_is_refused(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	int i, odd;

	for (odd = 0; odd < 4; odd++) {
		struct scatterlist *sgl = list(f, 4);

		for (i = 0; i < 4; i++)
			set_peer(&sgl[i], f->mem + i * SZ_64K, SZ_64K);
		sg_set_page(&sgl[odd], f->page, SZ_64K, 0);
		expect_refused(f, f->c, 4);
	}
}

/* R3.2: one provider, wherever in the list the other one is */
static void list_of_two_providers_is_refused(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	int i, odd;

	for (odd = 0; odd < 3; odd++) {
		struct scatterlist *sgl = list(f, 3);

		for (i = 0; i < 3; i++)
			set_peer(&sgl[i], f->mem + i * SZ_64K, SZ_64K);
		set_peer(&sgl[odd], f->foreign, SZ_64K);
		expect_refused(f, f->c, 3);
	}
}

/* R1.12 R3.2 N7: another device, and the provider unless it is declared */
static void device_that_cannot_reach_is_refused(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sg = list(f, 1);

	set_peer(sg, f->mem, SZ_4K);
	expect_refused(f, f->n, 1);
	KUNIT_EXPECT_EQ(test, 1, map(f, f->c, 1));
	unmap(f, 1);
	/* Nor does the provider itself, unless declared */
	expect_refused(f, &f->p->dev, 1);
	pci_p2pdma_set_self_access(f->p, true);
	KUNIT_EXPECT_EQ(test, 1, map(f, &f->p->dev, 1));
	unmap(f, 1);
}

/* R2.7 R3.2 N11: the verdict at mapping counts, not that at binding */
static void mapping_follows_acs_at_run_time(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sg = list(f, 1);

	set_peer(sg, f->mem, SZ_4K);
	KUNIT_EXPECT_EQ(test, 1, map(f, f->c, 1));
	unmap(f, 1);
	fabric_set_acs(f->fabric, "DC", PCI_ACS_RR);
	expect_refused(f, f->c, 1);
	fabric_set_acs(f->fabric, "DC", 0);
	KUNIT_EXPECT_EQ(test, 1, map(f, f->c, 1));
	unmap(f, 1);
}

/* R3.2: the mask is compared with bus addresses, up to the last byte */
static void address_beyond_the_mask_is_refused(struct kunit *test)
{
	const struct translation *t = test->param_value;
	struct fixture *f = fixture_create(test, t->offset);
	struct scatterlist *sgl = list(f, 2);
	u64 last;

	set_peer(&sgl[0], f->mem, SZ_4K);
	set_peer(&sgl[1], f->mem + SZ_4K, SZ_4K);
	last = decoded(f, f->mem) + 2 * SZ_4K - 1;

	f->c->coherent_dma_mask = last;
	*f->c->dma_mask = last;
	KUNIT_EXPECT_EQ(test, 2, map(f, f->c, 2));
	unmap(f, 2);
	*f->c->dma_mask = last - 1;
	expect_refused(f, f->c, 2);
	*f->c->dma_mask = decoded(f, f->mem) - 1;
	expect_refused(f, f->c, 2);
}

/* R3.1: a BAR that the CPU sees above 4 GiB, and devices below */
static void a_32_bit_device_reaches_a_32_bit_bar(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sg = list(f, 1);
	void *low;

	KUNIT_ASSERT_EQ(test, 0, pci_p2pdma_add_resource(f->p, 2, 0, 0));
	low = pci_alloc_p2pmem(f->p, SZ_4M);
	KUNIT_ASSERT_NOT_NULL(test, low);
	KUNIT_ASSERT_GT(test, virt_to_phys(low), SZ_4G);
	KUNIT_ASSERT_EQ(test, 0, dma_set_mask(f->c, DMA_BIT_MASK(32)));

	set_peer(sg, low, SZ_4K);
	KUNIT_EXPECT_EQ(test, 1, map(f, f->c, 1));
	KUNIT_EXPECT_LT(test, sg_dma_address(sg), SZ_4G);
	unmap(f, 1);
	set_peer(sg, f->mem, SZ_4K);
	expect_refused(f, f->c, 1);
	pci_free_p2pmem(f->p, low, SZ_4M);
}

/* R3.2: segment limits of the device */
static void segment_longer_than_the_limit_is_refused(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sg = list(f, 1);

	KUNIT_ASSERT_EQ(test, SZ_64K, dma_get_max_seg_size(f->c));
	set_peer(sg, f->mem, SZ_64K);
	KUNIT_EXPECT_EQ(test, 1, map(f, f->c, 1));
	unmap(f, 1);
	set_peer(sg, f->mem, SZ_64K + 1);
	expect_refused(f, f->c, 1);
	set_peer(sg, f->mem, SZ_1M);
	expect_refused(f, f->c, 1);
	dma_set_max_seg_size(f->c, SZ_1M);
	KUNIT_EXPECT_EQ(test, 1, map(f, f->c, 1));
	unmap(f, 1);
}

/* R3.2: the device's segment boundary is compared with bus addresses */
static void segment_across_the_boundary_is_refused(struct kunit *test)
{
	const struct translation *t = test->param_value;
	struct fixture *f = fixture_create(test, t->offset);
	struct scatterlist *sg = list(f, 1);
	/* Where bus addresses cross 64 KiB, whatever the memory starts at */
	void *at = f->mem + SZ_64K - (decoded(f, f->mem) & (SZ_64K - 1));

	dma_set_seg_boundary(f->c, SZ_64K - 1);
	set_peer(sg, at, SZ_64K);
	KUNIT_EXPECT_EQ(test, 1, map(f, f->c, 1));
	unmap(f, 1);
	set_peer(sg, at + SZ_4K, SZ_64K);
	expect_refused(f, f->c, 1);
	set_peer(sg, at + SZ_64K - 1, 2);
	expect_refused(f, f->c, 1);
}

/* R3.2 N10: in each place of a list */
static void segment_without_length_is_refused(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	int i, odd;

	for (odd = 0; odd < 3; odd++) {
		struct scatterlist *sgl = list(f, 3);

		for (i = 0; i < 3; i++)
			set_peer(&sgl[i], f->mem + i * SZ_4K,
				 i == odd ? 0 : SZ_4K);
		expect_refused(f, f->c, 3);
	}
}

/* R3.2: what is behind the region is not the provider's */
static void segment_across_the_end_is_refused(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sg = list(f, 1);
	/* Where the region ends: the last page of what is registered */
	void *last = phys_to_virt(pci_resource_start(f->p, 0) + SZ_2M + SZ_4M -
				  SZ_4K);

	set_peer(sg, last, SZ_4K);
	KUNIT_EXPECT_EQ(test, 1, map(f, f->c, 1));
	unmap(f, 1);
	set_peer(sg, last, SZ_8K);
	expect_refused(f, f->c, 1);
}

/* R3.2: 0 entries, fewer, and more than the list has */
static void no_entries_are_refused(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sg = list(f, 1);

	set_peer(sg, f->mem, SZ_4K);
	expect_refused(f, f->c, 0);
	expect_refused(f, f->c, -1);
	/* More than the list has */
	expect_refused(f, f->c, 2);
}

/*
 * The DMA API, by the same rule
 */

static int dma_map(struct fixture *f, struct device *client)
{
	return dma_map_sgtable(client, &f->table, DMA_BIDIRECTIONAL, 0);
}

static void dma_unmap(struct fixture *f)
{
	dma_unmap_sgtable(f->c, &f->table, DMA_BIDIRECTIONAL, 0);
	KUNIT_EXPECT_EQ(f->test, 0, marked(f->table.sgl, f->table.orig_nents));
}

/* R3.1 R3.3 N10: one rule for both entry points */
static void dma_api_gives_the_same_addresses(struct kunit *test)
{
	const struct translation *t = test->param_value;
	struct fixture *f = fixture_create(test, t->offset);
	struct scatterlist *sgl = list(f, 3);
	int i;

	set_peer(&sgl[0], f->mem, SZ_64K);
	set_peer(&sgl[1], f->mem + SZ_512K + 8, 100);
	set_peer(&sgl[2], f->mem + SZ_64K, SZ_4K);
	KUNIT_ASSERT_EQ(test, 0, dma_map(f, f->c));
	KUNIT_EXPECT_EQ(test, 3, f->table.nents);
	for (i = 0; i < 3; i++)
		expect_entry(test, &sgl[i], decoded(f, sg_virt(&sgl[i])));
	dma_unmap(f);
}

/* R3.3 N10: ordinary pages before, between and after those of two providers */
static void dma_api_takes_mixed_lists(struct kunit *test)
{
	const struct translation *t = test->param_value;
	struct fixture *f = fixture_create(test, t->offset);
	struct scatterlist *sgl = list(f, 6);
	int i;

	sg_set_page(&sgl[0], f->page, SZ_4K, 0);
	set_peer(&sgl[1], f->mem, SZ_64K);
	sg_set_page(&sgl[2], f->page, SZ_8K, 512);
	set_peer(&sgl[3], f->foreign, SZ_4K);
	set_peer(&sgl[4], f->mem + SZ_64K, 12);
	sg_set_page(&sgl[5], f->page, 1, 0);
	KUNIT_ASSERT_EQ(test, 0, dma_map(f, f->c));
	KUNIT_EXPECT_EQ(test, 6, f->table.nents);

	expect_entry(test, &sgl[1], decoded(f, f->mem));
	expect_entry(test, &sgl[3], pci_p2pmem_virt_to_bus(f->q, f->foreign));
	expect_entry(test, &sgl[4], decoded(f, f->mem + SZ_64K));
	for (i = 0; i < 6; i++) {
		if (i == 1 || i == 3 || i == 4)
			continue;
		KUNIT_EXPECT_FALSE(test, sg_dma_is_bus_address(&sgl[i]));
		KUNIT_EXPECT_EQ(test, sg_phys(&sgl[i]),
				sg_dma_address(&sgl[i]));
		KUNIT_EXPECT_EQ(test, sgl[i].length, sg_dma_len(&sgl[i]));
	}
	dma_unmap(f);
}

/* R3.3 N7 N10: a path that is not accepted, and a segment of length 0 */
static void dma_api_refuses_what_cannot_be_reached(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sgl = list(f, 3);

	/* Entries that came first are taken back */
	sg_set_page(&sgl[0], f->page, SZ_4K, 0);
	set_peer(&sgl[1], f->mem, SZ_4K);
	sg_set_page(&sgl[2], f->page, SZ_4K, SZ_4K);
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, dma_map(f, f->n));
	KUNIT_EXPECT_EQ(test, 0, marked(sgl, 3));

	fabric_set_acs(f->fabric, "DC", PCI_ACS_CR);
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, dma_map(f, f->c));
	fabric_set_acs(f->fabric, "DC", 0);

	sgl[1].length = 0;
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, dma_map(f, f->c));
	KUNIT_EXPECT_EQ(test, 0, marked(sgl, 3));
}

/* R3.3 */
static void dma_api_refuses_what_is_beyond_the_mask(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sg = list(f, 1);

	set_peer(sg, f->mem, SZ_4K);
	*f->c->dma_mask = decoded(f, f->mem) + SZ_4K - 2;
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, dma_map(f, f->c));
	KUNIT_EXPECT_EQ(test, 0, marked(sg, 1));
}

/* R3.2: any context in which dma_map_sg() may be called */
static void mapping_works_with_interrupts_off(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sg = list(f, 1);
	static DEFINE_RAW_SPINLOCK(lock);
	unsigned long flags;
	int ret;

	set_peer(sg, f->mem, SZ_4K);
	raw_spin_lock_irqsave(&lock, flags);
	ret = map(f, f->c, 1);
	raw_spin_unlock_irqrestore(&lock, flags);
	KUNIT_EXPECT_EQ(test, 1, ret);
	unmap(f, 1);
}

/*
 * Through the root complex
 */

static void nothing_allowed(void *unused)
{
	p2pdma_allow_host_bridges("");
}

/* Let N reach P through the root complex, until the test ends */
static void allow_host(struct fixture *f)
{
	u32 id = pci_find_host_bridge(f->p->bus)->p2pdma_id;
	char text[sizeof("VVVV:DDDD")];

	snprintf(text, sizeof(text), "%04x:%04x", id >> 16, id & 0xffff);
	KUNIT_ASSERT_EQ(f->test, 0, p2pdma_allow_host_bridges(text));
	KUNIT_ASSERT_EQ(f->test, 0,
			kunit_add_action_or_reset(f->test, nothing_allowed,
						  NULL));
}

/* R2.6 R3.2 N10: by CPU physical address, every entry */
static void root_complex_gets_the_cpu_address(struct kunit *test)
{
	const struct translation *t = test->param_value;
	struct fixture *f = fixture_create(test, t->offset);
	struct scatterlist *sg, *sgl = list(f, 3);
	u64 last = 0;
	int i, nents;

	allow_host(f);
	for_each_sg(sgl, sg, 3, i)
		set_peer(sg, f->mem + i * SZ_128K, SZ_4K << i);
	nents = map(f, f->n, 3);
	KUNIT_ASSERT_EQ(test, 3, nents);
	KUNIT_EXPECT_EQ(test, 0, marked(sgl, nents));
	for_each_sg(sgl, sg, nents, i) {
		KUNIT_EXPECT_EQ(test, sg_phys(sg), sg_dma_address(sg));
		KUNIT_EXPECT_EQ(test, SZ_4K << i, sg_dma_len(sg));
		KUNIT_EXPECT_NE(test, last, sg_dma_address(sg));
		last = sg_dma_address(sg);
	}
	pci_p2pdma_unmap_sg(f->n, sgl, 3, DMA_BIDIRECTIONAL);

	/* The same list below the switch */
	KUNIT_ASSERT_EQ(test, 3, map(f, f->c, 3));
	for_each_sg(sgl, sg, 3, i)
		expect_entry(test, sg, decoded(f, f->mem + i * SZ_128K));
	unmap(f, 3);
}

/* R2.6 R2.7 R3.2 N7 N11: a list mapped before is unmapped as it was mapped */
static void root_complex_is_refused_once_it_is_not_allowed(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sgl = list(f, 2);

	set_peer(sgl, f->mem, SZ_4K);
	set_peer(sg_next(sgl), f->mem + SZ_64K, SZ_4K);
	expect_refused(f, f->n, 2);
	allow_host(f);
	KUNIT_ASSERT_EQ(test, 2, map(f, f->n, 2));
	KUNIT_ASSERT_EQ(test, 0, p2pdma_allow_host_bridges(""));
	/* Mapped before, it is unmapped as it was mapped; iommu-intel.sh would tell */
	pci_p2pdma_unmap_sg(f->n, sgl, 2, DMA_BIDIRECTIONAL);
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, map(f, f->n, 2));
}

/* R3.2 N9 N10: ordinary memory, another provider, a wrong length */
static void root_complex_lists_are_checked_whole(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sgl = list(f, 2);

	allow_host(f);
	set_peer(sgl, f->mem, SZ_4K);
	sg_set_page(sg_next(sgl), f->page, SZ_4K, 0);
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, map(f, f->n, 2));
	set_peer(sg_next(sgl), f->foreign, SZ_4K);
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, map(f, f->n, 2));
	set_peer(sg_next(sgl), f->mem + SZ_64K, 0);
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, map(f, f->n, 2));
	set_peer(sg_next(sgl), f->mem + SZ_64K, SZ_128K);
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, map(f, f->n, 2));
	set_peer(sg_next(sgl), f->mem + SZ_64K, SZ_64K);
	KUNIT_EXPECT_EQ(test, 2, map(f, f->n, 2));
	pci_p2pdma_unmap_sg(f->n, sgl, 2, DMA_BIDIRECTIONAL);
}

/* R3.2 */
static void root_complex_address_beyond_the_mask_is_refused(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sgl = list(f, 1);

	allow_host(f);
	set_peer(sgl, f->mem, SZ_4K);
	KUNIT_ASSERT_GT(test, sg_phys(sgl), U32_MAX);
	KUNIT_ASSERT_EQ(test, 0, dma_set_mask(f->n, DMA_BIT_MASK(32)));
	KUNIT_EXPECT_EQ(test, -EREMOTEIO, map(f, f->n, 1));
	dma_set_mask(f->n, DMA_BIT_MASK(64));
}

/* Nothing but the command line says so to others than dma-debug itself */
static bool dma_debug_checks_segments(void)
{
	return IS_ENABLED(CONFIG_DMA_API_DEBUG_SG) &&
	       !strstr(saved_command_line, "dma_debug=off");
}

/* R3.2: the addresses are known only after mapping, which is then undone */
static void root_complex_segment_across_the_boundary_is_refused(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sgl = list(f, 2);
	void *at = f->mem + SZ_64K - (virt_to_phys(f->mem) & (SZ_64K - 1));

	if (dma_debug_checks_segments())
		kunit_skip(test, "dma-debug warns of this; boot with dma_debug=off");
	allow_host(f);
	dma_set_seg_boundary(f->n, SZ_64K - 1);
	set_peer(sgl, at, SZ_4K);
	set_peer(sg_next(sgl), at + SZ_64K, SZ_64K);
	KUNIT_EXPECT_EQ(test, 2, map(f, f->n, 2));
	pci_p2pdma_unmap_sg(f->n, sgl, 2, DMA_BIDIRECTIONAL);
	set_peer(sg_next(sgl), at + SZ_64K - 1, 2);
	expect_refused(f, f->n, 2);
	KUNIT_EXPECT_EQ(test, 0, sg_dma_len(sgl));
	KUNIT_EXPECT_EQ(test, 0, sg_dma_len(sg_next(sgl)));
}

/* Redirects and lets go as fast as it can */
static int toggle_acs(void *data)
{
	struct fixture *f = data;

	while (!kthread_should_stop()) {
		fabric_set_acs(f->fabric, "DC", PCI_ACS_RR);
		fabric_set_acs(f->fabric, "DC", 0);
		cond_resched();
	}
	return 0;
}

static void stop_toggling(void *task)
{
	kthread_stop_put(task);
}

/*
 * R2.7 R3.2: each entry has the address of one way or the other. Both ways work
 * here: the host bridge routes what the port redirects.
 */
static void list_is_mapped_right_while_its_path_changes(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0x80000000);
	unsigned long limit = jiffies + 60 * HZ, mapped = 0, marks = 0, mixed = 0;
	struct scatterlist *sgl = list(f, 2), *sg;
	unsigned int wrong = 0, refused = 0;
	struct task_struct *task;
	int i, nents;
	void *low;
	u32 bar2;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	allow_host(f);
	/* The path is looked up once for a region: two, to have both ways in one */
	KUNIT_ASSERT_EQ(test, 0, pci_p2pdma_add_resource(f->p, 2, 0, 0));
	pci_read_config_dword(f->p, PCI_BASE_ADDRESS_2, &bar2);
	bar2 &= PCI_BASE_ADDRESS_MEM_MASK;
	low = pci_alloc_p2pmem(f->p, SZ_4M);
	KUNIT_ASSERT_NOT_NULL(test, low);
	set_peer(sgl, f->mem, SZ_4K);
	set_peer(sg_next(sgl), low, SZ_4K);
	task = kthread_create(toggle_acs, f, "p2pdma_toggle");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	get_task_struct(task);
	wake_up_process(task);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, stop_toggling, task));

	/* Until both ways were seen, however fast this machine is */
	for (; time_before(jiffies, limit) &&
	     (mapped < 10000 || !marks || marks == 2 * mapped);
	     cond_resched()) {
		nents = map(f, f->c, 2);
		refused += nents != 2;
		if (nents != 2)
			continue;
		mapped++;
		mixed += marked(sgl, 2) == 1;
		for_each_sg(sgl, sg, 2, i) {
			bool bus = sg_dma_is_bus_address(sg);
			u64 at = i ? bar2 : decoded(f, f->mem);

			marks += bus;
			wrong += sg_dma_len(sg) != SZ_4K ||
				 sg_dma_address(sg) != (bus ? at : sg_phys(sg));
		}
		pci_p2pdma_unmap_sg(f->c, sgl, 2, DMA_BIDIRECTIONAL);
		wrong += marked(sgl, 2) || sg_dma_len(sgl);
	}
	pci_free_p2pmem(f->p, low, SZ_4M);
	kunit_printk(KERN_NOTICE, test, "%lu mapped, %lu of %lu entries by bus address, %lu lists both ways",
		     mapped, marks, 2 * mapped, mixed);
	KUNIT_EXPECT_EQ(test, 0, wrong);
	KUNIT_EXPECT_EQ(test, 0, refused);
	KUNIT_EXPECT_GT(test, marks, 0);
	KUNIT_EXPECT_LT(test, marks, 2 * mapped);
}

/* R2.6 R3.3 */
static void dma_api_takes_the_root_complex_and_mixed_lists(struct kunit *test)
{
	const struct translation *t = test->param_value;
	struct fixture *f = fixture_create(test, t->offset);
	struct scatterlist *sg, *sgl = list(f, 3);
	int i;

	allow_host(f);
	set_peer(sgl, f->mem, SZ_4K);
	sg_set_page(sg_next(sgl), f->page, SZ_8K, 0);
	set_peer(sg_next(sg_next(sgl)), f->foreign, SZ_16K);
	KUNIT_ASSERT_EQ(test, 0, dma_map(f, f->n));
	KUNIT_EXPECT_EQ(test, 0, marked(sgl, 3));
	for_each_sgtable_sg(&f->table, sg, i)
		KUNIT_EXPECT_EQ(test, sg_phys(sg), sg_dma_address(sg));
	dma_unmap_sgtable(f->n, &f->table, DMA_BIDIRECTIONAL, 0);
}

/*
 * What a mapping below a switch must not do
 */

static atomic_t config_reads;

static int counted_read(struct pci_bus *bus, unsigned int devfn, int where,
			int size, u32 *val)
{
	atomic_inc(&config_reads);
	*val = ~0;
	return PCIBIOS_SUCCESSFUL;
}

static struct pci_ops counting_ops = { .read = counted_read };

/* R3.2: the ports on the way are judged by what is known about them */
static void mapping_reads_no_config_space(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct pci_dev *ports[] = {
		f->p, pci_upstream_bridge(f->p), to_pci_dev(f->c),
		pci_upstream_bridge(to_pci_dev(f->c)),
	};
	struct pci_ops *old[ARRAY_SIZE(ports)];
	struct scatterlist *sgl = list(f, 1);
	int i, nents;

	set_peer(sgl, f->mem, SZ_4K);
	atomic_set(&config_reads, 0);
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		old[i] = pci_bus_set_ops(ports[i]->bus, &counting_ops);
	nents = map(f, f->c, 1);
	for (i = ARRAY_SIZE(ports) - 1; i >= 0; i--)
		pci_bus_set_ops(ports[i]->bus, old[i]);
	KUNIT_ASSERT_EQ(test, 1, nents);
	unmap(f, 1);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&config_reads));
}

#ifdef CONFIG_FAILSLAB
/* R3.2: the first allocation would fail and use the countdown up */
static void mapping_allocates_nothing(struct kunit *test)
{
	struct fixture *f = fixture_create(test, 0);
	struct scatterlist *sgl = list(f, 2);
	unsigned int left;
	bool noticed;
	int nents;

	set_peer(sgl, f->mem, SZ_4K);
	set_peer(sg_next(sgl), f->mem + SZ_64K, SZ_64K);
	current->fail_nth = 1;
	nents = map(f, f->c, 2);
	pci_p2pdma_unmap_sg(f->c, sgl, 2, DMA_BIDIRECTIONAL);
	left = current->fail_nth;
	/* And would it have been noticed? */
	kfree(kmalloc(8, GFP_ATOMIC | __GFP_NOWARN));
	noticed = !current->fail_nth;
	current->fail_nth = 0;
	KUNIT_EXPECT_EQ(test, 2, nents);
	KUNIT_EXPECT_EQ(test, 1, left);
	KUNIT_EXPECT_TRUE(test, noticed);
}
#endif

static struct kunit_case p2pdma_map_cases[] = {
	KUNIT_CASE_PARAM(one_segment_gets_the_bus_address,
			 translation_gen_params),
	KUNIT_CASE_PARAM(many_segments_get_their_bus_addresses,
			 translation_gen_params),
	KUNIT_CASE_PARAM(allocated_list_can_be_mapped,
			 translation_gen_params),
	KUNIT_CASE_PARAM(regions_of_one_provider_may_be_mixed,
			 translation_gen_params),
	KUNIT_CASE(ordinary_memory_is_refused),
	KUNIT_CASE(mixed_list_is_refused),
	KUNIT_CASE(list_of_two_providers_is_refused),
	KUNIT_CASE(device_that_cannot_reach_is_refused),
	KUNIT_CASE(mapping_follows_acs_at_run_time),
	KUNIT_CASE_PARAM(address_beyond_the_mask_is_refused,
			 translation_gen_params),
	KUNIT_CASE(a_32_bit_device_reaches_a_32_bit_bar),
	KUNIT_CASE(segment_longer_than_the_limit_is_refused),
	KUNIT_CASE_PARAM(segment_across_the_boundary_is_refused,
			 translation_gen_params),
	KUNIT_CASE(segment_without_length_is_refused),
	KUNIT_CASE(segment_across_the_end_is_refused),
	KUNIT_CASE(no_entries_are_refused),
	KUNIT_CASE_PARAM(dma_api_gives_the_same_addresses,
			 translation_gen_params),
	KUNIT_CASE_PARAM(dma_api_takes_mixed_lists, translation_gen_params),
	KUNIT_CASE(dma_api_refuses_what_cannot_be_reached),
	KUNIT_CASE(dma_api_refuses_what_is_beyond_the_mask),
	KUNIT_CASE(mapping_works_with_interrupts_off),
	KUNIT_CASE_PARAM(root_complex_gets_the_cpu_address,
			 translation_gen_params),
	KUNIT_CASE(root_complex_is_refused_once_it_is_not_allowed),
	KUNIT_CASE(root_complex_lists_are_checked_whole),
	KUNIT_CASE(root_complex_address_beyond_the_mask_is_refused),
	KUNIT_CASE(root_complex_segment_across_the_boundary_is_refused),
	KUNIT_CASE(list_is_mapped_right_while_its_path_changes),
	KUNIT_CASE_PARAM(dma_api_takes_the_root_complex_and_mixed_lists,
			 translation_gen_params),
	KUNIT_CASE(mapping_reads_no_config_space),
#ifdef CONFIG_FAILSLAB
	KUNIT_CASE(mapping_allocates_nothing),
#endif
	{}
};

/* What the machine is must not matter */
static int p2pdma_map_test_init(struct kunit *test)
{
	fabric_host_bridges(test, "", false);
	return 0;
}

static struct kunit_suite p2pdma_map_suite = {
	.name = "p2pdma_map",
	.init = p2pdma_map_test_init,
	.test_cases = p2pdma_map_cases,
};

kunit_test_suite(p2pdma_map_suite);
