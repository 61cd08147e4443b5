// SPDX-License-Identifier: MIT
/*
 * Where the engine's own mappings lie. Its address space is the client's: every
 * address that the client may use must be free here. With the compatibility layout
 * the kernel places mappings bottom-up from a third of the address space, where an
 * ordinary client has none; started through the dynamic loader, the engine's own
 * image and heap go there too. Only its stack stays in the common area.
 */
#include "engine/engine.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOWEST 0x10000ull
#define HIGHEST 0x7ffffffff000ull
#define LOW_LAYOUT 0x2aaaaaaab000ull /* a third: where the compatibility layout starts */
#define HIGH_LAYOUT 0x500000000000ull
#define GIB (1ull << 30)
#define ROOM (1ull << 40) /* for what the engine maps later: compiler, kernels */
#define STACK_BYTES (8u << 20)
#define STACK_SLACK (64ull << 20) /* a client's stack grows */
#define MAX_OWN 64
#define MAX_STARTS 16
#define MARK "HMM_ENGINE_STARTS"
#define SELF "HMM_ENGINE_SELF"

static const char *const dropped[] = { "OCL_ICD_VENDORS", "OCL_ICD_FILENAMES", "OPENCL_LAYERS",
				       "LD_PRELOAD",      "GLIBC_TUNABLES",    "HMM_STATS" };

/* The loader that the kernel would use for this program. */
static int interpreter(char *path, size_t size)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), err = -ENOENT;

	if (fd < 0)
		return -errno;
	if (pread(fd, &eh, sizeof(eh), 0) == sizeof(eh)) {
		for (unsigned int i = 0; err && i < eh.e_phnum; i++) {
			if (pread(fd, &ph, sizeof(ph), (off_t)(eh.e_phoff + i * sizeof(ph))) !=
			    sizeof(ph))
				break;
			if (ph.p_type != PT_INTERP || ph.p_filesz >= size)
				continue;
			if (pread(fd, path, ph.p_filesz, (off_t)ph.p_offset) ==
			    (ssize_t)ph.p_filesz)
				err = 0;
			path[ph.p_filesz] = 0;
		}
	}
	close(fd);
	return err;
}

/* Each mapping of process @pid (0: this one), in order, until @fn returns false. */
static int each_mapping(int pid, bool (*fn)(uint64_t start, uint64_t end, const char *line, void *),
			void *arg)
{
	unsigned long long start, end;
	char path[64], line[4352];
	FILE *f;

	if (pid)
		snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	else
		snprintf(path, sizeof(path), "/proc/self/maps");
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%llx-%llx", &start, &end) == 2 && !fn(start, end, line, arg))
			break;
	fclose(f);
	return 0;
}

static bool note_low(uint64_t start, uint64_t end, const char *line, void *arg)
{
	(void)line;
	*(bool *)arg = start < LOW_LAYOUT + 2 * ROOM && end > LOW_LAYOUT;
	return !*(bool *)arg;
}

/* Does the client use the compatibility layout itself? */
static bool client_is_low(int client)
{
	bool low = false;

	each_mapping(client, note_low, &low);
	return low;
}

/* How often this process has executed itself; it keeps its pid, nobody inherits that. */
static unsigned int starts_so_far(void)
{
	const char *mark = getenv(MARK);
	unsigned int n;
	int pid;

	return mark && sscanf(mark, "%d.%u", &pid, &n) == 2 && pid == getpid() ? n : 0;
}

static void drop_variable(const char *entry)
{
	char name[64];
	size_t len = strcspn(entry, "=");

	if (len < sizeof(name)) {
		memcpy(name, entry, len);
		name[len] = 0;
		unsetenv(name);
	}
}

static void set_environment(unsigned int starts)
{
	const char *icd = getenv("HMM_ENGINE_ICD");
	char mark[32];

	for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
		unsetenv(dropped[i]);
	/* A variable goes and the rest moves up. */
	for (char **e = environ; *e;) {
		const char *entry = *e;

		if (!strncmp(entry, "MALLOC_", 7))
			drop_variable(entry);
		if (*e == entry)
			e++;
	}
	if (icd)
		setenv("OCL_ICD_VENDORS", icd, 1);
	snprintf(mark, sizeof(mark), "%d.%u", getpid(), starts);
	setenv(MARK, mark, 1);
}

/*
 * The layout of the next execution. The client's own settings are inherited, and would
 * put the engine where the client is: a debugger's fixed addresses above all.
 */
