// SPDX-License-Identifier: MIT
/*
 * Many processes that attach, detach and command filters, while others pull
 * devices, partitions and modules from under them:
 *
 *	race ROUNDS ROLE...
 *
 * Each ROLE is one argument and one process. Those below that count rounds each do
 * ROUNDS of them, at the same time; a "~" before a role makes it go on until the
 * others are through. So do those that count none. Prints "WHAT RESULT COUNT" for
 * each result that a kind of call had: 0, or the name of an errno.
 *
 *	pair DEV FILTER		round: attach, detach
 *	visit DEV FILTER	round: attach, detach, with pauses
 *	duel DEV FILTER		round: three processes attach, then detach, at once.
 *				Results of "attach-wins" and "detach-wins" are how
 *				many of them it succeeded for
 *	delete H:C:T:L FILTER	round: attach to a SCSI disk, every other time; delete
 *				the disk; look for it again
 *	power NAME FILTER	round: the same with a null_blk device of configfs
 *	reread DISK		round: reread the partition table
 *	part DISK N MIB		round: add partition N of 8 MiB at MIB, delete it
 *	module NAME...		round: remove these modules, load them again
 *	poke GLOB FILTER...	open a device at random, a few calls at random, close
 *	ctl DEV			cbt's commands at random
 *	meddle GLOB [MS]	open a device at random, attach guard and trace, change
 *				rules (that delay up to MS milliseconds, or a minute),
 *				read streams, detach: at random; close
 *	io GLOB			write to a device at random
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/blk-filter.h>
#include <linux/blkfilter/cbt.h>
#include <linux/blkfilter/guard.h>
#include <linux/blkfilter/trace.h>
#include <linux/fs.h>

#include "common.h"

#define ROLES_MAX	64
#define WORDS_MAX	8
#define ERRNO_MAX	134
#define DUELLISTS	3

enum call {
	ATTACH, DETACH, INFO, CHECKPOINT, CHANGES, BITMAP, OPEN, WRITE, REMOVE,
	RESTORE, REREAD, ADD, DELETE, UNLOAD, LOAD, ATTACH_WINS, DETACH_WINS,
	SET_RULES, GET_RULES, CONFIGURE, STREAM, READ, CALLS
};

static const char *const call_names[CALLS] = {
	"attach", "detach", "info", "checkpoint", "changes", "bitmap", "open", "write",
	"remove", "restore", "reread", "add", "delete", "unload", "load",
	"attach-wins", "detach-wins", "set-rules", "get-rules", "configure", "stream", "read",
};

static struct shared {
	atomic_ulong results[CALLS][ERRNO_MAX];
	atomic_int stop, waiting;
} *shared;

static unsigned long rounds;
static unsigned int seed;

struct role {
	char *words[WORDS_MAX];
	int count;
	int endless;
};

/* Enter a call's result; gives 0 or the errno. */
static int entered(enum call call, long ret)
{
	int err = ret < 0 ? errno : 0;

	shared->results[call][err]++;
	return err;
}

static unsigned int chance(unsigned int of)
{
	return rand_r(&seed) % of;
}

static void pause_up_to(unsigned int usec)
{
	usleep(chance(usec));
}

static int stopped(void)
{
	return shared->stop;
}

/*
 * Between two tries of what others prevent as long as they have a device open. After 20 of
 * them nobody opens one, until it is done: they would hardly ever all be closed at once.
 */
static void wait_again(unsigned int *tries)
{
	if (++*tries == 20)
		shared->waiting++;
	pause_up_to(2000);
}

static void waited(unsigned int tries)
{
	if (tries >= 20)
		shared->waiting--;
}

/* ---- The ioctls ----------------------------------------------------------- */

static int named(int fd, enum call call, const char *filter)
{
	struct blkfilter_name name = { 0 };

	memcpy(name.name, filter, strnlen(filter, sizeof(name.name)));
	return entered(call, ioctl(fd, call == ATTACH ? BLKFILTER_ATTACH : BLKFILTER_DETACH,
				   &name));
}

static int filter_ctl(int fd, enum call call, const char *filter, uint32_t cmd, void *arg,
		      uint32_t size)
{
	struct blkfilter_ctl ctl = { .cmd = cmd, .optlen = size, .opt = (uintptr_t)arg };

	memcpy(ctl.name, filter, strnlen(filter, sizeof(ctl.name)));
	return entered(call, ioctl(fd, BLKFILTER_CTL, &ctl));
}

