// SPDX-License-Identifier: MIT
/*
 * nowait DEV: one direct write of 4 KiB that must not wait, at sector 0. Prints "0" or
 * the name of the errno.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

int main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDWR | O_DIRECT) : -1;
	struct iovec iov = { .iov_len = 4096 };

	if (fd < 0 || posix_memalign(&iov.iov_base, 4096, iov.iov_len))
		return 1;
	memset(iov.iov_base, 0x5a, iov.iov_len);
	puts(pwritev2(fd, &iov, 1, 0, RWF_NOWAIT) < 0 ? strerrorname_np(errno) : "0");
	return 0;
}
