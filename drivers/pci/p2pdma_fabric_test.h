/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Simulated PCI fabrics for the KUnit tests of peer-to-peer DMA
 *
 * A fabric is a host bridge with config space emulated inside the kernel, in
 * a PCI domain of its own. Everything above config space is real: the kernel
 * enumerates it, assigns bus numbers and BARs, and binds its port driver.
 * Behind the BARs there is nothing; no test may touch that memory by CPU.
 *
 * A topology is text, one function in each line, indented by one space more
 * than the bridge it is below:
 *
 *	root R
 *	 up
 *	  down D1 acs=rr,cr
 *	   ep A bar0=mem64:4M bar2=mem32:2M bar4=io:256
 *	  down D2 acs=none
 *	   ep B 00.0 acs=rr bar0=mem64:4M
 *	   ep C 00.1
 *
 * The first word is the kind:
 *
 *	host	host bridge, as a function of the root bus
 *	root	root port
 *	up	upstream port of a switch
 *	down	downstream port of a switch
 *	ep	PCI Express endpoint
 *	rciep	endpoint integrated in the root complex
 *	bridge	PCI Express to PCI bridge
 *	reverse	PCI to PCI Express bridge
 *	pci-bridge	bridge between conventional buses
 *	pci	conventional PCI function
 *	vf	virtual function of the endpoint before it, of the same depth;
 *		there after fabric_enable_vfs()
 *
 * The other words follow in any order:
 *
 *	NAME		for fabric_dev()
 *	DD.F		device and function; left out, the next free device
 *	acs=BITS	an ACS capability, with these control bits set to begin
 *			with: none, or some of sv,tb,rr,cr,uf,ec,dt
 *	acs-able=BITS	the ACS controls that it has, all of these if left out
 *	acs-wired	the ACS control bits stay as they are, whatever is written
 *	barN=TYPE:SIZE	mem64 (prefetchable), mem32 or io
 *	id=VVVV:DDDD	vendor and device
 *	ari		of a port: forwards alternative routing-ids; of an endpoint,
 *			function 0: it and its others have them, so that 01.0 is
 *			function 8 of the same device
 *	buses=N		of a bridge: N bus numbers below it are left for what
 *			fabric_add() brings, or for VFs on a bus of their own
 *	vf-offset=HEX	of an endpoint with VFs: from its routing-id to that of
 *			the first VF (1); 100 is the next bus
 */
#ifndef _P2PDMA_FABRIC_TEST_H
#define _P2PDMA_FABRIC_TEST_H

#include <kunit/test.h>
#include <linux/pci.h>
#include <linux/types.h>

struct fabric;

/* What the windows for mem32 BARs have; a larger BAR stays unassigned */
#define FABRIC_MEM32_SIZE	SZ_512M

struct fabric *fabric_create(struct kunit *test, const char *topology);
struct fabric *fabric_create_offset(struct kunit *test, const char *topology,
				    s64 offset);
void fabric_destroy(struct fabric *fabric);
struct pci_dev *fabric_dev(struct fabric *fabric, const char *name);
bool fabric_has(struct fabric *fabric, const char *name);

/* Hot plug */
void fabric_remove(struct fabric *fabric, const char *name);
void fabric_unplug(struct fabric *fabric, const char *name);
void fabric_pull(struct fabric *fabric, const char *name);
void fabric_rescan(struct fabric *fabric);
void fabric_add(struct fabric *fabric, const char *name, const char *topology);
void fabric_enable_vfs(struct fabric *fabric, const char *name);

/* What changes config space at run time */
void fabric_reset(struct fabric *fabric, const char *name);
void fabric_set_acs(struct fabric *fabric, const char *name, u16 bits);
void fabric_user_set_acs(struct fabric *fabric, const char *name, u16 bits);
u16 fabric_acs(struct fabric *fabric, const char *name);

/* What is known about host bridges, until the test ends */
void fabric_host_bridges(struct kunit *test, const char *allowed,
			 bool cpu_routes);

/* References held on a function, for N4 */
unsigned int fabric_refs(struct pci_dev *pdev);

/* The log, from a moment on */
void fabric_quiet(struct kunit *test);
u64 fabric_log_mark(void);
unsigned int fabric_log_count(struct kunit *test, u64 mark, const char *level,
			      const char *text);
unsigned int fabric_log_errors(struct kunit *test, u64 mark,
			       struct pci_dev *pdev);

/* p2pmem/ in sysfs, read as user space does */
ssize_t fabric_sysfs_read(struct pci_dev *pdev, const char *file, char *buf,
			  size_t size);
s64 fabric_sysfs_number(struct pci_dev *pdev, const char *file);

#endif /* _P2PDMA_FABRIC_TEST_H */
