// SPDX-License-Identifier: MIT
/*
 * mapping [--algorithm move|wp] [FOLDER]: what a program can do to a mapped file and to its
 * mapping, on the emulated devices.
 */
#include "file/mapping.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct hmm *h;
char path[300];
static struct hmm_open_opts options = {
	.sz = sizeof(options), .backend = "emulated", .devices = 2, .device_bytes = 8 * MIB
};
static const char *folder = ".";
static sigjmp_buf out;

static void opened(void)
{
	CU_ASSERT_EQUAL_FATAL(hmm_open(&h, &options), 0);
}

static void closed(void)
{
	hmm_close(h);
	h = NULL;
	unlink(path);
}

int make_file(size_t bytes, int value)
{
	char *data = malloc(bytes);
	int fd;

	snprintf(path, sizeof(path), "%s/mapping-%d", folder, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	memset(data, value, bytes);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(pwrite(fd, data, bytes, 0), (ssize_t)bytes);
	free(data);
	return fd;
}

char *map(int fd, off_t offset, size_t bytes, int prot)
{
	void *p = NULL;

	CU_ASSERT_EQUAL_FATAL(hmm_map_file(h, fd, offset, bytes, prot, 0, &p), 0);
	return p;
}

char byte_of(int fd, size_t at)
{
	char c = 0;

	CU_ASSERT_EQUAL(pread(fd, &c, 1, (off_t)at), 1);
	return c;
}

/* Will the file have it within some seconds? */
static bool comes(int fd, size_t at, char value)
{
	char c;

	for (int i = 0; i < 500; i++, usleep(10000))
		if (pread(fd, &c, 1, (off_t)at) == 1 && c == value)
			return true;
	return false;
}

long size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : (long)st.st_size;
}

struct hmm_page_status status_of(const void *p)
{
	struct hmm_page_status s = { .location = -100 };

	CU_ASSERT_EQUAL(hmm_query(h, p, 1, &s), 1);
	return s;
}

static void on_signal(int sig)
{
	siglongjmp(out, sig);
}

int touch(const volatile char *p)
{
	struct sigaction sa = { .sa_handler = on_signal }, old;
	int sig;

	sigaction(SIGBUS, &sa, &old);
	sig = sigsetjmp(out, 1);
	if (!sig)
		(void)*p;
	sigaction(SIGBUS, &old, NULL);
	return sig;
}

static void mappings(void)
{
	int fd = make_file(MIB, 2);
	char *p = map(fd, 0, MIB, BOTH), *q = map(fd, 16 * PAGE, 64 * PAGE, BOTH), *moved, c;

	/* One copy, at both addresses, for the CPU and for devices. */
	q[0] = 'a';
	CU_ASSERT_EQUAL(p[16 * PAGE], 'a');
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, q + PAGE, "b", 1), 1);
	CU_ASSERT_EQUAL(status_of(p + 17 * PAGE).location, 0);
	CU_ASSERT(hmm_device_read(h, 0, p + 17 * PAGE, &c, 1) == 1 && c == 'b');
	CU_ASSERT(hmm_device_read(h, 1, p + 17 * PAGE, &c, 1) == 1 && c == 'b');
	CU_ASSERT_EQUAL(q[PAGE], 'b');
	/* What was stored is the file's, not the mapping's. */
	CU_ASSERT_EQUAL(madvise(p, MIB, MADV_DONTNEED), 0);
	CU_ASSERT_EQUAL(p[16 * PAGE], 'a');
	CU_ASSERT_EQUAL(munmap(p, MIB), 0);
	CU_ASSERT_EQUAL(q[PAGE], 'b');
	CU_ASSERT(comes(fd, 17 * PAGE, 'b'));
	moved = mremap(q, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		       mmap(NULL, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	CU_ASSERT_PTR_NOT_EQUAL_FATAL(moved, MAP_FAILED);
	CU_ASSERT_EQUAL(moved[PAGE], 'b');
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, moved + 2 * PAGE, "c", 1), 1);
	CU_ASSERT_EQUAL(status_of(moved + 2 * PAGE).location, 0);
	moved[3 * PAGE] = 'd';
	CU_ASSERT_EQUAL(moved[2 * PAGE], 'c');
	CU_ASSERT(comes(fd, 19 * PAGE, 'd'));
	moved[3 * PAGE] = 'e';
	moved[2 * PAGE] = 'f';
	CU_ASSERT(comes(fd, 19 * PAGE, 'e'));
	CU_ASSERT_EQUAL(munmap(moved, 64 * PAGE), 0);
	CU_ASSERT(comes(fd, 18 * PAGE, 'f'));
	/* Nobody maps it any more: what others write now is read anew. */
	CU_ASSERT_EQUAL(pwrite(fd, "n", 1, 17 * PAGE), 1);
	p = map(fd, 0, MIB, BOTH);
	CU_ASSERT_EQUAL(p[17 * PAGE], 'n');
	CU_ASSERT_EQUAL(hmm_unmap(h, p, MIB), 0);
	close(fd);
}

