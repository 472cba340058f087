// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the NVMe Controller Memory Buffer: registers that tell the
 * truth, and registers that lie (NVM Express Base 2.0, sec 3.1.3.11 and 3.1.3.12)
 */
#include <kunit/test.h>
#include <linux/prandom.h>
#include "cmb-regs.h"

/* CMBLOC: OFST in units, other bits, BIR */
#define LOC(ofst, bits, bir)	((u32)(ofst) << 12 | (bits) | (bir))
#define CQMMS			BIT(3)
#define CQPDS			BIT(4)
#define CDPMLS			BIT(5)
#define CDPCILS			BIT(6)
#define CDMMMS			BIT(7)
#define CQDA			BIT(8)
#define LOC_RESERVED		GENMASK(11, 9)

/* CMBSZ: SZ in units, SZU, other bits */
#define SIZE(sz, szu, bits)	((u32)(sz) << 12 | (szu) << 8 | (bits))
#define SQS			BIT(0)
#define CQS			BIT(1)
#define LISTS			BIT(2)
#define RDS			BIT(3)
#define WDS			BIT(4)
#define DATA			(RDS | WDS)
#define SIZE_RESERVED		GENMASK(7, 5)

#define CMBS			BIT_ULL(57)	/* of CAP */
#define LARGEST			(BIT(20) - 1)	/* of SZ and OFST */
#define REGS_SIZE		SZ_8K

/*
 * BAR 0 has registers and 56 KiB behind them, BAR 2 is what most CMBs are in,
 * with its upper half in BAR 3, BAR 4 is I/O, and BAR 5 has no address.
 */
static const struct resource bars[PCI_STD_NUM_BARS] = {
	[0] = DEFINE_RES_MEM(0xf0000000, SZ_64K),
	[2] = DEFINE_RES_MEM(0x4000000000, SZ_1G),
	[4] = DEFINE_RES_IO(0xc000, SZ_256),
	[5] = {
		.end = SZ_16M - 1, .flags = IORESOURCE_MEM | IORESOURCE_UNSET,
	},
};

struct good {
	const char *what;
	u32 loc;
	u32 sz;
	u64 offset;
	u64 size;
	u64 claimed;	/* 0: as much as @size */
	bool sqs;
	bool data;
	bool data_alone;
};

static const struct good goods[] = {
	{ "R8.7 data only", LOC(0, 0, 2), SIZE(512, 0, DATA), 0, SZ_2M,
	  .data = true },
	{ "R8.7 all uses", LOC(0, 0, 2), SIZE(512, 0, SQS | CQS | LISTS | DATA),
	  0, SZ_2M, .data = true, .sqs = true },
	{ "R8.7 submission queues only", LOC(0, 0, 2), SIZE(2, 1, SQS),
	  0, SZ_128K, .sqs = true },
	{ "R8.1 data can only be read from it", LOC(0, 0, 2),
	  SIZE(2, 2, SQS | WDS), 0, SZ_2M, .sqs = true },
	{ "R8.1 data can only be written to it", LOC(0, 0, 2),
	  SIZE(2, 2, SQS | RDS), 0, SZ_2M, .sqs = true },
	{ "R8.7 offset in units of 64 KiB", LOC(3, 0, 2), SIZE(32, 1, DATA),
	  3 * SZ_64K, SZ_2M, .data = true },
	{ "R8.7 offset in units of 16 MiB", LOC(1, 0, 2), SIZE(2, 3, DATA),
	  SZ_16M, SZ_32M, .data = true },
	{ "R8.7 offset that no huge page has", LOC(1, 0, 2), SIZE(1, 0, DATA),
	  SZ_4K, SZ_4K, .data = true },
	{ "R8.7 all of the BAR", LOC(0, 0, 2), SIZE(4, 4, DATA), 0, SZ_1G,
	  .data = true },
	{ "R8.7 up to the end of the BAR", LOC(3, 0, 2), SIZE(1, 4, DATA),
	  3ULL * SZ_256M, SZ_256M, .data = true },
	{ "R8.7 last page of the BAR", LOC(SZ_1G / SZ_4K - 1, 0, 2),
	  SIZE(1, 0, DATA), SZ_1G - SZ_4K, SZ_4K, .data = true },
	{ "R8.7 a unit more than the BAR", LOC(0, 0, 2), SIZE(5, 4, DATA),
	  0, SZ_1G, 5ULL * SZ_256M, .data = true },
	{ "R8.7 a unit larger than the BAR", LOC(0, 0, 2), SIZE(1, 6, DATA),
	  0, SZ_1G, 64ULL * SZ_1G, .data = true },
	{ "R8.7 end beyond the BAR", LOC(1, 0, 2), SIZE(4, 4, DATA),
	  SZ_256M, 3ULL * SZ_256M, SZ_1G, .data = true },
	{ "R8.7 largest size there is", LOC(0, 0, 2), SIZE(LARGEST, 6, DATA),
	  0, SZ_1G, 64ULL * SZ_1G * LARGEST, .data = true },
	{ "R8.7 behind the registers", LOC(2, 0, 0), SIZE(14, 0, DATA),
	  SZ_8K, SZ_64K - SZ_8K, .data = true },
	{ "R8.7 behind the registers and beyond the BAR", LOC(2, 0, 0),
	  SIZE(512, 0, DATA), SZ_8K, SZ_64K - SZ_8K, SZ_2M, .data = true },
	{ "R8.7 metadata may be elsewhere", LOC(0, CDMMMS, 2),
	  SIZE(512, 0, DATA), 0, SZ_2M, .data = true, .data_alone = true },
	{ "R8.7 no other restriction matters",
	  LOC(0, CQMMS | CQPDS | CDPMLS | CDPCILS | CQDA, 2),
	  SIZE(512, 0, DATA), 0, SZ_2M, .data = true },
	{ "R8.7 reserved bits do not matter", LOC(1, LOC_RESERVED, 2),
	  SIZE(512, 0, SIZE_RESERVED | DATA), SZ_4K, SZ_2M, .data = true },
};

