/* Inside of the store: shared by the files of src/store only.
 *
 * Reading order: slab.c and pool.c (memory), table.c, tree.c, heap.c (indices), then
 * seats.c, customers.c, orders.c, events.c, kv.c, results.c (state), undo.c (how a
 * change is taken back), do_*.c (effects), check.c, snapshot_*.c.
 *
 * Two rules keep "undo never fails" true everywhere:
 *   1 what may fail (memory) happens before the first change of a step; a change
 *     itself is a swap of versions, done by one function in both directions;
 *   2 pools, heaps and tables never shrink, so going back to a state that existed
 *     before needs no memory. */
#ifndef USHER_STORE_IMPL_H
#define USHER_STORE_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/limits.h"
#include "store/store.h"

/* Debug and sanitizer builds verify what a transaction touched when it ends. */
#if !defined(__OPTIMIZE__) || defined(__SANITIZE_ADDRESS__)
#define STORE_PARANOID 1
#else
#define STORE_PARANOID 0
#endif

/* ---- slab.c: memory of the store, counted ------------------------------------- */

#define SLAB_STEP 8
#define SLAB_MAX  512

struct slab {
    void *free[SLAB_MAX / SLAB_STEP + 1];
    uint8_t *bump[SLAB_MAX / SLAB_STEP + 1]; /* unused rest of the newest chunk */
    uint32_t bump_left[SLAB_MAX / SLAB_STEP + 1];
    uint32_t chunk[SLAB_MAX / SLAB_STEP + 1]; /* size of the newest chunk */
    void *chunks;
    uint64_t bytes; /* taken from the system */
};

/* Small blocks come from per-size lists without a header. NULL: out of memory. */
void *slab_alloc(struct slab *m, size_t bytes);
void slab_free(struct slab *m, void *p, size_t bytes); /* the size it was asked for */
void slab_close(struct slab *m);
struct span slab_copy(struct slab *m, struct span text, bool *ok); /* clears *ok on failure */

/* ---- pool.c: numbered elements in pages that never move ------------------------- */

#define POOL_SHIFT 9
#define POOL_PAGE  (1u << POOL_SHIFT)

struct pool {
    uint8_t **pages;
    uint32_t pages_len, pages_cap;
    uint32_t size;  /* of an element; its last 4 bytes link free ones */
    uint32_t next;  /* first number never used; 0 is nobody */
    uint32_t first; /* free list */
    uint32_t free;  /* how many are on it */
    struct slab *memory;
};

void pool_init(struct pool *p, struct slab *memory, size_t size);
void pool_close(struct pool *p);
bool pool_reserve(struct pool *p, uint32_t count); /* the next `count` gets succeed */
uint32_t pool_get(struct pool *p);                 /* zeroed; asserts that one is there */
void pool_put(struct pool *p, uint32_t n);
static inline void *pool_at(const struct pool *p, uint32_t n)
{
    return p->pages[n >> POOL_SHIFT] + (size_t)(n & (POOL_PAGE - 1)) * p->size;
}

/* ---- table.c: linear hashing over numbered elements -------------------------------- */

#define TABLE_SHIFT 9

struct table_head {
    uint32_t number; /* first of the chain, 0: none; top bit: others follow */
    uint32_t hash;   /* its hash, low 32 bits */
};

/* Chains run through the elements; growing splits one bucket at a time, so there is
 * never a pause. Insertion cannot fail: without memory the chains get longer. Of a
 * hash the low 32 bits count. */
struct table {
    struct table_head **pages;
    uint32_t pages_len, pages_cap;
    uint32_t buckets, count;
    uint32_t load; /* elements per bucket: 8 bytes are shared by so many */
    uint64_t (*hash)(const void *arg, uint32_t n);
    uint32_t *(*next)(const void *arg, uint32_t n);
    const void *arg;
    struct slab *memory;
};

bool table_init(struct table *t, struct slab *memory, uint32_t load,
                uint64_t (*hash)(const void *, uint32_t), uint32_t *(*next)(const void *, uint32_t),
                const void *arg);
void table_close(struct table *t);
/* The first of a chain that may hold the hash, 0: none; go on with its next. */
uint32_t table_first(const struct table *t, uint64_t hash);
void table_reserve(struct table *t, uint32_t count);
void table_prefetch(const struct table *t, uint64_t hash);
void table_insert(struct table *t, uint64_t hash, uint32_t n);
void table_remove(struct table *t, uint64_t hash, uint32_t n);

/* ---- tree.c: named objects in bytewise order (a treap) ---------------------------- */

