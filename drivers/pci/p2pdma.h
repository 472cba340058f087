/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PCI peer-to-peer DMA: what the files of the subsystem share
 *
 * The roles (provider, client, orchestrator, region) and the lock order are
 * explained in <linux/pci-p2pdma.h>.
 */
#ifndef _DRIVERS_PCI_P2PDMA_H
#define _DRIVERS_PCI_P2PDMA_H

#include <linux/completion.h>
#include <linux/dma-map-ops.h>
#include <linux/llist.h>
#include <linux/memremap.h>
#include <linux/mutex.h>
#include <linux/pci-p2pdma.h>
#include <linux/percpu-refcount.h>
#include <linux/workqueue.h>

struct gen_pool;

/**
 * struct pci_p2pdma - a provider
 * @pdev: the function
 * @pool: hands out the memory of all regions, owner of a chunk is its region
 * @regions: list of &struct p2pdma_region; RCU, written under
 *	p2pdma_register_lock, never shrinks before the end
 * @size: bytes in all regions; written under p2pdma_register_lock
 * @generation: changes when the contents may have been lost
 * @live: allocations are served; written under p2pdma_bind_lock, read under
 *	RCU
 * @publish: the driver wants it found; p2pdma_bind_lock
 * @self_access: the function reaches its own memory
 * @dying: it goes away and will not be resumed; p2pdma_register_lock
 * @node: in p2pdma_providers; p2pdma_bind_lock
 * @lists: client lists bound to it; p2pdma_bind_lock
 * @drain_lock: serialises drain, resume and the end
 * @drained: every region is empty, or will be, and stays so, sysfs files are
 *	gone; written under @drain_lock and p2pdma_register_lock
 * @mapper_lock: for @mappers; nests in the mmap_lock of any process
 * @mappers: list of processes that may be about to map some of it. Of those that
 *	did, the last one stays in it, with the file that it mapped
 */
struct pci_p2pdma {
	struct pci_dev *pdev;
	struct gen_pool *pool;
	struct list_head regions;
	u64 size;
	atomic_t generation;
	bool live;
	bool publish;
	bool self_access;
	bool dying;
	struct list_head node;
	struct list_head lists;
	struct mutex drain_lock;	/* drain, resume, the end */
	bool drained;
	struct mutex mapper_lock;	/* mappers */
	struct list_head mappers;
};

/**
 * struct p2pdma_region - a registered range of a BAR
 * @pgmap: its struct pages
 * @provider: whose it is
 * @node: in &pci_p2pdma.regions
 * @addr: kernel virtual address of its first byte
 * @bus_offset: what a CPU physical address in it differs from the PCI bus
 *	address by: bus = physical + @bus_offset, modulo 2^64
 * @bar: number of the BAR
 * @ref: one reference for each allocation
 * @idle: completed when @ref is gone
 * @released: pages that user space has let go of, on their way to the pool
 * @release_work: takes them there
 */
struct p2pdma_region {
	struct dev_pagemap pgmap;
	struct pci_p2pdma *provider;
	struct list_head node;
	void *addr;
	u64 bus_offset;
	int bar;
	struct percpu_ref ref;
	struct completion idle;
	struct llist_head released;
	struct delayed_work release_work;
};

/* For pages that is_pci_p2pdma_page() accepts */
static inline struct p2pdma_region *p2pdma_page_region(const struct page *page)
{
	return container_of(compound_head(page)->pgmap, struct p2pdma_region,
			    pgmap);
}

/**
 * struct p2pdma_path - the judgement on a provider and a client
 * @reason: %PCI_P2PDMA_REACHABLE, or why not
 * @map: how the client is to address the provider
 * @distance: edges of the tree, by the route that is taken or refused; defined
 *	for every reason but %PCI_P2PDMA_NO_PCI_DEVICE, %PCI_P2PDMA_VIRT_DMA
 *	and %PCI_P2PDMA_UNTRUSTED
 * @edges: of both legs up to @common, whichever route is taken
 * @common: closest common bridge, NULL if there is none
 */
struct p2pdma_path {
	enum pci_p2pdma_reason reason;
	enum pci_p2pdma_map_type map;
	int distance;
	int edges;
	struct pci_dev *common;
};

/**
 * struct p2pdma_legs - iterates over the bridges on both legs of a path
 * @common: closest common bridge, NULL for both legs up to the root
 * @at: where it is
 * @client: the other function, NULL on its leg
 */
struct p2pdma_legs {
	struct pci_dev *common;
	struct pci_dev *at;
	struct pci_dev *client;
};

