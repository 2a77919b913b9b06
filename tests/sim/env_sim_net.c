/* The simulated network: connections between addresses.
 *
 * A write becomes a chunk in the receiver's FIFO plus an "arrive" event; an arrive
 * event takes the front chunk into the receiver's inbox (the kernel's buffer), and
 * "flush" events hand the inbox to the code in pieces. Since arrivals take whatever
 * is in front, order holds however they are delayed. Arrivals that may not happen
 * now (direction blocked, inbox full) are counted in `stalled` and posted again later.
 *
 * Invariants
 *   N1 bytes arrive in order, without gaps, until the stream ends
 *   N2 `closed` comes exactly once and last; after net_close no data comes
 *   N3 a stream's memory lives as long as its node, so late events are harmless */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "env_sim_internal.h"

#define CONNECT_TIMEOUT_NS (3000 * MS_NS)
#define INBOX_BYTES_MAX    (256u * 1024)
#define PIECE_BYTES_MAX    (64u * 1024)

struct chunk {
    struct buf bytes;
    bool eof;
    struct chunk *next;
};

struct env_stream {
    struct node *node;
    struct env_stream *peer;
    const struct env_stream_events *events;
    void *arg;
    bool started, closing, dead, eof, flush_posted;
    int eof_status;
    struct chunk *incoming, **incoming_tail;
    uint64_t last_arrival_ns;
    unsigned stalled;
    struct buf inbox;
    size_t inbox_at;
    size_t queued;
    struct env_stream *next;
};

struct connect {
    struct node *node;
    char *address;
    env_connect_cb cb;
    void *arg;
    struct env_stream *stream;
    struct connect *prev, *next;
};

static uint64_t delay_ns(struct sim *sim)
{
    return rand_between(&sim->random, sim->network.delay_min_us, sim->network.delay_max_us) * US_NS;
}

static bool is_blocked(const struct env_stream *from, const struct env_stream *to)
{
    return from->node->sim->blocked[from->node->host->index][to->node->host->index];
}

/* ---- Receiving -------------------------------------------------------------------- */

static void drop_incoming(struct env_stream *s)
{
    while (s->incoming != NULL) {
        struct chunk *c = s->incoming;
        s->incoming = c->next;
        buf_free(&c->bytes);
        free(c);
    }
    s->incoming_tail = &s->incoming;
}

static void arrive(struct node *world, void *a, uint64_t b);
static void flush(struct node *node, void *a, uint64_t b);

static void unstall(struct env_stream *s)
{
    unsigned n = s->stalled;
    s->stalled = 0;
    for (unsigned i = 0; i < n; i++) {
        sim_post(s->node->sim, NULL, delay_ns(s->node->sim), "arrive", arrive, s, 0);
    }
}

static void post_flush(struct env_stream *s, uint64_t after_ns)
{
    if (s->started && !s->flush_posted && !s->dead && !s->closing) {
        s->flush_posted = true;
        sim_post(s->node->sim, s->node, after_ns, "flush", flush, s, 0);
    }
}

static void end_stream(struct env_stream *s, int status)
{
    s->dead = true;
    drop_incoming(s);
    buf_free(&s->inbox);
    s->inbox_at = 0;
    if (s->started) {
        s->events->closed(s->arg, status);
    }
}

static size_t piece_bytes(struct sim *sim, size_t available)
{
    size_t n = available < PIECE_BYTES_MAX ? available : PIECE_BYTES_MAX;
    if (n > 1 && sim_rand(sim, 100) < sim->network.split_percent) {
        uint64_t most = sim_rand(sim, 4) == 0 ? 16 : n;
        n = 1 + (size_t)sim_rand(sim, most < n ? most : n);
    }
    return n;
}