KUNIT_ARRAY_PARAM_DESC(good, goods, what);

static void good_registers_give_a_range_of_the_bar(struct kunit *test)
{
	const struct good *good = test->param_value;
	struct nvme_cmb_layout cmb;

	KUNIT_ASSERT_EQ(test, NVME_CMB_USABLE,
			nvme_cmb_parse(CMBS, good->loc, good->sz, bars,
				       REGS_SIZE, &cmb));
	KUNIT_EXPECT_EQ(test, NVME_CMB_BIR(good->loc), cmb.bar);
	KUNIT_EXPECT_EQ(test, resource_size(&bars[cmb.bar]), cmb.bar_size);
	KUNIT_EXPECT_EQ(test, good->offset, cmb.offset);
	KUNIT_EXPECT_EQ(test, good->size, cmb.size);
	KUNIT_EXPECT_EQ(test, good->claimed ?: good->size, cmb.claimed);
	KUNIT_EXPECT_EQ(test, good->sqs, cmb.sqs);
	KUNIT_EXPECT_EQ(test, good->data, cmb.data);
	KUNIT_EXPECT_EQ(test, good->data_alone, cmb.data_alone);

	/* Version 1.2 and 1.3: no CAP.CMBS, and else the same */
	KUNIT_EXPECT_EQ(test, NVME_CMB_USABLE,
			nvme_cmb_parse(0, good->loc, good->sz, bars, REGS_SIZE,
				       &cmb));
	KUNIT_EXPECT_EQ(test, good->size, cmb.size);
}

struct bad {
	const char *what;
	u32 loc;
	u32 sz;
	enum nvme_cmb_fault fault;
	const char *why;
};

