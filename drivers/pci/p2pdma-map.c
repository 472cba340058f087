// SPDX-License-Identifier: GPL-2.0
/*
 * PCI peer-to-peer DMA: mapping scatterlists of peer memory
 *
 * Below a switch, a device is programmed with the address that the
 * provider's BAR decodes: the PCI bus address. It differs from the CPU
 * physical address wherever the host bridge translates:
 *
 *	bus = physical + (pci_bus_address() - pci_resource_start())
 *
 * On a path through the root complex it is programmed with what the DMA API
 * makes of the physical address, as for system memory: an IOMMU translates it,
 * and the host bridge.
 *
 * There are two ways to a mapping and one rule for both. pci_p2pdma_map_sg()
 * takes a list of peer memory only. The DMA API takes mixed lists and calls
 * pci_p2pdma_map_segment() for the entries that are peer memory. Entries with
 * a bus address carry a mark, which tells both to leave the rest alone when
 * they unmap.
 *
 * Nothing here sleeps. What is mapped by bus address allocates nothing, takes
 * no lock and reads no config space.
 */
#include <linux/dma-mapping.h>
#include <linux/scatterlist.h>
#include "p2pdma.h"

/* The memory is never cached; a refusal is for the caller to tell */
#define P2PDMA_DMA_ATTRS	(DMA_ATTR_SKIP_CPU_SYNC | DMA_ATTR_NO_WARN)

/* The rule: how @dev has to address memory of @provider */
static enum pci_p2pdma_map_type p2pdma_map_type(struct pci_p2pdma *provider,
						struct device *dev)
{
	struct p2pdma_path path;

	p2pdma_judge_device(provider->pdev, dev, &path);
	return path.map;
}

/* Is the entry inside the region in which it starts, and not empty? */
static bool p2pdma_entry_valid(struct p2pdma_region *region,
			       struct scatterlist *sg)
{
	return sg->length &&
	       sg_phys(sg) + sg->length - 1 <= region->pgmap.range.end;
}

/*
 * Can @dev emit the addresses from @addr on? The limit of the host bridge does
 * not count: they never get there.
 */
static bool p2pdma_addressable(struct device *dev, u64 addr, size_t len)
{
	u64 limit = dma_get_mask(dev);

	return addr + len - 1 >= addr && addr + len - 1 <= limit;
}

static bool p2pdma_set_bus_address(struct device *dev, struct scatterlist *sg,
				   u64 bus_offset)
{
	u64 addr = sg_phys(sg) + bus_offset;

	if (!p2pdma_addressable(dev, addr, sg->length))
		return false;
	sg->dma_address = addr;
	sg_dma_len(sg) = sg->length;
	sg_dma_mark_bus_address(sg);
	return true;
}

/**
 * pci_p2pdma_map_segment - map one entry for the DMA API
 * @state: zeroed before the first entry of a list
 * @dev: the device that will DMA
 * @sg: an entry with peer memory
 *
 * Context: any, does not sleep.
 *
 * Return: %PCI_P2PDMA_MAP_BUS_ADDR - the entry is mapped;
 * %PCI_P2PDMA_MAP_THRU_HOST_BRIDGE - the caller maps it like system memory;
 * %PCI_P2PDMA_MAP_NOT_SUPPORTED - @dev cannot reach it.
 */
enum pci_p2pdma_map_type
pci_p2pdma_map_segment(struct pci_p2pdma_map_state *state, struct device *dev,
		       struct scatterlist *sg)
{
	struct p2pdma_region *region = p2pdma_page_region(sg_page(sg));

	if (state->pgmap != &region->pgmap) {
		state->pgmap = &region->pgmap;
		state->map = p2pdma_map_type(region->provider, dev);
		state->bus_off = region->bus_offset;
	}

	if (!p2pdma_entry_valid(region, sg))
		return PCI_P2PDMA_MAP_NOT_SUPPORTED;
	if (state->map == PCI_P2PDMA_MAP_BUS_ADDR &&
	    !p2pdma_set_bus_address(dev, sg, state->bus_off))
		return PCI_P2PDMA_MAP_NOT_SUPPORTED;
	return state->map;
}

/* A segment that @dev cannot take whole would have to be split by its driver */
static bool p2pdma_segment_fits(struct device *dev, struct scatterlist *sg)
{
	u64 boundary = dma_get_seg_boundary(dev);

	return sg_dma_len(sg) <= dma_get_max_seg_size(dev) &&
	       (sg_dma_address(sg) | boundary) ==
	       ((sg_dma_address(sg) + sg_dma_len(sg) - 1) | boundary);
}

