// SPDX-License-Identifier: GPL-2.0-only
/*
 * The commands of trace; their structs are documented in the UAPI header.
 */
#include <linux/capability.h>
#include <linux/file.h>
#include <linux/log2.h>
#include <linux/uaccess.h>

#include "trace.h"

/* ctl_defaults() - what holds until CONFIGURE */
void ctl_defaults(struct blkfilter_trace_config *config)
{
	*config = (struct blkfilter_trace_config) {
		.buffer = BLKFILTER_TRACE_BUFFER_DEFAULT,
		.operations = TRACE_ALL_OPERATIONS,
	};
}

static int trace_configure(struct trace *trace, __u8 __user *buf)
{
	struct blkfilter_trace_config config;

	if (copy_from_user(&config, buf, sizeof(config)))
		return -EFAULT;
	if (!is_power_of_2(config.buffer) || config.buffer < BLKFILTER_TRACE_BUFFER_MIN ||
	    config.buffer > BLKFILTER_TRACE_BUFFER_MAX ||
	    config.count > U64_MAX - config.sector ||
	    config.operations & ~TRACE_ALL_OPERATIONS ||
	    config.options & ~BLKFILTER_TRACE_SEGMENTS ||
	    config.pattern_length > BLKFILTER_TRACE_PATTERN_MAX)
		return -EINVAL;
	if (!config.operations)
		config.operations = TRACE_ALL_OPERATIONS;

	mutex_lock(&trace->config_lock);
	trace->config = config;
	mutex_unlock(&trace->config_lock);
	return 0;
}

static int trace_open(struct trace *trace, __u8 __user *buf)
{
	struct blkfilter_trace_config config;
	struct blkfilter_trace_open open;
	struct file *file;
	int ret;

	if (copy_from_user(&open, buf, sizeof(open)))
		return -EFAULT;
	if (open.reserved)
		return -EINVAL;
	mutex_lock(&trace->config_lock);
	config = trace->config;
	mutex_unlock(&trace->config_lock);

	open.fd = get_unused_fd_flags(O_CLOEXEC);
	if (open.fd < 0)
		return open.fd;
	ret = stream_open_fd(trace, &config, &file);
	if (ret)
		goto put_fd;
	if (copy_to_user(buf, &open, sizeof(open))) {
		ret = -EFAULT;
		goto put_file;
	}
	fd_install(open.fd, file);
	return 0;

put_file:
	fput(file);
put_fd:
	put_unused_fd(open.fd);
	return ret;
}

static const struct trace_command {
	int (*run)(struct trace *trace, __u8 __user *buf);
	size_t size;
} trace_commands[] = {
	[BLKFILTER_TRACE_CONFIGURE] = {
		trace_configure, sizeof(struct blkfilter_trace_config) },
	[BLKFILTER_TRACE_OPEN] = {
		trace_open, sizeof(struct blkfilter_trace_open) },
};

/* trace_ctl() - a BLKFILTER_CTL of this filter */
int trace_ctl(struct blkfilter *flt, const unsigned int cmd, __u8 __user *buf,
	      __u32 *plen)
{
	struct trace *trace = container_of(flt, struct trace, flt);

	if (cmd >= ARRAY_SIZE(trace_commands) || !trace_commands[cmd].run)
		return -ENOTTY;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (*plen != trace_commands[cmd].size)
		return -EINVAL;
	return trace_commands[cmd].run(trace, buf);
}
