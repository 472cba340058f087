// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of peer-to-peer DMA: verdicts against a second opinion
 *
 * A world is a description of one or two simulated fabrics, small and random:
 * nodes with a kind, a place and ACS bits, the ids of host bridges that the
 * administrator allowed, and whether the CPU is of a family that routes. The
 * oracle judges pairs of its nodes straight from the specification, recursively
 * and with nothing remembered; it never looks at a struct pci_dev. The code
 * under test judges the same pairs on the fabric that is made of the world's
 * text. The two must agree about reason, mapping and distance of all pairs.
 *
 * Worlds come from a seed, which is printed and is always the same unless the
 * command line gives another one. One in which the two disagree is
 * shrunk as long as they still do, and printed as it can be pasted into
 * fabric_create(). To see a world again, boot with
 *
 *	p2pdma_oracle_test.seed=SEED p2pdma_oracle_test.fabrics=1
 *
 * and to look for what nobody has seen yet
 *
 *	p2pdma_oracle_test.seed=0 p2pdma_oracle_test.fabrics=10000
 */
#include <linux/moduleparam.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/seq_buf.h>
#include <linux/slab.h>
#include "p2pdma.h"
#include "p2pdma_fabric_test.h"

#define WORLD_NODES	28
#define WORLD_HOSTS	2
#define WORLD_ALLOWED	3
#define WORLD_TEXT	4096
#define SETTINGS	10	/* of ACS bits and host bridges, for each fabric */
#define NOWHERE		(-1)	/* above the root bus */

static unsigned long long seed = 0x07ac1e;
module_param(seed, ullong, 0444);
MODULE_PARM_DESC(seed, "of the first random world; 0: another one each time");

static unsigned int fabrics;
module_param(fabrics, uint, 0444);
MODULE_PARM_DESC(fabrics, "number of random worlds; 0: as many as are reasonable");

enum kind {
	HOST, ROOT, UP, DOWN, BRIDGE, REVERSE, PCI_BRIDGE, EP, RCIEP, PCI,
};

static const char * const kind_words[] = {
	[HOST] = "host", [ROOT] = "root", [UP] = "up", [DOWN] = "down",
	[BRIDGE] = "bridge", [REVERSE] = "reverse",
	[PCI_BRIDGE] = "pci-bridge", [EP] = "ep", [RCIEP] = "rciep",
	[PCI] = "pci",
};

/**
 * struct node - a function of a world
 * @here: it exists; all else is meaningless if not
 * @fresh: it is about to be plugged in
 * @removed: the kernel was told to forget it
 * @kind: what it is
 * @host: below which host bridge
 * @parent: the bridge above, or NOWHERE
 * @devfn: device and function number
 * @acs: ACS control bits, -1 without the capability
 * @ari: it has or forwards alternative routing-ids
 * @spare: bus numbers left for later
 * @memory: it has a BAR that can be a provider's
 * @untrusted: it is external
 * @id: vendor << 16 | device, of functions on the root bus
 * @name: number in its name
 */
struct node {
	bool here;
	bool fresh;
	bool removed;
	enum kind kind;
	int host;
	int parent;
	u8 devfn;
	int acs;
	bool ari;
	unsigned int spare;
	bool memory;
	bool untrusted;
	u32 id;
	unsigned int name;
};

/**
 * struct world - one or two fabrics and what the machine is known for
 * @node: all functions
 * @hosts: number of host bridges
 * @cpu_routes: the CPU is of a family that routes
 * @allowed: ids of host bridges that the administrator allowed; 0: unused
 * @names: how many names were given
 * @limit: how many may be
 */
struct world {
	struct node node[WORLD_NODES];
	int hosts;
	bool cpu_routes;
	u32 allowed[WORLD_ALLOWED];
	unsigned int names;
	unsigned int limit;
};

/*
 * The oracle: R2.5 and R2.6, read aloud
 */

struct opinion {
	enum pci_p2pdma_reason reason;
	enum pci_p2pdma_map_type map;
	int distance;
};

static bool is_conventional(const struct node *bridge)
{
	return bridge->kind == BRIDGE || bridge->kind == REVERSE ||
	       bridge->kind == PCI_BRIDGE;
}

static bool is_bridge(const struct node *node)
{
	return is_conventional(node) || node->kind == ROOT ||
	       node->kind == UP || node->kind == DOWN;
}

static bool redirects(const struct node *node)
{
	return node->acs >= 0 &&
	       node->acs & (PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_EC);
}

/* Egress control blocks, where it does not redirect */
static bool blocks(const struct node *node)
{
	return node->acs >= 0 && node->acs & PCI_ACS_EC &&
	       !(node->acs & PCI_ACS_RR);
}

static bool is_above(const struct world *w, int bridge, int n)
{
	int parent = w->node[n].parent;

	return parent != NOWHERE &&
	       (parent == bridge || is_above(w, bridge, parent));
}

static int common_bridge(const struct world *w, int a, int b)
{
	int parent = w->node[a].parent;

	if (parent == NOWHERE || is_above(w, parent, b))
		return parent;
	return common_bridge(w, parent, b);
}

static int edges(const struct world *w, int n, int top)
{
	int parent = w->node[n].parent;

	return parent == top ? 1 : 1 + edges(w, parent, top);
}

/* Is there such a bridge above @n, up to and with @top? */
static bool leg_has(const struct world *w, int n, int top,
		    bool (*such)(const struct node *bridge))
{
	int parent = w->node[n].parent;

	if (parent == NOWHERE)
		return false;
	return such(&w->node[parent]) ||
	       (parent != top && leg_has(w, parent, top, such));
}

static bool legs_have(const struct world *w, int a, int b, int top,
		      bool (*such)(const struct node *bridge))
{
	return leg_has(w, a, top, such) || leg_has(w, b, top, such);
}

static bool same_bus(const struct node *a, const struct node *b)
{
	return a->host == b->host && a->parent == b->parent;
}

static int function_at(const struct world *w, int host, int parent, u8 devfn)
{
	int n;

	for (n = 0; n < WORLD_NODES; n++)
		if (w->node[n].here && w->node[n].host == host &&
		    w->node[n].parent == parent && w->node[n].devfn == devfn)
			return n;
	return NOWHERE;
}

static bool bus_has_ari(const struct world *w, int parent)
{
	int first;

	if (parent == NOWHERE || !w->node[parent].ari)
		return false;
	first = function_at(w, w->node[parent].host, parent, 0);
	return first != NOWHERE && w->node[first].ari;
}

