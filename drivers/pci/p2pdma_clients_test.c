// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of peer-to-peer DMA: client lists, finding and binding
 */
#include <kunit/device.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/dma-map-ops.h>
#include <linux/math64.h>
#include <linux/sched/clock.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "p2pdma.h"
#include "p2pdma_fabric_test.h"

/*
 * Distances from C: P 2 (functions of one device), Q and R 4, S 6. X cannot
 * be reached: it is below another root port.
 */
static const char choice[] =
	"root\n"
	" up\n"
	"  down\n"
	"   ep C 00.0 bar0=mem64:2M\n"
	"   ep P 00.1 bar0=mem64:2M\n"
	"  down\n"
	"   ep Q bar0=mem64:4M\n"
	"  down\n"
	"   ep R bar0=mem64:4M\n"
	"  down DS acs=none\n"
	"   up\n"
	"    down\n"
	"     ep S bar0=mem64:8M\n"
	"root\n"
	" ep X bar0=mem64:8M\n";

struct fixture {
	struct kunit *test;
	struct fabric *fabric;
	struct pci_p2pdma_client_list list;
	atomic_t told;
};

static void count_unusable(struct pci_p2pdma_client_list *list,
			   struct pci_dev *provider)
{
	atomic_inc(&container_of(list, struct fixture, list)->told);
}

static const struct pci_p2pdma_client_ops test_ops = {
	.name = "clients test",
	.unusable = count_unusable,
};

static void fixture_free_list(void *list)
{
	pci_p2pdma_client_list_free(list);
}

/* The list goes before the fabric, whatever becomes of the test */
static struct fixture *fixture_create(struct kunit *test, const char *topology)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->test = test;
	f->fabric = fabric_create(test, topology);
	pci_p2pdma_client_list_init(&f->list, &test_ops);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fixture_free_list,
						  &f->list));
	return f;
}

static struct pci_dev *dev(struct fixture *f, const char *name)
{
	return fabric_dev(f->fabric, name);
}

static struct pci_dev *offer(struct fixture *f, const char *name)
{
	struct pci_dev *pdev = dev(f, name);

	KUNIT_ASSERT_EQ(f->test, 0, pci_p2pdma_add_resource(pdev, 0, 0, 0));
	pci_p2pmem_publish(pdev, true);
	return pdev;
}

static int add(struct fixture *f, const char *name)
{
	return pci_p2pdma_add_client(&f->list, &dev(f, name)->dev);
}

static void remove(struct fixture *f, const char *name)
{
	pci_p2pdma_remove_client(&f->list, &dev(f, name)->dev);
}

/* What find returns, with the reference given back at once */
static struct pci_dev *find(struct fixture *f)
{
	struct pci_dev *pdev = pci_p2pmem_find(&f->list);

	pci_dev_put(pdev);
	return pdev;
}

static struct pci_dev *find_anew(struct fixture *f)
{
	pci_p2pdma_unbind(&f->list);
	return find(f);
}

/* R2.2 R2.3 N5 */
static void empty_list_finds_nothing(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *q = offer(f, "Q");

	KUNIT_EXPECT_NULL(test, find(f));
	KUNIT_EXPECT_EQ(test, -ENOENT, pci_p2pdma_assign_provider(&f->list, q));
	KUNIT_EXPECT_EQ(test, 0, add(f, "C"));
	remove(f, "C");
	KUNIT_EXPECT_NULL(test, find(f));
	KUNIT_EXPECT_EQ(test, -ENOENT, pci_p2pdma_assign_provider(&f->list, q));
}

/* R2.2 N7: and none that is reached through the root complex only */
static void nearest_provider_is_found(struct kunit *test)
{
	static const char * const nearest_first[] = { "P", "Q", "S" };
	struct fixture *f = fixture_create(test, choice);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(nearest_first); i++)
		offer(f, nearest_first[i]);
	offer(f, "X");
	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	for (i = 0; i < ARRAY_SIZE(nearest_first); i++) {
		KUNIT_EXPECT_PTR_EQ(test, dev(f, nearest_first[i]),
				    find_anew(f));
		pci_p2pmem_publish(dev(f, nearest_first[i]), false);
	}
	/* It is the only one left, and has most memory */
	KUNIT_EXPECT_NULL(test, find_anew(f));
}

/* R1.12 R2.2: a drive's own CMB is best of all */
static void own_memory_is_best_if_declared(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *c = offer(f, "C");

	offer(f, "P");
	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find_anew(f));
	pci_p2pdma_set_self_access(c, true);
	KUNIT_EXPECT_PTR_EQ(test, c, find_anew(f));
}

/* R2.2: the sum over all clients counts, not the first one */
static void sum_of_distances_decides(struct kunit *test)
{
	struct fixture *f = fixture_create(test,
		"root\n"
		" up\n"
		"  down\n"
		"   ep A 00.0\n"
		"   ep NEARA 00.1 bar0=mem64:2M\n"
		"  down\n"
		"   up\n"
		"    down\n"
		"     ep B\n"
		"    down\n"
		"     ep C\n"
		"    down\n"
		"     ep D\n"
		"    down\n"
		"     ep NEARBCD bar0=mem64:2M\n");

	/* NEARA: 2 + 6 + 6 + 6, NEARBCD: 6 + 4 + 4 + 4 */
	offer(f, "NEARA");
	offer(f, "NEARBCD");
	KUNIT_ASSERT_EQ(test, 0, add(f, "A"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "NEARA"), find_anew(f));
	KUNIT_ASSERT_EQ(test, 0, add(f, "B"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "NEARA"), find_anew(f));
	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_ASSERT_EQ(test, 0, add(f, "D"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "NEARBCD"), find_anew(f));
	remove(f, "C");
	remove(f, "D");
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "NEARA"), find_anew(f));
}

