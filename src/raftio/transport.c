/* The links of one node: whom it dials, whom it lets in, and what it says about it.
 *
 * Outgoing. transport_connect() makes a `link` per address: dial, handshake, up; when it
 * falls, again after a pause that doubles from LINK_RETRY_MIN_MS to LINK_RETRY_MAX_MS
 * with jitter (a refusal goes to the longest pause at once). Frames for a link that is
 * not up are dropped. Incoming. transport_accept() lets a stranger prove itself within
 * HANDSHAKE_MS; at most HANDSHAKES_MAX may be at it, then the oldest goes. A second
 * authenticated connection of the same node replaces the first: it knows better which
 * of its connections is alive.
 *
 * Who may talk is decided in three steps after the proof: mistakes that only the
 * transport sees (myself, my id, my address, another address than the one dialled), then
 * the cluster's admit, then the cluster ids. Reasons travel to the other side, so both
 * logs say the same.
 *
 * Life of a link: it is freed when it is `gone` and neither a dial, a connection nor a
 * callback of ours refers to it.
 *
 * Invariants
 *   L1 at most one dial or connection per link, at most one UP connection per peer node
 *      and direction
 *   L2 the owner's callbacks never run inside transport_connect, _disconnect or _accept
 *   L3 what strangers do costs bounded memory and a bounded number of log lines */
#include "raftio/transport.h"

#include <stdio.h>
#include <string.h>

#define LOG_MODULE "transport"
#include "base/assert.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "raftio/transport_conn.h"

#define TICK_MS          250
/* The same line again only after this; and no more lines than this in a second. */
#define REPEAT_MS        60000
#define LINES_PER_SECOND 5
#define REMEMBERED_LINES 16

struct link {
    struct transport *t;
    char *address;
    struct conn *conn;
    struct env_timer *retry;
    uint64_t pause_ms;
    bool dialling, up, gone;
    unsigned busy;                  /* callbacks under way */
    char said[ERROR_MESSAGE_BYTES]; /* the last reason given to the owner ... */
    uint64_t said_id;               /* ... and who had proved to be there; 0: nobody */
    struct link *next;
};

struct line {
    uint64_t hash, next_ms;
};

struct transport {
    struct env *env;
    struct conn_shared shared;
    struct transport_options o;
    struct link *links;
    struct conn *conns; /* both directions, newest first */
    unsigned dials;     /* connects under way */
    struct env_timer *tick;
    struct line lines[REMEMBERED_LINES];
    unsigned line_next, lines_this_second;
    uint64_t second;
    bool closing;
    void (*close_cb)(void *arg);
    void *close_arg;
};

/* ---- Log lines ---------------------------------------------------------------------- */

/* False when this line was written lately or too many others were. */
static bool may_say(struct transport *t, const char *text)
{
    uint64_t now = t->env->ops->mono_ms(t->env);
    uint64_t hash = hash64(text, strlen(text));
    for (unsigned i = 0; i < REMEMBERED_LINES; i++) {
        if (t->lines[i].hash == hash && now < t->lines[i].next_ms) {
            return false;
        }
    }
    if (now / 1000 != t->second) {
        t->second = now / 1000;
        t->lines_this_second = 0;
    }
    if (++t->lines_this_second > LINES_PER_SECOND) {
        return false;
    }
    t->lines[t->line_next++ % REMEMBERED_LINES] = (struct line){ hash, now + REPEAT_MS };
    return true;
}

/* Who is at the other end, as far as we know. */
static void conn_name(const struct conn *c, char *out, size_t cap)
{
    const struct link *l = c->link;
    if (l != NULL || c->proved) {
        (void)snprintf(out, cap, "%s", l != NULL ? l->address : c->peer.address);
    } else if (c->peer.address[0] != 0) {
        (void)snprintf(out, cap, "somebody who claims to be %s", c->peer.address);
    } else {
        (void)snprintf(out, cap, "a stranger");
    }
}

static void say(struct transport *t, enum log_level level, const struct conn *c, bool told,
                const struct error *why)
{
    char text[1000], who[300];
    conn_name(c, who, sizeof who);
    (void)snprintf(text, sizeof text, "%s%s: %s%s%s", who, told ? " refuses us" : "", why->message,
                   why->hint[0] != 0 ? "; " : "", why->hint);
    if (may_say(t, text)) {
        log_write(level, LOG_MODULE, "%s", text);
    }
}

/* ---- Who may talk ---------------------------------------------------------------------- */

