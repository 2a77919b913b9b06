/* Proving that the cluster takes writes: an empty entry is committed (`health`).
 *
 * A barrier of the core, as a new leader commits one: it changes nothing, not even the digest.
 * Asked for like a change (member_ask.c), with an id, so that it can be asked for from any node
 * and polled. Whoever asks while an entry is on its way waits for that one: however many ask,
 * there is one entry at a time. A probe that a leader took with it into the grave is made again
 * by the next.
 *
 * Invariant: P1 an asker that goes on polling keeps its place until it has its answer */
#define LOG_MODULE "cluster"

#include "cluster/internal.h"

#define ASKER_GONE_MS 2000

static bool submit(struct cluster *c, uint64_t *index)
{
    struct buf b = BUF_INIT;
    buf_put_u64(&b, 0);
    if (b.failed || c->batch || raft_transferee(&c->raft) != 0) {
        buf_free(&b);
        return false;
    }
    uint8_t *data = b.data;
    struct payload *payload = payload_of_buf(&b);
    *index = log_cache_last(&c->log) + 1;
    int rv = propose_submit(c, RAFT_BARRIER, payload, data, 8);
    if (rv != 0) {
        payload_unref(payload);
        if (rv != RAFT_NOTLEADER) {
            driver_stepped(c, rv, "probe");
        }
    }
    return rv == 0;
}

static struct probe *find(struct cluster *c, uint64_t id)
{
    for (unsigned i = 0; i < PROBES_KEPT; i++) {
        if (c->probes[i].id == id) {
            return &c->probes[i];
        }
    }
    return NULL;
}

/* A place that nobody waits for any more (P1); NULL: everybody still does. */
static struct probe *find_place(struct cluster *c)
{
    for (unsigned i = 0; i < PROBES_KEPT; i++) {
        struct probe *p = &c->probes[(c->probe_next + i) % PROBES_KEPT];
        if (p->id == 0 || p->told || now_ms(c) - p->polled_ms >= ASKER_GONE_MS) {
            c->probe_next += i + 1;
            return p;
        }
    }
    return NULL;
}

/* The one that is on its way: its commit comes after the question. */
static const struct probe *find_pending(const struct cluster *c)
{
    for (unsigned i = 0; i < PROBES_KEPT; i++) {
        if (c->probes[i].id != 0 && c->probes[i].took_us == 0) {
            return &c->probes[i];
        }
    }
    return NULL;
}

static struct probe *begin(struct cluster *c, uint64_t id)
{
    struct probe fresh = { .id = id, .began_ns = c->env->ops->mono_ns(c->env) };
    const struct probe *pending = find_pending(c);
    struct probe *p = find_place(c);
    if (p == NULL) {
        return NULL;
    }
    if (pending != NULL) {
        fresh.index = pending->index;
        fresh.began_ns = pending->began_ns;
    } else if (!submit(c, &fresh.index)) {
        return NULL;
    }
    *p = fresh;
    return p;
}

void probe_judge(struct cluster *c, uint64_t id, struct cluster_change_state *st)
{
    struct probe *p = find(c, id);
    p = p != NULL ? p : begin(c, id);
    st->stage = STAGE_LOGGING;
    if (p == NULL) {
        return; /* it asks again */
    }
    p->polled_ms = now_ms(c);
    if (p->took_us > 0) {
        p->told = true;
        st->stage = STAGE_DONE;
        st->match = p->took_us;
        st->last = p->index;
    }
}

void probe_applied(struct cluster *c, uint64_t index)
{
    for (unsigned i = 0; i < PROBES_KEPT; i++) {
        if (c->probes[i].index == index && c->probes[i].took_us == 0) {
            c->probes[i].took_us =
                (c->env->ops->mono_ns(c->env) - c->probes[i].began_ns) / 1000 + 1;
        }
    }
}
