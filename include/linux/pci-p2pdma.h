/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PCI peer-to-peer DMA: memory in a BAR that other functions read and write
 *
 * Four roles, used in all names and messages:
 *
 * provider:     the PCI function whose BAR memory is registered, and perhaps
 *               published so that others find it
 * client:       a device that DMAs to or from that memory
 * orchestrator: the driver that knows all clients of a transfer, and chooses
 *               the provider for it
 * region:       one registered range of one BAR
 *
 * A provider's driver calls pci_p2pdma_add_resource() and
 * pci_p2pmem_publish(); pci_p2pdma_quiesce() before its function goes down,
 * and pci_p2pdma_resume() when it is up again. An orchestrator puts the
 * clients into a list, asks pci_p2pmem_find() for a provider that all of them
 * reach, allocates from it, and hands the memory to the clients' drivers.
 * Those map it with pci_p2pdma_map_sg().
 *
 * Lock order, outermost first. The core takes 2 and 3, in process context,
 * and holds neither while a callback of an orchestrator runs:
 *
 * 1. locks of the orchestrator; one that pci_p2pdma_client_ops.unusable()
 *    takes must not be held around pci_p2pdma_client_list_free(), which waits
 *    for that callback, nor around pci_p2pdma_quiesce() and
 *    pci_p2pdma_drain(), which make it
 * 2. the lock of registration
 * 3. the lock of bindings (published, client lists, the provider of a list)
 *
 * Recovery from PCI errors calls drivers with pci_bus_sem held for reading, and
 * they quiesce there: so whoever holds 3, and every callback, must not take
 * pci_bus_sem, nor wait for somebody who does. Inside 3 come, where
 * p2pdma.acs=path opens ports, the locks of IOMMU groups, and innermost a raw
 * spinlock over the ACS control words of these ports.
 * Allocation and release take no lock, and neither does mapping by bus
 * address.
 */
#ifndef _LINUX_PCI_P2PDMA_H
#define _LINUX_PCI_P2PDMA_H

#include <linux/dma-direction.h>
#include <linux/errno.h>
#include <linux/list.h>
#include <linux/pci.h>
#include <linux/types.h>

struct page;
struct pci_p2pdma_client_list;
struct scatterlist;

/**
 * enum pci_p2pdma_reason - why a client cannot reach a provider
 * @PCI_P2PDMA_REACHABLE: it can
 * @PCI_P2PDMA_NO_PCI_DEVICE: the client has no PCI function above it
 * @PCI_P2PDMA_VIRT_DMA: the client's DMA operations cannot address a peer
 * @PCI_P2PDMA_NOT_ITS_OWN: a function asked for its own memory, and its
 *	driver did not declare that it reaches it
 * @PCI_P2PDMA_UNTRUSTED: the client is below an external-facing port, and not
 *	let at other devices' memory
 * @PCI_P2PDMA_ACS_REDIRECT: ports on the way redirect peer requests or
 *	completions, or control egress (PCIe r6.0, sec 6.12.1.1)
 * @PCI_P2PDMA_FUNCTION_REDIRECT: functions of one device, one of which
 *	redirects what it sends to the others (PCIe r6.0, sec 6.12.1.2)
 * @PCI_P2PDMA_CONVENTIONAL_PCI: a conventional PCI segment is on the way
 * @PCI_P2PDMA_ROOT_COMPLEX: the two meet only in the root complex, which
 *	need not route between its ports (PCIe r6.0, sec 1.3.1)
 */
enum pci_p2pdma_reason {
	PCI_P2PDMA_REACHABLE,
	PCI_P2PDMA_NO_PCI_DEVICE,
	PCI_P2PDMA_VIRT_DMA,
	PCI_P2PDMA_NOT_ITS_OWN,
	PCI_P2PDMA_UNTRUSTED,
	PCI_P2PDMA_ACS_REDIRECT,
	PCI_P2PDMA_FUNCTION_REDIRECT,
	PCI_P2PDMA_CONVENTIONAL_PCI,
	PCI_P2PDMA_ROOT_COMPLEX,
};

