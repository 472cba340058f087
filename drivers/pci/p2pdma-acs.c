// SPDX-License-Identifier: GPL-2.0
/*
 * PCI peer-to-peer DMA: policies for Access Control Services
 *
 * A downstream port of a switch that redirects (PCIe r6.0, sec 6.12.1.1) sends
 * requests between devices up to the root complex, and so makes the direct
 * path from client to provider unusable. p2pdma.acs= says what is done:
 *
 *   keep     nothing; the path is refused
 *   switch   redirection is cleared on every downstream port of a switch
 *            whenever the kernel sets up ACS: at enumeration, before IOMMU
 *            groups form, and after a reset or resume
 *   path     redirection is cleared on the ports between a provider and the
 *            clients of a list that is bound to it, while it is bound
 *
 * Redirection is Request Redirect and Completion Redirect. No other control is
 * ever changed, Egress Control least of all, and no other function than a
 * downstream port of a switch. Without redirection, whatever is below the port
 * reads and writes every BAR below its switch. So nothing untrusted or below
 * an external-facing port is touched, and neither is a port that pci=config_acs=
 * or pci=disable_acs_redir= configures: what the command line says about a
 * port stands.
 *
 * Under "path" a client in a bound list has a hold on each port of both legs.
 * A port is open, its redirection cleared, from the first hold to the last. What
 * goes back then is what the kernel would have in place by then without us: the
 * bits that were cleared, and those that the kernel wanted to set after a reset
 * or resume in the meantime. User space that sets Request or Completion
 * Redirect on an open port makes it its own: what user space wrote stays, and
 * nothing goes back. (A write that sets neither looks like one that means other
 * controls of the same word, and does not count.)
 *
 * A port is opened only where no isolation is lost that someone relies on, see
 * p2pdma_acs_check(). Later, ports are shut again under their holds, and the
 * lists told, when
 * - a function is added below the switch while there is an IOMMU. Its group is
 *   not formed yet, and forms as it would have without us
 * - a driver binds that may give a function below the switch, or in the IOMMU
 *   group of the port, to user space
 * A list that asks for its provider again has them opened again, if it may. The
 * holds of a client go when it is removed, those of all clients of a provider
 * when that is drained; and so before any port above them.
 * What need not be watched: PASID cannot be enabled below an open port, as
 * pci_enable_pasid() wants redirection. No driver attaches a domain of its own
 * to a function in an IOMMU group of several, as those below an open port are.
 *
 * Locks: holds and ports come and go under p2pdma_bind_lock. The bus notifier
 * takes it, with the lock of the device or the rescan lock held. Inside is
 * p2pdma_port_lock, a raw spinlock, over each change of a port's control word
 * together with what is remembered about it. pci_enable_acs() takes only that:
 * it runs in recovery from errors with pci_bus_sem held, on resume with
 * interrupts of devices off, and inside p2pdma_bind_lock never. For the same
 * reason nothing here takes pci_bus_sem: functions are found by the list that
 * the driver core keeps.
 */
#define dev_fmt(fmt) "p2pdma: " fmt
#define pr_fmt(fmt) "p2pdma: " fmt

#include <linux/device/bus.h>
#include <linux/iommu.h>
#include <linux/iommu-dma.h>
#include <linux/moduleparam.h>
#include <linux/notifier.h>
#include <linux/overflow.h>
#include <linux/pci.h>
#include <linux/seq_buf.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/xarray.h>
#include "pci.h"
#include "p2pdma.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "p2pdma."

#define P2PDMA_ACS_REDIRECTION	(PCI_ACS_RR | PCI_ACS_CR)

#define P2PDMA_ACS_MEANS \
	"devices below such ports can read and write each other's BARs, and must not be given to different virtual machines"

/**
 * struct p2pdma_acs_port - a port with holds on it
 * @node: in p2pdma_acs_ports; written under p2pdma_bind_lock and
 *	p2pdma_port_lock
 * @pdev: the port, with a reference
 * @holds: number of holds; p2pdma_bind_lock
 * @open: redirection is cleared, by us; p2pdma_port_lock
 * @restore: what goes back when it is shut; p2pdma_port_lock
 */
struct p2pdma_acs_port {
	struct list_head node;
	struct pci_dev *pdev;
	unsigned int holds;
	bool open;
	u16 restore;
};