static bool same_device(const struct world *w, int a, int b)
{
	const struct node *x = &w->node[a], *y = &w->node[b];

	/* What is part of the root complex meets in the root complex */
	return same_bus(x, y) && x->parent != NOWHERE &&
	       (PCI_SLOT(x->devfn) == PCI_SLOT(y->devfn) ||
		bus_has_ari(w, x->parent));
}

/* What the built-in table has to say on those that random_id() knows */
static bool routes_within(u32 id)
{
	return id == 0x80863c00;
}

static bool routes_everywhere(const struct world *w, u32 id)
{
	int i;

	for (i = 0; i < WORLD_ALLOWED; i++)
		if (w->allowed[i] && w->allowed[i] == id)
			return true;
	return w->cpu_routes || id == 0x808609a2;
}

/* A host bridge goes by function 00.0, or the lowest there is */
static u32 host_id(const struct world *w, int host)
{
	int devfn;

	for (devfn = 0; devfn < 256; devfn++) {
		int n = function_at(w, host, NOWHERE, devfn);

		if (n != NOWHERE && !w->node[n].removed)
			return w->node[n].id;
	}
	return 0;
}

static bool hosts_route(const struct world *w, int a, int b)
{
	u32 id_a = host_id(w, a), id_b = host_id(w, b);

	if (a == b && routes_within(id_a))
		return true;
	return routes_everywhere(w, id_a) && routes_everywhere(w, id_b);
}

static struct opinion judge(const struct world *w, int a, int b)
{
	int top, below_switch, root_distance;

	if (w->node[b].untrusted)
		return (struct opinion){ PCI_P2PDMA_UNTRUSTED,
					 PCI_P2PDMA_MAP_NOT_SUPPORTED, 0 };
	if (a == b)
		return (struct opinion){ PCI_P2PDMA_NOT_ITS_OWN,
					 PCI_P2PDMA_MAP_NOT_SUPPORTED, 0 };
	if (same_device(w, a, b)) {
		if (redirects(&w->node[a]) || redirects(&w->node[b]))
			return (struct opinion){ PCI_P2PDMA_FUNCTION_REDIRECT,
						 PCI_P2PDMA_MAP_NOT_SUPPORTED,
						 2 };
		return (struct opinion){ PCI_P2PDMA_REACHABLE,
					 PCI_P2PDMA_MAP_BUS_ADDR, 2 };
	}

	top = common_bridge(w, a, b);
	if (legs_have(w, a, b, top, is_conventional))
		return (struct opinion){ PCI_P2PDMA_CONVENTIONAL_PCI,
					 PCI_P2PDMA_MAP_NOT_SUPPORTED,
					 edges(w, a, top) + edges(w, b, top) };
	below_switch = top != NOWHERE && (w->node[top].kind == UP ||
					  w->node[top].kind == DOWN);
	if (below_switch && !legs_have(w, a, b, top, redirects))
		return (struct opinion){ PCI_P2PDMA_REACHABLE,
					 PCI_P2PDMA_MAP_BUS_ADDR,
					 edges(w, a, top) + edges(w, b, top) };

	/* It goes through the root complex */
	root_distance = 4096 + edges(w, a, NOWHERE) + edges(w, b, NOWHERE);
	if (legs_have(w, a, b, NOWHERE, is_conventional))
		return (struct opinion){ PCI_P2PDMA_CONVENTIONAL_PCI,
					 PCI_P2PDMA_MAP_NOT_SUPPORTED,
					 edges(w, a, top) + edges(w, b, top) };
	if (hosts_route(w, w->node[a].host, w->node[b].host) &&
	    !legs_have(w, a, b, NOWHERE, blocks))
		return (struct opinion){ PCI_P2PDMA_REACHABLE,
					 PCI_P2PDMA_MAP_THRU_HOST_BRIDGE,
					 root_distance };
	if (below_switch)
		return (struct opinion){ PCI_P2PDMA_ACS_REDIRECT,
					 PCI_P2PDMA_MAP_NOT_SUPPORTED,
					 edges(w, a, top) + edges(w, b, top) };
	return (struct opinion){ PCI_P2PDMA_ROOT_COMPLEX,
				 PCI_P2PDMA_MAP_NOT_SUPPORTED, root_distance };
}

/*
 * Random worlds
 */

static u32 below(struct rnd_state *rnd, u32 limit)
{
	return prandom_u32_state(rnd) % limit;
}

static bool chance(struct rnd_state *rnd, u32 percent)
{
	return below(rnd, 100) < percent;
}

/* Few, so that bridges are often alike; one differs by its vendor only */
static u32 random_id(struct rnd_state *rnd)
{
	static const u32 ids[] = {
		0x1eaf0100, 0x1eaf0100, 0x1eaf0101, 0x1eaf0101, 0x1eae0100,
		/* In the built-in table: within itself, and everywhere */
		0x80863c00, 0x808609a2,
	};

	return ids[below(rnd, ARRAY_SIZE(ids))];
}

/* @often: percentage of each bit */
static int random_acs(struct rnd_state *rnd, u32 often)
{
	int acs = 0, bit;

	if (chance(rnd, 30))
		return -1;
	for (bit = 0; bit < 7; bit++)
		if (chance(rnd, often))
			acs |= BIT(bit);
	return acs;
}

static bool has_extended_config(const struct world *w, int n)
{
	return w->node[n].kind != HOST && w->node[n].kind != PCI &&
	       w->node[n].kind != PCI_BRIDGE &&
	       !leg_has(w, n, NOWHERE, is_conventional);
}

/* What can be on a bus; NOWHERE: the root bus */
static enum kind random_kind(const struct world *w, struct rnd_state *rnd,
			     int parent)
{
	static const enum kind root[] = { ROOT, ROOT, ROOT, RCIEP, PCI,
					  PCI_BRIDGE };
	static const enum kind link[] = { UP, UP, EP, EP, EP, BRIDGE };
	static const enum kind conventional[] = { PCI, PCI, REVERSE,
						  PCI_BRIDGE };

	if (parent == NOWHERE)
		return root[below(rnd, ARRAY_SIZE(root))];
	switch (w->node[parent].kind) {
	case UP:
		return DOWN;
	case BRIDGE:
	case PCI_BRIDGE:
		return conventional[below(rnd, ARRAY_SIZE(conventional))];
	default:
		return link[below(rnd, ARRAY_SIZE(link))];
	}
}