/**
 * struct pci_p2pdma_client_ops - what an orchestrator tells the core
 * @name: who uses the provider, for messages: "nvmet", "p2pdma-copy"
 * @unusable: the provider to which the list is bound goes away, resets, or
 *	can no longer be reached. Called once when that begins, and again if
 *	it happens again after the list could use the provider meanwhile, or
 *	if the provider goes after the path was lost; in process
 *	context, with no lock of the core held. It may free buffers, unbind
 *	the list and remove clients, but must not free the list. Buffers of
 *	commands in flight are given back as those commands finish; idle
 *	ones it gives back here: removal of the provider waits for all. It
 *	must not wait for I/O, nor take a lock whose holder may: the provider
 *	may be a drive that times out, and that cancels its commands only
 *	after this. Memory is allocated there without I/O
 *	(memalloc_noio_save()).
 */
struct pci_p2pdma_client_ops {
	const char *name;
	void (*unusable)(struct pci_p2pdma_client_list *list,
			 struct pci_dev *provider);
};

/**
 * struct pci_p2pdma_client_list - the clients of a transfer and its provider
 *
 * The orchestrator embeds it and serialises its own calls. All members are
 * the core's.
 */
struct pci_p2pdma_client_list {
	/* private: */
	const struct pci_p2pdma_client_ops *ops;
	struct list_head clients;
	struct pci_dev *provider;
	struct list_head bound;
	struct task_struct *telling;
	bool told;
};

#ifdef CONFIG_PCI_P2PDMA

/**
 * pci_p2pdma_add_resource - register a range of a BAR as a region
 * @pdev: the provider
 * @bar: number of the BAR, 0 to 5; a memory BAR
 * @size: bytes, or 0 for the rest of the BAR
 * @offset: bytes from the start of the BAR
 *
 * Gives the range struct pages (%MEMORY_DEVICE_PCI_P2PDMA, never cached) and
 * adds it to the pool of @pdev. A function may have several regions. They go
 * when the driver of @pdev is unbound; a driver whose own commands use the
 * memory calls pci_p2pdma_quiesce() and pci_p2pdma_drain() itself in its
 * remove, see there.
 *
 * A failure leaves no trace: what was registered before goes on working and
 * the call can be repeated.
 *
 * Context: process, may sleep; takes the registration lock.
 *
 * Return: 0, or
 * * %-EINVAL - @bar is no BAR, no memory BAR or not assigned; the range is
 *   not inside it, or is not aligned as struct pages need
 * * %-EBUSY - the range overlaps a registered one, or the function is on
 *   its way out
 * * %-ENOMEM - no memory
 * * %-EOPNOTSUPP - the architecture cannot map the range
 */
int pci_p2pdma_add_resource(struct pci_dev *pdev, int bar, size_t size,
			    u64 offset);

/**
 * pci_p2pmem_publish - offer a provider's memory to orchestrators, or not
 * @pdev: the provider
 * @publish: true to let pci_p2pmem_find() return it
 *
 * Unpublished memory is its own driver's. Withdrawing it does not disturb
 * those that use it already. Does nothing for a function without regions.
 *
 * Context: process, may sleep.
 */
void pci_p2pmem_publish(struct pci_dev *pdev, bool publish);

/**
 * pci_p2pdma_set_self_access - say that a function reaches its own memory
 * @pdev: the provider
 * @can: it does
 *
 * Nothing in PCI obliges a function to take its own requests to its own BAR,
 * so by default it is no client of itself. An NVMe controller does it for its
 * Controller Memory Buffer (NVM Express Base 2.0, sec 8.5). Does nothing
 * before the first region is registered.
 *
 * Context: any.
 */
void pci_p2pdma_set_self_access(struct pci_dev *pdev, bool can);