/* R2.2: among equals the one with most memory free */
static void most_memory_free_decides_among_equals(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *q = offer(f, "Q"), *r = offer(f, "R");
	void *addr;
	int i;

	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	addr = pci_alloc_p2pmem(q, PAGE_SIZE);
	for (i = 0; i < 20; i++)
		KUNIT_EXPECT_PTR_EQ(test, r, find_anew(f));
	pci_free_p2pmem(q, addr, PAGE_SIZE);
	addr = pci_alloc_p2pmem(r, PAGE_SIZE);
	for (i = 0; i < 20; i++)
		KUNIT_EXPECT_PTR_EQ(test, q, find_anew(f));
	pci_free_p2pmem(r, addr, PAGE_SIZE);
}

/* R2.2: then uniformly at random, repeatably with a seed */
static void choice_among_equals_is_random(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *q = offer(f, "Q");
	int i, n = 0, again = 0;

	offer(f, "R");
	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	p2pdma_seed_choice(42);
	for (i = 0; i < 400; i++)
		n += find_anew(f) == q;
	/* A fair coin stays within this but once in 10^9 seeds */
	KUNIT_EXPECT_GT(test, n, 140);
	KUNIT_EXPECT_LT(test, n, 260);

	p2pdma_seed_choice(42);
	for (i = 0; i < 400; i++)
		again += find_anew(f) == q;
	KUNIT_EXPECT_EQ(test, n, again);
}

/* R2.2: the same for three, which a coin for each pair would get wrong */
static void choice_among_three_is_uniform(struct kunit *test)
{
	static const char * const names[] = { "A", "B", "D" };
	struct fixture *f = fixture_create(test,
		"root\n"
		" up\n"
		"  down\n"
		"   ep C\n"
		"  down\n"
		"   ep A bar0=mem64:2M\n"
		"  down\n"
		"   ep B bar0=mem64:2M\n"
		"  down\n"
		"   ep D bar0=mem64:2M\n");
	int i, j, n[3] = {};

	for (j = 0; j < 3; j++)
		offer(f, names[j]);
	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	p2pdma_seed_choice(7);
	for (i = 0; i < 900; i++) {
		struct pci_dev *found = find_anew(f);

		for (j = 0; j < 3; j++)
			n[j] += found == dev(f, names[j]);
	}
	for (j = 0; j < 3; j++) {
		KUNIT_EXPECT_GT(test, n[j], 215);
		KUNIT_EXPECT_LT(test, n[j], 385);
	}
}

/* R1.3 R2.2 */
static void only_published_memory_is_found(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *q = offer(f, "Q");

	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	pci_p2pmem_publish(q, false);
	KUNIT_EXPECT_NULL(test, find_anew(f));
	KUNIT_EXPECT_EQ(test, -ENODEV,
			pci_p2pdma_assign_provider(&f->list, q));
	pci_p2pmem_publish(q, true);
	KUNIT_EXPECT_PTR_EQ(test, q, find_anew(f));
	pci_p2pdma_unbind(&f->list);
	pci_p2pdma_quiesce(q);
	KUNIT_EXPECT_NULL(test, find_anew(f));
	KUNIT_EXPECT_EQ(test, -ENODEV,
			pci_p2pdma_assign_provider(&f->list, q));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(q));
	KUNIT_EXPECT_PTR_EQ(test, q, find_anew(f));

	/* Its own driver's all the same */
	pci_p2pmem_publish(q, false);
	pci_free_p2pmem(q, pci_alloc_p2pmem(q, SZ_4M), SZ_4M);
	KUNIT_EXPECT_EQ(test, SZ_4M, fabric_sysfs_number(q, "available"));
}

/* R2.1 R2.2 */
static void bound_list_keeps_its_provider(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *q = offer(f, "Q");

	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_EXPECT_PTR_EQ(test, q, find(f));

	/* Even if a better one comes, and it is not published any more */
	offer(f, "P");
	KUNIT_EXPECT_PTR_EQ(test, q, find(f));
	pci_p2pmem_publish(q, false);
	KUNIT_EXPECT_PTR_EQ(test, q, find(f));
	KUNIT_EXPECT_EQ(test, -EBUSY,
			pci_p2pdma_assign_provider(&f->list, dev(f, "P")));

	/* Even while it is empty */
	remove(f, "C");
	KUNIT_EXPECT_PTR_EQ(test, q, find(f));
	KUNIT_EXPECT_EQ(test, -EXDEV, add(f, "X"));
	KUNIT_EXPECT_EQ(test, 0, add(f, "S"));
	KUNIT_EXPECT_PTR_EQ(test, q, find(f));

	/* Until it is unbound */
	pci_p2pdma_unbind(&f->list);
	KUNIT_EXPECT_EQ(test, 0, add(f, "C"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(f));
	pci_p2pdma_unbind(&f->list);
	pci_p2pdma_unbind(&f->list);
}

/* R2.1: -EXDEV, and nothing of the refused client is left */
static void client_that_cannot_reach_is_refused(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *x = dev(f, "X");
	unsigned int refs = fabric_refs(x);

	offer(f, "Q");
	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "Q"), find(f));
	KUNIT_EXPECT_EQ(test, -EXDEV, add(f, "X"));
	KUNIT_EXPECT_EQ(test, refs, fabric_refs(x));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "Q"), find(f));

	/* An unbound list takes it, and then finds nothing: all must reach */
	pci_p2pdma_unbind(&f->list);
	KUNIT_EXPECT_EQ(test, 0, add(f, "X"));
	KUNIT_EXPECT_NULL(test, find(f));
	KUNIT_EXPECT_EQ(test, -EXDEV,
			pci_p2pdma_assign_provider(&f->list, dev(f, "Q")));
	remove(f, "X");
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "Q"), find(f));
}

