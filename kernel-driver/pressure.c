// SPDX-License-Identifier: GPL-2.0
/*
 * A memory cgroup is charged for its pages on a device, but its reclaim cannot see them: with
 * enough of them there it would kill for want of anything to take. So a group that is at its limit
 * gets its pages home, where they can be swapped or written. When the machine is short of
 * memory, nothing is done: pages on a device are in nobody's way.
 */
#include <linux/list_lru.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/shrinker.h>
#include <linux/slab.h>

#include "hmmdrm.h"

/*
 * The kernel asks a shrinker about a group only if something of the group's is on the shrinker's
 * list_lru: each client is, with the group that it was opened in. Frames are not: they would have
 * to be moved about with their charges.
 */
static struct list_lru client_lru;
static struct kmem_cache *client_cache;
static struct shrinker *shrinker;

struct hmmdrm_client *hmmdrm_client_alloc(void)
{
	struct hmmdrm_client *client = kmem_cache_alloc_lru(client_cache, &client_lru, GFP_KERNEL);

	if (!client)
		return NULL;
	memset(client, 0, sizeof(*client));
	INIT_LIST_HEAD(&client->group);
	list_lru_add_obj(&client_lru, &client->group);
	return client;
}

void hmmdrm_client_free(struct hmmdrm_client *client)
{
	list_lru_del_obj(&client_lru, &client->group);
	kmem_cache_free(client_cache, client);
}

#ifdef CONFIG_MEMCG
#define NEARLY HMMDRM_BATCH /* pages below the limit */

static bool at_limit(struct mem_cgroup *memcg)
{
	for (; memcg && parent_mem_cgroup(memcg); memcg = parent_mem_cgroup(memcg)) {
		unsigned long used = page_counter_read(&memcg->memory);
		unsigned long most = min(READ_ONCE(memcg->memory.max),
					 READ_ONCE(memcg->memory.high));

		if (used + NEARLY >= most)
			return true;
	}
	return false;
}

static unsigned long count(struct shrinker *s, struct shrink_control *sc)
{
	unsigned long n = 0;

	if (!sc->memcg || !at_limit(sc->memcg))
		return 0;
	for (unsigned int i = 0; i < hmmdrm_devices; i++)
		n += hmmdrm_frames_resident(hmmdrm_device_get(i));
	return n;
}

static unsigned long scan(struct shrinker *s, struct shrink_control *sc)
{
	bool files = (sc->gfp_mask & (__GFP_FS | __GFP_IO)) == (__GFP_FS | __GFP_IO);
	unsigned long gone = 0;

	if (!sc->memcg)
		return SHRINK_STOP;
	for (unsigned int i = 0; i < hmmdrm_devices && gone < sc->nr_to_scan; i++)
		gone += hmmdrm_evict_group(hmmdrm_device_get(i), sc->memcg, sc->nr_to_scan - gone,
					   files);
	return gone ? gone : SHRINK_STOP;
}
#else
static unsigned long count(struct shrinker *s, struct shrink_control *sc)
{
	return 0;
}

static unsigned long scan(struct shrinker *s, struct shrink_control *sc)
{
	return SHRINK_STOP;
}
#endif

int hmmdrm_pressure_init(void)
{
	int err = -ENOMEM;

	client_cache = KMEM_CACHE(hmmdrm_client, SLAB_ACCOUNT);
	if (!client_cache)
		return err;
	shrinker = shrinker_alloc(SHRINKER_MEMCG_AWARE | SHRINKER_NONSLAB, "hmm_drm");
	if (!shrinker)
		goto cache;
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	shrinker->seeks = DEFAULT_SEEKS;
	err = list_lru_init_memcg(&client_lru, shrinker);
	if (err)
		goto shrinker;
	shrinker_register(shrinker);
	return 0;
shrinker:
	shrinker_free(shrinker);
cache:
	kmem_cache_destroy(client_cache);
	return err;
}

void hmmdrm_pressure_exit(void)
{
	shrinker_free(shrinker);
	list_lru_destroy(&client_lru);
	kmem_cache_destroy(client_cache);
}
