// SPDX-License-Identifier: GPL-2.0
/*
 * Sample orchestrator for peer-to-peer DMA: copy from one block device to
 * another through the memory of a third PCI function
 *
 * Usually a copy between two NVMe drives passes through system memory. If a
 * provider (say, a drive with a Controller Memory Buffer) sits below the same
 * PCIe switch, the source can write into the provider's memory and the target
 * can read it from there, and no byte passes the root complex.
 *
 * An orchestrator is the driver that knows every device of a transfer. This is
 * what it does, and where to look below:
 *
 * 1. put the devices that will do DMA, the clients, into a list; ask for the
 *    best provider that all of them reach; go on without one if there is none
 *    (choose_provider())
 * 2. allocate from that provider, when there is something to transfer and not
 *    earlier, and go on without if it has nothing free (copy_through_peer())
 * 3. hand the pages to the clients' drivers like any others; the block layer
 *    and the NVMe driver see what they are (transfer())
 * 4. compare the provider's generation afterwards: a drive may report success
 *    for data that a dying BAR swallowed (copy_through_peer())
 * 5. stop when the core says that the provider is going away
 *    (provider_unusable())
 * 6. whatever goes wrong, do the work through system memory, and say why
 *    (copy_chunk(), explain())
 *
 * Use, as root, with debugfs mounted:
 *
 *	cd /sys/kernel/debug/p2pdma_copy
 *	echo /dev/nvme0n1 /dev/nvme1n1 > copy		# all of nvme0n1
 *	echo /dev/nvme0n1 /dev/nvme1n1 0 1M 64M > copy	# from 0, to 1M, 64M long
 *	cat report
 *
 * The write returns when the copy is complete; a signal that kills the writer
 * ends it early. What was on the target is overwritten.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci-p2pdma.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/workqueue.h>

#define MAX_CHUNK_KIB	(64 * 1024)
#define MAX_LANES	32

static unsigned int chunk_kib = 1024;
module_param(chunk_kib, uint, 0644);
MODULE_PARM_DESC(chunk_kib, "KiB that are copied at a time (default 1024)");

static unsigned int lanes = 4;
module_param(lanes, uint, 0644);
MODULE_PARM_DESC(lanes, "chunks that are copied at the same time (default 4)");

/* One copy. */
struct copy {
	struct file *src_file;
	struct file *dst_file;
	struct block_device *src;
	struct block_device *dst;
	u64 src_off;	/* bytes, as are all below */
	u64 dst_off;
	u64 length;
	u32 chunk;
	atomic64_t next;	/* where the next free lane goes on */

	struct pci_p2pdma_client_list clients;
	struct pci_dev *provider;	/* NULL: system memory only */
	bool provider_usable;
	bool provider_gone;	/* the core said so */

	struct task_struct *writer;
	int error;	/* the first one */
	struct lane {
		struct work_struct work;
		struct copy *copy;
	} lanes[MAX_LANES];
};

/* What the file "report" shows: the copy that runs, or the last one. */
static struct {
	const char *status;
	int error;
	char provider[32];	/* PCI address or "none" */
	char *reason;	/* why not all went through the provider; or NULL */
	u32 chunk;
	atomic64_t bytes_p2p;
	atomic64_t bytes_host;
	atomic_t chunks_short;	/* the provider had nothing free */
	atomic_t chunks_repeated;	/* done again through system memory */
} report = { .status = "idle", .provider = "none" };

/* For status, error, provider and reason. Innermost. */
static DEFINE_MUTEX(report_lock);

/* One copy at a time. */
static DEFINE_MUTEX(copy_lock);

static struct dentry *debugfs_dir;

/*
 * Take the reason, and split it where it has several lines: each becomes a
 * line of its own in the report. The last reason given is the one shown.
 */
static void explain(char *reason)
{
	mutex_lock(&report_lock);
	kfree(report.reason);
	report.reason = reason;
	mutex_unlock(&report_lock);
}

/*
 * The core calls this when the provider goes away, resets, or can no longer be
 * reached. Its removal then waits until all that was allocated has come back,
 * so an orchestrator must give idle memory back here. We have none: each chunk
 * frees its own at its end. It is enough that no further chunk starts.
 */
static void provider_unusable(struct pci_p2pdma_client_list *clients,
			      struct pci_dev *provider)
{
	struct copy *copy = container_of(clients, struct copy, clients);