static int command(int fd, enum call call)
{
	static struct blkfilter_cbt_extent extents[64];
	static uint8_t bits[64 * 1024];
	static const struct {
		uint32_t cmd;
		uint32_t size;
	} commands[] = {
		[INFO] = { BLKFILTER_CBT_INFO, sizeof(struct blkfilter_cbt_info) },
		[CHECKPOINT] = { BLKFILTER_CBT_CHECKPOINT,
				 sizeof(struct blkfilter_cbt_checkpoint) },
		[CHANGES] = { BLKFILTER_CBT_CHANGES, sizeof(struct blkfilter_cbt_changes) },
		[BITMAP] = { BLKFILTER_CBT_BITMAP, sizeof(struct blkfilter_cbt_bitmap) },
	};
	union {
		struct blkfilter_cbt_info info;
		struct blkfilter_cbt_checkpoint checkpoint;
		struct blkfilter_cbt_changes changes;
		struct blkfilter_cbt_bitmap bitmap;
	} arg;

	memset(&arg, 0, sizeof(arg));
	if (call == CHANGES) {
		arg.changes.since = 1;
		arg.changes.extents = (uintptr_t)extents;
		arg.changes.capacity = 64;
	} else if (call == BITMAP) {
		arg.bitmap.since = 1;
		arg.bitmap.count = 128;
		arg.bitmap.bits = (uintptr_t)bits;
		arg.bitmap.length = sizeof(bits);
	}
	return filter_ctl(fd, call, BLKFILTER_CBT_NAME, commands[call].cmd, &arg,
			  commands[call].size);
}

/*
 * Rules that change nothing but times. With up to 40 of them it matters which array
 * they are in.
 */
static void set_rules(int fd, unsigned int longest)
{
	struct blkfilter_guard_rule rules[40];
	struct blkfilter_guard_rules arg = {
		.rules = (uintptr_t)rules,
		.count = chance(40),
		.action = BLKFILTER_GUARD_PASS,
	};
	unsigned int i;

	for (i = 0; i < arg.count; i++) {
		rules[i] = (struct blkfilter_guard_rule){
			.sector = chance(100000),
			.count = 1 + chance(1000),
			.operations = 1 + chance(BLKFILTER_GUARD_OPERATIONS),
			.action = chance(4) ? BLKFILTER_GUARD_DELAY : BLKFILTER_GUARD_PASS,
			.chance = 1 + chance(BLKFILTER_GUARD_ALWAYS),
		};
		if (rules[i].action == BLKFILTER_GUARD_DELAY)
			rules[i].argument = 1 + chance(chance(10) ? 10 : longest);
	}
	filter_ctl(fd, SET_RULES, BLKFILTER_GUARD_NAME, BLKFILTER_GUARD_SET_RULES, &arg,
		   sizeof(arg));
}

static void get_rules(int fd)
{
	static struct blkfilter_guard_rule rules[40];
	static uint64_t counters[41];
	struct blkfilter_guard_rules arg = {
		.rules = (uintptr_t)rules,
		.counters = (uintptr_t)counters,
		.count = chance(3) ? 40 : chance(40),
	};

	filter_ctl(fd, GET_RULES, BLKFILTER_GUARD_NAME, BLKFILTER_GUARD_GET_RULES, &arg,
		   sizeof(arg));
}

static void configure(int fd)
{
	struct blkfilter_trace_config config = {
		.buffer = BLKFILTER_TRACE_BUFFER_MIN << chance(6),
		.options = chance(2) ? BLKFILTER_TRACE_SEGMENTS : 0,
		.pattern_length = chance(4),
		.pattern = "ZZZ",
	};

	filter_ctl(fd, CONFIGURE, BLKFILTER_TRACE_NAME, BLKFILTER_TRACE_CONFIGURE, &config,
		   sizeof(config));
}

