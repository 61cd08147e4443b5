// SPDX-License-Identifier: MIT
/* The Trace Event Format: one object a line in "traceEvents", times in microseconds. */
#include "trace.h"

#include <core/trace_format.h>
#include <inttypes.h>
#include <string.h>

static const struct {
	const char *name, *phase; /* X: with a duration; B, E: begins, ends; C: a counter */
} kinds[HMM_TRACE_KINDS] = {
	[HMM_TRACE_CPU_FAULT] = { "CPU fault", "X" },
	[HMM_TRACE_DEVICE_FAULT] = { "device fault", "X" },
	[HMM_TRACE_MIGRATE] = { "hmm_migrate", "X" },
	[HMM_TRACE_TO_DEVICE] = { "to device", "X" },
	[HMM_TRACE_TO_SYSTEM] = { "to system", "X" },
	[HMM_TRACE_EVICT] = { "evict", "X" },
	[HMM_TRACE_WRITEBACK] = { "writeback", "X" },
	[HMM_TRACE_SYNC] = { "hmm_sync", "X" },
	[HMM_TRACE_LAUNCH_BEGIN] = { "launch", "B" },
	[HMM_TRACE_LAUNCH_END] = { "launch", "E" },
	[HMM_TRACE_RESIDENT] = { "resident pages", "C" },
	[HMM_TRACE_ACROSS] = { "across", "X" },
};

static void put_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fprintf(f, "\\%c", *s);
		else if ((unsigned char)*s < ' ' || (unsigned char)*s > '~')
			fputc('?', f); /* a name may be any bytes */
		else
			fputc(*s, f);
	}
	fputc('"', f);
}

static void next(FILE *f, struct timeline_counts *c)
{
	fputs(c->lines++ ? ",\n" : "\n", f);
}

static void put_event(FILE *f, const struct hmm_trace_batch *b, const struct hmm_trace_record *r)
{
	fprintf(f, "{\"name\": \"%s", kinds[r->kind].name);
	if (r->kind == HMM_TRACE_RESIDENT)
		fprintf(f, ", device %d", r->device);
	fprintf(f,
		"\", \"cat\": \"hmm\", \"ph\": \"%s\", \"pid\": %u, \"tid\": %u, "
		"\"ts\": %" PRIu64 ".%03u",
		kinds[r->kind].phase, b->pid, b->tid, r->start / 1000,
		(unsigned int)(r->start % 1000));
	if (r->kind == HMM_TRACE_RESIDENT) {
		fprintf(f, ", \"args\": {\"pages\": %" PRIu64 "}}", r->address);
		return;
	}
	if (kinds[r->kind].phase[0] == 'X')
		fprintf(f, ", \"dur\": %" PRIu64 ".%03u", r->took / 1000,
			(unsigned int)(r->took % 1000));
	fprintf(f, ", \"args\": {\"device\": %d", r->device);
	if (r->address || r->pages)
		fprintf(f, ", \"address\": \"0x%" PRIx64 "\", \"pages\": %u", r->address, r->pages);
	fputs("}}", f);
}

static void put_name(FILE *f, const char *what, const struct hmm_trace_batch *b, const char *name)
{
	fprintf(f,
		"{\"name\": \"%s\", \"ph\": \"M\", \"pid\": %u, \"tid\": %u, "
		"\"args\": {\"name\": ",
		what, b->pid, b->tid);
	put_string(f, name);
	fputs("}}", f);
}

static void put_names(FILE *f, const struct hmm_trace_batch *b, struct timeline_counts *c)
{
	if (!b->thread[0])
		return;
	next(f, c);
	put_name(f, b->tid == b->pid ? "process_name" : "thread_name", b, b->thread);
}

/* A process that was killed may have left half a batch: what is whole is taken. */
int timeline_write(FILE *from, FILE *to, struct timeline_counts *c)
{
	struct hmm_trace_batch b;
	struct hmm_trace_record r;

	*c = (struct timeline_counts){ 0 };
	fputs("{\"displayTimeUnit\": \"ns\", \"traceEvents\": [", to);
	while (fread(&b, sizeof(b), 1, from) == 1 && b.magic == HMM_TRACE_MAGIC) {
		b.thread[sizeof(b.thread) - 1] = 0;
		c->dropped += b.dropped;
		put_names(to, &b, c);
		for (uint32_t i = 0; i < b.count && fread(&r, sizeof(r), 1, from) == 1; i++) {
			if (!r.kind || r.kind >= HMM_TRACE_KINDS)
				continue;
			c->events++;
			next(to, c);
			put_event(to, &b, &r);
		}
	}
	fprintf(to, "\n], \"otherData\": {\"dropped\": %lu}}\n", c->dropped);
	return ferror(from) || ferror(to) ? -1 : 0;
}