/* A link has one device; other buses have 32 */
static bool bus_is_link(const struct world *w, int parent)
{
	return parent != NOWHERE && (w->node[parent].kind == ROOT ||
				     w->node[parent].kind == DOWN ||
				     w->node[parent].kind == REVERSE);
}

/* A free place, or -1; @devices: no more functions for devices there are */
static int random_place(const struct world *w, struct rnd_state *rnd, int host,
			int parent, bool devices)
{
	int devfn = bus_is_link(w, parent) ? 0 : PCI_DEVFN(below(rnd, 32), 0);
	int first = function_at(w, host, parent, devfn);

	if (first != NOWHERE) {
		if (devices && !w->node[first].fresh)
			return -1;
		devfn = bus_has_ari(w, parent) ? below(rnd, 256) :
						 devfn + below(rnd, 8);
	}
	return function_at(w, host, parent, devfn) == NOWHERE ? devfn : -1;
}

static int new_node(struct world *w)
{
	int n;

	for (n = 0; n < WORLD_NODES; n++)
		if (!w->node[n].here)
			return n;
	return NOWHERE;
}

/**
 * struct taste - what random worlds are like
 * @acs: percentage of ACS bits that are set
 * @spare: bus numbers that bridges leave for later
 */
struct taste {
	u32 acs;
	unsigned int spare;
};

static int grow_kind(struct world *w, struct rnd_state *rnd,
		     const struct taste *taste, int host, int parent, int devfn,
		     enum kind kind)
{
	int n = new_node(w);
	struct node *node = &w->node[n];

	if (n == NOWHERE || devfn < 0 || w->names >= w->limit)
		return NOWHERE;
	/*
	 * An upstream port is function 0: the kernel's ASPM code trips over
	 * others when they go (a link without its parent).
	 */
	if (kind == UP && devfn)
		kind = EP;
	*node = (struct node){
		.here = true, .fresh = true, .kind = kind, .host = host,
		.parent = parent, .devfn = devfn, .acs = -1,
		.name = w->names++,
	};
	if (is_bridge(node))
		node->spare = taste->spare;
	if (parent == NOWHERE)
		node->id = random_id(rnd);
	if (has_extended_config(w, n)) {
		node->acs = random_acs(rnd, taste->acs);
		if (kind == ROOT || kind == DOWN)
			node->ari = chance(rnd, 20);
		else if (kind == EP && !devfn && parent != NOWHERE)
			node->ari = chance(rnd, w->node[parent].ari ? 70 : 10);
	}
	return n;
}

/* Add something to a bus, and often something below. Return: it, or NOWHERE */
static int grow(struct world *w, struct rnd_state *rnd,
		const struct taste *taste, int host, int parent, bool devices)
{
	int n = grow_kind(w, rnd, taste, host, parent,
			  random_place(w, rnd, host, parent, devices),
			  random_kind(w, rnd, parent));

	if (n == NOWHERE)
		return n;
	if (w->node[n].kind == UP) {
		grow(w, rnd, taste, host, n, devices);
		grow(w, rnd, taste, host, n, devices);
	} else if (is_bridge(&w->node[n]) && chance(rnd, 85)) {
		grow(w, rnd, taste, host, n, devices);
	}
	return n;
}

static void grow_somewhere(struct world *w, struct rnd_state *rnd,
			   const struct taste *taste)
{
	int n = below(rnd, WORLD_NODES);

	if (w->node[n].here && is_bridge(&w->node[n]))
		grow(w, rnd, taste, w->node[n].host, n, false);
	else if (chance(rnd, 20))
		grow(w, rnd, taste, below(rnd, w->hosts), NOWHERE, false);
}

/* Which host bridges are good is as often one as the other */
static void random_knowledge(struct world *w, struct rnd_state *rnd)
{
	int i;

	w->cpu_routes = chance(rnd, 10);
	for (i = 0; i < WORLD_ALLOWED; i++)
		w->allowed[i] = chance(rnd, 20) ? random_id(rnd) : 0;
}

static void random_world(struct world *w, struct rnd_state *rnd,
			 unsigned int nodes, unsigned int spare)
{
	/* Most ACS bits have to be clear for a path to be free */
	static const u32 often[] = { 0, 4, 4, 10, 30 };
	struct taste taste = {
		.acs = often[below(rnd, ARRAY_SIZE(often))], .spare = spare,
	};
	int host, n, tries;

	memset(w, 0, sizeof(*w));
	w->hosts = chance(rnd, 25) ? 2 : 1;
	for (host = 0; host < w->hosts; host++) {
		w->limit = nodes * (host + 1) / w->hosts;
		grow_kind(w, rnd, &taste, host, NOWHERE, 0,
			  chance(rnd, 50) ? HOST : ROOT);
		grow(w, rnd, &taste, host, NOWHERE, false);
	}
	for (tries = 0; tries < 200 && w->names < nodes; tries++)
		grow_somewhere(w, rnd, &taste);
	for (n = 0; n < WORLD_NODES; n++)
		w->node[n].fresh = false;
	random_knowledge(w, rnd);
}

/*
 * From a world to text
 */

static void write_acs(struct seq_buf *s, int acs)
{
	static const char * const words[] = {
		"sv", "tb", "rr", "cr", "uf", "ec", "dt",
	};
	const char *divider = " acs=";
	unsigned int bit;

	if (!acs)
		seq_buf_puts(s, " acs=none");
	for (bit = 0; bit < ARRAY_SIZE(words); bit++) {
		if (!(acs & BIT(bit)))
			continue;
		seq_buf_printf(s, "%s%s", divider, words[bit]);
		divider = ",";
	}
}

static void write_node(struct seq_buf *s, const struct node *node, int depth)
{
	seq_buf_printf(s, "%*s%s n%u %02x.%x", depth, "", kind_words[node->kind],
		       node->name, PCI_SLOT(node->devfn),
		       PCI_FUNC(node->devfn));
	if (node->acs >= 0)
		write_acs(s, node->acs);
	if (node->ari)
		seq_buf_puts(s, " ari");
	if (node->spare)
		seq_buf_printf(s, " buses=%u", node->spare);
	if (node->memory)
		seq_buf_puts(s, " bar0=mem64:2M");
	if (node->id)
		seq_buf_printf(s, " id=%04x:%04x", node->id >> 16,
			       node->id & 0xffff);
	seq_buf_puts(s, "\n");
}

