// SPDX-License-Identifier: GPL-2.0
/*
 * Simulated PCI fabrics for the KUnit tests of peer-to-peer DMA
 *
 * How to describe one is in p2pdma_fabric_test.h. Here a register of config
 * space is a row of a table: what it reads after reset, which bits software
 * writes, which it clears by writing 1. Bits in neither mask are read-only,
 * registers without a row read 0.
 *
 * Requests are routed as hardware does it, by the secondary and subordinate
 * bus numbers that the kernel gives to bridges while it enumerates. An array
 * of the domain's 256 bus numbers, kept up to date when such a register is
 * written, makes that a lookup, not a search: enumeration asks 8 or 256 times
 * for each bus there is.
 *
 * Config accesses come under pci_lock, a raw spinlock: nothing allocates or
 * sleeps there.
 */
#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/console.h>
#include <linux/dma-mapping.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/ioport.h>
#include <linux/kmsg_dump.h>
#include <linux/kref.h>
#include <linux/memory_hotplug.h>
#include <linux/mount.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/string.h>
#include "p2pdma.h"
#include "p2pdma_fabric_test.h"

#define FABRIC_VENDOR		0x1eaf	/* nobody has a quirk for it */
#define FABRIC_DOMAIN		0xe000	/* far from what firmware numbers */
#define FABRIC_DEPTH		32	/* scanning takes stack for each level */
#define FABRIC_NAME		16
#define FABRIC_MEM32_BUS	0x80000000ULL
#define FABRIC_IO_SIZE		0xf000

/* Where the capabilities are */
#define FABRIC_PCIE_CAP		0x40
#define FABRIC_ACS_CAP		0x100
#define FABRIC_ARI_CAP		0x110
#define FABRIC_SRIOV_CAP	0x120
#define FABRIC_CONFIG_SIZE	0x160

#define FABRIC_ACS_ALL	(PCI_ACS_SV | PCI_ACS_TB | PCI_ACS_RR | PCI_ACS_CR | \
			 PCI_ACS_UF | PCI_ACS_EC | PCI_ACS_DT)

struct fabric_row {
	u16 reg;
	u32 reset;
	u32 rw;
	u32 w1c;
};

struct fabric_reg {
	u32 value;
	u32 reset;
	u32 rw;
	u32 w1c;
};

struct fabric_bus;

/**
 * struct fabric_kind - what the first word of a line stands for
 * @word: the word
 * @class: class code
 * @pcie_type: PCI_EXP_TYPE_*, or -1 for a conventional function
 * @bridge: it has a bus below
 */
struct fabric_kind {
	const char *word;
	u32 class;
	int pcie_type;
	bool bridge;
};

/**
 * struct fabric_function - an emulated function
 * @node: in &fabric.functions
 * @fabric: where it is
 * @kind: what it is
 * @name: for fabric_dev(), may be empty
 * @on: the bus it is on
 * @below: the bus below, if it is a bridge
 * @devfn: device and function number
 * @acs: initial ACS control bits, -1 without the capability
 * @acs_able: those that it has
 * @acs_wired: they cannot be changed
 * @ari: forwards (a port) or has (an endpoint) alternative routing-ids
 * @spare: bus numbers that are kept free below a bridge
 * @pf: of a VF: its PF
 * @vfs: of a PF: how many VFs it has
 * @vf_offset: of a PF: distance of the first VF's routing-id
 * @vf_index: of a VF: its number
 * @pulled: it does not answer any more
 * @pdev: what the kernel made of it
 * @regs: config space
 */
struct fabric_function {
	struct list_head node;
	struct fabric *fabric;
	const struct fabric_kind *kind;
	char name[FABRIC_NAME];
	struct fabric_bus *on;
	struct fabric_bus *below;
	u8 devfn;
	int acs;
	u16 acs_able;
	bool acs_wired;
	bool ari;
	unsigned int spare;
	struct fabric_function *pf;
	unsigned int vfs;
	unsigned int vf_offset;
	unsigned int vf_index;
	bool pulled;
	struct pci_dev *pdev;
	struct fabric_reg regs[FABRIC_CONFIG_SIZE / 4];
};

struct fabric_bus {
	struct list_head node;
	struct fabric_function *owner;	/* the bridge above; NULL: root bus */
	struct fabric_function *functions[256];
};

/**
 * struct fabric - a simulated host bridge and all below
 * @test: who made it
 * @sysdata: how the architecture and config accesses find it
 * @bridge: the kernel's host bridge
 * @ref: one of the test, one of @bridge: config space is there until the last
 *	user of a function or bus is gone
 * @released: completed with the last reference of @bridge
 * @root: bus 0
 * @numbered: the buses by number; firmware numbers them, the kernel may again
 * @functions: all functions, in the order of the text
 * @buses: all buses
 * @mem64: window for mem64 BARs
 * @mem32: window for mem32 BARs
 * @io: window for io BARs; never accessed, so no part of ioport_resource
 * @busn: all bus numbers
 * @has_vfs: some of @functions are VFs
 * @mem64_total: sum of mem64 BARs
 * @offset: CPU minus bus address of @mem64
 */
struct fabric {
	struct kunit *test;
#ifdef CONFIG_X86
	struct pci_sysdata sysdata;
#else
	int sysdata;
#endif
	struct pci_host_bridge *bridge;
	struct kref ref;
	struct completion released;
	struct fabric_bus *root;
	struct fabric_bus *numbered[256];
	struct list_head functions;
	struct list_head buses;
	struct resource mem64;
	struct resource mem32;
	struct resource io;
	struct resource busn;
	bool has_vfs;
	u64 mem64_total;
	s64 offset;
};

static const struct fabric_kind fabric_kinds[] = {
	{ "host", PCI_CLASS_BRIDGE_HOST << 8, -1, false },
	{ "root", PCI_CLASS_BRIDGE_PCI_NORMAL, PCI_EXP_TYPE_ROOT_PORT, true },
	{ "up", PCI_CLASS_BRIDGE_PCI_NORMAL, PCI_EXP_TYPE_UPSTREAM, true },
	{ "down", PCI_CLASS_BRIDGE_PCI_NORMAL, PCI_EXP_TYPE_DOWNSTREAM, true },
	{ "bridge", PCI_CLASS_BRIDGE_PCI_NORMAL, PCI_EXP_TYPE_PCI_BRIDGE, true },
	/* Memory controllers: no driver of the machine binds to them */
	{ "ep", PCI_CLASS_MEMORY_OTHER << 8, PCI_EXP_TYPE_ENDPOINT, false },
	{ "rciep", PCI_CLASS_MEMORY_OTHER << 8, PCI_EXP_TYPE_RC_END, false },
	{ "pci", PCI_CLASS_MEMORY_OTHER << 8, -1, false },
	{ "reverse", PCI_CLASS_BRIDGE_PCI_NORMAL, PCI_EXP_TYPE_PCIE_BRIDGE, true },
	{ "pci-bridge", PCI_CLASS_BRIDGE_PCI_NORMAL, -1, true },
	{ "vf", PCI_CLASS_MEMORY_OTHER << 8, PCI_EXP_TYPE_ENDPOINT, false },
};

