/* The leader's answer to "carry out this change, or how far is it?".
 *
 * Asked some ten times a second, this is a function of what is there: the record, the
 * configuration, who is reachable. It remembers nothing, so whoever leads next answers the
 * same question the same way.
 *
 *   known operation      its progress, or how it has ended
 *   another one runs     wait for it
 *   a new one            checked; the address is reached; then it is logged and so begins
 *
 * Nothing is logged for a change that cannot work: a wrong address, a member already, the
 * last voter, a change that would lose the quorum, or while no majority is reachable. */
#define LOG_MODULE "member"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "cluster/internal.h"

#define WORDS_BYTES (2 * ADDRESS_BYTES_MAX + 32)

void change_fail(struct cluster_change_state *st, int code, const char *hint, const char *fmt, ...)
{
    struct error e;
    va_list args;
    va_start(args, fmt);
    error_clear(&e);
    (void)error_vset(&e, code, fmt, args);
    va_end(args);
    st->stage = STAGE_DONE;
    st->code = code;
    (void)snprintf(st->text, sizeof st->text, "%s", e.message);
    (void)snprintf(st->hint, sizeof st->hint, "%s", hint);
}

static void members_text(const struct cluster *c, char *out, size_t cap)
{
    size_t used = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < c->raft.configuration.n && used < cap; i++) {
        int n = snprintf(out + used, cap - used, "%s%s", i > 0 ? ", " : "",
                         c->raft.configuration.servers[i].address);
        used += n > 0 ? (size_t)n : 0;
    }
}

static bool not_member(const struct cluster *c, const char *address,
                       struct cluster_change_state *st)
{
    char members[ERROR_HINT_BYTES];
    if (conf_by_address(c, address) != NULL) {
        return false;
    }
    members_text(c, members, sizeof members);
    change_fail(st, ERR_NOTFOUND, "use an address as `nodes` shows it",
                "%s is no member; the members are %s; nothing was changed", address, members);
    return true;
}

static bool is_known(struct cluster *c, const struct member_op *op, uint64_t id,
                     struct cluster_change_state *st)
{
    const struct member_result *r = member_result_of(op, id);
    if (op->step != MEMBER_IDLE && op->id == id) {
        member_progress(c, op, st);
        return true;
    }
    if (r == NULL) {
        return false;
    }
    st->stage = STAGE_DONE;
    st->code = r->failed == MEMBER_DONE       ? 0
               : r->failed == MEMBER_CANCELED ? ERR_CANCELED
                                              : ERR_LIMIT;
    (void)snprintf(st->text, sizeof st->text, "%s", r->text);
    (void)snprintf(st->hint, sizeof st->hint, "%s",
                   r->failed == MEMBER_LATE ? "`nodes` shows who is reachable; then repeat it"
                                            : "");
    return true;
}

/* ---- Checks -------------------------------------------------------------------------- */

/* Without that voter: is there a majority of reachable ones? */
static int check_quorum(struct cluster *c, const struct raft_server *gone, bool force,
                        struct cluster_change_state *st)
{
    unsigned voters = voters_count(c), left = conf_reachable(c, gone->id);
    if (gone->role != RAFT_VOTER) {
        return 0;
    }
    if (voters == 1) {
        change_fail(st, ERR_CONFLICT, "add another node first: add-node ADDR",
                    "%s is the last voter and can never be removed; nothing was changed",
                    gone->address);
        return st->code;
    }
    unsigned quorum = (voters - 1) / 2 + 1;
    if (left < quorum && !force) {
        change_fail(st, ERR_CONFLICT,
                    "start the unreachable ones or remove those first; --force does it all the "
                    "same",
                    "without %s there would be %u voters, of whom %u can be reached, but %u are "
                    "needed: the cluster would stand still; nothing was changed",
                    gone->address, voters - 1, left, quorum);
        return st->code;
    }
    return 0;
}

static int check_majority(struct cluster *c, struct cluster_change_state *st)
{
    unsigned quorum = voters_count(c) / 2 + 1;
    if (conf_reachable(c, 0) >= quorum) {
        return 0;
    }
    change_fail(st, ERR_NOQUORUM, "start the nodes that `nodes` shows as unreachable",
                "no majority of the voters can be reached; nothing was changed");
    return st->code;
}