/* What is on a bus and below; @fresh: only what is to be plugged in */
static void write_bus(struct seq_buf *s, const struct world *w, int host,
		      int parent, int depth, bool fresh)
{
	int devfn;

	for (devfn = 0; devfn < 256; devfn++) {
		int n = function_at(w, host, parent, devfn);

		if (n == NOWHERE || (fresh && !w->node[n].fresh))
			continue;
		write_node(s, &w->node[n], depth);
		if (is_bridge(&w->node[n]))
			write_bus(s, w, host, n, depth + 1, fresh);
	}
}

/*
 * From a world to a live one
 */

/**
 * struct live - a world and what the kernel made of it
 * @test: whose it is
 * @world: the description
 * @fabric: one for each host bridge
 * @pdev: one for each node; NULL if the kernel does not know it
 * @seen: pairs by reason
 * @through: accepted pairs that go through the root complex
 * @text: scratch
 */
struct live {
	struct kunit *test;
	struct world world;
	struct fabric *fabric[WORLD_HOSTS];
	struct pci_dev *pdev[WORLD_NODES];
	u64 seen[PCI_P2PDMA_ROOT_COMPLEX + 1];
	u64 through;
	char text[WORLD_TEXT];
};

static const char *name_of(const struct node *node, char *name, size_t size)
{
	snprintf(name, size, "n%u", node->name);
	return name;
}

static char *text_of(struct live *live, int host, int parent, bool fresh)
{
	struct seq_buf s;

	seq_buf_init(&s, live->text, sizeof(live->text));
	write_bus(&s, &live->world, host, parent, 0, fresh);
	KUNIT_ASSERT_FALSE(live->test, seq_buf_has_overflowed(&s));
	seq_buf_str(&s);
	return live->text;
}

static void look_up(struct live *live)
{
	char name[16];
	int n;

	for (n = 0; n < WORLD_NODES; n++) {
		const struct node *node = &live->world.node[n];

		live->pdev[n] = !node->here || node->removed ? NULL :
			fabric_dev(live->fabric[node->host],
				   name_of(node, name, sizeof(name)));
	}
}

static void tell_knowledge(const struct world *w)
{
	char list[WORLD_ALLOWED * 10 + 1] = "";
	struct seq_buf s;
	int i;

	seq_buf_init(&s, list, sizeof(list));
	for (i = 0; i < WORLD_ALLOWED; i++)
		if (w->allowed[i])
			seq_buf_printf(&s, "%s%04x:%04x", s.len ? "," : "",
				       w->allowed[i] >> 16,
				       w->allowed[i] & 0xffff);
	seq_buf_str(&s);
	p2pdma_allow_host_bridges(list);
	if (p2pdma_cpu_routes != w->cpu_routes) {
		p2pdma_cpu_routes = w->cpu_routes;
		p2pdma_host_bridges_changed();
	}
}

static void live_up(struct live *live)
{
	int host, n;

	for (host = 0; host < live->world.hosts; host++)
		live->fabric[host] =
			fabric_create(live->test,
				      text_of(live, host, NOWHERE, false));
	look_up(live);
	for (n = 0; n < WORLD_NODES; n++)
		if (live->world.node[n].here && live->world.node[n].untrusted)
			live->pdev[n]->untrusted = true;
	tell_knowledge(&live->world);
}

static void live_down(struct live *live)
{
	int host;

	for (host = 0; host < live->world.hosts; host++)
		fabric_destroy(live->fabric[host]);
}

static struct live *live_create(struct kunit *test)
{
	struct live *live = kunit_kzalloc(test, sizeof(*live), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, live);
	live->test = test;
	/* What is found out here must not stay for other tests */
	fabric_host_bridges(test, "", p2pdma_cpu_routes);
	fabric_quiet(test);
	return live;
}

/* The code under test, for comparison with the oracle */
static struct opinion verdict(struct live *live, int a, int b)
{
	struct p2pdma_path path;

	p2pdma_judge(live->pdev[a], live->pdev[b], &path);
	return (struct opinion){ path.reason, path.map, path.distance };
}

static bool agree(struct live *live, int a, int b)
{
	struct opinion want = judge(&live->world, a, b);
	struct opinion got = verdict(live, a, b);

	live->seen[want.reason]++;
	live->through += want.map == PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
	return want.reason == got.reason && want.map == got.map &&
	       want.distance == got.distance;
}

/* Return: whether all pairs do; if not, *@a and *@b are one that does not */
static bool all_agree(struct live *live, int *a, int *b)
{
	for (*a = 0; *a < WORLD_NODES; ++*a)
		for (*b = 0; *b < WORLD_NODES; ++*b)
			if (live->pdev[*a] && live->pdev[*b] &&
			    !agree(live, *a, *b))
				return false;
	return true;
}

/*
 * Shrinking
 */

static void drop(struct world *w, int n)
{
	int child;

	for (child = 0; child < WORLD_NODES; child++)
		if (w->node[child].here && w->node[child].parent == n)
			drop(w, child);
	w->node[n].here = false;
}

/* Put what is two levels below a switch port in its place */
static bool lift(struct world *w, int n)
{
	int parent = w->node[n].parent, upper, child;

	if (w->node[n].kind != UP || w->node[parent].kind != DOWN)
		return false;
	upper = w->node[parent].parent;
	for (child = 0; child < WORLD_NODES; child++) {
		int device = 0;

		if (!w->node[child].here || w->node[child].parent != n)
			continue;
		while (function_at(w, w->node[n].host, upper,
				   PCI_DEVFN(device, 0)) != NOWHERE)
			device++;
		w->node[child].devfn = PCI_DEVFN(device, 0);
		w->node[child].parent = upper;
	}
	drop(w, parent);
	return true;
}

/* Function 0 is there wherever others are, and each fabric has something */
static bool is_possible(const struct world *w)
{
	int n, host, here[WORLD_HOSTS] = {};

	for (n = 0; n < WORLD_NODES; n++) {
		const struct node *node = &w->node[n];
		u8 devfn = node->devfn;

		if (!node->here)
			continue;
		here[node->host]++;
		devfn = bus_is_link(w, node->parent) ? 0 : devfn & ~7;
		if (function_at(w, node->host, node->parent, devfn) == NOWHERE)
			return false;
		if (bus_is_link(w, node->parent) && node->devfn > 7 &&
		    !bus_has_ari(w, node->parent))
			return false;
	}
	for (host = 0; host < w->hosts; host++)
		if (!here[host])
			return false;
	return true;
}

/*
 * The nth way to make a world smaller; false if it makes no difference here,
 * -ENOENT if there are no more
 */
