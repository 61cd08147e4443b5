// SPDX-License-Identifier: MIT
/* Finds the functions that this library stands in front of. */
#include "io/io.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct io_real real;
static atomic_bool resolved, wanted;

#define FIND(name) (*(void **)&real.name = dlsym(RTLD_NEXT, #name))

/* As libhmm asks, in its order. */
static bool kernel_gives_faults(void)
{
	int saved = errno, fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	bool gives = fd >= 0 || errno != EPERM;

	if (!gives) {
		fd = (int)syscall(SYS_openat, AT_FDCWD, "/dev/userfaultfd", O_RDWR | O_CLOEXEC);
		gives = fd >= 0;
	}
	if (fd >= 0)
		syscall(SYS_close, fd);
	errno = saved;
	return gives;
}

__attribute__((constructor)) static void look_around(void)
{
	if (!kernel_gives_faults())
		io_want();
}

bool io_wanted(void)
{
	return atomic_load_explicit(&wanted, memory_order_relaxed);
}

void io_want(void)
{
	if (!io_wanted())
		atomic_store_explicit(&wanted, true, memory_order_relaxed);
}

/* Two threads that get here at once store the same values. */
__attribute__((constructor)) static void resolve(void)
{
	FIND(read);
	FIND(write);
	FIND(pread64);
	FIND(pwrite64);
	FIND(readv);
	FIND(writev);
	FIND(preadv64);
	FIND(pwritev64);
	FIND(recvfrom);
	FIND(sendto);
	FIND(recvmsg);
	FIND(sendmsg);
	FIND(fread);
	FIND(fwrite);
	FIND(fflush);
	FIND(fclose);
	FIND(stat);
	FIND(lstat);
	FIND(fstat);
	FIND(fstatat);
	FIND(getrandom);
	atomic_store_explicit(&resolved, true, memory_order_release);
}

const struct io_real *io_real(void)
{
	if (!atomic_load_explicit(&resolved, memory_order_acquire))
		resolve();
	return &real;
}
