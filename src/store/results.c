/* Remembered answers: a ring of fixed entries, oldest first, found by two hashes of
 * (user, request id).
 *
 * An entry is 60 bytes and its bucket 4: 64 in all, for up to RESULTS_MAX of them.
 * So ids of orders are not kept; an entry names them by slot, and by the low half of
 * the serial, which tells whether the slot still holds that order. Order ids need no
 * place in the digest: serials stand for them.
 *
 * Dropping moves the head; the entries stay until the drop has committed and a
 * snapshot that needs them has passed (`keep`), so undo just moves the head back.
 *
 *   1 keep <= committed <= head <= tail, and exactly [head, tail) are in the table */
#include <string.h>

#include "store/store_impl.h"

#define RING_PAGE (1u << RING_SHIFT)

struct result_entry *result_at(const struct store *s, uint64_t at)
{
    const struct ring *r = &s->results;
    return &r->pages[(at >> RING_SHIFT) & (r->pages_cap - 1)][at & (RING_PAGE - 1)];
}

/* The table knows entries by the low 31 bits of their position, plus one (0 is nobody).
 * From `keep` to the tail there are fewer, so the rest of the position is certain. */
#define NUMBER_MASK 0x7fffffffu

static uint32_t number_of(uint64_t at) { return ((uint32_t)at & NUMBER_MASK) + 1; }

static uint64_t position_of(const struct store *s, uint32_t n)
{
    return s->results.keep + ((n - 1 - (uint32_t)s->results.keep) & NUMBER_MASK);
}

static uint64_t key_hash(const struct result_entry *r)
{
    return (uint64_t)r->key[1] << 32 | r->key[0];
}

static uint64_t result_hash_of(const void *arg, uint32_t n)
{
    return key_hash(result_at(arg, position_of(arg, n)));
}

static uint32_t *result_next(const void *arg, uint32_t n)
{
    return &result_at(arg, position_of(arg, n))->chain;
}

bool results_init(struct store *s)
{
    return table_init(&s->result_table, &s->slab, 2, result_hash_of, result_next, s);
}

void results_close(struct store *s)
{
    for (uint32_t i = 0; i < s->results.pages_cap; i++) {
        slab_free(&s->slab, s->results.pages[i], sizeof(struct result_entry) * RING_PAGE);
    }
    slab_free(&s->slab, s->results.pages, sizeof(void *) * s->results.pages_cap);
}

static bool grow_directory(struct store *s)
{
    struct ring *r = &s->results;
    uint32_t cap = r->pages_cap == 0 ? 4 : r->pages_cap * 2;
    struct result_entry **pages = slab_alloc(&s->slab, sizeof(void *) * cap);
    if (pages == NULL) {
        return false;
    }
    memset(pages, 0, sizeof(void *) * cap);
    uint64_t first = r->keep >> RING_SHIFT;
    for (uint64_t i = first; i < first + r->pages_cap; i++) {
        pages[i & (cap - 1)] = r->pages[i & (r->pages_cap - 1)];
    }
    slab_free(&s->slab, r->pages, sizeof(void *) * r->pages_cap);
    r->pages = pages;
    r->pages_cap = cap;
    return true;
}

bool results_reserve(struct store *s)
{
    struct ring *r = &s->results;
    uint64_t page = r->tail >> RING_SHIFT;
    if (page - (r->keep >> RING_SHIFT) >= r->pages_cap && !grow_directory(s)) {
        return false;
    }
    struct result_entry **at = &r->pages[page & (r->pages_cap - 1)];
    if (*at == NULL) {
        *at = slab_alloc(&s->slab, sizeof(struct result_entry) * RING_PAGE);
    }
    return *at != NULL;
}

void result_key(struct span user, struct span request, uint32_t key[4])
{
    uint64_t a = hash_mix(hash64(user.data, user.len), hash64(request.data, request.len));
    uint64_t b = hash_mix(hash64_seed(request.data, request.len, SEED_RESULT),
                          hash64_seed(user.data, user.len, SEED_RESULT));
    key[0] = (uint32_t)a;
    key[1] = (uint32_t)(a >> 32);
    key[2] = (uint32_t)b;
    key[3] = (uint32_t)(b >> 32);
}

