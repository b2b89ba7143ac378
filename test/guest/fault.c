// SPDX-License-Identifier: MIT
/*
 * Makes allocations and copies to and from user space fail, one after the other: a
 * call is repeated with its first fault, then with its second, until there are none
 * any more. So each path of failure is walked once.
 *
 *	fault STRIDE WHAT...	every STRIDE-th only
 *
 *	attach DEV FILTER	whether it is attached
 *	detach DEV FILTER	likewise
 *	ctl DEV FILTER CMD SIZE [U64...]	with an argument of so many bytes that begins
 *				with these
 *	load NAME [OPTIONS]	whether the module is loaded
 *	write FILE TEXT UNDO	whether FILE holds what TEXT says after its first word
 *	part DISK N MIB		add a partition of 8 MiB; whether it is there
 *	reread DISK		the partition table
 *
 * Prints "SITE RESULT STATE" for each call: 0 or the name of an errno, and 1 or 0 for
 * what is said above. The last one is the call without any fault.
 *
 *	fault io DEV COUNT SEED	writes, some of which fail; prints "SECTOR 8" for those
 *				that do not, and finds their data there in the end
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/blk-filter.h>
#include <linux/fs.h>

#include "common.h"

static char **args;
static int nr_args;

static const char *arg(int i)
{
	errno = EINVAL;
	if (i >= nr_args)
		die("too few arguments");
	return args[i];
}

/* Is there a line of @path that ends with @text? None at all if there is no @path. */
static int listed(const char *path, const char *text)
{
	char line[4096];
	FILE *f = fopen(path, "r");
	int found = 0;

	while (f && !found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		found = !strcmp(line, text);
	}
	if (f)
		fclose(f);
	return found;
}

/* The hook on I/O goes away a while after the last filter; each try shall place it. */
static void wait_unhooked(void)
{
	char line[512];
	int tries, hooked = 1;
	FILE *f;

	for (tries = 0; tries < 200 && hooked; tries++) {
		f = fopen("/sys/kernel/tracing/enabled_functions", "r");
		if (!f)
			die("enabled_functions");
		hooked = 0;
		while (fgets(line, sizeof(line), f))
			hooked |= !strncmp(line, "submit_bio_noacct ", 18);
		fclose(f);
		if (hooked)
			usleep(50000);
	}
	errno = ETIME;
	if (hooked)
		die("the hook stays");
}

/* ---- What is done -------------------------------------------------------- */

/*
 * prepare: make things as they have to be before the call. call: 0 or -1 and errno.
 * state: 0 or 1.
 */
struct deed {
	const char *name;
	void (*prepare)(void);
	int (*call)(void);
	int (*state)(void);
};

static int fd = -1;

static int filter_ioctl(unsigned long cmd)
{
	struct blkfilter_name name = { 0 };

	memcpy(name.name, arg(2), strnlen(arg(2), sizeof(name.name)));
	return ioctl(fd, cmd, &name);
}

static int is_attached(void)
{
	char path[64];
	struct stat st;

	if (fstat(fd, &st))
		die("fstat");
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/filter", major(st.st_rdev),
		 minor(st.st_rdev));
	return listed(path, arg(2));
}

static void open_device(void)
{
	if (fd < 0)
		fd = must_open(arg(1), O_RDONLY);
}

static void be_detached(void)
{
	open_device();
	if (is_attached() && filter_ioctl(BLKFILTER_DETACH))
		die("detach");
	wait_unhooked();
}

static void be_attached(void)
{
	open_device();
	if (!is_attached() && filter_ioctl(BLKFILTER_ATTACH))
		die("attach");
}

static int do_attach(void)
{
	return filter_ioctl(BLKFILTER_ATTACH);
}

static int do_detach(void)
{
	return filter_ioctl(BLKFILTER_DETACH);
}

static int do_ctl(void)
{
	static uint64_t data[512];
	struct blkfilter_ctl ctl = {
		.cmd = strtoul(arg(3), NULL, 0),
		.optlen = strtoul(arg(4), NULL, 0),
		.opt = (uintptr_t)data,
	};
	static uint8_t answers[65536];
	int i;

	memset(data, 0, sizeof(data));
	memcpy(ctl.name, arg(2), strnlen(arg(2), sizeof(ctl.name)));
	/* "@" stands for an address with room for answers. */
	for (i = 5; i < nr_args; i++)
		data[i - 5] = *arg(i) == '@' ? (uintptr_t)answers : strtoull(arg(i), NULL, 0);
	return ioctl(fd, BLKFILTER_CTL, &ctl);
}

static int is_loaded(void)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", arg(1));
	return !access(path, F_OK);
}

