// SPDX-License-Identifier: MIT
/*
 * tracker DEV attach|checkpoint|info|changed: cbt without Node, for a machine that has nothing else. info prints
 * the generation, why it began and the epoch; changed, how many sectors changed since epoch 1, and of how many.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include <linux/blk-filter.h>
#include <linux/blkfilter/cbt.h>

static int ctl(int fd, unsigned int cmd, void *option, unsigned int length)
{
	struct blkfilter_ctl ctl = { .cmd = cmd, .optlen = length, .opt = (uintptr_t)option };

	memcpy(ctl.name, BLKFILTER_CBT_NAME, sizeof(BLKFILTER_CBT_NAME));
	return ioctl(fd, BLKFILTER_CTL, &ctl);
}

int main(int argc, char **argv)
{
	struct blkfilter_name name = { .name = BLKFILTER_CBT_NAME };
	struct blkfilter_cbt_checkpoint checkpoint = { 0 };
	struct blkfilter_cbt_extent extents[64];
	struct blkfilter_cbt_changes changes = {
		.since = 1, .extents = (uintptr_t)extents, .capacity = 64,
	};
	struct blkfilter_cbt_info info;
	unsigned long long sum = 0;
	unsigned int i;
	int fd, ret;

	if (argc != 3)
		return 2;
	fd = open(argv[1], O_RDONLY);
	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	if (!strcmp(argv[2], "attach")) {
		ret = ioctl(fd, BLKFILTER_ATTACH, &name);
	} else if (!strcmp(argv[2], "checkpoint")) {
		ret = ctl(fd, BLKFILTER_CBT_CHECKPOINT, &checkpoint, sizeof(checkpoint));
	} else if (!strcmp(argv[2], "changed")) {
		do {
			ret = ctl(fd, BLKFILTER_CBT_CHANGES, &changes, sizeof(changes));
			for (i = 0; !ret && i < changes.count; i++)
				sum += extents[i].count;
		} while (!ret && changes.cursor < changes.end);
		printf("%llu of %llu\n", sum, (unsigned long long)changes.end);
	} else {
		ret = ctl(fd, BLKFILTER_CBT_INFO, &info, sizeof(info));
		for (i = 0; i < sizeof(info.generation); i++)
			printf("%02x", info.generation[i]);
		printf(" %u %llu\n", info.gap, (unsigned long long)info.epoch);
	}
	if (ret)
		perror(argv[2]);
	return ret != 0;
}
