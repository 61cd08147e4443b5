// SPDX-License-Identifier: MIT
/* Pages of files that somebody holds where they are, and what an engine leaves when it ends. */
#include "file.h"

#include <CUnit/Basic.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A page that a pipe holds cannot leave: the device gets it where it is, and so does the CPU. */
static void held(void)
{
	int fd = make_file("held", 4), ends[2];
	char *p = map_file(fd, 4);
	struct iovec part = { .iov_base = p + PAGE, .iov_len = PAGE };
	uint64_t value = 0;
	struct engine e;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, 4 * PAGE), 0);
	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	CU_ASSERT_EQUAL(vmsplice(ends[1], &part, 1, 0), PAGE);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + PAGE, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 2);
	CU_ASSERT_EQUAL(where(p + PAGE), DRM_HMM_SYSTEM);
	/* Each store is noticed by the next writeback. */
	for (value = 77; value < 80; value++) {
		CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p + PAGE, 1, &value), 0);
		CU_ASSERT_EQUAL(p[PAGE], (char)value);
		CU_ASSERT_EQUAL(fsync(fd), 0);
		CU_ASSERT_EQUAL(lower_byte("held", PAGE), (int)value);
	}
	close(ends[0]);
	close(ends[1]);
	CU_ASSERT_EQUAL(migrate(p, 4 * PAGE, 0), 4);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_LOAD, p + PAGE, 1, &value), 0);
	CU_ASSERT_EQUAL(value, 79);
	engine_end(&e);
	munmap(p, 4 * PAGE);
	close(fd);
	unlink(path(upper, "held"));
	CU_ASSERT_EQUAL(resident(0), 0);
}

/* Clean frames are dropped while an engine loads them: each that goes is taken from it, always. */
static void dropped(void)
{
	const size_t pages = 64;
	int fd = make_file("dropped", pages);
	char *p = map_file(fd, pages);
	uint64_t rounds = 0;
	struct engine e;

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, pages * PAGE), 0);
	CU_ASSERT_EQUAL(fsync(fd), 0);
	engine_begin(&e, ENGINE_READ, p, pages * PAGE, 0);
	for (time_t now = time(NULL), until = now + 4, last = now + patient(30);
	     now < until || (now < last && !engine_rounds(&e)); now = time(NULL))
		CU_ASSERT_EQUAL(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	engine_stop(&e);
	CU_ASSERT_EQUAL(engine_wait(&e, &rounds), 0);
	CU_ASSERT(rounds > 0);
	engine_end(&e);
	munmap(p, pages * PAGE);
	close(fd);
	unlink(path(upper, "dropped"));
	CU_ASSERT_EQUAL(resident(0), 0);
}

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

	CU_add_test(s, "a page that cannot leave", held);
	CU_add_test(s, "pages that are dropped", dropped);
	CU_add_test(s, "the last close", last_close);
}