static int judge(void *arg, struct conn *c, struct error *e)
{
    struct transport *t = arg;
    const struct link *l = c->link;
    const struct transport_peer *p = &c->peer;
    bool same_address = strcmp(p->address, t->shared.address) == 0;
    if (p->node_id == t->shared.node_id) {
        if (same_address) {
            return error_set(e, ERR_CONFLICT, "%s is this node's own address", p->address);
        }
        (void)error_set(e, ERR_CONFLICT, "%s and %s have the same node id", t->shared.address,
                        p->address);
        error_hint(e, "was a data directory copied? each node needs its own");
        return ERR_CONFLICT;
    }
    if (same_address) {
        return error_set(e, ERR_CONFLICT, "two nodes call themselves %s", p->address);
    }
    if (c->dialer && l != NULL && strcmp(l->address, p->address) != 0) {
        (void)error_set(e, ERR_CONFLICT, "dialled %s, but the node there calls itself %s",
                        l->address, p->address);
        error_hint(e, "every node must use the same list of addresses");
        return ERR_CONFLICT;
    }
    int rv = t->o.admit(t->o.arg, p, e);
    if (rv != 0) {
        if (e->message[0] == 0) {
            (void)error_set(e, rv, "%s", error_text(rv));
        }
        return rv;
    }
    uint64_t own = t->o.cluster_id(t->o.arg);
    if (own != 0 && p->cluster_id != 0 && own != p->cluster_id) {
        return error_set(e, ERR_CONFLICT, "%s belongs to cluster %016llx and %s to cluster %016llx",
                         t->shared.address, (unsigned long long)own, p->address,
                         (unsigned long long)p->cluster_id);
    }
    return 0;
}

/* ---- Links ---------------------------------------------------------------------------- */

static struct link *link_find(const struct transport *t, const char *address)
{
    struct link *l = t->links;
    while (l != NULL && (l->gone || strcmp(l->address, address) != 0)) {
        l = l->next;
    }
    return l;
}

static void maybe_closed(struct transport *t)
{
    if (t->closing && t->links == NULL && t->conns == NULL && t->dials == 0) {
        t->env->ops->timer_start(t->tick, 0);
    }
}

static void link_release(struct link *l)
{
    struct transport *t = l->t;
    if (!l->gone || l->dialling || l->conn != NULL || l->busy > 0) {
        return;
    }
    struct link **at = &t->links;
    while (*at != l) {
        at = &(*at)->next;
    }
    *at = l->next;
    t->env->ops->timer_free(l->retry);
    mem_free(l->address);
    mem_free(l);
    maybe_closed(t);
}

static void link_tell(struct link *l, bool up, const struct transport_peer *peer,
                      const struct error *why)
{
    struct transport *t = l->t;
    if (l->gone || t->closing) {
        return;
    }
    (void)snprintf(l->said, sizeof l->said, "%s", up ? "" : why->message);
    l->said_id = peer != NULL ? peer->node_id : 0;
    l->busy++;
    t->o.link(t->o.arg, l->address, up, peer, why);
    l->busy--;
}

/* Dials again after a pause of half to the whole of pause_ms. */
static void link_retry(struct link *l)
{
    struct transport *t = l->t;
    if (l->gone || t->closing) {
        return;
    }
    uint16_t random = 0;
    t->env->ops->random(t->env, &random, sizeof random);
    uint64_t half = l->pause_ms / 2;
    t->env->ops->timer_start(l->retry, half + half * random / UINT16_MAX);
    l->pause_ms = l->pause_ms * 2 > LINK_RETRY_MAX_MS ? LINK_RETRY_MAX_MS : l->pause_ms * 2;
}

/* The attempt or the link ended: tells the owner what is new to it. */
static void link_down(struct link *l, const struct transport_peer *peer, const struct error *why)
{
    bool was_up = l->up;
    l->up = false;
    uint64_t id = peer != NULL ? peer->node_id : 0;
    if (was_up || id != l->said_id || strncmp(l->said, why->message, sizeof l->said - 1) != 0) {
        link_tell(l, false, peer, why);
    }
}

static void conn_add(struct transport *t, struct conn *c)
{
    c->next = t->conns;
    if (c->next != NULL) {
        c->next->prev = c;
    }
    t->conns = c;
}

static const struct conn_hooks hooks;

