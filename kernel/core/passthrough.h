/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef BLKFILTER_PASSTHROUGH_H
#define BLKFILTER_PASSTHROUGH_H

struct file;
struct request;

void passthrough_request(struct request *rq);
void passthrough_ioctl(struct file *file, unsigned int cmd, unsigned long arg);

#endif /* BLKFILTER_PASSTHROUGH_H */
