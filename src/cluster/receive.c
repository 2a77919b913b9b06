/* From the network into the core.
 *
 * A frame is decoded and checked by message.c; here comes what needs this node's state:
 * a message that the core would mistake is dropped, adjusted or split, then delivered.
 * Nothing here trusts the sender beyond its proven identity.
 *
 * Invariants
 *   R1 (C3, engine.md trap 1) an AppendEntries with a CHANGE behind other entries reaches the
 *      core in parts that each begin with the CHANGE; after a rejected part the rest is
 *      dropped
 *   R2 (trap 3) while a snapshot is on its way to a follower, its rejections of heartbeats
 *      anchored at the snapshot are told to the core as "rejected 0, last 0"
 *   R3 (trap 11) no term far beyond our own reaches the core
 *   R4 entries below what the log still holds never reach the core: it has forgotten their
 *      terms and would append them at the end, or refuse what follows them for ever
 *   R5 (trap 13) a learner votes: the candidate's log may hold its promotion, and need it;
 *      so does a founder that has nothing yet, since nobody else may be left to lead
 *   R6 (trap 15) a rejection of what the follower has acknowledged since is told to the core
 *      as "rejected 0, last 0": it is late, and would make the core start below the match
 *   R7 (trap 16) once no snapshot is on its way to a follower whose core progress waits for one,
 *      its next rejection is told to the core as that of the snapshot: it would ignore others */
#define LOG_MODULE "cluster"

#include <string.h>

#include "base/log.h"
#include "cluster/internal.h"
#include "cluster/message.h"

/* A term grows by one per election. Four billion elections ahead of us is damage. */
#define TERM_JUMP_MAX    (UINT64_C(1) << 32)
/* A peer that sends nonsense sends a lot of it. */
#define REFUSED_EVERY_MS 10000

static uint64_t message_term(const struct raft_message *m)
{
    switch (m->type) {
    case RAFT_APPEND_ENTRIES: return m->append_entries.term;
    case RAFT_APPEND_ENTRIES_RESULT: return m->append_entries_result.term;
    case RAFT_REQUEST_VOTE: return m->request_vote.term;
    case RAFT_REQUEST_VOTE_RESULT: return m->request_vote_result.term;
    case RAFT_INSTALL_SNAPSHOT: return m->install_snapshot.term;
    case RAFT_TIMEOUT_NOW: return m->timeout_now.term;
    default: return UINT64_MAX;
    }
}

/* R4. Whatever lies below the commit index equals what we have (that is what committed
 * means), so the message may start there instead. Of the entry right before the log the core has
 * the term only if the snapshot ends there. */
static void skip_forgotten(struct cluster *c, struct raft_append_entries *a)
{
    if (a->prev_log_index >= c->log.first || a->prev_log_index == c->log.snapshot_index) {
        return;
    }
    uint64_t anchor = c->commit;
    uint64_t skip = anchor - a->prev_log_index;
    if (skip >= a->n_entries) {
        if (a->n_entries > 0) {
            raft_free(a->entries[0].batch);
            raft_free(a->entries);
            a->entries = NULL;
            a->n_entries = 0;
        }
    } else {
        a->n_entries -= (unsigned)skip;
        memmove(a->entries, a->entries + skip, a->n_entries * sizeof *a->entries);
    }
    a->prev_log_index = anchor;
    a->prev_log_term = log_cache_term(&c->log, anchor);
}

/* The core takes the kind of a vote result from what it believes to be candidate state,
 * whatever state it is in, and a late pre-vote result can raise the term of a follower
 * that has found its leader. Only what a candidate has asked for passes. */
static bool vote_result_fits(const struct cluster *c, const struct raft_request_vote_result *r)
{
    return c->raft.state == RAFT_CANDIDATE && r->pre_vote == c->raft.candidate_state.in_pre_vote;
}

/* A rejection that must not move the core's idea of what the follower has: R2, R6. */
static bool rejection_is_void(const struct cluster *c, const struct peer *p, uint64_t follower_id,
                              uint64_t rejected)
{
    raft_index match = 0;
    return p->send != NULL ||
           (c->raft.state == RAFT_LEADER && raft_match_index(&c->raft, follower_id, &match) == 0 &&
            rejected <= match);
}

/* What the core may believe of a follower's answer: R2, R6, R7. */
static void adjust_result(const struct cluster *c, struct peer *p, uint64_t follower_id,
                          struct raft_append_entries_result *r)
{
    if (r->rejected == 0) {
        if (r->last_log_index >= p->install_index) {
            p->install_index = 0;
        }
    } else if (rejection_is_void(c, p, follower_id, r->rejected)) {
        r->rejected = 0;
        r->last_log_index = 0;
    } else if (p->install_index != 0) {
        r->rejected = p->install_index;
        if (r->last_log_index >= r->rejected) {
            r->last_log_index = r->rejected - 1;
        }
        p->install_index = 0;
    }
}

static bool acceptable(struct cluster *c, struct raft_message *m, struct peer *p)
{
    if (message_term(m) > raft_current_term(&c->raft) + TERM_JUMP_MAX) {
        if (log_allowed(&c->refused_log, now_ms(c), REFUSED_EVERY_MS)) {
            log_warn("%s sent a message of term %llu, far beyond %llu: dropped", p->address,
                     (unsigned long long)message_term(m),
                     (unsigned long long)raft_current_term(&c->raft));
        }
        return false;
    }
    switch (m->type) {
    case RAFT_APPEND_ENTRIES:
        if (m->append_entries.term == raft_current_term(&c->raft) &&
            raft_state(&c->raft) == RAFT_LEADER) {
            log_error("%s claims to lead in this node's own term: dropped", p->address);
            return false;
        }
        if (m->append_entries.term >= raft_current_term(&c->raft)) {
            skip_forgotten(c, &m->append_entries);
        }
        return true;
    case RAFT_APPEND_ENTRIES_RESULT:
        adjust_result(c, p, m->server_id, &m->append_entries_result);
        return true;
    case RAFT_REQUEST_VOTE: return m->request_vote.candidate_id == m->server_id;
    case RAFT_REQUEST_VOTE_RESULT: return vote_result_fits(c, &m->request_vote_result);
    case RAFT_INSTALL_SNAPSHOT: return false; /* comes with its chunks: snapshot_receive.c */
    case RAFT_TIMEOUT_NOW: return true;
    default: return false;
    }
}

