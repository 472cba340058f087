// SPDX-License-Identifier: GPL-2.0
/*
 * Peer-to-peer memory in bios and requests
 *
 * Memory in the BAR of a PCI function (the provider) can be the payload of
 * I/O if the disk's function reaches it by DMA. Most drivers cannot do that:
 * they copy by CPU, checksum or encrypt, or hand the pages to a stack that
 * does. Two rules keep such a driver, and block's own code, away from peer
 * memory:
 *
 * 1. Only a queue with BLK_FEAT_PCI_P2PDMA gets it. Whatever else it is sent
 *    to fails with BLK_STS_NOTSUPP before the driver sees it. A device made
 *    of others has the feature only if its driver asked for it and every
 *    device below has it, see blk_stack_limits().
 *
 * 2. A bio, a request and a segment are of one memory: either all of it is
 *    ordinary, or all of it is one region (one struct dev_pagemap) of one
 *    provider. So a driver that looks at the first page knows all, and one
 *    mapping decision is right for the whole request.
 *
 * REQ_PCI_P2PDMA on a bio or request says which of the two it is. It is set
 * here, never believed: submitters need not set it, and if one sets it on
 * ordinary memory it is taken away.
 *
 * Where the rules are enforced:
 *
 * - At the door of each driver, __submit_bio() and blk_mq_submit_bio(), every
 *   segment of every bio is looked at, at every level of a stack. This is the
 *   check that holds whatever a submitter did: bi_io_vec need not be made by
 *   bio_add_page(), it may come from a clone or an iterator, or be written by
 *   hand. The queue has been entered, so its limits stay what they are.
 * - Requests that never were a submitted bio are looked at in the same way:
 *   passthrough by blk_execute_rq() and blk_execute_rq_nowait(), clones by
 *   blk_insert_cloned_request().
 * - What builds bios page by page does not mix, so a submitter gets a second
 *   bio instead of an error: bio_add_page(), bio_add_hw_page() with all that
 *   uses it, and the iterators over user memory. __bio_add_page() and iterators
 *   over bvecs have no way to refuse; for them there is the door.
 * - Merging of bios and requests compares marks, then regions.
 * - Where block itself reads or writes payload by CPU (integrity checksums,
 *   the fallback for inline encryption, copies for passthrough), peer memory
 *   is refused, also on a queue with the feature. Integrity payload is never
 *   peer memory. A queue that bounces cannot have the feature.
 *
 * What it costs: nothing but no-ops until the first region is registered. With
 * one, a bio of one ordinary segment pays about a dozen instructions, each
 * further segment about ten, and each page of user memory as many when it is
 * extracted: page->flags has to be read. Looking at the first
 * segment alone would be cheaper, but wrong for bios put together by hand.
 * Remembering the answer in the bio would be wrong, too: clones share segments
 * and drivers replace them.
 *
 * Locking: none. Whoever submits I/O holds the memory, so its pages and their
 * dev_pagemap stay.
 */
#include <linux/bio.h>
#include <linux/blk-integrity.h>
#include <linux/blk-mq.h>
#include <linux/mm.h>

#include "blk-p2pdma.h"

/* The region that a page is in; NULL for ordinary memory */
static const struct dev_pagemap *page_region(const struct page *page)
{
	/* pgmap shares a word with compound_head: go through the head page */
	return is_pci_p2pdma_page(page) ? compound_head(page)->pgmap : NULL;
}

bool __blk_p2pdma_same_memory(const struct page *a, const struct page *b)
{
	return page_region(a) == page_region(b);
}

/*
 * Finds the region of a segment. A region is physically contiguous, so the
 * first and the last page tell. Return: false if the two differ.
 */
static bool segment_region(const struct bio_vec *bv,
			   const struct dev_pagemap **region)
{
	unsigned long first = bv->bv_offset / PAGE_SIZE;
	unsigned long last = (bv->bv_offset + max(bv->bv_len, 1) - 1) / PAGE_SIZE;

	*region = page_region(bv->bv_page + first);
	return first == last || page_region(bv->bv_page + last) == *region;
}

/*
 * Does a segment of @bio begin in a page of ZONE_DEVICE? Not in a bio of
 * ordinary memory, and this is all that such a bio pays. A segment that begins
 * in ordinary memory ends there, too: no allocation reaches into a BAR.
 */
static bool bio_in_zone_device(struct bio *bio)
{
	const struct bio_vec *bv = bio->bi_io_vec + bio->bi_iter.bi_idx;
	unsigned int left = bio->bi_iter.bi_size + bio->bi_iter.bi_bvec_done;

	if (!bio_has_data(bio))
		return false;

	for (; !is_zone_device_page(bv->bv_page); bv++) {
		if (left <= bv->bv_len)
			return false;
		left -= bv->bv_len;
	}
	return true;
}

/* As segment_region(), for all segments of @bio */
static bool bio_region(struct bio *bio, const struct dev_pagemap **region)
{
	const struct dev_pagemap *this;
	struct bvec_iter iter;
	struct bio_vec bv;
	bool first = true;

	*region = NULL;
	if (likely(!bio_in_zone_device(bio)))
		return true;

	bio_for_each_bvec(bv, bio, iter) {
		if (!segment_region(&bv, &this))
			return false;
		if (first)
			*region = this;
		else if (this != *region)
			return false;
		first = false;
	}
	return true;
}

static bool integrity_in_peer_memory(struct bio *bio)
{
	struct bio_integrity_payload *bip = bio_integrity(bio);
	struct bvec_iter iter;
	struct bio_vec bv;

	if (!bip)
		return false;
	for_each_bvec(bv, bip->bip_vec, iter, bip->bip_iter)
		if (is_pci_p2pdma_page(bv.bv_page))
			return true;
	return false;
}