/* Every function: PCI Local Bus 3.0, sec 6.1 */
static const struct fabric_row fabric_common_rows[] = {
	/*
	 * The kernel turns decoding off and on while it sizes BARs. Errors in
	 * the status half are cleared by writing 1.
	 */
	{ PCI_COMMAND, 0,
	  PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
	  PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE,
	  0xf9000000 },
	/* Cache line size is software's scratch; header type is set later */
	{ PCI_CACHE_LINE_SIZE, 0, 0x000000ff },
	/* Interrupt line is software's scratch; pin 0: no interrupt */
	{ PCI_INTERRUPT_LINE, 0, 0x000000ff },
};

/* Bridges: PCI-to-PCI Bridge 1.2, sec 3.2 */
static const struct fabric_row fabric_bridge_rows[] = {
	/* Bus numbers are software's; they route, see fabric_renumber() */
	{ PCI_PRIMARY_BUS, 0, 0x00ffffff },
	/* I/O windows of 4 KiB, 16 bits; status of the secondary side above */
	{ PCI_IO_BASE, 0, 0x0000f0f0, 0xf9000000 },
	/* Memory windows of 1 MiB */
	{ PCI_MEMORY_BASE, 0, 0xfff0fff0 },
	/* The same for prefetchable memory, with 64 bits */
	{ PCI_PREF_MEMORY_BASE,
	  PCI_PREF_RANGE_TYPE_64 | PCI_PREF_RANGE_TYPE_64 << 16, 0xfff0fff0 },
	{ PCI_PREF_BASE_UPPER32, 0, ~0U },
	{ PCI_PREF_LIMIT_UPPER32, 0, ~0U },
	/* Bridge control shares the word with interrupt line */
	{ PCI_INTERRUPT_LINE, 0,
	  0x000000ff |
	  (PCI_BRIDGE_CTL_PARITY | PCI_BRIDGE_CTL_SERR | PCI_BRIDGE_CTL_ISA |
	   PCI_BRIDGE_CTL_MASTER_ABORT | PCI_BRIDGE_CTL_BUS_RESET) << 16 },
};

/* PCI Express: PCIe r6.0, sec 7.5.3; the type is added later */
static const struct fabric_row fabric_pcie_rows[] = {
	{ FABRIC_PCIE_CAP, PCI_CAP_ID_EXP | 2 << 16 },
	/* 256 bytes of payload at most, as small switches have */
	{ FABRIC_PCIE_CAP + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER | 1 },
	/* All of device control; status bits 0 to 3 report errors */
	{ FABRIC_PCIE_CAP + PCI_EXP_DEVCTL, 0x2810, 0x00007fff, 0x000f0000 },
	/* One lane of 2.5 GT/s, no ASPM: nothing for the kernel to tune */
	{ FABRIC_PCIE_CAP + PCI_EXP_LNKCAP,
	  PCI_EXP_LNKCAP_SLS_2_5GB | 1 << 4 | PCI_EXP_LNKCAP_DLLLARC },
	/* Retraining (bit 5) reads 0: it is over at once */
	{ FABRIC_PCIE_CAP + PCI_EXP_LNKCTL,
	  (PCI_EXP_LNKSTA_CLS_2_5GB | PCI_EXP_LNKSTA_NLW_X1 |
	   PCI_EXP_LNKSTA_DLLLA) << 16, 0x00000fdb, 0xc0000000 },
	{ FABRIC_PCIE_CAP + PCI_EXP_RTCTL, 0, 0x0000001f },
	{ FABRIC_PCIE_CAP + PCI_EXP_DEVCTL2, 0, 0x0000ffff },
	{ FABRIC_PCIE_CAP + PCI_EXP_LNKCTL2, 0, 0x0000ffff },
};

/* SR-IOV: PCIe r6.0, sec 9.3.3; what differs is added later. VFs have no BARs */
static const struct fabric_row fabric_sriov_rows[] = {
	{ FABRIC_SRIOV_CAP, PCI_EXT_CAP_ID_SRIOV | 1 << 16 },
	{ FABRIC_SRIOV_CAP + PCI_SRIOV_CTRL, 0, 0x0000001f },
	{ FABRIC_SRIOV_CAP + PCI_SRIOV_NUM_VF, 0, 0x0000ffff },
	{ FABRIC_SRIOV_CAP + PCI_SRIOV_VF_OFFSET, 1 << 16 },
	/* Pages of 4 KiB */
	{ FABRIC_SRIOV_CAP + PCI_SRIOV_SUP_PGSIZE, 1 },
	{ FABRIC_SRIOV_CAP + PCI_SRIOV_SYS_PGSIZE, 1, ~0U },
};

/* ACS: PCIe r6.0, sec 7.7.11. All controls can be set */
static const struct fabric_row fabric_acs_rows[] = {
	{ FABRIC_ACS_CAP, PCI_EXT_CAP_ID_ACS | 1 << 16 },
	{ FABRIC_ACS_CAP + PCI_ACS_CAP, FABRIC_ACS_ALL, FABRIC_ACS_ALL << 16 },
};

static void fabric_set_rows(struct fabric_function *fn,
			    const struct fabric_row *rows, unsigned int nr)
{
	for (; nr--; rows++)
		fn->regs[rows->reg / 4] = (struct fabric_reg){
			rows->reset, rows->reset, rows->rw, rows->w1c };
}

/* What hardware has in the bits of @mask, and has again after a reset */
static void fabric_wire(struct fabric_function *fn, unsigned int where,
			u32 mask, u32 bits)
{
	struct fabric_reg *reg = &fn->regs[where / 4];

	reg->value = (reg->value & ~mask) | bits;
	reg->reset = (reg->reset & ~mask) | bits;
}

/* Link the extended capabilities that there are: PCIe r6.0, sec 7.6.3 */
static void fabric_chain(struct fabric_function *fn)
{
	static const u16 places[] = { FABRIC_ARI_CAP, FABRIC_SRIOV_CAP };
	/* Without ACS, this place is a null capability that points on */
	unsigned int last = FABRIC_ACS_CAP, i;

	for (i = 0; i < ARRAY_SIZE(places); i++) {
		if (!fn->regs[places[i] / 4].value)
			continue;
		fabric_wire(fn, last, 0xfff00000, places[i] << 20);
		last = places[i];
	}
}

/*
 * Config accesses
 */

static struct fabric *fabric_of(struct pci_bus *bus)
{
#ifdef CONFIG_X86
	return container_of(to_pci_sysdata(bus), struct fabric, sysdata);
#else
	return container_of((int *)bus->sysdata, struct fabric, sysdata);
#endif
}

static u8 fabric_bus_number(const struct fabric_function *bridge, int which)
{
	return bridge->regs[PCI_PRIMARY_BUS / 4].value >>
	       (which - PCI_PRIMARY_BUS) * 8;
}

/* Would a request for bus @nr come down to @bus? */
static bool fabric_routed(const struct fabric_bus *bus, u8 nr)
{
	const struct fabric_function *bridge;

	for (; bus->owner; bus = bridge->on) {
		bridge = bus->owner;
		if (bridge->pulled ||
		    nr < fabric_bus_number(bridge, PCI_SECONDARY_BUS) ||
		    nr > fabric_bus_number(bridge, PCI_SUBORDINATE_BUS))
			return false;
	}
	return true;
}