struct node {
    struct node *left, *right;
    uint64_t rank;
    struct span key; /* points into the object */
};

void tree_insert(struct node **root, struct node *n); /* the key must not be there */
void tree_remove(struct node **root, struct node *n);
struct node *tree_find(struct node *root, struct span key);
/* Smallest node with a key > after, or >= when `equal`; NULL at the end. */
struct node *tree_after(struct node *root, struct span after, bool equal);
int span_order(struct span a, struct span b);

/* ---- heap.c: slots by time ---------------------------------------------------------- */

struct heap_entry {
    uint32_t key; /* coarse time, see heap.c; ties look at the order */
    uint32_t slot;
};
struct heap {
    struct heap_entry *entries;
    uint32_t len, cap;
};

bool heap_reserve(struct store *s, struct heap *h);
void heap_insert(struct store *s, struct heap *h, uint32_t slot);
void heap_remove(struct store *s, struct heap *h, uint32_t slot);
void heap_close(struct store *s, struct heap *h);

/* Serials are 48 bits: a million orders a second for nine years. */
#define SERIAL_MAX (((uint64_t)1 << 48) - 1)

/* ---- Objects ------------------------------------------------------------------------- */

/* Where an order lives: the slot is its identity while versions change. */
struct record {
    struct order *v;                 /* NULL: dropped, kept for undo only; or a free slot */
    uint64_t serial : 48;            /* order of creation, never reused */
    uint64_t tag : 16;               /* of the id's hash: look-ups rarely meet a wrong version */
    uint32_t event_next, event_prev; /* orders whose first place is at one event */
    uint32_t customer_next, customer_prev; /* orders of one customer */
    uint32_t chain;                        /* table by id */
    uint32_t pos;                          /* in the heap of its status; free list while unused */
};

struct customer {
    uint64_t hash;
    uint32_t number, refs; /* refs: order versions, those of undo records included */
    uint32_t first, last;  /* its orders by serial */
    uint8_t len;
    char id[];
};

/* Pool element behind a customer's number. */
struct customer_ref {
    struct customer *customer;
    uint32_t hash; /* of the id, as in customer: spares a look at it */
    uint32_t chain;
};

/* Live places of one customer at one event; absent when zero. */
struct pair {
    uint32_t event, customer;
    uint32_t held, booked;
    uint32_t chain;
};

struct chart_cell {
    struct node node; /* by id, in s->charts */
    struct chart *chart;
    uint64_t hash; /* of id and content */
    uint32_t refs; /* owners: the tree or an undo record, bodies, a snapshot */
    uint32_t used; /* current bodies of events */
    char id[];
};

/* The version of an event. A new version shares seats and areas with the one before
 * unless the chart changed. */
struct body {
    struct chart_cell *chart;
    uint32_t *seats; /* one word each, see seats.c */
    struct area_use *areas;
    uint32_t counts[SEAT_STATUS_COUNT]; /* kept here while another body is current */
    uint64_t seat_sum;                  /* likewise; part of the digest */
    bool open;
    uint8_t ruleset_len, currency_len;
    uint32_t attributes_len;
    char text[]; /* attributes, ruleset, currency */
};

struct event_object {
    struct event pub; /* first: struct event * is struct event_object * */
    struct body *body;
    uint64_t seat_sum;
    uint64_t hash;        /* of what changes only with the body */
    bool sold;            /* has had an order: currency is fixed */
    uint32_t first, last; /* orders whose first place is here, by serial */
    uint32_t *extra;      /* slots of other orders with places here, by serial */
    uint32_t extra_len, extra_cap;
    uint32_t next, prev;      /* events by number */
    uint32_t chain;           /* table by id */
    uint32_t snapshot_head;   /* snapshot epoch in which its head was written */
    uint32_t snapshot_blocks; /* likewise its blocked seats */
    uint8_t id_len;
    char id[];
};

struct kv_node {
    struct node node; /* by key, in s->kv */
    uint32_t epoch;   /* snapshot epoch in which it was written or made */
    uint32_t value_len;
    char text[]; /* key, value */
};

/* A remembered answer: fixed size, in a ring of pages, oldest first. */
struct result_entry {
    uint32_t key[4]; /* two hashes of (user, request) */
    uint32_t args[2], index_low, time_low;
    uint16_t index_high, time_high;
    uint16_t code, spare;
    uint32_t slot[2], serial[2]; /* orders: serial tells whether the slot is still theirs */
    uint32_t chain;
}; /* words of 4 bytes throughout: 60 bytes, with its bucket 64 */

