// SPDX-License-Identifier: GPL-2.0
/*
 * p2pdma_rnic: an emulated RDMA adapter for the peer-to-peer DMA selftests
 *
 * A test device: it is there so that RDMA users in the kernel (nvme-rdma,
 * nvmet-rdma) can be run where the only PCI functions are emulated drives. It
 * binds by driver_override to an NVMe function, whose controller it uses as a
 * copy engine (rnic_engine.c), and brings an RDMA device with iWARP connection
 * management and a network device of its own. Adapters reach each other, and
 * themselves, inside the machine.
 *
 * /sys/kernel/debug/p2pdma_rnic/<RDMA device>/ has
 *  counters	what was moved, "key=value"
 *  mode	"engine" or "cpu"
 *  fail	"OPERATION N [STATUS]": the Nth next read, write, send or reg fails
 *  dma_bits	what it is said to address
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/string.h>

#include "rnic.h"

struct workqueue_struct *rnic_wq;
struct workqueue_struct *rnic_cm_wq;

static struct dentry *debugfs_root;

static const char * const mode_names[RNIC_MODES] = {
	[RNIC_MODE_ENGINE] = "engine",
	[RNIC_MODE_CPU] = "cpu",
};

const char * const rnic_op_names[RNIC_OPS] = {
	[RNIC_READ] = "read",
	[RNIC_WRITE] = "write",
	[RNIC_SEND] = "send",
	[RNIC_REG] = "reg",
};

unsigned int rnic_mr_pages = RNIC_MAX_PAGES;
module_param_named(mr_pages, rnic_mr_pages, uint, 0644);
MODULE_PARM_DESC(mr_pages, "pages that an adapter bound from now on registers at a time");

static int default_mode = RNIC_MODE_ENGINE;

static int set_default_mode(const char *val, const struct kernel_param *kp)
{
	int mode = sysfs_match_string(mode_names, val);

	if (mode < 0)
		return mode;
	default_mode = mode;
	return 0;
}

static int get_default_mode(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", mode_names[default_mode]);
}

static const struct kernel_param_ops mode_ops = {
	.set = set_default_mode,
	.get = get_default_mode,
};

module_param_cb(mode, &mode_ops, NULL, 0644);
MODULE_PARM_DESC(mode, "what moves the payload of new adapters: engine (default) or cpu");

/* --- debugfs --- */

