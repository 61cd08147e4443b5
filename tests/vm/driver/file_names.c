// SPDX-License-Identifier: MIT
/* Names on hmmfs: what is done to them happens to the lower folder. */
#include "file.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
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

static void links(void)
{
	char text[16] = "";
	struct stat st;

	close(make_file("link-a", 1));
	CU_ASSERT_EQUAL(symlink("link-a", path(upper, "link-s")), 0);
	CU_ASSERT_EQUAL(readlink(path(upper, "link-s"), text, sizeof(text)), 6);
	CU_ASSERT_STRING_EQUAL(text, "link-a");
	CU_ASSERT_EQUAL(readlink(path(lower, "link-s"), text, sizeof(text)), 6);
	CU_ASSERT(lstat(path(upper, "link-s"), &st) == 0 && S_ISLNK(st.st_mode) && st.st_size == 6);
	CU_ASSERT(stat(path(upper, "link-s"), &st) == 0 && st.st_size == (off_t)PAGE);
	CU_ASSERT_EQUAL(link(path(upper, "link-a"), path(upper, "link-b")), 0);
	CU_ASSERT(stat(path(upper, "link-a"), &st) == 0 && st.st_nlink == 2);
	CU_ASSERT(stat(path(lower, "link-b"), &st) == 0 && st.st_nlink == 2);
	CU_ASSERT(link(path(upper, "link-a"), path(upper, "link-s")) == -1 && errno == EEXIST);
	CU_ASSERT_EQUAL(unlink(path(upper, "link-a")), 0);
	CU_ASSERT(stat(path(upper, "link-s"), &st) == -1 && errno == ENOENT);
	CU_ASSERT(stat(path(upper, "link-b"), &st) == 0 && st.st_nlink == 1);
	CU_ASSERT_EQUAL(mkfifo(path(upper, "link-f"), 0600), 0);
	CU_ASSERT(lstat(path(lower, "link-f"), &st) == 0 && S_ISFIFO(st.st_mode));
	CU_ASSERT_EQUAL(unlink(path(upper, "link-f")), 0);
	CU_ASSERT_EQUAL(unlink(path(upper, "link-s")), 0);
	CU_ASSERT_EQUAL(unlink(path(upper, "link-b")), 0);
}

/* One file under two names has its pages once. */
static void linked_pages(void)
{
	int a = make_file("link-a", 2), b;
	char *p = map_file(a, 2), *q;

	CU_ASSERT_EQUAL(link(path(upper, "link-a"), path(upper, "link-b")), 0);
	b = open(path(upper, "link-b"), O_RDWR);
	q = map_file(b, 2);
	CU_ASSERT_EQUAL(migrate(p, 2 * PAGE, 0), 2);
	CU_ASSERT(where(q) == 0 && resident(0) == 2 * PAGE);
	q[PAGE] = 9;
	CU_ASSERT(p[PAGE] == 9 && where(p) == 0);
	CU_ASSERT_EQUAL(unlink(path(upper, "link-a")), 0);
	CU_ASSERT_EQUAL(fsync(b), 0);
	CU_ASSERT_EQUAL(lower_byte("link-b", PAGE), 9);
	munmap(p, 2 * PAGE);
	munmap(q, 2 * PAGE);
	close(a);
	close(b);
	CU_ASSERT_EQUAL(unlink(path(upper, "link-b")), 0);
	CU_ASSERT_EQUAL(resident(0), 0);
}

