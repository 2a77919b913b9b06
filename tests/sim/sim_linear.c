/* See sim_linear.h.
 *
 * The history is a list of calls and returns in order of time. Walking it from the front,
 * an operation whose call is met and whose precondition holds is done: both its entries are
 * taken out, and the walk starts again. Meeting a return means that everything called before
 * it has been tried: the last operation done is undone and the walk goes on behind it. The
 * list is empty: linearizable. Nothing left to undo: not.
 *
 * Invariants
 *   L1 an operation is done only before the first return in the list (real-time order)
 *   L2 a pair (set of operations done, state) is entered once */
#include "sim_linear.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "store/store.h"

/* Configurations kept; a history that needs more is reported, not judged. */
#define CACHE_MAX (1u << 20)

struct item {
    uint64_t at;
    size_t op;
    bool is_return;
    struct item *match; /* of a call: its return */
    struct item *prev, *next;
};

struct slot {
    uint64_t key; /* 0: empty */
};

struct frame {
    struct item *item;
    uint32_t state;
};

struct search {
    const struct linear_op *ops;
    size_t n;
    struct item *items, head;
    struct frame *stack;
    size_t depth;
    uint64_t done_hash; /* of the set of operations done: xor of a word each */
    struct slot *cache;
    size_t cache_cap, cache_len;
};

/* ---- The object: 0 free, else order * 2 + booked ------------------------------------------ */

static bool step(const struct linear_op *op, uint32_t state, uint32_t *next)
{
    uint32_t held = op->order * 2, booked = op->order * 2 + 1;
    *next = state;
    switch (op->kind) {
    case LINEAR_HOLD: *next = held; return state == 0;
    case LINEAR_BOOK: *next = booked; return state == 0;
    case LINEAR_CONFIRM: *next = booked; return state == held;
    case LINEAR_END: *next = 0; return state == held || state == booked;
    case LINEAR_REFUSED: return state != 0;
    case LINEAR_READ:
        return op->status == (state == 0 ? SEAT_FREE : (state & 1) != 0 ? SEAT_BOOKED : SEAT_HELD);
    }
    return false;
}

/* ---- The list -------------------------------------------------------------------------------- */

static int by_time(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->at != y->at) {
        return x->at < y->at ? -1 : 1;
    }
    if (x->is_return != y->is_return) {
        return x->is_return ? 1 : -1;
    }
    return x->op < y->op ? -1 : x->op > y->op ? 1 : 0;
}

static void unlink_item(struct item *i)
{
    i->prev->next = i->next;
    if (i->next != NULL) {
        i->next->prev = i->prev;
    }
}

static void relink_item(struct item *i)
{
    i->prev->next = i;
    if (i->next != NULL) {
        i->next->prev = i;
    }
}

static void build(struct search *s)
{
    struct item **calls = malloc((s->n + 1) * sizeof(struct item *));
    ASSERT(calls != NULL);
    for (size_t i = 0; i < s->n; i++) {
        s->items[2 * i] = (struct item){ .at = s->ops[i].called, .op = i };
        s->items[2 * i + 1] = (struct item){ .at = s->ops[i].returned, .op = i, .is_return = true };
    }
    qsort(s->items, 2 * s->n, sizeof *s->items, by_time);
    struct item *last = &s->head;
    for (size_t i = 0; i < 2 * s->n; i++) {
        struct item *item = &s->items[i];
        last->next = item;
        item->prev = last;
        last = item;
        if (item->is_return) {
            calls[item->op]->match = item;
        } else {
            calls[item->op] = item;
        }
    }
    free(calls);
}

/* ---- The cache ---------------------------------------------------------------------------------
 */

static uint64_t word_of(size_t op)
{
    uint64_t n = op + 1;
    return hash64(&n, sizeof n);
}

static bool cache_put(struct search *s, uint64_t key);

static void cache_grow(struct search *s)
{
    struct slot *old = s->cache;
    size_t cap = s->cache_cap;
    s->cache_cap = cap == 0 ? 1024 : cap * 2;
    s->cache_len = 0;
    s->cache = calloc(s->cache_cap, sizeof *s->cache);
    ASSERT(s->cache != NULL);
    for (size_t i = 0; i < cap; i++) {
        if (old[i].key != 0) {
            (void)cache_put(s, old[i].key);
        }
    }
    free(old);
}

/* False when it was there. */
static bool cache_put(struct search *s, uint64_t key)
{
    if (s->cache_len * 2 >= s->cache_cap) {
        cache_grow(s);
    }
    size_t i = (size_t)key & (s->cache_cap - 1);
    while (s->cache[i].key != 0) {
        if (s->cache[i].key == key) {
            return false;
        }
        i = (i + 1) & (s->cache_cap - 1);
    }
    s->cache[i].key = key;
    s->cache_len++;
    return true;
}

/* L2. The set is represented by 64 bits of hash: a collision could only hide a path. */
static bool enter(struct search *s, size_t op, uint32_t state)
{
    uint64_t key = hash64_seed(&state, sizeof state, s->done_hash ^ word_of(op));
    return cache_put(s, key != 0 ? key : 1);
}

/* ---- The search --------------------------------------------------------------------------------
 */

static enum linear_verdict search(struct search *s, size_t *stuck)
{
    struct item *at = s->head.next;
    size_t best = 0;
    uint32_t state = 0;
    while (s->head.next != NULL) {
        uint32_t next;
        if (!at->is_return) {
            if (step(&s->ops[at->op], state, &next) && enter(s, at->op, next)) {
                s->stack[s->depth++] = (struct frame){ at, state };
                s->done_hash ^= word_of(at->op);
                state = next;
                unlink_item(at);
                unlink_item(at->match);
                at = s->head.next;
            } else {
                at = at->next;
            }
            continue;
        }
        if (s->depth >= best) {
            best = s->depth;
            *stuck = at->op;
        }
        if (s->depth == 0) {
            return LINEAR_NO;
        }
        if (s->cache_len > CACHE_MAX) {
            return LINEAR_GAVE_UP;
        }
        struct frame f = s->stack[--s->depth];
        relink_item(f.item->match);
        relink_item(f.item);
        s->done_hash ^= word_of(f.item->op);
        state = f.state;
        at = f.item->next;
    }
    return LINEAR_YES;
}

enum linear_verdict linear_check(const struct linear_op *ops, size_t n, size_t *stuck)
{
    struct search s = { .ops = ops, .n = n };
    *stuck = 0;
    s.items = malloc((2 * n + 1) * sizeof *s.items);
    s.stack = malloc((n + 1) * sizeof *s.stack);
    ASSERT(s.items != NULL && s.stack != NULL);
    build(&s);
    enum linear_verdict verdict = search(&s, stuck);
    free(s.items);
    free(s.stack);
    free(s.cache);
    return verdict;
}
