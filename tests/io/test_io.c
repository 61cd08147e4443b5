// SPDX-License-Identifier: MIT
/*
 * Each wrapper twice: libc's own function must fail on pages that are away (else the
 * test shows nothing), and the interposed one must do the whole transfer.
 */
#include "io/io.h"

#include <CUnit/Basic.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

void *libc_handle;
int file;
char pattern[PAGER_BYTES];

char *away(bool filled)
{
	char *p = pager_region();

	if (filled)
		memcpy(p, pattern, PAGER_BYTES);
	else
		memset(p, 0, PAGER_BYTES);
	pager_send_away();
	return p + START;
}

static void rewind_file(void)
{
	CU_ASSERT_EQUAL(lseek(file, START, SEEK_SET), START);
}

bool has_pattern(const char *p, size_t n)
{
	return !memcmp(p, pattern + START, n);
}

/* The file holds the pattern; a writing test puts zeros there before. */
static void fill_file(bool with_pattern)
{
	static char zeros[PAGER_BYTES];

	CU_ASSERT_EQUAL(PLAIN(pwrite64)(file, with_pattern ? pattern : zeros, PAGER_BYTES, 0),
			PAGER_BYTES);
}

static bool file_has_pattern(void)
{
	static char back[PAGER_BYTES];

	return PLAIN(pread64)(file, back, LENGTH, START) == (ssize_t)LENGTH &&
	       has_pattern(back, LENGTH);
}

