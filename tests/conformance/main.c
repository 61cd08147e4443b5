// SPDX-License-Identifier: MIT
/* conformance --backend NAME [--algorithm move|wp] [--suite NAME] */
#include "conformance/conf.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct hmm *h;
struct hmm_open_opts options = { .sz = sizeof(options), .devices = 2, .device_bytes = 8 * MIB };

int conf_open(void)
{
	return hmm_open(&h, &options);
}

int conf_close(void)
{
	hmm_close(h);
	h = NULL;
	return 0;
}

void conf_set_up(void)
{
	CU_ASSERT_EQUAL_FATAL(conf_open(), 0);
}

void conf_tear_down(void)
{
	conf_close();
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

bool all_bytes(const char *p, size_t bytes, int value)
{
	for (size_t i = 0; i < bytes; i++)
		if (p[i] != (char)value)
			return false;
	return true;
}

void number(char *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += sizeof(size_t))
		*(size_t *)(void *)(p + i) = i;
}

bool is_numbered(const char *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += sizeof(size_t))
		if (*(const size_t *)(const void *)(p + i) != i)
			return false;
	return true;
}

int where(const void *p)
{
	struct hmm_page_status s = { .location = -100 };

	CU_ASSERT_EQUAL(hmm_query(h, p, 1, &s), 1);
	return s.location;
}

uint32_t page_flags(const void *p)
{
	struct hmm_page_status s = { 0 };

	CU_ASSERT_EQUAL(hmm_query(h, p, 1, &s), 1);
	return s.flags;
}

long count_at(const char *p, size_t bytes, int location)
{
	static struct hmm_page_status s[8 * MIB / PAGE];
	long on = 0;
	int n = hmm_query(h, p, bytes, s);

	CU_ASSERT_EQUAL(n, (int)(bytes / PAGE));
	for (int i = 0; i < n; i++)
		on += s[i].location == location;
	return on;
}

void advise(char *p, size_t bytes, int advice, int target)
{
	CU_ASSERT_EQUAL(hmm_advise(h, p, bytes, advice, target), 0);
}

bool is_emulated(void)
{
	struct hmm_device_info info = { 0 };

	CU_ASSERT_EQUAL(hmm_device_info(h, 0, &info), 0);
	return !strcmp(info.backend, "emulated");
}

bool serves_system_calls(void)
{
	struct hmm_device_info info = { 0 };

	CU_ASSERT_EQUAL(hmm_device_info(h, 0, &info), 0);
	return !(info.flags & HMM_DEVICE_USER_MODE_ONLY);
}

int scaled(int count)
{
	const char *scale = getenv("HMM_TEST_SCALE");

	return scale && atoi(scale) > 1 ? count * atoi(scale) : count;
}

int in_child(int (*fn)(void *), void *arg)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		alarm((unsigned int)patient(60));
		_exit(fn(arg));
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : ENDED_BY(WTERMSIG(status));
}

bool is_gone(int pid, int ms)
{
	char path[64], state = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	for (int i = 0; i <= patient(ms); i++) {
		FILE *f = fopen(path, "r");
		int n = f ? fscanf(f, "%*d (%*[^)]) %c", &state) : 0;

		if (f)
			fclose(f);
		if (n != 1 || state == 'Z' || state == 'X')
			return true;
		usleep(1000);
	}
	return false;
}

/* As a set-uid program: the errno of an hmm_open() by the defaults. */
static int only_open(void)
{
	int err;

	if (!getauxval(AT_SECURE))
		return 77;
	err = hmm_open(&h, NULL);
	if (!err)
		hmm_close(h);
	return -err;
}

static void leave_out_others(const char *suite)
{
	CU_set_fail_on_inactive(CU_FALSE);
	for (CU_pSuite s = CU_get_registry()->pSuite; s; s = s->pNext)
		CU_set_suite_active(s, !strcmp(s->pName, suite));
}

int main(int argc, char **argv)
{
	const char *suite = NULL;
	unsigned int failures;

	if (argc == 2 && !strcmp(argv[1], "--open"))
		return only_open();

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--backend"))
			options.backend = argv[i + 1];
		else if (!strcmp(argv[i], "--suite"))
			suite = argv[i + 1];
		else if (!strcmp(argv[i], "--algorithm") && !strcmp(argv[i + 1], "wp"))
			options.flags |= HMM_OPEN_NO_MOVE;
	}
	setbuf(stdout, NULL);
	signal(SIGPIPE, SIG_IGN);
	CU_initialize_registry();
	add_open_suite();
	add_query_suite();
	add_advice_suite();
	add_file_advice_suite();
	add_policy_suite();
	add_pinned_suite();
	add_async_suite();
	add_output_suite();
	add_vma_suite();
	add_shared_suite();
	add_thread_suite();
	add_fork_suite();
	add_engine_suite();
	add_file_suite();
	add_scan_suite();
	add_across_suite();
	add_across_race_suite();
	add_lost_suite();
	if (suite)
		leave_out_others(suite);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}
