/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_TRACE_MATCH_H
#define BLKFILTER_TRACE_MATCH_H

#include <linux/bio.h>
#include <uapi/linux/blkfilter/trace.h>

/**
 * struct pattern - bytes to look for
 * @length: how many; 0: nothing is looked for
 * @bytes: they
 * @border: of the first N + 1 of them, how many of the last are the first ones again
 */
struct pattern {
	unsigned int length;
	u8 bytes[BLKFILTER_TRACE_PATTERN_MAX];
	u8 border[BLKFILTER_TRACE_PATTERN_MAX];
};

void pattern_set(struct pattern *pattern, const u8 *bytes, unsigned int length);
u64 pattern_count(const struct pattern *pattern, struct bio *bio,
		  struct bvec_iter start);

#endif /* BLKFILTER_TRACE_MATCH_H */
