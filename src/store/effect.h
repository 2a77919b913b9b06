/* Effects: the plain data that goes through Raft. A policy decides, effects are
 * what it decided; followers apply them in C and run no policy (design.md 2).
 *
 * Strings are spans into the caller's memory; store_do() copies what it keeps. */
#ifndef USHER_STORE_EFFECT_H
#define USHER_STORE_EFFECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/* One row per effect: name, wire tag. Tags are for ever. */
#define EFFECT_MAP(X)                                                                              \
    X(EFFECT_CHART_PUT, 1)    /* id, encoded chart */                                              \
    X(EFFECT_EVENT_PUT, 2)    /* new event */                                                      \
    X(EFFECT_EVENT_SET, 3)    /* change attributes, ruleset, chart, open */                        \
    X(EFFECT_EVENT_REMOVE, 4) /* refused while live orders exist */                                \
    X(EFFECT_TAKE, 5)         /* new order, held or booked */                                      \
    X(EFFECT_CONFIRM, 6)      /* held -> booked; EXPIRED past its time */                          \
    X(EFFECT_EXTEND, 7)                                                                            \
    X(EFFECT_FINISH, 8) /* released | cancelled | expired, all or some places */                   \
    X(EFFECT_RESEAT, 9) /* other places, same order; with id2: exchanged with that order */        \
    X(EFFECT_SPLIT, 10) /* some places become a new order */                                       \
    X(EFFECT_AMEND, 11) /* metadata, price */                                                      \
    X(EFFECT_BLOCK, 12)                                                                            \
    X(EFFECT_UNBLOCK, 13)                                                                          \
    X(EFFECT_KV_SET, 14)      /* value empty: delete */                                            \
    X(EFFECT_RESULT, 15)      /* remembered answer */                                              \
    X(EFFECT_RESULT_DROP, 16) /* results with time before `time_ms` */                             \
    X(EFFECT_ORDER_DROP, 17)  /* forget an ended order */                                          \
    X(EFFECT_FORGET, 18)      /* replace a customer's id, drop metadata */                         \
    X(EFFECT_POLICY_PUT, 19)  /* version must be newest + 1 */                                     \
    X(EFFECT_RECORD_SET, 20)  /* cluster record (feature level, ...) */                            \
    X(EFFECT_EMIT, 21)        /* tx:emit: changes nothing, carried for hooks */

enum effect_kind {
#define X(name, tag) name = tag,
    EFFECT_MAP(X)
#undef X
};

struct place; /* store.h */

/* Which optional members of EFFECT_EVENT_SET / EFFECT_AMEND are present. */
enum {
    SET_ATTRIBUTES = 1,
    SET_RULESET = 2,
    SET_CHART = 4,
    SET_OPEN = 8,
    SET_CURRENCY = 16,
    SET_METADATA = 32,
    SET_PRICE = 64
};

struct effect {
    enum effect_kind kind;
    unsigned set;     /* SET_* */
    struct span id;   /* chart, event, order, kv key, customer, record name, emit name */
    struct span id2;  /* event put/set: chart id; split: new order id; forget: new customer;
                         reseat: the order that has the new seats and gets the old ones;
                         result: order */
    struct span id3;  /* result: second order */
    struct span text; /* encoded chart, attributes, metadata, kv value (JSON), block reason,
                         policy bundle, record bytes, emit payload (JSON) */
    struct span ruleset, currency;
    struct span customer;       /* take */
    struct span user, request;  /* result; policy: user = author */
    struct span sha256;         /* policy */
    const struct place *places; /* take, finish (some), reseat, split, block, unblock */
    /* Ticket type of each place as text, NULL when no place has one; store_do interns
     * them and ignores place.type when this is given. */
    const struct span *types;
    uint32_t places_count; /* finish: 0 = all */
    uint32_t number;       /* event put: event number, must be the store's next */
    uint32_t version;      /* policy version; take/reseat: policy that judged */
    uint64_t until_ms;     /* take (0: booked at once), extend */
    uint64_t args_digest;  /* result */
    uint64_t time_ms;      /* result drop */
    int64_t price;         /* take, reseat, split (of the new order), amend */
    int code;              /* result: 0 or enum error_code; finish: enum order_status */
    bool open;             /* event put/set */
    bool unjudged;         /* take, reseat: rules=false */
    bool overbook;         /* take, reseat: area capacity may be exceeded */
    bool late;             /* take: a late confirm of an expired order (id) */
};

void effect_encode(const struct effect *f, struct buf *out);
/* Reads one effect; spans point into the reader's bytes, places and types into
 * `scratch` (grown as needed). ERR_CORRUPT when malformed. */
int effect_decode(struct reader *r, struct effect *f, struct buf *scratch, struct error *e);

/* ---- Entries: what a RAFT_COMMAND holds (entry.c) ------------------------- */

#define ENTRY_VERSION 1

struct entry_head {
    uint32_t version, feature_level;
    uint64_t time_ms, digest_before;
    uint32_t transactions;
};

struct entry_tx {
    struct span user, command, args /* encoded argv: varint count, then bytes each */;
    struct span request;
    int code; /* 0 granted, else the refusal remembered */
    struct span effects;
};

/* Usage: begin, add ..., end. The digest is the one before the group's first effect. */
void entry_begin(struct buf *out, uint64_t time_ms, uint64_t digest_before, uint32_t feature_level);
void entry_add(struct buf *out, const struct entry_tx *tx);
void entry_end(struct buf *out, uint32_t transactions); /* patches the count */

int entry_open(struct reader *r, const void *data, size_t len, struct entry_head *head,
               struct error *e);
int entry_next(struct reader *r, struct entry_tx *tx, struct error *e);

struct store;
/* Applies a committed entry as one group (begin, every effect, seal), after
 * comparing the digest: ERR_CONFLICT when it differs (this replica or the leader
 * is wrong), ERR_CORRUPT when an effect is refused. The caller then calls
 * store_changes() and store_group_commit(). On error the store is unchanged. */
int entry_apply(struct store *s, const void *data, size_t len, uint64_t index, struct error *e);

#endif
