// SPDX-License-Identifier: MIT
/*
 * A plugin of QEMU that counts, while bench/jobs runs in the machine, the instructions of all
 * its CPUs, and what its kernel stores into cache lines that more than one CPU stores into.
 *
 *	-plugin FILE,folder=FOLDER
 *
 * For the first run of jobs it makes FOLDER/1, and so on: the instructions, and for each such line
 * how often the CPU stored into it that did so second most often. An emulator that runs one CPU at
 * a time has no caches and no contention; but which lines are stored into, and by whom, is the same
 * as on a real machine.
 *
 * QEMU's header of plugins is in no package of Debian 12, so what is used of it is declared here.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- QEMU's, version 1 of its interface --------------------------------- */

struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum { WITHOUT_REGISTERS };
enum { STORES = 2 };
enum { ADD };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*translated)(uint64_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *counter, uint64_t amount);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*executed)(unsigned int, void *), int flags,
					    void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, void (*stored)(unsigned int, uint32_t, uint64_t, void *),
				      int flags, int which, void *data);
bool qemu_plugin_mem_is_store(uint32_t info);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* ---- Counting ------------------------------------------------------------ */

/* bench/jobs.c calls these two addresses. */
#define BEGIN		0x626c6b000000u
#define END		0x626c6b000010u

#define KERNEL		0xffffffff80000000u	/* its code and its modules' */
#define CPUS		4
#define LINE_SHIFT	6
#define LINES		(1u << 21)

struct line {
	uint64_t number;
	uint32_t stores[CPUS];
};

static struct line *lines;
static uint64_t executed, executed_before;
static unsigned int runs;
static bool running;
static const char *folder;

static void fail(const char *path)
{
	perror(path);
	abort();
}

static struct line *line_of(uint64_t address)
{
	uint64_t number = address >> LINE_SHIFT;
	unsigned int i, at = (number * 0x9e3779b97f4a7c15u) >> 43;

	for (i = 0; i < LINES; i++, at = (at + 1) % LINES) {
		if (!lines[at].number)
			lines[at].number = number;
		if (lines[at].number == number)
			return &lines[at];
	}
	fprintf(stderr, "stores: more than %u lines\n", LINES);
	abort();
}

static void stored(unsigned int cpu, uint32_t info, uint64_t address, void *data)
{
	(void)data;
	/* QEMU 7.2 tells of loads as well. One address of two programs is two places. */
	if (running && qemu_plugin_mem_is_store(info) && address >> 63)
		line_of(address)->stores[cpu % CPUS]++;
}

/* 0 where a CPU has the line for itself. */
static uint32_t second_most(const struct line *line)
{
	uint32_t most = 0, second = 0;
	int cpu;

	for (cpu = 0; cpu < CPUS; cpu++) {
		if (line->stores[cpu] > most) {
			second = most;
			most = line->stores[cpu];
		} else if (line->stores[cpu] > second) {
			second = line->stores[cpu];
		}
	}
	return second;
}

static void begin(unsigned int cpu, void *data)
{
	(void)cpu, (void)data;
	memset(lines, 0, LINES * sizeof(*lines));
	executed_before = executed;
	running = true;
}

static void end(unsigned int cpu, void *data)
{
	char path[4096], whole[4096];
	uint32_t second;
	unsigned int i;
	FILE *file;

	(void)cpu, (void)data;
	running = false;
	snprintf(path, sizeof(path), "%s/new", folder);
	snprintf(whole, sizeof(whole), "%s/%u", folder, ++runs);
	file = fopen(path, "w");
	if (!file)
		fail(path);
	fprintf(file, "%" PRIu64 "\n", executed - executed_before);
	for (i = 0; i < LINES; i++) {
		second = second_most(&lines[i]);
		if (second)
			fprintf(file, "%" PRIu32 "\n", second);
	}
	if (ferror(file) || fclose(file) || rename(path, whole))
		fail(whole);
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t i, count = qemu_plugin_tb_n_insns(tb);
	struct qemu_plugin_insn *insn;
	uint64_t address;

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD, &executed, count);
	for (i = 0; i < count; i++) {
		insn = qemu_plugin_tb_get_insn(tb, i);
		address = qemu_plugin_insn_vaddr(insn);
		if (address >= KERNEL)
			qemu_plugin_register_vcpu_mem_cb(insn, stored, WITHOUT_REGISTERS, STORES, NULL);
		else if (address == BEGIN)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, begin, WITHOUT_REGISTERS, NULL);
		else if (address == END)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, end, WITHOUT_REGISTERS, NULL);
	}
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "folder=", 7)) {
		fprintf(stderr, "stores: which folder? -plugin FILE,folder=FOLDER\n");
		return -1;
	}
	folder = strdup(argv[0] + 7);
	lines = calloc(LINES, sizeof(*lines));
	if (!folder || !lines)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