/* R2.3 */
static void named_provider_is_checked_the_same(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *s = offer(f, "S"), *x = offer(f, "X");

	offer(f, "P");
	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_assign_provider(&f->list, x));
	KUNIT_EXPECT_EQ(test, -ENODEV,
			pci_p2pdma_assign_provider(&f->list, dev(f, "Q")));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_assign_provider(&f->list, s));
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_assign_provider(&f->list, s));
	KUNIT_EXPECT_PTR_EQ(test, s, find(f));
}

/* R2.1 N4 N6: two namespaces of one drive */
static void function_added_twice_needs_two_removals(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *c = dev(f, "C");
	unsigned int refs = fabric_refs(c);
	u64 mark;

	offer(f, "Q");
	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "Q"), find(f));
	remove(f, "C");
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "Q"), find(f));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "Q"), find_anew(f));
	remove(f, "C");
	KUNIT_EXPECT_EQ(test, refs, fabric_refs(c));
	KUNIT_EXPECT_NULL(test, find_anew(f));

	/* A third one is somebody's mistake: one line, no harm */
	mark = fabric_log_mark();
	remove(f, "C");
	KUNIT_EXPECT_EQ(test, 1, fabric_log_errors(test, mark, c));
	KUNIT_EXPECT_EQ(test, refs, fabric_refs(c));
}

static void bare_device_release(struct device *d)
{
	kfree(d);
}

static struct device *bare_device(struct kunit *test, struct device *parent)
{
	struct device *d = kzalloc(sizeof(*d), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, d);
	device_initialize(d);
	d->release = bare_device_release;
	d->parent = parent;
	KUNIT_ASSERT_EQ(test, 0, dev_set_name(d, "p2pdma-bare"));
	return d;
}

/* R2.1 R2.4: the nearest PCI function above a device counts */
static void device_below_a_function_stands_for_it(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *q = offer(f, "Q"), *c = dev(f, "C");
	struct device *controller = bare_device(test, &c->dev);
	struct device *ns = bare_device(test, controller);

	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_add_client(&f->list, ns));
	KUNIT_EXPECT_PTR_EQ(test, q, find(f));
	KUNIT_EXPECT_EQ(test, 4, pci_p2pdma_distance(q, ns, false));
	/* It is the same client by whatever name */
	pci_p2pdma_remove_client(&f->list, &c->dev);
	KUNIT_EXPECT_NULL(test, find_anew(f));
	put_device(ns);
	put_device(controller);
}

/* R2.1: -ENODEV */
static void what_is_not_below_pci_is_no_client(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *q = offer(f, "Q");
	struct device *d = bare_device(test, NULL);

	KUNIT_EXPECT_EQ(test, -ENODEV, pci_p2pdma_add_client(&f->list, NULL));
	KUNIT_EXPECT_EQ(test, -ENODEV, pci_p2pdma_add_client(&f->list, d));
	KUNIT_EXPECT_GT(test, 0, pci_p2pdma_distance(q, d, false));
	pci_p2pdma_remove_client(&f->list, NULL);
	KUNIT_EXPECT_NULL(test, find(f));
	put_device(d);
}

/* R2.1 R3.4: DMA operations that do not know peer memory */
static void virtual_dma_is_no_client(struct kunit *test)
{
#ifdef CONFIG_ARCH_HAS_DMA_OPS
	static const struct dma_map_ops virt_ops = {};
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *q = offer(f, "Q"), *c = dev(f, "C");
	const struct dma_map_ops *saved = c->dev.dma_ops;
	struct p2pdma_path path;
	int ret;

	set_dma_ops(&c->dev, &virt_ops);
	ret = add(f, "C");
	p2pdma_judge_device(q, &c->dev, &path);
	set_dma_ops(&c->dev, saved);
	KUNIT_EXPECT_EQ(test, -ENODEV, ret);
	KUNIT_EXPECT_EQ(test, PCI_P2PDMA_VIRT_DMA, path.reason);
	KUNIT_EXPECT_NULL(test, find(f));
#else
	kunit_skip(test, "needs CONFIG_ARCH_HAS_DMA_OPS, as CONFIG_GART_IOMMU selects it");
#endif
}

