// SPDX-License-Identifier: MIT
/* Block table, page owners, recency, windows, arena, locks, the control protocol. */
#include "core/block.h"
#include "core/window.h"
#include "engine/engine.h"
#include "os/arena.h"
#include "os/lock.h"
#include "os/maps.h"

#include <CUnit/Basic.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct hmm_table table;

static int table_open(void)
{
	return os_arena_init() || hmm_table_init(&table);
}

static int table_close(void)
{
	hmm_table_exit(&table);
	return 0;
}

static void blocks(void)
{
	uintptr_t low = 0x10000, high = 0x7ffffffff000, mid = 0x555555554000;
	struct hmm_block *a, *b, *c;

	CU_ASSERT_PTR_NULL(hmm_block_find(&table, low));
	CU_ASSERT_PTR_NULL(hmm_block_next(&table, 0, 1ul << 47));
	a = hmm_block_get(&table, low);
	b = hmm_block_get(&table, high);
	c = hmm_block_get(&table, mid);
	CU_ASSERT(a && b && c && a != b && b != c);
	CU_ASSERT_PTR_EQUAL(hmm_block_get(&table, low + 5), a);
	CU_ASSERT_PTR_EQUAL(hmm_block_find(&table, mid), c);
	CU_ASSERT_EQUAL(c->start, mid & ~(HMM_BLOCK_BYTES - 1));
	CU_ASSERT_PTR_EQUAL(hmm_block_next(&table, 0, 1ul << 47), a);
	CU_ASSERT_PTR_EQUAL(hmm_block_next(&table, a->start + HMM_BLOCK_BYTES, 1ul << 47), c);
	CU_ASSERT_PTR_EQUAL(hmm_block_next(&table, c->start + HMM_BLOCK_BYTES, 1ul << 47), b);
	CU_ASSERT_PTR_NULL(hmm_block_next(&table, c->start + HMM_BLOCK_BYTES, high & ~0x1ffffful));
	CU_ASSERT_PTR_NULL(hmm_block_get(&table, 1ul << 47));
	CU_ASSERT_PTR_NULL(hmm_block_find(&table, ~0ul));
}

static void owners(void)
{
	struct hmm_block *b = hmm_block_get(&table, 0x200000000);

	for (unsigned int i = 10; i < 20; i++)
		hmm_block_set_owner(b, i, HMM_OWNER_DEVICE(0));
	hmm_block_set_owner(b, 15, HMM_OWNER_DEVICE(3));
	hmm_block_set_owner(b, 15, HMM_OWNER_DEVICE(3));
	CU_ASSERT_EQUAL(b->dev[0].resident, 9);
	CU_ASSERT_EQUAL(b->dev[3].resident, 1);
	CU_ASSERT_EQUAL(hmm_block_resident(b), 10);
	CU_ASSERT_EQUAL(hmm_block_owner_run(b, 0, 512, HMM_OWNER_SYSTEM), 10);
	CU_ASSERT_EQUAL(hmm_block_owner_run(b, 10, 512, HMM_OWNER_DEVICE(0)), 15);
	CU_ASSERT_EQUAL(hmm_block_owner_run(b, 16, 18, HMM_OWNER_DEVICE(0)), 18);
	for (unsigned int i = 0; i < HMM_BLOCK_PAGES; i++)
		hmm_block_set_owner(b, i, HMM_OWNER_SYSTEM);
	CU_ASSERT_EQUAL(hmm_block_resident(b), 0);
}

static void recency(void)
{
	struct hmm_block *b[3], *v;

	for (int i = 0; i < 3; i++) {
		b[i] = hmm_block_get(&table, 0x300000000 + (uintptr_t)i * HMM_BLOCK_BYTES);
		hmm_lru_touch(&table, b[i], 1);
	}
	hmm_lru_touch(&table, b[0], 1);
	v = hmm_lru_victim(&table, 1, false, 0);
	CU_ASSERT_PTR_EQUAL(v, b[1]); /* locked now, so it is passed over */
	CU_ASSERT_PTR_EQUAL(hmm_lru_victim(&table, 1, false, 0), b[2]);
	CU_ASSERT_PTR_EQUAL(hmm_lru_victim(&table, 1, false, 0), b[0]);
	CU_ASSERT_PTR_NULL(hmm_lru_victim(&table, 1, false, 0));
	for (int i = 0; i < 3; i++)
		os_mutex_unlock(&b[i]->lock);
	hmm_bits_set(&b[2]->dev[1].frames, 7); /* a frame that no page owns */
	CU_ASSERT_PTR_EQUAL(hmm_lru_victim(&table, 1, true, 0), b[2]);
	os_mutex_unlock(&b[2]->lock);
	hmm_lru_remove(&table, b[1], 1);
	CU_ASSERT_PTR_EQUAL(hmm_lru_victim(&table, 1, false, 0), b[2]);
	os_mutex_unlock(&b[2]->lock);
	CU_ASSERT_PTR_NULL(hmm_lru_victim(&table, 2, false, 0));
}