static void on_connected(void *arg, int status, struct env_stream *stream)
{
    struct link *l = arg;
    struct transport *t = l->t;
    l->dialling = false;
    t->dials--;
    if (l->gone) {
        if (stream != NULL) {
            t->env->ops->stream_close(stream);
        }
        link_release(l);
        return;
    }
    struct error e;
    error_clear(&e);
    if (status != 0) {
        (void)error_set(&e, status, status == ERR_NOTFOUND ? "no such host" : "no answer");
        log_debug("cannot reach %s: %s", l->address, e.message);
        link_down(l, NULL, &e);
        link_retry(l);
        link_release(l);
        return;
    }
    struct conn *c = conn_new(&t->shared, &hooks, t, stream, true);
    if (c == NULL) {
        link_retry(l);
        return;
    }
    c->link = l;
    l->conn = c;
    conn_add(t, c);
    conn_start(c);
}

static void link_dial(void *arg)
{
    struct link *l = arg;
    struct transport *t = l->t;
    ASSERT(!l->dialling && l->conn == NULL && !l->gone);
    l->dialling = true;
    t->dials++;
    t->env->ops->connect(t->env, l->address, on_connected, l);
}

/* ---- Connections ------------------------------------------------------------------------ */

static void on_up(void *arg, struct conn *c)
{
    struct transport *t = arg;
    struct link *l = c->link;
    if (l != NULL) {
        l->up = true;
        log_info("link to %s is up", l->address);
        link_tell(l, true, &c->peer, NULL);
        link_release(l);
        return;
    }
    for (struct conn *other = t->conns; other != NULL; other = other->next) {
        if (other != c && !other->dialer && other->state == CONN_UP &&
            other->peer.node_id == c->peer.node_id) {
            conn_close(other);
        }
    }
    log_debug("%s is connected", c->peer.address);
}

static void on_frame(void *arg, struct conn *c, enum transport_channel ch, const uint8_t *data,
                     size_t len)
{
    struct transport *t = arg;
    if (!t->closing) {
        t->o.frame(t->o.arg, &c->peer, ch, data, len);
    }
}

static void on_down(void *arg, struct conn *c, enum conn_fault fault, bool told,
                    const struct error *why)
{
    struct transport *t = arg;
    struct link *l = c->link;
    bool lost = fault == FAULT_LOST || fault == FAULT_SILENT;
    if (!lost) {
        say(t, LOG_WARN, c, told, why);
    } else if (l != NULL && l->up) {
        say(t, LOG_INFO, c, false, why);
    } else {
        log_debug("%s: %s", l != NULL ? l->address : c->peer.address, why->message);
    }
    if (l != NULL) {
        /* A link that falls as soon as it is up must not be redialled in a tight loop. */
        uint64_t held_ms = t->env->ops->mono_ms(t->env) - c->up_ms;
        if (l->up && held_ms >= LINK_RETRY_MAX_MS) {
            l->pause_ms = LINK_RETRY_MIN_MS;
        }
        if (!lost) {
            l->pause_ms = LINK_RETRY_MAX_MS;
        }
        link_down(l, c->proved ? &c->peer : NULL, why);
    }
}

static void on_gone(void *arg, struct conn *c)
{
    struct transport *t = arg;
    struct link *l = c->link;
    if (c->prev != NULL) {
        c->prev->next = c->next;
    } else {
        t->conns = c->next;
    }
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    if (l != NULL) {
        l->conn = NULL;
        l->up = false;
        link_retry(l);
        link_release(l);
    }
    maybe_closed(t);
}

static const struct conn_hooks hooks = { judge, on_up, on_frame, on_down, on_gone };

static void on_tick(void *arg)
{
    struct transport *t = arg;
    if (t->closing) {
        void (*cb)(void *) = t->close_cb;
        void *cb_arg = t->close_arg;
        struct env *env = t->env;
        env->ops->timer_free(t->tick);
        crypto_wipe(&t->shared, sizeof t->shared);
        mem_free(t);
        cb(cb_arg);
        return;
    }
    uint64_t now = t->env->ops->mono_ms(t->env);
    t->env->ops->timer_start(t->tick, TICK_MS);
    /* A tick may end connections, but their memory stays until the loop's next event. */
    for (struct conn *c = t->conns, *next; c != NULL; c = next) {
        next = c->next;
        conn_tick(c, now);
    }
}

/* ---- The public functions -------------------------------------------------------------------- */