/* R2.7 N11: a binding does not outlive its path */
static void acs_change_is_seen_by_bound_lists(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *s = offer(f, "S");

	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_EXPECT_PTR_EQ(test, s, find(f));
	fabric_set_acs(f->fabric, "DS", PCI_ACS_RR);
	KUNIT_EXPECT_NULL(test, find(f));
	KUNIT_EXPECT_EQ(test, -EXDEV, add(f, "Q"));
	KUNIT_EXPECT_NULL(test, find_anew(f));
	fabric_set_acs(f->fabric, "DS", 0);
	KUNIT_EXPECT_PTR_EQ(test, s, find(f));
}

static const char two_clients[] =
	"root\n"
	" up\n"
	"  down\n"
	"   ep P bar0=mem64:4M\n"
	"  down DC acs=none\n"
	"   ep C\n"
	"  down DE acs=none\n"
	"   ep E\n";

/*
 * R2.9 N1: a list that was told of a lost path, got its way again, and holds
 * memory, is told when the provider goes, or that would wait for ever
 */
static void provider_that_goes_is_told_after_a_lost_path(struct kunit *test)
{
	struct fixture *f = fixture_create(test, two_clients);
	struct pci_dev *p = offer(f, "P");

	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_ASSERT_EQ(test, 0, add(f, "E"));
	KUNIT_ASSERT_PTR_EQ(test, p, find(f));
	fabric_set_acs(f->fabric, "DE", PCI_ACS_RR);
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&f->told));
	KUNIT_EXPECT_NULL(test, find(f));

	remove(f, "E");
	KUNIT_EXPECT_PTR_EQ(test, p, find(f));
	pci_p2pdma_quiesce(p);
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&f->told));
	/* Once, however often it is quiesced and whatever changes meanwhile */
	pci_p2pdma_quiesce(p);
	fabric_set_acs(f->fabric, "DC", PCI_ACS_RR);
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&f->told));
}

/* R2.9: it got its way again when the client left, and asked for nothing since */
static void list_is_told_again_after_a_client_left(struct kunit *test)
{
	struct fixture *f = fixture_create(test, two_clients);
	struct pci_dev *p = offer(f, "P");

	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_ASSERT_EQ(test, 0, add(f, "E"));
	KUNIT_ASSERT_PTR_EQ(test, p, find(f));
	fabric_set_acs(f->fabric, "DE", PCI_ACS_RR);
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&f->told));

	remove(f, "E");
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&f->told));
	fabric_set_acs(f->fabric, "DC", PCI_ACS_RR);
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&f->told));
}

/* R2.9: nothing new has happened to it */
static void resume_does_not_repeat_what_was_told(struct kunit *test)
{
	struct fixture *f = fixture_create(test, two_clients);
	struct pci_dev *p = offer(f, "P");

	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_ASSERT_PTR_EQ(test, p, find(f));
	fabric_set_acs(f->fabric, "DC", PCI_ACS_CR);
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&f->told));
	pci_p2pdma_quiesce(p);
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&f->told));
	KUNIT_ASSERT_EQ(test, 0, pci_p2pdma_resume(p));
	p2pdma_topology_changed();
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&f->told));

	fabric_set_acs(f->fabric, "DC", 0);
	p2pdma_topology_settle();
	KUNIT_EXPECT_PTR_EQ(test, p, find(f));
	fabric_set_acs(f->fabric, "DC", PCI_ACS_CR);
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 3, atomic_read(&f->told));
}

/*
 * R2.7: an orchestrator that found nothing, or the second best, asks for this
 */
static void changes_tell_when_to_search_again(struct kunit *test)
{
	struct fixture *f = fixture_create(test, two_clients);
	struct pci_dev *p = dev(f, "P");
	unsigned int changes;
	void *mem;

	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_ASSERT_EQ(test, 0, pci_p2pdma_add_resource(p, 0, 0, 0));
	changes = pci_p2pdma_changes();
	KUNIT_ASSERT_NULL(test, find(f));
	pci_p2pmem_publish(p, true);
	KUNIT_EXPECT_NE(test, changes, pci_p2pdma_changes());
	KUNIT_ASSERT_PTR_EQ(test, p, find(f));

	changes = pci_p2pdma_changes();
	fabric_set_acs(f->fabric, "DC", PCI_ACS_CR);
	KUNIT_EXPECT_NE(test, changes, pci_p2pdma_changes());
	changes = pci_p2pdma_changes();
	fabric_set_acs(f->fabric, "DC", 0);
	KUNIT_EXPECT_NE(test, changes, pci_p2pdma_changes());

	/* What only takes away needs no search, and use none at all */
	changes = pci_p2pdma_changes();
	mem = pci_alloc_p2pmem(p, PAGE_SIZE);
	KUNIT_EXPECT_NOT_NULL(test, mem);
	pci_free_p2pmem(p, mem, PAGE_SIZE);
	pci_p2pdma_quiesce(p);
	KUNIT_EXPECT_EQ(test, changes, pci_p2pdma_changes());
	KUNIT_ASSERT_EQ(test, 0, pci_p2pdma_resume(p));
	KUNIT_EXPECT_NE(test, changes, pci_p2pdma_changes());
}

