/* The leader carries the logged operation out, one step at a time.
 *
 *   add      learner -> catches up -> voter -> IDLE
 *   remove   (the leader itself: hand over first, the next leader goes on) -> out -> IDLE
 *   replace  add the new one, then remove the old one; at one address (an emptied disk) the
 *            old identity, which nobody can use any more, goes first
 *
 * The next step is read off the record and the committed configuration alone, so a new
 * leader goes on where the last one died, and doing a step twice is doing it once. Past the
 * deadline, or canceled, a node that is not a voter yet is dropped again (UNDOING); what has
 * been removed stays removed. Learners without an operation are dropped.
 *
 * Catching up. A round lasts until the learner has what the log held when the round began.
 * It is promoted after a round shorter than an election timeout (what it still lacks is
 * replicated faster than anybody would notice), or when it lacks nothing. The library's own
 * rounds give up after 5 s each (docs/engine.md, trap 5); only the deadline ends ours.
 *
 * Invariants
 *   MR1 nothing is submitted before the record that asks for it is committed and applied
 *   MR2 nothing is submitted while a configuration is uncommitted or leadership moves */
#define LOG_MODULE "member"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cluster/internal.h"

uint64_t member_time(const struct cluster *c)
{
    uint64_t wall = c->env->ops->wall_ms(c->env), newest = store_time_ms(c->store);
    return newest > wall ? newest : wall;
}

/* Cluster time stands still while the clocks of a majority have been set back behind it, and no
 * operation may hang for that: what was left when this node first saw the record also runs by
 * the monotonic clock. */
bool member_is_late(struct cluster *c, const struct member_op *op)
{
    uint64_t time = member_time(c), now = now_ms(c);
    if (c->member_timed_id != op->id || c->member_timed_deadline_ms != op->deadline_ms) {
        c->member_timed_id = op->id;
        c->member_timed_deadline_ms = op->deadline_ms;
        c->member_late_ms = now + (op->deadline_ms > time ? op->deadline_ms - time : 0);
    }
    return time > op->deadline_ms || now > c->member_late_ms;
}

static bool match_of(const struct cluster *c, uint64_t node_id, uint64_t *match)
{
    raft_index at = 0;
    int rv = raft_match_index(&c->raft, node_id, &at);
    *match = at;
    return rv == 0;
}

/* ---- Ends ------------------------------------------------------------------------------ */

static void save(struct cluster *c, const struct member_op *op)
{
    if (member_save(c, op) != 0) {
        c->member_due = true; /* the pipeline is full: with the next free place */
    }
}

static void finish(struct cluster *c, struct member_op *op, const struct member_result *how)
{
    memmove(op->results + 1, op->results, (MEMBER_RESULTS_KEPT - 1) * sizeof op->results[0]);
    op->results[0] = *how;
    op->results[0].id = op->id;
    op->step = MEMBER_IDLE;
    op->kind = CHANGE_NONE;
    op->id = op->deadline_ms = op->node_id = op->old_id = 0;
    op->address[0] = op->old[0] = '\0';
    memset(&op->now, 0, sizeof op->now);
    save(c, op);
}

static void done(struct cluster *c, struct member_op *op)
{
    struct member_result how = { .failed = MEMBER_DONE };
    finish(c, op, &how);
}

static void late(struct member_result *how, const char *text, const char *address)
{
    memset(how, 0, sizeof *how);
    how->failed = MEMBER_LATE;
    (void)snprintf(how->text, sizeof how->text, text, address);
}

/* The new node of an ADD or REPLACE is no voter in time. */
static void late_to_join(const struct cluster *c, const struct member_op *op,
                         struct member_result *how)
{
    if (op->kind != CHANGE_REPLACE || conf_by_id(c, op->old_id) != NULL) {
        late(how, "%s did not catch up in time and was dropped again; the voters are as they were",
             op->address);
        return;
    }
    memset(how, 0, sizeof *how);
    how->failed = MEMBER_HALF;
    (void)snprintf(how->text, sizeof how->text,
                   "the old identity was removed, but the new node did not catch up in time; %u "
                   "voters are left: run add-node %.80s",
                   voters_count(c), op->address);
}

