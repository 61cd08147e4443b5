// SPDX-License-Identifier: MIT
/* Pages of files, and what an engine leaves when it ends. */
#include "file.h"

#include <CUnit/Basic.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int load_and_end(void)
{
	int fd = open(path(upper, "left"), O_RDWR);
	char *p = map_file(fd, 1);
	uint64_t value = 0;
	struct engine e;

	if (client_open() || engine_start(&e, 0, p, PAGE))
		return 1;
	if (engine_do(&e, ENGINE_LOAD, p, 1, &value) || value != 1 || where(p) != 0)
		return 2;
	engine_end(&e);
	return 0;
}

/* The last close brings everything home, also what an engine mapped until its end. */
static void last_close(void)
{
	int fd = make_file("left", 1), status, pid;
	char c = 0;

	close(node);
	pid = fork();
	if (!pid)
		_exit(load_and_end());
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT_EQUAL_FATAL(client_open(), 0);
	CU_ASSERT_EQUAL(resident(0), 0);
	CU_ASSERT(pread(fd, &c, 1, 0) == 1 && c == 1);
	close(fd);
	unlink(path(upper, "left"));
}

void file_held(void)
{
	CU_pSuite s = CU_add_suite("held", NULL, NULL);

	CU_add_test(s, "the last close", last_close);
}