/* N4: its path goes by the physical function, which may be removed first */
static void virtual_function_keeps_the_physical_one(struct kunit *test)
{
	struct fixture *f = fixture_create(test,
					   "root\n"
					   " up\n"
					   "  down\n"
					   "   ep P bar0=mem64:4M\n"
					   "  down\n"
					   "   ep PF\n"
					   "   vf V\n");
	unsigned int refs;

	fabric_enable_vfs(f->fabric, "PF");
	refs = fabric_refs(dev(f, "PF"));
	KUNIT_ASSERT_EQ(test, 0, add(f, "V"));
	KUNIT_EXPECT_EQ(test, refs + 1, fabric_refs(dev(f, "PF")));
	remove(f, "V");
	KUNIT_EXPECT_EQ(test, refs, fabric_refs(dev(f, "PF")));
}

/*
 * N4: every order of four steps, from seven kinds; whatever happened, freeing
 * the list gives back every reference
 */
static void references_balance_in_every_order(struct kunit *test)
{
	enum { ADD_C, ADD_S, REMOVE_C, REMOVE_S, FIND, ASSIGN, UNBIND, STEPS };
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *q = offer(f, "Q");
	struct pci_dev *all[] = {
		dev(f, "C"), dev(f, "S"), q, dev(f, "X"),
	};
	unsigned int refs[ARRAY_SIZE(all)];
	unsigned int order, wrong = 0, bound = 0, i;

	for (i = 0; i < ARRAY_SIZE(all); i++)
		refs[i] = fabric_refs(all[i]);

	for (order = 0; order < STEPS * STEPS * STEPS * STEPS; order++) {
		unsigned int left = order, users_c = 0, users_s = 0;

		for (i = 0; i < 4; i++, left /= STEPS) {
			switch (left % STEPS) {
			case ADD_C:
				users_c += !add(f, "C");
				break;
			case ADD_S:
				users_s += !add(f, "S");
				break;
			case REMOVE_C:
				if (users_c && users_c--)
					remove(f, "C");
				break;
			case REMOVE_S:
				if (users_s && users_s--)
					remove(f, "S");
				break;
			case FIND:
				bound += find(f) == q;
				break;
			case ASSIGN:
				bound += !pci_p2pdma_assign_provider(&f->list,
								     q);
				break;
			case UNBIND:
				pci_p2pdma_unbind(&f->list);
				break;
			}
		}
		/* While it is in use: one reference for client and provider */
		wrong += fabric_refs(all[0]) != refs[0] + !!users_c;
		wrong += fabric_refs(all[1]) != refs[1] + !!users_s;
		wrong += fabric_refs(q) > refs[2] + 1;
		pci_p2pdma_client_list_free(&f->list);
		for (i = 0; i < ARRAY_SIZE(all); i++)
			wrong += fabric_refs(all[i]) != refs[i];
		cond_resched();
	}
	KUNIT_EXPECT_EQ(test, 0, wrong);
	KUNIT_EXPECT_GT(test, bound, 500);
}

/* R2.1 R2.8 N4: the provider goes first, then the list */
static void list_may_outlive_its_provider(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *q = offer(f, "Q"), *s = offer(f, "S");
	char *text;

	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_EXPECT_PTR_EQ(test, q, find(f));
	fabric_remove(f->fabric, "Q");
	KUNIT_EXPECT_NULL(test, find(f));
	KUNIT_EXPECT_EQ(test, -EBUSY, pci_p2pdma_assign_provider(&f->list, s));
	text = pci_p2pdma_explain(&f->list);
	KUNIT_EXPECT_NOT_NULL(test, text);
	KUNIT_EXPECT_NOT_NULL(test, strstr(text ?: "", pci_name(q)));
	kfree(text);
	KUNIT_EXPECT_PTR_EQ(test, s, find_anew(f));
}

/* R2.3 R2.9 N4: the driver was bound anew, the list has the old provider */
static void list_can_be_assigned_to_a_provider_that_is_back(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *q = dev(f, "Q");
	void *group = devres_open_group(&q->dev, NULL, GFP_KERNEL);
	unsigned int refs;

	KUNIT_ASSERT_NOT_NULL(test, group);
	offer(f, "Q");
	devres_close_group(&q->dev, group);
	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	KUNIT_ASSERT_PTR_EQ(test, q, find(f));
	devres_release_group(&q->dev, group);
	KUNIT_EXPECT_EQ(test, -ENODEV,
			pci_p2pdma_assign_provider(&f->list, q));

	offer(f, "Q");
	KUNIT_EXPECT_NULL(test, find(f));
	refs = fabric_refs(q);
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_assign_provider(&f->list, q));
	KUNIT_EXPECT_EQ(test, refs, fabric_refs(q));
	KUNIT_EXPECT_PTR_EQ(test, q, find(f));
	pci_p2pdma_quiesce(q);
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&f->told));
	pci_p2pdma_unbind(&f->list);
	KUNIT_EXPECT_EQ(test, refs - 1, fabric_refs(q));
}

/* R2.1 N4: it stays a client until it is removed from the list */
static void client_may_go_before_its_list(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);

	offer(f, "Q");
	KUNIT_ASSERT_EQ(test, 0, add(f, "S"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "Q"), find(f));
	fabric_remove(f->fabric, "S");
	remove(f, "S");
	KUNIT_EXPECT_NULL(test, find_anew(f));
}

