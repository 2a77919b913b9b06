/* Telling followers early what has committed.
 *
 * The core tells a commit index with its next AppendEntries, so after the last write of a
 * burst the followers would lag until the next heartbeat: 50 ms in which a session on
 * another node cannot read its own booking. Here the leader says it in a frame of its own,
 * TELL_AFTER_MS after a commit, unless a message of the core has told it meanwhile: under
 * load nothing is sent.
 *
 * Safe for the reason that lets the core take leader_commit from an AppendEntries: the
 * follower applies min(told, the highest index of its log that is known to match this
 * leader's log), and only in the leader's own term. The core's commit index follows with the
 * next heartbeat; ours (c->commit) may be ahead of it, never wrong. */
#include "cluster/internal.h"

#define TELL_AFTER_MS 1

static void on_timer(void *arg)
{
    struct cluster *c = arg;
    c->commit_timer_on = false;
    if (!cluster_leads(c) || c->commit <= c->commit_told) {
        return;
    }
    c->commit_told = c->commit;
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        if (p->member) {
            struct buf b = BUF_INIT;
            wire_put_words(&b, WIRE_COMMIT, 2, c->raft.current_term, c->commit, 0);
            peer_send(c, p, &b);
        }
    }
}

int commit_open(struct cluster *c)
{
    c->commit_timer = c->env->ops->timer_new(c->env, on_timer, c);
    return c->commit_timer != NULL ? 0 : ERR_NOMEM;
}

void commit_advanced(struct cluster *c)
{
    if (cluster_leads(c) && !c->commit_timer_on) {
        c->commit_timer_on = true;
        c->env->ops->timer_start(c->commit_timer, TELL_AFTER_MS);
    }
}

void commit_on_told(struct cluster *c, struct peer *p, uint64_t term, uint64_t index)
{
    if (!c->raft_on || c->dead || c->quarantined || c->installing ||
        c->raft.state != RAFT_FOLLOWER || term != c->raft.current_term ||
        c->raft.follower_state.current_leader.id != p->node_id) {
        return;
    }
    uint64_t match = c->raft.follower_state.match;
    uint64_t commit = index < match ? index : match;
    if (commit > c->commit) {
        c->commit = commit;
        c->again = true;
    }
}
