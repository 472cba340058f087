// SPDX-License-Identifier: GPL-2.0
/*
 * Test module: peer-to-peer memory in bios and requests, for block.sh
 *
 * Write one command into /sys/kernel/debug/p2pdma_block_test/command and read
 * its answer, words "key=value", through the same open file. The write fails
 * only if the command could not be tried; how the block layer took it is in
 * the answer: an errno or 0 behind "status" and "map".
 *
 * The module brings two disks whose driver does nothing but look at what it is
 * given: p2pblkmq (requests) and p2pblkbio (bios). A disk with the feature
 * counts what it sees, how much of that is marked REQ_PCI_P2PDMA, and as
 * "wrong" whatever breaks a promise of the block layer: payload of more than
 * one memory, a mark that does not fit the payload, or peer memory at a queue
 * without the feature.
 *
 * Payload is described by words KIND SIZE [+OFFSET], one for each segment:
 *
 *	h	ordinary memory
 *	A, B	memory of the provider that "provider A" or "provider B" named
 *	a	memory of provider A in a region other than that of the first A
 *	S	memory of provider A across the border of two adjacent regions of
 *		SIZE each: its last page of one, its first page of the other
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bio.h>
#include <linux/blk-integrity.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/memremap.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci-p2pdma.h>
#include <linux/pci.h>
#include <linux/random.h>
#include <linux/seq_buf.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uio.h>

#define MAX_SEGMENTS	16
#define MAX_SEARCH	4096
#define DISK_SECTORS	(SZ_64M >> SECTOR_SHIFT)

/* One command at a time. */
static DEFINE_MUTEX(command_lock);
static struct dentry *debugfs_dir;
static struct pci_dev *providers[2];

/* --- disks that look --- */

struct test_disk {
	struct gendisk *disk;
	struct blk_mq_tag_set set;
	atomic_t seen;
	atomic_t marked;
	atomic_t wrong;
};

static struct test_disk mq_disk, bio_disk;

static struct dev_pagemap *region_of(struct page *page)
{
	return is_pci_p2pdma_page(page) ? compound_head(page)->pgmap : NULL;
}

/* Looks at every page. Return: false if the bio is of more than one memory. */
static bool one_memory(struct bio *bio, struct dev_pagemap **region, bool *first)
{
	struct bvec_iter iter;
	struct bio_vec bv;

	if (!bio_has_data(bio))
		return true;
	bio_for_each_segment(bv, bio, iter) {
		struct dev_pagemap *this = region_of(bv.bv_page);

		if (*first)
			*region = this;
		else if (this != *region)
			return false;
		*first = false;
	}
	return true;
}

static void look(struct test_disk *test, struct bio *bios, bool marked)
{
	struct dev_pagemap *region = NULL;
	struct bio *bio;
	bool first = true, ok = true;

	for (bio = bios; bio; bio = bio->bi_next)
		if (!one_memory(bio, &region, &first))
			ok = false;
	if (marked != !!region ||
	    (marked && !blk_queue_pci_p2pdma(test->disk->queue)))
		ok = false;

	atomic_inc(&test->seen);
	if (marked)
		atomic_inc(&test->marked);
	if (!ok)
		atomic_inc(&test->wrong);
}

static blk_status_t mq_queue_rq(struct blk_mq_hw_ctx *hctx,
				const struct blk_mq_queue_data *bd)
{
	blk_mq_start_request(bd->rq);
	look(hctx->queue->queuedata, bd->rq->bio, blk_rq_is_pci_p2pdma(bd->rq));
	blk_mq_end_request(bd->rq, BLK_STS_OK);
	return BLK_STS_OK;
}

static const struct blk_mq_ops mq_ops = {
	.queue_rq = mq_queue_rq,
};

static void bio_submit(struct bio *bio)
{
	struct bio *next = bio->bi_next;

	bio->bi_next = NULL;
	look(&bio_disk, bio, bio->bi_opf & REQ_PCI_P2PDMA);
	bio->bi_next = next;
	bio_endio(bio);
}

static const struct block_device_operations mq_fops = {
	.owner = THIS_MODULE,
};

static const struct block_device_operations bio_fops = {
	.owner = THIS_MODULE,
	.submit_bio = bio_submit,
};

static int add_test_disk(struct test_disk *test, struct gendisk *disk,
			 const char *name,
			 const struct block_device_operations *fops)
{
	int err;

	if (IS_ERR(disk))
		return PTR_ERR(disk);
	strscpy(disk->disk_name, name);
	disk->flags |= GENHD_FL_NO_PART;
	disk->fops = fops;
	disk->queue->queuedata = test;
	set_capacity(disk, DISK_SECTORS);
	test->disk = disk;
	err = add_disk(disk);
	if (err) {
		test->disk = NULL;
		put_disk(disk);
	}
	return err;
}

static void del_test_disk(struct test_disk *test)
{
	if (!test->disk)
		return;
	del_gendisk(test->disk);
	put_disk(test->disk);
	test->disk = NULL;
	if (test->set.ops)
		blk_mq_free_tag_set(&test->set);
	memset(&test->set, 0, sizeof(test->set));
}

