// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of peer-to-peer DMA: which paths are accepted, and how far
 *
 * In every fabric here A is the provider and B the client, and each pair is
 * judged both ways: a redirecting port on either leg refuses both (N13).
 */
#include <kunit/device.h>
#include <linux/slab.h>
#include "p2pdma.h"
#include "p2pdma_fabric_test.h"

#define ROOT_COMPLEX_DISTANCE	4096

/**
 * struct path_case - a fabric and its verdict
 * @what: the sentence
 * @topology: the fabric
 * @reason: the verdict
 * @distance: of an accepted path
 * @ports: functions that the refusal names in its remedy, by name, divided
 *	by spaces; NULL if there must be no remedy
 */
struct path_case {
	const char *what;
	const char *topology;
	enum pci_p2pdma_reason reason;
	int distance;
	const char *ports;
};

#define SWITCH(root, up, leg_a, leg_b)				\
	"root " root "\n"					\
	" up U " up "\n"					\
	"  down DA " leg_a "\n"					\
	"   ep A bar0=mem64:2M\n"				\
	"  down DB " leg_b "\n"					\
	"   ep B bar0=mem64:2M\n"

static const struct path_case path_cases[] = {
	{ "R2.5 two devices below one switch: 4",
	  SWITCH("", "", "", ""), PCI_P2PDMA_REACHABLE, 4 },
	{ "R2.5 ports with ACS that redirect nothing: 4",
	  SWITCH("acs=none", "acs=none", "acs=none", "acs=none"),
	  PCI_P2PDMA_REACHABLE, 4 },
	{ "R2.5 SV, TB, UF and DT do not redirect",
	  SWITCH("", "", "acs=sv,tb,uf,dt", "acs=sv,tb,uf,dt"),
	  PCI_P2PDMA_REACHABLE, 4 },
	{ "R2.5 what is above the common bridge does not matter",
	  SWITCH("acs=sv,rr,cr,uf,ec", "", "", ""), PCI_P2PDMA_REACHABLE, 4 },
	{ "R2.5 ACS of the endpoints themselves does not matter",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   ep A acs=rr,cr,ec bar0=mem64:2M\n"
	  "  down\n"
	  "   ep B acs=rr,cr,ec bar0=mem64:2M\n", PCI_P2PDMA_REACHABLE, 4 },

	{ "R2.5 Request Redirect on the leg of the provider",
	  SWITCH("", "", "acs=rr", ""), PCI_P2PDMA_ACS_REDIRECT, 0, "DA" },
	{ "R2.5 N13 Request Redirect on the leg of the client",
	  SWITCH("", "", "", "acs=rr"), PCI_P2PDMA_ACS_REDIRECT, 0, "DB" },
	{ "R2.5 Completion Redirect on the leg of the provider",
	  SWITCH("", "", "acs=cr", ""), PCI_P2PDMA_ACS_REDIRECT, 0, "DA" },
	{ "R2.5 N13 Completion Redirect on the leg of the client",
	  SWITCH("", "", "", "acs=cr"), PCI_P2PDMA_ACS_REDIRECT, 0, "DB" },
	{ "R2.5 Egress Control on the leg of the provider",
	  SWITCH("", "", "acs=ec", ""), PCI_P2PDMA_ACS_REDIRECT, 0, "DA" },
	{ "R2.5 N13 Egress Control on the leg of the client",
	  SWITCH("", "", "", "acs=ec"), PCI_P2PDMA_ACS_REDIRECT, 0, "DB" },
	{ "R2.5 redirection in the common bridge",
	  SWITCH("", "acs=rr", "", ""), PCI_P2PDMA_ACS_REDIRECT, 0, "U" },
	{ "R2.5 Direct Translated P2P excuses nothing",
	  SWITCH("", "", "acs=rr,dt", ""), PCI_P2PDMA_ACS_REDIRECT, 0, "DA" },
	{ "R2.8 all redirecting ports are named",
	  SWITCH("", "acs=cr", "acs=rr", "acs=rr,cr"),
	  PCI_P2PDMA_ACS_REDIRECT, 0, "DA DB U" },
	{ "R2.8 Egress Control on both legs is named on both",
	  SWITCH("", "", "acs=ec", "acs=rr,ec"),
	  PCI_P2PDMA_ACS_REDIRECT, 0, "DA DB" },

	{ "R2.5 each further bridge on a leg counts 1",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   ep A bar0=mem64:2M\n"
	  "  down\n"
	  "   up\n"
	  "    down\n"
	  "     ep B bar0=mem64:2M\n", PCI_P2PDMA_REACHABLE, 6 },
	{ "R2.5 switches on both legs",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   up\n"
	  "    down\n"
	  "     ep A bar0=mem64:2M\n"
	  "  down\n"
	  "   up\n"
	  "    down\n"
	  "     ep B bar0=mem64:2M\n", PCI_P2PDMA_REACHABLE, 8 },
	{ "R2.5 the closest of several common bridges counts",
	  "root acs=rr\n"
	  " up acs=rr\n"
	  "  down acs=rr\n"
	  "   up\n"
	  "    down\n"
	  "     ep A bar0=mem64:2M\n"
	  "    down\n"
	  "     ep B bar0=mem64:2M\n", PCI_P2PDMA_REACHABLE, 4 },
	{ "R2.5 redirection deep in a leg",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   ep A bar0=mem64:2M\n"
	  "  down\n"
	  "   up\n"
	  "    down D acs=cr\n"
	  "     ep B bar0=mem64:2M\n", PCI_P2PDMA_ACS_REDIRECT, 0, "D" },
	{ "R2.5 redirection in an upstream port on a leg",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   ep A bar0=mem64:2M\n"
	  "  down\n"
	  "   up V acs=rr\n"
	  "    down\n"
	  "     ep B bar0=mem64:2M\n", PCI_P2PDMA_ACS_REDIRECT, 0, "V" },
	{ "R2.5 the common bridge is a downstream port",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   up 00.0\n"
	  "    down\n"
	  "     ep B bar0=mem64:2M\n"
	  "   ep A 00.1 bar0=mem64:2M\n", PCI_P2PDMA_REACHABLE, 4 },
	{ "R2.5 the common bridge is a downstream port that redirects",
	  "root\n"
	  " up\n"
	  "  down D acs=rr\n"
	  "   up 00.0\n"
	  "    down\n"
	  "     ep B bar0=mem64:2M\n"
	  "   ep A 00.1 bar0=mem64:2M\n", PCI_P2PDMA_ACS_REDIRECT, 0, "D" },

	{ "R2.5 two functions of one device: 2",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   ep A 00.0 bar0=mem64:2M\n"
	  "   ep B 00.1 bar0=mem64:2M\n", PCI_P2PDMA_REACHABLE, 2 },
	{ "R2.5 functions of one device, below a root port that redirects",
	  "root acs=sv,rr,cr,uf\n"
	  " ep A 00.0 bar0=mem64:2M\n"
	  " ep B 00.5 bar0=mem64:2M\n", PCI_P2PDMA_REACHABLE, 2 },
	{ "R2.5 functions of one device with ACS that redirects nothing",
	  "root\n"
	  " ep A 00.0 acs=none bar0=mem64:2M\n"
	  " ep B 00.1 acs=none bar0=mem64:2M\n", PCI_P2PDMA_REACHABLE, 2 },
	{ "R2.5 functions of one device: the provider redirects",
	  "root\n"
	  " ep A 00.0 acs=rr bar0=mem64:2M\n"
	  " ep B 00.1 acs=none bar0=mem64:2M\n",
	  PCI_P2PDMA_FUNCTION_REDIRECT, 0, "A" },
	{ "R2.5 N13 functions of one device: the client redirects",
	  "root\n"
	  " ep A 00.0 bar0=mem64:2M\n"
	  " ep B 00.1 acs=cr bar0=mem64:2M\n",
	  PCI_P2PDMA_FUNCTION_REDIRECT, 0, "B" },
	{ "R2.5 functions of one device: Egress Control",
	  "root\n"
	  " ep A 00.0 acs=ec bar0=mem64:2M\n"
	  " ep B 00.1 bar0=mem64:2M\n",
	  PCI_P2PDMA_FUNCTION_REDIRECT, 0, "A" },
	{ "R2.5 functions of one device: the provider is not able to redirect",
	  "root\n"
	  " ep A 00.0 acs=none acs-able=sv,uf bar0=mem64:2M\n"
	  " ep B 00.1 bar0=mem64:2M\n", PCI_P2PDMA_FUNCTION_REDIRECT, 0 },
	{ "R2.5 functions of one device: neither the client",
	  "root\n"
	  " ep A 00.0 acs=none bar0=mem64:2M\n"
	  " ep B 00.1 acs=none acs-able=none bar0=mem64:2M\n",
	  PCI_P2PDMA_FUNCTION_REDIRECT, 0 },
	{ "R2.8 a function that is not able to, and one that does: no remedy",
	  "root\n"
	  " ep A 00.0 acs=rr bar0=mem64:2M\n"
	  " ep B 00.1 acs=none acs-able=none bar0=mem64:2M\n",
	  PCI_P2PDMA_FUNCTION_REDIRECT, 0 },
	{ "R2.8 a port that always redirects, and one that need not: no remedy",
	  SWITCH("", "", "id=1d17:0721", "acs=rr,cr"),
	  PCI_P2PDMA_ACS_REDIRECT, 0 },
	{ "R2.5 a third function that redirects does not matter",
	  "root\n"
	  " ep A 00.0 bar0=mem64:2M\n"
	  " ep B 00.1 bar0=mem64:2M\n"
	  " ep 00.2 acs=rr,cr bar0=mem64:2M\n", PCI_P2PDMA_REACHABLE, 2 },
	{ "R2.5 ARI: functions of one bus are one device",
	  "root\n"
	  " up\n"
	  "  down ari\n"
	  "   ep A 00.0 ari bar0=mem64:2M\n"
	  "   ep 00.5\n"
	  "   ep B 04.2 bar0=mem64:2M\n", PCI_P2PDMA_REACHABLE, 2 },
	{ "R2.5 ARI: a redirecting function among them",
	  "root ari\n"
	  " ep A 00.0 ari bar0=mem64:2M\n"
	  " ep B 1f.7 acs=rr bar0=mem64:2M\n",
	  PCI_P2PDMA_FUNCTION_REDIRECT, 0, "B" },
	{ "R2.5 no ARI above: eight functions, one device",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   ep A 00.0 ari bar0=mem64:2M\n"
	  "   ep B 00.7 bar0=mem64:2M\n", PCI_P2PDMA_REACHABLE, 2 },
	{ "R2.5 a switch of which the kernel knows that it always redirects",
	  "root\n"
	  " up\n"
	  "  down id=1d17:0721\n"
	  "   ep A bar0=mem64:2M\n"
	  "  down\n"
	  "   ep B bar0=mem64:2M\n", PCI_P2PDMA_ACS_REDIRECT },

	{ "N7 below two root ports",
	  "root\n"
	  " ep A bar0=mem64:2M\n"
	  "root\n"
	  " ep B bar0=mem64:2M\n", PCI_P2PDMA_ROOT_COMPLEX },
	{ "N7 below two functions of one root port device",
	  "root 01.0\n"
	  " ep A bar0=mem64:2M\n"
	  "root 01.1\n"
	  " ep B bar0=mem64:2M\n", PCI_P2PDMA_ROOT_COMPLEX },
	{ "N7 below the switches of two root ports",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   ep A bar0=mem64:2M\n"
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   ep B bar0=mem64:2M\n", PCI_P2PDMA_ROOT_COMPLEX },
	{ "N7 below two root ports with ACS that redirects: no ACS remedy",
	  "root acs=rr,cr\n"
	  " ep A bar0=mem64:2M\n"
	  "root acs=rr,cr\n"
	  " ep B bar0=mem64:2M\n", PCI_P2PDMA_ROOT_COMPLEX },
	{ "N7 two functions of one integrated device",
	  "rciep A 05.0 bar0=mem64:2M\n"
	  "rciep B 05.1 bar0=mem64:2M\n", PCI_P2PDMA_ROOT_COMPLEX },
	{ "N7 two integrated endpoints",
	  "rciep A 05.0 bar0=mem64:2M\n"
	  "rciep B 06.0 bar0=mem64:2M\n", PCI_P2PDMA_ROOT_COMPLEX },
	{ "N7 an integrated endpoint and one below a switch",
	  "rciep A 05.0 bar0=mem64:2M\n"
	  "root 01.0\n"
	  " up\n"
	  "  down\n"
	  "   ep B bar0=mem64:2M\n", PCI_P2PDMA_ROOT_COMPLEX },
	{ "N7 a root port is no switch port: it alone is common",
	  "root\n"
	  " up 00.0\n"
	  "  down\n"
	  "   ep B bar0=mem64:2M\n"
	  " ep A 00.1 bar0=mem64:2M\n", PCI_P2PDMA_ROOT_COMPLEX },

	{ "R2.5 a conventional function below a bridge",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   ep A bar0=mem64:2M\n"
	  "  down\n"
	  "   bridge\n"
	  "    pci B bar0=mem32:2M\n", PCI_P2PDMA_CONVENTIONAL_PCI },
	{ "R2.5 two functions on one conventional bus",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   bridge\n"
	  "    pci A 01.0 bar0=mem32:2M\n"
	  "    pci B 02.0 bar0=mem32:2M\n", PCI_P2PDMA_CONVENTIONAL_PCI },
	{ "R2.5 a conventional bus below another root port",
	  "root\n"
	  " ep A bar0=mem64:2M\n"
	  "root\n"
	  " bridge\n"
	  "  pci B bar0=mem32:2M\n", PCI_P2PDMA_CONVENTIONAL_PCI },
	{ "R2.5 two functions of one conventional device",
	  "root\n"
	  " bridge\n"
	  "  pci A 03.0 bar0=mem32:2M\n"
	  "  pci B 03.1 bar0=mem32:2M\n", PCI_P2PDMA_REACHABLE, 2 },
	{ "R2.5 a bridge between conventional buses on a leg",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   bridge\n"
	  "    pci-bridge\n"
	  "     pci A bar0=mem32:2M\n"
	  "  down\n"
	  "   ep B bar0=mem64:2M\n", PCI_P2PDMA_CONVENTIONAL_PCI },
	{ "R2.5 a bridge between conventional buses in the root complex",
	  "pci-bridge\n"
	  " pci A bar0=mem32:2M\n"
	  "root\n"
	  " ep B bar0=mem64:2M\n", PCI_P2PDMA_CONVENTIONAL_PCI },
	{ "R2.5 a reverse bridge: PCI Express again, below a conventional bus",
	  "root\n"
	  " up\n"
	  "  down\n"
	  "   bridge\n"
	  "    reverse\n"
	  "     ep A\n"
	  "  down\n"
	  "   ep B\n", PCI_P2PDMA_CONVENTIONAL_PCI },
	{ "R2.5 two reverse bridges on one conventional bus",
	  "root\n"
	  " bridge\n"
	  "  reverse\n"
	  "   ep A\n"
	  "  reverse\n"
	  "   ep B\n", PCI_P2PDMA_CONVENTIONAL_PCI },
	{ "R2.5 a switch below a reverse bridge is a switch",
	  "root\n"
	  " bridge\n"
	  "  reverse\n"
	  "   up\n"
	  "    down\n"
	  "     ep A\n"
	  "    down\n"
	  "     ep B\n", PCI_P2PDMA_REACHABLE, 4 },
	{ "R2.5 a reverse bridge as the closest common bridge",
	  "root\n"
	  " bridge\n"
	  "  reverse\n"
	  "   up 00.0\n"
	  "    down\n"
	  "     ep A\n"
	  "   ep B 00.1\n", PCI_P2PDMA_CONVENTIONAL_PCI },
	{ "R2.5 a conventional bus, and ports that redirect: no ACS remedy",
	  "root\n"
	  " up\n"
	  "  down acs=rr\n"
	  "   ep A bar0=mem64:2M\n"
	  "  down acs=rr\n"
	  "   bridge\n"
	  "    pci B bar0=mem32:2M\n", PCI_P2PDMA_CONVENTIONAL_PCI },
};

KUNIT_ARRAY_PARAM_DESC(path, path_cases, what);

static void expect_path(struct kunit *test, const struct path_case *c,
			struct pci_dev *provider, struct pci_dev *client)
{
	int distance = pci_p2pdma_distance(provider, &client->dev, false);
	struct p2pdma_path path;

	p2pdma_judge(provider, client, &path);
	KUNIT_EXPECT_EQ_MSG(test, c->reason, path.reason, "\"%s\"",
			    pci_p2pdma_reason_text(path.reason));
	if (c->reason == PCI_P2PDMA_REACHABLE) {
		KUNIT_EXPECT_EQ(test, c->distance, distance);
		KUNIT_EXPECT_EQ(test, PCI_P2PDMA_MAP_BUS_ADDR, path.map);
	} else {
		KUNIT_EXPECT_LT(test, distance, 0);
		KUNIT_EXPECT_EQ(test, PCI_P2PDMA_MAP_NOT_SUPPORTED, path.map);
	}
	if (c->reason == PCI_P2PDMA_ROOT_COMPLEX)
		KUNIT_EXPECT_GT(test, path.distance, ROOT_COMPLEX_DISTANCE);
}

static bool names(const char *ports, const char *name)
{
	const char *at = ports ? strstr(ports, name) : NULL;
	size_t len = strlen(name);

	return at && (at == ports || at[-1] == ' ') &&
	       (at[len] == ' ' || !at[len]);
}

/* Reason, the ports and no others, and a remedy that can be pasted */
static void expect_refusal(struct kunit *test, const struct path_case *c,
			   struct fabric *fabric, struct pci_dev *provider,
			   struct pci_dev *client)
{
	static const char * const all[] = { "DA", "DB", "U", "V", "D", "A", "B" };
	struct p2pdma_path path;
	const char *remedy, *port;
	unsigned int i;
	char *text;

	p2pdma_judge(provider, client, &path);
	text = p2pdma_refusal(provider, &client->dev, &path);
	KUNIT_ASSERT_NOT_NULL(test, text);
	KUNIT_EXPECT_NOT_NULL(test, strstr(text, pci_name(provider)));
	KUNIT_EXPECT_NOT_NULL(test, strstr(text, pci_name(client)));
	KUNIT_EXPECT_NOT_NULL(test,
			      strstr(text, pci_p2pdma_reason_text(c->reason)));

	remedy = strstr(text, "pci=");
	KUNIT_EXPECT_EQ_MSG(test, !c->ports, !remedy, "%s", text);
	for (i = 0; remedy && i < ARRAY_SIZE(all); i++) {
		if (!fabric_has(fabric, all[i]))
			continue;
		port = pci_name(fabric_dev(fabric, all[i]));
		KUNIT_EXPECT_EQ_MSG(test, !names(c->ports, all[i]),
				    !strstr(remedy, port), "%s in: %s",
				    all[i], text);
	}
	kfree(text);
}

/* R2.7 R2.8 N13: both ways, for functions with no region */
static void path_is_judged_as_the_specification_says(struct kunit *test)
{
	const struct path_case *c = test->param_value;
	struct fabric *fabric = fabric_create(test, c->topology);
	struct pci_dev *a = fabric_dev(fabric, "A");
	struct pci_dev *b = fabric_dev(fabric, "B");
	unsigned int refs = fabric_refs(a) + fabric_refs(b);

	expect_path(test, c, a, b);
	expect_path(test, c, b, a);
	if (c->reason != PCI_P2PDMA_REACHABLE) {
		expect_refusal(test, c, fabric, a, b);
		expect_refusal(test, c, fabric, b, a);
	}
	/* Verdicts exist for functions with no region */
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(a->p2pdma));
	KUNIT_EXPECT_EQ(test, refs, fabric_refs(a) + fabric_refs(b));
}

