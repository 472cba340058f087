// SPDX-License-Identifier: GPL-2.0
/*
 * PCI peer-to-peer DMA: host bridges that are known to route between ports
 *
 * A root complex need not pass a request from one of its ports on to another
 * (PCIe r6.0, sec 1.3.1), and nothing in config space tells whether it does.
 * So provider and client that meet only there are refused, unless the host
 * bridge on the way is known good, for one of three reasons:
 *
 * - it is in the table below
 * - the CPU is of a family whose root complex routes, whatever the bridge is
 * - the administrator says so: p2pdma.allow_host_bridge=VVVV:DDDD[,...]
 *
 * A host bridge goes by the ids of function 00.0 on its root bus, which is the
 * bridge itself on most machines; where there is none, by those of the lowest
 * function. What is known about it stands in struct pci_host_bridge, so that a
 * verdict finds it without a search. It is kept up to date when a function
 * comes to a root bus or goes, and when the administrator's list changes.
 */
#define pr_fmt(fmt) "p2pdma: " fmt

#include <linux/ctype.h>
#include <linux/moduleparam.h>
#include <linux/pci.h>
#include <linux/processor.h>
#include <linux/seq_buf.h>
#include <linux/string.h>
#include "pci.h"
#include "p2pdma.h"

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "p2pdma."

#define P2PDMA_HOST_ID(vendor, device)	((u32)(vendor) << 16 | (device))

/* The parameter is read before anything can be allocated */
#define P2PDMA_ALLOWED_MAX	32

/*
 * Bridges that route. Older ones do so between the ports of one socket only:
 * the link between sockets passes requests of CPUs.
 */
static const struct {
	u16 vendor;
	u16 device;
	enum p2pdma_host_route route;
} p2pdma_known_hosts[] = {
	/* Xeon E5 and Core i7 of the same dies, first to fourth generation */
	{ PCI_VENDOR_ID_INTEL, 0x3c00, P2PDMA_HOST_WITHIN },
	{ PCI_VENDOR_ID_INTEL, 0x3c01, P2PDMA_HOST_WITHIN },
	{ PCI_VENDOR_ID_INTEL, 0x0e00, P2PDMA_HOST_WITHIN },
	{ PCI_VENDOR_ID_INTEL, 0x0e01, P2PDMA_HOST_WITHIN },
	{ PCI_VENDOR_ID_INTEL, 0x2f00, P2PDMA_HOST_WITHIN },
	{ PCI_VENDOR_ID_INTEL, 0x2f01, P2PDMA_HOST_WITHIN },
	{ PCI_VENDOR_ID_INTEL, 0x6f00, P2PDMA_HOST_WITHIN },
	{ PCI_VENDOR_ID_INTEL, 0x6f01, P2PDMA_HOST_WITHIN },
	/* Xeon Scalable, first and second generation: DMI, and its root ports */
	{ PCI_VENDOR_ID_INTEL, 0x2020, P2PDMA_HOST_ANY },
	{ PCI_VENDOR_ID_INTEL, 0x2030, P2PDMA_HOST_ANY },
	{ PCI_VENDOR_ID_INTEL, 0x2031, P2PDMA_HOST_ANY },
	{ PCI_VENDOR_ID_INTEL, 0x2032, P2PDMA_HOST_ANY },
	{ PCI_VENDOR_ID_INTEL, 0x2033, P2PDMA_HOST_ANY },
	/* Xeon Scalable from the third generation on: memory map and VT-d */
	{ PCI_VENDOR_ID_INTEL, 0x09a2, P2PDMA_HOST_ANY },
};

/*
 * Serialises changes of what stands in host bridges, and of the administrator's
 * list; pci_bus_sem is taken inside. Never taken inside p2pdma_bind_lock, which
 * is taken with pci_bus_sem held when errors are recovered from.
 */
static DEFINE_MUTEX(p2pdma_host_lock);

/* The administrator's list is changed under both locks, so either will do */
static DEFINE_SPINLOCK(p2pdma_allowed_lock);
static u32 p2pdma_allowed[P2PDMA_ALLOWED_MAX];
static unsigned int p2pdma_nr_allowed;

/* The CPU is of a family whose root complex routes; KUnit tests set it */
bool p2pdma_cpu_routes;

/* AMD's from Zen on, and Hygon's, which are Zen. Before any bus is scanned. */
static int __init p2pdma_cpu_init(void)
{
#ifdef CONFIG_X86
	p2pdma_cpu_routes = (boot_cpu_data.x86_vendor == X86_VENDOR_AMD &&
			     boot_cpu_data.x86 >= 0x17) ||
			    boot_cpu_data.x86_vendor == X86_VENDOR_HYGON;
#endif
	return 0;
}
core_initcall(p2pdma_cpu_init);

