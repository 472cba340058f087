// SPDX-License-Identifier: GPL-2.0
/*
 * PCI peer-to-peer DMA: can a client reach a provider, and how far is it
 *
 * A switch has to route a request by its address from one downstream port to
 * another (PCIe r6.0, sec 1.3.3 and 2.2.4.1) unless Access Control Services in
 * one of the ports on the way send it up to the root complex (sec 6.12). A
 * root complex need not route between its ports at all (sec 1.3.1); a path
 * through it is accepted only where p2pdma-host.c knows that it works.
 *
 * Distance counts edges of the tree from both functions up to the closest
 * common bridge; so 4 is two devices below one switch:
 *
 *              upstream port            <- closest common bridge
 *             /             \
 *     downstream port   downstream port
 *            |               |
 *        provider          client
 *
 * Through the root complex it counts the edges up to the root, and 4096 more,
 * so that every path below a switch ranks before.
 *
 * A verdict walks the tree at each call, which takes no lock, allocates nothing
 * and reads no config space: it cannot be older than the question. The one
 * thing that is remembered is each function's ACS control word. The config
 * accesses of drivers, of the PCI core and of user space to a function come
 * through drivers/pci/access.c; a write that touches the word makes it read again
 * before the call returns. (Firmware's own methods do not come there.) Only
 * a reset clears it without a write, and then the kernel restores it with one;
 * until then a verdict is at worst a refusal too many.
 *
 * The caller holds references on both functions, and a function keeps its bus.
 */
#include <linux/seq_buf.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include "pci.h"
#include "p2pdma.h"

#define P2PDMA_ROOT_COMPLEX_DISTANCE	4096

/*
 * What turns a peer request or its completion away from the direct route.
 * Direct Translated P2P excuses nothing: our requests are untranslated.
 */
#define P2PDMA_ACS_REDIRECTS	(PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_EC)

/* Orders remembering ACS control words, see below */
static DEFINE_RAW_SPINLOCK(p2pdma_acs_lock);
static u64 p2pdma_acs_tickets;

/**
 * pci_p2pdma_acs_written - the ACS control word of a function was written
 * @pdev: the function
 *
 * Two writers may come here in any order. Each draws a ticket after it has
 * written, and reads the word after that: whoever has the later one has read
 * what both of them left, and is not overruled by the other. No lock is held
 * while config space is read, because some host bridges sleep there on
 * PREEMPT_RT.
 *
 * Context: any in which config space may be written.
 */
void pci_p2pdma_acs_written(struct pci_dev *pdev)
{
	unsigned long flags;
	u16 old, ctrl;
	u64 ticket;

	raw_spin_lock_irqsave(&p2pdma_acs_lock, flags);
	ticket = ++p2pdma_acs_tickets;
	raw_spin_unlock_irqrestore(&p2pdma_acs_lock, flags);

	/* A port that does not answer reads all ones: it is not trusted */
	pci_read_config_word(pdev, pdev->acs_cap + PCI_ACS_CTRL, &ctrl);

	raw_spin_lock_irqsave(&p2pdma_acs_lock, flags);
	old = pdev->p2pdma_acs_ctrl;
	if (ticket > pdev->p2pdma_acs_ticket) {
		pdev->p2pdma_acs_ticket = ticket;
		WRITE_ONCE(pdev->p2pdma_acs_ctrl, ctrl);
	} else {
		ctrl = old;
	}
	raw_spin_unlock_irqrestore(&p2pdma_acs_lock, flags);

	/* Nothing goes by a function that is not there yet */
	if (ctrl & ~old & P2PDMA_ACS_REDIRECTS && device_is_registered(&pdev->dev))
		p2pdma_path_lost();
	if ((old ^ ctrl) & P2PDMA_ACS_REDIRECTS)
		p2pdma_topology_changed();
}

/**
 * pci_p2pdma_acs_init - look for a function that redirects without ACS saying so
 * @pdev: a new function, its ACS capability set up
 *
 * The kernel has a list of ports and devices whose vendors say that no request
 * passes between them, whatever the ACS capability says, if there is one. And
 * a function that has the capability but no Request Redirect in it sends no
 * requests to the others of its device: who can must be able to redirect them
 * (PCIe r6.0, sec 6.12.1.2).
 *
 * Context: process.
 */