static int add_test_disks(void)
{
	/* As NVMe has it: buffers need not be aligned to blocks. */
	struct queue_limits lim = { .dma_alignment = 3 };
	int err;

	mq_disk.set = (struct blk_mq_tag_set){
		.ops = &mq_ops,
		.nr_hw_queues = 1,
		.queue_depth = 64,
		.numa_node = NUMA_NO_NODE,
		.flags = BLK_MQ_F_SHOULD_MERGE,
	};
	err = blk_mq_alloc_tag_set(&mq_disk.set);
	if (err)
		return err;
	err = add_test_disk(&mq_disk,
			    blk_mq_alloc_disk(&mq_disk.set, &lim, &mq_disk),
			    "p2pblkmq", &mq_fops);
	if (err) {
		blk_mq_free_tag_set(&mq_disk.set);
		return err;
	}
	err = add_test_disk(&bio_disk, blk_alloc_disk(&lim, NUMA_NO_NODE),
			    "p2pblkbio", &bio_fops);
	if (err)
		del_test_disk(&mq_disk);
	return err;
}

static void forget_counts(void)
{
	atomic_set(&mq_disk.seen, 0);
	atomic_set(&mq_disk.marked, 0);
	atomic_set(&mq_disk.wrong, 0);
	atomic_set(&bio_disk.seen, 0);
	atomic_set(&bio_disk.marked, 0);
	atomic_set(&bio_disk.wrong, 0);
}

static void show_counts(struct seq_buf *out)
{
	seq_buf_printf(out, "seen=%d marked=%d wrong=%d\n",
		       atomic_read(&mq_disk.seen) + atomic_read(&bio_disk.seen),
		       atomic_read(&mq_disk.marked) +
		       atomic_read(&bio_disk.marked),
		       atomic_read(&mq_disk.wrong) +
		       atomic_read(&bio_disk.wrong));
}

static void show_number(struct seq_buf *out, const char *key, int err)
{
	seq_buf_printf(out, "%s=%d ", key, err);
}

static int set_feature(struct request_queue *q, bool on)
{
	struct queue_limits lim = queue_limits_start_update(q);

	if (on)
		lim.features |= BLK_FEAT_PCI_P2PDMA;
	else
		lim.features &= ~BLK_FEAT_PCI_P2PDMA;
	return queue_limits_commit_update_frozen(q, &lim);
}

static struct gendisk *test_disk_named(const char *name)
{
	if (!strcmp(name, "mq"))
		return mq_disk.disk;
	if (!strcmp(name, "bio"))
		return bio_disk.disk;
	return NULL;
}

/* feature mq|bio 0|1 */
static int cmd_feature(int argc, char **argv, struct seq_buf *out)
{
	struct gendisk *disk = test_disk_named(argv[1]);
	bool on;

	if (!disk || kstrtobool(argv[2], &on))
		return -EINVAL;
	return set_feature(disk->queue, on);
}

/*
 * integrity none|check|unchecked: the CPU generates and verifies checksums of
 * what goes to p2pblkmq, or somebody else does
 */
static int cmd_integrity(int argc, char **argv, struct seq_buf *out)
{
	struct request_queue *q = mq_disk.disk->queue;
	struct queue_limits lim = queue_limits_start_update(q);

	memset(&lim.integrity, 0, sizeof(lim.integrity));
	lim.max_integrity_segments = 1;
	if (strcmp(argv[1], "none")) {
		lim.integrity.csum_type = BLK_INTEGRITY_CSUM_CRC;
		lim.integrity.tuple_size = 8;
		lim.integrity.interval_exp = 9;
		if (!strcmp(argv[1], "unchecked"))
			lim.integrity.flags = BLK_INTEGRITY_NOVERIFY |
					      BLK_INTEGRITY_NOGENERATE;
	}
	return queue_limits_commit_update_frozen(q, &lim);
}

/* bounce: a queue that bounces; does it keep the feature? */
static int cmd_bounce(int argc, char **argv, struct seq_buf *out)
{
	struct queue_limits lim = {
		.features = BLK_FEAT_BOUNCE_HIGH | BLK_FEAT_PCI_P2PDMA,
	};
	struct gendisk *disk = blk_alloc_disk(&lim, NUMA_NO_NODE);

	if (IS_ERR(disk))
		return PTR_ERR(disk);
	seq_buf_printf(out, "feature=%d\n",
		       !!blk_queue_pci_p2pdma(disk->queue));
	put_disk(disk);
	return 0;
}

/* stack: what a stacked queue has; driver asked or not, above one with or not */
static int cmd_stack(int argc, char **argv, struct seq_buf *out)
{
	struct queue_limits with = mq_disk.disk->queue->limits;
	struct queue_limits without = with;
	struct queue_limits top;
	int asked;

	with.features |= BLK_FEAT_PCI_P2PDMA;
	without.features &= ~BLK_FEAT_PCI_P2PDMA;
	for (asked = 0; asked < 2; asked++) {
		const char *key = asked ? "asked" : "not-asked";

		blk_set_stacking_limits(&top);
		if (asked)
			top.features |= BLK_FEAT_PCI_P2PDMA;
		blk_stack_limits(&top, &with, 0);
		seq_buf_printf(out, "%s-with=%d ", key,
			       !!(top.features & BLK_FEAT_PCI_P2PDMA));
		blk_stack_limits(&top, &without, 0);
		seq_buf_printf(out, "%s-with-without=%d ", key,
			       !!(top.features & BLK_FEAT_PCI_P2PDMA));
		blk_stack_limits(&top, &with, 0);
		seq_buf_printf(out, "%s-with-without-with=%d ", key,
			       !!(top.features & BLK_FEAT_PCI_P2PDMA));
	}
	return 0;
}