static bool p2pdma_host_allowed(u32 id)
{
	unsigned int i;

	for (i = 0; i < p2pdma_nr_allowed; i++)
		if (p2pdma_allowed[i] == id)
			return true;
	return false;
}

static enum p2pdma_host_route p2pdma_host_route(u32 id)
{
	int i;

	if (p2pdma_cpu_routes || p2pdma_host_allowed(id))
		return P2PDMA_HOST_ANY;
	for (i = 0; i < ARRAY_SIZE(p2pdma_known_hosts); i++)
		if (id == P2PDMA_HOST_ID(p2pdma_known_hosts[i].vendor,
					 p2pdma_known_hosts[i].device))
			return p2pdma_known_hosts[i].route;
	return P2PDMA_HOST_UNKNOWN;
}

/* Ids of the function by which the host bridge goes, 0 if there is none yet */
static u32 p2pdma_host_id(struct pci_bus *root)
{
	struct pci_dev *pdev, *lowest = NULL;

	lockdep_assert_held(&pci_bus_sem);
	list_for_each_entry(pdev, &root->devices, bus_list)
		if (!lowest || pdev->devfn < lowest->devfn)
			lowest = pdev;
	return lowest ? P2PDMA_HOST_ID(lowest->vendor, lowest->device) : 0;
}

/* True if verdicts may differ from now on */
static bool p2pdma_host_update(struct pci_bus *root)
{
	struct pci_host_bridge *host = to_pci_host_bridge(root->bridge);
	u8 route;

	lockdep_assert_held(&p2pdma_host_lock);
	WRITE_ONCE(host->p2pdma_id, p2pdma_host_id(root));
	route = p2pdma_host_route(host->p2pdma_id);
	if (route == host->p2pdma_route)
		return false;
	WRITE_ONCE(host->p2pdma_route, route);
	return true;
}

/**
 * pci_p2pdma_root_bus_changed - a function came to a root bus, or went
 * @root: the bus
 *
 * Context: process, may sleep; without pci_bus_sem.
 */
void pci_p2pdma_root_bus_changed(struct pci_bus *root)
{
	bool changed;

	scoped_guard(mutex, &p2pdma_host_lock) {
		down_read(&pci_bus_sem);
		changed = p2pdma_host_update(root);
		up_read(&pci_bus_sem);
	}
	if (changed)
		p2pdma_topology_changed();
}

static void p2pdma_update_hosts(void)
{
	bool changed = false;
	struct pci_bus *root;

	lockdep_assert_held(&p2pdma_host_lock);
	down_read(&pci_bus_sem);
	list_for_each_entry(root, &pci_root_buses, node)
		changed |= p2pdma_host_update(root);
	up_read(&pci_bus_sem);
	if (changed)
		p2pdma_topology_changed();
}

/* Judge all host bridges anew */
void p2pdma_host_bridges_changed(void)
{
	guard(mutex)(&p2pdma_host_lock);
	p2pdma_update_hosts();
}

/* The bus of a virtual function may be one without a parent */
static struct pci_host_bridge *p2pdma_host(struct pci_dev *pdev)
{
	return pci_find_host_bridge(pci_physfn(pdev)->bus);
}

/* May requests pass between these two functions in the root complex? Any context. */
bool p2pdma_hosts_route(struct pci_dev *a, struct pci_dev *b)
{
	struct pci_host_bridge *host_a = p2pdma_host(a);
	struct pci_host_bridge *host_b = p2pdma_host(b);

	if (host_a == host_b)
		return READ_ONCE(host_a->p2pdma_route) != P2PDMA_HOST_UNKNOWN;
	return READ_ONCE(host_a->p2pdma_route) == P2PDMA_HOST_ANY &&
	       READ_ONCE(host_b->p2pdma_route) == P2PDMA_HOST_ANY;
}

static unsigned int p2pdma_write_id(struct seq_buf *s, u32 id, unsigned int nr)
{
	seq_buf_printf(s, "%s%04x:%04x", nr ? "," : "", id >> 16, id & 0xffff);
	return nr + 1;
}

static unsigned int p2pdma_write_allowed(struct seq_buf *s)
{
	unsigned int i;

	lockdep_assert_held(&p2pdma_allowed_lock);
	for (i = 0; i < p2pdma_nr_allowed; i++)
		p2pdma_write_id(s, p2pdma_allowed[i], i);
	return i;
}

