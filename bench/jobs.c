// SPDX-License-Identifier: MIT
/*
 * The same work on several CPUs at once.
 *
 *	jobs JOBS COMMAND...
 *
 * Runs COMMAND so many times, each with its number, from 1, as a last argument, and on a CPU of its
 * own. Two instructions at places that bench/host/stores.c knows tell it when they begin, and when
 * all have ended.
 */
#define _GNU_SOURCE
#include <err.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARKS	((void *)0x626c6b000000)
#define PAGE	4096
#define RET	0xc3

static void job(int number, char **command, char **last, atomic_int *waited_for)
{
	char text[16];
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(number - 1, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		err(1, "CPU %d", number - 1);
	snprintf(text, sizeof(text), "%d", number);
	*last = text;
	atomic_fetch_sub(waited_for, 1);
	while (atomic_load(waited_for))
		sched_yield();
	execvp(*command, command);
	err(1, "%s", *command);
}

int main(int argc, char **argv)
{
	int jobs = argc > 2 ? atoi(argv[1]) : 0, i, status, failed = 0;
	char *command[argc], *marks;
	atomic_int *waited_for;

	if (jobs < 1) {
		warnx("usage: jobs JOBS COMMAND...");
		return 2;
	}
	for (i = 0; i < argc - 2; i++)
		command[i] = argv[2 + i];
	command[argc - 1] = NULL;
	waited_for = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	marks = mmap(MARKS, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (waited_for == MAP_FAILED || marks != MARKS)
		err(1, "memory");
	marks[0] = marks[16] = (char)RET;

	/* One more: this one. */
	atomic_init(waited_for, jobs + 1);
	for (i = 1; i <= jobs; i++) {
		switch (fork()) {
		case -1:
			err(1, "fork");
		case 0:
			job(i, command, &command[argc - 2], waited_for);
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