/* has DISK: does its queue have the feature? */
static int cmd_has(int argc, char **argv, struct seq_buf *out)
{
	struct file *file = bdev_file_open_by_path(argv[1], BLK_OPEN_READ, NULL,
						   NULL);

	if (IS_ERR(file))
		return PTR_ERR(file);
	seq_buf_printf(out, "feature=%d\n",
		       !!blk_queue_pci_p2pdma(bdev_get_queue(file_bdev(file))));
	bdev_fput(file);
	return 0;
}

/* counts: what the test disks saw since the last "counts" or other command */
static int cmd_counts(int argc, char **argv, struct seq_buf *out)
{
	show_counts(out);
	forget_counts();
	return 0;
}

/* --- payload --- */

struct segment {
	struct page *page;
	unsigned int offset;
	unsigned int len;
	/* What is to be freed: ordinary memory if there is no provider. */
	struct pci_dev *provider;
	void *addr[2];
	size_t size;
};

struct payload {
	struct segment seg[MAX_SEGMENTS];
	unsigned int nr;
	unsigned int bytes;
};

static void free_payload(struct payload *payload)
{
	unsigned int i, j;

	for (i = 0; i < payload->nr; i++) {
		struct segment *seg = &payload->seg[i];

		for (j = 0; j < ARRAY_SIZE(seg->addr); j++) {
			if (!seg->addr[j])
				continue;
			if (seg->provider)
				pci_free_p2pmem(seg->provider, seg->addr[j],
						seg->size);
			else
				free_pages_exact(seg->addr[j], seg->size);
		}
	}
	kfree(payload);
}

/* Memory of a region other than that of @not; what lies before is skipped. */
static void *alloc_other_region(struct pci_dev *pdev, size_t size,
				struct page *not)
{
	void *addr = NULL, **skipped;
	unsigned int i, nr = 0;

	skipped = kcalloc(MAX_SEARCH, sizeof(*skipped), GFP_KERNEL);
	if (!skipped)
		return NULL;
	while (nr < MAX_SEARCH) {
		addr = pci_alloc_p2pmem(pdev, size);
		if (!addr || region_of(virt_to_page(addr)) != region_of(not))
			break;
		skipped[nr++] = addr;
		addr = NULL;
	}
	for (i = 0; i < nr; i++)
		pci_free_p2pmem(pdev, skipped[i], size);
	kfree(skipped);
	return addr;
}

static int alloc_border(struct segment *seg)
{
	void *low = pci_alloc_p2pmem(seg->provider, seg->size);
	void *high = pci_alloc_p2pmem(seg->provider, seg->size);

	seg->addr[0] = low;
	seg->addr[1] = high;
	if (!low || !high)
		return -ENOMEM;
	if (low > high)
		swap(low, high);
	if (low + seg->size != high ||
	    region_of(virt_to_page(low)) == region_of(virt_to_page(high)))
		return -EXDEV;
	seg->page = virt_to_page(high - PAGE_SIZE);
	seg->len = 2 * PAGE_SIZE;
	return 0;
}

static int alloc_segment(struct payload *payload, struct segment *seg,
			 const char *word)
{
	struct page *not = NULL;
	unsigned int i;
	char *end;
	u64 len;

	len = memparse(word + 1, &end);
	if (*end == '+')
		seg->offset = memparse(end + 1, &end);
	if (*end || !len || len > SZ_16M || seg->offset >= PAGE_SIZE)
		return -EINVAL;
	seg->len = len;
	seg->size = PAGE_ALIGN(seg->offset + len);

	if (*word == 'h') {
		seg->addr[0] = alloc_pages_exact(seg->size, GFP_KERNEL);
	} else {
		seg->provider = providers[*word == 'B'];
		if (!seg->provider)
			return -ENODEV;
	}
	switch (*word) {
	case 'h':
		break;
	case 'A':
	case 'B':
		seg->addr[0] = pci_alloc_p2pmem(seg->provider, seg->size);
		break;
	case 'a':
		for (i = 0; i < payload->nr && !not; i++)
			if (payload->seg[i].provider == seg->provider)
				not = payload->seg[i].page;
		if (!not)
			return -EINVAL;
		seg->addr[0] = alloc_other_region(seg->provider, seg->size, not);
		break;
	case 'S':
		return alloc_border(seg);
	default:
		return -EINVAL;
	}
	if (!seg->addr[0])
		return -ENOMEM;
	seg->page = virt_to_page(seg->addr[0]);
	return 0;
}

static struct payload *alloc_payload(int argc, char **argv)
{
	struct payload *payload;
	int i, err;

	if (!argc || argc > MAX_SEGMENTS)
		return ERR_PTR(-EINVAL);
	payload = kzalloc(sizeof(*payload), GFP_KERNEL);
	if (!payload)
		return ERR_PTR(-ENOMEM);
	for (i = 0; i < argc; i++) {
		err = alloc_segment(payload, &payload->seg[i], argv[i]);
		/* So that what it has is freed. */
		payload->nr = i + 1;
		payload->bytes += payload->seg[i].len;
		if (err) {
			free_payload(payload);
			return ERR_PTR(err);
		}
	}
	return payload;
}

