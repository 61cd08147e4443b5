// SPDX-License-Identifier: MIT
/* Mapped files that change their size, are larger than a device, or are many. */
#include "file/mapping.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void test_sizes(void)
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
void test_grown_and_unmapped(void)
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
void test_truncated_while_written(void)
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

static void *sends(void *p)
{
	hmm_migrate(h, p, MIB, 0, 0);
	return NULL;
}

static void wait_us(long us)
{
	struct timespec begin, now;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while ((now.tv_sec - begin.tv_sec) * 1000000 + (now.tv_nsec - begin.tv_nsec) / 1000 < us);
}

/* What was read before the file was cut is not put there after. */
void test_truncated_while_read(void)
{
	static char data[MIB];
	int fd = make_file(MIB, 1);
	unsigned int old = 0;
	pthread_t thread;

	memset(data, 1, MIB);
	for (int i = 0; i < 600; i++) {
		char *p, c;

		CU_ASSERT_EQUAL(pwrite(fd, data, MIB, 0), (ssize_t)MIB);
		p = map(fd, 0, MIB, BOTH);
		pthread_create(&thread, NULL, sends, p);
		wait_us(i % 100 * 4);
		CU_ASSERT_EQUAL(ftruncate(fd, 0), 0);
		CU_ASSERT_EQUAL(hmm_sync(h, p, MIB, 0), 0);
		CU_ASSERT_EQUAL(ftruncate(fd, MIB), 0);
		pthread_join(thread, NULL);
		CU_ASSERT_EQUAL(hmm_sync(h, p, MIB, 0), 0);
		for (size_t at = 0; at < MIB; at += 8 * PAGE)
			old += hmm_device_read(h, 0, p + at, &c, 1) != 1 || c;
		CU_ASSERT_EQUAL(hmm_unmap(h, p, MIB), 0);
	}
	CU_ASSERT_EQUAL(old, 0);
	close(fd);
}

/* A first touch reads ahead, and more when touches go on from there. */
void test_read_ahead(void)
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
void test_oversubscribed(void)
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
void test_counted(void)
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
void test_many_files(void)
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
