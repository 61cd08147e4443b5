// SPDX-License-Identifier: MIT
/* Names on hmmfs: what is done to them happens to the lower folder. */
#include "file.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void names(void)
{
	struct stat st;
	int fd = make_file("name", 1);

	CU_ASSERT(fd >= 0);
	CU_ASSERT_EQUAL(fsync(fd), 0);
	close(fd);
	CU_ASSERT_EQUAL(lower_byte("name", 0), 1);
	CU_ASSERT_EQUAL(mkdir(path(upper, "folder"), 0755), 0);
	CU_ASSERT_EQUAL(rename(path(upper, "name"), path(upper, "folder/new")), 0);
	CU_ASSERT(stat(path(lower, "folder/new"), &st) == 0 && st.st_size == (off_t)PAGE);
	CU_ASSERT(stat(path(upper, "folder/new"), &st) == 0 && st.st_size == (off_t)PAGE);
	CU_ASSERT(rmdir(path(upper, "folder")) == -1 && errno == ENOTEMPTY);
	CU_ASSERT_EQUAL(chmod(path(upper, "folder/new"), 0600), 0);
	CU_ASSERT(stat(path(lower, "folder/new"), &st) == 0 && (st.st_mode & 0777) == 0600);
	CU_ASSERT_EQUAL(unlink(path(upper, "folder/new")), 0);
	CU_ASSERT(stat(path(lower, "folder/new"), &st) == -1 && errno == ENOENT);
	CU_ASSERT_EQUAL(rmdir(path(upper, "folder")), 0);
}

/* What changes the lower folder is not seen, and does no more harm than an error. */
static void names_below(void)
{
	struct stat st;

	close(make_file("a", 1));
	close(make_file("b", 1));
	CU_ASSERT_EQUAL(
		renameat2(AT_FDCWD, path(upper, "a"), AT_FDCWD, path(upper, "b"), RENAME_NOREPLACE),
		-1);
	CU_ASSERT_EQUAL(errno, EEXIST);
	CU_ASSERT_EQUAL(rename(path(upper, "a"), path(upper, "b")), 0);
	CU_ASSERT(stat(path(lower, "a"), &st) == -1 && errno == ENOENT);
	CU_ASSERT_EQUAL(unlink(path(lower, "b")), 0);
	CU_ASSERT(rename(path(upper, "b"), path(upper, "c")) == -1 && errno == ENOENT);
	CU_ASSERT(unlink(path(upper, "b")) == -1 && errno == ENOENT);
	CU_ASSERT(stat(path(upper, "d"), &st) == -1 && errno == ENOENT);
	CU_ASSERT_EQUAL(mkdir(path(lower, "d"), 0755), 0);
	CU_ASSERT(mkdir(path(upper, "d"), 0755) == -1 && errno == EEXIST);
	CU_ASSERT_EQUAL(mkdir(path(upper, "e"), 0755), 0);
	CU_ASSERT_EQUAL(rmdir(path(lower, "e")), 0);
	CU_ASSERT(rmdir(path(upper, "e")) == -1 && errno == ENOENT);
	CU_ASSERT_EQUAL(rmdir(path(lower, "d")), 0);
}

void file_names(void)
{
	CU_pSuite s = CU_add_suite("names", NULL, NULL);

	CU_add_test(s, "names", names);
	CU_add_test(s, "names that change underneath", names_below);
}