static void *segment_addr(struct segment *seg)
{
	return page_address(seg->page) + seg->offset;
}

static void put_bytes(struct segment *seg, const void *from)
{
	if (seg->provider)
		memcpy_toio((void __iomem *)segment_addr(seg), from, seg->len);
	else
		memcpy(segment_addr(seg), from, seg->len);
}

static void get_bytes(struct segment *seg, void *to)
{
	if (seg->provider)
		memcpy_fromio(to, (void __iomem *)segment_addr(seg), seg->len);
	else
		memcpy(to, segment_addr(seg), seg->len);
}

static void fill_payload(struct payload *payload, const void *from)
{
	unsigned int i;

	for (i = 0; i < payload->nr; i++) {
		put_bytes(&payload->seg[i], from);
		from += payload->seg[i].len;
	}
}

static void read_payload(struct payload *payload, void *to)
{
	unsigned int i;

	for (i = 0; i < payload->nr; i++) {
		get_bytes(&payload->seg[i], to);
		to += payload->seg[i].len;
	}
}

/* --- bios --- */

/*
 * A bio and what it needs. How it is built:
 *
 * add		bio_add_page()
 * hw		bio_add_pc_page(), for passthrough
 * nofail	__bio_add_page(), which cannot refuse
 * hand		segments written into bi_io_vec
 * iter		bio_iov_iter_get_pages() from an iterator over bvecs
 * clone	by hand, and then the clone is used
 * tail		by hand, and then advanced past the first segment
 */
struct built {
	struct bio *bio;
	struct bio *below;
	union {
		struct bio_vec bvecs[MAX_SEGMENTS];
		struct kvec kvecs[MAX_SEGMENTS];
	};
	struct payload *payload;
	/* Segments that the builder did not take; it stops at the first. */
	unsigned int refused;
	struct completion done;
	blk_status_t status;
};

static void set_bvec(struct bio_vec *bv, struct segment *seg)
{
	bvec_set_page(bv, seg->page, seg->len, seg->offset);
}

static void build_by_hand(struct built *built)
{
	struct payload *payload = built->payload;
	struct bio *bio = built->bio;
	unsigned int i;

	for (i = 0; i < payload->nr; i++)
		set_bvec(&bio->bi_io_vec[i], &payload->seg[i]);
	bio->bi_vcnt = payload->nr;
	bio->bi_iter.bi_size = payload->bytes;
}

static void build_by_adding(struct built *built, struct request_queue *q)
{
	struct payload *payload = built->payload;
	unsigned int i, added;

	for (i = 0; i < payload->nr; i++) {
		struct segment *seg = &payload->seg[i];

		if (q)
			added = bio_add_pc_page(q, built->bio, seg->page,
						seg->len, seg->offset);
		else
			added = bio_add_page(built->bio, seg->page, seg->len,
					     seg->offset);
		if (added != seg->len) {
			built->refused = payload->nr - i;
			break;
		}
	}
}

static int build_by_iterator(struct built *built)
{
	struct payload *payload = built->payload;
	struct iov_iter iter;
	unsigned int i;

	for (i = 0; i < payload->nr; i++)
		set_bvec(&built->bvecs[i], &payload->seg[i]);
	iov_iter_bvec(&iter, op_is_write(built->bio->bi_opf) ?
		      ITER_SOURCE : ITER_DEST, built->bvecs, payload->nr,
		      payload->bytes);
	return bio_iov_iter_get_pages(built->bio, &iter);
}

static void free_bio(struct built *built)
{
	if (built->bio)
		bio_put(built->bio);
	if (built->below)
		bio_put(built->below);
	built->bio = NULL;
	built->below = NULL;
}

static int build_bio(struct built *built, const char *how,
		     struct block_device *bdev, blk_opf_t opf,
		     struct payload *payload)
{
	unsigned int i;
	int err = 0;

	memset(built, 0, sizeof(*built));
	built->payload = payload;
	built->bio = bio_alloc(bdev, strcmp(how, "iter") ? payload->nr : 0, opf,
			       GFP_KERNEL);

	if (!strcmp(how, "add")) {
		build_by_adding(built, NULL);
	} else if (!strcmp(how, "hw")) {
		build_by_adding(built, bdev_get_queue(bdev));
	} else if (!strcmp(how, "nofail")) {
		for (i = 0; i < payload->nr; i++)
			__bio_add_page(built->bio, payload->seg[i].page,
				       payload->seg[i].len,
				       payload->seg[i].offset);
	} else if (!strcmp(how, "hand")) {
		build_by_hand(built);
	} else if (!strcmp(how, "iter")) {
		err = build_by_iterator(built);
	} else if (!strcmp(how, "clone")) {
		build_by_hand(built);
		built->below = built->bio;
		built->bio = bio_alloc_clone(bdev, built->below, GFP_KERNEL,
					     &fs_bio_set);
	} else if (!strcmp(how, "tail")) {
		build_by_hand(built);
		bio_advance(built->bio, payload->seg[0].len);
	} else {
		err = -EINVAL;
	}
	if (err)
		free_bio(built);
	return err;
}