static u16 fabric_routing_id(const struct fabric_function *fn)
{
	const struct fabric_function *place = fn->pf ?: fn, *bridge;
	u16 id = place->devfn;

	bridge = place->on->owner;
	if (bridge)
		id |= fabric_bus_number(bridge, PCI_SECONDARY_BUS) << 8;
	if (fn->pf)
		id += fn->pf->vf_offset + fn->vf_index;
	return id;
}

static bool fabric_vf_enabled(const struct fabric_function *vf)
{
	return vf->pf->regs[(FABRIC_SRIOV_CAP + PCI_SRIOV_CTRL) / 4].value &
	       PCI_SRIOV_CTRL_VFE;
}

static struct fabric_function *fabric_find_vf(struct fabric *fabric, u8 nr,
					      unsigned int devfn)
{
	struct fabric_function *fn;

	list_for_each_entry(fn, &fabric->functions, node)
		if (fn->pf && !fn->pf->pulled && fabric_vf_enabled(fn) &&
		    fabric_routing_id(fn) == PCI_DEVID(nr, devfn) &&
		    fabric_routed(fn->pf->on, nr))
			return fn;
	return NULL;
}

static struct fabric_function *fabric_find(struct fabric *fabric, u8 nr,
					   unsigned int devfn)
{
	struct fabric_bus *bus = nr ? fabric->numbered[nr] : fabric->root;
	struct fabric_function *fn = NULL;

	if (bus && fabric_routed(bus, nr))
		fn = bus->functions[devfn];
	if (!fn && fabric->has_vfs)
		return fabric_find_vf(fabric, nr, devfn);
	return fn && !fn->pulled ? fn : NULL;
}

/* The secondary bus number of a bridge was @old */
static void fabric_renumber(struct fabric_function *bridge, u8 old)
{
	struct fabric_bus **numbered = bridge->fabric->numbered;
	u8 nr = fabric_bus_number(bridge, PCI_SECONDARY_BUS);

	if (old && numbered[old] == bridge->below)
		numbered[old] = NULL;
	if (nr)
		numbered[nr] = bridge->below;
}

/* All that software wrote is lost; a port's secondary bus number too */
static void fabric_reset_hardware(struct fabric_function *fn)
{
	u8 secondary = fabric_bus_number(fn, PCI_SECONDARY_BUS);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fn->regs); i++)
		fn->regs[i].value = fn->regs[i].reset;
	if (fn->kind->bridge)
		fabric_renumber(fn, secondary);
}

static void fabric_reset_bus(struct fabric_bus *bus)
{
	unsigned int devfn;

	for (devfn = 0; devfn < ARRAY_SIZE(bus->functions); devfn++) {
		struct fabric_function *fn = bus->functions[devfn];

		if (!fn)
			continue;
		fabric_reset_hardware(fn);
		if (fn->below)
			fabric_reset_bus(fn->below);
	}
}

/* Resets are requested by bits that do not stay: they are in no mask */
static bool fabric_wants_reset(struct fabric_function *fn, unsigned int where,
			       unsigned int reg, u32 bit, u32 written)
{
	return (where & ~3) == reg && (written & bit);
}

static void fabric_written(struct fabric_function *fn, unsigned int where,
			   u32 old, u32 written)
{
	/* Secondary Bus Reset: as long as the bit is set, see above */
	const u32 bus_reset = PCI_BRIDGE_CTL_BUS_RESET << 16;

	if (fn->kind->bridge) {
		if ((where & ~3) == PCI_PRIMARY_BUS)
			fabric_renumber(fn, old >> 8);
		if (fabric_wants_reset(fn, where, PCI_INTERRUPT_LINE,
				       bus_reset & ~old, written))
			fabric_reset_bus(fn->below);
	} else if (fn->kind->pcie_type >= 0) {
		/* Function Level Reset: PCIe r6.0, sec 6.6.2 */
		if (fabric_wants_reset(fn, where,
				       FABRIC_PCIE_CAP + PCI_EXP_DEVCTL,
				       PCI_EXP_DEVCTL_BCR_FLR, written))
			fabric_reset_hardware(fn);
	}
}

static int fabric_read(struct pci_bus *bus, unsigned int devfn, int where,
		       int size, u32 *value)
{
	struct fabric_function *fn = fabric_find(fabric_of(bus), bus->number,
						 devfn);

	if (!fn) {
		PCI_SET_ERROR_RESPONSE(value);
		return PCIBIOS_DEVICE_NOT_FOUND;
	}
	*value = 0;
	if (where < FABRIC_CONFIG_SIZE)
		*value = fn->regs[where / 4].value >> (where % 4) * 8;
	if (size < 4)
		*value &= BIT(size * 8) - 1;
	return PCIBIOS_SUCCESSFUL;
}

static int fabric_write(struct pci_bus *bus, unsigned int devfn, int where,
			int size, u32 value)
{
	struct fabric_function *fn = fabric_find(fabric_of(bus), bus->number,
						 devfn);
	unsigned int shift = (where % 4) * 8;
	struct fabric_reg *reg;
	u32 mask, old;

	if (!fn)
		return PCIBIOS_DEVICE_NOT_FOUND;
	if (where >= FABRIC_CONFIG_SIZE)
		return PCIBIOS_SUCCESSFUL;

	reg = &fn->regs[where / 4];
	old = reg->value;
	mask = (size < 4 ? BIT(size * 8) - 1 : ~0U) << shift;
	value <<= shift;
	reg->value = (old & ~(mask & reg->rw)) | (value & mask & reg->rw);
	reg->value &= ~(value & mask & reg->w1c);

	fabric_written(fn, where, old, value & mask);
	return PCIBIOS_SUCCESSFUL;
}

static struct pci_ops fabric_ops = {
	.read = fabric_read,
	.write = fabric_write,
};

/*
 * From the text to functions
 */

static void fabric_free(struct kref *ref)
{
	struct fabric *fabric = container_of(ref, struct fabric, ref);
	struct fabric_function *fn, *next_fn;
	struct fabric_bus *bus, *next_bus;

	list_for_each_entry_safe(fn, next_fn, &fabric->functions, node)
		kvfree(fn);
	list_for_each_entry_safe(bus, next_bus, &fabric->buses, node)
		kvfree(bus);
	kfree(fabric);
}