	/*
	 * No more than flags: the provider may be a drive that hangs, whose
	 * driver waits for us before it cancels commands. So memory must not
	 * be allocated here in a way that waits for I/O, nor a lock be taken
	 * under which others do that.
	 */
	WRITE_ONCE(copy->provider_gone, true);
	WRITE_ONCE(copy->provider_usable, false);
}

static const struct pci_p2pdma_client_ops client_ops = {
	.name = KBUILD_MODNAME,
	.unusable = provider_unusable,
};

/*
 * Move one chunk between a block device and the pages of a scatterlist, which
 * may be peer memory or not: nothing here depends on it. A bio takes pages of
 * one kind and of one region only, so bio_add_page() may refuse one while the
 * bio still has room. Then the next bio begins.
 */
static int transfer(struct block_device *bdev, blk_opf_t opf, u64 pos,
		    struct scatterlist *sgl, unsigned int nents)
{
	struct scatterlist *sg;
	struct bio *bio = NULL;
	unsigned int i;
	int err;

	for_each_sg(sgl, sg, nents, i) {
		if (!bio || bio_add_page(bio, sg_page(sg), sg->length,
					 sg->offset) != sg->length) {
			bio = blk_next_bio(bio, bdev, bio_max_segs(nents - i),
					   opf, GFP_KERNEL);
			bio->bi_iter.bi_sector = pos >> SECTOR_SHIFT;
			__bio_add_page(bio, sg_page(sg), sg->length,
				       sg->offset);
		}
		pos += sg->length;
	}

	/* The bios form a chain: the last one has the status of all. */
	err = submit_bio_wait(bio);
	bio_put(bio);
	return err;
}

static int copy_through(struct copy *copy, u64 pos, struct scatterlist *sgl,
			unsigned int nents)
{
	int err;

	err = transfer(copy->src, REQ_OP_READ, copy->src_off + pos, sgl, nents);
	if (err)
		return err;
	return transfer(copy->dst, REQ_OP_WRITE, copy->dst_off + pos, sgl,
			nents);
}

static int copy_through_peer(struct copy *copy, u64 pos, u32 length)
{
	struct pci_dev *provider = copy->provider;
	struct scatterlist *sgl;
	unsigned int nents;
	u32 generation;
	int err;

	generation = pci_p2pdma_generation(provider);
	sgl = pci_p2pmem_alloc_sgl(provider, &nents, length);
	if (!sgl) {
		/* That is normal: others use the provider as well. */
		atomic_inc(&report.chunks_short);
		return -ENOMEM;
	}
	err = copy_through(copy, pos, sgl, nents);
	pci_p2pmem_free_sgl(provider, sgl);

	/* Did the bytes that the target read come from the source? */
	if (!err &&
	    (!generation || pci_p2pdma_generation(provider) != generation))
		err = -EIO;
	if (err)
		atomic_inc(&report.chunks_repeated);
	return err;
}

static int copy_through_host(struct copy *copy, u64 pos, u32 length)
{
	struct scatterlist *sgl;
	unsigned int nents;
	int err;

	sgl = sgl_alloc(length, GFP_KERNEL, &nents);
	if (!sgl)
		return -ENOMEM;
	err = copy_through(copy, pos, sgl, nents);
	sgl_free(sgl);
	return err;
}

/*
 * What cannot be done through peer memory is done through system memory: after
 * a shortage, after a refusal to map (-EREMOTEIO), when a queue does not take
 * such pages after all (-EOPNOTSUPP), and after any other error. If a drive is
 * at fault and not the provider, it fails once more.
 */
static int copy_chunk(struct copy *copy, u64 pos, u32 length)
{
	int err;

	if (READ_ONCE(copy->provider_usable) &&
	    !copy_through_peer(copy, pos, length)) {
		atomic64_add(length, &report.bytes_p2p);
		return 0;
	}
	err = copy_through_host(copy, pos, length);
	if (!err)
		atomic64_add(length, &report.bytes_host);
	return err;
}