/**
 * pci_p2pdma_quiesce - stop handing out a provider's memory
 * @pdev: the provider
 *
 * Unpublishes the memory, refuses new allocations, and tells every
 * orchestrator that is bound to it. Memory already allocated stays valid. A
 * provider's driver calls it first thing in remove, shutdown, suspend and
 * before a reset, while the function still answers. If the contents may be
 * lost it calls pci_p2pdma_contents_lost() too. Repeated calls are harmless.
 *
 * Context: process, may sleep, calls orchestrators back.
 */
void pci_p2pdma_quiesce(struct pci_dev *pdev);

/**
 * pci_p2pdma_drain - wait until a quiesced provider's memory has come back
 * @pdev: the provider
 *
 * Only after the driver of @pdev has completed or cancelled its own commands,
 * which may hold the buffers. Mappings of user space are taken back. While it
 * waits, the log says every ten seconds how much is out and who holds it.
 * A reset does not drain. Without the call, unbinding the driver drains.
 *
 * Context: process, may sleep without limit.
 */
void pci_p2pdma_drain(struct pci_dev *pdev);

/**
 * pci_p2pdma_resume - hand out a quiesced provider's memory again
 * @pdev: the provider
 *
 * Publishes it again if it was published when it was quiesced.
 *
 * Context: process, may sleep.
 *
 * Return: 0, or %-ENOMEM if a drained provider could not be set up again; it
 * stays quiesced then, and the call can be repeated.
 */
int pci_p2pdma_resume(struct pci_dev *pdev);

/**
 * pci_p2pdma_contents_lost - say that a provider's contents may be gone
 * @pdev: the provider
 *
 * Changes the generation. The core calls it on surprise removal; the
 * provider's driver calls it for a reset or loss of power, before the first
 * moment at which data can be lost.
 *
 * Context: any.
 */
void pci_p2pdma_contents_lost(struct pci_dev *pdev);

/**
 * pci_p2pdma_generation - tell whether a provider's contents may have gone
 * @pdev: the provider
 *
 * Read it when memory is allocated and when the transfer is complete. If the
 * two differ, or one is 0, the data may never have arrived, whatever the
 * status of the command says. Either the contents were lost, or a path was on
 * which the data may have been: a port began to redirect. Any port counts.
 *
 * Context: any.
 *
 * Return: a number that changes with every loss; 0 without regions, while the
 * function does not answer, and while a path is being taken away.
 */
u32 pci_p2pdma_generation(struct pci_dev *pdev);

/**
 * pci_alloc_p2pmem - allocate memory of a provider
 * @pdev: the provider
 * @size: bytes; rounded up to pages
 *
 * The memory is uncached I/O memory with undefined contents. The CPU may
 * access it with memcpy_toio(), memcpy_fromio() and the like; that is slow.
 * While it is allocated its struct pages stay, whatever happens to @pdev.
 *
 * Context: any but NMI, does not sleep, takes no lock.
 *
 * Return: the kernel virtual address, or NULL if nothing that large is free,
 * @size is 0, or @pdev has no regions or is quiesced.
 */
void *pci_alloc_p2pmem(struct pci_dev *pdev, size_t size);

/**
 * pci_free_p2pmem - give memory back to its provider
 * @pdev: the provider
 * @addr: what pci_alloc_p2pmem() returned, or NULL
 * @size: bytes, as they were asked for
 *
 * Memory that is not @pdev's, is not allocated, or was allocated with another
 * size is refused with one error line, and nothing changes.
 *
 * Context: any but NMI, does not sleep, takes no lock.
 */
void pci_free_p2pmem(struct pci_dev *pdev, void *addr, size_t size);

/**
 * pci_p2pmem_alloc_sgl - allocate a scatterlist of memory of a provider
 * @pdev: the provider
 * @nents: takes the number of entries
 * @length: bytes
 *
 * No entry is longer than 64 KiB, the default segment limit of a PCI device,
 * and more than one is used where the pool is fragmented. The last entry may
 * be short.
 *
 * Context: process, may sleep.
 *
 * Return: the list, or NULL with nothing kept if @length is 0 or not
 * available.
 */
struct scatterlist *pci_p2pmem_alloc_sgl(struct pci_dev *pdev,
					 unsigned int *nents, u32 length);

