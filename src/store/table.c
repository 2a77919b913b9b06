/* Linear hashing (Litwin 1980): a hash table that grows one bucket at a time.
 *
 * Elements are numbers; their chains run through a 4-byte member of the element. There
 * is no moment at which everything is hashed again, so a store of a million orders
 * never pauses, and no slack.
 *
 * With m the power of two at or below `buckets`, an element lies in bucket
 * hash mod 2m if that bucket exists, else in hash mod m.
 *
 * A large table is mostly waiting for memory, and an element is a line of it that is
 * not in the cache. So the head of a chain knows its element's hash and whether others
 * follow: an absent key, a fresh one and a split meet an element only where two or more
 * share a bucket.
 *
 *   1 insertion never fails: when no page for the next bucket can be had, chains
 *     just get longer until one can
 *   2 head.hash is the hash of head's element; MORE is set exactly when it has a next */
#include <string.h>

#include "store/store_impl.h"

#define TABLE_PAGE (1u << TABLE_SHIFT)
#define MORE       (1u << 31)

static struct table_head *bucket_at(const struct table *t, uint32_t b)
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
        struct table_head **pages = slab_alloc(t->memory, sizeof *pages * cap);
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
    struct table_head *page = slab_alloc(t->memory, sizeof *page * TABLE_PAGE);
    if (page == NULL) {
        return false;
    }
    memset(page, 0, sizeof *page * TABLE_PAGE);
    t->pages[t->pages_len++] = page;
    return true;
}

bool table_init(struct table *t, struct slab *memory, uint32_t load,
                uint64_t (*hash)(const void *, uint32_t), uint32_t *(*next)(const void *, uint32_t),
                const void *arg)
{
    memset(t, 0, sizeof *t);
    t->memory = memory;
    t->load = load;
    t->hash = hash;
    t->next = next;
    t->arg = arg;
    t->buckets = 1;
    return add_page(t);
}

void table_close(struct table *t)
{
    for (uint32_t i = 0; i < t->pages_len; i++) {
        slab_free(t->memory, t->pages[i], sizeof(struct table_head) * TABLE_PAGE);
    }
    if (t->memory != NULL) {
        slab_free(t->memory, t->pages, sizeof *t->pages * t->pages_cap);
    }
    t->pages = NULL;
    t->pages_len = t->pages_cap = 0;
}

uint32_t table_first(const struct table *t, uint64_t hash)
{
    const struct table_head *h = bucket_at(t, bucket_of(t, hash));
    uint32_t n = h->number & ~MORE;
    if (n == 0 || h->hash == (uint32_t)hash) {
        return n;
    }
    return h->number & MORE ? *t->next(t->arg, n) : 0;
}

void table_prefetch(const struct table *t, uint64_t hash)
{
    __builtin_prefetch(bucket_at(t, bucket_of(t, hash)));
}

/* Puts n, whose hash is known, in front of a chain. */
static void push(const struct table *t, struct table_head *h, uint32_t n, uint32_t hash)
{
    uint32_t after = h->number & ~MORE;
    *t->next(t->arg, n) = after;
    *h = (struct table_head){ after != 0 ? n | MORE : n, hash };
}

static void split_one(struct table *t)
{
    uint32_t fresh = t->buckets;
    if (fresh >= 1u << 30 || ((fresh >> TABLE_SHIFT) == t->pages_len && !add_page(t))) {
        return;
    }
    uint32_t bit = top_bit(fresh);
    struct table_head *from = bucket_at(t, fresh ^ bit), *to = bucket_at(t, fresh), old = *from;
    if ((old.number & MORE) == 0) {
        if (old.hash & bit) { /* the usual case: one element at most, which is not touched */
            *to = old;
            *from = (struct table_head){ 0, 0 };
        }
    } else {
        uint32_t n = old.number & ~MORE, hash = old.hash;
        *from = (struct table_head){ 0, 0 };
        while (n != 0) {
            uint32_t after = *t->next(t->arg, n);
            push(t, hash & bit ? to : from, n, hash);
            n = after;
            hash = n != 0 ? (uint32_t)t->hash(t->arg, n) : 0;
        }
    }
    t->buckets++;
}

/* Best effort, like all growth. Cheap while the table is empty. */
void table_reserve(struct table *t, uint32_t count)
{
    uint32_t before = 0;
    while (t->buckets * t->load < count && t->buckets != before) {
        before = t->buckets;
        split_one(t);
    }
}

void table_insert(struct table *t, uint64_t hash, uint32_t n)
{
    ASSERT(n != 0 && (n & MORE) == 0);
    push(t, bucket_at(t, bucket_of(t, hash)), n, (uint32_t)hash);
    t->count++;
    if (t->count > (uint64_t)t->buckets * t->load) {
        split_one(t);
    }
}

void table_remove(struct table *t, uint64_t hash, uint32_t n)
{
    struct table_head *h = bucket_at(t, bucket_of(t, hash));
    uint32_t first = h->number & ~MORE, *own = t->next(t->arg, n);
    if (first == n) {
        *h = (struct table_head){ 0, 0 };
        if (*own != 0) {
            uint32_t more = *t->next(t->arg, *own) != 0 ? MORE : 0;
            *h = (struct table_head){ *own | more, (uint32_t)t->hash(t->arg, *own) };
        }
    } else {
        ASSERT(h->number & MORE);
        uint32_t *at = t->next(t->arg, first);
        while (*at != n) {
            ASSERT(*at != 0);
            at = t->next(t->arg, *at);
        }
        *at = *own;
        h->number = first | (*t->next(t->arg, first) != 0 ? MORE : 0);
    }
    *own = 0;
    t->count--;
}
