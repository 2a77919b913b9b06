/* Frames of CHANNEL_CLUSTER: everything the nodes tell each other that is not a
 * libraft message. First byte: the kind; then fixed fields, little-endian. */
#ifndef USHER_CLUSTER_WIRE_H
#define USHER_CLUSTER_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/limits.h"

enum wire_kind {
    WIRE_HELLO = 1,       /* who I am and what I have: founding and joining */
    WIRE_ASK = 2,         /* founder: promise yourself to this cluster id */
    WIRE_PROMISE = 3,     /* done, durably */
    WIRE_CONFIG = 4,      /* the first configuration, the same bytes for all */
    WIRE_CLOCK = 5,       /* my wall clock */
    WIRE_ROUND = 6,       /* leader: do you still follow term T? */
    WIRE_ECHO = 7,        /* yes */
    WIRE_DIGEST_ASK = 8,  /* my digest before index I is D; yours? */
    WIRE_DIGEST = 9,      /* answer */
    WIRE_SNAP_BEGIN = 10, /* a snapshot follows in chunks */
    WIRE_SNAP_CHUNK = 11,
    WIRE_SNAP_ACK = 12,
    WIRE_COMMIT = 13,       /* leader: this has committed */
    WIRE_CHANGE_ASK = 14,   /* to the leader: carry out this change, or how far is it? */
    WIRE_CHANGE_STATE = 15, /* its answer */
    WIRE_VITALS = 17,       /* how I am */
    WIRE_PING = 18,         /* a time of mine */
    WIRE_PONG = 19,         /* the same back */
    WIRE_REMOVED = 16,      /* you are in no configuration since entry I */
    WIRE_INDEX_ASK = 32,    /* to the leader: up to where is everything acknowledged? */
    WIRE_INDEX = 33,        /* its answer */
};

enum hello_state { HELLO_EMPTY, HELLO_PROMISED, HELLO_MEMBER };
enum hello_known {
    HELLO_STRANGER, /* the sender's cluster does not know you */
    HELLO_KNOWN,    /* it does: join */
    HELLO_CONFIG,   /* it does, and its first configuration follows */
};

struct wire_hello {
    uint8_t state, known;
    bool answer; /* please answer with a hello */
    uint64_t cluster_id, founder_id;
    unsigned nodes_count;
    struct span nodes[CLUSTER_MEMBERS_MAX];
};

struct wire_snapshot {
    uint64_t transfer; /* chosen by the sender, tells transfers apart */
    uint64_t raft_term, index, term, bytes;
    struct span meta; /* snapshot_meta_put */
};

struct wire_change {
    uint64_t id, timeout_ms;
    uint8_t kind;       /* enum change_kind */
    bool force, cancel; /* cancel: forget it, if it is not done yet */
    struct span address, other;
};

struct wire_change_state {
    uint64_t id, match, last, sent, total;
    uint8_t stage, code; /* enum change_stage, enum error_code */
    struct span text, hint;
};

enum snap_ack { SNAP_OK, SNAP_DONE, SNAP_FAILED };

void wire_put_hello(struct buf *b, const struct wire_hello *h);
int wire_get_hello(struct reader *r, struct wire_hello *h);
void wire_put_snapshot(struct buf *b, const struct wire_snapshot *s);
int wire_get_snapshot(struct reader *r, struct wire_snapshot *s);
void wire_put_change(struct buf *b, const struct wire_change *a);
int wire_get_change(struct reader *r, struct wire_change *a);
void wire_put_change_state(struct buf *b, const struct wire_change_state *s);
int wire_get_change_state(struct reader *r, struct wire_change_state *s);
/* kind and up to three words: the small frames. */
void wire_put_words(struct buf *b, enum wire_kind kind, unsigned n, uint64_t w0, uint64_t w1,
                    uint64_t w2);
/* Reads exactly n words to the end of the frame. False when malformed. */
bool wire_get_words(struct reader *r, unsigned n, uint64_t *w);

#endif