static const struct bad bads[] = {
	{ "R8.7 claimed, but CMBSZ is 0", LOC(0, 0, 2), 0,
	  NVME_CMB_NO_SIZE, "its size is 0 (CMBSZ 0x0)" },
	{ "R8.7 uses, but no size", LOC(0, 0, 2), SIZE(0, 2, SQS | DATA),
	  NVME_CMB_NO_SIZE, "its size is 0 (CMBSZ 0x219)" },
	{ "R8.7 first reserved unit", LOC(0, 0, 2), SIZE(1, 7, DATA),
	  NVME_CMB_RESERVED_UNIT, "reserved size unit 7 (CMBSZ 0x1718)" },
	{ "R8.7 unit of 2^64 bytes", LOC(0, 0, 2), SIZE(1, 13, DATA),
	  NVME_CMB_RESERVED_UNIT, "reserved size unit 13 (CMBSZ 0x1d18)" },
	{ "R8.7 size that wraps around to a small one", LOC(0, 0, 2),
	  SIZE(17, 12, DATA),
	  NVME_CMB_RESERVED_UNIT, "reserved size unit 12 (CMBSZ 0x11c18)" },
	{ "R8.7 registers that read as all ones", ~0U, ~0U,
	  NVME_CMB_RESERVED_UNIT, "reserved size unit 15 (CMBSZ 0xffffffff)" },
	{ "R8.7 BIR 1, half of the registers' BAR", LOC(0, 0, 1),
	  SIZE(512, 0, DATA),
	  NVME_CMB_RESERVED_BAR, "reserved BAR 1 (CMBLOC 0x1)" },
	{ "R8.7 BIR 6, the expansion ROM", LOC(0, 0, 6), SIZE(512, 0, DATA),
	  NVME_CMB_RESERVED_BAR, "reserved BAR 6 (CMBLOC 0x6)" },
	{ "R8.7 BIR 7", LOC(0, 0, 7), SIZE(512, 0, DATA),
	  NVME_CMB_RESERVED_BAR, "reserved BAR 7 (CMBLOC 0x7)" },
	{ "R8.7 upper half of a 64-bit BAR", LOC(0, 0, 3), SIZE(512, 0, DATA),
	  NVME_CMB_NO_BAR, "there is no BAR 3 (CMBLOC 0x3)" },
	{ "R8.7 I/O BAR", LOC(0, 0, 4), SIZE(1, 0, DATA),
	  NVME_CMB_IO_BAR, "BAR 4 is an I/O BAR (CMBLOC 0x4)" },
	{ "R8.7 BAR without an address", LOC(0, 0, 5), SIZE(512, 0, DATA),
	  NVME_CMB_UNASSIGNED_BAR, "BAR 5 has no address assigned" },
	{ "R8.7 offset at the end of the BAR", LOC(4, 0, 2), SIZE(1, 4, DATA),
	  NVME_CMB_BEYOND_BAR,
	  "offset 0x40000000 is beyond BAR 2, which has 0x40000000 bytes" },
	{ "R8.7 offset beyond the BAR", LOC(1, 0, 2), SIZE(1, 6, DATA),
	  NVME_CMB_BEYOND_BAR,
	  "offset 0x1000000000 is beyond BAR 2, which has 0x40000000 bytes" },
	{ "R8.7 largest offset and size", LOC(LARGEST, 0, 2),
	  SIZE(LARGEST, 6, DATA), NVME_CMB_BEYOND_BAR,
	  "offset 0xfffff000000000 is beyond BAR 2, which has 0x40000000 bytes" },
	{ "R8.7 at the registers", LOC(0, 0, 0), SIZE(8, 0, DATA),
	  NVME_CMB_IN_REGISTERS,
	  "offset 0x0 of BAR 0 is among registers and doorbells" },
	{ "R8.7 at the last doorbells", LOC(1, 0, 0), SIZE(8, 0, DATA),
	  NVME_CMB_IN_REGISTERS,
	  "offset 0x1000 of BAR 0 is among registers and doorbells" },
	{ "R8.7 no use", LOC(0, 0, 2), SIZE(512, 0, 0), NVME_CMB_NO_USE,
	  "it takes neither data both ways nor queues (CMBSZ 0x200000)" },
	{ "R8.7 no use that we have", LOC(0, 0, 2),
	  SIZE(512, 0, CQS | LISTS | RDS), NVME_CMB_NO_USE,
	  "it takes neither data both ways nor queues (CMBSZ 0x20000e)" },
};

KUNIT_ARRAY_PARAM_DESC(bad, bads, what);

static void bad_registers_are_refused_with_a_reason(struct kunit *test)
{
	const struct bad *bad = test->param_value;
	struct nvme_cmb_layout cmb;
	char why[128];

	KUNIT_EXPECT_EQ(test, bad->fault,
			nvme_cmb_parse(CMBS, bad->loc, bad->sz, bars, REGS_SIZE,
				       &cmb));
	KUNIT_EXPECT_EQ(test, 0, cmb.size);
	nvme_cmb_explain(bad->fault, bad->loc, bad->sz, &cmb, why, sizeof(why));
	KUNIT_EXPECT_STREQ(test, bad->why, why);
}

/* R8.7: nobody is told why there is none */
static void controller_without_cmb_is_not_refused(struct kunit *test)
{
	struct nvme_cmb_layout cmb;

	KUNIT_EXPECT_EQ(test, NVME_CMB_ABSENT,
			nvme_cmb_parse(0, 0, 0, bars, REGS_SIZE, &cmb));
	KUNIT_EXPECT_EQ(test, NVME_CMB_ABSENT,
			nvme_cmb_parse(~CMBS, LOC(7, 0, 2), 0, bars, REGS_SIZE,
				       &cmb));
	KUNIT_EXPECT_EQ(test, 0, cmb.size);
}

/* R8.7: a BAR that has less than a page, which the kernel gives none */
static void bar_below_a_page_holds_no_cmb(struct kunit *test)
{
	struct resource small[PCI_STD_NUM_BARS] = {
		[2] = DEFINE_RES_MEM(0xf0000800, SZ_2K),
	};
	struct nvme_cmb_layout cmb;

	KUNIT_EXPECT_EQ(test, NVME_CMB_BEYOND_BAR,
			nvme_cmb_parse(CMBS, LOC(0, 0, 2), SIZE(1, 0, DATA),
				       small, REGS_SIZE, &cmb));
	KUNIT_EXPECT_EQ(test, 0, cmb.size);
}

