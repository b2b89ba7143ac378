// SPDX-License-Identifier: GPL-2.0-only
/* Until 6.3 a class interface's callbacks took a second argument. */
#include <linux/device.h>

void probe_remove(struct device *dev, struct class_interface *intf);

struct class_interface probe_class_interface = { .remove_dev = probe_remove };
