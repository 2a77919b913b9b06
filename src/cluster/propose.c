/* Proposals and the readiness to make them.
 *
 * A new leader first proves what it has: it commits an entry of its own term (the core's
 * barrier, or ours where the core sees no need), applies everything up to the end of its
 * log, and only then evaluates. From there on every entry of the log is either a barrier,
 * a configuration or one of our own groups, which are already in the store as speculation
 * and only need to be committed there.
 *
 *   not leader -> leader -> (entry of this term committed, applied == last, clock agreed)
 *   ready -> open -> propose | abandon
 *   any change of state or term -> own groups that have committed are committed in the
 *   store, all others are undone (C4), and the user is told
 *
 * Invariants
 *   P1 own[] are the groups in flight, oldest first; they are exactly the store's
 *   P2 own[] is empty unless leader in own[].term == the current term (C4)
 *   P3 between open and propose nothing is appended to the log, so a group's index is known
 *      when it is opened */
#define LOG_MODULE "cluster"

#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"

bool cluster_leads(const struct cluster *c)
{
    return c->raft_on && !c->dead && !c->quarantined && !c->removed && c->raft.state == RAFT_LEADER;
}

bool propose_own(const struct cluster *c, uint64_t index)
{
    return c->own_count > 0 && c->own[0].index == index;
}

void propose_own_done(struct cluster *c)
{
    ASSERT(c->own_count > 0);
    c->own_count--;
    memmove(c->own, c->own + 1, c->own_count * sizeof c->own[0]);
}

/* Takes all speculation back; what the ring says about it was never true. */
void propose_undo(struct cluster *c)
{
    if (c->own_count == 0) {
        return;
    }
    if (!c->undone_pending || c->own[0].index < c->undone_first) {
        c->undone_first = c->own[0].index;
    }
    c->undone_pending = true;
    for (unsigned i = 0; i < c->own_count; i++) {
        digest_forget(c, c->own[i].index);
    }
    c->own_count = 0;
    store_undo_all(c->store);
}

/* The core has already changed. What it committed while we led is committed; the rest of
 * the speculation goes. */
void propose_state_changed(struct cluster *c)
{
    bool led = c->state_seen == RAFT_LEADER;
    if (c->term_seen != c->raft.current_term) {
        vitals_new_term(c);
    }
    c->state_seen = c->raft.state;
    c->term_seen = c->raft.current_term;
    c->ready = false;
    c->ready_wanted = true;
    c->barrier_sent = false;
    c->again = true;
    memset(c->probes, 0, sizeof c->probes); /* their entries may be gone */
    if (!led) {
        return;
    }
    ASSERT(!c->batch);
    apply_own_committed(c);
    propose_undo(c);
    c->round_open = false;
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        p->install_index = 0; /* the core has forgotten it, too */
        if (p->send != NULL) {
            snapshot_send_abort(c, p, "this node leads no more");
        }
    }
}

/* ---- Readiness ----------------------------------------------------------------- */

int propose_submit(struct cluster *c, uint8_t type, struct payload *payload, const void *data,
                   size_t len)
{
    struct raft_entry entry = { .term = raft_current_term(&c->raft),
                                .type = (enum raft_entry_type)type,
                                .buf = { (void *)(uintptr_t)data, len },
                                .batch = payload->base };
    struct raft_event event = { .type = RAFT_SUBMIT };
    event.submit.entries = &entry;
    event.submit.n = 1;
    c->submitting = payload;
    int rv = driver_step(c, &event);
    c->submitting = NULL;
    return rv;
}

/* engine.md trap 8: the core appends its barrier only if something was not known to be
 * committed. We want an entry of every term, so that reads and readiness rest on one. */
static void submit_barrier(struct cluster *c)
{
    if (c->barrier_sent ||
        log_cache_term(&c->log, log_cache_last(&c->log)) == raft_current_term(&c->raft)) {
        return;
    }
    struct buf b = BUF_INIT;
    buf_put_u64(&b, 0);
    if (b.failed) {
        return;
    }
    uint8_t *data = b.data;
    struct payload *payload = payload_of_buf(&b);
    int rv = propose_submit(c, RAFT_BARRIER, payload, data, 8);
    c->barrier_sent = rv == 0;
    if (rv != 0) {
        payload_unref(payload);
        if (rv != RAFT_NOTLEADER) {
            driver_stepped(c, rv, "barrier");
        }
    }
}

static bool place_free(const struct cluster *c) { return c->own_count < PIPELINE_ENTRIES_MAX; }

static void hand_over_clock(struct cluster *c, int64_t median_ms)
{
    uint64_t id = clock_best_successor(c);
    if (log_allowed(&c->clock_log, now_ms(c), 10000)) {
        log_error("this node's clock is %lld ms from the majority's: it stamps nothing and "
                  "hands over leadership; set the clock",
                  (long long)-median_ms);
    }
    if (id != 0 && raft_transferee(&c->raft) == 0) {
        struct raft_event event = { .type = RAFT_TRANSFER };
        event.transfer.server_id = id;
        (void)driver_step(c, &event); /* refused: tried again */
    }
}

