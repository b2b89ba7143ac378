// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attach rules: which filter a device gets that appears, before its first I/O.
 *
 * /sys/module/blkfilter/parameters/rules lists them, a line each, in the form
 *
 *	FILTER PATTERN... [-- OPTION...]
 *
 * and takes such a line after the word "add" or "remove". A pattern is KEY=GLOB, at
 * most one of each key, or KEY!=GLOB, for those that it does not match; the globs are
 * those of a shell. All patterns of a rule must apply. The keys:
 *
 *	kind		disk: one that has a device of its own; partition: of such a disk;
 *			virtual: loop, RAM, device-mapper, RAID... and their partitions
 *	name		the kernel's name of the disk or partition: sd*, nvme0n1p2
 *	partuuid	the partition's entry in its partition table; a disk has none
 *	serial		the disk's serial number, of SCSI and SATA disks. Its
 *			partitions have the same
 *	wwid		the disk's world-wide name, "naa." or "eui." with hexadecimal
 *			digits; likewise
 *
 * So with serial or wwid alone the disk gets the filter, and each partition too; a
 * name or kind besides makes the difference. What is not known of a device matches no
 * glob, so KEY!=GLOB applies to it.
 *
 * The options are the filter's own, and in force before the device's first I/O. Where
 * several rules give a device the same filter, the first one's options count. No two
 * rules have the same filter and patterns, so "remove" needs no options; if it is given
 * some, they must be the rule's.
 *
 * A rule holds its filter's module: a device must not go untracked because somebody
 * unloaded that.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/blkdev.h>
#include <linux/ctype.h>
#include <linux/glob.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "registry.h"
#include "rules.h"
#include "scsi.h"

#define IDENTITY_MAX	256

/* ---- What a device is called --------------------------------------------- */

/* What the kernel makes up of other devices, or of memory, has no parent. */
static void kind_of(struct block_device *bdev, char *buf)
{
	if (!disk_to_dev(bdev->bd_disk)->parent)
		strscpy(buf, "virtual", IDENTITY_MAX);
	else
		strscpy(buf, bdev_is_partition(bdev) ? "partition" : "disk", IDENTITY_MAX);
}

static void name_of(struct block_device *bdev, char *buf)
{
	snprintf(buf, IDENTITY_MAX, "%pg", bdev);
}

static void partuuid_of(struct block_device *bdev, char *buf)
{
	if (bdev->bd_meta_info)
		strscpy(buf, bdev->bd_meta_info->uuid, IDENTITY_MAX);
}

/* The block layer has no idea of it; SCSI keeps a copy, of the inquiry's page 80. */
static void serial_of(struct block_device *bdev, char *buf)
{
	struct scsi_device *device = scsi_device_of(bdev->bd_disk);
	const struct scsi_vpd *page;
	int len;

	if (!device)
		return;
	rcu_read_lock();
	page = rcu_dereference(device->vpd_pg80);
	if (page && page->len > 4) {
		len = min(page->len - 4, IDENTITY_MAX - 1);
		memcpy(buf, page->data + 4, len);
		buf[len] = '\0';
	}
	rcu_read_unlock();
}

static void wwid_of(struct block_device *bdev, char *buf)
{
	static const struct {
		enum blk_unique_id type;
		const char *prefix;
	} kinds[] = {
		{ BLK_UID_NAA, "naa" },
		{ BLK_UID_EUI64, "eui" },
	};
	struct gendisk *disk = bdev->bd_disk;
	u8 id[16];
	int i, len;

	if (!disk->fops->get_unique_id)
		return;
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		len = disk->fops->get_unique_id(disk, id, kinds[i].type);
		if (len > 0 && len <= sizeof(id)) {
			snprintf(buf, IDENTITY_MAX, "%s.%*phN", kinds[i].prefix,
				 len, id);
			return;
		}
	}
}

/* Each writes an identity as a string of less than IDENTITY_MAX bytes, if it knows. */
static const struct {
	const char *key;
	void (*identity)(struct block_device *bdev, char *buf);
} keys[] = {
	{ "kind", kind_of },
	{ "name", name_of },
	{ "partuuid", partuuid_of },
	{ "serial", serial_of },
	{ "wwid", wwid_of },
};

/* ---- The rules ----------------------------------------------------------- */

/**
 * struct pattern - what a rule asks of a device
 * @link: in the order in which they were typed
 * @key: in @keys
 * @except: the glob must not match
 * @glob: with the device's identity
 */
struct pattern {
	struct list_head link;
	unsigned int key;
	bool except;
	char *glob;
};

static DEFINE_MUTEX(rules_lock);
static LIST_HEAD(rules);

