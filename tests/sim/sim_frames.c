/* See sim_frames.h.
 *
 * TCP keeps order and our links refuse what was altered or sent twice, so below the
 * transport a lost or repeated message can only be a dead connection. What the cluster owes
 * is more: it must stand any message being lost, late or there twice, as happens around
 * reconnects and as any other transport would do it. So the tap sits between transport and
 * cluster. It is put in by the linker (--wrap), and nothing of it is in src/.
 *
 *   cluster -> __wrap_transport_send -> transport ... link ... transport -> on_frame -> cluster
 *
 * A replayed or delayed frame is a copy, given to the cluster by an event of its own; when
 * the transport has been closed meanwhile it is dropped. */
#include "sim_frames.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "cluster/wire.h"
#include "env_sim_internal.h"
#include "raftio/transport.h"

struct tap {
    struct env *env;
    struct transport *transport; /* NULL once closed */
    struct transport_options o;
    struct held *held; /* on their way */
    struct tap *next;
};

static struct tap *taps;

int __real_transport_new(struct env *env, const struct transport_options *o, struct transport **out,
                         struct error *e);
void __real_transport_close(struct transport *t, void (*cb)(void *arg), void *arg);
bool __real_transport_send(struct transport *t, const char *address, enum transport_channel ch,
                           struct buf *b);
int __wrap_transport_new(struct env *env, const struct transport_options *o, struct transport **out,
                         struct error *e);
void __wrap_transport_close(struct transport *t, void (*cb)(void *arg), void *arg);
bool __wrap_transport_send(struct transport *t, const char *address, enum transport_channel ch,
                           struct buf *b);

/* ---- Names ------------------------------------------------------------------------------- */

const char *frames_message_name(unsigned message)
{
    static const char *const names[] = {
        [0] = "request",
        [FRAME_OF_RAFT(1)] = "raft append",
        [FRAME_OF_RAFT(2)] = "raft append result",
        [FRAME_OF_RAFT(3)] = "raft vote",
        [FRAME_OF_RAFT(4)] = "raft voted",
        [FRAME_OF_RAFT(5)] = "raft snapshot",
        [FRAME_OF_RAFT(6)] = "raft timeout now",
        [FRAME_OF(WIRE_HELLO)] = "hello",
        [FRAME_OF(WIRE_ASK)] = "founding ask",
        [FRAME_OF(WIRE_PROMISE)] = "founding promise",
        [FRAME_OF(WIRE_CONFIG)] = "founding configuration",
        [FRAME_OF(WIRE_CLOCK)] = "clock",
        [FRAME_OF(WIRE_ROUND)] = "round",
        [FRAME_OF(WIRE_ECHO)] = "echo",
        [FRAME_OF(WIRE_DIGEST_ASK)] = "digest ask",
        [FRAME_OF(WIRE_DIGEST)] = "digest",
        [FRAME_OF(WIRE_SNAP_BEGIN)] = "snapshot begin",
        [FRAME_OF(WIRE_SNAP_CHUNK)] = "snapshot chunk",
        [FRAME_OF(WIRE_SNAP_ACK)] = "snapshot ack",
        [FRAME_OF(WIRE_COMMIT)] = "commit",
        [FRAME_OF(WIRE_CHANGE_ASK)] = "member ask",
        [FRAME_OF(WIRE_CHANGE_STATE)] = "member state",
        [FRAME_OF(WIRE_REMOVED)] = "member removed",
        [FRAME_OF(17)] = "vitals",
        [FRAME_OF(18)] = "ping",
        [FRAME_OF(19)] = "pong",
        [FRAME_OF(WIRE_INDEX_ASK)] = "index ask",
        [FRAME_OF(WIRE_INDEX)] = "index",
    };
    return message < sizeof names / sizeof names[0] ? names[message] : NULL;
}

const char *frames_point_name(unsigned point, char out[64])
{
    if (point < SIM_FILE_POINTS) {
        return sim_file_point_name(point, out);
    }
    unsigned n = point - SIM_FILE_POINTS;
    const char *name = frames_message_name(n / 4);
    if (name == NULL) {
        return NULL;
    }
    (void)snprintf(out, 64, "%s %s %s", (n & 2) != 0 ? "receive" : "send", name,
                   (n & 1) != 0 ? "after" : "before");
    return out;
}

static unsigned message_of(enum transport_channel ch, const uint8_t *data, size_t len)
{
    if (ch == CHANNEL_SERVICE || len < 2) {
        return 0;
    }
    unsigned kind = ch == CHANNEL_RAFT ? FRAME_OF_RAFT(data[1]) : FRAME_OF(data[0]);
    return kind < SIM_MESSAGES_MAX ? kind : 0;
}

/* ---- Receiving ----------------------------------------------------------------------------- */

struct held {
    struct held *prev, *next;
    struct tap *tap;
    struct transport_peer peer;
    enum transport_channel ch;
    size_t len;
    uint8_t data[];
};

/* With SIM_TRACE: who gets what, and its first bytes. */
static void show(const struct tap *t, const struct transport_peer *peer, unsigned message,
                 const uint8_t *data, size_t len)
{
    const struct node *n = (const struct node *)t->env;
    const char *name = frames_message_name(message);
    (void)fprintf(stderr, "%12.6f %s <- %s %s", (double)n->sim->now_ns / 1e6, n->host->address,
                  peer->address, name != NULL ? name : "?");
    for (size_t i = 0; i < len && i < 64; i++) {
        (void)fprintf(stderr, "%s%02x", i % 8 == 2 ? " " : "", data[i]);
    }
    (void)fputc('\n', stderr);
}

