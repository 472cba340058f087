/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What CMBLOC and CMBSZ say about a Controller Memory Buffer (NVM Express Base
 * 2.0, sec 3.1.3.11 and 3.1.3.12)
 *
 * Registers may hold anything, so each value is checked before it is used. No
 * function here accesses the device: cmb.c reads the registers, and cmb_test.c
 * makes them up.
 *
 * Sec 8.5 restricts where the parts of a command and of a queue may be. A bit of
 * CMBLOC lifts each restriction. The driver keeps all of them but one without
 * looking at the bit:
 *
 *   CQMMS	a queue is either inside the CMB or outside: each I/O submission
 *		queue is in one slot of the CMB, or in system memory
 *   CQPDS	a queue in the CMB is contiguous: a slot is
 *   CQDA	lifts the alignment of queues to pages: a slot starts a page
 *   CDPMLS	a PRP list or an SGL is either inside or outside: all of them are
 *		in system memory, so CMBSZ.LISTS does not matter either
 *   CDPCILS	no list is in the CMB unless its command is: no list ever is
 *   CDMMMS	data and metadata of a command are either inside or outside.
 *		Metadata is always in system memory. Unless this bit is set, a
 *		command with metadata must not have its data in the CMB.
 *
 * Completion queues are never in the CMB, so CMBSZ.CQS does not matter.
 * Controllers before version 1.4 have none of these bits: they read as 0, which
 * means the same restrictions (NVM Express 1.3, sec 4.7).
 */
#ifndef _NVME_CMB_REGS_H
#define _NVME_CMB_REGS_H

#include <linux/align.h>
#include <linux/ioport.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/nvme.h>
#include <linux/pci.h>
#include <linux/sizes.h>
#include <linux/types.h>

#define NVME_CMBLOC_CDMMMS	BIT(7)

/* 4 KiB, 64 KiB, ... 64 GiB: larger values of CMBSZ.SZU are reserved */
#define NVME_CMBSZ_SZU_MAX	6

/**
 * enum nvme_cmb_fault - why a CMB cannot be used
 * @NVME_CMB_USABLE: it can
 * @NVME_CMB_ABSENT: there is none, and the controller does not claim one
 * @NVME_CMB_NO_SIZE: CAP.CMBS or CMBSZ claims one, but its size is 0
 * @NVME_CMB_RESERVED_UNIT: CMBSZ.SZU is reserved
 * @NVME_CMB_RESERVED_BAR: CMBLOC.BIR is reserved
 * @NVME_CMB_IO_BAR: CMBLOC.BIR names an I/O BAR
 * @NVME_CMB_NO_BAR: CMBLOC.BIR names a BAR that is not there, or the upper half
 *	of one
 * @NVME_CMB_UNASSIGNED_BAR: the BAR has no address
 * @NVME_CMB_BEYOND_BAR: less than 4 KiB of the BAR follow the offset
 * @NVME_CMB_IN_REGISTERS: it starts among registers and doorbells
 * @NVME_CMB_NO_USE: it takes neither data nor submission queues
 */
enum nvme_cmb_fault {
	NVME_CMB_USABLE,
	NVME_CMB_ABSENT,
	NVME_CMB_NO_SIZE,
	NVME_CMB_RESERVED_UNIT,
	NVME_CMB_RESERVED_BAR,
	NVME_CMB_IO_BAR,
	NVME_CMB_NO_BAR,
	NVME_CMB_UNASSIGNED_BAR,
	NVME_CMB_BEYOND_BAR,
	NVME_CMB_IN_REGISTERS,
	NVME_CMB_NO_USE,
};

/**
 * struct nvme_cmb_layout - a CMB, as its registers describe it
 * @bar: CMBLOC.BIR
 * @bar_size: bytes of that BAR, 0 if it cannot be used
 * @offset: bytes from the start of the BAR
 * @claimed: bytes that CMBSZ claims
 * @size: bytes of these that are inside the BAR; 0 with any fault
 * @sqs: it takes submission queues (CMBSZ.SQS)
 * @data: it takes data in both directions (CMBSZ.RDS and CMBSZ.WDS)
 * @data_alone: it takes data of commands whose metadata is elsewhere
 *	(CMBLOC.CDMMMS)
 */
struct nvme_cmb_layout {
	unsigned int bar;
	u64 bar_size;
	u64 offset;
	u64 claimed;
	u64 size;
	bool sqs;
	bool data;
	bool data_alone;
};

static inline unsigned int nvme_cmbsz_szu(u32 sz)
{
	return (sz >> NVME_CMBSZ_SZU_SHIFT) & NVME_CMBSZ_SZU_MASK;
}

/* Can the BAR have a CMB in it? */
static inline enum nvme_cmb_fault nvme_cmb_check_bar(const struct resource *bar)
{
	if (bar->flags & IORESOURCE_IO)
		return NVME_CMB_IO_BAR;
	/* As pci_resource_len() knows a BAR of no length */
	if (!(bar->flags & IORESOURCE_MEM) || !bar->end)
		return NVME_CMB_NO_BAR;
	if (bar->flags & IORESOURCE_UNSET)
		return NVME_CMB_UNASSIGNED_BAR;
	return NVME_CMB_USABLE;
}

