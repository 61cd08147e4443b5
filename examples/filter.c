// SPDX-License-Identifier: MIT
/*
 * filter [--png FOLDER] [PICTURE.png]: an image file, changed in place by a kernel. The file (of
 * PICTURE, as plain pixels; PICTURE stays as it is) is mapped, its pages go to the device, and
 * hmm_sync() writes them from there: another process reads the new image while every page that the
 * kernel changed is still on the device. --png: the image as it was and as that process reads it,
 * in FOLDER.
 */
#include "common/example.h"
#include "common/image.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Solarised, and each line a little darker: the kernel and the check do the same. */
#define FILTER "((v) > 127 ? 255 - (v) : (v)) * (4 - (row) % 4) / 2"
#define FILTER_OF(v, row) (((v) > 127 ? 255 - (v) : (v)) * (4 - (row) % 4) / 2)

static const char source[] = "kernel void filter(global uchar *pixel, uint width)\n"
			     "{ size_t i = get_global_id(0); uint row = i / width, v = pixel[i];\n"
			     "  pixel[i] = (uchar)(" FILTER "); }\n";

/* FNV-1a of the pixels. */
static uint64_t hash(const struct image *im, bool filtered)
{
	uint64_t sum = 14695981039346656037ull;

	for (size_t i = 0; i < image_bytes(im); i++) {
		unsigned int row = (unsigned int)(i / (im->width * 3)), v = im->pixels[i];

		sum = (sum ^ (filtered ? FILTER_OF(v, row) & 255 : v)) * 1099511628211ull;
	}
	return sum;
}

/* In another process: is it the image that is expected? args: file, width, height, hash, PNG. */
static int check(char **args)
{
	struct image im = { .width = strtoul(args[1], NULL, 10),
			    .height = strtoul(args[2], NULL, 10) };
	int fd = open(args[0], O_RDONLY | O_CLOEXEC);
	bool good;

	im.pixels = example_need(malloc(image_bytes(&im)));
	good = read(fd, im.pixels, image_bytes(&im)) == (ssize_t)image_bytes(&im) &&
	       hash(&im, false) == strtoull(args[3], NULL, 16);
	printf("  process %d reads the file: %s\n", (int)getpid(),
	       good ? "the filtered image" : "NOT the filtered image");
	if (good && *args[4])
		good = !image_write(&im, args[4]);
	free(im.pixels);
	close(fd);
	return good ? 0 : 1;
}

static int check_elsewhere(char *file, const struct image *im, const char *folder)
{
	char width[24], height[24], sum[24], png[4096] = "";
	char *args[] = { "filter", "--check", file, width, height, sum, png, NULL };

	snprintf(width, sizeof(width), "%zu", im->width);
	snprintf(height, sizeof(height), "%zu", im->height);
	snprintf(sum, sizeof(sum), "%llx", (unsigned long long)hash(im, true));
	if (folder)
		snprintf(png, sizeof(png), "%s/filter-after.png", folder);
	return example_again(args);
}

static void run(struct example *e, unsigned char *pixels, const struct image *im)
{
	size_t n = image_bytes(im);
	cl_kernel filter = example_kernel(e, "filter");
	cl_uint width = (cl_uint)im->width * 3;

	CHECK(clSetKernelArgSVMPointer(filter, 0, pixels));
	CHECK(clSetKernelArg(filter, 1, sizeof(width), &width));
	CHECK(clEnqueueNDRangeKernel(e->queue, filter, 1, NULL, &n, NULL, 0, NULL, NULL));
	CHECK(clFinish(e->queue));
	clReleaseKernel(filter);
}

/* 0: the other process has read the filtered image, and no page came home for it. */
static int filter_file(struct example *e, int fd, char *path, const struct image *im,
		       const char *folder)
{
	size_t n = image_bytes(im);
	long before, after;
	double start;
	void *file;
	int wrong;

	if (hmm_map_file(e->hmm, fd, 0, n, PROT_READ | PROT_WRITE, 0, &file)) {
		fprintf(stderr, "%s: this backend does not map it\n", path);
		return 77;
	}
	run(e, file, im);
	example_map(e, "the file, after the kernel", file, n);
	before = example_resident(e, file, n);
	start = example_seconds();
	CHECK(hmm_sync(e->hmm, file, n, 0));
	printf("  hmm_sync(): %.1f ms\n", (example_seconds() - start) * 1e3);
	wrong = check_elsewhere(path, im, folder);
	after = example_resident(e, file, n);
	printf("  pages on the device: %ld before hmm_sync(), %ld when it was read\n", before,
	       after);
	CHECK(hmm_unmap(e->hmm, file, n));
	return wrong || !after || after != before ? 1 : 0;
}

int main(int argc, char **argv)
{
	const char *folder = NULL, *picture = NULL;
	char path[300], png[4096];
	struct image im;
	struct example e;
	int fd, status;

	if (argc == 7 && !strcmp(argv[1], "--check"))
		return check(argv + 2);
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--png") && i + 1 < argc)
			folder = argv[++i];
		else
			picture = argv[i];
	if (!picture)
		image_make(&im);
	else if (image_read(&im, picture))
		return 1;
	snprintf(png, sizeof(png), "%s/filter-before.png", folder ? folder : "");
	if (folder && image_write(&im, png))
		return 1;
	example_open(&e, source);
	fd = example_file("filter", path, sizeof(path));
	if (write(fd, im.pixels, image_bytes(&im)) != (ssize_t)image_bytes(&im)) {
		perror(path);
		return 1;
	}
	printf("Filtering %s, %zux%zu, in its file.\n", picture ? picture : "a picture", im.width,
	       im.height);
	status = filter_file(&e, fd, path, &im, folder);
	close(fd);
	unlink(path);
	free(im.pixels);
	example_close(&e);
	return status;
}