/**
 * pci_p2pmem_free_sgl - give a scatterlist back to its provider
 * @pdev: the provider
 * @sgl: what pci_p2pmem_alloc_sgl() returned, not mapped any more; or NULL
 *
 * A list with memory that is not @pdev's or not allocated is refused with one
 * error line, and nothing changes.
 *
 * Context: any in which kfree() may be called, does not sleep.
 */
void pci_p2pmem_free_sgl(struct pci_dev *pdev, struct scatterlist *sgl);

/**
 * pci_p2pdma_page_provider - the provider of a page
 * @page: any page that has a struct page; it may be on its way out
 *
 * Context: any.
 *
 * Return: the provider with a reference, for pci_dev_put(); NULL if @page is
 * not peer memory, or its region is going away and nobody holds memory of it.
 */
struct pci_dev *pci_p2pdma_page_provider(struct page *page);

/**
 * pci_p2pmem_virt_to_bus - the PCI bus address of a provider's memory
 * @pdev: the provider
 * @addr: kernel virtual address inside one of its regions
 *
 * For the provider's own driver, which programs its function with it. Other
 * devices need a mapping.
 *
 * Context: any.
 *
 * Return: the address that the BAR decodes; 0 for NULL and for memory that is
 * not @pdev's.
 */
pci_bus_addr_t pci_p2pmem_virt_to_bus(struct pci_dev *pdev, void *addr);

/**
 * pci_p2pdma_client_list_init - prepare a client list
 * @list: the list
 * @ops: the orchestrator's name and callback
 *
 * Context: any.
 */
void pci_p2pdma_client_list_init(struct pci_p2pdma_client_list *list,
				 const struct pci_p2pdma_client_ops *ops);

/**
 * pci_p2pdma_add_client - add a device to a client list
 * @list: the list
 * @dev: the device that will DMA; the nearest PCI function above it counts
 *
 * A function may be added more than once, and needs as many removals. Virtual
 * DMA (soft RDMA) cannot be seen in a struct device whose parent is a PCI
 * function: the caller asks the device's own layer first.
 *
 * Context: process, may sleep.
 *
 * Return: 0, or
 * * %-ENODEV - @dev is NULL, has no PCI function above it, or its DMA
 *   operations cannot address a peer
 * * %-EXDEV - the list is bound, and this device cannot reach the provider
 * * %-ENOMEM - no memory
 */
int pci_p2pdma_add_client(struct pci_p2pdma_client_list *list,
			  struct device *dev);

/**
 * pci_p2pdma_remove_client - take a device out of a client list
 * @list: the list
 * @dev: a device that was added
 *
 * The list stays bound, even when it becomes empty.
 *
 * Context: process, may sleep.
 */
void pci_p2pdma_remove_client(struct pci_p2pdma_client_list *list,
			      struct device *dev);

/**
 * pci_p2pdma_unbind - forget the provider of a client list
 * @list: the list; bound or not
 *
 * Memory that was allocated stays valid until it is freed.
 *
 * Context: process, may sleep.
 */
void pci_p2pdma_unbind(struct pci_p2pdma_client_list *list);

/**
 * pci_p2pdma_client_list_free - unbind a client list and drop its clients
 * @list: the list; it can be used again as if newly initialised
 *
 * When it returns, no callback runs and none will.
 *
 * Context: process, may sleep; waits for a callback that runs. Not from the
 * callback itself.
 */
void pci_p2pdma_client_list_free(struct pci_p2pdma_client_list *list);

/**
 * pci_p2pmem_find - find the best provider for all clients, and bind to it
 * @list: the list
 *
 * Best is the smallest sum of distances; among equals the one with most
 * memory free; among those a random one. A bound list gives its provider
 * again, as long as that is not quiesced and all clients reach it.
 *
 * Context: process, may sleep. Logs nothing, see pci_p2pdma_explain().
 *
 * Return: the provider with a reference, for pci_dev_put(); NULL if there is
 * none or the list is empty.
 */
struct pci_dev *pci_p2pmem_find(struct pci_p2pdma_client_list *list);

