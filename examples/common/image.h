/* SPDX-License-Identifier: MIT */
/* Pictures: rows of pixels, three bytes each. Libpng reads and writes them. */
#ifndef HMM_EXAMPLES_IMAGE_H
#define HMM_EXAMPLES_IMAGE_H

#include <stddef.h>

struct image {
	size_t width, height;
	unsigned char *pixels;
};

static inline size_t image_bytes(const struct image *im)
{
	return im->width * im->height * 3;
}

/* 0, or -1 with a message on stderr. What was read or made is free()d by the caller. */
int image_read(struct image *im, const char *path);
int image_write(const struct image *im, const char *path);
/* A picture for who has none: hills under a sky. */
void image_make(struct image *im);

#endif /* HMM_EXAMPLES_IMAGE_H */