#define RING_SHIFT 9
struct ring {
    struct result_entry **pages; /* circular directory of 2^k pages */
    uint32_t pages_cap;
    uint64_t head, tail; /* positions: [head, tail) are there */
    uint64_t committed;  /* head once drops in flight are undone */
    uint64_t keep;       /* entries from here are in memory: a snapshot may need them */
};

struct name {
    uint32_t id, chain;
    uint32_t len;
    char text[];
};

struct policy_object {
    struct policy_record pub;
    uint64_t hash;
    uint32_t refs; /* owners: the list or undo, a snapshot */
    char text[];
};

struct blob_object { /* a cluster record */
    struct node node;
    uint32_t len;
    char text[]; /* name, bytes */
};

/* ---- Undo ------------------------------------------------------------------------------ */

enum undo_kind {
    UNDO_ORDER,    /* slot: order `old` became `new`; NULL: none */
    UNDO_RENUMBER, /* the same, seats only got other numbers (new chart) */
    UNDO_SEAT,     /* block, unblock: event, seat, words */
    UNDO_EVENT,    /* event object came or went */
    UNDO_BODY,     /* event version */
    UNDO_TOUCH,    /* event's index and `sold` */
    UNDO_CHART,    /* chart cell came, went or was replaced */
    UNDO_KV,
    UNDO_RESULT,      /* one more in the ring */
    UNDO_RESULT_DROP, /* `word` oldest fewer */
    UNDO_NAME,        /* one more name */
    UNDO_POLICY,      /* one more; old: the one that fell off the end */
    UNDO_RECORD,
};

struct undo {
    uint8_t kind;
    uint8_t flags_old, flags_new; /* touch: sold */
    uint32_t effects_at;          /* length of the transaction's effects before this effect */
    uint32_t number;              /* slot or event number */
    uint32_t word;                /* seat number or count */
    union undo_side {
        void *p;
        uint64_t u;
    } old, new;
};

struct group {
    struct undo *records;
    size_t len, cap;
    uint64_t time_before, index_before, time_ms, index;
};

struct snapshot;

struct store {
    struct slab slab;
    uint64_t time_ms, index;
    uint64_t sum; /* of all objects' hashes: the digest but for the few scalars */

    struct pool records, pairs, customers;
    struct table orders, pair_table, customer_table, event_table, name_table, result_table;
    struct heap held, ended;
    uint64_t next_serial;
    uint64_t orders_live, orders_ended;

    struct event_object **events; /* by number */
    uint32_t events_cap, next_event, events_total;
    uint32_t event_first, event_last;
    struct node *charts, *kv, *blobs;
    uint64_t charts_total, kv_total;
    uint32_t blobs_total;
    struct name **names; /* by id; 0 is none */
    uint32_t names_len, names_cap;
    struct policy_object *policies[POLICIES_KEPT]; /* oldest first */
    uint32_t policies_len;
    struct ring results;

    /* Groups: oldest first, a circular list; the newest may be open. */
    struct group *groups;
    unsigned groups_cap, groups_first, groups_len;
    bool group_open, tx_open, rewound;
    size_t tx_start; /* in the open group's records */
    uint32_t effect_start;
    struct buf effects;
    uint64_t time_now, index_now; /* kept while rewound */

    struct snapshot *snapshot; /* the one being written */
    uint32_t snapshot_epoch;

    uint32_t scratch[ORDER_SEATS_MAX]; /* words of seats while a party is checked */
};

/* seats.c: a word is 0 when free, else status << 30 | slot (taken) or name id (blocked). */
#define WORD_SHIFT 30
#define WORD_MASK  ((1u << WORD_SHIFT) - 1)
static inline enum seat_status word_status(uint32_t word)
{
    return (enum seat_status)(word >> WORD_SHIFT);
}
uint64_t seat_hash(uint32_t event, uint32_t seat, uint32_t word);
void seat_set(struct store *s, struct event_object *ev, uint32_t seat, uint32_t word);
int seat_refuse(const struct event_object *ev, uint32_t seat, uint32_t word, struct error *e);
/* Can these places be taken (by the order in `slot`, whose own places count as free;
 * 0: by a new one)? Changes nothing. */
int places_check(struct store *s, uint32_t slot, const struct place *places, uint32_t count,
                 bool overbook, struct error *e);
void places_apply(struct store *s, uint32_t slot, const struct order *o, bool take);

