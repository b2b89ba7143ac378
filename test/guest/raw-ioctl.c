// SPDX-License-Identifier: MIT
/*
 * The ioctls without anything in between, as any program may issue them:
 *
 *	raw-ioctl [-32] [-wait] DEV attach|detach NAME
 *	raw-ioctl [-32] [-wait] DEV ctl NAME CMD OPTLEN
 *
 * -32 enters the kernel as a 32-bit program does. -wait opens the device, says so
 * by a line, and issues the ioctl when standard input ends. NAME "@bad" passes an address
 * that is not mapped, NAME "@badopt" (ctl) one for the option. Prints "0" or the
 * name of the errno; ctl prints the written optlen after it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/blk-filter.h>

static int compat;

/* ioctl(2), through the 32-bit entry if asked; @arg lies below 4 GiB then. */
static int call(int fd, unsigned int cmd, void *arg)
{
	long ret;

	if (!compat)
		return ioctl(fd, cmd, arg) < 0 ? errno : 0;
	asm volatile("int $0x80"
		     : "=a"(ret)
		     : "0"(54L /* i386 __NR_ioctl */), "b"((long)fd),
		       "c"((long)cmd), "d"(arg)
		     : "memory", "r8", "r9", "r10", "r11");
	return ret < 0 ? -(int)ret : 0;
}

static void *low(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return p;
}

int main(int argc, char **argv)
{
	struct blkfilter_name *name = low(4096);
	struct blkfilter_ctl *ctl = low(4096);
	const char *filter;
	int fd, err, bad, wait = 0;

	for (; argc > 1 && argv[1][0] == '-'; argc--, argv++) {
		compat |= !strcmp(argv[1], "-32");
		wait |= !strcmp(argv[1], "-wait");
	}
	if (argc < 4)
		return 2;
	fd = open(argv[1], O_RDONLY | O_NONBLOCK);
	if (fd < 0) {
		perror(argv[1]);
		return 2;
	}
	if (wait) {
		puts("open");
		fflush(stdout);
		while (getchar() != EOF)
			;
	}
	bad = !strcmp(argv[3], "@bad");
	memcpy(name->name, argv[3], strnlen(argv[3], sizeof(name->name)));

	if (!strcmp(argv[2], "attach")) {
		err = call(fd, BLKFILTER_ATTACH, bad ? (void *)8 : name);
	} else if (!strcmp(argv[2], "detach")) {
		err = call(fd, BLKFILTER_DETACH, bad ? (void *)8 : name);
	} else {
		if (argc < 6)
			return 2;
		filter = strcmp(argv[3], "@badopt") ? argv[3] : "cbt";
		memcpy(ctl->name, filter, strnlen(filter, sizeof(ctl->name)));
		ctl->cmd = strtoul(argv[4], NULL, 0);
		ctl->optlen = strtoul(argv[5], NULL, 0);
		ctl->opt = strcmp(argv[3], "@badopt") ? (uintptr_t)low(65536) : 8;
		err = call(fd, BLKFILTER_CTL, bad ? (void *)8 : ctl);
	}
	printf("%s", err ? strerrorname_np(err) : "0");
	if (!strcmp(argv[2], "ctl"))
		printf(" %u", ctl->optlen);
	putchar('\n');
	return 0;
}