static struct fabric_bus *fabric_new_bus(struct fabric *fabric,
					 struct fabric_function *owner)
{
	struct fabric_bus *bus = kvzalloc(sizeof(*bus), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(fabric->test, bus);
	bus->owner = owner;
	list_add_tail(&bus->node, &fabric->buses);
	return bus;
}

static u16 fabric_parse_acs(struct kunit *test, char *bits)
{
	static const struct {
		const char *word;
		u16 bit;
	} words[] = {
		{ "none", 0 }, { "sv", PCI_ACS_SV }, { "tb", PCI_ACS_TB },
		{ "rr", PCI_ACS_RR }, { "cr", PCI_ACS_CR },
		{ "uf", PCI_ACS_UF }, { "ec", PCI_ACS_EC },
		{ "dt", PCI_ACS_DT },
	};
	u16 acs = 0;
	char *word;

	while ((word = strsep(&bits, ","))) {
		unsigned int i;

		for (i = 0; i < ARRAY_SIZE(words); i++)
			if (!strcmp(word, words[i].word))
				break;
		KUNIT_ASSERT_LT_MSG(test, i, ARRAY_SIZE(words),
				    "no ACS bit is called %s", word);
		acs |= words[i].bit;
	}
	return acs;
}

/* barN=TYPE:SIZE; @at points at N */
static void fabric_parse_bar(struct fabric_function *fn, char *at)
{
	struct kunit *test = fn->fabric->test;
	unsigned int bar = at[0] - '0', max = fn->kind->bridge ? 2 : 6;
	char *type, *size_text = at + 2;
	struct fabric_reg *reg;
	u32 flags = 0, io;
	u64 size;

	KUNIT_ASSERT_TRUE_MSG(test, bar < max && at[1] == '=', "bar%s", at);
	type = strsep(&size_text, ":");
	KUNIT_ASSERT_NOT_NULL_MSG(test, size_text, "a BAR without size");
	size = memparse(size_text, NULL);
	KUNIT_ASSERT_TRUE_MSG(test, is_power_of_2(size), "BAR of %s", size_text);

	reg = &fn->regs[(PCI_BASE_ADDRESS_0 + bar * 4) / 4];
	if (!strcmp(type, "mem64")) {
		KUNIT_ASSERT_LT(test, bar + 1, max);
		flags = PCI_BASE_ADDRESS_MEM_TYPE_64 |
			PCI_BASE_ADDRESS_MEM_PREFETCH;
		reg[1].rw = upper_32_bits(~(size - 1));
		fn->fabric->mem64_total += size;
	} else if (!strcmp(type, "io")) {
		flags = PCI_BASE_ADDRESS_SPACE_IO;
	} else {
		KUNIT_ASSERT_STREQ(test, type, "mem32");
	}
	io = flags & PCI_BASE_ADDRESS_SPACE_IO;
	reg->value = flags;
	reg->reset = flags;
	reg->rw = lower_32_bits(~(size - 1)) & ~(io ? 0x3 : 0xf);
}

/* One word of a line after the first */
static void fabric_parse_word(struct fabric_function *fn, char *word,
			      int *devfn)
{
	struct kunit *test = fn->fabric->test;
	unsigned int device, function;
	char *eq = strchr(word, '=');

	if (!eq && sscanf(word, "%x.%x", &device, &function) == 2) {
		*devfn = PCI_DEVFN(device, function);
	} else if (!strcmp(word, "ari")) {
		fn->ari = true;
	} else if (!strcmp(word, "acs-wired")) {
		fn->acs_wired = true;
	} else if (!eq) {
		KUNIT_ASSERT_LT_MSG(test, strlen(word), FABRIC_NAME, "%s", word);
		strscpy(fn->name, word);
	} else if (str_has_prefix(word, "acs=")) {
		fn->acs = fabric_parse_acs(test, eq + 1);
	} else if (str_has_prefix(word, "acs-able=")) {
		fn->acs_able = fabric_parse_acs(test, eq + 1);
	} else if (str_has_prefix(word, "bar")) {
		fabric_parse_bar(fn, word + 3);
	} else if (str_has_prefix(word, "id=")) {
		unsigned int vendor, id;
		int nr = sscanf(eq + 1, "%x:%x", &vendor, &id);

		KUNIT_ASSERT_EQ(test, nr, 2);
		fabric_wire(fn, PCI_VENDOR_ID, ~0U, vendor | id << 16);
	} else if (str_has_prefix(word, "buses=")) {
		KUNIT_ASSERT_EQ(test, 0, kstrtouint(eq + 1, 10, &fn->spare));
	} else if (str_has_prefix(word, "vf-offset=")) {
		KUNIT_ASSERT_EQ(test, 0, kstrtouint(eq + 1, 16, &fn->vf_offset));
	} else {
		KUNIT_ASSERT_TRUE_MSG(test, false, "what is \"%s\"?", word);
	}
}

/*
 * The functions of an ARI device name each other, by numbers of 8 bits: PCIe
 * r6.0, sec 7.8.8
 */
static void fabric_link_ari(struct fabric_bus *bus)
{
	struct fabric_function *fn, *last = NULL;
	unsigned int devfn;

	if (!bus->functions[0] || !bus->functions[0]->ari)
		return;
	for (devfn = 0; devfn < ARRAY_SIZE(bus->functions); devfn++) {
		fn = bus->functions[devfn];
		if (!fn)
			continue;
		fabric_wire(fn, FABRIC_ARI_CAP, 0x000fffff,
			    PCI_EXT_CAP_ID_ARI | 1 << 16);
		fabric_chain(fn);
		if (last)
			fabric_wire(last, FABRIC_ARI_CAP + PCI_ARI_CAP, 0xff00,
				    devfn << 8);
		last = fn;
	}
}

static void fabric_plug(struct fabric_function *fn, struct fabric_bus *bus,
			int devfn)
{
	struct kunit *test = fn->fabric->test;
	const u32 multi = PCI_HEADER_TYPE_MFD << 16;
	int i;

	for (i = 0; devfn < 0 && i < 32; i++)
		if (!bus->functions[PCI_DEVFN(i, 0)])
			devfn = PCI_DEVFN(i, 0);
	KUNIT_ASSERT_TRUE_MSG(test, devfn >= 0 && devfn < 256 &&
			      !bus->functions[devfn],
			      "no such place, or taken: %02x.%x",
			      PCI_SLOT(devfn), PCI_FUNC(devfn));
	fn->on = bus;
	fn->devfn = devfn;
	bus->functions[devfn] = fn;

	/* A kernel looks for other functions only if function 0 says so */
	fn = bus->functions[PCI_DEVFN(PCI_SLOT(devfn), 0)];
	for (i = 1; fn && i < 8; i++)
		if (bus->functions[fn->devfn + i])
			fabric_wire(fn, PCI_CACHE_LINE_SIZE, multi, multi);
	fabric_link_ari(bus);
}

/* A VF has no place of its own, see fabric_find_vf() */
static void fabric_plug_vf(struct fabric_function *vf,
			   struct fabric_function *pf)
{
	KUNIT_ASSERT_TRUE_MSG(vf->fabric->test, pf && !pf->below && !pf->pf,
			      "a VF follows its PF");
	vf->fabric->has_vfs = true;
	vf->on = pf->on;
	vf->pf = pf;
	vf->vf_index = pf->vfs++;
	/* PCIe r6.0, sec 9.3.4.1.1 */
	fabric_wire(vf, PCI_VENDOR_ID, ~0U, ~0U);