/**
 * nvme_cmb_parse - find out from the registers where a CMB is
 * @cap: CAP
 * @loc: CMBLOC
 * @sz: CMBSZ
 * @bars: the function's PCI_STD_NUM_BARS BARs
 * @regs_size: bytes at the start of BAR 0 that are registers and doorbells
 * @cmb: takes the description; with a fault, as far as it is known
 *
 * Return: NVME_CMB_USABLE, or the first fault that was found.
 */
static inline enum nvme_cmb_fault
nvme_cmb_parse(u64 cap, u32 loc, u32 sz, const struct resource *bars,
	       u64 regs_size, struct nvme_cmb_layout *cmb)
{
	enum nvme_cmb_fault fault;
	u64 unit;

	*cmb = (struct nvme_cmb_layout) {
		.bar = NVME_CMB_BIR(loc),
		.sqs = sz & NVME_CMBSZ_SQS,
		.data = (sz & NVME_CMBSZ_RDS) && (sz & NVME_CMBSZ_WDS),
		.data_alone = loc & NVME_CMBLOC_CDMMMS,
	};
	if (!sz)
		return NVME_CAP_CMBS(cap) ? NVME_CMB_NO_SIZE : NVME_CMB_ABSENT;

	/* Both fields have 20 bits, so with a valid unit nothing overflows */
	if (nvme_cmbsz_szu(sz) > NVME_CMBSZ_SZU_MAX)
		return NVME_CMB_RESERVED_UNIT;
	unit = (u64)SZ_4K << (4 * nvme_cmbsz_szu(sz));
	cmb->claimed = unit * ((sz >> NVME_CMBSZ_SZ_SHIFT) & NVME_CMBSZ_SZ_MASK);
	cmb->offset = unit * NVME_CMB_OFST(loc);
	if (!cmb->claimed)
		return NVME_CMB_NO_SIZE;

	/* BAR 1 is the upper half of the registers' BAR */
	if (cmb->bar == 1 || cmb->bar >= PCI_STD_NUM_BARS)
		return NVME_CMB_RESERVED_BAR;
	fault = nvme_cmb_check_bar(&bars[cmb->bar]);
	if (fault)
		return fault;
	cmb->bar_size = resource_size(&bars[cmb->bar]);
	if (cmb->offset + SZ_4K > cmb->bar_size)
		return NVME_CMB_BEYOND_BAR;
	if (cmb->bar == 0 && cmb->offset < regs_size)
		return NVME_CMB_IN_REGISTERS;
	if (!cmb->data && !cmb->sqs)
		return NVME_CMB_NO_USE;

	/* The BAR limits what the host can use (sec 3.1.3.12) */
	cmb->size = min(cmb->claimed,
			ALIGN_DOWN(cmb->bar_size - cmb->offset, SZ_4K));
	return NVME_CMB_USABLE;
}

/**
 * nvme_cmb_explain - say why a CMB cannot be used
 * @fault: what nvme_cmb_parse() returned, other than usable and absent
 * @loc: CMBLOC
 * @sz: CMBSZ
 * @cmb: what nvme_cmb_parse() found
 * @buf: takes the reason, without an end of line
 * @len: size of @buf; 128 is enough
 *
 * Return: @buf.
 */
static inline const char *
nvme_cmb_explain(enum nvme_cmb_fault fault, u32 loc, u32 sz,
		 const struct nvme_cmb_layout *cmb, char *buf, size_t len)
{
	switch (fault) {
	case NVME_CMB_USABLE:
	case NVME_CMB_ABSENT:
		break;
	case NVME_CMB_NO_SIZE:
		scnprintf(buf, len, "its size is 0 (CMBSZ %#x)", sz);
		return buf;
	case NVME_CMB_RESERVED_UNIT:
		scnprintf(buf, len, "reserved size unit %u (CMBSZ %#x)",
			  nvme_cmbsz_szu(sz), sz);
		return buf;
	case NVME_CMB_RESERVED_BAR:
		scnprintf(buf, len, "reserved BAR %u (CMBLOC %#x)", cmb->bar,
			  loc);
		return buf;
	case NVME_CMB_IO_BAR:
		scnprintf(buf, len, "BAR %u is an I/O BAR (CMBLOC %#x)",
			  cmb->bar, loc);
		return buf;
	case NVME_CMB_NO_BAR:
		scnprintf(buf, len, "there is no BAR %u (CMBLOC %#x)",
			  cmb->bar, loc);
		return buf;
	case NVME_CMB_UNASSIGNED_BAR:
		scnprintf(buf, len, "BAR %u has no address assigned", cmb->bar);
		return buf;
	case NVME_CMB_BEYOND_BAR:
		scnprintf(buf, len, "offset %#llx is beyond BAR %u, which has %#llx bytes",
			  cmb->offset, cmb->bar, cmb->bar_size);
		return buf;
	case NVME_CMB_IN_REGISTERS:
		scnprintf(buf, len, "offset %#llx of BAR 0 is among registers and doorbells",
			  cmb->offset);
		return buf;
	case NVME_CMB_NO_USE:
		scnprintf(buf, len, "it takes neither data both ways nor queues (CMBSZ %#x)",
			  sz);
		return buf;
	}
	scnprintf(buf, len, "unknown reason");
	return buf;
}

#endif /* _NVME_CMB_REGS_H */
