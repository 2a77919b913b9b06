/* Linear hashing (Litwin 1980): a hash table that grows one bucket at a time.
 *
 * Elements are numbers; their chains run through a 4-byte member of the element and
 * the table keeps one 4-byte head per element. There is no moment at which everything
 * is hashed again, so a store of a million orders never pauses, and no slack.
 *
 * With m the power of two at or below `buckets`, an element lies in bucket
 * hash mod 2m if that bucket exists, else in hash mod m.
 *
 *   1 insertion never fails: when no page for the next bucket can be had, chains
 *     just get longer until one can */
#include <string.h>

#include "store/store_impl.h"

#define TABLE_PAGE (1u << TABLE_SHIFT)

static uint32_t *bucket_at(const struct table *t, uint32_t b)
{
    return &t->pages[b >> TABLE_SHIFT][b & (TABLE_PAGE - 1)];
}

static uint32_t top_bit(uint32_t v) { return 1u << (31 - __builtin_clz(v)); }

static uint32_t bucket_of(const struct table *t, uint64_t hash)
{
    uint32_t m = top_bit(t->buckets);
    uint32_t b = (uint32_t)hash & (2 * m - 1);
    return b < t->buckets ? b : b & (m - 1);
}

static bool add_page(struct table *t)
{
    if (t->pages_len == t->pages_cap) {
        uint32_t cap = t->pages_cap == 0 ? 4 : t->pages_cap * 2;
        uint32_t **pages = slab_alloc(t->memory, sizeof *pages * cap);
        if (pages == NULL) {
            return false;
        }
        if (t->pages_len > 0) {
            memcpy(pages, t->pages, sizeof *pages * t->pages_len);
        }
        slab_free(t->memory, t->pages, sizeof *pages * t->pages_cap);
        t->pages = pages;
        t->pages_cap = cap;
    }
    uint32_t *page = slab_alloc(t->memory, sizeof *page * TABLE_PAGE);
    if (page == NULL) {
        return false;
    }
    memset(page, 0, sizeof *page * TABLE_PAGE);
    t->pages[t->pages_len++] = page;
    return true;
}

bool table_init(struct table *t, struct slab *memory, uint64_t (*hash)(const void *, uint32_t),
                uint32_t *(*next)(const void *, uint32_t), const void *arg)
{
    memset(t, 0, sizeof *t);
    t->memory = memory;
    t->hash = hash;
    t->next = next;
    t->arg = arg;
    t->buckets = 1;
    return add_page(t);
}

void table_close(struct table *t)
{
    for (uint32_t i = 0; i < t->pages_len; i++) {
        slab_free(t->memory, t->pages[i], sizeof(uint32_t) * TABLE_PAGE);
    }
    if (t->memory != NULL) {
        slab_free(t->memory, t->pages, sizeof *t->pages * t->pages_cap);
    }
    t->pages = NULL;
    t->pages_len = t->pages_cap = 0;
}

uint32_t table_first(const struct table *t, uint64_t hash)
{
    return *bucket_at(t, bucket_of(t, hash));
}

void table_prefetch(const struct table *t, uint64_t hash)
{
    __builtin_prefetch(bucket_at(t, bucket_of(t, hash)));
}

static void split_one(struct table *t)
{
    uint32_t fresh = t->buckets;
    if (fresh >= 1u << 30 || ((fresh >> TABLE_SHIFT) == t->pages_len && !add_page(t))) {
        return;
    }
    uint32_t bit = top_bit(fresh);
    uint32_t *from = bucket_at(t, fresh ^ bit), *to = bucket_at(t, fresh);
    uint32_t n = *from, stay = 0, go = 0;
    while (n != 0) {
        uint32_t *next = t->next(t->arg, n), after = *next;
        if (t->hash(t->arg, n) & bit) {
            *next = go;
            go = n;
        } else {
            *next = stay;
            stay = n;
        }
        n = after;
    }
    *from = stay;
    *to = go;
    t->buckets++;
}

/* Best effort, like all growth. Cheap while the table is empty. */
void table_reserve(struct table *t, uint32_t count)
{
    uint32_t before = 0;
    while (t->buckets < count && t->buckets != before) {
        before = t->buckets;
        split_one(t);
    }
}

void table_insert(struct table *t, uint64_t hash, uint32_t n)
{
    uint32_t *head = bucket_at(t, bucket_of(t, hash));
    *t->next(t->arg, n) = *head;
    *head = n;
    t->count++;
    if (t->count > t->buckets) {
        split_one(t);
    }
}

void table_remove(struct table *t, uint64_t hash, uint32_t n)
{
    uint32_t *at = bucket_at(t, bucket_of(t, hash));
    while (*at != n) {
        ASSERT(*at != 0);
        at = t->next(t->arg, *at);
    }
    *at = *t->next(t->arg, n);
    *t->next(t->arg, n) = 0;
    t->count--;
}
