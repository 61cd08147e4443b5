// SPDX-License-Identifier: MIT
#include "common/image.h"
#include "common/example.h"

#include <png.h>

int image_read(struct image *im, const char *path)
{
	png_image png = { .version = PNG_IMAGE_VERSION };
	const png_color white = { 255, 255, 255 };

	if (!png_image_begin_read_from_file(&png, path)) {
		fprintf(stderr, "%s: %s\n", path, png.message);
		return -1;
	}
	png.format = PNG_FORMAT_RGB;
	im->width = png.width;
	im->height = png.height;
	im->pixels = example_need(malloc(PNG_IMAGE_SIZE(png)));
	if (png_image_finish_read(&png, &white, im->pixels, 0, NULL))
		return 0;
	fprintf(stderr, "%s: %s\n", path, png.message);
	free(im->pixels);
	return -1;
}

int image_write(const struct image *im, const char *path)
{
	png_image png = { .version = PNG_IMAGE_VERSION,
			  .width = (png_uint_32)im->width,
			  .height = (png_uint_32)im->height,
			  .format = PNG_FORMAT_RGB };

	if (png_image_write_to_file(&png, path, 0, im->pixels, 0, NULL))
		return 0;
	fprintf(stderr, "%s: %s\n", path, png.message);
	return -1;
}

/* The height of hill @k at @x: straight lines between points a stretch apart. */
static int hill(int k, int x)
{
	const int stretch = 150 - 35 * k;
	int i = x / stretch, from = (i * 73 + k * 41) % 97, to = ((i + 1) * 73 + k * 41) % 97;

	return 300 - 90 * k + (from + (to - from) * (x % stretch) / stretch);
}

void image_make(struct image *im)
{
	enum { WIDTH = 1024, HEIGHT = 512, HILLS = 3 };
	static const unsigned char colour[HILLS][3] = { { 96, 128, 160 }, /* far away */
							{ 64, 112, 96 },
							{ 40, 72, 40 } };
	unsigned char *p;

	*im = (struct image){ WIDTH, HEIGHT, example_need(malloc(3ul * WIDTH * HEIGHT)) };
	p = im->pixels;
	for (int y = 0; y < HEIGHT; y++)
		for (int x = 0; x < WIDTH; x++, p += 3) {
			int sun = (x - 760) * (x - 760) + (y - 90) * (y - 90);

			p[0] = (unsigned char)(sun < 2500 ? 255 : 120 + y / 4);
			p[1] = (unsigned char)(sun < 2500 ? 220 : 160 + y / 6);
			p[2] = (unsigned char)(sun < 2500 ? 120 : 235);
			for (int k = 0; k < HILLS; k++)
				if (HEIGHT - y < hill(k, x))
					for (int c = 0; c < 3; c++)
						p[c] = colour[k][c];
		}
}
