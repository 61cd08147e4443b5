// SPDX-License-Identifier: MIT
/*
 * filter [IMAGE.ppm]: an image file, changed in place by a kernel. The file is mapped, its pages go
 * to the device, and hmm_sync() writes them from there: another process reads the new image while
 * every page that the kernel changed is still on the device. Without an argument it makes an image.
 */
#include "common/example.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Solarised, and each line a little darker: the kernel and the check do the same. */
#define FILTER "((v) > 127 ? 255 - (v) : (v)) * (4 - (row) % 4) / 4"
#define FILTER_OF(v, row) (((v) > 127 ? 255 - (v) : (v)) * (4 - (row) % 4) / 4)

static const char source[] = "kernel void filter(global uchar *pixel, uint width)\n"
			     "{ size_t i = get_global_id(0); uint row = i / width, v = pixel[i];\n"
			     "  pixel[i] = (uchar)(" FILTER "); }\n";

struct image {
	size_t width, height, at, bytes; /* the pixels' first byte and size, three to each */
};

static char made[300];

static const char *make_image(void)
{
	enum { WIDTH = 1024, HEIGHT = 512 };
	const char *folder = getenv("TMPDIR");
	FILE *f;
	int fd;

	snprintf(made, sizeof(made), "%s/filter-XXXXXX", folder ? folder : "/tmp");
	fd = mkstemp(made);
	f = fd < 0 ? NULL : fdopen(fd, "wb");
	example_need(f);
	fprintf(f, "P6\n%d %d\n255\n", WIDTH, HEIGHT);
	for (int y = 0; y < HEIGHT; y++)
		for (int x = 0; x < WIDTH; x++) {
			fputc(x * 255 / WIDTH, f);
			fputc(y * 255 / HEIGHT, f);
			fputc((x / 64 + y / 64) % 2 ? 200 : 60, f);
		}
	fclose(f);
	return made;
}

static bool parse(int fd, struct image *im)
{
	char head[64] = { 0 };
	struct stat st;
	int used = 0;

	if (pread(fd, head, sizeof(head) - 1, 0) < 11 || fstat(fd, &st) ||
	    sscanf(head, "P6 %zu %zu 255%n", &im->width, &im->height, &used) != 2 || !used)
		return false;
	im->at = (size_t)used + 1;
	im->bytes = im->width * im->height * 3;
	return im->width < 1u << 16 && im->height < 1u << 16 &&
	       im->at + im->bytes <= (size_t)st.st_size;
}

/* FNV-1a of the pixels, as read(2) gives them. */
static uint64_t hash(int fd, const struct image *im, bool filtered)
{
	unsigned char *p = example_need(malloc(im->bytes));
	uint64_t sum = 14695981039346656037ull;

	if (pread(fd, p, im->bytes, (off_t)im->at) != (ssize_t)im->bytes)
		return 0;
	for (size_t i = 0; i < im->bytes; i++) {
		unsigned int row = (unsigned int)(i / (im->width * 3)), v = p[i];

		sum = (sum ^ (filtered ? FILTER_OF(v, row) & 255 : v)) * 1099511628211ull;
	}
	free(p);
	return sum;
}

/* In another process: is it the image that is expected? */
static int check(const char *path, const char *expected)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct image im;
	bool good = fd >= 0 && parse(fd, &im) &&
		    hash(fd, &im, false) == strtoull(expected, NULL, 16);

	printf("  process %d reads the file: %s\n", (int)getpid(),
	       good ? "the filtered image" : "NOT the filtered image");
	return good ? 0 : 1;
}

/* Not by fork(): that brings every page home. */
static int check_elsewhere(char *self, const char *path, uint64_t expected)
{
	char value[20], mode[] = "--check", name[4096];
	char *args[] = { self, mode, name, value, NULL }, *env[] = { NULL };
	int status;
	pid_t pid;

	snprintf(value, sizeof(value), "%llx", (unsigned long long)expected);
	snprintf(name, sizeof(name), "%s", path);
	fflush(stdout);
	if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, args, env) ||
	    waitpid(pid, &status, 0) != pid)
		return 1;
	return status;
}

/* Pages of the range that are on the device. */
static long resident(struct hmm *h, const void *p, size_t bytes)
{
	size_t pages = bytes / 4096 + 2;
	struct hmm_page_status *s = example_need(calloc(pages, sizeof(*s)));
	long n = hmm_query(h, p, bytes, s), on = 0;

	for (long i = 0; i < n; i++)
		on += s[i].location >= 0;
	free(s);
	return on;
}

static void run(struct example *e, unsigned char *pixels, const struct image *im)
{
	cl_kernel filter = example_kernel(e, "filter");
	cl_uint width = (cl_uint)im->width * 3;

	CHECK(clSetKernelArgSVMPointer(filter, 0, pixels));
	CHECK(clSetKernelArg(filter, 1, sizeof(width), &width));
	CHECK(clEnqueueNDRangeKernel(e->queue, filter, 1, NULL, &im->bytes, NULL, 0, NULL, NULL));
	CHECK(clFinish(e->queue));
	clReleaseKernel(filter);
}

int main(int argc, char **argv)
{
	const char *path;
	struct image im;
	struct example e;
	uint64_t expected;
	long before, after;
	int fd, wrong;
	double start;
	void *file;

	if (argc == 4 && !strcmp(argv[1], "--check"))
		return check(argv[2], argv[3]);
	example_open(&e, source);
	path = argc > 1 ? argv[1] : make_image();
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || !parse(fd, &im)) {
		fprintf(stderr, "%s: not a PPM image of 8 bits that can be changed\n", path);
		return 1;
	}
	expected = hash(fd, &im, true);
	if (hmm_map_file(e.hmm, fd, 0, im.at + im.bytes, PROT_READ | PROT_WRITE, 0, &file)) {
		fprintf(stderr, "%s: this backend does not map it\n", path);
		return 77;
	}
	printf("Filtering %s, %zux%zu, in its file.\n", path, im.width, im.height);
	run(&e, (unsigned char *)file + im.at, &im);
	example_map(&e, "the file, after the kernel", file, im.at + im.bytes);
	before = resident(e.hmm, file, im.at + im.bytes);
	start = example_seconds();
	CHECK(hmm_sync(e.hmm, file, im.at + im.bytes, 0));
	printf("  hmm_sync(): %.1f ms\n", (example_seconds() - start) * 1e3);
	wrong = check_elsewhere(argv[0], path, expected);
	after = resident(e.hmm, file, im.at + im.bytes);
	printf("  pages on the device: %ld before hmm_sync(), %ld when it was read\n", before,
	       after);
	CHECK(hmm_unmap(e.hmm, file, im.at + im.bytes));
	close(fd);
	if (*made)
		unlink(made);
	example_close(&e);
	return wrong || !after || after != before ? 1 : 0;
}