/* read, write; with "!" the submitter says that it is peer memory */
static int parse_op(const char *word, blk_opf_t *opf)
{
	size_t len = strcspn(word, "!");

	if (!strncmp(word, "read", len))
		*opf = REQ_OP_READ;
	else if (!strncmp(word, "write", len))
		*opf = REQ_OP_WRITE;
	else
		return -EINVAL;
	if (word[len])
		*opf |= REQ_PCI_P2PDMA;
	return 0;
}

static struct file *open_disk(const char *path)
{
	return bdev_file_open_by_path(path, BLK_OPEN_READ | BLK_OPEN_WRITE, NULL,
				      NULL);
}

/* io DISK OP HOW SEGMENT...: one bio */
static int cmd_io(int argc, char **argv, struct seq_buf *out)
{
	struct payload *payload;
	struct built built;
	struct file *file;
	blk_opf_t opf;
	int err;

	if (parse_op(argv[2], &opf))
		return -EINVAL;
	payload = alloc_payload(argc - 4, argv + 4);
	if (IS_ERR(payload))
		return PTR_ERR(payload);
	file = open_disk(argv[1]);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto out_free;
	}
	forget_counts();
	err = build_bio(&built, argv[3], file_bdev(file), opf, payload);
	if (err)
		goto out_close;

	seq_buf_printf(out, "refused=%u ", built.refused);
	show_number(out, "status", submit_bio_wait(built.bio));
	show_counts(out);
	free_bio(&built);
out_close:
	bdev_fput(file);
out_free:
	free_payload(payload);
	return err;
}

/* Moves @buf to or from the start of a disk, with ordinary memory. */
static int plain_io(struct block_device *bdev, blk_opf_t opf, void *buf,
		    unsigned int len)
{
	struct bio *bio = bio_alloc(bdev, 1, opf, GFP_KERNEL);
	int err;

	__bio_add_page(bio, virt_to_page(buf), len, offset_in_page(buf));
	err = submit_bio_wait(bio);
	bio_put(bio);
	return err;
}

static int payload_io(struct block_device *bdev, blk_opf_t opf, const char *how,
		      struct payload *payload)
{
	struct built built;
	int err;

	err = build_bio(&built, how, bdev, opf, payload);
	if (err)
		return err;
	err = built.refused ? -EMSGSIZE : submit_bio_wait(built.bio);
	free_bio(&built);
	return err;
}

static int compare(struct block_device *bdev, const char *how,
		   struct payload *payload, u8 *want, u8 *have)
{
	unsigned int len = payload->bytes;
	int err;

	/* From the payload to the disk */
	get_random_bytes(want, len);
	memset(have, 0, len);
	err = plain_io(bdev, REQ_OP_WRITE, have, len);
	if (err)
		return err;
	fill_payload(payload, want);
	err = payload_io(bdev, REQ_OP_WRITE, how, payload);
	if (err)
		return err;
	err = plain_io(bdev, REQ_OP_READ, have, len);
	if (err)
		return err;
	if (memcmp(want, have, len))
		return -EBADMSG;

	/* And from the disk to the payload */
	get_random_bytes(want, len);
	err = plain_io(bdev, REQ_OP_WRITE, want, len);
	if (err)
		return err;
	err = payload_io(bdev, REQ_OP_READ, how, payload);
	if (err)
		return err;
	memset(have, 0, len);
	read_payload(payload, have);
	return memcmp(want, have, len) ? -EBADMSG : 0;
}

/* data DISK HOW SEGMENT...: both ways, compared; -EBADMSG if it differs */
static int cmd_data(int argc, char **argv, struct seq_buf *out)
{
	struct payload *payload;
	void *want, *have;
	struct file *file;
	int err = -ENOMEM;

	payload = alloc_payload(argc - 3, argv + 3);
	if (IS_ERR(payload))
		return PTR_ERR(payload);
	want = alloc_pages_exact(payload->bytes, GFP_KERNEL);
	have = alloc_pages_exact(payload->bytes, GFP_KERNEL);
	if (!want || !have)
		goto out_free;
	file = open_disk(argv[1]);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto out_free;
	}
	forget_counts();
	err = compare(file_bdev(file), argv[2], payload, want, have);
	show_number(out, "status", err);
	show_counts(out);
	bdev_fput(file);
	err = 0;
out_free:
	if (have)
		free_pages_exact(have, payload->bytes);
	if (want)
		free_pages_exact(want, payload->bytes);
	free_payload(payload);
	return err;
}

/* --- merging --- */

static void merge_end_io(struct bio *bio)
{
	struct built *built = bio->bi_private;

	built->status = bio->bi_status;
	complete(&built->done);
}

/*
 * merge SEGMENT...: one bio for each segment, adjacent on the disk p2pblkmq,
 * plugged; "seen" says how many requests came out of it
 */
