// SPDX-License-Identifier: GPL-2.0
/*
 * A client is an address space that devices mirror. One interval notifier covers all of it:
 * before the CPU's page table changes, what changes is taken out of every engine's.
 */
#include <drm/drm_device.h>
#include <drm/drm_file.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>

#include "hmmdrm.h"

static DEFINE_MUTEX(hmmdrm_mms_lock);
static LIST_HEAD(clients);
static LIST_HEAD(engines);

/*
 * What a device has taken from the CPU has only its protection changed, or is passed over. Not so
 * MMU_NOTIFY_PROTECTION_PAGE: fork() gives it back to the CPU, and then shares it.
 */
static bool stays_exclusive(const struct mmu_notifier_range *range)
{
	return range->event == MMU_NOTIFY_PROTECTION_VMA || range->event == MMU_NOTIFY_SOFT_DIRTY ||
	       range->event == MMU_NOTIFY_MIGRATE;
}

/*
 * The interval is the whole address space, whose sequence changes with every page that goes home
 * or is evicted anywhere. A fault that looked at that would start again and again. Locking:
 * client->lock.
 */
static void note_change(struct hmmdrm_client *client, unsigned long start, unsigned long end)
{
	unsigned long n = client->nr_changes;

	client->change[n % HMMDRM_CHANGES].start = start;
	client->change[n % HMMDRM_CHANGES].end = end;
	WRITE_ONCE(client->nr_changes, n + 1);
}

bool hmmdrm_client_changed(const struct hmmdrm_client *client, unsigned long since,
			   unsigned long start, unsigned long end)
{
	lockdep_assert_held(&client->lock);
	if (client->nr_changes - since > HMMDRM_CHANGES)
		return true;
	for (; since != client->nr_changes; since++)
		if (start < client->change[since % HMMDRM_CHANGES].end &&
		    client->change[since % HMMDRM_CHANGES].start < end)
			return true;
	return false;
}

/*
 * A change is noted under client->lock, which an engine's fault holds while it looks at the notes
 * and makes its entry: an entry is either seen here, or not made.
 */
static bool invalidate(struct mmu_interval_notifier *mni, const struct mmu_notifier_range *range,
		       unsigned long seq)
{
	struct hmmdrm_client *client = container_of(mni, struct hmmdrm_client, notifier);
	struct hmmdrm_engine *engine;

	/* An engine's fault takes a page from the CPU; it has no entry yet. */
	if (range->event == MMU_NOTIFY_EXCLUSIVE && range->owner == client)
		return true;
	if (mmu_notifier_range_blockable(range))
		mutex_lock(&client->lock);
	else if (!mutex_trylock(&client->lock))
		return false;
	mmu_interval_set_seq(mni, seq);
	note_change(client, range->start, range->end);
	hmmdrm_remote_forget(client, range->start, range->end, stays_exclusive(range));
	if (!(hmmdrm_skip_fence & HMMDRM_SKIP_REVOKE))
		list_for_each_entry (engine, &client->engines, link)
			hmmdrm_engine_zap(engine, range->start, range->end);
	mutex_unlock(&client->lock);
	return true;
}

static const struct mmu_interval_notifier_ops notifier_ops = { .invalidate = invalidate };

static bool is_engine(const struct mm_struct *mm)
{
	struct hmmdrm_engine *engine;

	list_for_each_entry (engine, &engines, node)
		if (engine->mm == mm)
			return true;
	return false;
}

static bool is_client(const struct mm_struct *mm)
{
	struct hmmdrm_client *client;

	list_for_each_entry (client, &clients, node)
		if (client->mm == mm)
			return true;
	return false;
}

