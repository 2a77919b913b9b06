/* The replicated state: charts, events, orders, kv, results, policies.
 *
 * Deterministic and free of I/O, Lua, uv and raft. All writes are *effects*
 * (effect.h): store_do() checks one against the store's own invariants, applies
 * it, pushes an undo record and appends its encoded form to the transaction. The
 * leader calls it from the policy VM; other nodes call the same function with
 * effects decoded from a committed entry. One code path, no divergence.
 *
 * Nesting and life of a change:
 *
 *   store_group_begin(time, index)        one log entry
 *     store_tx_begin()                    one request
 *       store_do() ... store_do()
 *     store_tx_end() | store_tx_undo()
 *   store_group_seal()                    the group is now in flight (speculative)
 *   store_group_commit()                  oldest in-flight group: undo records dropped
 *   store_undo_all()                      every in-flight group, newest first
 *
 * Undo records are symmetric (each swaps an object with its other version), so
 * store_rewind() turns the speculative store into the committed view in place
 * and store_replay() turns it back: local reads and the start of a snapshot run
 * between the two. Nothing may be written in between.
 *
 * Invariants (store_check() verifies them all):
 *   S1 a seat has at most one live order, and order and seat point at each other
 *   S2 per event, counts per status add up to the chart's seats
 *   S3 the customer index equals the live orders
 *   S4 exactly the held orders have an expiry, and the expiry queue holds them
 *   S5 a held order past its time is never confirmed or extended
 *   S6 undo restores the digest exactly
 *   S7 area places taken never exceed capacity unless the effect says overbook
 */
#ifndef USHER_STORE_STORE_H
#define USHER_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "store/chart.h"
#include "store/effect.h"

struct store;

enum seat_status { SEAT_FREE, SEAT_HELD, SEAT_BOOKED, SEAT_BLOCKED, SEAT_STATUS_COUNT };
enum order_status { ORDER_HELD, ORDER_BOOKED, ORDER_RELEASED, ORDER_CANCELLED, ORDER_EXPIRED };

const char *seat_status_name(int status);  /* "free" */
const char *order_status_name(int status); /* "held" */
int order_status_parse(struct span name);  /* -1 when unknown */

/* One place of an order: a numbered seat, or `count` places of an area. */
struct place {
    uint32_t event;  /* event number (struct event.number) */
    uint32_t number; /* seat number in the chart, or PLACE_AREA | area number */
    uint32_t count;  /* 1 for a seat */
    uint32_t type;   /* ticket type: store_name() id, 0 for none */
    int64_t price;   /* minor units, for all `count` */
};
#define PLACE_AREA 0x80000000u
/* What `count` of its places cost: in proportion, rounded towards zero; the rest keeps the rest. */
static inline int64_t place_share(const struct place *p, uint32_t count)
{
    return count == p->count ? p->price
                             : p->price / p->count * count + p->price % p->count * count / p->count;
}

/* An order as everybody reads it; owned by the store, valid until the next
 * store_do/undo/commit/rewind/replay. A change makes a new version. Id and metadata
 * follow the places in memory (order_id, order_metadata): with pointers to them, an
 * order of two seats would not fit into 200 bytes. */
struct order {
    uint64_t expires_ms;    /* held: end of the hold; else 0 */
    uint64_t first_held_ms; /* when its first hold began; booked at once: creation */
    uint64_t changed_ms;    /* time of the last change */
    uint64_t index;         /* log index of the last change */
    int64_t price;          /* total, minor units */
    uint32_t policy;        /* version that judged the last take or reseat */
    uint32_t metadata_len;
    uint16_t places_count;
    uint8_t customer_len, id_len;
    uint8_t status;        /* enum order_status */
    uint8_t unjudged;      /* 1: granted with rules=false */
    uint8_t overbook;      /* 1: was allowed to exceed an area's capacity */
    uint8_t spare;         /* 0 */
    const char *customer;  /* customer_len bytes */
    struct place places[]; /* kept after the order has ended, for the record */
};
static inline struct span order_id(const struct order *o)
{
    return (struct span){ (const char *)(o->places + o->places_count), o->id_len };
}
/* JSON text as given; may be empty. */
static inline struct span order_metadata(const struct order *o)
{
    return (struct span){ order_id(o).data + o->id_len, o->metadata_len };
}
static inline struct span order_customer(const struct order *o)
{
    return (struct span){ o->customer, o->customer_len };
}
static inline bool order_live(const struct order *o) { return o->status <= ORDER_BOOKED; }