	if (!pf->vf_offset)
		pf->vf_offset = 1;
	if (!vf->vf_index)
		fabric_set_rows(pf, fabric_sriov_rows,
				ARRAY_SIZE(fabric_sriov_rows));
	fabric_wire(pf, FABRIC_SRIOV_CAP + PCI_SRIOV_INITIAL_VF, ~0U,
		    pf->vfs | pf->vfs << 16);
	fabric_wire(pf, FABRIC_SRIOV_CAP + PCI_SRIOV_NUM_VF, 0x00ff0000,
		    pf->devfn << 16);
	fabric_wire(pf, FABRIC_SRIOV_CAP + PCI_SRIOV_VF_OFFSET, 0xffff,
		    pf->vf_offset);
	fabric_chain(pf);
}

static void fabric_add_function(struct fabric *fabric, char *line,
				struct fabric_bus *on,
				struct fabric_function **made)
{
	struct kunit *test = fabric->test;
	struct fabric_function *fn, *pf = *made;
	char *word = strsep(&line, " ");
	int devfn = -1;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fabric_kinds); i++)
		if (!strcmp(word, fabric_kinds[i].word))
			break;
	KUNIT_ASSERT_LT_MSG(test, i, ARRAY_SIZE(fabric_kinds),
			    "no kind of function is called \"%s\"", word);

	fn = kvzalloc(sizeof(*fn), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fn);
	list_add_tail(&fn->node, &fabric->functions);
	fn->fabric = fabric;
	fn->kind = &fabric_kinds[i];
	fn->acs = -1;
	fn->acs_able = FABRIC_ACS_ALL;

	fabric_set_rows(fn, fabric_common_rows, ARRAY_SIZE(fabric_common_rows));
	fabric_wire(fn, PCI_VENDOR_ID, ~0U, FABRIC_VENDOR | (i + 1) << 16);
	fabric_wire(fn, PCI_CLASS_REVISION, ~0U, fn->kind->class << 8);
	if (fn->kind->bridge) {
		fabric_set_rows(fn, fabric_bridge_rows,
				ARRAY_SIZE(fabric_bridge_rows));
		fabric_wire(fn, PCI_CACHE_LINE_SIZE, 0x7f0000,
			    PCI_HEADER_TYPE_BRIDGE << 16);
		fn->below = fabric_new_bus(fabric, fn);
	}
	if (fn->kind->pcie_type >= 0) {
		fabric_set_rows(fn, fabric_pcie_rows,
				ARRAY_SIZE(fabric_pcie_rows));
		fabric_wire(fn, FABRIC_PCIE_CAP, 0xf << (16 + 4),
			    fn->kind->pcie_type << (16 + 4));
		fabric_wire(fn, PCI_COMMAND, PCI_STATUS_CAP_LIST << 16,
			    PCI_STATUS_CAP_LIST << 16);
		fabric_wire(fn, PCI_CAPABILITY_LIST, ~0U, FABRIC_PCIE_CAP);
		if (!fn->kind->bridge)
			fabric_wire(fn, FABRIC_PCIE_CAP + PCI_EXP_DEVCAP,
				    PCI_EXP_DEVCAP_FLR, PCI_EXP_DEVCAP_FLR);
	}

	while ((word = strsep(&line, " ")))
		if (*word)
			fabric_parse_word(fn, word, &devfn);

	if (fn->acs >= 0) {
		struct fabric_reg *reg;

		KUNIT_ASSERT_GE_MSG(test, fn->kind->pcie_type, 0,
				    "conventional PCI has no ACS");
		fabric_set_rows(fn, fabric_acs_rows,
				ARRAY_SIZE(fabric_acs_rows));
		reg = &fn->regs[(FABRIC_ACS_CAP + PCI_ACS_CAP) / 4];
		/* Firmware may have set it before the kernel looks */
		reg->value = (u32)fn->acs << 16 | fn->acs_able;
		reg->rw = fn->acs_wired ? 0 : (u32)fn->acs_able << 16;
	}
	if (fn->ari && fn->kind->bridge)
		fabric_wire(fn, FABRIC_PCIE_CAP + PCI_EXP_DEVCAP2,
			    PCI_EXP_DEVCAP2_ARI, PCI_EXP_DEVCAP2_ARI);
	if (!strcmp(fn->kind->word, "vf")) {
		fabric_plug_vf(fn, pf);
		return;
	}
	fabric_plug(fn, on, devfn);
	*made = fn;
}

/* Add the functions of @topology to bus @top and below */
static void fabric_parse(struct fabric *fabric, struct fabric_bus *top,
			 const char *topology)
{
	struct fabric_function *bridges[FABRIC_DEPTH] = {};
	struct kunit *test = fabric->test;
	char *text, *rest, *line;

	text = kunit_kstrdup(test, topology, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, text);
	for (rest = text; (line = strsep(&rest, "\n"));) {
		unsigned int depth = strspn(line, " ");
		struct fabric_bus *on = top;

		if (!line[depth])
			continue;
		KUNIT_ASSERT_LT_MSG(test, depth, FABRIC_DEPTH, "too deep: \"%s\"",
				    line);
		if (depth) {
			KUNIT_ASSERT_TRUE_MSG(test, bridges[depth - 1] &&
					      bridges[depth - 1]->below,
					      "no bridge above \"%s\"", line);
			on = bridges[depth - 1]->below;
		}
		fabric_add_function(fabric, line + depth, on, &bridges[depth]);
		if (depth + 1 < FABRIC_DEPTH)
			bridges[depth + 1] = NULL;
	}
	kunit_kfree(test, text);
}

/*
 * Bus numbers. Firmware gives them, so that some can be left for functions that
 * are plugged in later; the kernel respects that.
 */

/* How many @bridge and those below need */
static unsigned int fabric_numbers_needed(struct fabric_function *bridge)
{
	unsigned int nr = 1 + bridge->spare, devfn;

	for (devfn = 0; devfn < 256; devfn++) {
		struct fabric_function *fn = bridge->below->functions[devfn];

		if (fn && fn->below)
			nr += fabric_numbers_needed(fn);
	}
	return nr;
}

/* Number the bus below @bridge, and all below that. Return: the next free one */
static unsigned int fabric_number(struct fabric_function *bridge,
				  unsigned int primary, unsigned int secondary)
{
	unsigned int next = secondary + 1, devfn;

	for (devfn = 0; devfn < 256; devfn++) {
		struct fabric_function *fn = bridge->below->functions[devfn];

		if (fn && fn->below)
			next = fabric_number(fn, secondary, next);
	}
	next += bridge->spare;
	KUNIT_ASSERT_LE_MSG(bridge->fabric->test, next, 256,
			    "a domain has 256 buses");
	bridge->regs[PCI_PRIMARY_BUS / 4].value =
		primary | secondary << 8 | (next - 1) << 16;
	fabric_renumber(bridge, 0);
	return next;
}