/* Reads a stream for a moment, or leaves it at once. */
static void stream(int fd)
{
	struct blkfilter_trace_open arg = { 0 };
	static uint8_t records[65536];
	struct pollfd ready;
	int reads;

	if (filter_ctl(fd, STREAM, BLKFILTER_TRACE_NAME, BLKFILTER_TRACE_OPEN, &arg, sizeof(arg)))
		return;
	ready = (struct pollfd){ .fd = arg.fd, .events = POLLIN };
	for (reads = chance(20); reads > 0 && poll(&ready, 1, 20) > 0; reads--) {
		if (entered(READ, read(arg.fd, records, sizeof(records))))
			break;
	}
	close(arg.fd);
}

/* A device that matches, perhaps gone again by now; or -1. */
static int open_any(const char *pattern, int flags)
{
	glob_t found;
	int fd = -1;

	while (shared->waiting && !stopped())
		usleep(500);
	if (!glob(pattern, 0, NULL, &found)) {
		fd = open(found.gl_pathv[chance(found.gl_pathc)], flags | O_CLOEXEC);
		entered(OPEN, fd);
	}
	globfree(&found);
	return fd;
}

/* ---- Roles that attach, detach and command --------------------------------- */

static void pair(struct role *role)
{
	int fd = must_open(role->words[1], O_RDONLY);
	unsigned long i;

	for (i = 0; (role->endless || i < rounds) && !stopped(); i++) {
		named(fd, ATTACH, role->words[2]);
		named(fd, DETACH, role->words[2]);
	}
}

static void visit(struct role *role)
{
	int fd = must_open(role->words[1], O_RDONLY);
	unsigned long i;

	for (i = 0; (role->endless || i < rounds) && !stopped(); i++) {
		if (!named(fd, ATTACH, role->words[2])) {
			pause_up_to(10000);
			named(fd, DETACH, role->words[2]);
		}
		pause_up_to(800000);
	}
}

struct duel {
	pthread_barrier_t barrier;
	atomic_int attached, detached;
};

static void duellist(struct role *role, struct duel *duel, int first)
{
	int fd = must_open(role->words[1], O_RDONLY);
	unsigned long i;

	for (i = 0; i < rounds; i++) {
		pthread_barrier_wait(&duel->barrier);
		pause_up_to(300);
		duel->attached += !named(fd, ATTACH, role->words[2]);
		pthread_barrier_wait(&duel->barrier);
		pause_up_to(300);
		duel->detached += !named(fd, DETACH, role->words[2]);
		pthread_barrier_wait(&duel->barrier);
		if (first) {
			shared->results[ATTACH_WINS][duel->attached]++;
			shared->results[DETACH_WINS][duel->detached]++;
			duel->attached = duel->detached = 0;
		}
	}
}

static void duel(struct role *role)
{
	struct duel *duel = mmap(NULL, sizeof(*duel), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t attr;
	int i, status;

	if (duel == MAP_FAILED)
		die("mmap");
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&duel->barrier, &attr, DUELLISTS);
	for (i = 0; i < DUELLISTS; i++) {
		if (fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		seed += i;
		duellist(role, duel, !i);
		exit(0);
	}
	while (wait(&status) > 0) {
		if (status)
			exit(1);
	}
}

static void poke(struct role *role)
{
	int fd, calls;

	while (!stopped()) {
		fd = open_any(role->words[1], O_RDONLY);
		for (calls = chance(4); fd >= 0 && calls >= 0; calls--) {
			const char *filter = role->words[2 + chance(role->count - 2)];

			switch (chance(4)) {
			case 0:
				named(fd, DETACH, filter);
				break;
			case 1:
				command(fd, INFO + chance(4));
				break;
			default:
				named(fd, ATTACH, filter);
			}
		}
		if (fd >= 0)
			close(fd);
		pause_up_to(5000);
	}
}

static void ctl(struct role *role)
{
	int fd = must_open(role->words[1], O_RDONLY);

	/* A checkpoint takes long: the others shall not wait for it all the time. */
	while (!stopped()) {
		if (command(fd, chance(20) ? (int[]){ INFO, CHANGES, BITMAP }[chance(3)] :
					     CHECKPOINT))
			pause_up_to(1000);
	}
}

static void meddle(struct role *role)
{
	static const char *const filters[] = { BLKFILTER_GUARD_NAME, BLKFILTER_TRACE_NAME };
	unsigned int longest = role->count > 2 ? atoi(role->words[2]) : 60000;
	int fd, calls;

	while (!stopped()) {
		fd = open_any(role->words[1], O_RDONLY);
		for (calls = chance(10); fd >= 0 && calls >= 0; calls--) {
			switch (chance(8)) {
			case 0:
				named(fd, DETACH, filters[chance(2)]);
				break;
			case 1:
				set_rules(fd, longest);
				break;
			case 2:
				get_rules(fd);
				break;
			case 3:
				configure(fd);
				break;
			case 4:
			case 5:
				stream(fd);
				break;
			default:
				named(fd, ATTACH, filters[chance(2)]);
			}
		}
		if (fd >= 0)
			close(fd);
		pause_up_to(5000);
	}
}

static void io(struct role *role)
{
	void *data;
	int fd, i;

	if (posix_memalign(&data, 4096, 4096))
		die("memory");
	memset(data, 0x5a, 4096);
	while (!stopped()) {
		fd = open_any(role->words[1], O_RDWR | O_DIRECT);
		for (i = 0; fd >= 0 && i < 50; i++)
			entered(WRITE, pwrite(fd, data, 4096, 4096 * chance(1024)));
		if (fd >= 0)
			close(fd);
		pause_up_to(5000);
	}
}

/* ---- Roles that remove ------------------------------------------------------ */

static long write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err;
	long ret;

	if (fd < 0)
		return -1;
	ret = write(fd, text, strlen(text));
	err = errno;
	close(fd);
	errno = err;
	return ret;
}