static int cmd_merge(int argc, char **argv, struct seq_buf *out)
{
	struct block_device *bdev = mq_disk.disk->part0;
	unsigned int nr = argc - 1, i, built_nr = 0;
	struct payload *payloads[MAX_SEGMENTS];
	blk_status_t status = BLK_STS_OK;
	struct blk_plug plug;
	struct built *built;
	sector_t sector = 0;
	int err = 0;

	if (nr > MAX_SEGMENTS)
		return -EINVAL;
	built = kcalloc(nr, sizeof(*built), GFP_KERNEL);
	if (!built)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		payloads[i] = alloc_payload(1, argv + 1 + i);
		if (IS_ERR(payloads[i])) {
			err = PTR_ERR(payloads[i]);
			goto out_free;
		}
		built_nr++;
	}

	forget_counts();
	for (i = 0; i < nr; i++) {
		build_bio(&built[i], "hand", bdev, REQ_OP_WRITE, payloads[i]);
		init_completion(&built[i].done);
		built[i].bio->bi_private = &built[i];
		built[i].bio->bi_end_io = merge_end_io;
		built[i].bio->bi_iter.bi_sector = sector;
		sector += bio_sectors(built[i].bio);
	}
	blk_start_plug(&plug);
	for (i = 0; i < nr; i++)
		submit_bio(built[i].bio);
	blk_finish_plug(&plug);
	for (i = 0; i < nr; i++) {
		wait_for_completion(&built[i].done);
		if (built[i].status)
			status = built[i].status;
		free_bio(&built[i]);
	}
	show_number(out, "status", blk_status_to_errno(status));
	show_counts(out);
out_free:
	while (built_nr)
		free_payload(payloads[--built_nr]);
	kfree(built);
	return err;
}

/* --- requests that never were a submitted bio --- */

static enum rq_end_io_ret request_end_io(struct request *rq, blk_status_t status)
{
	struct built *built = rq->end_io_data;

	built->status = status;
	complete(&built->done);
	return RQ_END_IO_NONE;
}

/* Each way leaves @rq with bios that request_bios_put() can put. */
static void request_bios_put(struct built *built, unsigned int nr)
{
	while (nr)
		free_bio(&built[--nr]);
}

/*
 * pass HOW wait|nowait SEGMENT...: a passthrough request to p2pblkmq, of which
 * the submitter says that it is peer memory. HOW the memory gets into it:
 *
 * prep		one bio by hand, blk_rq_bio_prep(), which does not look
 * append	one bio for each segment, blk_rq_append_bio()
 * chain	the same, the bios linked by hand
 * iter		blk_rq_map_user_iov() with an iterator over bvecs
 * kvec		the same with addresses, which is always copied
 * kernel	blk_rq_map_kern() with the address of the first segment
 */
static void chain_bio(struct request *rq, struct bio *bio)
{
	if (!rq->bio) {
		blk_rq_bio_prep(rq, bio, 1);
		return;
	}
	rq->nr_phys_segments++;
	rq->__data_len += bio->bi_iter.bi_size;
	rq->biotail->bi_next = bio;
	rq->biotail = bio;
}

static int map_request(struct request *rq, const char *how,
		       struct payload *payload, struct built *built,
		       unsigned int *nr)
{
	struct block_device *bdev = mq_disk.disk->part0;
	struct iov_iter iter;
	/* Only while the bio is built; command_lock is held */
	static struct payload one;
	unsigned int i;
	int err;

	if (!strcmp(how, "prep")) {
		err = build_bio(built, "hand", bdev, REQ_OP_DRV_OUT, payload);
		if (err)
			return err;
		*nr = 1;
		blk_rq_bio_prep(rq, built->bio, payload->nr);
		return 0;
	}
	if (!strcmp(how, "append") || !strcmp(how, "chain")) {
		for (i = 0; i < payload->nr; i++) {
			one.seg[0] = payload->seg[i];
			one.nr = 1;
			one.bytes = one.seg[0].len;
			err = build_bio(&built[i], "hand", bdev, REQ_OP_DRV_OUT,
					&one);
			if (err)
				return err;
			(*nr)++;
			if (!strcmp(how, "chain")) {
				chain_bio(rq, built[i].bio);
				continue;
			}
			err = blk_rq_append_bio(rq, built[i].bio);
			if (err)
				return err;
		}
		return 0;
	}
	if (!strcmp(how, "iter")) {
		for (i = 0; i < payload->nr; i++)
			set_bvec(&built->bvecs[i], &payload->seg[i]);
		iov_iter_bvec(&iter, ITER_SOURCE, built->bvecs, payload->nr,
			      payload->bytes);
		return blk_rq_map_user_iov(rq->q, rq, NULL, &iter, GFP_KERNEL);
	}
	if (!strcmp(how, "kvec")) {
		for (i = 0; i < payload->nr; i++)
			built->kvecs[i] = (struct kvec) {
				segment_addr(&payload->seg[i]),
				payload->seg[i].len
			};
		iov_iter_kvec(&iter, ITER_SOURCE, built->kvecs, payload->nr,
			      payload->bytes);
		return blk_rq_map_user_iov(rq->q, rq, NULL, &iter, GFP_KERNEL);
	}
	if (!strcmp(how, "kernel"))
		return blk_rq_map_kern(rq->q, rq, segment_addr(&payload->seg[0]),
				       payload->seg[0].len, GFP_KERNEL);
	return -EINVAL;
}