struct event {
    uint32_t number; /* serial, never reused; what effects and places carry */
    bool open;
    const struct chart *chart;
    struct span id, chart_id, attributes /* JSON text */, ruleset, currency /* "" or ISO 4217 */;
    uint64_t index; /* last change of the event or of one of its seats */
    uint32_t counts[SEAT_STATUS_COUNT];
};

struct area_use {
    uint32_t held, booked;
};

struct customer_use {
    uint32_t held, booked; /* places in live orders */
};

struct kv {
    struct span key, value; /* value: JSON text */
};

/* A remembered answer, at most 64 bytes in memory (lua.md 2). */
struct result {
    uint64_t args_digest, index, time_ms;
    int code;                  /* 0 or enum error_code */
    struct span order, order2; /* ids, may be empty */
};

struct policy_record {
    uint32_t version;
    uint64_t time_ms;
    struct span author, sha256 /* 64 hex digits */, bundle;
};

struct store *store_new(void); /* NULL: out of memory */
void store_free(struct store *s);

/* ---- Writing ---------------------------------------------------------- */

void store_group_begin(struct store *s, uint64_t time_ms, uint64_t index);
void store_tx_begin(struct store *s);
/* 0, or ERR_TAKEN, NOTFOUND, CONFLICT, EXPIRED, LIMIT, BADARG, TOOBIG, NOMEM with
 * the store unchanged. TAKEN messages name the seat and its state, never the
 * other customer. */
int store_do(struct store *s, const struct effect *f, struct error *e);
/* Savepoint inside a transaction: undoes what came after it. */
size_t store_tx_mark(const struct store *s);
void store_tx_undo_to(struct store *s, size_t mark);
/* Encoded effects of the open transaction (effect_decode reads them). Valid until
 * the next store_do/undo. */
struct span store_tx_effects(const struct store *s);
void store_tx_end(struct store *s);
void store_tx_undo(struct store *s);
void store_group_seal(struct store *s);   /* ends the group; it is now in flight */
void store_group_cancel(struct store *s); /* undoes and forgets the open group */
void store_group_commit(struct store *s); /* the oldest in-flight group */
void store_undo_all(struct store *s);     /* in-flight and open groups */
unsigned store_groups_in_flight(const struct store *s);

/* Seat and area changes of the oldest in-flight group, oldest first (call just
 * before store_group_commit): feeds watchers and commit hooks. */
struct change {
    const struct event *event; /* NULL id possible only while it is being removed */
    uint32_t number;           /* seat, or PLACE_AREA | area */
    uint32_t count;
    uint8_t from, to;          /* enum seat_status */
    const struct order *order; /* the order concerned, NULL for block/unblock */
};
void store_changes(struct store *s, void (*cb)(void *arg, const struct change *c), void *arg);
/* The events that the same group removed. */
void store_events_removed(struct store *s, void (*cb)(void *arg, const struct event *ev),
                          void *arg);

void store_rewind(struct store *s); /* to the committed view; nests not */
void store_replay(struct store *s);

/* ---- Reading ---------------------------------------------------------- */

/* Covers everything but the time, which entries carry themselves: beginning a group
 * leaves the digest alone. */
uint64_t store_digest(const struct store *s);
uint64_t store_time_ms(const struct store *s); /* time of the newest group applied */
uint64_t store_index(const struct store *s);   /* index of the newest group applied */
/* The newest entry that the state rests on: the open group's only once something in it has
 * changed, the open transaction left out when it is `undone` later. Entries that are none of the
 * store's, as a new leader's first, are named nowhere. */
uint64_t store_index_shown(const struct store *s, bool undone);
/* Only for tests and `debug tamper`: flips a seat without an effect. */
void store_tamper(struct store *s);

const struct event *store_event(const struct store *s, struct span id);
const struct event *store_event_number(const struct store *s, uint32_t number);
/* Events in order of creation; start with NULL. */
const struct event *store_event_next(const struct store *s, const struct event *after);
uint32_t store_event_total(const struct store *s);
uint32_t store_next_event(const struct store *s); /* number for the next EFFECT_EVENT_PUT */

enum seat_status store_seat(const struct store *s, const struct event *ev, uint32_t seat);
/* The live order on the seat, NULL when free or blocked. */
const struct order *store_seat_order(const struct store *s, const struct event *ev, uint32_t seat);
struct span store_seat_reason(const struct store *s, const struct event *ev,
                              uint32_t seat); /* block */
