// SPDX-License-Identifier: MIT
/* Handles, devices and counters; options and environment. */
#include "core/block.h"
#include "core/process.h"
#include "os/log.h"

#include <errno.h>
#include <hmm/hmm.h>
#include <stdlib.h>
#include <string.h>

#define HMM_EXPORT __attribute__((visibility("default")))
#define DEFAULT_BYTES (256ull << 20)

/* A caller built against a later header may pass more, as long as it is zero. */
static int read_opts(struct hmm_open_opts *to, const struct hmm_open_opts *from)
{
	const unsigned char *bytes = (const unsigned char *)from;

	*to = (struct hmm_open_opts){ 0 };
	if (!from)
		return 0;
	if (from->sz < offsetof(struct hmm_open_opts, backend) + sizeof(from->backend))
		return -EINVAL;
	for (size_t i = sizeof(*to); i < from->sz; i++)
		if (bytes[i])
			return -E2BIG;
	memcpy(to, from, from->sz < sizeof(*to) ? from->sz : sizeof(*to));
	return to->flags & ~HMM_OPEN_NO_MOVE ? -EINVAL : 0;
}

/* A whole number, with K, M or G behind it; 0 when unset. */
static int number_from_env(const char *name, uint64_t *value)
{
	static const char units[] = "KMG";
	const char *text = secure_getenv(name), *unit;
	unsigned int shift = 0;
	char *end;

	if (!text || !*text)
		return 0;
	errno = 0;
	*value = strtoull(text, &end, 0);
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		shift = 10 * (unsigned int)(unit - units + 1);
		end++;
	}
	if (*end || strchr(text, '-') || errno || *value > UINT64_MAX >> shift) {
		hmm_log(HMM_LOG_ERROR, "%s=%s is not a number", name, text);
		return -EINVAL;
	}
	*value <<= shift;
	return 0;
}

/* HMM_MIGRATE: what may move pages to a device. */
static int read_policy(enum hmm_policy *policy)
{
	static const char *const names[] = {
		[HMM_POLICY_FAULT] = "fault",
		[HMM_POLICY_EXPLICIT] = "explicit",
		[HMM_POLICY_OFF] = "off",
	};
	const char *text = secure_getenv("HMM_MIGRATE");

	*policy = HMM_POLICY_FAULT;
	if (!text || !*text)
		return 0;
	for (unsigned int i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(text, names[i]))
			continue;
		*policy = (enum hmm_policy)i;
		return 0;
	}
	hmm_log(HMM_LOG_ERROR, "HMM_MIGRATE=%s is not off, explicit or fault", text);
	return -EINVAL;
}

static int configure(struct hmm_config *c, const struct hmm_open_opts *o)
{
	uint64_t devices = o->devices, bytes = o->device_bytes;
	int err = 0;

	if (!devices)
		err = number_from_env("HMM_EMULATED_DEVICES", &devices);
	if (!err && !bytes)
		err = number_from_env("HMM_EMULATED_BYTES", &bytes);
	if (err)
		return err;
	if (!devices)
		devices = 1;
	if (!bytes)
		bytes = DEFAULT_BYTES;
	if (devices > HMM_MAX_DEVICES || bytes % HMM_BLOCK_BYTES) {
		hmm_log(HMM_LOG_ERROR, "%lu devices of %lu bytes: at most %d, of whole 2 MiB",
			(unsigned long)devices, (unsigned long)bytes, HMM_MAX_DEVICES);
		return -EINVAL;
	}
	*c = (struct hmm_config){ (unsigned int)devices, bytes, o->flags & HMM_OPEN_NO_MOVE,
				  HMM_POLICY_FAULT };
	if (secure_getenv("HMM_EMULATED_NO_MOVE"))
		c->no_move = true;
	return read_policy(&c->policy);
}

HMM_EXPORT int hmm_open(struct hmm **out, const struct hmm_open_opts *opts)
{
	struct hmm_open_opts o;
	struct hmm_config c;
	const char *backend;
	int err;

	if (!out)
		return -EINVAL;
	err = read_opts(&o, opts);
	if (err)
		return err;
	err = configure(&c, &o);
	if (err)
		return err;
	backend = o.backend ? o.backend : secure_getenv("HMM_BACKEND");
	return hmm_process_open(out, backend && *backend ? backend : NULL, &c);
}

HMM_EXPORT void hmm_close(struct hmm *h)
{
	hmm_process_close(h);
}

HMM_EXPORT int hmm_device_count(struct hmm *h)
{
	int err;
	const struct hmm_backend_ops *ops = hmm_backend_of(h, &err);

	return ops ? (int)ops->device_count() : err;
}

HMM_EXPORT int hmm_device_info(struct hmm *h, int device, struct hmm_device_info *info)
{
	int err;
	const struct hmm_backend_ops *ops = hmm_backend_of(h, &err);

	if (!ops)
		return err;
	if (!info || device < 0 || (unsigned int)device >= ops->device_count())
		return -EINVAL;
	ops->device_info((unsigned int)device, info);
	return 0;
}

static void add(struct hmm_stats *sum, const struct hmm_stats *s)
{
	sum->pages_to_device += s->pages_to_device;
	sum->pages_to_system += s->pages_to_system;
	sum->cpu_faults += s->cpu_faults;
	sum->device_faults += s->device_faults;
	sum->pages_evicted += s->pages_evicted;
	sum->pages_remote += s->pages_remote;
	sum->launches += s->launches;
	sum->invalid_faults += s->invalid_faults;
	sum->resident_pages += s->resident_pages;
	sum->pages_across += s->pages_across;
}

HMM_EXPORT int hmm_stats(struct hmm *h, int device, struct hmm_stats *stats)
{
	struct hmm_stats sum = { 0 };
	int err;
	const struct hmm_backend_ops *ops = hmm_backend_of(h, &err);

	if (!ops)
		return err;
	if (!stats || stats->sz < sizeof(stats->sz) ||
	    (device >= 0 && (unsigned int)device >= ops->device_count()))
		return -EINVAL;
	for (unsigned int d = 0; d < ops->device_count(); d++) {
		struct hmm_stats s = { 0 };

		if (device >= 0 && (unsigned int)device != d)
			continue;
		ops->stats(d, &s);
		add(&sum, &s);
	}
	sum.sz = stats->sz < sizeof(sum) ? stats->sz : sizeof(sum);
	memcpy(stats, &sum, sum.sz);
	return 0;
}
