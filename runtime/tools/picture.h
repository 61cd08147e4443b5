/* SPDX-License-Identifier: MIT */
/* Where pages are: as a line of text, and over time as a PNG. Used by hmmctl and the examples. */
#ifndef HMM_TOOLS_PICTURE_H
#define HMM_TOOLS_PICTURE_H

#include <stddef.h>
#include <stdint.h>

#define PICTURE_ROWS 256     /* of pages */
#define PICTURE_COLUMNS 8192 /* of samples */

enum picture_place { PICTURE_NOWHERE, PICTURE_SYSTEM, PICTURE_DEVICE };

/* A hmm_page_status.location. */
enum picture_place picture_place(int32_t location);

/*
 * @pages places into @cells: a cell stands for many pages, or a page for many cells; of the
 * pages of a cell the one on the device shows best. Into @cell, where what is there already
 * shows better still.
 */
void picture_reduce(unsigned char *cell, size_t cells, const unsigned char *place, size_t pages);

/* '#' on the device, '.' in system memory, ' ' untouched; @line has room for a 0. */
void picture_line(char *line, size_t cells, const unsigned char *place, size_t pages);

/* Time to the right, addresses downwards. */
struct picture {
	unsigned int samples;
	float when[PICTURE_COLUMNS]; /* seconds since the beginning */
	unsigned char cell[PICTURE_COLUMNS][PICTURE_ROWS];
};

/* 0, or -1, having said why. Prints what the picture shows. */
int picture_write(const struct picture *p, const char *path);

#endif /* HMM_TOOLS_PICTURE_H */