/**
 * struct p2pdma_acs_hold - what a client in a bound list holds
 * @node: in p2pdma_acs_holds; p2pdma_bind_lock
 * @client: whose it is; the list has a reference
 * @nr: number of ports, 0 after the client was removed
 * @ports: the ports of both legs
 */
struct p2pdma_acs_hold {
	struct list_head node;
	struct pci_dev *client;
	unsigned int nr;
	struct p2pdma_acs_port *ports[] __counted_by(nr);
};

static const char * const p2pdma_acs_words[] = {
	[P2PDMA_ACS_KEEP] = "keep",
	[P2PDMA_ACS_SWITCH] = "switch",
	[P2PDMA_ACS_PATH] = "path",
};

static enum p2pdma_acs_policy p2pdma_acs_policy =
	IS_ENABLED(CONFIG_PCI_P2PDMA_ACS_SWITCH) ? P2PDMA_ACS_SWITCH :
	IS_ENABLED(CONFIG_PCI_P2PDMA_ACS_PATH) ? P2PDMA_ACS_PATH :
						 P2PDMA_ACS_KEEP;

static LIST_HEAD(p2pdma_acs_holds);
static LIST_HEAD(p2pdma_acs_ports);
static DEFINE_RAW_SPINLOCK(p2pdma_port_lock);

/* Ports checked since p2pdma_acs_forget(); p2pdma_bind_lock */
static DEFINE_XARRAY(p2pdma_acs_checked);

static bool p2pdma_acs_is(enum p2pdma_acs_policy policy)
{
	return READ_ONCE(p2pdma_acs_policy) == policy;
}

/* The policy is for a whole boot; only KUnit tests change it. Returns the old. */
enum p2pdma_acs_policy p2pdma_acs_set_policy(enum p2pdma_acs_policy policy)
{
	enum p2pdma_acs_policy old = p2pdma_acs_policy;

	WRITE_ONCE(p2pdma_acs_policy, policy);
	return old;
}

static int p2pdma_acs_param_set(const char *val, const struct kernel_param *kp)
{
	int policy = sysfs_match_string(p2pdma_acs_words, val);

	if (policy < 0) {
		pr_err("acs: \"%s\" is none of keep, switch, path\n", val);
		return -EINVAL;
	}
	p2pdma_acs_set_policy(policy);
	return 0;
}

static int p2pdma_acs_param_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", p2pdma_acs_words[p2pdma_acs_policy]);
}

static const struct kernel_param_ops p2pdma_acs_param_ops = {
	.set = p2pdma_acs_param_set,
	.get = p2pdma_acs_param_get,
};

module_param_cb(acs, &p2pdma_acs_param_ops, NULL, 0444);
MODULE_PARM_DESC(acs, "ACS redirection below switches: keep, switch (clear on all) or path (clear where used)");

/*
 * Which ports there are to open
 */

static bool p2pdma_is_below(struct pci_dev *pdev, struct pci_dev *bridge)
{
	while ((pdev = pci_upstream_bridge(pdev)))
		if (pdev == bridge)
			return true;
	return false;
}

/*
 * What is directly below an upstream port is a downstream port of the same
 * switch. QEMU has switches in which it says that it is a root port; a real
 * one is on a root bus.
 */
static bool p2pdma_is_switch_leg(struct pci_dev *pdev)
{
	struct pci_dev *up = pci_upstream_bridge(pdev);

	return up && pci_pcie_type(up) == PCI_EXP_TYPE_UPSTREAM &&
	       (pci_pcie_type(pdev) == PCI_EXP_TYPE_DOWNSTREAM ||
		pci_pcie_type(pdev) == PCI_EXP_TYPE_ROOT_PORT);
}

static bool p2pdma_is_external(struct pci_dev *pdev)
{
	for (; pdev; pdev = pci_upstream_bridge(pdev))
		if (pdev->untrusted || pdev->external_facing)
			return true;
	return false;
}

/*
 * Changing a control word; all with p2pdma_port_lock held
 */

static u16 p2pdma_acs_read(struct pci_dev *pdev)
{
	u16 ctrl;

	lockdep_assert_held(&p2pdma_port_lock);
	/* All ones from what does not answer */
	pci_read_config_word(pdev, pdev->acs_cap + PCI_ACS_CTRL, &ctrl);
	return ctrl;
}

