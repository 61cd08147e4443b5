// SPDX-License-Identifier: MIT
/*
 * model [--backend NAME] [--algorithm move|wp] [--mode sequential|racing] [--seed N] [--count N]
 *       [--pages N] [--without KIND,...] [--trace PAGE] [--negative WHAT]
 *       [--file PATH [--lower PATH]] [--clients N] [--cgroup FOLDER] [--run N]
 *
 * Random operations against the model of the page states: of anonymous memory, or of a file (on the
 * driver also one by one: then beside anonymous memory, shared and private), of one process or two.
 * --lower is the same file on the filesystem below, to see what is durable; --cgroup is the memory
 * cgroup that this runs in; --run, how many loads and stores in a row a lane makes to a page.
 *
 * With --negative something is broken, and mismatches must be found: "model"; a fence of the runtime
 * ("device", "client", "shared": HMM_TEST_SKIP_FENCE); "store", a store that is not made; "stale",
 * a count that is published before it is stored; "sync", no sync; "outside", not here, in the mode
 * that is asked for.
 */
#include "control.h"
#include "model/drive.h"

#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SEQUENTIAL_OPS 20000
#define RACING_OPS 40000
#define NEGATIVE_TRIES 20

static const char *mode = "both";
static bool seen;

static long ops(long ordinary)
{
	const char *scale = getenv("HMM_TEST_SCALE");

	if (settings.ops)
		return settings.ops;
	return scale && atol(scale) > 1 ? ordinary * atol(scale) : ordinary;
}

static void verdict(long mismatches)
{
	if (mismatches > 0)
		printf("%ld mismatches ", mismatches);
	CU_ASSERT(mismatches >= 0);
	CU_ASSERT(settings.negative || mismatches == 0);
	seen |= mismatches > 0;
}

/* What a fence prevents is rare: leaving it out gets several chances to show. */
static void run(long (*mode_of)(long ops), long ordinary)
{
	int tries = settings.negative ? NEGATIVE_TRIES : 1;
	long bad = 0;

	for (; tries && !bad; tries--, settings.seed++)
		bad = mode_of(ops(ordinary));
	verdict(bad);
}

static void sequential(void)
{
	run(run_sequential, SEQUENTIAL_OPS);
}

static void racing(void)
{
	run(run_racing, RACING_OPS);
}

static void set(const char *name, const char *value)
{
	if (!strcmp(name, "--backend"))
		settings.open.backend = value;
	else if (!strcmp(name, "--algorithm"))
		settings.open.flags = strcmp(value, "wp") ? 0 : HMM_OPEN_NO_MOVE;
	else if (!strcmp(name, "--mode"))
		mode = value;
	else if (!strcmp(name, "--seed"))
		settings.seed = strtoull(value, NULL, 0);
	else if (!strcmp(name, "--count"))
		settings.ops = atol(value);
	else if (!strcmp(name, "--pages"))
		settings.pages = (unsigned int)atoi(value);
	else if (!strcmp(name, "--file"))
		settings.file = value;
	else if (!strcmp(name, "--lower"))
		settings.lower = value;
	else if (!strcmp(name, "--cgroup"))
		settings.cgroup = value;
	else if (!strcmp(name, "--run"))
		settings.run = (unsigned int)atoi(value);
	else if (!strcmp(name, "--clients"))
		settings.clients = (unsigned int)atoi(value);
	else if (!strcmp(name, "--trace"))
		settings.trace = atol(value);
	else if (!strcmp(name, "--without"))
		settings.without = value;
	else if (!strcmp(name, "--negative"))
		settings.negative = value;
	else
		fprintf(stderr, "%s is not known\n", name);
}

/* The model is broken for one thread, the others are for several. */
static void set_negative(void)
{
	static const char *const fences[] = { "device", "client", "shared" };

	if (!strcmp(settings.negative, "model")) {
		mode = "sequential";
		return;
	}
	if (strcmp(settings.negative, "outside"))
		mode = "racing";
	for (unsigned int i = 0; i < sizeof(fences) / sizeof(*fences); i++)
		if (!strcmp(settings.negative, fences[i]))
			setenv("HMM_TEST_SKIP_FENCE", settings.negative, 1);
}

int main(int argc, char **argv)
{
	struct timespec now;
	unsigned int failures;
	CU_pSuite s;

	clock_gettime(CLOCK_REALTIME, &now);
	settings.seed = (uint64_t)(now.tv_sec * 1000 + now.tv_nsec / 1000000) % 1000000007;
	for (int i = 1; i + 1 < argc; i += 2)
		set(argv[i], argv[i + 1]);
	if (settings.negative)
		set_negative();
	setbuf(stdout, NULL);
	printf("seed %lu\n", (unsigned long)settings.seed);
	CU_initialize_registry();
	s = CU_add_suite("page-state model", NULL, NULL);
	if (strcmp(mode, "racing") && (on_driver() || !settings.file))
		CU_add_test(s, "sequential", sequential);
	if (strcmp(mode, "sequential"))
		CU_add_test(s, "racing", racing);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	if (failures)
		return 1;
	return settings.negative && !seen ? CONTROL_UNSEEN : 0;
}