void pci_p2pdma_acs_init(struct pci_dev *pdev)
{
	u16 cap;

	if (pci_is_bridge(pdev) &&
	    (pdev->acs_cap || pci_pcie_type(pdev) != PCI_EXP_TYPE_DOWNSTREAM))
		return;
	pdev->p2pdma_always_redirects =
		pci_dev_specific_acs_enabled(pdev, PCI_ACS_RR | PCI_ACS_CR) > 0;
	if (pdev->acs_cap && !pci_is_bridge(pdev)) {
		pci_read_config_word(pdev, pdev->acs_cap + PCI_ACS_CAP, &cap);
		if (!(cap & PCI_ACS_RR))
			pdev->p2pdma_always_redirects = true;
	}
}

static u16 p2pdma_acs_redirects(struct pci_dev *pdev)
{
	if (pdev->p2pdma_always_redirects)
		return PCI_ACS_RR | PCI_ACS_CR;
	return READ_ONCE(pdev->p2pdma_acs_ctrl) & P2PDMA_ACS_REDIRECTS;
}

/*
 * Egress control alone makes an error of what it stops; no other route is
 * taken (PCIe r6.0, sec 6.12.3)
 */
static bool p2pdma_blocks(u16 redirects)
{
	return (redirects & (PCI_ACS_EC | PCI_ACS_RR)) == PCI_ACS_EC;
}

static bool p2pdma_is_conventional(struct pci_dev *bridge)
{
	return !pci_is_pcie(bridge) ||
	       pci_pcie_type(bridge) == PCI_EXP_TYPE_PCI_BRIDGE ||
	       pci_pcie_type(bridge) == PCI_EXP_TYPE_PCIE_BRIDGE;
}

bool p2pdma_is_switch_port(struct pci_dev *bridge)
{
	return pci_pcie_type(bridge) == PCI_EXP_TYPE_UPSTREAM ||
	       pci_pcie_type(bridge) == PCI_EXP_TYPE_DOWNSTREAM;
}

/*
 * A VF belongs to its PF's device, whatever bus number it was given. What is
 * integrated in the root complex meets only there, whatever its numbers are.
 */
static bool p2pdma_same_device(struct pci_dev *a, struct pci_dev *b)
{
	a = pci_physfn(a);
	b = pci_physfn(b);
	if (a->bus != b->bus || pci_is_root_bus(a->bus))
		return false;
	return pci_ari_enabled(a->bus) || PCI_SLOT(a->devfn) == PCI_SLOT(b->devfn);
}

/**
 * struct p2pdma_walk - what the bridges passed on the way do
 * @edges: edges of the tree
 * @redirects: one of them redirects or controls egress
 * @blocks: one controls egress and does not redirect
 * @conventional: one has a conventional bus
 */
struct p2pdma_walk {
	int edges;
	bool redirects;
	bool blocks;
	bool conventional;
};

static void p2pdma_pass(struct p2pdma_walk *walk, struct pci_dev *bridge)
{
	u16 redirects = p2pdma_acs_redirects(bridge);

	if (redirects) {
		walk->redirects = true;
		if (p2pdma_blocks(redirects))
			walk->blocks = true;
	}
	if (p2pdma_is_conventional(bridge))
		walk->conventional = true;
}

/* Pass one bridge of a leg and go on to the next */
static struct pci_dev *p2pdma_step(struct p2pdma_walk *walk,
				   struct pci_dev *bridge)
{
	p2pdma_pass(walk, bridge);
	walk->edges++;
	return pci_upstream_bridge(bridge);
}

static int p2pdma_depth(struct pci_dev *bridge)
{
	int depth = 0;

	for (; bridge; bridge = pci_upstream_bridge(bridge))
		depth++;
	return depth;
}

/* Walk both legs. Return the closest common bridge, not yet passed, or NULL. */
static struct pci_dev *p2pdma_walk_legs(struct p2pdma_walk *walk,
					struct pci_dev *provider,
					struct pci_dev *client)
{
	struct pci_dev *a = pci_upstream_bridge(provider);
	struct pci_dev *b = pci_upstream_bridge(client);
	int depth_a, depth_b;

	/* The edges from the functions to the bridges above them */
	walk->edges = 2;
	if (a == b)
		return a;

