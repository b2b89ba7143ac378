/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_SELFTEST_H
#define BLKFILTER_SELFTEST_H

int selftest_run(void);

#endif /* BLKFILTER_SELFTEST_H */