static void be_unloaded(void)
{
	if (is_loaded() && syscall(SYS_delete_module, arg(1), 0))
		die("delete_module");
	if (fd < 0)
		fd = must_open_module(arg(1));
}

static int do_load(void)
{
	return syscall(SYS_finit_module, fd, nr_args > 2 ? arg(2) : "", 0);
}

static int is_written(void)
{
	return listed(arg(1), strchr(arg(2), ' ') + 1);
}

static void be_unwritten(void)
{
	if (fd < 0)
		fd = must_open(arg(1), O_WRONLY);
	if (is_written() && pwrite(fd, arg(3), strlen(arg(3)), 0) < 0)
		die(arg(3));
}

static int do_write(void)
{
	return pwrite(fd, arg(2), strlen(arg(2)), 0) < 0 ? -1 : 0;
}

static int is_partition(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/block/%s%s", strrchr(arg(1), '/') + 1,
		 arg(2));
	return !access(path, F_OK);
}

static void be_no_partition(void)
{
	open_device();
	if (is_partition() && partition(fd, BLKPG_DEL_PARTITION, arg(2), arg(3)))
		die("BLKPG_DEL_PARTITION");
}

static int do_partition(void)
{
	return partition(fd, BLKPG_ADD_PARTITION, arg(2), arg(3));
}

static int do_reread(void)
{
	return ioctl(fd, BLKRRPART);
}

static int nothing(void)
{
	return 0;
}

static const struct deed deeds[] = {
	{ "attach", be_detached, do_attach, is_attached },
	{ "detach", be_attached, do_detach, is_attached },
	{ "ctl", be_attached, do_ctl, is_attached },
	{ "load", be_unloaded, do_load, is_loaded },
	{ "write", be_unwritten, do_write, is_written },
	{ "part", be_no_partition, do_partition, is_partition },
	{ "reread", open_device, do_reread, nothing },
};

/* ---- Faults --------------------------------------------------------------- */

static int nth;

static void set_nth(int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%d", n);

	/* Here the fault may strike as well, once. */
	if (pwrite(nth, text, len, 0) != len && pwrite(nth, text, len, 0) != len)
		die("fail-nth");
}

/* Has the fault happened? Reading the answer may be the one that it happens to. */
static int has_failed(void)
{
	char text[16] = "";

	return pread(nth, text, sizeof(text) - 1, 0) > 0 && !atoi(text);
}

static void walk(const struct deed *deed, int stride)
{
	int site, ret, err, failed;

	nth = must_open("/proc/thread-self/fail-nth", O_RDWR);
	for (site = 1, failed = 1; failed; site += stride) {
		deed->prepare();
		set_nth(site);
		ret = deed->call();
		err = errno;
		failed = has_failed();
		set_nth(0);
		printf("%d %s %d\n", site, ret ? strerrorname_np(err) : "0", deed->state());
		fflush(stdout);
	}
	deed->prepare();
}

/* ---- Writes ---------------------------------------------------------------- */

#define PLACES	4096 /* of 4 KiB */

static void io(void)
{
	static uint32_t expected[PLACES];
	unsigned int i, count = atoi(arg(2)), place, tries;
	uint32_t *data;

	fd = must_open(arg(1), O_RDWR | O_DIRECT);
	if (posix_memalign((void **)&data, 4096, 4096))
		die("memory");
	srand(atoi(arg(3)));
	for (i = 1; i <= count; i++) {
		place = rand() % PLACES;
		memset(data, i, 4096);
		data[0] = i;
		if (pwrite(fd, data, 4096, place * 4096ul) == 4096) {
			expected[place] = i;
			printf("%u 8\n", place * 8);
		} else if (errno != EIO) {
			die("pwrite");
		} else {
			expected[place] = 0; /* it may have got there all the same */
		}
	}
	for (place = 0; place < PLACES; place++) {
		for (tries = 0; expected[place] && tries < 100; tries++) {
			if (pread(fd, data, 4096, place * 4096ul) == 4096)
				break;
		}
		errno = EILSEQ;
		if (expected[place] && data[0] != expected[place])
			die("pread");
	}
}

int main(int argc, char **argv)
{
	size_t i;

	if (argc < 3)
		return 2;
	args = argv + 2;
	nr_args = argc - 2;
	if (!strcmp(args[0], "io")) {
		io();
		return 0;
	}
	for (i = 0; i < sizeof(deeds) / sizeof(*deeds); i++) {
		if (!strcmp(deeds[i].name, args[0])) {
			walk(&deeds[i], atoi(argv[1]));
			return 0;
		}
	}
	return 2;
}
