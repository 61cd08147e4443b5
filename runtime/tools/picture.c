// SPDX-License-Identifier: MIT
#include "picture.h"

#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 960
#define MARGIN 8
#define HEIGHT (PICTURE_ROWS + 2 * MARGIN)
#define PLOT (WIDTH - 2 * MARGIN)

enum picture_place picture_place(int32_t location)
{
	return location >= 0 ? PICTURE_DEVICE : location == -1 ? PICTURE_SYSTEM : PICTURE_NOWHERE;
}

void picture_reduce(unsigned char *cell, size_t cells, const unsigned char *place, size_t pages)
{
	for (size_t c = 0; c < cells; c++) {
		size_t i = c * pages / cells, end = (c + 1) * pages / cells;

		do {
			if (place[i] > cell[c])
				cell[c] = place[i];
		} while (++i < end);
	}
}

void picture_line(char *line, size_t cells, const unsigned char *place, size_t pages)
{
	memset(line, 0, cells + 1);
	picture_reduce((unsigned char *)line, cells, place, pages);
	for (size_t c = 0; c < cells; c++)
		line[c] = " .#"[(unsigned char)line[c]];
}

static const unsigned char colours[3][3] = { { 245, 245, 245 },
					     { 120, 144, 168 },
					     { 216, 96, 32 } };

/* Column by column: the newest sample at its time. Returns seconds between ticks. */
static double draw(const struct picture *p, unsigned char (*image)[WIDTH][3])
{
	double end = p->when[p->samples - 1], tick = end > 10 ? 5 : end > 2 ? 1 : 0.1;
	unsigned int at = 0;
	int last = -1;

	memset(image, 255, sizeof(*image) * HEIGHT);
	for (int x = 0; x < PLOT; x++) {
		double t = end * x / PLOT;

		while (at + 1 < p->samples && p->when[at + 1] <= t)
			at++;
		for (int y = 0; y < PICTURE_ROWS; y++)
			memcpy(image[MARGIN + y][MARGIN + x], colours[p->cell[at][y]], 3);
		for (int y = 0; (int)(t / tick) != last && y < MARGIN - 2; y++)
			memset(image[MARGIN + PICTURE_ROWS + y][MARGIN + x], 0, 3);
		last = (int)(t / tick);
	}
	return tick;
}

int picture_write(const struct picture *p, const char *path)
{
	unsigned char(*image)[WIDTH][3] = malloc(sizeof(*image) * HEIGHT);
	png_image png = { .version = PNG_IMAGE_VERSION,
			  .width = WIDTH,
			  .height = HEIGHT,
			  .format = PNG_FORMAT_RGB };
	double tick;
	int ok;

	if (!image || !p->samples) {
		fprintf(stderr, "%s: nothing to draw\n", path);
		free(image);
		return -1;
	}
	tick = draw(p, image);
	ok = png_image_write_to_file(&png, path, 0, image, 0, NULL);
	if (ok)
		printf("  residency over time: %s (%u samples; orange: device, blue: system, a "
		       "tick: %g s)\n",
		       path, p->samples, tick);
	else
		fprintf(stderr, "%s: %s\n", path, png.message);
	free(image);
	return ok ? 0 : -1;
}