/* R2.6 N7: nothing connects two domains but the root complex */
static void devices_of_two_domains_meet_in_the_root_complex(struct kunit *test)
{
	static const char topology[] =
		"root\n"
		" up\n"
		"  down\n"
		"   ep A bar0=mem64:2M\n";
	struct fabric *one = fabric_create(test, topology);
	struct fabric *two = fabric_create(test, topology);
	const struct path_case root_complex = {
		.reason = PCI_P2PDMA_ROOT_COMPLEX,
	};

	expect_path(test, &root_complex, fabric_dev(one, "A"),
		    fabric_dev(two, "A"));
}

/**
 * struct host_case - a path through the root complex, and what is known of it
 * @what: the sentence
 * @topology: the fabric of A, and of B if there is no other
 * @other: the fabric of B below another host bridge, or NULL
 * @allowed: host bridges that the administrator allows, or NULL
 * @cpu_routes: the CPU is of a family that routes
 * @reason: the verdict
 * @map: how the path is mapped
 * @distance: of an accepted path
 * @remedy: value of the parameter that a refusal names, or NULL
 */
struct host_case {
	const char *what;
	const char *topology;
	const char *other;
	const char *allowed;
	bool cpu_routes;
	enum pci_p2pdma_reason reason;
	enum pci_p2pdma_map_type map;
	int distance;
	const char *remedy;
};