/* The device shall have a filter when it goes, every other time for certain. */
static void burden(const char *path, const char *filter, unsigned long round)
{
	int fd;

	pause_up_to(30000);
	if (round & 1)
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (!entered(OPEN, fd)) {
		named(fd, ATTACH, filter);
		close(fd);
	}
}

/* The node of the disk at a SCSI address, once it is there. */
static void scsi_disk(const char *address, char *path, size_t size)
{
	char pattern[256];
	glob_t found;
	int tries, ok = 0;

	snprintf(pattern, sizeof(pattern), "/sys/bus/scsi/devices/%s/block/*", address);
	for (tries = 0; tries < 6000 && !ok; tries++) {
		if (!glob(pattern, 0, NULL, &found)) {
			snprintf(path, size, "/dev/%s", strrchr(found.gl_pathv[0], '/') + 1);
			ok = !access(path, F_OK);
		}
		globfree(&found);
		if (!ok)
			usleep(5000);
	}
	errno = ETIME;
	if (!ok)
		die(address);
}

static void delete_scsi(struct role *role)
{
	unsigned int host, channel, target, lun;
	char path[64], file[128], place[64];
	unsigned long i;

	if (sscanf(role->words[1], "%u:%u:%u:%u", &host, &channel, &target, &lun) != 4)
		die(role->words[1]);
	snprintf(place, sizeof(place), "%u %u %u", channel, target, lun);
	for (i = 0; i < rounds; i++) {
		scsi_disk(role->words[1], path, sizeof(path));
		burden(path, role->words[2], i);
		snprintf(file, sizeof(file), "/sys/bus/scsi/devices/%s/delete", role->words[1]);
		entered(REMOVE, write_file(file, "1"));
		snprintf(file, sizeof(file), "/sys/class/scsi_host/host%u/scan", host);
		entered(RESTORE, write_file(file, place));
	}
	scsi_disk(role->words[1], path, sizeof(path));
}

static void power(struct role *role)
{
	char file[128], path[64];
	unsigned long i;

	snprintf(path, sizeof(path), "/dev/%s", role->words[1]);
	snprintf(file, sizeof(file), "/sys/kernel/config/nullb/%s/power", role->words[1]);
	for (i = 0; i < rounds; i++) {
		burden(path, role->words[2], i);
		entered(REMOVE, write_file(file, "0"));
		entered(RESTORE, write_file(file, "1"));
	}
}

static void reread(struct role *role)
{
	int fd = must_open(role->words[1], O_RDONLY);
	unsigned int tries;
	unsigned long i;

	for (i = 0; (role->endless || i < rounds) && !stopped(); i++) {
		tries = 0;
		while (entered(REREAD, ioctl(fd, BLKRRPART)) && !stopped())
			wait_again(&tries);
		waited(tries);
		pause_up_to(10000);
	}
}