/* Number the bridges on @bus that have no numbers yet, from what is free */
static void fabric_number_new(struct fabric *fabric, struct fabric_bus *bus)
{
	unsigned int first = 1, last = 255, primary = 0, devfn;
	DECLARE_BITMAP(used, 256) = {};
	struct fabric_function *fn;

	if (bus->owner) {
		primary = fabric_bus_number(bus->owner, PCI_SECONDARY_BUS);
		first = primary + 1;
		last = fabric_bus_number(bus->owner, PCI_SUBORDINATE_BUS);
	}
	for (devfn = 0; devfn < 256; devfn++) {
		unsigned int from, to;

		fn = bus->functions[devfn];
		if (!fn || !fn->below)
			continue;
		from = fabric_bus_number(fn, PCI_SECONDARY_BUS);
		to = fabric_bus_number(fn, PCI_SUBORDINATE_BUS);
		if (from)
			bitmap_set(used, from, to - from + 1);
	}
	for (devfn = 0; devfn < 256; devfn++) {
		unsigned int need, at;

		fn = bus->functions[devfn];
		if (!fn || !fn->below ||
		    fabric_bus_number(fn, PCI_SECONDARY_BUS))
			continue;
		need = fabric_numbers_needed(fn);
		at = bitmap_find_next_zero_area(used, last + 1, first, need, 0);
		KUNIT_ASSERT_LE_MSG(fabric->test, at + need, last + 1,
				    "no %u bus numbers left for %s %s", need,
				    fn->kind->word, fn->name);
		fabric_number(fn, primary, at);
		bitmap_set(used, at, need);
	}
}

/*
 * From functions to a live bus
 */

static void fabric_bridge_released(struct pci_host_bridge *bridge)
{
	struct fabric *fabric = bridge->release_data;

	complete(&fabric->released);
	kref_put(&fabric->ref, fabric_free);
}

/* Free address space of the machine, as a window that is @bus for devices */
static int fabric_window(struct fabric *fabric, struct resource *window,
			 const char *name, unsigned long flags, u64 size)
{
	struct range able = mhp_get_pluggable_range(true);

	window->name = name;
	window->flags = flags;
	return allocate_resource(&iomem_resource, window, size, SZ_4G, able.end,
				 size, NULL, NULL);
}

static void fabric_release_windows(struct fabric *fabric)
{
	if (fabric->mem64.parent)
		release_resource(&fabric->mem64);
	if (fabric->mem32.parent)
		release_resource(&fabric->mem32);
}

static int fabric_windows(struct fabric *fabric)
{
	struct list_head *windows = &fabric->bridge->windows;
	u64 size = roundup_pow_of_two(2 * fabric->mem64_total + SZ_1G);
	int ret;

	ret = fabric_window(fabric, &fabric->mem64, "fabric mem64",
			    IORESOURCE_MEM | IORESOURCE_MEM_64 |
			    IORESOURCE_PREFETCH, size);
	if (ret)
		return ret;
	ret = fabric_window(fabric, &fabric->mem32, "fabric mem32",
			    IORESOURCE_MEM, FABRIC_MEM32_SIZE);
	if (ret) {
		fabric_release_windows(fabric);
		return ret;
	}
	fabric->io = DEFINE_RES_IO_NAMED(0x1000, FABRIC_IO_SIZE, "fabric io");

	pci_add_resource_offset(windows, &fabric->mem64, fabric->offset);
	pci_add_resource_offset(windows, &fabric->mem32,
				fabric->mem32.start - FABRIC_MEM32_BUS);
	pci_add_resource(windows, &fabric->io);
	fabric->busn = (struct resource){
		.name = "fabric buses", .end = 255, .flags = IORESOURCE_BUS,
	};
	pci_add_resource(windows, &fabric->busn);
	return 0;
}

static void fabric_note(struct fabric_function *fn, struct pci_dev *pdev)
{
	if (fn->pdev == pdev)
		return;
	/* What the text says, whatever the IOMMU made of it */
	if (!fn->pdev && fn->acs >= 0) {
		u16 control = 0;

		pci_read_config_word(pdev, pdev->acs_cap + PCI_ACS_CTRL,
				     &control);
		if (control != fn->acs)
			pci_write_config_word(pdev,
					      pdev->acs_cap + PCI_ACS_CTRL,
					      fn->acs);
	}
	pci_dev_put(fn->pdev);
	fn->pdev = pci_dev_get(pdev);
	/* As drivers do; nothing can fail with 64 bits */
	dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
}

static int fabric_note_pdev(struct pci_dev *pdev, void *data)
{
	struct fabric *fabric = data;

	fabric_note(fabric_find(fabric, pdev->bus->number, pdev->devfn), pdev);
	return 0;
}

static int fabric_scan(struct fabric *fabric)
{
	struct pci_host_bridge *bridge;
	int domain = FABRIC_DOMAIN;
	int ret;

	bridge = pci_alloc_host_bridge(0);
	if (!bridge)
		return -ENOMEM;
	fabric->bridge = bridge;
	pci_set_host_bridge_release(bridge, fabric_bridge_released, fabric);
	kref_get(&fabric->ref);

	ret = fabric_windows(fabric);
	if (ret)
		goto err_bridge;

	pci_lock_rescan_remove();
	while (pci_find_bus(domain, 0))
		domain++;
#ifdef CONFIG_X86
	fabric->sysdata.domain = domain;
	fabric->sysdata.node = NUMA_NO_NODE;
#else
	bridge->domain_nr = domain;
#endif
	bridge->sysdata = &fabric->sysdata;
	bridge->ops = &fabric_ops;
	ret = pci_scan_root_bus_bridge(bridge);
	if (!ret) {
		pci_bus_size_bridges(bridge->bus);
		pci_bus_assign_resources(bridge->bus);
		pci_walk_bus(bridge->bus, fabric_note_pdev, fabric);
		pci_bus_add_devices(bridge->bus);
	}
	pci_unlock_rescan_remove();
	if (!ret)
		return 0;

	fabric_release_windows(fabric);
err_bridge:
	fabric->bridge = NULL;
	pci_free_host_bridge(bridge);
	return ret;
}

static void fabric_teardown(void *data)
{
	struct fabric *fabric = data;
	struct fabric_function *fn;

	if (fabric->bridge) {
		struct pci_bus *bus = fabric->bridge->bus;

		list_for_each_entry(fn, &fabric->functions, node)
			if (fn->vfs && fn->pdev && pci_num_vf(fn->pdev))
				pci_disable_sriov(fn->pdev);
		pci_lock_rescan_remove();
		pci_stop_root_bus(bus);
		pci_remove_root_bus(bus);
		pci_unlock_rescan_remove();

		list_for_each_entry(fn, &fabric->functions, node) {
			pci_dev_put(fn->pdev);
			fn->pdev = NULL;
		}
		pci_free_host_bridge(fabric->bridge);
		fabric_release_windows(fabric);

		/* N4: it stays when someone forgot to put a function */
		KUNIT_EXPECT_TRUE_MSG(fabric->test,
				      wait_for_completion_timeout(&fabric->released,
								  60 * HZ),
				      "a function of the fabric is still referenced");
	}
	kref_put(&fabric->ref, fabric_free);
}

/* All that can be seen without further ado has a struct pci_dev */
static void fabric_expect_enumerated(struct fabric *fabric)
{
	struct fabric_function *fn;

	list_for_each_entry(fn, &fabric->functions, node)
		KUNIT_ASSERT_TRUE_MSG(fabric->test,
				      fn->pdev || fn->pf || fn->pulled,
				      "%s %s was not enumerated",
				      fn->kind->word, fn->name);
}

/**
 * fabric_create_offset - make a fabric whose host bridge translates
 * @test: it lives until this ends, or fabric_destroy()
 * @topology: its functions
 * @offset: CPU minus PCI bus address of the window for mem64 BARs
 *
 * Return: the fabric; the test is aborted if there is none.
 */