static int check_room(struct cluster *c, struct cluster_change_state *st)
{
    if (c->raft.configuration.n < CLUSTER_MEMBERS_MAX) {
        return 0;
    }
    change_fail(st, ERR_LIMIT, "remove a node first", "a cluster has at most %d members",
                CLUSTER_MEMBERS_MAX);
    return st->code;
}

/* A member's address: a member, unless another node with an empty disk lives there now. */
static int refuse_member(struct cluster *c, const struct raft_server *s,
                         struct cluster_change_state *st)
{
    const struct peer *p = peer_find(c, s->address);
    bool another =
        p != NULL && (p->up ? p->link_id != s->id : p->other_id != 0 && p->other_id != s->id);
    if (another) {
        char hint[ERROR_HINT_BYTES];
        (void)snprintf(hint, sizeof hint, "run: replace-node %s %s", s->address, s->address);
        change_fail(st, ERR_CONFLICT, hint,
                    "%s is a member, but its data directory was emptied or replaced; nothing was "
                    "changed",
                    s->address);
    } else {
        change_fail(st, ERR_CONFLICT, "`nodes` lists the members",
                    "%s is a member already; nothing was changed", s->address);
    }
    return st->code;
}

/* ---- The changes ------------------------------------------------------------------------ */

static int judge_add(struct cluster *c, const char *address, struct member_op *op,
                     struct cluster_change_state *st)
{
    const struct raft_server *s = conf_by_address(c, address);
    int rv = s != NULL ? refuse_member(c, s, st) : check_room(c, st);
    rv = rv != 0 ? rv : probe_new(c, address, &op->node_id, st);
    if (rv == 0 && (s = conf_by_id(c, op->node_id)) != NULL) {
        change_fail(st, ERR_CONFLICT, "`nodes` lists the members",
                    "%s is %s, which is a member already; nothing was changed", address,
                    s->address);
        rv = st->code;
    }
    (void)snprintf(op->address, sizeof op->address, "%s", address);
    return rv;
}

static int judge_remove(struct cluster *c, const char *address, bool force, struct member_op *op,
                        struct cluster_change_state *st)
{
    if (not_member(c, address, st)) {
        return st->code;
    }
    const struct raft_server *s = conf_by_address(c, address);
    op->old_id = s->id;
    (void)snprintf(op->old, sizeof op->old, "%s", address);
    return check_quorum(c, s, force, st);
}

static int judge_replace(struct cluster *c, const char *old, const char *new, bool force,
                         struct member_op *op, struct cluster_change_state *st)
{
    if (not_member(c, old, st)) {
        return st->code;
    }
    const struct raft_server *s = conf_by_address(c, old);
    op->old_id = s->id;
    (void)snprintf(op->old, sizeof op->old, "%s", old);
    if (strcmp(old, new) != 0) {
        return judge_add(c, new, op, st);
    }
    int rv = check_quorum(c, s, force, st); /* the old one goes first: one address, one member */
    (void)snprintf(op->address, sizeof op->address, "%s", new);
    return rv != 0 ? rv : probe_replaced(c, s, &op->node_id, st);
}

/* ---- Handing leadership over: nothing is logged ------------------------------------------- */

static void judge_transfer(struct cluster *c, const char *address, struct cluster_change_state *st)
{
    if (address[0] != '\0' && not_member(c, address, st)) {
        return;
    }
    const struct raft_server *s = address[0] != '\0' ? conf_by_address(c, address) : NULL;
    if (s != NULL && s->id == c->raft.id) {
        st->stage = STAGE_DONE;
        return;
    }
    if (s != NULL && s->role != RAFT_VOTER) {
        change_fail(st, ERR_BADARG, "name a voter as `nodes` shows them",
                    "%s is a learner: only a voter can lead", address);
        return;
    }
    const struct peer *p = s != NULL ? peer_find(c, address) : NULL;
    if (s != NULL && (p == NULL || !p->up)) {
        change_fail(st, ERR_NOTREADY, "name another voter, or none",
                    "%s cannot be reached from the leader; nothing was changed", address);
        return;
    }
    if (p != NULL && p->vitals.draining != 0) {
        change_fail(st, ERR_CONFLICT, "end it there with `drain off`, or name another voter",
                    "%s is draining: it would hand leadership back; nothing was changed", address);
        return;
    }
    if (voters_count(c) == 1) {
        change_fail(st, ERR_CONFLICT, "add another node first: add-node ADDR",
                    "there is no other voter to lead");
        return;
    }
    st->stage = STAGE_HANDING;
    if (raft_transferee(&c->raft) == 0 && !c->transferring && !c->batch) {
        cluster_transfer(c, address, NULL, NULL);
    }
}