/* Term, log and clock: everything but a place in the pipeline. */
static int check_ready(struct cluster *c, struct error *e)
{
    if (!cluster_leads(c)) {
        return error_set(e, ERR_NOTLEADER, "this node does not lead");
    }
    if (!c->ready) {
        return error_set(e, ERR_NOTREADY, "the leader is still taking over");
    }
    bool apart = false;
    int64_t median = 0;
    if (clock_agrees(c, &apart, &median) != 0) {
        return error_set(e, ERR_NOTREADY, "%s",
                         apart ? "the leader's clock differs from the majority's"
                               : "the clocks of a majority have not been compared yet");
    }
    return 0;
}

/* And a place in the pipeline, a disk that keeps up and has room, no hand-over under way. */
static int open_allowed(struct cluster *c, struct error *e)
{
    int rv = check_ready(c, e);
    if (rv != 0) {
        return rv;
    }
    if (raft_transferee(&c->raft) != 0 || c->handing_over) {
        /* Trap 10: the core would refuse it as "not leader". */
        return error_set(e, ERR_BUSY, "leadership is being handed over");
    }
    if (!place_free(c)) {
        return error_set(e, ERR_BUSY, "%d entries are in flight", PIPELINE_ENTRIES_MAX);
    }
    if (c->unstored_bytes >= UNSTORED_BYTES_MAX) {
        return error_set(e, ERR_BUSY, "%d MiB wait for the leader's disk",
                         UNSTORED_BYTES_MAX / (1024 * 1024));
    }
    if (!journal_has_space(c->journal)) {
        /* Trap 6: NOSPACE is ours, with room kept for barriers and changes. */
        error_set(e, ERR_NOSPACE, "the disk of the leader is full");
        error_hint(e, "reads go on; make room on it and writes go on by themselves");
        return ERR_NOSPACE;
    }
    if (!disk_majority_has_space(c)) {
        /* It could append, but what the others cannot store would never commit. */
        error_set(e, ERR_NOSPACE, "the disks of too many nodes are full");
        error_hint(e, "reads go on; make room on them and writes go on by themselves");
        return ERR_NOSPACE;
    }
    return 0;
}

void propose_run(struct cluster *c)
{
    if (!cluster_leads(c)) {
        return;
    }
    if (!c->ready) {
        submit_barrier(c);
        if (c->dead) {
            return;
        }
        uint64_t last = log_cache_last(&c->log);
        c->ready = c->applied == last && log_cache_term(&c->log, last) == c->raft.current_term;
        if (c->ready && !c->learned) { /* a leader knows best: local reads go on if it falls */
            c->learned = true;
            c->learned_index = c->applied;
        }
    }
    bool apart = false;
    int64_t median = 0;
    if (clock_agrees(c, &apart, &median) != 0 && apart) {
        hand_over_clock(c, median);
        return;
    }
    if (c->ready_wanted && open_allowed(c, NULL) == 0) {
        c->ready_wanted = false;
        if (c->o.on.ready != NULL) {
            c->o.on.ready(c->o.arg);
        }
        c->again = true;
    }
}

/* ---- The public part -------------------------------------------------------------- */

int cluster_batch_open(struct cluster *c, uint64_t *index, uint64_t *time_ms, struct error *e)
{
    ASSERT(!c->batch);
    int rv = open_allowed(c, e);
    if (rv != 0) {
        c->ready_wanted = true;
        return rv;
    }
    uint64_t wall = c->env->ops->wall_ms(c->env), newest = store_time_ms(c->store);
    *index = log_cache_last(&c->log) + 1;
    *time_ms = newest > wall ? newest : wall; /* design.md 2.3: never back */
    c->batch = true;
    c->batch_index = *index;
    c->batch_digest = store_digest(c->store);
    store_group_begin(c->store, *time_ms, *index);
    return 0;
}

uint64_t cluster_batch_digest(const struct cluster *c)
{
    ASSERT(c->batch);
    return c->batch_digest;
}

/* An entry with a wrong digest would stop every other node: it never gets into the log. */
static int check_entry(const struct cluster *c, const struct buf *entry, struct error *e)
{
    struct reader r;
    struct entry_head head;
    if (entry->failed || entry->len == 0) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    if (entry->len > ENTRY_BYTES_MAX) {
        return error_set(e, ERR_TOOBIG, "one entry holds at most %d bytes", ENTRY_BYTES_MAX);
    }
    if (entry_open(&r, entry->data, entry->len, &head, e) != 0 ||
        head.digest_before != c->batch_digest) {
        return error_set(e, ERR_INTERNAL, "the entry was not made for this batch");
    }
    if (!cluster_leads(c)) {
        return error_set(e, ERR_NOTLEADER, "this node does not lead any more");
    }
    return 0;
}

