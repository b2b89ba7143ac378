// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rules that guard has from an attach rule, as text. Each word is one of
 *
 *	read-only
 *	ACTION=OPERATIONS:ARGUMENT:SECTOR:COUNT:CHANCE
 *
 * with "pass", "deny" or "delay" for ACTION, and numbers that mean what they do in
 * struct blkfilter_guard_rule. A process or a control group has no place here: nobody
 * knows which there will be when a device appears. What no rule applies to passes.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "guard.h"

/* In the order of enum blkfilter_guard_action, from its first. */
static const char *const actions[] = { "pass", "deny", "delay" };

static int numbers_from(char *text, u64 *numbers, unsigned int count)
{
	char *word;
	unsigned int i;
	int ret;

	for (i = 0; i < count; i++) {
		word = strsep(&text, ":");
		ret = word ? kstrtou64(word, 0, &numbers[i]) : -EINVAL;
		if (ret)
			return ret;
	}
	return text ? -EINVAL : 0;
}

static int rule_from(char *word, struct blkfilter_guard_rule *rule)
{
	char *action = strsep(&word, "=");
	u64 numbers[5];
	int i, ret;

	if (!strcmp(action, "read-only") && !word) {
		*rule = (struct blkfilter_guard_rule) {
			.operations = BLKFILTER_GUARD_CHANGE,
			.action = BLKFILTER_GUARD_DENY,
			.argument = EIO,
			.chance = BLKFILTER_GUARD_ALWAYS,
		};
		return 0;
	}
	i = match_string(actions, ARRAY_SIZE(actions), action);
	if (i < 0)
		return i;
	ret = numbers_from(word, numbers, ARRAY_SIZE(numbers));
	if (ret)
		return ret;
	if (numbers[0] > U32_MAX || numbers[1] > U32_MAX || numbers[4] > U32_MAX)
		return -EINVAL;
	*rule = (struct blkfilter_guard_rule) {
		.operations = numbers[0],
		.action = BLKFILTER_GUARD_PASS + i,
		.argument = numbers[1],
		.sector = numbers[2],
		.count = numbers[3],
		.chance = numbers[4],
	};
	return 0;
}

static int rules_fill(struct guard_rules *rules, char *text)
{
	u32 i;
	int ret;

	for (i = 0; i < rules->count; i++) {
		ret = rule_from(strsep(&text, " "), &rules->rules[i]);
		if (ret)
			return ret;
	}
	return rules_valid(rules) ? 0 : -EINVAL;
}

static u32 words_in(const char *text)
{
	u32 words = 1;

	while ((text = strchr(text, ' '))) {
		words++;
		text++;
	}
	return words;
}

static struct guard_rules *rules_from(const char *options)
{
	struct guard_rules *rules;
	char *text;
	int ret;

	/* A guard without rules would be attached, and let everything pass. */
	if (!*options)
		return ERR_PTR(-EINVAL);
	rules = rules_create(words_in(options));
	if (!rules)
		return ERR_PTR(-ENOMEM);
	text = kstrdup(options, GFP_KERNEL);
	ret = text ? rules_fill(rules, text) : -ENOMEM;
	kfree(text);
	if (ret) {
		rules_free(rules);
		return ERR_PTR(ret);
	}
	return rules;
}

/* What comes of it is said here, see struct blkfilter_operations. */
int guard_configure(struct blkfilter *flt, const char *options)
{
	struct guard_rules *rules = rules_from(options);
	int read_only;

	if (IS_ERR(rules))
		return PTR_ERR(rules);
	read_only = rules_read_only(rules);
	if (flt)
		guard_replace_rules(container_of(flt, struct guard, flt), rules);
	else
		rules_free(rules);
	return read_only;
}
