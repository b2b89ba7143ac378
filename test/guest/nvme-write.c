// SPDX-License-Identifier: MIT
/*
 * nvme-write DEV SECTOR: writes a block past the block layer, by an NVMe command in an
 * ioctl, of a disk's node or its generic one.
 */
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	static unsigned char data[512] __attribute__((aligned(512)));
	struct nvme_passthru_cmd command = {
		.opcode = 0x01, /* write */
		.addr = (uintptr_t)data,
		.data_len = sizeof(data),
	};
	int fd, id;

	if (argc != 3)
		return 2;
	command.cdw10 = strtoul(argv[2], NULL, 10);
	memset(data, 0xa5, sizeof(data));
	fd = open(argv[1], O_RDWR);
	id = fd < 0 ? -1 : ioctl(fd, NVME_IOCTL_ID);
	if (id < 0) {
		perror(argv[1]);
		return 1;
	}
	command.nsid = id;
	if (ioctl(fd, NVME_IOCTL_IO_CMD, &command)) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
