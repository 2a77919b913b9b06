/* The loop around raft_step(): events in, updates out.
 *
 * An event (message, timer, something persisted, something submitted) goes into the core;
 * what comes out is carried out in one fixed order:
 *
 *   term and vote -> journal        (D1)
 *   truncation, then entries -> journal and the log in memory
 *   snapshot to install -> snapshot_receive.c
 *   messages -> transport, at once unless a vote is still on its way to disk
 *   state, commit index -> propose.c, apply.c
 *   next deadline -> timer
 *
 * The leader's append and the messages to the followers therefore travel at the same
 * time; a commit costs one sync beside one round trip, not one after the other.
 *
 * How it fails: the journal reports a failed write once and the node ends; an error of
 * the core other than a refused submission ends the node too.
 *
 * Invariants
 *   D1 (C2) term and vote are handed to the journal before any later append (its queue
 *      keeps order), and no message of the same or a later step leaves before they are
 *      durable (votes_asked, votes_durable, outbox)
 *   D2 entries are reported persisted in the order of the appends and never from inside
 *      the step that asked: the journal calls back from the loop only
 *   D3 an append that a truncation has cut counts only up to the cut, so an old write can
 *      never vouch for a newer entry at the same index
 *   D4 a truncation is ordered before the append that follows it
 *   D5 term and vote change together and the vote of an unchanged term is never cleared:
 *      the core sets both flags at once and we always write both */
#define LOG_MODULE "cluster"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"
#include "cluster/message.h"

/* Unacknowledged bytes the core may send to one follower: a few batches ahead, well below
 * the transport's own queue limit. */
#define INFLIGHT_BYTES_MAX (16u * 1024 * 1024)

/* ---- Out: messages --------------------------------------------------------------- */

static void outbox_flush(struct cluster *c)
{
    while (c->outbox != NULL && c->outbox->needs <= c->votes_durable) {
        struct outbound *o = c->outbox;
        c->outbox = o->next;
        if (c->outbox == NULL) {
            c->outbox_tail = NULL;
        }
        if (!c->dead && !c->quarantined) {
            transport_send(c->transport, o->address, CHANNEL_RAFT, &o->frame);
        }
        buf_free(&o->frame);
        mem_free(o);
    }
}

static void outbox_put(struct cluster *c, const char *address, struct buf *frame)
{
    if (c->outbox == NULL && c->votes_durable == c->votes_asked) {
        transport_send(c->transport, address, CHANNEL_RAFT, frame);
        buf_free(frame);
        return;
    }
    struct outbound *o = mem_must_alloc(sizeof *o);
    o->next = NULL;
    o->needs = c->votes_asked;
    o->frame = *frame;
    snprintf(o->address, sizeof o->address, "%s", address);
    if (c->outbox_tail != NULL) {
        c->outbox_tail->next = o;
    } else {
        c->outbox = o;
    }
    c->outbox_tail = o;
}

/* The core names a range; the entries are ours. False when some are gone (a truncation
 * in the same step cannot do that, so it is only caution). */
static bool fill_entries(struct cluster *c, struct raft_append_entries *a)
{
    a->entries = NULL;
    if (a->n_entries > MESSAGE_ENTRIES_MAX) {
        a->n_entries = MESSAGE_ENTRIES_MAX;
    }
    if (a->n_entries == 0) {
        return true;
    }
    struct raft_entry *entries = mem_must_alloc(a->n_entries * sizeof *entries);
    for (unsigned i = 0; i < a->n_entries; i++) {
        const struct log_entry *e = log_cache_get(&c->log, a->prev_log_index + 1 + i);
        if (e == NULL) {
            mem_free(entries);
            return false;
        }
        entries[i] = (struct raft_entry){ .term = e->term,
                                          .type = (enum raft_entry_type)e->type,
                                          .buf = { (void *)(uintptr_t)e->data, e->len },
                                          .batch = e->payload->base };
    }
    a->entries = entries;
    return true;
}

/* The core leaves last_log_index unset when it answers a message of an older term, and
 * may name an index beyond the one it rejects; what leaves here is always defined. */