/* What is under way by a port that begins to redirect may not arrive */
static void p2pdma_acs_set(struct pci_dev *pdev, u16 ctrl)
{
	bool goes = ctrl & ~READ_ONCE(pdev->p2pdma_acs_ctrl) &
		    P2PDMA_ACS_REDIRECTION && device_is_registered(&pdev->dev);

	lockdep_assert_held(&p2pdma_port_lock);
	if (goes)
		p2pdma_path_goes();
	pci_write_config_word(pdev, pdev->acs_cap + PCI_ACS_CTRL, ctrl);
	if (goes)
		p2pdma_path_went();
}

static struct p2pdma_acs_port *p2pdma_acs_find_port(struct pci_dev *pdev)
{
	struct p2pdma_acs_port *port;

	list_for_each_entry(port, &p2pdma_acs_ports, node)
		if (port->pdev == pdev)
			return port;
	return NULL;
}

/* User space that redirects again takes the port over */
static void p2pdma_acs_notice(struct p2pdma_acs_port *port)
{
	lockdep_assert_held(&p2pdma_port_lock);
	if (port->open &&
	    READ_ONCE(port->pdev->p2pdma_acs_ctrl) & P2PDMA_ACS_REDIRECTION)
		port->open = false;
}

/**
 * pci_p2pdma_write_acs - write the ACS control word as the policy wants it
 * @pdev: the function; it has an ACS capability
 * @old: the word as it was
 * @ctrl: the word as the kernel wants it
 * @configured: the command line said something about this function
 *
 * The policy comes second to the command line.
 *
 * Context: any in which config space may be written.
 */
void pci_p2pdma_write_acs(struct pci_dev *pdev, u16 old, u16 ctrl, bool configured)
{
	struct p2pdma_acs_port *port;
	bool changed = false;

	if (!p2pdma_is_switch_leg(pdev)) {
		pci_write_config_word(pdev, pdev->acs_cap + PCI_ACS_CTRL, ctrl);
		return;
	}

	scoped_guard(raw_spinlock_irqsave, &p2pdma_port_lock) {
		pdev->p2pdma_acs_fixed = configured;
		port = p2pdma_acs_find_port(pdev);
		if (configured) {
			if (port)
				port->open = false;
		} else {
			/* Somebody set it since: a path was closed */
			ctrl |= p2pdma_acs_read(pdev) & ~old &
				P2PDMA_ACS_REDIRECTION;
			if (port && port->open) {
				port->restore |= ctrl & P2PDMA_ACS_REDIRECTION;
				ctrl &= ~P2PDMA_ACS_REDIRECTION;
			} else if (p2pdma_acs_is(P2PDMA_ACS_SWITCH) &&
				   ctrl & P2PDMA_ACS_REDIRECTION &&
				   !p2pdma_is_external(pdev)) {
				changed = !pdev->p2pdma_acs_cleared;
				pdev->p2pdma_acs_cleared |=
					ctrl & P2PDMA_ACS_REDIRECTION;
				ctrl &= ~P2PDMA_ACS_REDIRECTION;
			}
		}
		p2pdma_acs_set(pdev, ctrl);
	}
	if (changed)
		pci_info(pdev, "no ACS redirection on this switch port (p2pdma.acs=switch): "
			 P2PDMA_ACS_MEANS "\n");
}

/* Firmware may tell only after enumeration that a port faces outside */
static void p2pdma_acs_unswitch(struct pci_dev *pdev)
{
	u16 restore;

	if (!pdev->external_facing || !pdev->p2pdma_acs_cleared)
		return;
	scoped_guard(raw_spinlock_irqsave, &p2pdma_port_lock) {
		restore = pdev->p2pdma_acs_cleared;
		pdev->p2pdma_acs_cleared = 0;
		p2pdma_acs_set(pdev, p2pdma_acs_read(pdev) | restore);
	}
	pci_info(pdev, "ACS redirection is back: the port is external-facing\n");
}

/*
 * Whether a port may be opened
 */

static bool p2pdma_has_memory_bar(struct pci_dev *pdev)
{
	int i;

	for (i = 0; i < PCI_STD_NUM_BARS; i++)
		if (pci_resource_flags(pdev, i) & IORESOURCE_MEM &&
		    pci_resource_len(pdev, i))
			return true;
	return false;
}

