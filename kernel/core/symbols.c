// SPDX-License-Identifier: GPL-2.0-only
/*
 * The addresses of the kernel's functions that it does not export.
 *
 * A name alone does not tell a function from a static one of the same name elsewhere: f2fs
 * has a __submit_bio of its own, in a module or in the kernel, with other arguments. The
 * linker keeps together what comes from one source file. So a function is looked for near
 * an exported one of the same file, in the kernel's own list of symbols, which is read by
 * sprint_symbol() one symbol after the other. A kernel that was linked in another order
 * (LTO, AutoFDO) has it elsewhere; there it is taken only if no other has its name.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/errno.h>
#include <linux/kallsyms.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/printk.h>
#include <linux/sizes.h>
#include <linux/string.h>

#include "symbols.h"

/* More than any source file of the block layer is compiled to, and a few hundred symbols. */
#define NEAR	SZ_64K

/* A symbol of the kernel's: its name, where it begins, and where the next one does. */
struct symbol {
	char name[KSYM_SYMBOL_LEN];
	unsigned long begin;
	unsigned long end;
};

/* The one that @address lies in. False when none does, or one of a module's. */
static bool symbol_at(unsigned long address, struct symbol *symbol)
{
	unsigned long offset, size;
	char *behind;

	/* "name+0xoffset/0xsize", with " [module]" behind, or "0xaddress". */
	sprint_symbol(symbol->name, address);
	behind = strrchr(symbol->name, '+');
	if (!behind || strchr(behind, '[') || sscanf(behind, "+%lx/%lx", &offset, &size) != 2)
		return false;
	*behind = '\0';
	symbol->begin = address - offset;
	symbol->end = symbol->begin + size;
	return true;
}

/* How many symbols of that name are within @reach of @near; @found takes the last one. */
static unsigned int symbol_count(const char *name, unsigned long near, unsigned long reach,
				 unsigned long *found)
{
	static struct symbol symbol;
	unsigned int count = 0;
	unsigned long at;

	for (at = near; at - near < reach && symbol_at(at, &symbol); at = symbol.end) {
		if (strcmp(symbol.name, name))
			continue;
		*found = symbol.begin;
		count++;
	}
	for (at = near - 1; near - at < reach && symbol_at(at, &symbol); at = symbol.begin - 1) {
		if (strcmp(symbol.name, name))
			continue;
		*found = symbol.begin;
		count++;
	}
	return count;
}

/*
 * symbol_find() - the address of the kernel's function @name
 * @near: the address of an exported function of the same source file
 *
 * For one task at a time, as it is when the module is loaded.
 *
 * Return: 0, with a message, where there is not exactly one.
 */
unsigned long symbol_find(const char *name, unsigned long near)
{
	unsigned long found = 0;
	unsigned int count = symbol_count(name, near, NEAR, &found) ?:
			     symbol_count(name, near, ULONG_MAX, &found);

	if (count == 1)
		return found;
	if (count)
		pr_err("this kernel has %u functions %s, and nothing tells which one is the block layer's\n",
		       count, name);
	else
		pr_err("this kernel has no function %s\n", name);
	return 0;
}
