// SPDX-License-Identifier: MIT
#include "os/log.h"
#include "os/sys.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int log_level = HMM_LOG_WARN;
static const char *const level_names[] = { "error", "warn", "info", "debug" };

void hmm_log_init(void)
{
	const char *want = secure_getenv("HMM_LOG");

	if (!want)
		return;
	for (int i = 0; i < 4; i++)
		if (!strcmp(want, level_names[i]))
			log_level = i;
}

struct line {
	char text[512];
	size_t used;
};

static void put(struct line *l, const char *s)
{
	while (*s && l->used < sizeof(l->text) - 1)
		l->text[l->used++] = *s++;
}

static void put_number(struct line *l, uint64_t n, unsigned int base)
{
	char digits[24];
	size_t i = sizeof(digits) - 1;

	digits[i] = 0;
	do {
		digits[--i] = "0123456789abcdef"[n % base];
		n /= base;
	} while (n);
	put(l, digits + i);
}

static void put_signed(struct line *l, int64_t n)
{
	if (n < 0)
		put(l, "-");
	put_number(l, n < 0 ? 0 - (uint64_t)n : (uint64_t)n, 10);
}

void hmm_vlog(int level, const char *fmt, va_list ap)
{
	struct line l = { .used = 0 };

	if (level > log_level || level < 0)
		return;
	put(&l, "hmm: ");
	put(&l, level_names[level > 3 ? 3 : level]);
	put(&l, ": ");
	for (; *fmt; fmt++) {
		bool wide = false;

		if (*fmt != '%') {
			put(&l, (char[]){ *fmt, 0 });
			continue;
		}
		while (*++fmt == 'l' || *fmt == 'z')
			wide = true;
		switch (*fmt) {
		case 's':
			put(&l, va_arg(ap, const char *));
			break;
		case 'd':
			put_signed(&l, wide ? va_arg(ap, long) : va_arg(ap, int));
			break;
		case 'u':
		case 'x':
			put_number(&l, wide ? va_arg(ap, unsigned long) : va_arg(ap, unsigned int),
				   *fmt == 'u' ? 10 : 16);
			break;
		case 'p':
			put(&l, "0x");
			put_number(&l, (uintptr_t)va_arg(ap, void *), 16);
			break;
		case 0:
			fmt--;
			break;
		default:
			put(&l, (char[]){ *fmt, 0 });
		}
	}
	l.text[l.used++] = '\n';
	os_write(2, l.text, l.used);
}

void hmm_log(int level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	hmm_vlog(level, fmt, ap);
	va_end(ap);
}
