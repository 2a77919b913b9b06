/* The snapshot's format; shared by snapshot_write.c, snapshot_item.c, snapshot_load.c
 * and snapshot_link.c.
 *
 *   head    8 bytes SNAPSHOT_MAGIC, u32 SNAPSHOT_VERSION
 *   blocks  u8 type, u32 length, the bytes, u64 checksum: XXH3 of type, length and
 *           bytes, seeded with the checksum before (first: that of the head)
 *
 *   META    first, once: time, index, next event, next serial, digest
 *   ITEMS   any number of small objects, each u8 kind and its members
 *   BLOB    a large object begins: kind, its short members, its length
 *   DATA    more of it; at most SNAPSHOT_BLOCK_BYTES each, nothing of another blob
 *           between (items may come between)
 *   END     last, once: how many of each kind were written
 *
 * Names and results come in their order. Other items come in any order, because a
 * write to an object that has not been reached yet puts the object's old version
 * into the stream at once. */
#ifndef USHER_STORE_SNAPSHOT_H
#define USHER_STORE_SNAPSHOT_H

#include "store/store_impl.h"

#define SNAPSHOT_MAGIC       "USHERSNP"
#define SNAPSHOT_VERSION     1
#define SNAPSHOT_HEAD_BYTES  12
#define SNAPSHOT_FRAME_BYTES 13 /* type, length, checksum */
/* Blocks are closed at about this size ... */
#define SNAPSHOT_BLOCK_BYTES (64 * 1024)
/* ... and exceed it by one item at most: an order with its metadata, a value. */
#define SNAPSHOT_BLOCK_MAX   (1024 * 1024)
/* Blocked seats are written by pages of this many seats. */
#define SNAPSHOT_SEATS_PAGE  8192

enum block_type { BLOCK_META = 1, BLOCK_ITEMS, BLOCK_BLOB, BLOCK_DATA, BLOCK_END };

enum item_kind {
    ITEM_CHART,  /* a blob */
    ITEM_POLICY, /* a blob */
    ITEM_NAME,
    ITEM_RECORD,
    ITEM_EVENT,
    ITEM_BLOCKED,
    ITEM_ORDER,
    ITEM_KV,
    ITEM_RESULT,
    ITEM_KINDS
};

struct snapshot_meta {
    uint64_t time_ms, index, next_serial, digest;
    uint32_t next_event;
};

/* snapshot_item.c: one item; the kind's byte is written by the put functions and has
 * been read by whoever calls a get function. Gets return false when malformed. */
void item_put_name(struct buf *out, const struct name *n);
void item_put_record(struct buf *out, const struct blob_object *b);
void item_put_event(struct buf *out, const struct event_object *ev);
/* Blocked seats among [first, end); nothing when there are none. */
bool item_put_blocked(struct buf *out, const struct event_object *ev, uint32_t first, uint32_t end);
void item_put_order(struct buf *out, const struct order *o, uint64_t serial);
void item_put_kv(struct buf *out, const struct kv_node *n);
void item_put_result(struct buf *out, const struct result_entry *r);
void meta_put(struct buf *out, const struct snapshot_meta *m);
bool meta_get(struct reader *r, struct snapshot_meta *m);

struct event_item {
    struct span id, chart, attributes, ruleset, currency;
    uint64_t index;
    uint32_t number;
    bool open, sold;
};
bool item_get_event(struct reader *r, struct event_item *out);

struct order_item {
    uint64_t serial, expires_ms, first_held_ms, changed_ms, index;
    int64_t price;
    uint32_t policy, places_count;
    uint8_t status, unjudged, overbook;
    struct span id, customer, metadata;
};
/* Then places_count times place_get. */
bool item_get_order(struct reader *r, struct order_item *out);
bool place_get(struct reader *r, struct place *p);
bool item_get_result(struct reader *r, struct result_entry *out);

uint64_t snapshot_checksum(const void *data, size_t len, uint64_t before);

/* ---- Loading ------------------------------------------------------------------------- */

struct staged_order {
    uint64_t serial;
    struct order *order;
};

struct store_loader {
    struct store *store;
    struct buf input; /* an incomplete block */
    uint64_t checksum;
    bool head_seen, meta_seen, ended;
    struct snapshot_meta meta;
    uint64_t counts[ITEM_KINDS];
    /* The blob being read. */
    bool blob_open;
    enum item_kind blob_kind;
    uint64_t blob_bytes;
    struct buf blob, blob_head;
    /* What waits for the rest: events for charts, blocked seats and orders for events. */
    struct buf events, blocked;
    struct staged_order *orders;
    size_t orders_len, orders_cap;
};

/* snapshot_link.c: puts what was staged into the store, checks everything. */
int loader_link(struct store_loader *l, struct error *e);
int loader_blob(struct store_loader *l, struct error *e); /* a complete blob */
int loader_bad(struct error *e, const char *what);

#endif
