// SPDX-License-Identifier: MIT
/* No memory for what is done with files on hmmfs, and with their pages on devices. */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGES 8ul
#define BYTES (PAGES * PAGE)
#define CUT (3 * PAGE + 100)

static const char *lower_folder;
static char upper[256], lower[256]; /* the file */
static char upper_new[256], lower_new[256], upper_moved[256], again[256];
static int file;
static char *base;
static struct engine engine;
static unsigned char stored; /* by the engine, to the first byte of page 1 */

static char byte_of(size_t page)
{
	return (char)(page + 7);
}

/* The file as it should be, with its pages at @target. */
static int put(int target)
{
	char page[PAGE];

	for (size_t i = 0; i < PAGES; i++) {
		memset(page, byte_of(i), sizeof(page));
		if (pwrite(file, page, PAGE, (off_t)(i * PAGE)) != (ssize_t)PAGE)
			return -1;
	}
	return migrate(base, BYTES, target) == (long)PAGES ? 0 : -1;
}

static int to_system(void)
{
	return put(DRM_HMM_SYSTEM);
}

static int to_first(void)
{
	return put(0);
}

static int to_second(void)
{
	return put(1);
}

static int full_of(size_t first, size_t end)
{
	for (size_t at = first; at < end; at += 64)
		if (base[at] != byte_of(at / PAGE))
			return -1;
	return 0;
}

static int intact(int err)
{
	(void)err;
	return full_of(0, BYTES);
}

static int run_migrate(int target)
{
	long n = migrate(base, BYTES, target);

	return n < 0 ? (int)n : 0;
}

static int run_leave(void)
{
	return run_migrate(0);
}

static int run_across(void)
{
	return run_migrate(1);
}

static int run_home(void)
{
	return run_migrate(DRM_HMM_SYSTEM);
}

static int run_touch(void)
{
	return full_of(0, BYTES) ? -EIO : 0;
}

static int run_read(void)
{
	char room[PAGE];
	ssize_t n = pread(file, room, sizeof(room), 2 * PAGE);

	if (n < 0)
		return -errno;
	return n == (ssize_t)PAGE && room[64] == byte_of(2) ? 0 : -EIO;
}

static int run_write(void)
{
	char room[64];
	ssize_t n;

	memset(room, byte_of(4), sizeof(room));
	n = pwrite(file, room, sizeof(room), 4 * PAGE + 128);
	return n < 0 ? -errno : n == (ssize_t)sizeof(room) ? 0 : -EIO;
}

static int run_engine_load(void)
{
	uint64_t value = 0;
	int err = engine_do(&engine, ENGINE_LOAD, base + 5 * PAGE, 1, &value);

	return err ? err : value == (unsigned char)byte_of(5) ? 0 : -EIO;
}

static int run_engine_store(void)
{
	uint64_t value = (unsigned char)byte_of(6);

	return engine_do(&engine, ENGINE_STORE, base + 6 * PAGE + 64, 1, &value);
}

/* Dirty on the device, and clean otherwise. */
static int before_sync(void)
{
	uint64_t value = ++stored;

	return put(0) || fsync(file) || engine_do(&engine, ENGINE_STORE, base + PAGE, 1, &value);
}

static int run_sync(void)
{
	return fsync(file) ? -errno : 0;
}

/* What could not be written is dirty still, and the next fsync() writes it. */
static int synced(int err)
{
	unsigned char c;
	int fd, wrong;

	if (err && fsync(file))
		return -1;
	fd = open(lower, O_RDONLY);
	wrong = pread(fd, &c, 1, PAGE) != 1 || c != stored || where(base + PAGE) != 0;
	close(fd);
	return wrong;
}

static off_t size_of(const char *name)
{
	struct stat st;

	return stat(name, &st) ? -1 : st.st_size;
}

static int run_cut(void)
{
	return ftruncate(file, CUT) ? -errno : 0;
}

/* Cut, or as it was; never something between. */
static int cut(int err)
{
	off_t want = err ? BYTES : CUT;

	if (size_of(upper) != want || (size_of(lower) != want))
		return -1;
	if (full_of(0, (size_t)want))
		return -1;
	return !err && base[CUT];
}

static int before_longer(void)
{
	return put(0) || ftruncate(file, CUT);
}

static int run_longer(void)
{
	return ftruncate(file, BYTES) ? -errno : 0;
}

static int longer(int err)
{
	off_t want = err ? CUT : BYTES;

	if (size_of(upper) != want || size_of(lower) != want || full_of(0, CUT))
		return -1;
	return !err && (base[CUT] || base[BYTES - 1]);
}

