// SPDX-License-Identifier: MIT
/* Whose files are, and what their modes lose when others change them. */
#include "file.h"

#include <CUnit/Basic.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define USER 1234

/* In a process of USER's, of no group but one. */
static int as_user(int (*run)(void))
{
	int status = 0, pid = fork();

	if (!pid)
		_exit(setgroups(0, NULL) || setgid(USER) || setuid(USER) ? 99 : run());
	waitpid(pid, &status, 0);
	return status;
}

static unsigned int mode_of(const char *folder)
{
	struct stat st;

	return stat(path(folder, "program"), &st) ? 0 : st.st_mode & 07777;
}

static int write_it(void)
{
	int fd = open(path(upper, "program"), O_WRONLY);

	return write(fd, "x", 1) != 1;
}

static int cut_it(void)
{
	return truncate(path(upper, "program"), 1);
}

/* Set-uid and set-gid, which @run takes away. */
static void loses(int (*run)(void))
{
	CU_ASSERT_EQUAL(chmod(path(upper, "program"), 06777), 0);
	CU_ASSERT_EQUAL(mode_of(upper), 06777);
	CU_ASSERT_EQUAL(run ? as_user(run) : chown(path(upper, "program"), USER, USER), 0);
	CU_ASSERT_EQUAL(mode_of(upper), 0777);
	CU_ASSERT_EQUAL(mode_of(lower), 0777);
}

static void set_id(void)
{
	close(make_file("program", 1));
	loses(NULL);
	loses(write_it);
	loses(cut_it);
	CU_ASSERT_EQUAL(unlink(path(upper, "program")), 0);
}

static int make_things(void)
{
	umask(022);
	if (mkdir(path(upper, "open/folder"), 0777))
		return 1;
	return open(path(upper, "open/folder/file"), O_CREAT | O_RDWR | O_EXCL, 0666) < 0;
}

static void is_users(const char *name, mode_t mode)
{
	struct stat st;

	CU_ASSERT_EQUAL(stat(path(upper, name), &st), 0);
	CU_ASSERT(st.st_uid == USER && st.st_gid == USER && (st.st_mode & 07777) == mode);
	CU_ASSERT_EQUAL(stat(path(lower, name), &st), 0);
	CU_ASSERT(st.st_uid == USER && st.st_gid == USER && (st.st_mode & 07777) == mode);
}

static void made(void)
{
	CU_ASSERT_EQUAL(mkdir(path(upper, "open"), 0755), 0);
	CU_ASSERT(as_user(make_things) != 0);
	CU_ASSERT_EQUAL(chmod(path(upper, "open"), 0777), 0);
	CU_ASSERT_EQUAL(as_user(make_things), 0);
	is_users("open/folder", 0755);
	is_users("open/folder/file", 0644);
	CU_ASSERT_EQUAL(unlink(path(upper, "open/folder/file")), 0);
	CU_ASSERT_EQUAL(rmdir(path(upper, "open/folder")), 0);
	CU_ASSERT_EQUAL(rmdir(path(upper, "open")), 0);
}

void file_owners(void)
{
	CU_pSuite s = CU_add_suite("owners", NULL, NULL);

	CU_add_test(s, "set-uid bits go", set_id);
	CU_add_test(s, "what is made is its maker's", made);
}
