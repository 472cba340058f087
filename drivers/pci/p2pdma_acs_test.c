// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of peer-to-peer DMA: ACS policies
 *
 * All ports of the fabric redirect to begin with. A small IOMMU driver that
 * translates nothing gives its functions groups, in the tests that need them
 * and only on machines without an IOMMU.
 */
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/slab.h>
#include "pci.h"
#include "p2pdma.h"
#include "p2pdma_fabric_test.h"

#define REDIRECTION	(PCI_ACS_RR | PCI_ACS_CR)
#define KEPT		(PCI_ACS_SV | PCI_ACS_UF)
#define FULL		(KEPT | REDIRECTION)

/* What the log says about a port */
#define OPENED(policy)							\
	"no ACS redirection on this switch port (p2pdma.acs=" policy "): " \
	"devices below such ports can read and write each other's BARs, " \
	"and must not be given to different virtual machines"

/*
 * P, Q, S, Y provide. From C: P and Q are 4 edges away, S 6, and Y is below
 * another root port. Those that a test binds a driver to have an id of their own.
 */
#define FABRIC(root)						\
	"root R acs=" root "\n"					\
	" up U\n"						\
	"  down D1 acs=sv,rr,cr,uf\n"				\
	"   ep P 00.0 acs=sv,rr,cr,uf bar0=mem64:2M\n"		\
	"   ep P1 00.1 id=1eaf:0101 acs=sv,rr,cr,uf bar0=mem64:2M\n" \
	"  down D2 acs=sv,rr,cr,uf\n"				\
	"   ep C id=1eaf:0102 acs=sv,rr,cr,uf\n"		\
	"  down D3 acs=sv,rr,cr,uf\n"				\
	"   ep Q id=1eaf:0103 bar0=mem64:2M\n"			\
	"  down D4 acs=sv,rr,cr,uf\n"				\
	"   up V\n"						\
	"    down D5 acs=sv,rr,cr,uf\n"				\
	"     ep S id=1eaf:0104 bar0=mem64:2M\n"		\
	"root R2 acs=sv,rr,cr,uf\n"				\
	" ep Y id=1eaf:0105 bar0=mem64:2M\n"

static const char redirecting[] = FABRIC("sv,rr,cr,uf");

static const char * const with_acs[] = {
	"R", "D1", "P", "P1", "D2", "C", "D3", "D4", "D5", "R2",
};

/* An orchestrator */
struct orchestrator {
	struct list_head node;
	struct pci_p2pdma_client_list list;
	unsigned int told;
};

struct fixture {
	struct kunit *test;
	struct fabric *fabric;
	enum p2pdma_acs_policy policy;	/* before the test */
	struct list_head users;
	unsigned int drivers;		/* that are registered */
	u16 words[ARRAY_SIZE(with_acs)];
};

static void count_unusable(struct pci_p2pdma_client_list *list,
			   struct pci_dev *provider)
{
	container_of(list, struct orchestrator, list)->told++;
}

static const struct pci_p2pdma_client_ops test_ops = {
	.name = "acs test",
	.unusable = count_unusable,
};

static struct pci_dev *dev(struct fixture *f, const char *name)
{
	return fabric_dev(f->fabric, name);
}

static u16 word_of(struct pci_dev *pdev)
{
	u16 word;

	pci_read_config_word(pdev, pdev->acs_cap + PCI_ACS_CTRL, &word);
	return word;
}

static u16 word(struct fixture *f, const char *name)
{
	return word_of(dev(f, name));
}

#define USER_DRIVER	1
#define KERNEL_DRIVER	2

static struct pci_device_id user_ids[2];
static struct pci_device_id kernel_ids[2];

static unsigned int words_when_probed;
static unsigned int told_when_probed;
static struct fixture *probe_fixture;
static struct orchestrator *probe_user;

static int user_driver_probe(struct pci_dev *pdev,
			     const struct pci_device_id *id)
{
	if (!probe_fixture)
		return 0;
	words_when_probed = word(probe_fixture, "D1") & word(probe_fixture, "D2");
	told_when_probed = probe_user->told;
	return 0;
}

/* Gives functions to user space, as vfio-pci does */
static struct pci_driver user_driver = {
	.name = "p2pdma_test_user",
	.id_table = user_ids,
	.probe = user_driver_probe,
	.driver_managed_dma = true,
};

static int kernel_driver_probe(struct pci_dev *pdev,
			       const struct pci_device_id *id)
{
	return 0;
}

/* Uses the DMA API, as any other driver does */
static struct pci_driver kernel_driver = {
	.name = "p2pdma_test_kernel",
	.id_table = kernel_ids,
	.probe = kernel_driver_probe,
};

/* No function but @name has its id */
static void bind_driver(struct fixture *f, const char *name,
			struct pci_driver *driver)
{
	struct pci_dev *pdev = dev(f, name);
	struct pci_device_id *ids = driver == &user_driver ? user_ids : kernel_ids;

	ids[0] = (struct pci_device_id) { PCI_DEVICE(pdev->vendor, pdev->device) };
	KUNIT_ASSERT_EQ(f->test, 0, pci_register_driver(driver));
	f->drivers |= driver == &user_driver ? USER_DRIVER : KERNEL_DRIVER;
	KUNIT_ASSERT_PTR_EQ(f->test, &driver->driver, pdev->dev.driver);
}

static void unbind_drivers(struct fixture *f)
{
	if (f->drivers & USER_DRIVER)
		pci_unregister_driver(&user_driver);
	if (f->drivers & KERNEL_DRIVER)
		pci_unregister_driver(&kernel_driver);
	f->drivers = 0;
}

static void fixture_free(void *data)
{
	struct fixture *f = data;
	struct orchestrator *user, *tmp;

	list_for_each_entry_safe(user, tmp, &f->users, node) {
		pci_p2pdma_client_list_free(&user->list);
		kfree(user);
	}
	unbind_drivers(f);
	p2pdma_acs_set_policy(f->policy);
}

static void remember_words(struct fixture *f)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(with_acs); i++)
		if (fabric_has(f->fabric, with_acs[i]))
			f->words[i] = word(f, with_acs[i]);
}

/* Ports named in @open, divided by spaces, do not redirect; all else is as it was */
static void expect_open(struct fixture *f, const char *open)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(with_acs); i++) {
		size_t len = strlen(with_acs[i]);
		u16 expect = f->words[i];
		const char *at;

		if (!fabric_has(f->fabric, with_acs[i]))
			continue;
		for (at = open; (at = strstr(at, with_acs[i])); at += len)
			if (at[len] == ' ' || !at[len])
				break;
		if (at)
			expect &= ~REDIRECTION;
		KUNIT_EXPECT_EQ_MSG(f->test, expect, word(f, with_acs[i]),
				    "%s, with \"%s\" to be open", with_acs[i],
				    open);
	}
}

static struct fixture *fixture_create(struct kunit *test, const char *topology,
				      enum p2pdma_acs_policy policy)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->test = test;
	INIT_LIST_HEAD(&f->users);
	f->fabric = fabric_create(test, topology);
	f->policy = p2pdma_acs_set_policy(policy);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fixture_free, f));
	remember_words(f);
	return f;
}

static struct orchestrator *new_user(struct fixture *f)
{
	struct orchestrator *user = kzalloc(sizeof(*user), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(f->test, user);
	pci_p2pdma_client_list_init(&user->list, &test_ops);
	list_add_tail(&user->node, &f->users);
	return user;
}

static struct pci_dev *offer(struct fixture *f, const char *name)
{
	struct pci_dev *pdev = dev(f, name);

	KUNIT_ASSERT_EQ(f->test, 0, pci_p2pdma_add_resource(pdev, 0, 0, 0));
	pci_p2pmem_publish(pdev, true);
	return pdev;
}

static int add(struct fixture *f, struct orchestrator *user, const char *name)
{
	return pci_p2pdma_add_client(&user->list, &dev(f, name)->dev);
}

static void remove(struct fixture *f, struct orchestrator *user, const char *name)
{
	pci_p2pdma_remove_client(&user->list, &dev(f, name)->dev);
}

static struct pci_dev *find(struct orchestrator *user)
{
	struct pci_dev *pdev = pci_p2pmem_find(&user->list);

	pci_dev_put(pdev);
	return pdev;
}

/* A user with client C, bound to P */
static struct orchestrator *bound_user(struct fixture *f)
{
	struct orchestrator *user = new_user(f);