/*
 * Drivers that leave DMA to somebody else are those that give functions to
 * user space, or keep them for it; and the port driver, of bridges. The core
 * waits for a grace period before a driver's memory goes.
 */
static bool p2pdma_driver_gives_away(struct pci_dev *pdev)
{
	struct device_driver *driver;

	guard(rcu)();
	driver = READ_ONCE(pdev->dev.driver);
	return driver && !pci_is_bridge(pdev) &&
	       to_pci_driver(driver)->driver_managed_dma;
}

static bool p2pdma_same_group(struct pci_dev *a, struct pci_dev *b)
{
	struct iommu_group *group_a = iommu_group_get(&a->dev);
	struct iommu_group *group_b = iommu_group_get(&b->dev);

	iommu_group_put(group_a);
	iommu_group_put(group_b);
	return group_a == group_b;
}

/*
 * What the IOMMU domain of a group says against opening a port of it, or NULL.
 *
 * An untranslated request with an address inside a BAR below the switch goes
 * there, whatever an IOMMU would have made of it. The DMA API keeps all windows
 * of the host bridge out of the addresses that it gives out (dma-iommu.c), and
 * an identity domain has memory there and nothing else. A group that user space
 * owns is blocked until it gets a domain of user space. Of other domains nothing
 * is known.
 *
 * The lock of the group, under which others wait for I/O, is not taken: as long
 * as a kernel driver is bound in the group, its domain stays.
 */
static const char *p2pdma_domain_objection(struct pci_dev *pdev)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(&pdev->dev);

	if (!domain || domain->type == IOMMU_DOMAIN_IDENTITY ||
	    (iommu_is_dma_domain(domain) && use_dma_iommu(&pdev->dev)))
		return NULL;
	if (domain->type == IOMMU_DOMAIN_BLOCKED)
		return "is assigned to user space";
	return "has an IOMMU domain that may use the addresses of other devices' BARs";
}

/* Why a function that takes part stands against opening @port, or NULL */
static const char *p2pdma_acs_objection(struct pci_dev *pdev)
{
	if (p2pdma_is_external(pdev))
		return "is untrusted or external-facing";
	if (p2pdma_driver_gives_away(pdev))
		return "is assigned to user space";
	if (pci_physfn(pdev)->pasid_enabled)
		return "has PASID enabled";
	return NULL;
}

static void p2pdma_acs_why(struct seq_buf *s, struct pci_dev *a,
			   struct pci_dev *b, const char *text)
{
	if (!s)
		return;
	seq_buf_puts(s, pci_name(a));
	if (b)
		seq_buf_printf(s, " and %s", pci_name(b));
	seq_buf_printf(s, " %s", text);
}

/*
 * Does @port redirect for nobody? Everything below it would reach every memory
 * BAR below its switch: all of these functions have to be in one IOMMU group,
 * and none may stand against it. Those in one group cannot be isolated from
 * each other whatever the port does; without an IOMMU there is no isolation.
 *
 * @s takes the reason of a refusal, and may be NULL.
 */
static bool p2pdma_acs_check_switch(struct pci_dev *port, struct seq_buf *s)
{
	struct pci_dev *up = pci_upstream_bridge(port);
	struct pci_dev *pdev = NULL, *first = NULL;
	const char *objection;
	bool good = true;

	for_each_pci_dev(pdev) {
		if (pdev != up && !p2pdma_is_below(pdev, up))
			continue;
		if (!p2pdma_is_below(pdev, port) && !p2pdma_has_memory_bar(pdev))
			continue;

		objection = p2pdma_acs_objection(pdev);
		if (objection) {
			p2pdma_acs_why(s, pdev, NULL, objection);
			good = false;
			break;
		}
		if (!first) {
			first = pci_dev_get(pdev);
		} else if (!p2pdma_same_group(first, pdev)) {
			p2pdma_acs_why(s, first, pdev,
				       "are in different IOMMU groups");
			good = false;
			break;
		}
	}
	pci_dev_put(pdev);

	/* One domain for all of them, now that they are in one group */
	objection = good && first ? p2pdma_domain_objection(first) : NULL;
	if (objection) {
		p2pdma_acs_why(s, first, NULL, objection);
		good = false;
	}
	pci_dev_put(first);
	return good;
}