static void flush(struct node *node, void *a, uint64_t b)
{
    (void)b;
    struct env_stream *s = a;
    s->flush_posted = false;
    if (s->dead || s->closing) {
        return;
    }
    size_t available = s->inbox.len - s->inbox_at;
    if (available > 0) {
        size_t n = piece_bytes(node->sim, available);
        uint8_t *piece = sim_alloc(n);
        memcpy(piece, s->inbox.data + s->inbox_at, n);
        s->inbox_at += n;
        if (s->inbox_at == s->inbox.len) {
            buf_clear(&s->inbox);
            s->inbox_at = 0;
        }
        sim_trace(node->sim, node, "data", n, hash64(piece, n));
        s->events->data(s->arg, piece, n);
        free(piece);
    }
    if (s->dead || s->closing) {
        return;
    }
    if (s->inbox.len > s->inbox_at) {
        post_flush(s, rand_below(&node->sim->random, 20) * US_NS);
    } else if (s->eof) {
        end_stream(s, s->eof_status);
        return;
    }
    if (s->stalled > 0 && !is_blocked(s->peer, s)) {
        unstall(s);
    }
}

static void tell_drained(struct node *node, void *a, uint64_t b)
{
    (void)node;
    (void)b;
    struct env_stream *s = a;
    if (!s->dead && !s->closing && s->started && s->queued == 0 && s->events->drained != NULL) {
        s->events->drained(s->arg);
    }
}

/* The other kernel says that there is no such connection (any more). */
static void reset(struct node *world, void *a, uint64_t b)
{
    (void)world;
    (void)b;
    struct env_stream *s = a;
    if (!s->dead && !s->eof) {
        drop_incoming(s);
        s->eof = true;
        s->eof_status = ERR_IO;
        post_flush(s, 0);
    }
}

static void post_reset(struct env_stream *s)
{
    sim_post(s->node->sim, NULL, delay_ns(s->node->sim), "reset", reset, s, 0);
}

static void arrive(struct node *world, void *a, uint64_t b)
{
    (void)world;
    (void)b;
    struct env_stream *s = a;
    struct env_stream *from = s->peer;
    bool gone = s->dead || s->closing;
    bool full = s->inbox.len - s->inbox_at > INBOX_BYTES_MAX;
    if (is_blocked(from, s) || (!gone && (full || s->stalled > 0))) {
        s->stalled++;
        return;
    }
    if (gone) {
        /* Nobody here: a living kernel answers with a reset, a machine without
         * power does not. */
        if (s->node->host->powered) {
            post_reset(from);
        }
        return;
    }
    struct chunk *c = s->incoming;
    if (c == NULL || s->eof) {
        return;
    }
    s->incoming = c->next;
    if (c->next == NULL) {
        s->incoming_tail = &s->incoming;
    }
    if (c->eof) {
        s->eof = true;
    } else {
        buf_put(&s->inbox, c->bytes.data, c->bytes.len);
        from->queued -= c->bytes.len < from->queued ? c->bytes.len : from->queued;
        if (from->queued == 0) {
            sim_post(from->node->sim, from->node, 0, "drained", tell_drained, from, 0);
        }
    }
    buf_free(&c->bytes);
    free(c);
    post_flush(s, 0);
}

/* ---- Sending ------------------------------------------------------------------------- */

static void send_chunk(struct env_stream *s, struct buf bytes, bool eof)
{
    struct sim *sim = s->node->sim;
    struct env_stream *to = s->peer;
    struct chunk *c = sim_alloc(sizeof *c);
    c->bytes = bytes;
    c->eof = eof;
    *to->incoming_tail = c;
    to->incoming_tail = &c->next;
    uint64_t at = sim->now_ns + delay_ns(sim);
    to->last_arrival_ns = at > to->last_arrival_ns ? at : to->last_arrival_ns;
    sim_post(sim, NULL, to->last_arrival_ns - sim->now_ns, "arrive", arrive, to, bytes.len);
}