static int counters_show(struct seq_file *m, void *unused)
{
	static const char * const sides[] = { "local", "remote" };
	static const char * const wheres[] = { "ram", "bar" };
	struct rnic_dev *dev = m->private;
	unsigned int op, side, where;

	for (op = 0; op < RNIC_OPS; op++) {
		seq_printf(m, "%s_ops=%lld\n%s_bytes=%lld\n%s_errors=%lld\n",
			   rnic_op_names[op],
			   atomic64_read(&dev->done[op].ops),
			   rnic_op_names[op],
			   atomic64_read(&dev->done[op].bytes),
			   rnic_op_names[op], atomic64_read(&dev->errors[op]));
		if (op == RNIC_REG)
			continue;
		for (side = 0; side < RNIC_SIDES; side++) {
			for (where = 0; where < RNIC_WHERES; where++) {
				struct rnic_count *count =
					&dev->where[op][side][where];

				seq_printf(m, "%s_%s_%s_ops=%lld\n",
					   rnic_op_names[op], sides[side],
					   wheres[where],
					   atomic64_read(&count->ops));
				seq_printf(m, "%s_%s_%s_bytes=%lld\n",
					   rnic_op_names[op], sides[side],
					   wheres[where],
					   atomic64_read(&count->bytes));
			}
		}
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

static int mode_show(struct seq_file *m, void *unused)
{
	struct rnic_dev *dev = m->private;

	seq_printf(m, "%s\n", mode_names[READ_ONCE(dev->engine.mode)]);
	return 0;
}

static int copy_word(char *to, size_t size, const char __user *from, size_t n)
{
	if (n >= size)
		return -EINVAL;
	if (copy_from_user(to, from, n))
		return -EFAULT;
	to[n] = 0;
	return 0;
}

static ssize_t mode_write(struct file *file, const char __user *ubuf,
			  size_t count, loff_t *pos)
{
	struct rnic_dev *dev = file_inode(file)->i_private;
	char buf[16];
	int err, mode;

	err = copy_word(buf, sizeof(buf), ubuf, count);
	if (err)
		return err;
	mode = sysfs_match_string(mode_names, buf);
	if (mode < 0)
		return mode;
	rnic_engine_set_mode(dev, mode);
	return count;
}
DEFINE_SHOW_STORE_ATTRIBUTE(mode);

static int fail_show(struct seq_file *m, void *unused)
{
	struct rnic_dev *dev = m->private;
	unsigned int op;

	for (op = 0; op < RNIC_OPS; op++) {
		struct rnic_fail *fail = &dev->fail[op];

		guard(spinlock)(&fail->lock);
		seq_printf(m, "%s %u %d\n", rnic_op_names[op], fail->nth,
			   fail->status);
	}
	return 0;
}

static ssize_t fail_write(struct file *file, const char __user *ubuf,
			  size_t count, loff_t *pos)
{
	struct rnic_dev *dev = file_inode(file)->i_private;
	unsigned int nth, status = IB_WC_GENERAL_ERR;
	char buf[32], word[8];
	int err, op;

	err = copy_word(buf, sizeof(buf), ubuf, count);
	if (err)
		return err;
	if (sscanf(buf, "%7s %u %u", word, &nth, &status) < 2)
		return -EINVAL;
	op = match_string(rnic_op_names, RNIC_OPS, word);
	if (op < 0)
		return op;
	if (status == IB_WC_SUCCESS || status > IB_WC_GENERAL_ERR)
		return -EINVAL;
	guard(spinlock)(&dev->fail[op].lock);
	dev->fail[op].nth = nth;
	dev->fail[op].status = status;
	return count;
}
DEFINE_SHOW_STORE_ATTRIBUTE(fail);

static int dma_bits_show(struct seq_file *m, void *unused)
{
	struct rnic_dev *dev = m->private;

	seq_printf(m, "%d\n", fls64(dma_get_mask(dev->ibdev.dma_device)));
	return 0;
}

/* What the adapter is said to address: fewer bits than a BAR is at, for a test */
static ssize_t dma_bits_write(struct file *file, const char __user *ubuf,
			      size_t count, loff_t *pos)
{
	struct rnic_dev *dev = file_inode(file)->i_private;
	unsigned int bits;
	int err;

	err = kstrtouint_from_user(ubuf, count, 10, &bits);
	if (err)
		return err;
	if (!bits || bits > 64)
		return -EINVAL;
	err = dma_set_mask(dev->ibdev.dma_device, DMA_BIT_MASK(bits));
	return err ?: count;
}
DEFINE_SHOW_STORE_ATTRIBUTE(dma_bits);

static void add_debugfs(struct rnic_dev *dev)
{
	dev->debugfs = debugfs_create_dir(dev_name(&dev->ibdev.dev),
					  debugfs_root);
	debugfs_create_file("counters", 0444, dev->debugfs, dev,
			    &counters_fops);
	debugfs_create_file("mode", 0644, dev->debugfs, dev, &mode_fops);
	debugfs_create_file("fail", 0644, dev->debugfs, dev, &fail_fops);
	debugfs_create_file("dma_bits", 0644, dev->debugfs, dev,
			    &dma_bits_fops);
}

/* --- the network device, which only has an address --- */

static netdev_tx_t netdev_drop(struct sk_buff *skb, struct net_device *netdev)
{
	netdev->stats.tx_dropped++;
	dev_kfree_skb_any(skb);
	return NETDEV_TX_OK;
}

static const struct net_device_ops netdev_ops = {
	.ndo_start_xmit = netdev_drop,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
};

static void netdev_setup(struct net_device *netdev)
{
	ether_setup(netdev);
	netdev->netdev_ops = &netdev_ops;
	/* Another adapter's address is reached without asking for it. */
	netdev->flags |= IFF_NOARP;
	eth_hw_addr_random(netdev);
}

static int add_netdev(struct rnic_dev *dev)
{
	struct net_device *netdev;
	int err;

	netdev = alloc_netdev(0, "prnic%d", NET_NAME_ENUM, netdev_setup);
	if (!netdev)
		return -ENOMEM;
	SET_NETDEV_DEV(netdev, &dev->pdev->dev);
	err = register_netdev(netdev);
	if (err) {
		free_netdev(netdev);
		return err;
	}
	netif_carrier_on(netdev);
	dev->netdev = netdev;
	return 0;
}

/* --- the PCI function --- */

static void init_dev(struct rnic_dev *dev, struct pci_dev *pdev)
{
	unsigned int op;

	dev->pdev = pdev;
	xa_init_flags(&dev->qps, XA_FLAGS_ALLOC);
	xa_init_flags(&dev->mrs, XA_FLAGS_ALLOC);
	spin_lock_init(&dev->mr_lock);
	init_waitqueue_head(&dev->mr_idle);
	for (op = 0; op < RNIC_OPS; op++)
		spin_lock_init(&dev->fail[op].lock);
}

static int prepare_pci(struct pci_dev *pdev)
{
	int err;

	err = pcim_enable_device(pdev);
	if (err)
		return err;
	pci_set_master(pdev);
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	return dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
}

static int register_ibdev(struct rnic_dev *dev)
{
	struct ib_device *ibdev = &dev->ibdev;
	struct pci_dev *pdev = dev->pdev;
	u64 id = (u64)pci_domain_nr(pdev->bus) << 16 | pci_dev_id(pdev);
	int err;

	ibdev->node_type = RDMA_NODE_RNIC;
	/* Locally administered */
	ibdev->node_guid = cpu_to_be64(0x0200000000000000 | id);
	ibdev->phys_port_cnt = 1;
	ibdev->num_comp_vectors = num_online_cpus();
	ibdev->local_dma_lkey = RNIC_LOCAL_DMA_LKEY;
	ibdev->dev.parent = &pdev->dev;
	ibdev->iw_driver_flags = IW_F_NO_PORT_MAP;
	strscpy(ibdev->iw_ifname, dev->netdev->name, sizeof(ibdev->iw_ifname));
	strscpy(ibdev->node_desc, "emulated RDMA adapter",
		sizeof(ibdev->node_desc));
	ib_set_device_ops(ibdev, &rnic_dev_ops);
	err = ib_device_set_netdev(ibdev, dev->netdev, 1);
	return err ?: ib_register_device(ibdev, "p2prnic%d", &pdev->dev);
}

static int rnic_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct net_device *netdev;
	struct rnic_dev *dev;
	int err;

	if (pdev->class != PCI_CLASS_STORAGE_EXPRESS)
		return -ENODEV;
	err = prepare_pci(pdev);
	if (err)
		return err;
	dev = ib_alloc_device(rnic_dev, ibdev);
	if (!dev)
		return -ENOMEM;
	init_dev(dev, pdev);
	dev->engine.mode = default_mode;
	err = rnic_engine_start(dev);
	if (err)
		goto dealloc;
	err = add_netdev(dev);
	if (err)
		goto stop_engine;
	rnic_cm_add_dev(dev);
	err = register_ibdev(dev);
	if (err)
		goto remove_netdev;
	add_debugfs(dev);
	pci_set_drvdata(pdev, dev);
	pci_info(pdev, "%s with %s, a test device: payload is moved by the %s\n",
		 dev_name(&dev->ibdev.dev), dev->netdev->name,
		 mode_names[default_mode]);
	return 0;

remove_netdev:
	rnic_cm_remove_dev(dev);
	unregister_netdev(dev->netdev);
stop_engine:
	rnic_engine_stop(dev);
dealloc:
	netdev = dev->netdev;
	ib_dealloc_device(&dev->ibdev);
	if (netdev)
		free_netdev(netdev);
	return err;
}

/* Users see that their connections go, and that what they post is flushed. */
static void fail_queue_pairs(struct rnic_dev *dev)
{
	struct rnic_qp *qp;
	unsigned long num = 0;

	for (;;) {
		xa_lock(&dev->qps);
		qp = xa_find(&dev->qps, &num, ULONG_MAX, XA_PRESENT);
		if (qp && !refcount_inc_not_zero(&qp->refs))
			qp = ERR_PTR(-EBUSY);
		xa_unlock(&dev->qps);
		if (!qp)
			return;
		num++;
		if (IS_ERR(qp))
			continue;
		rnic_qp_error(qp, IB_EVENT_DEVICE_FATAL);
		rnic_qp_put(qp);
	}
}

static void rnic_remove(struct pci_dev *pdev)
{
	struct rnic_dev *dev = pci_get_drvdata(pdev);
	struct net_device *netdev = dev->netdev;

	debugfs_remove_recursive(dev->debugfs);
	fail_queue_pairs(dev);
	ib_unregister_device(&dev->ibdev);
	rnic_cm_remove_dev(dev);
	unregister_netdev(netdev);
	rnic_engine_stop(dev);
	WARN_ON(!xa_empty(&dev->qps) || !xa_empty(&dev->mrs));
	ib_dealloc_device(&dev->ibdev);
	free_netdev(netdev);
}

static void rnic_shutdown(struct pci_dev *pdev)
{
	rnic_engine_stop(pci_get_drvdata(pdev));
}

/* By driver_override only */
static const struct pci_device_id rnic_ids[] = {
	{}
};

static struct pci_driver rnic_driver = {
	.name = KBUILD_MODNAME,
	.id_table = rnic_ids,
	.probe = rnic_probe,
	.remove = rnic_remove,
	.shutdown = rnic_shutdown,
};

static int __init rnic_init(void)
{
	int err = -ENOMEM;

	rnic_wq = alloc_workqueue("p2pdma_rnic", WQ_UNBOUND | WQ_MEM_RECLAIM,
				  0);
	rnic_cm_wq = alloc_workqueue("p2pdma_rnic_cm",
				     WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!rnic_wq || !rnic_cm_wq)
		goto destroy;
	debugfs_root = debugfs_create_dir(KBUILD_MODNAME, NULL);
	err = pci_register_driver(&rnic_driver);
	if (!err)
		return 0;
	debugfs_remove_recursive(debugfs_root);
destroy:
	if (rnic_cm_wq)
		destroy_workqueue(rnic_cm_wq);
	if (rnic_wq)
		destroy_workqueue(rnic_wq);
	return err;
}

static void __exit rnic_exit(void)
{
	pci_unregister_driver(&rnic_driver);
	debugfs_remove_recursive(debugfs_root);
	destroy_workqueue(rnic_cm_wq);
	destroy_workqueue(rnic_wq);
}

module_init(rnic_init);
module_exit(rnic_exit);

MODULE_DESCRIPTION("Emulated RDMA adapter for the peer-to-peer DMA selftests");
MODULE_LICENSE("GPL");