/* Two root ports below a host bridge; edges: 2 from each side */
#define TWO_PORTS(id)						\
	"host 00.0 id=" id "\n"					\
	"root\n"						\
	" ep A bar0=mem64:2M\n"					\
	"root\n"						\
	" ep B bar0=mem64:2M\n"
#define PORT_OF_A(id)						\
	"host 00.0 id=" id "\n"					\
	"root\n"						\
	" ep A bar0=mem64:2M\n"
#define PORT_OF_B(id)						\
	"host 00.0 id=" id "\n"					\
	"root\n"						\
	" up\n"							\
	"  down\n"						\
	"   ep B bar0=mem64:2M\n"
#define ACCEPTED(edges)						\
	.map = PCI_P2PDMA_MAP_THRU_HOST_BRIDGE,			\
	.distance = ROOT_COMPLEX_DISTANCE + (edges)
#define REFUSED(why)						\
	.reason = PCI_P2PDMA_ ## why,				\
	.map = PCI_P2PDMA_MAP_NOT_SUPPORTED

static const struct host_case host_cases[] = {
	{ "R2.6 N7 nobody knows the host bridge",
	  TWO_PORTS("1eaf:0100"), REFUSED(ROOT_COMPLEX),
	  .remedy = "1eaf:0100" },
	{ "R2.6 the administrator allows it",
	  TWO_PORTS("1eaf:0100"), .allowed = "1eaf:0100", ACCEPTED(4) },
	{ "R2.6 one of several that the administrator allows",
	  TWO_PORTS("1eaf:0100"),
	  .allowed = "8086:29c0,1eaf:0100,1eaf:0101\n", ACCEPTED(4) },
	{ "R2.6 N7 the administrator allows another: both are in the remedy",
	  TWO_PORTS("1eaf:0100"), .allowed = "1eaf:0999",
	  REFUSED(ROOT_COMPLEX), .remedy = "1eaf:0999,1eaf:0100" },
	{ "R2.6 N7 the same device of another vendor",
	  TWO_PORTS("1eaf:0100"), .allowed = "1eae:0100",
	  REFUSED(ROOT_COMPLEX), .remedy = "1eae:0100,1eaf:0100" },
	{ "R2.6 the CPU routes, whatever the host bridge is",
	  TWO_PORTS("1eaf:0100"), .cpu_routes = true, ACCEPTED(4) },
	{ "R2.6 the host bridge is in the table",
	  TWO_PORTS("8086:09a2"), ACCEPTED(4) },
	{ "R2.6 the host bridge is in the table, for itself only",
	  TWO_PORTS("8086:3c00"), ACCEPTED(4) },

	{ "R2.6 two host bridges of one kind, which is allowed",
	  PORT_OF_A("1eaf:0100"), PORT_OF_B("1eaf:0100"),
	  .allowed = "1eaf:0100", ACCEPTED(6) },
	{ "R2.6 N7 two host bridges of one kind: it is named once",
	  PORT_OF_A("1eaf:0100"), PORT_OF_B("1eaf:0100"),
	  REFUSED(ROOT_COMPLEX), .remedy = "1eaf:0100" },
	{ "R2.6 N7 two host bridges: both are named",
	  PORT_OF_A("1eaf:0100"), PORT_OF_B("1eaf:0101"),
	  REFUSED(ROOT_COMPLEX), .remedy = "1eaf:0100,1eaf:0101" },
	{ "R2.6 N7 N13 two host bridges, only the provider's is allowed",
	  PORT_OF_A("1eaf:0100"), PORT_OF_B("1eaf:0101"),
	  .allowed = "1eaf:0100", REFUSED(ROOT_COMPLEX),
	  .remedy = "1eaf:0100,1eaf:0101" },
	{ "R2.6 N7 N13 two host bridges, only the client's is allowed",
	  PORT_OF_A("1eaf:0100"), PORT_OF_B("1eaf:0101"),
	  .allowed = "1eaf:0101", REFUSED(ROOT_COMPLEX),
	  .remedy = "1eaf:0101,1eaf:0100" },
	{ "R2.6 two host bridges, both allowed",
	  PORT_OF_A("1eaf:0100"), PORT_OF_B("1eaf:0101"),
	  .allowed = "1eaf:0101,1eaf:0100", ACCEPTED(6) },
	{ "R2.6 two host bridges, and a CPU that routes",
	  PORT_OF_A("1eaf:0100"), PORT_OF_B("1eaf:0101"),
	  .cpu_routes = true, ACCEPTED(6) },
	{ "R2.6 two host bridges of the table",
	  PORT_OF_A("8086:09a2"), PORT_OF_B("8086:2030"), ACCEPTED(6) },
	{ "R2.6 N7 two host bridges that route for themselves only",
	  PORT_OF_A("8086:3c00"), PORT_OF_B("8086:3c00"),
	  REFUSED(ROOT_COMPLEX), .remedy = "8086:3c00" },
	{ "R2.6 two of those, which the administrator allows",
	  PORT_OF_A("8086:3c00"), PORT_OF_B("8086:3c00"),
	  .allowed = "8086:3c00", ACCEPTED(6) },
	{ "R2.6 N7 one of those and one that routes to others",
	  PORT_OF_A("8086:3c00"), PORT_OF_B("8086:09a2"),
	  REFUSED(ROOT_COMPLEX) },

	{ "R2.6 no function 00.0: the lowest one counts",
	  "root 05.0 id=1eaf:0500\n"
	  " ep A\n"
	  "root 03.1 id=1eaf:0301\n"
	  " ep B\n"
	  "rciep 03.0 id=1eaf:0300\n",
	  .allowed = "1eaf:0300", ACCEPTED(4) },
	{ "R2.6 N7 no function 00.0: others do not count",
	  "root 05.0 id=1eaf:0500\n"
	  " ep A\n"
	  "root 03.1 id=1eaf:0301\n"
	  " ep B\n"
	  "rciep 03.0 id=1eaf:0300\n",
	  .allowed = "1eaf:0500,1eaf:0301", REFUSED(ROOT_COMPLEX),
	  .remedy = "1eaf:0500,1eaf:0301,1eaf:0300" },
	{ "R2.6 integrated endpoints",
	  "host 00.0 id=1eaf:0100\n"
	  "rciep A 05.0\n"
	  "rciep B 06.0\n", .allowed = "1eaf:0100", ACCEPTED(2) },

	{ "R2.6 below known ports a redirected path is legal, and ranks last",
	  SWITCH("", "", "acs=rr,cr", ""), .cpu_routes = true, ACCEPTED(8) },
	{ "R2.6 N13 the same, redirected on the client's leg",
	  SWITCH("", "", "", "acs=rr,cr"), .cpu_routes = true, ACCEPTED(8) },
	{ "R2.6 redirection in the common bridge",
	  SWITCH("", "acs=cr", "", ""), .cpu_routes = true, ACCEPTED(8) },
	{ "R2.6 a direct path stays direct where the root complex routes",
	  SWITCH("acs=rr,cr", "", "acs=sv,uf", ""), .cpu_routes = true,
	  .map = PCI_P2PDMA_MAP_BUS_ADDR, .distance = 4 },
	{ "R2.6 what root ports redirect comes to the root complex anyway",
	  "root acs=rr,cr,uf\n"
	  " ep A\n"
	  "root acs=rr,cr,ec\n"
	  " ep B\n", .cpu_routes = true, ACCEPTED(4) },
	{ "R2.5 functions of one device that redirect: no host bridge helps",
	  "root\n"
	  " ep A 00.0 acs=rr\n"
	  " ep B 00.1\n", .cpu_routes = true, REFUSED(FUNCTION_REDIRECT) },
	{ "R2.5 a conventional bus: no host bridge helps",
	  "root\n"
	  " ep A\n"
	  "root\n"
	  " bridge\n"
	  "  pci B\n", .cpu_routes = true, REFUSED(CONVENTIONAL_PCI) },
	{ "R2.5 below a reverse bridge: no host bridge helps",
	  "pci-bridge\n"
	  " reverse\n"
	  "  ep A\n"
	  "root\n"
	  " ep B\n", .cpu_routes = true, REFUSED(CONVENTIONAL_PCI) },

	{ "R2.6 egress control without redirection blocks, on the provider's leg",
	  SWITCH("", "", "acs=ec", ""), .cpu_routes = true,
	  REFUSED(ACS_REDIRECT) },
	{ "R2.6 N13 egress control without redirection, on the client's leg",
	  SWITCH("", "", "", "acs=cr,ec"), .cpu_routes = true,
	  REFUSED(ACS_REDIRECT) },
	{ "R2.6 egress control that redirects does not block",
	  SWITCH("", "", "acs=rr,ec", ""), .cpu_routes = true, ACCEPTED(8) },
	{ "R2.6 egress control blocks above the common bridge, too",
	  SWITCH("acs=ec", "", "acs=rr", ""), .cpu_routes = true,
	  REFUSED(ACS_REDIRECT) },
	{ "R2.6 egress control in the provider's root port",
	  "root acs=ec\n"
	  " ep A\n"
	  "root\n"
	  " ep B\n", .cpu_routes = true, REFUSED(ROOT_COMPLEX) },
	{ "R2.6 N13 egress control in the client's root port",
	  "root\n"
	  " ep A\n"
	  "root acs=ec\n"
	  " ep B\n", .cpu_routes = true, REFUSED(ROOT_COMPLEX) },
};

