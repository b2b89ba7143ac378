// SPDX-License-Identifier: GPL-2.0-only
/* Arguments and instruction pointer by ftrace_regs_*: since 6.2. */
#include <linux/ftrace.h>

unsigned long probe_ftrace_regs(struct ftrace_regs *fregs)
{
	ftrace_regs_set_instruction_pointer(fregs, 0);
	return ftrace_regs_get_argument(fregs, 0);
}
