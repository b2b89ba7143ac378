// SPDX-License-Identifier: MIT
/*
 * atomic-write DEV COUNT: COUNT direct writes of 4 to 32 KiB that the disk has to do as
 * a whole or not at all (RWF_ATOMIC, Linux 6.11).
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#ifndef RWF_ATOMIC
#define RWF_ATOMIC	0x40
#endif

int main(int argc, char **argv)
{
	struct iovec data;
	void *buffer;
	int i, fd;

	if (argc != 3)
		return 2;
	fd = open(argv[1], O_WRONLY | O_DIRECT);
	if (fd < 0)
		err(1, "%s", argv[1]);
	if (posix_memalign(&buffer, 4096, 32768))
		return 1;
	memset(buffer, 0xa5, 32768);
	/* A power of two, at a multiple of itself. */
	for (i = 0; i < atoi(argv[2]); i++) {
		data = (struct iovec){ buffer, 4096 << i % 4 };
		if (pwritev2(fd, &data, 1, i * 32768, RWF_ATOMIC) != (ssize_t)data.iov_len)
			err(1, "%zu bytes", data.iov_len);
	}
	return 0;
}
