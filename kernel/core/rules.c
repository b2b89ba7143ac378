// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attach rules: which filter a device gets that appears, before its first I/O.
 *
 * /sys/module/blkfilter/parameters/rules lists them, a line each, in the form
 *
 *	FILTER KEY=PATTERN [KEY=PATTERN]...
 *
 * and takes such a line after the word "add" or "remove". The patterns are those of
 * a shell. All keys of a rule must match:
 *
 *	name		the kernel's name of the disk or partition: sd*, nvme0n1p2
 *	partuuid	the partition's entry in its partition table; a disk has none
 *	serial		the disk's serial number, of SCSI and SATA disks. Its
 *			partitions have the same
 *	wwid		the disk's world-wide name, "naa." or "eui." with hexadecimal
 *			digits; likewise
 *
 * So with serial or wwid alone the disk gets the filter, and each partition too; a
 * name besides makes the difference. A rule holds its filter's module: a device must
 * not go untracked because somebody unloaded that.
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
	{ "name", name_of },
	{ "partuuid", partuuid_of },
	{ "serial", serial_of },
	{ "wwid", wwid_of },
};

/* ---- The rules ----------------------------------------------------------- */

/**
 * struct rule
 * @link: in the order in which they were added
 * @ops: the filter, whose module is held
 * @patterns: as in @keys; NULL where a key may be anything
 */
struct rule {
	struct list_head link;
	struct blkfilter_operations *ops;
	char *patterns[ARRAY_SIZE(keys)];
};

static DEFINE_MUTEX(rules_lock);
static LIST_HEAD(rules);

static void rule_free(struct rule *rule)
{
	int i;

	if (!rule)
		return;
	for (i = 0; i < ARRAY_SIZE(keys); i++)
		kfree(rule->patterns[i]);
	if (rule->ops)
		registry_put(rule->ops);
	kfree(rule);
}

static int rule_set(struct rule *rule, char *word)
{
	char *pattern = strchr(word, '=');
	int i;

	if (!pattern || !pattern[1])
		return -EINVAL;
	*pattern++ = '\0';
	i = 0;
	while (i < ARRAY_SIZE(keys) && strcmp(keys[i].key, word))
		i++;
	if (i == ARRAY_SIZE(keys) || rule->patterns[i])
		return -EINVAL;
	rule->patterns[i] = kstrdup(pattern, GFP_KERNEL);
	return rule->patterns[i] ? 0 : -ENOMEM;
}

/* Read a rule from @text, which is cut up. */
static struct rule *rule_parse(char *text)
{
	struct rule *rule = kzalloc(sizeof(*rule), GFP_KERNEL);
	char *name = strsep(&text, " "), *word;
	int keys_set = 0, ret = 0;

	if (!rule)
		return ERR_PTR(-ENOMEM);
	while (!ret && (word = strsep(&text, " "))) {
		if (!*word)
			continue;
		ret = rule_set(rule, word);
		keys_set++;
	}
	if (!ret && !keys_set)
		ret = -EINVAL;
	if (!ret) {
		rule->ops = registry_get(name);
		if (!rule->ops)
			ret = -ENOENT;
	}
	if (ret) {
		rule_free(rule);
		return ERR_PTR(ret);
	}
	return rule;
}

static bool rule_equal(const struct rule *a, const struct rule *b)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(a->patterns[i] ?: "", b->patterns[i] ?: ""))
			return false;
	}
	return a->ops == b->ops;
}

static struct rule *rules_find(const struct rule *like)
{
	struct rule *rule;

	list_for_each_entry(rule, &rules, link) {
		if (rule_equal(rule, like))
			return rule;
	}
	return NULL;
}

static int rule_print(const struct rule *rule, char *buf, int size)
{
	int i, len;

	len = snprintf(buf, size, "%s", rule->ops->name);
	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		if (rule->patterns[i])
			len += snprintf(buf + len, max(size - len, 0), " %s=%s",
					keys[i].key, rule->patterns[i]);
	}
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
	int i;

	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!rule->patterns[i])
			continue;
		*buf = '\0';
		keys[i].identity(bdev, buf);
		if (!*buf || !glob_match(rule->patterns[i], strim(buf)))
			return false;
	}
	return true;
}

/* rules_want() - does a rule give this filter to this device? */
bool rules_want(struct block_device *bdev, const struct blkfilter_operations *ops)
{
	struct rule *rule;
	bool ret = false;
	char *buf;

	mutex_lock(&rules_lock);
	if (!list_empty(&rules)) {
		buf = kmalloc(IDENTITY_MAX, GFP_KERNEL | __GFP_NOFAIL);
		list_for_each_entry(rule, &rules, link)
			ret = ret || (rule->ops == ops && rule_matches(rule, bdev, buf));
		kfree(buf);
	}
	mutex_unlock(&rules_lock);
	return ret;
}

/* ---- The parameter ------------------------------------------------------- */

static int rules_change(bool add, char *text)
{
	struct rule *rule = rule_parse(text), *present;
	int ret = 0;

	if (IS_ERR(rule))
		return PTR_ERR(rule);
	mutex_lock(&rules_lock);
	present = rules_find(rule);
	if (add && present) {
		ret = -EEXIST;
	} else if (add && !rules_have_room(rule)) {
		ret = -ENOSPC;
	} else if (add) {
		list_add_tail(&rule->link, &rules);
		rule = NULL;
	} else if (present) {
		list_del(&present->link);
	} else {
		ret = -ENOENT;
	}
	mutex_unlock(&rules_lock);
	rule_free(rule);
	if (!add)
		rule_free(present);
	return ret;
}

static int rules_set(const char *val, const struct kernel_param *kp)
{
	char *copy = kstrdup(val, GFP_KERNEL), *text, *verb;
	int ret = -EINVAL;

	if (!copy)
		return -ENOMEM;
	text = strim(copy);
	verb = strsep(&text, " ");
	if (text && !strcmp(verb, "add"))
		ret = rules_change(true, skip_spaces(text));
	else if (text && !strcmp(verb, "remove"))
		ret = rules_change(false, skip_spaces(text));
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
MODULE_PARM_DESC(rules, "which filters new devices get; write \"add FILTER KEY=PATTERN...\" or \"remove ...\"");