/* R8.7: each unit is 16 times the one before */
static void units_are_those_of_the_specification(struct kunit *test)
{
	struct resource large[PCI_STD_NUM_BARS] = {
		[2] = DEFINE_RES_MEM(BIT_ULL(50), BIT_ULL(50)),
	};
	static const u64 units[] = {
		SZ_4K, SZ_64K, SZ_1M, SZ_16M, SZ_256M, SZ_4G, 16ULL * SZ_4G,
	};
	struct nvme_cmb_layout cmb;
	unsigned int szu;

	for (szu = 0; szu < 16; szu++) {
		enum nvme_cmb_fault fault =
			nvme_cmb_parse(CMBS, LOC(3, 0, 2), SIZE(5, szu, DATA),
				       large, REGS_SIZE, &cmb);

		if (szu >= ARRAY_SIZE(units)) {
			KUNIT_EXPECT_EQ(test, NVME_CMB_RESERVED_UNIT, fault);
			continue;
		}
		KUNIT_EXPECT_EQ(test, NVME_CMB_USABLE, fault);
		KUNIT_EXPECT_EQ(test, 3 * units[szu], cmb.offset);
		KUNIT_EXPECT_EQ(test, 5 * units[szu], cmb.size);
	}
}

/* R8.7: whatever is in the registers, nothing outside the BAR is used */
static void any_registers_are_inside_the_bar_or_refused(struct kunit *test)
{
	unsigned int seen[NVME_CMB_NO_USE + 1] = {}, i;
	struct nvme_cmb_layout cmb;
	struct rnd_state rnd;
	char why[128];

	prandom_seed_state(&rnd, 0x8070);
	for (i = 0; i < 100000; i++) {
		u32 loc = prandom_u32_state(&rnd), sz = prandom_u32_state(&rnd);
		enum nvme_cmb_fault fault;

		/* Few of all values are near the size of a BAR */
		loc &= i & 1 ? ~0U : 0x3fff;
		loc &= i & 2 ? ~0U : ~5U;
		sz &= i & 4 ? ~0U : 0x1fff8fff;
		fault = nvme_cmb_parse(CMBS, loc, sz, bars, REGS_SIZE, &cmb);
		seen[fault]++;
		if (fault) {
			KUNIT_ASSERT_EQ(test, 0, cmb.size);
			nvme_cmb_explain(fault, loc, sz, &cmb, why, sizeof(why));
			KUNIT_ASSERT_LT(test, strlen(why), sizeof(why) - 1);
			KUNIT_ASSERT_STRNEQ(test, why, "unknown reason");
			continue;
		}
		KUNIT_ASSERT_TRUE(test, cmb.bar == 0 || cmb.bar == 2);
		KUNIT_ASSERT_GT(test, cmb.size, 0);
		KUNIT_ASSERT_TRUE(test, IS_ALIGNED(cmb.offset | cmb.size, SZ_4K));
		KUNIT_ASSERT_LE(test, cmb.size, cmb.claimed);
		KUNIT_ASSERT_LT(test, cmb.offset, cmb.bar_size);
		KUNIT_ASSERT_LE(test, cmb.size, cmb.bar_size - cmb.offset);
		if (!cmb.bar)
			KUNIT_ASSERT_GE(test, cmb.offset, REGS_SIZE);
	}
	for (i = 0; i < ARRAY_SIZE(seen); i++)
		if (i != NVME_CMB_ABSENT && i != NVME_CMB_NO_SIZE)
			KUNIT_EXPECT_GT_MSG(test, seen[i], 0, "fault %u", i);
}

static struct kunit_case nvme_cmb_cases[] = {
	KUNIT_CASE_PARAM(good_registers_give_a_range_of_the_bar,
			 good_gen_params),
	KUNIT_CASE_PARAM(bad_registers_are_refused_with_a_reason,
			 bad_gen_params),
	KUNIT_CASE(controller_without_cmb_is_not_refused),
	KUNIT_CASE(bar_below_a_page_holds_no_cmb),
	KUNIT_CASE(units_are_those_of_the_specification),
	KUNIT_CASE(any_registers_are_inside_the_bar_or_refused),
	{}
};

static struct kunit_suite nvme_cmb_suite = {
	.name = "nvme_cmb",
	.test_cases = nvme_cmb_cases,
};

kunit_test_suite(nvme_cmb_suite);