	offer(f, "P");
	KUNIT_ASSERT_EQ(f->test, 0, add(f, user, "C"));
	KUNIT_ASSERT_PTR_EQ(f->test, dev(f, "P"), find(user));
	expect_open(f, "D1 D2");
	return user;
}

static void expect_explained(struct fixture *f, struct orchestrator *user,
			     const char *words)
{
	char *text = pci_p2pdma_explain(&user->list);

	KUNIT_ASSERT_NOT_NULL(f->test, text);
	KUNIT_EXPECT_TRUE_MSG(f->test, strstr(text, words),
			      "\"%s\" is not in \"%s\"", words, text);
	kfree(text);
}

/* C cannot have P: the policy does not open the ports, and says why */
static void expect_shut(struct fixture *f, struct orchestrator *user,
			const char *why)
{
	KUNIT_EXPECT_NULL(f->test, find(user));
	KUNIT_EXPECT_EQ(f->test, -EXDEV,
			pci_p2pdma_assign_provider(&user->list, dev(f, "P")));
	expect_open(f, "");
	expect_explained(f, user, why);
}

/* ... but another way to open them is there (R2.8) */
static void expect_refused(struct fixture *f, struct orchestrator *user,
			   const char *why)
{
	expect_shut(f, user, why);
	expect_explained(f, user, "boot with pci=disable_acs_redir=");
}

static void rescan(struct fixture *f)
{
	pci_lock_rescan_remove();
	pci_rescan_bus(pci_find_host_bridge(dev(f, "R")->bus)->bus);
	pci_unlock_rescan_remove();
}

/* What the kernel made of a function that was removed and found again */
static struct pci_dev *found_again(struct fixture *f, const char *name)
{
	struct pci_dev *old = dev(f, name);
	struct pci_dev *pdev = pci_get_slot(old->bus, old->devfn);

	KUNIT_ASSERT_NOT_NULL(f->test, pdev);
	KUNIT_ASSERT_PTR_NE(f->test, old, pdev);
	pci_dev_put(pdev);	/* The bus keeps it */
	return pdev;
}

/* Suspend and resume, or a reset that keeps the word, with the kernel's code */
static void restore_state(struct pci_dev *pdev)
{
	pci_save_state(pdev);
	pci_restore_state(pdev);
}

/* A reset clears the word, and the kernel wants @ctrl afterwards */
static void reset(struct pci_dev *pdev, u16 ctrl)
{
	pci_bus_write_config_word(pdev->bus, pdev->devfn,
				  pdev->acs_cap + PCI_ACS_CTRL, 0);
	pci_p2pdma_write_acs(pdev, 0, ctrl, false);
}

/*
 * keep
 */

/* R4.1 */
static void keep_changes_nothing(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_KEEP);
	struct orchestrator *user = new_user(f);
	u64 mark = fabric_log_mark();
	char *text;

	offer(f, "P");
	KUNIT_ASSERT_EQ(test, 0, add(f, user, "C"));
	KUNIT_EXPECT_NULL(test, find(user));
	KUNIT_EXPECT_EQ(test, -EXDEV,
			pci_p2pdma_assign_provider(&user->list, dev(f, "P")));
	reset(dev(f, "D1"), FULL);
	restore_state(dev(f, "D2"));
	expect_open(f, "");
	KUNIT_EXPECT_EQ(test, 0, fabric_log_count(test, mark, NULL, "ACS redir"));

	text = pci_p2pdma_explain(&user->list);
	KUNIT_ASSERT_NOT_NULL(test, text);
	KUNIT_EXPECT_NULL(test, strstr(text, "p2pdma.acs"));
	kfree(text);
}

/*
 * switch
 */

/* R4.1 R4.4 N15: legs of switches, and of them nothing but redirection */
static void switch_clears_legs_at_enumeration(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting,
					   P2PDMA_ACS_SWITCH);
	struct pci_dev *root = dev(f, "R"), *legs[5], *up;
	unsigned int i;
	u64 mark;

	/* The fabric was enumerated before the policy was set: do it again */
	fabric_remove(f->fabric, "U");
	mark = fabric_log_mark();
	rescan(f);

	up = pci_get_slot(root->subordinate, 0);
	KUNIT_ASSERT_NOT_NULL(test, up);
	for (i = 0; i < 4; i++) {
		legs[i] = pci_get_slot(up->subordinate, PCI_DEVFN(i, 0));
		KUNIT_ASSERT_NOT_NULL(test, legs[i]);
	}
	legs[4] = list_first_entry(&legs[3]->subordinate->devices,
				   struct pci_dev, bus_list);
	legs[4] = pci_get_slot(legs[4]->subordinate, 0);
	KUNIT_ASSERT_NOT_NULL(test, legs[4]);

	for (i = 0; i < ARRAY_SIZE(legs); i++) {
		char line[64];

		KUNIT_EXPECT_EQ(test, KEPT, word_of(legs[i]));
		snprintf(line, sizeof(line), "%s: p2pdma: no ACS redirection",
			 pci_name(legs[i]));
		KUNIT_EXPECT_EQ(test, 1, fabric_log_count(test, mark, "6", line));
	}
	KUNIT_EXPECT_EQ(test, ARRAY_SIZE(legs),
			fabric_log_count(test, mark, "6",
					 OPENED("switch")));

	/* Ports of the root complex, and endpoints */
	KUNIT_EXPECT_EQ(test, FULL, word(f, "R"));
	KUNIT_EXPECT_EQ(test, FULL, word(f, "R2"));
	KUNIT_EXPECT_EQ(test, FULL, word_of(list_first_entry(&legs[0]->subordinate->devices,
							     struct pci_dev, bus_list)));

	/* Resume and reset, where the kernel enables ACS again: held, not said */
	mark = fabric_log_mark();
	restore_state(legs[0]);
	KUNIT_EXPECT_EQ(test, KEPT, word_of(legs[0]));
	reset(legs[1], FULL | PCI_ACS_EC);
	KUNIT_EXPECT_EQ(test, KEPT | PCI_ACS_EC, word_of(legs[1]));
	KUNIT_EXPECT_EQ(test, 0, fabric_log_count(test, mark, NULL, "ACS redir"));

	for (i = 0; i < ARRAY_SIZE(legs); i++)
		pci_dev_put(legs[i]);
	pci_dev_put(up);
}

/* R4.1: nothing that was not there is said to have been cleared */
static void switch_says_nothing_about_ports_that_do_not_redirect(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting,
					   P2PDMA_ACS_SWITCH);
	u64 mark = fabric_log_mark();

	reset(dev(f, "D1"), KEPT);
	KUNIT_EXPECT_EQ(test, KEPT, word(f, "D1"));
	KUNIT_EXPECT_EQ(test, 0, fabric_log_count(test, mark, NULL, "ACS redir"));
}

/* R4.1: a Thunderbolt dock is a switch */
static void switch_leaves_untrusted_and_external_alone(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting,
					   P2PDMA_ACS_SWITCH);
	static const char * const ports[] = { "D1", "D4", "D5" };
	unsigned int i;

	dev(f, "R")->external_facing = true;
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		reset(dev(f, ports[i]), FULL);
	expect_open(f, "");
	dev(f, "R")->external_facing = false;

	dev(f, "D1")->external_facing = true;
	dev(f, "D4")->untrusted = true;
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		reset(dev(f, ports[i]), FULL);
	expect_open(f, "");
	dev(f, "D1")->external_facing = false;
	dev(f, "D4")->untrusted = false;

	/* The test can tell */
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		reset(dev(f, ports[i]), FULL);
	expect_open(f, "D1 D4 D5");
}

/* R4.1: firmware may name an external-facing port when it was enumerated */
static void switch_gives_back_what_turns_out_external(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting,
					   P2PDMA_ACS_SWITCH);

	reset(dev(f, "D3"), FULL);
	expect_open(f, "D3");
	dev(f, "D3")->external_facing = true;
	fabric_remove(f->fabric, "Q");
	rescan(f);
	KUNIT_EXPECT_TRUE(test, pci_dev_is_added(found_again(f, "Q")));
	expect_open(f, "");
}

/* R4.3: pci=config_acs= and pci=disable_acs_redir= win */
static void command_line_wins(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting,
					   P2PDMA_ACS_SWITCH);
	struct pci_dev *d1 = dev(f, "D1");
	struct orchestrator *user = new_user(f);

	pci_p2pdma_write_acs(d1, FULL, FULL, true);
	expect_open(f, "");

	p2pdma_acs_set_policy(P2PDMA_ACS_PATH);
	offer(f, "P");
	KUNIT_ASSERT_EQ(test, 0, add(f, user, "C"));
	expect_refused(f, user, "is configured by the kernel command line");

	/* ... and comes first also when a port is open: reset with config_acs= */
	pci_p2pdma_write_acs(d1, FULL, FULL, false);
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	expect_open(f, "D1 D2");
	pci_p2pdma_write_acs(d1, KEPT, KEPT | PCI_ACS_RR, true);
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 1, user->told);
	pci_p2pdma_unbind(&user->list);
	KUNIT_EXPECT_EQ(test, KEPT | PCI_ACS_RR, word(f, "D1"));
	KUNIT_EXPECT_EQ(test, FULL, word(f, "D2"));
}