/**
 * pci_p2pdma_changes - tell whether a search for a provider is worth repeating
 *
 * Read it before pci_p2pmem_find(). When it differs later, memory was published
 * or resumed, or a path may have opened or closed, and another search may find
 * what that one did not, or something better. Costs one read, so that the path
 * of I/O can look.
 *
 * Context: any.
 *
 * Return: a number that changes with every such event; it wraps.
 */
unsigned int pci_p2pdma_changes(void);

/**
 * pci_p2pdma_assign_provider - bind a client list to a provider of choice
 * @list: the list, with its clients
 * @pdev: the provider
 *
 * The same check as in pci_p2pmem_find(), for a provider that a user named.
 *
 * Context: process, may sleep.
 *
 * Return: 0, or
 * * %-ENODEV - @pdev has no published memory, or is quiesced
 * * %-ENOENT - the list is empty
 * * %-EBUSY - the list is bound to another provider
 * * %-EXDEV - a client cannot reach it
 * * %-ENOMEM - no memory (only with p2pdma.acs=path)
 */
int pci_p2pdma_assign_provider(struct pci_p2pdma_client_list *list,
			       struct pci_dev *pdev);

/**
 * pci_p2pdma_explain - say why a client list has no provider
 * @list: the list
 *
 * One line for each published provider that a client cannot reach, with the
 * remedy where there is one; or that none is published, or no client added.
 *
 * Context: process, may sleep.
 *
 * Return: text for kfree(), lines divided by a newline; NULL without memory.
 */
char *pci_p2pdma_explain(struct pci_p2pdma_client_list *list);

/**
 * pci_p2pdma_reason_text - a reason as an English sentence
 * @reason: the reason
 *
 * Context: any.
 *
 * Return: the text, without a full stop.
 */
const char *pci_p2pdma_reason_text(enum pci_p2pdma_reason reason);

/**
 * pci_p2pdma_distance_many - how far a provider is from some devices
 * @provider: the function whose BARs are to be reached, with or without
 *	regions
 * @clients: the devices
 * @num_clients: their number
 * @verbose: log the reason and the remedy of a refusal
 *
 * Context: process, may sleep.
 *
 * Return: the sum of distances, or a negative number if a client cannot reach
 * @provider, or @num_clients is 0.
 */
int pci_p2pdma_distance_many(struct pci_dev *provider, struct device **clients,
			     int num_clients, bool verbose);

/**
 * pci_p2pdma_map_sg - map peer memory for a device
 * @dev: the device that will DMA
 * @sg: the list; every entry is memory of one and the same provider
 * @nents: number of entries
 * @dir: direction
 *
 * All entries are checked: peer memory, one provider, reachable, within the
 * DMA mask and the segment limits of @dev. On a path below a switch the DMA
 * address and length of every entry are set, without a lock or an allocation. On
 * a path through the root complex the DMA API maps the list, and may merge
 * entries. Unmap with pci_p2pdma_unmap_sg() and nothing else.
 *
 * Context: any in which dma_map_sg() may be called; does not sleep.
 *
 * Return: the number of entries to program, or
 * * %-EREMOTEIO - refused, and will be refused again
 * * %-ENOMEM - a passing shortage
 */
int pci_p2pdma_map_sg(struct device *dev, struct scatterlist *sg, int nents,
		      enum dma_data_direction dir);

/**
 * pci_p2pdma_unmap_sg - undo pci_p2pdma_map_sg()
 * @dev: the device
 * @sg: the list
 * @nents: number of entries that were given to pci_p2pdma_map_sg()
 * @dir: direction
 *
 * Context: any in which dma_unmap_sg() may be called; does not sleep.
 */
void pci_p2pdma_unmap_sg(struct device *dev, struct scatterlist *sg, int nents,
			 enum dma_data_direction dir);

#else /* !CONFIG_PCI_P2PDMA */

static inline int pci_p2pdma_add_resource(struct pci_dev *pdev, int bar,
					  size_t size, u64 offset)
{
	return -EOPNOTSUPP;
}