struct result_entry *result_find(const struct store *s, const uint32_t key[4])
{
    uint64_t hash = (uint64_t)key[1] << 32 | key[0];
    for (uint32_t n = table_first(&s->result_table, hash); n != 0;) {
        struct result_entry *r = result_at(s, position_of(s, n));
        if (memcmp(r->key, key, sizeof r->key) == 0) {
            return r;
        }
        n = r->chain;
    }
    return NULL;
}

uint64_t result_hash(const struct result_entry *r)
{
    struct result_entry plain = *r;
    memset(plain.slot, 0, sizeof plain.slot);
    plain.chain = 0;
    return hash64_seed(&plain, sizeof plain, SEED_RESULT);
}

struct result_entry *result_push(struct store *s)
{
    struct result_entry *r = result_at(s, s->results.tail);
    memset(r, 0, sizeof *r);
    return r;
}

static void enter(struct store *s, uint64_t at)
{
    struct result_entry *r = result_at(s, at);
    s->sum += result_hash(r);
    table_insert(&s->result_table, key_hash(r), number_of(at));
}

static void leave(struct store *s, uint64_t at)
{
    struct result_entry *r = result_at(s, at);
    s->sum -= result_hash(r);
    table_remove(&s->result_table, key_hash(r), number_of(at));
}

void results_link(struct store *s, bool there)
{
    if (there) {
        enter(s, s->results.tail++);
    } else {
        leave(s, --s->results.tail);
    }
}

void results_drop(struct store *s, uint64_t count)
{
    ASSERT(count <= results_total(s));
    while (count-- > 0) {
        leave(s, s->results.head++);
    }
}

void results_restore(struct store *s, uint64_t count)
{
    while (count-- > 0) {
        enter(s, --s->results.head);
    }
}

/* Frees pages below everything that is there, may come back, or is being written. */
void results_forget(struct store *s)
{
    struct ring *r = &s->results;
    uint64_t pinned = snapshot_results_keep(s);
    uint64_t keep = r->committed < pinned ? r->committed : pinned;
    for (uint64_t page = r->keep >> RING_SHIFT; page < keep >> RING_SHIFT; page++) {
        struct result_entry **at = &r->pages[page & (r->pages_cap - 1)];
        slab_free(&s->slab, *at, sizeof(struct result_entry) * RING_PAGE);
        *at = NULL;
    }
    r->keep = keep > r->keep ? keep : r->keep;
}

uint64_t result_time(const struct result_entry *r)
{
    return (uint64_t)r->time_high << 32 | r->time_low;
}

uint64_t result_index(const struct result_entry *r)
{
    return (uint64_t)r->index_high << 32 | r->index_low;
}

/* ---- Reading ------------------------------------------------------------------------- */

static struct span order_named(const struct store *s, uint32_t slot, uint32_t serial)
{
    if (slot == 0) {
        return span_make("", 0);
    }
    const struct record *r = record_at(s, slot);
    return r->v != NULL && (uint32_t)r->serial == serial ? order_id(r->v) : span_make("", 0);
}

bool store_result(const struct store *s, struct span user, struct span request, struct result *out)
{
    uint32_t key[4];
    result_key(user, request, key);
    const struct result_entry *r = result_find(s, key);
    if (r == NULL) {
        return false;
    }
    out->args_digest = (uint64_t)r->args[1] << 32 | r->args[0];
    out->index = result_index(r);
    out->time_ms = result_time(r);
    out->code = r->code;
    out->order = order_named(s, r->slot[0], r->serial[0]);
    out->order2 = order_named(s, r->slot[1], r->serial[1]);
    return true;
}

uint64_t store_results_total(const struct store *s) { return results_total(s); }

uint64_t store_oldest_result_ms(const struct store *s)
{
    return results_total(s) == 0 ? UINT64_MAX : result_time(result_at(s, s->results.head));
}