int transport_new(struct env *env, const struct transport_options *o, struct transport **out,
                  struct error *e)
{
    *out = NULL;
    size_t len = strlen(o->address);
    if (len == 0 || len > ADDRESS_BYTES_MAX) {
        return error_set(e, ERR_BADARG, "an address has 1 to %d bytes", ADDRESS_BYTES_MAX);
    }
    ASSERT(o->node_id != 0);
    struct transport *t = mem_zalloc(sizeof *t);
    if (t == NULL) {
        return error_set(e, ERR_NOMEM, "no memory for the transport");
    }
    t->env = env;
    t->o = *o;
    t->o.secret = (struct span){ NULL, 0 }; /* the caller's; ours is the key */
    t->o.address = t->shared.address;
    t->shared.env = env;
    t->shared.node_id = o->node_id;
    t->shared.version = o->version;
    t->shared.feature_level = o->feature_level;
    t->shared.cluster_id = o->cluster_id;
    t->shared.arg = o->arg;
    memcpy(t->shared.address, o->address, len);
    if (!crypto_base_key(o->secret, t->shared.key)) {
        mem_free(t);
        return error_set(e, ERR_INTERNAL, "libcrypto has no HMAC-SHA-256");
    }
    t->tick = env->ops->timer_new(env, on_tick, t);
    env->ops->timer_start(t->tick, TICK_MS);
    *out = t;
    return 0;
}

static void link_end(struct link *l)
{
    l->gone = true;
    l->up = false;
    l->t->env->ops->timer_stop(l->retry);
    if (l->conn != NULL) {
        conn_close(l->conn);
    }
    link_release(l);
}

void transport_close(struct transport *t, void (*cb)(void *arg), void *arg)
{
    ASSERT(!t->closing);
    t->closing = true;
    t->close_cb = cb;
    t->close_arg = arg;
    t->env->ops->timer_stop(t->tick);
    for (struct link *l = t->links, *next; l != NULL; l = next) {
        next = l->next;
        link_end(l);
    }
    for (struct conn *c = t->conns; c != NULL; c = c->next) {
        conn_close(c);
    }
    maybe_closed(t);
}

void transport_connect(struct transport *t, const char *address)
{
    ASSERT(strlen(address) <= ADDRESS_BYTES_MAX);
    if (t->closing || link_find(t, address) != NULL) {
        return;
    }
    struct link *l = mem_must_alloc(sizeof *l);
    memset(l, 0, sizeof *l);
    l->t = t;
    size_t bytes = strlen(address) + 1;
    l->address = mem_must_alloc(bytes);
    memcpy(l->address, address, bytes);
    l->pause_ms = LINK_RETRY_MIN_MS;
    l->retry = t->env->ops->timer_new(t->env, link_dial, l);
    l->next = t->links;
    t->links = l;
    t->env->ops->timer_start(l->retry, 0);
}

void transport_disconnect(struct transport *t, const char *address)
{
    struct link *l = link_find(t, address);
    if (l != NULL) {
        link_end(l);
    }
}

bool transport_is_up(const struct transport *t, const char *address)
{
    const struct link *l = link_find(t, address);
    return l != NULL && l->up;
}

size_t transport_queued(const struct transport *t, const char *address)
{
    const struct link *l = link_find(t, address);
    return l != NULL && l->conn != NULL ? t->env->ops->stream_queued(l->conn->stream) : 0;
}

bool transport_send(struct transport *t, const char *address, enum transport_channel ch,
                    struct buf *b)
{
    const struct link *l = link_find(t, address);
    if (l == NULL || !l->up || b->len > FRAME_BYTES_MAX ||
        t->env->ops->stream_queued(l->conn->stream) > LINK_QUEUE_BYTES_MAX) {
        buf_free(b);
        return false;
    }
    return conn_send(l->conn, ch, b);
}

void transport_accept(struct transport *t, struct env_stream *stream)
{
    if (t->closing) {
        t->env->ops->stream_close(stream);
        return;
    }
    unsigned strangers = 0;
    struct conn *oldest = NULL;
    for (struct conn *c = t->conns; c != NULL; c = c->next) {
        if (!c->dialer && c->state != CONN_UP && c->state != CONN_CLOSED) {
            strangers++;
            oldest = c;
        }
    }
    if (strangers >= HANDSHAKES_MAX) {
        conn_close(oldest);
    }
    struct conn *c = conn_new(&t->shared, &hooks, t, stream, false);
    if (c != NULL) {
        conn_add(t, c);
        conn_start(c);
    }
}
