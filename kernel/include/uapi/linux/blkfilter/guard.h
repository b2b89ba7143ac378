/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * guard, the filter that denies, delays or passes requests by rule: its
 * BLKFILTER_CTL commands.
 *
 * A request is held against the rules in their order; the first that applies
 * decides, and where none does, the default. After ATTACH there are no rules and
 * the default is to pass. Sectors are 512 bytes, relative to the device that the
 * filter is attached to.
 *
 * As long as the rules deny every change of all sectors to everybody, always, the device
 * is marked read-only as well, as by BLKROSET.
 *
 * Each command takes exactly the struct named beside it; another optlen gives
 * EINVAL. Fields named reserved must be zero.
 */
#ifndef _UAPI_LINUX_BLKFILTER_GUARD_H
#define _UAPI_LINUX_BLKFILTER_GUARD_H

#include <linux/types.h>

#define BLKFILTER_GUARD_NAME		"guard"

#define BLKFILTER_GUARD_RULES_MAX	1024
#define BLKFILTER_GUARD_DELAY_MAX	(60 * 60 * 1000)
#define BLKFILTER_GUARD_ALWAYS		1000000

/**
 * enum blkfilter_guard_cmd - commands, with the struct each one takes
 * @BLKFILTER_GUARD_SET_RULES: struct blkfilter_guard_rules (CAP_SYS_ADMIN)
 * @BLKFILTER_GUARD_GET_RULES: struct blkfilter_guard_rules
 */
enum blkfilter_guard_cmd {
	BLKFILTER_GUARD_SET_RULES = 1,
	BLKFILTER_GUARD_GET_RULES = 2,
};

/**
 * enum blkfilter_guard_operation - what a request does, as bits
 * @BLKFILTER_GUARD_READ: read
 * @BLKFILTER_GUARD_WRITE: write, also one that flushes before or after
 * @BLKFILTER_GUARD_FLUSH: flush the device's cache, and nothing else. It touches
 *	no sector: only a rule without a range applies to it
 * @BLKFILTER_GUARD_DISCARD: discard
 * @BLKFILTER_GUARD_SECURE_ERASE: secure erase
 * @BLKFILTER_GUARD_WRITE_ZEROES: write zeroes
 * @BLKFILTER_GUARD_ZONE_APPEND: append to a zone; touches all of the zone, as all
 *	operations on zones do
 * @BLKFILTER_GUARD_ZONE_OPEN: open a zone
 * @BLKFILTER_GUARD_ZONE_CLOSE: close a zone
 * @BLKFILTER_GUARD_ZONE_FINISH: finish a zone
 * @BLKFILTER_GUARD_ZONE_RESET: reset one zone or all
 * @BLKFILTER_GUARD_OTHER: none of the above
 * @BLKFILTER_GUARD_CHANGE: any of all these that changes what the device holds; a
 *	request has this bit beside its own
 */
enum blkfilter_guard_operation {
	BLKFILTER_GUARD_READ = 1 << 0,
	BLKFILTER_GUARD_WRITE = 1 << 1,
	BLKFILTER_GUARD_FLUSH = 1 << 2,
	BLKFILTER_GUARD_DISCARD = 1 << 3,
	BLKFILTER_GUARD_SECURE_ERASE = 1 << 4,
	BLKFILTER_GUARD_WRITE_ZEROES = 1 << 5,
	BLKFILTER_GUARD_ZONE_APPEND = 1 << 6,
	BLKFILTER_GUARD_ZONE_OPEN = 1 << 7,
	BLKFILTER_GUARD_ZONE_CLOSE = 1 << 8,
	BLKFILTER_GUARD_ZONE_FINISH = 1 << 9,
	BLKFILTER_GUARD_ZONE_RESET = 1 << 10,
	BLKFILTER_GUARD_OTHER = 1 << 11,
	BLKFILTER_GUARD_CHANGE = 1 << 12,
};

#define BLKFILTER_GUARD_OPERATIONS	((1 << 13) - 1)

/**
 * enum blkfilter_guard_action - what becomes of a request, and its argument
 * @BLKFILTER_GUARD_PASS: it goes on; 0
 * @BLKFILTER_GUARD_DENY: it fails; the errno, a positive number: one that the
 *	block layer can carry, so that the submitter gets just this one, and that
 *	does not make it try again (EAGAIN, EREMCHG)
 * @BLKFILTER_GUARD_DELAY: it goes on later; milliseconds, 1 to
 *	BLKFILTER_GUARD_DELAY_MAX. No shorter, perhaps longer
 */
enum blkfilter_guard_action {
	BLKFILTER_GUARD_PASS = 1,
	BLKFILTER_GUARD_DENY = 2,
	BLKFILTER_GUARD_DELAY = 3,
};

/**
 * struct blkfilter_guard_rule - which requests it applies to, and what they get
 * @sector: the first of the sectors of which a request must touch one
 * @count: how many; 0: to the device's end. With @sector 0 too the rule has no range
 * @cgroup: the id (inode number) of a control group that owns the request, or an
 *	ancestor of it; 0: any
 * @operations: of enum blkfilter_guard_operation, at least one
 * @pid: the process that submits it, as the initial PID namespace numbers it;
 *	0: any
 * @action: of enum blkfilter_guard_action
 * @argument: of @action
 * @chance: that it applies where all else fits, in millionths; at least 1
 * @reserved: zero
 */
struct blkfilter_guard_rule {
	__u64 sector;
	__u64 count;
	__u64 cgroup;
	__u32 operations;
	__u32 pid;
	__u32 action;
	__u32 argument;
	__u32 chance;
	__u32 reserved;
};

/**
 * struct blkfilter_guard_rules - all rules of a device
 * @rules: address of an array of struct blkfilter_guard_rule
 * @counters: GET: address of an array of __u64, which takes how often each rule
 *	has decided since it was set, and after the last one how often the default
 *	has. SET: zero
 * @count: SET: rules, at most BLKFILTER_GUARD_RULES_MAX. GET: the rules that
 *	there is space for, and for one more counter, EMSGSIZE if that is too
 *	little; result: how many there are
 * @action: the default's, of enum blkfilter_guard_action; GET: result
 * @argument: the default's; GET: result
 * @held: GET: result: the requests that are being delayed. SET: zero
 *
 * SET replaces all rules at once, and begins to count anew. What the old rules
 * delay is let go, and when SET returns, all that the old rules have let pass has
 * completed: nothing that the new ones deny reaches the device any more. If it
 * fails because requests cannot be waited for (see blkfilter_drain()), the new
 * rules are in force all the same.
 */
struct blkfilter_guard_rules {
	__u64 rules;
	__u64 counters;
	__u32 count;
	__u32 action;
	__u32 argument;
	__u32 held;
};

#endif /* _UAPI_LINUX_BLKFILTER_GUARD_H */
