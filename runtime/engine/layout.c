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
#include <sys/personality.h>
#include <unistd.h>

#define LOWEST  0x10000ull
#define HIGHEST 0x7ffffffff000ull
#define ROOM    (1ull << 40) /* for what the engine maps later: compiler, kernels */
#define MARK    "HMM_ENGINE_STARTS"

static const char *const dropped[] = { "OCL_ICD_VENDORS", "OCL_ICD_FILENAMES", "OPENCL_LAYERS",
				       "LD_PRELOAD",      "HMM_STATS" };

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

/* Does an address of the client's text or stack tell that it uses this layout itself? */
static bool client_is_low(int client)
{
	unsigned long long start, end;
	char path[64], line[512];
	bool low = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", client);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%llx-%llx", &start, &end) == 2 && start >= 0x2aaaaaaab000ull &&
		    start < 0x2aaaaaaab000ull + ROOM)
			low = true;
	fclose(f);
	return low;
}

void engine_relayout(char **argv)
{
	const char *icd = getenv("HMM_ENGINE_ICD"), *mark = getenv(MARK);
	char loader[256], self[4096], count[16];
	char *args[32] = { loader, self };
	unsigned int starts = mark ? (unsigned int)atoi(mark) : 0, n = 2;
	int client = 0;
	ssize_t len;

	for (char **a = argv; *a && a[1]; a++)
		if (!strcmp(*a, "--client"))
			client = atoi(a[1]);
	if (starts && (starts >= 16 || !engine_conflicts(client)))
		return;
	for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
		unsetenv(dropped[i]);
	if (icd)
		setenv("OCL_ICD_VENDORS", icd, 1);
	setenv("HMM_IN_ENGINE", "1", 1);
	snprintf(count, sizeof(count), "%u", starts + 1);
	setenv(MARK, count, 1);
	/* Started through the loader, /proc/self/exe is the loader: argv names the program. */
	if (starts) {
		snprintf(self, sizeof(self), "%s", getenv("HMM_ENGINE_SELF"));
		snprintf(loader, sizeof(loader), "%s", "/proc/self/exe");
	} else {
		len = readlink("/proc/self/exe", self, sizeof(self) - 1);
		if (len < 0 || interpreter(loader, sizeof(loader)))
			return;
		self[len] = 0;
		setenv("HMM_ENGINE_SELF", self, 1);
	}
	for (char **a = argv + 1; *a && n < 31; a++)
		args[n++] = *a;
	if (!client_is_low(client))
		personality((unsigned long)personality(0xffffffff) | ADDR_COMPAT_LAYOUT);
	execv(loader, args);
}

/* Each mapping of this process, in order, until @fn returns false. */
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

struct search {
	struct engine_range *window;
	unsigned int max, n;
	uint64_t at, zone_start, zone_end;
};

static void add_window(struct search *s, uint64_t start, uint64_t end)
{
	if (end > start && end - start >= (1ull << 30) && s->n < s->max) {
		s->window[s->n].start = start;
		s->window[s->n++].end = end;
	}
}

/* What is free below @start, less the zone kept for the engine's own later mappings. */
static bool gap_below(uint64_t start, uint64_t end, const char *line, void *arg)
{
	struct search *s = arg;
	uint64_t stop = start > HIGHEST ? HIGHEST : start;

	(void)line;
	if (stop > s->at) {
		uint64_t below = stop < s->zone_start ? stop : s->zone_start;
		uint64_t above = s->at > s->zone_end ? s->at : s->zone_end;

		add_window(s, s->at, below);
		add_window(s, above, stop);
	}
	s->at = end;
	return start < HIGHEST;
}

int engine_find_windows(struct engine_range *window, unsigned int max, unsigned int *n)
{
	uint64_t here = (uint64_t)(uintptr_t)&engine_find_windows;
	struct search s = { .window = window, .max = max, .at = LOWEST };
	int err;

	/* Mappings grow upwards here from where the program lies, or down from the top. */
	if (here < 0x500000000000ull) {
		s.zone_start = here & ~((1ull << 30) - 1);
		s.zone_end = s.zone_start + ROOM;
	} else {
		s.zone_end = HIGHEST;
		s.zone_start = HIGHEST - ROOM;
	}
	err = each_mapping(0, gap_below, &s);
	if (!err && s.at < HIGHEST)
		gap_below(HIGHEST, HIGHEST, NULL, &s);
	*n = s.n;
	return err ? err : s.n ? 0 : -ENOMEM;
}

static bool note_stack(uint64_t start, uint64_t end, const char *line, void *arg)
{
	struct engine_range *r = arg;

	if (!strstr(line, "[stack]"))
		return true;
	/* It grows, and clients put threads' stacks near. */
	r->start = start - (64ull << 20);
	r->end = end;
	return false;
}

bool engine_conflicts(int client)
{
	struct engine_range mine = { 0, 0 }, theirs = { 0, 0 };

	each_mapping(0, note_stack, &mine);
	each_mapping(client, note_stack, &theirs);
	mine.start += 64ull << 20;
	return mine.end && theirs.end && mine.start < theirs.end && theirs.start < mine.end;
}