struct fabric *fabric_create_offset(struct kunit *test, const char *topology,
				    s64 offset)
{
	struct fabric *fabric = kzalloc(sizeof(*fabric), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, fabric);
	fabric->test = test;
	fabric->offset = offset;
	kref_init(&fabric->ref);
	init_completion(&fabric->released);
	INIT_LIST_HEAD(&fabric->functions);
	INIT_LIST_HEAD(&fabric->buses);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fabric_teardown,
						  fabric));

	fabric->root = fabric_new_bus(fabric, NULL);
	fabric_parse(fabric, fabric->root, topology);
	fabric_number_new(fabric, fabric->root);
	KUNIT_ASSERT_EQ(test, 0, fabric_scan(fabric));
	fabric_expect_enumerated(fabric);
	return fabric;
}

struct fabric *fabric_create(struct kunit *test, const char *topology)
{
	return fabric_create_offset(test, topology, 0);
}

/* Before the end of the test */
void fabric_destroy(struct fabric *fabric)
{
	kunit_release_action(fabric->test, fabric_teardown, fabric);
}

/* Where a name was used again, the one that answers */
static struct fabric_function *fabric_lookup(struct fabric *fabric,
					     const char *name)
{
	struct fabric_function *fn, *gone = NULL;

	list_for_each_entry(fn, &fabric->functions, node) {
		if (strcmp(fn->name, name))
			continue;
		if (!fn->pulled)
			return fn;
		gone = fn;
	}
	return gone;
}

static struct fabric_function *fabric_named(struct fabric *fabric,
					    const char *name)
{
	struct fabric_function *fn = fabric_lookup(fabric, name);

	KUNIT_ASSERT_NOT_NULL_MSG(fabric->test, fn, "no function is called %s",
				  name);
	return fn;
}

bool fabric_has(struct fabric *fabric, const char *name)
{
	return fabric_lookup(fabric, name);
}

/*
 * Stays valid until the fabric goes, even when the function was removed; but
 * fabric_rescan() finds it anew
 */
struct pci_dev *fabric_dev(struct fabric *fabric, const char *name)
{
	return fabric_named(fabric, name)->pdev;
}

/* Call @action for @fn and all below, from the top */
static void fabric_walk(struct fabric_function *fn,
			void (*action)(struct fabric_function *fn))
{
	unsigned int devfn;

	action(fn);
	if (!fn->below)
		return;
	for (devfn = 0; devfn < 256; devfn++)
		if (fn->below->functions[devfn])
			fabric_walk(fn->below->functions[devfn], action);
}

static void fabric_vanish(struct fabric_function *fn)
{
	WRITE_ONCE(fn->pulled, true);
	if (fn->below)
		fn->fabric->numbered[fabric_bus_number(fn, PCI_SECONDARY_BUS)] = NULL;
}

/* Take it out of its slot */
static void fabric_take(struct fabric_function *fn)
{
	fabric_walk(fn, fabric_vanish);
	WRITE_ONCE(fn->on->functions[fn->devfn], NULL);
	fabric_link_ari(fn->on);
}

/*
 * As "echo 1 > remove" does: the driver is unbound, devres released. The
 * function stays where it is, and fabric_rescan() finds it.
 */
void fabric_remove(struct fabric *fabric, const char *name)
{
	pci_stop_and_remove_bus_device_locked(fabric_named(fabric, name)->pdev);
}

/* Orderly removal: the kernel lets it go, then it is gone */
void fabric_unplug(struct fabric *fabric, const char *name)
{
	struct fabric_function *fn = fabric_named(fabric, name);

	pci_stop_and_remove_bus_device_locked(fn->pdev);
	fabric_take(fn);
}

/* Surprise removal: it is gone before the kernel hears of it */
void fabric_pull(struct fabric *fabric, const char *name)
{
	struct fabric_function *fn = fabric_named(fabric, name);

	fabric_take(fn);
	pci_lock_rescan_remove();
	fn->pdev->error_state = pci_channel_io_perm_failure;
	pci_stop_and_remove_bus_device(fn->pdev);
	pci_unlock_rescan_remove();
}

/* Find what is on @bus and below, and not known yet */
static void fabric_scan_bus(struct fabric *fabric, struct pci_bus *bus)
{
	pci_lock_rescan_remove();
	pci_scan_child_bus(bus);
	pci_assign_unassigned_bus_resources(bus);
	pci_walk_bus(bus, fabric_note_pdev, fabric);
	pci_bus_add_devices(bus);
	pci_unlock_rescan_remove();
	fabric_expect_enumerated(fabric);
}

/* As "echo 1 > rescan" does: what fabric_remove() removed comes back */
void fabric_rescan(struct fabric *fabric)
{
	fabric_scan_bus(fabric, fabric->bridge->bus);
}

/**
 * fabric_add - plug functions into a running fabric
 * @fabric: the fabric
 * @name: the bridge below which they are, NULL for the root bus
 * @topology: what it is, as for fabric_create()
 *
 * Bridges need bus numbers: those of bridges that went, or that buses= keeps
 * free. BARs need room in the windows of the bridges above; there is room
 * below the root bus, and where something went.
 */
void fabric_add(struct fabric *fabric, const char *name, const char *topology)
{
	struct fabric_bus *bus = fabric->root;
	struct pci_bus *below = fabric->bridge->bus;

	if (name) {
		bus = fabric_named(fabric, name)->below;
		KUNIT_ASSERT_NOT_NULL_MSG(fabric->test, bus, "%s is no bridge",
					  name);
		below = fabric_dev(fabric, name)->subordinate;
	}
	fabric_parse(fabric, bus, topology);
	fabric_number_new(fabric, bus);
	fabric_scan_bus(fabric, below);
}

/**
 * fabric_enable_vfs - let a PF's VFs appear
 * @fabric: the fabric
 * @name: the PF
 *
 * As its driver does. Takes 100 ms, and 1 s when the fabric goes.
 */
void fabric_enable_vfs(struct fabric *fabric, const char *name)
{
	struct fabric_function *pf = fabric_named(fabric, name), *fn;
	struct kunit *test = fabric->test;

	KUNIT_ASSERT_EQ(test, 0, pci_enable_sriov(pf->pdev, pf->vfs));
	list_for_each_entry(fn, &fabric->functions, node) {
		u16 id = fabric_routing_id(fn);
		struct pci_dev *pdev;

		if (fn->pf != pf)
			continue;
		pdev = pci_get_domain_bus_and_slot(pci_domain_nr(pf->pdev->bus),
						   PCI_BUS_NUM(id), id & 0xff);
		KUNIT_ASSERT_NOT_NULL_MSG(test, pdev, "VF %s", fn->name);
		fabric_note(fn, pdev);
		pci_dev_put(pdev);
	}
}

static void fabric_save(struct fabric_function *fn)
{
	pci_save_state(fn->pdev);
}

static void fabric_restore(struct fabric_function *fn)
{
	pci_restore_state(fn->pdev);
}

/**
 * fabric_reset - reset a function and all below, and let the kernel restore it
 * @fabric: the fabric
 * @name: the function
 *
 * What a bus reset or a loss of power does to it and the kernel does about it,
 * without the waits: config space loses all that software wrote, the ACS
 * control word with it, and gets back what the kernel saves.
 */
