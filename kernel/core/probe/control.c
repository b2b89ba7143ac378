// SPDX-License-Identifier: GPL-2.0-only
/* Never compiles. Where the compiler does not complain of this, it did not come here. */
struct blkfilter_no_such_struct control;