int cluster_batch_propose(struct cluster *c, struct buf *entry, struct error *e)
{
    ASSERT(c->batch);
    c->batch = false;
    int rv = check_entry(c, entry, e);
    if (rv != 0) {
        buf_free(entry);
        store_group_cancel(c->store);
        return rv;
    }
    ASSERT(log_cache_last(&c->log) + 1 == c->batch_index); /* P3 */
    size_t len = entry->len;
    const void *data = entry->data;
    struct payload *payload = payload_of_buf(entry);
    rv = propose_submit(c, RAFT_COMMAND, payload, data, len);
    cluster_kick(c);
    if (rv != 0) {
        payload_unref(payload);
        store_group_cancel(c->store);
        if (rv != RAFT_NOTLEADER) {
            driver_stepped(c, rv, "proposal");
        }
        return error_set(e, ERR_NOTLEADER, "this node does not lead any more");
    }
    store_group_seal(c->store);
    digest_record(c, c->batch_index, c->batch_digest);
    c->own[c->own_count].index = c->batch_index;
    c->own[c->own_count].term = c->raft.current_term;
    c->own[c->own_count].internal = false;
    c->own_count++;
    c->ready_wanted = true;
    return 0;
}

void cluster_batch_abandon(struct cluster *c)
{
    ASSERT(c->batch);
    c->batch = false;
    store_group_cancel(c->store);
    cluster_kick(c);
}

/* ---- Handing leadership over ---------------------------------------------------------- */

/* The core would take any voter, one that is down too, when nobody has everything. */
uint64_t transfer_choose(const struct cluster *c)
{
    uint64_t best = 0, best_match = 0;
    unsigned best_rank = 0;
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        const struct raft_server *s = &c->raft.configuration.servers[i];
        raft_index match = 0;
        const struct peer *p = c->peers;
        while (p != NULL && strcmp(p->address, s->address) != 0) {
            p = p->next;
        }
        if (s->role != RAFT_VOTER || s->id == c->raft.id || p == NULL || !p->up ||
            raft_match_index(&c->raft, s->id, &match) != 0) {
            continue;
        }
        /* One that drains can lead, one whose disk fails it cannot for long. */
        unsigned rank = (p->vitals.disk != 0 ? 2u : 0u) + (p->vitals.draining != 0 ? 1u : 0u);
        if (best == 0 || rank < best_rank || (rank == best_rank && match > best_match)) {
            best = s->id;
            best_match = match;
            best_rank = rank;
        }
    }
    return best;
}

static void transfer_end(struct cluster *c, int status)
{
    cluster_read_cb cb = c->transfer_cb;
    c->transferring = false;
    c->transfer_cb = NULL;
    c->ready_wanted = true;
    if (cb != NULL) {
        cluster_later(c, cb, c->transfer_arg, status);
    }
}

void transfer_run(struct cluster *c)
{
    disk_run(c);
    if (!c->transferring) {
        return;
    }
    raft_id leader = 0;
    const char *address = NULL;
    if (c->raft_on) {
        raft_leader(&c->raft, &leader, &address);
    }
    if (c->dead || c->quarantined) {
        transfer_end(c, ERR_CANCELED);
    } else if (leader != 0 && leader != c->raft.id) {
        transfer_end(c, 0);
    } else if ((cluster_leads(c) && raft_transferee(&c->raft) == 0) ||
               now_ms(c) >= c->transfer_deadline_ms) {
        transfer_end(c, ERR_NOQUORUM);
    }
}

void cluster_transfer(struct cluster *c, const char *address, cluster_read_cb cb, void *arg)
{
    cluster_kick(c);
    if (!cluster_leads(c)) {
        cluster_later(c, cb, arg, ERR_NOTLEADER);
        return;
    }
    if (c->transferring || raft_transferee(&c->raft) != 0) {
        cluster_later(c, cb, arg, ERR_BUSY);
        return;
    }
    uint64_t id = 0;
    for (unsigned i = 0; address[0] != '\0' && i < c->raft.configuration.n; i++) {
        if (strcmp(c->raft.configuration.servers[i].address, address) == 0) {
            id = c->raft.configuration.servers[i].id;
        }
    }
    if (address[0] != '\0' && (id == 0 || id == c->raft.id || !is_voter(c, id))) {
        cluster_later(c, cb, arg, id == c->raft.id ? 0 : ERR_BADARG);
        return;
    }
    struct raft_event event = { .type = RAFT_TRANSFER };
    event.transfer.server_id = id != 0 ? id : transfer_choose(c);
    int rv = driver_step(c, &event);
    if (rv != 0) {
        cluster_later(c, cb, arg, rv == RAFT_NOTFOUND ? ERR_NOTFOUND : ERR_NOTLEADER);
        return;
    }
    c->transferring = true;
    c->transfer_cb = cb;
    c->transfer_arg = arg;
    c->transfer_deadline_ms = now_ms(c) + 2u * c->election_ms;
}