static inline void pci_p2pdma_set_self_access(struct pci_dev *pdev, bool can)
{
}

static inline void pci_p2pmem_publish(struct pci_dev *pdev, bool publish)
{
}

static inline void pci_p2pdma_quiesce(struct pci_dev *pdev)
{
}

static inline void pci_p2pdma_drain(struct pci_dev *pdev)
{
}

static inline int pci_p2pdma_resume(struct pci_dev *pdev)
{
	return 0;
}

static inline void pci_p2pdma_contents_lost(struct pci_dev *pdev)
{
}

static inline u32 pci_p2pdma_generation(struct pci_dev *pdev)
{
	return 0;
}

static inline void *pci_alloc_p2pmem(struct pci_dev *pdev, size_t size)
{
	return NULL;
}

static inline void pci_free_p2pmem(struct pci_dev *pdev, void *addr,
				   size_t size)
{
}

static inline struct scatterlist *
pci_p2pmem_alloc_sgl(struct pci_dev *pdev, unsigned int *nents, u32 length)
{
	return NULL;
}

static inline void pci_p2pmem_free_sgl(struct pci_dev *pdev,
				       struct scatterlist *sgl)
{
}

static inline struct pci_dev *pci_p2pdma_page_provider(struct page *page)
{
	return NULL;
}

static inline pci_bus_addr_t pci_p2pmem_virt_to_bus(struct pci_dev *pdev,
						    void *addr)
{
	return 0;
}

static inline void
pci_p2pdma_client_list_init(struct pci_p2pdma_client_list *list,
			    const struct pci_p2pdma_client_ops *ops)
{
}

static inline int pci_p2pdma_add_client(struct pci_p2pdma_client_list *list,
					struct device *dev)
{
	return -EOPNOTSUPP;
}

static inline void
pci_p2pdma_remove_client(struct pci_p2pdma_client_list *list,
			 struct device *dev)
{
}

static inline void pci_p2pdma_unbind(struct pci_p2pdma_client_list *list)
{
}

static inline void
pci_p2pdma_client_list_free(struct pci_p2pdma_client_list *list)
{
}

static inline struct pci_dev *
pci_p2pmem_find(struct pci_p2pdma_client_list *list)
{
	return NULL;
}

static inline unsigned int pci_p2pdma_changes(void)
{
	return 0;
}

static inline int
pci_p2pdma_assign_provider(struct pci_p2pdma_client_list *list,
			   struct pci_dev *pdev)
{
	return -EOPNOTSUPP;
}

static inline char *pci_p2pdma_explain(struct pci_p2pdma_client_list *list)
{
	return NULL;
}

static inline const char *pci_p2pdma_reason_text(enum pci_p2pdma_reason reason)
{
	return "the kernel has no peer-to-peer DMA (CONFIG_PCI_P2PDMA)";
}

static inline int pci_p2pdma_distance_many(struct pci_dev *provider,
					   struct device **clients,
					   int num_clients, bool verbose)
{
	return -EOPNOTSUPP;
}

static inline int pci_p2pdma_map_sg(struct device *dev, struct scatterlist *sg,
				    int nents, enum dma_data_direction dir)
{
	return -EREMOTEIO;
}

static inline void pci_p2pdma_unmap_sg(struct device *dev,
				       struct scatterlist *sg, int nents,
				       enum dma_data_direction dir)
{
}

#endif /* CONFIG_PCI_P2PDMA */

/**
 * pci_p2pdma_distance - how far a provider is from a device
 * @provider: the function whose BARs are to be reached
 * @client: the device
 * @verbose: log the reason and the remedy of a refusal
 *
 * Context: process, may sleep.
 *
 * Return: the distance, see pci_p2pdma_distance_many(); negative if @client
 * cannot reach @provider.
 */
static inline int pci_p2pdma_distance(struct pci_dev *provider,
				      struct device *client, bool verbose)
{
	return pci_p2pdma_distance_many(provider, &client, 1, verbose);
}

#endif /* _LINUX_PCI_P2PDMA_H */