static int cmd_pass(int argc, char **argv, struct seq_buf *out)
{
	bool nowait = !strcmp(argv[2], "nowait");
	struct request_queue *q = mq_disk.disk->queue;
	struct payload *payload;
	struct bio *mapped = NULL;
	struct request *rq;
	struct built *built;
	unsigned int nr = 0;
	int err = -ENOMEM;

	payload = alloc_payload(argc - 3, argv + 3);
	if (IS_ERR(payload))
		return PTR_ERR(payload);
	built = kcalloc(MAX_SEGMENTS, sizeof(*built), GFP_KERNEL);
	if (!built)
		goto out_payload;
	rq = blk_mq_alloc_request(q, REQ_OP_DRV_OUT | REQ_PCI_P2PDMA, 0);
	if (IS_ERR(rq)) {
		err = PTR_ERR(rq);
		goto out_built;
	}

	forget_counts();
	err = map_request(rq, argv[1], payload, built, &nr);
	show_number(out, "map", err);
	if (!err) {
		if (!strcmp(argv[1], "iter") || !strcmp(argv[1], "kvec"))
			mapped = rq->bio;
		init_completion(&built->done);
		if (nowait) {
			rq->end_io = request_end_io;
			rq->end_io_data = built;
			blk_execute_rq_nowait(rq, false);
			wait_for_completion(&built->done);
		} else {
			built->status = blk_execute_rq(rq, false);
		}
		show_number(out, "status", blk_status_to_errno(built->status));
		if (mapped)
			blk_rq_unmap_user(mapped);
	}
	show_counts(out);
	rq->bio = NULL;
	blk_mq_free_request(rq);
	request_bios_put(built, nr);
	err = 0;
out_built:
	kfree(built);
out_payload:
	free_payload(payload);
	return err;
}

#ifdef CONFIG_BLK_MQ_STACKING
/* cloned SEGMENT...: what request-based stacking does below submit_bio() */
static int cmd_cloned(int argc, char **argv, struct seq_buf *out)
{
	struct payload *payload;
	struct built *built;
	struct request *rq;
	blk_status_t status;
	int err = -ENOMEM;

	payload = alloc_payload(argc - 1, argv + 1);
	if (IS_ERR(payload))
		return PTR_ERR(payload);
	built = kzalloc(sizeof(*built), GFP_KERNEL);
	if (!built)
		goto out_payload;
	err = build_bio(built, "clone", mq_disk.disk->part0, REQ_OP_WRITE,
			payload);
	if (err)
		goto out_built;
	rq = blk_mq_alloc_request(mq_disk.disk->queue, REQ_OP_WRITE, 0);
	if (IS_ERR(rq)) {
		err = PTR_ERR(rq);
		goto out_bio;
	}

	forget_counts();
	rq->__sector = 0;
	blk_rq_bio_prep(rq, built->bio, payload->nr);
	rq->end_io = request_end_io;
	rq->end_io_data = built;
	init_completion(&built->done);
	status = blk_insert_cloned_request(rq);
	if (!status) {
		wait_for_completion(&built->done);
		status = built->status;
	}
	show_number(out, "status", blk_status_to_errno(status));
	show_counts(out);
	rq->bio = NULL;
	blk_mq_free_request(rq);
out_bio:
	free_bio(built);
out_built:
	kfree(built);
out_payload:
	free_payload(payload);
	return err;
}
#endif

/* --- integrity payload --- */

/*
 * tuples add|hand SEGMENT: a page of ordinary data for p2pblkmq, whose
 * integrity payload is the segment
 */
static int cmd_tuples(int argc, char **argv, struct seq_buf *out)
{
	struct block_device *bdev = mq_disk.disk->part0;
	struct payload *payload, *data;
	struct bio_integrity_payload *bip;
	char *data_word = "h4096";
	struct built built;
	int err;

	payload = alloc_payload(1, argv + 2);
	if (IS_ERR(payload))
		return PTR_ERR(payload);
	data = alloc_payload(1, &data_word);
	if (IS_ERR(data)) {
		err = PTR_ERR(data);
		goto out_payload;
	}
	err = build_bio(&built, "add", bdev, REQ_OP_WRITE, data);
	if (err)
		goto out_data;
	bip = bio_integrity_alloc(built.bio, GFP_KERNEL, 1);
	if (IS_ERR(bip)) {
		err = PTR_ERR(bip);
		goto out_bio;
	}

	forget_counts();
	if (!strcmp(argv[1], "add")) {
		seq_buf_printf(out, "added=%d ",
			       bio_integrity_add_page(built.bio,
						      payload->seg[0].page, 64,
						      0));
	} else {
		bvec_set_page(bip->bip_vec, payload->seg[0].page, 64, 0);
		bip->bip_vcnt = 1;
		bip->bip_iter.bi_size = 64;
		show_number(out, "status", submit_bio_wait(built.bio));
	}
	show_counts(out);
out_bio:
	free_bio(&built);
out_data:
	free_payload(data);
out_payload:
	free_payload(payload);
	return err;
}

/* --- a queue that loses the feature --- */

struct flood {
	struct payload *payload;
	struct block_device *bdev;
	atomic_t ok;
	atomic_t refused;
	atomic_t other;
};

static int flood_thread(void *data)
{
	struct flood *flood = data;

	while (!kthread_should_stop()) {
		switch (payload_io(flood->bdev, REQ_OP_WRITE, "hand",
				   flood->payload)) {
		case 0:
			atomic_inc(&flood->ok);
			break;
		case -EOPNOTSUPP:
			atomic_inc(&flood->refused);
			break;
		default:
			atomic_inc(&flood->other);
		}
		cond_resched();
	}
	return 0;
}