/* customers.c */
bool customers_init(struct store *s);
void customer_prefetch(const struct store *s, struct span id);
struct customer *customer_find(const struct store *s, struct span id);
struct customer *customer_intern(struct store *s, struct span id); /* a reference; NULL: memory */
void customer_unref(struct store *s, struct customer *c);
static inline struct customer *customer_of(const struct order *o)
{
    return (struct customer *)((uintptr_t)o->customer - offsetof(struct customer, id));
}
uint32_t pair_number(const struct store *s, uint32_t event, uint32_t customer); /* 0: none */
struct pair *pair_find(const struct store *s, uint32_t event, uint32_t customer);
void pair_add(struct store *s, uint32_t event, uint32_t customer, bool booked, int64_t places);

/* orders.c */
bool orders_init(struct store *s);
static inline struct record *record_at(const struct store *s, uint32_t slot)
{
    return pool_at(&s->records, slot);
}
uint32_t order_find(const struct store *s, struct span id); /* slot or 0 */
void order_prefetch(const struct store *s, struct span id);
/* A version with room for places; references the customer. head: what to copy, or NULL. */
struct order *order_make(struct store *s, const struct order *head, struct span id,
                         struct customer *customer, const struct place *places, uint32_t count,
                         struct span metadata);
void order_free(struct store *s, struct order *o);
size_t order_bytes(const struct order *o);
uint64_t order_hash(const struct order *o, uint64_t serial);
/* Memory for replacing any version by `to`. */
bool order_reserve(struct store *s, const struct order *to);
/* The one change of an order, in either direction; cannot fail. first: it is made now,
 * else links of an earlier time are taken up again. */
void order_swap(struct store *s, uint32_t slot, struct order *from, struct order *to, bool first);
void order_renumber(struct store *s, uint32_t slot, struct order *from, struct order *to);

/* lists.c: orders by event and by customer */
bool lists_reserve(struct store *s, const struct order *to);
void lists_add(struct store *s, uint32_t slot, const struct order *o, bool first);
void lists_remove(struct store *s, uint32_t slot, const struct order *o);
void lists_move(struct store *s, uint32_t slot, const struct order *from, const struct order *to);

/* events.c */
bool events_init(struct store *s);
struct event_object *event_at(const struct store *s, uint32_t number); /* NULL: none */
struct event_object *event_find(const struct store *s, struct span id);
uint64_t event_live_places(const struct event_object *ev);
void event_link(struct store *s, struct event_object *ev, bool there);
void event_swap_body(struct store *s, struct event_object *ev, struct body *to);
void event_set_touch(struct store *s, struct event_object *ev, uint64_t index, bool sold);
void event_free(struct store *s, struct event_object *ev);
void body_free(struct store *s, struct body *b, const struct body *keep);
struct body *body_make(struct store *s, struct chart_cell *chart, struct span attributes,
                       struct span ruleset, struct span currency, bool open);
bool body_alloc_seats(struct store *s, struct body *b);
struct event_object *event_make(struct store *s, uint32_t number, struct span id);
struct chart_cell *chart_cell_find(const struct store *s, struct span id);
struct chart_cell *chart_cell_make(struct store *s, struct span id, struct chart *chart);
void chart_cell_link(struct store *s, struct chart_cell *c, bool there);
void chart_cell_unref(struct store *s, struct chart_cell *c);

/* kv.c */
struct kv_node *kv_make(struct store *s, struct span key, struct span value);
void kv_link(struct store *s, struct kv_node *n, bool there);
void kv_free(struct store *s, struct kv_node *n);

/* results.c */
bool results_init(struct store *s);
void results_close(struct store *s);
static inline uint64_t results_total(const struct store *s)
{
    return s->results.tail - s->results.head;
}
struct result_entry *result_at(const struct store *s, uint64_t at);
bool results_reserve(struct store *s);
void result_key(struct span user, struct span request, uint32_t key[4]);
struct result_entry *result_find(const struct store *s, const uint32_t key[4]);
struct result_entry *result_push(struct store *s);  /* fill it, then results_link */
void results_link(struct store *s, bool there);     /* the newest, in or out */
void results_drop(struct store *s, uint64_t count); /* the oldest */
void results_restore(struct store *s, uint64_t count);
void results_forget(struct store *s); /* a drop has committed or a snapshot has ended */
uint64_t result_time(const struct result_entry *r);
uint64_t result_index(const struct result_entry *r);

/* names.c: ticket types and reasons; records.c: policies and cluster records */
bool names_init(struct store *s);
uint32_t name_find(const struct store *s, struct span text); /* 0: none */
struct name *name_make(struct store *s, struct span text);   /* with memory reserved for it */
void name_link(struct store *s, struct name *n, bool there);
void name_free(struct store *s, struct name *n);
struct policy_object *policy_make(struct store *s, const struct policy_record *p);
void policy_unref(struct store *s, struct policy_object *p);
void policy_push(struct store *s, struct policy_object *p, struct policy_object *fallen);
void policy_pop(struct store *s, struct policy_object *p, struct policy_object *fallen);
struct blob_object *blob_make(struct store *s, struct span name, struct span bytes);
void blob_link(struct store *s, struct blob_object *b, bool there);
void blob_free(struct store *s, struct blob_object *b);