static int smaller(struct world *w, unsigned int nth)
{
	const unsigned int node_ways = 12;
	struct node *node = &w->node[nth / node_ways];
	unsigned int way = nth % node_ways;

	if (nth >= WORLD_NODES * node_ways) {
		nth -= WORLD_NODES * node_ways;
		if (nth < WORLD_ALLOWED && w->allowed[nth]) {
			w->allowed[nth] = 0;
			return true;
		}
		if (nth == WORLD_ALLOWED && w->cpu_routes) {
			w->cpu_routes = false;
			return true;
		}
		if (nth == WORLD_ALLOWED + 1 && w->hosts > 1) {
			for (nth = 0; nth < WORLD_NODES; nth++)
				if (w->node[nth].host)
					w->node[nth].here = false;
			w->hosts = 1;
			return true;
		}
		return nth > WORLD_ALLOWED + 1 ? -ENOENT : false;
	}
	if (!node->here)
		return false;
	switch (way) {
	case 0:
		drop(w, node - w->node);
		return true;
	case 1:
		return lift(w, node - w->node);
	case 2 ... 8:
		if (node->acs <= 0 || !(node->acs & BIT(way - 2)))
			return false;
		node->acs &= ~BIT(way - 2);
		return true;
	case 9:
		if (node->acs)
			return false;
		node->acs = -1;
		return true;
	case 10:
		if (!node->spare)
			return false;
		node->spare = 0;
		return true;
	default:
		if (!node->ari)
			return false;
		node->ari = false;
		return true;
	}
}

static bool still_fails(struct live *live, int *a, int *b)
{
	bool fails;

	live_up(live);
	fails = !all_agree(live, a, b);
	live_down(live);
	return fails;
}

/* Until no way to make it smaller leaves it failing */
static void shrink(struct live *live, int *a, int *b)
{
	struct world *saved = kunit_kzalloc(live->test, sizeof(*saved),
					    GFP_KERNEL);
	unsigned int nth = 0, tries = 0;

	KUNIT_ASSERT_NOT_NULL(live->test, saved);
	while (tries++ < 5000) {
		int ret, x, y;

		*saved = live->world;
		ret = smaller(&live->world, nth);
		if (ret < 0)
			break;
		if (ret && is_possible(&live->world) &&
		    still_fails(live, &x, &y)) {
			*a = x;
			*b = y;
			nth = 0;
			continue;
		}
		live->world = *saved;
		nth++;
	}
	kunit_kfree(live->test, saved);
}

static const char *map_word(enum pci_p2pdma_map_type map)
{
	switch (map) {
	case PCI_P2PDMA_MAP_BUS_ADDR:
		return "bus address";
	case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
		return "through the host bridge";
	default:
		return "none";
	}
}

static void print_opinion(struct kunit *test, const char *who,
			  const struct opinion *o)
{
	kunit_err(test, "%s: \"%s\", mapping: %s, distance %d", who,
		  pci_p2pdma_reason_text(o->reason), map_word(o->map),
		  o->distance);
}

static void print_text(struct kunit *test, char *text)
{
	char *line;

	while ((line = strsep(&text, "\n")))
		if (*line)
			kunit_err(test, "\"%s\\n\"", line);
}

/* A failing world, ready to become a test case; call while it is live */
static void print_disagreement(struct live *live, int a, int b)
{
	struct world *w = &live->world;
	struct opinion want = judge(w, a, b), got = verdict(live, a, b);
	struct kunit *test = live->test;
	int i;

	kunit_err(test, "provider n%u, client n%u", w->node[a].name,
		  w->node[b].name);
	print_opinion(test, "the oracle", &want);
	print_opinion(test, "the kernel", &got);
	for (i = 0; i < WORLD_ALLOWED; i++)
		if (w->allowed[i])
			kunit_err(test, "allowed host bridge: %04x:%04x",
				  w->allowed[i] >> 16, w->allowed[i] & 0xffff);
	if (w->node[b].untrusted)
		kunit_err(test, "the client is untrusted");
	if (w->cpu_routes)
		kunit_err(test, "the CPU is of a family that routes");
	for (i = 0; i < w->hosts; i++) {
		kunit_err(test, "host bridge %d:", i);
		print_text(test, text_of(live, i, NOWHERE, false));
	}
}

/* Shrink and print a world that is down already */
static void report(struct live *live, int a, int b, u64 from)
{
	if (!still_fails(live, &a, &b)) {
		kunit_err(live->test, "not with the same ACS bits from the beginning");
	} else {
		shrink(live, &a, &b);
		live_up(live);
		print_disagreement(live, a, b);
		live_down(live);
	}
	KUNIT_FAIL(live->test, "oracle and kernel disagree, seed %#llx", from);
}

/*
 * The tests
 */

static u64 first_seed(struct kunit *test, unsigned int nr)
{
	u64 first = seed ?: get_random_u64();

	kunit_printk(KERN_NOTICE, test, "seed %#llx, %u worlds", first, nr);
	return first;
}

static void change_acs(struct live *live, struct rnd_state *rnd)
{
	static const u32 often[] = { 2, 5, 20 };
	u32 percent = often[below(rnd, ARRAY_SIZE(often))];
	char name[16];
	int n;

	for (n = 0; n < WORLD_NODES; n++) {
		struct node *node = &live->world.node[n];

		if (!node->here || node->acs < 0)
			continue;
		node->acs = max(0, random_acs(rnd, percent));
		fabric_set_acs(live->fabric[node->host],
			       name_of(node, name, sizeof(name)), node->acs);
	}
}

/* Some of what is no bridge is external */
static void mistrust(struct world *w, struct rnd_state *rnd)
{
	int n;

	for (n = 0; n < WORLD_NODES; n++)
		if (w->node[n].here && !is_bridge(&w->node[n]))
			w->node[n].untrusted = chance(rnd, 5);
}

