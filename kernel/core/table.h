/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_TABLE_H
#define BLKFILTER_TABLE_H

#include <linux/types.h>

struct gendisk;
struct table;

void table_start(void);
void table_stop(void);

bool table_has(struct gendisk *disk);
struct table *table_read(struct gendisk *disk, bool *swapping);
bool table_keeps(const struct table *old, const struct table *new);

#endif /* BLKFILTER_TABLE_H */
