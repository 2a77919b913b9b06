/* Links between nodes: authenticated, ordered frames over env streams.
 *
 * Each side dials the other for what it sends (one connection per peer and
 * direction), so a link carries frames one way; answers come on the peer's own
 * link. Handshake: mutual proof of the cluster secret with fresh nonces
 * (HMAC-SHA-256 over both nonces, protocol version, cluster id, node ids and
 * addresses); then every frame carries a MAC under a key derived from the nonces
 * and a counter, so a replayed, reordered or altered frame ends the connection.
 * Without a secret the same code runs with an empty one (loopback only).
 *
 * Before the handshake is over nothing reaches the cluster. A node that is not a
 * member of any cluster (founding, joining) handshakes with cluster id 0; which
 * pairs may talk is the cluster's decision (admit callback).
 *
 * Frames larger than FRAME_BYTES_MAX are refused on both sides. A link that is
 * down drops what is sent (raft and the service retry); it reconnects with backoff
 * and jitter (20 ms to 1 s). */
#ifndef USHER_RAFTIO_TRANSPORT_H
#define USHER_RAFTIO_TRANSPORT_H

#include "base/buf.h"
#include "base/env.h"
#include "base/error.h"

struct transport;

/* First bytes of a peer connection: what the listener sniffs. */
#define TRANSPORT_MAGIC       "\0USHER1\n"
#define TRANSPORT_MAGIC_BYTES 8

struct transport_peer {
    uint64_t node_id, cluster_id;
    char address[256]; /* the one it claims and proved to own a secret for */
    uint32_t version;  /* program version, for rolling upgrades */
    uint32_t feature_level;
};

/* Channels multiplex a link; the content is the user's. */
enum transport_channel {
    CHANNEL_RAFT = 1,    /* cluster: raft messages (raftio/message.h) */
    CHANNEL_CLUSTER = 2, /* cluster: founding, rounds, clocks, digests, snapshot chunks */
    CHANNEL_SERVICE = 3, /* service: forwarded requests and answers */
};

struct transport_options {
    struct span secret; /* may be empty */
    uint64_t node_id;
    const char *address; /* own advertised address */
    uint32_t version, feature_level;
    /* The cluster id to show now (0 while in none). */
    uint64_t (*cluster_id)(void *arg);
    /* May this peer talk to us? Called on both sides after the proof. 0, or an error
     * that is sent to the other side as text and logged there once. */
    int (*admit)(void *arg, const struct transport_peer *peer, struct error *e);
    /* A whole authenticated frame. The bytes are valid during the call only. */
    void (*frame)(void *arg, const struct transport_peer *peer, enum transport_channel ch,
                  const uint8_t *data, size_t len);
    /* The link *to* an address came up or went down (with the reason). */
    void (*link)(void *arg, const char *address, bool up, const struct transport_peer *peer,
                 const struct error *why);
    void *arg;
};

int transport_new(struct env *env, const struct transport_options *o, struct transport **out,
                  struct error *e);
/* Closes everything, then cb. */
void transport_close(struct transport *t, void (*cb)(void *arg), void *arg);

/* Keeps a link to this address from now on / no longer. Idempotent. */
void transport_connect(struct transport *t, const char *address);
void transport_disconnect(struct transport *t, const char *address);
bool transport_is_up(const struct transport *t, const char *address);
/* Queues a frame; takes b's bytes (empties b). False when the link is down or its
 * queue is over 64 MiB (the frame is dropped). */
bool transport_send(struct transport *t, const char *address, enum transport_channel ch,
                    struct buf *b);
size_t transport_queued(const struct transport *t, const char *address); /* bytes */
/* An accepted connection whose first bytes are TRANSPORT_MAGIC (not yet consumed). */
void transport_accept(struct transport *t, struct env_stream *stream);

#endif