/* R4.1 R4.3: what it has opened itself is in nobody's way, and nobody's to hold */
static void port_that_the_command_line_opened_needs_no_hold(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *a, *b = new_user(f);

	pci_p2pdma_write_acs(dev(f, "D1"), FULL, KEPT, true);
	remember_words(f);
	a = bound_user(f);
	KUNIT_ASSERT_EQ(test, 0, add(f, b, "C"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(b));
	/* Each holds D2 */
	pci_p2pdma_unbind(&a->list);
	expect_open(f, "D2");
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(b));
	pci_p2pdma_unbind(&b->list);
	expect_open(f, "");
	KUNIT_EXPECT_EQ(test, KEPT, word(f, "D1"));
}

/*
 * path: what is opened, and when
 */

/* R4.1 R4.4 N15 */
static void path_opens_both_legs_while_bound(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	u64 mark = fabric_log_mark();
	struct p2pdma_path path;
	struct orchestrator *user;

	user = bound_user(f);
	p2pdma_judge(dev(f, "P"), dev(f, "C"), &path);
	KUNIT_EXPECT_EQ(test, PCI_P2PDMA_REACHABLE, path.reason);
	KUNIT_EXPECT_EQ(test, PCI_P2PDMA_MAP_BUS_ADDR, path.map);
	KUNIT_EXPECT_EQ(test, 4, path.distance);
	/* Those whom it was not opened for are no worse off than before */
	p2pdma_judge(dev(f, "Q"), dev(f, "C"), &path);
	KUNIT_EXPECT_EQ(test, PCI_P2PDMA_ACS_REDIRECT, path.reason);
	KUNIT_EXPECT_EQ(test, 2,
			fabric_log_count(test, mark, "6",
					 OPENED("path")));

	/* Asking again changes nothing and says nothing */
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	KUNIT_EXPECT_EQ(test, 0,
			pci_p2pdma_assign_provider(&user->list, dev(f, "P")));
	expect_open(f, "D1 D2");
	KUNIT_EXPECT_EQ(test, 2, fabric_log_count(test, mark, NULL, "ACS redir"));

	pci_p2pdma_unbind(&user->list);
	expect_open(f, "");
	KUNIT_EXPECT_EQ(test, 2,
			fabric_log_count(test, mark, "6", "ACS redirection is back"));

	KUNIT_EXPECT_EQ(test, 0,
			pci_p2pdma_assign_provider(&user->list, dev(f, "P")));
	expect_open(f, "D1 D2");
	pci_p2pdma_client_list_free(&user->list);
	expect_open(f, "");
}

/* R4.1: every switch on the way, on both legs */
static void path_opens_all_switches_on_the_way(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = new_user(f);

	offer(f, "S");
	KUNIT_ASSERT_EQ(test, 0, add(f, user, "C"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "S"), find(user));
	expect_open(f, "D2 D4 D5");
	/* A part of a path is opened as well */
	pci_p2pdma_unbind(&user->list);
	fabric_set_acs(f->fabric, "D4", KEPT);
	remember_words(f);
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "S"), find(user));
	expect_open(f, "D2 D5");
	/* ... and all of it held: D4 might be reset */
	reset(dev(f, "D4"), FULL);
	expect_open(f, "D2 D5");
	pci_p2pdma_unbind(&user->list);
	KUNIT_EXPECT_EQ(test, FULL, word(f, "D4"));
}

/* R4.1: counted */
static void path_is_open_until_the_last_list_leaves(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *a = bound_user(f), *b = new_user(f), *c = new_user(f);

	KUNIT_ASSERT_EQ(test, 0, add(f, b, "Q"));
	KUNIT_ASSERT_EQ(test, 0, add(f, c, "C"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(b));
	expect_open(f, "D1 D2 D3");
	/* This one finds the ports open, and has to be counted all the same */
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(c));
	pci_p2pdma_unbind(&a->list);
	expect_open(f, "D1 D2 D3");
	pci_p2pdma_unbind(&c->list);
	expect_open(f, "D1 D3");
	pci_p2pdma_unbind(&b->list);
	expect_open(f, "");
	KUNIT_EXPECT_EQ(test, 0, a->told + b->told + c->told);
}

/* R4.1 N6 */
static void path_follows_the_clients_of_a_bound_list(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = bound_user(f);

	KUNIT_EXPECT_EQ(test, 0, add(f, user, "S"));
	expect_open(f, "D1 D2 D4 D5");
	KUNIT_EXPECT_EQ(test, 0, add(f, user, "C"));
	remove(f, user, "C");
	expect_open(f, "D1 D2 D4 D5");
	remove(f, user, "C");
	expect_open(f, "D1 D4 D5");
	/* All or nothing: Y is elsewhere */
	KUNIT_EXPECT_EQ(test, -EXDEV, add(f, user, "Y"));
	expect_open(f, "D1 D4 D5");
	remove(f, user, "S");
	expect_open(f, "");
	/* Bound and empty */
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	expect_open(f, "");
	KUNIT_EXPECT_EQ(test, 0, add(f, user, "C"));
	expect_open(f, "D1 D2");
	/* An unbound list opens nothing */
	pci_p2pdma_unbind(&user->list);
	KUNIT_EXPECT_EQ(test, 0, add(f, user, "S"));
	expect_open(f, "");
}

/* R4.1: all or nothing */
static void path_is_opened_for_all_clients_or_none(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = new_user(f);

	offer(f, "P");
	KUNIT_ASSERT_EQ(test, 0, add(f, user, "C"));
	KUNIT_ASSERT_EQ(test, 0, add(f, user, "Y"));
	KUNIT_EXPECT_NULL(test, find(user));
	KUNIT_EXPECT_EQ(test, -EXDEV,
			pci_p2pdma_assign_provider(&user->list, dev(f, "P")));
	expect_open(f, "");
}

/* R2.2: opening costs something */
static void path_prefers_what_needs_no_opening(struct kunit *test)
{
	struct fixture *f = fixture_create(test,
		"root\n"
		" up\n"
		"  down acs=none\n"
		"   ep C\n"
		"  down D1 acs=rr,cr\n"
		"   ep P bar0=mem64:2M\n"
		"  down\n"
		"   ep Q bar0=mem64:2M\n"
		"  down D3 acs=rr,cr\n"
		"   ep N 00.0 bar0=mem64:2M\n"
		"   ep M 00.1 bar0=mem64:4M\n"
		"  down\n"
		"   up\n"
		"    down\n"
		"     ep S bar0=mem64:8M\n", P2PDMA_ACS_PATH);
	struct orchestrator *user = new_user(f);
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, add(f, user, "C"));
	offer(f, "P");
	offer(f, "M");
	offer(f, "Q");
	offer(f, "S");
	for (i = 0; i < 20; i++) {
		KUNIT_EXPECT_PTR_EQ(test, dev(f, "Q"), find(user));
		expect_open(f, "");
		pci_p2pdma_unbind(&user->list);
	}
	/* But a shorter way comes first, and then the one with most memory */
	pci_p2pmem_publish(dev(f, "Q"), false);
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "M"), find(user));
	expect_open(f, "D3");
}

/* R2.2 R4.1: a port that does not do what it is told; then what is further off */
static void path_that_stays_shut_is_not_taken(struct kunit *test)
{
	struct fixture *f = fixture_create(test,
		"root\n"
		" up\n"
		"  down D2 acs=none\n"
		"   ep C\n"
		"  down D1 acs=rr,cr acs-wired\n"
		"   ep P bar0=mem64:2M\n"
		"  down\n"
		"   up\n"
		"    down\n"
		"     ep S bar0=mem64:8M\n", P2PDMA_ACS_PATH);
	struct orchestrator *user = new_user(f);
	struct pci_dev *p = offer(f, "P");

	KUNIT_ASSERT_EQ(test, 0, add(f, user, "C"));
	KUNIT_EXPECT_NULL(test, find(user));
	KUNIT_EXPECT_EQ(test, -EXDEV,
			pci_p2pdma_assign_provider(&user->list, p));
	expect_open(f, "");
	offer(f, "S");
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "S"), find(user));
	expect_open(f, "");
}

