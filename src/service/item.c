/* Items: the pool, the state table, answering.
 *
 * Items come from slabs and are never given back to the system: their number is bounded by
 * QUEUE_REQUESTS_MAX and a busy node needs them again. What an item may become is one
 * table; a move outside it is our own mistake.
 *
 * How it fails: no memory for a slab means BUSY to the client. */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "service/service_impl.h"

#define SLAB_ITEMS 256

struct slab {
    struct slab *next;
    struct item items[SLAB_ITEMS];
};

#define TO(state) (1u << (state))

static const unsigned moves[ITEM_STATES] = {
    /* Back at once: a peer's request that arrives where nobody leads any more. */
    [ITEM_FREE] = TO(ITEM_QUEUED) | TO(ITEM_READ) | TO(ITEM_NODE) | TO(ITEM_FREE),
    [ITEM_QUEUED] = TO(ITEM_FREE) | TO(ITEM_FLIGHT) | TO(ITEM_FORWARDED) | TO(ITEM_READ),
    [ITEM_FLIGHT] = TO(ITEM_FREE) | TO(ITEM_QUEUED),
    [ITEM_FORWARDED] = TO(ITEM_FREE) | TO(ITEM_QUEUED) | TO(ITEM_READ),
    [ITEM_READ] = TO(ITEM_FREE) | TO(ITEM_FLIGHT) | TO(ITEM_PROVING) | TO(ITEM_INDEX) |
                  TO(ITEM_FORWARDED) | TO(ITEM_QUEUED),
    [ITEM_PROVING] = TO(ITEM_FREE) | TO(ITEM_READ) | TO(ITEM_QUEUED) | TO(ITEM_FORWARDED),
    [ITEM_INDEX] = TO(ITEM_FREE) | TO(ITEM_READ),
    [ITEM_NODE] = TO(ITEM_FREE),
};

void item_move(struct item *it, enum item_state to)
{
    ASSERT((moves[it->state] & TO(to)) != 0);
    it->state = (uint8_t)to;
}

static bool slab_add(struct service *s)
{
    struct slab *slab = mem_zalloc(sizeof *slab);
    if (slab == NULL) {
        return false;
    }
    slab->next = s->slabs;
    s->slabs = slab;
    for (size_t i = SLAB_ITEMS; i-- > 0;) {
        slab->items[i].next = s->free_items;
        s->free_items = &slab->items[i];
    }
    return true;
}

struct item *item_new(struct service *s)
{
    if (s->free_items == NULL && !slab_add(s)) {
        return NULL;
    }
    struct item *it = s->free_items;
    s->free_items = it->next;
    memset(it, 0, offsetof(struct item, id_text));
    it->service = s;
    it->all_next = s->all;
    if (s->all != NULL) {
        s->all->all_prev = it;
    }
    s->all = it;
    s->count++;
    return it;
}

void item_free(struct item *it)
{
    struct service *s = it->service;
    item_move(it, ITEM_FREE);
    if (it->r != NULL) {
        it->r->impl = NULL;
    }
    if (it->block != NULL) {
        block_unref(it->block);
    }
    if (it->all_prev != NULL) {
        it->all_prev->all_next = it->all_next;
    } else {
        s->all = it->all_next;
    }
    if (it->all_next != NULL) {
        it->all_next->all_prev = it->all_prev;
    }
    ASSERT(s->count > 0);
    s->count--;
    it->next = s->free_items;
    s->free_items = it;
}

void items_free_all(struct service *s)
{
    while (s->slabs != NULL) {
        struct slab *next = s->slabs->next;
        mem_free(s->slabs);
        s->slabs = next;
    }
}

void items_push(struct items *l, struct item *it)
{
    it->next = NULL;
    if (l->tail != NULL) {
        l->tail->next = it;
    } else {
        l->head = it;
    }
    l->tail = it;
    l->count++;
}