static void rule_free(struct rule *rule)
{
	struct pattern *pattern, *next;

	list_for_each_entry_safe(pattern, next, &rule->patterns, link) {
		kfree(pattern->glob);
		kfree(pattern);
	}
	kfree(rule->options);
	if (rule->ops)
		registry_put(rule->ops);
	kfree(rule);
}

void rule_put(struct rule *rule)
{
	if (rule && refcount_dec_and_test(&rule->users))
		rule_free(rule);
}

static bool pattern_equal(const struct pattern *a, const struct pattern *b)
{
	return a->key == b->key && a->except == b->except && !strcmp(a->glob, b->glob);
}

/* One key may be excepted more than once. */
static bool pattern_fits(const struct rule *rule, const struct pattern *new)
{
	const struct pattern *pattern;

	list_for_each_entry(pattern, &rule->patterns, link) {
		if (pattern_equal(pattern, new) ||
		    (pattern->key == new->key && !pattern->except && !new->except))
			return false;
	}
	return true;
}

static int rule_add_pattern(struct rule *rule, char *word)
{
	struct pattern *pattern;
	char *glob = strchr(word, '=');
	bool except;
	int i = 0;

	if (!glob || glob == word || !glob[1])
		return -EINVAL;
	except = glob[-1] == '!';
	glob[except ? -1 : 0] = '\0';
	while (i < ARRAY_SIZE(keys) && strcmp(keys[i].key, word))
		i++;
	if (i == ARRAY_SIZE(keys))
		return -EINVAL;

	pattern = kzalloc(sizeof(*pattern), GFP_KERNEL);
	if (!pattern)
		return -ENOMEM;
	pattern->key = i;
	pattern->except = except;
	pattern->glob = kstrdup(glob + 1, GFP_KERNEL);
	if (!pattern->glob || !pattern_fits(rule, pattern)) {
		i = pattern->glob ? -EINVAL : -ENOMEM;
		kfree(pattern->glob);
		kfree(pattern);
		return i;
	}
	list_add_tail(&pattern->link, &rule->patterns);
	return 0;
}

/* The words of @text, which is cut up, with a space between each two. */
static char *options_join(char *text)
{
	char *joined = kstrdup(text ?: "", GFP_KERNEL), *to = joined, *word;

	if (!joined)
		return NULL;
	*joined = '\0';
	while ((word = strsep(&text, " "))) {
		if (*word)
			to += sprintf(to, "%s%s", to == joined ? "" : " ", word);
	}
	return joined;
}

/* Would the filter take the rule's options? */
static int rule_check_options(struct rule *rule)
{
	int ret;

	if (!rule->ops->configure)
		return *rule->options ? -EINVAL : 0;
	ret = rule->ops->configure(NULL, rule->options);
	rule->read_only = ret > 0;
	return min(ret, 0);
}

static int rule_fill(struct rule *rule, char *text)
{
	char *name = strsep(&text, " "), *word;
	int ret;

	while ((word = strsep(&text, " ")) && strcmp(word, "--")) {
		if (!*word)
			continue;
		ret = rule_add_pattern(rule, word);
		if (ret)
			return ret;
	}
	if (list_empty(&rule->patterns))
		return -EINVAL;
	rule->options = options_join(text);
	if (!rule->options)
		return -ENOMEM;
	rule->ops = registry_get(name);
	return rule->ops ? 0 : -ENOENT;
}

/* Read a rule from @text, which is cut up. */
static struct rule *rule_parse(char *text)
{
	struct rule *rule = kzalloc(sizeof(*rule), GFP_KERNEL);
	int ret;

	if (!rule)
		return ERR_PTR(-ENOMEM);
	refcount_set(&rule->users, 1);
	INIT_LIST_HEAD(&rule->patterns);
	ret = rule_fill(rule, text);
	if (ret) {
		rule_put(rule);
		return ERR_PTR(ret);
	}
	return rule;
}

static bool rule_has(const struct rule *rule, const struct pattern *like)
{
	const struct pattern *pattern;

	list_for_each_entry(pattern, &rule->patterns, link) {
		if (pattern_equal(pattern, like))
			return true;
	}
	return false;
}

static bool rule_has_all(const struct rule *rule, const struct rule *of)
{
	const struct pattern *pattern;

	list_for_each_entry(pattern, &of->patterns, link) {
		if (!rule_has(rule, pattern))
			return false;
	}
	return true;
}

/* The rule of the same filter and patterns, in whatever order these are. */
static struct rule *rules_find(const struct rule *like)
{
	struct rule *rule;

	list_for_each_entry(rule, &rules, link) {
		if (rule->ops == like->ops && rule_has_all(rule, like) &&
		    rule_has_all(like, rule))
			return rule;
	}
	return NULL;
}