/* May this bridge, which redirects or is open, be opened? */
static bool p2pdma_acs_check(struct pci_dev *port, struct seq_buf *s)
{
	if (!p2pdma_is_switch_leg(port)) {
		p2pdma_acs_why(s, port, NULL,
			       "is no downstream port of a switch");
		return false;
	}
	if (port->p2pdma_gone) {
		p2pdma_acs_why(s, port, NULL, "is going away");
		return false;
	}
	if (port->p2pdma_acs_fixed) {
		p2pdma_acs_why(s, port, NULL,
			       "is configured by the kernel command line");
		return false;
	}
	return p2pdma_acs_check_switch(port, s);
}

#define P2PDMA_ACS_GOOD		xa_mk_value(1)
#define P2PDMA_ACS_BAD		xa_mk_value(0)

/* The same, remembering the answer until p2pdma_acs_forget() */
static bool p2pdma_acs_may_open(struct pci_dev *port)
{
	unsigned long index = (unsigned long)port / sizeof(*port);
	void *known = xa_load(&p2pdma_acs_checked, index);
	bool good;

	if (known)
		return known == P2PDMA_ACS_GOOD;
	good = p2pdma_acs_check(port, NULL);
	/* Without memory it is checked again */
	xa_store(&p2pdma_acs_checked, index,
		 good ? P2PDMA_ACS_GOOD : P2PDMA_ACS_BAD, GFP_NOIO);
	return good;
}

/* Forget what was found about ports; before p2pdma_bind_lock is dropped */
void p2pdma_acs_forget(void)
{
	lockdep_assert_held(&p2pdma_bind_lock);
	xa_destroy(&p2pdma_acs_checked);
}

/*
 * The ports between a provider and a client
 */

/* Whether there is a path below a switch, with or without redirecting ports */
static bool p2pdma_acs_switch_path(struct pci_dev *provider,
				   struct pci_dev *client,
				   struct p2pdma_path *path)
{
	p2pdma_judge(provider, client, path);
	return path->common && p2pdma_is_switch_port(path->common) &&
	       (path->reason == PCI_P2PDMA_REACHABLE ||
		path->reason == PCI_P2PDMA_ACS_REDIRECT);
}

static bool p2pdma_acs_is_open(struct pci_dev *pdev)
{
	struct p2pdma_acs_port *port = p2pdma_acs_find_port(pdev);

	return port && READ_ONCE(port->open);
}

/* Does a path need a port opened, or kept open? */
static bool p2pdma_acs_needed(struct pci_dev *provider, struct pci_dev *client,
			      const struct p2pdma_path *path)
{
	struct p2pdma_legs legs;
	struct pci_dev *bridge;

	if (path->map != PCI_P2PDMA_MAP_BUS_ADDR)
		return true;
	if (list_empty(&p2pdma_acs_ports))
		return false;
	for_each_bridge_between(bridge, provider, client, path->common, legs)
		if (p2pdma_acs_is_open(bridge))
			return true;
	return false;
}

/*
 * Is this a bridge to hold? One without the capability has nothing to open, and
 * what the command line configures stays as it is. The answer never changes.
 */
static bool p2pdma_acs_holdable(struct pci_dev *bridge)
{
	return bridge->acs_cap && p2pdma_is_switch_leg(bridge) &&
	       !bridge->p2pdma_acs_fixed;
}

/* Is it to be asked about? */
static bool p2pdma_acs_concerns(struct pci_dev *bridge)
{
	return p2pdma_acs_holdable(bridge) ||
	       READ_ONCE(bridge->p2pdma_acs_ctrl) & P2PDMA_ACS_REDIRECTION;
}

static bool p2pdma_acs_all_may_open(struct pci_dev *provider,
				    struct pci_dev *client,
				    const struct p2pdma_path *path,
				    struct seq_buf *s)
{
	struct p2pdma_legs legs;
	struct pci_dev *bridge;

	if (provider->p2pdma_gone || client->p2pdma_gone) {
		p2pdma_acs_why(s, provider->p2pdma_gone ? provider : client,
			       NULL, "is going away");
		return false;
	}
	for_each_bridge_between(bridge, provider, client, path->common, legs) {
		if (bridge->p2pdma_always_redirects) {
			p2pdma_acs_why(s, bridge, NULL, "always redirects");
			return false;
		}
		if (READ_ONCE(bridge->p2pdma_acs_ctrl) & PCI_ACS_EC) {
			p2pdma_acs_why(s, bridge, NULL, "controls egress");
			return false;
		}
		if (!p2pdma_acs_concerns(bridge))
			continue;
		if (s ? !p2pdma_acs_check(bridge, s) :
			!p2pdma_acs_may_open(bridge))
			return false;
	}
	return true;
}

