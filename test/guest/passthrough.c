// SPDX-License-Identifier: MIT
/*
 * passthrough HOW DEV COMMAND [in|out[=HEX] BYTES]: a command past the block layer, whose data, where it carries some, begins
 * with HEX. Prints the device's status.
 *
 *	sg	a SCSI command (hexadecimal, up to 32 bytes) in an SG_IO ioctl, of a disk's node or of /dev/sgN
 *	write	the same, by write and read of /dev/sgN
 *	bsg	the same, in an SG_IO ioctl of a node in /dev/bsg
 *	io	an NVMe command (hexadecimal: opcode, namespace, dwords 10 to 15, each after a comma), to a namespace
 *	admin	the same, to a controller
 *	ring	as io, by io_uring, of /dev/ngN
 *	adminring	as admin, by io_uring
 *	mmc	an MMC multi-command: a read, and then a write, of the sector that COMMAND names
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/bsg.h>
#include <linux/io_uring.h>
#include <linux/mmc/ioctl.h>
#include <linux/nvme_ioctl.h>
#include <scsi/sg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common.h"

static unsigned char data[1 << 20] __attribute__((aligned(4096)));

struct transfer {
	int out;
	unsigned int bytes;
};

/* ---- SCSI ---------------------------------------------------------------- */

static int hex_read(unsigned char *bytes, int max, const char *hex)
{
	int len = 0, used;
	unsigned int byte;

	for (; len < max && sscanf(hex, "%2x%n", &byte, &used) == 1; hex += used)
		bytes[len++] = byte;
	return len;
}

static void sg(int fd, const char *command, struct transfer transfer, int by_write)
{
	unsigned char cdb[32] = {}, sense[64];
	struct sg_io_hdr io = {
		.interface_id = 'S',
		.dxfer_direction = !transfer.bytes ? SG_DXFER_NONE :
				   transfer.out ? SG_DXFER_TO_DEV : SG_DXFER_FROM_DEV,
		.cmd_len = hex_read(cdb, sizeof(cdb), command),
		.cmdp = cdb,
		.dxfer_len = transfer.bytes,
		.dxferp = data,
		.mx_sb_len = sizeof(sense),
		.sbp = sense,
		.timeout = 20000,
	};

	if (by_write) {
		if (write(fd, &io, sizeof(io)) < 0 || read(fd, &io, sizeof(io)) < 0)
			die("sg");
	} else if (ioctl(fd, SG_IO, &io) < 0) {
		die("SG_IO");
	}
	printf("%d\n", io.status);
}

static void bsg(int fd, const char *command, struct transfer transfer)
{
	unsigned char cdb[32] = {}, sense[64];
	struct sg_io_v4 io = {
		.guard = 'Q',
		.protocol = BSG_PROTOCOL_SCSI,
		.subprotocol = BSG_SUB_PROTOCOL_SCSI_CMD,
		.request_len = hex_read(cdb, sizeof(cdb), command),
		.request = (uintptr_t)cdb,
		.response = (uintptr_t)sense,
		.max_response_len = sizeof(sense),
		.timeout = 20000,
	};

	if (transfer.out) {
		io.dout_xferp = (uintptr_t)data;
		io.dout_xfer_len = transfer.bytes;
	} else {
		io.din_xferp = (uintptr_t)data;
		io.din_xfer_len = transfer.bytes;
	}
	if (ioctl(fd, SG_IO, &io) < 0)
		die("SG_IO");
	printf("%d\n", io.device_status);
}

/* ---- NVMe ---------------------------------------------------------------- */

static struct nvme_passthru_cmd nvme_read(const char *command, struct transfer transfer)
{
	unsigned int words[8] = {};
	struct nvme_passthru_cmd cmd = { .timeout_ms = 20000 };
	char *end;
	int i;

	for (i = 0; i < 8; i++) {
		words[i] = strtoul(command, &end, 16);
		if (*end != ',')
			break;
		command = end + 1;
	}
	cmd.opcode = words[0];
	cmd.nsid = words[1];
	memcpy(&cmd.cdw10, words + 2, 6 * sizeof(words[0]));
	if (transfer.bytes) {
		cmd.addr = (uintptr_t)data;
		cmd.data_len = transfer.bytes;
	}
	return cmd;
}