/* R2.6 R4.1: where the host bridge routes, the way below the switch is better */
static void path_is_preferred_to_the_root_complex(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	bool routes = p2pdma_cpu_routes;
	struct orchestrator *user = new_user(f);
	struct pci_dev *p;
	struct pci_dev *found, *refused;
	struct p2pdma_path path;

	p = offer(f, "P");
	KUNIT_ASSERT_EQ(test, 0, add(f, user, "C"));
	p2pdma_cpu_routes = true;
	p2pdma_host_bridges_changed();
	found = find(user);
	expect_open(f, "D1 D2");
	pci_p2pdma_unbind(&user->list);

	/* Where the ports have to stay as they are, it does without */
	dev(f, "Q")->pasid_enabled = 1;
	refused = find(user);
	expect_open(f, "");
	p2pdma_judge(p, dev(f, "C"), &path);
	dev(f, "Q")->pasid_enabled = 0;
	pci_p2pdma_unbind(&user->list);
	p2pdma_cpu_routes = routes;
	p2pdma_host_bridges_changed();

	KUNIT_EXPECT_PTR_EQ(test, p, found);
	KUNIT_EXPECT_PTR_EQ(test, p, refused);
	KUNIT_EXPECT_EQ(test, PCI_P2PDMA_MAP_THRU_HOST_BRIDGE, path.map);
}

/* R4.3: Egress Control has its remedy, and no policy clears it */
static void path_does_not_touch_egress_control(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = new_user(f);

	offer(f, "P");
	KUNIT_ASSERT_EQ(test, 0, add(f, user, "C"));
	fabric_set_acs(f->fabric, "D2", FULL | PCI_ACS_EC);
	remember_words(f);
	expect_refused(f, user, "controls egress");
}

/* R2.5 R4.1: a port with no ACS, of which the kernel knows that it redirects */
static void path_does_not_open_what_always_redirects(struct kunit *test)
{
	struct fixture *f = fixture_create(test,
		"root\n"
		" up\n"
		"  down id=1d17:0721\n"
		"   ep P bar0=mem64:2M\n"
		"  down D2 acs=rr,cr\n"
		"   ep C\n", P2PDMA_ACS_PATH);
	struct orchestrator *user = new_user(f);

	offer(f, "P");
	KUNIT_ASSERT_EQ(test, 0, add(f, user, "C"));
	expect_shut(f, user, "always redirects");
}

/* R4.4 N15 */
static void path_opens_only_downstream_ports_of_switches(struct kunit *test)
{
	struct fixture *f = fixture_create(test,
		"root R acs=rr,cr\n"
		" up U acs=rr\n"
		"  down D1 acs=rr,cr\n"
		"   ep P bar0=mem64:2M\n"
		"  down D2 acs=rr,cr\n"
		"   ep C\n"
		"root R2 acs=rr,cr\n"
		" down DX acs=rr,cr\n"
		"  ep Y\n", P2PDMA_ACS_PATH);
	struct orchestrator *user = new_user(f);

	offer(f, "P");
	KUNIT_ASSERT_EQ(test, 0, add(f, user, "C"));
	expect_refused(f, user, "is no downstream port of a switch");
	KUNIT_EXPECT_EQ(test, PCI_ACS_RR, word(f, "U"));

	/* What meets in the root complex only has nothing to open */
	remove(f, user, "C");
	KUNIT_ASSERT_EQ(test, 0, add(f, user, "Y"));
	KUNIT_EXPECT_NULL(test, find(user));
	KUNIT_EXPECT_EQ(test, REDIRECTION, word(f, "DX"));
	expect_open(f, "");

	/* QEMU's: a root port below an upstream port is a leg of the switch */
	p2pdma_acs_set_policy(P2PDMA_ACS_SWITCH);
	reset(dev(f, "DX"), FULL);
	reset(dev(f, "U"), FULL);
	reset(dev(f, "R"), FULL);
	KUNIT_EXPECT_EQ(test, FULL, word(f, "DX"));
	KUNIT_EXPECT_EQ(test, FULL, word(f, "U"));
	KUNIT_EXPECT_EQ(test, FULL, word(f, "R"));
}

/* R4.1 R4.4: QEMU's leg with ACS is a root port below an upstream port */
static void leg_that_says_it_is_a_root_port_is_a_leg(struct kunit *test)
{
	struct fixture *f = fixture_create(test,
		"root R acs=sv,rr,cr,uf\n"
		" up U\n"
		"  root D1 acs=sv,rr,cr,uf\n"
		"   ep P bar0=mem64:2M\n"
		"  root D2 acs=sv,rr,cr,uf\n"
		"   ep C\n", P2PDMA_ACS_PATH);

	bound_user(f);
	KUNIT_EXPECT_EQ(test, FULL, word(f, "R"));
}

/*
 * path: what goes back
 */

/* R4.1: held through reset and resume; then what the kernel wanted goes back */
static void open_path_is_held_through_reset(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user;

	fabric_set_acs(f->fabric, "D2", KEPT | PCI_ACS_CR);
	remember_words(f);
	user = bound_user(f);

	/* Resume with the word kept: the kernel finds it cleared, by us */
	restore_state(dev(f, "D1"));
	expect_open(f, "D1 D2");
	/* Reset, and the kernel enables more than there was */
	reset(dev(f, "D2"), FULL | PCI_ACS_TB);
	KUNIT_EXPECT_EQ(test, KEPT | PCI_ACS_TB, word(f, "D2"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	KUNIT_EXPECT_EQ(test, 0, user->told);

	pci_p2pdma_unbind(&user->list);
	KUNIT_EXPECT_EQ(test, FULL, word(f, "D1"));
	KUNIT_EXPECT_EQ(test, FULL | PCI_ACS_TB, word(f, "D2"));
}

/* R4.1: the word is written after the kernel read it; a path closed in between */
static void path_that_closes_during_a_reset_is_closed(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = bound_user(f);
	u16 old = word(f, "D1");

	KUNIT_EXPECT_EQ(test, KEPT, old);
	pci_p2pdma_unbind(&user->list);
	pci_p2pdma_write_acs(dev(f, "D1"), old, old, false);
	expect_open(f, "");

	/* And the other way round */
	old = word(f, "D1");
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	pci_p2pdma_write_acs(dev(f, "D1"), old, old, false);
	expect_open(f, "D1 D2");
	pci_p2pdma_unbind(&user->list);
	expect_open(f, "");
}

/* R2.7 R2.9 N11: user space may redirect again, and what it wrote stays */
static void user_space_takes_a_port_over(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = bound_user(f);

	fabric_set_acs(f->fabric, "D1", PCI_ACS_RR);
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 1, user->told);
	KUNIT_EXPECT_EQ(test, PCI_ACS_RR, word(f, "D1"));
	expect_explained(f, user, "redirect again (ACS)");
	pci_p2pdma_unbind(&user->list);
	KUNIT_EXPECT_EQ(test, PCI_ACS_RR, word(f, "D1"));
	KUNIT_EXPECT_EQ(test, FULL, word(f, "D2"));

	/* It set it and cleared it again: cleared it stays */
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	KUNIT_EXPECT_EQ(test, 0, word(f, "D1"));
	fabric_set_acs(f->fabric, "D1", FULL);
	p2pdma_topology_settle();
	fabric_set_acs(f->fabric, "D1", 0);
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 2, user->told);
	pci_p2pdma_unbind(&user->list);
	KUNIT_EXPECT_EQ(test, 0, word(f, "D1"));
	KUNIT_EXPECT_EQ(test, FULL, word(f, "D2"));

	/* It meant another control of the same word */
	fabric_set_acs(f->fabric, "D1", FULL);
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	fabric_set_acs(f->fabric, "D1", PCI_ACS_UF);
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 2, user->told);
	pci_p2pdma_unbind(&user->list);
	KUNIT_EXPECT_EQ(test, PCI_ACS_UF | REDIRECTION, word(f, "D1"));
}

/* R2.9: a list that asks again gets what the policy allows */
static void port_that_was_taken_over_is_opened_when_asked_for(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *a = bound_user(f), *b = new_user(f);

	KUNIT_ASSERT_EQ(test, 0, add(f, b, "Q"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(b));
	fabric_set_acs(f->fabric, "D1", FULL);
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 1, a->told);
	KUNIT_EXPECT_EQ(test, 1, b->told);

	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(a));
	expect_open(f, "D1 D2 D3");
	/* Once more, so both are told once more */
	p2pdma_topology_settle();
	fabric_set_acs(f->fabric, "D1", FULL);
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 2, a->told);
	KUNIT_EXPECT_EQ(test, 2, b->told);

	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(b));
	pci_p2pdma_unbind(&b->list);
	pci_p2pdma_unbind(&a->list);
	expect_open(f, "");
}

/* What P said its generation was has to be another now */
static void expect_lost(struct fixture *f, u32 *generation, const char *when)
{
	u32 before = *generation;

	*generation = pci_p2pdma_generation(dev(f, "P"));
	KUNIT_EXPECT_NE_MSG(f->test, 0, *generation, "%s", when);
	KUNIT_EXPECT_NE_MSG(f->test, before, *generation, "%s", when);
}