static void tidy_result(struct raft_append_entries_result *r, bool stale)
{
    if (stale) {
        r->last_log_index = 0;
    }
    if (r->rejected > 0 && r->last_log_index >= r->rejected) {
        r->last_log_index = r->rejected - 1;
    }
}

/* Trap 12: the core answers every pre-vote with the term that was asked for, also when it
 * refuses because its own is higher, so the asker would never learn of that. With the true
 * term the asker follows suit and asks again in a term that can win. */
static void tell_own_term(const struct cluster *c, struct raft_request_vote_result *r)
{
    uint64_t own = raft_current_term(&c->raft);
    if (r->pre_vote && !r->vote_granted && r->term < own) {
        r->term = own;
    }
}

static void send_message(struct cluster *c, struct raft_message *m, bool stale)
{
    if (m->server_id == c->raft.id) {
        return; /* the answer to driver_raise_term()'s own vote */
    }
    if (m->type == RAFT_INSTALL_SNAPSHOT) {
        snapshot_send_start(c, m);
        return;
    }
    if (m->type == RAFT_APPEND_ENTRIES && m->append_entries.leader_commit > c->commit_told) {
        c->commit_told = m->append_entries.leader_commit;
    }
    if (m->type == RAFT_APPEND_ENTRIES && !fill_entries(c, &m->append_entries)) {
        return;
    }
    if (m->type == RAFT_APPEND_ENTRIES_RESULT) {
        tidy_result(&m->append_entries_result, stale);
        c->step_rejected = c->step_rejected || m->append_entries_result.rejected > 0;
    }
    if (m->type == RAFT_REQUEST_VOTE_RESULT) {
        tell_own_term(c, &m->request_vote_result);
    }
    struct buf frame = BUF_INIT;
    int rv = message_encode(m, &frame);
    if (m->type == RAFT_APPEND_ENTRIES) {
        mem_free(m->append_entries.entries);
    }
    if (rv != 0) {
        log_error("a message of type %d cannot be sent: %s", (int)m->type, error_text(rv));
        buf_free(&frame);
        return;
    }
    outbox_put(c, m->server_address, &frame);
}

/* ---- Out: term, vote, entries --------------------------------------------------------- */

static void vote_durable(void *arg, int status)
{
    struct cluster *c = arg;
    if (status == 0) {
        c->votes_durable++;
        outbox_flush(c);
    }
    cluster_finish_stop(c);
}

static void persist_vote(struct cluster *c)
{
    c->votes_asked++;
    journal_set_vote(c->journal, raft_current_term(&c->raft), raft_voted_for(&c->raft),
                     vote_durable, c);
}

static void append_free(struct append *a)
{
    for (size_t i = 0; i < a->total; i++) {
        payload_unref(a->refs[i]);
    }
    mem_free(a->refs);
    mem_free(a);
}

static void append_durable(void *arg, int status)
{
    struct append *a = arg;
    struct cluster *c = a->c;
    ASSERT(c->appends == a); /* D2 */
    c->appends = a->next;
    c->unstored_bytes -= a->bytes;
    if (c->appends == NULL) {
        c->appends_tail = NULL;
    }
    if (status == 0 && a->n > 0 && c->raft_on && !c->dead && !c->quarantined) {
        struct raft_event event = { .type = RAFT_PERSISTED_ENTRIES };
        event.persisted_entries.index = a->index + a->n - 1;
        driver_stepped(c, driver_step(c, &event), "persisted entries");
    }
    append_free(a);
    cluster_pump(c);
    cluster_finish_stop(c);
}

/* D3: appends still under way lose what `index` cuts off. */
static void cut_appends(struct cluster *c, uint64_t index)
{
    for (struct append *a = c->appends; a != NULL; a = a->next) {
        if (a->index >= index) {
            a->n = 0;
        } else if (a->index + a->n > index) {
            a->n = (size_t)(index - a->index);
        }
    }
}