/* R2.5 R2.6 N7 N13 N14: all pairs of many small fabrics */
static void verdicts_are_those_of_the_oracle(struct kunit *test)
{
	unsigned int nr = fabrics ?: IS_ENABLED(CONFIG_KASAN) ? 300 : 1000;
	u64 first = first_seed(test, nr);
	struct live *live = live_create(test);
	unsigned int i, settings;
	int a, b;

	for (i = 0; i < nr; i++) {
		struct rnd_state rnd;

		prandom_seed_state(&rnd, first + i);
		random_world(&live->world, &rnd, 4 + below(&rnd, 9), 0);
		mistrust(&live->world, &rnd);
		live_up(live);
		for (settings = 0; settings < SETTINGS; settings++) {
			if (settings) {
				change_acs(live, &rnd);
				random_knowledge(&live->world, &rnd);
				tell_knowledge(&live->world);
			}
			if (!all_agree(live, &a, &b))
				break;
		}
		live_down(live);
		if (settings < SETTINGS) {
			report(live, a, b, first + i);
			return;
		}
		cond_resched();
	}
	kunit_printk(KERN_NOTICE, test, "%u fabrics; pairs of which:", nr);
	for (i = 0; i < ARRAY_SIZE(live->seen); i++) {
		kunit_printk(KERN_NOTICE, test, "%8llu: %s", live->seen[i],
			     pci_p2pdma_reason_text(i));
		/* Every verdict on two PCI functions was there to be missed */
		if (nr >= 300 && i != PCI_P2PDMA_NO_PCI_DEVICE &&
		    i != PCI_P2PDMA_VIRT_DMA)
			KUNIT_EXPECT_GT(test, live->seen[i], nr / 10);
	}
	kunit_printk(KERN_NOTICE, test, "%8llu: through the root complex",
		     live->through);
}

/*
 * Sequences: what happens to a machine while it runs. A verdict may not
 * depend on what was before (N11, R2.7).
 */

enum step {
	KERNEL_WRITES, USER_WRITES, ODD_WRITES, RESETS, ALLOWS, CPU, REMOVES,
	REPLACES, PLUGS_IN, STEPS,
};

static const char * const step_words[] = {
	[KERNEL_WRITES] = "a config write by the kernel",
	[USER_WRITES] = "a config write by user space",
	[ODD_WRITES] = "a config write of another width",
	[RESETS] = "a reset",
	[ALLOWS] = "a change of the list of host bridges",
	[CPU] = "a change of the CPU",
	[REMOVES] = "removal and rescan",
	[REPLACES] = "hot removal, and something else in its place",
	[PLUGS_IN] = "hot plug",
};

static int random_node(struct live *live, struct rnd_state *rnd)
{
	int tries;

	for (tries = 0; tries < 200; tries++) {
		int n = below(rnd, WORLD_NODES);

		if (live->pdev[n])
			return n;
	}
	return NOWHERE;
}

static bool step_writes(struct live *live, struct rnd_state *rnd, int n,
			enum step step)
{
	struct node *node = &live->world.node[n];
	struct pci_dev *pdev = live->pdev[n];
	struct fabric *fabric = live->fabric[node->host];
	int control = pdev->acs_cap + PCI_ACS_CTRL;
	char name[16];

	if (node->acs < 0)
		return false;
	node->acs = chance(rnd, 40) ? 0 : max(0, random_acs(rnd, 15));
	name_of(node, name, sizeof(name));
	if (step == KERNEL_WRITES)
		fabric_set_acs(fabric, name, node->acs);
	else if (step == USER_WRITES)
		fabric_user_set_acs(fabric, name, node->acs);
	else if (chance(rnd, 25))
		pci_write_config_byte(pdev, control, node->acs);
	else if (chance(rnd, 33))
		pci_user_write_config_byte(pdev, control, node->acs);
	else if (chance(rnd, 50))
		pci_write_config_dword(pdev, control - 2, node->acs << 16);
	else
		pci_user_write_config_dword(pdev, control - 2, node->acs << 16);
	return true;
}

static void forget_acs(struct world *w, int n)
{
	int child;

	if (w->node[n].acs >= 0)
		w->node[n].acs = 0;
	for (child = 0; child < WORLD_NODES; child++)
		if (w->node[child].here && w->node[child].parent == n)
			forget_acs(w, child);
}

static bool step_resets(struct live *live, int n)
{
	struct node *node = &live->world.node[n];
	char name[16];

	fabric_reset(live->fabric[node->host],
		     name_of(node, name, sizeof(name)));
	forget_acs(&live->world, n);
	return true;
}

static bool step_knowledge(struct live *live, struct rnd_state *rnd,
			   enum step step)
{
	struct world *w = &live->world;
	bool cpu_routes = w->cpu_routes;

	if (step == CPU) {
		w->cpu_routes = !cpu_routes;
	} else {
		random_knowledge(w, rnd);
		w->cpu_routes = cpu_routes;
	}
	tell_knowledge(w);
	return true;
}

static void set_removed(struct world *w, int n, bool removed)
{
	int child;

	w->node[n].removed = removed;
	for (child = 0; child < WORLD_NODES; child++)
		if (w->node[child].here && w->node[child].parent == n)
			set_removed(w, child, removed);
}

static void remove_node(struct live *live, int n)
{
	struct node *node = &live->world.node[n];
	char name[16];

	set_removed(&live->world, n, true);
	look_up(live);
	fabric_remove(live->fabric[node->host],
		      name_of(node, name, sizeof(name)));
}

static void bring_back(struct live *live, int n)
{
	set_removed(&live->world, n, false);
	fabric_rescan(live->fabric[live->world.node[n].host]);
	look_up(live);
}

static bool step_removes(struct live *live, int n, int *a, int *b)
{
	remove_node(live, n);
	/* The rest has to be right while it is away, too */
	if (all_agree(live, a, b))
		bring_back(live, n);
	return true;
}

/* Is it a whole device, and not all there is below its host bridge? */
static bool can_be_pulled(const struct world *w, int n)
{
	bool others = false;
	int i;

	for (i = 0; i < WORLD_NODES; i++) {
		if (!w->node[i].here || i == n ||
		    !same_bus(&w->node[i], &w->node[n]))
			continue;
		if (PCI_SLOT(w->node[i].devfn) == PCI_SLOT(w->node[n].devfn) ||
		    bus_is_link(w, w->node[n].parent))
			return false;
		others = true;
	}
	return others || w->node[n].parent != NOWHERE;
}

/* Bus numbers that it and what is below take */
static unsigned int numbers_of(const struct world *w, int n)
{
	unsigned int nr = 0;
	int child;

	if (is_bridge(&w->node[n]))
		nr = 1 + w->node[n].spare;
	for (child = 0; child < WORLD_NODES; child++)
		if (w->node[child].here && w->node[child].parent == n)
			nr += numbers_of(w, child);
	return nr;
}