KUNIT_ARRAY_PARAM_DESC(host, host_cases, what);

static void expect_host_verdict(struct kunit *test, const struct host_case *c,
				struct pci_dev *provider,
				struct pci_dev *client)
{
	struct p2pdma_path path;

	p2pdma_judge(provider, client, &path);
	KUNIT_EXPECT_EQ_MSG(test, c->reason, path.reason, "\"%s\"",
			    pci_p2pdma_reason_text(path.reason));
	KUNIT_EXPECT_EQ(test, c->map, path.map);
	KUNIT_EXPECT_EQ(test, c->reason ? -EXDEV : c->distance,
			pci_p2pdma_distance(provider, &client->dev, false));
}

/* The whole sentence; it may be pasted from as it is */
static void expect_host_remedy(struct kunit *test, const char *remedy,
			       struct pci_dev *provider,
			       struct pci_dev *client)
{
	struct p2pdma_path path;
	char *text, *expect;

	expect = kasprintf(GFP_KERNEL,
			   "%s cannot reach the memory of %s: the two meet only in the root complex, which need not route between ports; if this machine is known to route, add p2pdma.allow_host_bridge=%s to the kernel command line, or write it to /sys/module/p2pdma/parameters/allow_host_bridge",
			   pci_name(client), pci_name(provider), remedy);
	p2pdma_judge(provider, client, &path);
	text = p2pdma_refusal(provider, &client->dev, &path);
	KUNIT_EXPECT_STREQ(test, expect, text);
	kfree(expect);
	kfree(text);
}