/* flip mq|bio COUNT SEGMENT...: take the feature away and give it back */
static int cmd_flip(int argc, char **argv, struct seq_buf *out)
{
	struct gendisk *disk = test_disk_named(argv[1]);
	struct flood flood = {};
	struct task_struct *task;
	unsigned int count, i;
	int err = 0;

	if (!disk || kstrtouint(argv[2], 0, &count))
		return -EINVAL;
	flood.bdev = disk->part0;
	flood.payload = alloc_payload(argc - 3, argv + 3);
	if (IS_ERR(flood.payload))
		return PTR_ERR(flood.payload);
	forget_counts();
	task = kthread_run(flood_thread, &flood, "p2pdma_block_flood");
	if (IS_ERR(task)) {
		err = PTR_ERR(task);
		goto out_free;
	}
	for (i = 0; i < count && !err; i++) {
		usleep_range(500, 1500);
		err = set_feature(disk->queue, i & 1);
	}
	kthread_stop(task);
	seq_buf_printf(out, "ok=%d refused=%d other=%d ",
		       atomic_read(&flood.ok), atomic_read(&flood.refused),
		       atomic_read(&flood.other));
	show_counts(out);
out_free:
	free_payload(flood.payload);
	return err;
}

/* --- the command file --- */

/* provider A|B [DDDD:BB:DD.F]: without a name, none */
static int cmd_provider(int argc, char **argv, struct seq_buf *out)
{
	unsigned int domain, bus, dev, fn;
	struct pci_dev *pdev = NULL;
	int slot = argv[1][0] - 'A';

	if (slot < 0 || slot >= ARRAY_SIZE(providers) || argv[1][1])
		return -EINVAL;
	if (argc > 2) {
		if (sscanf(argv[2], "%x:%x:%x.%x", &domain, &bus, &dev,
			   &fn) != 4)
			return -EINVAL;
		pdev = pci_get_domain_bus_and_slot(domain, bus,
						   PCI_DEVFN(dev, fn));
		if (!pdev)
			return -ENXIO;
	}
	pci_dev_put(providers[slot]);
	providers[slot] = pdev;
	return 0;
}

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv, struct seq_buf *out);
	int min;	/* words, the command's own included */
	int max;
} commands[] = {
	{ "bounce", cmd_bounce, 1, 1 },
#ifdef CONFIG_BLK_MQ_STACKING
	{ "cloned", cmd_cloned, 2, 1 + MAX_SEGMENTS },
#endif
	{ "counts", cmd_counts, 1, 1 },
	{ "data", cmd_data, 4, 3 + MAX_SEGMENTS },
	{ "feature", cmd_feature, 3, 3 },
	{ "flip", cmd_flip, 4, 3 + MAX_SEGMENTS },
	{ "has", cmd_has, 2, 2 },
	{ "integrity", cmd_integrity, 2, 2 },
	{ "io", cmd_io, 5, 4 + MAX_SEGMENTS },
	{ "merge", cmd_merge, 2, 1 + MAX_SEGMENTS },
	{ "pass", cmd_pass, 4, 3 + MAX_SEGMENTS },
	{ "provider", cmd_provider, 2, 3 },
	{ "stack", cmd_stack, 1, 1 },
	{ "tuples", cmd_tuples, 3, 3 },
};

static int run_command(int argc, char **argv, struct seq_buf *out)
{
	int i;

	for (i = 0; argc && i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[0], commands[i].name))
			continue;
		if (argc < commands[i].min || argc > commands[i].max)
			break;
		guard(mutex)(&command_lock);
		return commands[i].run(argc, argv, out);
	}
	pr_err("no such command, or not with %d words\n", argc);
	return -EINVAL;
}

static ssize_t command_write(struct file *file, const char __user *buf,
			     size_t size, loff_t *pos)
{
	char *data = simple_transaction_get(file, buf, size);
	struct seq_buf out;
	char **argv;
	int argc, err;

	if (IS_ERR(data))
		return PTR_ERR(data);
	argv = argv_split(GFP_KERNEL, data, &argc);
	if (!argv)
		return -ENOMEM;
	seq_buf_init(&out, data, SIMPLE_TRANSACTION_LIMIT);
	err = run_command(argc, argv, &out);
	argv_free(argv);
	if (err)
		return err;
	simple_transaction_set(file, seq_buf_used(&out));
	return size;
}

static const struct file_operations command_fops = {
	.owner = THIS_MODULE,
	.write = command_write,
	.read = simple_transaction_read,
	.release = simple_transaction_release,
	.llseek = generic_file_llseek,
};

static int __init p2pdma_block_test_init(void)
{
	int err = add_test_disks();

	if (err)
		return err;
	debugfs_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("command", 0600, debugfs_dir, NULL, &command_fops);
	return 0;
}
module_init(p2pdma_block_test_init);

static void __exit p2pdma_block_test_exit(void)
{
	debugfs_remove(debugfs_dir);
	del_test_disk(&mq_disk);
	del_test_disk(&bio_disk);
	pci_dev_put(providers[0]);
	pci_dev_put(providers[1]);
}
module_exit(p2pdma_block_test_exit);

MODULE_DESCRIPTION("Test module for peer-to-peer memory in the block layer");
MODULE_LICENSE("GPL");
