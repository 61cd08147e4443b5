// SPDX-License-Identifier: MIT
/*
 * mapping [--algorithm move|wp] [FOLDER]: what a program can do to a mapped file and to its
 * mapping, on the emulated devices.
 */
#include <CUnit/Basic.h>
#include <fcntl.h>
#include <hmm/hmm.h>
#include <pthread.h>
#include <errno.h>
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

#define PAGE 4096ul
#define MIB (1ul << 20)
#define BOTH (PROT_READ | PROT_WRITE)

static struct hmm *h;
static struct hmm_open_opts options = {
	.sz = sizeof(options), .backend = "emulated", .devices = 2, .device_bytes = 8 * MIB
};
static const char *folder = ".";
static char path[300];
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

/* A file of @bytes, each @value. */
static int make_file(size_t bytes, int value)
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

static char *map(int fd, off_t offset, size_t bytes, int prot)
{
	void *p = NULL;

	CU_ASSERT_EQUAL_FATAL(hmm_map_file(h, fd, offset, bytes, prot, 0, &p), 0);
	return p;
}

static char byte_of(int fd, size_t at)
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

static long size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : (long)st.st_size;
}

static struct hmm_page_status status_of(const void *p)
{
	struct hmm_page_status s = { .location = -100 };

	CU_ASSERT_EQUAL(hmm_query(h, p, 1, &s), 1);
	return s;
}

static void on_signal(int sig)
{
	siglongjmp(out, sig);
}

/* The signal that a load ends with, or 0. */
static int touch(const volatile char *p)
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

static void sizes(void)
{
	int fd = make_file(6 * PAGE + 100, 5);
	char *p = map(fd, 0, 16 * PAGE, BOTH), c;

	CU_ASSERT_EQUAL(p[6 * PAGE + 99], 5);
	CU_ASSERT_EQUAL(p[6 * PAGE + 100], 0);
	CU_ASSERT_EQUAL(touch(p + 7 * PAGE), SIGBUS);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 7 * PAGE, "x", 1), -EFAULT);
	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 7 * PAGE - 1, "xx", 2), 1);
	/* It grows: by hmm_sync() at the latest it is to be had. */
	CU_ASSERT_EQUAL(ftruncate(fd, 12 * PAGE), 0);
	CU_ASSERT_EQUAL(hmm_sync(h, p, 16 * PAGE, 0), 0);
	CU_ASSERT_EQUAL(touch(p + 11 * PAGE), 0);
	CU_ASSERT_EQUAL(touch(p + 12 * PAGE), SIGBUS);
	p[11 * PAGE] = 'G';
	CU_ASSERT_EQUAL(hmm_device_write(h, 1, p + 9 * PAGE, "H", 1), 1);
	CU_ASSERT_EQUAL(hmm_sync(h, p, 16 * PAGE, 0), 0);
	CU_ASSERT_EQUAL(byte_of(fd, 11 * PAGE), 'G');
	CU_ASSERT_EQUAL(byte_of(fd, 9 * PAGE), 'H');
	/* It shrinks: what is stored beyond its end makes it no longer. */
	p[10 * PAGE] = 'L';
	CU_ASSERT_EQUAL(ftruncate(fd, 3 * PAGE + 7), 0);
	CU_ASSERT_EQUAL(hmm_sync(h, p, 16 * PAGE, 0), 0);
	CU_ASSERT_EQUAL(size_of(fd), 3 * PAGE + 7);
	CU_ASSERT_EQUAL(touch(p + 10 * PAGE), SIGBUS);
	CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + 9 * PAGE, &c, 1), -EFAULT);
	CU_ASSERT_EQUAL(p[3 * PAGE + 6], 5);
	CU_ASSERT_EQUAL(p[3 * PAGE + 7], 0);
	CU_ASSERT_EQUAL(ftruncate(fd, 12 * PAGE), 0);
	CU_ASSERT_EQUAL(hmm_sync(h, p, 16 * PAGE, 0), 0);
	CU_ASSERT_EQUAL(p[10 * PAGE], 0);
	CU_ASSERT_EQUAL(hmm_unmap(h, p, 16 * PAGE), 0);
	close(fd);
}