	depth_a = p2pdma_depth(a);
	depth_b = p2pdma_depth(b);
	for (; depth_a > depth_b; depth_a--)
		a = p2pdma_step(walk, a);
	for (; depth_b > depth_a; depth_b--)
		b = p2pdma_step(walk, b);
	while (a != b) {
		a = p2pdma_step(walk, a);
		b = p2pdma_step(walk, b);
	}
	return a;
}

/* For for_each_bridge_between() */
struct pci_dev *p2pdma_next_bridge(struct p2pdma_legs *legs)
{
	if (!legs->at)
		return NULL;
	if (legs->at == legs->common) {
		legs->at = NULL;
		return NULL;
	}
	legs->at = pci_upstream_bridge(legs->at);
	if (legs->at == legs->common && legs->client) {
		legs->at = legs->client;
		legs->client = NULL;
		return p2pdma_next_bridge(legs);
	}
	return legs->at;
}

static void p2pdma_judge_bridges(struct pci_dev *provider,
				 struct pci_dev *client,
				 struct p2pdma_path *path)
{
	struct p2pdma_walk walk = {};
	struct pci_dev *bridge;
	int distance;

	path->common = p2pdma_walk_legs(&walk, provider, client);
	if (path->common)
		p2pdma_pass(&walk, path->common);
	path->edges = walk.edges;
	path->distance = path->edges;

	if (walk.conventional) {
		path->reason = PCI_P2PDMA_CONVENTIONAL_PCI;
		return;
	}
	if (path->common && p2pdma_is_switch_port(path->common)) {
		if (!walk.redirects) {
			path->map = PCI_P2PDMA_MAP_BUS_ADDR;
			return;
		}
		path->reason = PCI_P2PDMA_ACS_REDIRECT;
	} else {
		path->reason = PCI_P2PDMA_ROOT_COMPLEX;
	}

	/* Up to the root complex, both ways */
	distance = P2PDMA_ROOT_COMPLEX_DISTANCE + path->edges;
	for (bridge = path->common; bridge;
	     bridge = pci_upstream_bridge(bridge)) {
		p2pdma_pass(&walk, bridge);
		distance += 2;
	}

	if (!walk.blocks && !walk.conventional &&
	    p2pdma_hosts_route(provider, client)) {
		path->reason = PCI_P2PDMA_REACHABLE;
		path->map = PCI_P2PDMA_MAP_THRU_HOST_BRIDGE;
	}
	/* A refused path below a switch is told as the one that was wanted */
	if (path->reason != PCI_P2PDMA_ACS_REDIRECT)
		path->distance = distance;
}

static bool p2pdma_self_access(struct pci_dev *pdev)
{
	struct pci_p2pdma *provider;

	guard(rcu)();
	provider = rcu_dereference(pdev->p2pdma);
	return provider && READ_ONCE(provider->self_access);
}

/* Judge two functions. Any context. */
void p2pdma_judge(struct pci_dev *provider, struct pci_dev *client,
		  struct p2pdma_path *path)
{
	*path = (struct p2pdma_path){ .map = PCI_P2PDMA_MAP_NOT_SUPPORTED };

	if (client->untrusted) {
		/* The DMA API bounces its data, and so refuses as well */
		path->reason = PCI_P2PDMA_UNTRUSTED;
	} else if (provider == client) {
		if (!p2pdma_self_access(provider))
			path->reason = PCI_P2PDMA_NOT_ITS_OWN;
		else
			path->map = PCI_P2PDMA_MAP_BUS_ADDR;
	} else if (p2pdma_same_device(provider, client)) {
		/*
		 * What a function redirects would have to come down again
		 * through the port that it went up, so no host bridge helps.
		 */
		path->distance = 2;
		if (p2pdma_acs_redirects(provider) ||
		    p2pdma_acs_redirects(client))
			path->reason = PCI_P2PDMA_FUNCTION_REDIRECT;
		else
			path->map = PCI_P2PDMA_MAP_BUS_ADDR;
	} else {
		p2pdma_judge_bridges(provider, client, path);
	}
}

/* The PCI function that does the DMA of @dev, NULL if there is none */
struct pci_dev *p2pdma_client_function(struct device *dev)
{
	while (dev && !dev_is_pci(dev))
		dev = dev->parent;
	return dev ? to_pci_dev(dev) : NULL;
}