/* R2.2 R2.8: searching logs nothing; explaining says all */
static void search_is_silent_and_explanation_is_not(struct kunit *test)
{
	struct fixture *f = fixture_create(test, choice);
	struct pci_dev *x;
	u64 mark;
	char *text;

	text = pci_p2pdma_explain(&f->list);
	KUNIT_EXPECT_NOT_NULL(test, text);
	kfree(text);

	x = offer(f, "X");
	KUNIT_ASSERT_EQ(test, 0, add(f, "C"));
	mark = fabric_log_mark();
	KUNIT_EXPECT_NULL(test, find(f));
	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_assign_provider(&f->list, x));
	KUNIT_EXPECT_EQ(test, 0,
			fabric_log_count(test, mark, NULL, pci_name(x)));

	text = pci_p2pdma_explain(&f->list);
	KUNIT_ASSERT_NOT_NULL(test, text);
	KUNIT_EXPECT_NOT_NULL(test, strstr(text, pci_name(x)));
	KUNIT_EXPECT_NOT_NULL(test, strstr(text, pci_name(dev(f, "C"))));
	KUNIT_EXPECT_NOT_NULL(test,
			      strstr(text, pci_p2pdma_reason_text(PCI_P2PDMA_ROOT_COMPLEX)));
	kfree(text);

	/* One that can be reached is no refusal, but X goes on being one */
	offer(f, "Q");
	text = pci_p2pdma_explain(&f->list);
	KUNIT_ASSERT_NOT_NULL(test, text);
	KUNIT_EXPECT_NOT_NULL(test, strstr(text, pci_name(x)));
	kfree(text);
	pci_p2pmem_publish(x, false);
	text = pci_p2pdma_explain(&f->list);
	KUNIT_EXPECT_STREQ(test,
			   "there is a provider that all clients can reach",
			   text ?: "");
	kfree(text);
}

/*
 * One that is told of a lost path and takes its time, while its provider is
 * quiesced, twice
 */
struct slow_user {
	struct pci_p2pdma_client_list list;
	struct pci_dev *provider;
	struct completion told;
	struct completion go;
	struct work_struct quiesce[2];
	atomic_t calls;
	atomic_t at_once;
	bool overlapped;
};

static void slow_unusable(struct pci_p2pdma_client_list *list,
			  struct pci_dev *provider)
{
	struct slow_user *user = container_of(list, struct slow_user, list);

	if (atomic_inc_return(&user->at_once) > 1)
		user->overlapped = true;
	atomic_inc(&user->calls);
	complete(&user->told);
	wait_for_completion(&user->go);
	atomic_dec(&user->at_once);
}

static const struct pci_p2pdma_client_ops slow_ops = {
	.name = "slow user",
	.unusable = slow_unusable,
};

static void slow_quiesce(struct work_struct *work)
{
	struct slow_user *user = container_of(work, struct slow_user,
					      quiesce[0]);

	pci_p2pdma_quiesce(user->provider);
}

static void slow_quiesce_again(struct work_struct *work)
{
	struct slow_user *user = container_of(work, struct slow_user,
					      quiesce[1]);

	pci_p2pdma_quiesce(user->provider);
}

static void slow_user_free(void *data)
{
	struct slow_user *user = data;

	complete_all(&user->go);
	flush_work(&user->quiesce[0]);
	flush_work(&user->quiesce[1]);
	pci_p2pdma_client_list_free(&user->list);
}

static struct slow_user *slow_user_new(struct fixture *f)
{
	struct slow_user *user = kunit_kzalloc(f->test, sizeof(*user),
					       GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(f->test, user);
	init_completion(&user->told);
	init_completion(&user->go);
	INIT_WORK(&user->quiesce[0], slow_quiesce);
	INIT_WORK(&user->quiesce[1], slow_quiesce_again);
	pci_p2pdma_client_list_init(&user->list, &slow_ops);
	KUNIT_ASSERT_EQ(f->test, 0,
			kunit_add_action_or_reset(f->test, slow_user_free,
						  user));
	KUNIT_ASSERT_EQ(f->test, 0,
			pci_p2pdma_add_client(&user->list, &dev(f, "C")->dev));
	user->provider = pci_p2pmem_find(&user->list);
	KUNIT_ASSERT_NOT_NULL(f->test, user->provider);
	pci_dev_put(user->provider);	/* The fabric keeps it */
	return user;
}

/*
 * R1.7 R2.9: one call at a time; who quiesces returns when all were told, by
 * whomever
 */
static void quiesce_waits_for_what_another_tells(struct kunit *test)
{
	struct fixture *f = fixture_create(test, two_clients);
	struct slow_user *user;

	offer(f, "P");
	user = slow_user_new(f);
	fabric_set_acs(f->fabric, "DC", PCI_ACS_RR);
	KUNIT_ASSERT_TRUE(test, wait_for_completion_timeout(&user->told, 60 * HZ));

	/* The list has news to come, and must not get it meanwhile */
	queue_work(system_unbound_wq, &user->quiesce[0]);
	msleep(200);
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&user->calls));
	KUNIT_EXPECT_TRUE(test, work_busy(&user->quiesce[0]));

	/* It is being told the news; there is nothing more to tell, but to wait */
	complete(&user->go);
	KUNIT_ASSERT_TRUE(test, wait_for_completion_timeout(&user->told, 60 * HZ));
	queue_work(system_unbound_wq, &user->quiesce[1]);
	msleep(200);
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&user->calls));
	KUNIT_EXPECT_TRUE(test, work_busy(&user->quiesce[0]));
	KUNIT_EXPECT_TRUE(test, work_busy(&user->quiesce[1]));

	complete(&user->go);
	flush_work(&user->quiesce[0]);
	flush_work(&user->quiesce[1]);
	KUNIT_EXPECT_EQ(test, 2, atomic_read(&user->calls));
	KUNIT_EXPECT_FALSE(test, user->overlapped);
}

