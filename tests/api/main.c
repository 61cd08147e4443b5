// SPDX-License-Identifier: MIT
/* api --backend NAME [--algorithm move|wp] [--test NAME]: every test, or one, again on a backend. */
#include "api/api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct hmm *h;
struct hmm_open_opts options = { .sz = sizeof(options), .devices = 2, .device_bytes = 8 * MIB };

int suite_open(void)
{
	return hmm_open(&h, &options);
}

int suite_close(void)
{
	hmm_close(h);
	h = NULL;
	return 0;
}

char *map_pages(size_t bytes, int value)
{
	char *p;

#ifdef __SANITIZE_THREAD__ /* A window of a fault would take what it has mapped beside. */
	p = mmap(NULL, bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_FATAL(p != MAP_FAILED);
	CU_ASSERT_FATAL(!mprotect(p += PAGE, bytes, PROT_READ | PROT_WRITE));
#else
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CU_ASSERT_FATAL(p != MAP_FAILED);
#endif
	if (value)
		memset(p, value, bytes);
	return p;
}

int all_bytes(const char *p, size_t bytes, int value)
{
	for (size_t i = 0; i < bytes; i++)
		if (p[i] != (char)value)
			return 0;
	return 1;
}

int where(const void *p)
{
	struct hmm_page_status s;

	CU_ASSERT_EQUAL(hmm_query(h, p, 1, &s), 1);
	return s.location;
}

static void run_one(const char *name)
{
	CU_pSuite s;
	CU_pTest t;

	for (unsigned int i = 1; (s = CU_get_suite_at_pos(i)); i++) {
		t = CU_get_test(s, name);
		if (t)
			CU_basic_run_test(s, t);
	}
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	unsigned int failures;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--backend"))
			options.backend = argv[i + 1];
		else if (!strcmp(argv[i], "--algorithm") && !strcmp(argv[i + 1], "wp"))
			options.flags |= HMM_OPEN_NO_MOVE;
		else if (!strcmp(argv[i], "--test"))
			only = argv[i + 1];
	}
	setbuf(stdout, NULL);
	CU_initialize_registry();
	add_migrate_suite();
	add_memory_suite();
	add_mapping_suite();
	add_error_suite();
	add_process_suite();
	CU_basic_set_mode(CU_BRM_VERBOSE);
	if (only)
		run_one(only);
	else
		CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}
