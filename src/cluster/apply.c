/* Committed entries into the store.
 *
 *   own group       it is in the store as speculation already: the user is told while its
 *                   undo records still show the changes, then they are dropped
 *   foreign group   entry_apply() compares the digest, then applies it
 *   CHANGE          the core is told that the configuration is committed
 *   BARRIER         nothing
 *
 * Bounded work per turn of the loop; the rest goes on in the next turn, so that a node
 * that has 60 MB of log to replay still answers heartbeats.
 *
 * How it fails: a digest that differs stops here until quarantine.c knows who is wrong; an
 * effect that is refused although the digest was equal is treated the same way. When the
 * majority has our state, the entry's proposer computed it on a wrong one. The entry is
 * committed and its answers may have left, so what fits is applied (salvage): every
 * transaction whose effects the store accepts, on every correct node the same ones. A seat
 * is never sold twice that way, and no booking is forgotten that does not contradict another.
 *
 * Invariants
 *   A1 applied <= commit, and the store holds exactly the entries <= applied plus own[]
 *   A2 (C5) a foreign entry is applied only if its digest is the store's, or the store's is
 *      the majority's
 *   A3 a foreign entry is applied only while no speculation exists (P2, readiness) */
#define LOG_MODULE "cluster"

#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "cluster/internal.h"

/* One slice: about 2 ms at 150,000 bookings/s. */
#define SLICE_ENTRIES 64
#define SLICE_BYTES   (1024 * 1024)
#define SLICE_NS      2000000

static void tell_committed(struct cluster *c, uint64_t index, const struct log_entry *e, bool mine)
{
    struct span bytes = { NULL, 0 };
    if (e->type == RAFT_COMMAND) {
        bytes = span_make(e->data, e->len);
    }
    if (c->o.on.committed != NULL && !c->stopping) {
        c->o.on.committed(c->o.arg, index, e->term, bytes, mine);
    }
}

void apply_set_conf(struct cluster *c, uint64_t index, const void *data, size_t len)
{
    buf_clear(&c->conf);
    buf_put(&c->conf, data, len);
    c->conf_index = index;
    if (c->conf.failed) {
        cluster_fail(c, true, ERR_NOMEM, "out of memory");
    }
}

static void apply_change(struct cluster *c, uint64_t index, const struct log_entry *e)
{
    struct buf before = c->conf;
    buf_init(&c->conf);
    apply_set_conf(c, index, e->data, e->len);
    struct raft_buffer b = { (void *)(uintptr_t)e->data, e->len };
    struct raft_event event = { .type = RAFT_CONFIGURATION };
    event.configuration.index = index;
    int rv = raft_configuration_decode(&b, &event.configuration.conf);
    bool member = false;
    for (unsigned i = 0; rv == 0 && i < event.configuration.conf.n; i++) {
        member = member || event.configuration.conf.servers[i].id == c->raft.id;
    }
    if (rv == 0) {
        rv = driver_step(c, &event); /* the core takes the configuration */
    }
    driver_stepped(c, rv, "configuration");
    peers_sync(c);
    if (rv == 0) {
        conf_tell(c, index, span_make((const char *)before.data, before.len),
                  span_make(e->data, e->len));
    }
    buf_free(&before);
    c->member_due = true;
    if (rv == 0 && !member && log_cache_last(&c->log) == index) {
        /* The newest configuration is without us: not an old one that is being replayed. */
        member_removed(c, "");
    }
}

static bool salvage_tx(struct cluster *c, const struct entry_tx *tx, struct buf *scratch)
{
    struct reader r;
    struct effect f;
    int rv = 0;
    reader_init(&r, tx->effects.data, tx->effects.len);
    store_tx_begin(c->store);
    while (rv == 0 && reader_left(&r) > 0) {
        rv = effect_decode(&r, &f, scratch, NULL);
        if (rv == 0) {
            rv = store_do(c->store, &f, NULL);
        }
    }
    if (rv != 0) {
        store_tx_undo(c->store);
        return false;
    }
    store_tx_end(c->store);
    return true;
}