/* ---- Asked ------------------------------------------------------------------------------------
 */

/* The operation as its command line. */
static void op_words(const struct member_op *op, char *out, size_t cap)
{
    const char *name = op->kind == CHANGE_ADD      ? "add-node"
                       : op->kind == CHANGE_REMOVE ? "remove-node"
                                                   : "replace-node";
    bool both = op->kind == CHANGE_REPLACE;
    (void)snprintf(out, cap, "%s %s%s%s", name, op->kind == CHANGE_ADD ? op->address : op->old,
                   both ? " " : "", both ? op->address : "");
}

static void begin(struct cluster *c, struct member_op *op, const struct wire_change *a,
                  struct cluster_change_state *st)
{
    char words[WORDS_BYTES];
    st->stage = STAGE_LOGGING;
    st->text[0] = '\0';
    op->kind = a->kind;
    op->step = MEMBER_RUNNING;
    op->id = a->id;
    op->deadline_ms = member_time(c) + a->timeout_ms;
    memset(&op->now, 0, sizeof op->now);
    if (member_save(c, op) != 0) {
        st->stage = STAGE_REACHING; /* the pipeline is full: asked again soon */
        return;
    }
    op_words(op, words, sizeof words);
    log_info("membership: %s begins", words);
    c->member_due = true;
}

static void wait_for_other(const struct member_op *op, struct cluster_change_state *st)
{
    char words[WORDS_BYTES];
    op_words(op, words, sizeof words);
    change_fail(st, 0, "", "%s is under way", words);
    st->stage = STAGE_WAITING;
}

static void cancel(struct cluster *c, struct member_op *op, uint64_t id)
{
    if (op->step == MEMBER_RUNNING && op->id == id) {
        op->step = MEMBER_UNDOING;
        op->now = (struct member_result){ .id = id, .failed = MEMBER_CANCELED };
        (void)snprintf(op->now.text, sizeof op->now.text, "canceled");
        (void)member_save(c, op); /* not now: whoever canceled says it again */
        c->member_due = true;
    }
}

void member_judge(struct cluster *c, const struct wire_change *a, struct cluster_change_state *st)
{
    struct member_op op;
    char address[ADDRESS_BYTES_MAX + 1], other[ADDRESS_BYTES_MAX + 1];
    memset(st, 0, sizeof *st);
    st->stage = STAGE_ASKING;
    if (!cluster_leads(c) || !c->ready || c->batch || c->handing_over) {
        return;
    }
    (void)snprintf(address, sizeof address, "%.*s", (int)a->address.len, a->address.data);
    (void)snprintf(other, sizeof other, "%.*s", (int)a->other.len, a->other.data);
    member_load(c, &op);
    if (a->cancel) {
        cancel(c, &op, a->id);
        return;
    }
    if (a->kind == CHANGE_PROBE) {
        if (check_majority(c, st) == 0) {
            probe_judge(c, a->id, st);
        }
        return;
    }
    if (a->kind == CHANGE_TRANSFER) {
        judge_transfer(c, address, st);
        return;
    }
    if (is_known(c, &op, a->id, st)) {
        return;
    }
    if (op.step != MEMBER_IDLE) {
        wait_for_other(&op, st);
        return;
    }
    int rv = check_majority(c, st);
    op.node_id = op.old_id = 0;
    op.address[0] = op.old[0] = '\0';
    if (rv == 0) {
        rv = a->kind == CHANGE_ADD       ? judge_add(c, address, &op, st)
             : a->kind == CHANGE_REMOVE  ? judge_remove(c, address, a->force, &op, st)
             : a->kind == CHANGE_REPLACE ? judge_replace(c, address, other, a->force, &op, st)
                                         : ERR_BADARG;
    }
    if (rv == 0) {
        begin(c, &op, a, st);
    }
}