/*
 * R1.7: what was under way by a port that is shut may not have arrived,
 * whoever shut it, and nothing but the generation tells
 */
static void data_under_way_by_a_port_that_shuts_counts_as_lost(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *a = bound_user(f), *b = new_user(f);
	u32 generation = pci_p2pdma_generation(dev(f, "P"));

	KUNIT_EXPECT_NE(test, 0, generation);
	KUNIT_ASSERT_EQ(test, 0, add(f, b, "C"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(b));
	pci_p2pdma_unbind(&b->list);
	expect_open(f, "D1 D2");
	KUNIT_EXPECT_EQ_MSG(test, generation, pci_p2pdma_generation(dev(f, "P")),
			    "opening, and leaving when others stay, loses nothing");
	pci_p2pdma_unbind(&a->list);
	expect_lost(f, &generation, "the last list leaves");

	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(a));
	KUNIT_EXPECT_EQ(test, generation, pci_p2pdma_generation(dev(f, "P")));
	bind_driver(f, "Q", &user_driver);
	expect_lost(f, &generation, "a function goes to user space");
	unbind_drivers(f);

	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(a));
	KUNIT_EXPECT_EQ(test, generation, pci_p2pdma_generation(dev(f, "P")));
	fabric_user_set_acs(f->fabric, "D1", FULL);
	expect_lost(f, &generation, "user space has a port redirect");
	p2pdma_topology_settle();

	/* What is restored as it was stops nothing */
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(a));
	generation = pci_p2pdma_generation(dev(f, "P"));
	restore_state(dev(f, "D1"));
	reset(dev(f, "D2"), FULL);
	expect_open(f, "D1 D2");
	KUNIT_EXPECT_EQ(test, generation, pci_p2pdma_generation(dev(f, "P")));
}

/* R1.7 R4.1: a provider that goes takes its paths with it, a reset does not */
static void paths_close_when_the_provider_goes(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = bound_user(f);

	pci_p2pdma_quiesce(dev(f, "P"));
	KUNIT_EXPECT_EQ(test, 1, user->told);
	expect_open(f, "D1 D2");
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_resume(dev(f, "P")));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));

	fabric_remove(f->fabric, "P");
	expect_open(f, "");
	/* That the way was lost, and that the provider goes, may be told apart */
	KUNIT_EXPECT_GE(test, user->told, 2);
	KUNIT_EXPECT_LE(test, user->told, 3);
	/* It is bound to what was, and can add to that */
	KUNIT_EXPECT_NULL(test, find(user));
	add(f, user, "Q");
	expect_open(f, "");
}

/* R4.1: whether its list knows it or not */
static void paths_close_when_the_client_goes(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = bound_user(f);

	KUNIT_EXPECT_EQ(test, 0, add(f, user, "Q"));
	fabric_remove(f->fabric, "C");
	expect_open(f, "D1 D3");
	/* Nobody opens the way to what has gone */
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 1, user->told);
	KUNIT_EXPECT_NULL(test, find(user));
	expect_open(f, "");
	remove(f, user, "C");
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	expect_open(f, "D1 D3");
}

/* R4.1: before the port itself, or the whole switch, goes */
static void paths_close_when_a_port_goes(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = bound_user(f);
	u16 d1, d2;

	fabric_remove(f->fabric, "U");
	rescan(f);
	/* Nobody but us wrote to them in between */
	pci_bus_read_config_word(dev(f, "D1")->bus, dev(f, "D1")->devfn,
				 dev(f, "D1")->acs_cap + PCI_ACS_CTRL, &d1);
	pci_bus_read_config_word(dev(f, "D2")->bus, dev(f, "D2")->devfn,
				 dev(f, "D2")->acs_cap + PCI_ACS_CTRL, &d2);
	KUNIT_EXPECT_EQ(test, FULL, d1);
	KUNIT_EXPECT_EQ(test, FULL, d2);
	pci_p2pdma_unbind(&user->list);
}

/* R4.1: nothing is written to what is not there, and nothing is said */
static void ports_that_were_pulled_are_forgotten(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = bound_user(f);
	u64 mark = fabric_log_mark();

	fabric_pull(f->fabric, "D1");
	KUNIT_EXPECT_EQ(test, FULL, word(f, "D2"));
	KUNIT_EXPECT_EQ(test, 1, fabric_log_count(test, mark, NULL, "ACS redir"));
	KUNIT_EXPECT_NULL(test, find(user));
}

/*
 * path: where it is refused, and taken back (R4.2)
 */

static struct orchestrator *hopeful_user(struct fixture *f)
{
	struct orchestrator *user = new_user(f);

	offer(f, "P");
	KUNIT_ASSERT_EQ(f->test, 0, add(f, user, "C"));
	return user;
}

/* Wherever the function is below the switch; the last is of no concern */
static const char * const concerned[] = { "P", "P1", "C", "Q", "S" };

/* R2.8 R4.2: wherever it is below the switch */
static void path_is_refused_with_a_function_in_user_space(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = hopeful_user(f);
	unsigned int i;

	/* P has memory that a driver would take with it */
	for (i = 1; i < ARRAY_SIZE(concerned); i++) {
		bind_driver(f, concerned[i], &user_driver);
		expect_refused(f, user, "is assigned to user space");
		expect_explained(f, user, pci_name(dev(f, concerned[i])));
		unbind_drivers(f);
	}
	bind_driver(f, "Y", &user_driver);
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	expect_open(f, "D1 D2");
	unbind_drivers(f);
}

/*
 * R2.9 R4.2 N27: ports are shut and the list is told before the driver's probe
 */
static void path_is_taken_back_before_a_function_goes_to_user_space(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = bound_user(f);
	u64 mark = fabric_log_mark();

	/* Other drivers, and functions elsewhere, do not matter */
	bind_driver(f, "Q", &kernel_driver);
	unbind_drivers(f);
	bind_driver(f, "Y", &user_driver);
	unbind_drivers(f);
	expect_open(f, "D1 D2");
	KUNIT_EXPECT_EQ(test, 0, fabric_log_count(test, mark, NULL, "ACS redir"));

	probe_fixture = f;
	probe_user = user;
	bind_driver(f, "Q", &user_driver);
	probe_fixture = NULL;
	KUNIT_EXPECT_EQ(test, FULL, words_when_probed);
	KUNIT_EXPECT_EQ(test, 1, told_when_probed);
	KUNIT_EXPECT_EQ(test, 2, fabric_log_count(test, mark, "6",
						  "is assigned to user space"));
	expect_refused(f, user, "is assigned to user space");

	unbind_drivers(f);
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	expect_open(f, "D1 D2");
	KUNIT_EXPECT_EQ(test, 1, user->told);
}

/* R4.2 */
static void path_is_refused_with_pasid_enabled(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = hopeful_user(f);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(concerned); i++) {
		dev(f, concerned[i])->pasid_enabled = 1;
		expect_refused(f, user, "has PASID enabled");
		dev(f, concerned[i])->pasid_enabled = 0;
	}
	dev(f, "Y")->pasid_enabled = 1;
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	dev(f, "Y")->pasid_enabled = 0;
}

/* R4.2 */
static void path_is_refused_with_something_untrusted(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = hopeful_user(f);

	dev(f, "Q")->untrusted = true;
	expect_refused(f, user, "is untrusted or external-facing");
	dev(f, "Q")->untrusted = false;
	dev(f, "R")->external_facing = true;
	expect_refused(f, user, "is untrusted or external-facing");
	dev(f, "R")->external_facing = false;
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
}

/*
 * R4.2: without memory, and not below the port: neither reaches nor is reached
 */
static void function_out_of_reach_does_not_matter(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = new_user(f);

	offer(f, "P");
	KUNIT_ASSERT_EQ(test, 0, add(f, user, "Q"));
	dev(f, "C")->pasid_enabled = 1;
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	expect_open(f, "D1 D3");
	dev(f, "C")->pasid_enabled = 0;
}

/* R2.9 R4.2: no IOMMU, no group to wait for; but a dock closes the path */
static void hot_add_without_iommu_leaves_paths_open(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user = bound_user(f);

	if (iommu_present(&pci_bus_type))
		kunit_skip(test, "this machine has an IOMMU");
	fabric_remove(f->fabric, "P1");
	rescan(f);
	KUNIT_EXPECT_TRUE(test, pci_dev_is_added(found_again(f, "P1")));
	expect_open(f, "D1 D2");
	KUNIT_EXPECT_EQ(test, 0, user->told);

	/* A dock is another matter */
	fabric_remove(f->fabric, "Q");
	dev(f, "D3")->external_facing = true;
	rescan(f);
	expect_open(f, "");
	KUNIT_EXPECT_EQ(test, 1, user->told);
}

