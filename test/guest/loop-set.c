// SPDX-License-Identifier: MIT
/*
 * loop-set DEV status|compat OFFSET SIZELIMIT [autoclear], loop-set DEV old OFFSET,
 * loop-set DEV file FILE: what losetup does not do with a loop device that is in use.
 * compat enters the kernel as a 32-bit program does; old is the ioctl with the older struct,
 * which has no size limit.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/loop.h>

/* ioctl(2), through the 32-bit entry; @arg lies below 4 GiB. */
static long compat_ioctl(int fd, unsigned int cmd, void *arg)
{
	long ret;

	asm volatile("int $0x80"
		     : "=a"(ret)
		     : "0"(54L /* i386 __NR_ioctl */), "b"((long)fd), "c"((long)cmd), "d"(arg)
		     : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

int main(int argc, char **argv)
{
	struct loop_info64 *info = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct loop_info old = { 0 };
	long ret;
	int fd;

	if (argc < 4 || info == MAP_FAILED)
		return 2;
	fd = open(argv[1], strcmp(argv[2], "file") ? O_RDWR : O_RDONLY);
	if (fd < 0) {
		perror(argv[1]);
		return 2;
	}
	if (!strcmp(argv[2], "file")) {
		ret = ioctl(fd, LOOP_CHANGE_FD, open(argv[3], O_RDONLY));
	} else if (!strcmp(argv[2], "old")) {
		old.lo_offset = atoi(argv[3]);
		ret = ioctl(fd, LOOP_SET_STATUS, &old);
	} else {
		if (argc < 5)
			return 2;
		info->lo_offset = strtoull(argv[3], NULL, 10);
		info->lo_sizelimit = strtoull(argv[4], NULL, 10);
		info->lo_flags = argc > 5 ? LO_FLAGS_AUTOCLEAR : 0;
		ret = !strcmp(argv[2], "compat") ? compat_ioctl(fd, LOOP_SET_STATUS64, info) :
						   ioctl(fd, LOOP_SET_STATUS64, info);
	}
	if (ret) {
		perror("ioctl");
		return 1;
	}
	return 0;
}