static void p2pdma_unmark(struct scatterlist *sg, int nents)
{
	int i;

	for (i = 0; i < nents; i++, sg = sg_next(sg)) {
		sg_dma_unmark_bus_address(sg);
		/* The DMA API takes what it finds here for its own */
		sg->dma_address = 0;
		sg_dma_len(sg) = 0;
	}
}

/* The provider of a list whose entries are all its memory, or NULL */
static struct pci_p2pdma *p2pdma_list_provider(struct scatterlist *sgl,
					       int nents)
{
	struct pci_p2pdma *provider = NULL;
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i) {
		struct p2pdma_region *region;

		if (!sg || !is_pci_p2pdma_page(sg_page(sg)))
			return NULL;
		region = p2pdma_page_region(sg_page(sg));
		if ((provider && provider != region->provider) ||
		    !p2pdma_entry_valid(region, sg))
			return NULL;
		provider = region->provider;
	}
	return provider;
}

static int p2pdma_map_bus(struct device *dev, struct scatterlist *sgl,
			  int nents)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i) {
		struct p2pdma_region *region = p2pdma_page_region(sg_page(sg));

		if (!p2pdma_set_bus_address(dev, sg, region->bus_offset) ||
		    !p2pdma_segment_fits(dev, sg)) {
			p2pdma_unmark(sgl, i + 1);
			return -EREMOTEIO;
		}
	}
	return nents;
}

/* How the list was mapped stands in it: the path may have changed since */
static bool p2pdma_all_marked(struct scatterlist *sgl, int nents)
{
	struct scatterlist *sg;
	int i;

	for_each_sg(sgl, sg, nents, i)
		if (!sg_dma_is_bus_address(sg))
			return false;
	return true;
}

static void p2pdma_unmap_through_host(struct device *dev,
				      struct scatterlist *sgl, int nents,
				      enum dma_data_direction dir)
{
	dma_unmap_sg_attrs(dev, sgl, nents, dir, P2PDMA_DMA_ATTRS);
	p2pdma_unmark(sgl, nents);
}

static int p2pdma_map_through_host(struct device *dev, struct scatterlist *sgl,
				   int nents, enum dma_data_direction dir)
{
	struct sg_table sgt = {
		.sgl = sgl, .nents = nents, .orig_nents = nents,
	};
	struct scatterlist *sg;
	int ret, i;

	for_each_sg(sgl, sg, nents, i)
		if (sg->length > dma_get_max_seg_size(dev))
			return -EREMOTEIO;

	ret = dma_map_sgtable(dev, &sgt, dir, P2PDMA_DMA_ATTRS);
	if (ret)
		return ret == -ENOMEM ? -ENOMEM : -EREMOTEIO;

	for_each_sgtable_dma_sg(&sgt, sg, i) {
		if (p2pdma_segment_fits(dev, sg))
			continue;
		p2pdma_unmap_through_host(dev, sgl, nents, dir);
		return -EREMOTEIO;
	}
	/*
	 * The path became a direct one meanwhile. Unmapping could not tell that
	 * the DMA API knows of this list.
	 */
	if (p2pdma_all_marked(sgl, nents)) {
		p2pdma_unmap_through_host(dev, sgl, nents, dir);
		return p2pdma_map_bus(dev, sgl, nents);
	}
	return sgt.nents;
}

int pci_p2pdma_map_sg(struct device *dev, struct scatterlist *sgl, int nents,
		      enum dma_data_direction dir)
{
	struct pci_p2pdma *provider;

	if (nents <= 0 || !valid_dma_direction(dir) || !dev->dma_mask)
		return -EREMOTEIO;

	provider = p2pdma_list_provider(sgl, nents);
	if (!provider)
		return -EREMOTEIO;

	switch (p2pdma_map_type(provider, dev)) {
	case PCI_P2PDMA_MAP_BUS_ADDR:
		return p2pdma_map_bus(dev, sgl, nents);
	case PCI_P2PDMA_MAP_THRU_HOST_BRIDGE:
		return p2pdma_map_through_host(dev, sgl, nents, dir);
	default:
		return -EREMOTEIO;
	}
}
EXPORT_SYMBOL_GPL(pci_p2pdma_map_sg);

/* If the path changed within a list, only some entries are marked */
void pci_p2pdma_unmap_sg(struct device *dev, struct scatterlist *sg, int nents,
			 enum dma_data_direction dir)
{
	if (p2pdma_all_marked(sg, nents))
		p2pdma_unmark(sg, nents);
	else
		p2pdma_unmap_through_host(dev, sg, nents, dir);
}
EXPORT_SYMBOL_GPL(pci_p2pdma_unmap_sg);
