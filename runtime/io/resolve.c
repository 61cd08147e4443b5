// SPDX-License-Identifier: MIT
/* Finds the functions that this library stands in front of. */
#include "io/io.h"

#include <dlfcn.h>
#include <stdatomic.h>

static struct io_real real;
static atomic_bool resolved;

#define FIND(name) (*(void **)&real.name = dlsym(RTLD_NEXT, #name))

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