static void persist_entries(struct cluster *c, uint64_t index, const struct raft_entry *entries,
                            size_t n)
{
    bool change = false;
    if (index <= log_cache_last(&c->log)) {
        change = true; /* a configuration may have been rolled back */
        log_cache_truncate(&c->log, index);
        cut_appends(c, index);
        journal_truncate(c->journal, index); /* D4 */
    }
    ASSERT(index == log_cache_last(&c->log) + 1);
    struct payload *payload = c->submitting;
    if (payload == NULL) {
        /* Received, or the core's own barrier: one block for all, now ours. */
        payload = payload_of_raft(entries[0].batch);
    }
    c->submitting = NULL;
    struct append *a = mem_must_alloc(sizeof *a + n * sizeof a->entries[0]);
    a->next = NULL;
    a->c = c;
    a->index = index;
    a->n = a->total = n;
    a->bytes = 0;
    a->since_ms = now_ms(c);
    a->refs = mem_must_alloc(n * sizeof(struct payload *));
    for (size_t i = 0; i < n; i++) {
        struct log_entry e = { .term = entries[i].term,
                               .data = entries[i].buf.base,
                               .len = entries[i].buf.len,
                               .payload = payload_ref(payload),
                               .type = (uint8_t)entries[i].type };
        log_cache_append(&c->log, &e);
        a->refs[i] = payload_ref(payload);
        a->entries[i] = (struct journal_entry){ e.term, e.type, e.data, e.len };
        a->bytes += e.len;
        change = change || e.type == RAFT_CHANGE;
    }
    payload_unref(payload);
    if (c->appends_tail != NULL) {
        c->appends_tail->next = a;
    } else {
        c->appends = a;
    }
    c->appends_tail = a;
    c->unstored_bytes += a->bytes;
    journal_append(c->journal, index, a->entries, n, append_durable, a);
    if (change) {
        peers_sync(c); /* a configuration counts from the moment it is in the log */
    }
}

/* ---- Timer ------------------------------------------------------------------------------ */

/* When the core wants its next RAFT_TIMEOUT. A leader's comes once a heartbeat, never sooner
 * (trap 14): it takes a follower that has sent nothing since the last one for unreachable,
 * and sends it new entries only with its next heartbeat. */
static uint64_t timeout_at(const struct cluster *c)
{
    uint64_t at = raft_timeout(&c->raft), least = c->leader_timeout_ms + c->heartbeat_ms;
    return c->raft.state == RAFT_LEADER && at < least ? least : at;
}

/* The timer is only moved when the deadline comes nearer; when it fires too early it is
 * armed again. Heartbeats would otherwise restart it hundreds of times a second. */
static void arm(struct cluster *c)
{
    uint64_t now = now_ms(c), at = timeout_at(c);
    if (at <= now) {
        at = now + 1;
    }
    if (c->raft_timer_at != 0 && c->raft_timer_at <= at) {
        return;
    }
    c->raft_timer_at = at;
    c->env->ops->timer_start(c->raft_timer, at - now);
}

bool driver_sole_voter(const struct cluster *c)
{
    return voters_count(c) == 1 && is_voter(c, c->raft.id);
}

/* engine.md trap 2, at run time: a follower that has become the only voter would be made
 * leader in the term it is in, where another may have led. A vote for itself in the next
 * term, asked of itself, makes the core raise the term and store the vote first. */
static void driver_raise_term(struct cluster *c)
{
    struct raft_message m = { .type = RAFT_REQUEST_VOTE };
    m.server_id = c->raft.id;
    m.server_address = c->address;
    m.request_vote.version = 2;
    m.request_vote.term = raft_current_term(&c->raft) + 1;
    m.request_vote.candidate_id = c->raft.id;
    m.request_vote.last_log_index = log_cache_last(&c->log);
    m.request_vote.last_log_term = log_cache_term(&c->log, log_cache_last(&c->log));
    m.request_vote.disrupt_leader = true;
    struct raft_event event = { .type = RAFT_RECEIVE };
    event.receive.message = &m;
    driver_stepped(c, driver_step(c, &event), "own vote");
}

