/* The removed are told.
 *
 * From the moment a removal is in the log the leader sends nothing to the removed node, so
 * it cannot learn of it by replication: it would wait, ask for votes and be refused for ever.
 * So every member answers whoever shows our cluster id and is in no committed configuration
 * with "you are in none since entry I". The node believes it when I is beyond the newest
 * configuration it knows, says so, and serves nothing more; it goes on answering hellos, so
 * that it can be added again, with its old disk too: a server that was removed is no other
 * than one that was cut off for long.
 *
 * A member that lags says the same to a node that has just been added, and is wrong: whoever
 * is sent entries is in the leader's configuration. So what was told counts only once no leader
 * has been heard for half an election timeout (some heartbeats); entries that come later put it
 * right all the same.
 *
 * Nothing of this is stored. A removed node that starts again is told again. */
#define LOG_MODULE "member"

#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "cluster/internal.h"

#define TELL_EVERY_MS 500

void told_check(struct cluster *c, struct peer *p, uint64_t node_id)
{
    if (!c->raft_on || c->dead || c->quarantined || c->removed || node_id == 0 ||
        c->conf_index == 0 || c->raft.configuration_uncommitted_index != 0 ||
        conf_by_id(c, node_id) != NULL || conf_by_id(c, c->raft.id) == NULL ||
        c->raft.configuration_committed_index != c->conf_index) {
        return;
    }
    uint64_t now = now_ms(c);
    if (p->told_ms != 0 && now - p->told_ms < TELL_EVERY_MS) {
        return;
    }
    struct buf b = BUF_INIT;
    wire_put_words(&b, WIRE_REMOVED, 2, c->conf_index, c->raft.current_term, 0);
    if (peer_send(c, p, &b)) {
        p->told_ms = now;
    }
}

static bool told_counts(const struct cluster *c)
{
    uint64_t known = c->raft.configuration_uncommitted_index > c->raft.configuration_committed_index
                         ? c->raft.configuration_uncommitted_index
                         : c->raft.configuration_committed_index;
    return c->raft_on && !c->dead && !c->removed && c->told_index > known &&
           c->told_term >= c->raft.current_term && !cluster_leads(c);
}

void told_removed(struct cluster *c, struct peer *p, uint64_t conf_index, uint64_t term)
{
    c->told_index = conf_index;
    c->told_term = term;
    (void)snprintf(c->told_by, sizeof c->told_by, "%s", p->address);
}

void told_tick(struct cluster *c)
{
    if (c->told_index == 0 || now_ms(c) - c->led_ms < c->election_ms / 2) {
        return;
    }
    bool counts = told_counts(c);
    c->told_index = 0;
    if (counts) {
        member_removed(c, c->told_by);
    }
}

/* From the log or told: serve nothing, say so. */
void member_removed(struct cluster *c, const char *by)
{
    if (c->removed) {
        return;
    }
    c->removed = true;
    c->ready = false;
    c->fatal_seen = false; /* it may happen more than once in a life */
    cluster_fail(
        c, false, ERR_NOTREADY,
        "this node, %s, was removed from the cluster%s%s and serves nothing any more; "
        "stop it with `kill %ld`, or in its terminal with Ctrl-D and then Ctrl-C, and take "
        "it out of the profile",
        c->address, by[0] != '\0' ? ", says " : "", by, (long)getpid());
    c->again = true;
}

void told_led(struct cluster *c)
{
    c->led_ms = now_ms(c);
    c->told_index = 0;
    if (c->removed && !c->dead && !c->quarantined) {
        log_info("this node is a member again");
        c->removed = false;
        c->learned = false; /* local reads wait until it has caught up */
        c->again = true;
    }
}