/* The old node of a REMOVE or REPLACE is not out in time. */
static void late_to_leave(const struct cluster *c, const struct member_op *op,
                          struct member_result *how)
{
    const struct raft_server *s = op->kind == CHANGE_REPLACE ? conf_by_id(c, op->node_id) : NULL;
    if (s != NULL && s->role == RAFT_VOTER) {
        late(how, "the new node is a voter, but %s could not be removed in time: run remove-node",
             op->old);
        how->failed = MEMBER_HALF;
    } else {
        late(how, "%s could not be removed in time; the voters are as they were", op->old);
    }
}

/* ---- Steps --------------------------------------------------------------------------------- */

static bool caught_up(struct cluster *c, const struct member_op *op)
{
    uint64_t match = 0, last = log_cache_last(&c->log), now = now_ms(c);
    if (!match_of(c, op->node_id, &match)) {
        return false;
    }
    if (c->member_last_id != op->id) {
        c->member_last_id = op->id;
        c->member_round = last;
        c->member_round_ms = now;
    }
    if (match < c->member_round) {
        return false;
    }
    bool quick = now - c->member_round_ms < c->election_ms;
    c->member_round = last;
    c->member_round_ms = now;
    return quick || match == last;
}

/* Towards a new voter. True when it is one. */
static bool step_add(struct cluster *c, struct member_op *op)
{
    const struct raft_server *s = conf_by_id(c, op->node_id);
    if (s != NULL && s->role == RAFT_VOTER) {
        return true;
    }
    if (member_is_late(c, op)) {
        op->step = MEMBER_UNDOING;
        late_to_join(c, op, &op->now);
        save(c, op);
    } else if (s == NULL) {
        c->member_last_id = 0;
        if (conf_by_address(c, op->address) == NULL) {
            (void)conf_submit(c, op->node_id, op->address, RAFT_STANDBY);
            struct peer *p = peer_find(c, op->address);
            if (p != NULL) {
                founding_greet(c, p, false); /* "my cluster knows you": it joins */
            }
        }
    } else if (caught_up(c, op)) {
        (void)conf_submit(c, op->node_id, op->address, RAFT_VOTER);
    }
    return false;
}

/* Towards one member less. True when it is none. */
static bool step_remove(struct cluster *c, struct member_op *op)
{
    const struct raft_server *s = conf_by_id(c, op->old_id);
    if (s == NULL) {
        return true;
    }
    struct member_result how;
    if (member_is_late(c, op)) {
        late_to_leave(c, op, &how);
        finish(c, op, &how);
    } else if (s->role == RAFT_VOTER && voters_count(c) == 1) {
        late(&how, "%s is the last voter and can never be removed; nothing was changed", op->old);
        finish(c, op, &how);
    } else if (s->id == c->raft.id) {
        if (!c->transferring && raft_transferee(&c->raft) == 0) {
            cluster_transfer(c, "", NULL, NULL);
        }
    } else {
        (void)conf_submit(c, s->id, s->address, -1);
    }
    return false;
}

static void step_undo(struct cluster *c, struct member_op *op)
{
    const struct raft_server *s = op->node_id != 0 ? conf_by_id(c, op->node_id) : NULL;
    if (s != NULL && s->role != RAFT_VOTER) {
        (void)conf_submit(c, s->id, s->address, -1);
    } else {
        struct member_result how = op->now;
        finish(c, op, &how);
    }
}

static void step_replace(struct cluster *c, struct member_op *op)
{
    bool first = strcmp(op->address, op->old) == 0 && conf_by_id(c, op->old_id) != NULL;
    if (first) {
        (void)step_remove(c, op);
    } else if (step_add(c, op) && step_remove(c, op)) {
        done(c, op);
    }
}