void driver_on_timer(void *arg)
{
    struct cluster *c = arg;
    c->raft_timer_at = 0;
    if (!c->raft_on || c->dead || c->quarantined || c->removed) {
        return; /* who was removed asks for no votes; a leader's entries arm the timer again */
    }
    uint64_t now = now_ms(c);
    if (timeout_at(c) > now) {
        arm(c);
        return;
    }
    if (c->raft.state == RAFT_LEADER) {
        c->leader_timeout_ms = now;
    }
    if (raft_state(&c->raft) == RAFT_FOLLOWER && driver_sole_voter(c) && c->appends == NULL &&
        !c->installing) {
        driver_raise_term(c);
        struct raft_event again = { .type = RAFT_TIMEOUT };
        c->raft.election_timer_start = 0; /* the vote has restarted the timer: it is over */
        driver_stepped(c, driver_step(c, &again), "timeout");
    } else {
        struct raft_event event = { .type = RAFT_TIMEOUT };
        driver_stepped(c, driver_step(c, &event), "timeout");
    }
    /* A server that was made a spare keeps its old "last sent" and would make every
     * deadline lie in the past: never spin. */
    if (!c->dead && raft_timeout(&c->raft) <= now) {
        uint64_t after = c->heartbeat_ms / 2 + 1;
        c->raft_timer_at = now + after;
        c->env->ops->timer_start(c->raft_timer, after);
    }
    cluster_pump(c);
}

/* ---- Step ---------------------------------------------------------------------------------- */

static void limit_inflight(struct cluster *c)
{
    uint64_t average = c->log.count > 0 ? c->log.bytes / c->log.count + 1 : 1;
    uint64_t n = INFLIGHT_BYTES_MAX / average;
    n = n < 8 ? 8 : n > MESSAGE_ENTRIES_MAX ? MESSAGE_ENTRIES_MAX : n;
    raft_set_max_inflight_entries(&c->raft, (unsigned)n);
}

static bool event_is_stale(const struct cluster *c, const struct raft_event *event)
{
    if (event->type != RAFT_RECEIVE) {
        return false;
    }
    const struct raft_message *m = event->receive.message;
    return (m->type == RAFT_APPEND_ENTRIES && m->append_entries.term < c->raft.current_term) ||
           (m->type == RAFT_INSTALL_SNAPSHOT && m->install_snapshot.term < c->raft.current_term);
}

int driver_step(struct cluster *c, struct raft_event *event)
{
    struct raft_update update;
    memset(&update, 0, sizeof update);
    event->time = now_ms(c);
    event->capacity = 0;
    bool stale = event_is_stale(c, event);
    limit_inflight(c);
    c->step_rejected = false;
    int rv = raft_step(&c->raft, event, &update);
    if (rv != 0) {
        return rv;
    }
    if (update.flags & ((RAFT_UPDATE_CURRENT_TERM) | (RAFT_UPDATE_VOTED_FOR))) {
        persist_vote(c);
    }
    if (update.flags & (RAFT_UPDATE_ENTRIES)) {
        persist_entries(c, update.entries.index, update.entries.batch, update.entries.n);
    }
    if (update.flags & (RAFT_UPDATE_SNAPSHOT)) {
        snapshot_install(c, &update.snapshot.metadata);
    }
    if (update.flags & (RAFT_UPDATE_MESSAGES)) {
        for (unsigned i = 0; i < update.messages.n; i++) {
            send_message(c, &update.messages.batch[i], stale);
        }
    }
    /* From here on `update` is not touched: what follows may step again. The state comes
     * first: own groups count as committed by what this node knew while it led, never by
     * the commit index of the leader that has just replaced them. */
    if (c->raft.state != c->state_seen || c->raft.current_term != c->term_seen) {
        propose_state_changed(c);
    }
    if (raft_commit_index(&c->raft) > c->commit) {
        c->commit = raft_commit_index(&c->raft);
        c->again = true;
        commit_advanced(c);
    }
    arm(c);
    return 0;
}

void driver_stepped(struct cluster *c, int rv, const char *what)
{
    if (rv != 0) {
        cluster_fail(c, true, ERR_INTERNAL, "the consensus core refused an event (%s): %s", what,
                     raft_strerror(rv));
    }
}
