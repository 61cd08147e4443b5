// SPDX-License-Identifier: MIT
/* Where the pages of a range are, over time, as a picture: time to the right. */
#include "common/example.h"

#include <png.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define ROWS 256         /* of pages */
#define COLUMNS 4096     /* of samples */
#define WIDTH 960
#define MARGIN 8

struct residency {
	struct hmm *hmm;
	const void *start;
	size_t bytes, pages;
	pthread_t thread;
	_Atomic int stop;
	unsigned int samples;
	unsigned char cell[COLUMNS][ROWS]; /* 0 untouched, 1 system, 2 device */
};

static void sample(struct residency *r, struct hmm_page_status *s)
{
	unsigned char *column = r->cell[r->samples];

	if (hmm_query(r->hmm, r->start, r->bytes, s) < 0)
		return;
	for (size_t i = 0; i < r->pages; i++) {
		unsigned char *c = &column[i * ROWS / r->pages];
		unsigned char is = s[i].location >= 0 ? 2 : s[i].location == HMM_SYSTEM ? 1 : 0;

		if (is > *c)
			*c = is;
	}
	r->samples++;
}

static void *sampler(void *arg)
{
	struct residency *r = arg;
	struct hmm_page_status *s = calloc(r->pages, sizeof(*s));

	while (s && !atomic_load(&r->stop) && r->samples < COLUMNS) {
		sample(r, s);
		usleep(2000);
	}
	free(s);
	return NULL;
}

struct residency *residency_start(struct hmm *h, const void *p, size_t bytes)
{
	struct residency *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->hmm = h;
	r->start = p;
	r->bytes = bytes;
	r->pages = bytes / 4096;
	if (pthread_create(&r->thread, NULL, sampler, r)) {
		free(r);
		return NULL;
	}
	return r;
}

static const png_byte colours[3][3] = { { 245, 245, 245 }, { 120, 144, 168 }, { 216, 96, 32 } };

static void draw(const struct residency *r, png_structp png)
{
	png_byte line[WIDTH * 3];

	for (int y = 0; y < ROWS + 2 * MARGIN; y++) {
		memset(line, 255, sizeof(line));
		for (int x = MARGIN; x < WIDTH - MARGIN && r->samples; x++) {
			size_t at = (size_t)(x - MARGIN) * r->samples / (WIDTH - 2 * MARGIN);
			int row = y - MARGIN;

			if (row >= 0 && row < ROWS)
				memcpy(&line[x * 3], colours[r->cell[at][row]], 3);
		}
		png_write_row(png, line);
	}
}

void residency_stop(struct residency *r, const char *path)
{
	FILE *f = path ? fopen(path, "wbe") : NULL;
	png_structp png;
	png_infop info;

	if (!r)
		return;
	atomic_store(&r->stop, 1);
	pthread_join(r->thread, NULL);
	if (f) {
		png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
		info = png_create_info_struct(png);
		png_init_io(png, f);
		png_set_IHDR(png, info, WIDTH, ROWS + 2 * MARGIN, 8, PNG_COLOR_TYPE_RGB,
			     PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
			     PNG_FILTER_TYPE_DEFAULT);
		png_write_info(png, info);
		draw(r, png);
		png_write_end(png, NULL);
		png_destroy_write_struct(&png, &info);
		fclose(f);
		printf("  residency over time: %s (%u samples; orange: device, blue: system)\n",
		       path, r->samples);
	}
	free(r);
}