static void attributes(void)
{
	char value[16] = "", list[64];

	close(make_file("link-a", 1));
	CU_ASSERT_EQUAL(setxattr(path(upper, "link-a"), "user.colour", "red", 3, XATTR_CREATE), 0);
	CU_ASSERT_EQUAL(getxattr(path(lower, "link-a"), "user.colour", value, sizeof(value)), 3);
	CU_ASSERT_EQUAL(getxattr(path(upper, "link-a"), "user.colour", value, sizeof(value)), 3);
	CU_ASSERT_STRING_EQUAL(value, "red");
	CU_ASSERT(setxattr(path(upper, "link-a"), "user.colour", "", 0, XATTR_CREATE) == -1 &&
		  errno == EEXIST);
	CU_ASSERT_EQUAL(listxattr(path(upper, "link-a"), list, sizeof(list)),
			sizeof("user.colour"));
	CU_ASSERT_STRING_EQUAL(list, "user.colour");
	CU_ASSERT_EQUAL(removexattr(path(upper, "link-a"), "user.colour"), 0);
	CU_ASSERT(getxattr(path(upper, "link-a"), "user.colour", value, sizeof(value)) == -1 &&
		  errno == ENODATA);
	CU_ASSERT_EQUAL(listxattr(path(lower, "link-a"), list, sizeof(list)), 0);
	CU_ASSERT_EQUAL(unlink(path(upper, "link-a")), 0);
}

/* Who gets the file, or changes it, does not get its owner's rights. */
static void rights(void)
{
	struct stat st;
	int fd = make_file("link-a", 1), status;
	pid_t pid;

	CU_ASSERT_EQUAL(chmod(path(upper, "link-a"), 04777), 0);
	CU_ASSERT_EQUAL(chown(path(upper, "link-a"), 1, 1), 0);
	CU_ASSERT(stat(path(upper, "link-a"), &st) == 0 && st.st_mode == (S_IFREG | 0777));
	CU_ASSERT_EQUAL(chmod(path(upper, "link-a"), 06777), 0);
	pid = fork();
	if (!pid)
		_exit(setresuid(1000, 1000, 1000) || pwrite(fd, "x", 1, 0) != 1);
	CU_ASSERT(waitpid(pid, &status, 0) == pid && !status);
	CU_ASSERT(stat(path(upper, "link-a"), &st) == 0 && st.st_mode == (S_IFREG | 0777));
	CU_ASSERT(stat(path(lower, "link-a"), &st) == 0 && st.st_mode == (S_IFREG | 0777));
	close(fd);
	CU_ASSERT_EQUAL(unlink(path(upper, "link-a")), 0);
}

/* Nobody has it open, and its name is forgotten: what is dirty is not. */
static void forgotten(void)
{
	uint64_t value = 99;
	struct engine e;
	int fd = make_file("link-a", 2);
	char *p = map_file(fd, 2), bytes[2] = "";

	CU_ASSERT_EQUAL_FATAL(engine_start(&e, 0, p, 2 * PAGE), 0);
	CU_ASSERT_EQUAL(engine_do(&e, ENGINE_STORE, p + PAGE, 1, &value), 0);
	engine_end(&e);
	munmap(p, 2 * PAGE);
	close(fd);
	drop_caches();
	drop_caches();
	fd = open(path(upper, "link-a"), O_RDONLY);
	CU_ASSERT_EQUAL(pread(fd, &bytes[0], 1, 0), 1);
	CU_ASSERT_EQUAL(pread(fd, &bytes[1], 1, PAGE), 1);
	CU_ASSERT(bytes[0] == 1 && bytes[1] == 99);
	close(fd);
	CU_ASSERT_EQUAL(unlink(path(upper, "link-a")), 0);
	CU_ASSERT_EQUAL(resident(0), 0);
}

static void space(void)
{
	struct statfs above, below;

	CU_ASSERT_EQUAL(statfs(upper, &above), 0);
	CU_ASSERT_EQUAL(statfs(lower, &below), 0);
	CU_ASSERT(above.f_blocks == below.f_blocks && above.f_bsize == below.f_bsize);
	CU_ASSERT(above.f_files == below.f_files && above.f_type != below.f_type);
}

void file_names(void)
{
	CU_pSuite s = CU_add_suite("names", NULL, NULL);

	CU_add_test(s, "names", names);
	CU_add_test(s, "names that change underneath", names_below);
	CU_add_test(s, "links", links);
	CU_add_test(s, "two names, one frame", linked_pages);
	CU_add_test(s, "extended attributes", attributes);
	CU_add_test(s, "rights", rights);
	CU_add_test(s, "names that are forgotten", forgotten);
	CU_add_test(s, "space", space);
}