int hmmdrm_client_open(struct drm_device *drm, struct drm_file *file)
{
	struct mm_struct *mm = current->mm;
	struct hmmdrm_client *client;
	int err;

	if (!mm)
		return -EINVAL;
	client = hmmdrm_client_alloc();
	if (!client)
		return -ENOMEM;
	kref_init(&client->ref);
	kref_init(&client->users);
	mutex_init(&client->lock);
	INIT_LIST_HEAD(&client->engines);
	xa_init_flags(&client->remote, XA_FLAGS_ACCOUNT);
	xa_init_flags(&client->refused, XA_FLAGS_ACCOUNT);
	client->mm = mm;
	err = mmu_interval_notifier_insert(&client->notifier, mm, 0, TASK_SIZE_MAX, &notifier_ops);
	if (err) {
		hmmdrm_client_free(client);
		return err;
	}
	mmgrab(mm);
	mutex_lock(&hmmdrm_mms_lock);
	if (is_engine(mm))
		err = -EPERM;
	list_add(&client->node, &clients);
	mutex_unlock(&hmmdrm_mms_lock);
	if (err)
		hmmdrm_client_close(client);
	else
		file->driver_priv = client;
	return err;
}

static void client_release(struct kref *ref)
{
	hmmdrm_client_free(container_of(ref, struct hmmdrm_client, ref));
}

void hmmdrm_client_put(struct hmmdrm_client *client)
{
	kref_put(&client->ref, client_release);
}

/*
 * Nobody uses it any more: it mirrors nothing. Frames of files may know its engines yet, and so
 * hold its memory, but no more: they are revoked from within reclaim, or an invalidation.
 * Locking: hmmdrm_mms_lock, which is let go of: nobody finds a client that goes.
 */
static void client_unused(struct kref *users)
{
	struct hmmdrm_client *client = container_of(users, struct hmmdrm_client, users);
	bool last;

	list_del(&client->node);
	last = list_empty(&clients);
	mutex_unlock(&hmmdrm_mms_lock);
	mmu_interval_notifier_remove(&client->notifier);
	xa_destroy(&client->remote);
	xa_destroy(&client->refused);
	mmdrop(client->mm);
	hmmdrm_client_put(client);
	if (last)
		hmmdrm_evict_all();
}

void hmmdrm_client_close(struct hmmdrm_client *client)
{
	kref_put_mutex(&client->users, client_unused, &hmmdrm_mms_lock);
}

void hmmdrm_client_postclose(struct drm_device *drm, struct drm_file *file)
{
	hmmdrm_client_close(file->driver_priv);
}

struct hmmdrm_client *hmmdrm_client_of(struct drm_file *file)
{
	struct hmmdrm_client *client = file->driver_priv;

	return client->mm == current->mm ? client : NULL;
}

/* The first address space that maps an engine's descriptor is served; never a client's. */
int hmmdrm_engine_bind(struct hmmdrm_engine *engine, struct mm_struct *mm)
{
	int err = 0;

	mutex_lock(&hmmdrm_mms_lock);
	if (engine->mm) {
		err = engine->mm == mm ? 0 : -EPERM;
	} else if (is_client(mm)) {
		err = -EPERM;
	} else {
		mmgrab(mm);
		engine->mm = mm;
	}
	mutex_unlock(&hmmdrm_mms_lock);
	return err;
}

void hmmdrm_engine_link(struct hmmdrm_engine *engine)
{
	mutex_lock(&hmmdrm_mms_lock);
	list_add(&engine->node, &engines);
	mutex_unlock(&hmmdrm_mms_lock);
	mutex_lock(&engine->client->lock);
	list_add(&engine->link, &engine->client->engines);
	mutex_unlock(&engine->client->lock);
}

void hmmdrm_engine_unbind(struct hmmdrm_engine *engine)
{
	mutex_lock(&engine->client->lock);
	list_del(&engine->link);
	engine->mapping = NULL;
	if (list_empty(&engine->client->engines))
		hmmdrm_remote_forget(engine->client, 0, TASK_SIZE_MAX, true);
	mutex_unlock(&engine->client->lock);
	mutex_lock(&hmmdrm_mms_lock);
	list_del(&engine->node);
	mutex_unlock(&hmmdrm_mms_lock);
	if (engine->mm)
		mmdrop(engine->mm);
}
