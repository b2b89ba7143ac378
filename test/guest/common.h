/* SPDX-License-Identifier: MIT */
/* What race.c and fault.c have in common. */
#ifndef COMMON_H
#define COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>

#include <linux/blkpg.h>

static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
	exit(1);
}

static inline int must_open(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

/* Opens the file of one of the project's modules. */
static inline int must_open_module(const char *name)
{
	struct utsname system;
	char path[256];

	uname(&system);
	snprintf(path, sizeof(path), "/lib/modules/%s/updates/%s.ko", system.release, name);
	return must_open(path, O_RDONLY);
}

/* Adds or deletes partition @number of 8 MiB at @mib. */
static inline int partition(int fd, int op, const char *number, const char *mib)
{
	struct blkpg_partition part = {
		.pno = atoi(number),
		.start = atoll(mib) << 20,
		.length = 8 << 20,
	};
	struct blkpg_ioctl_arg arg = { .op = op, .datalen = sizeof(part), .data = &part };

	return ioctl(fd, BLKPG, &arg);
}

#endif
