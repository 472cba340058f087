// SPDX-License-Identifier: GPL-2.0
/*
 * Sample provider for peer-to-peer DMA: a PCI function that is nothing but
 * memory
 *
 * A provider registers a range of one of its BARs and publishes it; the core
 * does the rest: it hands the memory out, finds the devices that can reach it,
 * and takes it down when the driver is unbound. A driver adds two things,
 * because only it knows when its function stops to answer:
 *
 * - pci_p2pdma_quiesce() before that, pci_p2pdma_resume() after
 * - pci_p2pdma_contents_lost() where the memory may not keep what is in it
 *
 * It serves QEMU's "-device ivshmem-plain", whose BAR 2 is memory. Another
 * device can be bound to it by hand:
 *
 *	echo p2pdma_provider > /sys/bus/pci/devices/$BDF/driver_override
 *	echo $BDF > /sys/bus/pci/drivers/p2pdma_provider/bind
 */
#define dev_fmt(fmt) "p2pdma: " fmt

#include <linux/module.h>
#include <linux/pci-p2pdma.h>
#include <linux/pci.h>
#include <linux/pm.h>

static unsigned int bar = 2;
module_param(bar, uint, 0644);
MODULE_PARM_DESC(bar, "the BAR to register (default 2)");

static unsigned long size;
module_param(size, ulong, 0644);
MODULE_PARM_DESC(size, "bytes to register (default 0: the rest of the BAR)");

static unsigned long offset;
module_param(offset, ulong, 0644);
MODULE_PARM_DESC(offset, "bytes from the start of the BAR (default 0)");

static bool publish = true;
module_param(publish, bool, 0644);
MODULE_PARM_DESC(publish, "let orchestrators find the memory (default yes)");

static int p2pdma_provider_probe(struct pci_dev *pdev,
				 const struct pci_device_id *id)
{
	int err;

	/* Without this the BAR may not decode. No bus mastering is needed. */
	err = pcim_enable_device(pdev);
	if (err)
		return err;

	if (bar >= PCI_STD_NUM_BARS) {
		pci_err(pdev, "there is no BAR %u\n", bar);
		return -EINVAL;
	}
	err = pcim_request_region(pdev, bar, KBUILD_MODNAME);
	if (err)
		return err;

	/* If it fails it has said why; there is nothing to undo. */
	err = pci_p2pdma_add_resource(pdev, bar, size, offset);
	if (err)
		return err;

	/* For p2pdma_provider_slot_reset(). */
	pci_save_state(pdev);

	/* Last, as from here on others may use the memory. */
	pci_p2pmem_publish(pdev, publish);
	return 0;
}

/*
 * Only the driver knows when its function no longer needs the memory itself.
 * This one has no commands of its own to finish in between.
 */
static void p2pdma_provider_remove(struct pci_dev *pdev)
{
	pci_p2pdma_quiesce(pdev);
	pci_p2pdma_drain(pdev);
}

/* No drain: what is still allocated must not hold up a reboot. */
static void p2pdma_provider_shutdown(struct pci_dev *pdev)
{
	pci_p2pdma_quiesce(pdev);
}

/* Suspend and every kind of reset: what is allocated may stay allocated. */
static void p2pdma_provider_down(struct pci_dev *pdev)
{
	pci_p2pdma_quiesce(pdev);
	pci_p2pdma_contents_lost(pdev);
}

static void p2pdma_provider_up(struct pci_dev *pdev)
{
	if (pci_p2pdma_resume(pdev))
		pci_err(pdev, "cannot offer the memory again\n");
}

static int p2pdma_provider_suspend(struct device *dev)
{
	p2pdma_provider_down(to_pci_dev(dev));
	return 0;
}

static int p2pdma_provider_resume(struct device *dev)
{
	p2pdma_provider_up(to_pci_dev(dev));
	return 0;
}

static DEFINE_SIMPLE_DEV_PM_OPS(p2pdma_provider_pm_ops,
				p2pdma_provider_suspend,
				p2pdma_provider_resume);

/* After an error that the port above reported (AER, DPC). */
static pci_ers_result_t
p2pdma_provider_error_detected(struct pci_dev *pdev, pci_channel_state_t state)
{
	p2pdma_provider_down(pdev);
	return state == pci_channel_io_perm_failure ?
	       PCI_ERS_RESULT_DISCONNECT : PCI_ERS_RESULT_NEED_RESET;
}

/* The BARs must decode again before anyone is told. */
static pci_ers_result_t p2pdma_provider_slot_reset(struct pci_dev *pdev)
{
	pci_restore_state(pdev);
	pci_save_state(pdev);
	return PCI_ERS_RESULT_RECOVERED;
}

static const struct pci_error_handlers p2pdma_provider_err_handlers = {
	.error_detected	= p2pdma_provider_error_detected,
	.slot_reset	= p2pdma_provider_slot_reset,
	.resume		= p2pdma_provider_up,
	.reset_prepare	= p2pdma_provider_down,
	.reset_done	= p2pdma_provider_up,
};

static const struct pci_device_id p2pdma_provider_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, 0x1110) },
	{ }
};
MODULE_DEVICE_TABLE(pci, p2pdma_provider_ids);

static struct pci_driver p2pdma_provider_driver = {
	.name		= KBUILD_MODNAME,
	.id_table	= p2pdma_provider_ids,
	.probe		= p2pdma_provider_probe,
	.remove		= p2pdma_provider_remove,
	.shutdown	= p2pdma_provider_shutdown,
	.err_handler	= &p2pdma_provider_err_handlers,
	.driver.pm	= pm_sleep_ptr(&p2pdma_provider_pm_ops),
};
module_pci_driver(p2pdma_provider_driver);

MODULE_DESCRIPTION("Sample provider for peer-to-peer DMA: a memory-only function");
MODULE_LICENSE("GPL");
