// SPDX-License-Identifier: GPL-2.0
/*
 * PCI peer-to-peer DMA: what user space sees of a provider
 *
 * /sys/bus/pci/devices/.../p2pmem/ has three numbers, and a file which a
 * process maps to get memory of its own for direct and passthrough I/O.
 * The files are created when everything else of the provider is there, and
 * removed before anything of it goes. Removal waits for readers, and kernfs
 * takes the mappings back, but for those that are just being made, which
 * p2pdma_sysfs_take_back() is for: later accesses get SIGBUS.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sysfs.h>
#include "p2pdma.h"

static ssize_t size_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	struct pci_p2pdma *provider;

	guard(rcu)();
	provider = rcu_dereference(to_pci_dev(dev)->p2pdma);
	return sysfs_emit(buf, "%llu\n", provider ? provider->size : 0);
}
static DEVICE_ATTR_RO(size);

static ssize_t available_show(struct device *dev,
			      struct device_attribute *attr, char *buf)
{
	struct pci_p2pdma *provider;

	guard(rcu)();
	provider = rcu_dereference(to_pci_dev(dev)->p2pdma);
	return sysfs_emit(buf, "%llu\n",
			  provider ? p2pdma_available(provider) : 0);
}
static DEVICE_ATTR_RO(available);

static bool p2pdma_published(struct pci_dev *pdev)
{
	struct pci_p2pdma *provider;

	guard(rcu)();
	provider = rcu_dereference(pdev->p2pdma);
	return provider && READ_ONCE(provider->live) &&
	       READ_ONCE(provider->publish);
}

static ssize_t published_show(struct device *dev,
			      struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", p2pdma_published(to_pci_dev(dev)));
}
static DEVICE_ATTR_RO(published);

/*
 * A read-only page is about to be written. There is no file system to ask, but
 * without this method mm would wait for the page to get a mapping.
 */
static vm_fault_t p2pdma_page_mkwrite(struct vm_fault *vmf)
{
	folio_lock(page_folio(vmf->page));
	return VM_FAULT_LOCKED;
}

static const struct vm_operations_struct p2pdma_vm_ops = {
	.page_mkwrite = p2pdma_page_mkwrite,
};

/*
 * Each page is an allocation of its own, and the mapping's reference is its
 * only one, so it goes back to the pool when the last of mappings and pinned
 * I/O buffers has let go of it (p2pdma_page_free()).
 */
static int p2pdma_map_page(struct pci_dev *pdev, struct vm_area_struct *vma,
			   unsigned long at)
{
	u32 contents = p2pdma_contents(pdev);
	void *addr = p2pdma_alloc(pdev, PAGE_SIZE, _RET_IP_);
	int ret;

	if (!addr)
		return -ENOMEM;

	/* The previous owner's data is nobody else's business */
	memset_io((void __iomem *)addr, 0, PAGE_SIZE);
	/* A function that resets, or whose link is down, may have missed that */
	if (!contents || !p2pdma_published(pdev) ||
	    contents != p2pdma_contents(pdev))
		ret = -ENODEV;
	else
		ret = vm_insert_page(vma, at, virt_to_page(addr));
	if (ret) {
		pci_free_p2pmem(pdev, addr, PAGE_SIZE);
		return ret;
	}
	put_page(virt_to_page(addr));
	return 0;
}

/*
 * The pages are there before the mapping is where kernfs looks for it: mmap()
 * links it only after the call below. A process that loses the CPU just then
 * would keep its pages from a provider that goes. So the end of a provider looks
 * once more, at each file whose last mmap() may not have been over: it is once
 * the process's mmap_lock can be had.
 */
struct p2pdma_mapper {
	struct list_head node;
	struct mm_struct *mm;
	struct file *file;
};

static void p2pdma_mapper_free(struct p2pdma_mapper *mapper)
{
	list_del(&mapper->node);
	mmdrop(mapper->mm);
	fput(mapper->file);
	kfree(mapper);
}

/* There will be no other before somebody holds the file active again */
static bool p2pdma_mmap_is_over(struct p2pdma_mapper *mapper)
{
	if (!mmap_read_trylock(mapper->mm))
		return false;
	mmap_read_unlock(mapper->mm);
	return true;
}