/* What a leader says about the commit index makes local reads possible here, once that is an entry
 * of its own term: before, a leader that has just been started knows of its snapshot only. */
static void learn_commit(struct cluster *c, uint64_t term, uint64_t commit)
{
    c->told_commit_term = term;
    c->told_commit = commit;
    learn_again(c);
}

/* The entry that was spoken of may come later, also in a snapshot. */
void learn_again(struct cluster *c)
{
    if (!c->learned && c->told_commit_term == raft_current_term(&c->raft) &&
        log_cache_term(&c->log, c->told_commit) == c->told_commit_term) {
        c->learned = true;
        c->learned_index = c->told_commit;
    }
}

/* Sets this node's own role as the core sees it, if it is `from`. */
static bool play_role(struct cluster *c, int from, int to)
{
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        struct raft_server *s = &c->raft.configuration.servers[i];
        if (s->id == c->raft.id && s->role == from) {
            s->role = to;
            return true;
        }
    }
    return false;
}

static void forget_conf(struct cluster *c)
{
    raft_configuration_close(&c->raft.configuration);
    raft_configuration_init(&c->raft.configuration);
}

/* A core without any configuration knows no voter, so not itself either: for a vote it gets one
 * of itself and the candidate. That is safe: our node id is drawn with the directory, so who has
 * no entry under it has acknowledged none. */
static bool play_founder(struct cluster *c, const struct raft_message *m)
{
    struct raft_configuration *conf = &c->raft.configuration;
    if (conf->n > 0 || log_cache_last(&c->log) > 0 || c->installing) {
        return false;
    }
    if (raft_configuration_add(conf, c->raft.id, c->address, RAFT_VOTER) != 0 ||
        raft_configuration_add(conf, m->server_id, m->server_address, RAFT_VOTER) != 0) {
        forget_conf(c); /* out of memory: it asks again */
        return false;
    }
    return true;
}

/* R5. Who counts a vote is the candidate's business, by its configuration. A core that does not
 * campaign never forgets its leader, and refuses everybody else for its sake: that of who is no
 * voter, or whose append waits for its disk. So silence is noticed here. */
static int deliver(struct cluster *c, struct raft_message *m)
{
    struct raft_event event = { .type = RAFT_RECEIVE };
    event.receive.message = m;
    bool asked = m->type == RAFT_REQUEST_VOTE;
    bool learner = asked && play_role(c, RAFT_STANDBY, RAFT_VOTER);
    bool founder = asked && play_founder(c, m);
    bool stuck = asked && c->appends != NULL;
    if ((learner || founder || stuck) && c->raft.state == RAFT_FOLLOWER &&
        now_ms(c) - c->led_ms > c->election_ms) {
        c->raft.follower_state.current_leader.id = 0;
    }
    int rv = driver_step(c, &event);
    if (learner) {
        (void)play_role(c, RAFT_VOTER, RAFT_STANDBY);
    }
    if (founder) {
        forget_conf(c);
    }
    return rv;
}

static void deliver_parts(struct cluster *c, struct raft_message *m)
{
    struct raft_message part = *m, rest;
    for (;;) {
        int status = 0;
        bool more = message_split(&part, &rest, &status); /* R1 */
        if (status != 0) {
            message_release(&part); /* out of memory: the leader sends it again */
            return;
        }
        bool append = part.type == RAFT_APPEND_ENTRIES;
        uint64_t term = append ? part.append_entries.term : 0;
        uint64_t commit = append ? part.append_entries.leader_commit : 0;
        int rv = deliver(c, &part);
        if (append) {
            learn_commit(c, term, commit);
        }
        bool stop = c->step_rejected;
        message_consumed(&part);
        if (rv != 0 || stop || c->dead || !more) {
            if (more) {
                message_release(&rest);
            }
            driver_stepped(c, rv, "message");
            return;
        }
        rest.server_id = m->server_id;
        rest.server_address = m->server_address;
        part = rest;
    }
}

void receive_raft(struct cluster *c, const struct transport_peer *from, const uint8_t *data,
                  size_t len)
{
    if (!c->raft_on || c->dead || c->quarantined || from->cluster_id != c->identity.cluster_id) {
        return;
    }
    struct peer *p = peer_get(c, from->address);
    struct raft_message m;
    struct error e = { 0 };
    if (p == NULL) {
        return;
    }
    if (message_decode(data, len, &m, &e) != 0) {
        if (log_allowed(&c->refused_log, now_ms(c), REFUSED_EVERY_MS)) {
            log_warn("%s sent a message that was refused: %s", from->address, e.message);
        }
        return;
    }
    m.server_id = from->node_id;
    m.server_address = from->address;
    if (m.type == RAFT_APPEND_ENTRIES && m.append_entries.term >= raft_current_term(&c->raft)) {
        told_led(c);
    }
    if (c->removed || !acceptable(c, &m, p)) {
        message_release(&m);
        return;
    }
    deliver_parts(c, &m);
}