static void nvme(int fd, const char *command, struct transfer transfer, int admin)
{
	struct nvme_passthru_cmd cmd = nvme_read(command, transfer);
	int status = ioctl(fd, admin ? NVME_IOCTL_ADMIN_CMD : NVME_IOCTL_IO_CMD, &cmd);

	if (status < 0)
		die("NVME_IOCTL");
	printf("%d\n", status);
}

/* A ring for one command; what it maps it leaves to the end of the process. */
static void ring(int fd, const char *command, struct transfer transfer, int admin)
{
	struct nvme_passthru_cmd cmd = nvme_read(command, transfer);
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32 };
	struct nvme_uring_cmd uring = {
		.opcode = cmd.opcode, .nsid = cmd.nsid, .addr = cmd.addr, .data_len = cmd.data_len,
		.cdw10 = cmd.cdw10, .cdw11 = cmd.cdw11, .cdw12 = cmd.cdw12,
		.cdw13 = cmd.cdw13, .cdw14 = cmd.cdw14, .cdw15 = cmd.cdw15,
	};
	int ring = syscall(__NR_io_uring_setup, 1, &params);
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	char *rings;

	if (ring < 0)
		die("io_uring_setup");
	rings = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	sqe = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (rings == MAP_FAILED || sqe == MAP_FAILED)
		die("mmap");
	memset(sqe, 0, 128);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = admin ? NVME_URING_CMD_ADMIN : NVME_URING_CMD_IO;
	memcpy(sqe->cmd, &uring, sizeof(uring));
	*(unsigned int *)(rings + params.sq_off.array) = 0;
	*(volatile unsigned int *)(rings + params.sq_off.tail) = 1;
	if (syscall(__NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		die("io_uring_enter");
	cqe = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
	errno = -cqe->res;
	if (cqe->res < 0)
		die("NVME_URING_CMD");
	printf("%d\n", cqe->res);
}

/* ---- MMC ----------------------------------------------------------------- */

/* What linux/mmc/core.h says, which user space has not got: a data command, with response R1. */
#define MMC_R1_ADTC	((1 << 0) | (1 << 2) | (1 << 4) | (1 << 5) | (1 << 7))

static void mmc(int fd, const char *command)
{
	static const unsigned int opcodes[] = { 17, 24 }; /* read, write a block */
	struct mmc_ioc_multi_cmd *multi = calloc(1, sizeof(*multi) + 2 * sizeof(multi->cmds[0]));
	int i;

	multi->num_of_cmds = 2;
	for (i = 0; i < 2; i++) {
		multi->cmds[i].write_flag = i;
		multi->cmds[i].opcode = opcodes[i];
		/* Cards of up to 2 GiB count bytes. */
		multi->cmds[i].arg = strtoul(command, NULL, 10) * 512;
		multi->cmds[i].flags = MMC_R1_ADTC;
		multi->cmds[i].blksz = 512;
		multi->cmds[i].blocks = 1;
		mmc_ioc_cmd_set_data(multi->cmds[i], data + i * 512);
	}
	if (ioctl(fd, MMC_IOC_MULTI_CMD, multi) < 0)
		die("MMC_IOC_MULTI_CMD");
	printf("0\n");
}

int main(int argc, char **argv)
{
	struct transfer transfer = {};
	const char *how;
	int fd;

	if (argc != 4 && argc != 6)
		return 2;
	how = argv[1];
	fd = must_open(argv[2], O_RDWR);
	if (argc == 6) {
		transfer.out = !strncmp(argv[4], "out", 3);
		transfer.bytes = atoi(argv[5]);
		if (transfer.bytes > sizeof(data))
			return 2;
	}
	memset(data, 0xa5, sizeof(data));
	if (argc == 6 && !strncmp(argv[4], "out=", 4))
		hex_read(data, sizeof(data), argv[4] + 4);
	if (!strcmp(how, "sg") || !strcmp(how, "write"))
		sg(fd, argv[3], transfer, *how == 'w');
	else if (!strcmp(how, "bsg"))
		bsg(fd, argv[3], transfer);
	else if (!strcmp(how, "io") || !strcmp(how, "admin"))
		nvme(fd, argv[3], transfer, *how == 'a');
	else if (!strcmp(how, "ring") || !strcmp(how, "adminring"))
		ring(fd, argv[3], transfer, *how == 'a');
	else if (!strcmp(how, "mmc"))
		mmc(fd, argv[3]);
	else
		return 2;
	return 0;
}