/* The caller holds the mmap_lock, for writing */
static int p2pdma_mapper_add(struct pci_p2pdma *provider, struct mm_struct *mm,
			     struct file *file)
{
	struct p2pdma_mapper *mapper, *next, *new;

	new = kmalloc(sizeof(*new), GFP_KERNEL);
	if (!new)
		return -ENOMEM;
	guard(mutex)(&provider->mapper_lock);
	list_for_each_entry_safe(mapper, next, &provider->mappers, node) {
		/* The process's own previous one is over, too */
		if (mapper->mm == mm || p2pdma_mmap_is_over(mapper))
			p2pdma_mapper_free(mapper);
	}
	new->mm = mm;
	mmgrab(mm);
	new->file = get_file(file);
	list_add(&new->node, &provider->mappers);
	return 0;
}

/**
 * p2pdma_sysfs_take_back - take away what kernfs could not see yet
 * @provider: its files are removed, so that nobody comes in any more
 *
 * Does not wait for processes: one that holds its mmap_lock may itself wait for
 * the device that goes.
 *
 * Context: process context.
 * Return: false if it has to be called again.
 */
bool p2pdma_sysfs_take_back(struct pci_p2pdma *provider)
{
	struct p2pdma_mapper *mapper, *next;

	guard(mutex)(&provider->mapper_lock);
	list_for_each_entry_safe(mapper, next, &provider->mappers, node) {
		if (!p2pdma_mmap_is_over(mapper))
			continue;
		/* As kernfs does; of children that were forked since, too */
		unmap_mapping_range(file_inode(mapper->file)->i_mapping, 0, 0,
				    1);
		p2pdma_mapper_free(mapper);
	}
	return list_empty(&provider->mappers);
}

/* When all memory is back and nobody can ask for more */
void p2pdma_sysfs_forget(struct pci_p2pdma *provider)
{
	struct p2pdma_mapper *mapper, *next;

	list_for_each_entry_safe(mapper, next, &provider->mappers, node)
		p2pdma_mapper_free(mapper);
}

static int p2pdma_allocate_mmap(struct file *file, struct kobject *kobj,
				struct bin_attribute *attr,
				struct vm_area_struct *vma)
{
	struct pci_dev *pdev = to_pci_dev(kobj_to_dev(kobj));
	/* Which outlives its files */
	struct pci_p2pdma *provider = rcu_dereference_protected(pdev->p2pdma, 1);
	unsigned long at;
	int ret;

	if (!(vma->vm_flags & VM_MAYSHARE)) {
		pci_info_ratelimited(pdev, "%s: p2pmem/allocate can be mapped MAP_SHARED only\n",
				     current->comm);
		return -EINVAL;
	}
	if (vma->vm_pgoff) {
		pci_info_ratelimited(pdev, "%s: p2pmem/allocate can be mapped at offset 0 only\n",
				     current->comm);
		return -EINVAL;
	}
	/* Unpublished memory is its driver's own */
	if (!p2pdma_published(pdev))
		return -ENODEV;
	ret = p2pdma_mapper_add(provider, vma->vm_mm, file);
	if (ret)
		return ret;

	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	vma->vm_ops = &p2pdma_vm_ops;
	for (at = vma->vm_start; at < vma->vm_end; at += PAGE_SIZE) {
		/* On failure the caller unmaps, and so frees, what is there */
		if (fatal_signal_pending(current))
			return -EINTR;
		ret = p2pdma_map_page(pdev, vma, at);
		if (ret)
			return ret;
		cond_resched();
	}
	return 0;
}

static struct bin_attribute bin_attr_allocate = {
	.attr = { .name = "allocate", .mode = 0600 },
	.mmap = p2pdma_allocate_mmap,
};

static const struct attribute_group p2pdma_group = {
	.name = "p2pmem",
	.attrs = (struct attribute *[]) {
		&dev_attr_size.attr,
		&dev_attr_available.attr,
		&dev_attr_published.attr,
		NULL,
	},
	.bin_attrs = (struct bin_attribute *[]) {
		&bin_attr_allocate,
		NULL,
	},
};

int p2pdma_sysfs_add(struct pci_dev *pdev)
{
	return sysfs_create_group(&pdev->dev.kobj, &p2pdma_group);
}

void p2pdma_sysfs_remove(struct pci_dev *pdev)
{
	sysfs_remove_group(&pdev->dev.kobj, &p2pdma_group);
}