void items_push_front(struct items *l, struct item *it)
{
    it->next = l->head;
    l->head = it;
    if (l->tail == NULL) {
        l->tail = it;
    }
    l->count++;
}

struct item *items_pop(struct items *l)
{
    struct item *it = l->head;
    if (it != NULL) {
        l->head = it->next;
        if (l->head == NULL) {
            l->tail = NULL;
        }
        l->count--;
        it->next = NULL;
    }
    return it;
}

/* Of `...,"index":N}`, as every answer of a transaction ends; 0 when it names none. */
static uint64_t index_of_answer(struct span json)
{
    static const char name[] = "\"index\":";
    uint64_t index = 0, scale = 1;
    size_t at = json.len > 0 && json.data[json.len - 1] == '}' ? json.len - 1 : 0;
    for (; at > 0 && json.data[at - 1] >= '0' && json.data[at - 1] <= '9'; at--) {
        index += scale * (uint64_t)(json.data[at - 1] - '0');
        scale *= 10;
    }
    bool named = at >= sizeof name - 1 &&
                 memcmp(json.data + at - (sizeof name - 1), name, sizeof name - 1) == 0;
    return named ? index : 0;
}

static void note_index(uint64_t *seen, struct span json)
{
    uint64_t index = seen != NULL ? index_of_answer(json) : 0;
    if (index > 0 && index > *seen) {
        *seen = index;
    }
}

void item_answer(struct item *it, int code, const struct error *e, struct span fields,
                 struct span json)
{
    struct service *s = it->service;
    if (it->answered) {
        return;
    }
    it->answered = true;
    if (code == 0) {
        s->counters.granted++;
    } else if (code == ERR_UNKNOWN) {
        s->counters.unknown++;
    } else {
        s->counters.refused++;
    }
    if (it->peer != NULL) {
        forward_answer(it, code, e, fields, json);
    } else if (it->r != NULL) {
        struct request *r = it->r;
        it->r = NULL;
        r->impl = NULL;
        if (code == 0 && it->state != ITEM_NODE) { /* what a node command says is its own */
            note_index(r->seen_index, json);
        }
        r->cb(r, code, e, fields, json);
    }
}

void item_refuse(struct item *it, const struct error *e)
{
    item_answer(it, e->code, e, (struct span){ "", 0 }, (struct span){ "", 0 });
}

void item_unknown(struct item *it, const char *why)
{
    struct error e;
    (void)error_set(&e, ERR_UNKNOWN, "%s: the outcome is not known", why);
    error_hint(&e, "ask again with the same --request id (it has one effect at most), or look "
                   "with `orders`");
    item_refuse(it, &e);
}

void item_make_id(struct item *it)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    struct service *s = it->service;
    if (it->id.len > 0) {
        return;
    }
    size_t n = 0;
    for (uint64_t v = s->id_prefix; n < 13; v >>= 5) {
        it->id_text[n++] = digits[v & 31];
    }
    it->id_text[n++] = '.';
    uint64_t v = ++s->id_counter;
    do {
        it->id_text[n++] = digits[v & 31];
        v >>= 5;
    } while (v != 0);
    it->id = span_make(it->id_text, n);
}

struct block *block_new(const uint8_t *data, size_t len, size_t spans, size_t roles)
{
    struct block *b = mem_zalloc(sizeof *b);
    if (b == NULL) {
        return NULL;
    }
    b->refs = 1;
    b->spans = mem_alloc((spans + 1) * sizeof *b->spans);
    b->roles = mem_alloc((roles + 1) * sizeof *b->roles);
    buf_put(&b->bytes, data, len);
    if (b->spans == NULL || b->roles == NULL || b->bytes.failed) {
        block_unref(b);
        return NULL;
    }
    return b;
}

void block_unref(struct block *b)
{
    if (--b->refs == 0) {
        buf_free(&b->bytes);
        mem_free(b->spans);
        mem_free(b->roles);
        mem_free(b);
    }
}