/*
 * Scale: in each of four domains a switch with 114 devices of eight functions,
 * 4112 functions with the bridges. 64 of the devices have a provider.
 */
#define SCALE_DOMAINS	4
#define SCALE_DEVICES	(IS_ENABLED(CONFIG_KASAN) ? 20 : 114)
#define SCALE_PROVIDERS	(IS_ENABLED(CONFIG_KASAN) ? 16 : 64)
#define SCALE_BEST	5

struct scale {
	struct kunit *test;
	struct fabric *fabric[SCALE_DOMAINS];
	struct pci_p2pdma_client_list list;
	unsigned int offered;
};

static struct fabric *scale_domain(struct kunit *test)
{
	const size_t size = SZ_64K;
	char *text = kunit_kzalloc(test, size, GFP_KERNEL);
	struct fabric *fabric;
	unsigned int i, function, len;

	KUNIT_ASSERT_NOT_NULL(test, text);
	len = scnprintf(text, size, "root\n up\n");
	for (i = 0; i < SCALE_DEVICES; i++) {
		len += scnprintf(text + len, size - len,
				 "  down %02x.%x\n   ep C%u 00.0\n",
				 i / 8, i % 8, i);
		for (function = 1; function < 7; function++)
			len += scnprintf(text + len, size - len,
					 "   ep 00.%u\n", function);
		len += scnprintf(text + len, size - len,
				 i < SCALE_PROVIDERS ?
				 "   ep P%u 00.7 bar0=mem64:2M\n" :
				 "   ep N%u 00.7\n", i);
	}
	fabric = fabric_create(test, text);
	kunit_kfree(test, text);
	return fabric;
}

static struct pci_dev *scale_dev(struct scale *scale, unsigned int domain,
				 char letter, unsigned int nr)
{
	char name[8];

	snprintf(name, sizeof(name), "%c%u", letter, nr);
	return fabric_dev(scale->fabric[domain], name);
}

/* The nth provider; they go round the domains */
static struct pci_dev *scale_provider(struct scale *scale, unsigned int nth)
{
	return scale_dev(scale, nth % SCALE_DOMAINS, 'P',
			 (nth / SCALE_DOMAINS + SCALE_BEST) % SCALE_PROVIDERS);
}

static void scale_add(struct scale *scale, struct pci_dev *client)
{
	KUNIT_ASSERT_EQ(scale->test, 0,
			pci_p2pdma_add_client(&scale->list, &client->dev));
}

/* Clients are in domain 0, two in the device of the best provider */
static struct scale *scale_create(struct kunit *test)
{
	struct scale *scale = kunit_kzalloc(test, sizeof(*scale), GFP_KERNEL);
	struct pci_dev *best, *second;
	u64 start = local_clock();
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, scale);
	scale->test = test;
	fabric_quiet(test);
	for (i = 0; i < SCALE_DOMAINS; i++)
		scale->fabric[i] = scale_domain(test);
	kunit_printk(KERN_NOTICE, test, "%u functions made in %llu ms",
		     SCALE_DOMAINS * (2 + 9 * SCALE_DEVICES),
		     div_u64(local_clock() - start, NSEC_PER_MSEC));

	pci_p2pdma_client_list_init(&scale->list, &test_ops);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fixture_free_list,
						  &scale->list));
	for (i = 0; i < SCALE_PROVIDERS - 1; i++)
		scale_add(scale, scale_dev(scale, 0, 'C', i));
	best = scale_dev(scale, 0, 'P', SCALE_BEST);
	second = pci_get_slot(best->bus, PCI_DEVFN(0, 3));
	KUNIT_ASSERT_NOT_NULL(test, second);
	scale_add(scale, second);
	pci_dev_put(second);
	return scale;
}

static void scale_offer(struct scale *scale, unsigned int nr)
{
	for (; scale->offered < nr; scale->offered++) {
		struct pci_dev *pdev = scale_provider(scale, scale->offered);

		KUNIT_ASSERT_EQ(scale->test, 0,
				pci_p2pdma_add_resource(pdev, 0, 0, 0));
		pci_p2pmem_publish(pdev, true);
	}
}

static struct pci_dev *scale_find(struct scale *scale, u64 *ns)
{
	struct pci_dev *found;
	u64 start;

	pci_p2pdma_unbind(&scale->list);
	start = local_clock();
	found = pci_p2pmem_find(&scale->list);
	*ns = min(*ns, local_clock() - start);
	pci_dev_put(found);
	return found;
}