/* Judge any device. Any context. */
void p2pdma_judge_device(struct pci_dev *provider, struct device *client,
			 struct p2pdma_path *path)
{
	struct pci_dev *function = p2pdma_client_function(client);

	if (!function || !dma_pci_p2pdma_supported(client) ||
	    !dma_pci_p2pdma_supported(&function->dev)) {
		*path = (struct p2pdma_path){
			.reason = function ? PCI_P2PDMA_VIRT_DMA :
					     PCI_P2PDMA_NO_PCI_DEVICE,
			.map = PCI_P2PDMA_MAP_NOT_SUPPORTED,
		};
		return;
	}
	p2pdma_judge(provider, function, path);
}

const char *pci_p2pdma_reason_text(enum pci_p2pdma_reason reason)
{
	switch (reason) {
	case PCI_P2PDMA_REACHABLE:
		return "the provider can be reached";
	case PCI_P2PDMA_NO_PCI_DEVICE:
		return "the client is not a PCI device, nor below one";
	case PCI_P2PDMA_VIRT_DMA:
		return "the client's DMA operations cannot address a peer";
	case PCI_P2PDMA_NOT_ITS_OWN:
		return "the function is not known to reach its own memory";
	case PCI_P2PDMA_UNTRUSTED:
		return "the client is external and not trusted with the memory of others";
	case PCI_P2PDMA_ACS_REDIRECT:
		return "ports on the way redirect peer-to-peer traffic (ACS)";
	case PCI_P2PDMA_FUNCTION_REDIRECT:
		return "the device redirects traffic between its functions (ACS)";
	case PCI_P2PDMA_CONVENTIONAL_PCI:
		return "a conventional PCI bus is on the way";
	case PCI_P2PDMA_ROOT_COMPLEX:
		return "the two meet only in the root complex, which need not route between ports";
	}
	return "unknown reason";
}
EXPORT_SYMBOL_GPL(pci_p2pdma_reason_text);

static unsigned int p2pdma_list_port(struct seq_buf *s, const char *remedy,
				     struct pci_dev *pdev, bool blocking,
				     unsigned int nr)
{
	u16 redirects = p2pdma_acs_redirects(pdev);

	if (!redirects || (blocking && !p2pdma_blocks(redirects)))
		return nr;
	seq_buf_printf(s, "%s%s", nr ? ";" : remedy, pci_name(pdev));
	return nr + 1;
}

/* Does one redirect that no parameter stops? */
static bool p2pdma_beyond_remedy(struct pci_dev *provider,
				 struct pci_dev *client,
				 const struct p2pdma_path *path)
{
	struct p2pdma_legs legs;
	struct pci_dev *bridge;

	if (path->reason == PCI_P2PDMA_FUNCTION_REDIRECT)
		return provider->p2pdma_always_redirects ||
		       client->p2pdma_always_redirects;
	if (path->reason != PCI_P2PDMA_ACS_REDIRECT)
		return false;
	for_each_bridge_between(bridge, provider, client, path->common, legs)
		if (bridge->p2pdma_always_redirects)
			return true;
	return false;
}

/*
 * Write the remedy, and after it the ports in the way, as the kernel parameter
 * wants them: those that redirect a path below a switch, those that block one
 * through the root complex. Without such ports (any more) there is no remedy,
 * nor where it would not be enough.
 */
static void p2pdma_list_ports(struct seq_buf *s, const char *remedy,
			      struct pci_dev *provider, struct pci_dev *client,
			      const struct p2pdma_path *path)
{
	bool blocking = path->reason == PCI_P2PDMA_ROOT_COMPLEX;
	struct p2pdma_legs legs;
	struct pci_dev *bridge;
	unsigned int nr = 0;

	if (p2pdma_beyond_remedy(provider, client, path))
		return;
	if (path->reason == PCI_P2PDMA_FUNCTION_REDIRECT) {
		nr = p2pdma_list_port(s, remedy, provider, false, nr);
		p2pdma_list_port(s, remedy, client, false, nr);
		return;
	}
	for_each_bridge_between(bridge, provider, client, path->common, legs)
		nr = p2pdma_list_port(s, remedy, bridge, blocking, nr);
}

