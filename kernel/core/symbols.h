/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_SYMBOLS_H
#define BLKFILTER_SYMBOLS_H

unsigned long symbol_find(const char *name, unsigned long near);

#endif /* BLKFILTER_SYMBOLS_H */