/* R2.7 R2.8: both ways, and refused at once when the host bridge is forgotten */
static void root_complex_is_used_where_it_is_known_to_route(struct kunit *test)
{
	const struct host_case *c = test->param_value;
	struct fabric *fabric = fabric_create(test, c->topology), *other;
	struct pci_dev *a, *b;

	other = c->other ? fabric_create(test, c->other) : fabric;
	a = fabric_dev(fabric, "A");
	b = fabric_dev(other, "B");
	fabric_host_bridges(test, c->allowed ?: "", c->cpu_routes);

	expect_host_verdict(test, c, a, b);
	expect_host_verdict(test, c, b, a);
	if (c->remedy)
		expect_host_remedy(test, c->remedy, a, b);

	/* Without that knowledge, at once */
	fabric_host_bridges(test, "", false);
	if (c->allowed || c->cpu_routes)
		KUNIT_EXPECT_EQ(test, c->map == PCI_P2PDMA_MAP_BUS_ADDR ?
				      c->distance : -EXDEV,
				pci_p2pdma_distance(a, &b->dev, false));
}

/* R2.8: where the bridge routes, but a port blocks, that is what is said */
static void egress_control_before_a_good_host_bridge_is_named(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test,
		"root\n"
		" ep A\n"
		"root PORT acs=ec\n"
		" ep B\n");
	struct pci_dev *a = fabric_dev(fabric, "A");
	struct pci_dev *b = fabric_dev(fabric, "B");
	struct p2pdma_path path;
	char remedy[48], *text;

	fabric_host_bridges(test, "", true);
	p2pdma_judge(a, b, &path);
	text = p2pdma_refusal(a, &b->dev, &path);
	KUNIT_ASSERT_NOT_NULL(test, text);
	snprintf(remedy, sizeof(remedy), "pci=disable_acs_redir=%s",
		 pci_name(fabric_dev(fabric, "PORT")));
	KUNIT_EXPECT_NOT_NULL_MSG(test, strstr(text, remedy), "%s", text);
	KUNIT_EXPECT_NULL_MSG(test, strstr(text, "allow_host_bridge"), "%s",
			      text);
	kfree(text);
}

/* R2.8 N12: a full list makes a long remedy, which is complete */
static void long_list_of_host_bridges_is_in_the_remedy(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, TWO_PORTS("1eaf:0100"));
	char list[31 * 10 + 10] = "";
	unsigned int i;

	for (i = 0; i < 31; i++)
		snprintf(list + i * 10, 11, "1eaf:%04x,", 0x200 + i);
	list[31 * 10 - 1] = '\0';
	fabric_host_bridges(test, list, false);
	strcat(list, ",1eaf:0100");
	expect_host_remedy(test, list, fabric_dev(fabric, "A"),
			   fabric_dev(fabric, "B"));
	/* It is no lie */
	KUNIT_EXPECT_EQ(test, 0, p2pdma_allow_host_bridges(list));
	KUNIT_EXPECT_EQ(test, ROOT_COMPLEX_DISTANCE + 4,
			pci_p2pdma_distance(fabric_dev(fabric, "A"),
					    &fabric_dev(fabric, "B")->dev,
					    false));
}

static const struct bad_list {
	const char *list;
	const char *word;
} bad_lists[] = {
	{ "zebra", "zebra" },
	{ "1eaf:0100,zebra,1eaf:0101", "zebra" },
	{ "1eaf", "1eaf" },
	{ "1eaf:", "1eaf:" },
	{ ":0100", ":0100" },
	{ "1eaf:01000", "1eaf:01000" },
	{ "11eaf:0100", "11eaf:0100" },
	{ "1eaf:01g0", "1eaf:01g0" },
	{ "0x1eaf:0x0100", "0x1eaf:0x0100" },
	{ "1eaf:0100,", "" },
	{ ",1eaf:0100", "" },
	{ "1eaf:0100 1eaf:0101", "1eaf:0100 1eaf:0101" },
	{ "1eaf:0100;1eaf:0101", "1eaf:0100;1eaf:0101" },
	{ "1eaf:0100\n1eaf:0101", "1eaf:0100" },
	{ " 1eaf:0100", " 1eaf:0100" },
};

/* R2.6: refused with the offending word, and the old list stays */
static void bad_syntax_of_host_bridges_is_refused(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, TWO_PORTS("1eaf:0777"));
	struct pci_dev *a = fabric_dev(fabric, "A");
	struct pci_dev *b = fabric_dev(fabric, "B");
	unsigned int i;

	fabric_host_bridges(test, "1eaf:0777", false);
	for (i = 0; i < ARRAY_SIZE(bad_lists); i++) {
		u64 mark = fabric_log_mark();
		char text[128];

		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,
				    p2pdma_allow_host_bridges(bad_lists[i].list),
				    "%s", bad_lists[i].list);
		snprintf(text, sizeof(text),
			 "p2pdma: allow_host_bridge: \"%s\" is not a VVVV:DDDD pair of hexadecimal numbers",
			 bad_lists[i].word);
		KUNIT_EXPECT_EQ_MSG(test, 1,
				    fabric_log_count(test, mark, "3", text),
				    "%s", text);
		KUNIT_EXPECT_EQ(test, ROOT_COMPLEX_DISTANCE + 4,
				pci_p2pdma_distance(a, &b->dev, false));
	}

	/* What is good syntax: either case, fewer digits, a newline, nothing */
	KUNIT_EXPECT_EQ(test, 0, p2pdma_allow_host_bridges("1EAF:777\n"));
	KUNIT_EXPECT_EQ(test, ROOT_COMPLEX_DISTANCE + 4,
			pci_p2pdma_distance(a, &b->dev, false));
	KUNIT_EXPECT_EQ(test, 0, p2pdma_allow_host_bridges("\n"));
	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_distance(a, &b->dev, false));
}

/* R2.7: a host bridge goes by what is on its root bus now */
static void host_bridge_follows_hot_plug(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test,
		"root 04.0\n"
		" ep A\n"
		"root 05.0\n"
		" ep B\n"
		"rciep LOW 02.0 id=1eaf:0200\n");
	struct pci_dev *a = fabric_dev(fabric, "A");
	struct pci_dev *b = fabric_dev(fabric, "B");

	fabric_host_bridges(test, "1eaf:0200", false);
	KUNIT_EXPECT_EQ(test, ROOT_COMPLEX_DISTANCE + 4,
			pci_p2pdma_distance(a, &b->dev, false));
	fabric_add(fabric, NULL, "rciep LOWER 01.0 id=1eaf:0100\n");
	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_distance(a, &b->dev, false));
	fabric_pull(fabric, "LOWER");
	KUNIT_EXPECT_EQ(test, ROOT_COMPLEX_DISTANCE + 4,
			pci_p2pdma_distance(a, &b->dev, false));
	fabric_unplug(fabric, "LOW");
	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_distance(a, &b->dev, false));
}

