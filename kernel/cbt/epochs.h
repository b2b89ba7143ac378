/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_CBT_EPOCHS_H
#define BLKFILTER_CBT_EPOCHS_H

#include <linux/types.h>
#include <uapi/linux/blkfilter/cbt.h>

struct cbt_epochs;

struct cbt_epochs *epochs_create(void);
void epochs_free(struct cbt_epochs *epochs);

void epochs_restart(struct cbt_epochs *epochs, u64 epoch);
void epochs_add(struct cbt_epochs *epochs, u64 epoch);
void epochs_read(struct cbt_epochs *epochs, struct blkfilter_cbt_epochs *answer,
		 struct blkfilter_cbt_epoch *to);
int epochs_name(struct cbt_epochs *epochs, u64 epoch, const __u8 *name);
int epochs_forget(struct cbt_epochs *epochs, const __u8 *name);

#endif /* BLKFILTER_CBT_EPOCHS_H */