/* The provider's leg upwards, the client's, then the common bridge */
#define for_each_bridge_between(bridge, provider_, client_, common_, legs)	\
	for (legs = (struct p2pdma_legs) { .common = (common_),			\
					   .at = (provider_),			\
					   .client = (client_) };		\
	     ((bridge) = p2pdma_next_bridge(&(legs)));)

/**
 * enum p2pdma_host_route - what a host bridge is known to do
 * @P2PDMA_HOST_UNKNOWN: nothing
 * @P2PDMA_HOST_WITHIN: route between its own ports
 * @P2PDMA_HOST_ANY: route to and from the ports of others, too
 */
enum p2pdma_host_route {
	P2PDMA_HOST_UNKNOWN,
	P2PDMA_HOST_WITHIN,
	P2PDMA_HOST_ANY,
};

/**
 * enum p2pdma_acs_policy - what p2pdma.acs= says about ports that redirect
 * @P2PDMA_ACS_KEEP: nothing is done
 * @P2PDMA_ACS_SWITCH: downstream ports of switches never redirect
 * @P2PDMA_ACS_PATH: they do not while a bound list uses them
 */
enum p2pdma_acs_policy {
	P2PDMA_ACS_KEEP,
	P2PDMA_ACS_SWITCH,
	P2PDMA_ACS_PATH,
};

struct p2pdma_acs_hold;
struct seq_buf;

/* p2pdma.c */
extern struct mutex p2pdma_register_lock;
extern unsigned int p2pdma_drain_report_seconds;
/* p2pdma_core_test.c */
unsigned int p2pdma_set_drain_report(unsigned int seconds);
void *p2pdma_alloc(struct pci_dev *pdev, size_t size, unsigned long holder);
u64 p2pdma_available(struct pci_p2pdma *provider);
u32 p2pdma_contents(struct pci_dev *pdev);
void p2pdma_path_lost(void);
void p2pdma_path_goes(void);
void p2pdma_path_went(void);

/* p2pdma-host.c */
extern bool p2pdma_cpu_routes;
void p2pdma_host_bridges_changed(void);
bool p2pdma_hosts_route(struct pci_dev *a, struct pci_dev *b);
void p2pdma_write_host_remedy(struct seq_buf *s, struct pci_dev *a,
			      struct pci_dev *b);
int p2pdma_allow_host_bridges(const char *list);

/* p2pdma-topology.c */
struct pci_dev *p2pdma_client_function(struct device *dev);
bool p2pdma_is_switch_port(struct pci_dev *bridge);
struct pci_dev *p2pdma_next_bridge(struct p2pdma_legs *legs);
void p2pdma_judge(struct pci_dev *provider, struct pci_dev *client,
		  struct p2pdma_path *path);
void p2pdma_judge_device(struct pci_dev *provider, struct device *client,
			 struct p2pdma_path *path);
char *p2pdma_refusal(struct pci_dev *provider, struct device *client,
		     const struct p2pdma_path *path);

/* p2pdma-clients.c */
extern struct mutex p2pdma_bind_lock;
void p2pdma_provider_add(struct pci_p2pdma *provider);
void p2pdma_provider_remove(struct pci_p2pdma *provider);
void p2pdma_tell_lists(struct pci_p2pdma *provider);
void p2pdma_rearm_lists(struct pci_p2pdma *provider, bool all);
void p2pdma_search_again(void);
void p2pdma_topology_changed(void);
void p2pdma_topology_settle(void);
void p2pdma_list_users(struct pci_p2pdma *provider, struct seq_buf *s);
void p2pdma_seed_choice(u64 seed);

/* p2pdma-acs.c */
bool p2pdma_acs_judge(struct pci_dev *provider, struct pci_dev *client,
		      struct p2pdma_path *path);
void p2pdma_acs_explain(struct pci_dev *provider, struct pci_dev *client,
			struct seq_buf *s);
int p2pdma_acs_open(struct pci_dev *provider, struct pci_dev *client,
		    struct p2pdma_acs_hold **held);
void p2pdma_acs_close(struct p2pdma_acs_hold *hold);
bool p2pdma_acs_lapsed(struct p2pdma_acs_hold *hold);
void p2pdma_acs_changed(void);
void p2pdma_acs_forget(void);
enum p2pdma_acs_policy p2pdma_acs_set_policy(enum p2pdma_acs_policy policy);

/* p2pdma-sysfs.c */
int p2pdma_sysfs_add(struct pci_dev *pdev);
void p2pdma_sysfs_remove(struct pci_dev *pdev);
bool p2pdma_sysfs_take_back(struct pci_p2pdma *provider);
void p2pdma_sysfs_forget(struct pci_p2pdma *provider);

#endif /* _DRIVERS_PCI_P2PDMA_H */