void fabric_reset(struct fabric *fabric, const char *name)
{
	struct fabric_function *fn = fabric_named(fabric, name);

	fabric_walk(fn, fabric_save);
	fabric_walk(fn, fabric_reset_hardware);
	fabric_walk(fn, fabric_restore);
}

static int fabric_acs_cap(struct fabric *fabric, const char *name)
{
	int pos = pci_find_ext_capability(fabric_dev(fabric, name),
					  PCI_EXT_CAP_ID_ACS);

	KUNIT_ASSERT_NE_MSG(fabric->test, pos, 0, "%s has no ACS", name);
	return pos;
}

/* By config write, as the kernel does it */
void fabric_set_acs(struct fabric *fabric, const char *name, u16 bits)
{
	pci_write_config_word(fabric_dev(fabric, name),
			      fabric_acs_cap(fabric, name) + PCI_ACS_CTRL,
			      bits);
}

/* By config write of user space, as setpci does it through sysfs and proc */
void fabric_user_set_acs(struct fabric *fabric, const char *name, u16 bits)
{
	pci_user_write_config_word(fabric_dev(fabric, name),
				   fabric_acs_cap(fabric, name) + PCI_ACS_CTRL,
				   bits);
}

/* What hardware has in the control word */
u16 fabric_acs(struct fabric *fabric, const char *name)
{
	u16 bits = 0;

	pci_read_config_word(fabric_dev(fabric, name),
			     fabric_acs_cap(fabric, name) + PCI_ACS_CTRL,
			     &bits);
	return bits;
}

static void fabric_set_host_bridges(const char *allowed, bool cpu_routes)
{
	p2pdma_allow_host_bridges(allowed);
	if (p2pdma_cpu_routes == cpu_routes)
		return;
	p2pdma_cpu_routes = cpu_routes;
	p2pdma_host_bridges_changed();
}

static void fabric_reset_host_bridges(void *cpu_routes)
{
	fabric_set_host_bridges("", cpu_routes);
}

/**
 * fabric_host_bridges - set what is known about host bridges
 * @test: at its end, the CPU is what it was, and the list is empty
 * @allowed: what the administrator allows, VVVV:DDDD[,...]
 * @cpu_routes: the CPU is of a family whose root complex routes
 */
void fabric_host_bridges(struct kunit *test, const char *allowed,
			 bool cpu_routes)
{
	unsigned long was = p2pdma_cpu_routes;

	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action(test, fabric_reset_host_bridges,
					 (void *)was));
	fabric_set_host_bridges(allowed, cpu_routes);
}

unsigned int fabric_refs(struct pci_dev *pdev)
{
	return kref_read(&pdev->dev.kobj.kref);
}

/*
 * The log
 */

/* What was said until now is printed, or not, by the old level */
static void fabric_console_level(long level)
{
	console_lock();
	console_unlock();
	console_loglevel = level;
}

static void fabric_loud(void *level)
{
	fabric_console_level((long)level);
}

/* Tests that make many fabrics: a slow console shows notices and worse */
void fabric_quiet(struct kunit *test)
{
	long level = console_loglevel;

	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action(test, fabric_loud, (void *)level));
	/* KUnit's lines have no newline: they are printed with the next one */
	pr_info("many fabrics to come, on the console only what is worth a notice\n");
	fabric_console_level(LOGLEVEL_NOTICE + 1);
}

u64 fabric_log_mark(void)
{
	struct kmsg_dump_iter iter;

	kmsg_dump_rewind(&iter);
	return iter.next_seq;
}

/**
 * fabric_log_count - count messages
 * @test: the test
 * @mark: from fabric_log_mark()
 * @level: their level, as "3" for errors; NULL for all
 * @text: what they contain, or NULL
 *
 * Return: how many there were since @mark.
 */
unsigned int fabric_log_count(struct kunit *test, u64 mark, const char *level,
			      const char *text)
{
	struct kmsg_dump_iter iter = { .cur_seq = mark, .next_seq = U64_MAX };
	const size_t size = 2048;
	char *line = kunit_kzalloc(test, size, GFP_KERNEL);
	unsigned int nr = 0;
	size_t len;

	KUNIT_ASSERT_NOT_NULL(test, line);
	if (!IS_ENABLED(CONFIG_PRINTK))
		kunit_skip(test, "there is no log without CONFIG_PRINTK");
	/* "<LEVEL>[time] text" */
	while (kmsg_dump_get_line(&iter, true, line, size - 1, &len)) {
		line[len] = '\0';
		if (level && (line[0] != '<' || line[1] != level[0] ||
			      line[2] != '>'))
			continue;
		if (!text || strstr(line, text))
			nr++;
	}
	kunit_kfree(test, line);
	return nr;
}

/* Error lines about one function */
unsigned int fabric_log_errors(struct kunit *test, u64 mark,
			       struct pci_dev *pdev)
{
	return fabric_log_count(test, mark, "3", pci_name(pdev));
}

/*
 * sysfs, through a mount of its own: no root file system is needed, and what
 * protects readers against removal is part of what is tested
 */

/**
 * fabric_sysfs_read - read a file in p2pmem/
 * @pdev: the function
 * @file: its name
 * @buf: takes the contents, with a NUL at the end
 * @size: size of @buf
 *
 * Return: number of bytes, or an error: -ENOENT if there is no such file,
 * -ENODEV if it went while it was read.
 */
ssize_t fabric_sysfs_read(struct pci_dev *pdev, const char *file, char *buf,
			  size_t size)
{
	struct file_system_type *type;
	char *devpath, *path = NULL;
	struct vfsmount *mnt;
	struct file *filp;
	ssize_t ret;
	loff_t pos = 0;

	devpath = kobject_get_path(&pdev->dev.kobj, GFP_KERNEL);
	if (devpath)
		path = kasprintf(GFP_KERNEL, "%s/p2pmem/%s", devpath + 1, file);
	kfree(devpath);
	if (!path)
		return -ENOMEM;

	type = get_fs_type("sysfs");
	mnt = type ? kern_mount(type) : ERR_PTR(-ENODEV);
	if (IS_ERR(mnt)) {
		ret = PTR_ERR(mnt);
		goto out;
	}
	filp = file_open_root_mnt(mnt, path, O_RDONLY, 0);
	if (IS_ERR(filp)) {
		ret = PTR_ERR(filp);
		goto out_mount;
	}
	ret = kernel_read(filp, buf, size - 1, &pos);
	if (ret >= 0)
		buf[ret] = '\0';
	__fput_sync(filp);
out_mount:
	kern_unmount(mnt);
out:
	kfree(path);
	return ret;
}

/* The number that a file in p2pmem/ has, or a negative error */
s64 fabric_sysfs_number(struct pci_dev *pdev, const char *file)
{
	char buf[32];
	s64 number;
	ssize_t ret = fabric_sysfs_read(pdev, file, buf, sizeof(buf));

	if (ret < 0)
		return ret;
	/* One decimal number and a newline, nothing else */
	if (!ret || buf[ret - 1] != '\n' || kstrtos64(buf, 10, &number))
		return -EBADMSG;
	return number;
}
