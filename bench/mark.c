// SPDX-License-Identifier: MIT
/*
 * Marks blocks of a device as changed, as writes would, but in less time.
 *
 *	mark DEV BLOCKS BLOCK_SECTORS FRACTION RUN
 *
 * FRACTION of its BLOCKS, in runs of RUN that stand at random distances. Prints how
 * many runs.
 */
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/blk-filter.h>
#include <linux/blkfilter/cbt.h>

static uint64_t state = 88172645463325252ull;

static double random_fraction(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (double)(state >> 11) / (1ull << 53);
}

int main(int argc, char **argv)
{
	struct blkfilter_cbt_extent extent;
	struct blkfilter_ctl ctl = {
		.name = BLKFILTER_CBT_NAME,
		.cmd = BLKFILTER_CBT_MARK,
		.opt = (uintptr_t)&extent,
	};
	uint64_t blocks, sectors, run, block, runs = 0;
	double fraction, gap;
	int fd;

	if (argc != 6) {
		fprintf(stderr, "usage: mark DEV BLOCKS BLOCK_SECTORS FRACTION RUN\n");
		return 2;
	}
	blocks = strtoull(argv[2], NULL, 0);
	sectors = strtoull(argv[3], NULL, 0);
	fraction = atof(argv[4]);
	run = strtoull(argv[5], NULL, 0);
	fd = open(argv[1], O_RDONLY);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}

	/* At least one block lies between two runs, so that each is an extent. */
	gap = run * (1 - fraction) / fraction - 1;
	for (block = 0;; block += run) {
		block += 1 + (gap > 0 ? (uint64_t)(log(1 - random_fraction()) / log(gap / (gap + 1))) : 0);
		if (block + run > blocks)
			break;
		extent = (struct blkfilter_cbt_extent) { .sector = block * sectors, .count = run * sectors };
		ctl.optlen = sizeof(extent);
		if (ioctl(fd, BLKFILTER_CTL, &ctl)) {
			perror("BLKFILTER_CBT_MARK");
			return 1;
		}
		runs++;
	}
	printf("%llu\n", (unsigned long long)runs);
	return 0;
}