static void bits(void)
{
	struct hmm_bits b = { 0 };

	hmm_bits_set_range(&b, 60, 70);
	CU_ASSERT_EQUAL(hmm_bits_count(&b), 10);
	CU_ASSERT_EQUAL(hmm_bits_find(&b, 0, 512, true), 60);
	CU_ASSERT_EQUAL(hmm_bits_find(&b, 60, 512, false), 70);
	CU_ASSERT_EQUAL(hmm_bits_find(&b, 70, 512, true), 512);
	CU_ASSERT_EQUAL(hmm_bits_find(&b, 0, 10, true), 10);
	hmm_bits_clear_range(&b, 0, 512);
	CU_ASSERT_EQUAL(hmm_bits_count(&b), 0);
}

static void windows(void)
{
	struct hmm_window w = { 0 };
	uintptr_t at = 0x40000000;
	unsigned int n, want = 4;

	/* Sequential: doubles, up to the end of the block. */
	for (int i = 0; i < 6; i++, want *= 2) {
		n = hmm_window_pages(&w, at, 4);
		CU_ASSERT_EQUAL(n, want);
		at += n * HMM_PAGE_BYTES;
	}
	CU_ASSERT_EQUAL(hmm_window_pages(&w, at, 4), 256);
	at += 256 * HMM_PAGE_BYTES;
	n = hmm_window_pages(&w, at, 4);
	CU_ASSERT_EQUAL(n, 4); /* what is left of the block */
	CU_ASSERT_EQUAL(hmm_window_pages(&w, at + 4 * HMM_PAGE_BYTES, 4), 512);
	/* What is on its way without a fault is of the stream, whoever faults there none the less. */
	at += 4 * HMM_PAGE_BYTES + HMM_BLOCK_BYTES;
	CU_ASSERT_FALSE(hmm_window_ahead(&w, at + HMM_PAGE_BYTES, 512));
	CU_ASSERT_TRUE(hmm_window_ahead(&w, at, 1024));
	CU_ASSERT_EQUAL(hmm_window_pages(&w, at, 4), 512);
	CU_ASSERT_EQUAL(hmm_window_pages(&w, at + 1000 * HMM_PAGE_BYTES, 4), 24);
	CU_ASSERT_EQUAL(hmm_window_pages(&w, at + 2 * HMM_BLOCK_BYTES, 4), 512);
	CU_ASSERT_EQUAL(hmm_window_pages(&w, at, 4), 4);
	/* Random: stays small. */
	for (uintptr_t i = 1; i < 100; i++)
		CU_ASSERT_EQUAL(hmm_window_pages(&w, 0x900000000 + i * 0x12345000, 1), 1);
}

static void arena(void)
{
	char *p[64];

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < 64; i++) {
			p[i] = os_alloc(i * 37 + 1);
			CU_ASSERT_FATAL(p[i] != NULL);
			for (size_t n = 0; n < i * 37 + 1; n++)
				if (p[i][n])
					CU_FAIL_FATAL("not zeroed");
			memset(p[i], 0xff, i * 37 + 1);
			CU_ASSERT(os_arena_contains((uintptr_t)p[i], (uintptr_t)p[i] + 1));
		}
		for (size_t i = 0; i < 64; i++)
			os_free(p[i], i * 37 + 1);
	}
	p[0] = os_alloc(1 << 20);
	CU_ASSERT_EQUAL((uintptr_t)p[0] % 4096, 0);
	p[0][12345] = 1;
	os_free(p[0], 1 << 20);
	p[0] = os_alloc(1 << 20);
	CU_ASSERT_EQUAL(p[0][12345], 0);
	os_free(p[0], 1 << 20);
	CU_ASSERT_PTR_NULL(os_alloc(0));
	CU_ASSERT_PTR_NULL(os_alloc(4ul << 30));
	os_free(NULL, 10);
}

/* No piece is two threads' at once, and each comes zeroed. */
static void *allocate(void *arg)
{
	uint64_t *piece[16] = { NULL }, id = (uintptr_t)arg, wrong = 0;
	size_t words[16] = { 0 };
	unsigned int seed = (unsigned int)id;

	for (int i = 0; i < 300000; i++) {
		unsigned int n = (unsigned int)rand_r(&seed) % 16;

		if (piece[n])
			wrong += piece[n][0] != id || piece[n][words[n] - 1] != id;
		os_free(piece[n], words[n] * 8);
		words[n] = (size_t)8 << rand_r(&seed) % 4;
		piece[n] = os_alloc(words[n] * 8);
		if (!piece[n])
			return arg;
		wrong += piece[n][0] || piece[n][words[n] - 1];
		piece[n][0] = piece[n][words[n] - 1] = id;
	}
	for (int n = 0; n < 16; n++)
		os_free(piece[n], words[n] * 8);
	return wrong ? arg : NULL;
}

