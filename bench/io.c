// SPDX-License-Identifier: MIT
/*
 * What one request costs.
 *
 *	io DEV read|write DEPTH COUNT SEED [STRIDE [PAUSE]]
 *
 * Does COUNT direct requests of 4 KiB, DEPTH of them at a time, by Linux' native AIO,
 * and prints the nanoseconds that one took. Without STRIDE they go to random places
 * of the first GiB; with it each goes to a place of its own, STRIDE bytes apart, in an
 * order that SEED tells. With PAUSE it counts up to a random number below that between
 * them, so that whoever takes samples at regular intervals takes them everywhere.
 *
 * The submitter does nothing else, so that what is above the bare device is not lost
 * in what a large program costs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/aio_abi.h>

#define SIZE	4096
#define SPAN	(1ull << 30)
#define DEPTH	64

static void die(const char *what)
{
	fprintf(stderr, "io: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static uint64_t state;

static uint64_t random_number(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/* Request number @i of @count. An odd factor visits each place once where @count is a power of two. */
static uint64_t place(uint64_t i, uint64_t count, uint64_t seed, uint64_t stride)
{
	if (stride)
		return (i * (seed * 2654435761u | 1) & (count - 1)) * stride;
	return random_number() % (SPAN / SIZE) * SIZE;
}

int main(int argc, char **argv)
{
	struct iocb blocks[DEPTH], *batch[DEPTH];
	struct io_event events[DEPTH];
	aio_context_t context = 0;
	uint64_t begin, count, seed, stride, pause, sent = 0, i;
	unsigned int depth;
	long ret, done;
	void *data;
	int fd;

	if (argc < 6 || argc > 8) {
		fprintf(stderr, "usage: io DEV read|write DEPTH COUNT SEED [STRIDE [PAUSE]]\n");
		return 2;
	}
	depth = atoi(argv[3]);
	count = strtoull(argv[4], NULL, 0);
	seed = strtoull(argv[5], NULL, 0);
	stride = argc > 6 ? strtoull(argv[6], NULL, 0) : 0;
	pause = argc > 7 ? strtoull(argv[7], NULL, 0) : 0;
	if (!depth || depth > DEPTH || count % depth || (stride && count & (count - 1))) {
		fprintf(stderr, "io: DEPTH of 1 to %d that divides COUNT, a power of two with STRIDE\n", DEPTH);
		return 2;
	}
	state = seed * 0x9e3779b97f4a7c15 | 1;

	fd = open(argv[1], O_RDWR | O_DIRECT);
	if (fd < 0)
		die(argv[1]);
	if (posix_memalign(&data, SIZE, SIZE))
		die("memory");
	memset(data, 1, SIZE);
	if (syscall(SYS_io_setup, DEPTH, &context))
		die("io_setup");

	begin = now();
	while (sent < count) {
		for (i = 0; i < depth; i++) {
			blocks[i] = (struct iocb) {
				.aio_fildes = fd,
				.aio_lio_opcode = !strcmp(argv[2], "read") ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE,
				.aio_buf = (uintptr_t)data,
				.aio_nbytes = SIZE,
				.aio_offset = place(sent + i, count, seed, stride),
			};
			batch[i] = &blocks[i];
		}
		ret = syscall(SYS_io_submit, context, depth, batch);
		if (ret != depth)
			die("io_submit");
		for (done = 0; done < depth; done += ret) {
			ret = syscall(SYS_io_getevents, context, 1, DEPTH, events, NULL);
			if (ret < 0)
				die("io_getevents");
			for (i = 0; i < (uint64_t)ret; i++) {
				errno = -(int64_t)events[i].res;
				if (events[i].res != SIZE)
					die("a request");
			}
		}
		sent += depth;
		for (i = pause ? random_number() % pause : 0; i; i--)
			asm volatile("");
	}
	printf("%.1f\n", (double)(now() - begin) / count);
	return 0;
}