#define CHECK_READ(name, ...)                                                   \
	do {                                                                    \
		char *p = away(false);                                          \
		fill_file(true);                                                \
		rewind_file();                                                  \
		CU_ASSERT(FAULTS(PLAIN(name)(file, p, LENGTH, ##__VA_ARGS__))); \
		rewind_file();                                                  \
		CU_ASSERT_EQUAL(name(file, p, LENGTH, ##__VA_ARGS__), LENGTH);  \
		CU_ASSERT(has_pattern(p, LENGTH));                              \
	} while (0)

#define CHECK_WRITE(name, ...)                                                  \
	do {                                                                    \
		char *p = away(true);                                           \
		fill_file(false);                                               \
		rewind_file();                                                  \
		CU_ASSERT(FAULTS(PLAIN(name)(file, p, LENGTH, ##__VA_ARGS__))); \
		rewind_file();                                                  \
		CU_ASSERT_EQUAL(name(file, p, LENGTH, ##__VA_ARGS__), LENGTH);  \
		CU_ASSERT(file_has_pattern());                                  \
	} while (0)

static void test_files(void)
{
	CHECK_READ(read);
	CHECK_READ(pread, START);
	CHECK_READ(pread64, START);
	CHECK_WRITE(write);
	CHECK_WRITE(pwrite, START);
	CHECK_WRITE(pwrite64, START);
}

/* Two buffers, the first of which is here and the second away. */
static void split(struct iovec v[2], char *p)
{
	v[0] = (struct iovec){ p, 500 };
	v[1] = (struct iovec){ p + 500, LENGTH - 500 };
	*(volatile char *)p;
}

#define CHECK_READV(name, ...)                                                       \
	do {                                                                         \
		struct iovec v[2];                                                   \
		char *p = away(false);                                               \
		split(v, p);                                                         \
		fill_file(true);                                                     \
		rewind_file();                                                       \
		CU_ASSERT(PLAIN(name)(file, v, 2, ##__VA_ARGS__) < (ssize_t)LENGTH); \
		rewind_file();                                                       \
		CU_ASSERT_EQUAL(name(file, v, 2, ##__VA_ARGS__), LENGTH);            \
		CU_ASSERT(has_pattern(p, LENGTH));                                   \
	} while (0)

#define CHECK_WRITEV(name, ...)                                                      \
	do {                                                                         \
		struct iovec v[2];                                                   \
		char *p = away(true);                                                \
		split(v, p);                                                         \
		fill_file(false);                                                    \
		rewind_file();                                                       \
		CU_ASSERT(PLAIN(name)(file, v, 2, ##__VA_ARGS__) < (ssize_t)LENGTH); \
		rewind_file();                                                       \
		CU_ASSERT_EQUAL(name(file, v, 2, ##__VA_ARGS__), LENGTH);            \
		CU_ASSERT(file_has_pattern());                                       \
	} while (0)

static void test_vectors(void)
{
	CHECK_READV(readv);
	CHECK_READV(preadv, START);
	CHECK_READV(preadv64, START);
	CHECK_WRITEV(writev);
	CHECK_WRITEV(pwritev, START);
	CHECK_WRITEV(pwritev64, START);
}

/* The kernel reads the vector itself from a page that is away. */
static void test_vector_itself_away(void)
{
	char *p = away(false);
	struct iovec *v = (struct iovec *)(pager_region() + 8 * 4096);

	v[0] = (struct iovec){ p, LENGTH };
	pager_send_away();
	fill_file(true);
	CU_ASSERT(FAULTS(PLAIN(preadv)(file, v, 1, START)));
	CU_ASSERT_EQUAL(preadv(file, v, 1, START), LENGTH);
	CU_ASSERT(has_pattern(p, LENGTH));
}

/* A transfer that starts on a page that is here is short, not failed. */
static void test_straddle(void)
{
	char *p = away(false);

	*(volatile char *)p;
	fill_file(true);
	rewind_file();
	CU_ASSERT_EQUAL(PLAIN(read)(file, p, LENGTH), 4096 - START);
	p = away(false);
	*(volatile char *)p;
	rewind_file();
	CU_ASSERT_EQUAL(read(file, p, LENGTH), LENGTH);
	CU_ASSERT(has_pattern(p, LENGTH));
}

/* Counters forget on failure, so their read must not be tried on an absent page. */
static void test_eventfd(void)
{
	uint64_t *value = (uint64_t *)(away(false) - START);
	int fd = eventfd(7, EFD_NONBLOCK);

	CU_ASSERT_EQUAL(read(fd, value, 8), 8);
	CU_ASSERT_EQUAL(*value, 7);
	close(fd);
}

static void test_streams(void)
{
	FILE *f = fdopen(dup(file), "r+");
	char *p;

	fill_file(true);
	p = away(false);
	fseek(f, START, SEEK_SET);
	CU_ASSERT(PLAIN(fread)(p, 1, LENGTH, f) < LENGTH);
	CU_ASSERT(ferror(f));
	clearerr(f);
	p = away(false);
	fseek(f, START, SEEK_SET);
	CU_ASSERT_EQUAL(fread(p, 1, LENGTH, f), LENGTH);
	CU_ASSERT(!ferror(f) && has_pattern(p, LENGTH));

	fill_file(false);
	fseek(f, START, SEEK_SET);
	fflush(f);
	CU_ASSERT(PLAIN(fwrite)(away(true), 1, LENGTH, f) < LENGTH);
	clearerr(f);
	fseek(f, START, SEEK_SET);
	CU_ASSERT_EQUAL(fwrite(away(true), 1, LENGTH, f), LENGTH);
	CU_ASSERT_EQUAL(fflush(f), 0);
	CU_ASSERT(file_has_pattern());
	fclose(f);
}

#define CHECK_STAT(call, plain)                                                    \
	do {                                                                       \
		void *st = away(false);                                            \
		CU_ASSERT(FAULTS(plain));                                          \
		CU_ASSERT_EQUAL(call, 0);                                          \
		CU_ASSERT_EQUAL(((struct stat *)st)->st_size, (off_t)PAGER_BYTES); \
	} while (0)

static void test_stat(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	CHECK_STAT(stat(path, st), PLAIN(stat)(path, st));
	CHECK_STAT(stat64(path, st), PLAIN(stat64)(path, st));
	CHECK_STAT(fstat(file, st), PLAIN(fstat)(file, st));
	CHECK_STAT(fstat64(file, st), PLAIN(fstat64)(file, st));
	CHECK_STAT(fstatat(AT_FDCWD, path, st, 0), PLAIN(fstatat)(AT_FDCWD, path, st, 0));
	CHECK_STAT(fstatat64(AT_FDCWD, path, st, 0), PLAIN(fstatat64)(AT_FDCWD, path, st, 0));
}

static void test_lstat(void)
{
	struct stat *st = (struct stat *)away(false);

	CU_ASSERT(FAULTS(PLAIN(lstat)("/", st)));
	CU_ASSERT(lstat("/", st) == 0 && S_ISDIR(st->st_mode));
	st = (struct stat *)away(false);
	CU_ASSERT(lstat64("/", (struct stat64 *)st) == 0 && S_ISDIR(st->st_mode));
}

/* The path is what is away, and it crosses a page. */
static void test_stat_path_away(void)
{
	char *path = pager_region() + 4096 - 3;
	struct stat st;

	strcpy(path, "/proc/self");
	pager_send_away();
	CU_ASSERT(FAULTS(PLAIN(stat)(path, &st)));
	CU_ASSERT_EQUAL(stat(path, &st), 0);
}

static void test_getrandom(void)
{
	char *p = away(false);
	size_t zeros = 0;

	CU_ASSERT(FAULTS(PLAIN(getrandom)(p, LENGTH, 0)));
	CU_ASSERT_EQUAL(getrandom(p, LENGTH, 0), LENGTH);
	for (size_t i = 0; i < LENGTH; i++)
		zeros += !p[i];
	CU_ASSERT(zeros < LENGTH / 50);
}

/* What is no memory stays -1 and EFAULT; nothing crashes. */
static void test_bad_pointers(void)
{
	char *none = (char *)16, *wrap = (char *)UINTPTR_MAX - 100;
	char *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *no = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *bad[] = { none, wrap, no };
	int s[2], zero = open("/dev/zero", O_RDWR);

	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	send_pattern(s[0], 100);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *p = bad[i];
		struct iovec v = { p, 4096 };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

		CU_ASSERT(FAULTS(read(zero, p, 4096)));
		CU_ASSERT(FAULTS(pread(file, p, 4096, 0)));
		CU_ASSERT(FAULTS(pwrite(file, p, 4096, 0)));
		CU_ASSERT(FAULTS(preadv(file, &v, 1, 0)));
		CU_ASSERT(FAULTS(preadv(file, (struct iovec *)p, 1, 0)));
		CU_ASSERT(FAULTS(recv(s[1], p, 4096, MSG_DONTWAIT)));
		CU_ASSERT(FAULTS(send(s[0], p, 4096, 0)));
		CU_ASSERT(FAULTS(recvmsg(s[1], &m, MSG_DONTWAIT)));
		CU_ASSERT(FAULTS(recvmsg(s[1], (struct msghdr *)p, MSG_DONTWAIT)));
		CU_ASSERT(FAULTS(sendmsg(s[0], &m, 0)));
		CU_ASSERT(FAULTS(fstat(file, (struct stat *)p)));
		CU_ASSERT(FAULTS(stat(p, (struct stat *)pattern)));
		CU_ASSERT(FAULTS(getrandom(p, 4096, 0)));
	}
	CU_ASSERT(FAULTS(read(zero, ro, 4096)));
	close(zero);
	close(s[0]);
	close(s[1]);
	munmap(ro, 4096);
	munmap(no, 4096);
}

/* Past the end of a mapped file EFAULT is the truth, and a touch would be SIGBUS. */
static void test_beyond_file(void)
{
	int fd = memfd_create("short", 0), zero = open("/dev/zero", O_RDONLY);
	char *p;

	CU_ASSERT_EQUAL(ftruncate(fd, 4096), 0);
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CU_ASSERT(FAULTS(read(zero, p + 4096, 4096)));
	munmap(p, 8192);
	close(fd);
	close(zero);
}

/* What is short for another reason stays short, and does not wait. */
static void test_honest_short(void)
{
	char *p = away(false);
	unsigned long before;
	int s[2];

	CU_ASSERT_EQUAL(pipe(s), 0);
	CU_ASSERT_EQUAL(write(s[1], pattern, 10), 10);
	CU_ASSERT_EQUAL(read(s[0], p, LENGTH), 10);
	close(s[0]);
	close(s[1]);
	p = away(false);
	CU_ASSERT_EQUAL(pread(file, p, LENGTH, PAGER_BYTES - 5000), 5000);
	CU_ASSERT_EQUAL(pread(file, p, LENGTH, PAGER_BYTES), 0);
	/* The end of the file is no fault: what lies behind stays away. */
	p = away(false);
	*(volatile char *)p;
	*(volatile char *)(p + 4096);
	before = pager_faults();
	CU_ASSERT_EQUAL(pread(file, p, LENGTH, PAGER_BYTES - 5000), 5000);
	CU_ASSERT_EQUAL(pager_faults(), before);
	errno = 0;
	CU_ASSERT(read(-1, p, 10) == -1 && errno == EBADF);
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "read, write, pread, pwrite", test_files },
	{ "readv, writev, preadv, pwritev", test_vectors },
	{ "vector on an absent page", test_vector_itself_away },
	{ "transfer over present and absent pages", test_straddle },
	{ "recv, recvfrom", test_recv },
	{ "datagram is not lost", test_datagram },
	{ "send, sendto", test_send },
	{ "sendmsg, recvmsg", test_messages },
	{ "descriptor in a control message", test_control_message },
	{ "eventfd keeps its count", test_eventfd },
	{ "fread, fwrite", test_streams },
	{ "stat, fstat, fstatat", test_stat },
	{ "lstat", test_lstat },
	{ "path on an absent page", test_stat_path_away },
	{ "getrandom", test_getrandom },
	{ "bad pointers", test_bad_pointers },
	{ "beyond the end of a mapped file", test_beyond_file },
	{ "short for another reason", test_honest_short },
};

static int set_up(void)
{
	libc_handle = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
	file = memfd_create("test_io", MFD_CLOEXEC);
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (char)(i * 31 % 251 + 1);
	return !libc_handle || file < 0;
}

int main(void)
{
	int err = pager_start();
	unsigned int failed;

	if (err == -EPERM || err == -ENOSYS) {
		printf("skipped: no userfaultfd for this user (%s)\n", strerror(-err));
		return 77;
	}
	if (err || set_up() || CU_initialize_registry())
		return 1;
	CU_pSuite suite = CU_add_suite("io", NULL, NULL);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		CU_add_test(suite, tests[i].name, tests[i].run);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures();
	printf("faults served in user mode: %lu\n", pager_faults());
	CU_cleanup_registry();
	pager_stop();
	return failed != 0;
}
