// SPDX-License-Identifier: MIT
/*
 * Copies extents, past the page cache, from one device to the same places of
 * another:
 *
 *	copy-extents FROM TO < "SECTOR COUNT" lines
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHUNK (1 << 20)

int main(int argc, char **argv)
{
	unsigned long long sector, count;
	int from, to;
	void *data;

	if (argc != 3 || posix_memalign(&data, 4096, CHUNK))
		return 2;
	from = open(argv[1], O_RDONLY | O_DIRECT);
	to = open(argv[2], O_WRONLY | O_DIRECT);
	if (from < 0 || to < 0) {
		perror("open");
		return 1;
	}
	while (scanf("%llu %llu", &sector, &count) == 2) {
		while (count) {
			size_t length = count * 512 < CHUNK ? count * 512 : CHUNK;

			if (pread(from, data, length, sector * 512) != (ssize_t)length ||
			    pwrite(to, data, length, sector * 512) != (ssize_t)length) {
				perror("copy");
				return 1;
			}
			sector += length / 512;
			count -= length / 512;
		}
	}
	return fsync(to) ? 1 : 0;
}