/* Stored to right after it has grown, and unmapped before anybody looks at its size. */
static void grown_and_unmapped(void)
{
	char *p, got[16 * PAGE];

	for (int i = 0; i < 10; i++) {
		size_t before = i % 2 ? 100 : 0, bytes = (i % 2 ? 1 : 16) * PAGE;
		int fd = make_file(before, 1);

		p = map(fd, 0, bytes, BOTH);
		if (before)
			p[0] = 2;
		CU_ASSERT_EQUAL(ftruncate(fd, (off_t)bytes), 0);
		memset(p + before, 'X', bytes - before);
		CU_ASSERT_EQUAL(hmm_unmap(h, p, bytes), 0);
		CU_ASSERT_EQUAL_FATAL(pread(fd, got, bytes, 0), (ssize_t)bytes);
		for (size_t at = before; at < bytes; at++)
			if (got[at] != 'X') {
				CU_FAIL("a store is lost");
				break;
			}
		close(fd);
	}
}

static void *truncates(void *arg)
{
	int fd = *(int *)arg;

	for (int i = 0; i < 2000; i++)
		if (ftruncate(fd, (i % 2 ? 4 : 64) * PAGE))
			return arg;
	return NULL;
}

/* Writing back races with truncation: the file is never made longer by it. */
static void truncated_while_written(void)
{
	int fd = make_file(64 * PAGE, 1);
	char *p = map(fd, 0, 64 * PAGE, BOTH);
	pthread_t thread;
	void *failed;

	pthread_create(&thread, NULL, truncates, &fd);
	for (int i = 0; i < 300; i++) {
		for (unsigned long at = 0; at < 64; at++)
			hmm_device_write(h, 0, p + at * PAGE, "T", 1);
		hmm_sync(h, p, 64 * PAGE, 0);
	}
	pthread_join(thread, &failed);
	CU_ASSERT_PTR_NULL(failed);
	CU_ASSERT_EQUAL(ftruncate(fd, 4 * PAGE), 0);
	for (int i = 0; i < 20; i++) {
		CU_ASSERT_EQUAL(hmm_sync(h, p, 64 * PAGE, 0), 0);
		CU_ASSERT_EQUAL(size_of(fd), 4 * PAGE);
		usleep(1000);
	}
	CU_ASSERT_EQUAL(hmm_unmap(h, p, 64 * PAGE), 0);
	close(fd);
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

/* A first touch reads ahead, and more when touches go on from there. */
static void read_ahead(void)
{
	int fd = make_file(4 * MIB, 8);
	char *p = map(fd, 0, 4 * MIB, BOTH);

	CU_ASSERT_EQUAL(status_of(p).location, HMM_NOT_POPULATED);
	CU_ASSERT_EQUAL(p[0], 8);
	CU_ASSERT_EQUAL(status_of(p + 15 * PAGE).location, HMM_SYSTEM);
	CU_ASSERT_EQUAL(status_of(p + 16 * PAGE).location, HMM_NOT_POPULATED);
	CU_ASSERT_EQUAL(p[16 * PAGE], 8);
	CU_ASSERT_EQUAL(status_of(p + 47 * PAGE).location, HMM_SYSTEM);
	CU_ASSERT_EQUAL(status_of(p + 48 * PAGE).location, HMM_NOT_POPULATED);
	CU_ASSERT_EQUAL(hmm_unmap(h, p, 4 * MIB), 0);
	close(fd);
}

/* A device that is full drops what is clean; what is dirty goes home. */
static void oversubscribed(void)
{
	int fd = make_file(16 * MIB, 1);
	char *p = map(fd, 0, 16 * MIB, BOTH);
	struct hmm_stats s = { .sz = sizeof(s) };
	char c;

	CU_ASSERT_EQUAL(hmm_device_write(h, 0, p + 5 * PAGE, "o", 1), 1);
	for (size_t at = 0; at < 16 * MIB; at += PAGE)
		CU_ASSERT_EQUAL(hmm_device_read(h, 0, p + at, &c, 1), 1);
	hmm_stats(h, 0, &s);
	CU_ASSERT(s.pages_evicted >= 2048);
	CU_ASSERT(s.pages_to_system >= 1 && s.pages_to_system < 100);
	CU_ASSERT_EQUAL(status_of(p + 5 * PAGE).location, HMM_SYSTEM);
	CU_ASSERT_EQUAL(status_of(p + 6 * PAGE).location, HMM_NOT_POPULATED);
	CU_ASSERT(p[5 * PAGE] == 'o' && p[6 * PAGE] == 1);
	CU_ASSERT_EQUAL(hmm_unmap(h, p, 16 * MIB), 0);
	CU_ASSERT_EQUAL(byte_of(fd, 5 * PAGE), 'o');
	close(fd);
}

/* What came first is pushed out again, and does not count. */
static void counted(void)
{
	int fd = make_file(16 * MIB, 1);
	char *p = map(fd, 0, 16 * MIB, BOTH);
	struct hmm_page_status *s = calloc(4096, sizeof(*s));
	long on = 0, n = hmm_migrate(h, p, 16 * MIB, 0, 0);

	CU_ASSERT_EQUAL(hmm_query(h, p, 16 * MIB, s), 4096);
	for (int i = 0; i < 4096; i++)
		on += s[i].location == 0;
	CU_ASSERT_EQUAL(n, on);
	CU_ASSERT(n > 0 && n <= 2048);
	CU_ASSERT_EQUAL(hmm_unmap(h, p, 16 * MIB), 0);
	free(s);
	close(fd);
}

struct many {
	char path[320];
	int fd;
	char *p;
	bool good;
};

static void *store_and_sync(void *arg)
{
	struct many *m = arg;

	m->good = true;
	for (int i = 0; i < 20; i++) {
		memset(m->p, 'a' + i, 2 * MIB);
		m->good &= hmm_migrate(h, m->p, MIB, i % 2, 0) >= 0;
		m->good &= !hmm_sync(h, m->p, 2 * MIB, 0);
		m->good &= byte_of(m->fd, 2 * MIB - 1) == 'a' + i && byte_of(m->fd, 5) == 'a' + i;
	}
	return NULL;
}

/* More files are written at once than there are bounce buffers. */
static void many_files(void)
{
	static struct many m[8];
	pthread_t thread[8];

	for (int i = 0; i < 8; i++) {
		close(make_file(2 * MIB, 9));
		snprintf(m[i].path, sizeof(m[i].path), "%s-%d", path, i);
		CU_ASSERT_EQUAL(rename(path, m[i].path), 0);
		m[i].fd = open(m[i].path, O_RDWR | O_CLOEXEC);
		m[i].p = map(m[i].fd, 0, 2 * MIB, BOTH);
	}
	for (int i = 0; i < 8; i++)
		pthread_create(&thread[i], NULL, store_and_sync, &m[i]);
	for (int i = 0; i < 8; i++) {
		pthread_join(thread[i], NULL);
		CU_ASSERT(m[i].good);
		CU_ASSERT_EQUAL(hmm_unmap(h, m[i].p, 2 * MIB), 0);
		close(m[i].fd);
		unlink(m[i].path);
	}
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
	CU_add_test(s, "files that grow and shrink", sizes);
	CU_add_test(s, "grown, stored to and unmapped", grown_and_unmapped);
	CU_add_test(s, "truncated while it is written", truncated_while_written);
	CU_add_test(s, "mappings that share, move and go", mappings);
	CU_add_test(s, "descriptors", descriptors);
	CU_add_test(s, "forks", forks);
	CU_add_test(s, "programs that end", ends);
	CU_add_test(s, "an engine that dies", engine_dies);
	CU_add_test(s, "reading ahead", read_ahead);
	CU_add_test(s, "more than a device holds", oversubscribed);
	CU_add_test(s, "migrating more than a device holds", counted);
	CU_add_test(s, "many files", many_files);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}
