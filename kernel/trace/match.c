// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counting a pattern in a bio's data, by the algorithm of Knuth, Morris and Pratt: it
 * never goes back, so it does not mind where one segment ends and the next begins.
 */
#include <linux/highmem.h>
#include <linux/string.h>

#include "match.h"

/* How many bytes of the pattern match after one more byte, when @matched did before. */
static unsigned int pattern_step(const struct pattern *pattern, unsigned int matched, u8 byte)
{
	while (matched && pattern->bytes[matched] != byte)
		matched = pattern->border[matched - 1];
	return matched + (pattern->bytes[matched] == byte);
}

/* pattern_set() - prepare to look for @length bytes */
void pattern_set(struct pattern *pattern, const u8 *bytes, unsigned int length)
{
	unsigned int i;

	pattern->length = length;
	memcpy(pattern->bytes, bytes, length);
	pattern->border[0] = 0;
	for (i = 1; i < length; i++)
		pattern->border[i] = pattern_step(pattern, pattern->border[i - 1], bytes[i]);
}

/* Occurrences that end in @data. @matched is carried from one piece to the next. */
static u64 pattern_scan(const struct pattern *pattern, unsigned int *matched,
			const u8 *data, unsigned int length)
{
	const u8 *end = data + length;
	u64 count = 0;

	for (; data < end; data++) {
		if (!*matched) {
			data = memchr(data, pattern->bytes[0], end - data);
			if (!data)
				break;
		}
		/* Whoever wrote this may be changing it. Nothing relies on that. */
		*matched = pattern_step(pattern, *matched, READ_ONCE(*data));
		if (*matched == pattern->length) {
			count++;
			*matched = pattern->border[*matched - 1];
		}
	}
	return count;
}

/* pattern_count() - occurrences in the data of @bio from @start on, at all positions */
u64 pattern_count(const struct pattern *pattern, struct bio *bio, struct bvec_iter start)
{
	unsigned int matched = 0;
	struct bvec_iter iter;
	struct bio_vec bvec;
	u64 count = 0;
	u8 *data;

	__bio_for_each_segment(bvec, bio, iter, start) {
		data = bvec_kmap_local(&bvec);
		count += pattern_scan(pattern, &matched, data, bvec.bv_len);
		kunmap_local(data);
	}
	return count;
}