static struct pci_dev *found_for(struct kunit *test, struct pci_dev *client)
{
	static const struct pci_p2pdma_client_ops ops = { .name = "test" };
	struct pci_p2pdma_client_list list;
	struct pci_dev *found;

	pci_p2pdma_client_list_init(&list, &ops);
	KUNIT_EXPECT_EQ(test, 0, pci_p2pdma_add_client(&list, &client->dev));
	found = pci_p2pmem_find(&list);
	pci_p2pdma_client_list_free(&list);
	pci_dev_put(found);
	return found;
}

/*
 * R2.6 N14: however far below switches, it is nearer than the root complex;
 * redirected paths rank with those through the root complex
 */
static void any_path_below_a_switch_is_preferred(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test,
		"root\n"
		" up\n"
		"  down\n"
		"   ep C\n"
		"  down acs=rr\n"
		"   ep REDIRECTED bar0=mem64:8M\n"
		"  down\n"
		"   up\n"
		"    down\n"
		"     up\n"
		"      down\n"
		"       up\n"
		"        down\n"
		"         ep FAR bar0=mem64:2M\n"
		"root\n"
		" ep NEXT bar0=mem64:8M\n");
	static const char * const ranks[] = { "FAR", "NEXT", "REDIRECTED" };
	struct pci_dev *c = fabric_dev(fabric, "C");
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ranks); i++) {
		struct pci_dev *pdev = fabric_dev(fabric, ranks[i]);

		KUNIT_ASSERT_EQ(test, 0,
				pci_p2pdma_add_resource(pdev, 0, 0, 0));
		pci_p2pmem_publish(pdev, true);
	}
	KUNIT_EXPECT_PTR_EQ(test, fabric_dev(fabric, "FAR"),
			    found_for(test, c));
	fabric_host_bridges(test, "", true);
	for (i = 0; i < ARRAY_SIZE(ranks); i++) {
		struct pci_dev *pdev = fabric_dev(fabric, ranks[i]);

		KUNIT_EXPECT_PTR_EQ_MSG(test, pdev, found_for(test, c), "%s",
					ranks[i]);
		pci_p2pmem_publish(pdev, false);
	}
	KUNIT_EXPECT_NULL(test, found_for(test, c));
}

/* Eight ports on each leg, which all redirect; more than 512 bytes of text */
#define DEEP(name)							\
	"  down " name "0 acs=rr\n"			\
	"   up\n"						\
	"    down " name "1 acs=rr\n"			\
	"     up\n"						\
	"      down " name "2 acs=rr,cr\n"			\
	"       up\n"						\
	"        down " name "3 acs=cr\n"			\
	"         up\n"						\
	"          down " name "4 acs=rr\n"			\
	"           up\n"						\
	"            down " name "5 acs=rr,cr\n"			\
	"             up\n"						\
	"              down " name "6 acs=rr\n"			\
	"               up\n"						\
	"                down " name "7 acs=cr\n"			\
	"                 ep " name " bar0=mem64:2M\n"

static const char deep_fabric[] =
	"root\n"
	" up\n"
	DEEP("A")
	DEEP("B");

/* R2.8 N12: the message is complete, however many ports there are */
static void sixteen_redirecting_ports_are_all_named(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, deep_fabric);
	struct pci_dev *a = fabric_dev(fabric, "A");
	struct pci_dev *b = fabric_dev(fabric, "B");
	struct pci_p2pdma_client_list list;
	static const struct pci_p2pdma_client_ops ops = { .name = "test" };
	u64 mark = fabric_log_mark();
	char name[] = "A0", *text, *remedy;
	int i;

	KUNIT_ASSERT_EQ(test, 0, pci_p2pdma_add_resource(a, 0, 0, 0));
	pci_p2pmem_publish(a, true);
	pci_p2pdma_client_list_init(&list, &ops);
	KUNIT_ASSERT_EQ(test, 0, pci_p2pdma_add_client(&list, &b->dev));
	KUNIT_EXPECT_NULL(test, pci_p2pmem_find(&list));

	text = pci_p2pdma_explain(&list);
	pci_p2pdma_client_list_free(&list);
	KUNIT_ASSERT_NOT_NULL(test, text);
	remedy = strstr(text, "pci=disable_acs_redir=");
	KUNIT_EXPECT_NOT_NULL_MSG(test, remedy, "%s", text);
	for (i = 0; i < 16 && remedy; i++) {
		const char *port;

		name[0] = "AB"[i / 8];
		name[1] = '0' + i % 8;
		port = pci_name(fabric_dev(fabric, name));
		KUNIT_EXPECT_NOT_NULL_MSG(test, strstr(remedy, port),
					  "%s is missing in: %s", port, text);
	}
	kfree(text);

	/* And what is logged, which has a limit of its own */
	KUNIT_EXPECT_GT(test, 0, pci_p2pdma_distance(a, &b->dev, true));
	KUNIT_EXPECT_EQ(test, 1,
			fabric_log_count(test, mark, NULL,
					 pci_name(fabric_dev(fabric, "B7"))));
	KUNIT_EXPECT_EQ(test, 1,
			fabric_log_count(test, mark, NULL,
					 pci_name(fabric_dev(fabric, "A7"))));
}

/* Both legs of deep_legs(): down, up, down, ... */
#define DEEP_PORTS	27

/* A switch with two legs, as deep as a fabric can be; each port redirects */
static struct fabric *deep_legs(struct kunit *test)
{
	const size_t size = SZ_8K;
	char *text = kunit_kzalloc(test, size, GFP_KERNEL);
	struct fabric *fabric;
	unsigned int leg, i, len;

	KUNIT_ASSERT_NOT_NULL(test, text);
	len = scnprintf(text, size, "root\n up\n");
	for (leg = 0; leg < 2; leg++) {
		for (i = 0; i < DEEP_PORTS; i++)
			len += scnprintf(text + len, size - len,
					 "%*s%s %c%u acs=rr\n", 2 + i, "",
					 i % 2 ? "up" : "down", "AB"[leg], i);
		len += scnprintf(text + len, size - len, "%*sep %c\n", 2 + i,
				 "", "AB"[leg]);
	}
	fabric = fabric_create(test, text);
	kunit_kfree(test, text);
	return fabric;
}

/* R2.8 N12: printk() would cut it in one piece */
static void refusal_longer_than_a_record_is_logged_whole(struct kunit *test)
{
	struct fabric *fabric = deep_legs(test);
	struct pci_dev *a = fabric_dev(fabric, "A");
	u64 mark = fabric_log_mark();
	unsigned int leg, i;
	char name[8];

	KUNIT_EXPECT_EQ(test, -EXDEV,
			pci_p2pdma_distance(a, &fabric_dev(fabric, "B")->dev,
					    true));
	KUNIT_EXPECT_EQ(test, 2,
			fabric_log_count(test, mark, "4", pci_name(a)));
	KUNIT_EXPECT_EQ(test, 1,
			fabric_log_count(test, mark, "4", ": ... "));
	for (leg = 0; leg < 2; leg++) {
		for (i = 0; i < DEEP_PORTS; i++) {
			snprintf(name, sizeof(name), "%c%u", "AB"[leg], i);
			KUNIT_EXPECT_EQ_MSG(test, 1,
					    fabric_log_count(test, mark, "4",
							     pci_name(fabric_dev(fabric, name))),
					    "%s", name);
		}
	}
}

/*
 * R2.8: Egress Control has the same remedy, since disable_acs_redir= takes it
 * back with the redirects. The parameter ends the text, so it can be pasted.
 */