static void arena_shared(void)
{
	pthread_t t[4];
	void *wrong;

	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, allocate, (void *)(i + 1));
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &wrong);
		CU_ASSERT_PTR_NULL(wrong);
	}
}

static struct os_rwlock rw;
static struct os_mutex mutex;
static long shared_count, mutex_count;

static void *contend(void *unused)
{
	for (int i = 0; i < 100000; i++) {
		if (i % 8) {
			os_read_lock(&rw);
			os_read_unlock(&rw);
		} else {
			os_write_lock(&rw);
			shared_count++;
			os_write_unlock(&rw);
		}
		os_mutex_lock(&mutex);
		mutex_count++;
		os_mutex_unlock(&mutex);
	}
	return unused;
}

static void locks(void)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, contend, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(shared_count, 4 * 12500);
	CU_ASSERT_EQUAL(mutex_count, 4 * 100000);
	CU_ASSERT(os_mutex_trylock(&mutex));
	CU_ASSERT(!os_mutex_trylock(&mutex));
}

static const char in_rodata[] = "text";

static void mappings(void)
{
	struct os_vma v;
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *s = mmap(NULL, 8192, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CU_ASSERT_EQUAL_FATAL(os_maps_init(), 0);
	CU_ASSERT_EQUAL(os_vma_find((uintptr_t)p, &v), 0);
	CU_ASSERT(v.kind == OS_VMA_ANON && v.write && v.start <= (uintptr_t)p);
	CU_ASSERT_EQUAL(os_vma_find((uintptr_t)s, &v), 0);
	CU_ASSERT(v.kind == OS_VMA_SHARED && !v.write);
	CU_ASSERT_EQUAL(os_vma_find((uintptr_t)in_rodata, &v), 0);
	CU_ASSERT(v.kind == OS_VMA_FILE_PRIVATE && !v.write && strstr(v.path, "unit"));
	CU_ASSERT_EQUAL(os_vma_find(0, &v), 0); /* the next one above */
	CU_ASSERT(v.start > 0);
	os_maps_exit();
	munmap(p, 8192);
	munmap(s, 8192);
}

static void protocol(void)
{
	const struct engine_range w[] = { { 0x10000, 0x10000000 }, { 1ul << 40, 2ul << 40 } };
	struct hmm_engine_msg m = { .magic = HMM_ENGINE_MAGIC,
				    .op = HMM_ENGINE_MAP_FILE,
				    .start = 0x20000,
				    .length = 0x1000,
				    .prot = PROT_READ };
	unsigned int accepted = 0;

	CU_ASSERT_EQUAL(engine_check_msg(&m, sizeof(m), true, w, 2), 0);
	CU_ASSERT_EQUAL(engine_check_msg(&m, sizeof(m), false, w, 2), -EINVAL);
	CU_ASSERT_EQUAL(engine_check_msg(&m, sizeof(m) - 1, true, w, 2), -EINVAL);
	m.start = ~0ul & ~4095ul;
	CU_ASSERT_EQUAL(engine_check_msg(&m, sizeof(m), true, w, 2), -EINVAL); /* wraps */
	m.start = 0xffff000;
	m.length = 0x2000;
	CU_ASSERT_EQUAL(engine_check_msg(&m, sizeof(m), true, w, 2),
			-EINVAL); /* leaves its window */
	m.length = 0x1000;
	m.prot = PROT_READ | PROT_EXEC;
	CU_ASSERT_EQUAL(engine_check_msg(&m, sizeof(m), true, w, 2), -EINVAL);
	srand(1);
	for (int i = 0; i < 1000000; i++) {
		unsigned char *bytes = (unsigned char *)&m;

		for (size_t n = 0; n < sizeof(m); n++)
			bytes[n] = (unsigned char)(rand() >> 7);
		if (i % 2)
			m.magic = HMM_ENGINE_MAGIC;
		if (i % 4)
			m.op = (uint32_t)rand() % 8;
		if (!engine_check_msg(&m, sizeof(m), i % 3 == 0, w, 2) &&
		    (m.op == HMM_ENGINE_MAP_FILE || m.op == HMM_ENGINE_UNMAP_FILE))
			accepted++;
	}
	CU_ASSERT_EQUAL(accepted, 0); /* noise never names a whole page range in a window */
}

int main(void)
{
	unsigned int failures;
	CU_pSuite s;

	CU_initialize_registry();
	s = CU_add_suite("runtime", table_open, table_close);
	CU_add_test(s, "bitmaps", bits);
	CU_add_test(s, "block table", blocks);
	CU_add_test(s, "page owners", owners);
	CU_add_test(s, "recency and victims", recency);
	CU_add_test(s, "fault windows", windows);
	CU_add_test(s, "arena", arena);
	CU_add_test(s, "arena, many threads", arena_shared);
	CU_add_test(s, "locks", locks);
	CU_add_test(s, "what the kernel says of mappings", mappings);
	CU_add_test(s, "control protocol with hostile bytes", protocol);
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}