/* Each lane takes the next chunk until none is left: several in flight. */
static void run_lane(struct work_struct *work)
{
	struct copy *copy = container_of(work, struct lane, work)->copy;
	int err;

	while (!READ_ONCE(copy->error)) {
		u64 pos = atomic64_fetch_add(copy->chunk, &copy->next);

		if (pos >= copy->length)
			break;
		if (fatal_signal_pending(copy->writer))
			err = -EINTR;
		else
			err = copy_chunk(copy, pos, min_t(u64, copy->chunk,
							  copy->length - pos));
		if (err)
			cmpxchg(&copy->error, 0, err);
		cond_resched();
	}
}

/*
 * A drive is a client only if its driver takes peer memory, which its queue
 * says. The device that counts is the nearest PCI function above the disk. A
 * disk without any (dm, md, loop) is refused, and should be: what such a driver
 * does with the payload is not known here.
 */
static int add_drive(struct copy *copy, struct block_device *bdev)
{
	struct device *dev = disk_to_dev(bdev->bd_disk);
	int err;

	if (!blk_queue_pci_p2pdma(bdev_get_queue(bdev))) {
		explain(kasprintf(GFP_KERNEL,
				  "the driver of %s does not take peer memory",
				  bdev->bd_disk->disk_name));
		return -EOPNOTSUPP;
	}
	err = pci_p2pdma_add_client(&copy->clients, dev);
	if (err == -ENODEV)
		explain(kasprintf(GFP_KERNEL,
				  "%s has no PCI function that could address a peer",
				  bdev->bd_disk->disk_name));
	else if (err)
		explain(kasprintf(GFP_KERNEL, "adding %s failed with %pe",
				  bdev->bd_disk->disk_name, ERR_PTR(err)));
	return err;
}

/*
 * Leaves copy->provider NULL if there is none; that is no error. Searching
 * logs nothing, so the orchestrator reports why it found nothing.
 */
static void choose_provider(struct copy *copy)
{
	if (!IS_ENABLED(CONFIG_PCI_P2PDMA)) {
		/* The stubs would do as well, but could not say why. */
		explain(kstrdup(pci_p2pdma_reason_text(0), GFP_KERNEL));
		return;
	}
	if (add_drive(copy, copy->src) || add_drive(copy, copy->dst))
		return;

	/* From find on the callback may come, so this is set before. */
	WRITE_ONCE(copy->provider_usable, true);
	copy->provider = pci_p2pmem_find(&copy->clients);
	if (!copy->provider) {
		WRITE_ONCE(copy->provider_usable, false);
		explain(pci_p2pdma_explain(&copy->clients));
		return;
	}
	mutex_lock(&report_lock);
	strscpy(report.provider, pci_name(copy->provider));
	mutex_unlock(&report_lock);
}

static void report_start(struct copy *copy)
{
	mutex_lock(&report_lock);
	report.status = "running";
	report.error = 0;
	strscpy(report.provider, "none");
	kfree(report.reason);
	report.reason = NULL;
	report.chunk = copy->chunk;
	atomic64_set(&report.bytes_p2p, 0);
	atomic64_set(&report.bytes_host, 0);
	atomic_set(&report.chunks_short, 0);
	atomic_set(&report.chunks_repeated, 0);
	mutex_unlock(&report_lock);
}

static void report_end(struct copy *copy, int err)
{
	mutex_lock(&report_lock);
	report.status = err ? "failed" : "ok";
	report.error = err;
	if (!report.reason && READ_ONCE(copy->provider_gone))
		report.reason = kasprintf(GFP_KERNEL,
					  "%s was withdrawn, reset or cut off during the copy",
					  pci_name(copy->provider));
	if (!report.reason && copy->provider &&
	    atomic64_read(&report.bytes_host))
		report.reason = kasprintf(GFP_KERNEL,
					  "the provider had no memory free for %d chunks, and %d had to be repeated",
					  atomic_read(&report.chunks_short),
					  atomic_read(&report.chunks_repeated));
	mutex_unlock(&report_lock);

	if (err)
		pr_err("%pg to %pg: failed with %pe; the target has a part of the data\n",
		       copy->src, copy->dst, ERR_PTR(err));
	else
		pr_info("%pg to %pg: %lld bytes through peer memory of %s, %lld through system memory\n",
			copy->src, copy->dst, atomic64_read(&report.bytes_p2p),
			report.provider, atomic64_read(&report.bytes_host));
}