/**
 * p2pdma_acs_judge - judge two functions, ports opened where that is allowed
 * @provider: the provider
 * @client: the client
 * @path: takes the judgement
 *
 * What is reachable only with ports opened has the distance that it will have
 * then, and gets the map type. p2pdma_bind_lock is held, and p2pdma_acs_forget()
 * called at the end.
 *
 * Return: true if a port has to be opened.
 */
bool p2pdma_acs_judge(struct pci_dev *provider, struct pci_dev *client,
		      struct p2pdma_path *path)
{
	lockdep_assert_held(&p2pdma_bind_lock);
	if (!p2pdma_acs_is(P2PDMA_ACS_PATH)) {
		p2pdma_judge(provider, client, path);
		return false;
	}
	if (!p2pdma_acs_switch_path(provider, client, path) ||
	    path->map == PCI_P2PDMA_MAP_BUS_ADDR ||
	    !p2pdma_acs_all_may_open(provider, client, path, NULL))
		return false;

	path->distance = path->edges;
	path->reason = PCI_P2PDMA_REACHABLE;
	path->map = PCI_P2PDMA_MAP_BUS_ADDR;
	return true;
}

/**
 * p2pdma_acs_explain - say why the policy opens no ports for two functions
 * @provider: the provider
 * @client: the client
 * @s: takes words to add to the refusal, nothing if the policy is none
 *
 * Context: process; takes locks of IOMMU groups.
 */
void p2pdma_acs_explain(struct pci_dev *provider, struct pci_dev *client,
			struct seq_buf *s)
{
	struct p2pdma_path path;
	char text[160];
	struct seq_buf why;

	if (!p2pdma_acs_is(P2PDMA_ACS_PATH) ||
	    !p2pdma_acs_switch_path(provider, client, &path) ||
	    path.map == PCI_P2PDMA_MAP_BUS_ADDR)
		return;
	seq_buf_init(&why, text, sizeof(text));
	if (!p2pdma_acs_all_may_open(provider, client, &path, &why))
		seq_buf_printf(s, "; p2pdma.acs=path does not open them, because %s",
			       seq_buf_str(&why));
}

/*
 * Opening and shutting; all with p2pdma_bind_lock held
 */

/* Take redirection away, if it is there and nobody has taken it away before */
static void p2pdma_acs_open_port(struct p2pdma_acs_port *port)
{
	struct pci_dev *pdev = port->pdev;
	bool opened = false;
	u16 ctrl;

	scoped_guard(raw_spinlock_irqsave, &p2pdma_port_lock) {
		p2pdma_acs_notice(port);
		if (!port->open) {
			ctrl = p2pdma_acs_read(pdev);
			/* One that does not answer is left alone */
			if (PCI_POSSIBLE_ERROR(ctrl))
				ctrl = 0;
			port->restore = ctrl & P2PDMA_ACS_REDIRECTION;
			port->open = true;
			opened = port->restore;
			if (opened)
				p2pdma_acs_set(pdev, ctrl & ~port->restore);
		}
	}
	if (opened)
		pci_info(pdev, "no ACS redirection on this switch port (p2pdma.acs=path): "
				     P2PDMA_ACS_MEANS "\n");
}

/* True if redirection is back by this */
static bool p2pdma_acs_shut_port(struct p2pdma_acs_port *port)
{
	bool shut = false;
	u16 ctrl;

	scoped_guard(raw_spinlock_irqsave, &p2pdma_port_lock) {
		p2pdma_acs_notice(port);
		if (port->open) {
			port->open = false;
			ctrl = p2pdma_acs_read(port->pdev);
			shut = port->restore && !PCI_POSSIBLE_ERROR(ctrl);
			if (shut)
				p2pdma_acs_set(port->pdev, ctrl | port->restore);
		}
	}
	return shut;
}

static struct p2pdma_acs_port *p2pdma_acs_hold_port(struct pci_dev *pdev)
{
	struct p2pdma_acs_port *port = p2pdma_acs_find_port(pdev);