static void salvage(struct cluster *c, uint64_t index, const struct log_entry *e)
{
    struct reader r;
    struct entry_head head;
    struct entry_tx tx;
    struct buf scratch = BUF_INIT;
    uint32_t kept = 0, lost = 0;
    if (entry_open(&r, e->data, e->len, &head, NULL) != 0) {
        log_error("entry %llu cannot be read: skipped", (unsigned long long)index);
        return;
    }
    uint64_t time_ms = store_time_ms(c->store);
    store_group_begin(c->store, head.time_ms > time_ms ? head.time_ms : time_ms, index);
    for (uint32_t i = 0; i < head.transactions && entry_next(&r, &tx, NULL) == 0; i++) {
        bool fits = salvage_tx(c, &tx, &scratch);
        kept += fits;
        lost += !fits;
    }
    buf_free(&scratch);
    store_group_seal(c->store);
    log_error("entry %llu was computed on a state that the majority does not have: %u of its "
              "transactions were applied, %u contradict the majority's state",
              (unsigned long long)index, kept, lost);
    tell_committed(c, index, e, false);
    store_group_commit(c->store);
}

/* False: apply stands still before this entry. */
static bool apply_foreign(struct cluster *c, uint64_t index, const struct log_entry *e)
{
    if (c->suspect_index == index && !c->suspect_right) {
        return false;
    }
    ASSERT(c->own_count == 0); /* A3 */
    if (c->suspect_index == index) {
        c->suspect_index = 0;
        c->suspect_right = false;
        salvage(c, index, e);
        return true;
    }
    struct error err = { 0 };
    if (feature_check_entry(c, index, e->data, e->len, &err) != 0) {
        cluster_fail(c, true, err.code, "%s; %s", err.message, err.hint);
        return false;
    }
    digest_record(c, index, store_digest(c->store));
    int rv = entry_apply(c->store, e->data, e->len, index, &err);
    if (rv == ERR_NOMEM) {
        cluster_fail(c, true, rv, "entry %llu: %s", (unsigned long long)index, err.message);
        return false;
    }
    if (rv != 0) {
        log_error("entry %llu does not fit this node's state: %s", (unsigned long long)index,
                  err.message);
        suspect_begin(c, index);
        return false;
    }
    tell_committed(c, index, e, false);
    store_group_commit(c->store);
    return true;
}

/* Applies entry applied + 1. False when it cannot be applied now. */
static bool apply_one(struct cluster *c)
{
    uint64_t index = c->applied + 1;
    const struct log_entry *found = log_cache_get(&c->log, index);
    if (found == NULL) {
        return false; /* a snapshot is being installed */
    }
    struct log_entry e = *found;
    payload_ref(e.payload); /* a callback may change the cache */
    bool done = true;
    if (e.type == RAFT_COMMAND && propose_own(c, index)) {
        ASSERT(c->own[0].term == e.term); /* C1 */
        bool internal = c->own[0].internal;
        c->applied = index;
        propose_own_done(c);
        c->member_due = c->member_due || internal;
        tell_committed(c, index, &e, !internal);
        store_group_commit(c->store);
    } else if (e.type == RAFT_COMMAND) {
        done = apply_foreign(c, index, &e);
        if (done) {
            c->applied = index;
        }
    } else {
        c->applied = index;
        if (e.type == RAFT_CHANGE) {
            apply_change(c, index, &e);
        } else {
            probe_applied(c, index);
            tell_committed(c, index, &e, false);
        }
    }
    if (done) {
        c->bytes_since_snapshot += e.len;
        c->again = true;
    }
    payload_unref(e.payload);
    return done;
}

static bool may_apply(const struct cluster *c)
{
    return c->raft_on && !c->dead && !c->quarantined && !c->installing && !c->in_apply &&
           !c->apply_waits && c->applied < c->commit;
}

void apply_run(struct cluster *c)
{
    uint64_t began = c->env->ops->mono_ns(c->env), bytes = 0;
    for (unsigned n = 0; may_apply(c); n++) {
        if (n >= SLICE_ENTRIES || bytes >= SLICE_BYTES ||
            c->env->ops->mono_ns(c->env) - began >= SLICE_NS) {
            c->apply_waits = true; /* for the next turn, not for the next round of this one */
            cluster_more(c);
            return;
        }
        uint64_t before = c->bytes_since_snapshot;
        c->in_apply = true;
        bool done = apply_one(c);
        c->in_apply = false;
        if (!done) {
            return;
        }
        bytes += c->bytes_since_snapshot - before;
    }
}

void apply_own_committed(struct cluster *c)
{
    /* Called from inside apply only when a committed configuration removed this leader. */
    bool inside = c->in_apply;
    c->in_apply = true;
    while (c->own_count > 0 && c->own[0].index <= c->commit && c->applied < c->commit &&
           !c->installing && apply_one(c)) {
    }
    c->in_apply = inside;
}