static int run_copy(struct copy *copy)
{
	unsigned int i, num = clamp(READ_ONCE(lanes), 1, MAX_LANES);
	int err;

	report_start(copy);
	pci_p2pdma_client_list_init(&copy->clients, &client_ops);
	choose_provider(copy);

	/* Our bios go past the page cache: make it agree before and after. */
	err = sync_blockdev(copy->src) ?: sync_blockdev(copy->dst);
	if (err)
		goto out;

	copy->writer = current;
	for (i = 0; i < num; i++) {
		copy->lanes[i].copy = copy;
		INIT_WORK(&copy->lanes[i].work, run_lane);
		queue_work(system_unbound_wq, &copy->lanes[i].work);
	}
	for (i = 0; i < num; i++)
		flush_work(&copy->lanes[i].work);

	err = copy->error ?: blkdev_issue_flush(copy->dst);
	invalidate_bdev(copy->dst);
out:
	/* When this returns, provider_unusable() will not come any more. */
	pci_p2pdma_client_list_free(&copy->clients);
	pci_dev_put(copy->provider);
	report_end(copy, err);
	return err;
}

/* The same bytes must not be read and written at once. */
static bool ranges_overlap(struct copy *copy)
{
	u64 src = copy->src_off + (get_start_sect(copy->src) << SECTOR_SHIFT);
	u64 dst = copy->dst_off + (get_start_sect(copy->dst) << SECTOR_SHIFT);

	return copy->src->bd_disk == copy->dst->bd_disk &&
	       src < dst + copy->length && dst < src + copy->length;
}

static int check_range(struct copy *copy)
{
	u64 src_size = bdev_nr_bytes(copy->src);
	u64 dst_size = bdev_nr_bytes(copy->dst);
	unsigned int block = max(bdev_logical_block_size(copy->src),
				 bdev_logical_block_size(copy->dst));

	if (copy->src_off > src_size) {
		pr_err("source offset %llu is beyond the end of %pg (%llu bytes)\n",
		       copy->src_off, copy->src, src_size);
		return -EINVAL;
	}
	if (!copy->length)
		copy->length = src_size - copy->src_off;
	if (!IS_ALIGNED(copy->src_off | copy->dst_off | copy->length, block) ||
	    !copy->length) {
		pr_err("give offsets and length as multiples of %u bytes, the block size, and a length above 0\n",
		       block);
		return -EINVAL;
	}
	if (copy->length > src_size - copy->src_off) {
		pr_err("%pg has %llu bytes after the source offset; give a length of at most that\n",
		       copy->src, src_size - copy->src_off);
		return -EINVAL;
	}
	if (copy->dst_off > dst_size ||
	    copy->length > dst_size - copy->dst_off) {
		pr_err("%pg has %llu bytes, too few for %llu at offset %llu; give a smaller length\n",
		       copy->dst, dst_size, copy->length, copy->dst_off);
		return -ENOSPC;
	}
	if (ranges_overlap(copy)) {
		pr_err("source and target overlap; give ranges that do not\n");
		return -EINVAL;
	}
	copy->chunk = min(READ_ONCE(chunk_kib), MAX_CHUNK_KIB + 1) * SZ_1K;
	if (!copy->chunk || copy->chunk > MAX_CHUNK_KIB * SZ_1K ||
	    !IS_ALIGNED(copy->chunk, block)) {
		pr_err("set the parameter chunk_kib to 1 to %u, and to a multiple of the block size, %u bytes\n",
		       MAX_CHUNK_KIB, block);
		return -EINVAL;
	}
	return 0;
}

static struct file *open_drive(const char *path, blk_mode_t mode, void *holder)
{
	struct file *file = bdev_file_open_by_path(path, mode, holder, NULL);

	if (IS_ERR(file))
		pr_err("cannot open %s: %pe%s\n", path, file,
		       PTR_ERR(file) == -EBUSY ? "; is it mounted or part of an array?" :
		       PTR_ERR(file) == -ENOTBLK ? "; give a block device" : "");
	return file;
}

static int parse_bytes(const char *word, u64 *bytes)
{
	char *end;

	*bytes = memparse(word, &end);
	if (end == word || *end) {
		pr_err("\"%s\" is no number of bytes; give one like 4096, 64K or 1M\n",
		       word);
		return -EINVAL;
	}
	return 0;
}