void net_write(struct env_stream *s, struct buf *b)
{
    struct buf bytes = *b;
    buf_init(b);
    if (bytes.len == 0 || s->dead || s->closing || s->eof) {
        buf_free(&bytes);
        return;
    }
    struct sim *sim = s->node->sim;
    sim_trace(sim, s->node, "send", bytes.len, hash64(bytes.data, bytes.len));
    s->queued += bytes.len;
    if (sim->messages.flip_ppm > 0 && sim_rand(sim, 1000000) < sim->messages.flip_ppm) {
        bytes.data[sim_rand(sim, bytes.len)] ^= (uint8_t)(1u << sim_rand(sim, 8));
        sim_count(sim, SIM_N_WIRE_FLIP);
    }
    send_chunk(s, bytes, false);
    if (sim->network.reset_ppm > 0 && sim_rand(sim, 1000000) < sim->network.reset_ppm) {
        sim_count(sim, SIM_N_RESET);
        post_reset(s);
        post_reset(s->peer);
    }
}

size_t net_queued(struct env_stream *s) { return s->queued; }

static void closed_here(struct node *node, void *a, uint64_t status)
{
    (void)node;
    struct env_stream *s = a;
    if (!s->dead) {
        end_stream(s, (int)status);
    }
}

void net_close(struct env_stream *s)
{
    if (s->dead || s->closing) {
        return;
    }
    s->closing = true;
    drop_incoming(s);
    struct sim *sim = s->node->sim;
    sim_post(sim, s->node, 0, "closed", closed_here, s, 0);
    if (s->eof || s->node->ghost) {
        return;
    }
    if (s->queued > 0 && sim_rand(sim, 2) == 0) {
        drop_incoming(s->peer); /* what had not left this machine never will */
    }
    send_chunk(s, (struct buf)BUF_INIT, true);
}

void net_start(struct env_stream *s, const struct env_stream_events *events, void *arg)
{
    ASSERT(!s->started);
    s->events = events;
    s->arg = arg;
    s->started = true;
    post_flush(s, 0);
}

/* ---- Connecting -------------------------------------------------------------------- */

static struct env_stream *stream_new(struct node *n)
{
    struct env_stream *s = sim_alloc(sizeof *s);
    s->node = n;
    s->incoming_tail = &s->incoming;
    s->next = n->streams;
    n->streams = s;
    return s;
}

static void connect_free(struct connect *c)
{
    struct sim *sim = c->node->sim;
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        sim->connects = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    free(c->address);
    free(c);
}

static void connect_done(struct node *node, void *a, uint64_t status)
{
    struct connect *c = a;
    env_connect_cb cb = c->cb;
    void *arg = c->arg;
    struct env_stream *s = c->stream;
    connect_free(c);
    if (status == 0 && node->ghost) {
        status = ERR_IO;
    }
    cb(arg, (int)status, status == 0 ? s : NULL);
}

static void accepted(struct node *node, void *a, uint64_t b)
{
    (void)b;
    struct env_stream *s = a;
    if (node->ghost || node->accept == NULL) {
        net_close(s);
        return;
    }
    node->accept(node->accept_arg, s);
}

static void connect_arrives(struct node *world, void *a, uint64_t b)
{
    (void)world;
    (void)b;
    struct connect *c = a;
    struct sim *sim = c->node->sim;
    const struct host *from = c->node->host;
    const struct host *to = sim_host(sim, c->address);
    bool silent = sim->blocked[from->index][to->index] || sim->blocked[to->index][from->index] ||
                  !to->powered;
    if (c->node->ghost || silent) {
        sim_post(sim, c->node, c->node->ghost ? 0 : CONNECT_TIMEOUT_NS, "connect failed",
                 connect_done, c, ERR_IO);
        return;
    }
    if (to->node == NULL || to->node->accept == NULL) {
        sim_post(sim, c->node, delay_ns(sim), "refused", connect_done, c, ERR_IO);
        return;
    }
    struct env_stream *near = stream_new(c->node);
    struct env_stream *far = stream_new(to->node);
    near->peer = far;
    far->peer = near;
    c->stream = near;
    sim_post(sim, to->node, 0, "accept", accepted, far, 0);
    sim_post(sim, c->node, delay_ns(sim), "connected", connect_done, c, 0);
}

