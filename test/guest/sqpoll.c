// SPDX-License-Identifier: MIT
/*
 * sqpoll: has the kernel start a thread that polls for I/O (io_uring), and that does not
 * sleep for ten minutes. Prints "ready", and waits to be killed.
 */
#include <linux/io_uring.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SQPOLL,
		.sq_thread_idle = 10 * 60 * 1000,
	};

	if (syscall(__NR_io_uring_setup, 8, &params) < 0) {
		perror("io_uring_setup");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
