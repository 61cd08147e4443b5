// SPDX-License-Identifier: MIT
/* Samples where the pages of a range are, for a picture of it over time. */
#include "common/example.h"
#include "tools/picture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

struct residency {
	struct hmm *hmm;
	const void *start;
	size_t bytes, pages;
	pthread_t thread;
	_Atomic int stop;
	double begin;
	struct picture picture;
};

static void sample(struct residency *r, struct hmm_page_status *s, unsigned char *place)
{
	struct picture *p = &r->picture;

	p->when[p->samples] = (float)(example_seconds() - r->begin);
	if (hmm_query(r->hmm, r->start, r->bytes, s) < 0)
		return;
	for (size_t i = 0; i < r->pages; i++)
		place[i] = (unsigned char)picture_place(s[i].location);
	picture_reduce(p->cell[p->samples++], PICTURE_ROWS, place, r->pages);
}

static void *sampler(void *arg)
{
	struct residency *r = arg;
	struct hmm_page_status *s = calloc(r->pages + 1, sizeof(*s));
	unsigned char *place = calloc(r->pages + 1, 1);

	while (s && place && !atomic_load(&r->stop) && r->picture.samples < PICTURE_COLUMNS) {
		sample(r, s, place);
		usleep(2000);
	}
	free(place);
	free(s);
	return NULL;
}

struct residency *residency_start(struct hmm *h, const void *p, size_t bytes)
{
	struct residency *r = example_need(calloc(1, sizeof(*r)));

	r->hmm = h;
	r->start = p;
	r->bytes = bytes;
	r->pages = ((uintptr_t)p % 4096 + bytes + 4095) / 4096;
	r->begin = example_seconds();
	if (pthread_create(&r->thread, NULL, sampler, r)) {
		free(r);
		return NULL;
	}
	return r;
}

int residency_stop(struct residency *r, const char *path)
{
	int err = 0;

	if (!r)
		return path ? -1 : 0;
	atomic_store(&r->stop, 1);
	pthread_join(r->thread, NULL);
	if (path)
		err = picture_write(&r->picture, path);
	free(r);
	return err;
}
