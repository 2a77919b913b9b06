/* Proving that the cluster takes writes: an empty entry is committed (`health`).
 *
 * A barrier of the core, as a new leader commits one: it changes nothing, not even the digest.
 * Asked for like a change (member_ask.c), with an id, so that it can be asked for from any node
 * and polled. A probe that a leader took with it into the grave is made again by the next. */
#define LOG_MODULE "cluster"

#include "cluster/internal.h"

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

void probe_judge(struct cluster *c, uint64_t id, struct cluster_change_state *st)
{
    unsigned at = 0;
    st->stage = STAGE_LOGGING;
    while (at < PROBES_KEPT && c->probes[at].id != id) {
        at++;
    }
    if (at == PROBES_KEPT) {
        uint64_t index = 0, began_ns = c->env->ops->mono_ns(c->env);
        if (submit(c, &index)) {
            at = c->probe_next++ % PROBES_KEPT;
            c->probes[at].id = id;
            c->probes[at].index = index;
            c->probes[at].began_ns = began_ns;
            c->probes[at].took_us = 0;
        }
        return;
    }
    if (c->probes[at].took_us > 0) {
        st->stage = STAGE_DONE;
        st->match = c->probes[at].took_us;
        st->last = c->probes[at].index;
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