/* SRC DST [SRC_OFFSET DST_OFFSET LENGTH] */
static int start_copy(struct copy *copy, char *line)
{
	char *words[6];
	unsigned int num = 0;
	char *word;
	int err;

	while (num < ARRAY_SIZE(words) && (word = strsep(&line, " \t\n")))
		if (*word)
			words[num++] = word;
	if (num != 2 && num != 5) {
		pr_err("write \"SOURCE TARGET\" or \"SOURCE TARGET SOURCE_OFFSET TARGET_OFFSET LENGTH\", all in bytes\n");
		return -EINVAL;
	}
	if (num == 5) {
		err = parse_bytes(words[2], &copy->src_off) ?:
		      parse_bytes(words[3], &copy->dst_off) ?:
		      parse_bytes(words[4], &copy->length);
		if (err)
			return err;
		if (!copy->length) {
			pr_err("give a length above 0\n");
			return -EINVAL;
		}
	}

	copy->src_file = open_drive(words[0], BLK_OPEN_READ, NULL);
	if (IS_ERR(copy->src_file))
		return PTR_ERR(copy->src_file);
	copy->src = file_bdev(copy->src_file);

	/* The holder makes it exclusive: nothing that is mounted. */
	copy->dst_file = open_drive(words[1], BLK_OPEN_READ | BLK_OPEN_WRITE,
				    copy);
	if (IS_ERR(copy->dst_file)) {
		err = PTR_ERR(copy->dst_file);
		goto out_src;
	}
	copy->dst = file_bdev(copy->dst_file);

	err = check_range(copy) ?: run_copy(copy);

	bdev_fput(copy->dst_file);
out_src:
	bdev_fput(copy->src_file);
	return err;
}

static ssize_t copy_write(struct file *file, const char __user *buf,
			  size_t count, loff_t *ppos)
{
	struct copy *copy;
	char *line;
	int err;

	if (count > PAGE_SIZE)
		return -EINVAL;
	line = memdup_user_nul(buf, count);
	if (IS_ERR(line))
		return PTR_ERR(line);
	copy = kzalloc(sizeof(*copy), GFP_KERNEL);
	if (!copy) {
		err = -ENOMEM;
		goto out;
	}
	err = mutex_lock_killable(&copy_lock);
	if (err)
		goto out;
	err = start_copy(copy, line);
	mutex_unlock(&copy_lock);
out:
	kfree(copy);
	kfree(line);
	return err ?: count;
}

static const struct file_operations copy_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.write = copy_write,
};

static int report_show(struct seq_file *m, void *unused)
{
	char *line, *rest, *text;

	mutex_lock(&report_lock);
	seq_printf(m, "status=%s\n", report.status);
	seq_printf(m, "error=%d\n", report.error);
	seq_printf(m, "provider=%s\n", report.provider);
	seq_printf(m, "bytes_p2p=%lld\n", atomic64_read(&report.bytes_p2p));
	seq_printf(m, "bytes_host=%lld\n", atomic64_read(&report.bytes_host));
	seq_printf(m, "chunk=%u\n", report.chunk);
	seq_printf(m, "chunks_short=%d\n", atomic_read(&report.chunks_short));
	seq_printf(m, "chunks_repeated=%d\n",
		   atomic_read(&report.chunks_repeated));

	/* One line of text each; its remedies are meant to be pasted. */
	text = kstrdup(report.reason, GFP_KERNEL);
	mutex_unlock(&report_lock);
	rest = text;
	while ((line = strsep(&rest, "\n")))
		if (*line)
			seq_printf(m, "reason=%s\n", line);
	kfree(text);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(report);

static int __init p2pdma_copy_init(void)
{
	debugfs_dir = debugfs_create_dir(KBUILD_MODNAME, NULL);
	debugfs_create_file("copy", 0200, debugfs_dir, NULL, &copy_fops);
	debugfs_create_file("report", 0400, debugfs_dir, NULL, &report_fops);
	return 0;
}
module_init(p2pdma_copy_init);

static void __exit p2pdma_copy_exit(void)
{
	debugfs_remove(debugfs_dir);
	kfree(report.reason);
}
module_exit(p2pdma_copy_exit);

MODULE_DESCRIPTION("Sample orchestrator for peer-to-peer DMA: copy between block devices");
MODULE_LICENSE("GPL");
