// SPDX-License-Identifier: MIT
/*
 * Where the pages of a range are, over time, as a picture: time to the right, addresses
 * downwards.
 */
#include "common/example.h"

#include <png.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define ROWS 256         /* of pages */
#define COLUMNS 8192     /* of samples */
#define WIDTH 960
#define MARGIN 8
#define HEIGHT (ROWS + 2 * MARGIN)
#define PLOT (WIDTH - 2 * MARGIN)

struct residency {
	struct hmm *hmm;
	const void *start;
	size_t bytes, pages;
	pthread_t thread;
	_Atomic int stop;
	double begin;
	unsigned int samples;
	float when[COLUMNS];               /* seconds since @begin */
	unsigned char cell[COLUMNS][ROWS]; /* 0 untouched, 1 system, 2 device */
};

static void sample(struct residency *r, struct hmm_page_status *s)
{
	unsigned char *column = r->cell[r->samples];

	r->when[r->samples] = (float)(example_seconds() - r->begin);
	if (hmm_query(r->hmm, r->start, r->bytes, s) < 0)
		return;
	/* A row stands for many pages, or a page for many rows: row by row covers both. */
	for (size_t row = 0; row < ROWS; row++) {
		size_t i = row * r->pages / ROWS, end = (row + 1) * r->pages / ROWS;

		do {
			unsigned char is = s[i].location >= 0		? 2 :
					   s[i].location == HMM_SYSTEM ? 1 : 0;

			if (is > column[row])
				column[row] = is;
		} while (++i < end);
	}
	r->samples++;
}

static void *sampler(void *arg)
{
	struct residency *r = arg;
	struct hmm_page_status *s = calloc(r->pages + 1, sizeof(*s));

	while (s && !atomic_load(&r->stop) && r->samples < COLUMNS) {
		sample(r, s);
		usleep(2000);
	}
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

static const unsigned char colours[3][3] = {
	{ 245, 245, 245 }, { 120, 144, 168 }, { 216, 96, 32 }
};

/* Column by column: the newest sample at its time. Returns seconds between ticks. */
static double draw(const struct residency *r, unsigned char (*image)[WIDTH][3])
{
	double end = r->when[r->samples - 1], tick = end > 10 ? 5 : end > 2 ? 1 : 0.1;
	unsigned int at = 0;
	int last = -1;

	memset(image, 255, sizeof(*image) * HEIGHT);
	for (int x = 0; x < PLOT; x++) {
		double t = end * x / PLOT;

		while (at + 1 < r->samples && r->when[at + 1] <= t)
			at++;
		for (int y = 0; y < ROWS; y++)
			memcpy(image[MARGIN + y][MARGIN + x], colours[r->cell[at][y]], 3);
		for (int y = 0; (int)(t / tick) != last && y < MARGIN - 2; y++)
			memset(image[MARGIN + ROWS + y][MARGIN + x], 0, 3);
		last = (int)(t / tick);
	}
	return tick;
}

static int write_png(const struct residency *r, const char *path)
{
	unsigned char (*image)[WIDTH][3] = example_need(malloc(sizeof(*image) * HEIGHT));
	png_image png = { .version = PNG_IMAGE_VERSION, .width = WIDTH, .height = HEIGHT,
			  .format = PNG_FORMAT_RGB };
	double tick = draw(r, image);
	int ok = png_image_write_to_file(&png, path, 0, image, 0, NULL);

	if (ok)
		printf("  residency over time: %s (%u samples; orange: device, blue: system, a "
		       "tick: %g s)\n", path, r->samples, tick);
	else
		fprintf(stderr, "%s: %s\n", path, png.message);
	free(image);
	return ok ? 0 : -1;
}

int residency_stop(struct residency *r, const char *path)
{
	int err = 0;

	if (!r)
		return path ? -1 : 0;
	atomic_store(&r->stop, 1);
	pthread_join(r->thread, NULL);
	if (path && r->samples)
		err = write_png(r, path);
	else if (path)
		err = -1;
	free(r);
	return err;
}
