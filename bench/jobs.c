// SPDX-License-Identifier: MIT
/*
 * The same work on several CPUs at once.
 *
 *	jobs JOBS COUNT DEV...
 *
 * Each of JOBS processes stays on a CPU of its own and does COUNT direct writes of 4 KiB, one
 * after the other, to random places of the first GiB of a device: the first DEV for the first
 * process, and so on, from the beginning again when there are fewer. Two instructions at places that
 * bench/host/stores.c knows tell it when they begin, and when all have ended.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE	4096
#define SPAN	(1ull << 30)
#define MARKS	((void *)0x626c6b000000)
#define RET	0xc3

static uint64_t random_number(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void job(int number, unsigned long count, const char *path, atomic_int *waited_for)
{
	uint64_t state = (number + 1) * 0x9e3779b97f4a7c15;
	cpu_set_t cpu;
	void *data;
	int fd;

	CPU_ZERO(&cpu);
	CPU_SET(number, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		err(1, "CPU %d", number);
	fd = open(path, O_WRONLY | O_DIRECT);
	if (fd < 0)
		err(1, "%s", path);
	if (posix_memalign(&data, SIZE, SIZE))
		errx(1, "memory");
	memset(data, 1, SIZE);

	atomic_fetch_sub(waited_for, 1);
	while (atomic_load(waited_for))
		sched_yield();
	while (count--) {
		if (pwrite(fd, data, SIZE, random_number(&state) % (SPAN / SIZE) * SIZE) != SIZE)
			err(1, "write to %s", path);
	}
	exit(0);
}

int main(int argc, char **argv)
{
	int jobs = argc > 3 ? atoi(argv[1]) : 0, i, status, failed = 0;
	atomic_int *waited_for;
	char *marks;

	if (jobs < 1) {
		warnx("usage: jobs JOBS COUNT DEV...");
		return 2;
	}
	waited_for = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	marks = mmap(MARKS, SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (waited_for == MAP_FAILED || marks != MARKS)
		err(1, "memory");
	marks[0] = marks[16] = (char)RET;

	/* One more: this one. */
	atomic_init(waited_for, jobs + 1);
	for (i = 0; i < jobs; i++) {
		switch (fork()) {
		case -1:
			err(1, "fork");
		case 0:
			job(i, strtoul(argv[2], NULL, 0), argv[3 + i % (argc - 3)], waited_for);
		}
	}
	while (atomic_load(waited_for) > 1)
		sched_yield();
	((void (*)(void))marks)();
	atomic_fetch_sub(waited_for, 1);
	while (wait(&status) > 0)
		failed |= status;
	((void (*)(void))(marks + 16))();
	return !!failed;
}