struct area_use store_area(const struct store *s, const struct event *ev, uint32_t area);
/* Status of all seats, one byte each, chart order: for maps and searches. */
void store_seats(const struct store *s, const struct event *ev, uint8_t *out);

const struct chart *store_chart(const struct store *s, struct span id);
/* Ids of charts, sorted bytewise, behind `after` (may be empty, or gone); until cb returns
 * false. */
void store_charts(const struct store *s, struct span after, bool (*cb)(void *arg, struct span id),
                  void *arg);
const struct order *store_order(const struct store *s, struct span id);
/* Places of the customer's live orders at the event; O(1). category -1: all, else
 * a chart category (then O(orders of that customer)). */
struct customer_use store_customer(const struct store *s, const struct event *ev,
                                   struct span customer, int category);
/* Orders matching a filter in order of creation, at most `limit`; resumes after
 * order id `after` (may be empty; when that order is gone nothing is told). Calls cb until
 * it returns false. Uses the customer or event index where the filter allows. */
struct order_filter {
    struct span customer;      /* empty: any */
    const struct event *event; /* NULL: any */
    int status;                /* enum order_status, -1: any, -2: live */
    uint64_t since_ms;         /* changed at or after */
    struct span after;
};
void store_orders(const struct store *s, const struct order_filter *f,
                  bool (*cb)(void *arg, const struct order *o), void *arg);
/* The held order that expires first, NULL when none. */
const struct order *store_next_expiry(const struct store *s);
/* Ended orders older than `before_ms`, oldest first, for dropping. */
const struct order *store_oldest_ended(const struct store *s);

bool store_kv(const struct store *s, struct span key, struct span *value);
/* Keys with the prefix, sorted bytewise, after `after`; until cb returns false. */
void store_keys(const struct store *s, struct span prefix, struct span after,
                bool (*cb)(void *arg, const struct kv *kv), void *arg);
bool store_result(const struct store *s, struct span user, struct span request, struct result *out);
uint64_t store_results_total(const struct store *s);
uint64_t store_oldest_result_ms(const struct store *s); /* UINT64_MAX when none */
/* Newest policy, or a given version; false when none. */
bool store_policy(const struct store *s, uint32_t version /* 0: newest */,
                  struct policy_record *out);
/* Interned small strings (ticket types). */
struct span store_name(const struct store *s, uint32_t id);
/* Cluster records: small named blobs that the cluster module replicates (feature
 * level, membership operation). Empty when absent. */
struct span store_record(const struct store *s, struct span name);

struct store_stats {
    uint64_t events, seats, orders_live, orders_ended, kv, results, charts, bytes;
};
void store_stats(const struct store *s, struct store_stats *out);
/* Verifies S1..S7; slow. 0 or ERR_CORRUPT naming the invariant and the object. */
int store_check(const struct store *s, struct error *e);

/* ---- Snapshots (snapshot.c) ------------------------------------------- */

/* A snapshot is written in bounded slices on the loop while the store lives on:
 * every object carries a mark; a write to an object that has not been written
 * yet first writes its old version (so the result is the state at begin). Begin
 * takes the committed view by itself (rewind, mark, replay). One at a time. */
struct snapshot;
int store_snapshot_begin(struct store *s, struct snapshot **out, struct error *e);
/* Appends at most `bytes` more bytes to out, perhaps none; *done when the last, checksummed
 * trailer has been written. Bounded work per call. */
int store_snapshot_next(struct snapshot *snap, size_t bytes, struct buf *out, bool *done,
                        struct error *e);
void store_snapshot_end(struct snapshot *snap);             /* also to abandon */
uint64_t store_snapshot_index(const struct snapshot *snap); /* state as of this log index */

/* What a snapshot says of itself; its first 256 bytes are enough. */
struct store_snapshot_facts {
    uint64_t time_ms, index, digest;
};
int store_snapshot_peek(const void *data, size_t len, struct store_snapshot_facts *out,
                        struct error *e);

/* Reads a snapshot into a fresh store; safe on a worker thread (touches nothing
 * shared). Verifies format, lengths, checksum, recomputes the digest and the
 * invariants. feed() in any piece sizes. */
struct store_loader;
struct store_loader *store_load_begin(void);
int store_load_feed(struct store_loader *l, const void *data, size_t len, struct error *e);
int store_load_end(struct store_loader *l, struct store **out, struct error *e); /* frees l */
void store_load_abort(struct store_loader *l);

#endif
