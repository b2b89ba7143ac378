// SPDX-License-Identifier: MIT
/*
 * sg-write DEV SECTOR: writes a block past the block layer, by a SCSI WRITE(10) in an
 * SG_IO ioctl.
 */
#include <fcntl.h>
#include <scsi/sg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	static unsigned char data[512], sense[32], cdb[10] = { 0x2a };
	struct sg_io_hdr io = {
		.interface_id = 'S',
		.dxfer_direction = SG_DXFER_TO_DEV,
		.cmd_len = sizeof(cdb),
		.cmdp = cdb,
		.dxfer_len = sizeof(data),
		.dxferp = data,
		.mx_sb_len = sizeof(sense),
		.sbp = sense,
		.timeout = 10000,
	};
	uint32_t sector;
	int i, fd;

	if (argc != 3)
		return 2;
	sector = strtoul(argv[2], NULL, 10);
	for (i = 0; i < 4; i++)
		cdb[2 + i] = sector >> (24 - 8 * i);
	cdb[8] = 1;
	memset(data, 0xa5, sizeof(data));
	fd = open(argv[1], O_RDWR);
	if (fd < 0 || ioctl(fd, SG_IO, &io) < 0 || io.status) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