#ifdef CONFIG_IOMMU_API

/* Nothing below R is isolated: one IOMMU group */
static const char one_group[] = FABRIC("none");

/*
 * The mock IOMMU. Groups are real, by pci_device_group(); domains are names.
 */
static struct mock {
	struct iommu_device iommu;
	unsigned int type;
} mock;

static int mock_attach(struct iommu_domain *domain, struct device *dev)
{
	return 0;
}

static void mock_free(struct iommu_domain *domain)
{
	kfree(domain);
}

static int mock_map(struct iommu_domain *domain, unsigned long iova,
		    phys_addr_t paddr, size_t pgsize, size_t pgcount, int prot,
		    gfp_t gfp, size_t *mapped)
{
	*mapped = pgsize * pgcount;
	return 0;
}

static size_t mock_unmap(struct iommu_domain *domain, unsigned long iova,
			 size_t pgsize, size_t pgcount,
			 struct iommu_iotlb_gather *gather)
{
	return pgsize * pgcount;
}

static const struct iommu_domain_ops mock_domain_ops = {
	.attach_dev = mock_attach,
	.map_pages = mock_map,
	.unmap_pages = mock_unmap,
	.free = mock_free,
};

static struct iommu_domain mock_identity = {
	.type = IOMMU_DOMAIN_IDENTITY,
	.ops = &(const struct iommu_domain_ops) { .attach_dev = mock_attach },
};

static struct iommu_domain mock_blocked = {
	.type = IOMMU_DOMAIN_BLOCKED,
	.ops = &(const struct iommu_domain_ops) { .attach_dev = mock_attach },
};

static struct iommu_domain *mock_alloc(struct device *dev)
{
	struct iommu_domain *domain = kzalloc(sizeof(*domain), GFP_KERNEL);

	if (domain) {
		domain->geometry.aperture_end = DMA_BIT_MASK(48);
		domain->geometry.force_aperture = true;
	}
	return domain;
}

/* The functions of fabrics, and nothing of the machine */
static struct iommu_device *mock_probe(struct device *dev)
{
	if (!dev_is_pci(dev) || pci_domain_nr(to_pci_dev(dev)->bus) < 0xe000)
		return ERR_PTR(-ENODEV);
	return &mock.iommu;
}

static int mock_default_type(struct device *dev)
{
	return mock.type;
}

static const struct iommu_ops mock_ops = {
	.identity_domain = &mock_identity,
	.blocked_domain = &mock_blocked,
	.domain_alloc_paging = mock_alloc,
	.probe_device = mock_probe,
	.device_group = pci_device_group,
	.def_domain_type = mock_default_type,
	.pgsize_bitmap = SZ_4K,
	.owner = THIS_MODULE,
	.default_domain_ops = &mock_domain_ops,
};

static void mock_unregister(void *data)
{
	iommu_device_unregister(&mock.iommu);
	iommu_device_sysfs_remove(&mock.iommu);
}

/* With the fabric there already, so that groups are by its ACS words */
static void mock_register(struct kunit *test, unsigned int default_type)
{
	if (iommu_present(&pci_bus_type))
		kunit_skip(test, "this machine has an IOMMU");
	mock = (struct mock) { .type = default_type };
	KUNIT_ASSERT_EQ(test, 0,
			iommu_device_sysfs_add(&mock.iommu, NULL, NULL,
					       "p2pdma-mock"));
	if (iommu_device_register(&mock.iommu, &mock_ops, NULL)) {
		iommu_device_sysfs_remove(&mock.iommu);
		KUNIT_FAIL_AND_ABORT(test, "no mock IOMMU");
	}
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, mock_unregister, NULL));
}

static int group_of(struct pci_dev *pdev)
{
	struct iommu_group *group = iommu_group_get(&pdev->dev);
	int id = group ? iommu_group_id(group) : -1;

	iommu_group_put(group);
	return id;
}

/* R4.2 */
static void path_is_refused_between_iommu_groups(struct kunit *test)
{
	struct fixture *f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	struct orchestrator *user;

	mock_register(test, IOMMU_DOMAIN_IDENTITY);
	KUNIT_ASSERT_NE(test, group_of(dev(f, "P")), group_of(dev(f, "C")));
	user = hopeful_user(f);
	expect_refused(f, user, "are in different IOMMU groups");
}

/* R4.2 */
static void path_is_opened_within_an_iommu_group(struct kunit *test)
{
	struct fixture *f = fixture_create(test, one_group, P2PDMA_ACS_PATH);

	mock_register(test, IOMMU_DOMAIN_IDENTITY);
	KUNIT_ASSERT_GE(test, group_of(dev(f, "P")), 0);
	KUNIT_ASSERT_EQ(test, group_of(dev(f, "P")), group_of(dev(f, "S")));
	/* In use by the kernel, which also counts as "claimed" */
	bind_driver(f, "C", &kernel_driver);
	bound_user(f);
	unbind_drivers(f);
}

/* R4.2: a function that nobody uses, in a group of its own */
static void path_is_refused_if_a_bystander_is_isolated(struct kunit *test)
{
	struct fixture *f = fixture_create(test, one_group, P2PDMA_ACS_PATH);
	struct orchestrator *user;

	mock_register(test, IOMMU_DOMAIN_IDENTITY);
	fabric_set_acs(f->fabric, "R", FULL);
	fabric_remove(f->fabric, "Q");
	rescan(f);
	remember_words(f);
	KUNIT_ASSERT_NE(test, group_of(found_again(f, "Q")),
			group_of(dev(f, "P")));
	user = hopeful_user(f);
	expect_refused(f, user, "are in different IOMMU groups");
}

/* R2.9 R4.2 N27: it is isolated, those that were there first are not */
static void hot_added_function_gets_its_own_group(struct kunit *test)
{
	struct fixture *f = fixture_create(test, one_group, P2PDMA_ACS_PATH);
	struct orchestrator *user;

	mock_register(test, IOMMU_DOMAIN_IDENTITY);
	/* Now whoever comes is isolated; those that are here stay together */
	fabric_set_acs(f->fabric, "R", FULL);
	fabric_remove(f->fabric, "P1");
	remember_words(f);
	user = bound_user(f);

	rescan(f);
	KUNIT_EXPECT_NE(test, group_of(dev(f, "P")),
			group_of(found_again(f, "P1")));
	KUNIT_EXPECT_EQ(test, 1, user->told);
	expect_refused(f, user, "are in different IOMMU groups");
	pci_p2pdma_unbind(&user->list);
	expect_open(f, "");
}

/* R2.9 R4.2 N27: until its group is formed; then the path opens on demand */
static void hot_add_takes_the_path_back_for_a_while(struct kunit *test)
{
	struct fixture *f = fixture_create(test, one_group, P2PDMA_ACS_PATH);
	struct orchestrator *user;
	u64 mark;

	mock_register(test, IOMMU_DOMAIN_IDENTITY);
	fabric_remove(f->fabric, "P1");
	user = bound_user(f);
	mark = fabric_log_mark();
	rescan(f);
	KUNIT_EXPECT_EQ(test, group_of(dev(f, "P")),
			group_of(found_again(f, "P1")));
	expect_open(f, "");
	KUNIT_EXPECT_EQ(test, 1, user->told);
	KUNIT_EXPECT_EQ(test, 2, fabric_log_count(test, mark, "6", "is added"));
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	expect_open(f, "D1 D2");
	p2pdma_topology_settle();
	KUNIT_EXPECT_EQ(test, 1, user->told);
}

/* R4.2 */
static void path_is_refused_with_a_domain_of_unknown_content(struct kunit *test)
{
	struct fixture *f = fixture_create(test, one_group, P2PDMA_ACS_PATH);
	struct iommu_domain *domain;
	struct iommu_group *group;
	struct orchestrator *user;
	int ret;

	mock_register(test, IOMMU_DOMAIN_IDENTITY);
	user = hopeful_user(f);
	domain = iommu_paging_domain_alloc(&dev(f, "Q")->dev);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	group = iommu_group_get(&dev(f, "Q")->dev);
	ret = iommu_attach_group(domain, group);
	if (!ret) {
		expect_refused(f, user,
			       "has an IOMMU domain that may use the addresses of other devices' BARs");
		iommu_detach_group(domain, group);
		KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
	}
	iommu_group_put(group);
	iommu_domain_free(domain);
	KUNIT_EXPECT_EQ(test, 0, ret);
}