/* A learner whose operation is over, or whose record was lost with its leader. */
static void drop_learners(struct cluster *c)
{
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        const struct raft_server *s = &c->raft.configuration.servers[i];
        if (s->role != RAFT_VOTER) {
            log_info("%s is a learner that no operation is about: dropped", s->address);
            (void)conf_submit(c, s->id, s->address, -1);
            return;
        }
    }
}

void cluster_drain(struct cluster *c, bool on)
{
    c->draining = on;
    c->member_due = true;
    c->vitals_sent_ms = 0; /* the others should know at once */
    cluster_kick(c);
}

bool cluster_draining(const struct cluster *c) { return c->draining; }

/* A draining leader hands over, again if it must, as long as anybody else could lead. */
static bool drains(struct cluster *c)
{
    uint64_t next = c->draining ? transfer_choose(c) : 0;
    if (next == 0) {
        return false;
    }
    for (const struct peer *p = c->peers; p != NULL; p = p->next) {
        if (p->node_id == next && p->vitals.draining != 0) {
            return false; /* all drain: somebody has to */
        }
    }
    if (!c->transferring && raft_transferee(&c->raft) == 0) {
        cluster_transfer(c, "", NULL, NULL);
    }
    return true;
}

void member_run(struct cluster *c)
{
    struct member_op op;
    if (!c->member_due || !cluster_leads(c) || !c->ready || c->batch || c->member_hands_off ||
        c->handing_over) {
        return;
    }
    if (c->applied < c->member_index || c->raft.configuration_uncommitted_index != 0 ||
        raft_transferee(&c->raft) != 0) {
        return; /* MR1, MR2 */
    }
    c->member_due = false;
    if (drains(c)) {
        return;
    }
    member_load(c, &op);
    if (op.step == MEMBER_IDLE) {
        drop_learners(c);
    } else if (op.step == MEMBER_UNDOING) {
        step_undo(c, &op);
    } else if (op.kind == CHANGE_ADD) {
        if (step_add(c, &op)) {
            done(c, &op);
        }
    } else if (op.kind == CHANGE_REMOVE) {
        if (step_remove(c, &op)) {
            done(c, &op);
        }
    } else {
        step_replace(c, &op);
    }
}

/* ---- How far -------------------------------------------------------------------------------- */

void member_progress(struct cluster *c, const struct member_op *op, struct cluster_change_state *st)
{
    const struct raft_server *new = op->node_id != 0 ? conf_by_id(c, op->node_id) : NULL;
    const struct peer *p = op->node_id != 0 ? peer_find(c, op->address) : NULL;
    st->last = log_cache_last(&c->log);
    if (new != NULL) {
        (void)match_of(c, op->node_id, &st->match);
    }
    if (p != NULL && p->send != NULL) {
        snapshot_send_progress(p, &st->sent, &st->total);
    }
    if (c->applied < c->member_index) {
        st->stage = STAGE_LOGGING;
    } else if (op->step == MEMBER_UNDOING) {
        st->stage = STAGE_UNDOING;
    } else if (op->kind == CHANGE_REMOVE || (new != NULL &&new->role == RAFT_VOTER) ||
               (op->kind == CHANGE_REPLACE && strcmp(op->address, op->old) == 0 &&
                conf_by_id(c, op->old_id) != NULL)) {
        st->stage = op->old_id == c->raft.id ? STAGE_HANDING : STAGE_REMOVING;
    } else {
        st->stage = STAGE_LEARNING;
        if (p != NULL && !p->up) {
            (void)snprintf(st->text, sizeof st->text, "%s cannot be reached now", op->address);
        }
    }
    if (op->kind == CHANGE_ADD && new != NULL &&new->role == RAFT_VOTER) {
        st->stage = STAGE_PROMOTING;
    }
}

const char *change_stage_name(int stage)
{
    static const char *const names[] = { "asking",    "reaching", "waiting",  "logging", "learning",
                                         "promoting", "handing",  "removing", "undoing", "done" };
    return stage >= 0 && stage <= STAGE_DONE ? names[stage] : "unknown";
}
