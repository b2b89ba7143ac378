// SPDX-License-Identifier: MIT
/*
 * uring-discard DEV SECTOR COUNT: discards sectors by io_uring's command for block
 * devices (Linux 6.12). The numbers are spelt out, for the headers of this system may be
 * older than its kernel.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define URING_CMD	46
#define BLOCK_DISCARD	0x1200	/* _IO(0x12, 0) */

int main(int argc, char **argv)
{
	struct io_uring_params params = {};
	struct io_uring_sqe *entry;
	struct io_uring_cqe *done;
	char *queue, *answers;
	int disk, ring;

	if (argc != 4)
		return 2;
	disk = open(argv[1], O_RDWR);
	if (disk < 0)
		err(1, "%s", argv[1]);
	ring = syscall(SYS_io_uring_setup, 1, &params);
	if (ring < 0)
		err(1, "io_uring_setup");
	queue = mmap(NULL, params.sq_off.array + sizeof(uint32_t), PROT_READ | PROT_WRITE,
		     MAP_SHARED, ring, IORING_OFF_SQ_RING);
	answers = mmap(NULL, params.cq_off.cqes + 2 * sizeof(*done), PROT_READ | PROT_WRITE,
		       MAP_SHARED, ring, IORING_OFF_CQ_RING);
	entry = mmap(NULL, sizeof(*entry), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		     IORING_OFF_SQES);
	if (queue == MAP_FAILED || answers == MAP_FAILED || (void *)entry == MAP_FAILED)
		err(1, "mmap");

	memset(entry, 0, sizeof(*entry));
	entry->opcode = URING_CMD;
	entry->fd = disk;
	entry->off = BLOCK_DISCARD;	/* the command's number is in its lower half */
	entry->addr = strtoull(argv[2], NULL, 10) * 512;
	/* What newer headers call addr3. */
	memcpy((char *)entry + 48, &(uint64_t){ strtoull(argv[3], NULL, 10) * 512 }, 8);
	*(uint32_t *)(queue + params.sq_off.array) = 0;
	*(uint32_t *)(queue + params.sq_off.tail) = 1;
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
		err(1, "io_uring_enter");

	done = (struct io_uring_cqe *)(answers + params.cq_off.cqes);
	if (done->res < 0)
		errx(1, "discard: %s", strerror(-done->res));
	return 0;
}