static void descriptors(void)
{
	int fd = make_file(MIB, 3), ro = open(path, O_RDONLY | O_CLOEXEC);
	int append = open(path, O_RDWR | O_APPEND | O_CLOEXEC), sealed;
	char *p = map(ro, 0, MIB, PROT_READ), *q, c;
	void *none = NULL;

	close(ro);
	CU_ASSERT(hmm_device_read(h, 0, p + PAGE, &c, 1) == 1 && c == 3);
	CU_ASSERT_EQUAL(status_of(p + PAGE).location, 0);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + PAGE, "x", 1), -EFAULT);
	CU_ASSERT_EQUAL(hmm_sync(h, p, MIB, 0), 0);
	CU_ASSERT(!(status_of(p + PAGE).flags & HMM_PAGE_DIRTY));
	q = map(append, 0, MIB, BOTH);
	close(append);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, q + PAGE, "A", 1), 1);
	CU_ASSERT_EQUAL(p[PAGE], 'A');
	CU_ASSERT_EQUAL(hmm_sync(h, q, MIB, 0), 0);
	CU_ASSERT_EQUAL(size_of(fd), MIB);
	CU_ASSERT_EQUAL(byte_of(fd, PAGE), 'A');
	CU_ASSERT_EQUAL(hmm_unmap(h, p, MIB), 0);
	CU_ASSERT_EQUAL(hmm_unmap(h, q, MIB), 0);
	close(fd);
	sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CU_ASSERT(!ftruncate(sealed, MIB) && !fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE));
	CU_ASSERT_EQUAL(hmm_map_file(h, sealed, 0, MIB, BOTH, 0, &none), -EPERM);
	CU_ASSERT_PTR_NULL(none);
	close(sealed);
}

static int wait_for(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void forks(void)
{
	int fd = make_file(MIB, 4);
	char *p = map(fd, 0, MIB, BOTH);
	pid_t pid;

	p[0] = 'p';
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + PAGE, "d", 1), 1);
	pid = fork();
	if (!pid) {
		bool good = p[0] == 'p' && p[PAGE] == 'd' && p[200 * PAGE] == 4;

		p[3 * PAGE] = 'k';
		_exit(good ? 0 : 1);
	}
	CU_ASSERT_EQUAL(wait_for(pid), 0);
	CU_ASSERT_EQUAL(byte_of(fd, 3 * PAGE), 'k');
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 2 * PAGE, "e", 1), 1);
	CU_ASSERT_EQUAL(hmm_sync(h, p, MIB, 0), 0);
	CU_ASSERT_EQUAL(byte_of(fd, 2 * PAGE), 'e');
	CU_ASSERT_EQUAL(byte_of(fd, 3 * PAGE), 'k'); /* a clean page is not written */
	CU_ASSERT_EQUAL(hmm_unmap(h, p, MIB), 0);
	close(fd);
}

/* A program that ends without hmm_close(), and one that goes on after it. */
static void ends(void)
{
	int fd = make_file(MIB, 6);
	pid_t pid = fork();
	char *p;

	if (!pid) {
		opened();
		p = map(fd, 0, MIB, BOTH);
		p[0] = 'e';
		hmm_device_write(h, 0, p + PAGE, "f", 1);
		exit(0);
	}
	CU_ASSERT_EQUAL(wait_for(pid), 0);
	CU_ASSERT_EQUAL(byte_of(fd, 0), 'e');
	CU_ASSERT_EQUAL(byte_of(fd, PAGE), 'f');
	p = map(fd, 0, MIB, BOTH);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 2 * PAGE, "g", 1), 1);
	hmm_close(h);
	CU_ASSERT_EQUAL(byte_of(fd, 2 * PAGE), 'g');
	CU_ASSERT(p[2 * PAGE] == 'g' && p[100 * PAGE] == 6);
	p[4 * PAGE] = 'h'; /* an ordinary mapping now */
	CU_ASSERT_EQUAL(byte_of(fd, 4 * PAGE), 'h');
	opened();
	CU_ASSERT_EQUAL(hmm_sync(h, p, MIB, 0), 0);
	CU_ASSERT_EQUAL(hmm_unmap(h, p, MIB), 0);
	close(fd);
}