/* R4.2: the DMA API keeps the windows of the host bridge free */
static void path_is_opened_with_the_domain_of_the_dma_api(struct kunit *test)
{
	struct fixture *f = fixture_create(test, one_group, P2PDMA_ACS_PATH);

	if (!IS_ENABLED(CONFIG_IOMMU_DMA))
		kunit_skip(test, "needs CONFIG_IOMMU_DMA");
	mock_register(test, IOMMU_DOMAIN_DMA);
	KUNIT_ASSERT_TRUE(test, iommu_is_dma_domain(iommu_get_domain_for_dev(&dev(f, "C")->dev)));
	bound_user(f);
}

/* R4.2: vfio claims a group, also by way of another member */
static void path_is_refused_while_user_space_owns_the_group(struct kunit *test)
{
	struct fixture *f = fixture_create(test, one_group, P2PDMA_ACS_PATH);
	struct orchestrator *user;

	mock_register(test, IOMMU_DOMAIN_IDENTITY);
	user = hopeful_user(f);
	KUNIT_ASSERT_EQ(test, 0,
			iommu_device_claim_dma_owner(&dev(f, "S")->dev, user));
	expect_refused(f, user, "is assigned to user space");
	iommu_device_release_dma_owner(&dev(f, "S")->dev);
	KUNIT_EXPECT_PTR_EQ(test, dev(f, "P"), find(user));
}

/* R2.9 R4.2 N27: a member of the group that is not below the switch */
static void path_is_taken_back_with_a_group_member_elsewhere(struct kunit *test)
{
	struct fixture *f = fixture_create(test,
		"root R acs=none\n"
		" up\n"
		"  down acs=none\n"
		"   up\n"
		"    down D1 acs=sv,rr,cr,uf\n"
		"     ep P bar0=mem64:2M\n"
		"    down D2 acs=sv,rr,cr,uf\n"
		"     ep C\n"
		"  down\n"
		"   ep E id=1eaf:0106\n", P2PDMA_ACS_PATH);
	struct orchestrator *user;

	mock_register(test, IOMMU_DOMAIN_IDENTITY);
	KUNIT_ASSERT_EQ(test, group_of(dev(f, "P")), group_of(dev(f, "E")));
	user = bound_user(f);
	bind_driver(f, "E", &user_driver);
	expect_open(f, "");
	KUNIT_EXPECT_EQ(test, 1, user->told);
	unbind_drivers(f);
}

#endif /* CONFIG_IOMMU_API */

/*
 * Any sequence
 */

#define SEQUENCE_USERS	4
#define SEQUENCE_RUNS	60
#define SEQUENCE_STEPS	60

static const char * const sequence_clients[] = { "C", "P1", "Q", "S", "Y" };
static const char * const sequence_providers[] = { "P", "Q", "S" };
static const char * const sequence_ports[] = {
	"R", "D1", "D2", "D3", "D4", "D5",
};

/* Ports on the way from each function to the switch U, bits of sequence_ports */
static unsigned int sequence_leg(const char *name)
{
	switch (name[0]) {
	case 'P':
		return BIT(1);
	case 'C':
		return BIT(2);
	case 'Q':
		return BIT(3);
	case 'S':
		return BIT(4) | BIT(5);
	default:
		return 0;
	}
}

static unsigned long long seed = 0xac5;
module_param(seed, ullong, 0444);
MODULE_PARM_DESC(seed, "of the first random sequence; 0: another one each time");

static u64 sequence_seed(struct kunit *test)
{
	u64 first = seed ?: get_random_u64();

	kunit_printk(KERN_NOTICE, test, "seed %#llx", first);
	return first;
}

struct sequence {
	struct fixture *f;
	struct rnd_state rnd;
	struct orchestrator *users[SEQUENCE_USERS];
	unsigned int added[SEQUENCE_USERS][ARRAY_SIZE(sequence_clients)];
	unsigned int bound;
};

static u32 pick(struct sequence *p, u32 nr)
{
	return prandom_u32_state(&p->rnd) % nr;
}

static const char *pick_name(struct sequence *p, const char * const *names,
			     u32 nr)
{
	return names[pick(p, nr)];
}

/* Ports that user @i has opened if it has opened all that it may */
static unsigned int sequence_way(struct sequence *p, unsigned int i)
{
	unsigned int nr, c, way = 0;

	for (nr = 0; nr < ARRAY_SIZE(sequence_providers); nr++) {
		if (p->users[i]->list.provider != dev(p->f, sequence_providers[nr]))
			continue;
		for (c = 0; c < ARRAY_SIZE(sequence_clients); c++)
			if (p->added[i][c])
				way |= sequence_leg(sequence_clients[c]) |
				       sequence_leg(sequence_providers[nr]);
	}
	return way;
}

/*
 * The ports that do not redirect. Each word has all of its redirection or none
 * of it, and nothing else in it, or in any other word, ever changes.
 */
static unsigned int sequence_open(struct sequence *p)
{
	struct fixture *f = p->f;
	unsigned int open = 0, i, nr;

	for (i = 0; i < ARRAY_SIZE(with_acs); i++) {
		u16 now = word(f, with_acs[i]);

		for (nr = 1; nr < ARRAY_SIZE(sequence_ports); nr++)
			if (!strcmp(sequence_ports[nr], with_acs[i]))
				break;
		if (nr < ARRAY_SIZE(sequence_ports) &&
		    now == (f->words[i] & ~REDIRECTION))
			open |= BIT(nr);
		else
			KUNIT_EXPECT_EQ_MSG(f->test, f->words[i], now, "%s",
					    with_acs[i]);
	}
	return open;
}

/**
 * sequence_check - compare the words with what a step may have done
 * @p: the sequence
 * @before: ports that were open before the step
 * @opens: what the step may open
 * @shuts: what it may shut
 * @all: user whose whole way has to be open now, or -1
 * @step: number of the step, for a message
 */
static void sequence_check(struct sequence *p, unsigned int before,
			   unsigned int opens, unsigned int shuts, int all,
			   unsigned int step)
{
	unsigned int open = sequence_open(p), ways = 0, i;
	struct kunit *test = p->f->test;

	for (i = 0; i < SEQUENCE_USERS; i++)
		ways |= sequence_way(p, i);
	KUNIT_EXPECT_EQ_MSG(test, 0, open & ~ways,
			    "a port is open for nobody, step %u", step);
	KUNIT_EXPECT_EQ_MSG(test, 0, open & ~before & ~opens,
			    "a port was opened, step %u", step);
	KUNIT_EXPECT_EQ_MSG(test, 0, before & ~open & ~shuts,
			    "a port was shut, step %u", step);
	if (all >= 0)
		KUNIT_EXPECT_EQ_MSG(test, 0, sequence_way(p, all) & ~open,
				    "a port on the way is shut, step %u", step);
}

/* Take a step, and look at all words */
static void sequence_step(struct sequence *p)
{
	unsigned int i = pick(p, SEQUENCE_USERS);
	unsigned int c = pick(p, ARRAY_SIZE(sequence_clients));
	unsigned int step = pick(p, 12), before = sequence_open(p);
	unsigned int opens = 0, shuts = 0, old = sequence_way(p, i);
	struct orchestrator *user = p->users[i];
	struct fixture *f = p->f;
	struct pci_dev *pdev;
	bool ok = false;

	switch (step) {
	case 0:
	case 1:
	case 2:
		ok = !p->added[i][c] && user->list.provider;
		if (add(f, user, sequence_clients[c]))
			ok = false;
		else
			p->added[i][c]++;
		/* All is open only if all was before: others may have shut it */
		if (ok)
			opens = sequence_way(p, i);
		ok &= !(old & ~before);
		break;
	case 3:
	case 4:
		if (p->added[i][c]) {
			p->added[i][c]--;
			remove(f, user, sequence_clients[c]);
			shuts = old;
		}
		break;
	case 5:
		ok = find(user);
		p->bound += ok;
		if (ok)
			opens = sequence_way(p, i);
		shuts = ok ? 0 : old;
		break;
	case 6:
		pdev = dev(f, pick_name(p, sequence_providers,
					ARRAY_SIZE(sequence_providers)));
		ok = !pci_p2pdma_assign_provider(&user->list, pdev);
		p->bound += ok;
		if (ok)
			opens = sequence_way(p, i);
		shuts = old;
		break;
	case 7:
		pci_p2pdma_unbind(&user->list);
		shuts = old;
		break;
	case 8:
		pdev = dev(f, pick_name(p, sequence_ports,
					ARRAY_SIZE(sequence_ports)));
		if (pick(p, 2))
			restore_state(pdev);
		else
			reset(pdev, FULL);
		break;
	case 9:
		/* Refused from now on, or no more */
		pdev = dev(f, sequence_clients[c]);
		pdev->pasid_enabled = !pdev->pasid_enabled && !pick(p, 6);
		break;
	case 10:
		/* Taken back: P1 is not below V, which D5 is a port of */
		bind_driver(f, "P1", &user_driver);
		KUNIT_EXPECT_EQ(f->test, before & BIT(5), sequence_open(p));
		if (pick(p, 2))
			find(user);
		unbind_drivers(f);
		shuts = before;
		break;
	case 11:
		pdev = dev(f, pick_name(p, sequence_providers,
					ARRAY_SIZE(sequence_providers)));
		pci_p2pdma_quiesce(pdev);
		pci_p2pdma_resume(pdev);
		break;
	}
	sequence_check(p, before, opens, shuts, ok ? i : -1, step);
}