/* Put something where @room bus numbers are free */
static bool plug_in(struct live *live, struct rnd_state *rnd, int host,
		    int parent, unsigned int room)
{
	const struct taste taste = { .acs = 10 };
	struct world *w = &live->world;
	struct world *saved = kunit_kzalloc(live->test, sizeof(*saved),
					    GFP_KERNEL);
	char name[16];
	int n, i;

	KUNIT_ASSERT_NOT_NULL(live->test, saved);
	*saved = *w;
	n = grow(w, rnd, &taste, host, parent, true);
	if (n == NOWHERE || numbers_of(w, n) > room) {
		*w = *saved;
		kunit_kfree(live->test, saved);
		return false;
	}
	kunit_kfree(live->test, saved);

	fabric_add(live->fabric[host],
		   parent == NOWHERE ? NULL :
		   name_of(&w->node[parent], name, sizeof(name)),
		   text_of(live, host, parent, true));
	for (i = 0; i < WORLD_NODES; i++)
		w->node[i].fresh = false;
	look_up(live);
	return true;
}

static bool step_replaces(struct live *live, struct rnd_state *rnd, int n)
{
	struct node *node = &live->world.node[n];
	int host = node->host, parent = node->parent, tries;
	unsigned int room = numbers_of(&live->world, n);
	char name[16];

	if (!can_be_pulled(&live->world, n))
		return false;
	name_of(node, name, sizeof(name));
	drop(&live->world, n);
	look_up(live);
	if (chance(rnd, 50))
		fabric_pull(live->fabric[host], name);
	else
		fabric_unplug(live->fabric[host], name);
	/* Sometimes nothing fits, or comes */
	for (tries = below(rnd, 6); tries; tries--)
		if (plug_in(live, rnd, host, parent, room))
			break;
	return true;
}

static bool step_plugs_in(struct live *live, struct rnd_state *rnd, int n)
{
	const struct node *node = &live->world.node[n];

	if (is_bridge(node))
		return plug_in(live, rnd, node->host, n, 0);
	return plug_in(live, rnd, node->host, NOWHERE, 0);
}

/* Do something; false if it was not possible */
static bool take_step(struct live *live, struct rnd_state *rnd, enum step step,
		      int *a, int *b)
{
	int n = random_node(live, rnd);

	if (step == ALLOWS || step == CPU)
		return step_knowledge(live, rnd, step);
	if (n == NOWHERE)
		return false;
	switch (step) {
	case RESETS:
		return step_resets(live, n);
	case REMOVES:
		return step_removes(live, n, a, b);
	case REPLACES:
		return step_replaces(live, rnd, n);
	case PLUGS_IN:
		return step_plugs_in(live, rnd, n);
	default:
		return step_writes(live, rnd, n, step);
	}
}

/* Is it the sequence, or is the verdict wrong on a fresh fabric as well? */
static void report_sequence(struct live *live, int a, int b, u64 from,
			    unsigned int nr, enum step step)
{
	struct kunit *test = live->test;

	kunit_err(test, "seed %#llx, after step %u, %s:", from, nr,
		  step_words[step]);
	print_disagreement(live, a, b);
	live_down(live);
	if (still_fails(live, &a, &b))
		report(live, a, b, from);
	else
		KUNIT_FAIL(test, "a fresh fabric is judged right, seed %#llx",
			   from);
}

/* R2.7 N11: verdicts are new after everything that can happen */
static void verdicts_do_not_depend_on_what_was_before(struct kunit *test)
{
	unsigned int nr = fabrics ?: IS_ENABLED(CONFIG_KASAN) ? 10 : 60;
	unsigned int done[STEPS] = {}, i, j;
	u64 first = first_seed(test, nr);
	struct live *live = live_create(test);
	int a, b;

	for (i = 0; i < nr; i++) {
		struct rnd_state rnd;

		prandom_seed_state(&rnd, first + i);
		random_world(&live->world, &rnd, 6 + below(&rnd, 9), 3);
		live->world.limit = UINT_MAX;
		live_up(live);
		for (j = 0; j < 40; j++) {
			enum step step = below(&rnd, STEPS);
			unsigned int tries = 0;

			while (!take_step(live, &rnd, step, &a, &b) &&
			       tries++ < 50)
				;
			done[step] += tries <= 50;
			if (all_agree(live, &a, &b))
				continue;
			report_sequence(live, a, b, first + i, j, step);
			return;
		}
		live_down(live);
		cond_resched();
	}
	for (i = 0; i < STEPS; i++) {
		kunit_printk(KERN_NOTICE, test, "%u times %s", done[i],
			     step_words[i]);
		if (!fabrics)
			KUNIT_EXPECT_GT_MSG(test, done[i], 0, "%s",
					    step_words[i]);
	}
}

/*
 * Bound lists: each is told once when its provider can no longer be reached,
 * and again only after it could be
 */

#define BOUND_LISTS	4
#define BOUND_CLIENTS	3

/**
 * struct bound_list - a client list, and what has to become of it
 * @list: the list
 * @clients: nodes in it
 * @told: how often it was told
 * @expected: how often it had to be
 * @bound: it has a provider
 * @usable: its clients reached the provider when it was last looked at
 */
struct bound_list {
	struct pci_p2pdma_client_list list;
	int clients[BOUND_CLIENTS];
	unsigned int told;
	unsigned int expected;
	bool bound;
	bool usable;
};

static void count_unusable(struct pci_p2pdma_client_list *list,
			   struct pci_dev *provider)
{
	container_of(list, struct bound_list, list)->told++;
}

static const struct pci_p2pdma_client_ops counting_ops = {
	.name = "oracle test",
	.unusable = count_unusable,
};

static void bound_list_free(void *data)
{
	struct bound_list *bound = data;

	pci_p2pdma_client_list_free(&bound->list);
}

static bool may_have_memory(const struct node *node)
{
	return node->here && (node->kind == EP || node->kind == RCIEP);
}

/* A node with memory, or NOWHERE; settled before the fabric is made */
static int give_memory(struct world *w, struct rnd_state *rnd)
{
	int n, tries;

	for (tries = 0; tries < 100; tries++) {
		n = below(rnd, WORLD_NODES);
		if (may_have_memory(&w->node[n])) {
			w->node[n].memory = true;
			return n;
		}
	}
	return NOWHERE;
}

static void fill_list(struct live *live, struct rnd_state *rnd, int provider,
		      struct bound_list *bound)
{
	int i, n;

	memset(bound, 0, sizeof(*bound));
	pci_p2pdma_client_list_init(&bound->list, &counting_ops);
	for (i = 0; i < BOUND_CLIENTS; i++) {
		n = random_node(live, rnd);
		bound->clients[i] = NOWHERE;
		if (n == NOWHERE || n == provider)
			continue;
		KUNIT_ASSERT_EQ(live->test, 0,
				pci_p2pdma_add_client(&bound->list,
						      &live->pdev[n]->dev));
		bound->clients[i] = n;
	}
}

