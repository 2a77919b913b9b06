/* Orders by time: held ones by expiry, ended ones by when they ended.
 *
 * A 4-ary heap of 8-byte entries; the record of an order knows its position. The key
 * in the entry is the time in units of 1024 ms (good until 2109, later times tie), so
 * most comparisons stay within the array; ties compare the orders' exact time and
 * then their serial, so the order of expiry is the same on every replica.
 *
 *   1 record.pos is the entry's position for exactly the orders in a heap */
#include <string.h>

#include "store/store_impl.h"

#define ARITY 4

static uint64_t exact_time(const struct order *o)
{
    return o->status == ORDER_HELD ? o->expires_ms : o->changed_ms;
}

static uint32_t coarse(uint64_t time_ms)
{
    uint64_t units = time_ms >> 10;
    return units > UINT32_MAX ? UINT32_MAX : (uint32_t)units;
}

static bool before(const struct store *s, struct heap_entry a, struct heap_entry b)
{
    if (a.key != b.key) {
        return a.key < b.key;
    }
    const struct record *ra = record_at(s, a.slot), *rb = record_at(s, b.slot);
    uint64_t ta = exact_time(ra->v), tb = exact_time(rb->v);
    return ta != tb ? ta < tb : ra->serial < rb->serial;
}

static void place_at(struct store *s, struct heap *h, uint32_t at, struct heap_entry entry)
{
    h->entries[at] = entry;
    record_at(s, entry.slot)->pos = at;
}

static void sift_up(struct store *s, struct heap *h, uint32_t at, struct heap_entry entry)
{
    while (at > 0 && before(s, entry, h->entries[(at - 1) / ARITY])) {
        place_at(s, h, at, h->entries[(at - 1) / ARITY]);
        at = (at - 1) / ARITY;
    }
    place_at(s, h, at, entry);
}

static void sift_down(struct store *s, struct heap *h, uint32_t at, struct heap_entry entry)
{
    for (;;) {
        uint64_t first = (uint64_t)at * ARITY + 1;
        if (first >= h->len) {
            break;
        }
        uint32_t least = (uint32_t)first;
        for (uint32_t i = least + 1; i < h->len && i < first + ARITY; i++) {
            if (before(s, h->entries[i], h->entries[least])) {
                least = i;
            }
        }
        if (!before(s, h->entries[least], entry)) {
            break;
        }
        place_at(s, h, at, h->entries[least]);
        at = least;
    }
    place_at(s, h, at, entry);
}

bool heap_reserve(struct store *s, struct heap *h)
{
    if (h->len < h->cap) {
        return true;
    }
    uint32_t cap = h->cap == 0 ? 64 : h->cap + h->cap / 8;
    struct heap_entry *entries = slab_alloc(&s->slab, sizeof *entries * cap);
    if (entries == NULL) {
        return false;
    }
    if (h->len > 0) {
        memcpy(entries, h->entries, sizeof *entries * h->len);
    }
    slab_free(&s->slab, h->entries, sizeof *entries * h->cap);
    h->entries = entries;
    h->cap = cap;
    return true;
}

void heap_insert(struct store *s, struct heap *h, uint32_t slot)
{
    ASSERT(h->len < h->cap);
    struct heap_entry entry = { coarse(exact_time(record_at(s, slot)->v)), slot };
    sift_up(s, h, h->len++, entry);
}

/* The record must still show the version that was inserted. */
void heap_remove(struct store *s, struct heap *h, uint32_t slot)
{
    uint32_t at = record_at(s, slot)->pos;
    ASSERT(at < h->len && h->entries[at].slot == slot);
    struct heap_entry last = h->entries[--h->len];
    record_at(s, slot)->pos = 0;
    if (last.slot == slot) {
        return;
    }
    if (at > 0 && before(s, last, h->entries[(at - 1) / ARITY])) {
        sift_up(s, h, at, last);
    } else {
        sift_down(s, h, at, last);
    }
}

void heap_close(struct store *s, struct heap *h)
{
    slab_free(&s->slab, h->entries, sizeof *h->entries * h->cap);
}