/* The shortest of ten times to find @best */
static u64 scale_time(struct scale *scale, struct pci_dev *best,
		      const char *what)
{
	u64 ns = U64_MAX;
	int tries;

	for (tries = 0; tries < 10; tries++)
		KUNIT_EXPECT_PTR_EQ(scale->test, best, scale_find(scale, &ns));
	kunit_printk(KERN_NOTICE, scale->test,
		     "one find, %u clients, %u providers, %s: %llu ns",
		     SCALE_PROVIDERS, scale->offered, what, ns);
	return ns;
}

/*
 * R2.2: the best of 256 providers for 64 clients among 4112 functions, and a
 * time that grows with the providers, not with their square. On an emulator
 * that counts instructions (-icount shift=0), a nanosecond is one.
 */
static void best_of_many_providers_is_found(struct kunit *test)
{
	const unsigned int all = SCALE_DOMAINS * SCALE_PROVIDERS;
	struct scale *scale = scale_create(test);
	struct pci_dev *best = scale_dev(scale, 0, 'P', SCALE_BEST), *found;
	unsigned int counts[] = { 1, 16, all }, i;
	u64 ns[ARRAY_SIZE(counts)], routed[ARRAY_SIZE(counts)];

	for (i = 0; i < ARRAY_SIZE(counts); i++) {
		scale_offer(scale, counts[i]);
		ns[i] = scale_time(scale, best, "a quarter reachable");
		fabric_host_bridges(test, "", true);
		routed[i] = scale_time(scale, best, "all reachable");
		fabric_host_bridges(test, "", false);
	}
	KUNIT_EXPECT_LT(test, ns[2], 4 * ns[1] * all / 16);
	KUNIT_EXPECT_LT(test, routed[2], 4 * routed[1] * all / 16);

	/* The best one, and then all of its domain, out of the way */
	pci_p2pmem_publish(best, false);
	found = scale_find(scale, &ns[2]);
	KUNIT_ASSERT_NOT_NULL(test, found);
	KUNIT_EXPECT_EQ(test, pci_domain_nr(best->bus),
			pci_domain_nr(found->bus));
	for (i = 0; i < all; i += SCALE_DOMAINS)
		pci_p2pmem_publish(scale_provider(scale, i), false);
	KUNIT_EXPECT_NULL(test, scale_find(scale, &ns[2]));

	/* N14: those below other host bridges, if they are known to route */
	fabric_host_bridges(test, "", true);
	ns[2] = U64_MAX;
	found = scale_find(scale, &ns[2]);
	KUNIT_ASSERT_NOT_NULL(test, found);
	kunit_printk(KERN_NOTICE, test,
		     "one find, %u clients, %u providers, all equally far: %llu ns",
		     SCALE_PROVIDERS, all - SCALE_PROVIDERS, ns[2]);
	KUNIT_EXPECT_NE(test, pci_domain_nr(best->bus),
			pci_domain_nr(found->bus));
	pci_p2pmem_publish(best, true);
	KUNIT_EXPECT_PTR_EQ(test, best, scale_find(scale, &ns[2]));
}

static struct kunit_case p2pdma_clients_cases[] = {
	KUNIT_CASE(empty_list_finds_nothing),
	KUNIT_CASE(nearest_provider_is_found),
	KUNIT_CASE(own_memory_is_best_if_declared),
	KUNIT_CASE(sum_of_distances_decides),
	KUNIT_CASE(most_memory_free_decides_among_equals),
	KUNIT_CASE(choice_among_equals_is_random),
	KUNIT_CASE(choice_among_three_is_uniform),
	KUNIT_CASE(only_published_memory_is_found),
	KUNIT_CASE(bound_list_keeps_its_provider),
	KUNIT_CASE(client_that_cannot_reach_is_refused),
	KUNIT_CASE(named_provider_is_checked_the_same),
	KUNIT_CASE(function_added_twice_needs_two_removals),
	KUNIT_CASE(device_below_a_function_stands_for_it),
	KUNIT_CASE(what_is_not_below_pci_is_no_client),
	KUNIT_CASE(virtual_dma_is_no_client),
	KUNIT_CASE(acs_change_is_seen_by_bound_lists),
	KUNIT_CASE(provider_that_goes_is_told_after_a_lost_path),
	KUNIT_CASE(list_is_told_again_after_a_client_left),
	KUNIT_CASE(resume_does_not_repeat_what_was_told),
	KUNIT_CASE(changes_tell_when_to_search_again),
	KUNIT_CASE(virtual_function_keeps_the_physical_one),
	KUNIT_CASE(references_balance_in_every_order),
	KUNIT_CASE(list_may_outlive_its_provider),
	KUNIT_CASE(list_can_be_assigned_to_a_provider_that_is_back),
	KUNIT_CASE(client_may_go_before_its_list),
	KUNIT_CASE(search_is_silent_and_explanation_is_not),
	KUNIT_CASE(quiesce_waits_for_what_another_tells),
	KUNIT_CASE_SLOW(best_of_many_providers_is_found),
	{}
};

/* What the machine is must not matter */
static int p2pdma_clients_init(struct kunit *test)
{
	fabric_host_bridges(test, "", false);
	return 0;
}

static struct kunit_suite p2pdma_clients_suite = {
	.name = "p2pdma_clients",
	.init = p2pdma_clients_init,
	.test_cases = p2pdma_clients_cases,
};

kunit_test_suite(p2pdma_clients_suite);