/* Do all clients reach the provider, in the eyes of the oracle? */
static bool list_is_usable(const struct world *w, int provider,
			   const struct bound_list *bound)
{
	bool any = false;
	int i;

	for (i = 0; i < BOUND_CLIENTS; i++) {
		int n = bound->clients[i];

		if (n == NOWHERE)
			continue;
		any = true;
		if (judge(w, provider, n).reason != PCI_P2PDMA_REACHABLE)
			return false;
	}
	return any;
}

static bool is_in_use(const struct world *w, int n, int provider,
		      const struct bound_list *lists)
{
	int i;

	if (n == provider || is_above(w, n, provider))
		return true;
	for (i = 0; i < BOUND_LISTS * BOUND_CLIENTS; i++) {
		int client = lists[i / BOUND_CLIENTS].clients[i % BOUND_CLIENTS];

		if (client != NOWHERE &&
		    (n == client || is_above(w, n, client)))
			return true;
	}
	return false;
}

static void expect_told(struct live *live, struct rnd_state *rnd, int provider,
			struct bound_list *bound, u64 from, enum step step)
{
	bool usable = list_is_usable(&live->world, provider, bound);
	struct kunit *test = live->test;
	struct pci_dev *found;

	if (bound->bound && bound->usable && !usable)
		bound->expected++;
	bound->usable = usable;
	KUNIT_EXPECT_EQ_MSG(test, bound->expected, bound->told,
			    "seed %#llx after %s", from, step_words[step]);

	/* Asking makes a difference to nobody; so it is not always done */
	if (bound->bound && chance(rnd, 70))
		return;
	found = pci_p2pmem_find(&bound->list);
	KUNIT_EXPECT_PTR_EQ_MSG(test, usable ? live->pdev[provider] : NULL,
				found, "seed %#llx after %s", from,
				step_words[step]);
	pci_dev_put(found);
	bound->bound |= usable;
}

static void expect_all_told(struct live *live, struct rnd_state *rnd,
			    int provider, struct bound_list *lists, u64 from,
			    enum step step)
{
	int i;

	p2pdma_topology_settle();
	for (i = 0; i < BOUND_LISTS; i++)
		expect_told(live, rnd, provider, &lists[i], from, step);
}

/* Config writes, resets, host bridges, and removal of what nobody uses */
static void bound_step(struct live *live, struct rnd_state *rnd, int provider,
		       struct bound_list *lists, u64 from)
{
	static const enum step steps[] = {
		KERNEL_WRITES, KERNEL_WRITES, USER_WRITES, USER_WRITES,
		ODD_WRITES, RESETS, ALLOWS, CPU, REMOVES,
	};
	enum step step = steps[below(rnd, ARRAY_SIZE(steps))];
	int n = random_node(live, rnd);

	if (n == NOWHERE || (step == REMOVES &&
			     is_in_use(&live->world, n, provider, lists)))
		return;
	if (step == ALLOWS || step == CPU)
		step_knowledge(live, rnd, step);
	else if (step == RESETS)
		step_resets(live, n);
	else if (step == REMOVES)
		remove_node(live, n);
	else
		step_writes(live, rnd, n, step);
	expect_all_told(live, rnd, provider, lists, from, step);
	if (step == REMOVES) {
		/* The host bridge may have gone by it */
		bring_back(live, n);
		expect_all_told(live, rnd, provider, lists, from, step);
	}
}

static unsigned int follow_lists(struct live *live, struct rnd_state *rnd,
				 int provider, struct bound_list *lists,
				 u64 from)
{
	struct pci_dev *pdev = live->pdev[provider];
	unsigned int told = 0, i, j;

	KUNIT_ASSERT_EQ(live->test, 0, pci_p2pdma_add_resource(pdev, 0, 0, 0));
	pci_p2pmem_publish(pdev, true);
	for (i = 0; i < BOUND_LISTS; i++)
		fill_list(live, rnd, provider, &lists[i]);

	for (j = 0; j < 100 && live->test->status != KUNIT_FAILURE; j++) {
		bound_step(live, rnd, provider, lists, from);
		/* Whoever unbinds has nothing more to be told */
		if (chance(rnd, 10)) {
			i = below(rnd, BOUND_LISTS);
			pci_p2pdma_unbind(&lists[i].list);
			lists[i].bound = false;
		}
	}
	for (i = 0; i < BOUND_LISTS; i++) {
		told += lists[i].told;
		bound_list_free(&lists[i]);
	}
	return told;
}

/* R2.7 R2.9 N11 */
static void bound_lists_are_told_once_and_again(struct kunit *test)
{
	unsigned int nr = fabrics ?: IS_ENABLED(CONFIG_KASAN) ? 5 : 25;
	u64 first = first_seed(test, nr);
	struct live *live = live_create(test);
	struct bound_list *lists;
	unsigned int told = 0, i;

	lists = kunit_kcalloc(test, BOUND_LISTS, sizeof(*lists), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, lists);
	for (i = 0; i < BOUND_LISTS; i++) {
		pci_p2pdma_client_list_init(&lists[i].list, &counting_ops);
		KUNIT_ASSERT_EQ(test, 0,
				kunit_add_action(test, bound_list_free,
						 &lists[i]));
	}
	for (i = 0; i < nr && test->status != KUNIT_FAILURE; i++) {
		struct rnd_state rnd;
		int provider;

		prandom_seed_state(&rnd, first + i);
		random_world(&live->world, &rnd, 6 + below(&rnd, 9), 0);
		provider = give_memory(&live->world, &rnd);
		if (provider == NOWHERE)
			continue;
		live_up(live);
		told += follow_lists(live, &rnd, provider, lists, first + i);
		live_down(live);
		cond_resched();
	}
	kunit_printk(KERN_NOTICE, test, "%u callbacks", told);
	KUNIT_EXPECT_GT(test, told, nr);
}

static struct kunit_case p2pdma_oracle_cases[] = {
	KUNIT_CASE_SLOW(verdicts_are_those_of_the_oracle),
	KUNIT_CASE_SLOW(verdicts_do_not_depend_on_what_was_before),
	KUNIT_CASE_SLOW(bound_lists_are_told_once_and_again),
	{}
};

static struct kunit_suite p2pdma_oracle_suite = {
	.name = "p2pdma_oracle",
	.test_cases = p2pdma_oracle_cases,
};

kunit_test_suite(p2pdma_oracle_suite);