static void give(struct tap *t, const struct transport_peer *peer, enum transport_channel ch,
                 const uint8_t *data, size_t len)
{
    unsigned message = message_of(ch, data, len);
    if (sim_of(t->env)->print) {
        show(t, peer, message, data, len);
    }
    if (sim_point(t->env, sim_message_point(message, true, false))) {
        return;
    }
    t->o.frame(t->o.arg, peer, ch, data, len);
    (void)sim_point(t->env, sim_message_point(message, true, true));
}

static void unlink_held(struct held *h)
{
    if (h->prev != NULL) {
        h->prev->next = h->next;
    } else {
        h->tap->held = h->next;
    }
    if (h->next != NULL) {
        h->next->prev = h->prev;
    }
}

static void give_held(struct node *node, void *a, uint64_t b)
{
    struct held *h = a;
    (void)b;
    unlink_held(h);
    if (h->tap->transport != NULL && !node->ghost) {
        give(h->tap, &h->peer, h->ch, h->data, h->len);
    }
    free(h);
}

static void hold(struct tap *t, const struct transport_peer *peer, enum transport_channel ch,
                 const uint8_t *data, size_t len)
{
    struct node *n = (struct node *)t->env;
    struct held *h = sim_alloc(sizeof *h + len);
    h->tap = t;
    h->next = t->held;
    if (h->next != NULL) {
        h->next->prev = h;
    }
    t->held = h;
    h->peer = *peer;
    h->ch = ch;
    h->len = len;
    if (len > 0) {
        memcpy(h->data, data, len);
    }
    uint64_t most = n->sim->messages.delay_max_ms;
    sim_post(n->sim, n, rand_below(&n->sim->random, most * MS_NS + 1), "held frame", give_held, h,
             0);
}

static void on_frame(void *arg, const struct transport_peer *peer, enum transport_channel ch,
                     const uint8_t *data, size_t len)
{
    struct tap *t = arg;
    struct sim *sim = sim_of(t->env);
    const struct sim_messages *m = &sim->messages;
    if (m->loss_percent > 0 && sim_rand(sim, 100) < m->loss_percent) {
        sim_count(sim, SIM_N_LOST);
        return;
    }
    if (m->replay_percent > 0 && sim_rand(sim, 100) < m->replay_percent) {
        sim_count(sim, SIM_N_REPLAYED);
        hold(t, peer, ch, data, len);
    }
    if (m->delay_percent > 0 && sim_rand(sim, 100) < m->delay_percent) {
        sim_count(sim, SIM_N_DELAYED);
        hold(t, peer, ch, data, len);
        return;
    }
    give(t, peer, ch, data, len);
}

static uint64_t on_cluster_id(void *arg)
{
    struct tap *t = arg;
    return t->o.cluster_id(t->o.arg);
}

static int on_admit(void *arg, const struct transport_peer *peer, struct error *e)
{
    struct tap *t = arg;
    return t->o.admit(t->o.arg, peer, e);
}

static void on_link(void *arg, const char *address, bool up, const struct transport_peer *peer,
                    const struct error *why)
{
    struct tap *t = arg;
    t->o.link(t->o.arg, address, up, peer, why);
}

/* ---- The wrapped functions ------------------------------------------------------------------- */

int __wrap_transport_new(struct env *env, const struct transport_options *o, struct transport **out,
                         struct error *e)
{
    struct tap *t = sim_alloc(sizeof *t);
    t->env = env;
    t->o = *o;
    struct transport_options mine = *o;
    mine.cluster_id = o->cluster_id != NULL ? on_cluster_id : NULL;
    mine.admit = o->admit != NULL ? on_admit : NULL;
    mine.frame = o->frame != NULL ? on_frame : NULL;
    mine.link = o->link != NULL ? on_link : NULL;
    mine.arg = t;
    t->next = taps;
    taps = t;
    int rv = __real_transport_new(env, &mine, out, e);
    t->transport = rv == 0 ? *out : NULL;
    return rv;
}

static struct tap *tap_of(const struct transport *t)
{
    struct tap *tap = taps;
    while (tap != NULL && tap->transport != t) {
        tap = tap->next;
    }
    ASSERT(tap != NULL);
    return tap;
}

void __wrap_transport_close(struct transport *t, void (*cb)(void *arg), void *arg)
{
    tap_of(t)->transport = NULL;
    __real_transport_close(t, cb, arg);
}

bool __wrap_transport_send(struct transport *t, const char *address, enum transport_channel ch,
                           struct buf *b)
{
    struct env *env = tap_of(t)->env;
    unsigned message = message_of(ch, b->data, b->len);
    if (sim_point(env, sim_message_point(message, false, false))) {
        buf_free(b);
        return false;
    }
    bool sent = __real_transport_send(t, address, ch, b);
    (void)sim_point(env, sim_message_point(message, false, true));
    return sent;
}

void frames_free(void)
{
    while (taps != NULL) {
        struct tap *t = taps;
        taps = t->next;
        while (t->held != NULL) {
            struct held *h = t->held;
            unlink_held(h);
            free(h);
        }
        free(t);
    }
}