	if (!port) {
		port = kzalloc(sizeof(*port), GFP_NOIO);
		if (!port)
			return NULL;
		port->pdev = pci_dev_get(pdev);
		scoped_guard(raw_spinlock_irqsave, &p2pdma_port_lock)
			list_add_tail(&port->node, &p2pdma_acs_ports);
	}
	port->holds++;
	p2pdma_acs_open_port(port);
	return port;
}

static void p2pdma_acs_drop_port(struct p2pdma_acs_port *port)
{
	if (--port->holds)
		return;
	if (p2pdma_acs_shut_port(port))
		pci_info(port->pdev, "ACS redirection is back: no list uses the path any more\n");
	scoped_guard(raw_spinlock_irqsave, &p2pdma_port_lock)
		list_del(&port->node);
	pci_dev_put(port->pdev);
	kfree(port);
}

static void p2pdma_acs_drop_ports(struct p2pdma_acs_hold *hold)
{
	unsigned int nr = hold->nr;

	while (nr--)
		p2pdma_acs_drop_port(hold->ports[nr]);
	hold->nr = 0;
	list_del_init(&hold->node);
}

/**
 * p2pdma_acs_close - give a hold on ports back
 * @hold: from p2pdma_acs_open(), or NULL
 *
 * The last one shuts a port. p2pdma_bind_lock is held.
 */
void p2pdma_acs_close(struct p2pdma_acs_hold *hold)
{
	lockdep_assert_held(&p2pdma_bind_lock);
	if (!hold)
		return;
	p2pdma_acs_drop_ports(hold);
	kfree(hold);
}

static struct p2pdma_acs_hold *p2pdma_acs_new_hold(struct pci_dev *provider,
						   struct pci_dev *client,
						   const struct p2pdma_path *path)
{
	struct p2pdma_legs legs;
	struct p2pdma_acs_hold *hold;
	struct p2pdma_acs_port *port;
	struct pci_dev *bridge;
	unsigned int nr = 0;

	for_each_bridge_between(bridge, provider, client, path->common, legs)
		nr += p2pdma_acs_holdable(bridge);

	hold = kzalloc(struct_size(hold, ports, nr), GFP_NOIO);
	if (!hold)
		return NULL;
	INIT_LIST_HEAD(&hold->node);
	hold->client = client;

	for_each_bridge_between(bridge, provider, client, path->common, legs) {
		if (!p2pdma_acs_holdable(bridge))
			continue;
		port = p2pdma_acs_hold_port(bridge);
		if (!port) {
			p2pdma_acs_close(hold);
			return NULL;
		}
		/* Counted before it is there, as __counted_by() wants it */
		hold->nr++;
		hold->ports[hold->nr - 1] = port;
	}
	list_add_tail(&hold->node, &p2pdma_acs_holds);
	return hold;
}

/**
 * p2pdma_acs_open - open what ports are in a client's way, and hold them
 * @provider: the provider
 * @client: the client
 * @held: takes the hold, for p2pdma_acs_close(); NULL if there is none to take
 *
 * All or none. p2pdma_bind_lock is held, and p2pdma_acs_forget() called at the
 * end. Without a path below a switch, nothing is done.
 *
 * Return: 0, or %-EXDEV if a port may not be opened or stays as it is, %-ENOMEM.
 */
int p2pdma_acs_open(struct pci_dev *provider, struct pci_dev *client,
		    struct p2pdma_acs_hold **held)
{
	struct p2pdma_acs_hold *hold;
	struct p2pdma_path path;

	lockdep_assert_held(&p2pdma_bind_lock);
	*held = NULL;
	if (!p2pdma_acs_is(P2PDMA_ACS_PATH) ||
	    !p2pdma_acs_switch_path(provider, client, &path) ||
	    !p2pdma_acs_needed(provider, client, &path))
		return 0;
	if (!p2pdma_acs_all_may_open(provider, client, &path, NULL))
		return path.reason == PCI_P2PDMA_REACHABLE ? 0 : -EXDEV;

	hold = p2pdma_acs_new_hold(provider, client, &path);
	if (!hold)
		return -ENOMEM;
	/* A port whose control bits cannot be cleared, or that went away */
	p2pdma_judge(provider, client, &path);
	if (path.map != PCI_P2PDMA_MAP_BUS_ADDR) {
		p2pdma_acs_close(hold);
		return path.reason == PCI_P2PDMA_REACHABLE ? 0 : -EXDEV;
	}
	*held = hold;
	return 0;
}