/*
 * Write the value of the parameter that would let requests pass between two
 * functions: what it is now, and the bridges that are missing.
 */
void p2pdma_write_host_remedy(struct seq_buf *s, struct pci_dev *a,
			      struct pci_dev *b)
{
	struct pci_host_bridge *host_a = p2pdma_host(a), *host_b = p2pdma_host(b);
	u32 id_a = READ_ONCE(host_a->p2pdma_id);
	u32 id_b = READ_ONCE(host_b->p2pdma_id);
	unsigned int nr;

	spin_lock(&p2pdma_allowed_lock);
	nr = p2pdma_write_allowed(s);
	spin_unlock(&p2pdma_allowed_lock);
	if (READ_ONCE(host_a->p2pdma_route) != P2PDMA_HOST_ANY)
		nr = p2pdma_write_id(s, id_a, nr);
	if (id_a != id_b &&
	    READ_ONCE(host_b->p2pdma_route) != P2PDMA_HOST_ANY)
		p2pdma_write_id(s, id_b, nr);
}

/* One to four hexadecimal digits; moves *@at behind them */
static bool p2pdma_parse_hex(const char **at, u16 *value)
{
	int digits;

	*value = 0;
	for (digits = 0; isxdigit(**at) && digits < 4; digits++)
		*value = *value << 4 | hex_to_bin(*(*at)++);
	return digits;
}

static bool p2pdma_parse_id(const char **at, u32 *id)
{
	u16 vendor, device;

	if (!p2pdma_parse_hex(at, &vendor) || **at != ':')
		return false;
	(*at)++;
	if (!p2pdma_parse_hex(at, &device))
		return false;
	*id = P2PDMA_HOST_ID(vendor, device);
	return **at == ',' || !**at || (**at == '\n' && !(*at)[1]);
}

static int p2pdma_parse_hosts(const char *list, u32 *ids)
{
	unsigned int nr = 0;

	if (!*list || !strcmp(list, "\n"))
		return 0;

	for (;;) {
		const char *word = list;
		u32 id;

		if (!p2pdma_parse_id(&list, &id)) {
			pr_err("allow_host_bridge: \"%.*s\" is not a VVVV:DDDD pair of hexadecimal numbers\n",
			       (int)strcspn(word, ",\n"), word);
			return -EINVAL;
		}
		if (nr == P2PDMA_ALLOWED_MAX) {
			pr_err("allow_host_bridge: no room for \"%.*s\", it takes %u host bridges\n",
			       (int)(list - word), word, P2PDMA_ALLOWED_MAX);
			return -ENOSPC;
		}
		ids[nr++] = id;
		if (*list != ',')
			return nr;
		list++;
	}
}

/**
 * p2pdma_allow_host_bridges - replace the administrator's list
 * @list: VVVV:DDDD[,...], or empty; a newline at the end is ignored
 *
 * Context: process, may sleep.
 *
 * Return: 0; %-EINVAL or %-ENOSPC, after an error line with the offending
 * word, and the list stays as it was.
 */
int p2pdma_allow_host_bridges(const char *list)
{
	u32 ids[P2PDMA_ALLOWED_MAX];
	int nr = p2pdma_parse_hosts(list, ids);

	if (nr < 0)
		return nr;

	guard(mutex)(&p2pdma_host_lock);
	spin_lock(&p2pdma_allowed_lock);
	memcpy(p2pdma_allowed, ids, nr * sizeof(*ids));
	p2pdma_nr_allowed = nr;
	spin_unlock(&p2pdma_allowed_lock);
	p2pdma_update_hosts();
	return 0;
}

static int p2pdma_allow_set(const char *val, const struct kernel_param *kp)
{
	return p2pdma_allow_host_bridges(val);
}

static int p2pdma_allow_get(char *buf, const struct kernel_param *kp)
{
	struct seq_buf s;

	seq_buf_init(&s, buf, PAGE_SIZE);
	spin_lock(&p2pdma_allowed_lock);
	p2pdma_write_allowed(&s);
	spin_unlock(&p2pdma_allowed_lock);
	seq_buf_putc(&s, '\n');
	return s.len;
}

static const struct kernel_param_ops p2pdma_allow_ops = {
	.set = p2pdma_allow_set,
	.get = p2pdma_allow_get,
};

module_param_cb(allow_host_bridge, &p2pdma_allow_ops, NULL, 0644);
MODULE_PARM_DESC(allow_host_bridge,
		 "Host bridges known to route between their ports: VVVV:DDDD[,...]");
