// SPDX-License-Identifier: MIT
/*
 * Makes changes at random places, and tells which: the other half of an oracle.
 *
 *	scatter DEV direct|buffered|discard|zeroout THREADS COUNT MAX SEED
 *
 * Each of THREADS makes COUNT changes of at most MAX bytes, in multiples of 512,
 * and all is synced. Prints "SECTOR COUNT" for each change.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/fs.h>

static const char *path, *mode;
static unsigned int count, max;
static uint64_t size;

static void die(const char *what)
{
	fprintf(stderr, "scatter: %s: %s: %s\n", path, what, strerror(errno));
	exit(1);
}

static void change(int fd, char *data, uint64_t offset, uint64_t length)
{
	uint64_t range[2] = { offset, length };

	if (!strcmp(mode, "discard")) {
		if (ioctl(fd, BLKDISCARD, range))
			die("BLKDISCARD");
	} else if (!strcmp(mode, "zeroout")) {
		if (ioctl(fd, BLKZEROOUT, range))
			die("BLKZEROOUT");
	} else if (pwrite(fd, data, length, offset) != (ssize_t)length) {
		die("pwrite");
	}
}

static void *thread(void *arg)
{
	unsigned short seed[3] = { 0x330e, (uintptr_t)arg, (uintptr_t)arg >> 16 };
	int fd = open(path, O_RDWR | (strcmp(mode, "direct") ? 0 : O_DIRECT));
	void *data;
	unsigned int i;

	if (fd < 0)
		die("open");
	if (posix_memalign(&data, 4096, max))
		die("memory");
	for (i = 0; i < max; i++)
		((char *)data)[i] = nrand48(seed);

	for (i = 0; i < count; i++) {
		uint64_t length = 512 * (1 + nrand48(seed) % (max / 512));
		uint64_t sectors = (size - length) / 512 + 1;
		uint64_t offset = 512 * (((uint64_t)nrand48(seed) << 31 | nrand48(seed)) % sectors);

		change(fd, data, offset, length);
		printf("%llu %llu\n", (unsigned long long)offset / 512,
		       (unsigned long long)length / 512);
	}
	if (fsync(fd) || close(fd))
		die("fsync");
	free(data);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[64];
	unsigned int n, i;
	int fd;

	if (argc != 7)
		return 2;
	path = argv[1];
	mode = argv[2];
	n = strtoul(argv[3], NULL, 0);
	count = strtoul(argv[4], NULL, 0);
	max = strtoul(argv[5], NULL, 0);
	if (!n || n > 64 || max < 512)
		return 2;
	fd = open(path, O_RDONLY);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size))
		die("size");
	for (i = 0; i < n; i++) {
		if (pthread_create(&threads[i], NULL, thread,
				   (void *)(uintptr_t)(strtoul(argv[6], NULL, 0) + i)))
			die("thread");
	}
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