/* undo.c */
bool undo_reserve(struct store *s, size_t count);
/* Does it, forward or backward, without memory. */
void undo_apply(struct store *s, const struct undo *u, bool forward, bool first);
/* Applies for the first time and pushes. Reserve before. */
void change(struct store *s, struct undo u);
void undo_discard(struct store *s, const struct undo *u, bool committed);
void snapshot_barrier(struct store *s, const struct undo *u); /* before it is done */
void undo_down_to(struct store *s, size_t len);               /* of the newest group */
struct group *group_nth(const struct store *s, unsigned i);   /* 0: oldest in flight */
static inline struct group *group_newest(const struct store *s)
{
    return group_nth(s, s->groups_len - 1);
}

/* do_order.c, do_event.c, do_misc.c: one function per effect. On an error they may
 * leave changes behind that do.c takes back. */
int do_take(struct store *s, const struct effect *f, struct error *e);
int do_confirm(struct store *s, const struct effect *f, struct error *e);
int do_extend(struct store *s, const struct effect *f, struct error *e);
int do_finish(struct store *s, const struct effect *f, struct error *e);
int do_reseat(struct store *s, const struct effect *f, struct error *e);
int do_split(struct store *s, const struct effect *f, struct error *e);
int do_amend(struct store *s, const struct effect *f, struct error *e);
int do_order_drop(struct store *s, const struct effect *f, struct error *e);
int do_forget(struct store *s, const struct effect *f, struct error *e);
int do_chart_put(struct store *s, const struct effect *f, struct error *e);
int do_event_put(struct store *s, const struct effect *f, struct error *e);
int do_event_set(struct store *s, const struct effect *f, struct error *e);
int do_event_remove(struct store *s, const struct effect *f, struct error *e);
int do_block(struct store *s, const struct effect *f, struct error *e);
int do_unblock(struct store *s, const struct effect *f, struct error *e);
int do_kv_set(struct store *s, const struct effect *f, struct error *e);
int do_result(struct store *s, const struct effect *f, struct error *e);
int do_result_drop(struct store *s, const struct effect *f, struct error *e);
int do_policy_put(struct store *s, const struct effect *f, struct error *e);
int do_record_set(struct store *s, const struct effect *f, struct error *e);
int no_memory(struct error *e);
/* Asks for the memory that do_take will touch; changes nothing. */
void take_prefetch(const struct store *s, const struct effect *f);
/* do.c: replaces (NULL: makes, drops) an order and touches its events. */
int change_order(struct store *s, uint32_t slot, struct order *to, struct error *e);
/* A fresh slot with the next serial, for change_order; 0: no memory. */
uint32_t order_slot(struct store *s);
int touch_event(struct store *s, struct event_object *ev, bool sold, struct error *e);
int intern_name(struct store *s, struct span text, uint32_t *id, struct error *e);

/* check.c */
int check_order(const struct store *s, uint32_t slot, struct error *e);
int check_event(const struct store *s, const struct event_object *ev, struct error *e);
uint64_t digest_sum(const struct store *s); /* recomputed from scratch */
uint64_t digest_of(const struct store *s, uint64_t sum);

/* Hash seeds: one per kind of object. */
enum {
    SEED_ORDER = 1,
    SEED_EVENT,
    SEED_SEAT,
    SEED_CHART,
    SEED_KV,
    SEED_RESULT,
    SEED_NAME,
    SEED_POLICY,
    SEED_RECORD,
    SEED_CUSTOMER
};
uint64_t kv_hash(const struct kv_node *n);
uint64_t result_hash(const struct result_entry *r);
uint64_t name_hash(const struct name *n);
uint64_t blob_hash(const struct blob_object *b);
uint64_t event_touch_hash(const struct event_object *ev);

/* snapshot_write.c: write barrier, called before an object changes. */
void snapshot_before_order(struct store *s, uint32_t slot);
void snapshot_before_event(struct store *s, struct event_object *ev);
void snapshot_before_blocks(struct store *s, struct event_object *ev);
void snapshot_before_kv(struct store *s, struct kv_node *old, struct kv_node *fresh);
uint64_t snapshot_results_keep(const struct store *s); /* UINT64_MAX: nothing */

#endif