static void engine_dies(void)
{
	int fd = make_file(MIB, 7);
	char *p = map(fd, 0, MIB, BOTH);
	struct hmm_device_info info;

	CU_ASSERT_EQUAL(hmm_migrate(h, p, MIB, 0, 0), 256);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 9 * PAGE, "z", 1), 1);
	CU_ASSERT_EQUAL(hmm_device_info(h, 0, &info), 0);
	kill(info.engine_pid, SIGKILL);
	CU_ASSERT_EQUAL(p[9 * PAGE], 'z');
	CU_ASSERT_EQUAL(hmm_sync(h, p, MIB, 0), 0);
	CU_ASSERT_EQUAL(byte_of(fd, 9 * PAGE), 'z');
	CU_ASSERT_EQUAL(hmm_device_write(h, 1, p + 9 * PAGE, "y", 1), 1);
	CU_ASSERT_EQUAL(p[9 * PAGE], 'y');
	CU_ASSERT_EQUAL(hmm_unmap(h, p, MIB), 0);
	close(fd);
}

/* As many mappings as the kernel allows, so that none can be split. NULL: it allows more. */
static char *use_all_mappings(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t at = 0;

	while (at < bytes && !mprotect(p + at, PAGE, PROT_READ))
		at += 2 * PAGE;
	if (at < bytes) { /* there may be room for one more */
		mprotect(p + bytes - PAGE, PAGE, PROT_READ);
		return p;
	}
	munmap(p, bytes);
	return NULL;
}

/* A part that cannot be unmapped stays what it was. */
static void not_unmapped(void)
{
	const size_t bytes = 140000 * PAGE;
	int fd = make_file(8 * PAGE, 1);
	char *p = map(fd, 0, 8 * PAGE, BOTH);
	char *others = use_all_mappings(bytes);

	if (others) {
		p[3 * PAGE] = 'm';
		CU_ASSERT_EQUAL(hmm_unmap(h, p + 3 * PAGE, PAGE), -ENOMEM);
		CU_ASSERT_EQUAL(hmm_sync(h, p, 8 * PAGE, 0), 0);
		CU_ASSERT_EQUAL(byte_of(fd, 3 * PAGE), 'm');
		munmap(others, bytes);
		CU_ASSERT_EQUAL(hmm_unmap(h, p + 3 * PAGE, PAGE), 0);
		CU_ASSERT_EQUAL(hmm_unmap(h, p, 3 * PAGE), 0);
		CU_ASSERT_EQUAL(hmm_unmap(h, p + 4 * PAGE, 4 * PAGE), 0);
	} else {
		printf("(skipped: so many mappings are allowed) ");
		CU_ASSERT_EQUAL(hmm_unmap(h, p, 8 * PAGE), 0);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	unsigned int failures;
	CU_pSuite s;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--algorithm") && i + 1 < argc)
			options.flags |= strcmp(argv[++i], "wp") ? 0 : HMM_OPEN_NO_MOVE;
		else
			folder = argv[i];
	}
	setbuf(stdout, NULL);
	CU_initialize_registry();
	s = CU_add_suite_with_setup_and_teardown("mapped files", NULL, NULL, opened, closed);
	CU_add_test(s, "files that grow and shrink", test_sizes);
	CU_add_test(s, "grown, stored to and unmapped", test_grown_and_unmapped);
	CU_add_test(s, "truncated while it is written", test_truncated_while_written);
	CU_add_test(s, "truncated while it is read", test_truncated_while_read);
	CU_add_test(s, "mappings that share, move and go", mappings);
	CU_add_test(s, "descriptors", descriptors);
	CU_add_test(s, "forks", forks);
	CU_add_test(s, "programs that end", ends);
	CU_add_test(s, "an engine that dies", engine_dies);
	CU_add_test(s, "reading ahead", test_read_ahead);
	CU_add_test(s, "more than a device holds", test_oversubscribed);
	CU_add_test(s, "migrating more than a device holds", test_counted);
	CU_add_test(s, "a part that cannot be unmapped", not_unmapped);
	CU_add_test(s, "many files", test_many_files);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}