/* Has a port been shut under a hold? */
bool p2pdma_acs_lapsed(struct p2pdma_acs_hold *hold)
{
	unsigned int i;

	lockdep_assert_held(&p2pdma_bind_lock);
	for (i = 0; i < hold->nr; i++)
		if (!READ_ONCE(hold->ports[i]->open))
			return true;
	return !hold->nr;
}

/* User space may have written to open ports; before lists are judged again */
void p2pdma_acs_changed(void)
{
	struct p2pdma_acs_port *port;

	lockdep_assert_held(&p2pdma_bind_lock);
	list_for_each_entry(port, &p2pdma_acs_ports, node)
		scoped_guard(raw_spinlock_irqsave, &p2pdma_port_lock)
			p2pdma_acs_notice(port);
}

/*
 * What takes open ports back
 */

static bool p2pdma_acs_affects(struct p2pdma_acs_port *port,
			       struct pci_dev *pdev)
{
	return p2pdma_is_below(pdev, pci_upstream_bridge(port->pdev));
}

/* @pdev, whose group is not formed yet, was added */
static bool p2pdma_acs_added(struct p2pdma_acs_port *port, struct pci_dev *pdev)
{
	return p2pdma_acs_affects(port, pdev) &&
	       (iommu_present(&pci_bus_type) || p2pdma_is_external(pdev));
}

/* @pdev, which may be given to user space now, was bound */
static bool p2pdma_acs_bound(struct p2pdma_acs_port *port, struct pci_dev *pdev)
{
	return p2pdma_acs_affects(port, pdev) ||
	       (device_iommu_mapped(&pdev->dev) &&
		p2pdma_same_group(port->pdev, pdev));
}

/* Shut the ports for which @affects holds; the lists know when this returns */
static void p2pdma_acs_take_back(struct pci_dev *pdev, const char *why,
				 bool (*affects)(struct p2pdma_acs_port *port,
						 struct pci_dev *pdev))
{
	struct p2pdma_acs_port *port;
	bool any = false;

	scoped_guard(mutex, &p2pdma_bind_lock) {
		list_for_each_entry(port, &p2pdma_acs_ports, node) {
			if (!affects(port, pdev) || !p2pdma_acs_shut_port(port))
				continue;
			pci_info(port->pdev, "ACS redirection is back: %s is %s\n",
				 pci_name(pdev), why);
			any = true;
		}
	}
	if (any)
		p2pdma_topology_settle();
}

/* A client that is removed uses no path, whether its lists know it or not */
static void p2pdma_acs_drop_client(struct pci_dev *pdev)
{
	struct p2pdma_acs_hold *hold, *tmp;

	guard(mutex)(&p2pdma_bind_lock);
	pdev->p2pdma_gone = true;
	list_for_each_entry_safe(hold, tmp, &p2pdma_acs_holds, node)
		if (hold->client == pdev)
			p2pdma_acs_drop_ports(hold);
}

static int p2pdma_acs_notify(struct notifier_block *nb, unsigned long action,
			     void *data)
{
	struct pci_dev *pdev = to_pci_dev(data);
	struct pci_dev *bridge;

	switch (action) {
	case BUS_NOTIFY_ADD_DEVICE:
		bridge = pci_upstream_bridge(pdev);
		if (bridge)
			p2pdma_acs_unswitch(bridge);
		p2pdma_acs_take_back(pdev, "added", p2pdma_acs_added);
		break;
	case BUS_NOTIFY_BIND_DRIVER:
		if (p2pdma_driver_gives_away(pdev))
			p2pdma_acs_take_back(pdev, "assigned to user space",
					     p2pdma_acs_bound);
		break;
	case BUS_NOTIFY_DEL_DEVICE:
		p2pdma_acs_drop_client(pdev);
		break;
	}
	return NOTIFY_OK;
}

/* IOMMU groups form in a notifier of this chain, too: be before it */
static struct notifier_block p2pdma_acs_notifier = {
	.notifier_call = p2pdma_acs_notify,
	.priority = INT_MAX,
};

static int __init p2pdma_acs_init(void)
{
	return bus_register_notifier(&pci_bus_type, &p2pdma_acs_notifier);
}

/* After pci_bus_type is registered, before any bus is scanned */
arch_initcall(p2pdma_acs_init);
