// SPDX-License-Identifier: MIT
/* answers PLAIN [HMMFS]: see answers.h. */
#include "answers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

const char *hmmfs_folder, *plain_folder;

static int map_file(char *at, size_t pages)
{
	char name[256];
	int fd;

	snprintf(name, sizeof(name), "%s/answers", hmmfs_folder);
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || unlink(name) || ftruncate(fd, (off_t)(pages * PAGE)) ||
	    mmap(at, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != at)
		return -1;
	return close(fd);
}

/* A page on either side that is no memory keeps the kernel from joining it with others. */
char *map(size_t pages)
{
	char *p = mmap(NULL, (pages + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	p += PAGE;
	if (hmmfs_folder ? map_file(p, pages) : mprotect(p, pages * PAGE, PROT_READ | PROT_WRITE))
		abort();
	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	return p;
}

void unmap(char *p, size_t pages)
{
	munmap(p - PAGE, (pages + 2) * PAGE);
}

static char byte_at(size_t i)
{
	return (char)(i / PAGE * 31 + i / 64 + 1);
}

void fill(char *p, size_t pages)
{
	for (size_t i = 0; i < pages * PAGE; i++)
		p[i] = byte_at(i);
	CU_ASSERT_EQUAL(migrate(p, pages * PAGE, 0), (long)pages);
}

bool intact(const char *p, size_t pages)
{
	for (size_t i = 0; i < pages * PAGE; i++)
		if (p[i] != byte_at(i))
			return false;
	return true;
}

char *take(size_t pages)
{
	char *p = map(pages);

	fill(p, pages);
	return p;
}

bool all_at(char *p, size_t pages, int location)
{
	for (size_t i = 0; i < pages; i++)
		if (where(p + i * PAGE) != location)
			return false;
	return true;
}

void other_start(struct other *o, int (*act)(int client, char *p), char *p)
{
	int ends[2], client = getpid();
	char c;

	if (pipe(ends))
		abort();
	o->go = ends[1];
	o->pid = fork();
	if (!o->pid) {
		close(ends[1]);
		_exit(read(ends[0], &c, 1) == 1 ? act(client, p) : 99);
	}
	close(ends[0]);
}

void other_go(struct other *o)
{
	CU_ASSERT_EQUAL(write(o->go, "", 1), 1);
	close(o->go);
}

int other_wait(struct other *o)
{
	int status = -1;

	while (waitpid(o->pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

void skipped(const char *what, const char *why)
{
	printf("skipped, %s: %s ... ", what, why);
}

int main(int argc, char **argv)
{
	unsigned int failures;
	CU_pSuite s;

	if (argc < 2)
		return 2;
	setvbuf(stdout, NULL, _IONBF, 0);
	plain_folder = argv[1];
	hmmfs_folder = argc > 2 ? argv[2] : NULL;
	if (client_open() || CU_initialize_registry())
		return 1;
	s = CU_add_suite(hmmfs_folder ? "a file's pages on a device" :
					"anonymous pages on a device",
			 NULL, NULL);
	add_process_tests(s);
	add_pin_tests(s);
	add_proc_tests(s);
	add_memory_tests(s);
	add_hotplug_tests(s);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failures || resident(0) ? 1 : 0;
}
