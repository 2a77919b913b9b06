/* One peer connection, either side: the handshake and the authenticated frames.
 *
 * transport.c owns connections and decides who may talk; this part only proves who is
 * there and carries frames. Wire format: docs/wire.md. */
#ifndef USHER_RAFTIO_TRANSPORT_CONN_H
#define USHER_RAFTIO_TRANSPORT_CONN_H

#include "raftio/transport.h"
#include "raftio/transport_crypto.h"

/* State             who       waits for                 what holds (invariant)
 * ANSWER            dialer    the acceptor's greeting   our greeting is on its way, nothing known
 * VERDICT           dialer    welcome or refusal        the acceptor has proved the secret
 * GREETING          acceptor  the dialer's greeting     nothing sent, nothing known
 * PROOF             acceptor  the dialer's proof        our proof is sent, the dialer unknown
 * UP                both      frames                    both have proved, both have admitted
 * LINGER            both      the other side's close    a refusal is sent, input is ignored
 * CLOSED            both      the stream's end          `down` was called, nothing more will be */
#define CONN_STATES(X)                                                                             \
    X(ANSWER)                                                                                      \
    X(VERDICT)                                                                                     \
    X(GREETING)                                                                                    \
    X(PROOF)                                                                                       \
    X(UP)                                                                                          \
    X(LINGER)                                                                                      \
    X(CLOSED)
enum conn_state {
#define X(name) CONN_##name,
    CONN_STATES(X)
#undef X
};

/* Why a connection ended, for the log line and the pace of redialling. */
enum conn_fault {
    FAULT_LOST,    /* the network, or the other side went away */
    FAULT_SILENT,  /* a deadline passed */
    FAULT_BROKEN,  /* bytes that no honest peer sends: bad length, bad MAC */
    FAULT_VERSION, /* another protocol version */
    FAULT_SECRET,  /* another secret */
    FAULT_REFUSED, /* one side refused the other by name */
};

struct conn;

struct conn_hooks {
    /* The peer has proved the secret: may it talk to us? Also called again when its
     * cluster id changes from 0. 0 or an error that is sent to it. */
    int (*judge)(void *arg, struct conn *c, struct error *e);
    void (*up)(void *arg, struct conn *c);
    void (*frame)(void *arg, struct conn *c, enum transport_channel ch, const uint8_t *data,
                  size_t len);
    /* Exactly once, unless conn_close() came first. `told`: the reason came from the
     * other side; it can be trusted when c->proved. */
    void (*down)(void *arg, struct conn *c, enum conn_fault fault, bool told,
                 const struct error *why);
    /* Last; c is freed after it. */
    void (*gone)(void *arg, struct conn *c);
};

/* What does not differ between the connections of one transport. */
struct conn_shared {
    struct env *env;
    uint8_t key[KEY_BYTES]; /* made from the secret */
    uint64_t node_id;
    uint32_t version, feature_level;
    char address[256];
    uint64_t (*cluster_id)(void *arg);
    void *arg;
};

/* The longest greeting: header, identity with the longest address. */
#define GREETING_BYTES_MAX  (12 + NONCE_BYTES + 8 + 8 + 4 + 4 + 1 + 255)
/* The longest message before authentication: an answer, or a proof with a refusal. */
#define HANDSHAKE_BYTES_MAX 1024

struct conn {
    const struct conn_shared *shared;
    const struct conn_hooks *hooks;
    void *arg;  /* of the hooks */
    void *link; /* the owner's own */
    struct env_stream *stream;
    enum conn_state state;
    bool dialer, proved; /* proved: the peer has */
    struct transport_peer peer;
    uint64_t opened_ms, since_ms; /* since_ms: entered this state */
    uint64_t up_ms, heard_ms, said_ms;
    /* Handshake: both greetings as sent (the transcript), and bytes not yet whole. */
    uint8_t hello[GREETING_BYTES_MAX], answer[GREETING_BYTES_MAX];
    size_t hello_len, answer_len;
    uint8_t small[HANDSHAKE_BYTES_MAX];
    size_t small_len;
    /* Frames. */
    struct mac *mac_out, *mac_in;
    uint64_t count_out, count_in;
    struct buf in;            /* a frame not yet whole */
    uint64_t in_since_ms;     /* when its first byte came */
    struct conn *prev, *next; /* the owner's list */
};

/* Takes the stream over in any case; NULL when memory fails (the stream is closed then). */
struct conn *conn_new(const struct conn_shared *shared, const struct conn_hooks *hooks, void *arg,
                      struct env_stream *stream, bool dialer);
/* Once, right after: opens the stream, and the dialer greets. */
void conn_start(struct conn *c);
/* Queues a frame; takes b's bytes. False: not UP, too big, no memory. */
bool conn_send(struct conn *c, enum transport_channel ch, struct buf *b);
/* Ends it without calling `down`; `gone` follows. */
void conn_close(struct conn *c);
/* Sends the reason to the other side, then ends it with `down`. Only when proved. */
void conn_refuse(struct conn *c, const struct error *why);
/* Called now and then: deadlines and keep-alives. */
void conn_tick(struct conn *c, uint64_t now_ms);

const char *conn_state_name(enum conn_state s);

#endif
