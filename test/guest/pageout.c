// SPDX-License-Identifier: MIT
/*
 * Makes the kernel write so many MiB to swap and read them back:
 *
 *	pageout MIB
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

int main(int argc, char **argv)
{
	size_t size = argc == 2 ? strtoul(argv[1], NULL, 0) << 20 : 0, i;
	unsigned int *data;

	data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	/* Nothing that could be kept compressed or shared. */
	for (i = 0; i < size / sizeof(*data); i++)
		data[i] = random();
	if (madvise(data, size, MADV_PAGEOUT)) {
		perror("madvise");
		return 1;
	}
	srandom(1);
	for (i = 0; i < size / sizeof(*data); i++) {
		if (data[i] != (unsigned int)random()) {
			fprintf(stderr, "pageout: other data came back\n");
			return 1;
		}
	}
	return 0;
}