static void say_refused(struct request_queue *q, const char *why)
{
	pr_notice_ratelimited("%s: refused I/O with peer-to-peer memory: %s\n",
			      q->disk ? q->disk->disk_name : "queue without disk",
			      why);
}

/* The whole truth about @bio, for blk_p2pdma_bio_allowed() */
bool __blk_p2pdma_bio_allowed(struct request_queue *q, struct bio *bio)
{
	const struct dev_pagemap *region;

	bio->bi_opf &= ~REQ_PCI_P2PDMA;

	if (!bio_region(bio, &region)) {
		say_refused(q, "mixed with other memory in one bio");
		return false;
	}
	if (integrity_in_peer_memory(bio)) {
		say_refused(q, "it is the integrity payload");
		return false;
	}
	if (!region)
		return true;
	if (!blk_queue_pci_p2pdma(q)) {
		say_refused(q, "the driver cannot take it");
		return false;
	}

	bio->bi_opf |= REQ_PCI_P2PDMA;
	return true;
}

bool __blk_p2pdma_in_bio(struct bio *bio)
{
	const struct dev_pagemap *region;

	return !bio_region(bio, &region) || region;
}

/* Both are marked: of one region? */
bool __blk_p2pdma_bios_mergeable(struct bio *a, struct bio *b)
{
	return __blk_p2pdma_same_memory(bio_page(a), bio_page(b));
}

static void mark_request(struct request *rq, const struct bio *bio)
{
	rq->cmd_flags &= ~REQ_PCI_P2PDMA;
	rq->cmd_flags |= bio->bi_opf & REQ_PCI_P2PDMA;
}

int __blk_p2pdma_append_bio(struct request *rq, struct bio *bio)
{
	if (!blk_p2pdma_bio_allowed(rq->q, bio))
		return -EOPNOTSUPP;

	if (!rq->bio)
		mark_request(rq, bio);
	else if (!blk_p2pdma_mergeable(rq->cmd_flags, rq->bio,
				       bio->bi_opf, bio))
		return -EINVAL;
	return 0;
}

/*
 * The bios of a request that did not go through submit_bio() can have come
 * from anywhere: look at them all, and at what the request says of itself.
 */
bool __blk_p2pdma_rq_allowed(struct request *rq)
{
	struct bio *bio;

	rq->cmd_flags &= ~REQ_PCI_P2PDMA;

	__rq_for_each_bio(bio, rq) {
		if (!blk_p2pdma_bio_allowed(rq->q, bio))
			return false;
		if (!blk_p2pdma_mergeable(rq->bio->bi_opf, rq->bio,
					  bio->bi_opf, bio)) {
			say_refused(rq->q, "mixed with other memory in one request");
			return false;
		}
	}
	if (rq->bio)
		mark_request(rq, rq->bio);
	return true;
}

/**
 * blk_p2pdma_same_bytes - find where user memory changes
 * @bio: the bio that the memory is to be added to
 * @pages: pages of the memory, at least one
 * @offset: bytes from the start of the first page to the memory
 * @size: bytes
 *
 * Return: how many bytes from the start are of one memory, the same as what
 * @bio has already. 0 if that is none, or if it is not all and @bio must not
 * be shortened.
 */
size_t blk_p2pdma_same_bytes(struct bio *bio, struct page **pages,
			     size_t offset, size_t size)
{
	unsigned long nr_pages = DIV_ROUND_UP(offset + size, PAGE_SIZE);
	const struct page *before = bio->bi_vcnt ?
		bio->bi_io_vec[bio->bi_vcnt - 1].bv_page : pages[0];
	const struct dev_pagemap *region;
	unsigned long i;

	/* Ordinary I/O pays for this loop and no more */
	for (i = 0; i < nr_pages && !is_zone_device_page(pages[i]); i++)
		;
	if (likely(i == nr_pages && !is_zone_device_page(before)))
		return size;

	region = page_region(before);
	for (i = 0; i < nr_pages; i++)
		if (page_region(pages[i]) != region)
			break;

	if (i == nr_pages)
		return size;
	if (!i || (bio->bi_opf & REQ_ATOMIC))
		return 0;
	return i * PAGE_SIZE - offset;
}

/*
 * Peer memory is in the kernel's linear mapping, but not everywhere is it
 * what virt_addr_valid() knows as memory.
 */
static bool in_peer_memory(const void *addr)
{
	unsigned long pfn;

	if (is_vmalloc_or_module_addr(addr) || (unsigned long)addr < PAGE_OFFSET)
		return false;
	pfn = PHYS_PFN(virt_to_phys((void *)addr));
	return pfn_valid(pfn) && is_pci_p2pdma_page(pfn_to_page(pfn));
}

bool __blk_p2pdma_in_buffer(const void *buf, unsigned int len)
{
	const void *last = buf + max(len, 1) - 1;

	return in_peer_memory(buf) || in_peer_memory(last);
}

/*
 * Only for what the kernel hands in: user memory is copied through the user's
 * own mapping, which its owner may do without our help.
 */
bool __blk_p2pdma_in_iter(const struct iov_iter *iter)
{
	const struct dev_pagemap *region;
	unsigned long i;

	if (iov_iter_is_bvec(iter)) {
		for (i = 0; i < iter->nr_segs; i++)
			if (!segment_region(&iter->bvec[i], &region) || region)
				return true;
	} else if (iov_iter_is_kvec(iter)) {
		for (i = 0; i < iter->nr_segs; i++)
			if (__blk_p2pdma_in_buffer(iter->kvec[i].iov_base,
						   iter->kvec[i].iov_len))
				return true;
	}
	return false;
}
