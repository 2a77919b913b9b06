/* See log_cache.h. A ring of slots that doubles; nothing fails here but memory, and
 * that ends the process.
 *
 * Invariants
 *   L1 slot (front + i) % cap holds index first + i, for i < count
 *   L2 the term of the snapshot's index is known even when its entry is gone */
#include "cluster/log_cache.h"

#include <raft.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

static struct payload *payload_new(void *base, bool of_raft)
{
    struct payload *p = mem_must_alloc(sizeof *p);
    p->refs = 1;
    p->of_raft = of_raft;
    p->base = base;
    return p;
}

struct payload *payload_of_raft(void *base) { return payload_new(base, true); }

struct payload *payload_of_buf(struct buf *b)
{
    struct payload *p = payload_new(b->data, false);
    buf_init(b);
    return p;
}

struct payload *payload_ref(struct payload *p)
{
    p->refs++;
    return p;
}

void payload_unref(struct payload *p)
{
    if (p == NULL || --p->refs > 0) {
        return;
    }
    if (p->of_raft) {
        raft_free(p->base);
    } else {
        mem_free(p->base);
    }
    mem_free(p);
}

void log_cache_init(struct log_cache *l)
{
    memset(l, 0, sizeof *l);
    l->first = 1;
}

static struct log_entry *slot(const struct log_cache *l, size_t i)
{
    return &l->slots[(l->front + i) % l->cap];
}

static void drop_all(struct log_cache *l)
{
    for (size_t i = 0; i < l->count; i++) {
        payload_unref(slot(l, i)->payload);
    }
    l->count = 0;
    l->front = 0;
    l->bytes = 0;
}

void log_cache_free(struct log_cache *l)
{
    drop_all(l);
    mem_free(l->slots);
    log_cache_init(l);
}

void log_cache_restart(struct log_cache *l, uint64_t index, uint64_t term)
{
    drop_all(l);
    l->first = index + 1;
    l->snapshot_index = index;
    l->snapshot_term = term;
}

void log_cache_begin(struct log_cache *l, uint64_t first)
{
    ASSERT(l->count == 0);
    l->first = first;
}

uint64_t log_cache_last(const struct log_cache *l) { return l->first + l->count - 1; }

static void grow(struct log_cache *l)
{
    size_t cap = l->cap == 0 ? 256 : l->cap * 2;
    struct log_entry *slots = mem_must_alloc(cap * sizeof *slots);
    for (size_t i = 0; i < l->count; i++) {
        slots[i] = *slot(l, i);
    }
    mem_free(l->slots);
    l->slots = slots;
    l->cap = cap;
    l->front = 0;
}

void log_cache_append(struct log_cache *l, const struct log_entry *e)
{
    if (l->count == l->cap) {
        grow(l);
    }
    *slot(l, l->count) = *e;
    l->count++;
    l->bytes += e->len;
}

const struct log_entry *log_cache_get(const struct log_cache *l, uint64_t index)
{
    if (index < l->first || index - l->first >= l->count) {
        return NULL;
    }
    return slot(l, (size_t)(index - l->first));
}

uint64_t log_cache_term(const struct log_cache *l, uint64_t index)
{
    const struct log_entry *e = log_cache_get(l, index);
    if (e != NULL) {
        return e->term;
    }
    return index != 0 && index == l->snapshot_index ? l->snapshot_term : 0;
}

void log_cache_truncate(struct log_cache *l, uint64_t index)
{
    ASSERT(index >= l->first);
    while (l->count > 0 && log_cache_last(l) >= index) {
        struct log_entry *e = slot(l, l->count - 1);
        l->bytes -= e->len;
        payload_unref(e->payload);
        l->count--;
    }
}

void log_cache_snapshot(struct log_cache *l, uint64_t index, uint64_t term, uint64_t drop_to)
{
    l->snapshot_index = index;
    l->snapshot_term = term;
    while (l->count > 0 && l->first <= drop_to) {
        struct log_entry *e = slot(l, 0);
        l->bytes -= e->len;
        payload_unref(e->payload);
        l->front = (l->front + 1) % l->cap;
        l->first++;
        l->count--;
    }
}