static void egress_control_remedy_can_be_pasted(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test,
		SWITCH("", "", "acs=ec", "acs=ec,rr"));
	struct pci_dev *a = fabric_dev(fabric, "A");
	struct pci_dev *b = fabric_dev(fabric, "B");
	struct p2pdma_path path;
	char *text, *remedy, *expect;

	p2pdma_judge(a, b, &path);
	text = p2pdma_refusal(a, &b->dev, &path);
	KUNIT_ASSERT_NOT_NULL(test, text);
	remedy = strstr(text, "pci=");
	KUNIT_ASSERT_NOT_NULL_MSG(test, remedy, "%s", text);
	expect = kunit_kzalloc(test, 80, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, expect);
	snprintf(expect, 80, "pci=disable_acs_redir=%s;%s",
		 pci_name(pci_upstream_bridge(a)),
		 pci_name(pci_upstream_bridge(b)));
	KUNIT_EXPECT_STREQ(test, expect, remedy);
	kfree(text);
}

/* R2.7 N11: a verdict is as new as the last write to a control word */
static void verdict_follows_acs_at_run_time(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test,
		SWITCH("acs=none", "acs=none", "acs=none", "acs=none"));
	static const char * const ports[] = { "DA", "DB", "U" };
	struct pci_dev *a = fabric_dev(fabric, "A");
	struct pci_dev *b = fabric_dev(fabric, "B");
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ports); i++) {
		KUNIT_EXPECT_EQ(test, 4, pci_p2pdma_distance(a, &b->dev, false));
		fabric_set_acs(fabric, ports[i], PCI_ACS_RR | PCI_ACS_CR);
		KUNIT_EXPECT_GT(test, 0, pci_p2pdma_distance(a, &b->dev, false));
		fabric_set_acs(fabric, ports[i], PCI_ACS_SV);
		KUNIT_EXPECT_EQ(test, 4, pci_p2pdma_distance(a, &b->dev, false));
	}
	/* Not a port on the way */
	KUNIT_EXPECT_EQ(test, 4, pci_p2pdma_distance(a, &b->dev, false));
}

/* R2.5: VFs count as their PF, whatever bus number they have */
static void virtual_functions_belong_to_their_device(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test,
		"root\n"
		" up\n"
		"  down\n"
		"   ep PF 00.0\n"
		"   vf V1\n"
		"   vf V2 acs=rr\n"
		"   ep OTHER 00.7\n"
		"  down buses=1\n"
		"   ep FAR 00.0 vf-offset=100\n"
		"   vf W\n"
		"  down\n"
		"   ep C\n");
	static const struct {
		const char *provider, *client;
		int distance;
	} pairs[] = {
		{ "PF", "V1", 2 }, { "V1", "OTHER", 2 }, { "V1", "C", 4 },
		{ "V2", "C", 4 }, { "FAR", "W", 2 }, { "W", "C", 4 },
		{ "W", "V1", 4 }, { "W", "PF", 4 },
		/* The VF redirects */
		{ "V1", "V2", -EXDEV }, { "PF", "V2", -EXDEV },
	};
	unsigned int i;

	fabric_enable_vfs(fabric, "PF");
	fabric_enable_vfs(fabric, "FAR");
	KUNIT_EXPECT_NE(test, fabric_dev(fabric, "W")->bus->number,
			fabric_dev(fabric, "FAR")->bus->number);
	for (i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct pci_dev *a = fabric_dev(fabric, pairs[i].provider);
		struct pci_dev *b = fabric_dev(fabric, pairs[i].client);

		KUNIT_EXPECT_EQ_MSG(test, pairs[i].distance,
				    pci_p2pdma_distance(a, &b->dev, false),
				    "%s %s", pairs[i].provider,
				    pairs[i].client);
		KUNIT_EXPECT_EQ_MSG(test, pairs[i].distance,
				    pci_p2pdma_distance(b, &a->dev, false),
				    "%s %s", pairs[i].client,
				    pairs[i].provider);
	}
}

/* R2.7 N11: what is plugged in where something else was */
static void verdict_follows_hot_plug(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test,
		"root\n"
		" up U acs=none buses=4\n"
		"  down\n"
		"   ep A bar0=mem64:2M\n"
		"  down DB acs=none\n"
		"   ep B\n");
	struct pci_dev *a = fabric_dev(fabric, "A");

	KUNIT_EXPECT_EQ(test, 4,
			pci_p2pdma_distance(a, &fabric_dev(fabric, "B")->dev,
					    false));
	fabric_pull(fabric, "DB");
	fabric_add(fabric, "U",
		   "down DB acs=rr\n"
		   " ep B\n");
	KUNIT_EXPECT_EQ(test, -EXDEV,
			pci_p2pdma_distance(a, &fabric_dev(fabric, "B")->dev,
					    false));
	fabric_unplug(fabric, "DB");
	fabric_add(fabric, "U",
		   "down DB acs=none\n"
		   " up\n"
		   "  down\n"
		   "   ep B\n");
	KUNIT_EXPECT_EQ(test, 6,
			pci_p2pdma_distance(a, &fabric_dev(fabric, "B")->dev,
					    false));
	/* Removed and found again, with another struct pci_dev */
	fabric_remove(fabric, "DB");
	fabric_rescan(fabric);
	KUNIT_EXPECT_EQ(test, 6,
			pci_p2pdma_distance(a, &fabric_dev(fabric, "B")->dev,
					    false));
	fabric_add(fabric, NULL,
		   "root\n"
		   " ep B2\n");
	KUNIT_EXPECT_EQ(test, -EXDEV,
			pci_p2pdma_distance(a, &fabric_dev(fabric, "B2")->dev,
					    false));
}

/* R2.7 N11: hardware forgets its ACS controls when it is reset */
static void verdict_follows_resets(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test,
		"root\n"
		" up U acs=none\n"
		"  down DA acs=rr,cr\n"
		"   ep A 00.0 bar0=mem64:2M\n"
		"   ep F 00.1 acs=rr\n"
		"  down\n"
		"   ep B\n");
	struct pci_dev *a = fabric_dev(fabric, "A");
	struct pci_dev *b = fabric_dev(fabric, "B");
	struct pci_dev *f = fabric_dev(fabric, "F");

	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_distance(a, &b->dev, false));
	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_distance(a, &f->dev, false));

	/* A function level reset, by the kernel's own steps */
	KUNIT_EXPECT_EQ(test, 0, pci_reset_function(f));
	KUNIT_EXPECT_EQ(test, 0, fabric_acs(fabric, "F"));
	KUNIT_EXPECT_EQ(test, 2, pci_p2pdma_distance(a, &f->dev, false));
	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_distance(a, &b->dev, false));

	/* Everything below the upstream port */
	fabric_reset(fabric, "U");
	KUNIT_EXPECT_EQ(test, 0, fabric_acs(fabric, "DA"));
	KUNIT_EXPECT_EQ(test, 4, pci_p2pdma_distance(a, &b->dev, false));
}