static void part(struct role *role)
{
	const char *number = role->words[2], *mib = role->words[3];
	int fd = must_open(role->words[1], O_RDONLY);
	unsigned int tries;
	unsigned long i;

	for (i = 0; (role->endless || i < rounds) && !stopped(); i++) {
		tries = 0;
		while (entered(ADD, partition(fd, BLKPG_ADD_PARTITION, number, mib)) && !stopped())
			wait_again(&tries);
		waited(tries);
		pause_up_to(10000);
		/* Somebody who rereads the table may do it first. */
		tries = 0;
		while (entered(DELETE, partition(fd, BLKPG_DEL_PARTITION, number, mib)) &&
		       errno != ENXIO && !stopped())
			wait_again(&tries);
		waited(tries);
	}
}

static long load(const char *name)
{
	int fd = must_open_module(name);
	long ret = syscall(SYS_finit_module, fd, "", 0);

	close(fd);
	return ret;
}

static void module(struct role *role)
{
	unsigned long i;
	int word;

	for (i = 0; i < rounds; i++) {
		for (word = 1; word < role->count; word++) {
			while (entered(UNLOAD, syscall(SYS_delete_module, role->words[word],
						       O_NONBLOCK)))
				pause_up_to(5000);
		}
		for (word = role->count - 1; word > 0; word--)
			entered(LOAD, load(role->words[word]));
		pause_up_to(chance(2) ? 10000 : 500000);
	}
}

/* ---- All together ------------------------------------------------------------ */

static const struct {
	const char *name;
	void (*play)(struct role *role);
	int words;
	int endless;
} roles[] = {
	{ "pair", pair, 3, 0 },
	{ "visit", visit, 3, 0 },
	{ "duel", duel, 3, 0 },
	{ "delete", delete_scsi, 3, 0 },
	{ "power", power, 3, 0 },
	{ "reread", reread, 2, 0 },
	{ "part", part, 4, 0 },
	{ "module", module, 2, 0 },
	{ "poke", poke, 3, 1 },
	{ "ctl", ctl, 2, 1 },
	{ "meddle", meddle, 2, 1 },
	{ "io", io, 2, 1 },
};

/* Starts a role. True if the end depends on it. */
static int start(char *text, pid_t *pid)
{
	struct role role = { .endless = *text == '~' };
	char *word;
	size_t i;

	for (word = strtok(text + role.endless, " "); word && role.count < WORDS_MAX;
	     word = strtok(NULL, " "))
		role.words[role.count++] = word;
	for (i = 0; i < sizeof(roles) / sizeof(*roles); i++) {
		if (!role.count || strcmp(role.words[0], roles[i].name))
			continue;
		if (role.count < roles[i].words)
			break;
		role.endless |= roles[i].endless;
		*pid = fork();
		if (*pid < 0)
			die("fork");
		if (!*pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			seed = getpid();
			roles[i].play(&role);
			exit(0);
		}
		return !role.endless;
	}
	errno = EINVAL;
	die(text);
	return 0;
}

/* Waits for @count of the processes @pids; any failure is one of all. */
static void finish(const pid_t *pids, int count)
{
	int status;

	while (count--) {
		if (waitpid(pids[count], &status, 0) < 0 || status) {
			fprintf(stderr, "race: role ended with status %x\n", status);
			exit(1);
		}
	}
}

static void report(void)
{
	int call, err;

	for (call = 0; call < CALLS; call++) {
		for (err = 0; err < ERRNO_MAX; err++) {
			unsigned long count = shared->results[call][err];

			if (!count)
				continue;
			if (!err || call == ATTACH_WINS || call == DETACH_WINS)
				printf("%s %d %lu\n", call_names[call], err, count);
			else
				printf("%s %s %lu\n", call_names[call],
				       strerrorname_np(err), count);
		}
	}
}

int main(int argc, char **argv)
{
	pid_t paced[ROLES_MAX], others[ROLES_MAX], pid;
	int nr_paced = 0, nr_others = 0, i;

	if (argc < 3 || argc > ROLES_MAX)
		return 2;
	rounds = strtoul(argv[1], NULL, 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	for (i = 2; i < argc; i++) {
		if (start(argv[i], &pid))
			paced[nr_paced++] = pid;
		else
			others[nr_others++] = pid;
	}
	finish(paced, nr_paced);
	shared->stop = 1;
	finish(others, nr_others);
	report();
	return 0;
}
