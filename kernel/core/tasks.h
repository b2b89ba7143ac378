/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_TASKS_H
#define BLKFILTER_TASKS_H

int tasks_wait(unsigned long timeout);
void tasks_name(void);
void tasks_stop(void);

#endif /* BLKFILTER_TASKS_H */
