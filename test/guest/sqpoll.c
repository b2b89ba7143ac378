// SPDX-License-Identifier: MIT
/*
 * sqpoll: has the kernel start a thread that polls for I/O (io_uring), and that does not
 * sleep for ten minutes. Prints "ready" when it does so, and waits to be killed.
 */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SQPOLL,
		.sq_thread_idle = 10 * 60 * 1000,
	};
	long fd = syscall(__NR_io_uring_setup, 8, &params);
	volatile unsigned int *flags;
	char *ring;

	if (fd < 0) {
		perror("io_uring_setup");
		return 1;
	}
	ring = mmap(NULL, params.sq_off.flags + sizeof(*flags), PROT_READ, MAP_SHARED, fd,
		    IORING_OFF_SQ_RING);
	if (ring == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	flags = (volatile unsigned int *)(ring + params.sq_off.flags);
	/* It begins by going to sleep. Only one that was woken polls for its idle time. */
	while (!(*flags & IORING_SQ_NEED_WAKEUP))
		usleep(1000);
	while (*flags & IORING_SQ_NEED_WAKEUP) {
		syscall(__NR_io_uring_enter, fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
		usleep(1000);
	}
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