/* Remedies, each followed by what is to be pasted */
#define P2PDMA_REMEDY_ACS \
	"; to let it through at the price of isolation, " \
	"boot with pci=disable_acs_redir="
#define P2PDMA_REMEDY_EGRESS \
	"; this one does, but ports on the way control egress (ACS): " \
	"boot with pci=disable_acs_redir="
#define P2PDMA_REMEDY_HOST \
	"; if this machine is known to route, " \
	"add p2pdma.allow_host_bridge="
#define P2PDMA_REMEDY_HOST_END \
	" to the kernel command line, " \
	"or write it to /sys/module/p2pdma/parameters/allow_host_bridge"

static void p2pdma_write_refusal(struct seq_buf *s, struct pci_dev *provider,
				 struct device *client,
				 const struct p2pdma_path *path)
{
	struct pci_dev *function = p2pdma_client_function(client);

	seq_buf_printf(s, "%s cannot reach the memory of %s: %s",
		       function ? pci_name(function) :
				  client ? dev_name(client) : "no device",
		       pci_name(provider), pci_p2pdma_reason_text(path->reason));
	switch (path->reason) {
	case PCI_P2PDMA_ACS_REDIRECT:
		p2pdma_acs_explain(provider, function, s);
		fallthrough;
	case PCI_P2PDMA_FUNCTION_REDIRECT:
		p2pdma_list_ports(s, P2PDMA_REMEDY_ACS, provider, function,
				  path);
		break;
	case PCI_P2PDMA_ROOT_COMPLEX:
		if (p2pdma_hosts_route(provider, function)) {
			p2pdma_list_ports(s, P2PDMA_REMEDY_EGRESS, provider,
					  function, path);
			break;
		}
		seq_buf_puts(s, P2PDMA_REMEDY_HOST);
		p2pdma_write_host_remedy(s, provider, function);
		seq_buf_puts(s, P2PDMA_REMEDY_HOST_END);
		break;
	default:
		break;
	}
}

/*
 * The refusal as one sentence with its remedy, for kfree(); NULL without
 * memory. However many ports there are, all of them are named.
 */
char *p2pdma_refusal(struct pci_dev *provider, struct device *client,
		     const struct p2pdma_path *path)
{
	size_t size = 512;
	struct seq_buf s;
	char *buf;

	for (;;) {
		buf = kmalloc(size, GFP_KERNEL);
		if (!buf)
			return NULL;
		seq_buf_init(&s, buf, size);
		p2pdma_write_refusal(&s, provider, client, path);
		if (!seq_buf_has_overflowed(&s) && s.len < size)
			break;
		kfree(buf);
		size *= 2;
	}
	seq_buf_str(&s);
	return buf;
}

/* printk() cuts a record at about 1000 bytes */
#define P2PDMA_LINE	800

/* Log a text whole, in several lines if need be, broken between words or ports */
static void p2pdma_warn(struct pci_dev *pdev, const char *text)
{
	const char *more = "";

	while (strlen(text) > P2PDMA_LINE) {
		int len = P2PDMA_LINE;

		while (len > 1 && !strchr(" ;", text[len - 1]))
			len--;
		pci_warn(pdev, "%s%.*s\n", more, len, text);
		text += len;
		more = "... ";
	}
	pci_warn(pdev, "%s%s\n", more, text);
}

int pci_p2pdma_distance_many(struct pci_dev *provider, struct device **clients,
			     int num_clients, bool verbose)
{
	struct p2pdma_path path;
	int distance = 0, i;

	if (num_clients <= 0)
		return -ENOENT;

	for (i = 0; i < num_clients; i++) {
		p2pdma_judge_device(provider, clients[i], &path);
		if (path.reason == PCI_P2PDMA_REACHABLE) {
			distance += path.distance;
			continue;
		}
		if (verbose) {
			char *text = p2pdma_refusal(provider, clients[i],
						    &path);

			p2pdma_warn(provider, text ?:
				    pci_p2pdma_reason_text(path.reason));
			kfree(text);
		}
		return path.reason == PCI_P2PDMA_NO_PCI_DEVICE ||
		       path.reason == PCI_P2PDMA_VIRT_DMA ? -ENODEV : -EXDEV;
	}
	return distance;
}
EXPORT_SYMBOL_GPL(pci_p2pdma_distance_many);