/* Those who stay, and functions that go under them */
static void sequence_end(struct sequence *p)
{
	struct fixture *f = p->f;
	unsigned int i;

	for (i = 0; i < SEQUENCE_USERS; i++) {
		if (pick(p, 2))
			pci_p2pdma_unbind(&p->users[i]->list);
		else
			pci_p2pdma_client_list_free(&p->users[i]->list);
	}
	for (i = 0; i < SEQUENCE_USERS; i++)
		pci_p2pdma_client_list_free(&p->users[i]->list);
	memset(p->added, 0, sizeof(p->added));
	for (i = 0; i < ARRAY_SIZE(sequence_clients); i++)
		dev(f, sequence_clients[i])->pasid_enabled = 0;
}

/* R4.1: whatever happens, in the end all words are what they were */
static void words_are_what_they_were_after_any_sequence(struct kunit *test)
{
	struct sequence *p = kunit_kzalloc(test, sizeof(*p), GFP_KERNEL);
	u64 first = sequence_seed(test);
	unsigned int run, i;

	KUNIT_ASSERT_NOT_NULL(test, p);
	p->f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
	for (i = 0; i < SEQUENCE_USERS; i++)
		p->users[i] = new_user(p->f);
	for (i = 0; i < ARRAY_SIZE(sequence_providers); i++)
		offer(p->f, sequence_providers[i]);

	for (run = 0; run < SEQUENCE_RUNS && test->status == KUNIT_SUCCESS;
	     run++) {
		prandom_seed_state(&p->rnd, first + run);
		p2pdma_seed_choice(first + run);
		for (i = 0; i < SEQUENCE_STEPS && test->status == KUNIT_SUCCESS;
		     i++)
			sequence_step(p);
		sequence_end(p);
		expect_open(p->f, "");
		if (test->status != KUNIT_SUCCESS)
			kunit_info(test, "failed with seed %#llx", first + run);
	}
	/* The test is worth something */
	KUNIT_EXPECT_GT(test, p->bound, SEQUENCE_RUNS);
}

/* R4.1: the same where functions go while lists are bound */
static void words_are_what_they_were_after_any_removal(struct kunit *test)
{
	static const char * const victims[] = { "P", "Q", "S", "C", "P1" };
	u64 first = sequence_seed(test);
	unsigned int run, i;

	for (run = 0; run < 10 && test->status == KUNIT_SUCCESS; run++) {
		struct sequence *p = kunit_kzalloc(test, sizeof(*p), GFP_KERNEL);
		unsigned int gone = 0;

		KUNIT_ASSERT_NOT_NULL(test, p);
		p->f = fixture_create(test, redirecting, P2PDMA_ACS_PATH);
		prandom_seed_state(&p->rnd, first + run);
		for (i = 0; i < SEQUENCE_USERS; i++)
			p->users[i] = new_user(p->f);
		for (i = 0; i < ARRAY_SIZE(sequence_providers); i++)
			offer(p->f, sequence_providers[i]);
		for (i = 0; i < 12; i++) {
			unsigned int u = pick(p, SEQUENCE_USERS);
			struct orchestrator *user = p->users[u];
			unsigned int v = pick(p, ARRAY_SIZE(victims));
			unsigned int c = pick(p, 4), before = sequence_open(p);
			bool found;

			p->added[u][c] += !add(p->f, user, sequence_clients[c]);
			found = find(user);
			p->bound += found;
			sequence_check(p, before, sequence_way(p, u),
				       sequence_way(p, u), found ? u : -1, i);
			if (i % 4 == 3 && !(gone & BIT(v))) {
				before = sequence_open(p);
				fabric_remove(p->f->fabric, victims[v]);
				gone |= BIT(v);
				sequence_check(p, before, 0, before, -1, i);
			}
		}
		sequence_end(p);
		for (i = 0; i < ARRAY_SIZE(sequence_ports); i++)
			KUNIT_EXPECT_EQ_MSG(test, FULL,
					    word(p->f, sequence_ports[i]),
					    "%s, seed %#llx", sequence_ports[i],
					    first + run);
		kunit_release_action(test, fixture_free, p->f);
		fabric_destroy(p->f->fabric);
	}
}

static struct kunit_case p2pdma_acs_cases[] = {
	KUNIT_CASE(keep_changes_nothing),
	KUNIT_CASE(switch_clears_legs_at_enumeration),
	KUNIT_CASE(switch_says_nothing_about_ports_that_do_not_redirect),
	KUNIT_CASE(switch_leaves_untrusted_and_external_alone),
	KUNIT_CASE(switch_gives_back_what_turns_out_external),
	KUNIT_CASE(command_line_wins),
	KUNIT_CASE(port_that_the_command_line_opened_needs_no_hold),
	KUNIT_CASE(path_opens_both_legs_while_bound),
	KUNIT_CASE(path_opens_all_switches_on_the_way),
	KUNIT_CASE(path_is_open_until_the_last_list_leaves),
	KUNIT_CASE(path_follows_the_clients_of_a_bound_list),
	KUNIT_CASE(path_is_opened_for_all_clients_or_none),
	KUNIT_CASE(path_prefers_what_needs_no_opening),
	KUNIT_CASE(path_that_stays_shut_is_not_taken),
	KUNIT_CASE(path_is_preferred_to_the_root_complex),
	KUNIT_CASE(path_does_not_touch_egress_control),
	KUNIT_CASE(path_does_not_open_what_always_redirects),
	KUNIT_CASE(path_opens_only_downstream_ports_of_switches),
	KUNIT_CASE(leg_that_says_it_is_a_root_port_is_a_leg),
	KUNIT_CASE(open_path_is_held_through_reset),
	KUNIT_CASE(path_that_closes_during_a_reset_is_closed),
	KUNIT_CASE(user_space_takes_a_port_over),
	KUNIT_CASE(port_that_was_taken_over_is_opened_when_asked_for),
	KUNIT_CASE(data_under_way_by_a_port_that_shuts_counts_as_lost),
	KUNIT_CASE(paths_close_when_the_provider_goes),
	KUNIT_CASE(paths_close_when_the_client_goes),
	KUNIT_CASE(paths_close_when_a_port_goes),
	KUNIT_CASE(ports_that_were_pulled_are_forgotten),
	KUNIT_CASE(path_is_refused_with_a_function_in_user_space),
	KUNIT_CASE(path_is_taken_back_before_a_function_goes_to_user_space),
	KUNIT_CASE(path_is_refused_with_pasid_enabled),
	KUNIT_CASE(path_is_refused_with_something_untrusted),
	KUNIT_CASE(function_out_of_reach_does_not_matter),
	KUNIT_CASE(hot_add_without_iommu_leaves_paths_open),
#ifdef CONFIG_IOMMU_API
	KUNIT_CASE(path_is_refused_between_iommu_groups),
	KUNIT_CASE(path_is_opened_within_an_iommu_group),
	KUNIT_CASE(path_is_refused_if_a_bystander_is_isolated),
	KUNIT_CASE(hot_added_function_gets_its_own_group),
	KUNIT_CASE(hot_add_takes_the_path_back_for_a_while),
	KUNIT_CASE(path_is_refused_with_a_domain_of_unknown_content),
	KUNIT_CASE(path_is_opened_with_the_domain_of_the_dma_api),
	KUNIT_CASE(path_is_refused_while_user_space_owns_the_group),
	KUNIT_CASE(path_is_taken_back_with_a_group_member_elsewhere),
#endif
	KUNIT_CASE(words_are_what_they_were_after_any_sequence),
	KUNIT_CASE(words_are_what_they_were_after_any_removal),
	{}
};

/* What the machine is must not matter */
static int p2pdma_acs_test_init(struct kunit *test)
{
	fabric_host_bridges(test, "", false);
	return 0;
}

static struct kunit_suite p2pdma_acs_suite = {
	.name = "p2pdma_acs",
	.init = p2pdma_acs_test_init,
	.test_cases = p2pdma_acs_cases,
};

kunit_test_suites(&p2pdma_acs_suite);