static void set_layout(int client)
{
	int now = personality(0xffffffff);
	struct rlimit stack;

	if (now != -1) {
		now &= ~(ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT);
		if (!client_is_low(client))
			now |= ADDR_COMPAT_LAYOUT;
		personality((unsigned long)now);
	}
	/* The place for mappings depends on it, too. */
	if (!getrlimit(RLIMIT_STACK, &stack) && stack.rlim_cur > STACK_BYTES) {
		stack.rlim_cur = STACK_BYTES;
		setrlimit(RLIMIT_STACK, &stack);
	}
}

void engine_relayout(char **argv, int client)
{
	char loader[256] = "/proc/self/exe", self[4096];
	char *args[32] = { loader, self };
	unsigned int starts = starts_so_far(), n = 2;

	if (starts && (starts >= MAX_STARTS || !engine_conflicts(client)))
		return;
	/* Started through the loader, /proc/self/exe is the loader: we noted our name. */
	if (starts) {
		snprintf(self, sizeof(self), "%s", getenv(SELF));
	} else {
		ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

		if (len < 0 || interpreter(loader, sizeof(loader)))
			return;
		self[len] = 0;
		setenv(SELF, self, 1);
	}
	for (char **a = argv + 1; *a && n < 31; a++)
		args[n++] = *a;
	set_environment(starts + 1);
	set_layout(client);
	execv(loader, args);
}

static uint64_t held; /* the page above the break */

/*
 * malloc() would make a heap there, where an ordinary program has its own image and
 * heap. What holds the break back makes way for the windows, which do that afterwards.
 */
void engine_hold_heap(void)
{
	uint64_t at = ((uint64_t)(uintptr_t)sbrk(0) + 4095) & ~4095ull;

	if (mmap((void *)(uintptr_t)at, 4096, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != MAP_FAILED)
		held = at;
}

void engine_release_heap(void)
{
	if (held)
		munmap((void *)(uintptr_t)held, 4096);
}

/* What stays free for what the engine maps later, and where it maps it. */
static struct engine_range private_zone(void)
{
	uint64_t here = (uint64_t)(uintptr_t)&private_zone & ~(GIB - 1);

	/* Upwards from where the program lies, or downwards. */
	if (here < HIGH_LAYOUT)
		return (struct engine_range){ here, here + ROOM };
	return (struct engine_range){ here + GIB - ROOM, here + GIB };
}

struct search {
	struct engine_range *window, zone;
	unsigned int max, n;
	uint64_t at;
};

static void add_window(struct search *s, uint64_t start, uint64_t end)
{
	if (end > start && s->n < s->max) {
		s->window[s->n].start = start;
		s->window[s->n++].end = end;
	}
}

/* What is free below @start, less the private zone. */
static bool gap_below(uint64_t start, uint64_t end, const char *line, void *arg)
{
	struct search *s = arg;
	uint64_t stop = start > HIGHEST ? HIGHEST : start;

	(void)line;
	if (held && start == held)
		return true;
	if (stop > s->at) {
		uint64_t below = stop < s->zone.start ? stop : s->zone.start;
		uint64_t above = s->at > s->zone.end ? s->at : s->zone.end;

		add_window(s, s->at, below);
		add_window(s, above, stop);
	}
	s->at = end;
	return start < HIGHEST;
}

int engine_find_windows(struct engine_range *window, unsigned int max, unsigned int *n)
{
	struct search s = { .window = window, .zone = private_zone(), .max = max, .at = LOWEST };
	int err = each_mapping(0, gap_below, &s);

	if (!err && s.at < HIGHEST)
		gap_below(HIGHEST, HIGHEST, NULL, &s);
	*n = s.n;
	return err ? err : s.n ? 0 : -ENOMEM;
}

struct ranges {
	struct engine_range r[MAX_OWN];
	unsigned int n;
	bool conflict;
};

static bool note_own(uint64_t start, uint64_t end, const char *line, void *arg)
{
	struct ranges *own = arg;

	(void)line;
	if (start < HIGHEST && start != held)
		own->r[own->n++] = (struct engine_range){ start, end };
	return own->n < MAX_OWN;
}

static bool note_conflict(uint64_t start, uint64_t end, const char *line, void *arg)
{
	struct ranges *own = arg;

	if (strstr(line, "[stack]"))
		start -= STACK_SLACK;
	for (unsigned int i = 0; i < own->n; i++)
		if (start < own->r[i].end && own->r[i].start < end)
			own->conflict = true;
	return !own->conflict;
}

bool engine_conflicts(int client)
{
	struct ranges own = { .r = { private_zone() }, .n = 1 };

	each_mapping(0, note_own, &own);
	each_mapping(client, note_conflict, &own);
	return own.conflict;
}
