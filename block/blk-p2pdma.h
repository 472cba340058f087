/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Peer-to-peer memory in bios and requests: what the rest of block calls.
 * The rules, and why they are checked where they are, stand in blk-p2pdma.c.
 *
 * Each hook is a no-op until a provider registers memory, see
 * pci_p2pdma_enabled(). What follows then is laid out so that ordinary memory
 * leaves it after a few instructions.
 */
#ifndef BLK_P2PDMA_H
#define BLK_P2PDMA_H

#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/memremap.h>
#include <linux/uio.h>

bool __blk_p2pdma_bio_allowed(struct request_queue *q, struct bio *bio);
bool __blk_p2pdma_rq_allowed(struct request *rq);
bool __blk_p2pdma_in_bio(struct bio *bio);
bool __blk_p2pdma_same_memory(const struct page *a, const struct page *b);
bool __blk_p2pdma_bios_mergeable(struct bio *a, struct bio *b);
int __blk_p2pdma_append_bio(struct request *rq, struct bio *bio);
bool __blk_p2pdma_in_iter(const struct iov_iter *iter);
bool __blk_p2pdma_in_buffer(const void *buf, unsigned int len);
size_t blk_p2pdma_same_bytes(struct bio *bio, struct page **pages,
			     size_t offset, size_t size);

/*
 * May @bio go to @q? Marks it if it carries peer memory, and takes the mark
 * away if it does not. The caller has entered @q, whose limits cannot change.
 *
 * The bulk of ordinary I/O is one segment; that is told here without a call.
 * A mark on arrival may be wrong, and integrity payload has pages of its own.
 */
static __always_inline bool blk_p2pdma_bio_allowed(struct request_queue *q,
						   struct bio *bio)
{
	if (!pci_p2pdma_enabled())
		return true;
	if (likely(!(bio->bi_opf & (REQ_PCI_P2PDMA | REQ_INTEGRITY)) &&
		   bio->bi_vcnt == 1 &&
		   bio->bi_iter.bi_size <= bio->bi_io_vec->bv_len &&
		   !is_zone_device_page(bio->bi_io_vec->bv_page)))
		return true;
	return __blk_p2pdma_bio_allowed(q, bio);
}

/* Is @bio marked? Good after blk_p2pdma_bio_allowed(). */
static inline bool blk_bio_is_pci_p2pdma(const struct bio *bio)
{
	return pci_p2pdma_enabled() && (bio->bi_opf & REQ_PCI_P2PDMA);
}

/* Is peer memory in @bio? For those who see it before it enters a queue. */
static inline bool blk_p2pdma_in_bio(struct bio *bio)
{
	return pci_p2pdma_enabled() && __blk_p2pdma_in_bio(bio);
}

/* As blk_p2pdma_bio_allowed(), for requests that came without submit_bio() */
static inline bool blk_p2pdma_rq_allowed(struct request *rq)
{
	return !pci_p2pdma_enabled() || __blk_p2pdma_rq_allowed(rq);
}

/* May @page follow the last segment of @bio? */
static inline bool blk_p2pdma_may_follow(const struct bio *bio,
					 const struct page *page)
{
	const struct page *last;

	if (!pci_p2pdma_enabled() || !bio->bi_vcnt)
		return true;
	last = bio->bi_io_vec[bio->bi_vcnt - 1].bv_page;
	if (likely(!is_zone_device_page(page) && !is_zone_device_page(last)))
		return true;
	return __blk_p2pdma_same_memory(last, page);
}

/* As above, and may @page go to @q at all? */
static inline bool blk_p2pdma_may_follow_hw(struct request_queue *q,
					    const struct bio *bio,
					    const struct page *page)
{
	if (unlikely(is_pci_p2pdma_page(page)) && !blk_queue_pci_p2pdma(q))
		return false;
	return blk_p2pdma_may_follow(bio, page);
}

/* May the two be in one request? Flags are those of the request or bio. */
static inline bool blk_p2pdma_mergeable(blk_opf_t a_flags, struct bio *a,
					blk_opf_t b_flags, struct bio *b)
{
	if (!pci_p2pdma_enabled())
		return true;
	if (likely(!((a_flags | b_flags) & REQ_PCI_P2PDMA)))
		return true;
	return (a_flags & b_flags & REQ_PCI_P2PDMA) &&
		__blk_p2pdma_bios_mergeable(a, b);
}

/*
 * May @bio be appended to the passthrough request @rq? Marks both. Return: 0,
 * %-EOPNOTSUPP for memory that the queue cannot take, %-EINVAL for memory
 * other than what @rq has.
 */
static inline int blk_p2pdma_append_bio(struct request *rq, struct bio *bio)
{
	return pci_p2pdma_enabled() ? __blk_p2pdma_append_bio(rq, bio) : 0;
}

/* What user memory may be extracted to for I/O to @q */
static inline iov_iter_extraction_t
blk_p2pdma_extraction_flags(struct request_queue *q)
{
	if (pci_p2pdma_enabled() && blk_queue_pci_p2pdma(q))
		return ITER_ALLOW_P2PDMA;
	return 0;
}

/* Would the CPU have to read or write peer memory to copy @iter? */
static inline bool blk_p2pdma_in_iter(const struct iov_iter *iter)
{
	return pci_p2pdma_enabled() && __blk_p2pdma_in_iter(iter);
}

/* The same for @len bytes at the kernel virtual address @buf */
static inline bool blk_p2pdma_in_buffer(const void *buf, unsigned int len)
{
	return pci_p2pdma_enabled() && __blk_p2pdma_in_buffer(buf, len);
}

#endif /* BLK_P2PDMA_H */