void net_connect(struct env *env, const char *address, env_connect_cb cb, void *arg)
{
    struct node *n = (struct node *)env;
    struct connect *c = sim_alloc(sizeof *c);
    size_t len = strlen(address) + 1;
    c->node = n;
    c->address = sim_alloc(len);
    memcpy(c->address, address, len);
    c->cb = cb;
    c->arg = arg;
    c->next = n->sim->connects;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    n->sim->connects = c;
    sim_post(n->sim, NULL, delay_ns(n->sim), "connect", connect_arrives, c, 0);
}

/* ---- Crashes and cuts -------------------------------------------------------------- */

void net_crashed(struct node *n, enum sim_crash how)
{
    for (struct env_stream *s = n->streams; s != NULL; s = s->next) {
        if (s->dead) {
            continue;
        }
        if (!s->closing) {
            s->closing = true;
            drop_incoming(s);
            sim_post(n->sim, n, 0, "closed", closed_here, s, ERR_IO);
        }
        if (how == SIM_KILL) {
            post_reset(s->peer);
        }
    }
}

void net_free_streams(struct node *n)
{
    while (n->streams != NULL) {
        struct env_stream *s = n->streams;
        n->streams = s->next;
        drop_incoming(s);
        buf_free(&s->inbox);
        free(s);
    }
    for (struct connect *c = n->sim->connects; c != NULL;) {
        struct connect *next = c->next;
        if (c->node == n) {
            connect_free(c);
        }
        c = next;
    }
}

void sim_set_network(struct sim *sim, const struct sim_network *n) { sim->network = *n; }
void sim_set_messages(struct sim *sim, const struct sim_messages *m) { sim->messages = *m; }

static void unstall_open(struct sim *sim)
{
    for (struct node *n = sim->nodes; n != NULL; n = n->next) {
        for (struct env_stream *s = n->streams; s != NULL; s = s->next) {
            if (s->stalled > 0 && !is_blocked(s->peer, s)) {
                unstall(s);
            }
        }
    }
}

void sim_block(struct sim *sim, const char *from, const char *to, bool blocked)
{
    bool all_from = strcmp(from, "*") == 0;
    bool all_to = strcmp(to, "*") == 0;
    unsigned f = all_from ? 0 : sim_host(sim, from)->index;
    unsigned t = all_to ? 0 : sim_host(sim, to)->index;
    for (unsigned i = f; i < (all_from ? NODES_MAX : f + 1); i++) {
        for (unsigned j = t; j < (all_to ? NODES_MAX : t + 1); j++) {
            sim->blocked[i][j] = blocked && i != j;
        }
    }
    sim_trace(sim, NULL, blocked ? "block" : "open", f, t);
    unstall_open(sim);
}

void sim_cut(struct sim *sim, const char *a, const char *b)
{
    sim_block(sim, a, b, true);
    sim_block(sim, b, a, true);
}

void sim_isolate(struct sim *sim, const char *address) { sim_cut(sim, address, "*"); }

void sim_heal(struct sim *sim) { sim_block(sim, "*", "*", false); }

void sim_reset(struct sim *sim, const char *a, const char *b)
{
    const struct host *ha = sim_host(sim, a);
    const struct host *hb = sim_host(sim, b);
    for (struct node *n = sim->nodes; n != NULL; n = n->next) {
        for (struct env_stream *s = n->streams; s != NULL; s = s->next) {
            if ((n->host == ha && s->peer->node->host == hb) ||
                (n->host == hb && s->peer->node->host == ha)) {
                post_reset(s);
            }
        }
    }
}