static int rule_print(const struct rule *rule, char *buf, int size)
{
	const struct pattern *pattern;
	int len;

	len = snprintf(buf, size, "%s", rule->ops->name);
	list_for_each_entry(pattern, &rule->patterns, link)
		len += snprintf(buf + len, max(size - len, 0), " %s%s%s",
				keys[pattern->key].key, pattern->except ? "!=" : "=",
				pattern->glob);
	if (*rule->options)
		len += snprintf(buf + len, max(size - len, 0), " -- %s", rule->options);
	return len + snprintf(buf + len, max(size - len, 0), "\n");
}

/* What does not fit into the page that lists them all would be there unseen. */
static bool rules_have_room(const struct rule *new)
{
	int len = rule_print(new, NULL, 0);
	struct rule *rule;

	list_for_each_entry(rule, &rules, link)
		len += rule_print(rule, NULL, 0);
	return len < PAGE_SIZE;
}

static bool rule_matches(const struct rule *rule, struct block_device *bdev, char *buf)
{
	const struct pattern *pattern;
	bool match;

	list_for_each_entry(pattern, &rule->patterns, link) {
		*buf = '\0';
		keys[pattern->key].identity(bdev, buf);
		match = *buf && glob_match(pattern->glob, strim(buf));
		if (match == pattern->except)
			return false;
	}
	return true;
}

/*
 * rules_match() - the first rule that gives this filter to this device
 *
 * NULL when none does. The rule is the caller's until rule_put().
 */
struct rule *rules_match(struct block_device *bdev, const struct blkfilter_operations *ops)
{
	struct rule *rule, *ret = NULL;
	char *buf;

	mutex_lock(&rules_lock);
	if (!list_empty(&rules)) {
		buf = kmalloc(IDENTITY_MAX, GFP_KERNEL | __GFP_NOFAIL);
		list_for_each_entry(rule, &rules, link) {
			if (rule->ops != ops || !rule_matches(rule, bdev, buf))
				continue;
			refcount_inc(&rule->users);
			ret = rule;
			break;
		}
		kfree(buf);
	}
	mutex_unlock(&rules_lock);
	return ret;
}

/* ---- The parameter ------------------------------------------------------- */

static int rules_add(char *text)
{
	struct rule *rule = rule_parse(text), *present;
	int ret;

	if (IS_ERR(rule))
		return PTR_ERR(rule);
	ret = rule_check_options(rule);
	if (ret)
		goto put;
	mutex_lock(&rules_lock);
	present = rules_find(rule);
	if (present)
		ret = strcmp(present->options, rule->options) ? -EBUSY : -EEXIST;
	else if (!rules_have_room(rule))
		ret = -ENOSPC;
	else
		list_add_tail(&rule->link, &rules);
	mutex_unlock(&rules_lock);
put:
	if (ret)
		rule_put(rule);
	return ret;
}

static int rules_remove(char *text)
{
	struct rule *like = rule_parse(text), *rule;

	if (IS_ERR(like))
		return PTR_ERR(like);
	mutex_lock(&rules_lock);
	rule = rules_find(like);
	if (rule && *like->options && strcmp(rule->options, like->options))
		rule = NULL;
	if (rule)
		list_del(&rule->link);
	mutex_unlock(&rules_lock);
	rule_put(like);
	rule_put(rule);
	return rule ? 0 : -ENOENT;
}

static int rules_set(const char *val, const struct kernel_param *kp)
{
	char *copy = kstrdup(val, GFP_KERNEL), *text, *verb;
	int ret = -EINVAL;

	if (!copy)
		return -ENOMEM;
	text = strim(copy);
	verb = strsep(&text, " ");
	/* A line each: there is no way to list what has another in it. */
	if (!text || strchr(text, '\n'))
		ret = -EINVAL;
	else if (!strcmp(verb, "add"))
		ret = rules_add(skip_spaces(text));
	else if (!strcmp(verb, "remove"))
		ret = rules_remove(skip_spaces(text));
	kfree(copy);
	return ret;
}

static int rules_get(char *buf, const struct kernel_param *kp)
{
	struct rule *rule;
	int len = 0;

	mutex_lock(&rules_lock);
	list_for_each_entry(rule, &rules, link)
		len += rule_print(rule, buf + len, PAGE_SIZE - len);
	mutex_unlock(&rules_lock);
	return len;
}

static const struct kernel_param_ops rules_param_ops = {
	.set = rules_set,
	.get = rules_get,
};
module_param_cb(rules, &rules_param_ops, NULL, 0644);
MODULE_PARM_DESC(rules, "which filters new devices get; write \"add FILTER KEY=PATTERN... [-- OPTION...]\" or \"remove ...\"");