/* R2.7 N11: user space writes config space by another way than the kernel */
static void verdict_follows_user_space(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test,
		SWITCH("", "acs=none", "acs=none", ""));
	struct pci_dev *a = fabric_dev(fabric, "A");
	struct pci_dev *b = fabric_dev(fabric, "B");
	struct pci_dev *port = fabric_dev(fabric, "DA");
	int pos = pci_find_ext_capability(port, PCI_EXT_CAP_ID_ACS);

	fabric_user_set_acs(fabric, "U", PCI_ACS_CR);
	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_distance(a, &b->dev, false));
	fabric_user_set_acs(fabric, "U", PCI_ACS_SV);
	KUNIT_EXPECT_EQ(test, 4, pci_p2pdma_distance(a, &b->dev, false));

	/* As a byte, and together with the register before it */
	pci_user_write_config_byte(port, pos + PCI_ACS_CTRL, PCI_ACS_RR);
	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_distance(a, &b->dev, false));
	pci_user_write_config_byte(port, pos + PCI_ACS_CTRL + 1, 0xff);
	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_distance(a, &b->dev, false));
	pci_user_write_config_dword(port, pos + PCI_ACS_CAP, 0);
	KUNIT_EXPECT_EQ(test, 4, pci_p2pdma_distance(a, &b->dev, false));
	pci_write_config_dword(port, pos + PCI_ACS_CAP, PCI_ACS_EC << 16);
	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_distance(a, &b->dev, false));
	pci_write_config_byte(port, pos + PCI_ACS_CTRL, 0);
	KUNIT_EXPECT_EQ(test, 4, pci_p2pdma_distance(a, &b->dev, false));
}

/* R2.4 R2.8: for users of 6.12; nothing is said about accepted paths */
static void distances_of_many_clients_add_up(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test,
		"root\n"
		" up\n"
		"  down\n"
		"   ep A 00.0\n"
		"   ep B 00.1\n"
		"  down\n"
		"   ep C\n"
		"  down acs=rr\n"
		"   ep D\n");
	struct pci_dev *a = fabric_dev(fabric, "A");
	struct device *clients[] = {
		&fabric_dev(fabric, "B")->dev, &fabric_dev(fabric, "C")->dev,
		&fabric_dev(fabric, "C")->dev, &fabric_dev(fabric, "D")->dev,
	};
	u64 mark = fabric_log_mark();

	KUNIT_EXPECT_EQ(test, 2, pci_p2pdma_distance_many(a, clients, 1, true));
	KUNIT_EXPECT_EQ(test, 6, pci_p2pdma_distance_many(a, clients, 2, true));
	KUNIT_EXPECT_EQ(test, 10,
			pci_p2pdma_distance_many(a, clients, 3, true));
	KUNIT_EXPECT_GT(test, 0, pci_p2pdma_distance_many(a, clients, 0, true));

	/* Nothing is said about accepted paths */
	KUNIT_EXPECT_EQ(test, 0,
			fabric_log_count(test, mark, NULL, pci_name(a)));
	KUNIT_EXPECT_GT(test, 0,
			pci_p2pdma_distance_many(a, clients, 4, false));
	KUNIT_EXPECT_EQ(test, 0,
			fabric_log_count(test, mark, NULL, pci_name(a)));
	KUNIT_EXPECT_GT(test, 0, pci_p2pdma_distance_many(a, clients, 4, true));
	KUNIT_EXPECT_EQ(test, 1,
			fabric_log_count(test, mark, NULL, pci_name(a)));
}

/* R2.8: who is no PCI function is named as well, and nobody at all */
static void clients_outside_pci_are_refused_by_name(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, "root\n ep A\n");
	struct pci_dev *a = fabric_dev(fabric, "A");
	struct device *client = kunit_device_register(test, "p2pdma-no-pci");
	u64 mark = fabric_log_mark();
	char said[128];

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, client);
	snprintf(said, sizeof(said), ": %s cannot reach ", dev_name(client));
	KUNIT_EXPECT_EQ(test, -ENODEV, pci_p2pdma_distance(a, client, true));
	KUNIT_EXPECT_EQ(test, 1, fabric_log_count(test, mark, "4", said));
	KUNIT_EXPECT_EQ(test, -ENODEV, pci_p2pdma_distance(a, NULL, true));
	KUNIT_EXPECT_EQ(test, 1,
			fabric_log_count(test, mark, "4",
					 ": no device cannot reach "));
}

/* R2.8: one sentence for each reason, no two alike */
static void each_reason_has_its_own_sentence(struct kunit *test)
{
	enum pci_p2pdma_reason a, b;

	for (a = 0; a <= PCI_P2PDMA_ROOT_COMPLEX; a++) {
		const char *text = pci_p2pdma_reason_text(a);

		KUNIT_ASSERT_NOT_NULL(test, text);
		KUNIT_EXPECT_NOT_NULL(test, strchr(text, ' '));
		KUNIT_EXPECT_NE(test, '.', text[strlen(text) - 1]);
		for (b = 0; b < a; b++)
			KUNIT_EXPECT_STRNEQ(test, text,
					    pci_p2pdma_reason_text(b));
	}
}

/* R3.3: the DMA API refuses what is untrusted, wherever it is */
static void untrusted_client_is_refused(struct kunit *test)
{
	struct fabric *fabric = fabric_create(test, SWITCH("", "", "", ""));
	struct pci_dev *a = fabric_dev(fabric, "A"), *b = fabric_dev(fabric, "B");
	struct p2pdma_path path;
	char *text;

	b->untrusted = true;
	p2pdma_judge(a, b, &path);
	KUNIT_EXPECT_EQ(test, PCI_P2PDMA_UNTRUSTED, path.reason);
	KUNIT_EXPECT_EQ(test, PCI_P2PDMA_MAP_NOT_SUPPORTED, path.map);
	KUNIT_EXPECT_EQ(test, -EXDEV, pci_p2pdma_distance(a, &b->dev, false));
	text = p2pdma_refusal(a, &b->dev, &path);
	KUNIT_ASSERT_NOT_NULL(test, text);
	KUNIT_EXPECT_NOT_NULL(test, strstr(text, "not trusted"));
	KUNIT_EXPECT_NULL(test, strstr(text, "pci="));
	kfree(text);
	/* Its memory may be used by others */
	p2pdma_judge(b, a, &path);
	KUNIT_EXPECT_EQ(test, PCI_P2PDMA_REACHABLE, path.reason);
	b->untrusted = false;
	p2pdma_judge(a, b, &path);
	KUNIT_EXPECT_EQ(test, PCI_P2PDMA_REACHABLE, path.reason);
}

/* What the machine is must not matter */
static int p2pdma_topology_init(struct kunit *test)
{
	fabric_host_bridges(test, "", false);
	return 0;
}

static struct kunit_case p2pdma_topology_cases[] = {
	KUNIT_CASE_PARAM(path_is_judged_as_the_specification_says,
			 path_gen_params),
	KUNIT_CASE_PARAM(root_complex_is_used_where_it_is_known_to_route,
			 host_gen_params),
	KUNIT_CASE(egress_control_before_a_good_host_bridge_is_named),
	KUNIT_CASE(long_list_of_host_bridges_is_in_the_remedy),
	KUNIT_CASE(bad_syntax_of_host_bridges_is_refused),
	KUNIT_CASE(host_bridge_follows_hot_plug),
	KUNIT_CASE(any_path_below_a_switch_is_preferred),
	KUNIT_CASE(devices_of_two_domains_meet_in_the_root_complex),
	KUNIT_CASE(sixteen_redirecting_ports_are_all_named),
	KUNIT_CASE(refusal_longer_than_a_record_is_logged_whole),
	KUNIT_CASE(egress_control_remedy_can_be_pasted),
	KUNIT_CASE(virtual_functions_belong_to_their_device),
	KUNIT_CASE(verdict_follows_acs_at_run_time),
	KUNIT_CASE(verdict_follows_hot_plug),
	KUNIT_CASE(verdict_follows_resets),
	KUNIT_CASE(verdict_follows_user_space),
	KUNIT_CASE(distances_of_many_clients_add_up),
	KUNIT_CASE(clients_outside_pci_are_refused_by_name),
	KUNIT_CASE(untrusted_client_is_refused),
	KUNIT_CASE(each_reason_has_its_own_sentence),
	{}
};

static struct kunit_suite p2pdma_topology_suite = {
	.name = "p2pdma_topology",
	.init = p2pdma_topology_init,
	.test_cases = p2pdma_topology_cases,
};

kunit_test_suite(p2pdma_topology_suite);