/* Both folders say the same of a name; then it is gone from both. */
static int same_names(int err)
{
	bool wrong = (size_of(upper_new) < 0) != (size_of(lower_new) < 0);

	(void)err;
	remove(upper_new);
	remove(upper_moved);
	return wrong || size_of(upper_new) >= 0 || size_of(lower_new) >= 0;
}

static int run_create(void)
{
	int fd = open(upper_new, O_RDWR | O_CREAT | O_EXCL, 0644);

	return fd < 0 ? -errno : close(fd);
}

static int run_folder(void)
{
	return mkdir(upper_new, 0755) ? -errno : 0;
}

static int run_rename(void)
{
	return rename(upper_new, upper_moved) ? -errno : 0;
}

static int run_unlink(void)
{
	return unlink(upper_new) ? -errno : 0;
}

/* Nothing of the file is known any more: its inode comes with the next open. */
static int forget(void)
{
	int fd = open(upper_new, O_RDWR | O_CREAT | O_TRUNC, 0644);
	bool wrong = write(fd, "x", 1) != 1 || fsync(fd) || close(fd);

	fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
	wrong |= write(fd, "2", 1) != 1;
	close(fd);
	return wrong;
}

static int run_reopen(void)
{
	char c = 0;
	int fd = open(upper_new, O_RDWR), err = fd < 0 ? -errno : 0;

	if (!err && pread(fd, &c, 1, 0) != 1)
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err ? err : c == 'x' ? 0 : -EIO;
}

/* It can be written, whatever happened to who opened it first. */
static int writable(int err)
{
	int fd = open(upper_new, O_RDWR);
	bool wrong = fd < 0 || pwrite(fd, "y", 1, 0) != 1 || fsync(fd);

	close(fd);
	return same_names(err) || wrong;
}

static int run_mount(void)
{
	if (mount(lower_folder, again, "hmmfs", 0, NULL))
		return -errno;
	return umount2(again, 0) ? -errno : 0;
}

/* One that was mounted and could not be unmounted. */
static int unmounted(int err)
{
	if (err)
		umount2(again, 0);
	return umount2(again, 0) == 0;
}

static int set_up(const char *mount, const char *folder)
{
	lower_folder = folder;
	snprintf(upper, sizeof(upper), "%s/file", mount);
	snprintf(lower, sizeof(lower), "%s/file", folder);
	snprintf(upper_new, sizeof(upper_new), "%s/new", mount);
	snprintf(lower_new, sizeof(lower_new), "%s/new", folder);
	snprintf(upper_moved, sizeof(upper_moved), "%s/moved", mount);
	snprintf(again, sizeof(again), "/mnt/again");
	mkdir(again, 0755);
	file = open(upper, O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (file < 0 || ftruncate(file, BYTES))
		return -1;
	base = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	return base == MAP_FAILED ? -1 : engine_start(&engine, 0, base, BYTES);
}

int faults_file(const char *mount, const char *folder)
{
	const struct operation operations[] = {
		{ "a file's pages to a device", to_system, run_leave, intact, 0, NULL },
		{ "to another device", to_first, run_across, intact, 0, NULL },
		{ "home", to_first, run_home, intact, 0, NULL },
		{ "touch", to_first, run_touch, intact, 0, NULL },
		{ "read", to_first, run_read, intact, 0, NULL },
		{ "write", to_first, run_write, intact, 0, NULL },
		{ "an engine's load", to_system, run_engine_load, intact, 0, &engine },
		{ "an engine's store", to_second, run_engine_store, intact, 0, &engine },
		{ "fsync", before_sync, run_sync, synced, -EIO, NULL },
		{ "cut", to_first, run_cut, cut, 0, NULL },
		{ "longer", before_longer, run_longer, longer, 0, NULL },
		{ "create", NULL, run_create, same_names, -ENOSPC, NULL },
		{ "mkdir", NULL, run_folder, same_names, -ENOSPC, NULL },
		{ "rename", run_create, run_rename, same_names, 0, NULL },
		{ "unlink", run_create, run_unlink, same_names, 0, NULL },
		{ "open and read", forget, run_reopen, writable, 0, NULL },
		{ "mount", NULL, run_mount, unmounted, 0, NULL },
	};
	int wrong;

	if (set_up(mount, folder))
		return 1;
	wrong = faults_sweep(operations, sizeof(operations) / sizeof(operations[0]));
	engine_end(&engine);
	munmap(base, BYTES);
	close(file);
	unlink(upper);
	return wrong;
}
